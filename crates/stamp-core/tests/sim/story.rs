//! One simulation: a gateway, its clients and operators, and everything that goes wrong; then calm,
//! in which all must become well.

use std::rc::Rc;

use stamp_core::fleet::Waiting;

use crate::gateway::{Event, Gateway, World, load};
use crate::machines::{BLIND, FAULTS, Fault};
use crate::plan::{EndpointKey, NAMES, Plan, StampKey, name};
use crate::requests::{Host, Request};
use crate::shadow::{Asked, Counts, Shadow};
use crate::world::{Dice, History, MS, Micros, SECOND};

/// For so long after the calm everything must succeed.
const STRICT: Micros = 2 * SECOND;

/// Something that happens around the gateway.
#[derive(Debug)]
pub(crate) enum Around {
    Client,
    /// One of many requests for the same tenant.
    StormClient(Host),
    Storm,
    Trouble,
    Flap(EndpointKey, Fault, u64),
    Mend(EndpointKey),
    Order,
    Drill,
    /// Most stamps fail at once: it must be the gateway.
    Blackout,
    Reload,
    Restart,
    /// The whole world sleeps for about an hour, but for the clock.
    Hour,
    Calm,
    Strict,
    End,
}

/// A simulation under way.
struct Story {
    world: World,
    gateway: Gateway,
    requests: u64,
    /// The stamp that an operator had a word about.
    ordered: Option<StampKey>,
    /// The process is to be killed once a home was lost so often that it waits for its operator.
    kills_when_barred: bool,
    is_calm: bool,
}

/// Runs one seed to its end, or to the first law that is broken.
pub(crate) fn run(seed: u64, history: History) -> Result<Counts, String> {
    let mut dice = Dice::new(seed);
    let plan = Rc::new(Plan::drawn(&mut dice));
    let shadow = Shadow::new(Rc::clone(&plan));
    let mut world = World::new(dice, history, shadow);
    world.note(|| format!("the table:\n{}", plan.toml()));
    let waiting = Waiting::default().encode();
    let Some(gateway) = Gateway::start((&plan, 0), (String::new(), &waiting), &mut world) else {
        return Err(format!("a sound table is refused:\n{}", plan.toml()));
    };
    let kills_when_barred = seed.is_multiple_of(2);
    let mut story =
        Story { world, gateway, requests: 0, ordered: None, kills_when_barred, is_calm: false };
    story.plan();
    story.play()
}

impl Story {
    fn plan(&mut self) {
        let length = self.world.dice.between(8, 20) * SECOND;
        self.after(0, Around::Client);
        for (around, most) in [
            (Around::Trouble, 3 * SECOND),
            (Around::Storm, 12 * SECOND),
            (Around::Order, 6 * SECOND),
            (Around::Drill, 20 * SECOND),
            (Around::Blackout, 60 * SECOND),
            (Around::Reload, 6 * SECOND),
            (Around::Restart, 40 * SECOND),
        ] {
            let wait = self.world.dice.between(200 * MS, most);
            self.after(wait, around);
        }
        if self.world.dice.percent(50) {
            let wait = self.world.dice.between(3 * SECOND, length);
            self.after(wait, Around::Hour);
        }
        self.after(length, Around::Calm);
    }

    fn after(&mut self, wait: Micros, around: Around) {
        self.world.after(wait, Event::Around(around));
    }

    fn play(mut self) -> Result<Counts, String> {
        while let Some(event) = self.world.next() {
            match event {
                Event::Gateway(life, inside) => {
                    self.gateway.happens(life, inside, &mut self.world);
                }
                Event::Around(Around::End) => break,
                Event::Around(Around::Restart) if !self.is_calm => {
                    self.world.note(|| "the process is killed and started again".to_owned());
                    let Some(gateway) = self.gateway.restarted(&mut self.world) else {
                        return Err("the table in force is refused at a restart".to_owned());
                    };
                    self.gateway = gateway;
                    self.after(15 * SECOND, Around::Restart);
                }
                Event::Around(around) => self.happens(&around),
            }
            if self.kills_when_barred && self.world.shadow.has_barred_home() {
                self.kills_when_barred = false;
                self.after(SECOND / 2, Around::Restart);
                // Long enough for any time to hold.
                self.after(3 * SECOND, Around::Hour);
            }
            if let Some(breach) = self.world.shadow.breach() {
                let breach = breach.clone();
                self.world.note(|| format!("BROKEN: {breach}"));
                return Err(breach);
            }
        }
        Ok(self.world.shadow.counts)
    }

