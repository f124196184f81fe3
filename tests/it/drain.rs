//! Section 6 of the contract: drains, through the admin API.

use serde_json::{Value, json};

use crate::harness::client::Answer;
use crate::harness::deadline::eventually;
use crate::harness::gateway::Gateway;
use crate::harness::http1::get;
use crate::harness::scene::{ACME, GLOBEX, PAIR, Pair, pair_with, pair_without_edge};
use crate::harness::script::{Gate, Script};

/// Asks for a drain with an empty body.
pub async fn drain(gateway: &Gateway, stamp: &str) -> Answer {
    gateway.admin("POST", &format!("/v1/stamps/{stamp}/drain"), Some(&json!({}))).await
}

pub async fn undrain(gateway: &Gateway, stamp: &str) -> Answer {
    gateway.admin("DELETE", &format!("/v1/stamps/{stamp}/drain"), None).await
}

/// The operator state that the API shows.
pub async fn state(gateway: &Gateway, stamp: &str) -> String {
    let answer = gateway.admin_get(&format!("/v1/stamps/{stamp}")).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.json()["state"].as_str().unwrap().to_owned()
}

/// Waits until the API shows this operator state.
pub async fn becomes(gateway: &Gateway, stamp: &str, wanted: &str) {
    eventually(&format!("stamp {stamp} {wanted}"), async || {
        (state(gateway, stamp).await == wanted).then_some(())
    })
    .await;
}

/// All that a progress document counts as in flight.
fn in_flight(progress: &Value) -> u64 {
    let told = &progress["in_flight"];
    match told.as_object() {
        Some(kinds) => kinds.values().filter_map(Value::as_u64).sum(),
        None => told.as_u64().unwrap_or_else(|| panic!("no in_flight: {progress}")),
    }
}

#[tokio::test]
async fn a_drained_stamp_gets_no_new_request() {
    let pair = Pair::start().await;
    assert_eq!(drain(&pair.gateway, "a").await.status, 202);
    for _ in 0..20 {
        let answer = pair.gateway.get(ACME, "/").await;
        assert_eq!(answer.served_by(), "b");
        assert_eq!(answer.arrived("x-stamp-home"), ["a"]);
    }
    assert_eq!(pair.a.count(), 0);
    becomes(&pair.gateway, "a", "drained").await;
}

#[tokio::test]
async fn a_drain_that_is_there_already_is_confirmed() {
    let pair = Pair::start().await;
    assert_eq!(drain(&pair.gateway, "a").await.status, 202);
    assert_eq!(drain(&pair.gateway, "a").await.status, 200);
}

#[tokio::test]
async fn an_unknown_stamp_cannot_be_drained() {
    let pair = Pair::start().await;
    drain(&pair.gateway, "c").await.assert_problem(404, "unknown_stamp");
    assert_eq!(undrain(&pair.gateway, "c").await.status, 404);
    assert_eq!(pair.gateway.admin_get("/v1/stamps/c/drain").await.status, 404);
}

#[tokio::test]
async fn a_drain_that_would_strand_tenants_is_refused_with_their_number() {
    let pair = Pair::start().await;
    let answer = drain(&pair.gateway, "b").await;
    answer.assert_problem(409, "would_strand");
    assert!(answer.text().contains('1'), "{}", answer.text());
    assert_eq!(pair.gateway.get(GLOBEX, "/").await.served_by(), "b");
    assert_eq!(state(&pair.gateway, "b").await, "active");
}

#[tokio::test]
async fn a_drain_whose_edge_is_itself_drained_would_strand() {
    let table = PAIR.replace("[tenants]", "failover = [\"a\"]\n[tenants]");
    let pair = Pair::planned(&table, |plan| plan).await;
    assert_eq!(drain(&pair.gateway, "b").await.status, 202);
    drain(&pair.gateway, "a").await.assert_problem(409, "would_strand");
}

