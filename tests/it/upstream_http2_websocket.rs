//! `WebSockets` to a stamp that speaks HTTP/2 alone: by extended CONNECT (RFC 8441), whatever the client speaks.

use serde_json::json;

use crate::connections::upgrade;
use crate::drain_progress::tunnelling;
use crate::harness::deadline::eventually;
use crate::harness::http1::get;
use crate::harness::http2::{Ended, Http2};
use crate::harness::scene::{ACME, Pair, pair_with};
use crate::harness::script::Script;
use crate::http2_websocket::{HELLO, RESTART, open, opened};
use crate::upstream_http2::over_tls;

/// A stamp in the clear, and clients of both versions.
async fn scene() -> Pair {
    let pair = Pair::planned(&pair_with("pool = { protocol = \"h2c\" }"), |plan| {
        plan.set("listener", "protocols", r#"["http/1.1", "h2c"]"#).set("runtime", "workers", "1")
    })
    .await;
    pair.a.opens_websockets();
    pair
}

#[tokio::test]
async fn a_client_over_http1_has_a_stream_of_the_stamp() {
    let pair = scene().await;
    pair.a.plays_once(Script::Upgrade);
    let mut client = pair.gateway.connect().await;
    client.send(upgrade(ACME).bytes()).await;
    let head = client.head().await;
    assert_eq!(head.first_line, "HTTP/1.1 101 Switching Protocols");
    assert!(head.header("connection").unwrap().eq_ignore_ascii_case("upgrade"));
    let fields = [
        ("upgrade", "websocket"),
        ("sec-websocket-protocol", "chat"),
        // RFC 6455, section 1.3, for the key that it has as an example.
        ("sec-websocket-accept", "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="),
    ];
    for (name, value) in fields {
        assert_eq!(head.header(name), Some(value), "{name}");
    }
    client.send(HELLO).await;
    assert_eq!(client.exactly(HELLO.len()).await, HELLO);
    let seen = pair.a.only();
    assert_eq!((seen.method(), seen.target()), ("CONNECT", "/socket"));
    let head = seen.head;
    let fields = [(":protocol", "websocket"), (":authority", ACME), ("x-stamp-id", "a")];
    for (name, value) in fields {
        assert_eq!(head.header(name), Some(value), "{name}");
    }
    assert_eq!(head.header("sec-websocket-version"), Some("13"));
    for name in ["upgrade", "connection", "sec-websocket-key", "host"] {
        assert_eq!(head.header(name), None, "{name}");
    }
    assert_eq!(pair.gateway.get(ACME, "/").await.served_by(), "a");
    assert_eq!(pair.a.connections(), 2, "it keeps no connection that others use");
    let other = tunnelling(&pair).await;
    assert_eq!(pair.a.connections(), 2, "but they share theirs");
    drop(other);
}

#[tokio::test]
async fn a_client_that_says_how_long_its_body_is_not_has_one_too() {
    let pair = scene().await;
    pair.a.plays_once(Script::Upgrade);
    let mut client = pair.gateway.connect().await;
    client.send(upgrade(ACME).header("Content-Length", "0").bytes()).await;
    assert_eq!(client.head().await.status().unwrap(), 101);
    client.send(HELLO).await;
    assert_eq!(client.exactly(HELLO.len()).await, HELLO);
    assert_eq!(pair.a.only().head.header("content-length"), None);
}

#[tokio::test]
async fn who_asks_for_what_a_stamp_over_tls_does_not_speak_says_nothing_of_it() {
    let pair = over_tls(&["h2"]).await;
    for _ in 0..8 {
        let answer = pair.gateway.send(&upgrade(ACME)).await;
        answer.assert_problem(501, "upgrade_not_supported");
    }
    let other = get(ACME, "/").header("Connection", "upgrade").header("Upgrade", "other");
    pair.gateway.send(&other).await.assert_problem(501, "upgrade_not_supported");
    assert_eq!(pair.gateway.get(ACME, "/").await.served_by(), "a", "no breaker opened");
}

#[tokio::test]
async fn it_carries_more_than_any_window_holds_and_ends_with_its_client() {
    let pair = scene().await;
    let mut client = tunnelling(&pair).await;
    let message: Vec<u8> = (0..200_000_u32).map(|at| at.to_le_bytes()[0]).collect();
    // One frame of a client: 200,000 bytes, masked with zeros.
    let head = [&[0x82, 0xff][..], &200_000_u64.to_be_bytes(), &[0; 4]].concat();
    client.send(&head).await;
    assert_eq!(client.exactly(head.len()).await, head);
    for _ in 0..2 {
        // All of it is away before anything is read: the echo waits in windows and sockets.
        let half = &message[..100_000];
        client.send(half).await;
        assert_eq!(client.exactly(half.len()).await, half);
    }
    client.finish().await;
    assert!(client.closed().await.is_empty());
    eventually("the stamp's end of it", async || pair.a.only().complete.then_some(())).await;
}

#[tokio::test]
async fn a_stamp_may_end_it_and_reset_what_its_client_says_after_that() {
    let pair = scene().await;
    let mut client = tunnelling(&pair).await;
    client.send("bye").await;
    assert!(client.closed().await.is_empty());
    client.finish().await;
    eventually("its line in the access log", async || {
        pair.gateway.log().contains("/socket").then_some(())
    })
    .await;
    assert!(!pair.gateway.log().contains("tunnel_broke_off"), "{}", pair.gateway.log());
}

#[tokio::test]
async fn a_client_over_http2_has_one_too() {
    let pair = scene().await;
    let _client = opened(&pair).await;
    assert_eq!(pair.a.only().head.header(":protocol"), Some("websocket"));
    assert_eq!(pair.a.only().head.header("sec-websocket-key"), None);
}

#[tokio::test]
async fn what_a_stamp_answers_instead_is_passed_on() {
    let pair = scene().await;
    pair.a.plays(Script::EchoAs(403));
    let answer = pair.gateway.send(&upgrade(ACME)).await;
    assert_eq!((answer.status, answer.json()["method"].as_str()), (403, Some("CONNECT")));
    let mut client = Http2::connect(pair.gateway.data).await;
    let stream = open(&mut client, "websocket").await;
    assert_eq!(client.answer(stream).await.status, 403);
    eventually("the end of both streams", async || {
        pair.a.seen().iter().all(|seen| seen.complete).then_some(())
    })
    .await;
}

#[tokio::test]
async fn who_loses_its_stamp_is_cut() {
    let mut pair = scene().await;
    let mut over_http1 = tunnelling(&pair).await;
    let (mut over_http2, stream) = opened(&pair).await;
    pair.a.kill().await;
    assert!(over_http1.closed().await.is_empty());
    // Without a close frame (RFC 6455, section 7.1.5: the client's own word for that is 1006).
    let Ended::Answered(answer) = over_http2.ended(stream).await else { panic!("no end") };
    assert!(answer.body.is_empty());
}

#[tokio::test]
async fn a_drain_says_goodbye_to_it() {
    let pair = scene().await;
    let mut client = tunnelling(&pair).await;
    let order = json!({ "deadline": "1s" });
    let drain = pair.gateway.admin("POST", "/v1/stamps/a/drain", Some(&order)).await;
    assert_eq!(drain.status, 202, "{}", drain.text());
    let drain = pair.gateway.admin_get("/v1/stamps/a/drain").await.json();
    assert_eq!(drain["in_flight"]["websocket"], 1, "{drain}");
    assert_eq!(client.exactly(RESTART.len()).await, RESTART);
    eventually("a drained stamp", async || {
        (pair.gateway.stamp("a").await["state"] == "drained").then_some(())
    })
    .await;
}

#[tokio::test]
async fn over_tls_it_has_a_stream_where_the_stamp_says_so_and_else_a_connection() {
    let scenes: [(&[&str], bool, &str); 3] = [
        (&["h2"], true, "CONNECT /socket HTTP/2"),
        (&["h2", "http/1.1"], false, "GET /socket HTTP/1.1"),
        (&["http/1.1"], false, "GET /socket HTTP/1.1"),
    ];
    for (protocols, says_so, seen) in scenes {
        let pair = over_tls(protocols).await;
        if says_so {
            pair.a.opens_websockets();
        }
        assert_eq!(pair.gateway.get(ACME, "/").await.served_by(), "a");
        pair.a.plays_once(Script::Upgrade);
        let mut client = pair.gateway.connect().await;
        client.send(upgrade(ACME).bytes()).await;
        assert_eq!(client.head().await.status().unwrap(), 101, "{protocols:?}");
        client.send(HELLO).await;
        assert_eq!(client.exactly(HELLO.len()).await, HELLO);
        assert_eq!(pair.a.seen()[1].head.first_line, seen);
    }
}

#[tokio::test]
async fn nothing_but_a_websocket_is_opened_over_http2() {
    let pair = scene().await;
    let switch =
        |protocol| get(ACME, "/").header("Connection", "upgrade").header("Upgrade", protocol);
    // Without a key there is nothing that a client could be told, and a bad one no stamp would see.
    let keyless = switch("websocket");
    let short = switch("websocket").header("Sec-WebSocket-Key", "c2hvcnQ=");
    let doubled = upgrade(ACME).header("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ==");
    for request in [switch("other"), keyless, short, doubled] {
        pair.gateway.send(&request).await.assert_problem(501, "upgrade_not_supported");
    }
    assert_eq!(pair.a.count(), 0);
}
