//! The counters that live longer than a table: one cell a stamp, one an endpoint, kept over
//! reloads by identity. Requests touch them by reference from the View, never through a map.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use stamp_core::admission::{self, Rank, Shed};
use stamp_core::failover::TrialRisk;
use stamp_core::health::PROBES_APART;
use stamp_core::id::StampId;
use stamp_core::retry::RetryBudget;
use stamp_core::time::Moment;
use tokio::sync::{Notify, Semaphore};

use gauge::{Entered, Gauge};
use purse::Purse;
use turnstile::{Pass, Turnstile};

mod gauge;
mod purse;
mod turnstile;

/// What the parts are built on. Their models put loom's in its place.
mod atomic {
    pub(super) use std::sync::atomic::{AtomicU64, Ordering};
}

/// One stamp's counters.
#[derive(Debug)]
pub struct StampCell {
    /// Unique in the process, never used again: the key of metrics and of workers' own tables.
    pub number: u32,
    /// The stamp's name.
    pub id: StampId<'static>,
    in_flight: Gauge,
    retries: Purse,
}

impl StampCell {
    pub(super) fn new(number: u32, id: StampId<'static>, now: Moment) -> Arc<Self> {
        Arc::new(Self {
            number,
            id,
            in_flight: Gauge::new(),
            retries: Purse::new(RetryBudget::new(now)),
        })
    }

    /// Requests in flight, streams among them.
    #[must_use]
    pub fn requests(&self) -> u32 {
        self.in_flight.counts().requests
    }

    /// Tunnels (`WebSockets` and other upgrades) in flight.
    #[must_use]
    pub fn tunnels(&self) -> u32 {
        self.in_flight.counts().tunnels
    }

    /// Everything in flight.
    #[must_use]
    pub fn in_flight(&self) -> u32 {
        let counts = self.in_flight.counts();
        counts.requests.saturating_add(counts.tunnels)
    }

    /// Counts a request of this rank in, if there is room for it among `in_flight_max`. Who is turned
    /// away writes nothing, so that a flood of them does not slow the others down.
    pub fn enter(self: &Arc<Self>, in_flight_max: u32, rank: Rank) -> Result<InFlight, Shed> {
        let let_in = |requests| admission::let_in(requests, in_flight_max, rank);
        Entered::into(Arc::clone(self), let_in).map(InFlight)
    }

    /// Pays for one repeat, if the budget has it.
    #[must_use]
    pub fn spend_retry(&self, now: Moment) -> bool {
        self.retries.spend(now)
    }

    /// Adds what so many first attempts earn.
    pub fn earn_retries(&self, requests: u64, percent: u32) {
        self.retries.earn(requests, percent);
    }
}

impl AsRef<Gauge> for StampCell {
    fn as_ref(&self) -> &Gauge {
        &self.in_flight
    }
}

/// Something in flight at a stamp: counted until dropped.
#[derive(Debug)]
pub struct InFlight(Entered<Arc<StampCell>>);

impl InFlight {
    /// The connection switched protocols: it counts as a tunnel from now on.
    pub fn become_tunnel(&mut self) {
        self.0.become_tunnel();
    }

    /// The stamp that this is in flight at.
    #[must_use]
    pub const fn stamp(&self) -> &Arc<StampCell> {
        self.0.owner()
    }
}

/// One worker's successes at one endpoint: written by that worker alone, on its own cache line.
#[derive(Debug, Default)]
#[repr(align(64))]
struct Successes(AtomicU64);

/// One endpoint's counters.
#[derive(Debug)]
pub struct EndpointCell {
    /// Unique in the process, never used again.
    pub number: u32,
    /// The stamp that it belongs to.
    pub stamp: StampId<'static>,
    /// `host:port` as declared.
    pub authority: Box<str>,
    addresses: ArcSwap<Vec<SocketAddr>>,
    /// Permits of connections over all workers.
    pub connections: Arc<Semaphore>,
    /// Requests that wait for a connection, over all workers.
    pub pending: AtomicU32,
    trial: Turnstile,
    /// When its last good probe began, and when a request asked for one last, in microseconds.
    probed_us: AtomicU64,
    asked_us: AtomicU64,
    /// Rings when it says something after it was silent.
    word: Notify,
    successes: Box<[Successes]>,
}

impl EndpointCell {
    pub(super) fn new(
        number: u32,
        stamp: StampId<'static>,
        authority: Box<str>,
        addresses: Vec<SocketAddr>,
        limits: CellLimits,
    ) -> Arc<Self> {
        Arc::new(Self {
            number,
            stamp,
            authority,
            addresses: ArcSwap::from_pointee(addresses),
            connections: Arc::new(Semaphore::new(limits.connections_max as usize)),
            pending: AtomicU32::new(0),
            trial: Turnstile::new(),
            probed_us: AtomicU64::new(0),
            asked_us: AtomicU64::new(0),
            word: Notify::new(),
            successes: (0..limits.workers).map(|_| Successes::default()).collect(),
        })
    }

