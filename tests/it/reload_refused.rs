//! Section 7 of the contract: tables that do not come into force, and what serves meanwhile.

use serde_json::Value;

use crate::harness::client::Answer;
use crate::harness::command::stampgate;
use crate::harness::deadline::eventually;
use crate::harness::files::routing;
use crate::harness::gateway::{Gateway, Plan};
use crate::harness::scene::{ACME, GLOBEX, PAIR, Pair};
use crate::harness::stamp::Stamp;

/// The usual table with a misspelt key and an edge to nowhere.
fn broken() -> String {
    PAIR.replace("endpoints = [{ url = \"http://{stamp_b}\" }]", "endpoint = [\"x\"]")
        .replace("to = \"b\"", "to = \"bb\"")
}

/// Writes the file and asks for a reload without expecting success.
async fn try_table(pair: &Pair, table: &str) -> Answer {
    let text = routing(table, &[&pair.a, &pair.b]);
    pair.gateway.directory.replace("routing.toml", &text);
    pair.gateway.admin("POST", "/v1/config/reload", None).await
}

/// The number of the first line that contains this text.
fn line_of(text: &str, part: &str) -> u64 {
    let place = text.lines().position(|line| line.contains(part)).unwrap();
    u64::try_from(place).unwrap() + 1
}

#[tokio::test]
async fn a_broken_table_is_refused_and_the_old_one_serves() {
    let pair = Pair::start().await;
    let before = pair.gateway.generation().await;
    assert_eq!(try_table(&pair, &broken()).await.status, 422);
    assert_eq!(pair.gateway.get(ACME, "/").await.served_by(), "a");
    assert_eq!(pair.gateway.get(GLOBEX, "/").await.served_by(), "b");
    assert!(!pair.gateway.last_reload_succeeded().await);
    assert!((pair.gateway.generation().await - before).abs() < f64::EPSILON);
    assert_eq!(pair.gateway.admin_get("/readyz").await.status, 200);
}

#[tokio::test]
async fn a_refusal_names_every_mistake_with_its_place_and_a_mend() {
    let pair = Pair::start().await;
    let answer = try_table(&pair, &broken()).await;
    assert_eq!(answer.status, 422);
    assert_eq!(answer.header("content-type"), Some("application/problem+json"));
    let told = answer.json();
    let text = pair.gateway.directory.read("routing.toml");
    let of_line = |line: u64| {
        let all = told["diagnostics"].as_array().unwrap();
        all.iter()
            .find(|one| one["line"] == line)
            .unwrap_or_else(|| panic!("{line}: {told}"))
            .clone()
    };
    let unknown: Value = of_line(line_of(&text, "endpoint = "));
    assert!(unknown["file"].as_str().unwrap().ends_with("routing.toml"), "{unknown}");
    assert!(unknown["column"].as_u64().unwrap() >= 1);
    assert!(unknown["message"].as_str().unwrap().contains("endpoint"), "{unknown}");
    assert!(unknown["help"].as_str().unwrap().contains("endpoints"), "{unknown}");
    let dangling = of_line(line_of(&text, "\"bb\""));
    assert!(dangling["message"].as_str().unwrap().contains("bb"), "{dangling}");
}

#[tokio::test]
async fn a_refused_table_that_was_only_watched_is_told_by_metric_and_log() {
    let pair = Pair::start().await;
    let text = routing(&broken(), &[&pair.a, &pair.b]);
    pair.gateway.directory.write("routing.toml", &text);
    eventually("a failed reload", async || {
        (!pair.gateway.last_reload_succeeded().await).then_some(())
    })
    .await;
    assert!(pair.gateway.log().contains("routing.toml"));
    assert_eq!(pair.gateway.get(ACME, "/").await.served_by(), "a");
    pair.gateway.directory.write("routing.toml", &routing(PAIR, &[&pair.a, &pair.b]));
    eventually("a good reload", async || pair.gateway.last_reload_succeeded().await.then_some(()))
        .await;
}

