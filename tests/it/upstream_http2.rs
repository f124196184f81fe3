//! HTTP/2 to stamps: many requests over few connections, and nothing that one of them does to another.

use tokio::task::JoinSet;

use crate::connections::upgrade;
use crate::harness::client::{Answer, Client};
use crate::harness::deadline::{eventually, settled, ticks};
use crate::harness::gateway::Plan;
use crate::harness::http1::{Request, get, post};
use crate::harness::http2::{END_STREAM, Http2, request};
use crate::harness::scene::{ACME, PAIR, Pair, pair_with};
use crate::harness::script::{Gate, Script, block, feed};
use crate::harness::stamp::Stamp;
use crate::harness::tls::Authority;
use crate::slow_readers::narrow_client;

const H2C: &str = "pool = { protocol = \"h2c\" }";
const MIB: u64 = 1 << 20;
/// What the gateway may need beyond its memory at rest to pass a body of any size.
const GROWTH_MAX: u64 = 16 * MIB;

/// The usual scene on one worker, with this line for a, and clients of both versions.
async fn pair_of(line: &str) -> Pair {
    planned(line, |plan| plan).await
}

async fn planned(line: &str, change: impl FnOnce(Plan) -> Plan) -> Pair {
    Pair::planned(&pair_with(line), |plan| {
        let plan = plan.set("listener", "protocols", r#"["http/1.1", "h2c"]"#);
        change(plan.set("runtime", "workers", "1"))
    })
    .await
}

/// So many requests at once, each over a connection of its own.
fn at_once(pair: &Pair, count: usize) -> JoinSet<Answer> {
    let mut asked = JoinSet::new();
    for number in 0..count {
        let data = pair.gateway.data;
        let request = get(ACME, &format!("/{number}"));
        asked.spawn(async move { Client::connect(data).await.exchange(&request).await });
    }
    asked
}

/// Each of these is answered by a.
async fn all_served(asked: JoinSet<Answer>) {
    for answer in asked.join_all().await {
        assert_eq!((answer.status, answer.served_by()), (200, "a".into()), "{}", answer.text());
    }
}

#[tokio::test]
async fn answers_of_which_nothing_is_read_hold_up_no_other_over_their_connection() {
    const READERS: usize = 20;
    // Nobody is cut, however long this takes.
    let pair = planned(H2C, |plan| plan.set("limits", "min_bytes_per_second", "0")).await;
    pair.a.plays(Script::Download(MIB));
    let mut readers = Vec::new();
    for _ in 0..READERS {
        let mut client = narrow_client(&pair).await;
        client.send(get(ACME, "/").bytes()).await;
        readers.push(client);
    }
    pair.a.reached_by(READERS).await;
    settled("what the kernel holds", async || pair.gateway.unread()).await;
    pair.a.plays(Script::Echo);
    assert_eq!(pair.gateway.get(ACME, "/").await.served_by(), "a");
    assert_eq!(pair.a.connections(), 1);
}

#[tokio::test]
async fn a_stamp_sees_a_request_of_http2() {
    let pair = pair_of(H2C).await;
    let request = post(ACME, "/a?b=%2F", "hi").header("TE", "trailers").header("X-Own", "1");
    let request = request.header("Connection", "te, close").header("Cookie", "a=b");
    let answer = pair.gateway.send(&request).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(answer.head.header("connection"), Some("close"));
    let seen = pair.a.only();
    assert_eq!(seen.head.first_line, "POST /a?b=%2F HTTP/2");
    for (name, value) in [
        (":scheme", "http"),
        (":authority", ACME),
        ("te", "trailers"),
        ("x-own", "1"),
        ("cookie", "a=b"),
        ("content-length", "2"),
        ("x-stamp-id", "a"),
        ("via", "1.1 gw-test"),
    ] {
        assert_eq!(seen.head.header(name), Some(value), "{name}");
    }
    for absent in ["host", "connection", "transfer-encoding", "keep-alive"] {
        assert_eq!(seen.head.header(absent), None, "{absent}");
    }
    assert_eq!(seen.body, b"hi");
}

#[tokio::test]
async fn requests_at_the_same_time_share_one_connection() {
    let pair = pair_of(H2C).await;
    let gate = Gate::closed();
    pair.a.plays(gate.before(Script::Echo));
    let asked = at_once(&pair, 20);
    pair.a.reached_by(20).await;
    gate.open();
    all_served(asked).await;
    assert_eq!(pair.a.connections(), 1);
}

#[tokio::test]
async fn when_its_streams_run_out_a_stamp_has_more_connections() {
    let pair = pair_of(H2C).await;
    pair.a.allows_streams(4);
    let gate = Gate::closed();
    pair.a.plays(gate.before(Script::Echo));
    let asked = at_once(&pair, 10);
    pair.a.reached_by(10).await;
    gate.open();
    all_served(asked).await;
    assert_eq!(pair.a.connections(), 3);
}

#[tokio::test]
async fn a_request_waits_for_a_stream_where_no_connection_may_be_added() {
    let line = "pool = { protocol = \"h2c\", max_connections = 1, pending_timeout = \"60s\" }";
    let pair = pair_of(line).await;
    pair.a.allows_streams(2);
    let gate = Gate::closed();
    pair.a.plays(gate.before(Script::Echo));
    let asked = at_once(&pair, 7);
    pair.a.reached_by(2).await;
    settled("requests at the stamp", async || pair.a.count()).await;
    assert_eq!(pair.a.count(), 2, "streams were opened beyond what the stamp allows");
    gate.open();
    all_served(asked).await;
    assert_eq!(pair.a.connections(), 1);
}

#[tokio::test]
async fn whoever_waits_too_long_for_a_stream_is_told_so() {
    let line = "pool = { protocol = \"h2c\", max_connections = 1, pending_timeout = \"50ms\" }";
    let pair = pair_of(line).await;
    pair.a.allows_streams(1);
    let gate = Gate::closed();
    pair.a.plays(gate.before(Script::Echo));
    let asked = at_once(&pair, 1);
    pair.a.reached_by(1).await;
    pair.gateway.get(ACME, "/").await.assert_problem(503, "stamp_saturated");
    gate.open();
    all_served(asked).await;
}

#[tokio::test]
async fn the_only_connection_goes_to_the_worker_that_needs_it() {
    // Long before an idle connection is closed by itself.
    let line = "pool = { protocol = \"h2c\", max_connections = 1, pending_timeout = \"20s\" }";
    let pair = planned(line, |plan| plan.set("runtime", "workers", "2")).await;
    for _ in 0..3 {
        all_served(at_once(&pair, 16)).await;
    }
}

#[tokio::test]
async fn a_connection_that_is_too_old_or_idle_is_not_used_again() {
    let pair = pair_of("pool = { protocol = \"h2c\", max_lifetime = \"1ms\" }").await;
    for number in 1..=3 {
        all_served(at_once(&pair, 1)).await;
        assert_eq!(pair.a.connections(), number);
        // The connection grows old: one tick is at once, the next after 10 ms.
        let mut ticks = ticks(100);
        ticks.tick().await;
        ticks.tick().await;
    }
    pair.a.left_by(2).await;
    let pair = pair_of("pool = { protocol = \"h2c\", idle_timeout = \"10ms\" }").await;
    all_served(at_once(&pair, 1)).await;
    pair.a.left_by(1).await;
}

#[tokio::test]
async fn a_goodbye_of_the_stamp_loses_nothing() {
    let pair = pair_of(H2C).await;
    let gate = Gate::closed();
    pair.a.plays(gate.before(Script::Echo));
    let asked = at_once(&pair, 5);
    pair.a.reached_by(5).await;
    pair.a.says_goodbye();
    // The connection takes no more, and those that it has are answered.
    let later = at_once(&pair, 3);
    pair.a.reached_by(8).await;
    gate.open();
    all_served(asked).await;
    all_served(later).await;
    assert_eq!(pair.a.connections(), 2);
    pair.a.left_by(1).await;
}

#[tokio::test]
async fn what_a_stamp_refuses_is_sent_again_whatever_it_is() {
    let pair = pair_of(H2C).await;
    pair.a.plays_once(Script::Refuse);
    let answer = pair.gateway.send(&post(ACME, "/", "once")).await;
    assert_eq!((answer.status, answer.served_by()), (200, "a".into()));
    assert_eq!(answer.json()["body"], "once");
    let reason = [("stamp", "a"), ("reason", "not_processed")];
    assert!((pair.gateway.metric("stampgate_retries_total", &reason).await - 1.0).abs() < 0.1);
}

#[tokio::test]
async fn what_a_stamp_may_have_done_is_sent_again_only_if_that_does_no_harm() {
    let pair = pair_of(H2C).await;
    pair.a.plays_once(Script::ResetAfterBody);
    let answer = pair.gateway.send(&post(ACME, "/", "once")).await;
    answer.assert_problem(502, "upstream_protocol_error");
    assert_eq!((pair.a.count(), pair.b.count()), (1, 0));
    pair.a.plays_once(Script::ResetAfterBody);
    assert_eq!(pair.gateway.get(ACME, "/").await.status, 200);
    // The connection is as good as before.
    assert_eq!(pair.a.connections(), 1);
}

#[tokio::test]
async fn a_client_that_leaves_resets_its_own_stream_only() {
    let pair = pair_of(H2C).await;
    pair.a.plays(Script::For("other.app.test", Box::new(Script::Echo)));
    let (events, stream) = feed();
    pair.a.plays_once(Script::Stream(stream));
    let mut watcher = pair.gateway.connect().await;
    watcher.send(get(ACME, "/watch").bytes()).await;
    assert_eq!(watcher.head().await.status().unwrap(), 200);
    pair.a.plays_once(Script::Hang);
    let mut leaver = pair.gateway.connect().await;
    leaver.send(get(ACME, "/hang").bytes()).await;
    pair.a.reached_by(2).await;
    drop(leaver);
    let cancelled = [("reset".to_owned(), "8".to_owned())];
    eventually("the reset of the stream", async || {
        (pair.a.seen()[1].trailers == cancelled).then_some(())
    })
    .await;
    events.send("still here".into()).unwrap();
    assert_eq!(watcher.chunk().await.unwrap(), b"still here");
    assert_eq!(pair.gateway.get(ACME, "/").await.status, 200);
    assert_eq!(pair.a.connections(), 1);
}

#[tokio::test]
async fn an_answer_that_breaks_off_is_seen_to_be_incomplete() {
    let pair = pair_of(H2C).await;
    pair.a.plays_once(Script::ResetMidBody);
    let broken = pair.gateway.connect().await.try_exchange(&get(ACME, "/")).await;
    assert!(broken.is_err(), "{broken:?}");
    assert_eq!(pair.gateway.get(ACME, "/").await.status, 200);
}

#[tokio::test]
async fn answers_without_a_body_are_framed_right_for_http1() {
    let pair = pair_of(H2C).await;
    let mut client = pair.gateway.connect().await;
    let head = client.exchange(&Request::new("HEAD", "/").header("Host", ACME)).await;
    assert_eq!((head.status, head.head.header("transfer-encoding")), (200, None));
    for status in [204, 304, 200] {
        pair.a.plays_once(Script::EchoAs(status));
        assert_eq!(client.exchange(&get(ACME, "/")).await.status, status);
    }
}

#[tokio::test]
async fn trailers_of_a_chunked_request_arrive() {
    let pair = pair_of(H2C).await;
    let mut client = pair.gateway.connect().await;
    let head = Request::new("POST", "/").header("Host", ACME).header("Trailer", "X-Checksum");
    client.send(head.header("Transfer-Encoding", "chunked").bytes()).await;
    client.send("2\r\nok\r\n0\r\nX-Checksum: abc\r\n\r\n").await;
    assert_eq!(client.answer().await.json()["body"], "ok");
    let seen = pair.a.only();
    assert!(seen.complete);
    assert_eq!(seen.trailers, [("x-checksum".to_owned(), "abc".to_owned())]);
    assert_eq!(seen.head.header("content-length"), None);
}

#[tokio::test]
async fn a_large_upload_arrives_whole_and_is_held_back_by_a_stamp_that_does_not_read() {
    let pair = planned(H2C, |plan| plan.set("limits", "request_body_bytes", "\"256MiB\"")).await;
    let gate = Gate::closed();
    pair.a.plays(gate.before(Script::Echo));
    let rest = pair.gateway.memory("VmRSS");
    let mut client = pair.gateway.connect().await;
    let head = Request::new("PUT", "/up").header("Host", ACME);
    client.send(head.header("Content-Length", &(64 * MIB).to_string()).bytes()).await;
    let sending = tokio::spawn(async move {
        let mut sent = 0;
        while sent < 64 * MIB {
            let next = block(sent, usize::try_from((64 * MIB - sent).min(251 << 8)).unwrap());
            sent += u64::try_from(client.send_some(&next).await.unwrap()).unwrap();
        }
        client.answer().await
    });
    pair.a.reached_by(1).await;
    let held = settled("memory of the gateway", async || pair.gateway.memory("VmRSS")).await;
    assert!(held.saturating_sub(rest) < GROWTH_MAX, "{} MiB", held / MIB);
    // A stream that is held back holds no other.
    pair.a.plays_once(Script::Echo);
    assert_eq!(pair.gateway.get(ACME, "/").await.status, 200);
    gate.open();
    let answer = sending.await.unwrap();
    assert_eq!(answer.json()["body_length"], 64 * MIB);
    assert!(pair.a.seen()[0].body_is_pattern);
    assert_eq!(pair.a.connections(), 1);
}

#[tokio::test]
async fn a_client_that_does_not_read_holds_its_own_stream_back() {
    let pair = pair_of(H2C).await;
    let rest = pair.gateway.memory("VmRSS");
    pair.a.plays_once(Script::Download(64 * MIB));
    let mut slow = Http2::connect(pair.gateway.data).await;
    slow.takes = false;
    let stream = slow.get(ACME, "/down", &[]).await;
    assert_eq!(slow.status(stream).await, 200);
    let held = settled("memory of the gateway", async || pair.gateway.memory("VmRSS")).await;
    assert!(held.saturating_sub(rest) < GROWTH_MAX, "{} MiB", held / MIB);
    assert_eq!(pair.gateway.get(ACME, "/").await.status, 200);
    assert_eq!(pair.a.connections(), 1);
}

#[tokio::test]
async fn a_body_passes_from_http2_to_http2() {
    let pair = pair_of(H2C).await;
    let mut client = Http2::connect(pair.gateway.data).await;
    let stream = client.post(ACME, "/", b"hello").await;
    assert_eq!(client.answer(stream).await.json()["body"], "hello");
    let fields = request("GET", ACME, "/");
    let cookies = [("cookie", "a=b"), ("cookie", "c=d")];
    let stream = client.open(END_STREAM, &[&fields[..], &cookies].concat()).await;
    assert_eq!(client.answer(stream).await.arrived("cookie"), ["a=b; c=d"]);
}

#[tokio::test]
async fn no_websocket_is_opened_where_the_stamp_does_not_say_that_it_can() {
    let pair = pair_of(H2C).await;
    let answer = pair.gateway.send(&upgrade(ACME)).await;
    answer.assert_problem(501, "upgrade_not_supported");
    assert_eq!(pair.a.count(), 0);
}

#[tokio::test]
async fn a_stamp_of_http2_is_probed_in_http2() {
    let pair = pair_of(H2C).await;
    pair.a.probed_again(2).await;
    pair.a.fails_probes();
    pair.gateway.knows_down("a").await;
    pair.a.passes_probes();
    pair.gateway.serves(ACME, "a").await;
}

/// a over TLS, agreeing on one of these protocols.
pub async fn over_tls(protocols: &[&str]) -> Pair {
    let authority = Authority::new();
    let (a, b) = (Stamp::start("a").await, Stamp::start("b").await);
    a.presents(authority.issues("stamp.a.internal").served_over(protocols));
    let table = PAIR.replace("http://{stamp_a}", "https://{stamp_a}").replace(
        "id = \"a\"\n",
        "id = \"a\"\npool = { protocol = \"h2\" }\n\
         tls = { ca = \"tls/ca.crt\", server_name = \"stamp.a.internal\" }\n",
    );
    let plan = Plan::new(&table, &[&a, &b]).file("tls/ca.crt", &authority.pem);
    let gateway = plan.set("runtime", "workers", "1").start().await;
    Pair { a, b, gateway }
}

#[tokio::test]
pub async fn over_tls_http2_is_agreed_on_and_a_switch_goes_over_http1() {
    let pair = over_tls(&["h2", "http/1.1"]).await;
    let answer = pair.gateway.get(ACME, "/").await;
    assert_eq!((answer.status, answer.served_by()), (200, "a".into()));
    let seen = pair.a.only();
    assert_eq!(seen.head.first_line, "GET / HTTP/2");
    assert_eq!(seen.head.header(":scheme"), Some("https"));
    pair.a.plays_once(Script::Upgrade);
    let mut client = pair.gateway.connect().await;
    let request = get(ACME, "/chat").header("Connection", "upgrade").header("Upgrade", "other");
    client.send(request.bytes()).await;
    assert_eq!(client.head().await.status().unwrap(), 101);
    client.send("ping").await;
    assert_eq!(client.exactly(4).await, b"ping");
    assert_eq!(pair.a.seen()[1].head.first_line, "GET /chat HTTP/1.1");
}

#[tokio::test]
async fn a_reload_changes_the_protocol_of_the_next_request() {
    let pair = planned("access = \"any\"", |plan| plan).await;
    for (line, version) in [("", "HTTP/1.1"), (H2C, "HTTP/2"), ("", "HTTP/1.1"), (H2C, "HTTP/2")] {
        pair.gateway.reload_with(&pair_with(line), &[&pair.a, &pair.b]).await;
        all_served(at_once(&pair, 1)).await;
        let seen = pair.a.seen().pop().unwrap();
        assert_eq!(seen.head.word(2), version);
    }
}

#[tokio::test]
async fn an_endpoint_that_offers_http1_alone_is_spoken_to_in_http1() {
    let pair = over_tls(&["http/1.1"]).await;
    let gate = Gate::closed();
    pair.a.plays(gate.before(Script::Echo));
    let asked = at_once(&pair, 5);
    pair.a.reached_by(5).await;
    gate.open();
    all_served(asked).await;
    assert_eq!(pair.a.connections(), 5);
    assert_eq!(pair.gateway.get(ACME, "/again").await.status, 200);
    assert_eq!(pair.a.connections(), 5, "connections at rest are used again");
    assert_eq!(pair.a.seen()[0].head.word(2), "HTTP/1.1");
}