    /// A cell of no table, for tests.
    #[cfg(test)]
    pub(crate) fn at(addresses: Vec<SocketAddr>) -> Arc<Self> {
        let stamp = StampId::parse("a").unwrap().into_owned();
        let limits = CellLimits { connections_max: 1, workers: 1 };
        Self::new(1, stamp, "a.test:8080".into(), addresses, limits)
    }

    /// Where to connect to; empty while a host name was never resolved.
    #[must_use]
    pub fn addresses(&self) -> Arc<Vec<SocketAddr>> {
        self.addresses.load_full()
    }

    /// What the resolver found. Never called with nothing: the last good answer stays.
    pub fn set_addresses(&self, addresses: Vec<SocketAddr>) {
        self.addresses.store(Arc::new(addresses));
    }

    /// The most connections changed from `before` to `after`.
    pub(super) fn resize(&self, before: u32, after: u32) {
        if after > before {
            self.connections.add_permits((after - before) as usize);
        } else if before > after {
            // Permits in use are not taken away; the cap is reached as they come back.
            self.connections.forget_permits((before - after) as usize);
        }
    }

    /// Counts one success of a request sent by `worker`.
    pub fn succeeded(&self, worker: usize) {
        if let Some(own) = self.successes.get(worker) {
            own.0.store(own.0.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
        }
    }

    /// All successes since the cell was made.
    #[must_use]
    pub fn successes(&self) -> u64 {
        self.successes.iter().map(|own| own.0.load(Ordering::Relaxed)).sum()
    }

    /// A probe that began then was good.
    pub fn probed(&self, began: Moment) {
        let us = u64::try_from(began.0.as_micros()).unwrap_or(u64::MAX);
        self.probed_us.store(us, Ordering::Relaxed);
        self.word.notify_waiters();
    }

    /// When the last good probe began; the begin of the process, if there was none.
    #[must_use]
    pub fn last_probed(&self) -> Moment {
        Moment(Duration::from_micros(self.probed_us.load(Ordering::Relaxed)))
    }

    /// May a request ask for a probe at once? Yes, unless another one just did.
    pub fn may_ask(&self, now: Moment) -> bool {
        let now_us = u64::try_from(now.0.as_micros()).unwrap_or(u64::MAX);
        let apart_us = PROBES_APART.as_micros();
        let asked = self.asked_us.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |asked_us| {
            let since_us = now_us.saturating_sub(asked_us);
            (asked_us == 0 || u128::from(since_us) >= apart_us).then_some(now_us)
        });
        asked.is_ok()
    }

    /// Rings when a good probe or, after a silence, an answer comes back.
    pub fn word(&self) -> &Notify {
        &self.word
    }

    /// Would `take_trial` succeed now?
    #[must_use]
    pub fn trial_is_free(&self) -> bool {
        self.trial.is_free()
    }

    /// Would `take_trial` succeed now, and is it for such a request? One that would be lost leaves
    /// the trial to one that would not, for as long as such a one may be expected.
    #[must_use]
    pub fn offers_trial(&self, risk: TrialRisk, now: Moment) -> bool {
        let now_ms = u64::try_from(now.0.as_millis()).unwrap_or(u64::MAX);
        match risk {
            TrialRisk::None => self.trial.is_free(),
            TrialRisk::Lost => self.trial.was_left_for(TRIAL_LEFT_FOR_MS, now_ms),
        }
    }

    /// The trial was judged: another may be made.
    pub fn free_trial(&self) {
        self.trial.free();
    }

    /// Takes the one trial of a half-open breaker. The `Trial` gives it back when dropped.
    #[must_use]
    pub fn take_trial(self: &Arc<Self>) -> Option<Trial> {
        Pass::taken(Arc::clone(self)).map(Trial)
    }
}

impl AsRef<Turnstile> for EndpointCell {
    fn as_ref(&self) -> &Turnstile {
        &self.trial
    }
}

/// The right to send the one trial request of a half-open breaker: free again when dropped.
#[derive(Debug)]
pub struct Trial(Pass<Arc<EndpointCell>>);

impl Trial {
    /// The trial was made and is reported: the fleet frees it when it has judged it, so that no
    /// second one passes in between.
    pub fn settle(self) {
        self.0.settle();
    }
}

/// What an endpoint's cell is made for.
#[derive(Clone, Copy, Debug)]
pub(super) struct CellLimits {
    pub(super) connections_max: u32,
    pub(super) workers: usize,
}

/// For so long, a request that would be lost leaves a trial to others.
const TRIAL_LEFT_FOR_MS: u64 = 1000;
