//! What the shell does around core, with several workers on one virtual clock. This and its modules
//! are all that uses core: it mirrors `state::control` and `proxy::forward` of the program.

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use stamp_core::balance::Tried;
use stamp_core::diagnostic::SourceText;
use stamp_core::fleet::Standings;
use stamp_core::id::StampId;
use stamp_core::operator::OperatorRecord;
use stamp_core::operator::journal::{self, JournalEntry};
use stamp_core::retry::RetryBudget;
use stamp_core::standing::EndpointStanding;
use stamp_core::table::{self, RoutingTable};
use stamp_core::time::Moment;

use crate::machines::Fate;
use crate::plan::{EndpointKey, Plan, StampKey};
use crate::requests::Request;
use crate::world::{MS, Micros};
use control::Control;

mod call;
mod choose;
mod control;
mod prober;
mod seen;

/// The simulation's world, with its events.
pub(crate) type World = crate::world::World<Event>;

/// Something that happens.
#[derive(Debug)]
pub(crate) enum Event {
    /// To the gateway of this life: later ones know nothing of it.
    Gateway(u32, Inside),
    /// To the world around it.
    Around(crate::story::Around),
}

/// Something that happens inside the gateway.
#[derive(Debug)]
pub(crate) enum Inside {
    AttemptEnds(u64, u32),
    PauseEnds(u64),
    /// This attempt of the request is not answered soon.
    Waits(u64, u32),
    BodyEnds {
        worker: usize,
        endpoint: u32,
        stamp: u32,
        link: Option<Link>,
    },
    ControlWakes,
    Tick(u64),
    WorkerSees(usize, Rc<View>),
    Acknowledged(usize, u64),
    Written(Box<JournalEntry>),
    Journalled(Box<JournalEntry>),
    Probe(u32, u64),
    Probed {
        endpoint: u32,
        round: u64,
        good: bool,
    },
}

/// What operators decided, by stamp.
type Records = BTreeMap<StampId<'static>, OperatorRecord>;

/// Workers, each an OS thread in the program.
const WORKERS: usize = 3;

/// One stamp's counters: they live as long as its id is in the table.
#[derive(Debug)]
pub(crate) struct StampCell {
    number: u32,
    key: StampKey,
    in_flight: Cell<u32>,
    budget: Cell<u64>,
}

/// One endpoint's counters.
#[derive(Debug)]
pub(crate) struct EndpointCell {
    number: u32,
    key: EndpointKey,
    trial_is_free: Cell<bool>,
    /// When a request that might be lost first left the trial to others.
    trial_left_at: Cell<Option<Micros>>,
    successes: Cell<u64>,
}

/// What is published.
#[derive(Debug)]
pub(crate) struct View {
    version: usize,
    table: Rc<RoutingTable>,
    plan: Rc<Plan>,
    standings: Standings,
    stamps: Vec<Rc<StampCell>>,
    endpoints: Vec<Rc<EndpointCell>>,
}

/// A connection.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Link {
    /// The machine's life that it belongs to.
    life: u32,
    rests_since: Micros,
}

/// One worker's own.
#[derive(Debug)]
struct Worker {
    view: Rc<View>,
    links: BTreeMap<u32, Vec<Link>>,
    load: BTreeMap<u32, u32>,
    turns: BTreeMap<u32, u64>,
}

/// The gateway.
#[derive(Debug)]
pub(crate) struct Gateway {
    life: u32,
    /// In force.
    view: Rc<View>,
    workers: Vec<Worker>,
    control: Control,
    calls: BTreeMap<u64, Call>,
    /// On disk: outlives the process.
    journal: String,
}

/// A request on its way, as the gateway knows it.
#[derive(Debug)]
struct Call {
    request: Rc<Request>,
    worker: usize,
    view: Rc<View>,
    target: stamp_core::resolve::Target,
    method: stamp_core::retry::MethodClass,
    choice: stamp_core::failover::Choice,
    tried: Tried,
    made: u32,
    wants_fresh: bool,
    deadline: Option<Micros>,
    body_is_touched: bool,
    /// All of them, for their events.
    attempts: u32,
    place: Option<Place>,
}

/// Where an attempt is.
#[derive(Debug)]
struct Place {
    at: usize,
    stamp: Rc<StampCell>,
    endpoint: Rc<EndpointCell>,
    is_trial: bool,
    began: Micros,
    /// The life of the machine when the attempt began.
    life: u32,
    fate: Fate,
}

const fn moment(now: Micros) -> Moment {
    Moment(std::time::Duration::from_micros(now))
}

/// The table of this plan, if core takes it.
pub(crate) fn load(plan: &Plan, former: Option<&RoutingTable>) -> Option<RoutingTable> {
    let main = SourceText { path: "routing.toml".into(), text: plan.toml().into() };
    let mut no_files = |_: &std::path::Path| Err(std::io::ErrorKind::NotFound.into());
    table::load(main, &mut no_files, former).ok().map(|loaded| loaded.table)
}

/// The journal written anew, without a torn end, and what it says.
fn replayed(journal: &str) -> (String, Records) {
    let records = journal::replay(journal.as_bytes()).unwrap().records;
    let entries = records.iter().map(|(stamp, record)| {
        let (stamp, record) = (stamp.clone(), record.clone());
        journal::encode(&JournalEntry { stamp, record })
    });
    (entries.collect(), records)
}

