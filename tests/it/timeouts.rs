//! Every timeout of gateway.toml that concerns HTTP/1.1, each with its code.

use rustix::process::Signal;

use crate::harness::deadline::settled;
use crate::harness::faults::BlackHole;
use crate::harness::http1::{Broken, Request, get};
use crate::harness::scene::{ACME, PAIR, Pair, pair_without_edge};
use crate::harness::script::{Gate, Script};

async fn timed(key: &str) -> Pair {
    let table = pair_without_edge();
    Pair::planned(&table, |plan| plan.set("timeouts", key, "\"300ms\"")).await
}

#[tokio::test]
async fn a_request_head_that_never_ends_is_timed_out() {
    let pair = timed("request_headers").await;
    let mut client = pair.gateway.connect().await;
    client.send(format!("GET / HTTP/1.1\r\nHost: {ACME}\r\nX-Slow: ")).await;
    client.answer().await.assert_problem(408, "request_timeout");
    assert!(client.closed().await.is_empty());
}

#[tokio::test]
async fn a_second_request_head_that_never_ends_is_timed_out() {
    let pair = timed("request_headers").await;
    let mut client = pair.gateway.connect().await;
    assert_eq!(client.exchange(&get(ACME, "/")).await.status, 200);
    client.send("GET / HTTP/1.1\r\nHost").await;
    client.answer().await.assert_problem(408, "request_timeout");
}

#[tokio::test]
async fn a_connection_without_a_first_byte_is_closed_in_silence() {
    let pair = timed("first_byte").await;
    let mut client = pair.gateway.connect().await;
    assert!(client.closed().await.is_empty());
}

#[tokio::test]
async fn an_idle_connection_is_closed_in_silence() {
    let pair = timed("downstream_idle").await;
    let mut client = pair.gateway.connect().await;
    assert_eq!(client.exchange(&get(ACME, "/")).await.status, 200);
    assert!(client.closed().await.is_empty());
}

#[tokio::test]
async fn a_body_that_stops_coming_is_timed_out() {
    let pair = timed("request_body_idle").await;
    let mut client = pair.gateway.connect().await;
    let head = Request::new("POST", "/").header("Host", ACME).header("Content-Length", "10");
    client.send(head.bytes()).await;
    client.send("half").await;
    client.answer().await.assert_problem(408, "request_timeout");
    assert!(pair.a.seen().iter().all(|seen| !seen.complete), "a cut body must not look whole");
}

#[tokio::test]
async fn a_stamp_that_does_not_answer_is_timed_out() {
    let pair = timed("response_headers").await;
    pair.a.plays(Script::Hang);
    pair.gateway.get(ACME, "/").await.assert_problem(504, "upstream_timeout");
    let seen = pair.a.count();
    pair.a.left_by(seen).await;
}

#[tokio::test]
async fn a_post_that_is_not_answered_is_timed_out_and_not_repeated() {
    let pair = timed("response_headers").await;
    pair.a.plays(Script::Hang);
    let post = crate::harness::http1::post(ACME, "/", "x");
    pair.gateway.send(&post).await.assert_problem(504, "upstream_timeout");
    assert_eq!(pair.a.count(), 1);
}

#[tokio::test]
async fn a_slow_upload_is_no_slow_answer() {
    let pair = timed("response_headers").await;
    let mut client = pair.gateway.connect().await;
    let head = Request::new("POST", "/").header("Host", ACME).header("Content-Length", "8");
    client.send(head.bytes()).await;
    let mut ticks = crate::harness::deadline::ticks(10);
    for _ in 0..8 {
        ticks.tick().await;
        client.send("x").await;
    }
    assert_eq!(client.answer().await.status, 200);
}

#[tokio::test]
async fn an_answer_that_stops_coming_is_visibly_cut() {
    let pair = timed("response_body_idle").await;
    let raw = "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf";
    pair.a.plays(Script::Raw(raw.into()));
    let broken = pair.gateway.connect().await.try_exchange(&get(ACME, "/")).await;
    assert!(matches!(broken, Err(Broken::Cut | Broken::Failed(_))), "{broken:?}");
}

#[tokio::test]
async fn a_request_that_takes_too_long_altogether_is_timed_out() {
    let pair = timed("request_total").await;
    let gate = Gate::closed();
    pair.a.plays(gate.before(Script::Echo));
    pair.gateway.get(ACME, "/").await.assert_problem(504, "upstream_timeout");
}

