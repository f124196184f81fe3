//! One request's link to one endpoint: an HTTP/1.1 connection of its own (TCP, TLS where the endpoint wants
//! it, hyper's sender), or a place at one of HTTP/2 (`http2`).

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use http::{Request, Response, Version};
use hyper::client::conn::TrySendError;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use stamp_core::framing::AnswerLimits;
use tokio::net::TcpStream;
use tokio::sync::OwnedSemaphorePermit;
use tokio::task::AbortHandle;

use super::answer::{AnswerBody, AnswerError, Fate, Unanswered};
use super::answer_gate::{AnswerGate, Watch};
use super::body::RequestBody;
use super::http2::{Connection, Made, Place, Room};
use super::stream::{self, Counted, Stream};
use super::websocket::WebSocketStream;
use crate::clock::Clock;
use crate::socket;
use crate::tls::{self, Offer, UpstreamTls};

pub use super::stream::LinkBytes;

/// The largest answer head that is read (the edge's own limit for requests is 32 KiB).
pub(super) const ANSWER_HEAD_BYTES_MAX: u32 = 64 * 1024;
/// What is read at most of an answer before its body. A stamp has little to say in advance (1xx).
pub(super) const ANSWER_LIMITS: AnswerLimits = AnswerLimits {
    head_bytes_max: ANSWER_HEAD_BYTES_MAX as usize,
    fields_max: 200,
    interim_max: 16,
};

/// What one request is sent over.
#[derive(Debug)]
pub enum Link {
    /// A connection that one request at a time may use.
    Http1(Box<Http1>),
    /// A stream of one that many use.
    Http2(Place),
}

/// An HTTP/1.1 connection.
#[derive(Debug)]
pub struct Http1 {
    sender: SendRequest<RequestBody>,
    made: Made,
    used: u32,
    watch: Arc<Watch>,
    /// Drives it, and holds its place in the pool.
    driver: AbortHandle,
}

/// Where a connection is made to, and how.
#[derive(Clone, Debug)]
pub(super) struct Destination {
    pub(super) addresses: Arc<Vec<SocketAddr>>,
    /// `None` = in the clear.
    pub(super) tls: Option<Arc<UpstreamTls>>,
    /// How long it may take.
    pub(super) timeout: Duration,
}

/// A connection that was made.
pub(super) enum Connected {
    Http1(Box<Http1>),
    Http2(Rc<Connection>),
}

