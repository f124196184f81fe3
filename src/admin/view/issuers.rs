//! The issuers whose keys are fetched, as `GET /v1/config` shows them.

use serde::{Deserialize, Serialize};

use super::timestamp;
use crate::auth::Fetched;
use crate::state::{State, View};

/// An issuer whose keys are fetched.
#[derive(Debug, Serialize, Deserialize)]
pub struct IssuerView {
    /// Its `iss`.
    pub issuer: String,
    /// Where its keys come from.
    pub jwks_url: String,
    /// How many can be used; with none its tokens are answered 503 `not_ready`.
    pub keys: usize,
    /// When they came.
    pub fetched_at: Option<String>,
    /// How the last fetch ended: "ok", or what was wrong; absent before the first.
    pub last_fetch: Option<String>,
}

/// All of them, in the order of the file.
pub(super) fn of(state: &State, view: &View) -> Vec<IssuerView> {
    let shown = view.keys.fetched_issuers().map(|issuer| {
        let last = state.fetches().of(issuer.issuer).last;
        IssuerView {
            issuer: issuer.issuer.to_owned(),
            jwks_url: issuer.source.url.to_string(),
            keys: issuer.fetched.map_or(0, Fetched::len),
            fetched_at: issuer.fetched.map(|fetched| timestamp(fetched.at())),
            last_fetch: (!last.is_empty()).then(|| last.to_owned()),
        }
    });
    shown.collect()
}
