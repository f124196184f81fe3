//! The control task, as `state::control`: it owns the fleet, takes reports and orders, publishes
//! Views, and counts what drains.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::rc::Rc;

use stamp_core::breaker::{Event as BreakerEvent, Failure, FailureKind, Report};
use stamp_core::fleet::{Change, Drill, Fleet, Waiting};
use stamp_core::id::{EndpointIndex, StampId, StampIndex};
use stamp_core::operator::journal::{self, JournalEntry};
use stamp_core::operator::{Decision, Force, OperatorRefusal, Order};
use stamp_core::standing::OperatorState;
use stamp_core::table::RoutingTable;
use stamp_core::time::{Moment, Occasion, UnixSeconds};

use super::call::free_trial;
use super::prober::Prober;
use super::{
    EndpointCell, Gateway, Inside, Records, StampCell, View, WORKERS, World, moment, seen,
};
use crate::plan::{EndpointKey, Plan, StampKey, name};
use crate::shadow::{Asked, Decided, Failed, Lesson, Step};
use crate::world::{MS, Micros, SECOND};

/// How often time-driven rules are looked at, and how often while something drains.
const TICK: Micros = SECOND;
const TICK_DRAINING: Micros = 20 * MS;

/// What the control task is told.
#[derive(Debug)]
pub(super) enum Inbox {
    Attempt {
        endpoint: u32,
        failure: Option<(FailureKind, Option<u64>)>,
        is_trial: bool,
    },
    Probe {
        endpoint: u32,
        round: u64,
        good: bool,
    },
    Order(StampKey, Asked),
    FailBack(StampKey),
    /// Percent, and for how long; `None` = end it.
    Drill(StampKey, Option<(u8, Micros)>),
    Install(Rc<RoutingTable>, Rc<Plan>),
}

/// Its state.
#[derive(Debug)]
pub(super) struct Control {
    fleet: Fleet,
    published_revision: u64,
    inbox: VecDeque<Inbox>,
    is_waking: bool,
    round: u64,
    numbers: u32,
    /// Of the table in force.
    stamps: BTreeMap<StampKey, Rc<StampCell>>,
    endpoints: BTreeMap<EndpointKey, Rc<EndpointCell>>,
    /// Also those that are gone, by number.
    pub(super) stamp_cells: BTreeMap<u32, Rc<StampCell>>,
    /// Places of the table in force, and the successes told already.
    told: BTreeMap<u32, (EndpointIndex, u64)>,
    is_writing: bool,
    orders: VecDeque<(StampKey, Asked)>,
    unacknowledged: u32,
    questions: BTreeMap<u64, (BTreeSet<usize>, Option<StampKey>)>,
    asked: u64,
    changes: Vec<Change>,
    /// The last drill of each stamp that was begun by this process.
    drills: BTreeMap<StampKey, Drill>,
    pub(super) probers: BTreeMap<u32, Prober>,
}

impl Control {
    pub(super) fn start(
        (table, plan): (Rc<RoutingTable>, Rc<Plan>),
        (records, waiting): (Records, &str),
        world: &mut World,
    ) -> (Self, Rc<View>) {
        let mut fleet = Fleet::new(&table, records, moment(world.now));
        fleet.recall(&Waiting::decode(waiting.as_bytes()).unwrap(), moment(world.now));
        let mut control = Self {
            published_revision: fleet.revision(),
            fleet,
            inbox: VecDeque::new(),
            is_waking: false,
            round: 0,
            numbers: 0,
            stamps: BTreeMap::new(),
            endpoints: BTreeMap::new(),
            stamp_cells: BTreeMap::new(),
            told: BTreeMap::new(),
            is_writing: false,
            orders: VecDeque::new(),
            unacknowledged: 0,
            questions: BTreeMap::new(),
            asked: 0,
            changes: Vec::new(),
            drills: BTreeMap::new(),
            probers: BTreeMap::new(),
        };
        control.learn(Step::Start, &plan, world);
        let (stamps, endpoints) = control.cells_of(&plan, world);
        let (version, standings) = (world.shadow.published(), control.fleet.standings());
        let view = Rc::new(View { version, table, plan, standings, stamps, endpoints });
        control.index_endpoints(&view);
        (control, view)
    }

    /// The homes that wait for their operator, as they are written down.
    pub(super) fn waiting(&self) -> String {
        self.fleet.waiting().encode()
    }

