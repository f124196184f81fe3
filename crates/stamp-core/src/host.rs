//! The authority of a request, parsed: who the client says it is talking to. Read by `identify`.

use core::net::Ipv6Addr;
use std::borrow::Cow;

/// The longest host name, in bytes, without a final dot (RFC 1035, section 2.3.4).
pub const HOST_BYTES_MAX: usize = 253;
/// The longest label of a host name, in bytes (RFC 1035, section 2.3.4).
pub const LABEL_BYTES_MAX: usize = 63;

/// Why a text is no authority that this gateway accepts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HostError {
    /// No host at all (RFC 9110, section 4.2.1).
    #[error("a host may not be empty")]
    Empty,
    /// More bytes than a host name may have.
    #[error("a host may have at most {HOST_BYTES_MAX} bytes")]
    TooLong,
    /// A byte that no host name contains: userinfo, percent-encoding, a list, a control, non-ASCII.
    #[error("byte 0x{byte:02x} may not stand in a host")]
    BadByte {
        /// The first offending byte.
        byte: u8,
    },
    /// An empty or overlong label, or one with a hyphen at its edge (RFC 1123, section 2.1).
    #[error("a host is made of labels of 1 to {LABEL_BYTES_MAX} bytes without outer hyphens")]
    BadLabel,
    /// What follows the colon is no port (RFC 3986, section 3.2.3).
    #[error("a port is a number from 0 to 65535")]
    BadPort,
    /// Brackets that hold no IPv6 address (RFC 3986, section 3.2.2).
    #[error("brackets hold an IPv6 address without a zone")]
    BadAddress,
}

/// A host and perhaps a port (RFC 9110, section 7.2).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Authority<'a> {
    /// In lower case, without a final dot; an IPv6 address in brackets and in its canonical text.
    pub host: Cow<'a, str>,
    /// As written; `None` when absent or empty.
    pub port: Option<u16>,
}

/// Reads a `Host` field or the authority of a request target.
///
/// Stricter than RFC 3986, section 3.2.2: a registered name is a DNS name here (underscores pass,
/// for tenant ids may hold them), so no userinfo, no percent-encoding and no list gets through.
pub fn parse(text: &str) -> Result<Authority<'_>, HostError> {
    if text.starts_with('[') {
        return bracketed(text);
    }
    // By bytes: this runs for each request, and a search by `char` cost half of it (callgrind).
    let colon = text.bytes().position(|byte| byte == b':');
    let (name, port) = match colon.and_then(|at| text.split_at_checked(at)) {
        Some((name, port)) => (name, parse_port(port.strip_prefix(':').unwrap_or_default())?),
        None => (text, None),
    };
    let name = name.strip_suffix('.').unwrap_or(name);
    check_name(name)?;
    Ok(Authority { host: fold(name), port })
}

/// The single label before `suffix` (which begins with its dot): `acme` of `acme.app.example.com`
/// under `.app.example.com`. Whether the label is an id is for `id` to say.
#[must_use]
pub fn label_under<'h>(host: &'h str, suffix: &str) -> Option<&'h str> {
    let label = host.strip_suffix(suffix)?;
    let is_one = !label.is_empty() && label.len() <= LABEL_BYTES_MAX && !label.contains('.');
    (is_one && suffix.starts_with('.')).then_some(label)
}

fn bracketed(text: &str) -> Result<Authority<'_>, HostError> {
    let (address, rest) = text
        .strip_prefix('[')
        .and_then(|inner| inner.split_once(']'))
        .ok_or(HostError::BadAddress)?;
    let port = match rest.strip_prefix(':') {
        Some(port) => parse_port(port)?,
        None if rest.is_empty() => None,
        None => return Err(HostError::BadPort),
    };
    let Ok(address) = address.parse::<Ipv6Addr>() else { return Err(HostError::BadAddress) };
    // Two spellings of one address must be one host, so the canonical text counts (RFC 5952).
    Ok(Authority { host: Cow::Owned(format!("[{address}]")), port })
}

fn parse_port(digits: &str) -> Result<Option<u16>, HostError> {
    if digits.is_empty() {
        return Ok(None);
    }
    // Five digits are enough for every port; zeros in front hide other spellings of the same one.
    if digits.len() > 5 || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(HostError::BadPort);
    }
    digits.parse().map(Some).or(Err(HostError::BadPort))
}

fn check_name(name: &str) -> Result<(), HostError> {
    if name.is_empty() {
        return Err(HostError::Empty);
    }
    if name.len() > HOST_BYTES_MAX {
        return Err(HostError::TooLong);
    }
    let may_stand = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
    if let Some(byte) = name.bytes().find(|byte| !may_stand(*byte)) {
        return Err(HostError::BadByte { byte });
    }
    if !name.as_bytes().split(|byte| *byte == b'.').all(is_label) {
        return Err(HostError::BadLabel);
    }
    Ok(())
}

