//! Another process takes over: the program as it is on disk now is started with the listening
//! sockets of this one. When it serves, this one takes no more connections and ends when its own are
//! done; when it does not come to serve, nothing has changed.

use std::env;
use std::io;
use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus};
use std::time::Duration;

use command_fds::{CommandFdExt, FdMapping};

use crate::state::UpgradeError;

/// Where the new process says that it serves: the path of a socket of the old one.
const TOLD_AT: &str = "STAMPGATE_UPGRADE";
/// What it says.
const SERVING: &[u8] = b"serving";
/// So long the new process may take: a table of a million tenants is loaded within seconds.
const SERVES_WITHIN: Duration = Duration::from_secs(60);
/// How often it is looked whether it is still there.
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// The first descriptor that is passed (`sd_listen_fds`).
const FIRST_DESCRIPTOR: i32 = 3;

/// The sockets that a successor gets, by the names of their listeners.
#[derive(Debug, Default)]
pub(super) struct Estate {
    sockets: Vec<(String, OwnedFd)>,
}

impl Estate {
    pub(super) fn add(&mut self, name: &str, socket: &TcpListener) -> io::Result<()> {
        self.sockets.push((name.to_owned(), socket.try_clone()?.into()));
        Ok(())
    }

    pub(super) fn add_unix(&mut self, name: &str, socket: OwnedFd) {
        self.sockets.push((name.to_owned(), socket));
    }
}

/// A process that has been started and does not serve yet.
#[derive(Debug)]
pub(super) struct Successor {
    child: Child,
    told: tokio::net::UnixDatagram,
    path: PathBuf,
}

impl Successor {
    /// Starts the program as this process was started. To be called on the control runtime.
    pub(super) fn start(estate: &Estate, directory: &Path) -> io::Result<Self> {
        let path = directory.join("upgrade.sock");
        remove(&path)?;
        let told = tokio::net::UnixDatagram::bind(&path)?;
        let mut words = env::args_os();
        let program = words.next().ok_or(io::ErrorKind::NotFound)?;
        let names: Vec<&str> = estate.sockets.iter().map(|(name, _)| name.as_str()).collect();
        let mut mappings = Vec::new();
        for ((_, socket), child_fd) in estate.sockets.iter().zip(FIRST_DESCRIPTOR..) {
            mappings.push(FdMapping { parent_fd: socket.try_clone()?, child_fd });
        }
        let mut command = Command::new(program);
        command
            .args(words)
            .env("LISTEN_FDS", names.len().to_string())
            .env("LISTEN_FDNAMES", names.join(":"))
            .env_remove("LISTEN_PID")
            // The watchdog of this process is not that of the other one until it is the main one.
            .env_remove("WATCHDOG_PID")
            .env(TOLD_AT, &path);
        command.fd_mappings(mappings).map_err(io::Error::other)?;
        match command.spawn() {
            Ok(child) => Ok(Self { child, told, path }),
            Err(error) => {
                remove(&path)?;
                Err(error)
            }
        }
    }

    /// Waits until it serves, and returns its process id.
    pub(super) async fn serves(mut self) -> Result<u32, UpgradeError> {
        let serves = tokio::time::timeout(SERVES_WITHIN, self.word()).await;
        let serves = serves.unwrap_or(Err(UpgradeError::Late(SERVES_WITHIN)));
        drop(remove(&self.path));
        if serves.is_err() {
            // It must not come to serve later, of all things.
            drop(self.child.kill());
            drop(self.child.wait());
        }
        serves.map(|()| self.child.id())
    }

    async fn word(&mut self) -> Result<(), UpgradeError> {
        let mut word = [0; SERVING.len()];
        loop {
            if let Some(status) = self.ended() {
                return Err(UpgradeError::Ended(status));
            }
            let heard = tokio::time::timeout(LOOK_EVERY, self.told.recv(&mut word)).await;
            if matches!(heard, Ok(Ok(count)) if word.get(..count) == Some(SERVING)) {
                return Ok(());
            }
        }
    }

    fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().ok().flatten()
    }
}

/// Tells the process before this one, if there is one, that this one serves.
pub(super) fn tell_former() -> io::Result<()> {
    let Some(path) = env::var_os(TOLD_AT) else { return Ok(()) };
    let told = UnixDatagram::unbound()?.send_to(SERVING, path)?;
    if told == SERVING.len() { Ok(()) } else { Err(io::ErrorKind::WriteZero.into()) }
}

/// Was this process started in the place of another one?
pub(super) fn is_successor() -> bool {
    env::var_os(TOLD_AT).is_some()
}

fn remove(path: &Path) -> io::Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}
