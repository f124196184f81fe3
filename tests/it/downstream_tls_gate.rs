//! Over TLS what holds in the clear: timers, limits, bodies, tunnels, the graceful end; and what
//! becomes of those who do not shake hands.

use std::sync::Arc;

use rustix::process::Signal;

use crate::connections::upgrade;
use crate::harness::client::Client;
use crate::harness::deadline::eventually;
use crate::harness::door::Door;
use crate::harness::gateway::Plan;
use crate::harness::http1::{Broken, Request, get, post};
use crate::harness::scene::ACME;
use crate::harness::script::{Gate, Script, block};
use crate::harness::tls::Authority;

/// A door with one key of gateway.toml set.
async fn door(table: &str, key: &str, value: &str) -> Door {
    Door::planned("", |plan: Plan, _: &Authority| plan.set(table, key, value)).await
}

#[tokio::test]
async fn a_client_that_says_nothing_is_cut() {
    let door = door("timeouts", "tls_handshake", "\"200ms\"").await;
    let mut silent = door.pair.gateway.connect().await;
    assert!(silent.closed().await.is_empty());
    door.counted("timeout", 1).await;
}

#[tokio::test]
async fn a_client_that_says_half_a_hello_is_cut() {
    let door = door("timeouts", "tls_handshake", "\"200ms\"").await;
    let mut half = door.pair.gateway.connect().await;
    half.send([22, 3, 1, 2, 0, 1, 0]).await;
    assert!(half.closed().await.is_empty());
    door.counted("timeout", 1).await;
}

#[tokio::test]
async fn who_comes_when_all_places_are_taken_waits_for_its_turn() {
    let plan = |plan: Plan, _: &Authority| {
        plan.set("limits", "tls_handshakes", "1").set("timeouts", "tls_handshake", "\"60s\"")
    };
    let door = Door::planned("", plan).await;
    let silent = door.pair.gateway.connect().await;
    eventually("a connection that takes the only place", async || {
        let open = door.pair.gateway.metric("stampgate_downstream_connections", &[]).await;
        (open > 0.5).then_some(())
    })
    .await;
    let config = door.visitor().config();
    let request = get(ACME, "/");
    let waits = door.ask(&config, ACME, &request);
    let leaves = async {
        eventually("a second connection", async || {
            let open = door.pair.gateway.metric("stampgate_downstream_connections", &[]).await;
            (open > 1.5).then_some(())
        })
        .await;
        silent.abort();
    };
    let (answer, ()) = tokio::join!(waits, leaves);
    assert_eq!(answer.unwrap().served_by(), "a");
    door.counted("closed", 1).await;
}

#[tokio::test]
async fn whoever_speaks_http_in_the_clear_is_told() {
    let door = Door::open().await;
    let answer = door.pair.gateway.get(ACME, "/").await;
    answer.assert_problem(400, "malformed_request");
    assert!(answer.text().contains("https://"), "{}", answer.text());
    door.counted("plain_http", 1).await;
}

#[tokio::test]
async fn what_is_no_tls_is_closed_and_no_line_of_the_log() {
    let door = Door::open().await;
    // A record that is none, nothing known, SSL of old, and a hello as only a server says it.
    let server_hello = b"\x16\x03\x01\x00\x04\x02\x00\x00\x00";
    let odd = [&b"\x16\x03\x01\x00\x05hello"[..], b"\x00\x01", b"\x80\x2e\x01", server_hello];
    for bytes in odd {
        let mut odd = door.pair.gateway.connect().await;
        odd.send(bytes).await;
        odd.finish().await;
        odd.closed().await;
    }
    eventually("four failures", async || {
        let failed = door.handshakes("malformed").await + door.handshakes("closed").await;
        (failed > 3.5).then_some(())
    })
    .await;
    let log = door.pair.gateway.log();
    let loud = log.lines().filter(|line| !line.contains("\"INFO\""));
    assert_eq!(loud.collect::<Vec<_>>(), [""; 0]);
    assert_eq!(door.visit(ACME).await.exchange(&get(ACME, "/")).await.served_by(), "a");
}

#[tokio::test]
async fn a_session_without_a_first_byte_is_ended_in_silence() {
    let door = door("timeouts", "first_byte", "\"300ms\"").await;
    assert!(door.visit(ACME).await.closed().await.is_empty());
}

#[tokio::test]
async fn a_request_head_that_never_ends_is_timed_out() {
    let door = door("timeouts", "request_headers", "\"300ms\"").await;
    let mut client = door.visit(ACME).await;
    client.send(format!("GET / HTTP/1.1\r\nHost: {ACME}\r\nX-Slow: ")).await;
    client.answer().await.assert_problem(408, "request_timeout");
    assert!(client.ended().await.unwrap().is_empty());
}

#[tokio::test]
async fn a_malformed_request_is_answered_over_the_session() {
    let door = Door::open().await;
    let mut client = door.visit(ACME).await;
    client.send(format!("GET / HTTP/1.1\r\nHost: {ACME}\r\nHost : x\r\n\r\n")).await;
    client.answer().await.assert_problem(400, "malformed_request");
    assert!(client.ended().await.unwrap().is_empty());
}

#[tokio::test]
async fn requests_that_were_sent_ahead_are_answered_one_after_the_other() {
    let door = Door::open().await;
    let mut client = door.visit(ACME).await;
    let all = ["/1", "/2", "/3"].map(|target| get(ACME, target).bytes()).concat();
    client.send(all).await;
    for target in ["/1", "/2", "/3"] {
        assert_eq!(client.answer().await.json()["target"], target);
    }
}

