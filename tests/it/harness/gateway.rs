//! The gateway as its users have it: the program, run in a directory, seen through its ports.

use std::fs::{self, File};
use std::net::SocketAddr;
use std::process::{Child, Command, ExitStatus, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use super::client::{Answer, Client};
use super::deadline::eventually;
use super::files::{Directory, Settings, routing};
use super::http1::{Request, get};
use super::metrics::Metrics;
use super::stamp::Stamp;

/// A file of this name in its directory takes the place of the certificates that the system trusts.
pub const SYSTEM_CERTIFICATES: &str = "system.crt";

/// The number in a file of this name is how many files the process may open.
const FILES_MAX: &str = "files_max";

/// A gateway that is configured, but not running.
#[derive(Debug)]
pub struct Plan {
    pub directory: Directory,
    settings: Settings,
}

impl Plan {
    /// The usual gateway.toml, and this routing.toml after fast defaults.
    pub fn new(table: &str, stamps: &[&Stamp]) -> Self {
        let plan = Self { directory: Directory::new(), settings: Settings::new() };
        plan.directory.write("routing.toml", &routing(table, stamps));
        plan
    }

    /// Sets one key of gateway.toml; the value is TOML.
    pub fn set(mut self, table: &str, key: &str, value: &str) -> Self {
        self.settings.set(table, key, value);
        self
    }

    /// One more file in the directory.
    pub fn file(self, name: &str, text: &str) -> Self {
        self.directory.write(name, text);
        self
    }

    /// How many files the process may open.
    pub fn files_max(self, files: u32) -> Self {
        self.file(FILES_MAX, &files.to_string())
    }

    /// Writes gateway.toml without starting anything.
    pub fn written(self) -> Directory {
        self.directory.write("gateway.toml", &self.settings.text());
        self.directory
    }

    /// Starts the gateway and waits until it is ready.
    pub async fn start(self) -> Gateway {
        Gateway::start(self.written()).await
    }
}

/// A gateway process. It is killed and reaped when dropped.
#[derive(Debug)]
pub struct Gateway {
    pub directory: Directory,
    child: Child,
    pub data: SocketAddr,
    pub admin: SocketAddr,
}

impl Gateway {
    /// Starts the program in this directory and waits until it is ready.
    pub async fn start(directory: Directory) -> Self {
        let child = spawn(&directory);
        let nowhere = SocketAddr::from(([127, 0, 0, 1], 0));
        let mut gateway = Self { directory, child, data: nowhere, admin: nowhere };
        gateway.wait_until_ready().await;
        gateway
    }

    async fn wait_until_ready(&mut self) {
        let path = self.directory.path("state/ports.json");
        let ports = eventually("ports.json of the gateway", async || {
            if let Some(status) = self.child.try_wait().unwrap() {
                panic!("the gateway ended with {status}");
            }
            fs::read(&path).ok().map(|text| serde_json::from_slice::<Value>(&text).unwrap())
        })
        .await;
        self.admin = ports["admin"].as_str().unwrap().parse().unwrap();
        self.data = ports["listeners"]["public"][0].as_str().unwrap().parse().unwrap();
        eventually("a ready gateway", async || {
            (self.admin_get("/readyz").await.status == 200).then_some(())
        })
        .await;
    }

    /// The process id.
    pub fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    /// Sends a signal to the process.
    pub fn signal(&self, signal: Signal) {
        kill_process(self.pid(), signal).unwrap();
    }

    /// Waits for the process to end by itself.
    pub async fn ended(&mut self) -> ExitStatus {
        eventually("the end of the gateway", async || self.child.try_wait().unwrap()).await
    }

    /// Has the process ended?
    pub fn has_ended(&mut self) -> bool {
        self.child.try_wait().unwrap().is_some()
    }

    /// Ends the process as a power cut would, and starts it again on the same directory.
    pub async fn kill_and_restart(&mut self) {
        self.kill();
        self.restart().await;
    }

    /// Starts the process again after its end.
    pub async fn restart(&mut self) {
        self.child = spawn(&self.directory);
        self.wait_until_ready().await;
    }

    /// SIGKILL, and waits for the end.
    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        let _status = self.child.wait().unwrap();
    }

    /// A new connection to the data listener.
    pub async fn connect(&self) -> Client {
        Client::connect(self.data).await
    }

    /// One request over its own connection to the data listener.
    pub async fn send(&self, request: &Request) -> Answer {
        self.connect().await.exchange(request).await
    }

    /// `GET` at this host over its own connection.
    pub async fn get(&self, host: &str, target: &str) -> Answer {
        self.send(&get(host, target)).await
    }

    /// One request over its own connection to the admin listener, with the right Host.
    pub async fn admin(&self, method: &str, target: &str, body: Option<&Value>) -> Answer {
        let request = self.admin_request(method, target);
        let request = match body {
            Some(body) => request.json(body),
            None => request,
        };
        self.admin_send(&request).await
    }

    /// A request to the admin listener with the right Host and nothing else.
    pub fn admin_request(&self, method: &str, target: &str) -> Request {
        Request::new(method, target).header("Host", &self.admin.to_string())
    }

    /// Sends a request to the admin listener as it is.
    pub async fn admin_send(&self, request: &Request) -> Answer {
        Client::connect(self.admin).await.exchange(request).await
    }

    /// `GET` at the admin listener.
    pub async fn admin_get(&self, target: &str) -> Answer {
        self.admin("GET", target, None).await
    }

    /// A scrape.
    pub async fn metrics(&self) -> Metrics {
        let answer = self.admin_get("/metrics").await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        Metrics::parse(&answer.text())
    }

    /// The sum of a metric over all series with these labels.
    pub async fn metric(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        self.metrics().await.sum(name, labels)
    }

    /// Number of the table in force.
    pub async fn generation(&self) -> f64 {
        self.metric("stampgate_config_generation", &[]).await
    }

    /// Did the last reload succeed?
    pub async fn last_reload_succeeded(&self) -> bool {
        self.metric("stampgate_config_last_reload_success", &[]).await > 0.5
    }

    /// Asks for a reload and expects it to be accepted.
    pub async fn reload(&self) {
        let answer = self.admin("POST", "/v1/config/reload", None).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
    }

    /// Changes gateway.toml and reloads.
    pub async fn reconfigure(&self, from: &str, to: &str) {
        let text = self.directory.read("gateway.toml");
        assert!(text.contains(from), "{text}");
        self.directory.replace("gateway.toml", &text.replace(from, to));
        self.reload().await;
    }

    /// Replaces routing.toml and reloads.
    pub async fn reload_with(&self, table: &str, stamps: &[&Stamp]) {
        self.directory.replace("routing.toml", &routing(table, stamps));
        self.reload().await;
    }

    /// Waits until a `GET` at this host is served by this stamp.
    pub async fn serves(&self, host: &str, stamp: &str) {
        let what = format!("{host} served by {stamp}");
        eventually(&what, async || {
            let answer = self.get(host, "/which").await;
            (answer.status == 200 && answer.served_by() == stamp).then_some(())
        })
        .await;
    }

    /// Waits until a `GET` at this host is answered with this problem code.
    pub async fn refuses(&self, host: &str, code: &str) -> Answer {
        eventually(&format!("{host} refused with {code}"), async || {
            let answer = self.get(host, "/which").await;
            (answer.status >= 400 && answer.code() == code).then_some(answer)
        })
        .await
    }

    /// What the admin plane tells of this stamp.
    pub async fn stamp(&self, id: &str) -> Value {
        let answer = self.admin_get(&format!("/v1/stamps/{id}")).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        answer.json()
    }

    /// Waits until this stamp answers for the tenants of that home.
    pub async fn answers(&self, stamp: &str, home: &str) {
        eventually(&format!("{stamp} to answer for {home}"), async || {
            (self.stamp(home).await["answered_by"] == stamp).then_some(())
        })
        .await;
    }

    /// How often another stamp began to answer for this home, as the log tells it.
    pub fn flips(&self, home: &str) -> usize {
        let log = self.log();
        let flips = log.lines().filter(|line| line.contains("another stamp answers for a home"));
        flips.filter(|line| line.contains(&format!("\"home\":\"{home}\""))).count()
    }

    /// Waits until the gateway knows that no endpoint of this stamp is up.
    pub async fn knows_down(&self, stamp: &str) {
        eventually(&format!("stamp {stamp} known to be down"), async || {
            let up = self.metric("stampgate_endpoint_up", &[("stamp", stamp)]).await;
            (up < 0.5).then_some(())
        })
        .await;
    }

    /// A figure of `/proc/PID/status` in bytes: `VmRSS`, `VmHWM`.
    pub fn memory(&self, figure: &str) -> u64 {
        let path = format!("/proc/{}/status", self.child.id());
        let status = fs::read_to_string(path).unwrap();
        let line = status.lines().find(|line| line.starts_with(figure)).unwrap();
        let kibibytes: u64 = line.split_whitespace().nth(1).unwrap().parse().unwrap();
        kibibytes * 1024
    }

    /// What the kernel holds for clients of what they were sent, in bytes (proc(5), `/proc/net/tcp`).
    pub fn unread(&self) -> u64 {
        let ours = format!(":{:04X}", self.data.port());
        let sockets = fs::read_to_string("/proc/net/tcp").unwrap();
        let queued = sockets.lines().filter_map(|line| {
            let mut words = line.split_whitespace().skip(1);
            let local = words.next().filter(|local| local.ends_with(&ours));
            let queues = local.and_then(|_| words.nth(2))?;
            u64::from_str_radix(queues.split(':').next()?, 16).ok()
        });
        queued.sum()
    }

    /// What the process has written to stdout and stderr.
    pub fn log(&self) -> String {
        self.directory.read("gateway.log")
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        // Already ended is fine; nothing else can be done about a failure here.
        let _result = self.child.kill();
        let _status = self.child.wait();
        if std::thread::panicking() {
            eprintln!("--- log of the gateway\n{}--- end of the log", self.log());
        }
    }
}

fn spawn(directory: &Directory) -> Child {
    // A file of an earlier run would name ports of the past.
    let _absent = fs::remove_file(directory.path("state/ports.json"));
    let path = directory.path("gateway.log");
    let log = File::options().create(true).append(true).open(path).unwrap();
    program(directory)
        .arg("run")
        .arg("-c")
        .arg(directory.path("gateway.toml"))
        // Whom the system trusts, as the gateway sees it.
        .envs(Some(directory.path(SYSTEM_CERTIFICATES)).filter(|path| path.exists()).map(|path| ("SSL_CERT_FILE", path)))
        .stdin(Stdio::null())
        .stdout(log.try_clone().unwrap())
        .stderr(log)
        .spawn()
        .unwrap()
}

fn program(directory: &Directory) -> Command {
    let program = env!("CARGO_BIN_EXE_stampgate");
    let Ok(files_max) = fs::read_to_string(directory.path(FILES_MAX)) else {
        return Command::new(program);
    };
    let mut shell = Command::new("sh");
    shell.arg("-c").arg(format!("ulimit -n {files_max}; exec \"$0\" \"$@\"")).arg(program);
    shell
}
