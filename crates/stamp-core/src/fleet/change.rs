//! What changed, for the log, the metrics and the prober: one value a transition.

use crate::breaker::{BreakerState, Cause};
use crate::health::Health;
use crate::id::{EndpointIndex, StampId};
use crate::standing::{EndpointStanding, OperatorState, Serving, StampHealth};

/// One transition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// An endpoint may be used otherwise than before.
    Endpoint {
        /// Which.
        endpoint: EndpointName,
        /// Its standing before.
        was: EndpointStanding,
        /// Its standing now, with the reason where it is out.
        is: EndpointStanding,
        /// What its probes say.
        probes: Health,
    },
    /// A breaker opened, half-opened or closed.
    Breaker {
        /// Which.
        endpoint: EndpointName,
        /// Its state before.
        was: BreakerState,
        /// Its state now.
        is: BreakerState,
        /// Why it opened; `None` once it is closed.
        cause: Option<Cause>,
    },
    /// A stamp's endpoints add up to something else.
    Health {
        /// Which stamp.
        stamp: StampId<'static>,
        /// Its health before.
        was: StampHealth,
        /// Its health now.
        is: StampHealth,
    },
    /// The operator's word about a stamp changed, or a drain is over.
    Operator {
        /// Which stamp.
        stamp: StampId<'static>,
        /// What held before.
        was: OperatorState,
        /// What holds now.
        is: OperatorState,
    },
    /// The gateway began or ceased to suspect itself.
    Suspicion {
        /// Which.
        suspect: bool,
        /// So many stamps fail.
        failing: usize,
        /// Of so many.
        of: usize,
    },
    /// A home was lost so often that only an operator brings its requests back.
    Barred {
        /// The home.
        home: StampId<'static>,
        /// Losses within the hour.
        losses: usize,
    },
    /// Another stamp answers for a home.
    Flip {
        /// The home.
        home: StampId<'static>,
        /// The stamp that answered before; `None` = nobody.
        from: Option<StampId<'static>>,
        /// The stamp that answers now, or begins to; `None` = nobody.
        to: Option<StampId<'static>>,
        /// As published.
        serving: Serving,
        /// Why.
        reason: FlipReason,
    },
}

impl Change {
    /// The endpoint that this change asks to probe at once.
    #[must_use]
    pub const fn asks_for_probe(&self) -> Option<EndpointIndex> {
        match self {
            Self::Breaker { endpoint, is: BreakerState::Open { .. }, .. } => Some(endpoint.index),
            Self::Breaker { .. }
            | Self::Endpoint { .. }
            | Self::Health { .. }
            | Self::Operator { .. }
            | Self::Suspicion { .. }
            | Self::Barred { .. }
            | Self::Flip { .. } => None,
        }
    }
}

/// An endpoint as people and the table know it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndpointName {
    /// Its stamp.
    pub stamp: StampId<'static>,
    /// Its place in the table adopted last.
    pub index: EndpointIndex,
    /// `host:port`.
    pub authority: Box<str>,
}

/// Why another stamp answers for a home.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FlipReason {
    /// The operator (or the declared state) took the home out.
    HomeDrained,
    /// Probes or breakers took the home out.
    HomeDown,
    /// The stamp of the serving edge is no longer eligible, or no longer declared.
    EdgeLost,
    /// The home was up for as long as it must hold.
    HomeHeld,
    /// The operator put the home back, which was sound all along.
    HomeUndrained,
    /// The operator put the home back after work on it.
    HomeWarmed,
    /// The operator said that requests may come home.
    Ordered,
    /// The process before this one ended while the home waited for its operator.
    Recalled,
    /// A drill began, or it is over.
    Drill,
    /// The gateway suspects itself and takes back what it concluded.
    SelfSuspect,
    /// The home has not held yet, but nobody else is left.
    LastResort,
    /// Nobody answered, and now somebody can.
    Recovered,
}

impl FlipReason {
    /// The label used in metrics and logs.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::HomeDrained => "operator",
            Self::HomeDown => "health",
            Self::EdgeLost => "edge_lost",
            Self::HomeHeld => "failback",
            Self::HomeUndrained => "undrained",
            Self::HomeWarmed => "warmed",
            Self::Ordered => "ordered",
            Self::Recalled => "recalled",
            Self::Drill => "drill",
            Self::SelfSuspect => "self_suspect",
            Self::LastResort => "last_resort",
            Self::Recovered => "recovered",
        }
    }
}