    fn happens(&mut self, around: &Around) {
        match *around {
            Around::Client => self.client(),
            Around::StormClient(host) => {
                self.send(|number, _, dice| Request::of(number, host, dice));
            }
            Around::Flap(endpoint, fault, left) if !self.is_calm => {
                self.flap(endpoint, fault, left);
            }
            Around::Mend(endpoint) => {
                self.world.note(|| format!("{endpoint:?} is mended"));
                let now = self.world.now;
                self.world.machines.of(endpoint).set(Fault::None, false, now);
            }
            Around::Trouble if !self.is_calm => self.trouble(),
            Around::Storm if !self.is_calm => self.storm(),
            Around::Order if !self.is_calm => self.order(),
            Around::Drill if !self.is_calm => self.drill(),
            Around::Blackout if !self.is_calm => self.blackout(),
            Around::Reload if !self.is_calm => self.reload(),
            Around::Hour if !self.is_calm => self.hour(),
            Around::Calm => self.calm(),
            Around::Strict => {
                self.world.note(|| "from now on everything must succeed".to_owned());
                self.world.shadow.demand_success();
                self.after(STRICT, Around::End);
            }
            Around::Flap(..)
            | Around::Trouble
            | Around::Storm
            | Around::Order
            | Around::Drill
            | Around::Blackout
            | Around::Reload
            | Around::Restart
            | Around::Hour
            | Around::End => {}
        }
    }

    fn send(&mut self, draw: impl FnOnce(u64, &Plan, &mut Dice) -> Request) {
        self.requests += 1;
        let plan = Rc::clone(self.gateway.plan());
        let request = Rc::new(draw(self.requests, &plan, &mut self.world.dice));
        self.gateway.serve(request, &mut self.world);
    }

    fn client(&mut self) {
        self.send(Request::drawn);
        let most = if self.is_calm { 60 } else { 50 };
        let wait = self.world.dice.between(MS, most * MS);
        self.after(wait, Around::Client);
    }

    /// Many clients of one tenant at once; mostly its home just began to fail, and one tenant alone
    /// opens no breaker.
    fn storm(&mut self) {
        let plan = Rc::clone(self.gateway.plan());
        let tenants: Vec<_> = plan.tenants.iter().map(|(key, it)| (*key, it.home)).collect();
        let (tenant, home) = *self.world.dice.pick(&tenants);
        let host = Host::Tenant(tenant);
        self.world.note(|| format!("a storm for {host:?}"));
        if self.world.dice.percent(60) {
            let fault = *self.world.dice.pick(&BLIND);
            self.fail(home, (fault, false), 100);
        }
        for _ in 0..self.world.dice.between(50, 500) {
            let wait = self.world.dice.between(0, SECOND);
            self.after(wait, Around::StormClient(host));
        }
        let wait = self.world.dice.between(4 * SECOND, 20 * SECOND);
        self.after(wait, Around::Storm);
    }

    /// Some or all endpoints of a stamp fail in the same way.
    fn trouble(&mut self) {
        let plan = Rc::clone(self.gateway.plan());
        let stamp = self.world_stamp(&plan);
        let dice = &mut self.world.dice;
        let (fault, probes_fail) = (*dice.pick(&FAULTS), dice.percent(50));
        let share = if dice.percent(60) { 100 } else { 50 };
        self.fail(stamp, (fault, probes_fail), share);
        let wait = self.world.dice.between(50 * MS, 2 * SECOND);
        self.after(wait, Around::Trouble);
    }

    /// So many of a hundred endpoints of a stamp begin to fail, for a while.
    fn fail(&mut self, stamp: StampKey, (fault, probes_fail): (Fault, bool), share: u64) {
        let plan = Rc::clone(self.gateway.plan());
        let flaps = self.world.dice.percent(20);
        let lasts = self.world.dice.between(200 * MS, 6 * SECOND);
        for endpoint in plan.endpoints().filter(|key| key.0 == stamp) {
            if !self.world.dice.percent(share) {
                continue;
            }
            if flaps {
                self.after(0, Around::Flap(endpoint, fault, 8));
                continue;
            }
            self.world.note(|| format!("{endpoint:?} fails: {fault:?}, probes too: {probes_fail}"));
            let now = self.world.now;
            self.world.machines.of(endpoint).set(fault, probes_fail, now);
            self.after(lasts, Around::Mend(endpoint));
        }
    }

    fn flap(&mut self, endpoint: EndpointKey, fault: Fault, left: u64) {
        let now = self.world.now;
        let fault_now = if left.is_multiple_of(2) { fault } else { Fault::None };
        self.world.note(|| format!("{endpoint:?} flaps: {fault_now:?}"));
        self.world.machines.of(endpoint).set(fault_now, true, now);
        if left > 0 {
            let wait = self.world.dice.between(100 * MS, SECOND);
            self.after(wait, Around::Flap(endpoint, fault, left - 1));
        } else {
            self.after(0, Around::Mend(endpoint));
        }
    }

