//! One HTTP/2 connection to one endpoint, for as many requests at a time as the endpoint allows streams.
//! A task drives it, finds out when its peer is gone, and holds its place among the endpoint's connections.

use std::cell::Cell;
use std::fmt;
use std::future::poll_fn;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use h2::client::{self, SendRequest};
use h2::{Ping, PingPong};
use http::{Request, Response};
use stamp_core::time::Moment;
use tokio::sync::{Notify, OwnedSemaphorePermit};

use super::answer::{AnswerBody, Fate, Unanswered};
use super::body::RequestBody;
use super::exchange::{Arriving, Opening, Uploading, exchange};
use super::link::{ANSWER_HEAD_BYTES_MAX, ConnectError};
use super::stream::{Counted, LinkBytes};
use super::websocket::WebSocketStream;
use crate::clock::Clock;
use crate::tls::{Offer, UpstreamTls};

/// What a stamp may send of one answer before the client takes it.
const STREAM_WINDOW_BYTES: u32 = 64 * 1024;
/// The same of all answers over one connection: what each of them may send is bound enough. A window that a few clients
/// could fill who take nothing would shut out all others (measured: 16 did, until they were cut).
const CONNECTION_WINDOW_BYTES: u32 = (1 << 31) - 1;
/// What is held of one request that the socket does not take.
const SEND_BUFFER_BYTES: usize = 64 * 1024;
/// Streams that were reset here and may still be spoken of by the stamp.
const RESET_STREAMS_MAX: usize = 100;

/// A connection with streams is looked at so often: if nothing came from one look to the next, the peer is
/// asked for a word, and is gone if there is none by the look after that.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// A connection.
pub(super) struct Connection {
    sender: SendRequest<Bytes>,
    made: Made,
    tally: Rc<Tally>,
    /// The most streams that the stamp was seen to allow, where it refused one.
    streams_max: Cell<u32>,
    room: Rc<Room>,
}

/// How a connection came about.
#[derive(Debug)]
pub(super) struct Made {
    /// What went over it.
    pub(super) bytes: Arc<LinkBytes>,
    /// When it was made.
    pub(super) born: Moment,
    /// Which protocols the endpoint was offered.
    pub(super) offer: Offer,
    /// What it was made with; `None` = it is in the clear.
    pub(super) tls: Option<Arc<UpstreamTls>>,
    /// How long the TCP connect took: about one round trip.
    pub(super) connected_in: Duration,
    /// The time of its worker.
    pub(super) clock: Clock,
}

/// What the task of a connection and its streams both know.
#[derive(Debug)]
struct Tally {
    streams: Cell<u32>,
    opened: Cell<u32>,
    idle_since: Cell<Moment>,
    is_over: Cell<bool>,
}

/// Who waits for room at an endpoint, for a connection or a stream.
#[derive(Debug, Default)]
pub(super) struct Room {
    pub(super) waiting: Cell<u32>,
    pub(super) freed: Notify,
}

/// A request's place at a connection: a stream that is open, or may be opened.
#[derive(Debug)]
pub struct Place {
    uploading: Option<Uploading>,
    opening: Option<Opening>,
    connection: Rc<Connection>,
    /// Streams before this one.
    before: u32,
}

impl Connection {
    /// Begins to speak HTTP/2, and lets nobody use the connection before the stamp has spoken too: whoever
    /// speaks something else is given no request.
    pub(super) async fn begin(
        stream: Counted,
        (made, room): (Made, Rc<Room>),
        permit: OwnedSemaphorePermit,
    ) -> Result<Rc<Self>, ConnectError> {
        let handshake = client::Builder::new()
            .initial_window_size(STREAM_WINDOW_BYTES)
            .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
            .max_send_buffer_size(SEND_BUFFER_BYTES)
            .max_header_list_size(ANSWER_HEAD_BYTES_MAX)
            .max_concurrent_reset_streams(RESET_STREAMS_MAX)
            // Until its settings are there, the stamp has allowed nothing.
            .initial_max_send_streams(0)
            .enable_push(false)
            .handshake(stream);
        let (sender, mut connection) = handshake.await.map_err(ConnectError::http2)?;
        poll_fn(|context| match Pin::new(&mut connection).poll(context) {
            Poll::Ready(ended) => Poll::Ready(Err(ended.err())),
            Poll::Pending if connection.max_concurrent_send_streams() > 0 => Poll::Ready(Ok(())),
            Poll::Pending => Poll::Pending,
        })
        .await
        .map_err(|error| error.map_or(ConnectError::Closed, ConnectError::http2))?;
        let tally = Rc::new(Tally {
            streams: Cell::new(0),
            opened: Cell::new(0),
            idle_since: Cell::new(made.clock.now()),
            is_over: Cell::new(false),
        });
        let driven = drive(connection, Rc::clone(&tally), Arc::clone(&made.bytes));
        let watch = Rc::clone(&room);
        let over = Rc::clone(&tally);
        tokio::task::spawn_local(async move {
            driven.await;
            over.is_over.set(true);
            drop(permit);
            watch.freed.notify_waiters();
        });
        Ok(Rc::new(Self { sender, made, tally, streams_max: Cell::new(u32::MAX), room }))
    }