    /// The cells of a table: those that were there before, and new ones.
    fn cells_of(
        &mut self,
        plan: &Plan,
        world: &mut World,
    ) -> (Vec<Rc<StampCell>>, Vec<Rc<EndpointCell>>) {
        let mut number = self.numbers;
        let mut next = || {
            number += 1;
            number
        };
        let mut stamps = Vec::new();
        for stamp in &plan.stamps {
            let known = self.stamps.get(&stamp.key).cloned();
            stamps.push(known.unwrap_or_else(|| {
                let cell = StampCell::new(next(), stamp.key, world.now);
                world.shadow.funded(cell.number, world.now);
                cell
            }));
        }
        let mut endpoints = Vec::new();
        for key in plan.endpoints() {
            let known = self.endpoints.get(&key).cloned();
            endpoints.push(known.unwrap_or_else(|| EndpointCell::new(next(), key)));
        }
        self.numbers = number;
        self.stamps = stamps.iter().map(|cell| (cell.key, Rc::clone(cell))).collect();
        self.endpoints = endpoints.iter().map(|cell| (cell.key, Rc::clone(cell))).collect();
        self.stamp_cells.extend(stamps.iter().map(|cell| (cell.number, Rc::clone(cell))));
        (stamps, endpoints)
    }

    fn index_endpoints(&mut self, view: &View) {
        let known = std::mem::take(&mut self.told);
        for (cell, index) in view.endpoints.iter().zip((0..).map(EndpointIndex)) {
            let successes =
                known.get(&cell.number).map_or_else(|| cell.successes.get(), |told| told.1);
            self.told.insert(cell.number, (index, successes));
        }
    }

    /// The shadow learns what the fleet made of a step.
    fn learn(&mut self, step: Step, plan: &Plan, world: &mut World) {
        let changes = self.fleet.take_changes();
        for change in &changes {
            world.note(|| format!("  {change:?}"));
        }
        let told: Vec<_> = changes.iter().map(|change| seen::told(change, plan)).collect();
        world.shadow.learn(step, world.now, (&told, seen::seen(&self.fleet, plan)));
        self.changes.extend(changes);
    }

    fn is_draining(&self) -> bool {
        let standings = self.fleet.standings();
        standings.stamps.iter().any(|it| it.operator == OperatorState::Draining)
    }

    pub(super) fn health(&self, endpoint: u32) -> stamp_core::health::Health {
        let index = self.told.get(&endpoint).map(|told| told.0);
        let report = index.and_then(|index| self.fleet.endpoint_report(index));
        report.map(|report| report.health).unwrap_or_default()
    }
}

impl Gateway {
    /// An operator orders something.
    pub(crate) fn order(&mut self, stamp: StampKey, asked: Asked, world: &mut World) {
        self.tell_control(Inbox::Order(stamp, asked), world);
    }

    /// An operator lets a home's requests come back.
    pub(crate) fn let_come_home(&mut self, stamp: StampKey, world: &mut World) {
        self.tell_control(Inbox::FailBack(stamp), world);
    }

    /// An operator begins or ends a drill.
    pub(crate) fn ask_for_drill(
        &mut self,
        stamp: StampKey,
        drill: Option<(u8, Micros)>,
        world: &mut World,
    ) {
        self.tell_control(Inbox::Drill(stamp, drill), world);
    }

    /// A table is to be put in force.
    pub(crate) fn install(&mut self, table: RoutingTable, plan: Rc<Plan>, world: &mut World) {
        self.tell_control(Inbox::Install(Rc::new(table), plan), world);
    }

    pub(crate) fn table(&self) -> &RoutingTable {
        &self.view.table
    }

    pub(super) fn tell_control(&mut self, inbox: Inbox, world: &mut World) {
        self.control.inbox.push_back(inbox);
        self.wake_control(world);
    }

    fn wake_control(&mut self, world: &mut World) {
        if self.control.inbox.is_empty() || self.control.is_waking {
            return;
        }
        self.control.is_waking = true;
        let longest = if world.dice.percent(5) { 30 * MS } else { 2 * MS };
        let wait = world.dice.between(10, longest);
        self.later(wait, Inside::ControlWakes, world);
    }

    /// Takes what came in, mostly all of it, then publishes once.
    pub(super) fn control_wakes(&mut self, world: &mut World) {
        self.control.is_waking = false;
        let all = self.control.inbox.len();
        let count = if world.dice.percent(80) { all } else { all.div_ceil(2) };
        for _ in 0..count {
            let Some(inbox) = self.control.inbox.pop_front() else { break };
            world.note(|| format!("control takes {inbox:?}"));
            self.take(inbox, world);
        }
        self.publish_if_changed(world);
        self.wake_control(world);
        if self.control.is_draining() {
            self.plan_tick(TICK_DRAINING, world);
        }
    }

