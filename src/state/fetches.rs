//! How fetches of issuers' keys ended, for the metrics and the admin plane.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use stamp_core::time::Moment;

/// Counts by issuer and result.
#[derive(Debug, Default)]
pub struct Fetches(Mutex<BTreeMap<Box<str>, Ended>>);

/// How the fetches of one issuer's keys ended.
#[derive(Clone, Debug, Default)]
pub struct Ended {
    /// How often each way.
    pub counts: BTreeMap<&'static str, u64>,
    /// The last one; `None` = none has ended.
    pub last: Option<Last>,
}

/// How the last fetch ended.
#[derive(Clone, Debug)]
pub struct Last {
    /// "ok", or the label of what was wrong.
    pub result: &'static str,
    /// What was wrong, in words.
    pub error: Option<String>,
    /// When the next one begins, unless a token asks for it before.
    pub next: Moment,
}

impl Fetches {
    /// Counts one.
    pub fn note(&self, issuer: &str, last: Last) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let ended = all.entry(issuer.into()).or_default();
        *ended.counts.entry(last.result).or_default() += 1;
        ended.last = Some(last);
    }

    /// Those of one issuer.
    #[must_use]
    pub fn of(&self, issuer: &str) -> Ended {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.get(issuer).cloned().unwrap_or_default()
    }
}
