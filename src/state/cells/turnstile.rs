//! One at a time: the trial of a half-open breaker, over all workers. Whoever has more to lose leaves
//! it to others for a while. All of it is one number, so that no time of an earlier trial is taken
//! for one of this. `crates/atomic-models` checks this very file in every order of threads; `cells`
//! uses it.

use std::ops::Deref;

use super::atomic::{AtomicU64, Ordering};

/// Nobody has it, and nobody has left it to others.
const FREE: u64 = 0;
/// Somebody has it. Any other number: nobody has it, and since so many milliseconds it is left.
const TAKEN: u64 = u64::MAX;

/// Lets one through at a time.
#[derive(Debug)]
pub(super) struct Turnstile(AtomicU64);

impl Turnstile {
    /// Nobody is in it.
    pub(super) fn new() -> Self {
        Self(AtomicU64::new(FREE))
    }

    /// Would somebody who takes it now get it?
    pub(super) fn is_free(&self) -> bool {
        self.0.load(Ordering::Acquire) != TAKEN
    }

    /// Leaves it to others, unless it is free and was left to them for so long already. Says
    /// whether it was.
    pub(super) fn was_left_for(&self, long_ms: u64, now_ms: u64) -> bool {
        let now_ms = now_ms.clamp(FREE + 1, TAKEN - 1);
        match self.0.compare_exchange(FREE, now_ms, Ordering::Relaxed, Ordering::Acquire) {
            Ok(_) | Err(TAKEN) => false,
            Err(since_ms) => now_ms.saturating_sub(since_ms) >= long_ms,
        }
    }

    /// Lets the next one through, who also sees all that was done until now. Only for who settled
    /// a pass, and once for each.
    pub(super) fn free(&self) {
        self.0.store(FREE, Ordering::Release);
    }
}

/// The right to pass: free for others again when dropped.
#[derive(Debug)]
pub(super) struct Pass<Owner: Deref<Target: AsRef<Turnstile>>> {
    owner: Owner,
    settled: bool,
}

impl<Owner: Deref<Target: AsRef<Turnstile>>> Pass<Owner> {
    /// Takes the turnstile of its owner, if nobody has it.
    pub(super) fn taken(owner: Owner) -> Option<Self> {
        let taken = |now| (now != TAKEN).then_some(TAKEN);
        let was = owner.as_ref().0.fetch_update(Ordering::AcqRel, Ordering::Relaxed, taken);
        was.is_ok().then(|| Self { owner, settled: false })
    }

    /// It was used and is reported: whoever judges it frees the turnstile, so that no second one
    /// passes in between.
    pub(super) fn settle(mut self) {
        self.settled = true;
    }
}

impl<Owner: Deref<Target: AsRef<Turnstile>>> Drop for Pass<Owner> {
    fn drop(&mut self) {
        if !self.settled {
            self.owner.as_ref().free();
        }
    }
}
