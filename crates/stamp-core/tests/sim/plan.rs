//! A routing table as the simulation means it, drawn by chance and written as TOML: the gateway
//! loads the text, the shadow goes by the meaning.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use crate::world::Dice;

/// The names of stamps: a stamp is its place here, whatever table it is in.
pub(crate) const NAMES: [&str; 6] = ["ash", "birch", "cedar", "dogwood", "elm", "fir"];

/// A stamp, by its place in `NAMES`.
pub(crate) type StampKey = u8;

/// A tenant, by number: `t0`, `t1`, ...
pub(crate) type TenantKey = u8;

/// An endpoint: its stamp, and its number there.
pub(crate) type EndpointKey = (StampKey, u8);

/// The name of a stamp.
pub(crate) fn name(stamp: StampKey) -> &'static str {
    NAMES[usize::from(stamp)]
}

/// `host:port` of an endpoint.
pub(crate) fn authority((stamp, number): EndpointKey) -> String {
    format!("10.0.{stamp}.{number}:80")
}

/// The endpoint of this `host:port`.
pub(crate) fn endpoint_at(authority: &str) -> EndpointKey {
    let host = authority.trim_end_matches(":80").trim_start_matches("10.0.");
    let (stamp, number) = host.split_once('.').unwrap();
    (stamp.parse().unwrap(), number.parse().unwrap())
}

/// The stamp of this name.
pub(crate) fn stamp_named(name: &str) -> StampKey {
    let place = NAMES.iter().position(|known| *known == name).unwrap();
    StampKey::try_from(place).unwrap()
}

/// A residency zone.
pub(crate) type Zone = &'static str;

/// The zones that the stamps of a table are in.
const ZONES: [&[Option<Zone>]; 5] = [
    &[Some("eu")],
    &[None],
    &[Some("eu"), Some("us")],
    &[Some("us"), Some("eu")],
    &[Some("eu"), None],
];

/// What a table declares of a stamp.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Declared {
    Active,
    Draining,
    Maintenance,
}

/// What may go over an edge.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    ReadWrite,
    ReadOnly,
}

/// What a table says of a tenant besides its home.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TenantIs {
    Active,
    Suspended,
    Offboarded,
}

/// The knobs of a stamp. Times are milliseconds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Policy {
    pub(crate) interval: u64,
    pub(crate) probe_timeout: u64,
    pub(crate) fall: u64,
    pub(crate) rise: u64,
    pub(crate) consecutive: u64,
    pub(crate) ratio_percent: u64,
    pub(crate) requests_min: u64,
    pub(crate) window: u64,
    pub(crate) open_for: u64,
    pub(crate) open_for_max: u64,
    pub(crate) hold: u64,
    pub(crate) ramp: u64,
    /// Only an operator brings requests home.
    pub(crate) is_manual: bool,
    pub(crate) attempts: u64,
    pub(crate) budget_percent: u64,
    pub(crate) statuses: Vec<u16>,
    pub(crate) round_robin: bool,
}

/// A stamp.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct StampPlan {
    pub(crate) key: StampKey,
    pub(crate) zone: Option<Zone>,
    pub(crate) declared: Declared,
    /// Number and weight.
    pub(crate) endpoints: BTreeMap<u8, u64>,
    pub(crate) edges: Vec<(StampKey, Mode)>,
    pub(crate) policy: Policy,
}

/// A tenant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TenantPlan {
    pub(crate) home: StampKey,
    /// Where its data may be, if it says so.
    pub(crate) zones: Option<Vec<Zone>>,
    pub(crate) is: TenantIs,
}

/// A table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Plan {
    pub(crate) stamps: Vec<StampPlan>,
    pub(crate) tenants: BTreeMap<TenantKey, TenantPlan>,
    /// Where clues disagree, the stronger wins.
    pub(crate) conflicts_are_reported: bool,
}

impl Plan {
    /// The stamp, if it is in this table.
    pub(crate) fn stamp(&self, key: StampKey) -> Option<&StampPlan> {
        self.stamps.iter().find(|stamp| stamp.key == key)
    }

    pub(crate) fn endpoints(&self) -> impl Iterator<Item = EndpointKey> {
        let of = |stamp: &StampPlan| {
            let key = stamp.key;
            stamp.endpoints.keys().map(move |number| (key, *number)).collect::<Vec<_>>()
        };
        self.stamps.iter().flat_map(of)
    }

    /// How many tenants send it requests.
    pub(crate) fn active_tenants_on(&self, home: StampKey) -> usize {
        let is_there = |tenant: &&TenantPlan| tenant.home == home && tenant.is == TenantIs::Active;
        self.tenants.values().filter(is_there).count()
    }

