//! Header hygiene: what a client says on behalf of the gateway is removed, what belongs to one
//! hop stays on that hop, and the gateway's own word comes last (product contract, section 4).

use std::net::IpAddr;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use stamp_core::forwarded::{Chain, X_FORWARDED_FOR};
use stamp_core::identify::Peer;
use stamp_core::table::HeaderRules;

use super::error::ProxyError;
use crate::tls::downstream::Session;

/// Serving stamp.
pub(super) const X_STAMP_ID: HeaderName = HeaderName::from_static("x-stamp-id");
/// The tenant, where one is known.
pub(super) const X_STAMP_TENANT: HeaderName = HeaderName::from_static("x-stamp-tenant");
/// The home stamp, on failover.
pub(super) const X_STAMP_HOME: HeaderName = HeaderName::from_static("x-stamp-home");
/// The request's id.
pub(super) const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
/// The client's certificate (RFC 9440).
const CLIENT_CERT: HeaderName = HeaderName::from_static("client-cert");
const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");

/// The longest request id that is taken over from a trusted proxy.
const REQUEST_ID_BYTES_MAX: usize = 128;

/// What the head said about its own connection before that was removed.
#[derive(Debug, Default)]
pub(super) struct Hop {
    /// The protocol to switch to, if the client asked for one.
    pub(super) upgrade: Option<HeaderValue>,
    /// The client takes trailers.
    pub(super) takes_trailers: bool,
}

/// RFC 9110, section 7.6.2: counts an OPTIONS request's `Max-Forwards` down. `None` = it may go no
/// further.
pub(super) fn count_forwards(headers: &mut HeaderMap) -> Option<()> {
    let Some(given) = single(headers, &header::MAX_FORWARDS) else { return Some(()) };
    let left: Option<u32> = given.to_str().ok().and_then(|digits| digits.parse().ok());
    if let Some(left) = left {
        headers.insert(header::MAX_FORWARDS, HeaderValue::from(left.checked_sub(1)?));
    }
    Some(())
}

/// What a header name means for hygiene.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// Passes.
    EndToEnd,
    /// Belongs to this connection alone (RFC 9110, section 7.6.1).
    HopByHop,
    /// Only the gateway or a trusted proxy may say it.
    Reserved,
    /// Only the gateway may say it.
    Own,
}

fn kind(name: &str) -> Kind {
    match name {
        "connection"
        | "keep-alive"
        | "proxy-connection"
        | "te"
        | "upgrade"
        | "http2-settings"
        | "transfer-encoding"
        | "proxy-authorization"
        | "proxy-authenticate"
        | "expect" => Kind::HopByHop,
        "forwarded" | "x-real-ip" | "client-cert" | "client-cert-chain" | "x-original-url"
        | "x-rewrite-url" | "x-request-id" => Kind::Reserved,
        _ if name.starts_with("x-stamp-") => Kind::Own,
        _ if name.starts_with("x-forwarded-") || name.starts_with("x-ssl-") => Kind::Reserved,
        _ => Kind::EndToEnd,
    }
}

/// May `Connection` name this header, and so delete it?
fn may_be_nominated(name: &str) -> bool {
    kind(name) == Kind::EndToEnd
        && !matches!(
            name,
            // Framing and routing, ours, or what would turn an authenticated request into another.
            "host"
                | "content-length"
                | "via"
                | "traceparent"
                | "tracestate"
                | "authorization"
                | "cookie"
                | "max-forwards"
        )
}

