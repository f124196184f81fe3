//! The rules of `http2_conformance` for header blocks (RFC 7541) and for requests (RFC 9113, section 8).

use crate::harness::http2::{END_HEADERS, END_STREAM, Frame, HEADERS, block, request};
use crate::harness::scene::ACME;
use crate::http2_conformance::{
    COMPRESSION, Must, PROTOCOL, Rule, data, fields, get, hold, post, rule,
};

/// A `GET` whose block has these bytes before and after its fields.
fn coded(before: &[u8], after: &[u8]) -> [Frame; 1] {
    let block = [before, &fields("GET"), after].concat();
    [Frame::new(HEADERS, END_HEADERS | END_STREAM, 1, block)]
}

fn with(fields: &[(&str, &str)]) -> [Frame; 1] {
    [Frame::new(HEADERS, END_HEADERS | END_STREAM, 1, block(fields))]
}

/// A request without the field at this place.
fn without(place: usize) -> [Frame; 1] {
    let mut fields = request("GET", ACME, "/").to_vec();
    fields.remove(place);
    with(&fields)
}

/// A request with one more field.
fn and(name: &str, value: &str) -> [Frame; 1] {
    with(&[&request("GET", ACME, "/")[..], &[(name, value)]].concat())
}

fn header_blocks() -> Vec<Rule> {
    let good = [
        ("6.1 indexed", &b"\xba"[..]),
        ("6.2.1 indexed from now on, the name too", b"\x7a\x01v"),
        ("6.2.1 indexed from now on", b"\x40\x06x-test\x05value"),
        ("6.2.1 the same, coded", b"\x40\x85\xf2\xb2\x4a\x84\xff\x84\x9c\x48\xac\xa4"),
        ("6.2.2 not indexed, with the name", b"\x0f\x2b\x01v"),
        ("6.2.2 not indexed", b"\x00\x06x-test\x05value"),
        ("6.2.2 the same, coded", b"\x00\x85\xf2\xb2\x4a\x84\xff\x84\x9c\x48\xac\xa4"),
        ("6.2.3 never indexed, with the name", b"\x1f\x2b\x01v"),
        ("6.2.3 never indexed", b"\x10\x06x-test\x05value"),
        ("6.2.3 the same, coded", b"\x10\x85\xf2\xb2\x4a\x84\xff\x84\x9c\x48\xac\xa4"),
    ];
    let bad = [
        ("2.3.3 beyond both tables", &b"\xfe"[..]),
        ("2.3.3 a name beyond both tables", b"\x7e\x01v"),
        (
            "5.2 the end of strings in a string",
            b"\x00\x85\xf2\xb2\x4a\x87\xff\xff\xff\xfd\x25\x42\x7f",
        ),
        ("6.1 no index at all", b"\x80"),
    ];
    let unnamed = [
        ("4.2 another size at the end", &b"\x21"[..]),
        ("5.2 padding of more than 7 bits", b"\x00\x85\xf2\xb2\x4a\x84\xff\x84\x49\x50\x9f\xff"),
        ("5.2 padding of zeros", b"\x00\x85\xf2\xb2\x4a\x84\xff\x83\x49\x50\x90"),
    ];
    let good = good.map(|(name, after)| rule(name, coded(b"", after), Must::Answer(1)));
    let bad = bad.map(|(name, after)| rule(name, coded(b"", after), Must::End(COMPRESSION)));
    // The library's word for these is PROTOCOL_ERROR.
    let unnamed = unnamed.map(|(name, after)| rule(name, coded(b"", after), Must::Close));
    let sizes = [
        rule("6.3 another size", coded(b"\x20", b""), Must::Answer(1)),
        rule("4.2 two other sizes", coded(b"\x20\x3f\xe1\x1f", b""), Must::Answer(1)),
        rule("6.3 more than was allowed", coded(b"\x3f\xe2\x1f", b""), Must::End(COMPRESSION)),
    ];
    good.into_iter().chain(bad).chain(unnamed).chain(sizes).collect()
}

fn requests() -> Vec<Rule> {
    let reset = Must::Reset(1, PROTOCOL);
    let trailers =
        |flags, fields: &[(&str, &str)]| Frame::new(HEADERS, END_HEADERS | flags, 1, block(fields));
    let length = [&request("POST", ACME, "/")[..], &[("content-length", "1")]].concat();
    let length = Frame::new(HEADERS, END_HEADERS, 1, block(&length));
    let fields = request("GET", ACME, "/");
    vec![
        rule("8.1 GET", [get(1)], Must::Answer(1)),
        rule("8.1 HEAD", with(&request("HEAD", ACME, "/")), Must::Answer(1)),
        rule("8.1 POST", [post(1), data(END_STREAM, 1, "test")], Must::Answer(1)),
        rule(
            "8.1 POST with trailers",
            [post(1), data(0, 1, "test"), trailers(END_STREAM, &[("x-test", "ok")])],
            Must::Answer(1),
        ),
        rule(
            "8.1 a second head that does not end the stream",
            [post(1), data(0, 1, "test"), trailers(0, &[("x-test", "ok")])],
            reset,
        ),
        rule(
            "8.1.1 more bytes than were said",
            [length.clone(), data(END_STREAM, 1, "test")],
            reset,
        ),
        rule(
            "8.1.1 more bytes than were said, in two frames",
            [length.clone(), data(0, 1, "test"), data(END_STREAM, 1, "test")],
            reset,
        ),
        rule("8.1.1 fewer bytes than were said", [length, data(END_STREAM, 1, "")], reset),
        rule("8.2.1 upper case", and("X-TEST", "ok"), Must::Refuse(1, PROTOCOL)),
        rule("8.2.2 connection", and("connection", "keep-alive"), reset),
        rule("8.2.2 te", and("te", "trailers, deflate;q=0.5"), reset),
        rule("8.2.2 te that is allowed", and("te", "trailers"), Must::Answer(1)),
        rule("8.3 an unknown one", and(":test", "ok"), Must::Refuse(1, PROTOCOL)),
        rule("8.3 that of an answer", and(":status", "200"), reset),
        rule(
            "8.3 in trailers",
            [post(1), data(0, 1, "test"), trailers(END_STREAM, &[(":method", "POST")])],
            reset,
        ),
        rule(
            "8.3 in trailers that do not end the stream",
            [post(1), data(0, 1, "test"), trailers(0, &[(":method", "POST")])],
            reset,
        ),
        rule("8.3 after another field", with(&[&[("x-test", "ok")], &fields[..]].concat()), reset),
        rule("8.3.1 an empty path", with(&request("GET", ACME, "")), reset),
        rule("8.3.1 no method", without(0), reset),
        rule("8.3.1 no scheme", without(1), reset),
        rule("8.3.1 no path", without(3), reset),
        rule("8.3.1 two methods", and(":method", "GET"), reset),
        rule("8.3.1 two schemes", and(":scheme", "http"), reset),
        rule("8.3.1 two paths", and(":path", "/"), reset),
    ]
}

#[tokio::test]
async fn header_blocks_are_read_as_rfc_7541_says() {
    hold(header_blocks()).await;
}

#[tokio::test]
async fn requests_are_well_formed_as_section_8_says() {
    hold(requests()).await;
}
