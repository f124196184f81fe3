//! Tiers: what one tenant may have over all workers, and who is turned away first by a stamp that is
//! nearly full.

use serde_json::{Value, json};
use tokio::time::Instant;

use crate::drain_progress::{streaming, tunnelling, waiting};
use crate::harness::deadline::eventually;
use crate::harness::http1::get;
use crate::harness::http2::Http2;
use crate::harness::scene::{ACME, GLOBEX, PAIR, Pair};
use crate::harness::script::{Gate, Script, feed};

/// The usual table where acme has these limits.
fn table(limits: &str) -> String {
    let table = PAIR.replace("acme = \"a\"", "acme = { stamp = \"a\", tier = \"t\" }");
    assert_ne!(table, PAIR);
    format!("{table}[tier.t]\n{limits}\n")
}

async fn limited(limits: &str) -> Pair {
    Pair::planned(&table(limits), |plan| plan).await
}

/// What the API tells of acme.
async fn acme(pair: &Pair) -> Value {
    let answer = pair.gateway.admin_get("/v1/tenants/acme").await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.json()
}

/// Waits until acme has so much in flight.
async fn in_flight(pair: &Pair, wanted: u32) {
    let what = format!("{wanted} of acme in flight");
    eventually(&what, async || (acme(pair).await["in_flight"] == wanted).then_some(())).await;
}

async fn refused(pair: &Pair, reason: &str) -> f64 {
    let labels = [("tier", "t"), ("reason", reason)];
    pair.gateway.metric("stampgate_rate_limited_total", &labels).await
}

/// So many requests of acme, each over a connection of its own: how many are served. All others must
/// be told that it asks too often.
async fn served_of(pair: &Pair, requests: usize) -> usize {
    let mut served = 0;
    for _ in 0..requests {
        let answer = pair.gateway.get(ACME, "/").await;
        if answer.status == 200 {
            served += 1;
            continue;
        }
        answer.assert_problem(429, "tenant_rate_limited");
        assert_eq!(answer.header("retry-after"), Some("1"));
    }
    served
}

#[tokio::test]
async fn a_tenants_fill_holds_over_all_workers_and_is_its_own() {
    let pair = limited("max_in_flight = 3").await;
    let gate = Gate::closed();
    let mut held = Vec::new();
    for _ in 0..3 {
        held.push(waiting(&pair, &gate).await);
    }
    for _ in 0..8 {
        pair.gateway.get(ACME, "/").await.assert_problem(429, "tenant_saturated");
    }
    assert_eq!(pair.gateway.get(GLOBEX, "/").await.served_by(), "b");
    assert_eq!(pair.gateway.get("a.stamps.test", "/").await.served_by(), "a", "it names no tenant");
    let told = acme(&pair).await;
    assert_eq!((&told["in_flight"], &told["refused"]), (&json!(3), &json!(8)), "{told}");
    assert!((refused(&pair, "in_flight").await - 8.0).abs() < 0.5);
    gate.open();
    for mut client in held {
        assert_eq!(client.answer().await.status, 200);
    }
    in_flight(&pair, 0).await;
    assert_eq!(pair.gateway.get(ACME, "/").await.status, 200);
}

