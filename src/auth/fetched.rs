//! A key set that an issuer published, as it was fetched: parsed once, shared by every ring that
//! holds it.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use stamp_core::jwks::JwksSource;
use stamp_core::table::Algorithm;

use super::jwks;
use super::key::VerifyingKey;
use super::ring::KeyFault;

/// A key set with at least one key that can be used.
#[derive(Clone)]
pub struct Fetched {
    json: Arc<[u8]>,
    pub(super) keys: Arc<[VerifyingKey]>,
    at: Duration,
}

impl Fetched {
    /// Reads an answer that came at this wall time since 1970. Keys that cannot be used are left
    /// out (RFC 7517, section 5): what one of them is worth is not for the others to suffer.
    pub fn read(json: Arc<[u8]>, algorithms: &[Algorithm], at: Duration) -> Result<Self, KeyFault> {
        let keys = jwks::read_usable(&json, algorithms)?;
        if keys.is_empty() {
            return Err(KeyFault::NoUsableKey);
        }
        Ok(Self { json, keys: keys.into(), at })
    }

    /// The answer.
    #[must_use]
    pub fn json(&self) -> &Arc<[u8]> {
        &self.json
    }

    /// When it came: wall time since 1970.
    #[must_use]
    pub const fn at(&self) -> Duration {
        self.at
    }

    /// How many of its keys can be used.
    #[must_use]
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// Can none of its keys be used? There is always one.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }
}

impl fmt::Debug for Fetched {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { json: _, keys, at } = self;
        out.debug_struct("Fetched").field("keys", keys).field("at", at).finish_non_exhaustive()
    }
}

/// An issuer whose keys are fetched, and those that are there.
#[derive(Clone, Copy, Debug)]
pub struct FetchedIssuer<'r> {
    /// Its `iss`.
    pub issuer: &'r str,
    /// What its keys may be for.
    pub algorithms: &'r [Algorithm],
    /// Where they come from.
    pub source: &'r JwksSource,
    /// The keys; `None` = its tokens cannot be checked.
    pub fetched: Option<&'r Fetched>,
}

/// Other keys of an issuer, or none any more.
#[derive(Clone, Debug)]
pub struct KeyChange {
    /// Its `iss`.
    pub issuer: Box<str>,
    /// Where they came from: the change is of no use once the issuer's keys come from elsewhere.
    pub source: JwksSource,
    /// What the keys were read for: the same holds once they may be for something else.
    pub algorithms: Box<[Algorithm]>,
    /// The keys.
    pub fetched: Option<Fetched>,
}
