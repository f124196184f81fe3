//! The control task: the only one that owns the fleet, takes orders and publishes Views. What an
//! operator orders is journalled before it holds, and holds at every worker before it is answered.

use std::collections::{HashMap, VecDeque};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use arc_swap::ArcSwap;
use stamp_core::breaker::{Event as BreakerEvent, Failure, Report};
use stamp_core::fleet::{Fleet, Standings};
use stamp_core::id::{EndpointIndex, StampId, StampIndex};
use stamp_core::operator::journal::JournalEntry;
use stamp_core::operator::{Decision, Order};
use stamp_core::standing::OperatorState;
use stamp_core::time::Occasion;
use tokio::sync::{mpsc, oneshot, watch};

use super::closing::Closings;
use super::command::{Command, Event, Installation, OrderError, OrderReply, Ordered, Wish};
use super::former;
use super::happened::Events;
use super::journal::{Journal, OpenError};
use super::mail::Mailboxes;
use super::registry::{Cells, Names, Registry};
use super::status::{ReloadResult, ReloadStatus};
use super::tenants::TenantCells;
use super::view::View;
use super::waiting::Keeper;
use super::{AttemptReport, Fetches, KEY_ASKS_MAX, REPORTS_MAX, State};
use crate::auth::KeyRing;
use crate::clock::Clock;

/// How often time-driven rules are looked at when nothing else happens.
const TICK: Duration = Duration::from_secs(1);
/// How often, while something drains.
const TICK_DRAINING: Duration = Duration::from_millis(20);
/// The longest that a change waits for every worker to say that it decides by it.
const ACKNOWLEDGED_WITHIN: Duration = Duration::from_secs(2);

/// What the state starts with.
#[derive(Debug)]
pub struct Start<'a> {
    /// The process's clock.
    pub clock: Clock,
    /// `node.id`
    pub node: Box<str>,
    /// `state.directory`
    pub directory: &'a Path,
    /// The first table.
    pub first: Installation,
    /// The workers' mailboxes.
    pub mailboxes: Mailboxes,
    /// How the first table came about.
    pub loaded: ReloadResult,
}

/// The state of a process, and what is to be run on its control runtime.
#[derive(Debug)]
pub struct Started {
    /// What all parts share.
    pub state: Arc<State>,
    /// The task that owns the fleet.
    pub control: Control,
    /// The numbers of endpoints that are to be probed at once.
    pub probe_now: mpsc::UnboundedReceiver<u32>,
    /// The issuers of tokens whose key is not known.
    pub unknown_keys: mpsc::Receiver<Box<str>>,
}

