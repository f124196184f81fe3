//! The in-flight counts of a stamp.

use std::sync::Arc;

use loom::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use loom::thread;

use crate::gauge::{Counts, Entered, Gauge};

/// A stamp, as far as it counts.
#[derive(Debug)]
struct Stamp {
    gauge: Gauge,
    /// Counted by the model: how many are in there.
    inside: AtomicU32,
    /// Something that a request did.
    is_done: AtomicBool,
}

impl AsRef<Gauge> for Stamp {
    fn as_ref(&self) -> &Gauge {
        &self.gauge
    }
}

impl Stamp {
    fn new() -> Arc<Self> {
        let (inside, is_done) = (AtomicU32::new(0), AtomicBool::new(false));
        Arc::new(Self { gauge: Gauge::new(), inside, is_done })
    }

    fn enter(self: &Arc<Self>, requests_max: u32) -> Option<Entered<Arc<Self>>> {
        let let_in = |requests: u32| (requests < requests_max).then_some(requests + 1).ok_or(());
        Entered::into(Arc::clone(self), let_in).ok()
    }

    fn sum(&self) -> u32 {
        let counts = self.gauge.counts();
        counts.requests + counts.tunnels
    }
}

/// Enters if it may, and tells whether more than so many were inside.
fn visit(stamp: &Arc<Stamp>, requests_max: u32) {
    let Some(entered) = stamp.enter(requests_max) else { return };
    let before = stamp.inside.fetch_add(1, Ordering::Relaxed);
    assert!(before < requests_max, "{before} were inside");
    assert!(entered.owner().gauge.counts().requests <= requests_max);
    stamp.inside.fetch_sub(1, Ordering::Relaxed);
    drop(entered);
}

#[test]
fn no_more_than_the_limit_are_in_flight() {
    let mut model = loom::model::Builder::new();
    // Three threads in every order would be a matter of hours.
    model.preemption_bound = Some(2);
    model.check(|| {
        let stamp = Stamp::new();
        let threads = [(); 2].map(|()| {
            let stamp = Arc::clone(&stamp);
            thread::spawn(move || visit(&stamp, 2))
        });
        visit(&stamp, 2);
        visit(&stamp, 2);
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        assert_eq!(stamp.gauge.counts(), Counts { requests: 0, tunnels: 0 });
    });
}

#[test]
fn with_room_for_one_there_is_never_a_second() {
    loom::model(|| {
        let stamp = Stamp::new();
        let other = Arc::clone(&stamp);
        let thread = thread::spawn(move || visit(&other, 1));
        visit(&stamp, 1);
        thread.join().unwrap();
        assert_eq!(stamp.sum(), 0);
    });
}

#[test]
fn one_that_is_refused_takes_no_room_from_another() {
    loom::model(|| {
        let stamp = Stamp::new();
        let first = stamp.enter(1).unwrap();
        let other = Arc::clone(&stamp);
        let thread = thread::spawn(move || other.enter(1));
        drop(first);
        // There is room from now on, for one of the two.
        let second = stamp.enter(1);
        let third = thread.join().unwrap();
        assert!(second.is_some() != third.is_some(), "one gets in, and one alone");
        drop((second, third));
        assert_eq!(stamp.sum(), 0);
    });
}

#[test]
fn whoever_leaves_leaves_no_trace_on_any_path() {
    loom::model(|| {
        let stamp = Stamp::new();
        let other = Arc::clone(&stamp);
        let thread = thread::spawn(move || {
            if let Some(mut entered) = other.enter(2) {
                entered.become_tunnel();
                entered.become_tunnel();
            }
        });
        drop(stamp.enter(2));
        // Tunnels take no room from requests.
        let refused = stamp.enter(0);
        thread.join().unwrap();
        assert!(refused.is_none());
        assert_eq!(stamp.gauge.counts(), Counts { requests: 0, tunnels: 0 });
    });
}

#[test]
fn one_that_switches_is_never_seen_as_neither_and_never_as_both() {
    loom::model(|| {
        let stamp = Stamp::new();
        let mut entered = stamp.enter(1).unwrap();
        let reader = Arc::clone(&stamp);
        let thread = thread::spawn(move || {
            assert_eq!(reader.sum(), 1);
            assert_eq!(reader.sum(), 1);
        });
        entered.become_tunnel();
        thread.join().unwrap();
        assert_eq!(stamp.gauge.counts(), Counts { requests: 0, tunnels: 1 });
        drop(entered);
        assert_eq!(stamp.sum(), 0);
    });
}

#[test]
fn a_drain_that_counts_nothing_after_the_worker_acknowledged_has_nothing_in_flight() {
    loom::model(|| {
        let stamp = Stamp::new();
        let acknowledged = Arc::new(AtomicBool::new(false));
        let (worker_stamp, word) = (Arc::clone(&stamp), Arc::clone(&acknowledged));
        let worker = thread::spawn(move || {
            // By the View of before the drain.
            let mut entered = worker_stamp.enter(1).unwrap();
            word.store(true, Ordering::Release);
            entered.become_tunnel();
            worker_stamp.is_done.store(true, Ordering::Relaxed);
        });
        if acknowledged.load(Ordering::Acquire) && stamp.sum() == 0 {
            assert!(stamp.is_done.load(Ordering::Relaxed), "it is under way");
        }
        worker.join().unwrap();
    });
}
