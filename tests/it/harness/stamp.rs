//! A fake stamp on loopback: records what reached it and answers by a script that may misbehave.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::json;
use socket2::{Domain, SockRef, Socket, Type};
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};

use super::deadline::eventually;
use super::http1::{Broken, Framing, Head, Wire, lossy};
use super::script::{Script, block, pattern};

/// Bodies are recorded up to this length; beyond it only counted and checked.
const BODY_KEPT: usize = 1 << 20;

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
    /// The method.
    pub fn method(&self) -> &str {
        self.head.word(0)
    }

    /// The request target, byte for byte.
    pub fn target(&self) -> &str {
        self.head.word(1)
    }
}

#[derive(Debug)]
struct Shared {
    name: String,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    script: Script,
    once: VecDeque<Script>,
    on_accept: OnAccept,
    healthy: bool,
    seen: Vec<Seen>,
    probes: usize,
    /// Connections that carried at least one request that was no probe.
    connections: usize,
    /// Those of them that the peer has ended.
    ended: usize,
}

impl Stamp {
    /// Starts a healthy stamp that echoes.
    pub async fn start(name: &str) -> Self {
        let reserved = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        reserved.set_reuse_address(true).unwrap();
        reserved.bind(&"127.0.0.1:0".parse::<SocketAddr>().unwrap().into()).unwrap();
        let address = reserved.local_addr().unwrap().as_socket().unwrap();
        let state = State {
            script: Script::Echo,
            once: VecDeque::new(),
            on_accept: OnAccept::Serve,
            healthy: true,
            seen: Vec::new(),
            probes: 0,
            connections: 0,
            ended: 0,
        };
        let shared = Arc::new(Shared { name: name.into(), state: Mutex::new(state) });
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
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        socket.set_reuse_address(true).unwrap();
        socket.set_nonblocking(true).unwrap();
        socket.bind(&self.address.into()).unwrap();
        socket.listen(1024).unwrap();
        let listener = TcpListener::from_std(socket.into()).unwrap();
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

    /// What `/healthz` says from now on: 200 or 503.
    pub fn is_healthy(&self, healthy: bool) {
        self.change(|state| state.healthy = healthy);
    }

    /// All requests that reached the stamp.
    pub fn seen(&self) -> Vec<Seen> {
        self.change(|state| state.seen.clone())
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

impl Drop for Stamp {
    fn drop(&mut self) {
        if let Some(accepting) = &self.accepting {
            accepting.abort();
        }
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    // Aborting this task drops the set, and with it every connection.
    let mut connections = JoinSet::new();
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        stream.set_nodelay(true).unwrap();
        let on_accept = shared.state.lock().unwrap().on_accept;
        match on_accept {
            OnAccept::Serve => {
                let shared = Arc::clone(&shared);
                let _task = connections.spawn(async move {
                    let mut connection =
                        Connection { wire: Wire::new(stream), shared, number: None };
                    // How a scripted connection breaks is the business of the other side.
                    let _broken = connection.serve().await;
                    connection.note_end();
                });
            }
            OnAccept::Reset => reset(&stream),
            OnAccept::Ignore => {
                let _task = connections.spawn(async move {
                    std::future::pending::<()>().await;
                    drop(stream);
                });
            }
        }
    }
}

/// Makes the end of this connection a reset.
fn reset(stream: &TcpStream) {
    SockRef::from(stream).set_linger(Some(Duration::ZERO)).unwrap();
}

/// Is the connection over after a script?
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Next {
    Keep,
    Close,
}

struct Connection {
    wire: Wire<TcpStream>,
    shared: Arc<Shared>,
    number: Option<usize>,
}

impl Connection {
    fn change<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        change(&mut self.shared.state.lock().unwrap())
    }

    fn note_end(&self) {
        if self.number.is_some() {
            self.change(|state| state.ended += 1);
        }
    }

    async fn serve(&mut self) -> Result<(), Broken> {
        loop {
            let head = self.wire.head().await?;
            if head.word(1) == "/healthz" {
                self.answer_probe().await?;
                continue;
            }
            let reused = self.number.is_some();
            let number = match self.number {
                Some(number) => number,
                None => self.change(|state| {
                    state.connections += 1;
                    state.connections - 1
                }),
            };
            self.number = Some(number);
            let (place, script) = self.note(head, number);
            let script = match script {
                Script::CloseWhenReused if reused => return Ok(()),
                Script::CloseWhenReused => Script::Echo,
                script => script,
            };
            if Box::pin(self.play(place, script)).await? == Next::Close {
                return Ok(());
            }
        }
    }

    async fn answer_probe(&mut self) -> Result<(), Broken> {
        let healthy = self.change(|state| {
            state.probes += 1;
            state.healthy
        });
        let status = if healthy { "200 OK" } else { "503 Unavailable" };
        self.write(format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n")).await
    }

    /// Records a request and finds out what to do with it.
    fn note(&self, head: Head, connection: usize) -> (usize, Script) {
        self.change(|state| {
            state.seen.push(Seen {
                head,
                body: Vec::new(),
                body_length: 0,
                body_is_pattern: true,
                trailers: Vec::new(),
                complete: false,
                connection,
            });
            let script = state.once.pop_front().unwrap_or_else(|| state.script.clone());
            (state.seen.len() - 1, script)
        })
    }

    async fn write(&mut self, bytes: impl AsRef<[u8]>) -> Result<(), Broken> {
        let written = self.wire.stream.write_all(bytes.as_ref()).await;
        written.map_err(|error| Broken::Failed(error.kind()))
    }

    async fn play(&mut self, place: usize, script: Script) -> Result<Next, Broken> {
        match script {
            Script::Gated(gate, script) => {
                gate.passed().await;
                return Box::pin(self.play(place, *script)).await;
            }
            Script::ResetAfterHead => return Ok(self.reset()),
            Script::RawBeforeBody(bytes) => {
                self.write(bytes).await?;
                return Ok(Next::Close);
            }
            Script::Upgrade => return self.upgrade().await,
            _ => self.read_body(place).await?,
        }
        match script {
            Script::Echo => self.echo(place, "").await?,
            Script::EchoAndClose => {
                self.echo(place, "Connection: close\r\n").await?;
                return Ok(Next::Close);
            }
            Script::EchoAndCloseUnsaid => {
                self.echo(place, "").await?;
                return Ok(Next::Close);
            }
            Script::Raw(bytes) => self.write(bytes).await?,
            Script::RawAndClose(bytes) => {
                self.write(bytes).await?;
                return Ok(Next::Close);
            }
            Script::ResetAfterBody => return Ok(self.reset()),
            Script::ResetMidBody => {
                self.write("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n0123456789").await?;
                return Ok(self.reset());
            }
            Script::Hang => {
                let _rest = self.wire.rest().await?;
                return Ok(Next::Close);
            }
            Script::Download(length) => self.download(length).await?,
            Script::Stream(feed) => {
                self.write("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n").await?;
                let mut feed = feed.lock().await;
                while let Some(text) = feed.recv().await {
                    self.write(format!("{:x}\r\n{text}\r\n", text.len())).await?;
                }
                self.write("0\r\n\r\n").await?;
            }
            Script::Gated(..)
            | Script::ResetAfterHead
            | Script::RawBeforeBody(_)
            | Script::Upgrade
            | Script::CloseWhenReused => unreachable!("played before the body was read"),
        }
        Ok(Next::Keep)
    }

    fn reset(&self) -> Next {
        reset(&self.wire.stream);
        Next::Close
    }

    async fn read_body(&mut self, place: usize) -> Result<(), Broken> {
        let head = self.change(|state| state.seen[place].head.clone());
        if head.header("expect").is_some() {
            self.write("HTTP/1.1 100 Continue\r\n\r\n").await?;
        }
        match head.framing()? {
            Framing::Unsaid => {}
            Framing::Length(mut left) => {
                while left > 0 {
                    let most = usize::try_from(left.min(1 << 16)).unwrap();
                    let some = self.wire.some(most).await?;
                    if some.is_empty() {
                        return Err(Broken::Cut);
                    }
                    left -= u64::try_from(some.len()).unwrap();
                    self.keep(place, &some);
                }
            }
            Framing::Chunked => {
                while let Some(chunk) = self.wire.chunk().await? {
                    self.keep(place, &chunk);
                }
                let trailers = self.wire.trailers().await?;
                self.change(|state| state.seen[place].trailers = trailers);
            }
        }
        self.change(|state| state.seen[place].complete = true);
        Ok(())
    }

    fn keep(&self, place: usize, bytes: &[u8]) {
        self.change(|state| {
            let seen = &mut state.seen[place];
            let expected = (seen.body_length..).map(pattern);
            seen.body_is_pattern &= bytes.iter().zip(expected).all(|(got, want)| *got == want);
            seen.body_length += u64::try_from(bytes.len()).unwrap();
            if seen.body.len() < BODY_KEPT {
                seen.body.extend_from_slice(bytes);
            }
        });
    }

    async fn echo(&mut self, place: usize, fields: &str) -> Result<(), Broken> {
        let seen = self.change(|state| state.seen[place].clone());
        let body = json!({
            "stamp": self.shared.name,
            "method": seen.method(),
            "target": seen.target(),
            "headers": seen.head.headers,
            "body": lossy(&seen.body[..seen.body.len().min(1 << 16)]),
            "body_length": seen.body_length,
            "connection": seen.connection,
        })
        .to_string();
        let head = format!(
            "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n{fields}Content-Length: {}\r\n\r\n",
            body.len()
        );
        let body = if seen.method() == "HEAD" { String::new() } else { body };
        self.write(head + &body).await
    }

    async fn download(&mut self, length: u64) -> Result<(), Broken> {
        self.write(format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n")).await?;
        let mut sent = 0;
        while sent < length {
            let next = usize::try_from((length - sent).min(251 << 8)).unwrap();
            self.write(block(sent, next)).await?;
            sent += u64::try_from(next).unwrap();
        }
        Ok(())
    }

    async fn upgrade(&mut self) -> Result<Next, Broken> {
        self.write(
            "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
        )
        .await?;
        loop {
            let some = self.wire.some(1 << 16).await?;
            if some.is_empty() {
                return Ok(Next::Close);
            }
            self.write(some).await?;
        }
    }
}