#[tokio::test]
async fn an_endpoint_that_does_not_answer_a_connect_is_timed_out() {
    let hole = BlackHole::at(std::net::SocketAddr::from(([127, 0, 0, 1], 0)));
    let table = PAIR.replace("{stamp_a}", &hole.address.to_string());
    let table = table.replace("failover = [{ to = \"b\", mode = \"read_write\" }]\n", "");
    let pair = Pair::planned(&table, |plan| plan.set("timeouts", "connect", "\"200ms\"")).await;
    let answer = pair.gateway.get(ACME, "/").await;
    assert!([502, 503, 504].contains(&answer.status), "{}", answer.text());
    let codes = ["connect_failed", "upstream_timeout", "stamp_unavailable"];
    assert!(codes.contains(&answer.code().as_str()), "{}", answer.text());
}

#[tokio::test]
async fn an_answer_that_came_while_the_gateway_itself_was_paused_is_in_time() {
    let pair = timed("response_headers").await;
    let gate = Gate::closed();
    pair.a.plays(gate.before(Script::EchoAndClose));
    let mut client = pair.gateway.connect().await;
    client.send(crate::harness::http1::post(ACME, "/", "x").bytes()).await;
    pair.a.reached_by(1).await;
    pair.gateway.signal(Signal::STOP);
    gate.open();
    // Sixty looks without a change: longer than the timeout.
    settled("requests at home", async || pair.a.count()).await;
    pair.gateway.signal(Signal::CONT);
    assert_eq!(client.answer().await.served_by(), "a");
}

#[tokio::test]
async fn a_post_that_waits_for_a_connection_goes_elsewhere_once_its_endpoint_is_out() {
    let hole = BlackHole::at(std::net::SocketAddr::from(([127, 0, 0, 1], 0)));
    let table = PAIR.replace("{stamp_a}", &hole.address.to_string());
    let pair = Pair::planned(&table, |plan| plan.set("timeouts", "connect", "\"60s\"")).await;
    let answer = pair.gateway.send(&crate::harness::http1::post(ACME, "/", "x")).await;
    assert_eq!((answer.status, answer.served_by().as_str()), (200, "b"));
}

/// Where every client is too slow after the grace of five seconds.
async fn demanding() -> Pair {
    let table = pair_without_edge();
    Pair::planned(&table, |plan| plan.set("limits", "min_bytes_per_second", "1_000_000_000")).await
}

#[tokio::test]
async fn a_body_that_trickles_is_timed_out() {
    let pair = demanding().await;
    let mut client = pair.gateway.connect().await;
    let head = Request::new("POST", "/").header("Host", ACME).header("Content-Length", "100000");
    client.send(head.bytes()).await;
    let mut ticks = crate::harness::deadline::ticks(20);
    let seen = async {
        loop {
            ticks.tick().await;
            // The body never pauses for long, so only its rate can be at fault.
            let sent = client.try_send("x").await;
            if sent.is_err()
                || pair.gateway.metric("stampgate_errors_total", &TIMED_OUT).await > 0.0
            {
                break;
            }
        }
    };
    crate::harness::deadline::within("the end of patience", seen).await;
    client.answer().await.assert_problem(408, "request_timeout");
    assert!(pair.a.seen().iter().all(|seen| !seen.complete), "a cut body must not look whole");
}

const TIMED_OUT: [(&str, &str); 1] = [("code", "request_timeout")];

#[tokio::test]
async fn a_client_that_does_not_take_its_answer_is_cut() {
    let pair = demanding().await;
    pair.a.plays(Script::Download(1 << 30));
    let mut client = pair.gateway.connect().await;
    client.send(get(ACME, "/").bytes()).await;
    assert_eq!(client.head().await.status().unwrap(), 200);
    pair.a.left_by(1).await;
}

#[tokio::test]
async fn without_a_least_rate_a_trickling_body_is_waited_for() {
    let table = pair_without_edge();
    let plan =
        |plan: crate::harness::gateway::Plan| plan.set("limits", "min_bytes_per_second", "0");
    let pair = Pair::planned(&table, plan).await;
    let mut client = pair.gateway.connect().await;
    let head = Request::new("POST", "/").header("Host", ACME).header("Content-Length", "60");
    client.send(head.bytes()).await;
    let mut ticks = crate::harness::deadline::ticks(10);
    for _ in 0..60 {
        ticks.tick().await;
        client.send("x").await;
    }
    assert_eq!(client.answer().await.status, 200);
}