    fn take(&mut self, inbox: Inbox, world: &mut World) {
        match inbox {
            Inbox::Attempt { endpoint, failure, is_trial } => {
                self.take_attempt(endpoint, (failure, is_trial), world);
            }
            Inbox::Probe { endpoint, round, good } => {
                self.take_probe((endpoint, round), good, world);
            }
            Inbox::Order(stamp, asked) => {
                self.control.orders.push_back((stamp, asked));
                self.next_order(world);
            }
            Inbox::FailBack(stamp) => self.fail_back(stamp, world),
            Inbox::Drill(stamp, drill) => self.drill(stamp, drill, world),
            Inbox::Install(table, plan) => self.take_table((table, plan), world),
        }
    }

    fn take_attempt(
        &mut self,
        endpoint: u32,
        (failure, is_trial): (Option<(FailureKind, Option<u64>)>, bool),
        world: &mut World,
    ) {
        let Some((index, told)) = self.control.told.get(&endpoint).copied() else { return };
        let cell = Rc::clone(&self.view.endpoints[index.at()]);
        let successes = cell.successes.get() - told;
        let event = match (failure.map(|(kind, tenant)| Failure { kind, tenant }), is_trial) {
            (Some(failure), true) => Some(BreakerEvent::TrialFailed(failure)),
            (Some(failure), false) => Some(BreakerEvent::Failed(failure)),
            (None, true) => Some(BreakerEvent::TrialSucceeded),
            (None, false) => None,
        };
        self.report((&cell, index), Report { successes, event }, world);
        if is_trial {
            self.publish_if_changed(world);
            free_trial(&cell, world);
        }
    }

    fn report(
        &mut self,
        (cell, index): (&EndpointCell, EndpointIndex),
        report: Report,
        world: &mut World,
    ) {
        self.control.told.insert(cell.number, (index, cell.successes.get()));
        let failed = |failure: Failure| Failed {
            before_sending: failure.kind == FailureKind::Connect,
            tenant: failure.tenant,
        };
        let lesson = report.event.map(|event| match event {
            BreakerEvent::Failed(failure) => Lesson::Failed(failed(failure)),
            BreakerEvent::TrialFailed(failure) => Lesson::TrialFailed(failed(failure)),
            BreakerEvent::TrialSucceeded => Lesson::TrialSucceeded,
        });
        world.shadow.reported(cell.key, (report.successes, lesson), world.now);
        let at = Occasion { now: moment(world.now), chance: world.dice.any() };
        self.control.fleet.attempts(index, report, at);
        self.control.learn(Step::Report(cell.key), &self.view.plan, world);
    }

    pub(super) fn take_probe_result(
        &mut self,
        endpoint: u32,
        (good, bad_for): (bool, Micros),
        world: &mut World,
    ) {
        let Some((index, _)) = self.control.told.get(&endpoint).copied() else { return };
        let key = self.view.endpoints[index.at()].key;
        world.shadow.probed(key, good, bad_for);
        let result = if good {
            stamp_core::health::ProbeResult::Good
        } else {
            stamp_core::health::ProbeResult::Bad
        };
        self.control.fleet.probed(index, result, moment(world.now));
        self.control.learn(Step::Probe, &self.view.plan, world);
    }

    /// Looks at everything that only time changes.
    pub(super) fn tick(&mut self, round: u64, world: &mut World) {
        if round != self.control.round {
            return;
        }
        self.tell_successes(world);
        self.count_draining(world);
        let due = self.control.fleet.tick(moment(world.now));
        self.control.learn(Step::Tick, &self.view.plan, world);
        let due = due.map(micros);
        world.shadow.next_tick(due, world.now);
        self.publish_if_changed(world);
        let at_latest = if self.control.is_draining() { TICK_DRAINING } else { TICK };
        let wait = due.map_or(at_latest, |due| due.saturating_sub(world.now).min(at_latest));
        self.plan_tick(wait, world);
    }

    fn plan_tick(&mut self, wait: Micros, world: &mut World) {
        self.control.round += 1;
        self.later(wait, Inside::Tick(self.control.round), world);
    }

    fn tell_successes(&mut self, world: &mut World) {
        for (cell, index) in self.view.endpoints.clone().iter().zip((0..).map(EndpointIndex)) {
            let told = self.control.told.get(&cell.number).map_or(0, |told| told.1);
            let successes = cell.successes.get() - told;
            if successes > 0 {
                self.report((cell, index), Report { successes, event: None }, world);
            }
        }
    }

