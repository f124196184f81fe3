//! The leaves of routing.toml that need more than a number or a word: names, hosts, headers.

use core::net::IpAddr;

use http::HeaderName;
use serde_json::json;

use crate::document::{
    FromTable, FromToml, Json, Report, Value, mismatch, read_parsed, read_table, string_of,
};
use crate::id::{IdError, StampId, TenantId};
use crate::table::Placeholder;

/// A value that may be written as one word instead of a table.
pub trait HasShortForm: FromTable + FromToml {
    /// What to say is expected.
    const EXPECTED: &'static str;
    /// Reads the one word.
    fn read_short(value: &Value<'_>, report: &mut Report) -> Option<Self>;
    /// What the one word must look like.
    fn short_schema() -> Json;
}

/// A value written as one word or as a table.
#[derive(Clone, Debug)]
pub struct ShortOrLong<T>(pub T);

impl<T: HasShortForm> FromToml for ShortOrLong<T> {
    fn read(value: &Value<'_>, report: &mut Report) -> Option<Self> {
        if value.get_ref().is_table() {
            return read_table(value, report).map(Self);
        }
        if string_of(value, report).is_none() {
            mismatch(value, T::EXPECTED, report);
            return None;
        }
        T::read_short(value, report).map(Self)
    }
    fn schema() -> Json {
        json!({ "anyOf": [T::short_schema(), T::schema()] })
    }
}

impl FromToml for StampId<'static> {
    fn read(value: &Value<'_>, report: &mut Report) -> Option<Self> {
        read_parsed(value, report, "the id of a stamp such as \"eu-1\"", |text| {
            StampId::parse(text).map(StampId::into_owned)
        })
    }
    fn schema() -> Json {
        json!({ "type": "string", "pattern": "^[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?$" })
    }
}

impl FromToml for TenantId<'static> {
    fn read(value: &Value<'_>, report: &mut Report) -> Option<Self> {
        read_parsed(value, report, "the id of a tenant such as \"acme\"", |text| {
            TenantId::parse(text).map(TenantId::into_owned)
        })
    }
    fn schema() -> Json {
        json!({ "type": "string", "pattern": "^[A-Za-z0-9._-]{1,128}$" })
    }
}

/// The name of a residency zone, in lower case.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Zone(pub Box<str>);

/// Reads the name of a residency zone; its alphabet is that of tenants.
pub fn parse_zone(text: &str) -> Result<Zone, IdError> {
    TenantId::parse(text).map(|name| Zone(name.as_str().into()))
}

impl FromToml for Zone {
    fn read(value: &Value<'_>, report: &mut Report) -> Option<Self> {
        read_parsed(value, report, "the name of a residency zone such as \"eu\"", parse_zone)
    }
    fn schema() -> Json {
        TenantId::schema()
    }
}

/// A host name in lower case, without port and final dot.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct DomainName(pub Box<str>);

/// Why a text is no host name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DomainError {
    /// Nothing there.
    #[error("a host name may not be empty")]
    Empty,
    /// More than a name may have (RFC 1035, section 2.3.4).
    #[error("a host name has at most 253 bytes")]
    TooLong,
    /// A port behind the name.
    #[error("a host name here has no port")]
    Port,
    /// A label is no label (RFC 1123, section 2.1).
    #[error("each label has 1 to 63 letters, digits and inner hyphens")]
    Label,
}

/// Reads a host name: labels of letters, digits and inner hyphens; folded to lower case, without
/// the final dot.
pub fn parse_domain(text: &str) -> Result<DomainName, DomainError> {
    let name = text.strip_suffix('.').unwrap_or(text);
    if name.is_empty() {
        return Err(DomainError::Empty);
    }
    if name.len() > 253 {
        return Err(DomainError::TooLong);
    }
    let port = name.rsplit_once(':').map(|(_, port)| port);
    if port.is_some_and(|port| !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit())) {
        return Err(DomainError::Port);
    }
    // A label has the form of a stamp id.
    if name.split('.').any(|label| StampId::parse(label).is_err()) {
        return Err(DomainError::Label);
    }
    Ok(DomainName(name.to_ascii_lowercase().into()))
}

impl FromToml for DomainName {
    fn read(value: &Value<'_>, report: &mut Report) -> Option<Self> {
        read_parsed(value, report, "a host name such as \"app.example.com\"", parse_domain)
    }
    fn schema() -> Json {
        json!({ "type": "string", "minLength": 1, "maxLength": 254 })
    }
}

/// Whom the certificate of a stamp must name: a host name in lower case, or an IP address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateName(pub Box<str>);

