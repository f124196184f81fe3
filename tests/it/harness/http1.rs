//! HTTP/1.1 as bytes: requests as a test writes them, messages read strictly. No library of the
//! gateway is used, so that a fault of it cannot hide itself.

use std::io;

use serde_json::Value;
use tokio::io::{AsyncRead, AsyncReadExt};

/// A request, to be turned into bytes exactly as written.
#[derive(Clone, Debug)]
pub struct Request {
    pub method: String,
    target: String,
    headers: Vec<(String, String)>,
    body: Option<Vec<u8>>,
}

impl Request {
    /// A request without a Host.
    pub fn new(method: &str, target: &str) -> Self {
        Self { method: method.into(), target: target.into(), headers: Vec::new(), body: None }
    }

    /// One more header line.
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    /// A body with its Content-Length.
    pub fn body(mut self, body: impl Into<Vec<u8>>) -> Self {
        let body = body.into();
        self.headers.push(("Content-Length".into(), body.len().to_string()));
        self.body = Some(body);
        self
    }

    /// A JSON body with its type and length.
    pub fn json(self, body: &Value) -> Self {
        self.header("Content-Type", "application/json").body(body.to_string())
    }

    /// `Authorization: Bearer`.
    pub fn bearer(self, token: &str) -> Self {
        self.header("Authorization", &format!("Bearer {token}"))
    }

    /// The bytes on the wire.
    pub fn bytes(&self) -> Vec<u8> {
        let mut bytes = format!("{} {} HTTP/1.1\r\n", self.method, self.target).into_bytes();
        for (name, value) in &self.headers {
            bytes.extend_from_slice(format!("{name}: {value}\r\n").as_bytes());
        }
        bytes.extend_from_slice(b"\r\n");
        bytes.extend_from_slice(self.body.as_deref().unwrap_or_default());
        bytes
    }
}

/// `GET` at a host.
pub fn get(host: &str, target: &str) -> Request {
    Request::new("GET", target).header("Host", host)
}

/// `POST` at a host.
pub fn post(host: &str, target: &str, body: impl Into<Vec<u8>>) -> Request {
    Request::new("POST", target).header("Host", host).body(body)
}

/// Why no whole message came.
#[derive(Debug, thiserror::Error)]
pub enum Broken {
    /// The connection ended before the first byte.
    #[error("closed before the first byte")]
    Closed,
    /// The connection ended inside a message.
    #[error("cut inside a message")]
    Cut,
    /// The connection failed.
    #[error("connection failed: {0}")]
    Failed(io::ErrorKind),
    /// The bytes are no HTTP/1.1.
    #[error("malformed: {0}")]
    Malformed(String),
}

/// The first lines of a message.
#[derive(Clone, Debug)]
pub struct Head {
    pub first_line: String,
    pub headers: Vec<(String, String)>,
}

impl Head {
    fn parse(raw: &[u8]) -> Result<Self, Broken> {
        let malformed = |why: &str| Broken::Malformed(format!("{why} in {:?}", lossy(raw)));
        let text = std::str::from_utf8(raw).map_err(|error| malformed(&error.to_string()))?;
        let mut lines = text.trim_end_matches("\r\n").split("\r\n");
        let first_line = lines.next().unwrap_or_default().to_owned();
        let mut headers = Vec::new();
        for line in lines {
            let (name, value) = line.split_once(':').ok_or_else(|| malformed("no colon"))?;
            if name.is_empty() || name.contains(char::is_whitespace) || line.contains(['\r', '\n'])
            {
                return Err(malformed("a bad field line"));
            }
            headers.push((name.to_owned(), value.trim_matches([' ', '\t']).to_owned()));
        }
        Ok(Self { first_line, headers })
    }

    /// The value of a header that is there at most once.
    pub fn header(&self, name: &str) -> Option<&str> {
        let values = self.header_values(name);
        assert!(values.len() < 2, "{name} is there more than once: {self:?}");
        values.first().copied()
    }

    /// All values of a header.
    pub fn header_values(&self, name: &str) -> Vec<&str> {
        let same = |(other, _): &&(String, String)| other.eq_ignore_ascii_case(name);
        self.headers.iter().filter(same).map(|(_, value)| value.as_str()).collect()
    }

    /// The n-th word of the first line.
    pub fn word(&self, place: usize) -> &str {
        self.first_line.splitn(3, ' ').nth(place).unwrap_or_default()
    }

    /// The status, if the first line is a status line.
    pub fn status(&self) -> Result<u16, Broken> {
        let bad = || Broken::Malformed(format!("status line {:?}", self.first_line));
        if self.word(0) != "HTTP/1.1" || self.word(1).len() != 3 {
            return Err(bad());
        }
        self.word(1).parse().ok().ok_or_else(bad)
    }

