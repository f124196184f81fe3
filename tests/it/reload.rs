//! Section 7 of the contract: every way in which an edited table comes into force.

use std::sync::Arc;

use rustix::process::Signal;

use crate::harness::deadline::{eventually, settled};
use crate::harness::files::{Directory, Settings, routing};
use crate::harness::gateway::Plan;
use crate::harness::http1::get;
use crate::harness::scene::{ACME, PAIR, Pair};
use crate::harness::script::{Gate, Script};
use crate::harness::stamp::Stamp;

/// The usual table after acme has moved to b.
fn moved() -> String {
    PAIR.replace("acme = \"a\"", "acme = \"b\"")
}

fn text(pair: &Pair, table: &str) -> String {
    routing(table, &[&pair.a, &pair.b])
}

#[tokio::test]
async fn a_file_edited_in_place_is_picked_up() {
    let pair = Pair::start().await;
    let before = pair.gateway.generation().await;
    pair.gateway.directory.write("routing.toml", &text(&pair, &moved()));
    pair.gateway.serves(ACME, "b").await;
    assert!(pair.gateway.generation().await > before);
    assert!(pair.gateway.last_reload_succeeded().await);
}

#[tokio::test]
async fn a_file_replaced_by_an_editor_is_picked_up_again_and_again() {
    let pair = Pair::start().await;
    for (table, stamp) in [(moved(), "b"), (PAIR.to_owned(), "a"), (moved(), "b")] {
        pair.gateway.directory.replace("routing.toml", &text(&pair, &table));
        pair.gateway.serves(ACME, stamp).await;
    }
}

#[tokio::test]
async fn a_log_that_grows_beside_the_table_does_not_hold_its_changes_up() {
    let pair = Pair::start().await;
    let directory = pair.gateway.directory.path("");
    let (stop, mut stopped) = tokio::sync::oneshot::channel::<()>();
    let noise = std::thread::spawn(move || {
        while stopped.try_recv() == Err(tokio::sync::oneshot::error::TryRecvError::Empty) {
            std::fs::write(directory.join("busy.log"), "a line").unwrap();
        }
    });
    pair.gateway.directory.replace("routing.toml", &text(&pair, &moved()));
    pair.gateway.serves(ACME, "b").await;
    drop(stop);
    noise.join().unwrap();
}

#[tokio::test]
async fn a_file_behind_a_swapped_symlink_is_picked_up() {
    let (a, b) = (Stamp::start("a").await, Stamp::start("b").await);
    // As Kubernetes mounts a ConfigMap: file -> ..data/file, ..data -> a dated directory.
    let plan = Plan::new(PAIR, &[&a, &b]).set("routing", "file", "\"mounted/routing.toml\"");
    let directory = plan.written();
    directory.write("mounted/..1/routing.toml", &routing(PAIR, &[&a, &b]));
    directory.write("mounted/..2/routing.toml", &routing(&moved(), &[&a, &b]));
    directory.link("mounted/..data", "..1");
    directory.link("mounted/routing.toml", "..data/routing.toml");
    let gateway = crate::harness::gateway::Gateway::start(directory).await;
    assert_eq!(gateway.get(ACME, "/").await.served_by(), "a");
    gateway.directory.link("mounted/..data", "..2");
    gateway.serves(ACME, "b").await;
    gateway.directory.link("mounted/..data", "..1");
    gateway.serves(ACME, "a").await;
}

#[tokio::test]
async fn a_hangup_reloads() {
    let pair = Pair::planned(PAIR, |plan| plan.set("routing", "watch", "false")).await;
    pair.gateway.directory.write("routing.toml", &text(&pair, &moved()));
    assert_eq!(pair.gateway.get(ACME, "/").await.served_by(), "a");
    pair.gateway.signal(Signal::HUP);
    pair.gateway.serves(ACME, "b").await;
}

#[tokio::test]
async fn the_api_reloads_before_it_answers() {
    let pair = Pair::planned(PAIR, |plan| plan.set("routing", "watch", "false")).await;
    pair.gateway.reload_with(&moved(), &[&pair.a, &pair.b]).await;
    assert_eq!(pair.gateway.get(ACME, "/").await.served_by(), "b");
}

#[tokio::test]
async fn an_edited_tenant_file_is_picked_up() {
    let table = format!("[[tenant_file]]\npath = \"tenants.csv\"\n{PAIR}");
    let rows = "tenant,stamp\nsmall-1,a\nsmall-2,b\n";
    let pair = Pair::planned(&table, |plan| plan.file("tenants.csv", rows)).await;
    assert_eq!(pair.gateway.get("small-1.app.test", "/").await.served_by(), "a");
    assert_eq!(pair.gateway.get("small-2.app.test", "/").await.served_by(), "b");
    pair.gateway.directory.replace("tenants.csv", "tenant,stamp\nsmall-1,b\nsmall-2,b\n");
    pair.gateway.serves("small-1.app.test", "b").await;
}

#[tokio::test]
async fn a_tenant_file_carries_states_and_residencies() {
    let table = format!("[[tenant_file]]\npath = \"tenants.csv\"\n{PAIR}");
    let rows = "tenant,stamp,residency,state\n\
                one,a,,\ntwo,a,eu|us,suspended\nthree,b,,offboarded\n";
    let table = format!("[defaults.stamp]\nresidency = \"eu\"\n{table}");
    let pair = Pair::planned(&table, |plan| plan.file("tenants.csv", rows)).await;
    assert_eq!(pair.gateway.get("one.app.test", "/").await.served_by(), "a");
    pair.gateway.get("two.app.test", "/").await.assert_problem(403, "tenant_suspended");
    pair.gateway.get("three.app.test", "/").await.assert_problem(410, "tenant_offboarded");
}

