//! What opens a breaker, and what closes it again.

use crate::harness::crowd::{OF_A, OF_B, crowded};
use crate::harness::deadline::eventually;
use crate::harness::gateway::{Gateway, Plan};
use crate::harness::http1::get;
use crate::harness::scene::Pair;
use crate::harness::script::{Gate, Script};
use crate::harness::stamp::Stamp;

/// Connections enough that each of two workers has some of them.
const MANY: usize = 40;

/// The usual table where a breaker of a opens after three failures, and is half-open soon.
fn quick() -> String {
    let passive = "passive = { consecutive_failures = 3, open_for = \"300ms\" }";
    crowded().replace("passive = { open_for = \"300ms\" }", passive)
}

async fn scene() -> Pair {
    Pair::planned(&quick(), |plan| plan).await
}

/// The words that the admin plane has for the breakers of a.
async fn breakers(gateway: &Gateway) -> Vec<String> {
    let stamp = gateway.stamp("a").await;
    let endpoints = stamp["endpoints"].as_array().unwrap();
    endpoints.iter().map(|it| it["breaker"].as_str().unwrap().to_owned()).collect()
}

/// Waits until all breakers of a are so.
async fn all_are(gateway: &Gateway, word: &str) {
    eventually(&format!("breakers of a to be {word}"), async || {
        breakers(gateway).await.iter().all(|it| it == word).then_some(())
    })
    .await;
}

/// Requests of all tenants of a until none of its breakers is closed, and then none until a trial
/// may be made. Nobody loses anything: b serves.
async fn trip(gateway: &Gateway) {
    eventually("open breakers of a", async || {
        for host in OF_A {
            assert_eq!(gateway.get(host, "/").await.served_by(), "b");
        }
        (!breakers(gateway).await.contains(&"closed".to_owned())).then_some(())
    })
    .await;
    all_are(gateway, "half_open").await;
}

/// Many requests at once over many connections while a holds all that reach it: exactly `trials`
/// of them do, and b serves the others.
async fn only_trials_pass(gateway: &Gateway, endpoints: &[&Stamp], b: &Stamp) {
    let gate = Gate::closed();
    let mut before = Vec::new();
    for endpoint in endpoints {
        endpoint.plays(gate.before(Script::Echo));
        before.push(endpoint.count());
    }
    let at_b = b.count();
    let mut clients = Vec::new();
    for number in 0..MANY {
        let mut client = gateway.connect().await;
        let host = OF_A[number % OF_A.len()];
        client.send(get(host, &format!("/{number}")).bytes()).await;
        clients.push(client);
    }
    b.reached_by(at_b + MANY - endpoints.len()).await;
    for (endpoint, before) in endpoints.iter().zip(before) {
        endpoint.reached_by(before + 1).await;
        assert_eq!(endpoint.count(), before + 1, "one trial an endpoint");
    }
    gate.open();
    let mut by_a = 0;
    for (number, client) in clients.iter_mut().enumerate() {
        let answer = client.answer().await;
        assert_eq!(answer.json()["target"], format!("/{number}"));
        by_a += usize::from(answer.served_by() == "a");
    }
    assert_eq!(by_a, endpoints.len());
    all_are(gateway, "closed").await;
    gateway.answers("a", "a").await;
}

#[tokio::test]
async fn a_half_open_breaker_lets_one_trial_through_over_all_workers() {
    let pair = scene().await;
    pair.a.plays(Script::ResetAfterHead);
    trip(&pair.gateway).await;
    only_trials_pass(&pair.gateway, &[&pair.a], &pair.b).await;
}