    /// How many tenants live there.
    pub(crate) fn tenants_on(&self, home: StampKey) -> usize {
        self.tenants.values().filter(|tenant| tenant.home == home).count()
    }

    /// The zones that data may be in; none = everywhere. Without a tenant, those of the home.
    pub(crate) fn zones(&self, tenant: Option<TenantKey>, home: StampKey) -> Vec<Zone> {
        let said = tenant.and_then(|tenant| self.tenants.get(&tenant)?.zones.clone());
        said.unwrap_or_else(|| self.stamp(home).and_then(|stamp| stamp.zone).into_iter().collect())
    }

    /// May data that is bound to these zones be there?
    pub(crate) fn is_inside(&self, zones: &[Zone], stamp: StampKey) -> bool {
        let zone = self.stamp(stamp).and_then(|stamp| stamp.zone);
        zones.is_empty() || zone.is_some_and(|zone| zones.contains(&zone))
    }

    /// Would nobody leave its residency over this edge?
    fn is_sound_edge(&self, home: StampKey, to: StampKey) -> bool {
        let mut on = self.tenants.iter().filter(|(_, tenant)| tenant.home == home).peekable();
        if on.peek().is_none() {
            return self.is_inside(&self.zones(None, home), to);
        }
        on.all(|(tenant, _)| self.is_inside(&self.zones(Some(*tenant), home), to))
    }

    /// Must a gateway take this table?
    pub(crate) fn is_sound(&self) -> bool {
        self.stamps
            .iter()
            .all(|stamp| stamp.edges.iter().all(|(to, _)| self.is_sound_edge(stamp.key, *to)))
    }

    /// A table of two to six stamps.
    pub(crate) fn drawn(dice: &mut Dice) -> Self {
        let mut keys: Vec<StampKey> = (0..StampKey::try_from(NAMES.len()).unwrap()).collect();
        dice.shuffle(&mut keys);
        keys.truncate(usize::try_from(dice.between(2, 6)).unwrap());
        let zones = *dice.pick(&ZONES);
        let stamps = keys.iter().map(|key| StampPlan::drawn(*key, zones, dice)).collect();
        let mut plan =
            Self { stamps, tenants: BTreeMap::new(), conflicts_are_reported: dice.percent(15) };
        for tenant in 0..TenantKey::try_from(dice.between(3, 16)).unwrap() {
            let home = dice.pick(&plan.stamps).key;
            plan.tenants.insert(tenant, TenantPlan { home, zones: None, is: tenant_is(dice) });
        }
        plan.widen_some(dice);
        for home in keys {
            plan.draw_edges(home, dice);
        }
        plan.mended(dice)
    }

    /// Everybody who lives on some of the stamps may have data in both zones.
    fn widen_some(&mut self, dice: &mut Dice) {
        let homes: Vec<StampKey> = self
            .stamps
            .iter()
            .filter(|it| it.zone.is_some() && dice.percent(50))
            .map(|it| it.key)
            .collect();
        for tenant in self.tenants.values_mut().filter(|tenant| homes.contains(&tenant.home)) {
            tenant.zones = Some(vec!["eu", "us"]);
        }
    }

    fn draw_edges(&mut self, home: StampKey, dice: &mut Dice) {
        let mut others: Vec<StampKey> =
            self.stamps.iter().map(|stamp| stamp.key).filter(|key| *key != home).collect();
        dice.shuffle(&mut others);
        others.truncate(usize::try_from(dice.between(0, 3)).unwrap());
        let mode = |dice: &mut Dice| {
            if dice.percent(25) { Mode::ReadOnly } else { Mode::ReadWrite }
        };
        let edges = others.into_iter().map(|to| (to, mode(dice))).collect();
        if let Some(stamp) = self.stamps.iter_mut().find(|stamp| stamp.key == home) {
            stamp.edges = edges;
        }
    }

    /// The same table without what no gateway would take.
    fn mended(mut self, dice: &mut Dice) -> Self {
        let keys: Vec<StampKey> = self.stamps.iter().map(|stamp| stamp.key).collect();
        for tenant in self.tenants.values_mut() {
            if !keys.contains(&tenant.home) {
                tenant.home = *dice.pick(&keys);
            }
        }
        let zones: BTreeMap<StampKey, Option<Zone>> =
            self.stamps.iter().map(|stamp| (stamp.key, stamp.zone)).collect();
        for tenant in self.tenants.values_mut() {
            // Its zones must hold its home.
            if zones.get(&tenant.home).is_none_or(Option::is_none) {
                tenant.zones = None;
            }
        }
        let plan = self.clone();
        for stamp in &mut self.stamps {
            let home = stamp.key;
            stamp.edges.retain(|(to, _)| keys.contains(to) && plan.is_sound_edge(home, *to));
        }
        if self.stamps.iter().all(|stamp| stamp.declared != Declared::Active) {
            self.stamps[0].declared = Declared::Active;
        }
        self
    }

