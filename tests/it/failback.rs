//! How requests come home: a share at a time, after a hold that grows, or by an operator's word.

use std::collections::HashSet;
use std::fs;

use serde_json::{Value, json};

use crate::harness::command::operate;
use crate::harness::deadline::eventually;
use crate::harness::gateway::Gateway;
use crate::harness::scene::{ACME, PAIR, Pair, pair_with};

/// Home a with this failback.
async fn coming_home(failback: &str) -> Pair {
    Pair::planned(&pair_with(&format!("failback = {{ {failback} }}")), |plan| plan).await
}

async fn stamp(gateway: &Gateway, id: &str) -> Value {
    gateway.admin_get(&format!("/v1/stamps/{id}")).await.json()
}

async fn is_up(gateway: &Gateway, id: &str) {
    eventually("a stamp that is up", async || {
        (stamp(gateway, id).await["health"] == "up").then_some(())
    })
    .await;
}

/// Home dies, and comes up again while b answers for it.
async fn lose_and_regain(pair: &mut Pair) {
    pair.a.kill().await;
    pair.gateway.knows_down("a").await;
    pair.gateway.serves(ACME, "b").await;
    pair.a.revive();
    is_up(&pair.gateway, "a").await;
}

#[tokio::test]
async fn a_manual_failback_waits_for_the_operator() {
    let mut pair = coming_home("mode = \"manual\", hold = \"0s\", ramp = \"0s\"").await;
    lose_and_regain(&mut pair).await;
    let seen = stamp(&pair.gateway, "a").await;
    assert_eq!((&seen["waits_for_operator"], &seen["serving"]), (&json!(true), &json!("edge")));
    assert_eq!(pair.gateway.get(ACME, "/").await.served_by(), "b");
    let answer = pair.gateway.admin("POST", "/v1/stamps/a/failback", Some(&json!({}))).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    pair.gateway.serves(ACME, "a").await;
    let again = pair.gateway.admin("POST", "/v1/stamps/a/failback", Some(&json!({}))).await;
    assert_eq!(again.status, 200, "nothing is away any more");
}