#[tokio::test]
async fn a_forced_drain_leaves_its_tenants_a_clear_answer() {
    let pair = Pair::planned(&pair_without_edge(), |plan| plan).await;
    let force = json!({"force": true, "reason": "disk on fire"});
    let answer = pair.gateway.admin("POST", "/v1/stamps/a/drain", Some(&force)).await;
    assert_eq!(answer.status, 202, "{}", answer.text());
    pair.gateway.get(ACME, "/").await.assert_problem(503, "stamp_draining");
    assert_eq!(pair.gateway.get(GLOBEX, "/").await.served_by(), "b");
    assert_eq!(pair.a.count() + pair.b.count(), 1);
}

#[tokio::test]
async fn what_is_in_flight_finishes_while_new_requests_go_elsewhere() {
    let pair = Pair::start().await;
    let gate = Gate::closed();
    pair.a.plays(gate.before(Script::Echo));
    let mut client = pair.gateway.connect().await;
    client.send(get(ACME, "/slow").bytes()).await;
    pair.a.reached_by(1).await;
    assert_eq!(drain(&pair.gateway, "a").await.status, 202);
    assert_eq!(pair.gateway.get(ACME, "/new").await.served_by(), "b");
    let progress = pair.gateway.admin_get("/v1/stamps/a/drain").await.json();
    assert_eq!(progress["state"], "draining", "{progress}");
    assert_eq!(in_flight(&progress), 1, "{progress}");
    gate.open();
    assert_eq!(client.answer().await.served_by(), "a");
    assert_eq!(client.exchange(&get(ACME, "/next")).await.served_by(), "b");
    becomes(&pair.gateway, "a", "drained").await;
}

#[tokio::test]
async fn waiting_for_a_drain_ends_when_the_last_request_does() {
    let pair = Pair::start().await;
    let gate = Gate::closed();
    pair.a.plays(gate.before(Script::Echo));
    let mut client = pair.gateway.connect().await;
    client.send(get(ACME, "/slow").bytes()).await;
    pair.a.reached_by(1).await;
    assert_eq!(drain(&pair.gateway, "a").await.status, 202);
    // The wait is longer than any test may take, so that only the drain can end it.
    let request = pair.gateway.admin_request("GET", "/v1/stamps/a/drain?wait=60s");
    let mut waiting = crate::harness::client::Client::connect(pair.gateway.admin).await;
    waiting.send(request.bytes()).await;
    gate.open();
    assert_eq!(client.answer().await.status, 200);
    let progress = waiting.answer().await.json();
    assert_eq!(progress["state"], "drained", "{progress}");
    assert_eq!(in_flight(&progress), 0, "{progress}");
}

#[tokio::test]
async fn waiting_for_a_drain_ends_after_its_time_as_well() {
    let pair = Pair::start().await;
    pair.a.plays(Script::Hang);
    let mut client = pair.gateway.connect().await;
    client.send(get(ACME, "/slow").bytes()).await;
    pair.a.reached_by(1).await;
    assert_eq!(drain(&pair.gateway, "a").await.status, 202);
    let answer = pair.gateway.admin_get("/v1/stamps/a/drain?wait=100ms").await;
    assert_eq!((answer.status, in_flight(&answer.json())), (200, 1), "{}", answer.text());
}

#[tokio::test]
async fn an_undrained_stamp_serves_again() {
    let pair = Pair::start().await;
    assert_eq!(drain(&pair.gateway, "a").await.status, 202);
    pair.gateway.serves(ACME, "b").await;
    assert_eq!(undrain(&pair.gateway, "a").await.status, 200);
    pair.gateway.serves(ACME, "a").await;
    becomes(&pair.gateway, "a", "active").await;
}

#[tokio::test]
async fn a_stamp_that_is_not_drained_cannot_be_undrained() {
    let pair = Pair::start().await;
    assert_eq!(undrain(&pair.gateway, "a").await.status, 409);
}