#[tokio::test]
async fn a_tenant_that_is_gone_from_the_table_is_unknown() {
    let pair = Pair::start().await;
    let without = PAIR.replace("globex = \"b\"\n", "");
    pair.gateway.reload_with(&without, &[&pair.a, &pair.b]).await;
    pair.gateway.get("globex.app.test", "/").await.assert_problem(404, "unknown_tenant");
}

#[tokio::test]
async fn a_new_stamp_serves_after_the_reload() {
    let pair = Pair::start().await;
    let c = Stamp::start("c").await;
    let table = PAIR
        .replace(
            "[tenants]",
            "[[stamp]]\nid = \"c\"\nendpoints = [{ url = \"http://{stamp_c}\" }]\n[tenants]",
        )
        .replace("acme = \"a\"", "acme = \"c\"");
    pair.gateway.reload_with(&table, &[&pair.a, &pair.b, &c]).await;
    assert_eq!(pair.gateway.get(ACME, "/").await.served_by(), "c");
}

#[tokio::test]
async fn pools_survive_a_reload() {
    let pair = Pair::on_one_worker().await;
    for extra in ["", "one = \"a\"\n", "one = \"b\"\n"] {
        pair.gateway.reload_with(&format!("{PAIR}{extra}"), &[&pair.a, &pair.b]).await;
        assert_eq!(pair.gateway.get(ACME, "/").await.status, 200);
    }
    assert_eq!((pair.a.count(), pair.a.connections()), (3, 1));
}

#[tokio::test]
async fn health_survives_a_reload() {
    let pair = Pair::start().await;
    pair.a.fails_probes();
    pair.gateway.knows_down("a").await;
    pair.gateway.serves(ACME, "b").await;
    let served = pair.a.count();
    for round in 0..5 {
        let table = format!("{PAIR}extra-{round} = \"b\"\n");
        pair.gateway.reload_with(&table, &[&pair.a, &pair.b]).await;
        assert_eq!(pair.gateway.get(ACME, "/").await.served_by(), "b");
    }
    assert_eq!(pair.a.count(), served);
}

#[tokio::test]
async fn a_request_keeps_the_table_that_it_began_with() {
    let pair = Pair::start().await;
    let gate = Gate::closed();
    pair.a.plays_once(gate.before(Script::Echo));
    let mut client = pair.gateway.connect().await;
    client.send(get(ACME, "/slow").bytes()).await;
    pair.a.reached_by(1).await;
    pair.gateway.reload_with(&moved(), &[&pair.a, &pair.b]).await;
    gate.open();
    assert_eq!(client.answer().await.served_by(), "a");
    assert_eq!(client.exchange(&get(ACME, "/next")).await.served_by(), "b");
}

#[tokio::test]
async fn a_tunnel_survives_a_reload() {
    let pair = Pair::start().await;
    pair.a.plays(Script::Upgrade);
    let mut client = pair.gateway.connect().await;
    let request = get(ACME, "/").header("Connection", "Upgrade").header("Upgrade", "websocket");
    client.send(request.bytes()).await;
    assert_eq!(client.head().await.status().unwrap(), 101);
    pair.gateway.reload_with(&moved(), &[&pair.a, &pair.b]).await;
    client.send("still there").await;
    assert_eq!(client.exactly(11).await, b"still there");
}

#[tokio::test]
async fn a_reload_without_a_change_changes_nothing() {
    let pair = Pair::start().await;
    pair.gateway.reload().await;
    pair.gateway.reload().await;
    assert!(pair.gateway.last_reload_succeeded().await);
    assert_eq!(pair.gateway.get(ACME, "/").await.served_by(), "a");
}

#[tokio::test]
async fn reloads_are_counted() {
    let pair = Pair::start().await;
    let before = pair.gateway.metric("stampgate_config_reloads_total", &[]).await;
    pair.gateway.reload_with(&moved(), &[&pair.a, &pair.b]).await;
    eventually("a counted reload", async || {
        let now = pair.gateway.metric("stampgate_config_reloads_total", &[]).await;
        (now > before).then_some(())
    })
    .await;
}

/// A gateway within this process: so the test can hold what a request or a tunnel holds.
#[test]
fn a_request_that_holds_a_former_table_last_does_not_free_it() {
    let table = "[[stamp]]\nid = \"a\"\nendpoints = [{ url = \"http://127.0.0.1:1\" }]\n";
    let directory = Directory::new();
    directory.write("gateway.toml", &Settings::new().text());
    directory.write("routing.toml", &routing(table, &[]));
    let gateway = stampgate::gateway::start(&directory.path("gateway.toml")).unwrap();
    let held = gateway.state().view();
    directory.replace("routing.toml", &routing(&format!("{table}region = \"north\"\n"), &[]));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(eventually("another table is in force", async || {
        let now = gateway.state().view();
        (!Arc::ptr_eq(&now.table, &held.table)).then_some(())
    }));
    let what = "who holds the former table";
    let holders = runtime.block_on(settled(what, async || Arc::strong_count(&held.table)));
    assert_eq!(holders, 2, "the request, and who frees it");
    let table = Arc::downgrade(&held.table);
    drop(held);
    runtime.block_on(eventually("the former table is freed", async || {
        (table.strong_count() == 0).then_some(())
    }));
}
