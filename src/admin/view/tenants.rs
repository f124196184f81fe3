//! Tenants: where they live, what they may have, and what they have now.

use serde::{Deserialize, Serialize};
use stamp_core::admission::Rate;
use stamp_core::table::Tier;

/// `GET /v1/tenants/{tenant}`
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct TenantView {
    /// Its name.
    pub tenant: String,
    /// Its home.
    pub stamp: String,
    /// `active`, `suspended` or `offboarded`
    pub state: String,
    /// The zones that its data may be in; none = anywhere.
    pub residency: Vec<String>,
    /// The stamp that answers for it now.
    pub answered_by: Option<String>,
    /// It has no entry: a hash of its name places it there.
    #[serde(default)]
    pub placed: bool,
    /// The tier that it is of.
    pub tier: String,
    /// What that allows it.
    pub limits: LimitsView,
    /// Its requests and tunnels in flight now, over all workers.
    pub in_flight: u32,
    /// Its requests turned away for these limits since it was last idle for a minute or two.
    pub refused: u64,
}

/// What each tenant of a tier may have.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct LimitsView {
    /// Lower is shed first when a stamp is nearly full.
    pub priority: u32,
    /// The most requests and tunnels in flight.
    pub max_in_flight: u32,
    /// `None` = as many as it likes.
    pub requests_per_second: Option<u32>,
    /// Requests at once after a pause.
    pub burst: Option<u32>,
}

/// `GET /v1/tenants`
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct TenantsView {
    /// Sorted by name.
    pub tenants: Vec<TenantView>,
    /// What to give as `cursor` for those that follow; `None` = these were the last.
    pub next: Option<String>,
}

impl LimitsView {
    pub(in crate::admin) fn new(tier: &Tier) -> Self {
        Self {
            priority: tier.priority,
            max_in_flight: tier.limits.in_flight_max.get(),
            requests_per_second: tier.limits.rate.map(Rate::per_second),
            burst: tier.limits.rate.map(Rate::burst),
        }
    }
}