/// Removes what must not pass from a client to a stamp.
pub(super) fn strip_request(
    headers: &mut HeaderMap,
    rules: &HeaderRules,
    peer: Peer,
) -> Result<Hop, ProxyError> {
    let mut hop = Hop::default();
    let mut doomed: Vec<HeaderName> = Vec::new();
    for name in headers.keys() {
        let identity = *name == rules.stamp_name || Some(name) == rules.tenant_name.as_ref();
        match kind(name.as_str()) {
            Kind::EndToEnd if !identity => {}
            Kind::Reserved if peer == Peer::Trusted => {}
            Kind::EndToEnd | Kind::HopByHop | Kind::Reserved | Kind::Own => {
                doomed.push(name.clone());
            }
        }
    }
    if doomed.is_empty() {
        return Ok(hop);
    }
    if doomed.contains(&header::CONNECTION) {
        read_connection(headers, &mut hop, &mut doomed);
    }
    if doomed.contains(&header::EXPECT) {
        check_expectation(headers)?;
    }
    if let Some(te) = headers.get(header::TE) {
        hop.takes_trailers = list(te).any(|coding| coding.eq_ignore_ascii_case("trailers"));
    }
    for name in doomed {
        headers.remove(name);
    }
    Ok(hop)
}

fn read_connection(headers: &HeaderMap, hop: &mut Hop, doomed: &mut Vec<HeaderName>) {
    for option in headers.get_all(header::CONNECTION).iter().flat_map(list) {
        if option.eq_ignore_ascii_case("upgrade") {
            hop.upgrade = wanted_upgrade(headers);
        } else {
            doomed.extend(nominated(option));
        }
    }
}

/// The header that an option of `Connection` deletes, if it may.
fn nominated(option: &str) -> Option<HeaderName> {
    // The usual ones name no header of anybody's.
    if option.eq_ignore_ascii_case("keep-alive") || option.eq_ignore_ascii_case("close") {
        return None;
    }
    HeaderName::from_bytes(option.as_bytes()).ok().filter(|name| may_be_nominated(name.as_str()))
}

/// The one protocol asked for. HTTP/2 is never reached this way (RFC 9113, section 3.1).
fn wanted_upgrade(headers: &HeaderMap) -> Option<HeaderValue> {
    let mut values = headers.get_all(header::UPGRADE).iter();
    let wanted = values.next()?;
    let ambiguous = values.next().is_some() || wanted.as_bytes().contains(&b',');
    let http2 = wanted.as_bytes().get(..3).is_some_and(|start| start.eq_ignore_ascii_case(b"h2c"));
    (!ambiguous && !http2).then(|| wanted.clone())
}

/// RFC 9110, section 10.1.1: the only expectation there is.
fn check_expectation(headers: &HeaderMap) -> Result<(), ProxyError> {
    let mut values = headers.get_all(header::EXPECT).iter();
    let known = |value: &HeaderValue| value.as_bytes().eq_ignore_ascii_case(b"100-continue");
    match (values.next(), values.next()) {
        (Some(one), None) if known(one) => Ok(()),
        _ => Err(ProxyError::ExpectationFailed),
    }
}

fn list(value: &HeaderValue) -> impl Iterator<Item = &str> {
    let text = value.to_str().unwrap_or_default();
    text.split(',').map(str::trim).filter(|item| !item.is_empty())
}

/// HTTP/2 clients may send each cookie in a line of its own; one line it is everywhere else (RFC 9113,
/// section 8.2.3).
pub(super) fn join_cookies(headers: &mut HeaderMap) {
    let mut lines = headers.get_all(header::COOKIE).iter();
    if let (Some(_), Some(_)) = (lines.next(), lines.next()) {
        let lines: Vec<&[u8]> =
            headers.get_all(header::COOKIE).iter().map(HeaderValue::as_bytes).collect();
        let joined = header_value(&lines.join(&b"; "[..]));
        headers.insert(header::COOKIE, joined);
    }
}

/// The gateway of this name must not be on the request's way already.
pub(super) fn check_loop(headers: &HeaderMap, node: &str) -> Result<(), ProxyError> {
    let went_through = headers.get_all(header::VIA).iter().flat_map(list).any(|entry| {
        entry.split_ascii_whitespace().nth(1).is_some_and(|name| name.eq_ignore_ascii_case(node))
    });
    if went_through { Err(ProxyError::Loop) } else { Ok(()) }
}

