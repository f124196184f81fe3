//! Laws of a whole decision, over random tables, standings and requests: nobody is served where they
//! do not belong, more words never open more doors, and what is explained is what is decided.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

use std::fmt::Write as _;

use http::{HeaderMap, HeaderValue, Version};
use proptest::prelude::*;
use stamp_core::claims::{Claims, Tenants, Verified};
use stamp_core::clue::{Clue, Clues};
use stamp_core::diagnostic::SourceText;
use stamp_core::explain::{Question, Story, explain};
use stamp_core::failover::{
    Candidate, Choice, Needs, Refusal, Route, TrialRisk, Verdict, choose_or_try,
};
use stamp_core::id::{StampIndex, TenantId};
use stamp_core::identify::{self, Head, IdentifyError, Peer};
use stamp_core::resolve::{ResolveError, resolve};
use stamp_core::retry::MethodClass;
use stamp_core::standing::{OperatorState, Serving, StampHealth, StampStanding};
use stamp_core::table::{self, RoutingTable};
use stamp_core::time::UnixSeconds;

const ZONES: [&str; 2] = ["eu", "us"];
const TENANTS: usize = 6;
const STATES: [&str; 4] = ["active", "active", "active", "suspended"];

/// One stamp of a random table.
#[derive(Clone, Debug)]
struct Stamp {
    zone: Option<usize>,
    /// To which stamp, and whether it takes only safe methods.
    edges: Vec<(usize, bool)>,
    verified: bool,
}

/// One tenant of a random table.
#[derive(Clone, Debug)]
struct Tenant {
    home: usize,
    state: usize,
    /// Its data may be in every zone, not in that of its home alone.
    wide: bool,
}

/// A random table, as its author has it in mind.
#[derive(Clone, Debug)]
struct Plan {
    stamps: Vec<Stamp>,
    tenants: Vec<Tenant>,
    /// The rule for conflicts.
    conflict: &'static str,
    places: bool,
}

fn stamps() -> impl Strategy<Value = Vec<Stamp>> {
    let edge = (0_usize..5, any::<bool>());
    let stamp = (prop::option::of(0..ZONES.len()), prop::collection::vec(edge, 1..5), 0_u8..6);
    let stamp =
        stamp.prop_map(|(zone, edges, access)| Stamp { zone, edges, verified: access == 0 });
    prop::collection::vec(stamp, 2..5)
}

fn plans() -> impl Strategy<Value = Plan> {
    let tenant = (0_usize..5, 0..STATES.len(), prop::bool::weighted(0.9));
    let tenant = tenant.prop_map(|(home, state, wide)| Tenant { home, state, wide });
    let tenants = prop::collection::vec(tenant, TENANTS);
    let conflict = prop::sample::select(&["reject", "report"][..]);
    (stamps(), tenants, conflict, any::<bool>()).prop_map(
        |(mut stamps, mut tenants, conflict, places)| {
            let count = stamps.len();
            let zones: Vec<_> = stamps.iter().map(|stamp| stamp.zone).collect();
            for tenant in &mut tenants {
                tenant.home %= count;
                tenant.wide &= zones[tenant.home].is_some();
            }
            for (at, stamp) in stamps.iter_mut().enumerate() {
                let mut here = tenants.iter().filter(|tenant| tenant.home == at).peekable();
                let is_wide = here.peek().is_some() && here.all(|tenant| tenant.wide);
                let mut seen = vec![at];
                stamp.edges.retain_mut(|(to, _)| {
                    *to %= count;
                    // What the loader would refuse is left out: an edge over which a tenant would
                    // leave its zones.
                    let stays = match stamp.zone {
                        None => true,
                        Some(_) if is_wide => zones[*to].is_some(),
                        Some(zone) => zones[*to] == Some(zone),
                    };
                    let new = !seen.contains(to);
                    seen.push(*to);
                    stays && new
                });
            }
            // A pool lies within one zone.
            let places = places && zones[0] == zones[1];
            Plan { stamps, tenants, conflict, places }
        },
    )
}

