//! One worker's memory of tokens that passed, so that a token costs one signature check and not
//! one a request. Not shared: every worker has its own.

use std::rc::Rc;

use hashbrown::DefaultHashBuilder;
use quick_cache::UnitWeighter;
use quick_cache::unsync::Cache;
use stamp_core::claims::{Claims, Verified};
use stamp_core::time::UnixSeconds;

use super::ring::{Fingerprint, InvalidToken, KeyRing};

/// The most tokens that one worker remembers. At 8 KiB each they could fill 32 MiB, though only
/// with tokens that a trusted issuer signed.
pub const CACHED_TOKENS_MAX: usize = 4096;

/// Whole tokens and what they said. The unsigned parts are a part of the key, so a changed
/// signature is a changed token.
#[derive(Debug)]
pub struct TokenCache {
    entries: Cache<Box<str>, Rc<Verified<Claims>>, UnitWeighter, DefaultHashBuilder>,
    /// What the entries passed under.
    fingerprint: Option<Fingerprint>,
}

impl Default for TokenCache {
    fn default() -> Self {
        let entries = Cache::with(
            CACHED_TOKENS_MAX,
            CACHED_TOKENS_MAX as u64,
            UnitWeighter,
            DefaultHashBuilder::default(),
            quick_cache::unsync::DefaultLifecycle::default(),
        );
        Self { entries, fingerprint: None }
    }
}

impl TokenCache {
    /// What the token says, from memory if it passed before under the same keys and rules and is
    /// not past its `exp`; else by a full check. Refusals are not remembered.
    pub fn verify(
        &mut self,
        ring: &KeyRing,
        token: &str,
        now: UnixSeconds,
    ) -> Result<Rc<Verified<Claims>>, InvalidToken> {
        if self.fingerprint != Some(ring.fingerprint()) {
            self.entries.clear();
            self.fingerprint = Some(ring.fingerprint());
        }
        if let Some(claims) = self.entries.get(token) {
            if now < claims.expires_at {
                return Ok(Rc::clone(claims));
            }
            self.entries.remove(token);
        }
        let claims = Rc::new(ring.verify(token, now)?);
        // Within the leeway it passes, but is not remembered: memory ends at `exp`.
        if now < claims.expires_at {
            self.entries.insert(token.into(), Rc::clone(&claims));
        }
        Ok(claims)
    }

    /// How many tokens are remembered.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Is none remembered?
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
}
