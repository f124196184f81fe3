//! What a client's connection costs while it rests: bounded, since anybody may open many.

use crate::harness::client::Client;
use crate::harness::deadline::eventually;
use crate::harness::http1::get;
use crate::harness::scene::{ACME, Pair};

/// Enough that what the process takes for other reasons is lost among them.
const CONNECTIONS: usize = 1000;

/// So much is promised for each, in bytes.
const EACH_MAX: u64 = 12 * 1024;

/// Opens so many connections and waits until they take no more than is promised.
async fn check(pair: &Pair, connections: &mut Vec<Client>, begin: impl AsyncFn(&mut Client)) {
    let before = pair.gateway.memory("VmRSS");
    for _ in 0..CONNECTIONS {
        let mut client = pair.gateway.connect().await;
        begin(&mut client).await;
        connections.push(client);
    }
    let most = before + EACH_MAX * u64::try_from(CONNECTIONS).unwrap();
    eventually("connections that rest to take little memory", async || {
        (pair.gateway.memory("VmRSS") <= most).then_some(())
    })
    .await;
}

async fn ask(client: &mut Client) {
    assert_eq!(client.exchange(&get(ACME, "/")).await.status, 200);
}

#[tokio::test]
async fn a_connection_at_rest_after_a_request_takes_little_memory() {
    let pair = Pair::on_one_worker().await;
    // What the process takes once is not theirs.
    ask(&mut pair.gateway.connect().await).await;
    let mut connections = Vec::new();
    check(&pair, &mut connections, ask).await;
    // They are as good as before.
    for client in &mut connections {
        ask(client).await;
    }
}

#[tokio::test]
async fn a_connection_that_has_said_nothing_or_half_a_head_takes_little_memory() {
    let pair = Pair::on_one_worker().await;
    ask(&mut pair.gateway.connect().await).await;
    let mut connections = Vec::new();
    check(&pair, &mut connections, async |_client| {}).await;
    check(&pair, &mut connections, async |client| client.send("GET / HTTP/1.1\r\nHost: ").await)
        .await;
}
