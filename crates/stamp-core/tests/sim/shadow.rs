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
mod flips;
mod orders;

/// What is published of an endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    Up,
    /// Up again, with so many per cent of its share.
    Warming(u8),
    Unknown,
    Trial,
    ProbeDown,
    BreakerOpen,
}

impl Standing {
    /// Known good, whatever its share.
    const fn is_up(self) -> bool {
        matches!(self, Self::Up | Self::Warming(_))
    }

    /// May requests go there that are no trial?
    const fn is_usable(self) -> bool {
        matches!(self, Self::Up | Self::Warming(_) | Self::Unknown)
    }
}

/// What is published of a stamp's operator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Operator {
    Active,
    Draining,
    Drained,
    Maintenance,
    Warming,
}

impl Operator {
    /// May new requests go there?
    const fn allows(self) -> bool {
        matches!(self, Self::Active | Self::Warming)
    }
}

/// Who answers for a home.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Serves {
    Home,
    Edge(StampKey),
    /// So many of a hundred slots of tenants go over the edge.
    Split {
        edge: StampKey,
        away: u8,
    },
    Nobody,
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
    HomeWarmed,
    Ordered,
    Drill,
    SelfSuspect,
    LastResort,
    Recovered,
    Recalled,
}

/// A change as the gateway tells of it.
#[derive(Clone, Debug)]
pub(crate) enum Told {
    Endpoint { endpoint: EndpointKey, was: Standing, is: Standing },
    Breaker { endpoint: EndpointKey, was: BreakerIs, is: BreakerIs, is_explained: bool },
    Health { stamp: StampKey, was: Health, is: Health },
    Operator { stamp: StampKey, was: Operator, is: Operator },
    Flip { home: StampKey, ends: Ends, is: Serves, why: FlipWhy },
    Suspicion { suspects: bool },
    Barred { home: StampKey },
}

/// Who answered before a flip and who does after it, as told.
pub(crate) type Ends = (Option<StampKey>, Option<StampKey>);

/// A stamp as published.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SeenStamp {
    pub(crate) key: StampKey,
    pub(crate) operator: Operator,
    pub(crate) health: Health,
    pub(crate) serves: Serves,
    pub(crate) flips: u64,
}

/// Everything as published.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) revision: u64,
    pub(crate) suspects: bool,
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
    /// A word of the operator's that is not journalled: a failback, a drill.
    Word,
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
    /// What probes and breaker say.
    evidence_says: Standing,
    /// What is published: another only while the gateway suspects itself.
    standing: Standing,
    /// As the changes told it.
    told: Standing,
    /// When it was taken out the last time.
    out_since: Micros,
    /// Since when it is up again after it was out.
    warms_since: Option<Micros>,
}

/// What an endpoint's probes add up to, with those since the last of the other kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Probes {
    Unknown {
        bad: u64,
    },
    Up {
        bad: u64,
    },
    Down {
        good: u64,
    },
    /// Down, and never was up.
    Absent,
}

/// What the shadow knows of a stamp.
#[derive(Clone, Debug)]
struct StampModel {
    operator: Operator,
    health: Health,
    health_since: Micros,
    operator_since: Micros,
    serves: Serves,
    why: Option<FlipWhy>,
    flipped_at: Micros,
    /// Since when it takes over from an edge.
    returns_since: Option<Micros>,
    is_home_since: Option<Micros>,
    /// When it was lost: those that count together.
    losses: Vec<Micros>,
    /// The operator lets it come home.
    is_released: bool,
    /// Percent, and until when.
    drill: Option<(u8, Micros)>,
    was_up: bool,
    failed_at: Option<Micros>,
    is_warm: bool,
    flips: u64,
    /// Its endpoints were not good all the time since it answered for itself.
    was_lost: bool,
    is_empty: bool,
    told_operator: Operator,
    told_health: Health,
}

/// What operators want of a stamp.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Word {
    Active,
    Draining,
    Maintenance,
    Warming,
}

/// What an operator decided last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Record {
    word: Word,
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
    /// Homes that waited for their operator when the process before this one ended, and for whom.
    waited: BTreeMap<StampKey, StampKey>,
    suspects: bool,
    /// Since when it does although no more than half fail.
    eases_since: Option<Micros>,
    /// It ever did, in this life of the process.
    has_suspected: bool,
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
    pub(crate) splits: u64,
    pub(crate) suspicions: u64,
    pub(crate) barred: u64,
    pub(crate) recalled: u64,
    pub(crate) again: u64,
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
            waited: BTreeMap::new(),
            suspects: false,
            eases_since: None,
            has_suspected: false,
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
            let is_home = model.serves == Serves::Home || self.plan.tenants_on(home) == 0;
            let is_out = !model.operator.allows() || self.waits_for_operator(home);
            self.must(is_home || is_out, || {
                format!("{} is not home yet: {model:?}", plan::name(home))
            });
        }
    }

    /// The homes that another stamp answers for.
    pub(crate) fn away(&self) -> Vec<StampKey> {
        let away = self.stamps.iter().filter(|(_, model)| matches!(model.serves, Serves::Edge(_)));
        away.map(|(key, _)| *key).collect()
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
        self.splits += other.splits;
        self.suspicions += other.suspicions;
        self.barred += other.barred;
        self.recalled += other.recalled;
        self.again += other.again;
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
            self.splits,
            self.suspicions,
            self.barred,
            self.recalled,
            self.again,
            self.unpaid,
            self.entitled,
        ];
        happened.iter().chain(&self.refusals).all(|count| *count > 0)
    }
}