    fn count_draining(&mut self, world: &mut World) {
        if self.control.unacknowledged > 0 {
            return;
        }
        let view = Rc::clone(&self.view);
        for (cell, at) in view.stamps.iter().zip(0..) {
            let standing = view.standings.stamps[StampIndex(at).at()];
            if standing.operator != OperatorState::Draining {
                continue;
            }
            let count = cell.in_flight.get();
            world.shadow.counted(cell.key, count);
            self.control.fleet.in_flight(StampIndex(at), u64::from(count), moment(world.now));
            self.control.learn(Step::Count, &view.plan, world);
        }
    }

    fn take_table(&mut self, (table, plan): (Rc<RoutingTable>, Rc<Plan>), world: &mut World) {
        self.tell_changes(world);
        world.shadow.adopt(Rc::clone(&plan), world.now);
        self.control.fleet.adopt(&table, moment(world.now));
        self.control.learn(Step::Adopt, &plan, world);
        let (stamps, endpoints) = self.control.cells_of(&plan, world);
        self.publish((table, plan), (stamps, endpoints), world);
        self.control.index_endpoints(&self.view);
        self.follow_probes(world);
        self.await_workers(None, world);
    }

    /// Takes the next order, unless one is being journalled.
    fn next_order(&mut self, world: &mut World) {
        while !self.control.is_writing {
            let Some((stamp, asked)) = self.control.orders.pop_front() else { return };
            let (id, order) = (StampId::parse(name(stamp)).unwrap(), order(asked, world.now));
            let (fleet, table) = (&self.control.fleet, &self.view.table);
            let set = |state, order| fleet.set_state(table, &id, (state, order));
            let decision = match asked {
                Asked::Drain | Asked::ForcedDrain => fleet.drain(table, &id, order),
                Asked::Undrain => fleet.undrain(table, &id, order),
                Asked::Maintenance | Asked::ForcedMaintenance => {
                    set(OperatorState::Maintenance, order)
                }
                Asked::Warming => set(OperatorState::Warming, order),
                Asked::Active => set(OperatorState::Active, order),
            };
            world.note(|| format!("{asked:?} {}: {decision:?}", name(stamp)));
            world.shadow.decided(stamp, asked, decided(&decision));
            if let Ok(Decision::Commit(entry)) = decision {
                self.control.is_writing = true;
                let (entry, wait) = (Box::new(entry), world.dice.between(100, 20 * MS));
                let again = world.dice.between(1, 5 * MS);
                self.later(wait, Inside::Written(entry.clone()), world);
                self.later(wait + again, Inside::Journalled(entry), world);
            }
        }
    }

    fn fail_back(&mut self, stamp: StampKey, world: &mut World) {
        let id = StampId::parse(name(stamp)).unwrap();
        let now = moment(world.now);
        let came = self.control.fleet.fail_back(&self.view.table, &id, now);
        let came = came.map(|came| if came { Decided::Commit } else { Decided::AlreadySo });
        world.shadow.failed_back(stamp, came.unwrap_or_else(|refusal| refused(&refusal)));
        self.control.learn(Step::Word, &self.view.plan, world);
    }

    fn drill(&mut self, stamp: StampKey, drill: Option<(u8, Micros)>, world: &mut World) {
        let id = StampId::parse(name(stamp)).unwrap();
        let (table, now) = (&self.view.table, moment(world.now));
        let until = drill.map(|(percent, lasts)| (percent, world.now + lasts));
        let decided = match until {
            Some((percent, until)) => {
                let drill = Drill { percent, began: now, until: moment(until) };
                let begun = self.control.fleet.begin_drill(table, &id, drill);
                if begun.is_ok() {
                    self.control.drills.insert(stamp, drill);
                }
                begun.map_or_else(|refusal| refused(&refusal), |()| Decided::Commit)
            }
            None if table.find_stamp(&id).is_none() => Decided::UnknownStamp,
            None => {
                if let Some(drill) = self.control.drills.remove(&stamp) {
                    self.control.fleet.end_drill(table, (&id, drill), now);
                }
                Decided::Commit
            }
        };
        world.shadow.drilled(stamp, until, decided);
        self.control.learn(Step::Word, &self.view.plan, world);
    }

    pub(super) fn written(&mut self, entry: &JournalEntry, world: &mut World) {
        self.journal.push_str(&journal::encode(entry));
        world.shadow.written();
    }

