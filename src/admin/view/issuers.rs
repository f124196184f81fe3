//! The issuers whose keys are fetched, as `GET /v1/config` shows them.

use serde::{Deserialize, Serialize};

use super::{seconds, timestamp};
use crate::auth::Fetched;
use crate::state::{State, View};

/// An issuer whose keys are fetched.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct IssuerView {
    /// Its `iss`.
    pub issuer: String,
    /// Where its keys come from.
    pub jwks_url: String,
    /// How many can be used; with none its tokens are answered 503 `not_ready`.
    pub keys: usize,
    /// `fresh`, `stale` (older than `jwks_refresh`) or `none`
    pub state: String,
    /// When they came.
    pub fetched_at: Option<String>,
    /// How long ago that is.
    pub age_s: Option<f64>,
    /// How the last fetch ended: "ok", or what was wrong; absent before the first.
    pub last_fetch: Option<String>,
    /// The same in words; absent where nothing was wrong.
    pub last_error: Option<String>,
    /// When they are fetched next, unless a token asks for it before; absent before the first has ended.
    pub next_fetch_in_s: Option<f64>,
}

/// All of them, in the order of the file.
pub(super) fn of(state: &State, view: &View) -> Vec<IssuerView> {
    let clock = state.clock();
    let shown = view.keys.fetched_issuers().map(|issuer| {
        let age = issuer.fetched.map(|fetched| clock.wall().saturating_sub(fetched.at()));
        let last = state.fetches().of(issuer.issuer).last;
        IssuerView {
            issuer: issuer.issuer.to_owned(),
            jwks_url: issuer.source.url.to_string(),
            keys: issuer.fetched.map_or(0, Fetched::len),
            state: issuer.source.freshness(age).as_str().to_owned(),
            fetched_at: issuer.fetched.map(|fetched| timestamp(fetched.at())),
            age_s: age.map(seconds),
            last_fetch: last.as_ref().map(|last| last.result.to_owned()),
            next_fetch_in_s: last.as_ref().map(|last| seconds(last.next.since(clock.now()))),
            last_error: last.and_then(|last| last.error),
        }
    });
    shown.collect()
}
