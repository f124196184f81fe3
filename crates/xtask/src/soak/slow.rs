//! Clients that are slow on purpose, one after the other: a head that never ends, a body a few bytes at
//! a time, an answer that is hardly read. Each must be cut within a bound.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::SLOW_OF_EACH_KIND;
use super::client;
use super::stamp::LARGE_BYTES;
use crate::failover::{now, sleep_until};
use crate::run::print;

const STACK_BYTES: usize = 128 * 1024;
const STEP: Duration = Duration::from_secs(1);
/// A head has 10 s.
const HEAD_CUT_MAX: Duration = Duration::from_secs(15);
/// Too few bytes a second are seen after 5 s, and whether that is so for good is seen later.
const RATE_CUT_MAX: Duration = Duration::from_secs(35);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Head,
    Body,
    Reader,
}

/// What the clients of one kind saw.
#[derive(Debug, Default)]
struct Cuts {
    count: usize,
    slowest: Duration,
    wrong: Option<String>,
}

/// Threads that are slow.
pub(super) struct Threads(Vec<(Kind, JoinHandle<Cuts>)>);

/// They begin anew until then.
pub(super) fn start(until: Instant) -> Result<Threads, std::io::Error> {
    let mut threads = Vec::new();
    for kind in [Kind::Head, Kind::Body, Kind::Reader] {
        for _ in 0..SLOW_OF_EACH_KIND {
            let thread = thread::Builder::new().stack_size(STACK_BYTES);
            threads.push((kind, thread.spawn(move || be_slow(kind, until))?));
        }
    }
    Ok(Threads(threads))
}

fn be_slow(kind: Kind, until: Instant) -> Cuts {
    let mut cuts = Cuts::default();
    while now() < until {
        let cut = client::connect().and_then(|socket| match kind {
            Kind::Head => head(socket),
            Kind::Body => body(socket),
            Kind::Reader => reader(socket),
        });
        match cut {
            Ok(after) => {
                cuts.count += 1;
                cuts.slowest = cuts.slowest.max(after);
            }
            Err(why) => {
                cuts.wrong = Some(why);
                // Not again at once: what refuses clients is not to be flooded with them.
                sleep_until(now() + STEP);
            }
        }
    }
    cuts
}

fn head(mut socket: TcpStream) -> Result<Duration, String> {
    send(&mut socket, b"GET / HTTP/1.1\r\nHost: t0.app.example.com\r\nX-Slow: ")?;
    drip(socket, b"a", HEAD_CUT_MAX)
}

fn body(mut socket: TcpStream) -> Result<Duration, String> {
    let head = b"POST / HTTP/1.1\r\nHost: t1.app.example.com\r\nContent-Length: 1000000\r\n\r\n";
    send(&mut socket, head)?;
    drip(socket, &[b'b'; 100], RATE_CUT_MAX)
}

/// Sends a little every second until the gateway answers or closes; after how long?
fn drip(mut socket: TcpStream, little: &[u8], at_most: Duration) -> Result<Duration, String> {
    let began = now();
    socket.set_read_timeout(Some(STEP)).map_err(|error| error.to_string())?;
    loop {
        let after = now().saturating_duration_since(began);
        match socket.read(&mut [0; 1024]) {
            Err(error) if is_timeout(&error) => {}
            Ok(_) | Err(_) => return Ok(after),
        }
        if after > at_most {
            return Err(format!("not cut within {at_most:?}"));
        }
        if socket.write_all(little).is_err() {
            return Ok(after);
        }
    }
}

/// Reads so little that the gateway must cut; then everything: it cannot be the whole answer.
fn reader(mut socket: TcpStream) -> Result<Duration, String> {
    send(&mut socket, b"GET /large HTTP/1.1\r\nHost: t2.app.example.com\r\n\r\n")?;
    let began = now();
    let mut received = 0;
    while now().saturating_duration_since(began) < RATE_CUT_MAX {
        sleep_until(now() + STEP);
        match socket.read(&mut [0; 64]) {
            Ok(read @ 1..) => received += read,
            Ok(0) | Err(_) => return Ok(now().saturating_duration_since(began)),
        }
    }
    let mut bytes = vec![0; 64 * 1024];
    loop {
        match socket.read(&mut bytes) {
            Ok(read @ 1..) => received += read,
            Err(error) if is_timeout(&error) => break,
            Ok(0) | Err(_) if received < LARGE_BYTES => return Ok(RATE_CUT_MAX),
            Ok(0) | Err(_) => break,
        }
        if received >= LARGE_BYTES {
            break;
        }
    }
    Err(format!("an answer that nobody read was not cut: {received} bytes came"))
}

fn send(socket: &mut TcpStream, bytes: &[u8]) -> Result<(), String> {
    socket.write_all(bytes).map_err(|error| format!("not sent: {error}"))
}

fn is_timeout(error: &std::io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut)
}

impl Threads {
    /// Waits for the last ones, tells what was seen, and which promises were not kept.
    pub(super) fn finish(self) -> Vec<String> {
        let mut all = [Kind::Head, Kind::Body, Kind::Reader].map(|kind| (kind, Cuts::default()));
        let mut broken = Vec::new();
        for (kind, thread) in self.0 {
            let Ok(cuts) = thread.join() else {
                broken.push("a slow client panicked".to_owned());
                continue;
            };
            for (_, sum) in all.iter_mut().filter(|(own, _)| *own == kind) {
                sum.count += cuts.count;
                sum.slowest = sum.slowest.max(cuts.slowest);
                sum.wrong = sum.wrong.take().or_else(|| cuts.wrong.clone());
            }
        }
        print("\n| slow | cut | after at most |\n|---|---|---|");
        for (kind, cuts) in all {
            let slowest = cuts.slowest.as_secs_f64();
            print(&format!("| {kind:?} | {} | {slowest:.1} s |", cuts.count));
            if cuts.count == 0 {
                broken.push(format!("no slow client was cut: {kind:?}"));
            }
            broken.extend(cuts.wrong.map(|why| format!("slow clients, {kind:?}: {why}")));
        }
        broken
    }
}
