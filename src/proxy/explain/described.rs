//! A request that is described instead of sent: read as a connection would read it.

use std::net::IpAddr;

use http::header::{AUTHORIZATION, COOKIE, HOST, HeaderName, HeaderValue};
use http::{HeaderMap, Method, Version};
use stamp_core::framing::{self, BodyFraming, FramingError};
use stamp_core::identify::{Head, Peer};
use stamp_core::table::TokenPlace;

use super::Scene;
use crate::settings::Live;

/// A request, described.
#[derive(Clone, Debug)]
pub struct Description {
    /// Its method.
    pub method: String,
    /// `http://host/path?query`, or a path alone where `headers` name the host.
    pub url: String,
    /// Its fields, in their order. `Host` stands for that of the URL.
    pub headers: Vec<(String, String)>,
    /// Who sends it; `None` = nobody that is trusted.
    pub client: Option<IpAddr>,
    /// A token, to be put where this gateway reads tokens from.
    pub token: Option<String>,
}

/// What was described is no request at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the URL must be http://HOST/PATH or https://HOST/PATH, or a path that begins with /")]
pub struct NoRequest;

/// A request that was read from its description.
#[derive(Debug)]
pub struct Described {
    /// Its method and target, as they came.
    pub line: (String, String),
    /// Its fields.
    pub headers: HeaderMap,
    pub(super) peer: Peer,
    /// How its body is framed and its method, or why the head is refused.
    pub(super) head: Result<(BodyFraming, Method), FramingError>,
}

impl Described {
    /// Reads a description as a connection would read the request.
    pub fn read(description: Description, scene: &Scene<'_>) -> Result<Self, NoRequest> {
        let Description { method, url, headers: mut fields, client, token } = description;
        let (host, target) = parts_of(&url)?;
        if let Some(host) = host
            && !fields.iter().any(|(name, _)| name.eq_ignore_ascii_case(HOST.as_str()))
        {
            fields.insert(0, (HOST.to_string(), host.to_owned()));
        }
        if let Some(token) = token {
            put_token(&mut fields, &scene.table.identity.token, token.trim());
        }
        let head = read_head(scene.live, (&method, &target), &fields);
        let headers = if head.is_ok() { map_of(&fields) } else { Ok(HeaderMap::new()) };
        let (headers, head) = match headers {
            Ok(headers) => (headers, head),
            Err(error) => (HeaderMap::new(), Err(error)),
        };
        let is_trusted = client.is_some_and(|client| scene.live.trusts(client));
        let peer = if is_trusted { Peer::Trusted } else { Peer::Untrusted };
        Ok(Self { line: (method, target), headers, peer, head })
    }

    /// Is it sent by a trusted proxy?
    #[must_use]
    pub const fn peer(&self) -> Peer {
        self.peer
    }

    pub(super) fn as_head(&self) -> Head<'_> {
        Head { version: Version::HTTP_11, authority: None, headers: &self.headers }
    }
}

/// The host of a URL, if it has one, and what a client sends as its target.
fn parts_of(url: &str) -> Result<(Option<&str>, String), NoRequest> {
    // What stands behind `#` stays with the client (RFC 9110, section 4.2.5).
    let sent = url.split('#').next().unwrap_or_default();
    if sent.starts_with('/') {
        return Ok((None, sent.to_owned()));
    }
    let (scheme, rest) = sent.split_once("://").ok_or(NoRequest)?;
    let is_http = ["http", "https"].iter().any(|known| scheme.eq_ignore_ascii_case(known));
    let (host, target) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
    if !is_http || host.is_empty() {
        return Err(NoRequest);
    }
    let slash = if target.starts_with('/') { "" } else { "/" };
    Ok((Some(host), format!("{slash}{target}")))
}

/// Puts a token where tokens are read from.
fn put_token(fields: &mut Vec<(String, String)>, place: &TokenPlace, token: &str) {
    match place {
        TokenPlace::Bearer => fields.push((AUTHORIZATION.to_string(), format!("Bearer {token}"))),
        TokenPlace::Header(name) => fields.push((name.to_string(), token.to_owned())),
        TokenPlace::Cookie(cookie) => {
            let is_cookie = |name: &str| name.eq_ignore_ascii_case(COOKIE.as_str());
            match fields.iter_mut().find(|(name, _)| is_cookie(name)) {
                Some((_, cookies)) => cookies.push_str(&format!("; {cookie}={token}")),
                None => fields.push((COOKIE.to_string(), format!("{cookie}={token}"))),
            }
        }
    }
}

/// Judges the head as `wire` does, from the bytes that a client would send.
fn read_head(
    live: &Live,
    (method, target): (&str, &str),
    fields: &[(String, String)],
) -> Result<(BodyFraming, Method), FramingError> {
    let texts = fields.iter().flat_map(|(name, value)| [name.as_str(), value]);
    if [method, target].into_iter().chain(texts).any(|text| text.contains(['\r', '\n'])) {
        return Err(FramingError::Malformed("a line break where none may be"));
    }
    let mut head = format!("{method} {target} HTTP/1.1\r\n");
    for (name, value) in fields {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    head.push_str("\r\n");
    let body = framing::read_head(head.as_bytes(), live.limits.of_head())?;
    let method = Method::from_bytes(method.as_bytes())
        .or(Err(FramingError::Malformed("a method that is none")))?;
    Ok((body, method))
}

fn map_of(fields: &[(String, String)]) -> Result<HeaderMap, FramingError> {
    let mut map = HeaderMap::with_capacity(fields.len());
    for (name, value) in fields {
        let name = HeaderName::from_bytes(name.as_bytes());
        let value = HeaderValue::from_bytes(value.trim_matches([' ', '\t']).as_bytes());
        let (Ok(name), Ok(value)) = (name, value) else {
            return Err(FramingError::Malformed("a field that is none"));
        };
        map.append(name, value);
    }
    Ok(map)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_taken_apart_as_clients_do() {
        let whole = |url| parts_of(url).map(|(host, target)| (host.unwrap_or("-"), target));
        for (url, host, target) in [
            ("http://a.test", "a.test", "/"),
            ("HTTPS://a.test:8443/x/../y?z=1#part", "a.test:8443", "/x/../y?z=1"),
            ("http://a.test?x", "a.test", "/?x"),
            ("/only/a/path", "-", "/only/a/path"),
        ] {
            assert_eq!(whole(url), Ok((host, target.to_owned())), "{url}");
        }
        for wrong in ["", "a.test/x", "ftp://a.test/", "http:///x", "?x"] {
            assert_eq!(whole(wrong), Err(NoRequest), "{wrong}");
        }
    }

    #[test]
    fn a_token_joins_the_cookies_that_are_there() {
        let mut fields = vec![("cookie".to_owned(), "a=1".to_owned())];
        put_token(&mut fields, &TokenPlace::Cookie("session".into()), "t");
        assert_eq!(fields, [("cookie".to_owned(), "a=1; session=t".to_owned())]);
        put_token(&mut fields, &TokenPlace::Bearer, "t");
        assert_eq!(fields[1], ("authorization".to_owned(), "Bearer t".to_owned()));
    }
}