#[tokio::test]
async fn a_burst_is_served_and_then_the_rate_over_all_workers() {
    let pair = limited("requests_per_second = 1\nburst = 5").await;
    let began = Instant::now();
    let served = served_of(&pair, 40).await;
    let most = 5 + usize::try_from(began.elapsed().as_secs()).unwrap() + 1;
    assert!((5..=most).contains(&served), "{served} served, {most} at most");
    assert!((refused(&pair, "rate").await - (40 - served) as f64).abs() < 0.5);
    assert_eq!(pair.gateway.get(GLOBEX, "/").await.status, 200);
    assert_eq!(pair.a.count(), served, "what is turned away never reaches a stamp");
    eventually("what time gives again", async || {
        (pair.gateway.get(ACME, "/").await.status == 200).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_reload_gives_no_second_burst() {
    let limits = "requests_per_second = 1\nburst = 20";
    let pair = limited(limits).await;
    let began = Instant::now();
    let before = served_of(&pair, 40).await;
    // Other tenants before it, and another name of its tier: it has another place in all lists.
    let moved = table(limits).replace("[tenants]\n", "[tenants]\naaa = \"a\"\naab = \"b\"\n");
    let moved = moved.replace("\"t\"", "\"u\"").replace("[tier.t]", "[tier.a]\n[tier.u]");
    pair.gateway.reload_with(&moved, &[&pair.a, &pair.b]).await;
    assert_eq!(acme(&pair).await["tier"], "u");
    let after = served_of(&pair, 40).await;
    let most = 20 + usize::try_from(began.elapsed().as_secs()).unwrap() + 1;
    assert!(before + after <= most, "{before} and {after} served, {most} at most");
}

#[tokio::test]
async fn what_is_in_flight_counts_on_after_a_reload() {
    let pair = limited("max_in_flight = 1").await;
    let gate = Gate::closed();
    let mut held = waiting(&pair, &gate).await;
    let moved = table("max_in_flight = 1").replace("[tenants]\n", "[tenants]\naaa = \"a\"\n");
    pair.gateway.reload_with(&moved, &[&pair.a, &pair.b]).await;
    pair.gateway.get(ACME, "/").await.assert_problem(429, "tenant_saturated");
    let raised = table("max_in_flight = 2");
    pair.gateway.reload_with(&raised, &[&pair.a, &pair.b]).await;
    assert_eq!(pair.gateway.get(ACME, "/").await.status, 200);
    gate.open();
    assert_eq!(held.answer().await.status, 200);
    in_flight(&pair, 0).await;
}

#[tokio::test]
async fn a_tunnel_counts_until_it_ends() {
    let pair = limited("max_in_flight = 1").await;
    let client = tunnelling(&pair).await;
    pair.gateway.get(ACME, "/").await.assert_problem(429, "tenant_saturated");
    drop(client);
    in_flight(&pair, 0).await;
    assert_eq!(pair.gateway.get(ACME, "/").await.status, 200);
}

#[tokio::test]
async fn an_answer_counts_until_its_last_byte() {
    let pair = limited("max_in_flight = 1").await;
    let (sender, receiver) = feed();
    let mut client = streaming(&pair, receiver).await;
    sender.send("data: 1\n\n".into()).unwrap();
    assert_eq!(client.chunk().await.unwrap(), b"data: 1\n\n");
    pair.gateway.get(ACME, "/").await.assert_problem(429, "tenant_saturated");
    drop(sender);
    assert_eq!(client.chunk().await, None);
    in_flight(&pair, 0).await;
    assert_eq!(pair.gateway.get(ACME, "/").await.status, 200);
}

#[tokio::test]
async fn an_answer_that_waits_for_its_client_alone_counts_for_nobody() {
    let pair = Pair::planned(&table("max_in_flight = 1"), |plan| {
        let plan = plan.set("listener", "protocols", r#"["http/1.1", "h2c"]"#);
        // Nobody is cut for being slow.
        plan.set("limits", "min_bytes_per_second", "0")
    })
    .await;
    let mut client = Http2::with_window(pair.gateway.data, 0).await;
    client.takes = false;
    let served = client.get(ACME, "/", &[]).await;
    assert_eq!(client.status(served).await, 200);
    in_flight(&pair, 0).await;
    assert_eq!(pair.gateway.get(ACME, "/").await.status, 200);
    pair.a.plays(Script::Raw(b"no answer\r\n\r\n".to_vec()));
    let refused = client.post(ACME, "/", b"").await;
    assert_eq!(client.status(refused).await, 502);
    pair.a.plays(Script::Echo);
    in_flight(&pair, 0).await;
    assert_eq!(pair.gateway.get(ACME, "/").await.status, 200);
}

#[tokio::test]
async fn a_client_that_leaves_gives_its_place_back() {
    let pair = limited("max_in_flight = 1").await;
    let client = waiting(&pair, &Gate::closed()).await;
    in_flight(&pair, 1).await;
    client.abort();
    in_flight(&pair, 0).await;
    assert_eq!(pair.gateway.get(ACME, "/").await.status, 200);
    let (_sender, receiver) = feed();
    let client = streaming(&pair, receiver).await;
    in_flight(&pair, 1).await;
    client.abort();
    in_flight(&pair, 0).await;
}

#[tokio::test]
async fn however_a_stamp_fails_the_place_is_given_back() {
    let pair = limited("max_in_flight = 1").await;
    let garbage = Script::RawAndClose(b"nonsense\r\n\r\n".into());
    for script in [Script::ResetAfterHead, Script::ResetMidBody, Script::EchoAs(503), garbage] {
        pair.a.plays_once(script);
        let mut client = pair.gateway.connect().await;
        client.send(get(ACME, "/").header("Connection", "close").bytes()).await;
        let _answer = client.closed().await;
        in_flight(&pair, 0).await;
    }
    pair.gateway.serves(ACME, "a").await;
}

#[tokio::test]
async fn a_stamp_that_is_nearly_full_is_left_to_higher_priorities() {
    let table = PAIR.replace("id = \"a\"\n", "id = \"a\"\nmax_in_flight = 10\n").replace(
        "acme = \"a\"",
        "acme = \"a\"\nag = { stamp = \"a\", tier = \"silver\" }\n\
             au = { stamp = \"a\", tier = \"gold\" }",
    );
    let tiers = "[tier.standard]\nmax_in_flight = 100\n[tier.silver]\npriority = 5\n\
                 [tier.gold]\npriority = 10\n";
    let pair = Pair::planned(&format!("{table}{tiers}"), |plan| plan).await;
    let gate = Gate::closed();
    pair.a.plays(gate.before(Script::Echo));
    let (silver, gold) = ("ag.app.test", "au.app.test");
    let mut held = Vec::new();
    for (host, until) in [(ACME, 8), (silver, 9), (gold, 10)] {
        while held.len() < until {
            let mut client = pair.gateway.connect().await;
            client.send(get(host, "/").bytes()).await;
            held.push(client);
            pair.a.reached_by(held.len()).await;
        }
        pair.gateway.get(host, "/").await.assert_problem(503, "stamp_saturated");
        pair.gateway.get(ACME, "/").await.assert_problem(503, "stamp_saturated");
    }
    // Who names the stamp alone is as good as standard.
    pair.gateway.get("a.stamps.test", "/").await.assert_problem(503, "stamp_saturated");
    let shed = async |tier, reason| {
        let labels = [("stamp", "a"), ("tier", tier), ("reason", reason)];
        pair.gateway.metric("stampgate_shed_total", &labels).await
    };
    assert!((shed("standard", "priority").await - 3.0).abs() < 0.5);
    assert!((shed("silver", "priority").await - 1.0).abs() < 0.5);
    assert!((shed("gold", "full").await - 1.0).abs() < 0.5);
    assert!((shed("standard", "full").await - 2.0).abs() < 0.5);
    assert_eq!(pair.b.count(), 0, "nothing spills over the edge");
    gate.open();
    for mut client in held {
        assert_eq!(client.answer().await.status, 200);
    }
}

#[tokio::test]
async fn a_tenants_limits_are_told() {
    let limits = "priority = 7\nmax_in_flight = 20\nrequests_per_second = 100\nburst = 150";
    let pair = limited(limits).await;
    let told = acme(&pair).await;
    assert_eq!(told["tier"], "t");
    let expected = json!({
        "priority": 7, "max_in_flight": 20, "requests_per_second": 100, "burst": 150,
    });
    assert_eq!(told["limits"], expected);
    let globex = pair.gateway.admin_get("/v1/tenants/globex").await.json();
    assert_eq!((&globex["tier"], &globex["in_flight"]), (&json!("standard"), &json!(0)));
    assert_eq!(globex["limits"]["max_in_flight"], 500);
    assert_eq!(pair.gateway.get(ACME, "/").await.status, 200);
    eventually("a line of the access log with the tier", async || {
        pair.gateway.log().contains("\"stampgate.tier\":\"t\"").then_some(())
    })
    .await;
    assert!(pair.gateway.metric("stampgate_active_tenants", &[]).await > 0.5);
}

#[tokio::test]
async fn a_tier_in_a_tenant_file_holds() {
    let table = format!("{PAIR}[tier.one]\nmax_in_flight = 1\n[[tenant_file]]\npath = \"t.csv\"\n");
    let rows = "tenant,stamp,tier\nsmall,a,one\nlarge,a,\n";
    let pair = Pair::planned(&table, |plan| plan.file("t.csv", rows)).await;
    let gate = Gate::closed();
    pair.a.plays_once(gate.before(Script::Echo));
    let mut held = pair.gateway.connect().await;
    held.send(get("small.app.test", "/").bytes()).await;
    pair.a.reached_by(1).await;
    pair.gateway.get("small.app.test", "/").await.assert_problem(429, "tenant_saturated");
    assert_eq!(pair.gateway.get("large.app.test", "/").await.status, 200);
    gate.open();
    assert_eq!(held.answer().await.status, 200);
}
