//! The one trial of a half-open breaker.

use std::sync::Arc;

use loom::cell::UnsafeCell;
use loom::sync::atomic::{AtomicU32, Ordering};
use loom::thread;

use crate::turnstile::{Pass, Turnstile};

/// As in the product.
const LEFT_FOR_MS: u64 = 1000;

/// An endpoint, as far as it is tried.
#[derive(Debug)]
struct Endpoint {
    turnstile: Turnstile,
    /// What only who holds the pass may touch: loom fails when two do, or when one does not see
    /// all that the one before did.
    trial: UnsafeCell<u32>,
    passed: AtomicU32,
}

impl AsRef<Turnstile> for Endpoint {
    fn as_ref(&self) -> &Turnstile {
        &self.turnstile
    }
}

impl Endpoint {
    #[expect(clippy::arc_with_non_send_sync, reason = "that only one touches it is what is proved")]
    fn new() -> Arc<Self> {
        let (trial, passed) = (UnsafeCell::new(0), AtomicU32::new(0));
        Arc::new(Self { turnstile: Turnstile::new(), trial, passed })
    }

    fn take(self: &Arc<Self>) -> Option<Pass<Arc<Self>>> {
        Pass::taken(Arc::clone(self))
    }

    fn touch(&self) {
        self.trial.with_mut(|_| ());
    }

    fn was_left(&self, now_ms: u64) -> bool {
        self.turnstile.was_left_for(LEFT_FOR_MS, now_ms)
    }
}

#[test]
fn one_of_two_workers_takes_the_trial() {
    loom::model(|| {
        let endpoint = Endpoint::new();
        let other = Arc::clone(&endpoint);
        let thread = thread::spawn(move || other.take());
        let (mine, theirs) = (endpoint.take(), thread.join().unwrap());
        assert!(mine.is_some() != theirs.is_some());
        assert!(!endpoint.turnstile.is_free());
    });
}

#[test]
fn trials_that_are_dropped_follow_each_other_and_never_overlap() {
    loom::model(|| {
        let endpoint = Endpoint::new();
        let visit = |endpoint: &Arc<Endpoint>| {
            if let Some(pass) = endpoint.take() {
                endpoint.touch();
                drop(pass);
            }
        };
        let threads = [(); 2].map(|()| {
            let endpoint = Arc::clone(&endpoint);
            thread::spawn(move || visit(&endpoint))
        });
        visit(&endpoint);
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        assert!(endpoint.turnstile.is_free(), "who drops a pass frees it");
    });
}

#[test]
fn a_trial_that_is_settled_is_freed_by_the_fleet_alone() {
    loom::model(|| {
        let endpoint = Endpoint::new();
        let visit = |endpoint: &Arc<Endpoint>| {
            if let Some(pass) = endpoint.take() {
                endpoint.touch();
                endpoint.passed.fetch_add(1, Ordering::Relaxed);
                pass.settle();
            }
        };
        let other = Arc::clone(&endpoint);
        let thread = thread::spawn(move || visit(&other));
        visit(&endpoint);
        thread.join().unwrap();
        assert_eq!(endpoint.passed.load(Ordering::Relaxed), 1);
        assert!(!endpoint.turnstile.is_free());
        endpoint.turnstile.free();
        assert!(endpoint.take().is_some());
    });
}

#[test]
fn who_comes_after_the_fleet_freed_it_sees_what_the_fleet_did() {
    loom::model(|| {
        let endpoint = Endpoint::new();
        endpoint.take().unwrap().settle();
        let other = Arc::clone(&endpoint);
        let worker = thread::spawn(move || {
            if let Some(pass) = other.take() {
                other.touch();
                drop(pass);
            }
        });
        // The fleet judges, publishes, then frees.
        endpoint.touch();
        endpoint.turnstile.free();
        worker.join().unwrap();
    });
}

#[test]
fn of_two_that_would_be_lost_only_the_later_by_long_enough_is_offered_it() {
    loom::model(|| {
        let endpoint = Endpoint::new();
        let other = Arc::clone(&endpoint);
        let thread = thread::spawn(move || other.was_left(2000));
        let early = endpoint.was_left(1000);
        let late = thread.join().unwrap();
        assert!(!early, "nobody had left it for so long");
        assert_eq!(endpoint.was_left(2500), late, "it counts from the first who left it");
        assert!(endpoint.was_left(3000));
    });
}

#[test]
fn one_that_leaves_it_hinders_nobody_who_takes_it() {
    loom::model(|| {
        let endpoint = Endpoint::new();
        let other = Arc::clone(&endpoint);
        let thread = thread::spawn(move || other.was_left(1000));
        assert!(endpoint.take().is_some(), "it was free");
        assert!(!thread.join().unwrap());
    });
}

#[test]
fn the_time_before_a_trial_does_not_count_after_it() {
    loom::model(|| {
        let endpoint = Endpoint::new();
        let other = Arc::clone(&endpoint);
        // Decides while the trial is taken by another.
        let thread = thread::spawn(move || other.was_left(1000));
        endpoint.take().unwrap().settle();
        thread.join().unwrap();
        endpoint.turnstile.free();
        assert!(!endpoint.was_left(5000), "it was freed just now");
        assert!(endpoint.was_left(6000));
    });
}