/// Removes what must not pass from a stamp to a client. Returns whether the protocol switches.
pub(super) fn strip_answer(headers: &mut HeaderMap) {
    let mut doomed: Vec<HeaderName> = Vec::new();
    for name in headers.keys() {
        match kind(name.as_str()) {
            Kind::HopByHop | Kind::Own => doomed.push(name.clone()),
            Kind::EndToEnd | Kind::Reserved => {}
        }
    }
    if doomed.contains(&header::CONNECTION) {
        doomed.extend(
            headers.get_all(header::CONNECTION).iter().flat_map(list).filter_map(nominated),
        );
    }
    for name in doomed {
        headers.remove(name);
    }
}

/// May a trailer say that? Framing, routing, authority and the like are a head's (RFC 9110, section
/// 6.5.1).
fn may_trail(name: &str) -> bool {
    kind(name) == Kind::EndToEnd
        && !matches!(
            name,
            "host"
                | "content-length"
                | "content-encoding"
                | "content-type"
                | "trailer"
                | "content-range"
                | "authorization"
                | "cookie"
                | "set-cookie"
                | "via"
                | "cache-control"
                | "max-forwards"
                | "range"
                | "traceparent"
        )
}

/// May a client say all of this in trailers? A request that says otherwise could be taken in two ways.
pub(super) fn are_good_trailers(trailers: &HeaderMap) -> bool {
    trailers.keys().all(|name| may_trail(name.as_str()))
}

/// Removes what a stamp may not say in trailers.
pub(super) fn filter_trailers(trailers: &mut HeaderMap) {
    let doomed: Vec<HeaderName> =
        trailers.keys().filter(|name| !may_trail(name.as_str())).cloned().collect();
    for name in doomed {
        trailers.remove(name);
    }
}

/// What the gateway says of the client's side: the same for all requests of one connection, but
/// for their `Host`.
#[derive(Debug)]
pub(super) struct Provenance {
    address: HeaderValue,
    /// The address as `Forwarded` wants it (RFC 7239, section 6).
    node: Box<[u8]>,
    proto: &'static str,
    /// The client's certificate as `Client-Cert` has it: a byte sequence (RFC 9440, section 2.2).
    certificate: Option<HeaderValue>,
}

impl Provenance {
    pub(super) fn new(address: IpAddr, session: Option<&Session>) -> Self {
        let shown = address.to_string();
        let node = match address {
            IpAddr::V4(_) => format!("for={shown}"),
            IpAddr::V6(_) => format!("for=\"[{shown}]\""),
        };
        let certificate = session.and_then(Session::client_certificate);
        Self {
            address: header_value(shown.as_bytes()),
            node: node.into_bytes().into(),
            proto: if session.is_some() { "https" } else { "http" },
            certificate: certificate
                .map(|der| header_value(format!(":{}:", BASE64_STANDARD.encode(der)).as_bytes())),
        }
    }

    fn forwarded(&self, host: &HeaderValue) -> HeaderValue {
        let host = host.as_bytes();
        header_value(
            &[&*self.node, b";host=\"", host, b"\";proto=", self.proto.as_bytes()].concat(),
        )
    }
}

/// Sets `Forwarded`, `X-Forwarded-*` and `Client-Cert`; what a trusted proxy said before stays in front,
/// as far as it is well-formed.
pub(super) fn set_provenance(headers: &mut HeaderMap, provenance: &Provenance, peer: Peer) {
    let Some(host) = headers.get(header::HOST).cloned() else { return };
    let forwarded = provenance.forwarded(&host);
    if peer == Peer::Untrusted {
        headers.insert(header::FORWARDED, forwarded);
        headers.insert(X_FORWARDED_FOR, provenance.address.clone());
        headers.insert(X_FORWARDED_HOST, host);
        headers.insert(X_FORWARDED_PROTO, HeaderValue::from_static(provenance.proto));
        // A trusted proxy speaks for its clients: its own certificate is not theirs.
        if let Some(certificate) = &provenance.certificate {
            headers.insert(CLIENT_CERT, certificate.clone());
        }
        return;
    }
    let before = Chain::read(headers).sent_on();
    let joined = |before: &str, own: &HeaderValue| {
        header_value(&[before.as_bytes(), own.as_bytes()].concat())
    };
    headers.insert(header::FORWARDED, joined(&before.forwarded, &forwarded));
    headers.insert(X_FORWARDED_FOR, joined(&before.x_forwarded_for, &provenance.address));
    headers.entry(X_FORWARDED_HOST).or_insert(host);
    headers.entry(X_FORWARDED_PROTO).or_insert_with(|| HeaderValue::from_static(provenance.proto));
}

