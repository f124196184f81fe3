//! What a fake stamp does with a request: the script that a test writes for it.

use std::sync::Arc;

use tokio::sync::{Mutex, mpsc, watch};

/// What to do with one request.
#[derive(Clone, Debug)]
pub enum Script {
    /// Answer 200 with what arrived, as JSON.
    Echo,
    /// Answer this status with what arrived, as JSON.
    EchoAs(u16),
    /// The same, with `Connection: close`, and close.
    EchoAndClose,
    /// The same, and close without having said so.
    EchoAndCloseUnsaid,
    /// Send these bytes, keep the connection.
    Raw(Vec<u8>),
    /// Send these bytes, close.
    RawAndClose(Vec<u8>),
    /// Send these bytes, and those when the gate opens; keep the connection.
    RawAndLater(Vec<u8>, Gate, Vec<u8>),
    /// Send these bytes before the body was read, and read none of it.
    RawBeforeBody(Vec<u8>),
    /// Send these bytes before the body was read, then go on reading it.
    RawUnread(Vec<u8>),
    /// Reset as soon as the head was read.
    ResetAfterHead,
    /// Reset as soon as the whole request was read.
    ResetAfterBody,
    /// Answer the head and ten of a hundred bytes, then reset.
    ResetMidBody,
    /// Echo the first request of a connection; close as soon as the head of a second is there.
    CloseWhenReused,
    /// Never answer; wait for the peer to give up.
    Hang,
    /// Send a head byte by byte that never ends, until the peer gives up.
    Trickle,
    /// Play this for requests of that host, echo all others.
    For(&'static str, Box<Self>),
    /// Wait for the gate before anything but the head is read, then go on.
    Gated(Gate, Box<Self>),
    /// Answer 200 with the bytes of [`pattern`], so many.
    Download(u64),
    /// Answer 200, chunked: one chunk for each text that the test sends.
    Stream(Feed),
    /// Answer 101, record every byte that comes as the body, and give it back.
    Upgrade,
    /// Over HTTP/2: say that nothing was done with the request.
    Refuse,
    /// Over HTTP/2: answer as gRPC does, with each piece of the body as it comes, and trailers.
    Grpc,
}

impl Script {
    /// Is the whole request read before anything else happens?
    pub fn reads_first(&self) -> bool {
        let early = matches!(
            self,
            Self::RawBeforeBody(_) | Self::RawUnread(_) | Self::ResetAfterHead | Self::Upgrade
        );
        !early && !matches!(self, Self::CloseWhenReused | Self::Gated(..) | Self::For(..))
    }
}

/// A whole plain answer.
pub fn plain(status: u16, fields: &str, body: &str) -> Script {
    let length = body.len();
    let head = format!("HTTP/1.1 {status} Status\r\n{fields}Content-Length: {length}\r\n\r\n");
    Script::Raw(format!("{head}{body}").into_bytes())
}

/// Holds scripts back until the test opens it.
#[derive(Clone, Debug)]
pub struct Gate(watch::Sender<bool>);

impl Gate {
    /// A closed gate.
    pub fn closed() -> Self {
        Self(watch::Sender::new(false))
    }

    /// Lets everybody pass, now and later.
    pub fn open(&self) {
        self.0.send_replace(true);
    }

    /// Waits until the gate is open.
    pub async fn passed(&self) {
        let mut opening = self.0.subscribe();
        opening.wait_for(|open| *open).await.map(drop).unwrap();
    }

    /// A script that waits here first.
    pub fn before(&self, script: Script) -> Script {
        Script::Gated(self.clone(), Box::new(script))
    }
}

/// The stamp's end of a stream that the test drives.
pub type Feed = Arc<Mutex<mpsc::UnboundedReceiver<String>>>;

/// The two ends of a stream: the test sends, the stamp forwards.
pub fn feed() -> (mpsc::UnboundedSender<String>, Feed) {
    let (test, stamp) = mpsc::unbounded_channel();
    (test, Arc::new(Mutex::new(stamp)))
}

/// The byte at this place of every generated body.
pub fn pattern(at: u64) -> u8 {
    // A prime below 256, so that a lost or doubled block of any usual size shows.
    u8::try_from(at % 251).unwrap()
}

/// A block of [`pattern`] that starts at `from`.
pub fn block(from: u64, length: usize) -> Vec<u8> {
    (from..).take(length).map(pattern).collect()
}
