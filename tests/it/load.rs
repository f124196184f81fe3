//! Two hundred requests a second through a fault: nothing is lost, and the counts are printed.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rustix::process::Signal;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::drain::{drain, state};
use crate::harness::client::Client;
use crate::harness::deadline::{eventually, ticks};
use crate::harness::files::routing;
use crate::harness::http1::get;
use crate::harness::scene::{ACME, GLOBEX, PAIR, Pair};
use crate::harness::script::{Gate, Script};

const CLIENTS: u32 = 10;
const REQUESTS_A_SECOND: u32 = 200;
/// How long a load goes on around its fault.
const LASTING: Duration = Duration::from_secs(6);

/// What became of the requests of one load.
#[derive(Debug, Default)]
struct Counts {
    by_a: usize,
    by_b: usize,
    lost: Vec<String>,
}

impl Counts {
    fn total(&self) -> usize {
        self.by_a + self.by_b + self.lost.len()
    }
}

/// Clients that send at a steady rate until they are told to stop.
struct Load {
    clients: JoinSet<Counts>,
    stop: Arc<AtomicBool>,
    began: Instant,
}

impl Load {
    fn start(data: SocketAddr) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let mut clients = JoinSet::new();
        for number in 0..CLIENTS {
            let _task = clients.spawn(one_client(data, number, Arc::clone(&stop)));
        }
        Self { clients, stop, began: Instant::now() }
    }

    /// Lets the load run for its whole time, then stops it and adds up.
    async fn finish(mut self, what: &str) -> Counts {
        tokio::time::sleep_until(self.began + LASTING).await;
        self.stop.store(true, Ordering::Relaxed);
        let mut sum = Counts::default();
        while let Some(counts) = self.clients.join_next().await {
            let counts = counts.unwrap();
            sum.by_a += counts.by_a;
            sum.by_b += counts.by_b;
            sum.lost.extend(counts.lost);
        }
        let (all, lost) = (sum.total(), sum.lost.len());
        eprintln!("{what}: {all} GETs, {} by a, {} by b, {lost} lost", sum.by_a, sum.by_b);
        let wanted = usize::try_from(LASTING.as_secs()).unwrap() * REQUESTS_A_SECOND as usize;
        assert!(all * 10 >= wanted * 8, "only {all} of {wanted} requests were sent");
        assert!(sum.lost.is_empty(), "{what}: {:#?}", sum.lost);
        sum
    }
}