impl Plan {
    fn reports(&self) -> bool {
        self.conflict == "report"
    }

    fn text(&self) -> String {
        let conflict = self.conflict;
        let unknown = if self.places { "hash" } else { "reject" };
        let mut out = format!(
            "version = 1\n[identity]\nconflict = \"{conflict}\"\nunknown_tenant = \"{unknown}\"\n\
             [identity.host]\npatterns = [\"{{tenant}}.app.test\", \"{{stamp}}.stamps.test\"]\n\
             neutral = [\"api.test\"]\nverified_only = [\"jwt.test\"]\n\
             [identity.header]\nname = \"X-Stamp-Id\"\ntenant_name = \"X-Tenant-Id\"\n\
             [identity.cookie]\nname = \"stamp\"\nnames = \"stamp\"\n"
        );
        if self.places {
            out += "[placement]\nstamps = [\"s0\", \"s1\"]\n";
        }
        for (at, stamp) in self.stamps.iter().enumerate() {
            let access = if stamp.verified { "verified" } else { "any" };
            let edge = |(to, read_only): &(usize, bool)| {
                let mode = if *read_only { "read_only" } else { "read_write" };
                format!("{{ to = \"s{to}\", mode = \"{mode}\" }}")
            };
            let edges: Vec<String> = stamp.edges.iter().map(edge).collect();
            writeln!(
                out,
                "[[stamp]]\nid = \"s{at}\"\naccess = \"{access}\"\n\
                 endpoints = [{{ url = \"http://10.0.0.{at}:80\" }}]\nfailover = [{}]",
                edges.join(", ")
            )
            .unwrap();
            if let Some(zone) = stamp.zone {
                writeln!(out, "residency = \"{}\"", ZONES[zone]).unwrap();
            }
        }
        out += "[tenants]\n";
        for (at, tenant) in self.tenants.iter().enumerate() {
            let (home, state) = (tenant.home, STATES[tenant.state]);
            let zones = if tenant.wide { ", residency = [\"eu\", \"us\"]" } else { "" };
            writeln!(out, "t{at} = {{ stamp = \"s{home}\", state = \"{state}\"{zones} }}").unwrap();
        }
        out
    }

    fn table(&self) -> RoutingTable {
        let text = self.text();
        let main = SourceText { path: "routing.toml".into(), text: text.as_str().into() };
        match table::load(main, &mut |_| Err(std::io::ErrorKind::NotFound.into()), None) {
            Ok(loaded) => loaded.table,
            Err(rejected) => panic!("{rejected:#?}\n{text}"),
        }
    }

    /// May the data of this tenant be at that stamp? `None` = one without an entry, or nobody:
    /// those are bound like the home.
    fn may_be_at(&self, tenant: Option<usize>, home: usize, stamp: usize) -> bool {
        let (zone, there) = (self.stamps[home].zone, self.stamps[stamp].zone);
        if tenant.is_some_and(|at| self.tenants[at].wide) {
            return there.is_some();
        }
        zone.is_none() || there == zone
    }
}

fn standings() -> impl Strategy<Value = Vec<StampStanding>> {
    let serving = prop_oneof![
        2 => Just(Serving::Home),
        2 => (0_u8..3).prop_map(Serving::Edge),
        1 => (0_u8..3, 1_u8..100).prop_map(|(edge, away)| Serving::Split { edge, away }),
        3 => Just(Serving::Nobody),
    ];
    let operator = prop_oneof![
        4 => Just(OperatorState::Active),
        1 => prop::sample::select(&OperatorState::ALL[..]),
    ];
    let health = prop_oneof![
        3 => Just(StampHealth::Up),
        1 => Just(StampHealth::Unknown),
        3 => Just(StampHealth::Trial),
        2 => Just(StampHealth::Down),
    ];
    let standing = (operator, health, serving).prop_map(|(operator, health, serving)| {
        StampStanding { operator, health, serving, flips: 0 }
    });
    prop::collection::vec(standing, 5)
}

