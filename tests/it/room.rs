//! Connections that rest make room for others; those that are busy never do.

use crate::connections::upgrade;
use crate::harness::client::Client;
use crate::harness::deadline::eventually;
use crate::harness::gateway::Plan;
use crate::harness::http1::{Request, get};
use crate::harness::http2::Http2;
use crate::harness::scene::{ACME, GLOBEX, PAIR, Pair};
use crate::harness::script::{Gate, Script};

const ANY: &[(&str, &str)] = &[];

/// A listener of so many connections, of both versions unless one is named.
fn bounded(plan: Plan, connections: &str, workers: &str) -> Plan {
    plan.set("listener", "max_connections", connections)
        .set("listener", "protocols", r#"["http/1.1", "h2c"]"#)
        .set("runtime", "workers", workers)
        // However slow the machine is: whoever is busy stays so.
        .set("timeouts", "request_headers", "\"1h\"")
        .set("timeouts", "request_body_idle", "\"1h\"")
        .set("timeouts", "response_headers", "\"1h\"")
        .set("limits", "min_bytes_per_second", "0")
}

async fn pair_of(connections: &str) -> Pair {
    Pair::planned(PAIR, |plan| bounded(plan, connections, "1")).await
}

/// Waits until so many connections rest.
async fn rest(pair: &Pair, count: f64) {
    eventually("connections that rest", async || {
        let resting = pair.gateway.metric("stampgate_downstream_connections_resting", ANY).await;
        ((resting - count).abs() < 0.5).then_some(())
    })
    .await;
}

/// A new client, which is served at its first try.
async fn newcomer(pair: &Pair) -> Client {
    let mut client = pair.gateway.connect().await;
    assert_eq!(client.exchange(&get(GLOBEX, "/new")).await.served_by(), "b");
    client
}

async fn closed_for_room(pair: &Pair) -> f64 {
    pair.gateway.metric("stampgate_connections_closed_for_room_total", ANY).await
}

#[tokio::test]
async fn the_connection_that_rested_longest_goes_for_a_new_one() {
    let pair = pair_of("4").await;
    let mut held = Vec::new();
    for count in [1.0, 2.0, 3.0] {
        let mut client = pair.gateway.connect().await;
        assert_eq!(client.exchange(&get(ACME, "/")).await.status, 200);
        held.push(client);
        rest(&pair, count).await;
    }
    let _new = newcomer(&pair).await;
    // Whoever came to rest first has gone, without a word and without an error.
    assert_eq!(held.remove(0).ended().await.unwrap(), b"");
    for client in &mut held {
        assert_eq!(client.exchange(&get(ACME, "/")).await.served_by(), "a");
    }
}

#[tokio::test]
async fn a_client_over_http_2_is_told_when_it_makes_room() {
    let pair = pair_of("1").await;
    let mut client = Http2::connect(pair.gateway.data).await;
    assert_eq!(client.exchange(ACME, "/").await.served_by(), "a");
    rest(&pair, 1.0).await;
    let _new = newcomer(&pair).await;
    assert_eq!(client.closed().await, Some(0), "GOAWAY with NO_ERROR");
}

#[tokio::test]
async fn a_client_that_has_said_nothing_makes_room() {
    for protocols in [r#"["http/1.1", "h2c"]"#, r#"["http/1.1"]"#, r#"["h2c"]"#] {
        let pair = Pair::planned(PAIR, |plan| {
            bounded(plan, "1", "1").set("listener", "protocols", protocols).set(
                "timeouts",
                "first_byte",
                "\"1h\"",
            )
        })
        .await;
        let mut silent = pair.gateway.connect().await;
        rest(&pair, 1.0).await;
        if protocols.contains("http/1.1") {
            let _new = newcomer(&pair).await;
        } else {
            eventually("a new client to be served", async || {
                let client = pair.gateway.connect().await;
                let mut client = Http2::over(client.into_stream(), &[]).await;
                let stream = client.get(ACME, "/", &[]).await;
                matches!(client.ended(stream).await, crate::harness::http2::Ended::Answered(_))
                    .then_some(())
            })
            .await;
        }
        // Over HTTP/2 the gateway begins with its settings.
        let heard = silent.closed().await;
        assert!(heard.is_empty() || !protocols.contains("http/1.1"), "{protocols}");
    }
}

#[tokio::test]
async fn connections_that_are_busy_stay_and_new_clients_are_turned_away() {
    let pair = pair_of("6").await;
    let gate = Gate::closed();
    pair.a.plays_once(gate.before(Script::Echo));
    let mut waits = pair.gateway.connect().await;
    waits.send(get(ACME, "/waits").bytes()).await;
    pair.a.reached_by(1).await;
    pair.a.plays_once(gate.before(Script::Echo));
    let mut streams = Http2::connect(pair.gateway.data).await;
    let stream = streams.get(ACME, "/stream", &[]).await;
    pair.a.reached_by(2).await;
    pair.a.plays_once(Script::Upgrade);
    let mut tunnel = pair.gateway.connect().await;
    tunnel.send(upgrade(ACME).bytes()).await;
    assert_eq!(tunnel.head().await.status().unwrap(), 101);
    let mut half = pair.gateway.connect().await;
    assert_eq!(half.exchange(&get(ACME, "/")).await.status, 200);
    half.send("GET / HTTP/1.1\r\nHo").await;
    let mut uploads = pair.gateway.connect().await;
    let head = Request::new("POST", "/").header("Host", ACME).header("Content-Length", "4");
    uploads.send(head.bytes()).await;
    uploads.send("ha").await;
    let mut rests = pair.gateway.connect().await;
    assert_eq!(rests.exchange(&get(ACME, "/")).await.status, 200);
    rest(&pair, 1.0).await;

    let new = newcomer(&pair).await;
    assert!(rests.closed().await.is_empty());
    // Now nobody rests but the newcomer, and it is kept busy.
    let mut new = new;
    new.send("GET / HTTP/1.1\r\nHo").await;
    for _ in 0..20 {
        pair.gateway.get(GLOBEX, "/no-room").await.assert_problem(503, "overloaded");
    }

    gate.open();
    assert_eq!(waits.answer().await.json()["target"], "/waits");
    assert_eq!(streams.answer(stream).await.json()["target"], "/stream");
    tunnel.send("hello").await;
    assert_eq!(tunnel.exactly(5).await, b"hello");
    half.send(format!("st: {ACME}\r\n\r\n")).await;
    assert_eq!(half.answer().await.served_by(), "a");
    uploads.send("lf").await;
    assert_eq!(uploads.answer().await.served_by(), "a");
}

#[tokio::test]
async fn connections_that_rest_at_another_worker_make_room_too() {
    // Nine tenths are 18.
    let pair = Pair::planned(PAIR, |plan| bounded(plan, "20", "4")).await;
    let mut held = Vec::new();
    for _ in 0..17 {
        let mut client = pair.gateway.connect().await;
        assert_eq!(client.exchange(&get(ACME, "/")).await.status, 200);
        held.push(client);
    }
    rest(&pair, 17.0).await;
    // Wherever they come in: for each new one goes one that rests, to the last.
    for left in (0..17).rev() {
        let mut new = newcomer(&pair).await;
        new.send("GET / HTTP/1.1\r\nHo").await;
        held.push(new);
        rest(&pair, f64::from(left)).await;
    }
    assert!((closed_for_room(&pair).await - 17.0).abs() < 0.5);
}

#[tokio::test]
async fn a_client_that_has_its_fill_drives_nobody_out() {
    let pair = Pair::planned(PAIR, |plan| {
        bounded(plan, "2", "1").set("limits", "connections_per_client", "1")
    })
    .await;
    let one = std::net::IpAddr::from([127, 0, 0, 2]);
    let mut held = Client::connect_from(one, pair.gateway.data).await;
    assert_eq!(held.exchange(&get(ACME, "/")).await.status, 200);
    let mut other = pair.gateway.connect().await;
    assert_eq!(other.exchange(&get(ACME, "/")).await.status, 200);
    rest(&pair, 2.0).await;
    for _ in 0..3 {
        pair.gateway.get(ACME, "/").await.assert_problem(503, "overloaded");
    }
    assert!(closed_for_room(&pair).await < 0.5);
    assert_eq!(held.exchange(&get(ACME, "/")).await.status, 200);
    assert_eq!(other.exchange(&get(ACME, "/")).await.status, 200);
}

#[tokio::test]
async fn all_listeners_together_have_the_files_that_stamps_cannot_need() {
    let pair = Pair::planned(PAIR, |plan| {
        plan.set("runtime", "workers", "1")
            .set("timeouts", "request_headers", "\"1h\"")
            .files_max(256)
    })
    .await;
    let info = pair.gateway.admin_get("/v1/info").await.json();
    assert_eq!(info["connections_max"], 128, "{info}");
    let log = pair.gateway.log();
    let told = log
        .lines()
        .find(|line| line.contains("other open files are for stamps"))
        .expect("a warning");
    for figure in ["\"connections_max\":128", "\"listeners_max\":5000", "\"files_max\":256"] {
        assert!(told.contains(figure), "{told}");
    }
    // Busy ones, so that none makes room.
    let mut held = Vec::new();
    for _ in 0..128 {
        let mut client = pair.gateway.connect().await;
        client.send("GET / HTTP/1.1\r\nHo").await;
        held.push(client);
    }
    eventually("no room for one more", async || {
        let mut client = pair.gateway.connect().await;
        let answer = client.try_exchange(&get(ACME, "/")).await.ok()?;
        (answer.status == 503 && answer.code() == "overloaded").then_some(())
    })
    .await;
    for client in &mut held {
        client.send(format!("st: {ACME}\r\n\r\n")).await;
        assert_eq!(client.answer().await.served_by(), "a");
    }
    rest(&pair, 128.0).await;
    let _new = newcomer(&pair).await;
}
