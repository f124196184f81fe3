//! What a client's connection costs while it rests: bounded, since anybody may open many.

use crate::harness::client::Client;
use crate::harness::http1::get;
use crate::harness::scene::{ACME, Pair};

/// Enough that what the process takes for other reasons is lost among them.
const CONNECTIONS: usize = 1000;

/// What so many connections, each after one request, add to the process, for each of them.
async fn at_rest(pair: &Pair, connections: &mut Vec<Client>) -> u64 {
    let before = pair.gateway.memory("VmRSS");
    for _ in 0..CONNECTIONS {
        let mut client = pair.gateway.connect().await;
        assert_eq!(client.exchange(&get(ACME, "/")).await.status, 200);
        connections.push(client);
    }
    let after = pair.gateway.memory("VmRSS");
    after.saturating_sub(before) / u64::try_from(CONNECTIONS).unwrap()
}

#[tokio::test]
async fn a_connection_at_rest_after_a_request_takes_little_memory() {
    let pair = Pair::on_one_worker().await;
    let mut connections = Vec::new();
    // The first of them also pay for what the process takes once.
    let _warm_up = at_rest(&pair, &mut connections).await;
    let each = at_rest(&pair, &mut connections).await;
    assert!(each <= 28 * 1024, "{each} bytes for each connection");
}
