//! What orders about a stamp, and questions about a request, are told.

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

/// What `POST /v1/explain` is told.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ExplainAsk {
    /// The method; `None` = GET.
    pub method: Option<String>,
    /// `http://host/path?query`, or a path alone where `headers` name the host.
    pub url: String,
    /// Names and values of fields, in their order.
    pub headers: Vec<(String, String)>,
    /// Who sends it; `None` = nobody that is trusted.
    pub client_ip: Option<String>,
    /// A token, to be put where the gateway reads tokens from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token: Option<String>,
    /// What stamps are taken for: `down=eu-1`.
    pub assume: Vec<String>,
}
