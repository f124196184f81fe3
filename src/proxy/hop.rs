//! What a request needs for its hop to a stamp, beside what `prepare` made of it: the fields that frame it
//! and belong to one connection, in the version that is spoken there. They are set from scratch.

use http::Uri;
use http::header::{self, HeaderMap, HeaderValue};
use http::uri::{Authority, Parts, Scheme};

use super::{Head, Length, headers};

/// RFC 9112: `Transfer-Encoding` frames a body of unknown length, `Connection` names what is of this hop.
pub(super) fn to_http1(head: &Head, fields: &mut HeaderMap) {
    if head.length == Length::Unsaid {
        fields.insert(header::TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
    }
    if head.takes_trailers {
        fields.insert(header::TE, HeaderValue::from_static("trailers"));
        fields.insert(header::CONNECTION, HeaderValue::from_static("te"));
    }
    if let Some(upgrade) = head.upgrade.clone() {
        headers::set_upgrade(fields, upgrade);
    }
}

/// RFC 9113, section 8: frames delimit the body, there is no `Connection`, and what `Host` says is
/// `:authority`. Returns what becomes of the pseudo-fields.
pub(super) fn to_http2(head: &Head, scheme: Scheme, fields: &mut HeaderMap) -> Uri {
    if head.takes_trailers {
        fields.insert(header::TE, HeaderValue::from_static("trailers"));
    }
    let host = fields.remove(header::HOST);
    let mut parts = Parts::default();
    parts.scheme = Some(scheme);
    parts.authority = host.and_then(|host| Authority::try_from(host.as_bytes()).ok());
    parts.path_and_query = head.uri.path_and_query().cloned();
    // A host that was judged good is an authority. Without one, h2 refuses to send the request.
    Uri::from_parts(parts).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::Method;

    fn head(length: Length) -> Head {
        Head {
            method: Method::POST,
            uri: Uri::from_static("/a?b"),
            headers: HeaderMap::new(),
            upgrade: None,
            takes_trailers: true,
            length,
        }
    }

    fn fields() -> HeaderMap {
        HeaderMap::from_iter([(header::HOST, HeaderValue::from_static("acme.app.test:8443"))])
    }

    #[test]
    fn over_http1_a_hop_has_its_own_fields() {
        let mut fields = fields();
        to_http1(&head(Length::Unsaid), &mut fields);
        assert_eq!(fields[header::TRANSFER_ENCODING], "chunked");
        assert_eq!(
            (&fields[header::TE], &fields[header::CONNECTION]),
            (&"trailers".parse().unwrap(), &"te".parse().unwrap())
        );
        assert_eq!(fields[header::HOST], "acme.app.test:8443");
    }

    #[test]
    fn over_http2_it_has_pseudo_fields_and_takes_trailers() {
        let mut fields = fields();
        let uri = to_http2(&head(Length::Unsaid), Scheme::HTTPS, &mut fields);
        assert_eq!(uri, "https://acme.app.test:8443/a?b");
        let left: Vec<_> =
            fields.iter().map(|(name, value)| (name.as_str(), value.to_str().unwrap())).collect();
        assert_eq!(left, [("te", "trailers")]);
    }
}
