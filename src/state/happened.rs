//! What happened lately: every transition that the log tells, kept in a ring for whoever follows
//! it (`GET /v1/events`). Readers take what is there when they are ready for it: a slow one misses
//! events and is told so, and never holds up whoever adds one.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use stamp_core::fleet::Change;
use stamp_core::id::StampId;
use stamp_core::standing::OperatorState;
use tokio::sync::watch;

use super::status::ReloadResult;

/// How many events are kept: some minutes of a bad day, in about 100 KiB.
const KEPT_MAX: usize = 512;

/// One event.
#[derive(Debug)]
pub struct Happened {
    /// Its place among all events since the process began, from 1.
    pub number: u64,
    /// Wall time since 1970.
    pub at: Duration,
    /// The table in force.
    pub generation: u64,
    /// What it was.
    pub what: What,
}

/// What can happen.
#[derive(Clone, Debug)]
pub enum What {
    /// The standing of something changed.
    Change(Change),
    /// A drain is over: nothing is in flight any more.
    Drained(StampId<'static>),
    /// A reload ended.
    Reloaded {
        /// "accepted", "stale", "unchanged" or "refused"
        result: &'static str,
        /// What is wrong with the files.
        mistakes: usize,
    },
}

impl What {
    pub(super) fn of_reload(result: &ReloadResult) -> Self {
        let (result, mistakes) = match result {
            ReloadResult::Accepted { .. } => ("accepted", 0),
            ReloadResult::StartedStale { report, .. } => ("stale", report.len()),
            ReloadResult::Unchanged => ("unchanged", 0),
            ReloadResult::Refused { report, .. } => ("refused", report.len()),
        };
        Self::Reloaded { result, mistakes }
    }
}

/// What came after a certain event.
#[derive(Debug)]
pub struct News {
    /// So many are not kept any more; `None` = nobody knows how many.
    pub missed: Option<u64>,
    /// The others, oldest first.
    pub events: Vec<Arc<Happened>>,
}

/// The events of this process.
#[derive(Debug)]
pub struct Events {
    kept: Mutex<VecDeque<Arc<Happened>>>,
    last: watch::Sender<u64>,
}

impl Events {
    pub(super) fn new() -> Self {
        Self { kept: Mutex::default(), last: watch::Sender::new(0) }
    }

    fn kept(&self) -> MutexGuard<'_, VecDeque<Arc<Happened>>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Logs and adds a transition, and the drain that it ends.
    pub(super) fn changed(&self, change: Change, at: Duration, generation: u64) {
        log(&change);
        let drained = if let Change::Operator { stamp, is: OperatorState::Drained, .. } = &change {
            Some(What::Drained(stamp.clone()))
        } else {
            None
        };
        self.add(What::Change(change), at, generation);
        if let Some(drained) = drained {
            self.add(drained, at, generation);
        }
    }

    pub(super) fn add(&self, what: What, at: Duration, generation: u64) {
        let mut kept = self.kept();
        let number = *self.last.borrow() + 1;
        if kept.len() == KEPT_MAX {
            kept.pop_front();
        }
        kept.push_back(Arc::new(Happened { number, at, generation, what }));
        // Under the lock, so that numbers are told in their order.
        self.last.send_replace(number);
    }

    /// The number of the last event; wakes with each new one.
    #[must_use]
    pub fn last(&self) -> watch::Receiver<u64> {
        self.last.subscribe()
    }

    /// At most so many events after that of this number.
    #[must_use]
    pub fn after(&self, number: u64, most: usize) -> News {
        let kept = self.kept();
        let first = kept.front().map_or(number + 1, |event| event.number);
        let missed = first.saturating_sub(number + 1);
        let after = kept.iter().filter(|event| event.number > number).take(most);
        News { missed: Some(missed), events: after.cloned().collect() }
    }

    /// At most so many of all events that are kept, for one who saw others.
    #[must_use]
    pub fn all(&self, most: usize) -> News {
        let events = self.kept().iter().take(most).cloned().collect();
        News { missed: None, events }
    }
}

/// One line a transition.
fn log(change: &Change) {
    match change {
        Change::Endpoint { endpoint, was, is, probes } => tracing::info!(
            stamp = %endpoint.stamp, endpoint = %endpoint.authority, from = ?was, to = ?is, ?probes,
            "endpoint standing changed"
        ),
        Change::Breaker { endpoint, was, is, cause } => tracing::info!(
            stamp = %endpoint.stamp, endpoint = %endpoint.authority, from = ?was, to = ?is, ?cause,
            "breaker changed"
        ),
        Change::Health { stamp, was, is } => {
            tracing::info!(%stamp, from = ?was, to = ?is, "stamp health changed");
        }
        Change::Operator { stamp, was, is } => {
            tracing::info!(%stamp, from = was.as_str(), to = is.as_str(), "stamp state changed");
        }
        Change::Suspicion { suspect: true, failing, of } => tracing::error!(
            failing,
            of,
            "most stamps fail at once: the gateway suspects itself and keeps the last standing"
        ),
        Change::Suspicion { suspect: false, failing, of } => {
            tracing::warn!(failing, of, "the gateway trusts itself again");
        }
        Change::Barred { home, losses } => tracing::warn!(
            %home,
            losses,
            "a home was lost too often within the hour: it comes back when an operator says so"
        ),
        Change::Flip { home, from, to, reason, .. } => tracing::warn!(
            %home,
            from = from.as_ref().map_or("nobody", StampId::as_str),
            to = to.as_ref().map_or("nobody", StampId::as_str),
            reason = reason.as_str(),
            "another stamp answers for a home"
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn events(count: u64) -> Events {
        let events = Events::new();
        for _ in 0..count {
            events.add(What::Reloaded { result: "accepted", mistakes: 0 }, Duration::ZERO, 1);
        }
        events
    }

    fn numbers(news: &News) -> Vec<u64> {
        news.events.iter().map(|event| event.number).collect()
    }

    #[test]
    fn who_saw_some_events_gets_the_others() {
        let news = events(5).after(3, 10);
        assert_eq!((news.missed, numbers(&news)), (Some(0), vec![4, 5]));
        assert!(events(5).after(5, 10).events.is_empty());
    }

    #[test]
    fn who_was_away_for_too_long_is_told_how_much_is_missing() {
        let kept = KEPT_MAX as u64;
        let news = events(kept + 10).after(4, 2);
        assert_eq!((news.missed, numbers(&news)), (Some(6), vec![11, 12]));
    }

    #[test]
    fn the_ring_keeps_no_more_than_its_fill() {
        let kept = KEPT_MAX as u64;
        assert_eq!(events(2 * kept).all(usize::MAX).events.len(), KEPT_MAX);
    }

    #[test]
    fn the_end_of_a_drain_is_an_event_of_its_own() {
        let events = Events::new();
        let stamp = StampId::parse("a").unwrap().into_owned();
        let (was, is) = (OperatorState::Draining, OperatorState::Drained);
        events.changed(Change::Operator { stamp, was, is }, Duration::ZERO, 1);
        let all = events.all(10).events;
        assert_eq!(all.len(), 2);
        assert!(matches!(&all[1].what, What::Drained(stamp) if stamp.as_str() == "a"));
    }
}
