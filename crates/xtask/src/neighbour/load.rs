//! One tenant's requests at a fixed rate, whatever becomes of those before (open loop): each has its
//! time, and its latency counts from then.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::gateway::PORT;
use crate::failover::{message, now, sleep_until};

const PATIENCE: Duration = Duration::from_secs(5);
const ANSWER_BYTES_MAX: usize = 16 * 1024;
const STACK_BYTES: usize = 128 * 1024;

/// What one tenant asks.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asking {
    pub(super) tenant: u32,
    pub(super) began: Instant,
    /// Requests a second.
    pub(super) rate: u32,
    pub(super) seconds: u32,
    /// Connections that take turns.
    pub(super) connections: u32,
}

/// What became of a tenant's requests.
#[derive(Debug, Default)]
pub(super) struct Answers {
    pub(super) served: usize,
    /// 429.
    pub(super) limited: usize,
    /// Another status, a cut, or no answer.
    pub(super) failed: usize,
    latencies: Vec<Duration>,
}

/// Threads that ask.
pub(super) struct Threads(Vec<JoinHandle<Answers>>);

impl Asking {
    pub(super) fn start(self) -> Threads {
        let next = Arc::new(AtomicU32::new(0));
        let threads = (0..self.connections).filter_map(|_| {
            let next = Arc::clone(&next);
            let thread = thread::Builder::new().stack_size(STACK_BYTES);
            thread.spawn(move || self.ask_all(&next)).ok()
        });
        Threads(threads.collect())
    }

    fn ask_all(self, next: &AtomicU32) -> Answers {
        let mut answers = Answers::default();
        let mut socket = None;
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            if number >= self.rate * self.seconds {
                return answers;
            }
            let due = self.began + Duration::from_secs(1) * number / self.rate;
            sleep_until(due);
            let status = converse(&mut socket, self.tenant);
            match status.as_deref() {
                Some("200") => answers.served += 1,
                Some("429") => answers.limited += 1,
                _ => answers.failed += 1,
            }
            answers.latencies.push(now().saturating_duration_since(due));
        }
    }
}

/// One request over a kept connection; the status of its answer.
fn converse(kept: &mut Option<TcpStream>, tenant: u32) -> Option<String> {
    let mut socket = match kept.take() {
        Some(socket) => socket,
        None => connect()?,
    };
    let request = format!("GET / HTTP/1.1\r\nHost: t{tenant}.app.example.com\r\n\r\n");
    socket.write_all(request.as_bytes()).ok()?;
    let mut bytes = vec![0; ANSWER_BYTES_MAX];
    let mut filled = 0;
    loop {
        filled += socket.read(bytes.get_mut(filled..)?).ok().filter(|read| *read > 0)?;
        let Some(answer) = message::parse(bytes.get(..filled)?) else { continue };
        let status = answer.first_line.split(' ').nth(1)?.to_owned();
        if !answer.closes {
            *kept = Some(socket);
        }
        return Some(status);
    }
}

fn connect() -> Option<TcpStream> {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, PORT));
    let socket = TcpStream::connect_timeout(&address, PATIENCE).ok()?;
    socket.set_nodelay(true).ok()?;
    socket.set_read_timeout(Some(PATIENCE)).ok()?;
    Some(socket)
}

impl Threads {
    pub(super) fn finish(self) -> Answers {
        let mut all = Answers::default();
        for thread in self.0 {
            match thread.join() {
                Ok(answers) => all.add(answers),
                Err(_panic) => all.failed += 1,
            }
        }
        all
    }
}

impl Answers {
    pub(super) fn add(&mut self, other: Self) {
        self.served += other.served;
        self.limited += other.limited;
        self.failed += other.failed;
        self.latencies.extend(other.latencies);
    }

    pub(super) const fn sent(&self) -> usize {
        self.served + self.errors()
    }

    pub(super) const fn errors(&self) -> usize {
        self.limited + self.failed
    }

    /// The latency that so many in a thousand do not exceed, in milliseconds.
    pub(super) fn at_ms(&mut self, permille: usize) -> f64 {
        self.latencies.sort_unstable();
        let last = self.latencies.len().saturating_sub(1);
        let place = (self.latencies.len() * permille / 1000).min(last);
        self.latencies.get(place).map_or(f64::NAN, |latency| latency.as_secs_f64() * 1e3)
    }
}