/// Adds to a list field, joining what stood in several lines before.
pub(super) fn append_to_list(headers: &mut HeaderMap, name: HeaderName, last: &HeaderValue) {
    if !headers.contains_key(&name) {
        headers.insert(name, last.clone());
        return;
    }
    let mut joined: Vec<u8> = Vec::new();
    for value in headers.get_all(&name).iter().chain([last]) {
        if !joined.is_empty() {
            joined.extend_from_slice(b", ");
        }
        joined.extend_from_slice(value.as_bytes());
    }
    headers.insert(name, HeaderValue::from_bytes(&joined).unwrap_or_else(|_| last.clone()));
}

/// The request's id: a trusted proxy's, else a new UUID of version 7 (RFC 9562, section 5.7).
pub(super) fn set_request_id(
    headers: &mut HeaderMap,
    wall_ms: u64,
    random: &mut fastrand::Rng,
) -> HeaderValue {
    if let Some(given) = single(headers, &X_REQUEST_ID)
        && is_request_id(given.as_bytes())
    {
        return given.clone();
    }
    let id = request_id(wall_ms, random);
    headers.insert(X_REQUEST_ID, id.clone());
    id
}

fn is_request_id(bytes: &[u8]) -> bool {
    (1..=REQUEST_ID_BYTES_MAX).contains(&bytes.len())
        && bytes.iter().all(|byte| byte.is_ascii_alphanumeric() || b"-_.:/+=".contains(byte))
}

fn single<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a HeaderValue> {
    let mut values = headers.get_all(name).iter();
    let first = values.next()?;
    values.next().is_none().then_some(first)
}

fn request_id(wall_ms: u64, random: &mut fastrand::Rng) -> HeaderValue {
    let high = (wall_ms << 16) | 0x7000 | u64::from(random.u16(..0x1000));
    let low = (random.u64(..) >> 2) | (0b10 << 62);
    let ([a, b, c, d, e, f, g, h], [i, j, k, l, m, n, o, p]) = (hex(high), hex(low));
    let groups: [&[[u8; 2]]; 5] = [&[a, b, c, d], &[e, f], &[g, h], &[i, j], &[k, l, m, n, o, p]];
    header_value(&groups.map(<[[u8; 2]]>::as_flattened).join(&b'-'))
}

fn header_value(text: &[u8]) -> HeaderValue {
    HeaderValue::from_bytes(text).unwrap_or_else(|_| HeaderValue::from_static("unknown"))
}

/// The two digits of each byte.
const HEX: [[u8; 2]; 256] = {
    let digits = b"0123456789abcdef";
    let mut table = [[0; 2]; 256];
    let mut byte = 0;
    while byte < 256 {
        #[expect(clippy::indexing_slicing, reason = "both are below their length")]
        {
            table[byte] = [digits[byte >> 4], digits[byte & 15]];
        }
        byte += 1;
    }
    table
};

fn hex(number: u64) -> [[u8; 2]; 8] {
    number.to_be_bytes().map(|byte| HEX.get(usize::from(byte)).copied().unwrap_or_default())
}

