//! The program as it is on disk takes over from a running one, and nobody notices.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use rustix::process::{Pid, Signal, kill_process, test_kill_process};
use serde_json::json;
use tokio::task::JoinSet;

use crate::drain::{becomes, undrain};
use crate::drain_progress::tunnelling;
use crate::harness::client::Client;
use crate::harness::command::{operate, run};
use crate::harness::deadline::eventually;
use crate::harness::gateway::Gateway;
use crate::harness::http1::get;
use crate::harness::http2::Http2;
use crate::harness::scene::{ACME, GLOBEX, PAIR, Pair};
use crate::harness::script::{Gate, Script};

/// The process that serves, whoever started it. It ends with the test.
struct Heir(Pid);

impl Drop for Heir {
    fn drop(&mut self) {
        // Already ended is fine.
        let _result = kill_process(self.0, Signal::KILL);
    }
}

async fn pid(gateway: &Gateway) -> Pid {
    let info = gateway.admin_get("/v1/info").await.json();
    Pid::from_raw(i32::try_from(info["pid"].as_i64().unwrap()).unwrap()).unwrap()
}

/// Upgrades and waits until the other process answers.
async fn upgrade(gateway: &Gateway) -> Heir {
    let told = operate(gateway, &["upgrade", "-o", "json"]).await.exits(0).json();
    let heir = Heir(Pid::from_raw(i32::try_from(told["pid"].as_i64().unwrap()).unwrap()).unwrap());
    assert_eq!(pid(gateway).await, heir.0);
    heir
}

async fn gone(pid: Pid) {
    eventually("the end of a process", async || test_kill_process(pid).err().map(drop)).await;
}

/// What a client does with its connection after an answer.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Manners {
    KeepsIt,
    TakesAnother,
}

/// Asks without a break until told to stop; how often, and whatever went wrong.
async fn asks(
    gateway: std::net::SocketAddr,
    stop: Arc<AtomicBool>,
    manners: Manners,
) -> (usize, Vec<String>) {
    let (mut count, mut wrong) = (0, Vec::new());
    let mut client = Client::connect(gateway).await;
    while !stop.load(Ordering::Relaxed) {
        match client.try_exchange(&get(ACME, "/")).await {
            Ok(answer) if answer.status == 200 => {
                count += 1;
                let closes = answer.header("connection") == Some("close");
                if closes || manners == Manners::TakesAnother {
                    client = Client::connect(gateway).await;
                }
            }
            Ok(answer) => wrong.push(format!("{}: {}", answer.status, answer.text())),
            Err(broken) => {
                wrong.push(broken.to_string());
                client = Client::connect(gateway).await;
            }
        }
    }
    (count, wrong)
}

#[tokio::test]
async fn no_request_is_lost_over_upgrades() {
    let mut pair = Pair::start().await;
    let stop = Arc::new(AtomicBool::new(false));
    let mut load = JoinSet::new();
    for manners in [Manners::KeepsIt, Manners::TakesAnother].repeat(4) {
        load.spawn(asks(pair.gateway.data, Arc::clone(&stop), manners));
    }
    let first = pid(&pair.gateway).await;
    let mut heirs = Vec::new();
    for _ in 0..3 {
        heirs.push(upgrade(&pair.gateway).await);
    }
    assert_ne!(heirs[0].0, first);
    // Those before it end by themselves: all of their clients have come over.
    assert!(pair.gateway.ended().await.success());
    gone(heirs[0].0).await;
    gone(heirs[1].0).await;
    stop.store(true, Ordering::Relaxed);
    let (mut count, mut wrong) = (0, Vec::new());
    while let Some(ended) = load.join_next().await {
        let (asked, failed) = ended.unwrap();
        count += asked;
        wrong.extend(failed);
    }
    assert!(wrong.is_empty(), "{count} requests, and {wrong:?}");
    assert!(count > 100, "{count} requests");
}

