//! A request's bearer token -> verified claims. What claims must say is decided in the core's
//! `claims`; here are the keys, the signatures, and each worker's memory of tokens that passed.
//!
//! No key, address or algorithm ever comes from a token: its header and issuer only pick among
//! what configuration loaded.

mod cache;
mod jwks;
mod key;
mod ring;

use std::rc::Rc;

use http::HeaderMap;
use http::header::AUTHORIZATION;
use stamp_core::claims::{Claims, TokenError, Verified, is_jwt_like};
use stamp_core::time::UnixSeconds;

pub use cache::{CACHED_TOKENS_MAX, TokenCache};
pub use key::{HMAC_SECRET_BYTES_MIN, RSA_BITS_MIN};
pub use ring::{CANDIDATES_MAX, Fingerprint, KEY_FILE_BYTES_MAX, KeyError, KeyFault, KeyRing};
pub use ring::{InvalidToken, ReadFile, key_file};

/// Why a request's credentials are refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AuthError {
    /// More than one `Authorization` field (RFC 9110, section 11.6.2): 400.
    #[error("more than one Authorization field")]
    SeveralAuthorizations,
    /// A token that is a JWT and does not count: 401.
    #[error(transparent)]
    InvalidToken(#[from] InvalidToken),
}

impl AuthError {
    /// The stable code of this error.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::SeveralAuthorizations => "malformed_identifier",
            Self::InvalidToken(token) => token.reason.code(),
        }
    }
}

/// What the token of a request says, if it has one that is a JWT. Without issuers in the table no
/// token is looked at.
pub fn verified(
    ring: &KeyRing,
    cache: &mut TokenCache,
    headers: &HeaderMap,
    now: impl FnOnce() -> UnixSeconds,
) -> Result<Option<Rc<Verified<Claims>>>, AuthError> {
    if ring.is_empty() {
        return Ok(None);
    }
    match bearer(headers)? {
        Some(token) => Ok(Some(cache.verify(ring, token, now())?)),
        None => Ok(None),
    }
}

/// The bearer token of a request if it is meant as a JWT (RFC 6750, section 2.1). Other schemes and
/// opaque tokens are the application's business: silence here.
pub fn bearer(headers: &HeaderMap) -> Result<Option<&str>, AuthError> {
    let mut fields = headers.get_all(AUTHORIZATION).iter();
    let first = fields.next();
    if fields.next().is_some() {
        return Err(AuthError::SeveralAuthorizations);
    }
    let Some(token) = first.and_then(|value| after_scheme(value.as_bytes())) else {
        return Ok(None);
    };
    match std::str::from_utf8(token) {
        Ok(token) => Ok(is_jwt_like(token).then_some(token)),
        // Not even text, so no JWT; but nothing that could be taken for one may pass as silence.
        Err(_) if token.starts_with(b"eyJ") || token.contains(&b'.') => {
            Err(InvalidToken { issuer: None, reason: TokenError::Encoding }.into())
        }
        Err(_) => Ok(None),
    }
}

fn after_scheme(credentials: &[u8]) -> Option<&[u8]> {
    let is_blank = |byte: &u8| matches!(byte, b' ' | b'\t');
    let credentials = credentials.trim_ascii();
    let (scheme, token) = credentials.split_at_checked(credentials.iter().position(is_blank)?)?;
    scheme.eq_ignore_ascii_case(b"Bearer").then(|| token.trim_ascii_start())
}

#[cfg(test)]
mod tests;
