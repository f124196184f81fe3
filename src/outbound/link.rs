//! One connection to one endpoint: TCP, TLS where the endpoint wants it, and hyper's sender.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http::Request;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use stamp_core::framing::AnswerLimits;
use stamp_core::time::Moment;
use tokio::net::TcpStream;
use tokio::sync::OwnedSemaphorePermit;

use super::answer_gate::{AnswerGate, Watch};
use super::body::RequestBody;
use super::stream::{Counted, Sent, Stream};
use crate::clock::Clock;
use crate::socket;
use crate::tls::UpstreamTls;

pub use super::stream::LinkBytes;

/// What is read of an answer at most before its body (the edge's own limit for requests is 32 KiB).
const ANSWER_LIMITS: AnswerLimits =
    AnswerLimits { head_bytes_max: 64 * 1024, fields_max: 200, interim_max: 16 };

/// A connection that one request at a time may use.
#[derive(Debug)]
pub struct Link {
    /// hyper's handle.
    pub sender: SendRequest<RequestBody>,
    /// What went over it.
    pub bytes: Arc<LinkBytes>,
    /// When it was made.
    pub born: Moment,
    /// What it was made with; `None` = it is in the clear.
    pub tls: Option<Arc<UpstreamTls>>,
    /// How long the TCP connect took: about one round trip.
    pub connected_in: Duration,
    /// Requests that were sent over it before.
    pub used: u32,
    watch: Arc<Watch>,
}

impl Link {
    /// This request is sent over it next.
    pub fn expect(&self, request: &Request<RequestBody>) {
        self.watch.expect(request);
    }

    /// Is it of no more use: closed, or spoiled by what came over it?
    pub fn is_over(&self) -> bool {
        self.sender.is_closed() || self.watch.is_spoiled()
    }
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
    /// The handshake failed: the certificate is not what it must be, for example.
    #[error("TLS: {0}")]
    Tls(#[source] io::Error),
    /// No answer in time.
    #[error("no answer within {0:?}")]
    Timeout(Duration),
    /// hyper refused the socket.
    #[error("handshake")]
    Handshake(#[source] hyper::Error),
}

/// Connects to the first of `addresses` that answers, and shakes hands with it, all within
/// `timeout`.
pub async fn connect(
    addresses: &[SocketAddr],
    tls: Option<&Arc<UpstreamTls>>,
    timeout: Duration,
    permit: OwnedSemaphorePermit,
    clock: Clock,
) -> Result<Link, ConnectError> {
    let born = clock.now();
    let bytes = Arc::new(LinkBytes::default());
    let connecting = async {
        let socket = connect_any(addresses).await?;
        let connected_in = clock.now().since(born);
        let socket = Sent::new(socket, Arc::clone(&bytes));
        let stream = match tls {
            None => Stream::Plain(socket),
            Some(tls) => {
                let shaken = tls.handshake(socket).await.map_err(ConnectError::Tls)?;
                Stream::Tls(Box::new(shaken))
            }
        };
        Ok((stream, connected_in))
    };
    let (stream, connected_in) = tokio::time::timeout(timeout, connecting)
        .await
        .map_err(|_elapsed| ConnectError::Timeout(timeout))??;
    let counted = Counted::new(stream, Arc::clone(&bytes));
    let watch = Arc::new(Watch::default());
    let gate = AnswerGate::new(counted, Arc::clone(&watch), ANSWER_LIMITS);
    let (sender, connection) = http1::Builder::new()
        .max_header_size(ANSWER_LIMITS.head_bytes_max)
        .max_headers(ANSWER_LIMITS.fields_max)
        .handshake(TokioIo::new(gate))
        .await
        .map_err(ConnectError::Handshake)?;
    tokio::task::spawn_local(async move {
        let ended = connection.with_upgrades().await;
        if let Err(error) = ended {
            tracing::trace!(%error, "connection to a stamp ended");
        }
        drop(permit);
    });
    Ok(Link { sender, bytes, born, tls: tls.cloned(), connected_in, used: 0, watch })
}

async fn connect_any(addresses: &[SocketAddr]) -> Result<TcpStream, ConnectError> {
    let mut failed = ConnectError::Unresolved;
    for address in addresses {
        match TcpStream::connect(address).await {
            Ok(socket) => {
                socket::set_up(&socket).map_err(ConnectError::Socket)?;
                return Ok(socket);
            }
            Err(error) => failed = ConnectError::Socket(error),
        }
    }
    Err(failed)
}

/// The endpoint's declared address was resolved already: nothing to look up.
#[must_use]
pub fn literal_address(host: &str, port: u16) -> Option<SocketAddr> {
    host.parse().ok().map(|ip| SocketAddr::new(ip, port))
}

/// Shared handle type of resolved addresses.
pub type Addresses = Arc<Vec<SocketAddr>>;
