//! What a client's connection costs while it rests, or takes nothing of its answer: bounded, since anybody may
//! open many.

use tokio::task::JoinSet;

use crate::harness::client::Client;
use crate::harness::deadline::{eventually, settled};
use crate::harness::http1::get;
use crate::harness::http2::Http2;
use crate::harness::scene::{ACME, PAIR, Pair};
use crate::harness::script::Script;
use crate::http2::pair_with;
use crate::slow_readers::narrow_client;

/// Enough that what the process takes for other reasons is lost among them.
const CONNECTIONS: usize = 1000;

/// So much is promised for each, in bytes.
const EACH_MAX: u64 = 12 * 1024;
/// The same over HTTP/2: h2 keeps 24 KiB for its frames, either way.
const EACH_HTTP2_MAX: u64 = 40 * 1024;

/// Opens so many connections and waits until they take no more than is promised.
async fn check(pair: &Pair, connections: &mut Vec<Client>, begin: impl AsyncFn(&mut Client)) {
    let open = async || {
        let mut client = pair.gateway.connect().await;
        begin(&mut client).await;
        client
    };
    take_little(pair, EACH_MAX, connections, open).await;
}

async fn take_little<C>(
    pair: &Pair,
    each_max: u64,
    connections: &mut Vec<C>,
    open: impl AsyncFn() -> C,
) {
    let before = pair.gateway.memory("VmRSS");
    for _ in 0..CONNECTIONS {
        connections.push(open().await);
    }
    let most = before + each_max * u64::try_from(CONNECTIONS).unwrap();
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

#[tokio::test]
async fn a_connection_over_http2_at_rest_after_a_request_takes_little_memory() {
    let pair = pair_with(&[("runtime", "workers", "1")]).await;
    let open = async || {
        let mut client = Http2::connect(pair.gateway.data).await;
        assert_eq!(client.exchange(ACME, "/").await.status, 200);
        client
    };
    drop(open().await);
    let mut connections = Vec::new();
    take_little(&pair, EACH_HTTP2_MAX, &mut connections, open).await;
    for client in &mut connections {
        assert_eq!(client.exchange(ACME, "/").await.status, 200);
    }
}

#[tokio::test]
async fn an_answer_of_which_nothing_is_read_takes_little_memory() {
    const READERS: usize = 100;
    const ANSWER_BYTES: u64 = 1 << 18;
    const IN_PROCESS_MAX: u64 = 80 * 1024;
    const IN_KERNEL_MAX: u64 = 128 * 1024;
    // Nobody is cut, however long this takes.
    let pair = Pair::planned(PAIR, |plan| {
        plan.set("runtime", "workers", "1").set("limits", "min_bytes_per_second", "0")
    })
    .await;
    pair.a.plays(Script::Download(ANSWER_BYTES));
    ask(&mut pair.gateway.connect().await).await;
    let before = pair.gateway.memory("VmRSS");
    let mut readers = Vec::new();
    for _ in 0..READERS {
        let mut client = narrow_client(&pair).await;
        client.send(get(ACME, "/").bytes()).await;
        readers.push(client);
    }
    pair.a.reached_by(READERS + 1).await;
    let in_kernel = settled("what the kernel holds", async || pair.gateway.unread()).await;
    let in_process = pair.gateway.memory("VmRSS").saturating_sub(before);
    let each = |bytes: u64| bytes / u64::try_from(READERS).unwrap();
    assert!(each(in_process) <= IN_PROCESS_MAX, "{} bytes each", each(in_process));
    assert!(each(in_kernel) <= IN_KERNEL_MAX, "{} bytes each in the kernel", each(in_kernel));
    // None of it is lost.
    let answers: JoinSet<_> =
        readers.into_iter().map(|mut client| async move { client.answer().await }).collect();
    for answer in answers.join_all().await {
        assert_eq!(answer.body.len() as u64, ANSWER_BYTES);
    }
}
