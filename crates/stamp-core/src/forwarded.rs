//! The chain of addresses that proxies tell: `Forwarded` (RFC 7239) and `X-Forwarded-For`. It is
//! read from the right, where the nearest proxy wrote, and only as far as it is well-formed: what
//! stands left of the first mistake may be anybody's and is neither believed nor sent on.
//!
//! Asked by the shell's `proxy::headers` for peers of `[trust].proxies` alone; what others say is
//! not looked at.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use http::HeaderMap;
use http::header::{FORWARDED, HeaderName};

use crate::framing::is_token;

/// The older field: a list of addresses.
pub const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// The most parameters of an element; four are defined.
const PARAMETERS_MAX: usize = 16;

/// What the two fields tell, nearest first.
#[derive(Clone, Debug)]
pub struct Chain<'h> {
    /// `None` = the field is not there, or empty.
    forwarded: Option<Vec<Hop<'h>>>,
    x_forwarded_for: Option<Vec<Hop<'h>>>,
}

/// One element of one of the fields.
#[derive(Clone, Copy, Debug)]
struct Hop<'h> {
    /// As it was written.
    text: &'h str,
    node: Node<'h>,
}

/// Who a proxy was spoken to by.
#[derive(Clone, Copy, Debug)]
enum Node<'h> {
    /// An address; as written, with brackets and port where it has them.
    Address { ip: IpAddr, text: &'h str },
    /// `unknown`, an obfuscated identifier (RFC 7239, section 6.3), or nothing said.
    Hidden,
}

/// What is sent on of a chain. Each ends in `, ` where it is not empty: the gateway's own word
/// follows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SentOn {
    /// For `Forwarded`.
    pub forwarded: String,
    /// For `X-Forwarded-For`.
    pub x_forwarded_for: String,
}

impl<'h> Chain<'h> {
    /// Reads both fields.
    #[must_use]
    pub fn read(headers: &'h HeaderMap) -> Self {
        Self {
            forwarded: hops(headers, &FORWARDED, last_element, forwarded_node),
            x_forwarded_for: hops(headers, &X_FORWARDED_FOR, last_item, item_node),
        }
    }

    /// The client's address: the first from the right that is no trusted proxy, or the farthest
    /// that a trusted proxy tells of.
    ///
    /// Where both fields are there, they must agree hop by hop: a proxy that writes one of them may
    /// have passed the other on as a client made it up, and nobody can tell which.
    #[must_use]
    pub fn client(&self, peer: IpAddr, is_trusted: impl Fn(IpAddr) -> bool) -> IpAddr {
        let mut nearest = peer;
        for place in 0.. {
            if !is_trusted(nearest) {
                break;
            }
            let Some(next) = self.told(place) else { break };
            nearest = next;
        }
        nearest
    }

    fn told(&self, place: usize) -> Option<IpAddr> {
        let address = |hops: &[Hop<'_>]| hops.get(place)?.node.ip();
        match (&self.forwarded, &self.x_forwarded_for) {
            (Some(one), Some(other)) => address(one).filter(|ip| address(other) == Some(*ip)),
            (Some(only), None) | (None, Some(only)) => address(only),
            (None, None) => None,
        }
    }

    /// What is sent on: each field as far as it is well-formed. Where one is not there, it is made
    /// from the other (RFC 7239, section 7.4), so that both tell the same.
    #[must_use]
    pub fn sent_on(&self) -> SentOn {
        let (one, other) = (self.forwarded.as_deref(), self.x_forwarded_for.as_deref());
        let same = |hop: &Hop<'_>| hop.text.to_owned();
        SentOn {
            forwarded: one.map_or_else(
                || joined(other, |hop| hop.node.as_element()),
                |hops| joined(Some(hops), same),
            ),
            x_forwarded_for: other.map_or_else(
                || joined(one, |hop| hop.node.as_item()),
                |hops| joined(Some(hops), same),
            ),
        }
    }
}

fn joined(hops: Option<&[Hop<'_>]>, written: impl Fn(&Hop<'_>) -> String) -> String {
    let mut text = String::new();
    for hop in hops.unwrap_or_default().iter().rev() {
        text += &written(hop);
        text += ", ";
    }
    text
}

impl Node<'_> {
    const fn ip(&self) -> Option<IpAddr> {
        match self {
            Self::Address { ip, .. } => Some(*ip),
            Self::Hidden => None,
        }
    }

    /// As an element of `Forwarded`: IPv6 in brackets, and quoted what is no token.
    fn as_element(&self) -> String {
        match self {
            Self::Hidden => "for=unknown".to_owned(),
            Self::Address { text, .. } if text.parse::<Ipv6Addr>().is_ok() => {
                format!("for=\"[{text}]\"")
            }
            Self::Address { text, .. } if text.bytes().all(is_token) => format!("for={text}"),
            Self::Address { text, .. } => format!("for=\"{text}\""),
        }
    }

    /// As an item of `X-Forwarded-For`: IPv6 without brackets where there is no port.
    fn as_item(&self) -> String {
        match self {
            Self::Hidden => "unknown".to_owned(),
            Self::Address { text, .. } => {
                let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']'));
                bare.unwrap_or(text).to_owned()
            }
        }
    }
}

/// The last element of a list, and what stands before its comma.
type LastOf = fn(&[u8]) -> (&[u8], Option<&[u8]>);

