//! A fake stamp on loopback: records what reached it and answers by a script that may misbehave.
//! `script` has the scripts, `playing` the connections that play them.

use std::collections::VecDeque;
use std::fs::File;
use std::io::Write as _;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use rustls::ServerConfig;
use serde_json::json;
use socket2::{Domain, Socket, Type};
use tokio::net::TcpListener;
use tokio::sync::Notify;
use tokio::task::JoinHandle;

use super::deadline::eventually;
use super::http1::{Head, lossy};
use super::playing::accept;
use super::script::{Script, pattern};

/// A running fake stamp. It ends with its owner.
#[derive(Debug)]
pub struct Stamp {
    pub name: String,
    pub address: SocketAddr,
    shared: Arc<Shared>,
    accepting: Option<JoinHandle<()>>,
    /// Keeps the port ours while the stamp is dead: bound, but not listening.
    _reserved: Socket,
}

/// What happens to a new connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnAccept {
    /// It is served.
    Serve,
    /// It is reset at once.
    Reset,
    /// It is held and never read.
    Ignore,
}

/// One request that reached the stamp, without probes.
#[derive(Clone, Debug)]
pub struct Seen {
    pub head: Head,
    pub body: Vec<u8>,
    pub body_length: u64,
    /// Was every byte that of `pattern`?
    pub body_is_pattern: bool,
    pub trailers: Vec<(String, String)>,
    /// Was the body read to its end?
    pub complete: bool,
    /// Which connection of the stamp, counted from 0.
    pub connection: usize,
}

impl Seen {
    /// A request of which only the head was read.
    pub fn new(head: Head, connection: usize) -> Self {
        Self {
            head,
            body: Vec::new(),
            body_length: 0,
            body_is_pattern: true,
            trailers: Vec::new(),
            complete: false,
            connection,
        }
    }

    /// The method.
    pub fn method(&self) -> &str {
        self.head.word(0)
    }

    /// The request target, byte for byte.
    pub fn target(&self) -> &str {
        self.head.word(1)
    }
}

/// What the owner and the connections of a stamp both see.
#[derive(Debug)]
pub struct Shared {
    pub name: String,
    pub state: Mutex<State>,
    /// Ends all connections.
    pub cut: Notify,
    /// Ends all connections of HTTP/2 as they should end.
    pub leave: Notify,
    /// Where each request is noted before it is answered, if it must outlive the process.
    pub journal: Option<File>,
}

/// What a stamp does, and what has come to it.
#[derive(Debug)]
pub struct State {
    pub script: Script,
    pub once: VecDeque<Script>,
    pub on_accept: OnAccept,
    /// What new connections must shake hands with; `None` = they are in the clear.
    pub tls: Option<Arc<ServerConfig>>,
    /// Handshakes that failed.
    pub refused: usize,
    /// Handshakes that took up a session of before.
    pub resumed: usize,
    /// The most streams that a connection of HTTP/2 allows.
    pub streams_max: u32,
    /// Connections of HTTP/2 say that their streams may be `WebSockets`.
    pub opens_websockets: bool,
    pub healthy: bool,
    /// So many probes to come are answered with 503 besides.
    pub bad_probes: usize,
    pub seen: Vec<Seen>,
    pub probes: usize,
    /// What was sent after answers that were over.
    pub said_later: usize,
    /// Connections that carried at least one request that was no probe.
    pub connections: usize,
    /// Those of them that the peer has ended.
    pub ended: usize,
}

/// Bodies are recorded up to this length; beyond it only counted and checked.
const BODY_KEPT: usize = 1 << 20;

impl Seen {
    /// What arrived, as an echo tells it.
    pub fn told_by(&self, stamp: &str) -> String {
        json!({
            "stamp": stamp,
            "method": self.method(),
            "target": self.target(),
            "headers": self.head.headers,
            "body": lossy(&self.body[..self.body.len().min(1 << 16)]),
            "body_length": self.body_length,
            "connection": self.connection,
        })
        .to_string()
    }
}

