//! What requests taught about an endpoint, every single one remembered, and what a breaker must
//! make of it.

use std::collections::{BTreeSet, VecDeque};

use crate::plan::Policy;
use crate::world::{MS, Micros};

/// What a breaker must do in this step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Turn {
    Stay,
    MustOpen,
    /// The window forgets in steps: for a while either is right.
    MayOpen,
    MustClose,
    MustReopen,
}

/// A failed attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Failed {
    /// No byte of a request was sent: no tenant can be its cause.
    pub(crate) before_sending: bool,
    pub(crate) tenant: Option<u64>,
}

/// Everything since the breaker closed.
#[derive(Clone, Debug, Default)]
pub(super) struct Evidence {
    streak: Vec<Failed>,
    window: VecDeque<(Micros, u64, Option<Failed>)>,
    /// Until then the window was gathered by another policy, which may have forgotten more.
    unsure_until: Micros,
}

impl Evidence {
    pub(super) fn succeeded(&mut self, successes: u64, now: Micros) {
        if successes > 0 {
            self.streak.clear();
            self.window.push_back((now, successes, None));
        }
    }

    pub(super) fn failed(&mut self, failed: Failed, now: Micros) {
        self.streak.push(failed);
        self.window.push_back((now, 0, Some(failed)));
    }

    /// The window is of another length from now on.
    pub(super) const fn measure_anew(&mut self, policy: &Policy, now: Micros) {
        self.unsure_until = now + policy.window * MS;
    }

    /// What these policies make of it, given how many tenants the stamp serves.
    pub(super) fn turn(&mut self, policy: &Policy, tenants: usize, now: Micros) -> Turn {
        let witnesses_min = tenants.clamp(1, 3);
        if counting(self.streak.iter(), witnesses_min) >= policy.consecutive {
            return Turn::MustOpen;
        }
        let span = policy.window * MS;
        while self.window.front().is_some_and(|(at, ..)| now - at >= 2 * span) {
            self.window.pop_front();
        }
        let (inner, outer) = (self.within(span * 9 / 10 - 1, now), self.within(span, now));
        let ratio = policy.ratio_percent as f64 / 100.0;
        let is_broken = |failures: u64, successes: u64, requests: u64| {
            let share = failures as f64 / (failures + successes).max(1) as f64;
            failures > 0 && requests >= policy.requests_min && share >= ratio - 1e-9
        };
        let (sure, possible) = (inner.1(witnesses_min), outer.1(witnesses_min));
        if is_broken(sure, outer.0, sure + inner.0) && now >= self.unsure_until {
            return Turn::MustOpen;
        }
        if is_broken(possible, inner.0, possible + outer.0) { Turn::MayOpen } else { Turn::Stay }
    }

    /// Successes younger than this, and the failures that count, by how many witnesses they need.
    fn within(&self, span: Micros, now: Micros) -> (u64, impl Fn(usize) -> u64 + '_) {
        let young = move |at: &Micros| now - at < span;
        let successes = self.window.iter().filter(|(at, ..)| young(at)).map(|it| it.1).sum();
        let failures = move |witnesses_min| {
            let failed = self.window.iter().filter(|(at, ..)| young(at));
            counting(failed.filter_map(|it| it.2.as_ref()), witnesses_min)
        };
        (successes, failures)
    }
}

/// Failures after sending count only with enough witnesses.
fn counting<'a>(failed: impl Iterator<Item = &'a Failed> + Clone, witnesses_min: usize) -> u64 {
    let after = failed.clone().filter(|it| !it.before_sending);
    let witnesses: BTreeSet<Option<u64>> = after.clone().map(|it| it.tenant).collect();
    let before = failed.filter(|it| it.before_sending).count();
    let counted = if witnesses.len() >= witnesses_min { before + after.count() } else { before };
    u64::try_from(counted).unwrap()
}
