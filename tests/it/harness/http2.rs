//! HTTP/2 as frames: what a test sends is what it wrote, what it reads is decoded by another library
//! than the gateway's, so that a fault of that cannot hide itself.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;

use loona_hpack::Decoder;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::client::Answer;
use super::deadline::within;
use super::http1::Head;
use super::tls::Stream;

pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

pub const DATA: u8 = 0;
pub const HEADERS: u8 = 1;
pub const RST_STREAM: u8 = 3;
pub const SETTINGS: u8 = 4;
pub const PING: u8 = 6;
pub const GOAWAY: u8 = 7;
pub const WINDOW_UPDATE: u8 = 8;
pub const CONTINUATION: u8 = 9;

pub const END_STREAM: u8 = 1;
pub const ACK: u8 = 1;
pub const END_HEADERS: u8 = 4;

pub const PROTOCOL_ERROR: u32 = 1;
pub const ENHANCE_YOUR_CALM: u32 = 11;

/// One frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    pub kind: u8,
    pub flags: u8,
    pub stream: u32,
    pub payload: Vec<u8>,
}

impl Frame {
    pub fn new(kind: u8, flags: u8, stream: u32, payload: impl Into<Vec<u8>>) -> Self {
        Self { kind, flags, stream, payload: payload.into() }
    }

    pub fn bytes(&self) -> Vec<u8> {
        let length = u32::try_from(self.payload.len()).unwrap().to_be_bytes();
        let head = [&length[1..], &[self.kind, self.flags], &self.stream.to_be_bytes()].concat();
        [head, self.payload.clone()].concat()
    }

    /// The error code of a `RST_STREAM` or `GOAWAY` frame.
    pub fn code(&self) -> u32 {
        let at = if self.kind == GOAWAY { 4 } else { 0 };
        u32::from_be_bytes(self.payload[at..at + 4].try_into().unwrap())
    }
}

/// A header block without any index, so that no state is needed.
pub fn block(fields: &[(&str, &str)]) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in fields {
        block.push(0);
        for text in [name, value] {
            match u8::try_from(text.len()) {
                Ok(length) if length < 127 => block.push(length),
                _ => {
                    let mut rest = text.len() - 127;
                    block.push(127);
                    while rest >= 128 {
                        block.push(u8::try_from(rest % 128).unwrap() | 0x80);
                        rest /= 128;
                    }
                    block.push(u8::try_from(rest).unwrap());
                }
            }
            block.extend_from_slice(text.as_bytes());
        }
    }
    block
}

/// How a stream ended.
#[derive(Clone, Debug)]
pub enum Ended {
    /// With an answer.
    Answered(Answer),
    /// It was reset, with this code.
    Reset(u32),
    /// The whole connection was ended, with the code of its GOAWAY frame if there was one.
    Closed(Option<u32>),
}

/// What has come of a stream so far.
#[derive(Debug, Default)]
struct Coming {
    head: Option<Head>,
    body: Vec<u8>,
    trailers: Vec<(String, String)>,
    ended: bool,
    reset: Option<u32>,
}

/// A connection.
pub struct Http2 {
    pub stream: Stream,
    buffer: Vec<u8>,
    decoder: Decoder<'static>,
    streams: BTreeMap<u32, Coming>,
    next_stream: u32,
    goaway: Option<u32>,
    /// Are windows opened again as data comes?
    pub takes: bool,
}

impl Http2 {
    /// Connects in the clear, with prior knowledge.
    pub async fn connect(address: SocketAddr) -> Self {
        Self::set(address, &[]).await
    }

    /// The same, with windows of this size for its streams.
    pub async fn with_window(address: SocketAddr, bytes: u32) -> Self {
        const INITIAL_WINDOW_SIZE: u16 = 4;
        Self::set(address, &[(INITIAL_WINDOW_SIZE, bytes)]).await
    }

    async fn set(address: SocketAddr, settings: &[(u16, u32)]) -> Self {
        let stream = within("a connection", TcpStream::connect(address)).await.unwrap();
        stream.set_nodelay(true).unwrap();
        Self::over(Stream::Plain(stream), settings).await
    }

    fn new(stream: Stream) -> Self {
        Self {
            stream,
            buffer: Vec::new(),
            decoder: Decoder::new(),
            streams: BTreeMap::new(),
            next_stream: 1,
            goaway: None,
            takes: true,
        }
    }

    /// The other side: what a stamp that is written frame by frame accepts.
    pub async fn accepted(stream: TcpStream) -> Self {
        let mut stamp = Self::new(Stream::Plain(stream));
        let preface = stamp.exactly(PREFACE.len()).await.expect("a preface");
        assert_eq!(preface, PREFACE);
        stamp.send(&Frame::new(SETTINGS, 0, 0, [])).await;
        stamp
    }

