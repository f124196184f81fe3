//! Heads and bodies of requests, good ones and those that two readers could take in two ways.

use super::*;
use proptest::prelude::*;

const LIMITS: HeadLimits =
    HeadLimits { head_bytes_max: 32 * 1024, fields_max: 100, uri_bytes_max: 16 * 1024 };

fn head(text: &str) -> Result<BodyFraming, FramingError> {
    read_head(text.replace('\n', "\r\n").as_bytes(), LIMITS)
}

fn malformed(bytes: &[u8]) -> bool {
    matches!(read_head(bytes, LIMITS), Err(Malformed(_) | FramingError::NoHttp))
}

#[test]
fn a_plain_get_has_no_body() {
    assert_eq!(head("GET /a?b=c HTTP/1.1\nHost: x\n\n"), Ok(BodyFraming::Length(0)));
}

#[test]
fn a_length_and_chunks_are_understood() {
    assert_eq!(head("PUT / HTTP/1.1\nContent-Length: 12\n\n"), Ok(BodyFraming::Length(12)));
    assert_eq!(head("PUT / HTTP/1.1\nTransfer-Encoding: Chunked\n\n"), Ok(BodyFraming::Chunked));
}

#[test]
fn whatever_two_parsers_could_read_in_two_ways_is_refused() {
    for bad in [
        "GET / HTTP/1.1\r\nHost: x\n\r\n",
        "GET / HTTP/1.1\nHost: x\r\n\r\n",
        "GET / HTTP/1.1\r\nA: b\rc\r\n\r\n",
        "GET / HTTP/1.1\r\nA: b\0c\r\n\r\n",
        "GET / HTTP/1.1\r\n A: b\r\n\r\n",
        "GET / HTTP/1.1\r\nA: b\r\n c\r\n\r\n",
        "GET / HTTP/1.1\r\nA : b\r\n\r\n",
        "GET / HTTP/1.1\r\nA\r\n\r\n",
        "GET / HTTP/1.1\r\n: b\r\n\r\n",
        "GET / HTTP/1.1\r\nX_Stamp_Id: b\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n",
        "GET / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\n",
        "GET / HTTP/1.1\r\nContent-Length: 1, 1\r\n\r\n",
        "GET / HTTP/1.1\r\nContent-Length: +1\r\n\r\n",
        "GET / HTTP/1.1\r\nContent-Length: \r\n\r\n",
        "GET / HTTP/1.1\r\nContent-Length: 99999999999999999999\r\n\r\n",
        "GET / HTTP/1.1\r\nContent-Length: 0\r\nTransfer-Encoding: chunked\r\n\r\n",
        "GET / HTTP/1.1\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n",
        "GET / HTTP/1.1\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
        "GET / HTTP/1.1\r\nTransfer-Encoding: ,chunked\r\n\r\n",
        "GET / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n",
        "GET  / HTTP/1.1\r\n\r\n",
        "GET / HTTP/1.1 \r\n\r\n",
        "GET / HTTP/2.0\r\n\r\n",
        "GET /\r\n\r\n",
        "G(T / HTTP/1.1\r\n\r\n",
        "GET /a#b HTTP/1.1\r\n\r\n",
        "GET a HTTP/1.1\r\n\r\n",
        "GET * HTTP/1.1\r\n\r\n",
        "GET x:80 HTTP/1.1\r\n\r\n",
        "CONNECT x:80 HTTP/1.1\r\n\r\n",
        "TRACE / HTTP/1.1\r\n\r\n",
        "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA / HTTP/1.1\r\n\r\n",
    ] {
        assert!(malformed(bad.as_bytes()), "{bad:?}");
    }
}

#[test]
fn what_names_no_version_of_http_is_told_apart() {
    for (line, is_http) in
        [("A B C", false), ("GET / http/1.1", false), ("GET / HTTP/2.0", true), ("A", true)]
    {
        let error = read_head(format!("{line}\r\n\r\n").as_bytes(), LIMITS).unwrap_err();
        assert_eq!(error != FramingError::NoHttp, is_http, "{line}: {error}");
    }
}

