//! Section 5 of the contract: which stamp serves when home cannot.

use tokio::time::Instant;

use crate::harness::command::stampgate;
use crate::harness::deadline::eventually;
use crate::harness::gateway::Plan;
use crate::harness::http1::{Request, get, post};
use crate::harness::scene::{ACME, GLOBEX, PAIR, Pair, pair_without_edge};
use crate::harness::stamp::Stamp;

#[tokio::test]
async fn from_the_death_of_home_on_every_get_is_answered_by_the_secondary() {
    let mut pair = Pair::start().await;
    assert_eq!(pair.gateway.get(ACME, "/").await.served_by(), "a");
    pair.a.kill().await;
    for _ in 0..50 {
        let answer = pair.gateway.get(ACME, "/").await;
        assert_eq!(answer.served_by(), "b");
        assert_eq!(answer.arrived("x-stamp-id"), ["b"]);
        assert_eq!(answer.arrived("x-stamp-home"), ["a"]);
        assert_eq!(answer.arrived("x-stamp-tenant"), ["acme"]);
    }
}

#[tokio::test]
async fn a_read_write_edge_takes_every_method() {
    let pair = Pair::with_dead_home().await;
    for method in ["POST", "PUT", "DELETE", "PATCH"] {
        let request = Request::new(method, "/").header("Host", ACME).body("x");
        assert_eq!(pair.gateway.send(&request).await.served_by(), "b", "{method}");
    }
}

#[tokio::test]
async fn a_read_only_edge_takes_only_safe_methods() {
    let table = PAIR.replace("read_write", "read_only");
    let mut pair = Pair::planned(&table, |plan| plan).await;
    pair.a.kill().await;
    pair.gateway.knows_down("a").await;
    for method in ["GET", "HEAD", "OPTIONS"] {
        let request = Request::new(method, "/").header("Host", ACME);
        assert_eq!(pair.gateway.send(&request).await.status, 200, "{method}");
    }
    let served = pair.b.count();
    for method in ["POST", "PUT", "DELETE", "PATCH"] {
        let request = Request::new(method, "/").header("Host", ACME).body("x");
        pair.gateway.send(&request).await.assert_problem(503, "read_only_failover");
    }
    assert_eq!(pair.b.count(), served);
}

#[tokio::test]
async fn a_short_edge_is_read_write() {
    let table = PAIR.replace("[{ to = \"b\", mode = \"read_write\" }]", "[\"b\"]");
    let mut pair = Pair::planned(&table, |plan| plan).await;
    pair.a.kill().await;
    pair.gateway.knows_down("a").await;
    assert_eq!(pair.gateway.send(&post(ACME, "/", "x")).await.served_by(), "b");
}

#[tokio::test]
async fn without_an_edge_a_dead_home_is_unavailable() {
    let mut pair = Pair::planned(&pair_without_edge(), |plan| plan).await;
    pair.a.kill().await;
    let answer = pair.gateway.refuses(ACME, "stamp_unavailable").await;
    answer.assert_problem(503, "stamp_unavailable");
    assert_eq!(pair.b.count(), 0, "never to any healthy one");
    assert_eq!(pair.gateway.get(GLOBEX, "/").await.served_by(), "b");
}

#[tokio::test]
async fn a_dead_secondary_of_a_dead_home_is_unavailable() {
    let mut pair = Pair::with_dead_home().await;
    pair.b.kill().await;
    let answer = pair.gateway.refuses(ACME, "stamp_unavailable").await;
    answer.assert_problem(503, "stamp_unavailable");
}

#[tokio::test]
async fn one_dead_stamp_leaves_the_gateway_ready() {
    let pair = Pair::with_dead_home().await;
    assert_eq!(pair.gateway.admin_get("/readyz").await.status, 200);
}

#[tokio::test]
async fn a_request_never_goes_over_two_edges() {
    let mut stamps = [Stamp::start("a").await, Stamp::start("b").await, Stamp::start("c").await];
    let table = PAIR.replace(
        "[tenants]",
        "failover = [\"c\"]\n[[stamp]]\nid = \"c\"\nendpoints = [{ url = \"http://{stamp_c}\" }]\n[tenants]",
    );
    let gateway = Plan::new(&table, &stamps.each_ref()).start().await;
    stamps[0].kill().await;
    stamps[1].kill().await;
    gateway.refuses(ACME, "stamp_unavailable").await;
    gateway.serves(GLOBEX, "c").await;
    let of_acme = |seen: &crate::harness::stamp::Seen| seen.head.header("host") == Some(ACME);
    assert!(!stamps[2].seen().iter().any(of_acme), "acme came to c");
}

