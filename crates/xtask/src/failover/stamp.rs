//! A stamp as a process of its own. It writes down each request when it begins to process it, so that
//! what it did survives its death, and answers with the request's number and its own name.

use std::collections::HashSet;
use std::error::Error;
use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::message::{self, Message};
use super::scenario::Share;
use super::{STAMP_COMMAND, now, sleep_until};
use crate::run::Done;

/// A stamp's name and port.
#[derive(Clone, Copy, Debug)]
pub(super) struct Address {
    pub(super) name: &'static str,
    pub(super) port: u16,
}

/// Where the tenants live.
pub(super) const HOME: Address = Address { name: "a", port: 22_001 };
/// The declared secondary.
pub(super) const SECONDARY: Address = Address { name: "b", port: 22_002 };

/// How long a request takes: so that some are in flight whenever a fault comes.
const WORK: Duration = Duration::from_millis(3);
const REQUEST_BYTES_MAX: usize = 16 * 1024;
const STACK_BYTES: usize = 128 * 1024;

/// A running stamp.
pub(super) struct Stamp {
    address: Address,
    log: PathBuf,
    child: Child,
}

impl Stamp {
    /// Starts it and waits until it listens.
    pub(super) fn start(address: Address, directory: &Path) -> Result<Self, Box<dyn Error>> {
        let log = log_of(directory, address);
        let child = spawn(address, &log)?;
        let mut stamp = Self { address, log, child };
        stamp.wait_until_it_listens()?;
        Ok(stamp)
    }

    /// Starts it again after `kill`. Does not wait: the proxies find out for themselves.
    pub(super) fn restart(&mut self) -> Done {
        self.child = spawn(self.address, &self.log)?;
        Ok(())
    }

    pub(super) fn kill(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }

    pub(super) fn signal(&self, name: &str) {
        let pid = self.child.id().to_string();
        drop(Command::new("kill").arg(format!("-{name}")).arg(pid).status());
    }

    /// Tells it how many connections to reset.
    pub(super) fn reset(&self, share: Share) -> Done {
        let number = share as u8;
        let mut socket = TcpStream::connect((Ipv4Addr::LOCALHOST, self.address.port))?;
        socket.set_read_timeout(Some(Duration::from_secs(2)))?;
        write!(socket, "GET /reset/{number} HTTP/1.1\r\nHost: stamp\r\n\r\n")?;
        let read = socket.read(&mut [0; 256])?;
        if read == 0 { Err("the stamp did not answer".into()) } else { Ok(()) }
    }

    fn wait_until_it_listens(&mut self) -> Done {
        let due = now() + Duration::from_secs(5);
        while now() < due {
            if TcpStream::connect((Ipv4Addr::LOCALHOST, self.address.port)).is_ok() {
                return match self.child.try_wait()? {
                    None => Ok(()),
                    Some(_) => Err(format!("port {} is in use", self.address.port).into()),
                };
            }
            sleep_until(now() + Duration::from_millis(10));
        }
        Err(format!("stamp {} does not listen", self.address.name).into())
    }
}

impl Drop for Stamp {
    fn drop(&mut self) {
        self.kill();
    }
}

fn spawn(address: Address, log: &Path) -> Result<Child, Box<dyn Error>> {
    let program = std::env::current_exe()?;
    let mut command = Command::new("taskset");
    command.args(["-c", "0"]).arg(program).arg(STAMP_COMMAND);
    Ok(command.arg(address.name).arg(address.port.to_string()).arg(log).spawn()?)
}

/// Where a stamp writes what it did: `GET|POST number microseconds-since-1970`, a line a request.
pub(super) fn log_of(directory: &Path, address: Address) -> PathBuf {
    directory.join(format!("{}.log", address.name))
}

/// Microseconds since 1970: the one clock that processes share.
#[expect(clippy::disallowed_methods, reason = "this program measures")]
pub(super) fn wall_us() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
}

/// What the connections of a stamp share.
struct Shared {
    name: String,
    log: File,
    resets: AtomicU8,
    seen: Mutex<HashSet<u64>>,
}

/// The stamp's main function: serves until it is killed.
pub(crate) fn serve(name: &str, port: &str, log: &str) -> Done {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port.parse()?))?;
    let log = OpenOptions::new().create(true).append(true).open(log)?;
    let (resets, seen) = (AtomicU8::new(Share::None as u8), Mutex::default());
    let shared = Arc::new(Shared { name: name.to_owned(), log, resets, seen });
    for socket in listener.incoming() {
        let (socket, shared) = (socket?, Arc::clone(&shared));
        let thread = thread::Builder::new().stack_size(STACK_BYTES);
        // A connection that ends, ends its thread: nothing else to do about it.
        thread.spawn(move || drop(shared.converse(socket)))?;
    }
    Ok(())
}

/// What becomes of a request.
enum Deed {
    Answer(String),
    Reset,
}

impl Shared {
    /// Requests are looked at before they are taken from the socket: closing it with a request still
    /// in it is what makes the system send a reset.
    fn converse(&self, mut socket: TcpStream) -> Done {
        socket.set_nodelay(true)?;
        let mut bytes = vec![0; REQUEST_BYTES_MAX];
        loop {
            let filled = socket.peek(&mut bytes)?;
            if filled == 0 {
                return Ok(());
            }
            let Some(message) = message::parse(bytes.get(..filled).unwrap_or_default()) else {
                sleep_until(now() + Duration::from_millis(1));
                continue;
            };
            let deed = self.process(&message)?;
            let (length, closes) = (message.length, message.closes);
            let Deed::Answer(answer) = deed else { return Ok(()) };
            socket.read_exact(bytes.get_mut(..length).unwrap_or_default())?;
            socket.write_all(answer.as_bytes())?;
            if closes {
                return Ok(());
            }
        }
    }

    fn process(&self, message: &Message<'_>) -> Result<Deed, Box<dyn Error>> {
        let mut words = message.first_line.split(' ');
        let (method, path) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        if let Some(share) = path.strip_prefix("/reset/") {
            self.resets.store(share.parse()?, Ordering::Relaxed);
            return Ok(Deed::Answer(answer("done")));
        }
        let Some(number) = path.strip_prefix("/r/") else {
            return Ok(Deed::Answer(answer("well")));
        };
        let number: u64 = number.parse()?;
        (&self.log).write_all(format!("{method} {number} {}\n", wall_us()).as_bytes())?;
        sleep_until(now() + WORK);
        if self.is_reset(number) {
            return Ok(Deed::Reset);
        }
        let body = std::str::from_utf8(message.body).unwrap_or_default();
        let echo = if method == "POST" { body.to_owned() } else { number.to_string() };
        Ok(Deed::Answer(answer(&format!("{echo} {}", self.name))))
    }

    fn is_reset(&self, number: u64) -> bool {
        let share = self.resets.load(Ordering::Relaxed);
        if share == Share::None as u8 {
            return false;
        }
        let is_new = self.seen.lock().is_ok_and(|mut seen| seen.insert(number));
        // By number, so that every proxy meets the same: one in each twenty, and as many of them are
        // POSTs as of all.
        share == Share::All as u8 || (is_new && (number * 7 + number / 20).is_multiple_of(20))
    }
}

fn answer(body: &str) -> String {
    format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len())
}
