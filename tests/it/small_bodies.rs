//! While a stamp is short of room, a small body of known length is waited for before it is asked: however slowly
//! that comes, it holds nothing of the stamp, and what happens meanwhile counts.

use serde_json::Value;

use crate::drain::drain;
use crate::harness::client::Client;
use crate::harness::deadline::{eventually, ticks};
use crate::harness::gateway::Plan;
use crate::harness::http1::{Request, get};
use crate::harness::http2::{DATA, END_HEADERS, END_STREAM, Frame, Http2, request};
use crate::harness::scene::{ACME, GLOBEX, Pair, pair_with};
use crate::harness::script::{Gate, Script};

const BODY: &str = "slow";

/// A client that has sent all of its request but the last byte of its body, which is waited for.
async fn halfway(pair: &Pair) -> Client {
    let mut client = pair.gateway.connect().await;
    let head = Request::new("POST", "/").header("Host", ACME).header("Expect", "100-continue");
    client.send(head.header("Content-Length", "4").bytes()).await;
    assert_eq!(client.head().await.status().unwrap(), 100);
    client.send("slo").await;
    client
}

/// Stamp a has room for four requests at a time.
fn narrow() -> String {
    pair_with("pool = { max_connections = 4, pending_timeout = \"50ms\" }")
}

/// Stamp a is short of room, and a client has not sent all of its body.
struct Short {
    pair: Pair,
    /// Lets stamp a answer those that it has.
    gate: Gate,
    client: Client,
    _occupants: [Client; 2],
}

impl Short {
    async fn begin() -> Self {
        let pair = Pair::planned(&narrow(), |plan| plan).await;
        let gate = Gate::closed();
        pair.a.plays(gate.before(Script::Echo));
        let mut occupants = [pair.gateway.connect().await, pair.gateway.connect().await];
        for occupant in &mut occupants {
            occupant.send(get(ACME, "/occupies").bytes()).await;
        }
        pair.a.reached_by(2).await;
        pair.a.plays(Script::Echo);
        let client = halfway(&pair).await;
        Self { pair, gate, client, _occupants: occupants }
    }
}

#[tokio::test]
async fn bodies_that_come_slowly_take_half_of_the_room_at_most() {
    let pair = Pair::planned(&narrow(), |plan| plan).await;
    let mut clients = Vec::new();
    for _ in 0..20 {
        clients.push(halfway(&pair).await);
    }
    assert_eq!(pair.gateway.get(ACME, "/").await.served_by(), "a");
    for mut client in clients {
        client.send("w").await;
        assert_eq!(client.answer().await.json()["body"], BODY);
    }
}

#[tokio::test]
async fn over_http2_it_is_the_same() {
    let both = |plan: Plan| plan.set("listener", "protocols", r#"["http/1.1", "h2c"]"#);
    let pair = Pair::planned(&narrow(), both).await;
    let mut client = Http2::connect(pair.gateway.data).await;
    let fields = [&request("POST", ACME, "/")[..], &[("content-length", "4")]].concat();
    let slow: [u32; 20] = {
        let mut streams = [0; 20];
        for stream in &mut streams {
            *stream = client.open(END_HEADERS, &fields).await;
            client.send(&Frame::new(DATA, 0, *stream, "slo")).await;
        }
        streams
    };
    assert_eq!(client.exchange(ACME, "/").await.status, 200);
    for stream in slow {
        client.send(&Frame::new(DATA, END_STREAM, stream, "w")).await;
        assert_eq!(client.answer(stream).await.json()["body"], BODY);
    }
}

#[tokio::test]
async fn where_there_is_room_a_body_streams() {
    let pair = Pair::planned(&narrow(), |plan| plan).await;
    let _client = halfway(&pair).await;
    pair.a.reached_by(1).await;
}

#[tokio::test]
async fn a_stamp_that_is_drained_meanwhile_gets_nothing() {
    let Short { pair, gate, mut client, _occupants } = Short::begin().await;
    assert_eq!(drain(&pair.gateway, "a").await.status, 202);
    client.send("w").await;
    assert_eq!(client.answer().await.served_by(), "b");
    assert_eq!(pair.a.count(), 2);
    gate.open();
}

#[tokio::test]
async fn a_tenant_that_moves_meanwhile_is_served_at_its_new_home() {
    let Short { pair, gate, mut client, _occupants } = Short::begin().await;
    let moved = narrow().replace("acme = \"a\"", "acme = \"b\"");
    pair.gateway.reload_with(&moved, &[&pair.a, &pair.b]).await;
    client.send("w").await;
    let answer = client.answer().await;
    assert_eq!(answer.served_by(), "b");
    assert!(answer.arrived("x-stamp-home").is_empty(), "b is its home");
    assert_eq!(pair.a.count(), 2);
    gate.open();
}

#[tokio::test]
async fn a_tenant_that_is_suspended_meanwhile_is_refused() {
    let Short { pair, gate, mut client, _occupants } = Short::begin().await;
    let suspended = "acme = { stamp = \"a\", state = \"suspended\" }";
    let table = narrow().replace("acme = \"a\"", suspended);
    pair.gateway.reload_with(&table, &[&pair.a, &pair.b]).await;
    client.send("w").await;
    client.answer().await.assert_problem(403, "tenant_suspended");
    assert_eq!(pair.a.count(), 2);
    gate.open();
}

#[tokio::test]
async fn a_client_that_leaves_within_its_body_is_nothing_to_a_stamp() {
    let Short { pair, gate, client, _occupants } = Short::begin().await;
    client.abort();
    eventually("a request that was broken off", async || {
        let labels = [("method", "POST"), ("code", "400")];
        (pair.gateway.metric("stampgate_requests_total", &labels).await > 0.0).then_some(())
    })
    .await;
    assert_eq!(pair.a.count(), 2);
    gate.open();
}

#[tokio::test]
async fn what_a_client_takes_to_send_is_not_the_gateways_time() {
    let Short { pair, gate, mut client, _occupants } = Short::begin().await;
    // Others are served meanwhile.
    let began = tokio::time::Instant::now();
    let mut ticks = ticks(10);
    for _ in 0..4 {
        ticks.tick().await;
        assert_eq!(pair.gateway.get(GLOBEX, "/").await.served_by(), "b");
    }
    let took = began.elapsed().as_secs_f64();
    client.send("w").await;
    assert_eq!(client.answer().await.served_by(), "a");
    let line = eventually("a line in the access log", async || {
        let log = pair.gateway.log();
        let of_post = |line: &Value| line["http.request.method"] == "POST";
        log.lines().filter_map(|line| serde_json::from_str(line).ok()).find(of_post)
    })
    .await;
    let told = |key: &str| line[key].as_f64().unwrap();
    assert!(told("duration_s") >= took, "{line}");
    assert!(told("gateway_s") <= told("duration_s") - told("upstream_s") - took, "{line}");
    gate.open();
}