/// Reads a host name or an IP address without brackets.
pub fn parse_certificate_name(text: &str) -> Result<CertificateName, DomainError> {
    if let Ok(address) = text.parse::<IpAddr>() {
        return Ok(CertificateName(address.to_string().into()));
    }
    let name = parse_domain(text)?.0;
    // What ends in a number is an address or nothing (WHATWG URL), and this is no address.
    let last = name.rsplit('.').next().unwrap_or_default();
    if last.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(DomainError::Label);
    }
    Ok(CertificateName(name))
}

impl FromToml for CertificateName {
    fn read(value: &Value<'_>, report: &mut Report) -> Option<Self> {
        let expected = "a name such as \"stamp.eu-2.internal\"";
        read_parsed(value, report, expected, parse_certificate_name)
    }
    fn schema() -> Json {
        DomainName::schema()
    }
}

/// A host whose first label is an id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostPattern {
    /// What the first label names.
    pub names: Placeholder,
    /// What follows it, with its leading dot.
    pub suffix: Box<str>,
}

impl FromToml for HostPattern {
    fn read(value: &Value<'_>, report: &mut Report) -> Option<Self> {
        read_parsed(value, report, "a pattern such as \"{tenant}.app.example.com\"", |text| {
            let placeholders =
                [("{tenant}.", Placeholder::Tenant), ("{stamp}.", Placeholder::Stamp)];
            let found = placeholders.iter().find_map(|(prefix, names)| {
                text.strip_prefix(prefix).map(|domain| (*names, domain))
            });
            let (names, domain) = found
                .ok_or_else(|| "a pattern begins with `{tenant}.` or `{stamp}.`".to_owned())?;
            let domain = parse_domain(domain).map_err(|error| error.to_string())?;
            Ok::<_, String>(Self { names, suffix: format!(".{}", domain.0).into() })
        })
    }
    fn schema() -> Json {
        json!({ "type": "string", "pattern": "^\\{(tenant|stamp)\\}\\.[A-Za-z0-9.-]+$" })
    }
}

/// The name of a header that may carry an identity.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdentityHeader(pub HeaderName);

/// Headers with a meaning of their own, which no identity may be read from: framing, hop-by-hop
/// (RFC 9110, section 7.6.1), credentials, negotiation, and what the gateway itself writes.
const RESERVED_HEADERS: [&str; 45] = [
    "accept",
    "accept-charset",
    "accept-encoding",
    "accept-language",
    "age",
    "allow",
    "authorization",
    "cache-control",
    "connection",
    "content-encoding",
    "content-length",
    "content-location",
    "content-range",
    "content-type",
    "cookie",
    "date",
    "expect",
    "forwarded",
    "host",
    "http2-settings",
    "if-match",
    "if-modified-since",
    "if-none-match",
    "if-range",
    "if-unmodified-since",
    "keep-alive",
    "max-forwards",
    "origin",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "proxy-status",
    "range",
    "referer",
    "sec-websocket-key",
    "sec-websocket-version",
    "set-cookie",
    "te",
    "traceparent",
    "tracestate",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "user-agent",
    "via",
];

fn parse_identity_header(text: &str) -> Result<IdentityHeader, &'static str> {
    let name = HeaderName::from_bytes(text.as_bytes())
        .map_err(|_no_token| "this is no header name (RFC 9110, section 5.1)")?;
    let lower = name.as_str();
    let reserved = RESERVED_HEADERS.contains(&lower)
        || lower.starts_with("x-forwarded-")
        || ["x-request-id", "x-stamp-home", "x-real-ip"].contains(&lower);
    if reserved {
        return Err("this header has another meaning and cannot carry an identity");
    }
    if lower.contains('_') {
        return Err("headers with underscores are not forwarded: write hyphens");
    }
    Ok(IdentityHeader(name))
}

impl FromToml for IdentityHeader {
    fn read(value: &Value<'_>, report: &mut Report) -> Option<Self> {
        let expected = "a header name such as \"X-Stamp-Id\"";
        read_parsed(value, report, expected, parse_identity_header)
    }
    fn schema() -> Json {
        json!({ "type": "string", "pattern": "^[A-Za-z0-9!#$%&'*+.^`|~-]+$" })
    }
}

/// The name of a cookie: a token (RFC 6265, section 4.1.1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CookieName(pub Box<str>);

impl FromToml for CookieName {
    fn read(value: &Value<'_>, report: &mut Report) -> Option<Self> {
        read_parsed(value, report, "the name of a cookie such as \"stamp\"", |text| {
            // `Method` accepts exactly the tokens, and unlike a header name it does not fold case.
            http::Method::from_bytes(text.as_bytes())
                .map(|_token| Self(text.into()))
                .map_err(|_no_token| "this is no cookie name (RFC 6265, section 4.1.1)")
        })
    }
    fn schema() -> Json {
        json!({ "type": "string", "pattern": "^[A-Za-z0-9!#$%&'*+.^_`|~-]+$" })
    }
}

/// The path of a claim, from the top.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClaimPath(pub Vec<Box<str>>);

