//! One worker's memory of tokens, so that a token costs one signature check and not one a request.
//! Not shared: every worker has its own. Those that passed and those that were refused are kept
//! apart: nobody drives the one out by sending the other.

use std::rc::Rc;

use aws_lc_rs::digest;
use hashbrown::DefaultHashBuilder;
use quick_cache::UnitWeighter;
use quick_cache::unsync::Cache;
use stamp_core::claims::{Claims, TOKEN_BYTES_MAX, Verified};
use stamp_core::time::UnixSeconds;

use super::ring::{Fingerprint, InvalidToken, KeyRing};

/// The most tokens that one worker remembers. At 8 KiB each they could fill 32 MiB, though only
/// with tokens that a trusted issuer signed.
pub const CACHED_TOKENS_MAX: usize = 4096;

/// The most refusals that one worker remembers, at some hundred bytes each.
pub const REFUSALS_MAX: usize = 4096;
/// How long a refusal is remembered, in seconds: a client that repeats a bad token in a loop costs
/// one signature check in that time.
pub const REFUSAL_SECONDS: u64 = 10;

/// A whole token by its SHA-256: refused ones are anybody's to choose, so their length is not to
/// cost memory.
type Digest = [u8; 32];

/// Why a token was refused, and when.
#[derive(Clone, Debug)]
struct Refusal {
    why: InvalidToken,
    at: UnixSeconds,
}

type Memory<K, V> = Cache<K, V, UnitWeighter, DefaultHashBuilder>;

/// Whole tokens and what they said. The unsigned parts are a part of the key, so a changed
/// signature is a changed token.
#[derive(Debug)]
pub struct TokenCache {
    entries: Memory<Box<str>, Rc<Verified<Claims>>>,
    refusals: Memory<Digest, Refusal>,
    /// What the entries passed or failed under.
    fingerprint: Option<Fingerprint>,
}

impl Default for TokenCache {
    fn default() -> Self {
        let (entries, refusals) = (memory(CACHED_TOKENS_MAX), memory(REFUSALS_MAX));
        Self { entries, refusals, fingerprint: None }
    }
}

fn memory<K: Eq + std::hash::Hash, V>(entries_max: usize) -> Memory<K, V> {
    Cache::with(
        entries_max,
        entries_max as u64,
        UnitWeighter,
        DefaultHashBuilder::default(),
        quick_cache::unsync::DefaultLifecycle::default(),
    )
}

impl TokenCache {
    /// What the token says: from memory if it passed before under the same keys and rules and is
    /// not past its `exp`, or was refused a moment ago; else by a full check.
    pub fn verify(
        &mut self,
        ring: &KeyRing,
        token: &str,
        now: UnixSeconds,
    ) -> Result<Rc<Verified<Claims>>, InvalidToken> {
        if self.fingerprint != Some(ring.fingerprint()) {
            self.entries.clear();
            self.refusals.clear();
            self.fingerprint = Some(ring.fingerprint());
        }
        if let Some(claims) = self.entries.get(token) {
            if now < claims.expires_at {
                return Ok(Rc::clone(claims));
            }
            self.entries.remove(token);
        }
        let digest = digest_of(token);
        if let Some(why) = digest.and_then(|digest| self.refused_lately(&digest, now)) {
            return Err(why);
        }
        match ring.verify(token, now) {
            Ok(claims) => {
                let claims = Rc::new(claims);
                // Within the leeway it passes, but is not remembered: memory ends at `exp`.
                if now < claims.expires_at {
                    self.entries.insert(token.into(), Rc::clone(&claims));
                }
                Ok(claims)
            }
            Err(why) => {
                if let Some(digest) = digest.filter(|_| why.reason.is_worth_remembering()) {
                    self.refusals.insert(digest, Refusal { why: why.clone(), at: now });
                }
                Err(why)
            }
        }
    }

    fn refused_lately(&mut self, token: &Digest, now: UnixSeconds) -> Option<InvalidToken> {
        let Refusal { why, at } = self.refusals.get(token)?;
        // A wall clock that was set back makes no refusal last.
        let is_fresh = (at.0..at.0.saturating_add(REFUSAL_SECONDS)).contains(&now.0);
        if is_fresh {
            return Some(why.clone());
        }
        self.refusals.remove(token);
        None
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

    /// How many refusals are remembered.
    #[must_use]
    pub fn refusals(&self) -> usize {
        self.refusals.len()
    }
}

/// `None` for what is too long to be looked at.
fn digest_of(token: &str) -> Option<Digest> {
    if token.len() > TOKEN_BYTES_MAX {
        return None;
    }
    digest::digest(&digest::SHA256, token.as_bytes()).as_ref().try_into().ok()
}
