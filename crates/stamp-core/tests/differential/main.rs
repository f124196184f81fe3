//! The same bytes to our gates and to a second, independent reading: what ours lets pass, the other takes for
//! the same, to the byte; and what is plain and good, ours does not refuse.
#![expect(
    clippy::indexing_slicing,
    unreachable_pub,
    reason = "a test fails by panicking; nothing here is a public interface"
)]

mod front;
mod strict;

use proptest::prelude::*;
use proptest::sample::select;
use stamp_core::framing::Asked;
use strict::Read;

const REQUEST_LINES: &[&str] = &[
    "GET / HTTP/1.1",
    "GET / HTTP/1.1",
    "POST /a?b=c HTTP/1.1",
    "PUT /x HTTP/1.0",
    "HEAD / HTTP/1.1",
    "OPTIONS * HTTP/1.1",
    "GET http://x/y HTTP/1.1",
    "GET  / HTTP/1.1",
    "GET / HTTP/1.2",
    "GET /",
    "GET / HTTP/1.1 ",
    "get /#f HTTP/1.1",
    "\r\nGET / HTTP/1.1",
    " GET / HTTP/1.1",
];
const STATUS_LINES: &[&str] = &[
    "HTTP/1.1 200 OK",
    "HTTP/1.1 200 OK",
    "HTTP/1.0 200 OK",
    "HTTP/1.1 204 No Content",
    "HTTP/1.1 304 Not Modified",
    "HTTP/1.1 404",
    "HTTP/1.1 500 ",
    "HTTP/1.1 099 X",
    "HTTP/1.1 999 X",
    "HTTP/1.1 2000 OK",
    "HTTP/1.1  200 OK",
    "HTTP/2 200 OK",
    "\r\nHTTP/1.1 200 OK",
    "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK",
    "HTTP/1.1 103 Hint\r\nA: b\r\n\r\nHTTP/1.1 200 OK",
];
const FIELDS: &[&str] = &[
    "A: b",
    "Host: x",
    "Content-Length: 5",
    "Content-Length: 5",
    "Content-Length: 0",
    "content-length:5 ",
    "Content-Length: 5, 5",
    "Content-Length: +5",
    "Content-Length: 0x5",
    "Content-Length: ",
    "Content-Length : 5",
    "Content-Length: 5\u{b}",
    "Transfer-Encoding: chunked",
    "Transfer-Encoding: chunked",
    "transfer-encoding:\tChunked\t",
    "Transfer-Encoding: gzip, chunked",
    "Transfer-Encoding: chunked;",
    "Transfer-Encoding: \u{b}chunked",
    "Transfer-Encoding : chunked",
    "Transfer-Encoding: identity",
    " folded",
    "\tfolded",
    "no colon",
    ": b",
    "A: b\nContent-Length: 7",
    "A: b\rContent-Length: 7",
    "A: \u{80}",
    "Connection: close",
];
const BODIES: &[&str] = &[
    "",
    "hello",
    "hello",
    "5\r\nhello\r\n0\r\n\r\n",
    "5\r\nhello\r\n0\r\n\r\n",
    "5;x=y\r\nhello\r\n0\r\nT: v\r\n\r\n",
    "5 \r\nhello\r\n0\r\n\r\n",
    "5\nhello\r\n0\r\n\r\n",
    "0x5\r\nhello\r\n0\r\n\r\n",
    "\r\n",
    "5;\nx\r\nhello\r\n0\r\n\r\n",
    "5\r\nhelloX\r\n0\r\n\r\n",
    "0\r\n\n",
    "0\r\nT: v\nU: w\r\n\r\n",
    "0\r\n T: v\r\n\r\n",
    "A\r\n0123456789\r\n00\r\n\r\n",
    "10000000000000005\r\nhello\r\n0\r\n\r\n",
    "000000000000005\r\nhello\r\n0\r\n\r\n",
];
const HOSTILE: &[u8] = b"\r\n\0\t :;,_0\x0b\x7f\x85x";

/// Something near to a message: pieces of good and bad ones, with a few bytes changed.
fn message(first: &'static [&'static str]) -> impl Strategy<Value = Vec<u8>> {
    let fields = proptest::collection::vec(select(FIELDS), 0..4);
    let change = (any::<prop::sample::Index>(), select(HOSTILE), 0_u8..3);
    let changes = proptest::collection::vec(change, 0..3);
    let more = select(&["", "", "GET / HTTP/1.1\r\nHost: y\r\n\r\n", "X"][..]);
    (select(first), fields, select(BODIES), more, changes).prop_map(
        |(first, fields, body, more, changes)| {
            let head: String = fields.iter().map(|field| format!("{field}\r\n")).collect();
            let text = format!("{first}\r\n{head}\r\n{body}{more}");
            // One byte for each character: \u{80} is no UTF-8 on the wire.
            let mut bytes: Vec<_> = text.chars().map(|c| c as u8).collect();
            for (place, byte, how) in changes {
                let at = place.index(bytes.len());
                match how {
                    0 => bytes[at] = byte,
                    1 => bytes.insert(at, byte),
                    _ => drop(bytes.remove(at)),
                }
            }
            bytes
        },
    )
}

/// Does our gate refuse this for more than its framing: forms of targets, methods, doubled Hosts, underscores?
fn is_beyond_framing(bytes: &[u8]) -> bool {
    let text = String::from_utf8_lossy(bytes).to_ascii_lowercase();
    let target = text.split(' ').nth(1).unwrap_or_default();
    let is_plain = target.starts_with('/') && target.bytes().all(|byte| byte.is_ascii_graphic());
    !is_plain
        || target.contains('#')
        || text.contains('_')
        || text.matches("\nhost:").count() > 1
        || text.starts_with("trace")
        || text.starts_with("connect")
        // Digits of a length or a chunk, beyond any body.
        || text.contains("0000000000")
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 20_000, ..ProptestConfig::default() })]

    #[test]
    fn a_request_that_passes_is_the_same_to_another_reader(bytes in message(REQUEST_LINES)) {
        let (ours, strict) = (front::request(&bytes), strict::request(&bytes));
        if let Read::Whole(_) = ours {
            prop_assert_eq!(ours, strict, "{:?}", String::from_utf8_lossy(&bytes));
        }
        if matches!(strict, Read::Whole(_)) && !is_beyond_framing(&bytes) {
            prop_assert_eq!(ours, strict, "{:?}", String::from_utf8_lossy(&bytes));
        }
    }

    #[test]
    fn an_answer_that_passes_is_the_same_to_another_reader(
        bytes in message(STATUS_LINES),
        asked in select(&[Asked::Answer, Asked::HeadOnly][..]),
        size in 1_usize..200,
    ) {
        let ours = front::answer(&bytes, asked, size);
        let strict = strict::answer(&bytes, asked);
        if let Read::Whole(_) = ours {
            prop_assert_eq!(ours, strict, "{:?}", String::from_utf8_lossy(&bytes));
        }
        let is_long = String::from_utf8_lossy(&bytes).contains("0000000000");
        if matches!(strict, Read::Whole(_)) && !is_long {
            prop_assert_eq!(ours, strict, "{:?}", String::from_utf8_lossy(&bytes));
        }
    }
}
