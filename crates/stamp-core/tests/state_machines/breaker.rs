//! The breaker: failures in a row open it, time half-opens it, one trial decides. The ratio is
//! switched off: the simulation watches it.

use std::collections::BTreeSet;
use std::num::NonZeroU32;
use std::time::Duration;

use proptest::prelude::*;
use proptest_state_machine::{ReferenceStateMachine, StateMachineTest, prop_state_machine};
use stamp_core::breaker::{
    Breaker, BreakerState, Event, Failure, FailureKind, Limits, Report, TripRule,
};
use stamp_core::health::Health;
use stamp_core::table::PassivePolicy;
use stamp_core::time::{Moment, Occasion};

const IN_A_ROW: usize = 3;
const OPEN_FOR: Duration = Duration::from_secs(1);
const OPEN_FOR_MAX: Duration = Duration::from_secs(5);
/// With this chance a time is as long as it is said to be.
const NO_JITTER: u64 = 1 << 63;

/// What the breaker should be.
#[derive(Clone, Debug)]
struct Model {
    tenants: u32,
    now: Duration,
    state: State,
    /// Pauses in a row, each twice as long as the one before.
    trips: u32,
}

#[derive(Clone, Debug)]
enum State {
    Closed { since: Duration, row: Vec<Failure> },
    Open { until: Duration },
    HalfOpen,
}

#[derive(Clone, Debug)]
enum Transition {
    Pass(Duration),
    Report(Report),
    Wake(Health),
}

impl Model {
    fn open(&mut self) {
        if let State::Closed { since, .. } = self.state
            && self.now - since >= OPEN_FOR_MAX
        {
            self.trips = 0;
        }
        let span = (OPEN_FOR * 2_u32.pow(self.trips)).min(OPEN_FOR_MAX);
        self.trips = (self.trips + 1).min(8);
        self.state = State::Open { until: self.now + span };
    }

    fn hear(&mut self, report: &Report) {
        match (&mut self.state, report.event) {
            (State::Closed { row, .. }, event) => {
                if report.successes > 0 || event == Some(Event::TrialSucceeded) {
                    row.clear();
                }
                if let Some(Event::Failed(failure) | Event::TrialFailed(failure)) = event {
                    row.push(failure);
                    if counting(row, self.tenants) >= IN_A_ROW {
                        self.open();
                    }
                }
            }
            (State::HalfOpen, Some(Event::TrialSucceeded)) => {
                self.state = State::Closed { since: self.now, row: Vec::new() };
            }
            (State::HalfOpen, Some(Event::TrialFailed(_))) => self.open(),
            (State::HalfOpen | State::Open { .. }, _) => {}
        }
    }
}

/// Failures after sending count when as many tenants as there are, three at most, met them.
fn counting(row: &[Failure], tenants: u32) -> usize {
    let before = row.iter().filter(|it| it.kind == FailureKind::Connect).count();
    let met: BTreeSet<_> =
        row.iter().filter(|it| it.kind != FailureKind::Connect).map(|it| it.tenant).collect();
    let enough = usize::try_from(tenants.clamp(1, 3)).unwrap();
    if met.len() >= enough { row.len() } else { before }
}

fn failure() -> impl Strategy<Value = Failure> {
    let kinds =
        [FailureKind::Connect, FailureKind::BrokeOff, FailureKind::Timeout, FailureKind::BadStatus];
    (prop::sample::select(kinds.to_vec()), prop::option::of(0..4_u64))
        .prop_map(|(kind, tenant)| Failure { kind, tenant })
}

impl ReferenceStateMachine for Model {
    type State = Self;
    type Transition = Transition;

    fn init_state() -> BoxedStrategy<Self> {
        let state = State::Closed { since: Duration::ZERO, row: Vec::new() };
        let model = move |tenants| {
            let (now, state) = (Duration::ZERO, state.clone());
            Self { tenants, now, state, trips: 0 }
        };
        (0..5_u32).prop_map(model).boxed()
    }

    fn transitions(_: &Self) -> BoxedStrategy<Transition> {
        let event = prop_oneof![
            1 => Just(None),
            6 => failure().prop_map(|failure| Some(Event::Failed(failure))),
            1 => failure().prop_map(|failure| Some(Event::TrialFailed(failure))),
            1 => Just(Some(Event::TrialSucceeded)),
        ];
        let successes = prop_oneof![4 => Just(0_u64), 1 => 1..3_u64];
        let health = prop::sample::select(vec![
            Health::Up { failures: 0 },
            Health::Unknown { failures: 0 },
            Health::Down { successes: 0 },
        ]);
        prop_oneof![
            2 => (0..3000_u64).prop_map(|ms| Transition::Pass(Duration::from_millis(ms))),
            6 => (successes, event)
                .prop_map(|(successes, event)| Transition::Report(Report { successes, event })),
            2 => health.prop_map(Transition::Wake),
        ]
        .boxed()
    }

    fn apply(mut model: Self, transition: &Transition) -> Self {
        match transition {
            Transition::Pass(span) => model.now += *span,
            Transition::Report(report) => model.hear(report),
            Transition::Wake(health) => {
                if let State::Open { until } = model.state
                    && until <= model.now
                    && !health.is_down()
                {
                    model.state = State::HalfOpen;
                }
            }
        }
        model
    }
}

struct Beside;

impl StateMachineTest for Beside {
    type SystemUnderTest = Breaker;
    type Reference = Model;

    fn init_test(_: &Model) -> Breaker {
        Breaker::default()
    }

    fn apply(breaker: Breaker, model: &Model, transition: Transition) -> Breaker {
        let policy = PassivePolicy {
            consecutive_failures: NonZeroU32::new(u32::try_from(IN_A_ROW).unwrap()).unwrap(),
            failure_ratio: 1.0,
            requests_min: u32::MAX,
            window: Duration::from_secs(10),
            open_for: OPEN_FOR,
            open_for_max: OPEN_FOR_MAX,
        };
        let limits = Limits { policy: &policy, tenants: model.tenants };
        let now = Moment(model.now);
        match transition {
            Transition::Pass(_) => breaker,
            Transition::Report(report) => {
                breaker.after(report, limits, Occasion { now, chance: NO_JITTER })
            }
            Transition::Wake(health) => breaker.woken(health, now),
        }
    }

    fn check_invariants(breaker: &Breaker, model: &Model) {
        match (&model.state, breaker.state()) {
            (State::Closed { .. }, BreakerState::Closed) => assert_eq!(breaker.cause(), None),
            (State::HalfOpen, BreakerState::HalfOpen) => assert!(breaker.cause().is_some()),
            (State::Open { until }, BreakerState::Open { until: told }) => {
                assert_eq!(told, Moment(*until));
                assert_ne!(breaker.cause().unwrap().rule, TripRule::Ratio);
            }
            (expected, is) => panic!("{is:?}, and must be {expected:?}"),
        }
    }
}

prop_state_machine! {
    #[test]
    fn a_breaker_is_what_its_model_is(sequential 1..80 => Beside);
}