#[tokio::test]
async fn a_table_that_vanishes_is_refused_and_the_old_one_serves() {
    let pair = Pair::start().await;
    pair.gateway.directory.remove("routing.toml");
    let answer = pair.gateway.admin("POST", "/v1/config/reload", None).await;
    assert_eq!(answer.status, 422, "{}", answer.text());
    assert_eq!(pair.gateway.get(ACME, "/").await.served_by(), "a");
    assert!(!pair.gateway.last_reload_succeeded().await);
}

#[tokio::test]
async fn an_empty_table_is_refused() {
    let pair = Pair::start().await;
    for text in ["", "version = 1\n", "version = 2\n", "\u{0}"] {
        pair.gateway.directory.replace("routing.toml", text);
        let answer = pair.gateway.admin("POST", "/v1/config/reload", None).await;
        assert_eq!(answer.status, 422, "{text:?}: {}", answer.text());
        assert_eq!(pair.gateway.get(ACME, "/").await.served_by(), "a");
    }
}

#[tokio::test]
async fn a_tenant_file_that_vanishes_is_refused() {
    let table = format!("[[tenant_file]]\npath = \"tenants.csv\"\n{PAIR}");
    let rows = "tenant,stamp\nsmall,b\n";
    let pair = Pair::planned(&table, |plan| plan.file("tenants.csv", rows)).await;
    pair.gateway.directory.remove("tenants.csv");
    let answer = pair.gateway.admin("POST", "/v1/config/reload", None).await;
    assert_eq!(answer.status, 422, "{}", answer.text());
    assert_eq!(pair.gateway.get("small.app.test", "/").await.served_by(), "b");
}

/// The usual table with two hundred tenants, so many of them on b and the rest on a.
fn fleet(on_b: usize) -> String {
    let line = |n: usize| format!("t{n} = \"{}\"\n", if n < on_b { "b" } else { "a" });
    PAIR.to_owned() + &(0..200).map(line).collect::<String>()
}

#[tokio::test]
async fn a_table_that_moves_too_many_tenants_is_refused_unless_forced() {
    let pair = Pair::planned(&fleet(0), |plan| plan).await;
    let answer = try_table(&pair, &fleet(100)).await;
    assert_eq!(answer.status, 422, "{}", answer.text());
    assert!(answer.text().contains("100"), "{}", answer.text());
    assert!(answer.text().contains("--force"), "what can be done: {}", answer.text());
    assert_eq!(pair.gateway.get("t0.app.test", "/").await.served_by(), "a");
    assert!(!pair.gateway.last_reload_succeeded().await);
    let target = "/v1/config/reload?force=true&dry_run=true";
    let dry = pair.gateway.admin("POST", target, None).await.json();
    assert_eq!((&dry["moved"], &dry["generation"]), (&100.into(), &1.into()), "{dry}");
    let forced = pair.gateway.admin("POST", "/v1/config/reload?force=true", None).await;
    assert_eq!(forced.status, 200, "{}", forced.text());
    assert_eq!(pair.gateway.get("t0.app.test", "/").await.served_by(), "b");
}

#[tokio::test]
async fn a_table_that_loses_too_many_tenants_is_refused() {
    let pair = Pair::planned(&fleet(0), |plan| plan).await;
    assert_eq!(try_table(&pair, PAIR).await.status, 422);
    assert_eq!(pair.gateway.get("t0.app.test", "/").await.served_by(), "a");
}

#[tokio::test]
async fn a_table_that_moves_few_tenants_is_accepted() {
    let pair = Pair::planned(&fleet(0), |plan| plan).await;
    assert_eq!(try_table(&pair, &fleet(40)).await.status, 200);
    assert_eq!(pair.gateway.get("t0.app.test", "/").await.served_by(), "b");
}

#[tokio::test]
async fn many_of_few_tenants_may_move() {
    let pair = Pair::start().await;
    let moved = PAIR.replace("acme = \"a\"", "acme = \"b\"").replace("hooli", "holi");
    assert_eq!(try_table(&pair, &moved).await.status, 200);
}

/// The usual table, whose unknown tenants are placed on a, and on b by this weight.
fn placing(weight_of_b: u32) -> String {
    let a = "{ stamp = \"a\", weight = 8 }";
    let pool = format!("stamps = [{a}, {{ stamp = \"b\", weight = {weight_of_b} }}]");
    format!("[identity]\nunknown_tenant = \"hash\"\n[placement]\n{pool}\n{PAIR}")
}

