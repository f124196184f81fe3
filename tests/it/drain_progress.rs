//! Section 6 of the contract: what is still in flight at a draining stamp, by kind and age.

use serde_json::{Value, json};

use crate::connections::upgrade;
use crate::drain::{becomes, drain};
use crate::harness::client::Client;
use crate::harness::command::operate;
use crate::harness::deadline::eventually;
use crate::harness::gateway::Gateway;
use crate::harness::http1::get;
use crate::harness::scene::{ACME, Pair};
use crate::harness::script::{Feed, Gate, Script, feed};

/// Drains stamp a with this deadline.
pub async fn drain_within(gateway: &Gateway, deadline: &str) {
    let order = json!({ "deadline": deadline });
    let answer = gateway.admin("POST", "/v1/stamps/a/drain", Some(&order)).await;
    assert_eq!(answer.status, 202, "{}", answer.text());
}

/// What the API tells of the drain of stamp a.
pub async fn progress(gateway: &Gateway) -> Value {
    let answer = gateway.admin_get("/v1/stamps/a/drain").await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.json()
}

/// Waits until the deadline of stamp a's drain is over with something in flight.
pub async fn overdue(gateway: &Gateway) -> Value {
    eventually("an overdue drain", async || {
        let progress = progress(gateway).await;
        (progress["overdue"] == true).then_some(progress)
    })
    .await
}

/// A client whose answer of stamp a flows.
pub async fn streaming(pair: &Pair, feed: Feed) -> Client {
    pair.a.plays_once(Script::Stream(feed));
    let mut client = pair.gateway.connect().await;
    client.send(get(ACME, "/stream").bytes()).await;
    assert_eq!(client.head().await.status().unwrap(), 200);
    client
}

/// A client with a tunnel to stamp a.
pub async fn tunnelling(pair: &Pair) -> Client {
    pair.a.plays_once(Script::Upgrade);
    let mut client = pair.gateway.connect().await;
    client.send(upgrade(ACME).bytes()).await;
    assert_eq!(client.head().await.status().unwrap(), 101);
    client
}

/// A client whose request waits in stamp a.
pub async fn waiting(pair: &Pair, gate: &Gate) -> Client {
    let before = pair.a.count();
    pair.a.plays_once(gate.before(Script::Echo));
    let mut client = pair.gateway.connect().await;
    client.send(get(ACME, "/slow").bytes()).await;
    pair.a.reached_by(before + 1).await;
    client
}

#[tokio::test]
async fn progress_tells_kinds_ages_and_tenants() {
    let pair = Pair::start().await;
    let (_sender, receiver) = feed();
    let _request = waiting(&pair, &Gate::closed()).await;
    let _stream = streaming(&pair, receiver).await;
    let _tunnel = tunnelling(&pair).await;
    assert_eq!(drain(&pair.gateway, "a").await.status, 202);
    let told = progress(&pair.gateway).await;
    let one_of_each = json!({"request": 1, "stream": 1, "websocket": 1});
    assert_eq!(told["in_flight"], one_of_each, "{told}");
    for kind in ["request", "stream", "websocket"] {
        assert!(told["oldest_s"][kind].as_f64().unwrap() >= 0.0, "{told}");
    }
    // acme, and two that are suspended and offboarded: they live there all the same.
    assert_eq!((&told["tenants"], &told["overdue"]), (&json!(3), &json!(false)), "{told}");
    let stamp = pair.gateway.admin_get("/v1/stamps/a").await.json();
    assert_eq!(stamp["in_flight"], one_of_each, "{stamp}");
}

#[tokio::test]
async fn the_oldest_of_a_kind_grows_older_whatever_joins_it() {
    let pair = Pair::start().await;
    let gate = Gate::closed();
    let _elder = waiting(&pair, &gate).await;
    let told = async || pair.gateway.admin_get("/v1/stamps/a").await.json();
    let age = |stamp: &Value| stamp["oldest_s"]["request"].as_f64().unwrap();
    let before = age(&told().await);
    eventually("an older one", async || (age(&told().await) > before + 0.1).then_some(())).await;
    let _younger = waiting(&pair, &gate).await;
    let told = told().await;
    assert_eq!(told["in_flight"]["request"], 2, "{told}");
    assert!(age(&told) > before + 0.1, "{told}");
}

#[tokio::test]
async fn an_answer_that_says_its_length_is_a_request_to_its_end() {
    let pair = Pair::start().await;
    pair.a.plays(Script::Download(1 << 30));
    let mut client = pair.gateway.connect().await;
    client.send(get(ACME, "/").bytes()).await;
    assert_eq!(client.head().await.status().unwrap(), 200);
    assert_eq!(drain(&pair.gateway, "a").await.status, 202);
    let told = progress(&pair.gateway).await;
    assert_eq!(told["in_flight"], json!({"request": 1, "stream": 0, "websocket": 0}), "{told}");
}

#[tokio::test]
async fn what_has_ended_is_in_flight_no_more() {
    let pair = Pair::start().await;
    let (sender, receiver) = feed();
    let gate = Gate::closed();
    let mut request = waiting(&pair, &gate).await;
    let mut stream = streaming(&pair, receiver).await;
    let mut tunnel = tunnelling(&pair).await;
    assert_eq!(drain(&pair.gateway, "a").await.status, 202);
    gate.open();
    assert_eq!(request.answer().await.status, 200);
    drop(sender);
    assert_eq!(stream.chunk().await, None);
    tunnel.finish().await;
    assert!(tunnel.closed().await.is_empty());
    becomes(&pair.gateway, "a", "drained").await;
    let told = progress(&pair.gateway).await;
    assert_eq!(told["in_flight"], json!({"request": 0, "stream": 0, "websocket": 0}), "{told}");
    let none = json!({"request": null, "stream": null, "websocket": null});
    assert_eq!(told["oldest_s"], none, "{told}");
}

#[tokio::test]
async fn requests_that_outlast_the_deadline_make_the_drain_overdue_and_finish() {
    let pair = Pair::start().await;
    let gate = Gate::closed();
    let mut request = waiting(&pair, &gate).await;
    drain_within(&pair.gateway, "1s").await;
    let told = overdue(&pair.gateway).await;
    assert_eq!((&told["state"], &told["in_flight"]["request"]), (&json!("draining"), &json!(1)));
    gate.open();
    assert_eq!(request.answer().await.served_by(), "a");
    becomes(&pair.gateway, "a", "drained").await;
    assert_eq!(progress(&pair.gateway).await["overdue"], false);
}

#[tokio::test]
async fn commands_tell_kinds_and_ages() {
    let pair = Pair::start().await;
    let _tunnel = tunnelling(&pair).await;
    let told = operate(&pair.gateway, &["drain", "a"]).await.exits(0).stdout;
    assert!(told.contains("0 requests, 0 streams, 1 websockets (oldest 0s)"), "{told}");
    let table = operate(&pair.gateway, &["stamps"]).await.exits(0).stdout;
    for column in ["REQUESTS", "STREAMS", "WEBSOCKETS", "OLDEST"] {
        assert!(table.lines().next().unwrap().contains(column), "{table}");
    }
}
