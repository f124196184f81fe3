//! A process that is started by systemd, or by whoever speaks as it does: passed sockets, and what the
//! supervisor is told.

use std::fs::File;
use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixDatagram;
use std::process::{Child, Command, Stdio};

use command_fds::{CommandFdExt, FdMapping};
use rustix::process::{Pid, Signal, kill_process};

use crate::harness::client::Client;
use crate::harness::deadline::eventually;
use crate::harness::files::Directory;
use crate::harness::gateway::Plan;
use crate::harness::http1::get;
use crate::harness::scene::{ACME, PAIR};
use crate::harness::stamp::Stamp;

/// A process with the environment that a supervisor gives it. It ends with the test.
struct Supervised {
    directory: Directory,
    child: Child,
    told: UnixDatagram,
}

impl Supervised {
    fn start(plan: Plan, sockets: Vec<OwnedFd>, variables: &[(&str, &str)]) -> Self {
        let directory = plan.written();
        let path = directory.path("notify");
        let told = UnixDatagram::bind(&path).unwrap();
        told.set_nonblocking(true).unwrap();
        let log = File::create(directory.path("gateway.log")).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_stampgate"));
        command
            .args(["run", "-c"])
            .arg(directory.path("gateway.toml"))
            .env("NOTIFY_SOCKET", path)
            .env("LISTEN_FDS", sockets.len().to_string())
            .env("LISTEN_FDNAMES", "web.socket")
            .envs(variables.iter().copied())
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log);
        let mappings = sockets.into_iter().zip(3..);
        let mappings = mappings.map(|(parent_fd, child_fd)| FdMapping { parent_fd, child_fd });
        command.fd_mappings(mappings.collect()).unwrap();
        let child = command.spawn().unwrap();
        Self { directory, child, told }
    }

    /// Waits until the supervisor is told this line.
    async fn tells(&self, line: &str) -> String {
        let mut message = [0; 4096];
        eventually(&format!("the supervisor told {line}"), async || {
            let count = self.told.recv(&mut message).ok()?;
            let text = String::from_utf8(message[..count].to_vec()).unwrap();
            text.lines().any(|it| it == line).then_some(text)
        })
        .await
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }
}

impl Drop for Supervised {
    fn drop(&mut self) {
        let _result = self.child.kill();
        let _status = self.child.wait();
    }
}

async fn plan() -> (Plan, [Stamp; 2]) {
    let stamps = [Stamp::start("a").await, Stamp::start("b").await];
    (Plan::new(PAIR, &[&stamps[0], &stamps[1]]), stamps)
}

#[tokio::test]
async fn a_passed_socket_is_the_listener_of_its_address_and_what_waits_in_it_is_served() {
    let (plan, _stamps) = plan().await;
    let socket = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap();
    // It came before the process did.
    let mut client = Client::connect(address).await;
    client.send(get(ACME, "/").bytes()).await;
    let plan = plan.set("listener", "bind", &format!("\"{address}\""));
    let supervised = Supervised::start(plan, vec![socket.into()], &[]);
    supervised.tells("READY=1").await;
    assert_eq!(client.answer().await.served_by(), "a");
    for _ in 0..20 {
        assert_eq!(Client::connect(address).await.exchange(&get(ACME, "/")).await.status, 200);
    }
}

#[tokio::test]
async fn a_passed_socket_that_is_no_listeners_is_named_and_nothing_is_started() {
    let (plan, _stamps) = plan().await;
    let socket = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap();
    let mut supervised = Supervised::start(plan, vec![socket.into()], &[]);
    let status = eventually("the end", async || supervised.child.try_wait().unwrap()).await;
    assert_eq!(status.code(), Some(1));
    let log = supervised.directory.read("gateway.log");
    assert!(log.contains(&format!("{address} (`web.socket`)")), "{log}");
}

#[tokio::test]
async fn the_supervisor_is_told_how_the_process_fares() {
    let (plan, _stamps) = plan().await;
    let supervised = Supervised::start(plan, Vec::new(), &[]);
    let ready = supervised.tells("READY=1").await;
    assert!(ready.contains(&format!("MAINPID={}", supervised.child.id())), "{ready}");
    assert!(ready.contains("STATUS=serving 2 stamps"), "{ready}");
    supervised.signal(Signal::HUP);
    let reloading = supervised.tells("RELOADING=1").await;
    assert!(reloading.contains("MONOTONIC_USEC="), "{reloading}");
    supervised.tells("READY=1").await;
    supervised.signal(Signal::TERM);
    supervised.tells("STOPPING=1").await;
}

#[tokio::test]
async fn the_watchdog_hears_of_a_process_that_is_alive_and_not_of_one_that_hangs() {
    let (plan, _stamps) = plan().await;
    let supervised = Supervised::start(plan, Vec::new(), &[("WATCHDOG_USEC", "400000")]);
    supervised.tells("WATCHDOG=1").await;
    supervised.tells("WATCHDOG=1").await;
}
