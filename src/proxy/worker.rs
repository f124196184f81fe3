//! One worker: an OS thread's own view, pools, token cache, counts and dice. Nothing here is
//! shared; other threads ask by mail (`state::Mail`).

use std::cell::{Cell, RefCell, RefMut};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use hashbrown::{HashMap, HashSet};
use http::HeaderValue;
use stamp_core::memory::Level;
use stamp_core::time::Moment;
use tokio::sync::Notify;
use tokio::time::Sleep;

use super::error::ProxyError;
use super::flights::Flights;
use super::resting::{AtRest, Resting};
use super::wire::WireState;
use crate::auth::TokenCache;
use crate::clock::Clock;
use crate::outbound::body::ReplayBudget;
use crate::outbound::pool::Pool;
use crate::state::{AttemptReport, EndpointCell, Mail, Shortage, StampCell, State, View};
use crate::telemetry::access_log::AccessLog;
use crate::telemetry::worker::WorkerCounts;

/// How often a worker looks how late it is: a pause is as long as it is late and this, at most.
const LOOK_EVERY: Duration = Duration::from_millis(10);
/// How often without clients.
const LOOK_EVERY_AT_REST: Duration = Duration::from_secs(1);

/// What one worker thread owns.
#[derive(Debug)]
pub struct Worker {
    /// Its place among the workers.
    pub index: usize,
    state: Arc<State>,
    clock: Clock,
    lately: Cell<Moment>,
    view: RefCell<Rc<WorkerView>>,
    pools: RefCell<HashMap<u32, Rc<Pool>>>,
    /// Tokens that verified before.
    pub tokens: RefCell<TokenCache>,
    counts: RefCell<WorkerCounts>,
    random: RefCell<fastrand::Rng>,
    turns: RefCell<HashMap<u32, u64>>,
    in_flight: Cell<u32>,
    connections: Cell<u32>,
    timers: RefCell<Vec<Pin<Box<Sleep>>>>,
    replay: Rc<ReplayBudget>,
    flights: Rc<Flights>,
    resting: Rc<Resting>,
    memory: Cell<Level>,
    memory_changed: Notify,
    /// Another worker is asked to make room.
    asks_for_room: Cell<bool>,
    access_log: AccessLog,
    listeners: Vec<Box<str>>,
    via: [HeaderValue; 3],
}

/// Is a line of the access log kept whatever the sample says?
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Worth {
    /// Yes: an error, or a failover.
    Always,
    /// One in so many.
    Sampled,
}

/// A View, and what this worker made of it.
#[derive(Debug)]
pub struct WorkerView {
    /// The View.
    pub view: Arc<View>,
    /// The stamps' names as header values, this worker's own: no reference count is shared.
    names: Vec<HeaderValue>,
}

impl std::ops::Deref for WorkerView {
    type Target = View;

    fn deref(&self) -> &View {
        &self.view
    }
}

impl WorkerView {
    fn new(view: Arc<View>) -> Rc<Self> {
        let name = |cell: &Arc<StampCell>| {
            HeaderValue::from_str(cell.id.as_str()).unwrap_or(HeaderValue::from_static("unknown"))
        };
        let names = view.stamp_cells().iter().map(name).collect();
        Rc::new(Self { view, names })
    }

    /// The name of a stamp as a header value.
    pub fn name(&self, stamp: stamp_core::id::StampIndex) -> HeaderValue {
        self.names.get(stamp.at()).cloned().unwrap_or(HeaderValue::from_static("unknown"))
    }
}

