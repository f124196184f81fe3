//! Drills: home is treated as down for a share of its tenants, and nobody else is touched.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::Instant;

use crate::harness::command::operate;
use crate::harness::deadline::eventually;
use crate::harness::gateway::Gateway;
use crate::harness::scene::{PAIR, Pair, pair_without_edge};
use crate::harness::script::plain;

/// Tenants on a, enough of them that a share is some and not all.
const TENANTS: usize = 40;

async fn scene() -> Pair {
    let rows: String = (0..TENANTS).map(|number| format!("t{number} = \"a\"\n")).collect();
    let pair = Pair::planned(&(PAIR.to_owned() + &rows), |plan| plan).await;
    eventually("both stamps up", async || {
        let stamps = pair.gateway.admin_get("/v1/stamps").await.json();
        let up = |stamp: &Value| stamp["health"] == "up";
        stamps["stamps"].as_array().unwrap().iter().all(up).then_some(())
    })
    .await;
    pair
}

fn host(number: usize) -> String {
    format!("t{number}.app.test")
}

async fn begin(gateway: &Gateway, percent: u8, lasts: &str) -> Value {
    let asked = json!({ "stamp": "a", "percent": percent, "for": lasts, "reason": "game day" });
    let answer = gateway.admin("POST", "/v1/drills", Some(&asked)).await;
    assert_eq!(answer.status, 202, "{}", answer.text());
    answer.json()
}

/// The drill that began last.
async fn last(gateway: &Gateway) -> Value {
    let drills = gateway.admin_get("/v1/drills").await.json();
    drills["drills"].as_array().unwrap().last().unwrap().clone()
}

async fn is_over(gateway: &Gateway) -> Value {
    eventually("the end of the drill", async || {
        let last = last(gateway).await;
        (last["outcome"] != "running").then_some(last)
    })
    .await
}

#[tokio::test]
async fn a_drill_moves_a_share_of_the_tenants_and_brings_them_back() {
    let pair = scene().await;
    assert_eq!(begin(&pair.gateway, 30, "2s").await["outcome"], "running");
    let mut away = 0;
    for number in 0..TENANTS {
        let answer = pair.gateway.get(&host(number), "/").await;
        away += usize::from(answer.served_by() == "b");
    }
    assert!((1..TENANTS / 2).contains(&away), "{away} of {TENANTS} moved");
    let over = is_over(&pair.gateway).await;
    assert_eq!(over["outcome"], "completed");
    assert_eq!(over["moved"]["requests"], away);
    assert_eq!(over["rest"]["requests"], TENANTS - away);
    for number in 0..TENANTS {
        pair.gateway.serves(&host(number), "a").await;
    }
}

#[tokio::test]
async fn a_drill_that_does_harm_ends_itself() {
    let pair = scene().await;
    pair.b.plays(plain(500, "", "no"));
    begin(&pair.gateway, 50, "10m").await;
    let over = eventually("an abort", async || {
        for number in 0..TENANTS {
            pair.gateway.get(&host(number), "/").await;
        }
        let last = last(&pair.gateway).await;
        (last["outcome"] != "running").then_some(last)
    })
    .await;
    assert_eq!((&over["outcome"], &over["aborted_by"]), (&json!("aborted"), &json!("errors")));
    for number in 0..TENANTS {
        pair.gateway.serves(&host(number), "a").await;
    }
}

#[tokio::test]
async fn a_drill_can_be_cancelled_and_dies_with_the_process() {
    let mut pair = scene().await;
    begin(&pair.gateway, 100, "10m").await;
    pair.gateway.serves(&host(1), "b").await;
    assert_eq!(pair.gateway.admin("DELETE", "/v1/drills/a", None).await.status, 200);
    pair.gateway.serves(&host(1), "a").await;
    assert_eq!(last(&pair.gateway).await["outcome"], "cancelled");
    let none = pair.gateway.admin("DELETE", "/v1/drills/a", None).await;
    none.assert_problem(409, "not_drilled");
    begin(&pair.gateway, 100, "10m").await;
    pair.gateway.serves(&host(1), "b").await;
    pair.gateway.kill_and_restart().await;
    pair.gateway.serves(&host(1), "a").await;
}