/// The fields of a request, each there or not, and the tenant of its token.
#[derive(Clone, Debug)]
struct Request {
    host: String,
    fields: [Option<(&'static str, String)>; 3],
    token: Option<String>,
    method: MethodClass,
    trial: bool,
}

fn names() -> impl Strategy<Value = String> {
    (0..=TENANTS).prop_map(|at| format!("t{at}"))
}

fn ids() -> impl Strategy<Value = String> {
    (0_usize..5).prop_map(|at| format!("s{at}"))
}

fn requests() -> impl Strategy<Value = Request> {
    let host = prop_oneof![
        4 => names().prop_map(|name| format!("{name}.app.test")),
        6 => ids().prop_map(|id| format!("{id}.stamps.test")),
        4 => Just("api.test".to_owned()),
        1 => Just("jwt.test".to_owned()),
        1 => Just("other.test".to_owned()),
    ];
    let field = |name: &'static str, value: BoxedStrategy<String>| {
        prop::option::weighted(0.2, value.prop_map(move |value| (name, value)))
    };
    let fields = [
        field("x-stamp-id", ids().boxed()),
        field("x-tenant-id", names().boxed()),
        field("cookie", ids().prop_map(|id| format!("stamp={id}")).boxed()),
    ];
    let method =
        prop::sample::select(&[MethodClass::Safe, MethodClass::Idempotent, MethodClass::Other][..]);
    (host, fields, prop::option::weighted(0.2, names()), method, any::<bool>()).prop_map(
        |(host, fields, token, method, trial)| Request { host, fields, token, method, trial },
    )
}

impl Request {
    fn headers(&self) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert("host", HeaderValue::try_from(&*self.host).unwrap());
        for (name, value) in self.fields.iter().flatten() {
            headers.insert(*name, HeaderValue::try_from(&**value).unwrap());
        }
        headers
    }

    fn claims(&self) -> Option<Verified<Claims>> {
        let tenant = TenantId::parse(self.token.as_deref()?).unwrap().into_owned();
        let (issuer, tenants) = ("issuer".into(), Tenants::one(tenant));
        Some(Verified::vouch(Claims { issuer, tenants, stamp: None, expires_at: UnixSeconds(0) }))
    }

    /// What is told of it.
    fn told<T>(
        &self,
        table: &RoutingTable,
        standings: &[StampStanding],
        tell: impl FnOnce(&Clues<'_>, &Story<'_>) -> T,
    ) -> Option<T> {
        let (headers, claims) = (self.headers(), self.claims());
        let head = Head { version: Version::HTTP_11, authority: None, headers: &headers };
        let (peer, method, verified) = (Peer::Untrusted, self.method, claims.as_ref());
        let question = Question { head, peer, method, verified };
        let story = explain((table, standings), question, |_, risk| self.offers(risk));
        let clues = identify::clues(&head, table, peer, verified).ok()?;
        Some(tell(&clues, &story))
    }

    fn offers(&self, risk: TrialRisk) -> bool {
        self.trial && risk == TrialRisk::None
    }
}

fn number(name: &str) -> usize {
    name.trim_start_matches(['s', 't']).parse().unwrap()
}

/// Does this clue name somebody else?
fn contradicts(clue: &Clue<'_>, tenant: Option<&str>, home: &str) -> bool {
    clue.stamp.as_ref().is_some_and(|stamp| stamp.as_str() != home)
        || clue.tenant.as_ref().is_some_and(|named| Some(named.as_str()) != tenant)
}

