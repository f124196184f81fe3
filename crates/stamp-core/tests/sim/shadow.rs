//! The independent model: what must be so by the contract, worked out from what happened and never
//! by asking the code under test. `fleet` watches standings and flips, `course` watches requests,
//! `orders` watches operators. The first law that is broken ends the simulation.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::rc::Rc;

use crate::plan::{self, Declared, EndpointKey, Plan, StampKey};
use crate::world::Micros;

pub(crate) use course::{Chosen, Effort, Judged, Refusal, Reported, Stop};
pub(crate) use evidence::Failed;
pub(crate) use fleet::Lesson;
pub(crate) use orders::{Asked, Decided};

mod course;
mod evidence;
mod fleet;
mod orders;

/// What is published of an endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    Up,
    Unknown,
    Trial,
    ProbeDown,
    BreakerOpen,
}

/// What is published of a stamp's operator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Operator {
    Active,
    Draining,
    Drained,
    Maintenance,
}

/// What is published of a stamp's endpoints together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Health {
    Up,
    Unknown,
    Trial,
    Down,
}

/// What is told of a breaker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BreakerIs {
    Closed,
    Open { until: Micros },
    HalfOpen,
}

/// The reason that is told of a flip.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FlipWhy {
    HomeDrained,
    HomeDown,
    EdgeLost,
    HomeHeld,
    HomeUndrained,
    LastResort,
    Recovered,
}

/// A change as the gateway tells of it.
#[derive(Clone, Debug)]
pub(crate) enum Told {
    Endpoint { endpoint: EndpointKey, was: Standing, is: Standing },
    Breaker { endpoint: EndpointKey, was: BreakerIs, is: BreakerIs, is_explained: bool },
    Health { stamp: StampKey, was: Health, is: Health },
    Operator { stamp: StampKey, was: Operator, is: Operator },
    Flip { home: StampKey, from: Option<StampKey>, to: Option<StampKey>, why: FlipWhy },
}

/// A stamp as published.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SeenStamp {
    pub(crate) key: StampKey,
    pub(crate) operator: Operator,
    pub(crate) health: Health,
    pub(crate) serves: Option<StampKey>,
    pub(crate) flips: u64,
}

/// Everything as published.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) revision: u64,
    pub(crate) stamps: Vec<SeenStamp>,
    pub(crate) endpoints: Vec<(EndpointKey, Standing)>,
}

/// What was just done to the fleet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    Start,
    Probe,
    Report(EndpointKey),
    Tick,
    Order,
    Count,
    Adopt,
}

/// What the shadow knows of an endpoint.
#[derive(Clone, Debug)]
struct EndpointModel {
    probes: Probes,
    breaker: BreakerIs,
    closed_since: Micros,
    trips: u32,
    evidence: evidence::Evidence,
    turn: evidence::Turn,
    standing: Standing,
    /// As the changes told it.
    told: Standing,
}

/// What an endpoint's probes add up to, with those since the last of the other kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Probes {
    Unknown { bad: u64 },
    Up { bad: u64 },
    Down { good: u64 },
}

/// What the shadow knows of a stamp.
#[derive(Clone, Debug)]
struct StampModel {
    operator: Operator,
    health: Health,
    health_since: Micros,
    serves: Option<StampKey>,
    flips: u64,
    /// Its endpoints were not good all the time since it answered for itself.
    was_lost: bool,
    is_empty: bool,
    told_operator: Operator,
    told_health: Health,
}

/// What an operator decided last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Record {
    drains: bool,
    over: Declared,
}

/// What was true when a View was published.
#[derive(Clone, Debug)]
struct Facts {
    plan: Rc<Plan>,
    stamps: BTreeMap<StampKey, StampModel>,
    endpoints: BTreeMap<EndpointKey, Standing>,
}

