//! Upgrades under load: twenty times the program on disk takes over, and no client may notice.

use std::error::Error;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use super::gateway::{Gateway, ask};
use super::load::Load;
use super::stamp;
use crate::failover::{now, sleep_until};
use crate::run::{Done, print, release_build, root, say};

const UPGRADES: u32 = 20;
const EVERY: Duration = Duration::from_secs(2);
/// Requests a second, over 96 connections, some kept and some new.
const RATE: u32 = 1_000;

/// The process that serves now, once it is not the first; it is ended with this program. Those before
/// it leave by themselves, when the last of their clients has gone.
#[derive(Default)]
struct Heir {
    pid: Option<String>,
}

impl Drop for Heir {
    fn drop(&mut self) {
        if let Some(pid) = &self.pid {
            drop(Command::new("kill").args(["-KILL", pid]).status());
        }
    }
}

/// Upgrades, prints what clients saw, and fails where one of them noticed.
pub(crate) fn run() -> Done {
    stamp::start()?;
    let directory = root().join("target/upgrades");
    let _first = Gateway::start(&directory)?;
    let lasts = EVERY * (UPGRADES + 1);
    let load = Load { rate: RATE, lasts }.start();
    let began = now();
    let mut heir = Heir::default();
    let mut longest = Duration::ZERO;
    for number in 1..=UPGRADES {
        sleep_until(began + EVERY * number);
        let asked = now();
        let told = upgrade(&directory)?;
        heir.pid = Some(told.clone());
        longest = longest.max(now().saturating_duration_since(asked));
        let answers = pid(&ask("GET /v1/info")?)?;
        if answers != told {
            return Err(format!("process {answers} answers, not {told}").into());
        }
        say(&format!("upgrade {number} of {UPGRADES}"));
    }
    let late = now().saturating_duration_since(began) > lasts;
    let counts = load.finish();
    print("| upgrades | requests | errors | longest upgrade s |\n|---|---|---|---|");
    print(&format!(
        "| {UPGRADES} | {} | {} | {:.2} |",
        counts.requests(),
        counts.errors(),
        longest.as_secs_f64()
    ));
    let mut broken = counts.broken(RATE, lasts);
    if late {
        broken.push("the last upgrades came after the load".to_owned());
    }
    if broken.is_empty() { Ok(()) } else { Err(broken.join("; ").into()) }
}

/// Upgrades as an operator does; the process that serves then.
fn upgrade(directory: &Path) -> Result<String, Box<dyn Error>> {
    let mut command = Command::new(release_build());
    command.args(["upgrade", "-o", "json", "-c"]).arg(directory.join("gateway.toml"));
    let told = command.output()?;
    if !told.status.success() {
        return Err(String::from_utf8_lossy(&told.stderr).into_owned().into());
    }
    pid(&String::from_utf8(told.stdout)?)
}

/// The process that a JSON document of the admin plane names.
fn pid(document: &str) -> Result<String, Box<dyn Error>> {
    let (_, rest) = document.split_once("\"pid\":").ok_or_else(|| format!("no pid: {document}"))?;
    Ok(rest.trim_start().chars().take_while(char::is_ascii_digit).collect())
}