    /// The table after somebody edited it.
    pub(crate) fn edited(&self, dice: &mut Dice) -> Self {
        let mut plan = self.clone();
        for _ in 0..dice.below(4) {
            plan.edit(dice);
        }
        plan.mended(dice)
    }

    fn edit(&mut self, dice: &mut Dice) {
        let at = usize::try_from(dice.below(u64::try_from(self.stamps.len()).unwrap())).unwrap();
        let key = self.stamps[at].key;
        match dice.below(9) {
            0 => self.stamps[at].policy = Policy::drawn(dice),
            1 => self.stamps[at].declared = declared(dice),
            2 | 3 => self.stamps[at].edit_endpoints(dice),
            4 => self.draw_edges(key, dice),
            5 if self.stamps.len() > 2 => drop(self.stamps.remove(at)),
            5 | 6 => self.add_stamp(dice),
            7 => {
                let is = tenant_is(dice);
                if let Some(tenant) = self.tenants.get_mut(&0) {
                    (tenant.home, tenant.is) = (key, is);
                }
            }
            _ => dice.shuffle(&mut self.stamps),
        }
    }

    fn add_stamp(&mut self, dice: &mut Dice) {
        let unused =
            (0..StampKey::try_from(NAMES.len()).unwrap()).find(|key| self.stamp(*key).is_none());
        if let Some(key) = unused {
            let zones: Vec<_> = self.stamps.iter().map(|stamp| stamp.zone).collect();
            self.stamps.push(StampPlan::drawn(key, &zones, dice));
            self.draw_edges(key, dice);
        }
    }

    /// The same table with an edge over which somebody would leave its residency, if one can be.
    pub(crate) fn leaking(&self, dice: &mut Dice) -> Self {
        let mut plan = self.clone();
        let homes = self.stamps.iter().map(|stamp| stamp.key);
        let leaks = homes.flat_map(|home| {
            let others = self.stamps.iter().map(move |to| (home, to.key));
            others.filter(|(home, to)| home != to && !self.is_sound_edge(*home, *to))
        });
        let leaks: Vec<_> = leaks.collect();
        if leaks.is_empty() {
            return plan;
        }
        let (home, to) = *dice.pick(&leaks);
        if let Some(stamp) = plan.stamps.iter_mut().find(|stamp| stamp.key == home) {
            stamp.edges.push((to, Mode::ReadWrite));
        }
        plan
    }
}

impl StampPlan {
    fn drawn(key: StampKey, zones: &[Option<Zone>], dice: &mut Dice) -> Self {
        let endpoints = (0..u8::try_from(dice.between(1, 4)).unwrap())
            .map(|number| (number, dice.between(1, 3)));
        Self {
            key,
            endpoints: endpoints.collect(),
            zone: *dice.pick(zones),
            declared: declared(dice),
            edges: Vec::new(),
            policy: Policy::drawn(dice),
        }
    }

    fn edit_endpoints(&mut self, dice: &mut Dice) {
        let number = u8::try_from(dice.below(4)).unwrap();
        if self.endpoints.len() > 1 && self.endpoints.remove(&number).is_some() {
            return;
        }
        self.endpoints.insert(number, dice.between(1, 3));
    }
}

impl Policy {
    fn drawn(dice: &mut Dice) -> Self {
        let open_for = dice.between(2, 10) * 100;
        // Where no breaker helps, the budget must.
        let is_lenient = dice.percent(25);
        Self {
            interval: dice.between(3, 30) * 100,
            probe_timeout: dice.between(1, 4) * 100,
            fall: dice.between(1, 4),
            rise: dice.between(1, 3),
            consecutive: if is_lenient { 1000 } else { dice.between(2, 6) },
            ratio_percent: dice.between(3, 9) * 10,
            requests_min: if is_lenient { 10_000 } else { dice.between(4, 20) },
            window: dice.between(10, 60) * 100,
            open_for,
            open_for_max: open_for * dice.between(1, 6),
            hold: dice.between(0, 20) * 100,
            ramp: *dice.pick(&[0, 0, 500, 1000, 2000]),
            is_manual: dice.percent(10),
            attempts: *dice.pick(&[1, 2, 2, 3, 3, 4]),
            budget_percent: *dice.pick(&[0, 10, 20, 20, 20, 100]),
            statuses: dice.pick(&[&[][..], &[], &[503], &[502, 503, 504]]).to_vec(),
            round_robin: dice.percent(30),
        }
    }
}

