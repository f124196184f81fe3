//! One connection to a fake stamp: reads requests, records them, plays the script.

use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::digest;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use rustls::ServerConfig;
use socket2::SockRef;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use super::deadline::ticks;
use super::http1::{Broken, Framing, Head, Wire};
use super::playing_h2;
use super::script::{Feed, Script, block};
use super::stamp::{OnAccept, Shared, State};
use super::tls::Stream;

/// Accepts connections until it is aborted; then all of them end.
pub async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    // Aborting this task drops the set, and with it every connection.
    let mut connections = JoinSet::new();
    loop {
        let stream = tokio::select! {
            accepted = listener.accept() => accepted.unwrap().0,
            () = shared.cut.notified() => {
                connections.shutdown().await;
                continue;
            }
        };
        stream.set_nodelay(true).unwrap();
        let (on_accept, tls) = {
            let state = shared.state.lock().unwrap();
            (state.on_accept, state.tls.clone())
        };
        match on_accept {
            OnAccept::Serve => {
                let shared = Arc::clone(&shared);
                let _task = connections.spawn(serve(stream, tls, shared));
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

async fn serve(socket: TcpStream, tls: Option<Arc<ServerConfig>>, shared: Arc<Shared>) {
    let accepted = Stream::accept(socket, tls).await;
    {
        let mut state = shared.state.lock().unwrap();
        state.refused += usize::from(accepted.is_err());
        state.resumed += usize::from(accepted.as_ref().is_ok_and(Stream::is_resumed));
    }
    let Ok(stream) = accepted else { return };
    if stream.begins_http2().await {
        return playing_h2::serve(stream, shared).await;
    }
    let mut connection = Connection { wire: Wire::new(stream), shared, number: None, requests: 0 };
    // How a scripted connection breaks is the business of the other side.
    let _broken = connection.serve().await;
    connection.note_end();
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
    wire: Wire<Stream>,
    shared: Arc<Shared>,
    /// Its place among the connections that carried requests, once it has.
    number: Option<usize>,
    /// Requests that were no probes.
    requests: usize,
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
            let (place, script) = self.note(head);
            if Box::pin(self.play(place, script)).await? == Next::Close {
                return Ok(());
            }
        }
    }

    async fn answer_probe(&mut self) -> Result<(), Broken> {
        let healthy = self.shared.passes_probe();
        let status = if healthy { "200 OK" } else { "503 Unavailable" };
        self.write(format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n")).await
    }

    /// Records a request and finds out what to do with it.
    fn note(&mut self, head: Head) -> (usize, Script) {
        self.requests += 1;
        let (number, place, script) = self.shared.note(head, self.number);
        self.number = Some(number);
        (place, script)
    }

    async fn write(&mut self, bytes: impl AsRef<[u8]>) -> Result<(), Broken> {
        let stream = &mut self.wire.stream;
        let written = async {
            stream.write_all(bytes.as_ref()).await?;
            // A session over TLS may hold the end back.
            stream.flush().await
        };
        written.await.map_err(|error| Broken::Failed(error.kind()))
    }

    #[expect(clippy::cognitive_complexity, reason = "one arm a script, none of them deep")]
    async fn play(&mut self, place: usize, script: Script) -> Result<Next, Broken> {
        if script.reads_first() {
            self.read_body(place).await?;
        }
        match script {
            Script::Gated(gate, script) => {
                gate.passed().await;
                Box::pin(self.play(place, *script)).await
            }
            Script::CloseWhenReused if self.requests > 1 => Ok(Next::Close),
            Script::CloseWhenReused => Box::pin(self.play(place, Script::Echo)).await,
            Script::Echo => self.echo(place, 200, "").await.map(|()| Next::Keep),
            Script::EchoAs(status) => self.echo(place, status, "").await.map(|()| Next::Keep),
            Script::EchoAndClose => {
                self.echo(place, 200, "Connection: close\r\n").await.map(|()| Next::Close)
            }
            Script::EchoAndCloseUnsaid => self.echo(place, 200, "").await.map(|()| Next::Close),
            Script::Raw(bytes) => self.write(bytes).await.map(|()| Next::Keep),
            Script::RawUnread(bytes) => {
                self.write(bytes).await?;
                self.read_body(place).await?;
                Ok(Next::Keep)
            }
            Script::RawAndLater(bytes, gate, later) => {
                self.write(bytes).await?;
                gate.passed().await;
                self.write(later).await?;
                self.change(|state| state.said_later += 1);
                Ok(Next::Keep)
            }
            Script::RawAndClose(bytes) | Script::RawBeforeBody(bytes) => {
                self.write(bytes).await.map(|()| Next::Close)
            }
            Script::ResetAfterHead | Script::ResetAfterBody => Ok(self.reset()),
            Script::ResetMidBody => {
                self.write("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n0123456789").await?;
                Ok(self.reset())
            }
            Script::For(host, script) => {
                let meant = self.change(|state| {
                    state.seen[place].head.header("host").is_some_and(|own| own == host)
                });
                let script = if meant { *script } else { Script::Echo };
                Box::pin(self.play(place, script)).await
            }
            Script::Trickle => self.trickle().await.map(|()| Next::Close),
            Script::Hang => self.wire.rest().await.map(|_rest| Next::Close),
            Script::Download(length) => self.download(length).await.map(|()| Next::Keep),
            Script::Stream(feed) => self.stream(feed).await.map(|()| Next::Keep),
            Script::Upgrade => self.upgrade(place).await,
            Script::Refuse | Script::Grpc => panic!("{script:?} is of HTTP/2"),
        }
    }

    fn reset(&self) -> Next {
        reset(self.wire.stream.socket());
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
                    self.shared.keep(place, &some);
                }
            }
            Framing::Chunked => {
                while let Some(chunk) = self.wire.chunk().await? {
                    self.shared.keep(place, &chunk);
                }
                let trailers = self.wire.trailers().await?;
                self.change(|state| state.seen[place].trailers = trailers);
            }
        }
        self.change(|state| state.seen[place].complete = true);
        Ok(())
    }

    async fn echo(&mut self, place: usize, status: u16, fields: &str) -> Result<(), Broken> {
        let seen = self.change(|state| state.seen[place].clone());
        let body = seen.told_by(&self.shared.name);
        let head = format!(
            "HTTP/1.1 {status} Echo\r\nContent-Type: application/json\r\n{fields}Content-Length: {}\r\n\r\n",
            body.len()
        );
        let body = if seen.method() == "HEAD" { String::new() } else { body };
        self.write(head + &body).await
    }

    async fn trickle(&mut self) -> Result<(), Broken> {
        let mut ticks = ticks(50);
        for byte in b"HTTP/1.1 200 OK\r\nX-Slow: ".iter().chain(std::iter::repeat(&b'x')) {
            ticks.tick().await;
            self.write([*byte]).await?;
        }
        Ok(())
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

    async fn stream(&mut self, feed: Feed) -> Result<(), Broken> {
        let fields = "Content-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n";
        self.write(format!("HTTP/1.1 200 OK\r\n{fields}\r\n")).await?;
        let mut feed = feed.lock().await;
        while let Some(text) = feed.recv().await {
            self.write(format!("{:x}\r\n{text}\r\n", text.len())).await?;
        }
        self.write("0\r\n\r\n").await
    }

    async fn upgrade(&mut self, place: usize) -> Result<Next, Broken> {
        let head = self.change(|state| state.seen[place].head.clone());
        let accept = head.header("sec-websocket-key").map(proof_of).unwrap_or_default();
        let answer =
            "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n";
        self.write(format!("{answer}{accept}\r\n")).await?;
        loop {
            let some = self.wire.some(1 << 16).await?;
            if some.is_empty() {
                return Ok(Next::Close);
            }
            self.shared.keep(place, &some);
            self.write(some).await?;
        }
    }
}

/// The proof that a key was read (RFC 6455, section 4.2.2).
fn proof_of(key: &str) -> String {
    let text = format!("{key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11");
    let proof = digest::digest(&digest::SHA1_FOR_LEGACY_USE_ONLY, text.as_bytes());
    format!("Sec-WebSocket-Accept: {}\r\n", BASE64_STANDARD.encode(proof))
}