    /// How it came about.
    pub(super) const fn made(&self) -> &Made {
        &self.made
    }

    /// May streams be opened over it? Not after a GOAWAY, and not when its ids are spent.
    pub(super) fn is_open(&self) -> bool {
        let mut context = Context::from_waker(Waker::noop());
        !self.tally.is_over.get()
            && matches!(self.sender.clone().poll_ready(&mut context), Poll::Ready(Ok(())))
    }

    /// The most streams at a time.
    pub(super) fn streams_max(&self) -> u32 {
        let allowed = self.sender.current_max_send_streams();
        u32::try_from(allowed).unwrap_or(u32::MAX).min(self.streams_max.get())
    }

    /// Does the stamp open `WebSockets` over its streams (RFC 8441, section 3)?
    pub(super) fn opens_websockets(&self) -> bool {
        self.sender.is_extended_connect_protocol_enabled()
    }

    /// Since when it has no streams; `None` = it has.
    pub(super) fn idle_since(&self) -> Option<Moment> {
        (self.tally.streams.get() == 0).then(|| self.tally.idle_since.get())
    }

    /// A place for one more request, if there is room.
    pub(super) fn place(self: &Rc<Self>) -> Option<Place> {
        let Tally { streams, opened, .. } = &*self.tally;
        if streams.get() >= self.streams_max() {
            return None;
        }
        streams.set(streams.get() + 1);
        let before = opened.replace(opened.get().saturating_add(1));
        Some(Place { uploading: None, opening: None, connection: Rc::clone(self), before })
    }

    /// The stamp refused a stream: those that are open now are all that it has room for.
    fn was_refused(&self) {
        self.streams_max.set(self.tally.streams.get().saturating_sub(1).max(1));
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Connection").field("made", &self.made).finish_non_exhaustive()
    }
}

impl Place {
    /// How its connection came about.
    pub(super) fn made(&self) -> &Made {
        &self.connection.made
    }

    /// May it become a WebSocket?
    pub(super) fn opens_websockets(&self) -> bool {
        self.connection.opens_websockets()
    }

    /// Streams that were opened before this one.
    pub(super) const fn before(&self) -> u32 {
        self.before
    }

    /// The WebSocket that the stamp has opened by this answer; `None` = none was asked for.
    pub(super) fn websocket(mut self, answer: Arriving) -> Option<WebSocketStream> {
        let sender = self.opening.take()?;
        Some(WebSocketStream::new(*sender, answer.into_stream(), self))
    }

    /// Sends a request and waits for the head of its answer.
    pub(super) async fn send(
        &mut self,
        request: Request<RequestBody>,
    ) -> Result<Response<AnswerBody>, Unanswered> {
        let sender = self.connection.sender.clone();
        let answered = exchange(sender, request, (&mut self.uploading, &mut self.opening)).await;
        if answered.as_ref().is_err_and(|unanswered| unanswered.fate == Fate::Refused) {
            self.connection.was_refused();
        }
        answered
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        (self.uploading, self.opening) = (None, None);
        let Connection { tally, made, room, .. } = &*self.connection;
        tally.streams.set(tally.streams.get().saturating_sub(1));
        if tally.streams.get() == 0 {
            tally.idle_since.set(made.clock.now());
        }
        if room.waiting.get() > 0 {
            room.freed.notify_one();
        }
    }
}

/// Drives a connection until it ends, or its peer is found to be gone.
async fn drive(
    mut connection: client::Connection<Counted, Bytes>,
    tally: Rc<Tally>,
    bytes: Arc<LinkBytes>,
) {
    let Some(mut pings) = connection.ping_pong() else { return };
    let mut look = tokio::time::interval(LOOK_EVERY);
    look.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut watch = Watch::default();
    let ended = poll_fn(|context| {
        if let Poll::Ready(ended) = Pin::new(&mut connection).poll(context) {
            return Poll::Ready(ended.map_err(|error| error.to_string()));
        }
        while look.poll_tick(context).is_ready() {
            if watch.is_gone(&tally, bytes.read(), &mut pings) {
                return Poll::Ready(Err("the stamp said nothing for long".to_owned()));
            }
        }
        // That it came is seen by the bytes; to take it makes room for the next question.
        drop(pings.poll_pong(context));
        Poll::Pending
    });
    if let Err(error) = ended.await {
        tracing::trace!(error, "connection to a stamp ended");
    }
}

/// Is the peer still there?
#[derive(Debug, Default)]
struct Watch {
    read: u64,
    was_asked: bool,
}

impl Watch {
    fn is_gone(&mut self, tally: &Tally, read: u64, pings: &mut PingPong) -> bool {
        let was_silent = read == std::mem::replace(&mut self.read, read);
        if tally.streams.get() == 0 || !was_silent {
            self.was_asked = false;
            return false;
        }
        if self.was_asked {
            return true;
        }
        // One that is still under way is as good.
        drop(pings.send_ping(Ping::opaque()));
        self.was_asked = true;
        false
    }
}