#[tokio::test]
async fn what_is_in_flight_and_what_rests_goes_on_at_the_former_process() {
    let mut pair =
        Pair::planned(PAIR, |plan| plan.set("listener", "protocols", r#"["http/1.1", "h2c"]"#))
            .await;
    let gate = Gate::closed();
    pair.b.plays(gate.before(Script::Echo));
    let mut waits = pair.gateway.connect().await;
    waits.send(get(GLOBEX, "/slow").bytes()).await;
    let mut rests = pair.gateway.connect().await;
    assert_eq!(rests.exchange(&get(ACME, "/")).await.served_by(), "a");
    let mut streams = Http2::connect(pair.gateway.data).await;
    assert_eq!(streams.exchange(ACME, "/").await.served_by(), "a");
    pair.b.reached_by(1).await;
    let heir = upgrade(&pair.gateway).await;
    assert_eq!(streams.goaway().await, 0, "HTTP/2 has a word for it");
    let last = rests.exchange(&get(ACME, "/")).await;
    assert_eq!((last.served_by().as_str(), last.header("connection")), ("a", Some("close")));
    gate.open();
    let answer = waits.answer().await;
    assert_eq!((answer.served_by().as_str(), answer.header("connection")), ("b", Some("close")));
    drop(streams);
    assert!(pair.gateway.ended().await.success());
    pair.gateway.serves(GLOBEX, "b").await;
    drop(heir);
}

#[tokio::test]
async fn what_operators_decided_holds_in_the_new_process() {
    let pair = Pair::start().await;
    let drain = pair.gateway.admin("POST", "/v1/stamps/a/drain", Some(&json!({}))).await;
    assert_eq!(drain.status, 202, "{}", drain.text());
    let _heir = upgrade(&pair.gateway).await;
    becomes(&pair.gateway, "a", "drained").await;
    pair.gateway.serves(ACME, "b").await;
    undrain(&pair.gateway, "a").await;
    pair.gateway.serves(ACME, "a").await;
}

#[tokio::test]
async fn what_probes_have_found_out_holds_in_the_new_process() {
    let pair = Pair::start().await;
    pair.a.fails_probes();
    pair.gateway.serves(ACME, "b").await;
    let before = pair.a.count();
    let _heir = upgrade(&pair.gateway).await;
    assert_eq!(pair.gateway.get(ACME, "/").await.served_by(), "b");
    assert_eq!(pair.a.count(), before, "the new process had not asked yet who is there");
}

#[tokio::test]
async fn a_new_process_that_does_not_come_to_serve_changes_nothing() {
    let pair = Pair::start().await;
    let before = pid(&pair.gateway).await;
    let sound = pair.gateway.directory.read("gateway.toml");
    pair.gateway.directory.write("gateway.toml", "version = 1\nwhat = \"is this\"\n");
    let refused = operate(&pair.gateway, &["upgrade"]).await.exits(5);
    assert!(refused.stderr.contains("upgrade_failed"), "{}", refused.all());
    pair.gateway.directory.write("gateway.toml", &sound);
    assert_eq!(pid(&pair.gateway).await, before);
    pair.gateway.serves(ACME, "a").await;
    let drain = pair.gateway.admin("POST", "/v1/stamps/a/drain", Some(&json!({}))).await;
    assert_eq!(drain.status, 202, "orders are taken again: {}", drain.text());
    let _heir = upgrade(&pair.gateway).await;
    becomes(&pair.gateway, "a", "drained").await;
}

#[tokio::test]
async fn while_the_new_process_starts_nothing_is_decided_that_it_would_not_know_of() {
    let pair = Pair::planned(PAIR, |plan| plan.set("routing", "watch", "false")).await;
    // It waits for a tenant file that nobody writes yet.
    let table = pair.gateway.directory.read("routing.toml");
    let more = format!("{table}[[tenant_file]]\npath = \"tenants.csv\"\n");
    pair.gateway.directory.write("routing.toml", &more);
    let fifo = pair.gateway.directory.path("tenants.csv");
    let mut make = std::process::Command::new("mkfifo");
    make.arg(&fifo);
    run(make).await.exits(0);
    let admin = pair.gateway.admin;
    let request = pair.gateway.admin_request("POST", "/v1/upgrade");
    let upgrading =
        tokio::spawn(async move { Client::connect(admin).await.exchange(&request).await });
    let refused = eventually("orders that are refused", async || {
        let answer = pair.gateway.admin("POST", "/v1/stamps/a/failback", Some(&json!({}))).await;
        (answer.status == 503).then_some(answer)
    })
    .await;
    refused.assert_problem(503, "not_ready");
    let drain = pair.gateway.admin("POST", "/v1/stamps/a/drain", Some(&json!({}))).await;
    drain.assert_problem(503, "not_ready");
    pair.gateway.admin("POST", "/v1/config/reload", None).await.assert_problem(503, "not_ready");
    let second = pair.gateway.admin("POST", "/v1/upgrade", None).await;
    second.assert_problem(409, "upgrade_under_way");
    pair.gateway.serves(ACME, "a").await;
    let tenants = "tenant,stamp\ninitrode,b\n";
    let wrote = tokio::task::spawn_blocking(move || std::fs::write(fifo, tenants));
    let answer = upgrading.await.unwrap();
    assert_eq!(answer.status, 200, "{}", answer.text());
    wrote.await.unwrap().unwrap();
    let _heir = Heir(pid(&pair.gateway).await);
    let drain = pair.gateway.admin("POST", "/v1/stamps/a/drain", Some(&json!({}))).await;
    assert_eq!(drain.status, 202, "{}", drain.text());
    pair.gateway.serves("initrode.app.test", "b").await;
}

#[tokio::test]
async fn a_signal_upgrades_as_well() {
    let mut pair = Pair::start().await;
    let before = pid(&pair.gateway).await;
    pair.gateway.signal(Signal::USR2);
    let heir = eventually("another process that serves", async || {
        let mut admin = Client::try_connect(pair.gateway.admin).await.ok()?;
        let request = pair.gateway.admin_request("GET", "/v1/info");
        let info = admin.try_exchange(&request).await.ok()?.json();
        let pid = Pid::from_raw(i32::try_from(info["pid"].as_i64().unwrap()).unwrap()).unwrap();
        (pid != before).then(|| Heir(pid))
    })
    .await;
    assert!(pair.gateway.ended().await.success());
    pair.gateway.serves(ACME, "a").await;
    drop(heir);
}

#[tokio::test]
async fn connections_that_wait_in_a_queue_are_served_by_whoever_takes_over() {
    let pair = Pair::start().await;
    let served = Arc::new(AtomicUsize::new(0));
    let mut waiting = JoinSet::new();
    for _ in 0..200 {
        let (address, served) = (pair.gateway.data, Arc::clone(&served));
        waiting.spawn(async move {
            let mut client = Client::connect(address).await;
            assert_eq!(client.exchange(&get(ACME, "/")).await.status, 200);
            served.fetch_add(1, Ordering::Relaxed);
        });
    }
    let _heir = upgrade(&pair.gateway).await;
    while let Some(ended) = waiting.join_next().await {
        ended.unwrap();
    }
    assert_eq!(served.load(Ordering::Relaxed), 200);
}

#[tokio::test]
async fn a_tunnel_goes_on_at_the_former_process_until_it_ends() {
    let mut pair = Pair::start().await;
    let mut tunnel = tunnelling(&pair).await;
    let _heir = upgrade(&pair.gateway).await;
    assert_eq!(pair.gateway.get(ACME, "/").await.served_by(), "a");
    tunnel.send("hello").await;
    assert_eq!(tunnel.exactly(5).await, b"hello");
    assert!(!pair.gateway.has_ended());
    drop(tunnel);
    assert!(pair.gateway.ended().await.success());
}
