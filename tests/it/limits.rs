//! Every limit of gateway.toml and of a stamp, each with its code.

use crate::harness::client::Client;
use crate::harness::deadline::eventually;
use crate::harness::http1::{Request, get, post};
use crate::harness::scene::{ACME, GLOBEX, PAIR, Pair, pair_with, pair_without_edge};
use crate::harness::script::{Gate, Script, plain};
use crate::harness::stamp::Stamp;

async fn limited(key: &str, value: &str) -> Pair {
    Pair::planned(PAIR, |plan| plan.set("limits", key, value)).await
}

/// The usual scene where stamp a has no way out and this line more.
async fn with_stamp(line: &str) -> Pair {
    let table = pair_without_edge().replace("id = \"a\"\n", &format!("id = \"a\"\n{line}\n"));
    Pair::planned(&table, |plan| plan).await
}

/// Sends a request that waits in the stamp, and waits until it is there.
async fn waiting_in(stamp: &Stamp, pair: &Pair, host: &str) -> Client {
    let already = stamp.count();
    let mut client = pair.gateway.connect().await;
    client.send(get(host, "/waiting").bytes()).await;
    stamp.reached_by(already + 1).await;
    client
}

#[tokio::test]
async fn a_body_with_a_length_over_the_limit_is_refused_at_once() {
    let pair = limited("request_body_bytes", "\"1KiB\"").await;
    let mut client = pair.gateway.connect().await;
    let head = Request::new("POST", "/").header("Host", ACME).header("Content-Length", "1025");
    client.send(head.bytes()).await;
    client.answer().await.assert_problem(413, "body_too_large");
    assert_eq!(pair.a.count(), 0);
    assert_eq!(pair.gateway.send(&post(ACME, "/", vec![b'x'; 1024])).await.status, 200);
}

#[tokio::test]
async fn a_chunked_body_over_the_limit_is_refused_when_it_gets_there() {
    let pair = limited("request_body_bytes", "\"1KiB\"").await;
    let mut client = pair.gateway.connect().await;
    let head = Request::new("POST", "/").header("Host", ACME);
    client.send(head.header("Transfer-Encoding", "chunked").bytes()).await;
    client.send(format!("400\r\n{}\r\n", "x".repeat(1024))).await;
    client.send("1\r\nx\r\n").await;
    client.answer().await.assert_problem(413, "body_too_large");
    assert!(pair.a.seen().iter().all(|seen| !seen.complete), "a cut body must not look whole");
}

#[tokio::test]
async fn a_target_over_the_limit_is_refused() {
    let pair = limited("uri_bytes", "\"1KiB\"").await;
    let longest = format!("/{}", "x".repeat(1023));
    assert_eq!(pair.gateway.get(ACME, &longest).await.status, 200);
    let answer = pair.gateway.get(ACME, &format!("{longest}x")).await;
    answer.assert_problem(414, "uri_too_long");
}

#[tokio::test]
async fn a_head_over_the_limit_of_bytes_is_refused() {
    let pair = limited("header_bytes", "\"4KiB\"").await;
    let small = get(ACME, "/").header("X-Filler", &"x".repeat(3000));
    assert_eq!(pair.gateway.send(&small).await.status, 200);
    let large = get(ACME, "/").header("X-Filler", &"x".repeat(5000));
    pair.gateway.send(&large).await.assert_problem(431, "headers_too_large");
}

#[tokio::test]
async fn a_head_far_over_the_limit_is_refused_as_well() {
    let pair = Pair::start().await;
    let mut client = pair.gateway.connect().await;
    client.send(format!("GET / HTTP/1.1\r\nHost: {ACME}\r\n")).await;
    let line = format!("X-Filler: {}\r\n", "x".repeat(1000));
    for _ in 0..200 {
        // The gateway may answer and close before it was sent everything.
        if client.try_send(&line).await.is_err() {
            break;
        }
    }
    client.answer().await.assert_problem(431, "headers_too_large");
}