impl Shared {
    /// Records a request, of a connection whose number is known once it carried one, and finds out what
    /// to do with it. Returns the number, the place of the record and the script.
    pub fn note(&self, head: Head, known: Option<usize>) -> (usize, usize, Script) {
        if let Some(journal) = &self.journal {
            // One write, before anything is answered: it outlives the process.
            let line = format!("{} {}\n", head.word(0), head.word(1));
            (&*journal).write_all(line.as_bytes()).unwrap();
        }
        let mut state = self.state.lock().unwrap();
        let connection = known.unwrap_or(state.connections);
        state.connections += usize::from(known.is_none());
        state.seen.push(Seen::new(head, connection));
        let script = state.once.pop_front().unwrap_or_else(|| state.script.clone());
        (connection, state.seen.len() - 1, script)
    }

    /// Records more of a body.
    pub fn keep(&self, place: usize, bytes: &[u8]) {
        let seen = &mut self.state.lock().unwrap().seen[place];
        let expected = (seen.body_length..).map(pattern);
        seen.body_is_pattern &= bytes.iter().zip(expected).all(|(got, want)| *got == want);
        seen.body_length += u64::try_from(bytes.len()).unwrap();
        if seen.body.len() < BODY_KEPT {
            seen.body.extend_from_slice(bytes);
        }
    }

    /// Counts a probe; is it to be told that all is well?
    pub fn passes_probe(&self) -> bool {
        let mut state = self.state.lock().unwrap();
        state.probes += 1;
        let is_bad = state.bad_probes > 0;
        state.bad_probes = state.bad_probes.saturating_sub(1);
        state.healthy && !is_bad
    }
}

impl Stamp {
    /// Starts a healthy stamp that echoes.
    pub async fn start(name: &str) -> Self {
        Self::start_at(name, SocketAddr::from(([127, 0, 0, 1], 0)), None)
    }

    /// The same at this address, noting its requests in this file.
    pub fn start_at(name: &str, address: SocketAddr, journal: Option<File>) -> Self {
        let reserved = reserve(address);
        let address = reserved.local_addr().unwrap().as_socket().unwrap();
        let state = State {
            script: Script::Echo,
            once: VecDeque::new(),
            on_accept: OnAccept::Serve,
            tls: None,
            refused: 0,
            resumed: 0,
            streams_max: 100,
            opens_websockets: false,
            healthy: true,
            bad_probes: 0,
            seen: Vec::new(),
            probes: 0,
            said_later: 0,
            connections: 0,
            ended: 0,
        };
        let state = Mutex::new(state);
        let shared = Arc::new(Shared {
            name: name.into(),
            state,
            cut: Notify::new(),
            leave: Notify::new(),
            journal,
        });
        let mut stamp =
            Self { name: name.into(), address, shared, accepting: None, _reserved: reserved };
        stamp.revive();
        stamp
    }

    /// Dies: nobody listens any more, and every connection ends.
    pub async fn kill(&mut self) {
        let accepting = self.accepting.take().expect("a stamp dies once");
        accepting.abort();
        assert!(accepting.await.is_err(), "the accept loop never ends by itself");
    }

    /// Comes back on the same port.
    pub fn revive(&mut self) {
        let listener = listen(self.address);
        self.accepting = Some(tokio::spawn(accept(listener, Arc::clone(&self.shared))));
    }