    pub(super) fn journalled(&mut self, entry: JournalEntry, world: &mut World) {
        let stamp = seen::stamp_key(&entry.stamp);
        world.note(|| format!("an order for {} holds", name(stamp)));
        self.control.is_writing = false;
        world.shadow.committed(stamp);
        self.control.fleet.commit(entry, moment(world.now));
        self.control.learn(Step::Order, &self.view.plan, world);
        self.publish_if_changed(world);
        self.await_workers(Some(stamp), world);
        self.next_order(world);
        if self.control.is_draining() {
            self.plan_tick(TICK_DRAINING, world);
        }
    }

    /// Asks every worker to decide by the View of now; until then nothing counts as drained.
    fn await_workers(&mut self, answers: Option<StampKey>, world: &mut World) {
        self.control.unacknowledged += 1;
        self.control.asked += 1;
        let asked = self.control.asked;
        self.control.questions.insert(asked, ((0..WORKERS).collect(), answers));
        for worker in 0..WORKERS {
            let longest = if world.dice.percent(10) { 200 * MS } else { 3 * MS };
            let wait = world.dice.between(10, longest);
            self.later(wait, Inside::Acknowledged(worker, asked), world);
        }
    }

    pub(super) fn acknowledged(&mut self, (worker, asked): (usize, u64), world: &mut World) {
        let view = Rc::clone(&self.view);
        self.worker_sees(worker, &view, world);
        let Some((waiting, answers)) = self.control.questions.get_mut(&asked) else { return };
        waiting.remove(&worker);
        if !waiting.is_empty() {
            return;
        }
        let answers = *answers;
        self.control.questions.remove(&asked);
        self.control.unacknowledged -= 1;
        if let Some(stamp) = answers {
            world.note(|| format!("the order for {} is answered", name(stamp)));
            world.shadow.answered(stamp);
        }
    }

    fn publish_if_changed(&mut self, world: &mut World) {
        if self.control.fleet.revision() == self.control.published_revision {
            return;
        }
        let view = Rc::clone(&self.view);
        let table = (Rc::clone(&view.table), Rc::clone(&view.plan));
        self.publish(table, (view.stamps.clone(), view.endpoints.clone()), world);
    }

    fn publish(
        &mut self,
        (table, plan): (Rc<RoutingTable>, Rc<Plan>),
        (stamps, endpoints): (Vec<Rc<StampCell>>, Vec<Rc<EndpointCell>>),
        world: &mut World,
    ) {
        self.control.published_revision = self.control.fleet.revision();
        let (version, standings) = (world.shadow.published(), self.control.fleet.standings());
        world.note(|| format!("View {version} is published"));
        self.view = Rc::new(View { version, table, plan, standings, stamps, endpoints });
        self.tell_workers(world);
        self.tell_changes(world);
    }

    /// The places of what changed are those of the View in force.
    fn tell_changes(&mut self, world: &mut World) {
        for change in std::mem::take(&mut self.control.changes) {
            if let Some(index) = change.asks_for_probe() {
                let number = self.view.endpoints[index.at()].number;
                self.probe_at_once(number, world);
            }
        }
    }
}

fn micros(moment: Moment) -> Micros {
    Micros::try_from(moment.0.as_nanos().div_ceil(1000)).unwrap_or(Micros::MAX)
}

fn order(asked: Asked, now: Micros) -> Order {
    let is_forced = matches!(asked, Asked::ForcedDrain | Asked::ForcedMaintenance);
    let force = if is_forced { Force::Strand } else { Force::Refuse };
    let at = UnixSeconds(now / SECOND);
    Order { reason: "work".into(), actor: "ana".into(), at, deadline: None, force }
}

fn decided(decision: &Result<Decision, OperatorRefusal>) -> Decided {
    match decision {
        Ok(Decision::Commit(_)) => Decided::Commit,
        Ok(Decision::AlreadySo) => Decided::AlreadySo,
        Err(refusal) => refused(refusal),
    }
}

fn refused(refusal: &OperatorRefusal) -> Decided {
    match refusal {
        OperatorRefusal::UnknownStamp => Decided::UnknownStamp,
        OperatorRefusal::WouldStrand { tenants } => {
            Decided::WouldStrand(usize::try_from(*tenants).unwrap())
        }
        OperatorRefusal::NotDraining => Decided::NotDraining,
        OperatorRefusal::NotDrained => Decided::NotDrained,
        OperatorRefusal::NotEligible => Decided::NotEligible,
        OperatorRefusal::NoSuchStep { .. } => Decided::NoSuchStep,
    }
}