#[tokio::test]
async fn a_head_over_the_limit_of_fields_is_refused() {
    let pair = limited("header_count", "10").await;
    let with = |count: usize| {
        (1..count).fold(get(ACME, "/"), |request, n| request.header(&format!("X-{n}"), "1"))
    };
    assert_eq!(pair.gateway.send(&with(10)).await.status, 200);
    pair.gateway.send(&with(11)).await.assert_problem(431, "headers_too_large");
}

#[tokio::test]
async fn requests_in_flight_over_the_gateways_limit_are_shed() {
    let pair = limited("in_flight_requests", "2").await;
    let gate = Gate::closed();
    pair.a.plays(gate.before(Script::Echo));
    let mut first = waiting_in(&pair.a, &pair, ACME).await;
    let mut second = waiting_in(&pair.a, &pair, ACME).await;
    pair.gateway.get(GLOBEX, "/").await.assert_problem(503, "overloaded");
    gate.open();
    assert_eq!(first.answer().await.status, 200);
    assert_eq!(second.answer().await.status, 200);
    pair.gateway.serves(GLOBEX, "b").await;
}

#[tokio::test]
async fn requests_in_flight_over_a_stamps_limit_are_shed_and_others_are_not() {
    let pair = with_stamp("max_in_flight = 1").await;
    let gate = Gate::closed();
    pair.a.plays(gate.before(Script::Echo));
    let mut first = waiting_in(&pair.a, &pair, ACME).await;
    pair.gateway.get(ACME, "/").await.assert_problem(503, "stamp_saturated");
    assert_eq!(pair.gateway.get(GLOBEX, "/").await.served_by(), "b");
    gate.open();
    assert_eq!(first.answer().await.status, 200);
    pair.gateway.serves(ACME, "a").await;
}

#[tokio::test]
async fn a_full_stamp_does_not_spill_over_its_failover_edge() {
    let pair = Pair::planned(&pair_with("max_in_flight = 1"), |plan| plan).await;
    let gate = Gate::closed();
    pair.a.plays(gate.before(Script::Echo));
    let mut first = waiting_in(&pair.a, &pair, ACME).await;
    pair.gateway.get(ACME, "/").await.assert_problem(503, "stamp_saturated");
    assert_eq!(pair.b.count(), 0);
    gate.open();
    assert_eq!(first.answer().await.status, 200);
}

#[tokio::test]
async fn a_request_waits_for_a_connection_only_so_long() {
    let pair = with_stamp("pool = { max_connections = 1, pending_timeout = \"200ms\" }").await;
    let gate = Gate::closed();
    pair.a.plays(gate.before(Script::Echo));
    let mut first = waiting_in(&pair.a, &pair, ACME).await;
    pair.gateway.get(ACME, "/").await.assert_problem(503, "stamp_saturated");
    assert_eq!(pair.gateway.get(GLOBEX, "/").await.served_by(), "b");
    gate.open();
    assert_eq!(first.answer().await.status, 200);
    assert_eq!(pair.a.connections(), 1);
}

#[tokio::test]
async fn a_request_that_waits_gets_the_connection_that_comes_free() {
    let table = pair_with("pool = { max_connections = 1, pending_timeout = \"10s\" }");
    let pair = Pair::planned(&table, |plan| plan.set("runtime", "workers", "1")).await;
    let gate = Gate::closed();
    pair.a.plays_once(gate.before(Script::Echo));
    let mut first = waiting_in(&pair.a, &pair, ACME).await;
    let mut second = pair.gateway.connect().await;
    second.send(get(ACME, "/second").bytes()).await;
    eventually("two requests in flight", async || {
        let in_flight = [("stamp", "a")];
        let count = pair.gateway.metric("stampgate_requests_in_flight", &in_flight).await;
        (count > 1.5).then_some(())
    })
    .await;
    gate.open();
    assert_eq!(first.answer().await.status, 200);
    assert_eq!(second.answer().await.json()["target"], "/second");
    assert_eq!(pair.a.connections(), 1);
}

