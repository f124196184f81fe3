//! What one request says about whom it is for: its head, read into clues. `resolve` judges them.
//!
//! Every configured source is read on every request; each yields nothing, a clue, or an error.
//! Nothing here looks a name up but custom domains: an unknown name is `resolve`'s to refuse.

mod authority;
mod cookie;

use http::{HeaderMap, HeaderValue, Version};

pub use authority::{check_covered, of_host};

use crate::claims::{Claims, Verified};
use crate::clue::{Clue, Clues, Source};
use crate::host::HostError;
use crate::id::{IdError, StampId, TenantId};
use crate::table::{AcceptFrom, CookieRule, HeaderRules, Placeholder, RoutingTable, TokenPlace};

/// The part of a request head that may name somebody.
#[derive(Clone, Copy, Debug)]
pub struct Head<'a> {
    /// HTTP/1.1 must have a `Host`; HTTP/2 may split its cookies.
    pub version: Version,
    /// The authority of the request target: absolute-form, or `:authority`.
    pub authority: Option<&'a str>,
    /// The fields.
    pub headers: &'a HeaderMap,
}

/// Does the connection come from one of `[trust].proxies`?
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Peer {
    /// Yes.
    Trusted,
    /// No.
    Untrusted,
}

/// Why a head cannot be read into clues.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IdentifyError {
    /// More than one `Host` field (RFC 9112, section 3.2).
    #[error("more than one Host field")]
    SeveralHosts,
    /// No `Host` where the version of HTTP demands one (RFC 9112, section 3.2).
    #[error("no Host")]
    NoHost,
    /// A `Host` field, or a target's authority, that is none.
    #[error("malformed host")]
    Host(#[source] HostError),
    /// The target names another host than the `Host` field.
    #[error("the request target contradicts the Host field")]
    HostsDisagree,
    /// A field or cookie that may be there once is there twice.
    #[error("the {from} names somebody twice")]
    Twice {
        /// Where.
        from: Source,
    },
    /// A value that is no id: empty, a list, quoted, or with a byte that ids do not have.
    #[error("the {from} holds no id")]
    Malformed {
        /// Where.
        from: Source,
        /// What is wrong with it.
        #[source]
        why: IdError,
    },
    /// A host that this gateway does not serve, where `unknown = "reject"`.
    #[error("a host that is not served here")]
    Misdirected,
}

impl IdentifyError {
    /// The stable code of this error.
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Self::Misdirected => "misdirected_request",
            Self::SeveralHosts
            | Self::NoHost
            | Self::Host(_)
            | Self::HostsDisagree
            | Self::Twice { .. }
            | Self::Malformed { .. } => "malformed_identifier",
        }
    }

    /// Which source was to blame.
    #[must_use]
    pub const fn from(self) -> Source {
        match self {
            Self::SeveralHosts
            | Self::NoHost
            | Self::Host(_)
            | Self::HostsDisagree
            | Self::Misdirected => Source::Host,
            Self::Twice { from } | Self::Malformed { from, .. } => from,
        }
    }
}

/// Reads the clues of one request. `verified` is what the shell's `auth` made of its token.
pub fn clues<'a>(
    head: &Head<'a>,
    table: &'a RoutingTable,
    peer: Peer,
    verified: Option<&'a Verified<Claims>>,
) -> Result<Clues<'a>, IdentifyError> {
    let (host, verified_demanded) = of_host(head, table)?;
    Ok(Clues {
        jwt: verified.map(|claims| of_token(claims)),
        one_of: verified.map(|claims| &claims.tenants).filter(|all| all.only().is_none()),
        host,
        header: of_header(head, table, peer)?,
        cookie: of_cookie(head, table)?,
        verified_demanded,
    })
}

/// What the header says, from where it is accepted. Elsewhere it is no clue, whatever it holds: the
/// shell removes it.
pub fn of_header<'a>(
    head: &Head<'a>,
    table: &RoutingTable,
    peer: Peer,
) -> Result<Option<Clue<'a>>, IdentifyError> {
    let rules = &table.identity.header;
    if is_accepted(rules.accept_from, peer) { header_clue(head.headers, rules) } else { Ok(None) }
}

/// What the cookie says, where one is configured.
pub fn of_cookie<'a>(
    head: &Head<'a>,
    table: &RoutingTable,
) -> Result<Option<Clue<'a>>, IdentifyError> {
    table.identity.cookie.as_ref().map_or(Ok(None), |rule| cookie_clue(head, rule))
}

