//! Any lines as `Forwarded` (those that begin with F) and `X-Forwarded-For`: only proxies decide
//! who the client is, what is sent on is read again to the same client, and what stands to the left
//! of a proxy's word never changes it.
#![no_main]

use std::net::{IpAddr, Ipv4Addr};

use http::header::{FORWARDED, HeaderMap, HeaderValue};
use libfuzzer_sys::fuzz_target;
use stamp_core::forwarded::{Chain, X_FORWARDED_FOR};

const PEER: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1));
const CLIENT: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 7));

fn is_proxy(ip: IpAddr) -> bool {
    matches!(ip, IpAddr::V4(ip) if ip.octets()[0] == 10)
}

fuzz_target!(|bytes: &[u8]| {
    let mut headers = HeaderMap::new();
    for line in bytes.split(|byte| *byte == b'\n').take(16) {
        let (name, line) = match line.split_first() {
            Some((b'F', line)) => (FORWARDED, line),
            _ => (X_FORWARDED_FOR, line),
        };
        if let Ok(value) = HeaderValue::from_bytes(line.trim_ascii()) {
            headers.append(name, value);
        }
    }
    let chain = Chain::read(&headers);
    let client = chain.client(PEER, is_proxy);
    assert_eq!(chain.client(CLIENT, is_proxy), CLIENT, "a stranger was listened to");
    assert_eq!(chain.client(PEER, |_| false), PEER);

    // As the gateway sends it on, whoever stands behind it finds the same client.
    let sent = chain.sent_on();
    let after = two(
        &format!("{}for=10.0.0.1", sent.forwarded),
        &format!("{}10.0.0.1", sent.x_forwarded_for),
    );
    let again = Chain::read(&after);
    assert_eq!(again.client(PEER, is_proxy), client);
    let twice = again.sent_on();
    assert_eq!(twice.forwarded, format!("{}for=10.0.0.1, ", sent.forwarded));
    assert_eq!(twice.x_forwarded_for, format!("{}10.0.0.1, ", sent.x_forwarded_for));

    // A proxy of ours adds its word to whatever its client wrote.
    for (forwarded, list) in
        [("for=192.0.2.7", "192.0.2.7"), ("for=\"192.0.2.7:1\"", "192.0.2.7:1")]
    {
        headers.append(FORWARDED, HeaderValue::from_static(forwarded));
        headers.append(X_FORWARDED_FOR, HeaderValue::from_static(list));
        assert_eq!(Chain::read(&joined(&headers)).client(PEER, is_proxy), CLIENT);
        assert_eq!(Chain::read(&headers).client(PEER, is_proxy), CLIENT);
    }
});

fn two(forwarded: &str, list: &str) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(FORWARDED, HeaderValue::from_str(forwarded).expect("a value"));
    headers.insert(X_FORWARDED_FOR, HeaderValue::from_str(list).expect("a value"));
    headers
}

/// The same fields of one line each.
fn joined(headers: &HeaderMap) -> HeaderMap {
    let mut joined = HeaderMap::new();
    for name in headers.keys() {
        let lines: Vec<&[u8]> = headers.get_all(name).iter().map(HeaderValue::as_bytes).collect();
        let value = HeaderValue::from_bytes(&lines.join(&b", "[..])).expect("a value");
        joined.insert(name, value);
    }
    joined
}