async fn one_client(data: SocketAddr, number: u32, stop: Arc<AtomicBool>) -> Counts {
    let mut counts = Counts::default();
    let mut ticks = ticks(REQUESTS_A_SECOND / CLIENTS);
    let mut client = Client::connect(data).await;
    let mut turn = 0;
    while !stop.load(Ordering::Relaxed) {
        ticks.tick().await;
        turn += 1;
        let target = format!("/{number}/{turn}");
        let host = if turn % 2 == 0 { ACME } else { GLOBEX };
        match client.try_exchange(&get(host, &target)).await {
            Ok(answer) if answer.status == 200 && answer.json()["target"] == target.as_str() => {
                match answer.served_by().as_str() {
                    "a" => counts.by_a += 1,
                    _ => counts.by_b += 1,
                }
            }
            Ok(answer) => {
                counts.lost.push(format!("{host}{target}: {} {}", answer.status, answer.text()));
            }
            Err(broken) => {
                counts.lost.push(format!("{host}{target}: {broken:?}"));
                client = Client::connect(data).await;
            }
        }
    }
    counts
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killing_the_home_stamp_loses_no_get() {
    let mut pair = Pair::start().await;
    let load = Load::start(pair.gateway.data);
    pair.a.reached_by(100).await;
    pair.a.kill().await;
    pair.b.reached_by(600).await;
    pair.a.revive();
    let counts = load.finish("home killed and revived").await;
    assert!(counts.by_a >= 100 && counts.by_b >= 600);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn twenty_reloads_lose_nothing() {
    let pair = Pair::start().await;
    let load = Load::start(pair.gateway.data);
    let mut pause = ticks(5);
    let before = pair.gateway.metric("stampgate_config_reloads_total", &[]).await;
    for round in 0..20 {
        pause.tick().await;
        let home = if round % 2 == 0 { "b" } else { "a" };
        let table = PAIR.replace("acme = \"a\"", &format!("acme = \"{home}\""));
        pair.gateway.reload_with(&table, &[&pair.a, &pair.b]).await;
    }
    let counts = load.finish("twenty reloads").await;
    assert!(counts.by_a > 0 && counts.by_b > counts.by_a);
    let after = pair.gateway.metric("stampgate_config_reloads_total", &[]).await;
    assert!(after - before > 19.5, "{before} and {after}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn broken_reloads_lose_nothing() {
    let pair = Pair::start().await;
    let load = Load::start(pair.gateway.data);
    let mut pause = ticks(5);
    for _ in 0..10 {
        pause.tick().await;
        pair.gateway.directory.write("routing.toml", "version = 1\n[[stamp");
        let answer = pair.gateway.admin("POST", "/v1/config/reload", None).await;
        assert_eq!(answer.status, 422);
        let good = routing(PAIR, &[&pair.a, &pair.b]);
        pair.gateway.directory.replace("routing.toml", &good);
        pair.gateway.reload().await;
    }
    let _counts = load.finish("ten broken and ten good reloads").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_drain_loses_nothing_and_what_is_in_flight_finishes() {
    let pair = Pair::start().await;
    let gate = Gate::closed();
    pair.a.plays_once(gate.before(Script::Echo));
    let mut slow = pair.gateway.connect().await;
    slow.send(get(ACME, "/slow").bytes()).await;
    pair.a.reached_by(1).await;
    let load = Load::start(pair.gateway.data);
    pair.a.reached_by(200).await;
    assert_eq!(drain(&pair.gateway, "a").await.status, 202);
    let drained_at = Instant::now();
    let late = eventually("a quarter of a second after the drain", async || {
        (drained_at.elapsed() > Duration::from_millis(250)).then(|| pair.a.count())
    })
    .await;
    gate.open();
    assert_eq!(slow.answer().await.served_by(), "a");
    let counts = load.finish("drain").await;
    assert!(counts.by_a > 0 && counts.by_b > 0);
    assert_eq!(pair.a.count(), late, "requests reached a long after the drain's answer");
    assert_eq!(state(&pair.gateway, "a").await, "drained");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_drain_under_load_survives_a_crash_of_the_gateway() {
    let mut pair = Pair::start().await;
    let mut crowd = JoinSet::new();
    let stop = Arc::new(AtomicBool::new(false));
    for number in 0..CLIENTS {
        let _task = crowd.spawn(one_client(pair.gateway.data, number, Arc::clone(&stop)));
    }
    pair.a.reached_by(50).await;
    assert_eq!(drain(&pair.gateway, "a").await.status, 202);
    // The clients go with the old process: what they lose in the crash is no promise.
    stop.store(true, Ordering::Relaxed);
    crowd.shutdown().await;
    pair.gateway.kill_and_restart().await;
    let at_restart = pair.a.count();
    let load = Load::start(pair.gateway.data);
    let counts = load.finish("after kill -9 of a gateway with a drain").await;
    assert_eq!((counts.by_a, pair.a.count()), (0, at_restart), "the drain was forgotten");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_termination_under_load_finishes_what_is_in_flight() {
    let mut pair = Pair::start().await;
    let gate = Gate::closed();
    pair.a.plays(gate.before(Script::Echo));
    let mut clients = Vec::new();
    for number in 0..50 {
        let mut client = pair.gateway.connect().await;
        client.send(get(ACME, &format!("/{number}")).bytes()).await;
        clients.push(client);
    }
    pair.a.reached_by(50).await;
    pair.gateway.signal(Signal::TERM);
    eventually("failing readiness", async || {
        let mut admin = Client::try_connect(pair.gateway.admin).await.ok()?;
        let request = pair.gateway.admin_request("GET", "/readyz");
        (admin.try_exchange(&request).await.ok()?.status == 503).then_some(())
    })
    .await;
    gate.open();
    let mut finished = 0;
    for (number, client) in clients.iter_mut().enumerate() {
        assert_eq!(client.answer().await.json()["target"], format!("/{number}"));
        finished += 1;
    }
    assert_eq!(pair.gateway.ended().await.code(), Some(0));
    eprintln!("TERM: {finished} of 50 requests in flight finished");
}