#[tokio::test]
async fn a_pool_that_moves_too_many_placed_tenants_is_refused_unless_forced() {
    let pair = Pair::planned(&placing(1), |plan| plan).await;
    assert_eq!(try_table(&pair, &placing(2)).await.status, 200, "9 % move");
    let answer = try_table(&pair, &placing(8)).await;
    assert_eq!(answer.status, 422, "{}", answer.text());
    let told = "30 % of the tenants that are placed by hash would have another home, or none";
    assert!(answer.text().contains(told), "{}", answer.text());
    assert!(!pair.gateway.last_reload_succeeded().await);
    let diff = pair.gateway.admin("POST", "/v1/config/diff", None).await.json();
    assert!(diff["guard"].as_str().unwrap().contains(told), "{diff}");
    let moves = &diff["placement"]["moves"];
    assert_eq!((&moves[0]["from"], &moves[0]["to"]), (&"a".into(), &"b".into()), "{diff}");
    assert!((28.0..=32.0).contains(&moves[0]["percent"].as_f64().unwrap()), "{diff}");
    let forced = pair.gateway.admin("POST", "/v1/config/reload?force=true", None).await;
    assert_eq!(forced.status, 200, "{}", forced.text());
}

#[tokio::test]
async fn placed_tenants_are_not_refused_from_one_reload_to_the_next() {
    let pair = Pair::planned(&placing(1), |plan| plan).await;
    assert_eq!(try_table(&pair, PAIR).await.status, 422);
    assert_eq!(pair.gateway.get("newcomer.app.test", "/").await.status, 200);
}

async fn config(gateway: &Gateway) -> Value {
    let answer = gateway.admin_get("/v1/config").await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.json()
}

#[tokio::test]
async fn a_gateway_starts_from_the_last_table_it_accepted() {
    for damage in [Some("nonsense"), Some(""), None] {
        let mut pair = Pair::start().await;
        assert_eq!(config(&pair.gateway).await["stale"], false);
        pair.gateway.kill();
        match damage {
            Some(text) => pair.gateway.directory.write("routing.toml", text),
            None => pair.gateway.directory.remove("routing.toml"),
        }
        pair.gateway.restart().await;
        assert_eq!(pair.gateway.get(ACME, "/").await.served_by(), "a", "{damage:?}");
        assert_eq!(config(&pair.gateway).await["stale"], true, "{damage:?}");
        assert!(!pair.gateway.last_reload_succeeded().await);
        pair.gateway.reload_with(PAIR, &[&pair.a, &pair.b]).await;
        assert_eq!(config(&pair.gateway).await["stale"], false, "{damage:?}");
    }
}

#[tokio::test]
async fn the_last_good_table_is_the_last_accepted_one_with_its_tenant_files() {
    let table = format!("[[tenant_file]]\npath = \"tenants.csv\"\n{PAIR}");
    let rows = "tenant,stamp\nsmall,a\n";
    let mut pair = Pair::planned(&table, |plan| plan.file("tenants.csv", rows)).await;
    pair.gateway.directory.replace("tenants.csv", "tenant,stamp\nsmall,b\n");
    pair.gateway.reload().await;
    pair.gateway.kill();
    pair.gateway.directory.write("routing.toml", "nonsense");
    pair.gateway.directory.remove("tenants.csv");
    pair.gateway.restart().await;
    assert_eq!(pair.gateway.get("small.app.test", "/").await.served_by(), "b");
}

#[tokio::test]
async fn a_gateway_without_any_good_table_does_not_start() {
    let (a, b) = (Stamp::start("a").await, Stamp::start("b").await);
    let directory = Plan::new(&broken(), &[&a, &b]).written();
    let path = directory.path("gateway.toml");
    let ended = stampgate(&["run", "-c", path.to_str().unwrap()]).await.exits(3);
    assert!(ended.stderr.contains("routing.toml:"), "{ended:?}");
    assert!(!directory.path("state/ports.json").exists());
}
