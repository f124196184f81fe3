//! Connections on both sides: reuse, upgrades, clients that leave.

use crate::harness::http1::{Request, get, post};
use crate::harness::scene::{ACME, GLOBEX, Pair, pair_without_edge};
use crate::harness::script::{Gate, Script};

pub fn upgrade(host: &str) -> Request {
    get(host, "/socket")
        .header("Connection", "Upgrade")
        .header("Upgrade", "websocket")
        .header("Sec-WebSocket-Version", "13")
        .header("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ==")
}

#[tokio::test]
async fn connections_to_a_stamp_are_kept_and_used_again() {
    let pair = Pair::on_one_worker().await;
    for _ in 0..10 {
        assert_eq!(pair.gateway.get(ACME, "/").await.status, 200);
    }
    assert_eq!((pair.a.count(), pair.a.connections()), (10, 1));
}

#[tokio::test]
async fn a_stamps_connection_is_used_again_after_posts_and_refused_answers() {
    let pair = Pair::on_one_worker().await;
    pair.a.plays_once(crate::harness::script::plain(404, "", "none"));
    assert_eq!(pair.gateway.get(ACME, "/").await.status, 404);
    assert_eq!(pair.gateway.send(&post(ACME, "/", "x")).await.status, 200);
    assert_eq!((pair.a.count(), pair.a.connections()), (2, 1));
}

#[tokio::test]
async fn connections_are_never_shared_between_stamps() {
    let pair = Pair::on_one_worker().await;
    for _ in 0..3 {
        assert_eq!(pair.gateway.get(ACME, "/").await.served_by(), "a");
        assert_eq!(pair.gateway.get(GLOBEX, "/").await.served_by(), "b");
    }
    assert_eq!((pair.a.connections(), pair.b.connections()), (1, 1));
}

#[tokio::test]
async fn a_connection_that_the_stamp_closes_is_not_used_again() {
    let pair = Pair::on_one_worker().await;
    pair.a.plays(Script::EchoAndClose);
    for _ in 0..3 {
        assert_eq!(pair.gateway.get(ACME, "/").await.status, 200);
    }
    assert_eq!(pair.a.connections(), 3);
}

#[tokio::test]
async fn a_connection_closed_without_a_word_between_requests_loses_none() {
    let pair = Pair::on_one_worker().await;
    pair.a.plays(Script::EchoAndCloseUnsaid);
    for count in 0..20 {
        let answer = pair.gateway.get(ACME, &format!("/{count}")).await;
        assert_eq!(answer.json()["target"], format!("/{count}"));
    }
}

#[tokio::test]
async fn a_tunnel_carries_bytes_both_ways_after_the_upgrade() {
    let pair = Pair::start().await;
    pair.a.plays(Script::Upgrade);
    let mut client = pair.gateway.connect().await;
    client.send(upgrade(ACME).bytes()).await;
    let head = client.head().await;
    assert_eq!(head.status().unwrap(), 101);
    assert_eq!(head.header("upgrade"), Some("websocket"));
    assert!(head.header("connection").unwrap().eq_ignore_ascii_case("upgrade"));
    for message in ["one", "two", "three"] {
        client.send(message).await;
        assert_eq!(client.exactly(message.len()).await, message.as_bytes());
    }
    let seen = pair.a.only();
    assert_eq!(seen.head.header("upgrade"), Some("websocket"));
    assert!(seen.head.header("connection").unwrap().eq_ignore_ascii_case("upgrade"));
    assert_eq!(seen.head.header("x-stamp-id"), Some("a"));
}

#[tokio::test]
async fn a_tunnel_ends_with_either_side() {
    let mut pair = Pair::start().await;
    pair.a.plays(Script::Upgrade);
    let mut first = pair.gateway.connect().await;
    first.send(upgrade(ACME).bytes()).await;
    let _head = first.head().await;
    first.finish().await;
    pair.a.left_by(1).await;
    let mut second = pair.gateway.connect().await;
    second.send(upgrade(ACME).bytes()).await;
    let _head = second.head().await;
    pair.a.kill().await;
    assert!(second.closed().await.is_empty());
}