/// Nobody is served where they do not belong. Judged by the plan, not by the table.
fn check_isolation(
    plan: &Plan,
    (table, standings): (&RoutingTable, &[StampStanding]),
    request: &Request,
    (clues, story): (&Clues<'_>, &Story<'_>),
) {
    let Ok(target) = story.target else { return assert!(story.ways.is_none()) };
    let home = number(table.stamp(target.home).id.as_str());
    let name = target.tenant_name(table);
    let listed = name.map(number).filter(|at| *at < TENANTS);
    let vouched = clues.jwt.is_some();
    if let Some(at) = listed {
        assert_eq!(plan.tenants[at].home, home);
        assert_eq!(STATES[plan.tenants[at].state], "active");
    }
    assert!(vouched || !plan.stamps[home].verified);
    assert!(vouched || request.host != "jwt.test");
    let leader = clues.iter().next().unwrap();
    for clue in clues.iter().filter(|clue| !plan.reports() || clue.source == leader.source) {
        assert!(!contradicts(clue, name, &format!("s{home}")), "{clue:?}");
    }
    let ways = story.ways.as_ref().unwrap();
    if let Ok(choice) = ways.choice {
        check_choice(plan, (table, standings), request, (listed, home, choice));
    }
}

/// The stamp that was chosen may serve this tenant of that home.
fn check_choice(
    plan: &Plan,
    (table, standings): (&RoutingTable, &[StampStanding]),
    request: &Request,
    (tenant, home, choice): (Option<usize>, usize, Choice),
) {
    let stamp = number(table.stamp(choice.stamp).id.as_str());
    let standing = standings[choice.stamp.at()];
    assert!(standing.operator.takes_requests());
    assert!(plan.may_be_at(tenant, home, stamp));
    let sound = matches!(standing.health, StampHealth::Up | StampHealth::Unknown);
    let is_trial = matches!(choice.route, Route::HomeTrial | Route::EdgeTrial { .. });
    assert!(if is_trial { standing.health == StampHealth::Trial && request.trial } else { sound });
    if stamp != home {
        let edge = plan.stamps[home].edges.iter().find(|(to, _)| *to == stamp);
        let (_, read_only) = edge.expect("only a declared secondary");
        assert!(!read_only || request.method == MethodClass::Safe);
    }
}

/// The chain tells the same as the choice.
fn check_candidates(table: &RoutingTable, standings: &[StampStanding], story: &Story<'_>) {
    let Some(ways) = &story.ways else { return };
    let chosen = |it: &&Candidate| matches!(it.verdict, Verdict::Serves | Verdict::Tried);
    let chosen: Vec<_> = ways.candidates.iter().filter(chosen).map(|it| it.stamp).collect();
    assert_eq!(chosen, ways.choice.ok().map(|choice| choice.stamp).as_slice());
    if let Err(refusal) = ways.choice {
        check_refusal(standings, refusal, &ways.candidates);
    }
    let home = &ways.candidates[0];
    assert_eq!(home.edge, None);
    assert_eq!(ways.candidates.len(), 1 + table.stamp(home.stamp).failover.len());
    for candidate in &ways.candidates {
        let standing = standings[candidate.stamp.at()];
        match candidate.verdict {
            Verdict::OutOfService(state) => assert_eq!(standing.operator, state),
            Verdict::NotHealthy(health) => assert_eq!(standing.health, health),
            Verdict::Tried => assert_eq!(standing.health, StampHealth::Trial),
            Verdict::Serves | Verdict::Fenced | Verdict::ReadOnly | Verdict::NotAsked => {
                assert!(standing.is_eligible());
            }
        }
    }
}

