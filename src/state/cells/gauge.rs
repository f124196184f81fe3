//! How many are in flight at a stamp. Requests and tunnels are halves of one number, so that nobody
//! who reads it sees one that switches as neither or as both. `crates/atomic-models` checks this
//! very file in every order of threads; `cells` uses it.

use std::ops::Deref;

use super::atomic::{AtomicU64, Ordering};

/// One request in flight, in the lower half.
const REQUEST: u64 = 1;
/// One tunnel in flight, in the upper half.
const TUNNEL: u64 = 1 << 32;

/// What is in flight, and a limit for what enters.
#[derive(Debug)]
pub(super) struct Gauge(AtomicU64);

/// What a gauge said at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Counts {
    /// Requests, streams among them.
    pub(super) requests: u32,
    /// Tunnels.
    pub(super) tunnels: u32,
}

impl Gauge {
    /// Nothing is in flight.
    pub(super) fn new() -> Self {
        Self(AtomicU64::new(0))
    }

    /// What is in flight. Whoever reads that nothing is also sees all that was done until then.
    #[expect(clippy::cast_possible_truncation, reason = "takes the two halves apart")]
    pub(super) fn counts(&self) -> Counts {
        let bits = self.0.load(Ordering::Acquire);
        Counts { requests: bits as u32, tunnels: (bits >> 32) as u32 }
    }

    /// Counts a request in, if `let_in` has room for one more than there are. One that is turned away
    /// is never counted, not even for a moment: it would take the place of one that has room.
    #[expect(clippy::cast_possible_truncation, reason = "takes the lower half")]
    fn enter<E>(&self, let_in: impl Fn(u32) -> Result<u32, E>) -> Result<(), E> {
        let mut bits = self.0.load(Ordering::Relaxed);
        loop {
            let_in(bits as u32)?;
            let more = bits + REQUEST;
            match self.0.compare_exchange_weak(bits, more, Ordering::AcqRel, Ordering::Relaxed) {
                Ok(_) => return Ok(()),
                Err(others) => bits = others,
            }
        }
    }

    /// A request is a tunnel from now on: both halves change at once.
    fn switch(&self) {
        self.0.fetch_add(TUNNEL - REQUEST, Ordering::AcqRel);
    }

    fn leave(&self, counted: u64) {
        self.0.fetch_sub(counted, Ordering::AcqRel);
    }
}

/// Something in flight at a stamp: counted until dropped.
#[derive(Debug)]
pub(super) struct Entered<Owner: Deref<Target: AsRef<Gauge>>> {
    owner: Owner,
    /// `REQUEST` or `TUNNEL`.
    counted: u64,
}

impl<Owner: Deref<Target: AsRef<Gauge>>> Entered<Owner> {
    /// Counts a request in at the owner of a gauge, unless `let_in` has no room for one more than so
    /// many requests.
    pub(super) fn into<E>(owner: Owner, let_in: impl Fn(u32) -> Result<u32, E>) -> Result<Self, E> {
        owner.as_ref().enter(let_in)?;
        Ok(Self { owner, counted: REQUEST })
    }

    /// The connection switched protocols: it counts as a tunnel from now on.
    pub(super) fn become_tunnel(&mut self) {
        if self.counted == REQUEST {
            self.counted = TUNNEL;
            self.owner.as_ref().switch();
        }
    }

    /// Whose gauge it is counted by.
    pub(super) const fn owner(&self) -> &Owner {
        &self.owner
    }
}

impl<Owner: Deref<Target: AsRef<Gauge>>> Drop for Entered<Owner> {
    fn drop(&mut self) {
        self.owner.as_ref().leave(self.counted);
    }
}
