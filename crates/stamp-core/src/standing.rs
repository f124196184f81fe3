//! May this endpoint, and so this stamp, serve? The published result of probes, breakers and
//! operators; `fleet` computes it, `failover` and `balance` read it.

/// What is known of one endpoint, as published to the request path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EndpointStanding {
    /// Known good.
    Up,
    /// Known good again, and given so many per cent of its share (10 to 90) while it warms up.
    Warming(u8),
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
    /// Put back: serves, and its tenants come home a share at a time. Then it is active.
    Warming,
}

impl OperatorState {
    /// May new requests go there?
    #[must_use]
    pub const fn takes_requests(self) -> bool {
        matches!(self, Self::Active | Self::Warming)
    }

    /// All of them, in the order of their lives.
    pub const ALL: [Self; 5] =
        [Self::Active, Self::Draining, Self::Drained, Self::Maintenance, Self::Warming];

    /// The state of this word.
    #[must_use]
    pub fn of_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.as_str() == word)
    }

    /// The word used in the API, the metrics and the logs.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Draining => "draining",
            Self::Drained => "drained",
            Self::Maintenance => "maintenance",
            Self::Warming => "warming",
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
    /// The home for some of its tenants, an edge for the others: each tenant has a fixed
    /// [`Slot`], so that it moves once, whatever the share does in between.
    Split {
        /// The edge's place in the home's list.
        edge: u8,
        /// The tenants with a slot below this go over the edge (1 to 100).
        away: u8,
    },
    /// The failover edge of this place in the home's list.
    Edge(u8),
    /// Nobody can: home is not eligible and no edge is.
    Nobody,
}

/// The place of a tenant among the hundred that shares are made of: the same in every process and
/// for ever, for it comes from the name alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slot(u8);

impl Slot {
    /// How many there are.
    pub const COUNT: u8 = 100;
    /// That of requests that name no tenant: in the middle, so that small drills leave them alone.
    pub const OF_NOBODY: Self = Self(Self::COUNT / 2);

    /// The slot of this tenant.
    #[must_use]
    pub fn of(tenant: &str) -> Self {
        let slot = crc32fast::hash(tenant.as_bytes()) % u32::from(Self::COUNT);
        Self(u8::try_from(slot).unwrap_or_default())
    }

    /// Does a tenant of this slot go over the edge?
    #[must_use]
    pub const fn is_away(self, away: u8) -> bool {
        self.0 < away
    }
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
