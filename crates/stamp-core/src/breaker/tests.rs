//! What opens a breaker, what closes it, and what does neither.

use std::num::NonZeroU32;

use super::*;

fn policy() -> PassivePolicy {
    PassivePolicy {
        consecutive_failures: NonZeroU32::new(5).unwrap(),
        failure_ratio: 0.5,
        requests_min: 20,
        window: Duration::from_secs(10),
        open_for: Duration::from_secs(10),
        open_for_max: Duration::from_mins(1),
    }
}

/// A breaker on the bench: a stamp of 1,000 tenants unless told.
struct Bench {
    breaker: Breaker,
    policy: PassivePolicy,
    tenants: u32,
    now: Moment,
}

impl Bench {
    fn new() -> Self {
        Self {
            breaker: Breaker::default(),
            policy: policy(),
            tenants: 1000,
            now: Moment::default(),
        }
    }

    fn report(&mut self, successes: u64, event: Option<Event>) {
        let limits = Limits { policy: &self.policy, tenants: self.tenants };
        let at = Occasion { now: self.now, chance: 1 << 63 };
        self.breaker = self.breaker.after(Report { successes, event }, limits, at);
    }

    fn fail(&mut self, kind: FailureKind, tenant: u64) {
        self.report(0, Some(Event::Failed(Failure { kind, tenant: Some(tenant) })));
    }

    fn trip(&mut self) {
        (0..5).for_each(|_| self.fail(FailureKind::Connect, 0));
        assert!(self.is_open());
    }

    fn pass(&mut self, seconds: u64) {
        self.now = self.now.after(Duration::from_secs(seconds));
        self.breaker = self.breaker.woken(Health::Up { failures: 0 }, self.now);
    }

    fn trial(&mut self, event: Event) {
        assert_eq!(self.breaker.state(), BreakerState::HalfOpen);
        self.report(0, Some(event));
    }

    fn is_open(&self) -> bool {
        matches!(self.breaker.state(), BreakerState::Open { .. })
    }

    fn open_seconds(&self) -> u64 {
        match self.breaker.state() {
            BreakerState::Open { until } => until.since(self.now).as_secs(),
            BreakerState::Closed | BreakerState::HalfOpen => panic!("not open"),
        }
    }
}

const TRIAL_FAILED: Event =
    Event::TrialFailed(Failure { kind: FailureKind::Connect, tenant: None });

const fn bad_status(tenant: u64) -> Event {
    Event::Failed(Failure { kind: FailureKind::BadStatus, tenant: Some(tenant) })
}

#[test]
fn failures_in_a_row_open_it() {
    let mut bench = Bench::new();
    (0..4).for_each(|_| bench.fail(FailureKind::Connect, 1));
    assert!(!bench.is_open());
    bench.fail(FailureKind::Connect, 1);
    assert!(bench.is_open());
    let cause = Cause { rule: TripRule::InARow, kind: FailureKind::Connect };
    assert_eq!(bench.breaker.cause(), Some(cause));
}

#[test]
fn one_success_between_ends_a_row() {
    let mut bench = Bench::new();
    (0..4).for_each(|_| bench.fail(FailureKind::Connect, 1));
    bench.report(1, None);
    bench.fail(FailureKind::Connect, 1);
    assert!(!bench.is_open());
}

#[test]
fn one_poison_tenant_does_not_open_it() {
    let mut bench = Bench::new();
    (0..100).for_each(|at| bench.fail(FailureKind::BrokeOff, at % 2));
    assert!(!bench.is_open());
    bench.fail(FailureKind::BrokeOff, 2);
    assert!(bench.is_open());
}

#[test]
fn a_stamp_of_one_tenant_needs_but_one_witness() {
    let mut bench = Bench::new();
    bench.tenants = 1;
    (0..5).for_each(|_| bench.fail(FailureKind::Timeout, 1));
    assert!(bench.is_open());
}

#[test]
fn a_poison_tenant_among_refused_connections_adds_nothing() {
    let mut bench = Bench::new();
    (0..4).for_each(|_| bench.fail(FailureKind::Connect, 1));
    (0..10).for_each(|_| bench.fail(FailureKind::BrokeOff, 7));
    assert!(!bench.is_open());
}

#[test]
fn half_of_enough_requests_open_it() {
    let mut bench = Bench::new();
    for at in 0..9 {
        bench.report(1, Some(bad_status(at)));
    }
    assert!(!bench.is_open(), "18 requests are too few");
    bench.report(1, Some(bad_status(9)));
    assert!(bench.is_open());
    assert_eq!(bench.breaker.cause().unwrap().rule, TripRule::Ratio);
}

#[test]
fn the_window_forgets_failures() {
    let mut bench = Bench::new();
    let refused = Event::Failed(Failure { kind: FailureKind::Connect, tenant: None });
    (0..9).for_each(|_| bench.report(1, Some(refused)));
    bench.pass(11);
    bench.report(1, Some(refused));
    assert!(!bench.is_open());
}

#[test]
fn the_window_forgets_witnesses() {
    let mut bench = Bench::new();
    for tenant in [1, 2] {
        bench.report(1, Some(bad_status(tenant)));
    }
    bench.pass(11);
    (0..20).for_each(|_| bench.report(1, Some(bad_status(3))));
    assert!(!bench.is_open());
}

#[test]
fn the_window_slides_by_a_tenth() {
    let mut bench = Bench::new();
    for tenant in 0..9 {
        bench.report(1, Some(bad_status(tenant)));
        bench.pass(1);
    }
    bench.report(1, Some(bad_status(9)));
    assert!(bench.is_open(), "all ten are within ten seconds");
}

#[test]
fn it_is_half_open_when_its_time_is_over_and_probes_agree() {
    let mut bench = Bench::new();
    bench.trip();
    bench.pass(9);
    assert!(bench.is_open());
    bench.now = bench.now.after(Duration::from_secs(1));
    let down = bench.breaker.woken(Health::Down { successes: 0 }, bench.now);
    assert!(matches!(down.state(), BreakerState::Open { .. }));
    bench.pass(0);
    assert_eq!(bench.breaker.state(), BreakerState::HalfOpen);
}

#[test]
fn only_the_trial_decides_when_half_open() {
    let mut bench = Bench::new();
    bench.trip();
    bench.pass(10);
    bench.report(50, None);
    bench.fail(FailureKind::Connect, 1);
    bench.trial(Event::TrialSucceeded);
    assert_eq!(bench.breaker.state(), BreakerState::Closed);
}

#[test]
fn each_failed_trial_doubles_the_pause_up_to_the_longest() {
    let mut bench = Bench::new();
    bench.trip();
    let mut pauses = vec![bench.open_seconds()];
    for _ in 0..3 {
        bench.pass(60);
        bench.trial(TRIAL_FAILED);
        pauses.push(bench.open_seconds());
    }
    assert_eq!(pauses, [10, 20, 40, 60]);
}

#[test]
fn a_long_sound_time_forgets_earlier_trips() {
    let mut bench = Bench::new();
    bench.trip();
    bench.pass(10);
    bench.trial(Event::TrialSucceeded);
    bench.pass(59);
    bench.trip();
    assert_eq!(bench.open_seconds(), 20);
    bench.pass(20);
    bench.trial(Event::TrialSucceeded);
    bench.pass(60);
    bench.trip();
    assert_eq!(bench.open_seconds(), 10);
}

#[test]
fn server_error_500_is_no_failure() {
    assert_eq!(FailureKind::of_status(500), None);
    assert_eq!(FailureKind::of_status(404), None);
    assert_eq!(FailureKind::of_status(503), Some(FailureKind::BadStatus));
}
