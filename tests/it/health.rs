//! Section 5 of the contract: probes, passive counting, endpoints of one stamp.

use crate::harness::files::routing_without_defaults;
use crate::harness::gateway::{Gateway, Plan};
use crate::harness::http1::{get, post};
use crate::harness::scene::{ACME, PAIR, Pair, pair_with, pair_without_edge};
use crate::harness::script::{Gate, Script, plain};
use crate::harness::stamp::{OnAccept, Stamp};

/// Tenants enough that no one of them could be called a poison tenant.
const TENANTS: [&str; 4] = ["t1", "t2", "t3", "t4"];

fn with_tenants() -> String {
    let lines: String = TENANTS.iter().map(|tenant| format!("{tenant} = \"a\"\n")).collect();
    format!("{PAIR}{lines}")
}

#[tokio::test]
async fn a_failing_probe_takes_a_stamp_out_and_a_good_one_brings_it_back() {
    let pair = Pair::start().await;
    pair.a.fails_probes();
    pair.gateway.serves(ACME, "b").await;
    pair.a.passes_probes();
    pair.gateway.serves(ACME, "a").await;
}

#[tokio::test]
async fn one_failed_probe_is_not_enough() {
    let table = PAIR.replace(
        "id = \"a\"\n",
        "id = \"a\"\nhealth = { path = \"/healthz\", interval = \"100ms\", fall = 1000 }\n",
    );
    let pair = Pair::planned(&table, |plan| plan).await;
    pair.a.fails_probes();
    pair.a.probed_again(3).await;
    assert_eq!(pair.gateway.get(ACME, "/").await.served_by(), "a");
}

#[tokio::test]
async fn a_probe_counts_as_good_by_the_expected_status() {
    let line =
        "health = { path = \"/healthz\", interval = \"100ms\", fall = 2, expect = [\"503\"] }";
    let pair = Pair::planned(&pair_with(line), |plan| plan).await;
    pair.gateway.serves(ACME, "b").await;
    pair.a.fails_probes();
    pair.gateway.serves(ACME, "a").await;
}

#[tokio::test]
async fn a_probe_that_hangs_is_a_failed_probe() {
    let line =
        "health = { path = \"/healthz\", interval = \"100ms\", timeout = \"200ms\", fall = 2 }";
    let pair = Pair::planned(&pair_with(line), |plan| plan).await;
    pair.a.on_accept(OnAccept::Ignore);
    pair.gateway.knows_down("a").await;
}

#[tokio::test]
async fn a_request_that_nobody_may_serve_has_its_stamp_probed_at_once() {
    let (mut a, b) = (Stamp::start("a").await, Stamp::start("b").await);
    a.kill().await;
    // Ten minutes: nothing but a request can ask for a second probe here.
    let line = "id = \"a\"\nhealth = { path = \"/healthz\", interval = \"600s\", fall = 1 }\n";
    let table = pair_without_edge().replace("id = \"a\"\n", line);
    let gateway = Plan::new(&table, &[&a, &b]).start().await;
    gateway.refuses(ACME, "stamp_unavailable").await;
    a.revive();
    gateway.serves(ACME, "a").await;
}

#[tokio::test]
async fn without_a_path_a_connect_is_probe_enough() {
    let (mut a, b) = (Stamp::start("a").await, Stamp::start("b").await);
    let defaults = "version = 1\n[defaults.stamp.health]\ninterval = \"100ms\"\nfall = 2\nrise = 2\n\
                    [defaults.stamp.failback]\nhold = \"300ms\"\nramp = \"0s\"\n";
    let plan = Plan::new(PAIR, &[&a, &b]);
    let table = routing_without_defaults(&format!("{defaults}{PAIR}"), &[&a, &b]);
    plan.directory.write("routing.toml", &table);
    let gateway = plan.start().await;
    a.fails_probes();
    assert_eq!(gateway.get(ACME, "/").await.served_by(), "a");
    a.kill().await;
    gateway.knows_down("a").await;
    gateway.serves(ACME, "b").await;
    a.revive();
    gateway.serves(ACME, "a").await;
    assert_eq!(a.probes(), 0, "a TCP probe asks for nothing");
}

