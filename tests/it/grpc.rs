//! gRPC through the gateway: streams in both directions, and errors that a client of gRPC understands.

use std::time::Duration;

use serde_json::json;

use crate::harness::deadline::{eventually, settled};
use crate::harness::gateway::Plan;
use crate::harness::http2::{DATA, END_STREAM, Ended, Frame, Http2, request};
use crate::harness::scene::{ACME, PAIR, Pair};
use crate::harness::script::Script;

const MIB: u64 = 1 << 20;

/// A stamp of gRPC without a way out, behind a listener for HTTP/2 in the clear.
async fn pair() -> Pair {
    planned(|plan| plan).await
}

async fn planned(change: impl FnOnce(Plan) -> Plan) -> Pair {
    let table = PAIR
        .replace("id = \"a\"\n", "id = \"a\"\npool = { protocol = \"h2c\" }\n")
        .replace("failover = [{ to = \"b\", mode = \"read_write\" }]\n", "");
    let pair = Pair::planned(&table, |plan| {
        let plan = plan.set("listener", "protocols", r#"["h2c"]"#);
        change(plan.set("runtime", "workers", "1"))
    })
    .await;
    pair.a.plays(Script::Grpc);
    pair
}

/// Opens an RPC, with more fields.
async fn call(client: &mut Http2, host: &str, more: &[(&str, &str)]) -> u32 {
    let fields = request("POST", host, "/pkg.Service/Method");
    let own = [("content-type", "application/grpc+proto"), ("te", "trailers")];
    client.open(0, &[&fields[..], &own, more].concat()).await
}

async fn send(client: &mut Http2, stream: u32, message: &[u8]) {
    client.send(&Frame::new(DATA, 0, stream, message)).await;
}

async fn finish(client: &mut Http2, stream: u32) {
    client.send(&Frame::new(DATA, END_STREAM, stream, [])).await;
}

/// How an RPC ended: its status, wherever that stands.
async fn status(client: &mut Http2, stream: u32) -> String {
    let answer = match client.ended(stream).await {
        Ended::Answered(answer) => answer,
        other @ (Ended::Reset(_) | Ended::Closed(_)) => panic!("{other:?}"),
    };
    assert_eq!(answer.status, 200);
    assert!(answer.head.header("content-type").unwrap().starts_with("application/grpc"));
    let in_trailers = answer.trailers.iter().find(|(name, _)| name == "grpc-status");
    let in_head = answer.head.header("grpc-status");
    in_trailers.map(|(_, value)| value.as_str()).or(in_head).expect("a status").to_owned()
}

#[tokio::test]
async fn messages_go_both_ways_while_both_sides_are_open() {
    let pair = pair().await;
    let mut client = Http2::connect(pair.gateway.data).await;
    let stream = call(&mut client, ACME, &[]).await;
    for message in [b"one".as_slice(), b"two", b"three"] {
        send(&mut client, stream, message).await;
        assert_eq!(client.body(stream, message.len()).await, message);
    }
    finish(&mut client, stream).await;
    let answer = client.answer(stream).await;
    assert_eq!(answer.trailers, [("grpc-status".to_owned(), "0".to_owned())]);
    let seen = pair.a.only();
    assert_eq!(seen.head.header("te"), Some("trailers"));
    assert_eq!(seen.head.header("content-type"), Some("application/grpc+proto"));
    assert_eq!(seen.body, b"onetwothree");
}

#[tokio::test]
async fn many_calls_share_a_connection_and_do_not_hold_each_other_back() {
    let pair = pair().await;
    let mut client = Http2::connect(pair.gateway.data).await;
    let mut streams = Vec::new();
    for _ in 0..20 {
        let stream = call(&mut client, ACME, &[]).await;
        send(&mut client, stream, b"hello").await;
        streams.push(stream);
    }
    for stream in streams.into_iter().rev() {
        assert_eq!(client.body(stream, 5).await, b"hello");
        finish(&mut client, stream).await;
        assert_eq!(status(&mut client, stream).await, "0");
    }
    assert_eq!(pair.a.connections(), 1);
}

#[tokio::test]
async fn a_reader_that_is_slow_holds_the_sender_back() {
    let pair = planned(|plan| plan.set("limits", "request_body_bytes", "\"256MiB\"")).await;
    let rest = pair.gateway.memory("VmRSS");
    let mut client = Http2::connect(pair.gateway.data).await;
    client.takes = false;
    let stream = call(&mut client, ACME, &[]).await;
    // What comes back finds no window here, so that the stamp reads no more than its own allows.
    for _ in 0..4 {
        send(&mut client, stream, &[b'x'; 16_000]).await;
    }
    settled("bytes at the stamp", async || pair.a.seen().first().map(|it| it.body_length)).await;
    let held = pair.gateway.memory("VmRSS").saturating_sub(rest);
    assert!(held < 8 * MIB, "{} KiB more", held / 1024);
}

#[tokio::test]
async fn errors_of_the_gateway_are_answers_of_grpc() {
    let mut pair = pair().await;
    let mut client = Http2::connect(pair.gateway.data).await;
    let stream = call(&mut client, "nobody.app.test", &[]).await;
    finish(&mut client, stream).await;
    let answer = client.answer(stream).await;
    assert_eq!((answer.status, answer.head.header("grpc-status")), (200, Some("12")));
    assert_eq!(answer.head.header("content-type"), Some("application/grpc"));
    assert!(answer.head.header("grpc-message").unwrap().starts_with("unknown_tenant"));
    assert!(answer.body.is_empty() && answer.trailers.is_empty());
    let stream = call(&mut client, "hooli.app.test", &[]).await;
    assert_eq!(status(&mut client, stream).await, "7");
    pair.a.kill().await;
    pair.gateway.knows_down("a").await;
    let stream = call(&mut client, ACME, &[]).await;
    assert_eq!(status(&mut client, stream).await, "14");
    // What is counted is what it would have been.
    let metrics = pair.gateway.metrics().await;
    for code in ["404", "403", "503"] {
        let count = metrics.sum("stampgate_requests_total", &[("code", code)]);
        assert!((count - 1.0).abs() < 0.1, "{code}: {count}");
    }
}

#[tokio::test]
async fn whoever_asks_for_json_still_gets_a_problem() {
    let pair = pair().await;
    let mut client = Http2::connect(pair.gateway.data).await;
    client.exchange("nobody.app.test", "/").await.assert_problem(404, "unknown_tenant");
}

#[tokio::test]
async fn the_death_of_the_stamp_within_an_answer_is_unavailable() {
    let mut pair = pair().await;
    let mut client = Http2::connect(pair.gateway.data).await;
    let stream = call(&mut client, ACME, &[]).await;
    send(&mut client, stream, b"hello").await;
    assert_eq!(client.body(stream, 5).await, b"hello");
    pair.a.kill().await;
    assert_eq!(status(&mut client, stream).await, "14");
    // The client's connection lives.
    let stream = call(&mut client, "nobody.app.test", &[]).await;
    assert_eq!(status(&mut client, stream).await, "12");
}

#[tokio::test]
async fn an_answer_that_is_no_rpc_still_ends_in_a_reset() {
    let pair = pair().await;
    pair.a.plays(Script::ResetMidBody);
    let mut client = Http2::connect(pair.gateway.data).await;
    let stream = call(&mut client, ACME, &[]).await;
    finish(&mut client, stream).await;
    assert!(matches!(client.ended(stream).await, Ended::Reset(_)));
}

#[tokio::test]
async fn a_deadline_is_kept_told_to_the_stamp_and_not_held_against_it() {
    let pair = pair().await;
    pair.a.plays(Script::Hang);
    let mut client = Http2::connect(pair.gateway.data).await;
    for _ in 0..8 {
        let stream = call(&mut client, ACME, &[("grpc-timeout", "50m")]).await;
        finish(&mut client, stream).await;
        assert_eq!(status(&mut client, stream).await, "4");
    }
    for seen in pair.a.seen() {
        let told = seen.head.header("grpc-timeout").unwrap();
        let nanos: u32 = told.strip_suffix('n').expect("eight digits of ns").parse().unwrap();
        assert!((1..50_000_000).contains(&nanos), "{told}");
    }
    assert_eq!(pair.a.count(), 8);
    pair.a.plays(Script::Grpc);
    let stream = call(&mut client, ACME, &[("grpc-timeout", "1H")]).await;
    finish(&mut client, stream).await;
    assert_eq!(status(&mut client, stream).await, "0");
}

#[tokio::test]
async fn a_deadline_ends_an_answer_that_is_under_way() {
    let pair = pair().await;
    let mut client = Http2::connect(pair.gateway.data).await;
    let stream = call(&mut client, ACME, &[("grpc-timeout", "300m")]).await;
    send(&mut client, stream, b"hello").await;
    assert_eq!(client.body(stream, 5).await, b"hello");
    assert_eq!(status(&mut client, stream).await, "4");
}

#[tokio::test]
async fn a_timeout_that_is_none_is_refused() {
    let pair = pair().await;
    let mut client = Http2::connect(pair.gateway.data).await;
    for bad in ["1s", "123456789n", "-1S", ""] {
        let stream = call(&mut client, ACME, &[("grpc-timeout", bad)]).await;
        assert_eq!(status(&mut client, stream).await, "13", "{bad}");
    }
    let twice = [("grpc-timeout", "1S"), ("grpc-timeout", "2S")];
    let stream = call(&mut client, ACME, &twice).await;
    assert_eq!(status(&mut client, stream).await, "13");
    assert_eq!(pair.a.count(), 0);
}

#[tokio::test]
async fn a_drain_ends_a_long_stream_with_a_word() {
    let pair = pair().await;
    let mut client = Http2::connect(pair.gateway.data).await;
    let stream = call(&mut client, ACME, &[]).await;
    send(&mut client, stream, b"hello").await;
    assert_eq!(client.body(stream, 5).await, b"hello");
    let body = json!({ "deadline": "2s", "force": true });
    let began = tokio::time::Instant::now();
    let answer = pair.gateway.admin("POST", "/v1/stamps/a/drain", Some(&body)).await;
    assert_eq!(answer.status, 202, "{}", answer.text());
    assert_eq!(status(&mut client, stream).await, "14");
    assert!(began.elapsed() >= Duration::from_millis(900), "before the last half of the drain");
    eventually("an empty stamp", async || {
        let told = pair.gateway.stamp("a").await;
        (told["in_flight"]["stream"] == 0 && told["in_flight"]["request"] == 0).then_some(())
    })
    .await;
    // The connection to the client lives.
    let stream = call(&mut client, ACME, &[]).await;
    assert_eq!(status(&mut client, stream).await, "14");
}
