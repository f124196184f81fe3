//! What is ambiguous over HTTP/2 is refused, never mended and forwarded.

use crate::harness::http2::{
    DATA, END_HEADERS, END_STREAM, Ended, Frame, HEADERS, Http2, PROTOCOL_ERROR, block, request,
};
use crate::harness::scene::ACME;
use crate::http2::pair;

/// Pseudo-fields of a good request, and these.
fn with<'a>(more: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
    [&request("POST", ACME, "/"), more].concat()
}

fn instead<'a>(name: &str, value: &'a str) -> Vec<(&'a str, &'a str)> {
    let fields = request("POST", ACME, "/");
    fields
        .into_iter()
        .map(|(key, own)| if key == name { (key, value) } else { (key, own) })
        .collect()
}

#[tokio::test]
async fn a_malformed_head_reaches_no_stamp() {
    let pair = pair().await;
    let mut client = Http2::connect(pair.gateway.data).await;
    for fields in [
        with(&[("connection", "close")]),
        with(&[("transfer-encoding", "chunked")]),
        with(&[("upgrade", "h2c")]),
        with(&[("te", "gzip")]),
        with(&[("X-Upper", "1")]),
        with(&[("x_stamp_id", "b")]),
        with(&[("x-a", " b")]),
        with(&[("x-a", "b\t")]),
        with(&[("x-a", "b\r\nx-stamp-id: b")]),
        with(&[("x-a", "\0")]),
        with(&[(":path", "/again")]),
        with(&[(":unknown", "1")]),
        with(&[("x-a", "b"), (":path", "/late")]),
        with(&[("content-length", "0"), ("content-length", "0")]),
        with(&[("content-length", "+0")]),
        with(&[("content-length", "5")]),
        with(&[("host", "globex.app.test")]),
        with(&[("host", ACME), ("host", ACME)]),
        instead(":path", "/a#b"),
        instead(":path", "/a b"),
        instead(":path", "/\u{e4}"),
        instead(":path", ""),
        instead(":path", "*"),
        instead(":path", "http://globex.app.test/"),
        instead(":authority", "user@acme.app.test"),
        instead(":authority", "acme.app.test/x"),
        instead(":method", "TRACE"),
        instead(":method", "CONNECT"),
        instead(":method", "GE T"),
        instead(":scheme", ""),
        request("POST", ACME, "/")[1..].to_vec(),
    ] {
        let stream = client.open(END_STREAM, &fields).await;
        match client.ended(stream).await {
            Ended::Answered(answer) => assert_eq!(answer.status, 400, "{fields:?}"),
            Ended::Reset(code) => assert_eq!(code, PROTOCOL_ERROR, "{fields:?}"),
            // What h2 takes for no header block at all.
            Ended::Closed(code) => {
                assert_eq!(code, Some(PROTOCOL_ERROR), "{fields:?}");
                client = Http2::connect(pair.gateway.data).await;
            }
        }
    }
    assert_eq!((pair.a.count(), pair.b.count()), (0, 0));
    assert_eq!(client.exchange(ACME, "/").await.served_by(), "a");
}

#[tokio::test]
async fn trailers_with_pseudo_fields_end_their_stream_and_no_other() {
    let pair = pair().await;
    let mut client = Http2::connect(pair.gateway.data).await;
    let stream = client.open(0, &request("POST", ACME, "/")).await;
    client.send(&Frame::new(DATA, 0, stream, "body")).await;
    let trailers = block(&[("x-check", "1"), (":path", "/else")]);
    client.send(&Frame::new(HEADERS, END_HEADERS | END_STREAM, stream, trailers)).await;
    let ended = client.ended(stream).await;
    assert!(matches!(ended, Ended::Reset(PROTOCOL_ERROR)), "{ended:?}");
    assert_eq!(client.exchange(ACME, "/").await.served_by(), "a");
    assert!(pair.a.seen().iter().all(|seen| !seen.complete || seen.body.is_empty()));
}

#[tokio::test]
async fn heads_have_the_limits_of_http_1() {
    let pair = pair().await;
    let mut client = Http2::connect(pair.gateway.data).await;
    let long = format!("/{}", "p".repeat(16_000));
    let stream = client.get(ACME, &long, &[]).await;
    assert_eq!(client.answer(stream).await.served_by(), "a");
    let many: Vec<_> = (0..101).map(|_| ("x-a", "b")).collect();
    let stream = client.get(ACME, "/", &many).await;
    client.answer(stream).await.assert_problem(431, "headers_too_large");
    let value = "v".repeat(8_000);
    let large =
        [("x-a", &*value), ("x-b", &value), ("x-c", &value), ("x-d", &value), ("x-e", &value)];
    let mut fields = block(&[&request("GET", ACME, "/")[..], &large].concat());
    let rest = fields.split_off(16_000);
    let more = rest.split_at(16_000);
    client.send(&Frame::new(HEADERS, END_STREAM, 101, fields)).await;
    client.send(&Frame::new(9, 0, 101, more.0)).await;
    client.send(&Frame::new(9, END_HEADERS, 101, more.1)).await;
    assert_eq!(client.answer(101).await.status, 431);
    assert_eq!(pair.a.count(), 1);
}