    /// The next frame of this kind; others are taken in.
    pub async fn next_of(&mut self, kind: u8) -> Frame {
        loop {
            let frame = self.next_frame().await.expect("a frame");
            if frame.kind == kind {
                return frame;
            }
            self.note(frame).await;
        }
    }

    /// Begins to speak HTTP/2 here, with these settings.
    pub async fn over(stream: Stream, settings: &[(u16, u32)]) -> Self {
        let mut client = Self::new(stream);
        let settings = settings.iter().flat_map(|(id, value)| {
            [id.to_be_bytes().to_vec(), value.to_be_bytes().to_vec()].concat()
        });
        let settings = Frame::new(SETTINGS, 0, 0, settings.collect::<Vec<_>>());
        client.send_bytes(&[PREFACE, &settings.bytes()].concat()).await;
        client
    }

    pub async fn send_bytes(&mut self, bytes: &[u8]) {
        self.try_send_bytes(bytes).await.unwrap_or_else(|error| panic!("cannot send: {error}"));
    }

    /// A peer that has closed already is no failure of the test.
    pub async fn try_send_bytes(&mut self, bytes: &[u8]) -> io::Result<()> {
        within("room to send", async {
            self.stream.write_all(bytes).await?;
            self.stream.flush().await
        })
        .await
    }

    pub async fn send(&mut self, frame: &Frame) {
        self.send_bytes(&frame.bytes()).await;
    }

    /// Opens a stream with these fields; the request ends with them if `flags` say so.
    pub async fn open(&mut self, flags: u8, fields: &[(&str, &str)]) -> u32 {
        let stream = self.next_stream;
        self.next_stream += 2;
        self.send(&Frame::new(HEADERS, END_HEADERS | flags, stream, block(fields))).await;
        stream
    }

    /// `GET`, with more fields.
    pub async fn get(&mut self, host: &str, path: &str, more: &[(&str, &str)]) -> u32 {
        let fields = request("GET", host, path);
        self.open(END_STREAM, &[&fields, more].concat()).await
    }

    /// `POST` in one frame.
    pub async fn post(&mut self, host: &str, path: &str, body: &[u8]) -> u32 {
        let length = body.len().to_string();
        let fields = request("POST", host, path);
        let stream = self.open(0, &[&fields[..], &[("content-length", &length)]].concat()).await;
        self.send(&Frame::new(DATA, END_STREAM, stream, body)).await;
        stream
    }

    /// Sends a `GET` and reads its answer.
    pub async fn exchange(&mut self, host: &str, path: &str) -> Answer {
        let stream = self.get(host, path, &[]).await;
        self.answer(stream).await
    }

    /// The answer on a stream.
    pub async fn answer(&mut self, stream: u32) -> Answer {
        match self.ended(stream).await {
            Ended::Answered(answer) => answer,
            other @ (Ended::Reset(_) | Ended::Closed(_)) => panic!("stream {stream}: {other:?}"),
        }
    }

    /// What the gateway says to a connection that it does not take, until it closes it.
    pub async fn refusal(&mut self) -> Vec<u8> {
        let mut heard = std::mem::take(&mut self.buffer);
        while within("a refusal", self.stream.read_buf(&mut heard)).await.is_ok_and(|read| read > 0)
        {
        }
        heard
    }

    /// Why a stream was reset, or its connection ended.
    pub async fn error(&mut self, stream: u32) -> u32 {
        match self.ended(stream).await {
            Ended::Reset(code) | Ended::Closed(Some(code)) => code,
            other @ (Ended::Answered(_) | Ended::Closed(None)) => {
                panic!("stream {stream}: {other:?}")
            }
        }
    }

    /// How a stream ends.
    pub async fn ended(&mut self, stream: u32) -> Ended {
        loop {
            let coming = self.streams.entry(stream).or_default();
            if let Some(code) = coming.reset {
                return Ended::Reset(code);
            }
            if coming.ended {
                let coming = self.streams.remove(&stream).unwrap();
                let head = coming.head.expect("a head before the end");
                let status = head.word(1).parse().unwrap();
                let (body, trailers) = (coming.body, coming.trailers);
                return Ended::Answered(Answer { status, head, body, trailers });
            }
            if !self.read().await {
                return Ended::Closed(self.goaway);
            }
        }
    }

    /// The status of an answer, as soon as its head is there.
    pub async fn status(&mut self, stream: u32) -> u16 {
        loop {
            let coming = self.streams.entry(stream).or_default();
            if let Some(head) = &coming.head {
                return head.word(1).parse().unwrap();
            }
            assert!(coming.reset.is_none(), "stream {stream} was reset: {coming:?}");
            assert!(self.read().await, "closed: {:?}", self.goaway);
        }
    }

