//! The address of a key set as written: over TLS, or on this machine.

use core::net::IpAddr;

use serde_json::json;

use super::endpoint::{UrlError, parse_endpoint_url};
use crate::document::{FromToml, Json, Report, Value, mismatch, string_of};
use crate::jwks::JwksUrl;
use crate::table::Scheme;

/// Why a text is no address of a key set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum JwksUrlError {
    /// It begins with neither `https://` nor `http://`.
    #[error("keys are fetched from `https://host/path`")]
    Scheme,
    /// `http://` to another machine.
    #[error("keys that come in the clear may be anybody's")]
    Clear,
    /// It names a user.
    #[error("this address has a user name or a password")]
    UserInfo,
    /// The port is no port.
    #[error("a port is a number from 1 to 65535")]
    Port,
    /// The host is neither a name nor an IP address.
    #[error("the host is neither a name nor an IP address")]
    Host,
    /// No path and query, or a fragment.
    #[error("what follows the host is no path (RFC 3986, section 3.3)")]
    Path,
}

impl JwksUrlError {
    const fn help(self) -> &'static str {
        match self {
            Self::Scheme => "write for example \"https://login.example.com/.well-known/jwks.json\"",
            Self::Clear => "write `https://`; `http://` is for 127.0.0.1 and [::1] alone",
            Self::UserInfo => "remove everything up to the `@`",
            Self::Port => "write the port that the issuer listens on, or none for the usual one",
            Self::Host => "write a DNS name, an IPv4 address, or an IPv6 address in brackets",
            Self::Path => "write path and query as the issuer documents them, without a fragment",
        }
    }
}

fn parse_jwks_url(text: &str) -> Result<JwksUrl, JwksUrlError> {
    let (scheme, rest) = text.split_once("://").ok_or(JwksUrlError::Scheme)?;
    let end = rest.find(['/', '?', '#', '\\']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at_checked(end).ok_or(JwksUrlError::Host)?;
    let address =
        parse_endpoint_url(&format!("{scheme}://{authority}")).map_err(|error| match error {
            UrlError::Scheme => JwksUrlError::Scheme,
            UrlError::UserInfo => JwksUrlError::UserInfo,
            UrlError::Path => JwksUrlError::Path,
            UrlError::Port => JwksUrlError::Port,
            UrlError::Host => JwksUrlError::Host,
        })?;
    let path = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
    if path.contains(['#', '\\']) || http::uri::PathAndQuery::try_from(&path).is_err() {
        return Err(JwksUrlError::Path);
    }
    let (scheme, host, port) = (address.scheme, address.host, address.port);
    Ok(JwksUrl { scheme, host, port, path: path.into() })
}

/// Keys that come in the clear from another machine may be anybody's. A name could lead anywhere: an
/// address alone is known to be this machine.
fn is_safe(url: &JwksUrl) -> bool {
    let is_here = || url.host.parse().is_ok_and(|address: IpAddr| address.is_loopback());
    url.scheme == Scheme::Https || is_here()
}

impl FromToml for JwksUrl {
    fn read(value: &Value<'_>, report: &mut Report) -> Option<Self> {
        let Some(text) = string_of(value, report) else {
            mismatch(value, "an address such as \"https://login.example.com/keys\"", report);
            return None;
        };
        let (url, mistake) = match parse_jwks_url(&text) {
            Ok(url) if is_safe(&url) => return Some(url),
            // An address all the same: nothing else is to be said of this issuer's keys.
            Ok(url) => (Some(url), JwksUrlError::Clear),
            Err(error) => (None, error),
        };
        report.error(value.span().into(), mistake.to_string()).help(mistake.help());
        url
    }
    fn schema() -> Json {
        json!({ "type": "string", "pattern": "^[Hh][Tt][Tt][Pp][Ss]?://[^#@\\\\]+$" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_of_keys_has_one_spelling() {
        let told = |text: &str| parse_jwks_url(text).map(|url| url.to_string());
        for (text, told_as) in [
            ("https://Login.Example.com/keys?v=2", "https://login.example.com/keys?v=2"),
            ("HTTPS://a:443", "https://a/"),
            ("https://a:8443?x", "https://a:8443/?x"),
            ("http://127.0.0.1:8080/k", "http://127.0.0.1:8080/k"),
            ("http://[::1]/k", "http://[::1]/k"),
        ] {
            assert_eq!(told(text).as_deref(), Ok(told_as), "{text}");
        }
    }

    #[test]
    fn in_the_clear_keys_come_from_this_machine_alone() {
        let safe = |text: &str| is_safe(&parse_jwks_url(text).unwrap());
        for text in ["https://a/", "http://127.0.0.1/", "http://127.9.9.9/", "http://[::1]/"] {
            assert!(safe(text), "{text}");
        }
        for text in ["http://a/", "http://localhost/", "http://10.0.0.1/", "http://0.0.0.0/"] {
            assert!(!safe(text), "{text}");
        }
    }

    #[test]
    fn what_is_no_address_of_keys_says_why() {
        for (text, error) in [
            ("login.example.com/keys", JwksUrlError::Scheme),
            ("ftp://a/k", JwksUrlError::Scheme),
            ("file:///etc/keys", JwksUrlError::Scheme),
            ("https://me:secret@a/k", JwksUrlError::UserInfo),
            ("https://a:0/k", JwksUrlError::Port),
            ("https:///k", JwksUrlError::Host),
            ("https://a b/k", JwksUrlError::Host),
            ("https://a/k#f", JwksUrlError::Path),
            ("https://a/k l", JwksUrlError::Path),
            ("https://a\\b", JwksUrlError::Path),
        ] {
            assert_eq!(parse_jwks_url(text), Err(error), "{text}");
        }
    }
}
