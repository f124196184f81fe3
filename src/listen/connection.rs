//! One client connection from accept to close: hyper reads and writes HTTP behind the wire's gate,
//! and one timer watches whether the client keeps moving. What is of one version is in `http1` and `http2`.

use std::any::Any;
use std::convert::Infallible;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::BytesMut;
use stamp_core::pressure::Room;
use stamp_core::rate::{Outgoing, Reader, Rest};
use stamp_core::time::Moment;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::{oneshot, watch};
use tokio::time::Sleep;

use super::{Admissions, Admitted, Found, Stop};
use crate::proxy::line::MustEnd;
use crate::proxy::resting::AtRest;
use crate::proxy::streams::Streams;
use crate::proxy::wire::{Phase, WireState};
use crate::proxy::worker::Worker;
use crate::proxy::{Caller, Client, ProxyError, respond};
use crate::settings::{Protocol, Timeouts};
use crate::socket;
use crate::tls::downstream::Pace;

/// How often a client that is given an answer is looked at.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// After so long without a request a client is not expected to send one at once.
const REST_AFTER: Duration = Duration::from_secs(1);
/// How long a last answer may take to be sent before the connection is dropped.
pub(super) const LAST_WORD: Duration = Duration::from_secs(1);

/// A connection that was accepted.
#[derive(Debug)]
pub(super) struct Connection {
    pub(super) worker: Rc<Worker>,
    pub(super) listener: u16,
    pub(super) is_tls: bool,
    /// What is spoken on the listener.
    pub(super) protocols: Rc<[Protocol]>,
    pub(super) caller: Caller,
    pub(super) stop: watch::Receiver<Stop>,
    pub(super) admissions: Arc<Admissions>,
    pub(super) pace: Rc<Pace>,
}

/// Why a connection was not ended by hyper.
pub(super) enum Ended {
    /// hyper is done with it, well or not.
    ByHyper,
    /// The client took too long, or rests where there is no room to.
    TooSlow(Phase),
    /// The process, or a drain that is forced, waits no longer.
    Cut,
}

impl Connection {
    /// Serves requests until the connection ends, and the tunnel that it may become. `place` is given
    /// back then.
    pub(super) async fn serve(self, socket: TcpStream, place: Admitted) {
        let (open, closed) = oneshot::channel::<Infallible>();
        self.serve_while((place, open), socket).await;
        // hyper is done with a connection that is a tunnel's; we are not.
        drop(closed.await);
    }

    async fn serve_while(&self, held: impl Any + Send + Sync, socket: TcpStream) {
        if socket::set_up_client(&socket).is_err() {
            return;
        }
        let state = WireState::holding(held);
        // Boxed, as what follows: whatever is awaited here would take its room for as long as the
        // connection lives.
        let opened = Box::pin(self.open(socket, &state)).await;
        let Some((mut socket, session)) = opened else { return };
        let mut begun = BytesMut::new();
        let protocol = match &session {
            Some(session) => session.protocol(),
            None => match Box::pin(self.protocol_of(&mut socket, &mut begun, &state)).await {
                Some(protocol) => protocol,
                None => return,
            },
        };
        let client = Client::new(Rc::clone(&self.worker), (self.caller, self.listener), session);
        // Boxed, so that none takes the room of the other.
        match protocol {
            Protocol::Http1 => Box::pin(self.serve_http1((socket, begun), state, client)).await,
            Protocol::Http2 | Protocol::Http2Clear => {
                Box::pin(self.serve_http2((socket, begun), state, client)).await;
            }
        }
    }

    /// Its place, if there is room, or if one that rests makes room.
    pub(super) async fn take_place(&self, found: Option<Found>) -> Option<Admitted> {
        let Found { admitted, room, of } = found?;
        let worker = &self.worker;
        match room {
            Room::Plenty => {}
            Room::Scarce => {
                if !worker.make_room(of) {
                    let worker = Rc::clone(worker);
                    tokio::task::spawn_local(async move { worker.have_room_made(of).await });
                }
            }
            Room::None => {
                if !worker.make_room(of) && !worker.have_room_made(of).await {
                    return None;
                }
            }
        }
        Some(admitted)
    }