    /// So many bytes of the body of a stream, which are then forgotten.
    pub async fn body(&mut self, stream: u32, length: usize) -> Vec<u8> {
        loop {
            let coming = self.streams.entry(stream).or_default();
            if coming.body.len() >= length {
                return coming.body.drain(..length).collect();
            }
            assert!(self.read().await, "closed: {:?}", self.goaway);
        }
    }

    /// The code of the GOAWAY frame, once it has come.
    pub async fn goaway(&mut self) -> u32 {
        loop {
            if let Some(code) = self.goaway {
                return code;
            }
            assert!(self.read().await, "closed without a word");
        }
    }

    /// Waits until the gateway has seen all that was sent.
    pub async fn ping(&mut self) {
        self.send(&Frame::new(PING, 0, 0, [7; 8])).await;
        loop {
            let frame = self.next_frame().await.expect("an answer to a ping");
            if frame.kind == PING && frame.flags & ACK != 0 {
                return;
            }
            self.note(frame).await;
        }
    }

    /// Has the gateway said that the connection ends?
    pub fn is_told(&self) -> bool {
        self.goaway.is_some()
    }

    /// Waits until the gateway ends the connection; the code of its GOAWAY frame if there was one.
    pub async fn closed(&mut self) -> Option<u32> {
        while self.read().await {}
        self.goaway
    }

    /// Takes one frame in; `false` = the connection is over.
    async fn read(&mut self) -> bool {
        let Some(frame) = self.next_frame().await else { return false };
        if self.takes && frame.kind == DATA && !frame.payload.is_empty() {
            let more = u32::try_from(frame.payload.len()).unwrap().to_be_bytes();
            for stream in [0, frame.stream] {
                drop(
                    self.try_send_bytes(&Frame::new(WINDOW_UPDATE, 0, stream, more).bytes()).await,
                );
            }
        }
        self.note(frame).await;
        true
    }

    async fn note(&mut self, frame: Frame) {
        let coming = self.streams.entry(frame.stream).or_default();
        match frame.kind {
            DATA => coming.body.extend_from_slice(&frame.payload),
            HEADERS => {
                assert!(frame.flags & END_HEADERS != 0, "long header blocks are not read here");
                let fields = self.decoder.decode(&frame.payload).expect("a header block");
                let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("text");
                let mut fields: Vec<(String, String)> =
                    fields.into_iter().map(|(name, value)| (text(name), text(value))).collect();
                match fields.first() {
                    Some((name, status)) if name == ":status" && coming.head.is_none() => {
                        let first_line = format!("HTTP/2 {status}");
                        fields.remove(0);
                        assert!(fields.iter().all(|(name, _)| !name.starts_with(':')));
                        coming.head = Some(Head { first_line, headers: fields });
                    }
                    _ => coming.trailers = fields,
                }
            }
            RST_STREAM => coming.reset = Some(frame.code()),
            GOAWAY => self.goaway = Some(frame.code()),
            SETTINGS if frame.flags & ACK == 0 => {
                drop(self.try_send_bytes(&Frame::new(SETTINGS, ACK, 0, []).bytes()).await);
            }
            PING if frame.flags & ACK == 0 => {
                let pong = Frame::new(PING, ACK, 0, frame.payload);
                drop(self.try_send_bytes(&pong.bytes()).await);
                return;
            }
            _ => return,
        }
        let ends = matches!(frame.kind, DATA | HEADERS) && frame.flags & END_STREAM != 0;
        if ends && let Some(coming) = self.streams.get_mut(&frame.stream) {
            coming.ended = true;
        }
    }

    /// The next frame as it comes; `None` at the end.
    pub async fn next_frame(&mut self) -> Option<Frame> {
        let head = self.exactly(9).await?;
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
        let stream = u32::from_be_bytes([head[5] & 0x7f, head[6], head[7], head[8]]);
        let payload = self.exactly(usize::try_from(length).unwrap()).await?;
        Some(Frame { kind: head[3], flags: head[4], stream, payload })
    }

    async fn exactly(&mut self, length: usize) -> Option<Vec<u8>> {
        while self.buffer.len() < length {
            let read = within("a frame", self.stream.read_buf(&mut self.buffer)).await;
            if read.unwrap_or(0) == 0 {
                return None;
            }
        }
        Some(self.buffer.drain(..length).collect())
    }
}

/// The pseudo-fields of a request.
pub fn request<'a>(method: &'a str, host: &'a str, path: &'a str) -> [(&'a str, &'a str); 4] {
    [(":method", method), (":scheme", "http"), (":authority", host), (":path", path)]
}