/// What a verified token says. One that is good for several tenants names none.
#[must_use]
pub fn of_token(claims: &Claims) -> Clue<'_> {
    Clue {
        source: Source::Jwt,
        tenant: claims.tenants.only().map(TenantId::as_borrowed),
        stamp: claims.stamp.as_ref().map(StampId::as_borrowed),
    }
}

/// What stands, exactly as written, in the cookie or header that tokens are read from. A place that
/// is there twice is an error, for readers differ on which of the two counts. `Authorization` has a
/// grammar of its own, and says nothing here.
pub fn token_at<'a>(
    place: &TokenPlace,
    head: &Head<'a>,
) -> Result<Option<&'a [u8]>, IdentifyError> {
    match place {
        TokenPlace::Bearer => Ok(None),
        TokenPlace::Cookie(name) => cookie::value(head, name, Source::Jwt),
        TokenPlace::Header(name) => {
            single(head.headers, name, Source::Jwt).map(|value| value.map(HeaderValue::as_bytes))
        }
    }
}

/// May a header of such a peer be a clue?
#[must_use]
pub const fn is_accepted(from: AcceptFrom, peer: Peer) -> bool {
    match (from, peer) {
        (AcceptFrom::Any, _) | (AcceptFrom::Trusted, Peer::Trusted) => true,
        (AcceptFrom::Trusted, Peer::Untrusted) | (AcceptFrom::Never, _) => false,
    }
}

fn header_clue<'a>(
    headers: &'a HeaderMap,
    rules: &HeaderRules,
) -> Result<Option<Clue<'a>>, IdentifyError> {
    let from = Source::Header;
    let stamp = match single(headers, &rules.stamp_name, from)? {
        Some(value) => Some(parse_stamp(text_of(value.as_bytes(), from)?, from)?),
        None => None,
    };
    let tenant = match &rules.tenant_name {
        Some(name) => single(headers, name, from)?,
        None => None,
    };
    let tenant = match tenant {
        Some(value) => Some(parse_tenant(text_of(value.as_bytes(), from)?, from)?),
        None => None,
    };
    let is_there = stamp.is_some() || tenant.is_some();
    Ok(is_there.then_some(Clue { source: from, tenant, stamp }))
}

fn single<'a>(
    headers: &'a HeaderMap,
    name: &http::HeaderName,
    from: Source,
) -> Result<Option<&'a HeaderValue>, IdentifyError> {
    let mut values = headers.get_all(name).iter();
    let first = values.next();
    if values.next().is_some() {
        return Err(IdentifyError::Twice { from });
    }
    Ok(first)
}

fn cookie_clue<'a>(head: &Head<'a>, rule: &CookieRule) -> Result<Option<Clue<'a>>, IdentifyError> {
    let from = Source::Cookie;
    let Some(value) = cookie::value(head, &rule.name, from)? else { return Ok(None) };
    named(from, rule.names, text_of(value, from)?).map(Some)
}

/// The clue that a text in the place of this placeholder makes.
fn named(from: Source, names: Placeholder, text: &str) -> Result<Clue<'_>, IdentifyError> {
    match names {
        Placeholder::Tenant => {
            Ok(Clue { source: from, tenant: Some(parse_tenant(text, from)?), stamp: None })
        }
        Placeholder::Stamp => {
            Ok(Clue { source: from, tenant: None, stamp: Some(parse_stamp(text, from)?) })
        }
    }
}

fn parse_stamp(text: &str, from: Source) -> Result<StampId<'_>, IdentifyError> {
    StampId::parse(text).map_err(|why| IdentifyError::Malformed { from, why })
}

fn parse_tenant(text: &str, from: Source) -> Result<TenantId<'_>, IdentifyError> {
    TenantId::parse(text).map_err(|why| IdentifyError::Malformed { from, why })
}

/// A value as text. Ids are ASCII, so the first byte beyond is what is wrong with the value.
fn text_of(bytes: &[u8], from: Source) -> Result<&str, IdentifyError> {
    let ascii = bytes.iter().position(|byte| !byte.is_ascii());
    match (ascii, std::str::from_utf8(bytes)) {
        (None, Ok(text)) => Ok(text),
        (at, _) => {
            let at = at.unwrap_or_default();
            let byte = bytes.get(at).copied().unwrap_or_default();
            Err(IdentifyError::Malformed { from, why: IdError::BadByte { byte, at } })
        }
    }
}

#[cfg(test)]
mod tests;
