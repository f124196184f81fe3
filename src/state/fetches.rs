//! How fetches of issuers' keys ended, for the metrics and the admin plane.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

/// Counts by issuer and result.
#[derive(Debug, Default)]
pub struct Fetches(Mutex<BTreeMap<Box<str>, Ended>>);

/// How the fetches of one issuer's keys ended.
#[derive(Clone, Debug, Default)]
pub struct Ended {
    /// How often each way.
    pub counts: BTreeMap<&'static str, u64>,
    /// How the last one did.
    pub last: &'static str,
}

impl Fetches {
    /// Counts one.
    pub fn note(&self, issuer: &str, result: &'static str) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let ended = all.entry(issuer.into()).or_default();
        *ended.counts.entry(result).or_default() += 1;
        ended.last = result;
    }

    /// Those of one issuer.
    #[must_use]
    pub fn of(&self, issuer: &str) -> Ended {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.get(issuer).cloned().unwrap_or_default()
    }
}