    fn order(&mut self) {
        let plan = Rc::clone(self.gateway.plan());
        // Operators do one thing after the other, sooner than a stamp can follow.
        let again = self.ordered.filter(|_| self.world.dice.percent(40));
        let stamp = if let Some(again) = again {
            again
        } else if self.world.dice.percent(95) {
            self.world_stamp(&plan)
        } else {
            StampKey::try_from(self.world.dice.below(u64::try_from(NAMES.len()).unwrap())).unwrap()
        };
        let asked = *self.world.dice.pick(&[
            Asked::Drain,
            Asked::Drain,
            Asked::Drain,
            Asked::ForcedDrain,
            Asked::Undrain,
            Asked::Undrain,
            Asked::Undrain,
            Asked::Maintenance,
            Asked::ForcedMaintenance,
            Asked::Warming,
            Asked::Warming,
            Asked::Active,
            Asked::Active,
        ]);
        self.world.note(|| format!("an operator orders: {asked:?} {}", name(stamp)));
        self.gateway.order(stamp, asked, &mut self.world);
        self.ordered = Some(stamp);
        let most = if self.world.dice.percent(30) { 200 * MS } else { 4 * SECOND };
        let wait = self.world.dice.between(10 * MS, most);
        self.after(wait, Around::Order);
    }

    /// An operator drills, ends a drill, or lets requests come home.
    fn drill(&mut self) {
        let plan = Rc::clone(self.gateway.plan());
        let stamp = self.world_stamp(&plan);
        let dice = &mut self.world.dice;
        let percent = u8::try_from(dice.between(1, 100)).unwrap();
        let lasts = dice.between(100 * MS, 3 * SECOND);
        let drill = dice.percent(70).then_some((percent, lasts));
        if dice.percent(60) {
            self.gateway.ask_for_drill(stamp, drill, &mut self.world);
        } else {
            let away = self.world.shadow.away();
            let stamp = if away.is_empty() { stamp } else { *self.world.dice.pick(&away) };
            self.gateway.let_come_home(stamp, &mut self.world);
        }
        let wait = self.world.dice.between(200 * MS, 5 * SECOND);
        self.after(wait, Around::Drill);
    }

    /// Nothing reaches anybody.
    fn blackout(&mut self) {
        let plan = Rc::clone(self.gateway.plan());
        self.world.note(|| "a blackout".to_owned());
        let lasts = self.world.dice.between(500 * MS, 6 * SECOND);
        for endpoint in plan.endpoints() {
            if self.world.dice.percent(90) {
                let now = self.world.now;
                self.world.machines.of(endpoint).set(Fault::BlackHole, true, now);
                self.after(lasts, Around::Mend(endpoint));
            }
        }
    }

    fn world_stamp(&mut self, plan: &Plan) -> StampKey {
        self.world.dice.pick(&plan.stamps).key
    }

    /// What counts for an hour is forgotten, or nearly. Nothing fails meanwhile: nobody would probe.
    fn hour(&mut self) {
        let now = self.world.now;
        self.world.machines.mend_all(now);
        let span = self.world.dice.between(3000, 4200) * SECOND;
        self.world.note(|| format!("{} seconds pass", span / SECOND));
        self.world.sleep(span);
    }

    /// Another table, which is refused when somebody would leave its residency by it.
    fn reload(&mut self) {
        let (plan, dice) = (Rc::clone(self.gateway.plan()), &mut self.world.dice);
        let edited = plan.edited(dice);
        let plan = if dice.percent(20) { edited.leaking(dice) } else { edited };
        let table = load(&plan, Some(self.gateway.table()));
        let is_sound = plan.is_sound();
        self.world.note(|| format!("a reload, sound: {is_sound}:\n{}", plan.toml()));
        let is_right = table.is_some() == is_sound;
        self.world.shadow.must(is_right, || {
            format!("sound: {is_sound}, taken: {}:\n{}", !is_sound, plan.toml())
        });
        if let Some(table) = table {
            self.gateway.install(table, Rc::new(plan), &mut self.world);
        }
        let wait = self.world.dice.between(200 * MS, 6 * SECOND);
        self.after(wait, Around::Reload);
    }

    /// Nothing fails any more; soon enough all must be well.
    fn calm(&mut self) {
        self.world.note(|| "nothing fails any more".to_owned());
        self.is_calm = true;
        let now = self.world.now;
        self.world.machines.mend_all(now);
        let slowest = self.gateway.plan().stamps.iter().map(|stamp| {
            let policy = &stamp.policy;
            let probes = (policy.interval * 11 / 10 + policy.probe_timeout) * (policy.rise + 1);
            // An open breaker, and one that opened by what was still in flight.
            let breaker = policy.open_for_max * 11 / 10 * 2 + 2000;
            probes + breaker + policy.hold * 2 + policy.ramp * 2 + 2000
        });
        // Connections that rest from before are not used for longer than five seconds.
        let wait = slowest.max().unwrap_or_default().max(6000) * MS;
        self.after(wait, Around::Strict);
    }
}
