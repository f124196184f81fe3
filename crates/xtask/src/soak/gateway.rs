//! The gateway, as a process of its own that is ended by pid; its tables, and what its admin plane is
//! asked.

use std::error::Error;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use super::stamp::STAMPS;
use crate::failover::{now, sleep_until};
use crate::scene::{self, LOG};

pub(super) const PORT: u16 = 22_310;
const ADMIN_PORT: u16 = 22_311;
/// Tenants that stay where they are.
pub(super) const TENANTS: usize = 20;
const ENDS_WITHIN: Duration = Duration::from_secs(30);
/// One of so many tables is wrong.
const WRONG_EVERY: u32 = 4;
const PANICS: &str = "stampgate_panics_total ";

pub(super) struct Gateway {
    running: scene::Gateway,
    directory: PathBuf,
}

/// What the gateway said to a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Accepted,
    Refused,
}

/// What became of the tables so far.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Reloads {
    pub(super) accepted: u32,
    pub(super) refused: u32,
}

impl Reloads {
    pub(super) const fn tried(self) -> u32 {
        self.accepted + self.refused
    }
}

/// The stamp that a tenant lives on.
pub(super) fn home(tenant: usize) -> &'static str {
    STAMPS.get(tenant % STAMPS.len()).map_or("", |(name, _)| name)
}

impl Gateway {
    /// Starts it, and waits until it listens.
    pub(super) fn start(directory: &Path) -> Result<Self, Box<dyn Error>> {
        scene::empty(directory)?;
        let files = (&*gateway_toml(), &*routing_toml(0)?);
        let running = scene::Gateway::start(directory, files, PORT)?;
        Ok(Self { running, directory: directory.to_owned() })
    }

    pub(super) fn pid(&self) -> u32 {
        self.running.child.id()
    }

    /// Gives it the table of this number. That it takes what is right and refuses what is wrong is
    /// certain afterwards.
    pub(super) fn reload(&self, number: u32) -> Result<Verdict, Box<dyn Error>> {
        let is_wrong = number % WRONG_EVERY == WRONG_EVERY - 1;
        let mut table = routing_toml(number)?;
        if is_wrong {
            table += "nobody = \"nowhere\"\n";
        }
        fs::write(self.directory.join("routing.toml"), table)?;
        let answer = ask("POST /v1/config/reload")?;
        match (is_wrong, answer.split(' ').nth(1)) {
            (false, Some("200")) => Ok(Verdict::Accepted),
            (true, Some("422")) => Ok(Verdict::Refused),
            _ => Err(format!("a table was judged wrongly (wrong: {is_wrong}): {answer}").into()),
        }
    }

    /// Ends it as an operator does; which promises were not kept?
    pub(super) fn end(mut self) -> Result<Vec<String>, Box<dyn Error>> {
        let metrics = ask("GET /metrics")?;
        let panics = metrics.lines().find_map(|line| line.strip_prefix(PANICS)).ok_or(PANICS)?;
        Command::new("kill").arg(self.running.child.id().to_string()).status()?;
        let due = now() + ENDS_WITHIN;
        let mut ended = self.running.child.try_wait()?;
        while ended.is_none() && now() < due {
            sleep_until(now() + Duration::from_millis(50));
            ended = self.running.child.try_wait()?;
        }
        let log = fs::read_to_string(self.directory.join(LOG))?;
        let told = log.lines().filter(|line| line.contains("panicked")).count();
        crate::run::print(&format!("panics: {panics} of requests, {told} in the log"));
        let mut broken = Vec::new();
        if panics != "0" || told > 0 {
            broken.push(format!("something panicked: {}", self.directory.join(LOG).display()));
        }
        match ended {
            Some(status) if status.success() => {}
            Some(status) => broken.push(format!("the gateway ended with {status}")),
            None => broken.push("the gateway did not end".to_owned()),
        }
        Ok(broken)
    }
}

/// Asks the admin plane; the answer, head and all.
pub(super) fn ask(what: &str) -> Result<String, Box<dyn Error>> {
    scene::ask(ADMIN_PORT, what)
}

/// Connections stay idle for as long as it takes: that they end by themselves is not what is tried.
fn gateway_toml() -> String {
    format!(
        "version = 1\n[node]\nid = \"soak\"\n[runtime]\nworkers = 2\n\
         [routing]\nfile = \"routing.toml\"\nwatch = false\n[timeouts]\ndownstream_idle = \"24h\"\n\
         [[listener]]\nname = \"public\"\nbind = \"127.0.0.1:{PORT}\"\n\
         [admin]\nbind = \"127.0.0.1:{ADMIN_PORT}\"\n[access_log]\nenabled = false\n"
    )
}

/// From one to the next a tenant moves that nobody asks for, and one comes or goes.
fn routing_toml(number: u32) -> Result<String, std::fmt::Error> {
    let mut text = String::from(
        "version = 1\n[identity.host]\npatterns = [\"{tenant}.app.example.com\"]\n\
         [defaults.stamp]\npool = { idle_timeout = \"3s\" }\n",
    );
    for (name, port) in STAMPS {
        writeln!(
            text,
            "[[stamp]]\nid = \"{name}\"\nendpoints = [{{ url = \"http://127.0.0.1:{port}\" }}]"
        )?;
    }
    text += "[tenants]\n";
    for tenant in 0..TENANTS {
        writeln!(text, "t{tenant} = \"{}\"", home(tenant))?;
    }
    let turn = usize::try_from(number).unwrap_or_default();
    writeln!(text, "mover = \"{}\"", home(turn))?;
    if turn % 3 == 0 {
        writeln!(text, "guest = \"{}\"", home(turn))?;
    }
    Ok(text)
}
