//! A fake stamp that is its own process, so that it can be stopped and killed by the kernel: the
//! test binary, run once more for the one ignored test below.

use std::env;
use std::fs::{self, File};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process, set_parent_process_death_signal};
use socket2::Socket;

use super::client::Client;
use super::deadline::eventually;
use super::files::Directory;
use super::stamp::{Stamp, reserve};

const NAME: &str = "STAMPGATE_TEST_STAMP_NAME";
const ADDRESS: &str = "STAMPGATE_TEST_STAMP_ADDRESS";
const JOURNAL: &str = "STAMPGATE_TEST_STAMP_JOURNAL";

/// A stamp process that echoes. It is killed and reaped when dropped, stopped or not.
#[derive(Debug)]
pub struct StampProcess {
    pub name: String,
    pub address: SocketAddr,
    child: Child,
    directory: Directory,
    /// Keeps the port ours while the process is dead: bound, but not listening.
    _reserved: Socket,
}

impl StampProcess {
    /// Starts the process and waits until it accepts connections.
    pub async fn start(name: &str) -> Self {
        let reserved = reserve(SocketAddr::from(([127, 0, 0, 1], 0)));
        let address = reserved.local_addr().unwrap().as_socket().unwrap();
        let directory = Directory::new();
        directory.write("journal", "");
        let child = spawn(name, address, &directory);
        let process = Self { name: name.into(), address, child, directory, _reserved: reserved };
        process.accepts().await;
        process
    }

    async fn accepts(&self) {
        let what = format!("stamp process {} to listen", self.name);
        eventually(&what, async || Client::try_connect(self.address).await.ok()).await;
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// Freezes it: the kernel still completes handshakes, and nobody reads or answers.
    pub fn freeze(&self) {
        self.signal(Signal::STOP);
    }

    /// Lets it go on.
    pub fn thaw(&self) {
        self.signal(Signal::CONT);
    }

    /// Ends it as the kernel's out-of-memory killer would.
    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        let _status = self.child.wait().unwrap();
    }

    /// Starts it again on the same port.
    pub async fn revive(&mut self) {
        self.child = spawn(&self.name, self.address, &self.directory);
        self.accepts().await;
    }

    /// All requests whose head reached it in any of its lives, as `METHOD target`; no probes.
    pub fn arrivals(&self) -> Vec<String> {
        self.directory.read("journal").lines().map(str::to_owned).collect()
    }

    /// Waits until so many requests have reached it.
    pub async fn reached_by(&self, count: usize) {
        let what = format!("{count} requests at stamp process {}", self.name);
        eventually(&what, async || (self.arrivals().len() >= count).then_some(())).await;
    }
}

impl Drop for StampProcess {
    fn drop(&mut self) {
        // SIGKILL ends a stopped process too. Already ended is fine.
        let _result = self.child.kill();
        let _status = self.child.wait();
    }
}

fn spawn(name: &str, address: SocketAddr, directory: &Directory) -> Child {
    let output = File::options().create(true).append(true).open(directory.path("output")).unwrap();
    Command::new(env::current_exe().unwrap())
        .args(["--exact", "harness::process::stamp_process", "--ignored", "--test-threads=1"])
        .env(NAME, name)
        .env(ADDRESS, address.to_string())
        .env(JOURNAL, directory.path("journal"))
        .stdin(Stdio::null())
        .stdout(output.try_clone().unwrap())
        .stderr(output)
        .spawn()
        .unwrap()
}

#[tokio::test]
#[ignore = "no test: what a stamp process runs"]
async fn stamp_process() {
    let (Ok(name), Ok(address)) = (env::var(NAME), env::var(ADDRESS)) else { return };
    // A test binary that is killed takes its stamps with it.
    set_parent_process_death_signal(Some(Signal::KILL)).unwrap();
    let journal = fs::OpenOptions::new().append(true).open(env::var(JOURNAL).unwrap()).unwrap();
    let _stamp = Stamp::start_at(&name, address.parse().unwrap(), Some(journal));
    std::future::pending::<()>().await;
}
