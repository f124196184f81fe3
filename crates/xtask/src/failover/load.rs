//! Requests at a fixed rate, whatever becomes of those before (open loop): each has its time, and its
//! latency counts from then. 256 clients take turns, each with its own keep-alive connection.

use std::collections::VecDeque;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use super::proxy::PORT;
use super::stamp::{HOME, SECONDARY};
use super::{message, now, sleep_until};

const CONNECTIONS: usize = 256;
/// One request in ten is a POST.
const POST_EVERY: u64 = 10;
/// So long after its time, a request without an answer is lost.
const PATIENCE: Duration = Duration::from_secs(5);
/// From a client to the gateway, as from another town: what a client knows of its connection is as old
/// as that when its request arrives, so a gateway that closes connections at rest loses requests.
const WAY: Duration = Duration::from_millis(10);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
const ANSWER_BYTES_MAX: usize = 16 * 1024;
const STACK_BYTES: usize = 128 * 1024;

/// What is asked.
#[derive(Clone, Copy, Debug)]
pub(super) struct Load {
    pub(super) began: Instant,
    /// Requests a second.
    pub(super) rate: u32,
    pub(super) seconds: u32,
}

/// What became of one request.
#[derive(Clone, Copy, Debug)]
pub(super) struct Answer {
    pub(super) method: Method,
    /// From the begin of the load.
    pub(super) due: Duration,
    /// From its time to its end.
    pub(super) latency: Duration,
    pub(super) outcome: Outcome,
}

/// GET or POST.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Method {
    Get,
    Post,
}

/// How a request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// 200, whole and its own, from the home.
    Home,
    /// The same from the secondary.
    Secondary,
    /// An error status, a cut or no answer.
    Lost,
    /// Another request's answer.
    Mixed,
}

#[derive(Clone, Copy)]
struct Job {
    number: u64,
    due: Instant,
}

#[derive(Default)]
struct Queue {
    /// Connections at rest, the last one used last.
    resting: VecDeque<usize>,
    /// Jobs for which no connection was at rest.
    waiting: VecDeque<Job>,
}

/// What came of a load.
#[derive(Debug)]
pub(super) struct Answers {
    pub(super) all: Vec<Answer>,
    /// The longest that the clock alone was late for a request: this machine's own pauses.
    pub(super) pause: Duration,
}

/// Asks, and waits for all answers.
pub(super) fn run(load: Load) -> Answers {
    let queue = Arc::new(Mutex::new(Queue::default()));
    let mut senders: Vec<Sender<Job>> = Vec::new();
    let mut threads = Vec::new();
    for number in 0..CONNECTIONS {
        let (sender, jobs) = channel();
        let queue = Arc::clone(&queue);
        let asker = Asker { number, began: load.began, socket: None };
        let thread = thread::Builder::new().stack_size(STACK_BYTES);
        threads.extend(thread.spawn(move || asker.run(&jobs, &queue)));
        senders.push(sender);
    }
    let mut pause = Duration::ZERO;
    for number in 0..u64::from(load.rate) * u64::from(load.seconds) {
        let due = load.began + Duration::from_nanos(number * 1_000_000_000 / u64::from(load.rate));
        sleep_until(due);
        pause = pause.max(now().saturating_duration_since(due));
        let job = Job { number, due };
        let Ok(mut queue) = queue.lock() else { break };
        match queue.resting.pop_front().and_then(|place| senders.get(place)) {
            Some(sender) => drop(sender.send(job)),
            None => queue.waiting.push_back(job),
        }
    }
    drop(senders);
    let all = threads.into_iter().filter_map(|thread| thread.join().ok()).flatten().collect();
    Answers { all, pause }
}

/// One connection's thread.
struct Asker {
    number: usize,
    began: Instant,
    socket: Option<TcpStream>,
}

impl Asker {
    fn run(mut self, jobs: &Receiver<Job>, queue: &Mutex<Queue>) -> Vec<Answer> {
        let mut answers = Vec::new();
        loop {
            let next = queue.lock().ok().and_then(|mut queue| {
                let waiting = queue.waiting.pop_front();
                if waiting.is_none() {
                    queue.resting.push_back(self.number);
                }
                waiting
            });
            let Some(job) = next.or_else(|| jobs.recv().ok()) else { return answers };
            answers.push(self.ask(job));
        }
    }

    fn ask(&mut self, job: Job) -> Answer {
        let method =
            if job.number % POST_EVERY == POST_EVERY - 1 { Method::Post } else { Method::Get };
        let outcome = self.converse(method, job).unwrap_or(Outcome::Lost);
        if matches!(outcome, Outcome::Lost | Outcome::Mixed) {
            self.socket = None;
        }
        let due = job.due.duration_since(self.began);
        Answer { method, due, latency: now().duration_since(job.due), outcome }
    }

    fn converse(&mut self, method: Method, job: Job) -> Option<Outcome> {
        let mut socket = match self.socket.take().filter(is_open) {
            Some(socket) => socket,
            None => connect()?,
        };
        sleep_until(now() + WAY);
        socket.write_all(request(method, job.number).as_bytes()).ok()?;
        let mut bytes = vec![0; ANSWER_BYTES_MAX];
        let mut filled = 0;
        loop {
            let left = (job.due + PATIENCE).checked_duration_since(now())?;
            socket.set_read_timeout(Some(left.max(Duration::from_millis(1)))).ok()?;
            let read = socket.read(bytes.get_mut(filled..)?).ok().filter(|read| *read > 0)?;
            filled += read;
            let whole = bytes.get(..filled)?;
            let Some(answer) = message::parse(whole) else { continue };
            if !answer.first_line.starts_with("HTTP/1.1 200") {
                return None;
            }
            let is_alone = answer.length == filled;
            let outcome = judge(answer.body, job.number);
            if is_alone && !answer.closes {
                self.socket = Some(socket);
            }
            return Some(if is_alone { outcome } else { Outcome::Mixed });
        }
    }
}

fn judge(body: &[u8], number: u64) -> Outcome {
    let body = std::str::from_utf8(body).unwrap_or_default();
    let Some((echo, stamp)) = body.split_once(' ') else { return Outcome::Mixed };
    if echo != number.to_string() {
        return Outcome::Mixed;
    }
    if stamp == HOME.name {
        return Outcome::Home;
    }
    if stamp == SECONDARY.name { Outcome::Secondary } else { Outcome::Mixed }
}

fn request(method: Method, number: u64) -> String {
    let host = "Host: t1.app.example.com\r\n";
    match method {
        Method::Get => format!("GET /r/{number} HTTP/1.1\r\n{host}\r\n"),
        Method::Post => {
            let body = number.to_string();
            let size = body.len();
            format!("POST /r/{number} HTTP/1.1\r\n{host}Content-Length: {size}\r\n\r\n{body}")
        }
    }
}

fn connect() -> Option<TcpStream> {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, PORT));
    let socket = TcpStream::connect_timeout(&address, CONNECT_TIMEOUT).ok()?;
    socket.set_nodelay(true).ok()?;
    Some(socket)
}

/// As every client does: a connection that was closed while it rested is not used again.
fn is_open(socket: &TcpStream) -> bool {
    if socket.set_nonblocking(true).is_err() {
        return false;
    }
    let nothing_to_read =
        socket.peek(&mut [0]).is_err_and(|error| error.kind() == std::io::ErrorKind::WouldBlock);
    nothing_to_read && socket.set_nonblocking(false).is_ok()
}