/// The model.
#[derive(Debug)]
pub(crate) struct Shadow {
    breach: Option<String>,
    plan: Rc<Plan>,
    endpoints: BTreeMap<EndpointKey, EndpointModel>,
    stamps: BTreeMap<StampKey, StampModel>,
    records: BTreeMap<StampKey, Record>,
    /// As written in the journal.
    durable: BTreeMap<StampKey, Record>,
    /// An order that is being written.
    pending: Option<(StampKey, Record)>,
    /// Drains that were answered: they hold at every worker.
    promised: BTreeSet<StampKey>,
    facts: VecDeque<(usize, Rc<Facts>)>,
    versions: usize,
    seen: Seen,
    budgets: BTreeMap<u32, course::Bucket>,
    courses: BTreeMap<u64, course::Course>,
    trials: BTreeSet<EndpointKey>,
    /// All is well and has been for long enough: from now on requests succeed.
    is_strict: bool,
    pub(crate) counts: Counts,
}

/// What was exercised, so that a simulation that tests nothing is seen.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Counts {
    pub(crate) requests: u64,
    pub(crate) succeeded: u64,
    pub(crate) repeats: u64,
    pub(crate) hops: u64,
    pub(crate) trials: u64,
    pub(crate) trips: u64,
    pub(crate) flips: u64,
    pub(crate) drains: u64,
    pub(crate) reloads: u64,
    pub(crate) refusals: [u64; 4],
    pub(crate) unpaid: u64,
    pub(crate) entitled: u64,
}

impl Shadow {
    pub(crate) fn new(plan: Rc<Plan>) -> Self {
        Self {
            breach: None,
            plan,
            endpoints: BTreeMap::new(),
            stamps: BTreeMap::new(),
            records: BTreeMap::new(),
            durable: BTreeMap::new(),
            pending: None,
            promised: BTreeSet::new(),
            facts: VecDeque::new(),
            versions: 0,
            seen: Seen::default(),
            budgets: BTreeMap::new(),
            courses: BTreeMap::new(),
            trials: BTreeSet::new(),
            is_strict: false,
            counts: Counts::default(),
        }
    }

    /// The law that was broken, if one was.
    pub(crate) const fn breach(&self) -> Option<&String> {
        self.breach.as_ref()
    }

    /// What must hold. The first that does not is remembered.
    pub(crate) fn must(&mut self, holds: bool, law: impl FnOnce() -> String) {
        if !holds && self.breach.is_none() {
            self.breach = Some(law());
        }
    }

    /// From now on every request that somebody could serve must succeed.
    pub(crate) fn demand_success(&mut self) {
        self.is_strict = true;
        for (home, model) in self.stamps.clone() {
            let is_home = model.serves == Some(home) || self.plan.tenants_on(home) == 0;
            let is_out = model.operator != Operator::Active;
            self.must(is_home || is_out, || {
                format!("{} is not home yet: {model:?}", plan::name(home))
            });
        }
    }

    fn facts(&self, version: usize) -> Rc<Facts> {
        let found = self.facts.iter().rev().find(|(known, _)| *known == version);
        Rc::clone(&found.unwrap().1)
    }
}

impl Counts {
    /// Adds those of another simulation.
    pub(crate) fn add(&mut self, other: Self) {
        self.requests += other.requests;
        self.succeeded += other.succeeded;
        self.repeats += other.repeats;
        self.hops += other.hops;
        self.trials += other.trials;
        self.trips += other.trips;
        self.flips += other.flips;
        self.drains += other.drains;
        self.reloads += other.reloads;
        self.unpaid += other.unpaid;
        self.entitled += other.entitled;
        for (sum, more) in self.refusals.iter_mut().zip(other.refusals) {
            *sum += more;
        }
    }

    /// Did everything happen that laws are about?
    pub(crate) fn is_telling(&self) -> bool {
        let happened = [
            self.succeeded,
            self.repeats,
            self.hops,
            self.trials,
            self.trips,
            self.flips,
            self.drains,
            self.reloads,
            self.unpaid,
            self.entitled,
        ];
        happened.iter().chain(&self.refusals).all(|count| *count > 0)
    }
}
