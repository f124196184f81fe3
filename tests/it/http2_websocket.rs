//! `WebSockets` over HTTP/2 (RFC 8441): a stream that is one, and a stamp that sees one of HTTP/1.1.

use serde_json::json;

use crate::harness::deadline::eventually;
use crate::harness::http2::{DATA, END_STREAM, Ended, Frame, Http2, PROTOCOL_ERROR};
use crate::harness::scene::{ACME, Pair};
use crate::harness::script::{Script, plain};
use crate::http2::pair;

/// A frame as a client sends it: "hello", masked with zeros.
pub const HELLO: &[u8] = &[0x81, 0x85, 0, 0, 0, 0, b'h', b'e', b'l', b'l', b'o'];
/// A close frame with code 1012, as a server sends it.
pub const RESTART: &[u8] = &[0x88, 2, 0x03, 0xf4];

pub async fn open(client: &mut Http2, protocol: &str) -> u32 {
    let fields = [
        (":method", "CONNECT"),
        (":protocol", protocol),
        (":scheme", "http"),
        (":authority", ACME),
        (":path", "/chat"),
        ("sec-websocket-version", "13"),
    ];
    client.open(0, &fields).await
}

pub async fn opened(pair: &Pair) -> (Http2, u32) {
    pair.a.plays_once(Script::Upgrade);
    let mut client = Http2::connect(pair.gateway.data).await;
    let stream = open(&mut client, "websocket").await;
    assert_eq!(client.status(stream).await, 200);
    client.send(&Frame::new(DATA, 0, stream, HELLO)).await;
    assert_eq!(client.body(stream, HELLO.len()).await, HELLO);
    (client, stream)
}

#[tokio::test]
async fn a_websocket_has_a_stream_of_its_own() {
    let pair = pair().await;
    let (mut client, stream) = opened(&pair).await;
    let seen = pair.a.only();
    assert_eq!((seen.method(), seen.target()), ("GET", "/chat"));
    assert_eq!(seen.head.header("upgrade"), Some("websocket"));
    assert_eq!(seen.head.header("sec-websocket-version"), Some("13"));
    assert_eq!(client.exchange(ACME, "/").await.served_by(), "a", "beside it");
    client.send(&Frame::new(DATA, END_STREAM, stream, HELLO)).await;
    assert_eq!(client.body(stream, HELLO.len()).await, HELLO);
    pair.a.left_by(1).await;
}

#[tokio::test]
async fn a_drain_sees_it_and_says_goodbye_to_it() {
    let pair = pair().await;
    let (mut client, stream) = opened(&pair).await;
    let order = json!({ "deadline": "1s" });
    let drain = pair.gateway.admin("POST", "/v1/stamps/a/drain", Some(&order)).await;
    assert_eq!(drain.status, 202, "{}", drain.text());
    let drain = pair.gateway.admin_get("/v1/stamps/a/drain").await.json();
    assert_eq!(drain["in_flight"]["websocket"], 1, "{drain}");
    assert_eq!(client.body(stream, RESTART.len()).await, RESTART);
    client.send(&Frame::new(DATA, END_STREAM, stream, [0x88, 0x80, 0, 0, 0, 0])).await;
    eventually("a drained stamp", async || {
        (pair.gateway.stamp("a").await["state"] == "drained").then_some(())
    })
    .await;
}

#[tokio::test]
async fn what_a_stamp_answers_instead_is_passed_on_but_no_success() {
    let pair = pair().await;
    let mut client = Http2::connect(pair.gateway.data).await;
    pair.a.plays_once(plain(403, "", "no"));
    let stream = open(&mut client, "websocket").await;
    assert_eq!(client.answer(stream).await.status, 403);
    let wrong = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                 Sec-WebSocket-Accept: AAAAAAAAAAAAAAAAAAAAAAAAAAA=\r\n\r\n";
    for script in [plain(200, "", "fine"), Script::RawBeforeBody(wrong.into())] {
        pair.a.plays_once(script);
        let stream = open(&mut client, "websocket").await;
        client.answer(stream).await.assert_problem(502, "upstream_protocol_error");
    }
}

#[tokio::test]
async fn nothing_else_is_asked_for_by_connect() {
    let pair = pair().await;
    let mut client = Http2::connect(pair.gateway.data).await;
    for protocol in ["connect-udp", "WebSocket", ""] {
        let stream = open(&mut client, protocol).await;
        match client.ended(stream).await {
            Ended::Answered(answer) => answer.assert_problem(400, "malformed_request"),
            Ended::Reset(code) => assert_eq!(code, PROTOCOL_ERROR),
            Ended::Closed(code) => panic!("{protocol}: closed with {code:?}"),
        }
    }
    assert_eq!(pair.a.count(), 0);
}