const fn declared(dice: &mut Dice) -> Declared {
    match dice.below(30) {
        0 => Declared::Draining,
        1 => Declared::Maintenance,
        _ => Declared::Active,
    }
}

const fn tenant_is(dice: &mut Dice) -> TenantIs {
    match dice.below(20) {
        0 => TenantIs::Suspended,
        1 => TenantIs::Offboarded,
        _ => TenantIs::Active,
    }
}

impl Plan {
    /// As routing.toml.
    pub(crate) fn toml(&self) -> String {
        let conflict = if self.conflicts_are_reported { "report" } else { "reject" };
        let mut text = format!("version = 1\n[identity]\nconflict = \"{conflict}\"\n{IDENTITY}");
        for stamp in &self.stamps {
            stamp.write(&mut text);
        }
        text.push_str("[tenants]\n");
        for (key, tenant) in &self.tenants {
            let state = match tenant.is {
                TenantIs::Active => "active",
                TenantIs::Suspended => "suspended",
                TenantIs::Offboarded => "offboarded",
            };
            let home = name(tenant.home);
            let zones = tenant.zones.as_ref();
            let zones = zones.map_or_else(String::new, |zones| format!(", residency = {zones:?}"));
            writeln!(text, "t{key} = {{ stamp = \"{home}\", state = \"{state}\"{zones} }}")
                .unwrap();
        }
        text
    }
}

impl StampPlan {
    fn write(&self, text: &mut String) {
        let state = match self.declared {
            Declared::Active => "active",
            Declared::Draining => "draining",
            Declared::Maintenance => "maintenance",
        };
        let zone = self.zone.map_or_else(String::new, |zone| format!("residency = \"{zone}\"\n"));
        let endpoints = self.endpoints.iter().map(|(number, weight)| {
            let authority = authority((self.key, *number));
            format!("{{ url = \"http://{authority}\", weight = {weight} }}")
        });
        let endpoints = endpoints.collect::<Vec<_>>().join(", ");
        let edges = self.edges.iter().map(|(to, mode)| {
            let mode = if *mode == Mode::ReadOnly { "read_only" } else { "read_write" };
            format!("{{ to = \"{}\", mode = \"{mode}\" }}", name(*to))
        });
        let edges = edges.collect::<Vec<_>>().join(", ");
        let balance = if self.policy.round_robin { "round_robin" } else { "least_request" };
        writeln!(
            text,
            "[[stamp]]\nid = \"{}\"\n{zone}state = \"{state}\"\nbalance = \"{balance}\"\n\
             endpoints = [{endpoints}]\nfailover = [{edges}]",
            name(self.key)
        )
        .unwrap();
        self.policy.write(text);
    }
}

impl Policy {
    fn write(&self, text: &mut String) {
        let Self { interval, probe_timeout, fall, rise, consecutive, requests_min, .. } = self;
        let Self { window, open_for, open_for_max, hold, ramp, attempts, budget_percent, .. } =
            self;
        let mode = if self.is_manual { "manual" } else { "auto" };
        let statuses = &self.statuses;
        let ratio = self.ratio_percent as f64 / 100.0;
        writeln!(
            text,
            "health = {{ path = \"/up\", interval = \"{interval}ms\", \
             timeout = \"{probe_timeout}ms\", fall = {fall}, rise = {rise}, passive = {{ \
             consecutive_failures = {consecutive}, failure_ratio = {ratio:.1}, \
             min_requests = {requests_min}, window = \"{window}ms\", open_for = \"{open_for}ms\", \
             open_for_max = \"{open_for_max}ms\" }} }}\n\
             retry = {{ attempts = {attempts}, budget = \"{budget_percent}%\", \
             statuses = {statuses:?} }}\nfailback = {{ mode = \"{mode}\", hold = \"{hold}ms\", ramp = \"{ramp}ms\" }}"
        )
        .unwrap();
    }
}

const IDENTITY: &str = r#"
[identity.host]
patterns = ["{tenant}.app.test", "{stamp}.stamps.test"]
neutral = ["api.test"]
[identity.header]
name = "X-Stamp-Id"
tenant_name = "X-Tenant-Id"
[identity.cookie]
name = "stamp"
names = "stamp"
"#;
