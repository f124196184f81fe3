//! A client that sends exactly the bytes it is given and believes nothing that is not HTTP/1.1.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use rustls::ClientConfig;
use serde_json::Value;
use socket2::SockRef;
use std::time::Duration;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpSocket, TcpStream};

use super::deadline::within;
use super::http1::{Broken, Framing, Head, Request, Wire, lossy};
use super::tls::Stream;

/// One connection to the gateway (or to a stamp).
#[derive(Debug)]
pub struct Client {
    wire: Wire<Stream>,
}

/// A whole response.
#[derive(Clone, Debug)]
pub struct Answer {
    pub status: u16,
    pub head: Head,
    pub body: Vec<u8>,
    pub trailers: Vec<(String, String)>,
}

impl Client {
    /// Connects, or fails the test.
    pub async fn connect(address: SocketAddr) -> Self {
        Self::try_connect(address).await.unwrap_or_else(|error| panic!("{address}: {error}"))
    }

    /// Connects, or says why not.
    pub async fn try_connect(address: SocketAddr) -> std::io::Result<Self> {
        let stream = within("a connection", TcpStream::connect(address)).await?;
        stream.set_nodelay(true)?;
        Ok(Self { wire: Wire::new(Stream::Plain(stream)) })
    }

    /// Sends these bytes in the clear, then connects over TLS with a peer of this name, or says why
    /// not.
    pub async fn try_connect_tls(
        address: SocketAddr,
        (before, config): (&[u8], &Arc<ClientConfig>),
        name: &str,
    ) -> std::io::Result<Self> {
        let mut stream = within("a connection", TcpStream::connect(address)).await?;
        stream.set_nodelay(true)?;
        stream.write_all(before).await?;
        let stream = within("a session", Stream::connect(stream, config, name)).await?;
        Ok(Self { wire: Wire::new(stream) })
    }

    /// The connection alone, of which nothing was read.
    pub fn into_stream(self) -> Stream {
        self.wire.stream
    }

    /// The connection itself.
    pub fn stream(&self) -> &Stream {
        &self.wire.stream
    }

    /// Connects from another address of the loopback network.
    pub async fn connect_from(from: IpAddr, address: SocketAddr) -> Self {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind(SocketAddr::new(from, 0)).unwrap();
        let stream = within("a connection", socket.connect(address)).await.unwrap();
        Self { wire: Wire::new(Stream::Plain(stream)) }
    }

