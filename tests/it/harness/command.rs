//! The command line, run to its end.

use std::path::Path;
use std::process::{Command, Stdio};

use super::deadline::within;
use super::gateway::Gateway;

/// How a command ended.
#[derive(Clone, Debug)]
pub struct Ended {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

impl Ended {
    /// Both streams, for texts whose stream does not matter.
    pub fn all(&self) -> String {
        format!("{}{}", self.stdout, self.stderr)
    }

    /// stdout as JSON.
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// Fails the test unless the exit code is this one.
    #[track_caller]
    pub fn exits(self, code: i32) -> Self {
        assert_eq!(self.code, code, "{}", self.all());
        self
    }
}

/// Runs `stampgate` with these arguments.
pub async fn stampgate(arguments: &[&str]) -> Ended {
    let mut command = Command::new(env!("CARGO_BIN_EXE_stampgate"));
    command.args(arguments);
    run(command).await
}

/// Runs `stampgate` in a directory.
pub async fn stampgate_in(directory: &Path, arguments: &[&str]) -> Ended {
    let mut command = Command::new(env!("CARGO_BIN_EXE_stampgate"));
    command.args(arguments).current_dir(directory);
    run(command).await
}

/// Runs an operator's command against this gateway.
pub async fn operate(gateway: &Gateway, arguments: &[&str]) -> Ended {
    let admin = format!("http://{}", gateway.admin);
    let mut all = arguments.to_vec();
    all.extend(["--admin", &admin]);
    stampgate(&all).await
}

/// Runs any command to its end; its environment says nothing about colours or terminals.
pub async fn run(mut command: Command) -> Ended {
    command.stdin(Stdio::null()).env("NO_COLOR", "1").env_remove("RUST_LOG");
    let what = format!("{command:?} to end");
    let output = tokio::task::spawn_blocking(move || command.output().unwrap());
    let output = within(&what, output).await.unwrap();
    Ended {
        code: output.status.code().unwrap_or(-1),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}
