//! What a closed breaker has seen: failures in a row, and counts over a sliding window.

use std::time::Duration;

use crate::breaker::{Failure, WITNESSES_MIN};
use crate::time::Moment;

/// The sliding window forgets in steps of a tenth of itself.
const BUCKETS: u32 = 10;

/// The tenants whose requests failed last: as many as are ever asked for, newest first, so that
/// "at least three within a time" is exact.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Witnesses([Option<Witness>; WITNESSES_MIN as usize]);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Witness {
    tenant: Option<u64>,
    at: Moment,
}

impl Witnesses {
    fn saw(&mut self, tenant: Option<u64>, at: Moment) {
        let mut moved = Some(Witness { tenant, at });
        for place in &mut self.0 {
            let former = std::mem::replace(place, moved);
            moved = former;
            if former.is_none_or(|witness| witness.tenant == tenant) {
                return;
            }
        }
    }

    fn distinct(&self) -> u32 {
        count(self.0.iter().flatten())
    }

    fn distinct_within(&self, span: Duration, now: Moment) -> u32 {
        count(self.0.iter().flatten().filter(|witness| now.since(witness.at) < span))
    }
}

fn count<T>(items: impl Iterator<Item = T>) -> u32 {
    items.fold(0, |count, _| count + 1)
}

/// Failures, by whether a request can be their cause.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Failures {
    before_sending: u32,
    after_sending: u32,
}

impl Failures {
    fn add(&mut self, failure: Failure) {
        let counter = if failure.kind.is_before_sending() {
            &mut self.before_sending
        } else {
            &mut self.after_sending
        };
        *counter = counter.saturating_add(1);
    }

    /// Those that count, given from how many tenants those after sending are and must be.
    const fn counting(self, witnesses: u32, witnesses_min: u32) -> u32 {
        if witnesses >= witnesses_min {
            return self.before_sending.saturating_add(self.after_sending);
        }
        self.before_sending
    }
}

/// Failures without a success between them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Streak {
    failures: Failures,
    witnesses: Witnesses,
}

impl Streak {
    pub(super) fn failed(&mut self, failure: Failure, now: Moment) {
        self.failures.add(failure);
        if !failure.kind.is_before_sending() {
            self.witnesses.saw(failure.tenant, now);
        }
    }

    pub(super) fn failures(&self, witnesses_min: u32) -> u32 {
        self.failures.counting(self.witnesses.distinct(), witnesses_min)
    }
}

/// Counts over the last while.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Window {
    buckets: [Bucket; BUCKETS as usize],
    newest: usize,
    witnesses: Witnesses,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Bucket {
    began: Moment,
    successes: u32,
    failures: Failures,
}

/// What a window holds.
pub(super) struct Counts {
    /// Successes, and failures that count.
    pub(super) requests: u32,
    /// Failures that count.
    pub(super) failures: u32,
}

impl Window {
    pub(super) fn succeeded(&mut self, successes: u64, span: Duration, now: Moment) {
        let successes = u32::try_from(successes).unwrap_or(u32::MAX);
        if let Some(bucket) = self.current(span, now) {
            bucket.successes = bucket.successes.saturating_add(successes);
        }
    }

    pub(super) fn failed(&mut self, failure: Failure, span: Duration, now: Moment) {
        if let Some(bucket) = self.current(span, now) {
            bucket.failures.add(failure);
        }
        if !failure.kind.is_before_sending() {
            self.witnesses.saw(failure.tenant, now);
        }
    }

    pub(super) fn counts(&self, span: Duration, now: Moment, witnesses_min: u32) -> Counts {
        let (mut successes, mut failures) = (0_u32, Failures::default());
        for bucket in self.buckets.iter().filter(|bucket| now.since(bucket.began) < span) {
            successes = successes.saturating_add(bucket.successes);
            let more = bucket.failures;
            failures.before_sending = failures.before_sending.saturating_add(more.before_sending);
            failures.after_sending = failures.after_sending.saturating_add(more.after_sending);
        }
        let witnesses = self.witnesses.distinct_within(span, now);
        let failures = failures.counting(witnesses, witnesses_min);
        Counts { requests: successes.saturating_add(failures), failures }
    }

    /// The bucket of this moment; the oldest is emptied for it when the newest is over.
    fn current(&mut self, span: Duration, now: Moment) -> Option<&mut Bucket> {
        let is_over =
            self.buckets.get(self.newest).is_some_and(|it| now.since(it.began) >= span / BUCKETS);
        if is_over {
            self.newest = (self.newest + 1) % self.buckets.len();
            let began = now;
            *self.buckets.get_mut(self.newest)? = Bucket { began, ..Bucket::default() };
        }
        self.buckets.get_mut(self.newest)
    }
}
