//! One connection to one endpoint: hyper's sender, and what is known of its bytes.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::task::{Context, Poll};
use std::time::Duration;

use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use stamp_core::time::Moment;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::OwnedSemaphorePermit;

use super::body::RequestBody;
use crate::clock::Clock;

/// The largest answer head that is read (the edge's own limit for requests is 32 KiB).
const ANSWER_HEAD_BYTES_MAX: usize = 64 * 1024;
/// The most fields of an answer head.
const ANSWER_FIELDS_MAX: usize = 200;

/// How many bytes went over a link: whether anything was sent decides about repeats.
#[derive(Debug, Default)]
pub struct LinkBytes {
    written: AtomicU64,
    read: AtomicU64,
}

impl LinkBytes {
    /// Bytes that the socket took.
    pub fn written(&self) -> u64 {
        self.written.load(Relaxed)
    }

    /// Bytes that came back.
    pub fn read(&self) -> u64 {
        self.read.load(Relaxed)
    }
}

/// A connection that one request at a time may use.
#[derive(Debug)]
pub struct Link {
    /// hyper's handle.
    pub sender: SendRequest<RequestBody>,
    /// What went over it.
    pub bytes: Arc<LinkBytes>,
    /// When it was made.
    pub born: Moment,
    /// How long it took to make: about one round trip.
    pub connected_in: Duration,
    /// Requests that were sent over it before.
    pub used: u32,
}

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The host name has no address (yet).
    #[error("the host name has no address")]
    Unresolved,
    /// The system refused or gave up.
    #[error("connect")]
    Socket(#[source] io::Error),
    /// No answer in time.
    #[error("no answer within {0:?}")]
    Timeout(Duration),
    /// hyper refused the socket.
    #[error("handshake")]
    Handshake(#[source] hyper::Error),
}

/// Connects to the first of `addresses` that answers, all within `timeout`.
pub async fn connect(
    addresses: &[SocketAddr],
    timeout: Duration,
    permit: OwnedSemaphorePermit,
    clock: Clock,
) -> Result<Link, ConnectError> {
    let born = clock.now();
    let socket = tokio::time::timeout(timeout, connect_any(addresses))
        .await
        .map_err(|_elapsed| ConnectError::Timeout(timeout))??;
    let connected_in = clock.now().since(born);
    let bytes = Arc::new(LinkBytes::default());
    let counted = Counted { socket, bytes: Arc::clone(&bytes) };
    let (sender, connection) = http1::Builder::new()
        .max_header_size(ANSWER_HEAD_BYTES_MAX)
        .max_headers(ANSWER_FIELDS_MAX)
        .handshake(TokioIo::new(counted))
        .await
        .map_err(ConnectError::Handshake)?;
    tokio::task::spawn_local(async move {
        let ended = connection.with_upgrades().await;
        if let Err(error) = ended {
            tracing::trace!(%error, "connection to a stamp ended");
        }
        drop(permit);
    });
    Ok(Link { sender, bytes, born, connected_in, used: 0 })
}

async fn connect_any(addresses: &[SocketAddr]) -> Result<TcpStream, ConnectError> {
    let mut failed = ConnectError::Unresolved;
    for address in addresses {
        match TcpStream::connect(address).await {
            Ok(socket) => {
                socket.set_nodelay(true).map_err(ConnectError::Socket)?;
                return Ok(socket);
            }
            Err(error) => failed = ConnectError::Socket(error),
        }
    }
    Err(failed)
}

/// A socket that counts.
#[derive(Debug)]
struct Counted {
    socket: TcpStream,
    bytes: Arc<LinkBytes>,
}

impl Counted {
    fn count(&self, written: &Poll<io::Result<usize>>) {
        if let Poll::Ready(Ok(written)) = written {
            self.bytes.written.store(self.bytes.written() + *written as u64, Relaxed);
        }
    }
}

impl AsyncRead for Counted {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        out: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = out.filled().len();
        let read = Pin::new(&mut this.socket).poll_read(context, out);
        let more = out.filled().len() - before;
        this.bytes.read.store(this.bytes.read() + more as u64, Relaxed);
        read
    }
}

impl AsyncWrite for Counted {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = Pin::new(&mut this.socket).poll_write(context, bytes);
        this.count(&written);
        written
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = Pin::new(&mut this.socket).poll_write_vectored(context, slices);
        this.count(&written);
        written
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().socket).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().socket).poll_shutdown(context)
    }
}

/// The endpoint's declared address was resolved already: nothing to look up.
#[must_use]
pub fn literal_address(host: &str, port: u16) -> Option<SocketAddr> {
    host.parse().ok().map(|ip| SocketAddr::new(ip, port))
}

/// Shared handle type of resolved addresses.
pub type Addresses = Arc<Vec<SocketAddr>>;