fn is_label(label: &[u8]) -> bool {
    (1..=LABEL_BYTES_MAX).contains(&label.len())
        && !label.starts_with(b"-")
        && !label.ends_with(b"-")
}

fn fold(name: &str) -> Cow<'_, str> {
    if name.bytes().any(|byte| byte.is_ascii_uppercase()) {
        return Cow::Owned(name.to_ascii_lowercase());
    }
    Cow::Borrowed(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn accepted(text: &str, host: &str, port: Option<u16>) {
        assert_eq!(parse(text), Ok(Authority { host: Cow::Borrowed(host), port }), "{text:?}");
    }

    #[track_caller]
    fn refused(text: &str, error: HostError) {
        assert_eq!(parse(text), Err(error), "{text:?}");
    }

    #[test]
    fn a_host_is_folded_to_lower_case() {
        accepted("A.Stamps.TEST", "a.stamps.test", None);
    }

    #[test]
    fn a_host_in_lower_case_is_not_copied() {
        assert!(matches!(parse("a.test").unwrap().host, Cow::Borrowed("a.test")));
    }

    #[test]
    fn one_final_dot_is_removed_and_a_second_one_refused() {
        accepted("a.test.", "a.test", None);
        accepted("a.test.:80", "a.test", Some(80));
        refused("a.test..", HostError::BadLabel);
        refused(".", HostError::Empty);
    }

    #[test]
    fn a_port_is_read_and_may_be_empty() {
        accepted("a.test:8080", "a.test", Some(8080));
        accepted("a.test:", "a.test", None);
        accepted("a.test:0", "a.test", Some(0));
        accepted("a.test:65535", "a.test", Some(65535));
    }

    #[test]
    fn what_is_no_port_is_refused() {
        for text in ["a:65536", "a:99999", "a:80:80", "a:+80", "a:8x", "a:@b", "a: 80", "a:000080"]
        {
            refused(text, HostError::BadPort);
        }
    }

    #[test]
    fn an_ipv6_address_stands_in_brackets_in_its_canonical_text() {
        accepted("[::1]:21100", "[::1]", Some(21100));
        accepted("[0:0::1]", "[::1]", None);
        accepted("[2001:DB8::A]", "[2001:db8::a]", None);
    }

    #[test]
    fn brackets_around_anything_else_are_refused() {
        for text in ["[::1", "[]", "[a.test]", "[fe80::1%25eth0]", "[v1.x]", "[127.0.0.1]"] {
            refused(text, HostError::BadAddress);
        }
        refused("[::1]x", HostError::BadPort);
        refused("::1", HostError::BadPort);
    }

    #[test]
    fn bytes_of_other_url_parts_are_refused() {
        let cases = [
            ("b.test@a.test", b'@'),
            ("a.test/x", b'/'),
            ("b#.a.test", b'#'),
            ("b\\.a.test", b'\\'),
            ("b?.a.test", b'?'),
            ("b%2ea.test", b'%'),
            ("a.test, b.test", b','),
            ("a.test b.test", b' '),
            ("a.test\t", b'\t'),
            ("b\0.a.test", 0),
            ("b\x7f.test", 0x7f),
            ("à.test", 0xc3),
            ("a*.test", b'*'),
        ];
        for (text, byte) in cases {
            refused(text, HostError::BadByte { byte });
        }
    }

    #[test]
    fn labels_are_1_to_63_bytes_without_outer_hyphens() {
        let longest = format!("{}.test", "x".repeat(63));
        accepted(&longest, &longest, None);
        for text in [".a", "a..b", "-a.test", "a-.test", &format!("{}.test", "x".repeat(64))] {
            refused(text, HostError::BadLabel);
        }
    }

    #[test]
    fn a_host_of_254_bytes_is_refused() {
        let longest = format!("{}{}", "a.".repeat(126), "b");
        accepted(&longest, &longest, None);
        refused(&format!("{longest}b"), HostError::TooLong);
    }

    #[test]
    fn an_empty_host_is_refused() {
        refused("", HostError::Empty);
        refused(":80", HostError::Empty);
    }

    #[test]
    fn a_pattern_matches_exactly_one_label() {
        let under = |host| label_under(host, ".app.test");
        assert_eq!(under("acme.app.test"), Some("acme"));
        assert_eq!(under("a.b.app.test"), None);
        assert_eq!(under("app.test"), None);
        assert_eq!(under(".app.test"), None);
        assert_eq!(under("acmeapp.test"), None);
        assert_eq!(under("acme.app.test.evil.test"), None);
    }

    #[test]
    fn a_suffix_without_its_dot_matches_nothing() {
        assert_eq!(label_under("evilapp.test", "app.test"), None);
    }
}