/// The chain shows why nobody serves.
fn check_refusal(standings: &[StampStanding], refusal: Refusal, candidates: &[Candidate]) {
    let has = |wanted| candidates.iter().any(|it| it.verdict == wanted);
    match refusal {
        Refusal::ResidencyFenced { .. } => assert!(has(Verdict::Fenced)),
        Refusal::ReadOnlyFailover { .. } => assert!(has(Verdict::ReadOnly)),
        Refusal::StampDraining { home } => assert!(!standings[home.at()].operator.takes_requests()),
        Refusal::StampUnavailable { home } => {
            assert!(standings[home.at()].operator.takes_requests());
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1024))]

    #[test]
    fn nobody_is_served_where_they_do_not_belong(
        plan in plans(), standings in standings(), requests in prop::collection::vec(requests(), 16)
    ) {
        let table = plan.table();
        for request in &requests {
            request.told(&table, &standings, |clues, story| {
                check_isolation(&plan, (&table, &standings), request, (clues, story));
                check_candidates(&table, &standings, story);
            });
        }
    }

    #[test]
    fn what_is_explained_is_what_is_decided(
        plan in plans(), standings in standings(), requests in prop::collection::vec(requests(), 16)
    ) {
        let (table, again) = (plan.table(), plan.table());
        for request in &requests {
            let decided = |table: &RoutingTable| {
                let (headers, claims) = (request.headers(), request.claims());
                let head = Head { version: Version::HTTP_11, authority: None, headers: &headers };
                let clues = identify::clues(&head, table, Peer::Untrusted, claims.as_ref());
                let target = resolve(table, &clues.map_err(IdentifyError::code)?);
                let target = target.map_err(ResolveError::code)?;
                let needs = Needs::of(&target, request.method, (table, &standings));
                let chosen = choose_or_try(table, &standings, needs, |_, risk| request.offers(risk));
                let name = target.tenant_name(table).map(str::to_owned);
                Ok::<_, &str>((name, target.home, target.source, chosen))
            };
            let explained = request.told(&table, &standings, |_, story| {
                let target = story.target.map_err(|denied| match denied {
                    stamp_core::explain::Denied::Identify(error) => error.code(),
                    stamp_core::explain::Denied::Resolve(error) => error.code(),
                })?;
                let name = target.tenant_name(&table).map(str::to_owned);
                Ok((name, target.home, target.source, story.ways.as_ref().unwrap().choice))
            });
            let first = decided(&table);
            prop_assert_eq!(&first, &decided(&again));
            if let Some(explained) = explained {
                prop_assert_eq!(&explained, &first);
            }
        }
    }

    #[test]
    fn one_more_word_never_opens_another_stamp(
        plan in plans(), standings in standings(), request in requests(), without in 0_usize..4
    ) {
        let table = plan.table();
        let mut less = request.clone();
        match less.fields.get_mut(without) {
            Some(field) => *field = None,
            None => less.token = None,
        }
        let served = |request: &Request| {
            request.told(&table, &standings, |_, story| {
                let stamp = story.ways.as_ref().and_then(|ways| ways.choice.ok()).map(|it| it.stamp);
                (story.target, stamp)
            })
        };
        let (before, after) = (served(&less), served(&request));
        if let (Some((before, at_first)), Some((Ok(after), then))) = (before, after) {
            match before {
                // With `report` a stronger word overrules a weaker one, so it may lead elsewhere.
                Ok(before) if before.source == after.source => {
                    prop_assert_eq!(before.home, after.home);
                    // A tenant's own fence may forbid what its home's allows, and never the reverse.
                    if let (Some(first), Some(then)) = (at_first, then) && before.tenant == after.tenant {
                        prop_assert_eq!(first, then);
                    }
                }
                Ok(_) => prop_assert!(plan.reports() || before.unwrap().home == after.home),
                Err(error) => {
                    let gives = matches!(
                        error,
                        stamp_core::explain::Denied::Resolve(
                            ResolveError::Missing | ResolveError::Unverified
                        )
                    );
                    prop_assert!(gives || plan.reports(), "{:?}", error);
                    prop_assert!(after.verified || !plan.stamps[after.home.at()].verified);
                }
            }
        }
    }
}

#[test]
fn stamps_keep_their_order() {
    // `check_isolation` reads places of the plan from names; indexes follow the file.
    let stamp = || Stamp { zone: None, edges: Vec::new(), verified: false };
    let tenants = vec![Tenant { home: 0, state: 0, wide: false }; TENANTS];
    let plan = Plan { stamps: vec![stamp(), stamp()], tenants, conflict: "reject", places: false };
    assert_eq!(plan.table().stamp(StampIndex(1)).id.as_str(), "s1");
}
