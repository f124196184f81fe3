//! One retry budget that all workers pay from and into. `crates/atomic-models` checks this very file
//! in every order of threads; `cells` uses it.

use stamp_core::retry::RetryBudget;
use stamp_core::time::Moment;

use super::atomic::{AtomicU64, Ordering};

/// A retry budget, shared.
#[derive(Debug)]
pub(super) struct Purse(AtomicU64);

impl Purse {
    /// With what this budget has.
    #[must_use]
    pub(super) fn new(budget: RetryBudget) -> Self {
        Self(AtomicU64::new(budget.to_bits()))
    }

    /// Pays for one repeat, if the budget has it.
    #[must_use]
    pub(super) fn spend(&self, now: Moment) -> bool {
        let spend = |bits| RetryBudget::from_bits(bits).spent(now).map(RetryBudget::to_bits);
        self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, spend).is_ok()
    }

    /// Adds what so many first attempts earn, each `percent` hundredths of a repeat.
    pub(super) fn earn(&self, requests: u64, percent: u32) {
        let earn = |bits| Some(RetryBudget::from_bits(bits).earned(requests, percent).to_bits());
        self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, earn).ok();
    }
}