/// Waits until the file says so of the homes that wait for their operator.
async fn waiting_is_kept(gateway: &Gateway, homes: &Value) {
    let path = gateway.directory.path("state/waiting.json");
    eventually("the homes that wait, on disk", async || {
        let text: Value = serde_json::from_slice(&fs::read(&path).ok()?).unwrap();
        (text["homes"] == *homes).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_restart_is_not_the_operators_word() {
    let mut pair = coming_home("mode = \"manual\", hold = \"0s\", ramp = \"0s\"").await;
    lose_and_regain(&mut pair).await;
    waiting_is_kept(&pair.gateway, &json!({ "a": "b" })).await;
    pair.gateway.kill_and_restart().await;
    is_up(&pair.gateway, "a").await;
    assert_eq!(pair.gateway.get(ACME, "/").await.served_by(), "b");
    assert_eq!(stamp(&pair.gateway, "a").await["waits_for_operator"], json!(true));
    let answer = pair.gateway.admin("POST", "/v1/stamps/a/failback", Some(&json!({}))).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    waiting_is_kept(&pair.gateway, &json!({})).await;
    pair.gateway.kill_and_restart().await;
    assert_eq!(pair.gateway.get(ACME, "/").await.served_by(), "a");
}

#[tokio::test]
async fn a_damaged_list_of_waiting_homes_does_not_keep_the_gateway_from_starting() {
    let mut pair = coming_home("mode = \"manual\"").await;
    pair.gateway.kill();
    pair.gateway.directory.write("state/waiting.json", "{");
    pair.gateway.restart().await;
    pair.gateway.serves(ACME, "a").await;
}

#[tokio::test]
async fn a_home_that_is_down_cannot_be_failed_back_to() {
    let mut pair = coming_home("mode = \"manual\"").await;
    pair.a.kill().await;
    pair.gateway.knows_down("a").await;
    let refused = pair.gateway.admin("POST", "/v1/stamps/a/failback", Some(&json!({}))).await;
    refused.assert_problem(409, "not_eligible");
    let unknown = pair.gateway.admin("POST", "/v1/stamps/z/failback", Some(&json!({}))).await;
    unknown.assert_problem(404, "unknown_stamp");
}

#[tokio::test]
async fn the_third_loss_within_the_hour_waits_for_the_operator() {
    let mut pair = coming_home("hold = \"100ms\", ramp = \"0s\"").await;
    for _ in 0..2 {
        lose_and_regain(&mut pair).await;
        pair.gateway.serves(ACME, "a").await;
    }
    lose_and_regain(&mut pair).await;
    assert_eq!(stamp(&pair.gateway, "a").await["waits_for_operator"], true);
    assert!(pair.gateway.log().contains("lost too often"), "an operator must hear of it");
    operate(&pair.gateway, &["failback", "a"]).await.exits(0);
    pair.gateway.serves(ACME, "a").await;
    assert_eq!(stamp(&pair.gateway, "a").await["waits_for_operator"], false);
}

#[tokio::test]
async fn tenants_come_home_a_share_at_a_time_and_each_of_them_once() {
    let names: Vec<String> = (0..30).map(|number| format!("t{number}")).collect();
    let rows: String = names.iter().map(|name| format!("{name} = \"a\"\n")).collect();
    let table = pair_with("failback = { hold = \"100ms\", ramp = \"2s\" }") + &rows;
    let mut pair = Pair::planned(&table, |plan| plan).await;
    lose_and_regain(&mut pair).await;
    let (mut home, mut shares) = (HashSet::new(), HashSet::new());
    eventually("all tenants at home", async || {
        for name in &names {
            match pair.gateway.get(&format!("{name}.app.test"), "/").await.served_by().as_str() {
                "a" => drop(home.insert(name.clone())),
                other => assert!(!home.contains(name), "{name} was at home and went to {other}"),
            }
        }
        shares.insert(home.len());
        (home.len() == names.len()).then_some(())
    })
    .await;
    assert!(shares.len() > 3, "all at once is no ramp: {shares:?}");
}

#[tokio::test]
async fn a_stamp_goes_through_maintenance_and_warms_up() {
    let pair = coming_home("ramp = \"500ms\"").await;
    is_up(&pair.gateway, "a").await;
    let put = async |state: &str| {
        let body = json!({ "state": state });
        pair.gateway.admin("PUT", "/v1/stamps/a/state", Some(&body)).await
    };
    put("maintenance").await.assert_problem(409, "not_drained");
    put("drained").await.assert_problem(409, "no_such_step");
    put("asleep").await.assert_problem(422, "invalid_body");
    assert_eq!(put("draining").await.status, 200);
    let drained = pair.gateway.admin_get("/v1/stamps/a/drain?wait=10s").await.json();
    assert_eq!(drained["state"], "drained");
    assert_eq!(put("maintenance").await.json()["state"], "maintenance");
    assert_eq!(pair.gateway.get(ACME, "/").await.served_by(), "b");
    operate(&pair.gateway, &["state", "a", "warming"]).await.exits(0);
    eventually("an active stamp", async || {
        (stamp(&pair.gateway, "a").await["state"] == "active").then_some(())
    })
    .await;
    pair.gateway.serves(ACME, "a").await;
}

#[tokio::test]
async fn maintenance_survives_a_crash() {
    let mut pair = Pair::start().await;
    is_up(&pair.gateway, "b").await;
    let body = json!({ "state": "maintenance", "force": true });
    assert_eq!(pair.gateway.admin("PUT", "/v1/stamps/a/state", Some(&body)).await.status, 200);
    pair.gateway.kill_and_restart().await;
    assert_eq!(stamp(&pair.gateway, "a").await["state"], "maintenance");
    pair.gateway.serves(ACME, "b").await;
    assert_eq!(pair.a.count(), 0);
}

#[tokio::test]
async fn when_most_stamps_fail_at_once_the_gateway_suspects_itself() {
    use crate::harness::gateway::Plan;
    use crate::harness::stamp::Stamp;
    let mut third = Stamp::start("c").await;
    let (mut a, mut b) = (Stamp::start("a").await, Stamp::start("b").await);
    let third_stamp =
        "[[stamp]]\nid = \"c\"\nendpoints = [{ url = \"http://{stamp_c}\" }]\n[tenants]";
    let table = PAIR.replace("[tenants]", third_stamp);
    let gateway = Plan::new(&table, &[&a, &b, &third]).start().await;
    for id in ["a", "b", "c"] {
        is_up(&gateway, id).await;
    }
    a.fails_probes();
    b.fails_probes();
    third.fails_probes();
    eventually("self-suspicion", async || {
        (gateway.metric("stampgate_self_suspect", &[]).await > 0.0).then_some(())
    })
    .await;
    gateway.admin_get("/readyz").await.assert_problem(503, "not_ready");
    assert_eq!(gateway.get(ACME, "/").await.served_by(), "a", "the last standing is kept");
    for stamp in [&mut a, &mut b, &mut third] {
        stamp.passes_probes();
    }
    eventually("trust", async || (gateway.admin_get("/readyz").await.status == 200).then_some(()))
        .await;
    assert!(gateway.metric("stampgate_self_suspect", &[]).await < 0.5);
}
