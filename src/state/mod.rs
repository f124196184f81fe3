//! The one place of shared mutable state. Requests read a published `View`; one control task
//! (`control`) owns the fleet and publishes the next one; workers answer mail.

mod cells;
mod closing;
mod command;
mod control;
pub mod drill;
mod fetches;
mod flights;
mod former;
mod handover;
mod happened;
mod journal;
mod mail;
mod memory;
mod registry;
pub mod report;
mod status;
mod tenants;
mod view;
mod waiting;

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;
use stamp_core::breaker::FailureKind;
use tokio::sync::{mpsc, watch};

pub use cells::{EndpointCell, InFlight, StampCell, Trial};
pub use command::{Command, Installation, OrderError, Ordered, Wish};
pub use control::{Control, Start, Started};
pub use fetches::{Ended, Fetches, Last};
pub use flights::{FlightKind, FlightsByStamp, InFlightOf, StampFlights};
pub use handover::{UpgradeAsk, UpgradeError};
pub use happened::{Events, Happened, News, What};
pub use journal::{OpenError, Records, read_journal};
pub use mail::{Mail, Mailboxes, Shortage};
pub use memory::{Memory, watch_memory};
pub use status::{ReloadResult, ReloadStatus};
pub use tenants::{
    TenantCells, TenantKey, TenantLoad, TenantPlace, TurnedAway, forget_idle_tenants,
};
pub use view::View;

use crate::clock::Clock;
use command::Event;
pub use registry::Names;

/// Reports of attempts that wait to be judged. Beyond that they are dropped: a flood of failures
/// says the same thing many times.
const REPORTS_MAX: usize = 16 * 1024;

/// Asks for keys that wait to be heard. A few are enough: each is for one issuer, and there are few.
const KEY_ASKS_MAX: usize = 64;

/// What an attempt taught about an endpoint.
#[derive(Clone, Copy, Debug)]
pub struct AttemptReport {
    /// The endpoint's cell number.
    pub endpoint: u32,
    /// What went wrong, and for which tenant; `None` = it went well (told only of trials).
    pub failure: Option<(FailureKind, Option<u64>)>,
    /// It was the trial of a half-open breaker.
    pub trial: bool,
}

/// What all parts of the process share.
#[derive(Debug)]
pub struct State {
    clock: Clock,
    node: Box<str>,
    view: ArcSwap<View>,
    changed: watch::Sender<()>,
    events: mpsc::Sender<Event>,
    mailboxes: Arc<Mailboxes>,
    in_flight: AtomicU32,
    stopping: AtomicBool,
    handing_over: AtomicBool,
    reload: Mutex<ReloadStatus>,
    names: Arc<Names>,
    drills: Mutex<drill::Drills>,
    fetches: Fetches,
    unknown_keys: mpsc::Sender<Box<str>>,
    happened: Events,
    memory: Mutex<Memory>,
}

impl State {
    /// The process's clock.
    #[must_use]
    pub fn clock(&self) -> Clock {
        self.clock
    }

    /// `node.id`
    #[must_use]
    pub fn node(&self) -> &str {
        &self.node
    }

    /// The View in force.
    #[must_use]
    pub fn view(&self) -> Arc<View> {
        self.view.load_full()
    }

    /// Is this the View in force?
    #[must_use]
    pub fn is_current(&self, view: &Arc<View>) -> bool {
        Arc::ptr_eq(&self.view.load(), view)
    }

    /// Wakes whenever another View is in force.
    #[must_use]
    pub fn changes(&self) -> watch::Receiver<()> {
        self.changed.subscribe()
    }

    /// The workers' mailboxes.
    #[must_use]
    pub fn mailboxes(&self) -> Arc<Mailboxes> {
        Arc::clone(&self.mailboxes)
    }

    /// Tells the control task what an attempt taught.
    pub fn report(&self, report: AttemptReport) {
        let dropped = self.events.try_send(Event::Attempt(report)).is_err();
        if dropped && report.trial {
            // Nobody will judge this trial: let another be made.
            let view = self.view();
            let cell = view.endpoint_cells().iter().find(|cell| cell.number == report.endpoint);
            if let Some(cell) = cell {
                cell.free_trial();
            }
        }
    }

    /// Asks for a probe of this endpoint at once: a request wants to know.
    pub fn ask_probe(&self, endpoint: u32) {
        self.events.try_send(Event::AskedProbe(endpoint)).ok();
    }

    /// A token of this issuer names a key that is not known: it may be a new one. With many such asks
    /// waiting, one more says nothing.
    pub fn ask_keys(&self, issuer: &str) {
        if let Ok(room) = self.unknown_keys.try_reserve() {
            room.send(issuer.into());
        }
    }

    /// How fetches of issuers' keys ended.
    #[must_use]
    pub const fn fetches(&self) -> &Fetches {
        &self.fetches
    }

    /// Tells the control task what a probe found.
    pub async fn probed(&self, endpoint: u32, result: stamp_core::health::ProbeResult) {
        drop(self.events.send(Event::Probe { endpoint, result }).await);
    }

    /// Counts a request in, unless `in_flight_max` are there already.
    #[must_use]
    pub fn enter(&self, in_flight_max: u32) -> bool {
        if self.in_flight.fetch_add(1, Ordering::Relaxed) < in_flight_max {
            return true;
        }
        self.in_flight.fetch_sub(1, Ordering::Relaxed);
        false
    }

    /// Counts a request out.
    pub fn leave(&self) {
        self.in_flight.fetch_sub(1, Ordering::Relaxed);
    }

    /// Requests in flight over all workers.
    #[must_use]
    pub fn in_flight(&self) -> u32 {
        self.in_flight.load(Ordering::Relaxed)
    }

    /// The process was asked to stop: readiness fails from now on.
    pub fn begin_stopping(&self) {
        self.stopping.store(true, Ordering::Release);
    }

    /// Was the process asked to stop?
    #[must_use]
    pub fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Acquire)
    }

    /// Is another process about to take over? What is decided now, it would not know of.
    #[must_use]
    pub fn is_handing_over(&self) -> bool {
        self.handing_over.load(Ordering::Acquire)
    }

    /// Do the control task and every worker answer? Waits for them.
    pub async fn answers(&self) -> bool {
        self.mailboxes.acknowledged().await;
        self.ask(Command::Stamps).await.is_ok()
    }

    /// How the last reload went.
    #[must_use]
    pub fn reload_status(&self) -> ReloadStatus {
        self.reload.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What happened lately.
    #[must_use]
    pub fn happened(&self) -> &Events {
        &self.happened
    }

    /// Notes how a reload went.
    pub fn note_reload(&self, result: ReloadResult) {
        let (what, generation) = (What::of_reload(&result), self.view.load().generation);
        self.happened.add(what, self.clock.wall(), generation);
        self.reload.lock().unwrap_or_else(PoisonError::into_inner).note(result);
    }

    /// The labels of cells, by number, also of those that are gone.
    #[must_use]
    pub fn names(&self) -> &Names {
        &self.names
    }
}
