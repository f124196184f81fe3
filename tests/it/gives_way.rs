//! Answers whose clients take nothing, and requests whose clients send next to nothing, hold room at stamps. Where
//! others wait for that room, those that have stood still longest give way, as many as are needed, before the time
//! that a slow client has is over.

use crate::harness::client::Client;
use crate::harness::deadline::{eventually, ticks};
use crate::harness::gateway::Plan;
use crate::harness::http1::get;
use crate::harness::http2::{Http2, request};
use crate::harness::scene::{ACME, PAIR, Pair, pair_without_edge};
use crate::harness::script::Script;
use crate::slow_readers::narrow_client;

/// More than the kernels take.
const LONG: u64 = 1 << 30;

/// Nobody is cut but for others: a slow client has time for as long as the test may take.
fn with_patience(plan: Plan) -> Plan {
    plan.set("limits", "min_bytes_per_second", "1")
}

/// Stamp a has only so much room, and there is no way out of it.
async fn scene(line: &str) -> Pair {
    planned(line, with_patience).await
}

async fn planned(line: &str, plan: impl FnOnce(Plan) -> Plan) -> Pair {
    let table = pair_without_edge().replace("id = \"a\"\n", &format!("id = \"a\"\n{line}\n"));
    Pair::planned(&table, plan).await
}

