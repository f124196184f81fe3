//! A request's token -> verified claims. What claims must say is decided in the core's
//! `claims`; here are the keys, the signatures, and each worker's memory of tokens that passed.
//!
//! No key, address or algorithm ever comes from a token: its header and issuer only pick among
//! what configuration loaded.

mod cache;
mod fetched;
mod jwks;
mod key;
mod ring;

use std::rc::Rc;

use http::HeaderMap;
use http::header::AUTHORIZATION;
use stamp_core::claims::{Claims, TokenError, Verified, is_jwt_like};
use stamp_core::identify::{Head, IdentifyError, token_at};
use stamp_core::table::TokenPlace;
use stamp_core::time::UnixSeconds;

pub use cache::{CACHED_TOKENS_MAX, REFUSAL_SECONDS, REFUSALS_MAX, TokenCache};
pub use fetched::{Fetched, FetchedIssuer, KeyChange};
pub use key::{HMAC_SECRET_BYTES_MIN, RSA_BITS_MIN};
pub use ring::{CANDIDATES_MAX, Fingerprint, KEY_FILE_BYTES_MAX, KeyError, KeyFault, KeyRing};
pub use ring::{InvalidToken, ReadFile};

/// Why a request's credentials are refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AuthError {
    /// More than one `Authorization` field (RFC 9110, section 11.6.2): 400.
    #[error("more than one Authorization field")]
    SeveralAuthorizations,
    /// The cookie or header that tokens are read from is there twice: 400.
    #[error(transparent)]
    Place(#[from] IdentifyError),
    /// A token that is a JWT and does not count: 401; or cannot be judged: 503.
    #[error(transparent)]
    InvalidToken(#[from] InvalidToken),
}

impl AuthError {
    /// The stable code of this error.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::SeveralAuthorizations => "malformed_identifier",
            Self::Place(error) => error.code(),
            Self::InvalidToken(token) => token.reason.code(),
        }
    }
}

/// What the token of a request says, if it has one that is a JWT. Without issuers in the table no
/// token is looked at.
pub fn verified(
    ring: &KeyRing,
    cache: &mut TokenCache,
    (place, head): (&TokenPlace, &Head<'_>),
    now: impl FnOnce() -> UnixSeconds,
) -> Result<Option<Rc<Verified<Claims>>>, AuthError> {
    if ring.is_empty() {
        return Ok(None);
    }
    match token(place, head)? {
        Some(token) => Ok(Some(cache.verify(ring, token, now())?)),
        None => Ok(None),
    }
}

/// The token of a request, exactly as it came. In `Authorization` stand other things as well; in a cookie or header
/// that is declared to hold a token stands a token, or something that is refused.
pub fn token<'h>(place: &TokenPlace, head: &Head<'h>) -> Result<Option<&'h str>, AuthError> {
    if *place == TokenPlace::Bearer {
        return bearer(head.headers);
    }
    let Some(value) = token_at(place, head)? else { return Ok(None) };
    let not_text = InvalidToken { issuer: None, reason: TokenError::Encoding };
    Ok(Some(std::str::from_utf8(value).or(Err(not_text))?))
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
