//! Core's words in the shadow's: what is published and told, translated one by one.

use stamp_core::breaker::BreakerState;
use stamp_core::failover::Refusal as CoreRefusal;
use stamp_core::fleet::{Change, EndpointName, Fleet, FlipReason};
use stamp_core::id::StampId;
use stamp_core::retry::{StopReason, Verdict};
use stamp_core::standing::{EndpointStanding, OperatorState, OutReason, Serving, StampHealth};

use crate::plan::{EndpointKey, Plan, StampKey, StampPlan, endpoint_at, stamp_named};
use crate::shadow::{
    BreakerIs, FlipWhy, Health, Judged, Operator, Refusal, Seen, SeenStamp, Serves, Standing, Stop,
    Told,
};

/// What the fleet would publish now.
pub(super) fn seen(fleet: &Fleet, plan: &Plan) -> Seen {
    let standings = fleet.standings();
    let stamps = plan.stamps.iter().zip(&standings.stamps).map(|(stamp, standing)| SeenStamp {
        key: stamp.key,
        operator: operator(standing.operator),
        health: health(standing.health),
        serves: serves(standing.serving, stamp),
        flips: standing.flips,
    });
    let endpoints = plan.endpoints().zip(&standings.endpoints);
    Seen {
        revision: fleet.revision(),
        suspects: standings.is_suspect,
        stamps: stamps.collect(),
        endpoints: endpoints.map(|(key, it)| (key, standing(*it))).collect(),
    }
}

/// A change.
pub(super) fn told(change: &Change, plan: &Plan) -> Told {
    match change {
        Change::Endpoint { endpoint, was, is, .. } => {
            Told::Endpoint { endpoint: key(endpoint), was: standing(*was), is: standing(*is) }
        }
        Change::Breaker { endpoint, was, is, cause } => Told::Breaker {
            endpoint: key(endpoint),
            was: breaker(*was),
            is: breaker(*is),
            is_explained: cause.is_some(),
        },
        Change::Health { stamp, was, is } => {
            Told::Health { stamp: stamp_key(stamp), was: health(*was), is: health(*is) }
        }
        Change::Operator { stamp, was, is } => {
            Told::Operator { stamp: stamp_key(stamp), was: operator(*was), is: operator(*is) }
        }
        Change::Suspicion { suspect, .. } => Told::Suspicion { suspects: *suspect },
        Change::Barred { home, .. } => Told::Barred { home: stamp_key(home) },
        Change::Flip { home, from, to, serving, reason } => Told::Flip {
            home: stamp_key(home),
            ends: (from.as_ref().map(stamp_key), to.as_ref().map(stamp_key)),
            is: plan.stamp(stamp_key(home)).map_or(Serves::Nobody, |it| serves(*serving, it)),
            why: flip_why(*reason),
        },
    }
}

fn serves(serving: Serving, home: &StampPlan) -> Serves {
    let edge = |place: u8| home.edges.get(usize::from(place)).map(|edge| edge.0);
    match serving {
        Serving::Home => Serves::Home,
        Serving::Edge(place) => edge(place).map_or(Serves::Nobody, Serves::Edge),
        Serving::Split { edge: place, away } => {
            edge(place).map_or(Serves::Nobody, |edge| Serves::Split { edge, away })
        }
        Serving::Nobody => Serves::Nobody,
    }
}

fn key(endpoint: &EndpointName) -> EndpointKey {
    endpoint_at(&endpoint.authority)
}

/// The stamp of this id.
pub(super) fn stamp_key(stamp: &StampId<'_>) -> StampKey {
    stamp_named(stamp.as_str())
}

const fn standing(standing: EndpointStanding) -> Standing {
    match standing {
        EndpointStanding::Up => Standing::Up,
        EndpointStanding::Warming(percent) => Standing::Warming(percent),
        EndpointStanding::Unknown => Standing::Unknown,
        EndpointStanding::Trial => Standing::Trial,
        EndpointStanding::Out(OutReason::ProbeDown) => Standing::ProbeDown,
        EndpointStanding::Out(OutReason::BreakerOpen) => Standing::BreakerOpen,
    }
}

const fn operator(operator: OperatorState) -> Operator {
    match operator {
        OperatorState::Active => Operator::Active,
        OperatorState::Draining => Operator::Draining,
        OperatorState::Drained => Operator::Drained,
        OperatorState::Maintenance => Operator::Maintenance,
        OperatorState::Warming => Operator::Warming,
    }
}

const fn health(health: StampHealth) -> Health {
    match health {
        StampHealth::Up => Health::Up,
        StampHealth::Unknown => Health::Unknown,
        StampHealth::Trial => Health::Trial,
        StampHealth::Down => Health::Down,
    }
}

fn breaker(state: BreakerState) -> BreakerIs {
    match state {
        BreakerState::Closed => BreakerIs::Closed,
        BreakerState::HalfOpen => BreakerIs::HalfOpen,
        BreakerState::Open { until } => {
            // The first whole microsecond at which it is over.
            let until = until.0.as_nanos().div_ceil(1000);
            BreakerIs::Open { until: u64::try_from(until).unwrap_or(u64::MAX) }
        }
    }
}

const fn flip_why(reason: FlipReason) -> FlipWhy {
    match reason {
        FlipReason::HomeDrained => FlipWhy::HomeDrained,
        FlipReason::HomeDown => FlipWhy::HomeDown,
        FlipReason::EdgeLost => FlipWhy::EdgeLost,
        FlipReason::HomeHeld => FlipWhy::HomeHeld,
        FlipReason::HomeUndrained => FlipWhy::HomeUndrained,
        FlipReason::HomeWarmed => FlipWhy::HomeWarmed,
        FlipReason::Ordered => FlipWhy::Ordered,
        FlipReason::Drill => FlipWhy::Drill,
        FlipReason::SelfSuspect => FlipWhy::SelfSuspect,
        FlipReason::LastResort => FlipWhy::LastResort,
        FlipReason::Recovered => FlipWhy::Recovered,
        FlipReason::Recalled => FlipWhy::Recalled,
    }
}

/// Why nobody serves.
pub(super) const fn refusal(refusal: CoreRefusal) -> Refusal {
    match refusal {
        CoreRefusal::StampDraining { .. } => Refusal::Draining,
        CoreRefusal::StampUnavailable { .. } => Refusal::Unavailable,
        CoreRefusal::ResidencyFenced { .. } => Refusal::Fenced,
        CoreRefusal::ReadOnlyFailover { .. } => Refusal::ReadOnly,
    }
}

/// What was decided about another attempt.
pub(super) const fn judged(verdict: Verdict) -> Judged {
    match verdict {
        Verdict::Repeat(_) => Judged::Repeat,
        Verdict::Stop(reason) => Judged::Stop(match reason {
            StopReason::HeadForwarded => Stop::HeadForwarded,
            StopReason::StatusNotDeclared => Stop::StatusNotDeclared,
            StopReason::NotIdempotent => Stop::NotIdempotent,
            StopReason::BodyGone => Stop::BodyGone,
            StopReason::AttemptsSpent => Stop::AttemptsSpent,
            StopReason::DeadlineOver => Stop::DeadlineOver,
            StopReason::BudgetSpent => Stop::BudgetSpent,
        }),
    }
}