impl Worker {
    /// A worker with nothing open yet.
    #[must_use]
    pub fn new(
        index: usize,
        state: Arc<State>,
        access_log: AccessLog,
        listeners: Vec<Box<str>>,
    ) -> Rc<Self> {
        let via = ["1.1", "1.0", "2.0"].map(|version| {
            HeaderValue::try_from(format!("{version} {}", state.node()))
                .unwrap_or(HeaderValue::from_static("1.1 stampgate"))
        });
        Rc::new(Self {
            index,
            clock: state.clock(),
            lately: Cell::new(state.clock().now()),
            view: RefCell::new(WorkerView::new(state.view())),
            pools: RefCell::default(),
            tokens: RefCell::new(TokenCache::default()),
            counts: RefCell::default(),
            random: RefCell::new(fastrand::Rng::new()),
            turns: RefCell::default(),
            in_flight: Cell::new(0),
            connections: Cell::new(0),
            timers: RefCell::default(),
            replay: Rc::default(),
            flights: Flights::new(state.clock()),
            resting: Rc::default(),
            memory: Cell::default(),
            memory_changed: Notify::new(),
            asks_for_room: Cell::new(false),
            access_log,
            listeners,
            via,
            state,
        })
    }

    /// What all requests of this worker may keep for repeats.
    pub fn replay(&self) -> Rc<ReplayBudget> {
        Rc::clone(&self.replay)
    }

    /// The process's clock.
    pub fn clock(&self) -> Clock {
        self.clock
    }

    /// What all workers share.
    pub fn state(&self) -> &Arc<State> {
        &self.state
    }

    /// The View in force now.
    pub fn view(&self) -> Rc<WorkerView> {
        let mut own = self.view.borrow_mut();
        if !self.state.is_current(&own.view) {
            let view = self.state.view();
            let other_table = !Arc::ptr_eq(&view.table, &own.view.table);
            *own = WorkerView::new(view);
            if other_table {
                self.close_pools_not_in(&own.view);
            }
        }
        Rc::clone(&own)
    }

    fn close_pools_not_in(&self, view: &View) {
        let known: HashSet<u32> = view.endpoint_cells().iter().map(|cell| cell.number).collect();
        self.pools.borrow_mut().retain(|number, _| known.contains(number));
    }

    /// This worker's connections to an endpoint.
    pub fn pool(&self, cell: &Arc<EndpointCell>) -> Rc<Pool> {
        let mut pools = self.pools.borrow_mut();
        let pool = pools.entry(cell.number);
        Rc::clone(pool.or_insert_with(|| Pool::new(Arc::clone(cell), self.state.mailboxes())))
    }

    /// How busy this worker keeps an endpoint.
    pub fn load(&self, cell: &EndpointCell) -> u32 {
        self.pools.borrow().get(&cell.number).map_or(0, |pool| pool.load())
    }

    /// Closes connections that rested too long.
    pub fn sweep(&self) {
        self.flights.sweep();
        let view = self.view();
        let now = self.now();
        let pools = self.pools.borrow();
        for stamp in view.table.stamps() {
            for endpoint in &stamp.endpoints {
                if let Some(pool) = pools.get(&view.endpoint(endpoint.index).number) {
                    pool.sweep(&stamp.pool, now);
                }
            }
        }
    }

    /// Counts how late this worker looks: it was to do so at `due`. Returns when it is to look again.
    pub fn note_lag(&self, due: Moment) -> Moment {
        let now = self.now();
        self.counts().lag.observe(now.0.saturating_sub(due.0));
        self.next_look()
    }

    /// When this worker is to look how late it is. A worker without clients has nobody to be late for.
    pub fn next_look(&self) -> Moment {
        let wait = if self.connections() > 0 { LOOK_EVERY } else { LOOK_EVERY_AT_REST };
        self.now().after(wait)
    }