/// The control task, not running yet.
#[derive(Debug)]
pub struct Control {
    state: Arc<State>,
    events: mpsc::Receiver<Event>,
    fleet: Fleet,
    registry: Registry,
    /// Endpoint numbers of the table in force, and the successes already told to the fleet.
    endpoints: HashMap<u32, Told>,
    journal: Option<Journal>,
    directory: PathBuf,
    /// Whoever waits for the end of what is being written, to hand over.
    handing_over: Option<oneshot::Sender<()>>,
    waiting: Keeper,
    closings: Closings,
    orders: VecDeque<(Wish, StampId<'static>, Order, OrderReply)>,
    published_revision: u64,
    unacknowledged: u32,
    probe_now: mpsc::UnboundedSender<u32>,
    dice: fastrand::Rng,
}

#[derive(Clone, Copy, Debug)]
struct Told {
    index: EndpointIndex,
    successes: u64,
}

fn first_view(first: Installation, standings: Standings, cells: Cells) -> View {
    let Installation { table, keys, tls, downstreams, live } = first;
    let tenants = TenantCells::new(&table);
    View {
        generation: 1,
        table,
        keys,
        tls,
        downstreams,
        live,
        standings,
        tenants,
        stamps: cells.stamps,
        endpoints: cells.endpoints,
    }
}

impl State {
    /// Makes the state of the first table, and the control task that will own it.
    pub fn start(start: Start<'_>) -> Result<Started, OpenError> {
        let (journal, records) = Journal::open(start.directory)?;
        let names = Arc::new(Names::default());
        let mut registry = Registry::new(start.mailboxes.workers(), Arc::clone(&names));
        let now = start.clock.now();
        let cells = registry.cells_of(&start.first.table, now);
        let mut fleet = Fleet::new(&start.first.table, records, now);
        let waiting = Keeper::open(start.directory);
        fleet.recall(waiting.known(), now);
        let view = first_view(start.first, fleet.standings(), cells);
        let (sender, events) = mpsc::channel(REPORTS_MAX);
        let (asks, unknown_keys) = mpsc::channel(KEY_ASKS_MAX);
        let mut status = ReloadStatus::default();
        status.note(start.loaded);
        let state = Arc::new(Self {
            clock: start.clock,
            node: start.node,
            view: ArcSwap::from_pointee(view),
            changed: watch::Sender::new(()),
            events: sender,
            mailboxes: Arc::new(start.mailboxes),
            in_flight: AtomicU32::new(0),
            stopping: AtomicBool::new(false),
            handing_over: AtomicBool::new(false),
            reload: Mutex::new(status),
            names,
            drills: Mutex::default(),
            fetches: Fetches::default(),
            unknown_keys: asks,
            happened: Events::new(),
            memory: Mutex::default(),
        });
        let (probe_now, asked) = mpsc::unbounded_channel();
        let mut control = Control {
            state: Arc::clone(&state),
            events,
            published_revision: fleet.revision(),
            unacknowledged: 0,
            fleet,
            registry,
            endpoints: HashMap::new(),
            journal: Some(journal),
            directory: start.directory.to_owned(),
            handing_over: None,
            waiting,
            closings: Closings::default(),
            orders: VecDeque::new(),
            probe_now,
            dice: fastrand::Rng::new(),
        };
        control.index_endpoints();
        Ok(Started { state, control, probe_now: asked, unknown_keys })
    }

    /// Asks the control task.
    pub async fn ask<T>(
        &self,
        command: impl FnOnce(oneshot::Sender<T>) -> Command,
    ) -> Result<T, OrderError> {
        let (reply, answer) = oneshot::channel();
        let sent = self.events.send(Event::Command(command(reply))).await;
        sent.map_err(|_gone| OrderError::Stopping)?;
        answer.await.map_err(|_gone| OrderError::Stopping)
    }
}

impl Control {
    /// Runs until the process ends.
    pub async fn run(mut self) {
        let mut next = self.tick();
        loop {
            tokio::select! {
                event = self.events.recv() => match event {
                    Some(event) => self.take(event),
                    None => return,
                },
                () = tokio::time::sleep_until(next) => next = self.tick(),
            }
            self.take_what_waits();
            self.publish_if_changed();
            if self.is_draining() {
                next = next.min(self.in_time(TICK_DRAINING));
            }
        }
    }

    /// Takes what came in meanwhile, bounded, before anything is published: one View for many
    /// reports of the same fault.
    fn take_what_waits(&mut self) {
        for _ in 0..REPORTS_MAX {
            let Ok(event) = self.events.try_recv() else { return };
            self.take(event);
        }
    }

    fn take(&mut self, event: Event) {
        match event {
            Event::Attempt(report) => self.take_attempt(report),
            Event::Probe { endpoint, result } => {
                if let Some(told) = self.endpoints.get(&endpoint) {
                    self.fleet.probed(told.index, result, self.state.clock.now());
                }
            }
            Event::AskedProbe(endpoint) => drop(self.probe_now.send(endpoint)),
            Event::Command(command) => self.take_command(command),
            Event::Journalled { entry, journal, written, done } => {
                self.journal = Some(journal);
                match written {
                    Ok(()) => self.commit(entry, done),
                    Err(error) => {
                        tracing::error!(%error, stamp = %entry.stamp, "an order could not be journalled");
                        drop(done.send(Err(OrderError::Journal(error))));
                    }
                }
                self.next_order();
                self.close_journal();
            }
            Event::Acknowledged => self.unacknowledged -= 1,
            Event::WaitingKept => {
                self.waiting.kept();
                self.keep_waiting();
                self.close_journal();
            }
        }
    }