impl Gateway {
    /// A gateway that starts with this table and this journal.
    pub(crate) fn start(
        (plan, life): (&Rc<Plan>, u32),
        (journal, waiting): (String, &str),
        world: &mut World,
    ) -> Option<Self> {
        let table = Rc::new(load(plan, None)?);
        world.shadow.start(world.now);
        let (journal, records) = replayed(&journal);
        let (control, view) = Control::start((table, Rc::clone(plan)), (records, waiting), world);
        let worker = || Worker {
            view: Rc::clone(&view),
            links: BTreeMap::new(),
            load: BTreeMap::new(),
            turns: BTreeMap::new(),
        };
        let workers = (0..WORKERS).map(|_| worker()).collect();
        let calls = BTreeMap::new();
        let mut gateway = Self { life, workers, view, control, calls, journal };
        gateway.follow_probes(world);
        gateway.tick(0, world);
        Some(gateway)
    }

    /// The process is killed and started again: what it wrote down is all that is left.
    pub(crate) fn restarted(self, world: &mut World) -> Option<Self> {
        let waiting = self.control.waiting();
        let journal = if world.dice.percent(30) { self.torn(world) } else { self.journal };
        Self::start((&self.view.plan, self.life + 1), (journal, &waiting), world)
    }

    /// A line was being written when the process died.
    fn torn(&self, world: &mut World) -> String {
        let tail = "0badf00d {\"v\":1,\"stamp\":";
        let end = usize::try_from(world.dice.below(24)).unwrap();
        format!("{}{}", self.journal, tail.split_at(end).0)
    }

    pub(crate) fn plan(&self) -> &Rc<Plan> {
        &self.view.plan
    }

    /// Something planned happens.
    pub(crate) fn happens(&mut self, life: u32, inside: Inside, world: &mut World) {
        if life != self.life {
            return;
        }
        match inside {
            Inside::AttemptEnds(number, attempt) => self.attempt_ends((number, attempt), world),
            Inside::Waits(number, attempt) => self.waits((number, attempt), world),
            Inside::PauseEnds(number) => self.pause_ends(number, world),
            Inside::BodyEnds { worker, endpoint, stamp, link } => {
                self.leave(worker, (endpoint, stamp));
                if let Some(link) = link {
                    let link = Link { rests_since: world.now, ..link };
                    self.workers[worker].links.entry(endpoint).or_default().push(link);
                }
            }
            Inside::ControlWakes => self.control_wakes(world),
            Inside::Tick(round) => self.tick(round, world),
            Inside::WorkerSees(worker, view) => self.worker_sees(worker, &view, world),
            Inside::Acknowledged(worker, asked) => self.acknowledged((worker, asked), world),
            Inside::Written(entry) => self.written(&entry, world),
            Inside::Journalled(entry) => self.journalled(*entry, world),
            Inside::Probe(endpoint, round) => self.probe((endpoint, round), world),
            Inside::Probed { endpoint, round, good } => {
                self.probed((endpoint, round), good, world);
            }
        }
    }

    fn later(&self, wait: Micros, inside: Inside, world: &mut World) {
        world.after(wait, Event::Gateway(self.life, inside));
    }

    /// A worker notices a View, unless it has a later one.
    fn worker_sees(&mut self, worker: usize, view: &Rc<View>, world: &mut World) {
        let own = &mut self.workers[worker];
        if view.version <= own.view.version {
            return;
        }
        own.view = Rc::clone(view);
        let known: BTreeSet<u32> = view.endpoints.iter().map(|cell| cell.number).collect();
        own.links.retain(|number, _| known.contains(number));
        let waiting = self.calls.iter().filter(|(_, call)| call.worker == worker);
        let waiting: Vec<_> = waiting.map(|(number, call)| (*number, call.attempts)).collect();
        for call in waiting {
            self.waits(call, world);
        }
    }

    /// Workers notice what was published, each in its own time.
    fn tell_workers(&self, world: &mut World) {
        for worker in 0..WORKERS {
            let wait = if world.dice.percent(10) {
                world.dice.between(5 * MS, 60 * MS)
            } else {
                world.dice.between(0, 2 * MS)
            };
            self.later(wait, Inside::WorkerSees(worker, Rc::clone(&self.view)), world);
        }
    }

    fn leave(&mut self, worker: usize, (endpoint, stamp): (u32, u32)) {
        if let Some(load) = self.workers[worker].load.get_mut(&endpoint) {
            *load -= 1;
        }
        if let Some(cell) = self.control.stamp_cells.get(&stamp) {
            cell.in_flight.set(cell.in_flight.get() - 1);
        }
    }
}

impl View {
    fn standing(&self, place: usize) -> EndpointStanding {
        self.standings.endpoints.get(place).copied().unwrap_or(EndpointStanding::Unknown)
    }

    fn key_of(&self, stamp: stamp_core::id::StampIndex) -> StampKey {
        self.stamps[stamp.at()].key
    }
}

impl StampCell {
    fn new(number: u32, key: StampKey, now: Micros) -> Rc<Self> {
        let budget = Cell::new(RetryBudget::new(moment(now)).to_bits());
        Rc::new(Self { number, key, in_flight: Cell::new(0), budget })
    }
}

impl EndpointCell {
    fn new(number: u32, key: EndpointKey) -> Rc<Self> {
        let (trial_is_free, trial_left_at) = (Cell::new(true), Cell::new(None));
        Rc::new(Self { number, key, trial_is_free, trial_left_at, successes: Cell::new(0) })
    }
}