/// Why there is no connection.
#[derive(Clone, Debug, thiserror::Error)]
pub enum ConnectError {
    /// The host name has no address (yet).
    #[error("the host name has no address")]
    Unresolved,
    /// The system refused or gave up.
    #[error("connect")]
    Socket(#[source] Arc<io::Error>),
    /// The handshake failed: the certificate is not what it must be, for example.
    #[error("TLS: {0}")]
    Tls(#[source] Arc<io::Error>),
    /// No answer in time.
    #[error("no answer within {0:?}")]
    Timeout(Duration),
    /// hyper refused the socket.
    #[error("handshake")]
    Http1(#[source] Arc<hyper::Error>),
    /// The endpoint does not speak HTTP/2.
    #[error("HTTP/2: {0}")]
    Http2(#[source] Arc<h2::Error>),
    /// The endpoint ended the connection before it was of use.
    #[error("closed")]
    Closed,
}

impl ConnectError {
    fn socket(error: io::Error) -> Self {
        Self::Socket(Arc::new(error))
    }

    /// Did the endpoint refuse the handshake since it does not speak what it was offered?
    pub(super) fn is_for_protocols(&self) -> bool {
        matches!(self, Self::Tls(error) if tls::is_refusal_of_protocols(error))
    }

    pub(super) fn http2(error: h2::Error) -> Self {
        Self::Http2(Arc::new(error))
    }
}

impl Link {
    /// What is spoken over it.
    pub const fn version(&self) -> Version {
        match self {
            Self::Http1(_) => Version::HTTP_11,
            Self::Http2(_) => Version::HTTP_2,
        }
    }

    fn made(&self) -> &Made {
        match self {
            Self::Http1(link) => &link.made,
            Self::Http2(place) => place.made(),
        }
    }

    /// What went over it, of all its streams.
    pub fn bytes(&self) -> &LinkBytes {
        &self.made().bytes
    }

    /// How long the TCP connect took: about one round trip.
    pub fn connected_in(&self) -> Duration {
        self.made().connected_in
    }

    /// Requests that were sent over it before.
    pub const fn used(&self) -> u32 {
        match self {
            Self::Http1(link) => link.used,
            Self::Http2(place) => place.before(),
        }
    }

    /// From now on no more than this is read at a time, in bytes: over HTTP/1.1, where an answer has all of it.
    pub fn read_at_most(&self, bytes: usize) {
        match self {
            Self::Http1(link) => link.watch.read_at_most(bytes),
            Self::Http2(_) => {}
        }
    }

    /// Can it become a WebSocket? Over HTTP/1.1 any stamp may say no by itself.
    pub(super) fn opens_websockets(&self) -> bool {
        match self {
            Self::Http1(_) => true,
            Self::Http2(place) => place.opens_websockets(),
        }
    }

    /// The WebSocket that the stamp has opened over HTTP/2 by this answer; `None` = it has not.
    pub fn websocket(self, answer: AnswerBody) -> Option<WebSocketStream> {
        match (self, answer) {
            (Self::Http2(place), AnswerBody::Http2(answer)) => place.websocket(answer),
            (Self::Http1(_) | Self::Http2(_), _) => None,
        }
    }

    /// Ends it, whatever is still under way: hyper would go on sending a body for as long as its client
    /// takes.
    pub fn close(self) {
        match self {
            Self::Http1(link) => link.driver.abort(),
            // The stream is reset.
            Self::Http2(place) => drop(place),
        }
    }

    /// Sends a request and waits for the head of its answer.
    ///
    /// No `async fn`: over HTTP/1.1 the request is handed on here, and is not part of what is waited for
    /// (measured: it was copied twice more).
    #[inline]
    pub fn send(
        &mut self,
        request: Request<RequestBody>,
    ) -> impl Future<Output = Result<Response<AnswerBody>, Unanswered>> {
        let sent = match self {
            Self::Http1(link) => {
                link.watch.expect(&request);
                Sent::Http1(link.sender.try_send_request(request))
            }
            // Apart, so that requests over HTTP/1.1 do not carry its size.
            Self::Http2(place) => Sent::Http2(Box::pin(place.send(request))),
        };
        async move {
            match sent {
                Sent::Http1(sent) => match sent.await {
                    Ok(response) => Ok(response.map(AnswerBody::Http1)),
                    Err(error) => Err(unanswered(error)),
                },
                Sent::Http2(sent) => sent.await,
            }
        }
    }
}

/// A request on its way.
enum Sent<One, Two> {
    Http1(One),
    Http2(Pin<Box<Two>>),
}

fn unanswered(mut error: TrySendError<Request<RequestBody>>) -> Unanswered {
    let was_kept = error.take_message().is_some();
    let fate = if was_kept { Fate::NotSent } else { Fate::Unknown };
    Unanswered { error: AnswerError::Http1(error.into_error()), fate }
}

impl Http1 {
    /// Is it of no more use: closed, or spoiled by what came over it?
    pub(super) fn is_over(&self) -> bool {
        self.sender.is_closed() || self.watch.is_spoiled()
    }

    /// May a request be sent over it? One whose answer was just read may be a moment away from that.
    pub(super) async fn is_ready(&mut self) -> bool {
        self.sender.is_ready() || self.sender.ready().await.is_ok()
    }

    /// How it came about.
    pub(super) const fn made(&self) -> &Made {
        &self.made
    }

    /// One request more was sent over it.
    pub(super) const fn was_used(&mut self) {
        self.used += 1;
    }
}

/// Makes a connection for HTTP/1.1.
pub(super) async fn connect_http1(
    destination: Destination,
    permit: OwnedSemaphorePermit,
    clock: Clock,
) -> Result<Box<Http1>, ConnectError> {
    let (stream, made) = open(&destination, Offer::Http1, clock).await?;
    speak_http1(stream, made, permit).await
}

/// Makes a connection for HTTP/2: in the clear without asking, over TLS if the endpoint agrees.
pub(super) async fn connect_http2(
    destination: &Destination,
    room: Rc<Room>,
    permit: OwnedSemaphorePermit,
    clock: Clock,
) -> Result<Connected, ConnectError> {
    let (stream, made) = open(destination, Offer::Http2OrHttp1, clock).await?;
    if !stream.is_for_http2() {
        return speak_http1(stream, made, permit).await.map(Connected::Http1);
    }
    let left = destination.timeout.saturating_sub(clock.now().since(made.born));
    let began = tokio::time::timeout(left, Connection::begin(stream, (made, room), permit));
    let connection =
        began.await.map_err(|_elapsed| ConnectError::Timeout(destination.timeout))??;
    Ok(Connected::Http2(connection))
}

/// Connects to the first address that answers, and shakes hands with it.
async fn open(
    destination: &Destination,
    offer: Offer,
    clock: Clock,
) -> Result<(Counted, Made), ConnectError> {
    let Destination { addresses, tls, timeout } = destination;
    let born = clock.now();
    let bytes = Arc::new(LinkBytes::default());
    let connecting = async {
        let socket = connect_any(addresses).await?;
        let connected_in = clock.now().since(born);
        let socket = stream::Sent::new(socket, Arc::clone(&bytes));
        let stream = match tls {
            None => Stream::Plain(socket),
            Some(tls) => {
                let shaken = tls.handshake(socket, offer).await;
                let shaken = shaken.map_err(|error| ConnectError::Tls(Arc::new(error)))?;
                Stream::Tls(Box::new(shaken))
            }
        };
        Ok((stream, connected_in))
    };
    let (stream, connected_in) = tokio::time::timeout(*timeout, connecting)
        .await
        .map_err(|_elapsed| ConnectError::Timeout(*timeout))??;
    let (bytes_of_link, tls) = (Arc::clone(&bytes), tls.clone());
    let made = Made { bytes: bytes_of_link, born, offer, tls, connected_in, clock };
    Ok((Counted::new(stream, bytes), made))
}

async fn speak_http1(
    stream: Counted,
    made: Made,
    permit: OwnedSemaphorePermit,
) -> Result<Box<Http1>, ConnectError> {
    let watch = Arc::new(Watch::default());
    let gate = AnswerGate::new(stream, Arc::clone(&watch), ANSWER_LIMITS);
    let (sender, connection) = http1::Builder::new()
        .max_buf_size(ANSWER_LIMITS.head_bytes_max)
        .max_header_size(ANSWER_LIMITS.head_bytes_max)
        .max_headers(ANSWER_LIMITS.fields_max)
        .handshake(TokioIo::new(gate))
        .await
        .map_err(|error| ConnectError::Http1(Arc::new(error)))?;
    let driver = tokio::task::spawn_local(async move {
        let ended = connection.with_upgrades().await;
        if let Err(error) = ended {
            tracing::trace!(%error, "connection to a stamp ended");
        }
        drop(permit);
    });
    Ok(Box::new(Http1 { sender, made, used: 0, watch, driver: driver.abort_handle() }))
}

async fn connect_any(addresses: &[SocketAddr]) -> Result<TcpStream, ConnectError> {
    let mut failed = ConnectError::Unresolved;
    for address in addresses {
        match TcpStream::connect(address).await {
            Ok(socket) => {
                socket::set_up(&socket).map_err(ConnectError::socket)?;
                return Ok(socket);
            }
            Err(error) => failed = ConnectError::socket(error),
        }
    }
    Err(failed)
}

/// The endpoint's declared address was resolved already: nothing to look up.
#[must_use]
pub fn literal_address(host: &str, port: u16) -> Option<SocketAddr> {
    host.parse().ok().map(|ip| SocketAddr::new(ip, port))
}