/// The same over HTTP/2, with one connection to the stamp.
async fn scene_over_http2() -> Pair {
    planned(ONE_CONNECTION, |plan| with_patience(plan).set("listener", "protocols", r#"["h2c"]"#))
        .await
}

/// A client whose answer stands still.
async fn standing_still(pair: &Pair) -> Client {
    pair.a.plays(Script::Download(LONG));
    let mut client = narrow_client(pair).await;
    client.send(get(ACME, "/").bytes()).await;
    assert_eq!(client.head().await.status().unwrap(), 200);
    pair.a.plays(Script::Echo);
    client
}

async fn gave_way(pair: &Pair) -> f64 {
    let labels = [("listener", "public"), ("reason", "gave_way")];
    pair.gateway.metric("stampgate_clients_cut_total", &labels).await
}

/// Somebody is served in the end, and one answer gave way for that.
async fn one_makes_room(pair: &Pair) {
    eventually("an answer that gave way", async || {
        (pair.gateway.get(ACME, "/").await.status == 200).then_some(())
    })
    .await;
    assert!((gave_way(pair).await - 1.0).abs() < 0.5);
    is_told(pair).await;
}

async fn is_told(pair: &Pair) {
    eventually("the reason in the access log", async || {
        pair.gateway.log().contains("client_gave_way").then_some(())
    })
    .await;
}

/// Does its answer go on? A client that was cut has less than that left to read.
async fn goes_on(client: &mut Client) -> bool {
    let mut read = 0;
    while read < 100_000 {
        match client.some(100_000).await.len() {
            0 => return false,
            more => read += more,
        }
    }
    true
}

#[tokio::test]
async fn for_a_request_that_waits_for_a_connection_one_gives_way_and_no_other() {
    let pair = scene("pool = { max_connections = 2, pending_timeout = \"20s\" }").await;
    let mut first = standing_still(&pair).await;
    let mut second = standing_still(&pair).await;
    assert_eq!(pair.gateway.get(ACME, "/").await.served_by(), "a");
    assert!((gave_way(&pair).await - 1.0).abs() < 0.5);
    assert_ne!(goes_on(&mut first).await, goes_on(&mut second).await);
}

#[tokio::test]
async fn one_that_takes_something_stays() {
    let pair = scene("pool = { max_connections = 1, pending_timeout = \"700ms\" }").await;
    let mut client = standing_still(&pair).await;
    let mut ticks = ticks(20);
    let reads = async {
        loop {
            ticks.tick().await;
            client.exactly(20_000).await;
        }
    };
    tokio::select! {
        () = reads => {}
        answer = pair.gateway.get(ACME, "/") => answer.assert_problem(503, "stamp_saturated"),
    }
    assert!(gave_way(&pair).await < 0.5);
}

#[tokio::test]
async fn for_a_stamp_that_has_its_fill_one_gives_way() {
    let pair = scene("max_in_flight = 1").await;
    let _client = standing_still(&pair).await;
    pair.gateway.get(ACME, "/").await.assert_problem(503, "stamp_saturated");
    one_makes_room(&pair).await;
}

#[tokio::test]
async fn for_a_tenant_that_has_its_fill_one_of_its_own_gives_way() {
    let table = PAIR.replace("acme = \"a\"", "acme = { stamp = \"a\", tier = \"t\" }");
    let table = format!("{table}[tier.t]\nmax_in_flight = 1\n");
    let pair = Pair::planned(&table, with_patience).await;
    let _client = standing_still(&pair).await;
    pair.gateway.get(ACME, "/").await.assert_problem(429, "tenant_saturated");
    one_makes_room(&pair).await;
}

#[tokio::test]
async fn where_no_rate_is_asked_for_nobody_gives_way() {
    let room = "pool = { max_connections = 1, pending_timeout = \"2s\" }";
    let pair = planned(room, |plan| plan.set("limits", "min_bytes_per_second", "0")).await;
    let mut client = standing_still(&pair).await;
    pair.gateway.get(ACME, "/").await.assert_problem(503, "stamp_saturated");
    client.exactly(100_000).await;
}

#[tokio::test]
async fn over_http2_a_stream_gives_way_and_its_connection_stays() {
    let pair = scene_over_http2().await;
    pair.a.plays(Script::Download(LONG));
    let mut client = Http2::connect(pair.gateway.data).await;
    client.takes = false;
    let slow = client.get(ACME, "/", &[]).await;
    assert_eq!(client.status(slow).await, 200);
    pair.a.plays(Script::Echo);
    let mut good = Http2::connect(pair.gateway.data).await;
    assert_eq!(good.exchange(ACME, "/").await.status, 200);
    assert_ne!(client.error(slow).await, 0);
    client.ping().await;
    is_told(&pair).await;
}

/// A client that has begun a request of unknown length, which its stamp has.
async fn sending(pair: &Pair) -> Client {
    let reached = pair.a.count();
    let mut client = pair.gateway.connect().await;
    let head = format!("POST / HTTP/1.1\r\nHost: {ACME}\r\nTransfer-Encoding: chunked\r\n\r\n");
    client.send(head + &chunk(1)).await;
    pair.a.reached_by(reached + 1).await;
    client
}

fn chunk(bytes: usize) -> String {
    format!("{bytes:x}\r\n{}\r\n", "a".repeat(bytes))
}

/// Sends so much of a body 20 times a second, for ever.
async fn sends(client: &mut Client, bytes: usize) {
    let mut ticks = ticks(20);
    while client.try_send(chunk(bytes)).await.is_ok() {
        ticks.tick().await;
    }
    std::future::pending::<()>().await;
}

const ONE_CONNECTION: &str = "pool = { max_connections = 1, pending_timeout = \"20s\" }";

#[tokio::test]
async fn who_stops_within_its_body_gives_way() {
    let pair = scene(ONE_CONNECTION).await;
    let mut client = sending(&pair).await;
    assert_eq!(pair.gateway.get(ACME, "/").await.served_by(), "a");
    client.answer().await.assert_problem(408, "request_timeout");
    assert!((gave_way(&pair).await - 1.0).abs() < 0.5);
}

#[tokio::test]
async fn who_sends_a_byte_now_and_then_gives_way() {
    let pair = scene(ONE_CONNECTION).await;
    let mut client = sending(&pair).await;
    tokio::select! {
        () = sends(&mut client, 1) => {}
        answer = pair.gateway.get(ACME, "/") => assert_eq!(answer.served_by(), "a"),
    }
    assert!((gave_way(&pair).await - 1.0).abs() < 0.5);
}

#[tokio::test]
async fn who_sends_at_a_fair_rate_stays() {
    let pair = scene("pool = { max_connections = 1, pending_timeout = \"700ms\" }").await;
    let mut client = sending(&pair).await;
    tokio::select! {
        () = sends(&mut client, 20_000) => {}
        answer = pair.gateway.get(ACME, "/") => answer.assert_problem(503, "stamp_saturated"),
    }
    assert!(gave_way(&pair).await < 0.5);
    client.send("0\r\n\r\n").await;
    assert_eq!(client.answer().await.served_by(), "a");
}

#[tokio::test]
async fn over_http2_who_stops_within_its_body_gives_way_and_its_connection_stays() {
    let pair = scene_over_http2().await;
    let mut client = Http2::connect(pair.gateway.data).await;
    let slow = client.open(0, &request("POST", ACME, "/")).await;
    pair.a.reached_by(1).await;
    let mut good = Http2::connect(pair.gateway.data).await;
    assert_eq!(good.exchange(ACME, "/").await.status, 200);
    client.answer(slow).await.assert_problem(408, "request_timeout");
    client.ping().await;
}
