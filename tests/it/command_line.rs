//! Section 9 of the contract: the commands that need no running gateway.

use std::fs;
use std::path::Path;

use crate::harness::command::{stampgate, stampgate_in};
use crate::harness::gateway::Plan;
use crate::harness::scene::PAIR;
use crate::harness::stamp::Stamp;

#[tokio::test]
async fn check_accepts_a_good_configuration() {
    let (a, b) = (Stamp::start("a").await, Stamp::start("b").await);
    let directory = Plan::new(PAIR, &[&a, &b]).written();
    let path = directory.path("gateway.toml");
    stampgate(&["check", "-c", path.to_str().unwrap()]).await.exits(0);
}

#[tokio::test]
async fn gateway_toml_of_the_working_directory_is_the_default() {
    let (a, b) = (Stamp::start("a").await, Stamp::start("b").await);
    let directory = Plan::new(PAIR, &[&a, &b]).written();
    stampgate_in(&directory.path(""), &["check"]).await.exits(0);
}

#[tokio::test]
async fn the_configuration_that_ships_is_good() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("config/gateway.toml");
    stampgate(&["check", "-c", path.to_str().unwrap()]).await.exits(0);
}

#[tokio::test]
async fn a_configuration_that_is_not_there_is_a_configuration_error() {
    let ended = stampgate(&["check", "-c", "/nowhere/gateway.toml"]).await.exits(3);
    assert!(ended.stderr.contains("/nowhere/gateway.toml"), "{ended:?}");
}

#[tokio::test]
async fn what_is_no_command_is_a_usage_error() {
    for arguments in [&["frobnicate"][..], &["run", "--frobnicate"], &["drain"], &["schema", "x"]] {
        let ended = stampgate(arguments).await.exits(2);
        assert!(ended.stdout.is_empty() && !ended.stderr.is_empty(), "{ended:?}");
    }
}

#[tokio::test]
async fn version_and_help_are_data() {
    let version = stampgate(&["--version"]).await.exits(0);
    assert!(version.stdout.contains(env!("CARGO_PKG_VERSION")), "{version:?}");
    let help = stampgate(&["--help"]).await.exits(0).stdout;
    for command in ["run", "demo", "check", "drain", "undrain", "stamps", "status", "healthcheck"] {
        assert!(help.contains(command), "{command}: {help}");
    }
}

/// The one committed schema whose name begins with this word.
fn committed(word: &str) -> String {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("schema");
    let mut found = Vec::new();
    for entry in fs::read_dir(&directory).unwrap() {
        let path = entry.unwrap().path();
        if path.file_name().unwrap().to_str().unwrap().starts_with(word) {
            found.push(path);
        }
    }
    assert_eq!(found.len(), 1, "schemas of {word}: {found:?}");
    fs::read_to_string(&found[0]).unwrap()
}

#[tokio::test]
async fn the_committed_schemas_are_current() {
    for word in ["gateway", "routing"] {
        let ended = stampgate(&["schema", word]).await.exits(0);
        assert_eq!(ended.stdout, committed(word), "run `stampgate schema {word}` and commit it");
        assert_eq!(ended.json()["$schema"], "https://json-schema.org/draft/2020-12/schema");
    }
}

#[tokio::test]
async fn completions_are_printed_for_every_shell() {
    for shell in ["bash", "zsh", "fish"] {
        let ended = stampgate(&["completions", shell]).await.exits(0);
        assert!(ended.stdout.contains("stampgate"), "{shell}");
    }
}

#[tokio::test]
async fn the_manual_page_is_printed() {
    let ended = stampgate(&["man"]).await.exits(0);
    assert!(ended.stdout.contains(".TH"), "{ended:?}");
}

#[tokio::test]
async fn a_healthcheck_without_a_gateway_fails() {
    let (a, b) = (Stamp::start("a").await, Stamp::start("b").await);
    let directory = Plan::new(PAIR, &[&a, &b]).written();
    let path = directory.path("gateway.toml");
    let ended = stampgate(&["healthcheck", "-c", path.to_str().unwrap()]).await;
    assert!([1, 4].contains(&ended.code), "{ended:?}");
}

#[tokio::test]
async fn the_environment_overrides_the_file() {
    let (a, b) = (Stamp::start("a").await, Stamp::start("b").await);
    let directory = Plan::new(PAIR, &[&a, &b]).written();
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_stampgate"));
    command.args(["check", "-c"]).arg(directory.path("gateway.toml"));
    command.env("STAMPGATE__LIMITS__HEADER_COUNT", "many");
    let ended = crate::harness::command::run(command).await.exits(3);
    assert!(ended.stderr.contains("STAMPGATE__LIMITS__HEADER_COUNT"), "{ended:?}");
}

#[tokio::test]
async fn an_occupied_port_is_a_clear_runtime_failure() {
    let (a, b) = (Stamp::start("a").await, Stamp::start("b").await);
    let other = Stamp::start("other").await;
    let taken = format!("\"{}\"", other.address);
    let directory = Plan::new(PAIR, &[&a, &b]).set("admin", "bind", &taken).written();
    let path = directory.path("gateway.toml");
    let ended = stampgate(&["run", "-c", path.to_str().unwrap()]).await.exits(1);
    assert!(ended.stderr.contains(&other.address.to_string()), "{ended:?}");
}
