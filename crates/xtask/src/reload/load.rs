//! Requests of all tenants at a fixed rate, whatever becomes of those before (open loop): each has
//! its time, and its latency counts from then.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::gateway::PORT;
use super::histogram::Histogram;
use super::tables::{TENANTS, home, name};
use crate::failover::{message, now, sleep_until};

/// Enough that one is free when a request is due, also after a pause of 20 ms.
const CONNECTIONS: usize = 160;
/// So long after its time, a request without an answer is lost.
const PATIENCE: Duration = Duration::from_secs(5);
const ANSWER_BYTES_MAX: usize = 16 * 1024;
const STACK_BYTES: usize = 128 * 1024;
/// A prime, so that all tenants are asked for in turn, and neighbours are not neighbours in the table.
const STRIDE: u64 = 7919;
/// The bounds of the histogram in milliseconds.
const BOUNDS_MS: [f64; 12] =
    [0.25, 0.5, 1.0, 2.0, 3.0, 5.0, 10.0, 20.0, 50.0, 100.0, 250.0, 1000.0];

/// What is asked.
#[derive(Clone, Copy, Debug)]
pub(super) struct Load {
    pub(super) began: Instant,
    /// Requests a second.
    pub(super) rate: u32,
    pub(super) seconds: u32,
}

/// Threads that ask.
pub(super) struct Threads(Vec<JoinHandle<Seen>>);

/// What a thread saw.
#[derive(Default)]
struct Seen {
    /// From the time of a request to the end of its answer, in milliseconds.
    latencies_ms: Vec<f64>,
    /// From the time of a request to the moment at which it was sent: that is this program's fault.
    late_ms: Vec<f64>,
    errors: usize,
}

/// What all saw.
pub(super) struct Answers {
    seen: Seen,
    pub(super) latency: Histogram,
}

impl Load {
    pub(super) fn start(self) -> Threads {
        let next = Arc::new(AtomicU32::new(0));
        let threads = (0..CONNECTIONS).filter_map(|_| {
            let next = Arc::clone(&next);
            let thread = thread::Builder::new().stack_size(STACK_BYTES);
            thread.spawn(move || self.ask_all(&next)).ok()
        });
        Threads(threads.collect())
    }

    fn ask_all(self, next: &AtomicU32) -> Seen {
        let mut seen = Seen::default();
        let mut socket = connect();
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            if number >= self.rate * self.seconds {
                return seen;
            }
            let due = self.began
                + Duration::from_secs(1).mul_f64(f64::from(number) / f64::from(self.rate));
            sleep_until(due);
            seen.late_ms.push(ms_since(due));
            let tenant = u64::from(number) * STRIDE % u64::from(TENANTS);
            let tenant = u32::try_from(tenant).unwrap_or_default();
            let stamp = converse(&mut socket, tenant);
            let is_right = match (&stamp, home(tenant)) {
                (Some(stamp), Some(home)) => stamp == home,
                (Some(_), None) => true,
                (None, _) => false,
            };
            seen.errors += usize::from(!is_right);
            seen.latencies_ms.push(ms_since(due));
        }
    }
}

fn ms_since(due: Instant) -> f64 {
    now().saturating_duration_since(due).as_secs_f64() * 1e3
}

/// One request over a kept connection; the stamp that answered it with 200.
fn converse(kept: &mut Option<TcpStream>, tenant: u32) -> Option<String> {
    let mut socket = match kept.take() {
        Some(socket) => socket,
        None => connect()?,
    };
    let request = format!("GET / HTTP/1.1\r\nHost: {}.app.example.com\r\n\r\n", name(tenant));
    socket.write_all(request.as_bytes()).ok()?;
    let mut bytes = [0; ANSWER_BYTES_MAX];
    let mut filled = 0;
    loop {
        filled += socket.read(bytes.get_mut(filled..)?).ok().filter(|read| *read > 0)?;
        let Some(answer) = message::parse(bytes.get(..filled)?) else { continue };
        let is_good = answer.first_line.starts_with("HTTP/1.1 200 ");
        let stamp = String::from_utf8_lossy(answer.body).into_owned();
        if !answer.closes {
            *kept = Some(socket);
        }
        return is_good.then_some(stamp);
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
        let mut all = Seen::default();
        for thread in self.0 {
            match thread.join() {
                Ok(seen) => {
                    all.latencies_ms.extend(seen.latencies_ms);
                    all.late_ms.extend(seen.late_ms);
                    all.errors += seen.errors;
                }
                Err(_panic) => all.errors += 1,
            }
        }
        all.latencies_ms.sort_by(f64::total_cmp);
        all.late_ms.sort_by(f64::total_cmp);
        let latency = Histogram::of(&BOUNDS_MS, all.latencies_ms.iter().copied());
        Answers { seen: all, latency }
    }
}

impl Answers {
    /// Requests without an answer, with another status, or answered by a stamp that is not the
    /// tenant's home.
    pub(super) const fn errors(&self) -> usize {
        self.seen.errors
    }

    /// The latency that so many in a thousand do not exceed.
    pub(super) fn latency_ms(&self, permille: usize) -> f64 {
        at(&self.seen.latencies_ms, permille)
    }

    /// So late, at most, so many in a thousand were sent.
    pub(super) fn late_ms(&self, permille: usize) -> f64 {
        at(&self.seen.late_ms, permille)
    }
}

fn at(sorted: &[f64], permille: usize) -> f64 {
    let place = (sorted.len() * permille).div_ceil(1000);
    sorted.get(place.saturating_sub(1)).copied().unwrap_or(f64::NAN)
}