    fn take_attempt(&mut self, report: AttemptReport) {
        let view = self.state.view();
        let Some(told) = self.endpoints.get_mut(&report.endpoint) else { return };
        let cell = view.endpoint(told.index);
        let successes = cell.successes();
        let since = successes.saturating_sub(told.successes);
        told.successes = successes;
        let failure = report.failure.map(|(kind, tenant)| Failure { kind, tenant });
        let event = match (failure, report.trial) {
            (Some(failure), true) => Some(BreakerEvent::TrialFailed(failure)),
            (Some(failure), false) => Some(BreakerEvent::Failed(failure)),
            (None, true) => Some(BreakerEvent::TrialSucceeded),
            (None, false) => None,
        };
        let at = Occasion { now: self.state.clock.now(), chance: self.dice.u64(..) };
        self.fleet.attempts(told.index, Report { successes: since, event }, at);
        if report.trial {
            self.publish_if_changed();
            cell.free_trial();
        }
    }

    /// Tells the fleet of successes that no failure has told it of, so that ratios are true.
    fn tell_successes(&mut self) {
        let view = self.state.view();
        for told in self.endpoints.values_mut() {
            let successes = view.endpoint(told.index).successes();
            let since = successes.saturating_sub(told.successes);
            if since > 0 {
                told.successes = successes;
                let at = Occasion { now: self.state.clock.now(), chance: self.dice.u64(..) };
                self.fleet.attempts(told.index, Report { successes: since, event: None }, at);
            }
        }
    }

    fn take_command(&mut self, command: Command) {
        match command {
            Command::Install(installation, done) => {
                done.send(self.install(*installation)).ok();
            }
            Command::Keys(change, done) => {
                if let Some(keys) = self.state.view().keys.with(&change) {
                    self.republish(Arc::new(keys));
                }
                done.send(()).ok();
            }
            Command::Order(wish, stamp, order, done) => {
                self.orders.push_back((wish, stamp, order, done));
                self.next_order();
            }
            Command::BeginDrill(stamp, drill, reply) => {
                let table = Arc::clone(&self.state.view().table);
                let begun = self.fleet.begin_drill(&table, &stamp, drill);
                drop(reply.send(begun.map_err(OrderError::from)));
            }
            Command::EndDrill(stamp, drill, reply) => {
                let table = Arc::clone(&self.state.view().table);
                let now = self.state.clock.now();
                reply.send(self.fleet.end_drill(&table, (&stamp, drill), now)).ok();
            }
            Command::Assume(assumptions, reply) => {
                let (view, now) = (self.state.view(), self.state.clock.now());
                let standings = self.fleet.assuming(&view.table, &assumptions, now);
                drop(reply.send(standings.map(|standings| (view, standings))));
            }
            Command::HandOver(done) => self.hand_over(done),
            Command::TakeBack(done) => drop(done.send(self.take_back())),
            Command::Stamps(reply) => {
                let view = self.state.view();
                drop(reply.send(super::report::of_fleet(&self.fleet, &view, self.state.clock)));
            }
            Command::Health(endpoint, reply) => {
                let index = self.endpoints.get(&endpoint).map(|told| told.index);
                let report = index.and_then(|index| self.fleet.endpoint_report(index));
                reply.send(report.map(|report| report.health)).ok();
            }
        }
    }

    fn install(&mut self, installation: Installation) -> u64 {
        let Installation { table, keys, tls, downstreams, live } = installation;
        let now = self.state.clock.now();
        let before = self.state.view();
        // What changed so far is told by the places of the table that it happened in.
        self.tell_changes();
        self.fleet.adopt(&table, now);
        let cells = self.registry.cells_of(&table, now);
        let generation = before.generation + 1;
        let tenants = before.tenants.of(&table);
        self.publish(View {
            generation,
            table,
            // A reload does not know what was fetched while it read its files.
            keys: Arc::new(KeyRing::clone(&keys).adopt(&before.keys)),
            tls,
            downstreams,
            live,
            standings: self.fleet.standings(),
            tenants,
            stamps: cells.stamps,
            endpoints: cells.endpoints,
        });
        self.index_endpoints();
        // Once no worker takes the old View for its next request.
        self.await_workers(move || drop(tokio::spawn(former::free(before))));
        generation
    }

