//! Section 9 of the contract: what an operator types, against a running gateway.

use crate::drain::{drain, state};
use crate::harness::command::{operate, stampgate};
use crate::harness::http1::get;
use crate::harness::scene::{ACME, GLOBEX, Pair};
use crate::harness::script::{Gate, Script};

#[tokio::test]
async fn drain_with_wait_returns_when_the_stamp_is_empty() {
    let pair = Pair::start().await;
    let gate = Gate::closed();
    pair.a.plays(gate.before(Script::Echo));
    let mut client = pair.gateway.connect().await;
    client.send(get(ACME, "/slow").bytes()).await;
    pair.a.reached_by(1).await;
    let (ended, ()) = tokio::join!(operate(&pair.gateway, &["drain", "a", "--wait"]), async {
        crate::harness::deadline::eventually("the drain to begin", async || {
            (state(&pair.gateway, "a").await != "active").then_some(())
        })
        .await;
        gate.open();
    });
    ended.exits(0);
    assert_eq!(client.answer().await.served_by(), "a");
    assert_eq!(state(&pair.gateway, "a").await, "drained");
}

#[tokio::test]
async fn drain_without_wait_returns_at_once() {
    let pair = Pair::start().await;
    pair.a.plays(Script::Hang);
    let mut client = pair.gateway.connect().await;
    client.send(get(ACME, "/slow").bytes()).await;
    pair.a.reached_by(1).await;
    operate(&pair.gateway, &["drain", "a"]).await.exits(0);
    assert_eq!(state(&pair.gateway, "a").await, "draining");
}

#[tokio::test]
async fn drain_with_wait_gives_up_after_its_deadline() {
    let pair = Pair::start().await;
    let gate = Gate::closed();
    pair.a.plays(gate.before(Script::Echo));
    let mut client = pair.gateway.connect().await;
    client.send(get(ACME, "/slow").bytes()).await;
    pair.a.reached_by(1).await;
    let arguments = ["drain", "a", "--wait", "--deadline", "500ms"];
    operate(&pair.gateway, &arguments).await.exits(6);
    gate.open();
}

#[tokio::test]
async fn a_refused_command_exits_with_five_and_says_why() {
    let pair = Pair::start().await;
    let ended = operate(&pair.gateway, &["drain", "b"]).await.exits(5);
    assert!(ended.stderr.contains("would_strand"), "{ended:?}");
    operate(&pair.gateway, &["drain", "nowhere"]).await.exits(5);
    operate(&pair.gateway, &["undrain", "a"]).await.exits(5);
}

#[tokio::test]
async fn drain_with_force_strands() {
    let pair = Pair::start().await;
    operate(&pair.gateway, &["drain", "b", "--force"]).await.exits(0);
    pair.gateway.get(GLOBEX, "/").await.assert_problem(503, "stamp_draining");
}

#[tokio::test]
async fn undrain_brings_a_stamp_back() {
    let pair = Pair::start().await;
    assert_eq!(drain(&pair.gateway, "a").await.status, 202);
    operate(&pair.gateway, &["undrain", "a"]).await.exits(0);
    pair.gateway.serves(ACME, "a").await;
}

#[tokio::test]
async fn stamps_lists_every_stamp_with_its_state() {
    let pair = Pair::start().await;
    operate(&pair.gateway, &["drain", "a", "--wait"]).await.exits(0);
    let table = operate(&pair.gateway, &["stamps"]).await.exits(0).stdout;
    let line = |id: &str| table.lines().find(|line| line.starts_with(id)).unwrap_or_default();
    assert!(line("a").contains("drained"), "{table}");
    assert!(line("b").contains("active"), "{table}");
    let json = operate(&pair.gateway, &["stamps", "-o", "json"]).await.exits(0);
    assert!(json.json().to_string().contains("\"drained\""), "{json:?}");
}

#[tokio::test]
async fn status_tells_what_is_in_force() {
    let pair = Pair::start().await;
    let text = operate(&pair.gateway, &["status"]).await.exits(0).stdout;
    assert!(text.contains("gw-test"), "{text}");
    let json = operate(&pair.gateway, &["status", "-o", "json"]).await.exits(0);
    assert!(json.json().is_object());
}

#[tokio::test]
async fn reload_on_the_command_line_reloads() {
    let pair = Pair::start().await;
    let before = pair.gateway.generation().await;
    let changed = pair.gateway.directory.read("routing.toml") + "umbrella = \"b\"\n";
    pair.gateway.directory.replace("routing.toml", &changed);
    operate(&pair.gateway, &["reload"]).await.exits(0);
    assert!(pair.gateway.generation().await > before);
    pair.gateway.directory.replace("routing.toml", "version = 1\nnonsense = 1\n");
    let ended = operate(&pair.gateway, &["reload"]).await;
    assert!(ended.code == 5 || ended.code == 3, "{ended:?}");
    assert!(ended.stderr.contains("nonsense"), "{ended:?}");
}

#[tokio::test]
async fn commands_without_a_gateway_exit_with_four() {
    // Reserved and not listening: nobody answers there.
    let mut nobody = crate::harness::stamp::Stamp::start("nobody").await;
    nobody.kill().await;
    let admin = format!("http://{}", nobody.address);
    for command in [&["stamps"][..], &["status"], &["drain", "a"], &["undrain", "a"], &["reload"]] {
        let arguments = [command, &["--admin", &admin]].concat();
        stampgate(&arguments).await.exits(4);
    }
}

#[tokio::test]
async fn commands_find_the_gateway_by_its_configuration() {
    let pair = Pair::start().await;
    let path = pair.gateway.directory.path("gateway.toml");
    let ended = stampgate(&["stamps", "-c", path.to_str().unwrap()]).await.exits(0);
    assert!(ended.stdout.contains("active"), "{ended:?}");
    stampgate(&["healthcheck", "-c", path.to_str().unwrap()]).await.exits(0);
}