    fn change<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        change(&mut self.shared.state.lock().unwrap())
    }

    /// What to do with every request from now on.
    pub fn plays(&self, script: Script) {
        self.change(|state| state.script = script);
    }

    /// What to do with the next request only.
    pub fn plays_once(&self, script: Script) {
        self.change(|state| state.once.push_back(script));
    }

    /// What to do with every new connection from now on, probes included.
    pub fn on_accept(&self, what: OnAccept) {
        self.change(|state| state.on_accept = what);
    }

    /// What new connections must shake hands with from now on, probes included.
    pub fn presents(&self, tls: Arc<ServerConfig>) {
        self.change(|state| state.tls = Some(tls));
    }

    /// Ends every connection, and takes new ones.
    pub fn ends_connections(&self) {
        self.shared.cut.notify_one();
    }

    /// From now on, new connections of HTTP/2 allow so many streams.
    pub fn allows_streams(&self, streams_max: u32) {
        self.change(|state| state.streams_max = streams_max);
    }

    /// From now on, new connections of HTTP/2 say that their streams may be `WebSockets`.
    pub fn opens_websockets(&self) {
        self.change(|state| state.opens_websockets = true);
    }

    /// Says GOAWAY on every connection of HTTP/2: what has come is answered, and no more is taken.
    pub fn says_goodbye(&self) {
        self.shared.leave.notify_waiters();
    }

    /// How many handshakes failed.
    pub fn refused(&self) -> usize {
        self.change(|state| state.refused)
    }

    /// How many handshakes took up a session of before.
    pub fn resumed(&self) -> usize {
        self.change(|state| state.resumed)
    }

    /// From now on `/healthz` is answered with 503.
    pub fn fails_probes(&self) {
        self.change(|state| state.healthy = false);
    }

    /// Only the next probe is answered with 503.
    pub fn fails_next_probe(&self) {
        self.change(|state| state.bad_probes += 1);
    }

    /// From now on `/healthz` is answered with 200 again.
    pub fn passes_probes(&self) {
        self.change(|state| state.healthy = true);
    }

    /// All requests that reached the stamp.
    pub fn seen(&self) -> Vec<Seen> {
        self.change(|state| state.seen.clone())
    }

    /// All requests whose head reached the stamp, as `METHOD target`.
    pub fn arrivals(&self) -> Vec<String> {
        self.seen().iter().map(|seen| format!("{} {}", seen.method(), seen.target())).collect()
    }

    /// How many requests reached the stamp.
    pub fn count(&self) -> usize {
        self.change(|state| state.seen.len())
    }

    /// How many probes reached the stamp.
    pub fn probes(&self) -> usize {
        self.change(|state| state.probes)
    }

    /// How many connections carried requests.
    pub fn connections(&self) -> usize {
        self.change(|state| state.connections)
    }

    /// The only request that reached the stamp.
    pub fn only(&self) -> Seen {
        let mut seen = self.seen();
        assert_eq!(seen.len(), 1, "stamp {}: {seen:#?}", self.name);
        seen.remove(0)
    }

    /// Waits until so many requests have reached the stamp.
    pub async fn reached_by(&self, count: usize) {
        let what = format!("{count} requests at stamp {}", self.name);
        eventually(&what, async || (self.count() >= count).then_some(())).await;
    }

    /// Waits until so much was sent after answers that were over.
    pub async fn said_later(&self, count: usize) {
        let said = async || (self.change(|state| state.said_later) >= count).then_some(());
        eventually("what the stamp says later", said).await;
    }

    /// Waits until so many connections that carried requests were ended by the peer.
    pub async fn left_by(&self, count: usize) {
        let what = format!("{count} ended connections at stamp {}", self.name);
        eventually(&what, async || (self.change(|state| state.ended) >= count).then_some(())).await;
    }

    /// Waits until so many more probes have come.
    pub async fn probed_again(&self, count: usize) {
        let wanted = self.probes() + count;
        eventually("probes", async || (self.probes() >= wanted).then_some(())).await;
    }
}

/// Keeps a port ours: bound, but not listening.
pub fn reserve(address: SocketAddr) -> Socket {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.set_reuse_address(true).unwrap();
    socket.bind(&address.into()).unwrap();
    socket
}

/// Listens on a port that is reserved.
pub fn listen(address: SocketAddr) -> TcpListener {
    let socket = reserve(address);
    socket.set_nonblocking(true).unwrap();
    socket.listen(1024).unwrap();
    TcpListener::from_std(socket.into()).unwrap()
}

impl Drop for Stamp {
    fn drop(&mut self) {
        if let Some(accepting) = &self.accepting {
            accepting.abort();
        }
    }
}