    /// Waits until a connection that has said nothing yet is to make room for another.
    pub(super) async fn makes_room(&self, state: &Arc<WireState>) {
        tokio::time::sleep(REST_AFTER).await;
        let _rest = self.worker.put_down(self.listener, state);
        std::future::poll_fn(|context| {
            state.driven_by(context.waker());
            let goes = state.is_let_go() && state.read_total() == 0;
            if goes { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
    }

    /// Answers a connection that there is no room for. Whoever expects TLS understands no answer
    /// before it.
    pub(super) async fn turn_away(self, socket: TcpStream) {
        if !self.is_tls {
            self.refuse(socket, &ProxyError::Overloaded).await;
        }
    }

    /// A last answer, without hyper.
    pub(super) async fn refuse(
        &self,
        mut socket: impl AsyncRead + AsyncWrite + Unpin,
        error: &ProxyError,
    ) {
        self.count(error);
        let bytes = respond::raw_response(error, self.worker.state().node());
        let word = async {
            socket.write_all(&bytes).await?;
            socket.shutdown().await?;
            // Bytes of the client that were not read would turn the close into a reset, and that
            // would take the answer with it (RFC 9112, section 9.6).
            tokio::io::copy(&mut socket, &mut tokio::io::sink()).await
        };
        drop(tokio::time::timeout(LAST_WORD, word).await);
    }

    pub(super) fn count(&self, error: &ProxyError) {
        let code = respond::told_of(error).code;
        let mut counts = self.worker.counts();
        *counts.stamp(None).errors.entry(code).or_default() += 1;
    }

    /// Drives hyper's side and watches the client's.
    pub(super) async fn watch<C: Drive + Unpin>(
        &self,
        connection: &mut C,
        mut watch: Watch<'_>,
    ) -> Ended {
        let state = watch.state;
        let mut level = Stop::Not;
        let mut hears = pin!(beyond(self.stop.clone(), level));
        let (mut listens, mut told) = (false, false);
        std::future::poll_fn(move |context| {
            state.driven_by(context.waker());
            loop {
                if connection.drive(context).is_ready() {
                    return Poll::Ready(Ended::ByHyper);
                }
                if !state.take_news() {
                    break;
                }
            }
            // Once it waits, it need not be polled before there is something to hear.
            let may_hear = !std::mem::replace(&mut listens, true)
                || !matches!(self.stop.has_changed(), Ok(false));
            while may_hear && let Poll::Ready(next) = hears.as_mut().poll(context) {
                level = next;
                hears.set(beyond(self.stop.clone(), level));
            }
            if !told && watch.is_told_of(level) {
                told = true;
                connection.stop_gracefully();
                if connection.drive(context).is_ready() {
                    return Poll::Ready(Ended::ByHyper);
                }
            }
            if level == Stop::Now || state.is_cut_while_blocked() {
                return Poll::Ready(Ended::Cut);
            }
            while watch.is_due(context) {
                // The socket answers when it is polled.
                state.ask_outgoing();
                if connection.drive(context).is_ready() {
                    return Poll::Ready(Ended::ByHyper);
                }
                match watch.look() {
                    Look::Waits => {}
                    Look::Rests => {
                        connection.rest();
                        // Whoever takes over must be heard by this task.
                        if connection.drive(context).is_ready() {
                            return Poll::Ready(Ended::ByHyper);
                        }
                    }
                    Look::Ends(phase) => return Poll::Ready(Ended::TooSlow(phase)),
                }
            }
            if matches!(watch.repose, Repose::AtRest(_)) && state.is_let_go() {
                return Poll::Ready(Ended::TooSlow(watch.seen.0));
            }
            Poll::Pending
        })
        .await
    }
}

/// Waits until the stop has come further than that.
async fn beyond(mut stop: watch::Receiver<Stop>, known: Stop) -> Stop {
    match stop.wait_for(|stop| *stop > known).await {
        Ok(next) => *next,
        // Whoever would stop us is gone.
        Err(_gone) => std::future::pending().await,
    }
}

/// What is needed of hyper's connection here.
pub(super) trait Drive {
    fn drive(&mut self, context: &mut Context<'_>) -> Poll<()>;
    fn stop_gracefully(&mut self);
    /// Nothing was asked for a while: what is not needed meanwhile may go.
    fn rest(&mut self);
}

/// What is to be done with a connection, after a look at it.
enum Look {
    /// Nothing yet.
    Waits,
    /// It was not asked for anything for a while: it may hold the least.
    Rests,
    /// Its client took too long.
    Ends(Phase),
}

/// What a connection does that is asked for nothing.
#[derive(Debug)]
enum Repose {
    /// It waits for a request that may come at once.
    Awake,
    /// hyper is gone; what its client has not taken is in the kernel.
    Asleep,
    /// There is nothing to send either: it may make room for another.
    AtRest(#[expect(dead_code, reason = "held until it is asked again")] AtRest),
}

/// One connection's timer: set lazily, so that a request costs no timer at all.
pub(super) struct Watch<'c> {
    connection: &'c Connection,
    state: &'c Arc<WireState>,
    /// Of HTTP/2.
    streams: Option<&'c Streams>,
    timeouts: Timeouts,
    seen: (Phase, u64),
    since: Moment,
    armed: Moment,
    repose: Repose,
    /// The timer knows this task.
    waits: bool,
    timer: Pin<Box<Sleep>>,
    reader: Reader,
    /// When it was looked at last.
    looked: Moment,
}

impl<'c> Watch<'c> {
    pub(super) fn new(
        connection: &'c Connection,
        state: &'c Arc<WireState>,
        streams: Option<&'c Streams>,
    ) -> Self {
        let worker = &connection.worker;
        let (since, clock) = (worker.now(), worker.clock());
        let timeouts = worker.view().live.timeouts.clone();
        let armed = since.after(timeouts.first_byte.min(REST_AFTER));
        Self {
            timer: Box::pin(tokio::time::sleep_until(clock.instant(armed))),
            connection,
            state,
            streams,
            timeouts,
            seen: (Phase::Fresh, 0),
            since,
            armed,
            repose: Repose::Awake,
            waits: false,
            reader: Reader::default(),
            looked: since,
        }
    }

    /// Must hyper be told that the connection ends, by how far the stop has come? While another
    /// process takes over, an idle connection of HTTP/1.1 is told with its next answer: closed now, it
    /// might lose a request that is on its way. HTTP/2 has a word for it (GOAWAY), which it is told as
    /// well when it has had its last request; over HTTP/1.1 the answer to that says so.
    fn is_told_of(&self, level: Stop) -> bool {
        match level {
            Stop::Not => {
                self.streams.is_some() && self.connection.worker.is_last(self.state.heads())
            }
            Stop::Handover => {
                self.streams.is_some()
                    || matches!(self.state.phase(), Phase::Request | Phase::Tunnel)
            }
            Stop::Gracefully | Stop::Now => true,
        }
    }

    /// Is it time to look?
    fn is_due(&mut self, context: &mut Context<'_>) -> bool {
        let seen = (self.state.phase(), self.state.heads());
        if seen != self.seen {
            self.seen = seen;
            self.repose = Repose::Awake;
            self.since = match seen.0 {
                Phase::Fresh | Phase::Head => self.connection.worker.now(),
                // A request that begins or ends reads the clock: no need to ask again.
                Phase::Idle | Phase::Request | Phase::Tunnel => self.connection.worker.lately(),
            };
            let due = self.due(self.since);
            if due < self.armed {
                self.arm(due);
            }
        }
        if self.state.is_pressed() {
            return true;
        }
        let is_due = (!self.waits || self.timer.is_elapsed())
            && self.timer.as_mut().poll(context).is_ready();
        self.waits = !is_due;
        is_due
    }

    fn look(&mut self) -> Look {
        let now = self.connection.worker.now();
        self.timeouts = self.connection.worker.view().live.timeouts.clone();
        let look = self.judge(now);
        // Never at once again, whatever the clocks say.
        self.arm(self.due(now).max(now.after(Duration::from_millis(1))));
        look
    }

    fn arm(&mut self, due: Moment) {
        self.armed = due;
        self.waits = false;
        let at = self.connection.worker.clock().instant(due);
        self.timer.as_mut().reset(at);
    }

    /// When to look again.
    fn due(&self, now: Moment) -> Moment {
        match self.patience() {
            Some(patience) if self.may_rest() => {
                self.since.after(patience).min(now.after(REST_AFTER))
            }
            Some(patience) => self.since.after(patience),
            None => now.after(LOOK_EVERY),
        }
    }

    /// How long this phase may last; `None` = the client is not waited for.
    fn patience(&self) -> Option<Duration> {
        match self.seen.0 {
            Phase::Fresh => Some(self.timeouts.first_byte),
            Phase::Idle => Some(self.timeouts.downstream_idle),
            Phase::Head => Some(self.timeouts.request_headers),
            Phase::Request | Phase::Tunnel => None,
        }
    }

    /// Is it asked for nothing, and not at rest yet?
    fn may_rest(&self) -> bool {
        matches!(self.seen.0, Phase::Fresh | Phase::Idle)
            && !matches!(self.repose, Repose::AtRest(_))
    }

    fn judge(&mut self, now: Moment) -> Look {
        let least = self.connection.worker.view().live.limits.bytes_per_second();
        let rest = self.note_outgoing(now, least);
        let pressed = self.state.take_pressed();
        let why = if self.reader.is_too_slow(least) {
            Some((MustEnd::TooSlow, "slow_reader"))
        } else {
            pressed
                .filter(|pressure| self.reader.gives_way(*pressure, least))
                .map(|_| (MustEnd::InTheWay, "gave_way"))
        };
        if let Some((why, reason)) = why {
            self.state.give_up(why);
            self.connection.worker.counts().cut(self.connection.listener, reason);
            return Look::Ends(self.seen.0);
        }
        if pressed.is_some() {
            // It took something: others are asked before it is asked again.
            self.state.restart(now);
        }
        if self.patience().is_some_and(|patience| now.since(self.since) >= patience) {
            return Look::Ends(self.seen.0);
        }
        if !self.may_rest() || now.since(self.since) < REST_AFTER {
            return Look::Waits;
        }
        self.repose = match (rest, &self.repose) {
            (Rest::Nowhere, _) => {
                let Connection { worker, listener, .. } = self.connection;
                Repose::AtRest(worker.put_down(*listener, self.state))
            }
            (Rest::Kernel, Repose::Awake) => Repose::Asleep,
            (Rest::Kernel | Rest::Here(_), _) => return Look::Waits,
        };
        Look::Rests
    }

    /// What the socket told, if it did. Says where the rest is of what the client was given. An answer that
    /// is complete to hyper, and waits in the kernel, counts as well.
    fn note_outgoing(&mut self, now: Moment, bytes_per_second_min: u64) -> Rest {
        if let Some(streams) = self.streams {
            streams.end_slow(now);
        }
        let here = self.state.blocked_since().map(|since| Rest::Here(now.since(since)));
        if let Some((taken, at)) = self.state.take_taken_at_first() {
            // What counts begins there.
            let outgoing = Outgoing { taken, rest: Rest::Here(Duration::ZERO) };
            self.reader.saw(outgoing, Duration::ZERO, bytes_per_second_min);
            self.looked = self.looked.max(at);
        }
        let waited = now.since(std::mem::replace(&mut self.looked, now));
        let Some(socket::Queue { taken, waits }) = self.state.take_outgoing() else {
            return here.unwrap_or(Rest::Nowhere);
        };
        let rest = if waits { here.unwrap_or(Rest::Kernel) } else { Rest::Nowhere };
        let outgoing = Outgoing { taken, rest };
        self.reader.saw(outgoing, waited.min(LOOK_EVERY * 2), bytes_per_second_min);
        here.unwrap_or(rest)
    }
}