#[tokio::test]
async fn edges_are_tried_in_their_declared_order() {
    let mut stamps = [Stamp::start("a").await, Stamp::start("b").await, Stamp::start("c").await];
    let table = PAIR.replace("[{ to = \"b\", mode = \"read_write\" }]", "[\"b\", \"c\"]").replace(
        "[tenants]",
        "[[stamp]]\nid = \"c\"\nendpoints = [{ url = \"http://{stamp_c}\" }]\n[tenants]",
    );
    let gateway = Plan::new(&table, &stamps.each_ref()).start().await;
    stamps[0].kill().await;
    gateway.serves(ACME, "b").await;
    stamps[1].kill().await;
    gateway.serves(ACME, "c").await;
}

#[tokio::test]
async fn home_serves_again_after_it_was_up_for_its_hold() {
    let mut pair = Pair::with_dead_home().await;
    pair.gateway.serves(ACME, "b").await;
    pair.a.revive();
    let revived = Instant::now();
    pair.gateway.serves(ACME, "a").await;
    let waited = revived.elapsed();
    assert!(waited.as_millis() >= 300, "home came back after {waited:?}");
    let answer = pair.gateway.get(ACME, "/").await;
    assert_eq!(answer.arrived("x-stamp-home"), [""; 0]);
}

#[tokio::test]
async fn failovers_are_counted_and_shown() {
    let pair = Pair::with_dead_home().await;
    pair.gateway.serves(ACME, "b").await;
    let edge = [("from", "a"), ("to", "b")];
    assert!(pair.gateway.metric("stampgate_failovers_total", &edge).await >= 1.0);
    eventually("the active failover", async || {
        (pair.gateway.metric("stampgate_failover_active", &edge).await > 0.5).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_tenant_of_the_secondary_is_not_touched_by_the_failover() {
    let pair = Pair::with_dead_home().await;
    let answer = pair.gateway.send(&get(GLOBEX, "/")).await;
    assert_eq!(answer.served_by(), "b");
    assert_eq!(answer.arrived("x-stamp-home"), [""; 0]);
}

#[tokio::test]
async fn a_stamp_named_by_its_own_name_fails_over_as_well() {
    let pair = Pair::with_dead_home().await;
    let answer = pair.gateway.send(&get("a.stamps.test", "/")).await;
    assert_eq!(answer.served_by(), "b");
    assert_eq!(answer.arrived("x-stamp-home"), ["a"]);
}

/// The usual table where a is in the EU and b in the US.
fn across_a_fence() -> String {
    PAIR.replace("id = \"a\"\n", "id = \"a\"\nresidency = \"eu\"\n")
        .replace("id = \"b\"\n", "id = \"b\"\nresidency = \"us\"\n")
}

#[tokio::test]
async fn a_table_whose_edge_leaves_a_residency_is_refused() {
    let (a, b) = (Stamp::start("a").await, Stamp::start("b").await);
    let directory = Plan::new(&across_a_fence(), &[&a, &b]).written();
    let path = directory.path("gateway.toml");
    let ended = stampgate(&["check", "-c", path.to_str().unwrap()]).await.exits(3);
    assert!(ended.all().contains("residency"), "{}", ended.all());
}

#[tokio::test]
async fn a_table_whose_edge_leaves_the_fence_of_one_tenant_is_refused() {
    let (a, b) = (Stamp::start("a").await, Stamp::start("b").await);
    let table = across_a_fence()
        .replace("failover = [{ to = \"b\"", "failover = [\"c\"] # [{ to = \"b\"")
        .replace("acme = \"a\"", "acme = { stamp = \"a\", residency = [\"us\"] }")
        .replace("[tenants]", "[[stamp]]\nid = \"c\"\nresidency = \"eu\"\nendpoints = [{ url = \"http://127.0.0.1:1\" }]\n[tenants]");
    let directory = Plan::new(&table, &[&a, &b]).written();
    let path = directory.path("gateway.toml");
    stampgate(&["check", "-c", path.to_str().unwrap()]).await.exits(3);
}

#[tokio::test]
async fn a_reload_cannot_open_a_way_across_a_fence() {
    let fenced =
        across_a_fence().replace("failover = [{ to = \"b\", mode = \"read_write\" }]\n", "");
    let mut pair = Pair::planned(&fenced, |plan| plan).await;
    let open = crate::harness::files::routing(&across_a_fence(), &[&pair.a, &pair.b]);
    pair.gateway.directory.replace("routing.toml", &open);
    let answer = pair.gateway.admin("POST", "/v1/config/reload", None).await;
    assert_eq!(answer.status, 422, "{}", answer.text());
    pair.a.kill().await;
    pair.gateway.refuses(ACME, "stamp_unavailable").await;
    assert_eq!(pair.b.count(), 0);
}
