//! What a bearer token claims, read strictly (RFC 7515, RFC 7519, RFC 8725). The signature is the
//! shell's to check (`auth`); what the claims must say is decided here. Used by `identify`.

mod json;
mod tenants;
mod terms;
mod token;

use std::ops::Deref;

pub use json::LEVELS_MAX;
pub use tenants::Tenants;
pub use terms::{LEEWAY_SECONDS_MAX, LIFETIME_SECONDS_MAX, Unverified};
pub use token::{Header, Parts, TOKEN_BYTES_MAX, is_jwt_like, split};

use crate::id::StampId;
use crate::time::UnixSeconds;

/// A value that a trusted issuer vouches for. Nothing else makes one, so what is verified and what
/// is merely claimed never mix.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verified<T>(T);

impl<T> Verified<T> {
    /// For the verification step alone: after the signature held under a key of the issuer that
    /// the claims name, and after [`Unverified::check`] passed. Called from nowhere else.
    #[must_use]
    pub const fn vouch(value: T) -> Self {
        Self(value)
    }
}

impl<T> Deref for Verified<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

/// What a token says, as far as routing needs it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claims {
    /// Who says it: `iss`, equal to the rule's issuer.
    pub issuer: Box<str>,
    /// Whose request it may be.
    pub tenants: Tenants,
    /// Where the issuer says the tenant lives, if its rule names a stamp claim and it is there.
    pub stamp: Option<StampId<'static>>,
    /// `exp`: from this second on the token is only good for the rule's leeway.
    pub expires_at: UnixSeconds,
}

/// Why a token that is a JWT does not count. All but `NotReady` are 401 `invalid_token`; the client
/// is not told which.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// Longer than `TOKEN_BYTES_MAX`.
    #[error("longer than {TOKEN_BYTES_MAX} bytes")]
    TooLong,
    /// Not three parts between two dots (RFC 7515, section 7.1).
    #[error("not three parts")]
    Parts,
    /// A part that is not base64url without padding (RFC 7515, section 2).
    #[error("not base64url without padding")]
    Encoding,
    /// A header or claims set that is no JSON, or has bytes after it.
    #[error("not JSON")]
    Json,
    /// A JSON text that is no object.
    #[error("not a JSON object")]
    NotAnObject,
    /// One object holds a member twice (RFC 7519, section 4).
    #[error("a member twice")]
    DuplicateMember,
    /// Nested deeper than `LEVELS_MAX`.
    #[error("nested deeper than {LEVELS_MAX} levels")]
    TooDeep,
    /// No `alg`, or none that this gateway knows; `none` is none (RFC 8725, section 3.1).
    #[error("no algorithm that is known")]
    Algorithm,
    /// A `typ` of another kind of token (RFC 8725, section 3.11).
    #[error("another type of token")]
    Type,
    /// `crit` or `b64`: an extension that changes what the token means (RFC 7515, section 4.1.11).
    #[error("a critical extension")]
    Critical,
    /// A `kid` that is no text.
    #[error("a key id that is no text")]
    KeyId,
    /// No `iss`, or none that is configured.
    #[error("an issuer that is not configured")]
    Issuer,
    /// No key of the issuer has this `kid` and `alg`.
    #[error("no key for it")]
    Key,
    /// No candidate key made this signature.
    #[error("the signature does not hold")]
    Signature,
    /// None of our audiences in `aud`.
    #[error("another audience")]
    Audience,
    /// A date that is no number of seconds, or no `exp` at all.
    #[error("no expiry, or a date that is none")]
    Date,
    /// Past `exp`.
    #[error("expired")]
    Expired,
    /// Before `nbf`, or issued in the future.
    #[error("not valid yet")]
    NotYetValid,
    /// From `iat` to `exp` is longer than `LIFETIME_SECONDS_MAX`.
    #[error("a lifetime of more than a day")]
    LivesTooLong,
    /// No tenant claim, or one that is neither a tenant id as it stands nor a list of such.
    #[error("no tenant claim, or one that is no tenant id")]
    Tenant,
    /// A stamp claim that is no stamp id as it stands.
    #[error("a stamp claim that is no stamp id")]
    Stamp,
    /// The keys of the issuer could not be fetched (lately), so nobody can say.
    #[error("the keys of its issuer are not there")]
    NotReady,
}

impl TokenError {
    /// The stable code of this error.
    #[must_use]
    pub const fn code(self) -> &'static str {
        if matches!(self, Self::NotReady) { "not_ready" } else { "invalid_token" }
    }

    /// May this refusal be remembered for a while? It was found out after the signature was checked,
    /// which costs, and time does not mend it.
    #[must_use]
    pub const fn is_worth_remembering(self) -> bool {
        match self {
            Self::Signature
            | Self::Audience
            | Self::Date
            | Self::Expired
            | Self::LivesTooLong
            | Self::Tenant
            | Self::Stamp => true,
            Self::TooLong
            | Self::Parts
            | Self::Encoding
            | Self::Json
            | Self::NotAnObject
            | Self::DuplicateMember
            | Self::TooDeep
            | Self::Algorithm
            | Self::Type
            | Self::Critical
            | Self::KeyId
            | Self::Issuer
            | Self::Key
            | Self::NotYetValid
            | Self::NotReady => false,
        }
    }

    /// The label used in metrics and logs.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::TooLong => "too_long",
            Self::Parts | Self::Encoding => "malformed",
            Self::Json | Self::NotAnObject | Self::DuplicateMember | Self::TooDeep => "bad_json",
            Self::Algorithm => "bad_algorithm",
            Self::Type | Self::Critical | Self::KeyId => "bad_header",
            Self::Issuer => "unknown_issuer",
            Self::Key => "unknown_key",
            Self::Signature => "bad_signature",
            Self::Audience => "wrong_audience",
            Self::Date => "bad_date",
            Self::Expired => "expired",
            Self::NotYetValid => "not_yet_valid",
            Self::LivesTooLong => "lives_too_long",
            Self::Tenant => "bad_tenant",
            Self::Stamp => "bad_stamp",
            Self::NotReady => "not_ready",
        }
    }
}