#[tokio::test]
async fn a_cancelled_drill_does_not_end_the_next_one() {
    let pair = scene().await;
    begin(&pair.gateway, 100, "1s").await;
    pair.gateway.serves(&host(1), "b").await;
    eventually("a drill that is watched", async || {
        (last(&pair.gateway).await["moved"]["requests"] != 0).then_some(())
    })
    .await;
    assert_eq!(pair.gateway.admin("DELETE", "/v1/drills/a", None).await.status, 200);
    let began = Instant::now();
    begin(&pair.gateway, 50, "3s").await;
    let over = is_over(&pair.gateway).await;
    let lasted = began.elapsed();
    assert!(lasted >= Duration::from_secs(3), "it lasted {lasted:?}");
    assert_eq!((&over["outcome"], &over["percent"]), (&json!("completed"), &json!(50)));
    let drills = pair.gateway.admin_get("/v1/drills").await.json();
    assert_eq!(drills["drills"][0]["outcome"], "cancelled");
}

#[tokio::test]
async fn a_dry_run_of_a_drill_begins_and_ends_nothing() {
    let pair = scene().await;
    let asked = json!({ "stamp": "a", "percent": 100, "for": "10m" });
    let dry = "/v1/drills?dry_run=true";
    let answer = pair.gateway.admin("POST", dry, Some(&asked)).await;
    assert_eq!((answer.status, &answer.json()["result"]), (200, &json!("done")));
    assert_eq!(pair.gateway.admin_get("/v1/drills").await.json()["drills"], json!([]));
    pair.gateway.serves(&host(1), "a").await;
    let none = pair.gateway.admin("DELETE", "/v1/drills/a?dry_run=true", None).await;
    none.assert_problem(409, "not_drilled");

    begin(&pair.gateway, 100, "10m").await;
    let answer = pair.gateway.admin("DELETE", "/v1/drills/a?dry_run=true", None).await;
    assert_eq!((answer.status, &answer.json()["dry_run"]), (200, &json!(true)));
    assert_eq!(last(&pair.gateway).await["outcome"], "running");
    let refused = pair.gateway.admin("POST", dry, Some(&asked)).await;
    refused.assert_problem(409, "not_eligible");
    for wrong in ["/v1/drills?dryrun=true", "/v1/drills?dry_run=maybe"] {
        let refused = pair.gateway.admin("POST", wrong, Some(&asked)).await;
        refused.assert_problem(422, "invalid_query");
    }
}

#[tokio::test]
async fn a_drill_that_leaves_tenants_with_nowhere_to_go_is_refused() {
    let pair = Pair::planned(&pair_without_edge(), |plan| plan).await;
    let asked = json!({ "stamp": "a", "percent": 10, "for": "1m" });
    pair.gateway
        .admin("POST", "/v1/drills", Some(&asked))
        .await
        .assert_problem(409, "would_strand");
    for wrong in [json!({ "stamp": "a", "percent": 0 }), json!({ "stamp": "a", "percent": 101 })] {
        let refused = pair.gateway.admin("POST", "/v1/drills", Some(&wrong)).await;
        refused.assert_problem(422, "invalid_body");
    }
    let unknown = json!({ "stamp": "z", "percent": 10 });
    pair.gateway
        .admin("POST", "/v1/drills", Some(&unknown))
        .await
        .assert_problem(404, "unknown_stamp");
}

#[tokio::test]
async fn the_command_waits_for_the_drill_and_tells_what_it_showed() {
    let pair = scene().await;
    let arguments = ["drill", "a", "--percent", "20", "--for", "1s", "--wait"];
    let told = operate(&pair.gateway, &arguments).await.exits(0);
    assert!(told.stdout.contains("completed"), "{}", told.all());
    pair.gateway.serves(&host(1), "a").await;
}