#[tokio::test]
async fn each_endpoint_of_a_stamp_has_a_trial_of_its_own() {
    let (first, second) = (Stamp::start("a").await, Stamp::start("a").await);
    let b = Stamp::start("b").await;
    let both = format!("{}\" }}, {{ url = \"http://{}", first.address, second.address);
    // An attempt at each endpoint, and then the hop.
    let table = format!("[defaults.stamp.retry]\nattempts = 3\n{}", quick());
    let gateway = Plan::new(&table.replace("{stamp_a}", &both), &[&b]).start().await;
    first.plays(Script::ResetAfterHead);
    second.plays(Script::ResetAfterHead);
    trip(&gateway).await;
    only_trials_pass(&gateway, &[&first, &second], &b).await;
}

#[tokio::test]
async fn a_trial_that_fails_opens_the_breaker_again_and_its_get_is_served_by_the_secondary() {
    let pair = scene().await;
    pair.a.plays(Script::ResetAfterHead);
    trip(&pair.gateway).await;
    let before = pair.a.count();
    assert_eq!(pair.gateway.get(OF_A[0], "/").await.served_by(), "b");
    assert_eq!(pair.a.count(), before + 1, "the trial");
    all_are(&pair.gateway, "open").await;
    assert_eq!(pair.gateway.get(OF_A[1], "/").await.served_by(), "b");
    assert_eq!(pair.a.count(), before + 1, "no second trial");
}

#[tokio::test]
async fn good_probes_alone_do_not_close_a_breaker() {
    let pair = scene().await;
    pair.a.plays(Script::ResetAfterHead);
    trip(&pair.gateway).await;
    pair.a.plays(Script::Echo);
    pair.a.probed_again(10).await;
    assert_eq!(breakers(&pair.gateway).await, ["half_open"]);
    assert_eq!(pair.gateway.stamp("a").await["answered_by"], "b");
    assert_eq!(pair.gateway.get(OF_A[0], "/").await.served_by(), "a", "the trial");
    all_are(&pair.gateway, "closed").await;
    pair.gateway.answers("a", "a").await;
}

#[tokio::test]
async fn one_poison_tenant_takes_no_stamp_down() {
    let pair = scene().await;
    let poison = Script::For(OF_A[0], Box::new(Script::ResetAfterHead));
    pair.a.plays(poison.clone());
    pair.b.plays(poison);
    for _ in 0..60 {
        let answer = pair.gateway.get(OF_A[0], "/").await;
        answer.assert_problem(502, "upstream_protocol_error");
    }
    for host in OF_A {
        if host != OF_A[0] {
            assert_eq!(pair.gateway.get(host, "/").await.served_by(), "a");
        }
    }
    assert_eq!(pair.gateway.get(OF_B[0], "/").await.served_by(), "b");
    assert_eq!(pair.gateway.flips("a") + pair.gateway.flips("b"), 0);
}

#[tokio::test]
async fn a_breaker_opens_with_the_third_tenant_whose_requests_fail() {
    let pair = scene().await;
    pair.a.plays(Script::ResetAfterHead);
    for _ in 0..30 {
        for host in &OF_A[..2] {
            assert_eq!(pair.gateway.get(host, "/").await.served_by(), "b");
        }
    }
    assert_eq!(breakers(&pair.gateway).await, ["closed"], "two tenants are too few");
    assert_eq!(pair.gateway.get(OF_A[2], "/").await.served_by(), "b");
    pair.gateway.answers("b", "a").await;
    assert_ne!(breakers(&pair.gateway).await, ["closed"]);
}

#[tokio::test]
async fn the_one_tenant_of_a_stamp_is_enough_to_open_its_breaker() {
    let table = ["a2", "a3", "a4", "acme", "hooli", "initech"].iter().fold(quick(), |table, it| {
        let kept = table.lines().filter(|line| !line.starts_with(&format!("{it} = ")));
        kept.map(|line| format!("{line}\n")).collect()
    });
    let pair = Pair::planned(&table, |plan| plan).await;
    pair.a.plays(Script::ResetAfterHead);
    for _ in 0..3 {
        assert_eq!(pair.gateway.get(OF_A[0], "/").await.served_by(), "b");
    }
    pair.gateway.answers("b", "a").await;
}
