//! May this endpoint, and so this stamp, serve? The published result of probes, breakers and
//! operators; `fleet` computes it, `failover` and `balance` read it.

/// What is known of one endpoint, as published to the request path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EndpointStanding {
    /// Known good.
    Up,
    /// Not probed yet, and no failure seen: used only where no endpoint is known good.
    Unknown,
    /// Its breaker is half-open: one trial request may pass (the shell hands out the trial).
    Trial,
    /// Not to be used.
    Out(OutReason),
}

/// Why an endpoint is not used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OutReason {
    /// Probes failed `fall` times.
    ProbeDown,
    /// Requests failed and the breaker is open.
    BreakerOpen,
}

/// What the operator (or the declared `state` of routing.toml) wants of a stamp.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OperatorState {
    /// Serves.
    #[default]
    Active,
    /// Takes no new request; what is in flight finishes.
    Draining,
    /// Draining, and nothing is in flight any more.
    Drained,
    /// Taken out for work.
    Maintenance,
}

impl OperatorState {
    /// May new requests go there?
    #[must_use]
    pub const fn takes_requests(self) -> bool {
        matches!(self, Self::Active)
    }

    /// The word used in the API, the metrics and the logs.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Draining => "draining",
            Self::Drained => "drained",
            Self::Maintenance => "maintenance",
        }
    }
}

/// What the endpoints of a stamp add up to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StampHealth {
    /// At least one endpoint is known good.
    Up,
    /// None is known good, but at least one is not known bad (just started).
    Unknown,
    /// All are out, but one may be tried.
    Trial,
    /// All are out.
    Down,
}

/// Which stamp answers for the tenants of a home: decided off the request path, a flip at a time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Serving {
    /// The home itself.
    #[default]
    Home,
    /// The failover edge of this place in the home's list.
    Edge(u8),
    /// Nobody can: home is not eligible and no edge is.
    Nobody,
}

/// What is known of one stamp, as published to the request path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StampStanding {
    /// The operator's word.
    pub operator: OperatorState,
    /// The endpoints' word.
    pub health: StampHealth,
    /// Who answers for this home.
    pub serving: Serving,
    /// Counts the flips of `serving` since the process began.
    pub flips: u64,
}

impl StampStanding {
    /// Eligible = the operator allows it, and probes and breakers do.
    #[must_use]
    pub const fn is_eligible(self) -> bool {
        self.operator.takes_requests()
            && matches!(self.health, StampHealth::Up | StampHealth::Unknown)
    }
}