    /// Where this worker counts.
    pub fn counts(&self) -> RefMut<'_, WorkerCounts> {
        self.counts.borrow_mut()
    }

    /// A random number.
    pub fn random(&self) -> u64 {
        self.random.borrow_mut().u64(..)
    }

    /// The dice themselves.
    pub fn dice(&self) -> RefMut<'_, fastrand::Rng> {
        self.random.borrow_mut()
    }

    /// Counts up for each pick at a stamp of this number, for round robin.
    pub fn turn(&self, stamp: u32) -> u64 {
        let mut turns = self.turns.borrow_mut();
        let turn = turns.entry(stamp).or_default();
        std::mem::replace(turn, turn.wrapping_add(1))
    }

    /// This gateway's entry for `Via`.
    pub fn via(&self, version: http::Version) -> &HeaderValue {
        let [http11, http10, http2] = &self.via;
        match version {
            http::Version::HTTP_10 => http10,
            http::Version::HTTP_2 => http2,
            _ => http11,
        }
    }

    /// The name of a listener.
    pub fn listener_name(&self, listener: u16) -> &str {
        self.listeners.get(usize::from(listener)).map_or("", |name| name)
    }

    /// Where this request is to be logged, if it is.
    pub fn access_log(&self, worth: Worth) -> Option<&AccessLog> {
        let rules = &self.view.borrow().view.live.access_log;
        if !rules.enabled {
            return None;
        }
        let drawn = rules.sample >= 1.0 || self.dice().f64() < rules.sample;
        (worth == Worth::Always || drawn).then_some(&self.access_log)
    }

    /// Tells the fleet what an attempt taught.
    pub fn report(&self, report: AttemptReport) {
        self.state.report(report);
    }

    /// Waits for `future` until `deadline`; `None` = it was not ready by then.
    ///
    /// A timer that was set for an earlier request is used as it is: it rings too early, if it
    /// rings at all, and is set right then. So a request that is in time sets no timer.
    pub async fn by<F: Future>(&self, deadline: Moment, future: F) -> Option<F::Output> {
        let mut future = std::pin::pin!(future);
        let due = self.clock.instant(deadline);
        let used = self.timers.borrow_mut().pop().filter(|timer| timer.deadline() <= due);
        let mut timer = used.unwrap_or_else(|| Box::pin(tokio::time::sleep_until(due)));
        // After a pause of this process the answer may have been in the socket for long: the sockets are
        // looked at once more, and whoever reads them has its turn, before it is too late.
        let mut last_look = std::pin::pin!(tokio::task::yield_now());
        let output = std::future::poll_fn(|context| {
            if let Poll::Ready(output) = future.as_mut().poll(context) {
                return Poll::Ready(Some(output));
            }
            while timer.as_mut().poll(context).is_ready() {
                if self.now() >= deadline {
                    return last_look.as_mut().poll(context).map(|()| None);
                }
                timer.as_mut().reset(due);
            }
            Poll::Pending
        });
        let output = output.await;
        if output.is_some() {
            self.timers.borrow_mut().push(timer);
        }
        output
    }

    /// Counts a request in, unless the gateway has its fill, or its memory has.
    pub(super) fn enter(self: &Rc<Self>, in_flight_max: u32) -> Result<Admitted, ProxyError> {
        if self.memory() >= Level::RefusesRequests {
            return Err(ProxyError::ShortOfMemory);
        }
        if !self.state.enter(in_flight_max) {
            return Err(ProxyError::Overloaded);
        }
        self.in_flight.set(self.in_flight.get() + 1);
        Ok(Admitted { worker: Rc::clone(self) })
    }

    /// Requests that this worker is serving.
    pub fn in_flight(&self) -> u32 {
        self.in_flight.get()
    }

    /// What this worker has in flight at stamps.
    pub(super) fn flights(&self) -> &Rc<Flights> {
        &self.flights
    }

    /// A request was turned away: answers that stand still are to make room for the next.
    pub(super) fn turned_away(&self, at: Shortage) {
        let count = self.flights.turned_away(at);
        self.state.mailboxes().give_way(at, count);
    }

    /// Puts a client's connection down that is asked for nothing.
    pub(crate) fn put_down(&self, listener: u16, state: &Arc<WireState>) -> AtRest {
        let at_rest = self.resting.enter(listener, state);
        self.close_idle();
        at_rest
    }

    /// Closes the client connection of this worker that has rested longest, of this listener or of any.
    /// Says whether there was one.
    pub fn make_room(&self, of: Option<u16>) -> bool {
        let listener = self.resting.let_one_go(of);
        if let Some(listener) = listener {
            self.counts().made_room(listener);
        }
        listener.is_some()
    }

    /// Has another worker do so. One ask at a time: a flood of clients that find no room must not
    /// become a flood of mail.
    pub async fn have_room_made(&self, of: Option<u16>) -> bool {
        if self.asks_for_room.replace(true) {
            return false;
        }
        let made = self.state.mailboxes().make_room(self.index, of).await;
        self.asks_for_room.set(false);
        made
    }

    /// Counts a client connection until the guard is dropped.
    pub fn connected(self: &Rc<Self>) -> Connected {
        self.connections.set(self.connections.get() + 1);
        Connected { worker: Rc::clone(self) }
    }

    /// Open client connections.
    pub fn connections(&self) -> u32 {
        self.connections.get()
    }

    /// Does a connection that has had so many requests end after the last of them?
    pub fn is_last(&self, requests: u64) -> bool {
        let is_short = self.memory() >= Level::ClosesIdle;
        requests > 0 && (is_short || self.view.borrow().view.live.limits.ends_after(requests))
    }

    /// What is given up for memory.
    pub fn memory(&self) -> Level {
        self.memory.get()
    }

    /// Returns when that is not what it was.
    pub async fn memory_changed(&self) {
        self.memory_changed.notified().await;
    }

    fn take_memory(&self, level: Level) {
        self.memory.set(level);
        self.memory_changed.notify_waiters();
        self.close_idle();
    }

    /// While memory is short, nobody rests.
    fn close_idle(&self) {
        while self.memory() >= Level::ClosesIdle && self.make_room(None) {}
    }

    /// Answers what other threads ask.
    pub fn read_mail(&self, mail: Mail) {
        match mail {
            // Reading the View is the acknowledgement: whatever this worker decides from now on,
            // it decides by that View or a later one.
            Mail::Acknowledge(done) => {
                self.view();
                done.send(()).ok();
            }
            Mail::Counts(reply) => drop(reply.send(self.counts_now())),
            Mail::Flights(reply) => drop(reply.send(self.flights.told())),
            Mail::Close(stamp, closing) => self.flights.close(stamp, closing),
            Mail::Memory(level) => self.take_memory(level),
            Mail::MakeRoom(of, reply) => drop(reply.send(self.make_room(of))),
            Mail::Shed(endpoint) => {
                if let Some(pool) = self.pools.borrow().get(&endpoint) {
                    pool.shed();
                }
            }
            Mail::GiveWay { at, count, before } => {
                let missing = self.flights.give_way(at, count);
                self.state.mailboxes().pass_on(at, missing, before + 1);
            }
        }
    }

    fn counts_now(&self) -> WorkerCounts {
        let mut counts = self.counts.borrow().clone();
        for (number, pool) in self.pools.borrow().iter() {
            counts
                .idle_connections
                .insert(*number, u32::try_from(pool.resting()).unwrap_or(u32::MAX));
        }
        counts.resting_connections.extend(self.resting.counts());
        counts
    }

    /// Time since the process began.
    pub fn now(&self) -> Moment {
        let now = self.clock.now();
        self.lately.set(now);
        now
    }

    /// What `now` said last: good where it is known to have been asked in the same turn.
    pub fn lately(&self) -> Moment {
        self.lately.get()
    }
}

/// A request that this gateway is serving.
#[derive(Debug)]
pub struct Admitted {
    worker: Rc<Worker>,
}

impl Drop for Admitted {
    fn drop(&mut self) {
        self.worker.state.leave();
        self.worker.in_flight.set(self.worker.in_flight.get().saturating_sub(1));
    }
}

/// An open client connection.
#[derive(Debug)]
pub struct Connected {
    worker: Rc<Worker>,
}

impl Drop for Connected {
    fn drop(&mut self) {
        self.worker.connections.set(self.worker.connections.get().saturating_sub(1));
    }
}