#[tokio::test]
async fn an_upgrade_that_the_stamp_declines_is_an_ordinary_answer() {
    let pair = Pair::start().await;
    let mut client = pair.gateway.connect().await;
    assert_eq!(client.exchange(&upgrade(ACME)).await.served_by(), "a");
    assert_eq!(client.exchange(&get(ACME, "/")).await.served_by(), "a");
}

#[tokio::test]
async fn a_switch_of_protocols_that_nobody_asked_for_is_a_protocol_error() {
    // With a way out of a, an idempotent request would take it, as after any other answer that is none.
    let pair = Pair::planned(&pair_without_edge(), |plan| plan).await;
    pair.a.plays(Script::Upgrade);
    let answer = pair.gateway.get(ACME, "/").await;
    answer.assert_problem(502, "upstream_protocol_error");
}

#[tokio::test]
async fn a_client_that_leaves_cancels_its_request_at_the_stamp() {
    let pair = Pair::start().await;
    pair.a.plays(Script::Hang);
    let mut client = pair.gateway.connect().await;
    client.send(get(ACME, "/").bytes()).await;
    pair.a.reached_by(1).await;
    client.abort();
    pair.a.left_by(1).await;
    assert_eq!(pair.a.count(), 1, "a cancelled request is not repeated");
}

#[tokio::test]
async fn a_client_that_leaves_in_its_body_cancels_its_request_at_the_stamp() {
    let pair = Pair::start().await;
    let mut client = pair.gateway.connect().await;
    let head = Request::new("POST", "/").header("Host", ACME).header("Content-Length", "100");
    client.send(head.bytes()).await;
    client.send("half").await;
    pair.a.reached_by(1).await;
    client.abort();
    pair.a.left_by(1).await;
    let seen = pair.a.only();
    assert!(!seen.complete, "a cut body must not look whole");
}

#[tokio::test]
async fn a_client_that_leaves_in_the_answer_cancels_it_at_the_stamp() {
    let pair = Pair::start().await;
    pair.a.plays(Script::Download(1 << 30));
    let mut client = pair.gateway.connect().await;
    client.send(get(ACME, "/").bytes()).await;
    assert!(!client.some(1000).await.is_empty());
    client.abort();
    pair.a.left_by(1).await;
}

#[tokio::test]
async fn clients_that_leave_are_no_failures_of_the_stamp() {
    let pair = Pair::start().await;
    pair.a.plays(Script::Hang);
    for count in 1..=10 {
        let mut client = pair.gateway.connect().await;
        client.send(get(ACME, "/").bytes()).await;
        pair.a.reached_by(count).await;
        client.abort();
        pair.a.left_by(count).await;
    }
    pair.a.plays(Script::Echo);
    assert_eq!(pair.gateway.get(ACME, "/").await.served_by(), "a");
}

#[tokio::test]
async fn slow_answers_do_not_hold_up_others_on_the_same_worker() {
    let pair = Pair::on_one_worker().await;
    let gate = Gate::closed();
    pair.a.plays_once(gate.before(Script::Echo));
    let mut slow = pair.gateway.connect().await;
    slow.send(get(ACME, "/slow").bytes()).await;
    pair.a.reached_by(1).await;
    assert_eq!(pair.gateway.get(ACME, "/quick").await.json()["target"], "/quick");
    gate.open();
    assert_eq!(slow.answer().await.json()["target"], "/slow");
}

#[tokio::test]
async fn a_client_that_says_close_is_obeyed() {
    let pair = Pair::start().await;
    let mut client = pair.gateway.connect().await;
    let answer = client.exchange(&get(ACME, "/").header("Connection", "close")).await;
    assert_eq!(answer.status, 200);
    assert!(client.closed().await.is_empty());
}
