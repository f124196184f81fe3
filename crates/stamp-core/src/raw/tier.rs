//! `[tier.NAME]` as written: what its tenants may have, and who of them is shed first.

use crate::as_written;
use crate::document::{Count, FromToml, Json, Report, Value, Written, read_parsed};
use crate::id::{IdError, TenantId};

as_written! {
    /// Limits of each tenant of this tier, over all workers, and its priority.
    pub struct RawTier {
        /// Lower is shed first when a stamp is nearly full.
        pub priority: Count<0, 1_000_000> = 0,
        /// The most requests and tunnels in flight: 429 `tenant_saturated` beyond.
        pub max_in_flight: Count<1, 10_000_000> = 500,
        /// How often it may ask: 429 `tenant_rate_limited` beyond. Absent: as often as it likes.
        pub requests_per_second: Option<Count<1, 1_000_000>>,
        /// Requests at once after a pause. Default: those of one second.
        pub burst: Option<Written<Count<1, 1_000_000>>>,
    }
}

/// The name of a tier, in lower case; its alphabet is that of tenants.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct TierName(pub Box<str>);

impl TierName {
    /// Reads the name of a tier.
    pub fn parse(text: &str) -> Result<Self, IdError> {
        TenantId::parse(text).map(|name| Self(name.as_str().into()))
    }
}

impl FromToml for TierName {
    fn read(value: &Value<'_>, report: &mut Report) -> Option<Self> {
        read_parsed(value, report, "the name of a tier such as \"gold\"", Self::parse)
    }
    fn schema() -> Json {
        TenantId::schema()
    }
}