#[tokio::test]
async fn more_requests_than_may_wait_are_shed_at_once() {
    let line = "pool = { max_connections = 1, max_pending = 1, pending_timeout = \"10s\" }";
    let pair = with_stamp(line).await;
    let gate = Gate::closed();
    pair.a.plays(gate.before(Script::Echo));
    let mut first = waiting_in(&pair.a, &pair, ACME).await;
    let mut clients = Vec::new();
    for _ in 0..4 {
        let mut client = pair.gateway.connect().await;
        client.send(get(ACME, "/").bytes()).await;
        clients.push(client);
    }
    // Whoever waits is answered after the gate opens; at least one of four must not wait.
    let in_flight = [("stamp", "a"), ("code", "stamp_saturated")];
    eventually("a shed request", async || {
        (pair.gateway.metric("stampgate_errors_total", &in_flight).await > 0.5).then_some(())
    })
    .await;
    gate.open();
    assert_eq!(first.answer().await.status, 200);
    for mut client in clients {
        let status = client.answer().await.status;
        assert!(status == 200 || status == 503, "{status}");
    }
}

/// Two held connections, a third that is not served, and one that is when there is room again.
async fn assert_third_connection_waits_or_is_refused(pair: &Pair) {
    let mut held = Vec::new();
    for _ in 0..2 {
        let mut client = pair.gateway.connect().await;
        // Within a head, so that neither makes room.
        client.send("GET /held HTTP/1.1\r\n").await;
        held.push(client);
    }
    eventually("two connections that are counted", async || {
        let open = pair.gateway.metric("stampgate_downstream_connections", &[]).await;
        (open > 1.5).then_some(())
    })
    .await;
    pair.gateway.get(ACME, "/third").await.assert_problem(503, "overloaded");
    assert_eq!(pair.a.count(), 0);
    for client in &mut held {
        client.send(format!("Host: {ACME}\r\n\r\n")).await;
        assert_eq!(client.answer().await.json()["target"], "/held");
    }
    held.clear();
    eventually("room for a new connection", async || {
        let mut client = pair.gateway.connect().await;
        let answer = client.try_exchange(&get(ACME, "/")).await.ok()?;
        (answer.status == 200).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_client_has_only_so_many_connections() {
    let pair = limited("connections_per_client", "2").await;
    assert_third_connection_waits_or_is_refused(&pair).await;
}

#[tokio::test]
async fn a_listener_has_only_so_many_connections() {
    let pair = Pair::planned(PAIR, |plan| plan.set("listener", "max_connections", "2")).await;
    assert_third_connection_waits_or_is_refused(&pair).await;
}

#[tokio::test]
async fn connections_of_trusted_proxies_are_not_counted() {
    let pair = Pair::planned(PAIR, |plan| {
        plan.set("limits", "connections_per_client", "2").set(
            "trust",
            "proxies",
            "[\"127.0.0.1/32\"]",
        )
    })
    .await;
    let mut held = Vec::new();
    for _ in 0..5 {
        let mut client = pair.gateway.connect().await;
        assert_eq!(client.exchange(&get(ACME, "/")).await.status, 200);
        held.push(client);
    }
}

#[tokio::test]
async fn errors_are_problem_documents_of_a_constant_size() {
    let pair = Pair::start().await;
    let answer = pair.gateway.get("nobody.app.test", "/").await;
    answer.assert_problem(404, "unknown_tenant");
    assert!(answer.json()["title"].is_string(), "{}", answer.text());
    assert!(answer.body.len() < 1024);
}

#[tokio::test]
async fn an_error_of_a_stamp_is_not_an_error_of_the_gateway() {
    let pair = Pair::start().await;
    pair.a.plays(plain(500, "Content-Type: text/plain\r\n", "mine"));
    let answer = pair.gateway.get(ACME, "/").await;
    assert_eq!((answer.status, answer.text().as_str()), (500, "mine"));
    assert_eq!(answer.header("content-type"), Some("text/plain"));
}
