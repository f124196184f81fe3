//! Clients that take their answers too slowly: they are cut, wherever the answer waits meanwhile,
//! and those that only pause are not.

use socket2::SockRef;

use crate::harness::client::Client;
use crate::harness::deadline::{eventually, ticks, within};
use crate::harness::door::Door;
use crate::harness::gateway::Plan;
use crate::harness::http1::get;
use crate::harness::http2::{Frame, Http2, WINDOW_UPDATE};
use crate::harness::scene::{ACME, Pair, pair_without_edge};
use crate::harness::script::Script;
use crate::harness::tls::Stream;
use crate::http2::pair_with;

/// The kernel takes that at once for a client that reads nothing.
const WAITS_IN_THE_KERNEL: u64 = 60_000;

/// Its kernel takes little for it.
fn narrow(stream: &Stream) {
    SockRef::from(stream.socket()).set_recv_buffer_size(4096).unwrap();
}

pub async fn narrow_client(pair: &Pair) -> Client {
    let client = pair.gateway.connect().await;
    narrow(client.stream());
    client
}

/// Where what the kernels take at once earns a client no patience.
fn demanding(plan: Plan) -> Plan {
    plan.set("limits", "min_bytes_per_second", "100_000")
}

async fn is_cut(pair: &Pair) {
    let labels = [("listener", "public"), ("reason", "slow_reader")];
    eventually("a slow reader that is cut", async || {
        (pair.gateway.metric("stampgate_clients_cut_total", &labels).await > 0.0).then_some(())
    })
    .await;
}

#[tokio::test]
async fn an_answer_that_waits_in_the_kernel_is_not_waited_for_longer() {
    let pair = Pair::start().await;
    pair.a.plays(Script::Download(WAITS_IN_THE_KERNEL));
    let mut client = narrow_client(&pair).await;
    client.send(get(ACME, "/").bytes()).await;
    is_cut(&pair).await;
    assert!(client.try_answer().await.is_err(), "nothing was left in the kernel");
}

#[tokio::test]
async fn requests_ahead_do_not_keep_a_client_that_reads_nothing() {
    let pair = Pair::planned(&pair_without_edge(), demanding).await;
    pair.a.plays(Script::Download(WAITS_IN_THE_KERNEL));
    let mut client = narrow_client(&pair).await;
    client.send(get(ACME, "/").bytes().repeat(20)).await;
    is_cut(&pair).await;
    drop(client);
}

#[tokio::test]
async fn a_client_that_reads_a_little_now_and_then_is_cut() {
    let pair = Pair::planned(&pair_without_edge(), demanding).await;
    pair.a.plays(Script::Download(1 << 30));
    let mut client = narrow_client(&pair).await;
    client.send(get(ACME, "/").bytes()).await;
    let mut ticks = ticks(20);
    within("the end of patience", async {
        while !client.some(1_000).await.is_empty() {
            ticks.tick().await;
        }
    })
    .await;
    pair.a.left_by(1).await;
}

#[tokio::test]
async fn a_client_that_reads_slowly_and_steadily_has_its_whole_answer() {
    let pair = Pair::start().await;
    pair.a.plays(Script::Download(WAITS_IN_THE_KERNEL));
    let mut client = narrow_client(&pair).await;
    client.send(get(ACME, "/").bytes()).await;
    assert_eq!(client.head().await.status().unwrap(), 200);
    let mut ticks = ticks(20);
    // Twice as long as the grace.
    for _ in 0..200 {
        ticks.tick().await;
        client.exactly(usize::try_from(WAITS_IN_THE_KERNEL / 200).unwrap()).await;
    }
    assert_eq!(client.exchange(&get(ACME, "/")).await.body.len() as u64, WAITS_IN_THE_KERNEL);
}

#[tokio::test]
async fn over_tls_it_is_the_same() {
    let door = Door::planned("", |plan, _| demanding(plan)).await;
    door.pair.a.plays(Script::Download(1 << 30));
    let mut client = door.visit(ACME).await;
    narrow(client.stream());
    client.send(get(ACME, "/").bytes()).await;
    is_cut(&door.pair).await;
    door.pair.a.left_by(1).await;
}

#[tokio::test]
async fn over_http2_wide_windows_do_not_help() {
    let pair = pair_with(&[("limits", "min_bytes_per_second", "100_000")]).await;
    pair.a.plays(Script::Download(1 << 30));
    let mut client = Http2::with_window(pair.gateway.data, 1 << 30).await;
    client.send(&Frame::new(WINDOW_UPDATE, 0, 0, (1_u32 << 30).to_be_bytes())).await;
    narrow(&client.stream);
    client.get(ACME, "/", &[]).await;
    is_cut(&pair).await;
}