#[tokio::test]
async fn a_large_body_passes_both_ways() {
    let door = Door::open().await;
    let body = block(0, 8 << 20);
    let mut client = door.visit(ACME).await;
    let answer = client.exchange(&post(ACME, "/", body)).await;
    assert_eq!(answer.status, 200);
    assert!(door.pair.a.only().body_is_pattern);
    assert_eq!(door.pair.a.only().body_length, 8 << 20);
    door.pair.a.plays(Script::Download(8 << 20));
    assert_eq!(client.exchange(&get(ACME, "/")).await.body.len(), 8 << 20);
}

#[tokio::test]
async fn a_body_beyond_the_limit_is_refused() {
    let door = door("limits", "request_body_bytes", "\"1KiB\"").await;
    let mut client = door.visit(ACME).await;
    let head = Request::new("POST", "/").header("Host", ACME).header("Content-Length", "2000");
    client.send(head.bytes()).await;
    client.answer().await.assert_problem(413, "body_too_large");
}

#[tokio::test]
async fn a_client_that_takes_nothing_holds_its_stamp_back_and_is_cut() {
    let door = door("limits", "min_bytes_per_second", "1_000_000_000").await;
    door.pair.a.plays(Script::Download(1 << 30));
    let mut client = door.visit(ACME).await;
    client.send(get(ACME, "/").bytes()).await;
    assert_eq!(client.head().await.status().unwrap(), 200);
    door.pair.a.left_by(1).await;
}

#[tokio::test]
async fn a_tunnel_carries_bytes_both_ways() {
    let door = Door::open().await;
    door.pair.a.plays(Script::Upgrade);
    let mut client = door.visit(ACME).await;
    // Bytes that come with the head belong to the tunnel as well.
    client.send([upgrade(ACME).bytes(), b"first".to_vec()].concat()).await;
    assert_eq!(client.head().await.status().unwrap(), 101);
    assert_eq!(client.exactly(5).await, b"first");
    let much = block(0, 1 << 20);
    client.send(&much).await;
    assert_eq!(client.exactly(much.len()).await, much);
}

#[tokio::test]
async fn an_idle_session_is_ended_as_it_should_be_when_the_process_stops() {
    let mut door = Door::open().await;
    let mut used = door.visit(ACME).await;
    assert_eq!(used.exchange(&get(ACME, "/")).await.status, 200);
    let mut silent = door.pair.gateway.connect().await;
    door.pair.gateway.signal(Signal::TERM);
    // Without a close_notify this would be an error, not an end.
    assert!(used.ended().await.unwrap().is_empty());
    assert!(silent.closed().await.is_empty());
    assert_eq!(door.pair.gateway.ended().await.code(), Some(0));
}

#[tokio::test]
async fn a_request_in_flight_is_finished_before_the_session_is_ended() {
    let mut door = Door::open().await;
    let gate = Gate::closed();
    door.pair.a.plays(gate.before(Script::Echo));
    let mut client = door.visit(ACME).await;
    client.send(get(ACME, "/").bytes()).await;
    door.pair.a.reached_by(1).await;
    door.pair.gateway.signal(Signal::TERM);
    eventually("failing readiness", async || {
        let answer = door.pair.gateway.admin_get("/readyz").await;
        (answer.status == 503).then_some(())
    })
    .await;
    gate.open();
    assert_eq!(client.answer().await.served_by(), "a");
    assert!(client.ended().await.unwrap().is_empty());
    assert_eq!(door.pair.gateway.ended().await.code(), Some(0));
}

#[tokio::test]
async fn an_answer_that_breaks_off_is_no_end_of_the_session() {
    let door = door("timeouts", "response_body_idle", "\"300ms\"").await;
    let raw = "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf";
    door.pair.a.plays(Script::Raw(raw.into()));
    let broken = door.visit(ACME).await.try_exchange(&get(ACME, "/")).await;
    assert!(matches!(broken, Err(Broken::Cut | Broken::Failed(_))), "{broken:?}");
}

#[tokio::test]
async fn newcomers_do_not_hold_up_who_is_served() {
    let plan = |plan: Plan, _: &Authority| plan.set("runtime", "workers", "1");
    let door = Arc::new(Door::planned("", plan).await);
    let mut client = door.visit(ACME).await;
    let newcomers: Vec<_> = (0..40)
        .map(|_| {
            let door = Arc::clone(&door);
            tokio::spawn(async move { door.visit(ACME).await.exchange(&get(ACME, "/")).await })
        })
        .collect();
    for _ in 0..40 {
        assert_eq!(client.exchange(&get(ACME, "/")).await.served_by(), "a");
    }
    for newcomer in newcomers {
        assert_eq!(newcomer.await.unwrap().served_by(), "a");
    }
}

#[tokio::test]
async fn a_listener_that_has_its_fill_closes_at_once() {
    let door = door("listener", "max_connections", "1").await;
    let mut first = door.visit(ACME).await;
    assert_eq!(first.exchange(&get(ACME, "/")).await.status, 200);
    // Within a head, so that it makes no room.
    first.send("GET / HTTP/1.1\r\n").await;
    assert!(door.try_visit(&door.visitor().config(), ACME).await.is_err());
    drop(first);
    eventually("room again", async || {
        let mut client: Client = door.try_visit(&door.visitor().config(), ACME).await.ok()?;
        Some(client.try_exchange(&get(ACME, "/")).await.ok()?.served_by())
    })
    .await;
}