#[tokio::test]
async fn the_state_of_each_endpoint_is_a_metric() {
    let mut pair = Pair::start().await;
    let (home, other) = ([("stamp", "a")], [("stamp", "b")]);
    crate::harness::deadline::eventually("both endpoints up", async || {
        let metrics = pair.gateway.metrics().await;
        let up = metrics.sum("stampgate_endpoint_up", &home)
            + metrics.sum("stampgate_endpoint_up", &other);
        (up > 1.5).then_some(())
    })
    .await;
    pair.a.kill().await;
    pair.gateway.knows_down("a").await;
    assert!(pair.gateway.metric("stampgate_endpoint_up", &other).await > 0.5);
    let metrics = pair.gateway.metrics().await;
    let out = |stamp| metrics.sum("stampgate_endpoint_out", &[("stamp", stamp)]) > 0.5;
    assert!(out("a") && !out("b"), "and so is why it is out");
}

#[tokio::test]
async fn a_stamp_that_breaks_off_every_request_is_left_alone_after_a_while() {
    let pair = Pair::planned(&with_tenants(), |plan| plan).await;
    pair.a.plays(Script::ResetAfterHead);
    for round in 0..10 {
        let host = format!("{}.app.test", TENANTS[round % TENANTS.len()]);
        assert_eq!(pair.gateway.get(&host, "/").await.served_by(), "b", "GETs are repeated");
    }
    crate::harness::deadline::eventually("requests that spare home", async || {
        let before = pair.a.count();
        for tenant in TENANTS {
            let host = format!("{tenant}.app.test");
            assert_eq!(pair.gateway.get(&host, "/").await.served_by(), "b");
        }
        (pair.a.count() == before).then_some(())
    })
    .await;
}

#[tokio::test]
async fn errors_of_the_application_never_take_a_stamp_out() {
    let pair = Pair::planned(&with_tenants(), |plan| plan).await;
    for status in [500, 404, 429] {
        pair.a.plays(plain(status, "", "mine"));
        for round in 0..20 {
            let host = format!("{}.app.test", TENANTS[round % TENANTS.len()]);
            assert_eq!(pair.gateway.get(&host, "/").await.status, status);
        }
    }
    assert_eq!(pair.b.count(), 0);
}

/// One failed request opens the breaker of a for 100 ms; probes of it are good.
fn strict() -> String {
    let passive = "passive = { consecutive_failures = 1, open_for = \"100ms\" }";
    let line =
        format!("health = {{ path = \"/healthz\", interval = \"100ms\", fall = 2, {passive} }}");
    // Acme alone lives on a, so that its failures are enough.
    let all = pair_with(&line);
    all.split_inclusive('\n').filter(|line| !line.contains("stamp = \"a\", state")).collect()
}

/// A home that breaks off requests, with its breaker half-open.
async fn on_trial() -> Pair {
    let pair = Pair::planned(&strict(), |plan| plan).await;
    pair.a.plays(Script::ResetAfterHead);
    assert_eq!(pair.gateway.get(ACME, "/").await.served_by(), "b");
    crate::harness::deadline::eventually("a half-open breaker", async || {
        let stamp = pair.gateway.admin_get("/v1/stamps/a").await.json();
        (stamp["endpoints"][0]["standing"] == "trial").then_some(())
    })
    .await;
    pair
}

#[tokio::test]
async fn a_post_is_no_guinea_pig_for_a_stamp_that_broke_off_requests() {
    let pair = on_trial().await;
    let seen = pair.a.count();
    let answer = pair.gateway.send(&post(ACME, "/", "precious")).await;
    assert_eq!((answer.status, pair.a.count()), (200, seen));
    assert_eq!(answer.served_by(), "b");
    // A GET makes the trial; it fails, and loses nothing.
    assert_eq!(pair.gateway.get(ACME, "/").await.served_by(), "b");
    assert_eq!(pair.a.count(), seen + 1);
}

#[tokio::test]
async fn a_reused_connection_that_breaks_off_late_counts_against_its_stamp() {
    let pair = Pair::planned(&strict(), |plan| plan.set("runtime", "workers", "1")).await;
    assert_eq!(pair.gateway.get(ACME, "/").await.served_by(), "a");
    let gate = Gate::closed();
    pair.a.plays_once(gate.before(Script::ResetAfterHead));
    let mut client = pair.gateway.connect().await;
    client.send(get(ACME, "/").bytes()).await;
    pair.a.reached_by(2).await;
    // Much later than a connection that was closed while it rested would show it.
    pair.a.probed_again(2).await;
    gate.open();
    assert_eq!(client.answer().await.status, 200);
    crate::harness::deadline::eventually("an open breaker", async || {
        pair.gateway.log().contains("breaker changed").then_some(())
    })
    .await;
}

