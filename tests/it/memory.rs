//! What the gateway gives up when its memory is short, step by step, and takes up again.

use crate::harness::client::Client;
use crate::harness::deadline::{eventually, settled};
use crate::harness::http1::get;
use crate::harness::http2::Http2;
use crate::harness::scene::{ACME, PAIR, Pair};
use crate::harness::script::{Gate, Script};

/// More than any process has.
const PLENTY: &str = "\"1024GiB\"";

async fn pair() -> Pair {
    Pair::planned(PAIR, |plan| {
        plan.set("limits", "memory", PLENTY)
            .set("listener", "protocols", r#"["http/1.1", "h2c"]"#)
            .set("runtime", "workers", "1")
            // However long it takes until memory is as short as it is to be.
            .set("timeouts", "request_headers", "\"1h\"")
            .set("timeouts", "response_headers", "\"1h\"")
    })
    .await
}

async fn gauge(pair: &Pair, name: &str) -> f64 {
    pair.gateway.metric(&format!("stampgate_memory_{name}"), &[]).await
}

/// Lets there be so much memory, in TOML, and waits until the gateway has looked.
async fn limit(pair: &Pair, bytes: &str) {
    let text = pair.gateway.directory.read("gateway.toml");
    let former = text.lines().find(|line| line.starts_with("memory = ")).unwrap().to_owned();
    pair.gateway.reconfigure(&former, &format!("memory = {bytes}")).await;
    let number = bytes.trim_matches(|c: char| !c.is_ascii_digit());
    let wanted: f64 = if bytes == PLENTY { 1_099_511_627_776.0 } else { number.parse().unwrap() };
    eventually("a look at memory", async || {
        ((gauge(pair, "limit_bytes").await - wanted).abs() < 0.5).then_some(())
    })
    .await;
}

/// Lets what is in use be this share of the limit, in percent, so that this level holds.
async fn short(pair: &Pair, percent: f64, level: f64) {
    eventually(&format!("level {level}"), async || {
        limit(pair, PLENTY).await;
        let bytes = gauge(pair, "used_bytes").await * 100.0 / percent;
        limit(pair, &format!("\"{bytes:.0}B\"")).await;
        ((gauge(pair, "level").await - level).abs() < 0.5).then_some(())
    })
    .await;
}

async fn closes_idle(pair: &Pair) {
    short(pair, 92.8, 1.0).await;
}

async fn refuses_requests(pair: &Pair) {
    short(pair, 96.3, 2.0).await;
}

async fn accepts_nothing(pair: &Pair) {
    short(pair, 200.0, 3.0).await;
}

async fn eased(pair: &Pair) {
    limit(pair, PLENTY).await;
    assert!(gauge(pair, "level").await < 0.5);
}

/// A client within its head: neither at rest nor with a request.
async fn begun(pair: &Pair) -> Client {
    let mut client = pair.gateway.connect().await;
    client.send("GET / HTTP/1.1\r\n").await;
    client
}

async fn goes_on(client: &mut Client) {
    client.send(format!("Host: {ACME}\r\n\r\n")).await;
}

/// A request over each version that stamp a does not answer before the gate opens.
async fn under_way(pair: &Pair) -> (Gate, Client, Http2, u32) {
    let gate = Gate::closed();
    pair.a.plays(gate.before(Script::Echo));
    let mut waits = pair.gateway.connect().await;
    waits.send(get(ACME, "/waits").bytes()).await;
    let mut streams = Http2::connect(pair.gateway.data).await;
    let stream = streams.get(ACME, "/stream", &[]).await;
    (gate, waits, streams, stream)
}

#[tokio::test]
async fn connections_are_given_up_first_and_no_request_is() {
    let pair = pair().await;
    let mut rests = pair.gateway.connect().await;
    assert_eq!(rests.exchange(&get(ACME, "/")).await.status, 200);
    let mut rests_h2 = Http2::connect(pair.gateway.data).await;
    assert_eq!(rests_h2.exchange(ACME, "/").await.served_by(), "a");
    let (gate, mut waits, mut streams, stream) = under_way(&pair).await;
    pair.a.reached_by(4).await;

    closes_idle(&pair).await;
    assert_eq!(rests.ended().await.unwrap(), b"");
    assert_eq!(rests_h2.closed().await, Some(0), "GOAWAY with NO_ERROR");
    gate.open();
    let answer = waits.answer().await;
    assert_eq!((answer.served_by().as_str(), answer.header("connection")), ("a", Some("close")));
    assert_eq!(waits.ended().await.unwrap(), b"");
    assert_eq!(streams.answer(stream).await.served_by(), "a");
    assert_eq!(streams.closed().await, Some(0));
    // Who comes is served, once.
    let mut new = pair.gateway.connect().await;
    let answer = new.exchange(&get(ACME, "/")).await;
    assert_eq!((answer.served_by().as_str(), answer.header("connection")), ("a", Some("close")));
    let log = pair.gateway.log();
    assert!(log.contains("memory is short") && log.contains("\"to\":\"closes_idle\""), "{log}");

    eased(&pair).await;
    let mut client = pair.gateway.connect().await;
    for _ in 0..3 {
        assert_eq!(client.exchange(&get(ACME, "/")).await.header("connection"), None);
    }
    assert!(pair.gateway.log().contains("memory is less short"));
}

#[tokio::test]
async fn then_new_requests_are_and_those_under_way_are_not() {
    let pair = pair().await;
    let (gate, mut waits, mut streams, stream) = under_way(&pair).await;
    pair.a.reached_by(2).await;
    let mut begins = begun(&pair).await;

    refuses_requests(&pair).await;
    goes_on(&mut begins).await;
    let answer = begins.answer().await;
    answer.assert_problem(503, "overloaded");
    assert_eq!(answer.header("connection"), Some("close"));
    pair.gateway.get(ACME, "/").await.assert_problem(503, "overloaded");
    let refused = streams.get(ACME, "/refused", &[]).await;
    streams.answer(refused).await.assert_problem(503, "overloaded");
    assert_eq!(pair.a.count(), 2);
    gate.open();
    assert_eq!(waits.answer().await.served_by(), "a");
    assert_eq!(streams.answer(stream).await.served_by(), "a");

    eased(&pair).await;
    assert_eq!(pair.gateway.get(ACME, "/").await.served_by(), "a");
}

#[tokio::test]
async fn then_new_connections_wait_and_are_served_once_there_is_memory() {
    let pair = pair().await;
    let mut begins = begun(&pair).await;
    accepts_nothing(&pair).await;
    let mut waits = pair.gateway.connect().await;
    waits.send(get(ACME, "/waits").bytes()).await;
    let open = settled("connections that were accepted", async || {
        pair.gateway.metric("stampgate_downstream_connections", &[]).await
    })
    .await;
    assert!(open < 1.5, "{open}");
    goes_on(&mut begins).await;
    begins.answer().await.assert_problem(503, "overloaded");
    assert_eq!(pair.a.count(), 0);

    eased(&pair).await;
    let answer = waits.answer().await;
    assert_eq!((answer.served_by().as_str(), answer.header("connection")), ("a", None));
    assert_eq!(waits.exchange(&get(ACME, "/")).await.served_by(), "a");
}

#[tokio::test]
async fn without_a_limit_nothing_is_given_up() {
    let pair = Pair::planned(PAIR, |plan| plan.set("limits", "memory", "\"0\"")).await;
    let metrics = pair.gateway.metrics().await;
    assert!(metrics.has("stampgate_memory_level"));
    assert!(!metrics.has("stampgate_memory_used_bytes"));
    let mut client = pair.gateway.connect().await;
    for _ in 0..2 {
        assert_eq!(client.exchange(&get(ACME, "/")).await.header("connection"), None);
    }
}