    /// Sends these bytes and no others.
    pub async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.try_send(bytes).await.unwrap_or_else(|error| panic!("cannot send: {error}"));
    }

    /// As [`Self::send`]; a peer that has closed already is no failure of the test.
    pub async fn try_send(&mut self, bytes: impl AsRef<[u8]>) -> std::io::Result<()> {
        within("room to send", async {
            self.wire.stream.write_all(bytes.as_ref()).await?;
            self.wire.stream.flush().await
        })
        .await
    }

    /// Sends part of `bytes` and waits as long as it takes: for tests of back-pressure.
    pub async fn send_some(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.wire.stream.write(bytes).await
    }

    /// Says that nothing more will be sent.
    pub async fn finish(&mut self) {
        self.wire.stream.shutdown().await.unwrap();
    }

    /// Sends a request and reads its answer.
    pub async fn exchange(&mut self, request: &Request) -> Answer {
        let told = self.try_exchange(request).await;
        told.unwrap_or_else(|broken| panic!("no answer to {request:?}: {broken:?}"))
    }

    /// Sends a request and reads its answer, or says how that failed.
    pub async fn try_exchange(&mut self, request: &Request) -> Result<Answer, Broken> {
        let sent = self.try_send(request.bytes()).await;
        sent.map_err(|error| Broken::Failed(error.kind()))?;
        self.read_answer(&request.method).await
    }

    /// The next final answer, read whole.
    pub async fn answer(&mut self) -> Answer {
        self.try_answer().await.unwrap_or_else(|broken| panic!("no answer: {broken:?}"))
    }

    /// The next final answer, read whole, or how it broke.
    pub async fn try_answer(&mut self) -> Result<Answer, Broken> {
        self.read_answer("GET").await
    }

    async fn read_answer(&mut self, method: &str) -> Result<Answer, Broken> {
        within("a whole answer", async {
            loop {
                let head = self.wire.head().await?;
                let status = head.status()?;
                if status >= 200 {
                    return self.body_of(head, status, method).await;
                }
            }
        })
        .await
    }

    async fn body_of(&mut self, head: Head, status: u16, method: &str) -> Result<Answer, Broken> {
        let framing = head.framing()?;
        let mut answer = Answer { status, head, body: Vec::new(), trailers: Vec::new() };
        if method == "HEAD" || status == 204 || status == 304 {
            return Ok(answer);
        }
        match framing {
            Framing::Length(length) => {
                answer.body = self.wire.exactly(usize::try_from(length).unwrap()).await?;
            }
            Framing::Chunked => {
                while let Some(chunk) = self.wire.chunk().await? {
                    answer.body.extend_from_slice(&chunk);
                }
                answer.trailers = self.wire.trailers().await?;
            }
            Framing::Unsaid => answer.body = self.wire.rest().await?,
        }
        Ok(answer)
    }

    /// The next head alone, 1xx included.
    pub async fn head(&mut self) -> Head {
        self.try_head().await.unwrap_or_else(|broken| panic!("no head: {broken:?}"))
    }

    /// The next head alone, or how it broke.
    pub async fn try_head(&mut self) -> Result<Head, Broken> {
        within("a head", self.wire.head()).await
    }

    /// The next chunk of a chunked answer whose head was read.
    pub async fn chunk(&mut self) -> Option<Vec<u8>> {
        let chunk = within("a chunk", self.wire.chunk()).await;
        chunk.unwrap_or_else(|broken| panic!("no chunk: {broken:?}"))
    }

    /// Exactly so many raw bytes.
    pub async fn exactly(&mut self, length: usize) -> Vec<u8> {
        let bytes = within("bytes", self.wire.exactly(length)).await;
        bytes.unwrap_or_else(|broken| panic!("no {length} bytes: {broken:?}"))
    }

    /// Up to so many raw bytes; empty at the end.
    pub async fn some(&mut self, most: usize) -> Vec<u8> {
        within("bytes", self.wire.some(most)).await.unwrap_or_default()
    }

    /// Waits until the peer ends the connection, and returns what came before that.
    pub async fn closed(&mut self) -> Vec<u8> {
        within("the peer to close", self.wire.rest()).await.unwrap_or_default()
    }

    /// What comes until the peer ends the connection, if it ends it as it should.
    pub async fn ended(&mut self) -> Result<Vec<u8>, Broken> {
        within("the peer to end", self.wire.rest()).await
    }

    /// Ends the connection with a reset, as a process that died would.
    pub fn abort(self) {
        SockRef::from(self.wire.stream.socket()).set_linger(Some(Duration::ZERO)).unwrap();
    }
}

impl Answer {
    /// The value of a header that is there at most once.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.head.header(name)
    }

    /// The body as text.
    pub fn text(&self) -> String {
        lossy(&self.body)
    }

    /// The body as JSON.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("{error}: {} {}", self.status, self.text()))
    }

    /// The `code` of a problem document.
    pub fn code(&self) -> String {
        self.json()["code"].as_str().unwrap_or_default().to_owned()
    }

    /// The stamp that says it served, when it echoes.
    pub fn served_by(&self) -> String {
        assert_eq!(self.status, 200, "{}", self.text());
        self.json()["stamp"].as_str().unwrap().to_owned()
    }

    /// All values of a header as the stamp received it, when it echoes.
    pub fn arrived(&self, name: &str) -> Vec<String> {
        assert_eq!(self.status, 200, "{}", self.text());
        let told = self.json();
        let lines = told["headers"].as_array().unwrap().clone();
        let same = |line: &&Value| line[0].as_str().unwrap().eq_ignore_ascii_case(name);
        lines.iter().filter(same).map(|line| line[1].as_str().unwrap().to_owned()).collect()
    }

    /// Checks that this is the problem document that the contract promises.
    #[track_caller]
    pub fn assert_problem(&self, status: u16, code: &str) {
        assert_eq!((self.status, self.code().as_str()), (status, code), "{}", self.text());
        assert_eq!(self.header("content-type"), Some("application/problem+json"));
        assert_eq!(self.json()["status"], status);
        if status == 429 || status == 503 {
            let seconds = self.header("retry-after").map(str::parse::<u32>);
            assert!(matches!(seconds, Some(Ok(_))), "Retry-After is missing: {:?}", self.head);
        }
    }
}