    /// How the body is framed.
    pub fn framing(&self) -> Result<Framing, Broken> {
        let lengths = self.header_values("content-length");
        let codings = self.header_values("transfer-encoding");
        match (lengths.as_slice(), codings.as_slice()) {
            ([], []) => Ok(Framing::Unsaid),
            ([], ["chunked"]) => Ok(Framing::Chunked),
            ([one], []) => match one.parse() {
                Ok(length) => Ok(Framing::Length(length)),
                Err(_) => Err(Broken::Malformed(format!("Content-Length {one:?}"))),
            },
            _ => Err(Broken::Malformed(format!("framing {lengths:?} with {codings:?}"))),
        }
    }
}

/// How a body is framed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// So many bytes.
    Length(u64),
    /// Chunks, then trailers.
    Chunked,
    /// Nothing is said: no body in a request, until the end in a response.
    Unsaid,
}

/// Readable text for messages.
pub fn lossy(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Bytes from a connection, read message by message.
#[derive(Debug)]
pub struct Wire<S> {
    pub stream: S,
    buffer: Vec<u8>,
}

impl<S: AsyncRead + Unpin> Wire<S> {
    pub fn new(stream: S) -> Self {
        Self { stream, buffer: Vec::new() }
    }

    /// Reads once more into the buffer; `Ok(0)` at the end.
    async fn fill(&mut self) -> Result<usize, Broken> {
        let read = self.stream.read_buf(&mut self.buffer).await;
        read.map_err(|error| Broken::Failed(error.kind()))
    }

    /// The next head. Blank lines before it are not tolerated.
    pub async fn head(&mut self) -> Result<Head, Broken> {
        loop {
            if let Some(at) = self.buffer.windows(4).position(|four| four == b"\r\n\r\n") {
                let head: Vec<u8> = self.buffer.drain(..at + 4).collect();
                return Head::parse(&head);
            }
            if self.fill().await? == 0 {
                return Err(if self.buffer.is_empty() { Broken::Closed } else { Broken::Cut });
            }
        }
    }

    /// Up to `most` bytes of what comes next; empty at the end of the connection.
    pub async fn some(&mut self, most: usize) -> Result<Vec<u8>, Broken> {
        if self.buffer.is_empty() {
            self.fill().await?;
        }
        let length = self.buffer.len().min(most);
        Ok(self.buffer.drain(..length).collect())
    }

    /// Exactly so many bytes.
    pub async fn exactly(&mut self, length: usize) -> Result<Vec<u8>, Broken> {
        while self.buffer.len() < length {
            if self.fill().await? == 0 {
                return Err(Broken::Cut);
            }
        }
        Ok(self.buffer.drain(..length).collect())
    }

    /// One line without its CRLF.
    async fn line(&mut self) -> Result<String, Broken> {
        loop {
            if let Some(at) = self.buffer.windows(2).position(|two| two == b"\r\n") {
                let line: Vec<u8> = self.buffer.drain(..at + 2).collect();
                return Ok(lossy(&line[..at]));
            }
            if self.fill().await? == 0 {
                return Err(Broken::Cut);
            }
        }
    }

    /// The next chunk of a chunked body; `None` is the last one.
    pub async fn chunk(&mut self) -> Result<Option<Vec<u8>>, Broken> {
        let line = self.line().await?;
        let digits = line.split(';').next().unwrap_or_default();
        let length = usize::from_str_radix(digits, 16)
            .map_err(|error| Broken::Malformed(format!("chunk size {line:?}: {error}")))?;
        if length == 0 {
            return Ok(None);
        }
        let data = self.exactly(length).await?;
        if self.exactly(2).await? != b"\r\n" {
            return Err(Broken::Malformed("no CRLF after a chunk".into()));
        }
        Ok(Some(data))
    }

    /// The trailer section after the last chunk.
    pub async fn trailers(&mut self) -> Result<Vec<(String, String)>, Broken> {
        let mut trailers = Vec::new();
        loop {
            let line = self.line().await?;
            if line.is_empty() {
                return Ok(trailers);
            }
            let (name, value) =
                line.split_once(':').ok_or_else(|| Broken::Malformed(line.clone()))?;
            trailers.push((name.to_owned(), value.trim().to_owned()));
        }
    }

    /// The rest of the connection.
    pub async fn rest(&mut self) -> Result<Vec<u8>, Broken> {
        while self.fill().await? > 0 {}
        Ok(std::mem::take(&mut self.buffer))
    }
}
