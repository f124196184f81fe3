//! What orders about a stamp are told.

use serde::{Deserialize, Serialize};

use super::Span;

/// What `POST /v1/stamps/{id}/drain` is told.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DrainAsk {
    /// After this long, what is long-lived is ended.
    pub deadline: Option<Span>,
    /// Drain even if tenants have nowhere to go.
    pub force: bool,
    /// Why.
    pub reason: Option<String>,
}

/// What `DELETE /v1/stamps/{id}/drain` and `POST /v1/stamps/{id}/failback` are told.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ReasonAsk {
    /// Why.
    pub reason: Option<String>,
}

/// What `PUT /v1/stamps/{id}/state` is told.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct StateAsk {
    /// "draining", "maintenance", "warming" or "active".
    pub state: String,
    /// Take it out although something is in flight, or tenants have nowhere to go.
    pub force: bool,
    /// Why.
    pub reason: Option<String>,
}