/// As deep as any token is read.
const CLAIM_DEPTH_MAX: usize = 32;

impl FromToml for ClaimPath {
    fn read(value: &Value<'_>, report: &mut Report) -> Option<Self> {
        read_parsed(value, report, "the name of a claim such as \"tid\" or \"org.id\"", |text| {
            let path: Vec<Box<str>> = text.split('.').map(Box::from).collect();
            if path.iter().any(|name| name.is_empty()) {
                return Err("the names between dots may not be empty");
            }
            if path.len() > CLAIM_DEPTH_MAX {
                return Err("a claim lies at most 32 levels deep");
            }
            Ok(Self(path))
        })
    }
    fn schema() -> Json {
        json!({ "type": "string", "pattern": "^[^.]+(\\.[^.]+)*$" })
    }
}

/// What a probe asks for; `None` = only whether a connection can be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProbePath(pub Option<Box<str>>);

impl FromToml for ProbePath {
    fn read(value: &Value<'_>, report: &mut Report) -> Option<Self> {
        read_parsed(value, report, "a path such as \"/healthz\"", |text| {
            if text.is_empty() {
                return Ok(Self(None));
            }
            if !text.starts_with('/') {
                return Err("a path begins with `/`");
            }
            if text.contains('#') || http::uri::PathAndQuery::try_from(text).is_err() {
                return Err("this is no path (RFC 3986, section 3.3)");
            }
            Ok(Self(Some(text.into())))
        })
    }
    fn schema() -> Json {
        json!({ "type": "string", "pattern": "^(/[!-~]*)?$" })
    }
}

/// Status codes that count as good, inclusive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StatusRange(pub u16, pub u16);

fn parse_status_range(text: &str) -> Result<StatusRange, &'static str> {
    let (from, to) = text.split_once('-').unwrap_or((text, text));
    let code = |text: &str| {
        let three_digits = text.len() == 3 && text.bytes().all(|byte| byte.is_ascii_digit());
        let code = text.parse().ok().filter(|code: &u16| three_digits && (100..600).contains(code));
        code.ok_or("a status code is a number from 100 to 599")
    };
    let (from, to) = (code(from)?, code(to)?);
    if from > to {
        return Err("this range ends before it begins");
    }
    Ok(StatusRange(from, to))
}

impl FromToml for StatusRange {
    fn read(value: &Value<'_>, report: &mut Report) -> Option<Self> {
        let expected = "status codes such as \"200-299\" or \"204\"";
        read_parsed(value, report, expected, parse_status_range)
    }
    fn schema() -> Json {
        json!({ "type": "string", "pattern": "^[1-5][0-9]{2}(-[1-5][0-9]{2})?$" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_domain_is_folded_and_loses_its_final_dot() {
        assert_eq!(
            parse_domain("Orders.Acme.Example."),
            Ok(DomainName("orders.acme.example".into()))
        );
        assert_eq!(parse_domain("a:80"), Err(DomainError::Port));
        assert_eq!(parse_domain("a..b"), Err(DomainError::Label));
        assert_eq!(parse_domain("*.a.b"), Err(DomainError::Label));
        assert_eq!(parse_domain("."), Err(DomainError::Empty));
        assert_eq!(parse_domain(&"a.".repeat(130)), Err(DomainError::TooLong));
    }

    #[test]
    fn a_certificate_names_a_host_or_an_address() {
        let name = |text: &str| parse_certificate_name(text).map(|name| name.0.into_string());
        assert_eq!(name("Stamp.EU-2.internal."), Ok("stamp.eu-2.internal".to_owned()));
        assert_eq!(name("10.1.0.10"), Ok("10.1.0.10".to_owned()));
        assert_eq!(name("FE80:0::1"), Ok("fe80::1".to_owned()));
        assert_eq!(name("10.1.0"), Err(DomainError::Label));
        assert_eq!(name("*.internal"), Err(DomainError::Label));
        assert_eq!(name("a:8443"), Err(DomainError::Port));
    }

    #[test]
    fn status_ranges_are_closed_and_ordered() {
        assert_eq!(parse_status_range("200-299"), Ok(StatusRange(200, 299)));
        assert_eq!(parse_status_range("204"), Ok(StatusRange(204, 204)));
        assert!(parse_status_range("299-200").is_err());
        assert!(parse_status_range("99").is_err());
        assert!(parse_status_range("+20-299").is_err());
    }

    #[test]
    fn headers_with_a_meaning_carry_no_identity() {
        assert!(parse_identity_header("X-Stamp-Id").is_ok());
        for name in ["Host", "cookie", "Authorization", "Content-Length", "X-Forwarded-For"] {
            assert!(parse_identity_header(name).is_err(), "{name}");
        }
        assert!(parse_identity_header("X_Stamp_Id").is_err());
        assert!(parse_identity_header("a b").is_err());
    }
}