/// The elements of a field, last first, up to the first that is malformed.
fn hops<'h>(
    headers: &'h HeaderMap,
    name: &HeaderName,
    last_of: LastOf,
    node_of: fn(&str) -> Option<Node<'_>>,
) -> Option<Vec<Hop<'h>>> {
    let mut hops = None;
    let lines: Vec<&[u8]> = headers.get_all(name).iter().map(AsRef::as_ref).collect();
    for line in lines.into_iter().rev() {
        let mut left = Some(line);
        while let Some(list) = left {
            let (element, before) = last_of(list);
            left = before;
            let element = element.trim_ascii();
            if element.is_empty() {
                // RFC 9110, section 5.6.1.2: empty elements do not count.
                continue;
            }
            let hops = hops.get_or_insert_with(Vec::new);
            let text = str::from_utf8(element).ok();
            match text.and_then(|text| Some(Hop { text, node: node_of(text)? })) {
                Some(hop) => hops.push(hop),
                None => return Some(std::mem::take(hops)),
            }
        }
    }
    hops
}

/// Of a list without quotes.
fn last_item(list: &[u8]) -> (&[u8], Option<&[u8]>) {
    cut_at(list, list.iter().rposition(|byte| *byte == b','))
}

/// Of a list with quoted strings, found from the end: whatever stands to the left, an open quote
/// included, cannot swallow what a proxy wrote after it.
fn last_element(list: &[u8]) -> (&[u8], Option<&[u8]>) {
    let mut quoted = false;
    let comma = list.iter().enumerate().rev().find(|(at, byte)| {
        match byte {
            b'"' if quoted && is_escaped(list, *at) => {}
            b'"' => quoted = !quoted,
            b',' => return !quoted,
            _ => {}
        }
        false
    });
    cut_at(list, comma.map(|(at, _)| at))
}

fn cut_at(list: &[u8], comma: Option<usize>) -> (&[u8], Option<&[u8]>) {
    let Some(comma) = comma else { return (list, None) };
    (list.get(comma + 1..).unwrap_or_default(), list.get(..comma))
}

/// Does an odd number of backslashes stand before this place?
fn is_escaped(text: &[u8], at: usize) -> bool {
    let before = text.iter().take(at).rev();
    before.take_while(|byte| **byte == b'\\').count() % 2 == 1
}

/// RFC 7239, section 4: `name=value` pairs between semicolons, each name once.
fn forwarded_node(element: &str) -> Option<Node<'_>> {
    let mut node = Node::Hidden;
    let mut names: Vec<&str> = Vec::new();
    let mut rest = element;
    loop {
        if let Some(next) = rest.strip_prefix(';') {
            rest = next;
            continue;
        }
        if rest.is_empty() {
            return (!names.is_empty()).then_some(node);
        }
        let (name, after) = rest.split_once('=')?;
        let (value, after) = value_of(after)?;
        let known = names.iter().any(|known| known.eq_ignore_ascii_case(name));
        let is_name = !name.is_empty() && name.bytes().all(is_token);
        if known || !is_name || names.len() >= PARAMETERS_MAX {
            return None;
        }
        if name.eq_ignore_ascii_case("for") {
            node = for_node(value)?;
        }
        names.push(name);
        if !after.is_empty() && !after.starts_with(';') {
            return None;
        }
        rest = after;
    }
}

/// A token or a quoted string, without its quotes but with its escapes, and what follows.
fn value_of(text: &str) -> Option<(&str, &str)> {
    let Some(quoted) = text.strip_prefix('"') else {
        let end = text.bytes().position(|byte| !is_token(byte)).unwrap_or(text.len());
        return (end > 0).then(|| text.split_at_checked(end))?;
    };
    let mut escaped = false;
    for (at, byte) in quoted.bytes().enumerate() {
        match byte {
            _ if byte != b'\t' && !(b' '..=b'~').contains(&byte) => return None,
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => {
                let (value, after) = quoted.split_at_checked(at)?;
                return Some((value, after.strip_prefix('"')?));
            }
            _ => {}
        }
    }
    None
}

/// RFC 7239, section 6: an address, IPv6 in brackets; `unknown`; `_` and letters. Each with or
/// without a port, which may be obfuscated too.
fn for_node(text: &str) -> Option<Node<'_>> {
    let (name, port) = match text.rsplit_once(':') {
        // A colon inside brackets is part of the address.
        Some((name, port)) if !port.ends_with(']') => (name, Some(port)),
        _ => (text, None),
    };
    if !port.is_none_or(|port| is_port(port) || is_obfuscated(port)) {
        return None;
    }
    if name.eq_ignore_ascii_case("unknown") || is_obfuscated(name) {
        return Some(Node::Hidden);
    }
    let ip = bracketed(name).or_else(|| Some(name.parse::<Ipv4Addr>().ok()?.into()))?;
    Some(Node::Address { ip: ip.to_canonical(), text })
}

/// An item of `X-Forwarded-For`, which no standard describes: an address, IPv6 with or without
/// brackets, a port where there are brackets or IPv4; or `unknown`.
fn item_node(text: &str) -> Option<Node<'_>> {
    if text.eq_ignore_ascii_case("unknown") {
        return Some(Node::Hidden);
    }
    if let Ok(ip) = text.parse::<IpAddr>() {
        return Some(Node::Address { ip: ip.to_canonical(), text });
    }
    for_node(text).filter(|node| node.ip().is_some() && !text.contains('_'))
}

fn bracketed(text: &str) -> Option<IpAddr> {
    let inside = text.strip_prefix('[')?.strip_suffix(']')?;
    Some(inside.parse::<Ipv6Addr>().ok()?.into())
}

fn is_port(text: &str) -> bool {
    (1..=5).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit())
}

fn is_obfuscated(text: &str) -> bool {
    let letter = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    text.strip_prefix('_').is_some_and(|rest| !rest.is_empty() && rest.bytes().all(letter))
}

#[cfg(test)]
mod tests;
