//! The address of an endpoint as written: one spelling for one machine, as far as text can tell.

use core::net::{IpAddr, Ipv6Addr};

use serde_json::json;

use crate::document::{FromToml, Json, Report, Value, mismatch, string_of};
use crate::table::Scheme;

/// The address of an endpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndpointUrl {
    /// How it is spoken to.
    pub scheme: Scheme,
    /// A host name in lower case, or an IP address without brackets.
    pub host: Box<str>,
    /// The TCP port.
    pub port: u16,
}

/// Why a text is no address of an endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UrlError {
    /// It begins with neither `http://` nor `https://`.
    #[error("an endpoint is written `http://host:port` or `https://host:port`")]
    Scheme,
    /// It names a user.
    #[error("an endpoint has no user name and no password")]
    UserInfo,
    /// Something follows the address.
    #[error("an endpoint has no path, query or fragment")]
    Path,
    /// The port is no port.
    #[error("a port is a number from 1 to 65535")]
    Port,
    /// The host is neither a name nor an IP address.
    #[error("the host is neither a name nor an IP address")]
    Host,
}

impl UrlError {
    const fn help(self) -> &'static str {
        match self {
            Self::Scheme => "write for example \"http://10.1.0.10:8080\"",
            Self::UserInfo => "remove everything up to the `@`",
            Self::Path => "remove what follows host and port: paths pass as the client sent them",
            Self::Port => "write the port that the application listens on, for example `:8080`",
            Self::Host => "write a DNS name, an IPv4 address, or an IPv6 address in brackets",
        }
    }
}

pub(super) fn parse_endpoint_url(text: &str) -> Result<EndpointUrl, UrlError> {
    let (scheme, rest) = text.split_once("://").ok_or(UrlError::Scheme)?;
    let (scheme, usual_port) = match scheme.to_ascii_lowercase().as_str() {
        "http" => (Scheme::Http, "80"),
        "https" => (Scheme::Https, "443"),
        _ => return Err(UrlError::Scheme),
    };
    let authority = rest.strip_suffix('/').unwrap_or(rest);
    if authority.contains(['/', '?', '#', '\\']) {
        return Err(UrlError::Path);
    }
    if authority.contains('@') {
        return Err(UrlError::UserInfo);
    }
    let (host, port) = match authority.strip_prefix('[') {
        Some(rest) => {
            let (address, rest) = rest.split_once(']').ok_or(UrlError::Host)?;
            let address: Ipv6Addr = address.parse().map_err(|_no_address| UrlError::Host)?;
            let port = if rest.is_empty() { Some(usual_port) } else { rest.strip_prefix(':') };
            // The IPv4 address behind `::ffff:10.1.0.10` is the same machine: one spelling for it.
            (address.to_canonical().to_string().into(), port.ok_or(UrlError::Port)?)
        }
        None => {
            let (host, port) = authority.split_once(':').unwrap_or((authority, usual_port));
            (parse_host(host)?, port)
        }
    };
    let is_number = port.bytes().all(|byte| byte.is_ascii_digit());
    let port = port.parse().ok().filter(|port| is_number && *port != 0).ok_or(UrlError::Port)?;
    Ok(EndpointUrl { scheme, host, port })
}

/// A host name or an IPv4 address. What ends in a number is an address or nothing (WHATWG URL).
fn parse_host(text: &str) -> Result<Box<str>, UrlError> {
    if let Ok(IpAddr::V4(address)) = text.parse() {
        return Ok(address.to_string().into());
    }
    let name = text.strip_suffix('.').unwrap_or(text).to_ascii_lowercase();
    let is_label = |label: &str| {
        let inside = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
        (1..=63).contains(&label.len()) && label.bytes().all(inside)
    };
    let last_is_number = name.rsplit('.').next().is_some_and(|last| {
        last.bytes().all(|byte| byte.is_ascii_digit()) || last.starts_with("0x")
    });
    if name.len() > 253 || last_is_number || !name.split('.').all(is_label) {
        return Err(UrlError::Host);
    }
    Ok(name.into())
}

impl FromToml for EndpointUrl {
    fn read(value: &Value<'_>, report: &mut Report) -> Option<Self> {
        let Some(text) = string_of(value, report) else {
            mismatch(value, "an address such as \"http://10.1.0.10:8080\"", report);
            return None;
        };
        match parse_endpoint_url(&text) {
            Ok(url) => Some(url),
            Err(error) => {
                report.error(value.span().into(), error.to_string()).help(error.help());
                None
            }
        }
    }
    fn schema() -> Json {
        json!({ "type": "string", "pattern": "^[Hh][Tt][Tt][Pp][Ss]?://[^/?#@\\\\]+/?$" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_has_one_spelling() {
        let url =
            |host: &str, port| Ok(EndpointUrl { scheme: Scheme::Http, host: host.into(), port });
        assert_eq!(parse_endpoint_url("http://10.1.0.10:8080"), url("10.1.0.10", 8080));
        assert_eq!(parse_endpoint_url("HTTP://App.Internal./"), url("app.internal", 80));
        assert_eq!(parse_endpoint_url("http://[FE80:0::1]:81"), url("fe80::1", 81));
        assert_eq!(parse_endpoint_url("http://[::ffff:10.1.0.10]:81"), url("10.1.0.10", 81));
        assert_eq!(parse_endpoint_url("http://my_stamp:81"), url("my_stamp", 81));
    }

    #[test]
    fn an_endpoint_over_tls_has_a_usual_port_of_its_own() {
        for (text, port) in [("https://a:8443", 8443), ("HTTPS://A", 443), ("https://a/", 443)] {
            let url = EndpointUrl { scheme: Scheme::Https, host: "a".into(), port };
            assert_eq!(parse_endpoint_url(text), Ok(url), "{text}");
        }
    }

    #[test]
    fn what_is_no_endpoint_says_why() {
        let wrong = [
            ("10.1.0.10:8080", UrlError::Scheme),
            ("ftp://a:1", UrlError::Scheme),
            ("httpss://a:1", UrlError::Scheme),
            ("https://a:0", UrlError::Port),
            ("http://me:secret@a:1", UrlError::UserInfo),
            ("http://a:1/x", UrlError::Path),
            ("http://a:1/?q", UrlError::Path),
            ("http://a:1#f", UrlError::Path),
            ("http://a:0", UrlError::Port),
            ("http://a:+1", UrlError::Port),
            ("http://a:70000", UrlError::Port),
            ("http://[::1]8080", UrlError::Port),
            ("http://", UrlError::Host),
            ("http://a b:1", UrlError::Host),
            ("http://10.1.0:1", UrlError::Host),
            ("http://0x7f000001:1", UrlError::Host),
            ("http://[::1:1", UrlError::Host),
        ];
        for (text, error) in wrong {
            assert_eq!(parse_endpoint_url(text), Err(error), "{text}");
        }
    }
}
