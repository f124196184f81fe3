//! A connection that switched protocols (WebSocket and others), or a stream that became one: bytes pass both
//! ways until a side ends or the stamp's drain demands it. Of a WebSocket the frames are followed, not read, so that
//! the gateway can say goodbye between two of them.

use std::pin::{Pin, pin};
use std::task::{Context, Poll};
use std::time::Duration;

use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use stamp_core::websocket::{self, GOING_AWAY, SERVICE_RESTART};
use tokio::io::{AsyncRead, AsyncWrite};

use super::flights::{End, Flight};
use super::line::Line;
use super::record::Record;
use crate::outbound::pool::Load;
use crate::outbound::websocket::WebSocketStream;

mod pump;

use pump::Pump;

/// The longest that a goodbye may take: until both sides stand between two frames, and have
/// answered. A client that is still there answers within a round trip; and it is the part of the
/// longest window that `stamp_core::closing` leaves for it.
const FAREWELL_WITHIN: Duration = Duration::from_secs(3);

/// What a tunnel carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tunnelled {
    /// RFC 6455.
    WebSocket,
    /// Something else, of which nothing is known.
    Other,
}

/// Both ends of a tunnel, and what it holds while it lives.
pub(super) struct Tunnel {
    pub(super) client: OnUpgrade,
    pub(super) stamp: StampEnd,
    pub(super) protocol: Tunnelled,
    pub(super) flight: Flight,
    pub(super) load: Load,
    pub(super) record: Box<Record>,
    pub(super) line: Line,
}

/// The stamp's end of a tunnel.
pub(super) enum StampEnd {
    /// A connection of HTTP/1.1 that switches.
    Connection(OnUpgrade),
    /// A stream of HTTP/2.
    Stream(Box<WebSocketStream>),
}

impl StampEnd {
    async fn side(self) -> hyper::Result<Side> {
        Ok(match self {
            Self::Connection(upgrade) => Side::new(Box::new(TokioIo::new(upgrade.await?))),
            Self::Stream(stream) => Side::new(stream),
        })
    }
}

impl Tunnelled {
    /// What the value of `Upgrade` names.
    pub(super) fn of(upgrade: &http::HeaderValue) -> Self {
        let is_websocket = upgrade.as_bytes().eq_ignore_ascii_case(b"websocket");
        if is_websocket { Self::WebSocket } else { Self::Other }
    }
}

/// Lets the tunnel run on its own.
pub(super) fn run(tunnel: Tunnel) {
    tunnel.line.tunnel();
    tokio::task::spawn_local(pass(tunnel));
}

async fn pass(tunnel: Tunnel) {
    let Tunnel { client, stamp, protocol, flight, load, mut record, line: _ } = tunnel;
    let (client, stamp) = match tokio::try_join!(client, stamp.side()) {
        Ok((client, stamp)) => (Side::new(Box::new(TokioIo::new(client))), stamp),
        Err(error) => {
            tracing::debug!(%error, "a switch of protocols did not come about");
            record.why_broken = Some("switch_failed");
            return;
        }
    };
    let mut ends = Ends::new(protocol, client, stamp);
    let passed = std::future::poll_fn(|context| match flight.end(context.waker()) {
        Some(end) => Poll::Ready(Passed::MustEnd(end)),
        None => ends.poll_pass(context),
    });
    match passed.await {
        Passed::Ended => {}
        Passed::Broke => record.why_broken = Some("tunnel_broke_off"),
        Passed::MustEnd(end) => {
            record.why_broken = Some("stamp_drained");
            if protocol == Tunnelled::WebSocket && end == End::Politely {
                ends.say_goodbye(&flight).await;
            }
        }
    }
    record.sent_bytes = ends.down.passed();
    drop((flight, load));
}

/// How the passing of bytes came to its end.
enum Passed {
    /// Both sides have said all they had to say.
    Ended,
    /// One of them is gone.
    Broke,
    /// The drain demands it.
    MustEnd(End),
}

/// Both sides, and what passes between them.
struct Ends {
    client: Side,
    stamp: Side,
    /// From the client to the stamp.
    up: Pump,
    /// From the stamp to the client.
    down: Pump,
}

/// Bytes both ways.
trait Duplex: AsyncRead + AsyncWrite + Unpin {}

impl<T: AsyncRead + AsyncWrite + Unpin> Duplex for T {}

/// One side's connection.
struct Side {
    io: Box<dyn Duplex>,
    /// It was told that nothing more comes.
    is_shut: bool,
}

impl Side {
    fn new(io: Box<dyn Duplex>) -> Self {
        Self { io, is_shut: false }
    }

    fn io(&mut self) -> Pin<&mut Box<dyn Duplex>> {
        Pin::new(&mut self.io)
    }

    fn poll_shut(&mut self, context: &mut Context<'_>) {
        // A side that cannot be told is gone: that is an end as well.
        self.is_shut = self.is_shut || self.io().poll_shutdown(context).is_ready();
    }
}

impl Ends {
    fn new(protocol: Tunnelled, client: Side, stamp: Side) -> Self {
        let pump = match protocol {
            Tunnelled::WebSocket => Pump::of_frames,
            Tunnelled::Other => Pump::of_bytes,
        };
        Self { client, stamp, up: pump(), down: pump() }
    }

    fn poll_pass(&mut self, context: &mut Context<'_>) -> Poll<Passed> {
        let Self { client, stamp, up, down } = self;
        let up = up.poll_pass(context, client.io(), stamp.io());
        let down = down.poll_pass(context, stamp.io(), client.io());
        match (up, down) {
            (Poll::Ready(Err(_)), _) | (_, Poll::Ready(Err(_))) => Poll::Ready(Passed::Broke),
            (Poll::Ready(Ok(())), Poll::Ready(Ok(()))) => Poll::Ready(Passed::Ended),
            (Poll::Pending, _) | (_, Poll::Pending) => Poll::Pending,
        }
    }

    /// Tells the client to come back elsewhere and the stamp that the client leaves, each between
    /// two frames, and waits for their answers (RFC 6455, section 7.1.1); all of it for a bounded
    /// time, and only as long as the drain has patience.
    async fn say_goodbye(&mut self, flight: &Flight) {
        self.down.end_with(websocket::close_frame(SERVICE_RESTART));
        self.up.end_with(websocket::masked_close_frame(GOING_AWAY, flight.random_key()));
        let mut patience = pin!(tokio::time::sleep(FAREWELL_WITHIN));
        std::future::poll_fn(|context| {
            let is_cut = flight.end(context.waker()) == Some(End::AtOnce);
            if is_cut || patience.as_mut().poll(context).is_ready() {
                return Poll::Ready(());
            }
            self.poll_goodbye(context)
        })
        .await;
    }

    fn poll_goodbye(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let Self { client, stamp, up, down } = self;
        let _answered = up.poll_goodbye(context, client.io(), stamp.io());
        let _answered = down.poll_goodbye(context, stamp.io(), client.io());
        if down.has_spoken() && up.has_heard() {
            client.poll_shut(context);
        }
        if up.has_spoken() && down.has_heard() {
            stamp.poll_shut(context);
        }
        if client.is_shut && stamp.is_shut { Poll::Ready(()) } else { Poll::Pending }
    }
}