#[tokio::test]
async fn a_drain_request_that_makes_no_sense_is_refused() {
    let pair = Pair::start().await;
    for body in [json!({"deadline": "soon"}), json!({"force": "yes"}), json!({"dedline": "10m"})] {
        let answer = pair.gateway.admin("POST", "/v1/stamps/a/drain", Some(&body)).await;
        assert_eq!(answer.status, 422, "{body}: {}", answer.text());
    }
    assert_eq!(state(&pair.gateway, "a").await, "active");
}

#[tokio::test]
async fn a_drain_is_never_asked_for_by_get() {
    let pair = Pair::start().await;
    let _progress = pair.gateway.admin_get("/v1/stamps/a/drain").await;
    assert_eq!(state(&pair.gateway, "a").await, "active");
    assert_eq!(pair.gateway.get(ACME, "/").await.served_by(), "a");
}

#[tokio::test]
async fn a_drain_survives_a_crash_right_after_its_answer() {
    let mut pair = Pair::start().await;
    assert_eq!(drain(&pair.gateway, "a").await.status, 202);
    pair.gateway.kill_and_restart().await;
    assert_ne!(state(&pair.gateway, "a").await, "active");
    assert_eq!(pair.gateway.get(ACME, "/").await.served_by(), "b");
    assert_eq!(pair.a.count(), 0);
}

#[tokio::test]
async fn an_undrain_survives_a_crash_right_after_its_answer() {
    let mut pair = Pair::start().await;
    assert_eq!(drain(&pair.gateway, "a").await.status, 202);
    assert_eq!(undrain(&pair.gateway, "a").await.status, 200);
    pair.gateway.kill_and_restart().await;
    assert_eq!(state(&pair.gateway, "a").await, "active");
    pair.gateway.serves(ACME, "a").await;
}

#[tokio::test]
async fn a_drain_survives_reloads() {
    let pair = Pair::start().await;
    assert_eq!(drain(&pair.gateway, "a").await.status, 202);
    pair.gateway.reload_with(&format!("{PAIR}umbrella = \"a\"\n"), &[&pair.a, &pair.b]).await;
    assert_eq!(pair.gateway.get("umbrella.app.test", "/").await.served_by(), "b");
    assert_eq!(pair.gateway.get(ACME, "/").await.served_by(), "b");
    assert_eq!(pair.a.count(), 0);
}

#[tokio::test]
async fn a_read_only_edge_of_a_drained_stamp_refuses_writes() {
    let table = PAIR.replace("read_write", "read_only");
    let pair = Pair::planned(&table, |plan| plan).await;
    let force = json!({"force": true});
    let answer = pair.gateway.admin("POST", "/v1/stamps/a/drain", Some(&force)).await;
    assert_eq!(answer.status, 202, "{}", answer.text());
    assert_eq!(pair.gateway.get(ACME, "/").await.served_by(), "b");
    let post = crate::harness::http1::post(ACME, "/", "x");
    pair.gateway.send(&post).await.assert_problem(503, "read_only_failover");
}

#[tokio::test]
async fn a_drained_stamp_is_never_a_secondary() {
    let table = PAIR.replace("globex = \"b\"\n", "");
    let mut pair = Pair::planned(&table, |plan| plan).await;
    assert_eq!(drain(&pair.gateway, "b").await.status, 202);
    pair.a.kill().await;
    let answer = pair.gateway.refuses(ACME, "stamp_unavailable").await;
    answer.assert_problem(503, "stamp_unavailable");
    assert_eq!(pair.b.count(), 0);
}

#[tokio::test]
async fn a_stamp_declared_draining_gets_no_request() {
    let pair = Pair::planned(&pair_with("state = \"draining\""), |plan| plan).await;
    assert_eq!(pair.gateway.get(ACME, "/").await.served_by(), "b");
    assert_eq!(pair.a.count(), 0);
}
