//! The head of one request over HTTP/2 as the library hands it on, judged by the rules that
//! `framing` has for HTTP/1.1: what two readers could take in two ways is refused, never mended.

use http::header::CONTENT_LENGTH;
use http::{HeaderMap, HeaderValue, Method, Uri};

use crate::framing::FramingError::{self, HeadTooLarge, Malformed, UriTooLong};
use crate::framing::{
    FIELD_NAME_BYTES_MAX, HeadLimits, METHOD_BYTES_MAX, check_path, is_target_byte, read_length,
};

/// What a request asks for besides its target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asked {
    /// An answer.
    Answer,
    /// A WebSocket (RFC 8441).
    WebSocket,
}

/// A head as it is judged.
#[derive(Clone, Copy, Debug)]
pub struct Head<'a> {
    /// `:method`
    pub method: &'a Method,
    /// `:scheme`, `:authority` and `:path`.
    pub uri: &'a Uri,
    /// `:protocol`
    pub protocol: Option<&'a str>,
    /// The fields.
    pub headers: &'a HeaderMap,
}

/// Judges a head, and says what it asks for.
pub fn read(head: Head<'_>, limits: HeadLimits) -> Result<Asked, FramingError> {
    let asked = asked(head.method, head.protocol)?;
    read_scheme(head.uri)?;
    let target = head.uri.path_and_query().map_or("", http::uri::PathAndQuery::as_str);
    read_target(head.method, target, limits)?;
    if head.headers.len() > limits.fields_max {
        return Err(HeadTooLarge);
    }
    let mut bytes = head.method.as_str().len() + target.len();
    for (name, value) in head.headers {
        let name = name.as_str();
        // What a line of HTTP/1.1 has besides: colon, space, and its end.
        bytes += name.len() + value.len() + 4;
        read_field(name, value)?;
    }
    if bytes > limits.head_bytes_max {
        return Err(HeadTooLarge);
    }
    let mut lengths = head.headers.get_all(CONTENT_LENGTH).iter();
    if let Some(length) = lengths.next() {
        read_length(length.as_bytes())?;
    }
    if lengths.next().is_some() {
        return Err(Malformed("more than one Content-Length"));
    }
    Ok(asked)
}

fn asked(method: &Method, protocol: Option<&str>) -> Result<Asked, FramingError> {
    match (method, protocol) {
        (&Method::CONNECT, Some("websocket")) => Ok(Asked::WebSocket),
        (&Method::CONNECT | &Method::TRACE, _) => {
            Err(Malformed("CONNECT and TRACE are not served"))
        }
        (_, Some(_)) => Err(Malformed(":protocol without CONNECT")),
        (method, None) if method.as_str().len() > METHOD_BYTES_MAX => {
            Err(Malformed("the method is too long"))
        }
        (_, None) => Ok(Asked::Answer),
    }
}

/// Where there is an authority the library keeps the scheme too, even an empty one.
fn read_scheme(uri: &Uri) -> Result<(), FramingError> {
    match uri.scheme_str() {
        Some("http" | "https") => Ok(()),
        None if uri.authority().is_none() => Ok(()),
        _ => Err(Malformed("the scheme is neither http nor https")),
    }
}

fn read_target(method: &Method, target: &str, limits: HeadLimits) -> Result<(), FramingError> {
    if target.len() > limits.uri_bytes_max {
        return Err(UriTooLong);
    }
    if !target.bytes().all(is_target_byte) {
        return Err(Malformed("the target holds a byte that no URI may hold"));
    }
    check_path(target.as_bytes())?;
    // RFC 9113, section 8.3.1.
    if target.starts_with('/') || (target == "*" && method == Method::OPTIONS) {
        return Ok(());
    }
    Err(Malformed("the target is no path"))
}

