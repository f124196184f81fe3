//! The three proxies: started, reloaded and told to drain the home, each in its documented way.

use std::error::Error;
use std::fs;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use super::configuration::{self, Home};
use super::{now, sleep_until};
use crate::run::{Done, release_build};

/// Where a proxy listens; one runs at a time.
pub(super) const PORT: u16 = 22_010;
/// stampgate's admin plane.
pub(super) const ADMIN_PORT: u16 = 22_011;

/// Which proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Nginx,
    Haproxy,
    Stampgate,
}

impl Kind {
    pub(super) const ALL: [Self; 3] = [Self::Nginx, Self::Haproxy, Self::Stampgate];

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Nginx => "nginx",
            Self::Haproxy => "HAProxy",
            Self::Stampgate => "stampgate",
        }
    }
}

/// A running proxy, ended by pid when dropped.
pub(super) struct Proxy {
    kind: Kind,
    directory: PathBuf,
    child: Child,
    home: Home,
    /// Counts the configurations.
    version: u32,
}

impl Proxy {
    /// Starts it and waits until it listens.
    pub(super) fn start(kind: Kind, directory: &Path) -> Result<Self, Box<dyn Error>> {
        fs::create_dir_all(directory.join("logs"))?;
        let stderr = fs::File::create(directory.join("stderr.log"))?;
        let mut command = Command::new("taskset");
        command.args(["-c", "1"]).stdout(Stdio::null()).stderr(stderr);
        match kind {
            Kind::Nginx => {
                command.args(["nginx", "-p"]).arg(directory).arg("-c");
                command.arg(directory.join("nginx.conf"));
            }
            Kind::Haproxy => {
                command.args(["haproxy", "-W", "-db", "-f"]).arg(directory.join("haproxy.cfg"));
            }
            Kind::Stampgate => {
                fs::write(directory.join("gateway.toml"), configuration::gateway())?;
                command.arg(release_build()).args(["run", "-c"]);
                command.arg(directory.join("gateway.toml"));
            }
        }
        let directory = directory.to_owned();
        write_configuration(kind, &directory, Home::Serves, 0)?;
        let child = command.spawn()?;
        let mut proxy = Self { kind, directory, child, home: Home::Serves, version: 0 };
        proxy.wait_until_it_listens()?;
        Ok(proxy)
    }

    /// Puts another configuration in force.
    pub(super) fn reload(&mut self) -> Done {
        self.version += 1;
        write_configuration(self.kind, &self.directory, self.home, self.version)?;
        self.ask_to_reload();
        Ok(())
    }

    /// Asks it to put a configuration in force that has a mistake at its end.
    pub(super) fn reload_broken(&mut self) -> Done {
        let path = self.directory.join(configuration_file(self.kind));
        let sound = fs::read_to_string(&path)?;
        replace(&path, &(sound + "mistake\n"))?;
        self.ask_to_reload();
        Ok(())
    }

    fn ask_to_reload(&self) {
        match self.kind {
            Kind::Nginx | Kind::Stampgate => self.signal("HUP"),
            Kind::Haproxy => self.signal("USR2"),
        }
    }

    /// Takes the home out; returns when the proxy said that it is.
    pub(super) fn drain(&mut self) -> Done {
        match self.kind {
            Kind::Nginx => {
                self.home = Home::Down;
                self.reload()
            }
            Kind::Haproxy => self.tell_haproxy("set server home/a state drain\n"),
            Kind::Stampgate => tell_stampgate("POST", "{}"),
        }
    }

    /// Puts the home back.
    pub(super) fn undrain(&mut self) -> Done {
        match self.kind {
            Kind::Nginx => {
                self.home = Home::Serves;
                self.reload()
            }
            Kind::Haproxy => self.tell_haproxy("set server home/a state ready\n"),
            Kind::Stampgate => tell_stampgate("DELETE", ""),
        }
    }

    fn tell_haproxy(&self, order: &str) -> Done {
        let mut socket = UnixStream::connect(self.directory.join("haproxy.sock"))?;
        socket.set_read_timeout(Some(Duration::from_secs(5)))?;
        socket.write_all(order.as_bytes())?;
        let mut answer = String::new();
        socket.read_to_string(&mut answer)?;
        if answer.trim().is_empty() { Ok(()) } else { Err(format!("HAProxy: {answer}").into()) }
    }

    fn signal(&self, name: &str) {
        let pid = self.child.id().to_string();
        drop(Command::new("kill").arg(format!("-{name}")).arg(pid).status());
    }

    fn wait_until_it_listens(&mut self) -> Done {
        let due = now() + Duration::from_secs(10);
        while now() < due {
            if TcpStream::connect((Ipv4Addr::LOCALHOST, PORT)).is_ok() {
                return match self.child.try_wait()? {
                    None => Ok(()),
                    Some(_) => Err(format!("port {PORT} is in use").into()),
                };
            }
            sleep_until(now() + Duration::from_millis(20));
        }
        let said = fs::read_to_string(self.directory.join("stderr.log")).unwrap_or_default();
        Err(format!("{} does not listen on port {PORT}:\n{said}", self.kind.name()).into())
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        // In the foreground, nginx's and HAProxy's masters end their workers on TERM.
        self.signal("TERM");
        let due = now() + Duration::from_secs(5);
        while now() < due {
            if !matches!(self.child.try_wait(), Ok(None)) {
                return;
            }
            sleep_until(now() + Duration::from_millis(20));
        }
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// Written beside and renamed, so that nobody reads half of it.
fn write_configuration(kind: Kind, directory: &Path, home: Home, version: u32) -> Done {
    let text = match kind {
        Kind::Nginx => configuration::nginx(home, version),
        Kind::Haproxy => configuration::haproxy(directory, version),
        Kind::Stampgate => configuration::routing(version),
    };
    replace(&directory.join(configuration_file(kind)), &text)
}

/// The file that a reload reads.
const fn configuration_file(kind: Kind) -> &'static str {
    match kind {
        Kind::Nginx => "nginx.conf",
        Kind::Haproxy => "haproxy.cfg",
        Kind::Stampgate => "routing.toml",
    }
}

fn replace(path: &Path, text: &str) -> Done {
    let beside = path.with_extension("next");
    fs::write(&beside, text)?;
    fs::rename(beside, path)?;
    Ok(())
}

fn tell_stampgate(method: &str, body: &str) -> Done {
    let mut socket = TcpStream::connect((Ipv4Addr::LOCALHOST, ADMIN_PORT))?;
    socket.set_read_timeout(Some(Duration::from_secs(5)))?;
    let size = body.len();
    write!(
        socket,
        "{method} /v1/stamps/a/drain HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\
         Content-Type: application/json\r\nContent-Length: {size}\r\n\r\n{body}"
    )?;
    let mut answer = String::new();
    socket.read_to_string(&mut answer)?;
    if answer.starts_with("HTTP/1.1 2") { Ok(()) } else { Err(answer.into()) }
}
