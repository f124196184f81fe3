//! The units of `deploy/systemd` are true: what they start is how the gateway starts, and their sockets are
//! those of the configuration that ships.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};

use crate::harness::command::{run, stampgate_in};
use crate::harness::deadline::eventually;
use crate::harness::files::Directory;
use crate::harness::gateway::Plan;
use crate::harness::scene::PAIR;
use crate::harness::stamp::Stamp;

const PROGRAM: &str = "/usr/local/bin/stampgate";
const CONFIGURATION: &str = "/etc/stampgate/gateway.toml";
const UNITS: [&str; 2] = ["stampgate.service", "stampgate.socket"];

fn root(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

fn unit(name: &str) -> String {
    fs::read_to_string(root("deploy/systemd").join(name)).unwrap()
}

/// What a unit says of this key, which is there once.
fn value<'a>(unit: &'a str, key: &str) -> &'a str {
    let mut found =
        unit.lines().filter_map(|line| line.split_once('=')).filter(|(own, _)| *own == key);
    let (_, value) = found.next().unwrap_or_else(|| panic!("no {key}:\n{unit}"));
    assert!(found.next().is_none(), "{key} twice:\n{unit}");
    value
}

/// A process that is killed and reaped, whatever becomes of the test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ended = self.0.kill();
        let _status = self.0.wait();
    }
}

/// The command and the environment of the service, with paths below this directory.
fn command_of_service(directory: &Directory) -> Command {
    let service = unit("stampgate.service");
    let mut words = value(&service, "ExecStart").split(' ');
    assert_eq!(words.next(), Some(PROGRAM));
    let path = directory.path("gateway.toml");
    let words = words.map(|word| match word {
        CONFIGURATION => path.to_str().unwrap().to_owned(),
        word => word.to_owned(),
    });
    let mut command = Command::new(env!("CARGO_BIN_EXE_stampgate"));
    command.args(words);
    let (name, state) = value(&service, "Environment").split_once('=').unwrap();
    let state = state.strip_prefix("%S/").unwrap();
    assert_eq!(state, value(&service, "StateDirectory"));
    command.env(name, directory.path(state));
    command
}

#[tokio::test]
async fn the_service_starts_a_gateway_that_ends_well() {
    let (a, b) = (Stamp::start("a").await, Stamp::start("b").await);
    let directory = Plan::new(PAIR, &[&a, &b]).written();
    let mut command = command_of_service(&directory);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let mut gateway = Running(command.spawn().unwrap());
    let ports = directory.path("stampgate/ports.json");
    eventually("ports.json in the directory of the unit", async || {
        assert_eq!(gateway.0.try_wait().unwrap(), None);
        ports.exists().then_some(())
    })
    .await;
    kill_process(Pid::from_child(&gateway.0), Signal::TERM).unwrap();
    let status = eventually("the end of the gateway", async || gateway.0.try_wait().unwrap()).await;
    assert_eq!(status.code(), Some(0));
}

#[tokio::test]
async fn what_the_service_does_not_try_again_is_what_does_not_get_better() {
    let service = unit("stampgate.service");
    let prevented: Vec<&str> = value(&service, "RestartPreventExitStatus").split(' ').collect();
    let nowhere = Directory::new();
    let usage = stampgate_in(&nowhere.path(""), &["run", "--frobnicate"]).await.code;
    let configuration = stampgate_in(&nowhere.path(""), &["run"]).await.code;
    assert_eq!(prevented, [usage.to_string(), configuration.to_string()]);
}

#[test]
fn the_socket_is_the_listener_of_the_configuration_that_ships() {
    let socket = unit("stampgate.socket");
    let shipped = fs::read_to_string(root("config/gateway.toml")).unwrap();
    let name = format!("name = \"{}\" ", value(&socket, "FileDescriptorName"));
    let bind = format!("bind = \"{}\" ", value(&socket, "ListenStream"));
    let mut listeners = shipped.split("\n[[listener]]").skip(1);
    let is_there = |listener: &str, key: &String| listener.lines().any(|it| it.starts_with(key));
    assert!(
        listeners.any(|listener| is_there(listener, &name) && is_there(listener, &bind)),
        "{shipped}"
    );
}

#[tokio::test]
async fn systemd_finds_nothing_wrong_with_the_units() {
    if Command::new("systemd-analyze").arg("--version").stdout(Stdio::null()).status().is_err() {
        eprintln!("not tried: there is no systemd-analyze");
        return;
    }
    // It wants the program to be there.
    let directory = Directory::new();
    for name in UNITS {
        let text = unit(name).replace(PROGRAM, env!("CARGO_BIN_EXE_stampgate"));
        directory.write(name, &text);
    }
    let mut command = Command::new("systemd-analyze");
    command.arg("verify").args(UNITS.map(|name| directory.path(name)));
    let ended = run(command).await.exits(0);
    // Other units of this machine may be wrong: only what is said of ours counts.
    let ours: Vec<_> = ended.stderr.lines().filter(|line| line.contains("stampgate.s")).collect();
    assert!(ours.is_empty(), "{ours:?}");
}