#[test]
fn limits_are_kept_with_their_own_errors() {
    let long = format!("GET /{} HTTP/1.1\r\n\r\n", "a".repeat(16 * 1024));
    assert_eq!(read_head(long.as_bytes(), LIMITS), Err(FramingError::UriTooLong));
    assert_eq!(check_partial_head(&[b'a'; 17 * 1024], LIMITS), Err(FramingError::UriTooLong));
    let many = format!("GET / HTTP/1.1\r\n{}\r\n", "a: b\r\n".repeat(101));
    assert_eq!(read_head(many.as_bytes(), LIMITS), Err(FramingError::HeadTooLarge));
    let large = format!("GET / HTTP/1.1\r\na: {}", "b".repeat(33 * 1024));
    assert_eq!(check_partial_head(large.as_bytes(), LIMITS), Err(FramingError::HeadTooLarge));
}

fn chunks(bytes: &[u8]) -> Result<(usize, bool), FramingError> {
    let mut chunks = Chunks::default();
    let taken = chunks.advance(bytes)?;
    Ok((taken, chunks.is_done()))
}

#[test]
fn a_chunked_body_ends_where_its_last_chunk_ends() {
    assert_eq!(chunks(b"3\r\nabc\r\n0\r\n\r\nGET"), Ok((13, true)));
    assert_eq!(chunks(b"3;x=y\r\nabc\r\n0\r\nA: b\r\n\r\n"), Ok((23, true)));
    assert_eq!(chunks(b"a\r\nabc"), Ok((6, false)));
}

#[test]
fn bad_chunks_are_refused() {
    for bad in [
        &b"3\nabc\r\n0\r\n\r\n"[..],
        b"\r\nabc",
        b" 3\r\nabc",
        b"0x3\r\nabc",
        b"3 \r\nabc",
        b"3\r\nabcd\r\n",
        b"3\r\nabc\n0\r\n\r\n",
        b"-1\r\n",
        b"fffffffffffffffff\r\n",
        b"3;\nabc",
        b"0\r\nA b\r\n\r\n",
        b"0\r\n a: b\r\n\r\n",
        b"0\r\n\n",
    ] {
        assert!(chunks(bad).is_err(), "{:?}", String::from_utf8_lossy(bad));
    }
}

#[test]
fn a_path_holds_no_encoded_line_end_and_a_query_may() {
    for path in ["/a%0d%0ab", "/%0A", "/a%0D", "http://a/%0a?x"] {
        let error = head(&format!("GET {path} HTTP/1.1\nHost: a\n\n"));
        assert_eq!(error, Err(Malformed("the path holds an encoded line end")), "{path}");
    }
    for path in ["/a?b=%0d%0a", "/%0", "/%", "/%250a", "/%0b%20%00d"] {
        assert!(head(&format!("GET {path} HTTP/1.1\nHost: a\n\n")).is_ok(), "{path}");
    }
}

proptest! {
    #[test]
    fn text_is_text_however_it_is_looked_at(
        mut bytes in proptest::collection::vec(prop_oneof![0x20_u8..=0xff, Just(b'\t')], 0..40),
        odd in proptest::option::of((any::<u8>(), any::<proptest::sample::Index>())),
    ) {
        if let Some((odd, at)) = odd.filter(|_| !bytes.is_empty()) {
            let at = at.index(bytes.len());
            bytes[at] = odd;
        }
        let naive = bytes.iter().all(|byte| *byte == b'\t' || (*byte >= 0x20 && *byte != 0x7f));
        prop_assert_eq!(is_text(&bytes), naive);
    }

    #[test]
    fn where_the_bytes_are_cut_does_not_matter(
        body in proptest::collection::vec(any::<u8>(), 0..200),
        cut in 0_usize..260,
    ) {
        let mut wire = format!("{:x};e\r\n", body.len().max(1)).into_bytes();
        wire.extend(if body.is_empty() { &b"x"[..] } else { &body });
        wire.extend(b"\r\n0\r\nT: v\r\n\r\n");
        let cut = cut.min(wire.len());
        let (one, two) = wire.split_at(cut);
        let mut chunks = Chunks::default();
        prop_assert_eq!(chunks.advance(one).unwrap(), one.len());
        prop_assert_eq!(chunks.advance(two).unwrap(), two.len());
        prop_assert!(chunks.is_done());
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let _ = read_head(&bytes, LIMITS);
        let _ = check_partial_head(&bytes, LIMITS);
        let _ = chunks(&bytes);
    }
}
