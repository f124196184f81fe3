//! `stampgate demo`: what a newcomer runs first must do what it prints.

use std::process::{Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::net::unix::pipe;

use crate::harness::command::{run, stampgate};
use crate::harness::deadline::{eventually, within};
use crate::harness::stamp::Stamp;

/// A running demo. It is killed and reaped when dropped.
struct Demo {
    child: std::process::Child,
    /// The lines to try, in the order in which they were printed.
    curls: Vec<String>,
    /// Kept open, so that the demo can go on printing.
    stdout: BufReader<pipe::Receiver>,
}

impl Demo {
    async fn start() -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_stampgate"))
            .args(["demo", "--port", "0", "--admin-port", "0"])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let stdout = child.stdout.take().unwrap();
        let stdout = pipe::Receiver::from_owned_fd(stdout.into()).unwrap();
        let mut demo = Self { child, curls: Vec::new(), stdout: BufReader::new(stdout) };
        while demo.curls.len() < 5 {
            let mut line = String::new();
            let read = within("five curl lines", demo.stdout.read_line(&mut line)).await.unwrap();
            assert!(read > 0, "the demo ended after {:?}", demo.curls);
            if line.trim_start().starts_with("curl ") {
                demo.curls.push(line.trim().to_owned());
            }
        }
        demo
    }

    /// What the n-th line prints when it is typed into a shell.
    async fn type_line(&self, place: usize) -> String {
        let mut command = Command::new("sh");
        command.args(["-c", &self.curls[place]]);
        run(command).await.exits(0).stdout
    }
}

impl Drop for Demo {
    fn drop(&mut self) {
        // Already ended is what the test wants.
        let _result = self.child.kill();
        let _status = self.child.wait();
    }
}

/// The stamps that answered `/hello`, in order. The admin plane's answers name no path.
fn answered_by(told: &str) -> Vec<String> {
    let answers = serde_json::Deserializer::from_str(told).into_iter::<Value>();
    let hellos = answers.map(Result::unwrap).filter(|answer| answer["path"] == "/hello");
    hellos.map(|answer| answer["stamp"].as_str().unwrap().to_owned()).collect()
}

fn curl_is_missing() -> bool {
    Command::new("curl").arg("--version").output().is_err()
}

#[tokio::test]
async fn each_printed_line_does_what_it_says() {
    if curl_is_missing() {
        eprintln!("not tried: there is no curl on this machine");
        return;
    }
    let demo = Demo::start().await;
    let lines: [&[&str]; 5] = [&["eu-1"], &["us-1"], &["eu-2"], &["eu-2"], &["eu-1", "eu-2"]];
    for (place, stamps) in lines.into_iter().enumerate() {
        let told = demo.type_line(place).await;
        assert_eq!(answered_by(&told), stamps, "line {}: {told}", place + 1);
    }
    // And so it stays: the stamp that was killed is not back.
    assert_eq!(answered_by(&demo.type_line(0).await), ["eu-2"]);
}

#[tokio::test]
async fn an_interrupt_ends_it_cleanly() {
    let mut demo = Demo::start().await;
    kill_process(Pid::from_child(&demo.child), Signal::INT).unwrap();
    let status = eventually("the end of the demo", async || demo.child.try_wait().unwrap()).await;
    assert_eq!(status.code(), Some(0));
}

#[tokio::test]
async fn an_occupied_port_is_named() {
    let taken = Stamp::start("taken").await;
    let port = taken.address.port().to_string();
    for option in ["--port", "--admin-port"] {
        let other = if option == "--port" { "--admin-port" } else { "--port" };
        let ended = stampgate(&["demo", option, &port, other, "0"]).await.exits(1);
        assert!(ended.stderr.contains(&port), "{ended:?}");
    }
}