    fn index_endpoints(&mut self) {
        let view = self.state.view();
        let indices = (0..).map(EndpointIndex);
        let known = std::mem::take(&mut self.endpoints);
        for (cell, index) in view.endpoint_cells().iter().zip(indices) {
            let successes =
                known.get(&cell.number).map_or_else(|| cell.successes(), |told| told.successes);
            self.endpoints.insert(cell.number, Told { index, successes });
        }
    }

    /// Takes the next order, unless one is being journalled: each is judged by what the one before
    /// it left.
    fn next_order(&mut self) {
        if self.state.is_handing_over() {
            for (_, _, _, done) in self.orders.drain(..) {
                drop(done.send(Err(OrderError::HandingOver)));
            }
            return;
        }
        let Some(mut journal) = self.journal.take() else { return };
        while let Some((wish, stamp, order, done)) = self.orders.pop_front() {
            let table = Arc::clone(&self.state.view().table);
            let decision = match wish {
                Wish::Drain => self.fleet.drain(&table, &stamp, order),
                Wish::Undrain => self.fleet.undrain(&table, &stamp, order),
                Wish::State(wanted) => self.fleet.set_state(&table, &stamp, (wanted, order)),
                Wish::FailBack => {
                    // A word for this moment: there is nothing to remember of it.
                    let now = self.state.clock.now();
                    let came = self.fleet.fail_back(&table, &stamp, now);
                    let outcome = |came| if came { Ordered::Done } else { Ordered::AlreadySo };
                    drop(done.send(came.map(outcome).map_err(OrderError::from)));
                    continue;
                }
            };
            match decision {
                Err(refusal) => drop(done.send(Err(refusal.into()))),
                Ok(Decision::AlreadySo) => drop(done.send(Ok(Ordered::AlreadySo))),
                Ok(Decision::Commit(entry)) => {
                    let events = self.state.events.clone();
                    tokio::task::spawn_blocking(move || {
                        let written = journal.append(&entry);
                        let journalled = Event::Journalled { entry, journal, written, done };
                        drop(events.blocking_send(journalled));
                    });
                    return;
                }
            }
        }
        self.journal = Some(journal);
    }

    /// What is journalled holds from now on.
    fn commit(&mut self, entry: JournalEntry, done: OrderReply) {
        let serves_again = entry.record.state.takes_requests();
        let stamp = entry.stamp.clone();
        self.fleet.commit(entry, self.state.clock.now());
        if serves_again {
            self.keep_open(&stamp);
        }
        self.publish_if_changed();
        self.await_workers(move || drop(done.send(Ok(Ordered::Done))));
    }

    /// Nothing is written from now on; whoever asked learns when what is being written is on disk.
    fn hand_over(&mut self, done: oneshot::Sender<()>) {
        self.state.handing_over.store(true, Ordering::Release);
        self.handing_over = Some(done);
        self.next_order();
        self.close_journal();
    }

    fn close_journal(&mut self) {
        let is_written = self.journal.is_some() && !self.waiting.is_writing();
        if is_written && let Some(done) = self.handing_over.take() {
            self.journal = None;
            done.send(()).ok();
        }
    }

    /// The other process has written the journal anew, if it came so far.
    fn take_back(&mut self) -> Result<(), OpenError> {
        self.handing_over = None;
        if self.journal.is_none() {
            let (journal, _records) = Journal::open(&self.directory)?;
            self.journal = Some(journal);
        }
        self.state.handing_over.store(false, Ordering::Release);
        self.keep_waiting();
        Ok(())
    }