#[tokio::test]
async fn posts_alone_bring_a_stamp_back_as_well() {
    let pair = on_trial().await;
    pair.a.plays(Script::Echo);
    crate::harness::deadline::eventually("a POST served by home", async || {
        let answer = pair.gateway.send(&post(ACME, "/", "precious")).await;
        assert_eq!(answer.status, 200);
        (answer.served_by() == "a").then_some(())
    })
    .await;
}

/// A stamp of two endpoints, `a1` and `a2`, and the gateway before them.
async fn two_endpoints(extra: &str) -> (Stamp, Stamp, Gateway) {
    let (a1, a2) = (Stamp::start("a1").await, Stamp::start("a2").await);
    let table = format!(
        "[identity.host]\npatterns = [\"{{tenant}}.app.test\"]\n[[stamp]]\nid = \"a\"\n{extra}\n\
         endpoints = [{{ url = \"http://{{stamp_a1}}\" }}, {{ url = \"http://{{stamp_a2}}\" }}]\n\
         [tenants]\nacme = \"a\"\n"
    );
    let gateway = Plan::new(&table, &[&a1, &a2]).start().await;
    (a1, a2, gateway)
}

#[tokio::test]
async fn requests_are_spread_over_the_endpoints_of_a_stamp() {
    for balance in ["least_request", "round_robin"] {
        let (a1, a2, gateway) = two_endpoints(&format!("balance = \"{balance}\"")).await;
        for _ in 0..40 {
            assert_eq!(gateway.get(ACME, "/").await.status, 200);
        }
        assert!(a1.count() > 4 && a2.count() > 4, "{balance}: {} and {}", a1.count(), a2.count());
    }
}

#[tokio::test]
async fn a_dead_endpoint_is_made_up_for_by_its_sibling() {
    let (mut a1, a2, gateway) = two_endpoints("").await;
    a1.kill().await;
    for _ in 0..40 {
        let answer = gateway.get(ACME, "/").await;
        assert_eq!(answer.served_by(), "a2");
        assert_eq!(answer.arrived("x-stamp-home"), [""; 0], "a sibling is no failover");
    }
    assert_eq!(a2.count(), 40);
}

#[tokio::test]
async fn a_request_that_one_endpoint_breaks_off_is_repeated_on_its_sibling() {
    let (a1, a2, gateway) = two_endpoints("").await;
    a1.plays(Script::ResetAfterHead);
    for _ in 0..20 {
        assert_eq!(gateway.get(ACME, "/").await.served_by(), "a2");
    }
    assert!(a2.count() == 20);
}

#[tokio::test]
async fn weights_decide_how_much_an_endpoint_gets() {
    let (heavy, light) = (Stamp::start("h").await, Stamp::start("l").await);
    let table = "[identity.host]\npatterns = [\"{tenant}.app.test\"]\n[[stamp]]\nid = \"a\"\n\
                 endpoints = [{ url = \"http://{stamp_h}\", weight = 9 }, { url = \"http://{stamp_l}\" }]\n\
                 [tenants]\nacme = \"a\"\n";
    let plan = Plan::new(table, &[&heavy, &light]);
    let gateway = plan.set("runtime", "workers", "1").start().await;
    for _ in 0..100 {
        assert_eq!(gateway.send(&get(ACME, "/")).await.status, 200);
    }
    assert!(heavy.count() > 2 * light.count(), "{} and {}", heavy.count(), light.count());
}

#[tokio::test]
async fn a_stamp_that_is_dead_when_the_gateway_starts_is_failed_over_at_once() {
    let (mut a, b) = (Stamp::start("a").await, Stamp::start("b").await);
    a.kill().await;
    let gateway = Plan::new(PAIR, &[&a, &b]).start().await;
    assert_eq!(gateway.get(ACME, "/").await.served_by(), "b");
    a.revive();
    gateway.serves(ACME, "a").await;
}
