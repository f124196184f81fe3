//! Section 9 of the contract: how the process ends.

use rustix::process::Signal;

use crate::harness::client::Client;
use crate::harness::deadline::eventually;
use crate::harness::http1::{Request, get};
use crate::harness::scene::{ACME, PAIR, Pair};
use crate::harness::script::{Gate, Script};

/// A request that waits in stamp a behind the gate.
async fn waiting(pair: &Pair, gate: &Gate) -> Client {
    pair.a.plays(gate.before(Script::Echo));
    let mut client = pair.gateway.connect().await;
    client.send(get(ACME, "/slow").bytes()).await;
    pair.a.reached_by(1).await;
    client
}

#[tokio::test]
async fn a_request_in_flight_finishes_and_the_exit_code_is_zero() {
    for signal in [Signal::TERM, Signal::INT] {
        let mut pair = Pair::start().await;
        let gate = Gate::closed();
        let mut client = waiting(&pair, &gate).await;
        pair.gateway.signal(signal);
        eventually("failing readiness", async || {
            let mut admin = Client::try_connect(pair.gateway.admin).await.ok()?;
            let request = pair.gateway.admin_request("GET", "/readyz");
            (admin.try_exchange(&request).await.ok()?.status == 503).then_some(())
        })
        .await;
        assert!(!pair.gateway.has_ended());
        gate.open();
        assert_eq!(client.answer().await.served_by(), "a");
        assert_eq!(pair.gateway.ended().await.code(), Some(0));
    }
}

#[tokio::test]
async fn a_second_signal_ends_at_once() {
    let mut pair = Pair::start().await;
    let gate = Gate::closed();
    let _client = waiting(&pair, &gate).await;
    pair.gateway.signal(Signal::TERM);
    eventually("failing readiness", async || {
        let answer = pair.gateway.admin_get("/readyz").await;
        (answer.status == 503).then_some(())
    })
    .await;
    pair.gateway.signal(Signal::TERM);
    // The gate is still closed, and the deadline is longer than any wait of a test.
    pair.gateway.ended().await;
}

#[tokio::test]
async fn the_deadline_ends_what_does_not_finish() {
    let mut pair = Pair::planned(PAIR, |plan| plan.set("shutdown", "deadline", "\"300ms\"")).await;
    let gate = Gate::closed();
    let _client = waiting(&pair, &gate).await;
    pair.gateway.signal(Signal::TERM);
    pair.gateway.ended().await;
}

#[tokio::test]
async fn idle_connections_do_not_hold_up_the_end() {
    let mut pair = Pair::start().await;
    let mut used = pair.gateway.connect().await;
    assert_eq!(used.exchange(&get(ACME, "/")).await.status, 200);
    let _unused = pair.gateway.connect().await;
    pair.gateway.signal(Signal::TERM);
    assert_eq!(pair.gateway.ended().await.code(), Some(0));
    assert!(used.closed().await.is_empty());
}

#[tokio::test]
async fn during_the_delay_the_gateway_is_not_ready_and_still_serves() {
    let mut pair = Pair::planned(PAIR, |plan| plan.set("shutdown", "delay", "\"1s\"")).await;
    let mut idle = pair.gateway.connect().await;
    pair.gateway.signal(Signal::TERM);
    eventually("failing readiness", async || {
        (pair.gateway.admin_get("/readyz").await.status == 503).then_some(())
    })
    .await;
    assert_eq!(pair.gateway.get(ACME, "/").await.served_by(), "a");
    assert_eq!(idle.exchange(&get(ACME, "/")).await.served_by(), "a");
    assert_eq!(pair.gateway.admin_get("/livez").await.status, 200);
    assert_eq!(pair.gateway.ended().await.code(), Some(0));
}

#[tokio::test]
async fn an_upload_in_flight_finishes_too() {
    let mut pair = Pair::start().await;
    let mut client = pair.gateway.connect().await;
    let head = Request::new("POST", "/").header("Host", ACME).header("Content-Length", "8");
    client.send(head.bytes()).await;
    client.send("half").await;
    pair.a.reached_by(1).await;
    pair.gateway.signal(Signal::TERM);
    eventually("failing readiness", async || {
        let mut admin = Client::try_connect(pair.gateway.admin).await.ok()?;
        let request = pair.gateway.admin_request("GET", "/readyz");
        (admin.try_exchange(&request).await.ok()?.status == 503).then_some(())
    })
    .await;
    client.send("full").await;
    assert_eq!(client.answer().await.json()["body"], "halffull");
    assert_eq!(pair.gateway.ended().await.code(), Some(0));
}