    /// Calls `then` when every worker decides by the View that is in force now. Until then nothing
    /// counts as drained: a worker may still send by an older View.
    fn await_workers(&mut self, then: impl FnOnce() + Send + 'static) {
        self.unacknowledged += 1;
        let mailboxes = self.state.mailboxes();
        let events = self.state.events.clone();
        tokio::spawn(async move {
            let acknowledged = mailboxes.acknowledged();
            if tokio::time::timeout(ACKNOWLEDGED_WITHIN, acknowledged).await.is_err() {
                tracing::warn!("a worker did not answer in time");
            }
            then();
            drop(events.send(Event::Acknowledged).await);
        });
    }

    /// What is long-lived at this stamp may stay again.
    fn keep_open(&mut self, stamp: &StampId<'_>) {
        let view = self.state.view();
        if let Some(index) = view.table.find_stamp(stamp) {
            self.closings.end(view.stamp(index), &self.state.mailboxes());
        }
    }

    fn is_draining(&self) -> bool {
        let stamps = &self.state.view().standings.stamps;
        stamps.iter().any(|standing| standing.operator == OperatorState::Draining)
    }

    /// Looks at everything that only time changes. Returns when to look again.
    fn tick(&mut self) -> tokio::time::Instant {
        self.tell_successes();
        self.count_draining();
        let now = self.state.clock.now();
        let due = self.fleet.tick(now);
        self.publish_if_changed();
        let at_latest = self.in_time(TICK);
        due.map_or(at_latest, |due| self.state.clock.instant(due).min(at_latest))
    }

    fn in_time(&self, wait: Duration) -> tokio::time::Instant {
        self.state.clock.instant(self.state.clock.now().after(wait))
    }

    fn count_draining(&mut self) {
        if self.unacknowledged > 0 {
            return;
        }
        let view = self.state.view();
        let (clock, mailboxes) = (self.state.clock, self.state.mailboxes());
        for (standing, at) in view.standings.stamps.iter().zip(0..) {
            let index = StampIndex(at);
            let cell = view.stamp(index);
            if standing.operator != OperatorState::Draining {
                self.closings.end(cell, &mailboxes);
                continue;
            }
            if let Some(record) = self.fleet.records().get(&cell.id) {
                self.closings.begin(cell, record, clock, &mailboxes);
            }
            self.fleet.in_flight(index, u64::from(cell.in_flight()), clock.now());
        }
    }

    fn publish_if_changed(&mut self) {
        if self.fleet.revision() == self.published_revision {
            return;
        }
        self.republish(Arc::clone(&self.state.view().keys));
    }

    /// The View in force with these keys and the fleet as it is.
    fn republish(&mut self, keys: Arc<KeyRing>) {
        let before = self.state.view();
        self.publish(View {
            generation: before.generation,
            table: Arc::clone(&before.table),
            keys,
            tls: Arc::clone(&before.tls),
            downstreams: Arc::clone(&before.downstreams),
            live: Arc::clone(&before.live),
            standings: self.fleet.standings(),
            tenants: Arc::clone(&before.tenants),
            stamps: Arc::clone(&before.stamps),
            endpoints: Arc::clone(&before.endpoints),
        });
    }

    /// Writes down which homes wait for their operator, if that changed.
    fn keep_waiting(&mut self) {
        if self.state.is_handing_over() {
            return;
        }
        let events = self.state.events.clone();
        self.waiting.keep(self.fleet.waiting(), move || {
            drop(events.blocking_send(Event::WaitingKept));
        });
    }

    fn publish(&mut self, view: View) {
        self.published_revision = self.fleet.revision();
        self.state.view.store(Arc::new(view));
        self.state.changed.send_replace(());
        self.tell_changes();
        self.keep_waiting();
    }

    /// Tells what changed; its places are those of the View in force.
    fn tell_changes(&mut self) {
        for change in self.fleet.take_changes() {
            if let Some(index) = change.asks_for_probe() {
                let number = self.state.view().endpoint(index).number;
                self.probe_now.send(number).ok();
            }
            let (at, generation) = (self.state.clock.wall(), self.state.view().generation);
            self.state.happened.changed(change, at, generation);
        }
    }
}

#[cfg(test)]
mod tests;