/// W3C Trace Context: a good `traceparent` passes with its `tracestate`; else a new trace begins.
pub(super) fn set_trace(headers: &mut HeaderMap, random: &mut fastrand::Rng) {
    let good = single(headers, &TRACEPARENT).is_some_and(|value| is_traceparent(value.as_bytes()));
    if good {
        return;
    }
    headers.remove(TRACESTATE);
    let (high, low, parent) = (hex(random.u64(..)), hex(random.u64(1..)), hex(random.u64(1..)));
    let (high, low, parent) = (high.as_flattened(), low.as_flattened(), parent.as_flattened());
    let text = [b"00-", high, low, b"-", parent, b"-00"].concat();
    headers.insert(TRACEPARENT, header_value(&text));
}

fn is_traceparent(bytes: &[u8]) -> bool {
    let text = std::str::from_utf8(bytes).unwrap_or_default();
    let mut parts = text.split('-');
    let lower_hex = |part: &str| {
        part.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte))
    };
    let mut part = |length: usize| {
        parts.next().filter(|part| part.len() == length && lower_hex(part)).map(str::to_owned)
    };
    let (Some(version), Some(trace), Some(parent), Some(_flags)) =
        (part(2), part(32), part(16), part(2))
    else {
        return false;
    };
    let zero = |id: &str| id.bytes().all(|byte| byte == b'0');
    let ends = parts.next().is_none() || version != "00";
    version != "ff" && !zero(&trace) && !zero(&parent) && ends
}

/// Puts the wish to switch protocols back in.
pub(super) fn set_upgrade(headers: &mut HeaderMap, upgrade: HeaderValue) {
    headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
    headers.insert(header::UPGRADE, upgrade);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_id_is_a_uuid_of_version_7_that_begins_with_the_time() {
        let id = request_id(0x0123_4567_89ab, &mut fastrand::Rng::with_seed(1));
        let id = id.to_str().unwrap();
        assert!(id.starts_with("01234567-89ab-7"), "{id}");
        let lengths: Vec<usize> = id.split('-').map(str::len).collect();
        assert_eq!(lengths, [8, 4, 4, 4, 12]);
        assert!(matches!(id.as_bytes()[19], b'8'..=b'b'), "{id}");
    }

    #[test]
    fn a_new_trace_is_well_formed_and_a_good_one_stays() {
        let mut headers = HeaderMap::new();
        headers.insert(TRACESTATE, HeaderValue::from_static("of=nobody"));
        set_trace(&mut headers, &mut fastrand::Rng::with_seed(1));
        assert!(is_traceparent(headers[TRACEPARENT].as_bytes()));
        assert!(!headers.contains_key(TRACESTATE), "it belonged to no trace");
        let before = headers[TRACEPARENT].clone();
        set_trace(&mut headers, &mut fastrand::Rng::with_seed(2));
        assert_eq!(headers[TRACEPARENT], before);
    }

    #[test]
    fn what_is_no_traceparent_is_replaced() {
        let zero = "00-00000000000000000000000000000000-b7ad6b7169203331-01";
        for bad in ["", "00", zero, "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"] {
            assert!(!is_traceparent(bad.as_bytes()), "{bad}");
        }
        let good = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        assert!(is_traceparent(good.as_bytes()));
    }

    #[test]
    fn connection_cannot_delete_what_is_ours() {
        let rules = HeaderRules {
            stamp_name: X_STAMP_ID,
            tenant_name: None,
            accept_from: stamp_core::table::AcceptFrom::Any,
        };
        let mut headers = HeaderMap::new();
        let options = "close, X-Secret, Host, Authorization, Via";
        headers.insert(header::CONNECTION, HeaderValue::from_static(options));
        for name in ["x-secret", "host", "authorization", "via", "x-stamp-id", "x-forwarded-for"] {
            headers.insert(name, HeaderValue::from_static("x"));
        }
        strip_request(&mut headers, &rules, Peer::Untrusted).unwrap();
        let mut left: Vec<&str> = headers.keys().map(HeaderName::as_str).collect();
        left.sort_unstable();
        assert_eq!(left, ["authorization", "host", "via"]);
    }
}
