//! How late this machine makes everybody, whatever they do: a program of its own that looks every
//! 10 ms how late it is, before all others where the system allows that. What it sees, no gateway can
//! help: the machine was given to somebody else.

use std::error::Error;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use super::histogram::Histogram;
use crate::failover::{now, sleep_until};
use crate::run::{Done, print};

/// The word that starts a witness: this program, run once more.
pub(crate) const COMMAND: &str = "reload-witness";
/// As a worker of the gateway looks.
const LOOK_EVERY: Duration = Duration::from_millis(10);
/// The bounds of the gateway's histogram that matter here, in milliseconds.
const BOUNDS_MS: [f64; 9] = [0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 25.0, 50.0, 100.0];

pub(super) struct Witness {
    child: Child,
}

impl Witness {
    /// Begins to look, for so long.
    pub(super) fn start(seconds: u32) -> Result<Self, Box<dyn Error>> {
        let program = std::env::current_exe()?;
        let mut trial = Command::new("chrt");
        let trial = trial.args(["-f", "20", "true"]).stderr(Stdio::null()).status();
        let mut command = if trial.is_ok_and(|status| status.success()) {
            let mut command = Command::new("chrt");
            command.args(["-f", "20"]).arg(program);
            command
        } else {
            Command::new(program)
        };
        let child = command.arg(COMMAND).arg(seconds.to_string()).stdout(Stdio::piped()).spawn()?;
        Ok(Self { child })
    }

    /// How late it was, when its time is over.
    pub(super) fn finish(self) -> Result<Histogram, Box<dyn Error>> {
        let output = self.child.wait_with_output()?;
        let late = String::from_utf8_lossy(&output.stdout).into_owned();
        let late: Result<Vec<f64>, _> = late.split_whitespace().map(str::parse).collect();
        Ok(Histogram::of(&BOUNDS_MS, late?.into_iter()))
    }
}

/// The witness's main function: tells how late it was each time, in milliseconds.
pub(crate) fn look(seconds: &str) -> Done {
    let until = now() + Duration::from_secs(seconds.parse()?);
    let mut late_ms = Vec::new();
    while now() < until {
        let due = now() + LOOK_EVERY;
        sleep_until(due);
        late_ms.push(now().saturating_duration_since(due).as_secs_f64() * 1e3);
    }
    for late_ms in late_ms {
        print(&format!("{late_ms:.3}"));
    }
    Ok(())
}