fn read_field(name: &str, value: &HeaderValue) -> Result<(), FramingError> {
    if name.len() > FIELD_NAME_BYTES_MAX {
        return Err(HeadTooLarge);
    }
    if name.contains('_') {
        return Err(Malformed("a field name holds an underscore"));
    }
    let is_blank = |byte: Option<&u8>| matches!(byte, Some(b' ' | b'\t'));
    let value = value.as_bytes();
    // RFC 9113, section 8.2.1.
    if is_blank(value.first()) || is_blank(value.last()) {
        return Err(Malformed("white space around a field value"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use http::header::HeaderName;
    use proptest::prelude::*;

    use super::*;

    const LIMITS: HeadLimits =
        HeadLimits { head_bytes_max: 1000, fields_max: 10, uri_bytes_max: 100 };

    fn check(method: &str, uri: &str, fields: &[(&str, &str)]) -> Result<Asked, FramingError> {
        check_with(None, method, uri, fields)
    }

    fn check_with(
        protocol: Option<&str>,
        method: &str,
        uri: &str,
        fields: &[(&str, &str)],
    ) -> Result<Asked, FramingError> {
        let method = Method::from_bytes(method.as_bytes()).unwrap();
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            let name = HeaderName::from_bytes(name.as_bytes()).unwrap();
            headers.append(name, HeaderValue::from_str(value).unwrap());
        }
        let uri: Uri = uri.parse().unwrap();
        read(Head { method: &method, uri: &uri, protocol, headers: &headers }, LIMITS)
    }

    #[test]
    fn a_common_request_passes() {
        let fields = [("accept", "*/*"), ("content-length", "5")];
        assert_eq!(check("POST", "https://a.example/b?c=d", &fields), Ok(Asked::Answer));
        assert_eq!(check("OPTIONS", "*", &[]), Ok(Asked::Answer));
    }

    #[test]
    fn only_web_sockets_are_asked_for_by_connect() {
        let uri = "https://a.example/chat";
        assert_eq!(check_with(Some("websocket"), "CONNECT", uri, &[]), Ok(Asked::WebSocket));
        for (protocol, method) in [
            (None, "CONNECT"),
            (Some("connect-udp"), "CONNECT"),
            (Some("websocket"), "GET"),
            (None, "TRACE"),
        ] {
            assert!(
                matches!(check_with(protocol, method, uri, &[]), Err(Malformed(_))),
                "{method}"
            );
        }
    }

    #[test]
    fn what_two_readers_could_take_in_two_ways_is_refused() {
        for fields in [
            &[("content-length", "5"), ("content-length", "5")][..],
            &[("content-length", "+5")],
            &[("content-length", "5, 5")],
            &[("content-length", "")],
            &[("x_stamp_id", "eu-1")],
            &[("x-a", " b")],
            &[("x-a", "b\t")],
        ] {
            assert!(matches!(check("POST", "/", fields), Err(Malformed(_))), "{fields:?}");
        }
        for (method, uri) in
            [("GET", "*"), ("GET", "/ä"), ("GET", "a.example:80"), ("GET", "ftp://a.example/")]
        {
            assert!(matches!(check(method, uri, &[]), Err(Malformed(_))), "{uri}");
        }
    }

    #[test]
    fn limits_are_those_of_http_1() {
        let long = "v".repeat(1000);
        assert_eq!(check("GET", "/", &[("x-a", &long)]), Err(HeadTooLarge));
        let many = [("x-a", "b"); 11];
        assert_eq!(check("GET", "/", &many), Err(HeadTooLarge));
        assert_eq!(check("GET", &format!("/{}", "p".repeat(100)), &[]), Err(UriTooLong));
    }

    proptest! {
        /// Whatever passes here reads the same in HTTP/1.1.
        #[test]
        fn what_passes_is_a_good_head_of_http_1(
            method in "[A-Z]{1,8}|[!-~]{1,40}",
            path in "[ -~]{0,120}",
            fields in prop::collection::vec(("[a-z_-]{1,12}|content-length", "[ -~]{0,12}|[0-9]{1,20}"), 0..12),
        ) {
            let (Ok(method), Ok(uri)) =
                (Method::from_bytes(method.as_bytes()), format!("http://a.example{path}").parse::<Uri>())
            else {
                return Ok(());
            };
            let mut headers = HeaderMap::new();
            for (name, value) in &fields {
                if let (Ok(name), Ok(value)) =
                    (HeaderName::from_bytes(name.as_bytes()), HeaderValue::from_str(value))
                {
                    headers.append(name, value);
                }
            }
            let head = Head { method: &method, uri: &uri, protocol: None, headers: &headers };
            if read(head, LIMITS).is_err() {
                return Ok(());
            }
            let target = uri.path_and_query().unwrap();
            let mut bytes = format!("{method} {target} HTTP/1.1\r\n").into_bytes();
            for (name, value) in &headers {
                bytes.extend([name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"].concat());
            }
            bytes.extend(b"\r\n");
            let limits = HeadLimits { head_bytes_max: 1100, ..LIMITS };
            prop_assert!(crate::framing::read_head(&bytes, limits).is_ok(), "{:?}", bytes);
        }
    }
}
