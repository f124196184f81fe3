//! One worker's connections to one endpoint. Over HTTP/1.1 the last one used is the first one used again;
//! over HTTP/2 many requests use one (`pool::shared`). The cap counts over all workers
//! (`EndpointCell::connections`); who finds none waits, bounded.

mod shared;
mod streams;

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::convert::Infallible;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use stamp_core::silence::Silence;
use stamp_core::table::{PoolPolicy, PoolProtocol};
use stamp_core::time::Moment;
use tokio::sync::OwnedSemaphorePermit;

use super::http2::Room;
use super::link::{ConnectError, Destination, Http1, Link, connect_http1};
use crate::clock::Clock;
use crate::state::{EndpointCell, Mailboxes, Shortage};
use crate::tls::{Offer, UpstreamTls};
use shared::Shared;

/// How often clients that stand still are asked for their connections while requests wait for one.
const ASK_EVERY: Duration = Duration::from_millis(50);

/// An HTTP/1.1 connection at rest.
#[derive(Debug)]
struct Resting {
    link: Box<Http1>,
    since: Moment,
}

/// One worker's connections to one endpoint.
#[derive(Debug)]
pub struct Pool {
    cell: Arc<EndpointCell>,
    mailboxes: Arc<Mailboxes>,
    resting: RefCell<VecDeque<Resting>>,
    shared: Shared,
    /// The same for `WebSockets`: one that lasts for hours keeps no connection that others wait for.
    for_websockets: Shared,
    room: Rc<Room>,
    load: Cell<u32>,
    silence: Cell<Silence>,
    asked: Cell<Option<Moment>>,
}

/// Which connection will do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Wanted {
    /// One that rested, if there is one.
    #[default]
    Any,
    /// A new one: those that rested turned out to be stale.
    Fresh,
}

/// What a connection is wanted for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// A request and its answer.
    Exchange,
    /// To open a WebSocket: by extended CONNECT (RFC 8441) over HTTP/2 where the stamp says that it can, else by a
    /// switch.
    WebSocket,
    /// To switch to another protocol, as only HTTP/1.1 can (RFC 9113, section 8.6).
    Switch,
}

/// A request's wish for a connection.
#[derive(Clone, Copy, Debug)]
pub struct Wish<'a> {
    /// What for.
    pub purpose: Purpose,
    /// Which one will do.
    pub wanted: Wanted,
    /// What the endpoint is spoken to with; `None` = in the clear.
    pub tls: Option<&'a Arc<UpstreamTls>>,
    /// When the request came for it.
    pub began: Moment,
    /// How long making a new one may take.
    pub connect_timeout: Duration,
}

impl Wish<'_> {
    /// Will an HTTP/1.1 connection do whose endpoint was offered this?
    fn takes(self, policy: &PoolPolicy, offer: Offer) -> bool {
        match (policy.protocol, self.purpose) {
            (PoolProtocol::Http1, _) | (_, Purpose::Switch) => true,
            (PoolProtocol::Http2OverTls, Purpose::Exchange | Purpose::WebSocket) => {
                offer == Offer::Http2OrHttp1
            }
            (PoolProtocol::Http2InTheClear, Purpose::Exchange | Purpose::WebSocket) => false,
        }
    }
}

/// Why no connection was had.
#[derive(Debug, thiserror::Error)]
pub enum TakeError {
    /// The endpoint did not let us in.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// All connections are in use, and too many requests wait already or this one waited too long.
    #[error("no connection was free within the bounds")]
    Saturated,
    /// The endpoint is spoken to in HTTP/2 alone, which opens `WebSockets` at most, and only where the stamp says so.
    #[error("the protocol that is asked for cannot be had over HTTP/2 from this stamp")]
    NoSwitch,
}

impl Pool {
    /// An empty pool.
    #[must_use]
    pub fn new(cell: Arc<EndpointCell>, mailboxes: Arc<Mailboxes>) -> Rc<Self> {
        Rc::new(Self {
            cell,
            mailboxes,
            resting: RefCell::new(VecDeque::new()),
            shared: Shared::default(),
            for_websockets: Shared::default(),
            room: Rc::default(),
            load: Cell::new(0),
            silence: Cell::default(),
            asked: Cell::default(),
        })
    }

    /// The endpoint.
    pub fn cell(&self) -> &Arc<EndpointCell> {
        &self.cell
    }

    /// Requests of this worker that are at the endpoint now.
    pub fn load(&self) -> u32 {
        self.load.get()
    }

    /// A request was sent.
    pub fn asked(&self, now: Moment) {
        let mut silence = self.silence.get();
        silence.asked(now);
        self.silence.set(silence);
    }

    /// The endpoint answered a request that was sent so long ago.
    pub fn answered(&self, took: Duration, now: Moment) {
        self.heard(now, |silence| silence.answered(took));
    }

    /// The endpoint closed a connection.
    pub fn spoke(&self, now: Moment) {
        self.heard(now, Silence::spoke);
    }

    fn heard(&self, now: Moment, how: impl FnOnce(&mut Silence)) {
        let was_silent = self.is_silent(now);
        let mut silence = self.silence.get();
        how(&mut silence);
        self.silence.set(silence);
        if was_silent {
            self.cell.word().notify_waiters();
        }
    }

    /// Has the endpoint gone silent, as far as this worker knows?
    pub fn is_silent(&self, now: Moment) -> bool {
        self.silence.get().is_silent(self.cell.last_probed(), now)
    }

    /// Connections at rest.
    pub fn resting(&self) -> usize {
        self.resting.borrow().len() + self.shared.idle() + self.for_websockets.idle()
    }

    /// Counts a request in until the guard is dropped.
    pub fn enter(self: &Rc<Self>) -> Load {
        self.load.set(self.load.get() + 1);
        Load { pool: Rc::clone(self) }
    }

    /// A link that is ready to send, and how long it had to be waited for, if it had.
    pub async fn take(
        self: &Rc<Self>,
        wish: Wish<'_>,
        policy: &PoolPolicy,
        clock: Clock,
    ) -> Result<(Link, Option<Duration>), TakeError> {
        match (policy.protocol, wish.purpose) {
            (PoolProtocol::Http1, _) | (PoolProtocol::Http2OverTls, Purpose::Switch) => {
                self.take_whole(wish, policy, clock).await
            }
            (PoolProtocol::Http2OverTls | PoolProtocol::Http2InTheClear, Purpose::Exchange) => {
                // Apart, so that requests over HTTP/1.1 do not carry its size.
                Box::pin(self.take_stream(wish, policy, clock)).await
            }
            (PoolProtocol::Http2OverTls | PoolProtocol::Http2InTheClear, Purpose::WebSocket) => {
                Box::pin(self.take_for_websocket(wish, policy, clock)).await
            }
            (PoolProtocol::Http2InTheClear, Purpose::Switch) => Err(TakeError::NoSwitch),
        }
    }

    /// A stream, if the stamp says that it opens `WebSockets` over those, else a connection that can switch.
    async fn take_for_websocket(
        self: &Rc<Self>,
        wish: Wish<'_>,
        policy: &PoolPolicy,
        clock: Clock,
    ) -> Result<(Link, Option<Duration>), TakeError> {
        let known = self.shared.opens_websockets();
        let mut waited = None;
        if known.or_else(|| self.for_websockets.opens_websockets()) != Some(false) {
            let taken = self.take_stream(wish, policy, clock).await?;
            if taken.0.opens_websockets() {
                return Ok(taken);
            }
            waited = taken.1;
        }
        match policy.protocol {
            PoolProtocol::Http1 | PoolProtocol::Http2OverTls => {
                let wish = Wish { purpose: Purpose::Switch, ..wish };
                let (link, more) = self.take_whole(wish, policy, clock).await?;
                Ok((link, more.or(waited)))
            }
            PoolProtocol::Http2InTheClear => Err(TakeError::NoSwitch),
        }
    }

    /// The connections over HTTP/2 that serve such a wish.
    const fn shared(&self, purpose: Purpose) -> &Shared {
        match purpose {
            Purpose::Exchange | Purpose::Switch => &self.shared,
            Purpose::WebSocket => &self.for_websockets,
        }
    }

    /// A whole connection: one at rest, else a new one, else the next to be free.
    async fn take_whole(
        &self,
        wish: Wish<'_>,
        policy: &PoolPolicy,
        clock: Clock,
    ) -> Result<(Link, Option<Duration>), TakeError> {
        match wish.wanted {
            Wanted::Any => {
                if let Some(link) = self.take_resting(wish, policy, wish.began).await {
                    return Ok((link, None));
                }
            }
            Wanted::Fresh => self.resting.borrow_mut().clear(),
        }
        let mut waited = None;
        let permit = match Arc::clone(&self.cell.connections).try_acquire_owned() {
            Ok(permit) => permit,
            Err(_none_free) => {
                let freed = self.wait(wish, policy, clock).await?;
                waited = Some(clock.now().since(wish.began));
                match freed {
                    Freed::Link(link) => return Ok((link, waited)),
                    Freed::Permit(permit) => permit,
                }
            }
        };
        // Apart, so that requests over a connection that rested do not carry its size (1.3 KB).
        let made = Box::pin(connect_http1(self.destination(wish), permit, clock)).await;
        match made {
            Ok(link) => Ok((Link::Http1(link), waited)),
            // It speaks HTTP/2 alone, as it may, and nothing is wrong with it.
            Err(error) if wish.purpose == Purpose::Switch && error.is_for_protocols() => {
                Err(TakeError::NoSwitch)
            }
            Err(error) => Err(error.into()),
        }
    }

    fn destination(&self, wish: Wish<'_>) -> Destination {
        let (tls, timeout) = (wish.tls.cloned(), wish.connect_timeout);
        Destination { addresses: self.cell.addresses(), tls, timeout }
    }

    /// An HTTP/1.1 connection at rest that is still good. One that is about to rest counts: its answer
    /// is read.
    async fn take_resting(&self, wish: Wish<'_>, policy: &PoolPolicy, now: Moment) -> Option<Link> {
        loop {
            let Resting { mut link, .. } = self.resting.borrow_mut().pop_back()?;
            if link.is_over() || now.since(link.made().born) > policy.lifetime_max {
                continue;
            }
            if !wish.takes(policy, link.made().offer) {
                // Made before the protocol of its stamp changed.
                continue;
            }
            if !UpstreamTls::is_same(link.made().tls.as_ref(), wish.tls) {
                // Made before the files of its stamp's TLS changed.
                continue;
            }
            if link.is_ready().await {
                return Some(Link::Http1(link));
            }
        }
    }

    /// What has room now, without anything being made.
    async fn take_freed(&self, wish: Wish<'_>, policy: &PoolPolicy, now: Moment) -> Option<Link> {
        let place = match (policy.protocol, wish.purpose) {
            (PoolProtocol::Http1, _) | (_, Purpose::Switch) => None,
            (PoolProtocol::Http2OverTls | PoolProtocol::Http2InTheClear, _) => {
                self.shared(wish.purpose).place(policy, wish.tls, now)
            }
        };
        match place {
            Some(place) => Some(Link::Http2(place)),
            None => self.take_resting(wish, policy, now).await,
        }
    }

    async fn wait(
        &self,
        wish: Wish<'_>,
        policy: &PoolPolicy,
        clock: Clock,
    ) -> Result<Freed, TakeError> {
        let Some(_pending) = Pending::enter(self, policy.pending_max) else {
            self.ask_for_room(clock.now());
            return Err(TakeError::Saturated);
        };
        self.mailboxes.shed(self.cell.number);
        let freed = async {
            loop {
                tokio::select! {
                    permit = Arc::clone(&self.cell.connections).acquire_owned() => {
                        return permit.map(Freed::Permit).map_err(|_closed| TakeError::Saturated);
                    }
                    () = self.room.freed.notified() => {
                        if let Some(link) = self.take_freed(wish, policy, clock.now()).await {
                            return Ok(Freed::Link(link));
                        }
                    }
                }
            }
        };
        // Beside it, for who asks in between would lose its place.
        let freed = async {
            tokio::select! {
                biased;
                freed = freed => freed,
                never = self.keep_asking(clock) => match never {},
            }
        };
        tokio::time::timeout(policy.pending_timeout, freed)
            .await
            .unwrap_or(Err(TakeError::Saturated))
    }

    /// Asks for room as long as somebody waits.
    async fn keep_asking(&self, clock: Clock) -> Infallible {
        loop {
            self.ask_for_room(clock.now());
            tokio::time::sleep(ASK_EVERY).await;
        }
    }

    /// Has answers give way whose clients stand still, one for each request that waits.
    fn ask_for_room(&self, now: Moment) {
        if self.asked.get().is_none_or(|asked| now.since(asked) >= ASK_EVERY) {
            self.asked.set(Some(now));
            let waiting = self.room.waiting.get().max(1);
            self.mailboxes.give_way(Shortage::Endpoint(self.cell.number), waiting);
        }
    }

    /// Takes back a link whose answer was read to its end.
    pub fn give_back(&self, link: Link, now: Moment) {
        let mut link = match link {
            Link::Http1(link) => link,
            Link::Http2(place) => {
                // A stream is over with its answer, and its place is free.
                drop(place);
                if self.is_needed_elsewhere() {
                    self.shed();
                }
                return;
            }
        };
        if self.is_needed_elsewhere() || link.is_over() {
            return;
        }
        link.was_used();
        self.resting.borrow_mut().push_back(Resting { link, since: now });
        if self.room.waiting.get() > 0 {
            self.room.freed.notify_one();
        }
    }

    /// Does another worker wait for a connection that this one does not need?
    fn is_needed_elsewhere(&self) -> bool {
        self.cell.pending.load(Ordering::Relaxed) > 0 && self.room.waiting.get() == 0
    }

    /// Closes what rested too long, is too old, or is closed already.
    pub fn sweep(&self, policy: &PoolPolicy, now: Moment) {
        self.resting.borrow_mut().retain(|resting| {
            !resting.link.is_over() && now.since(resting.since) < policy.idle_timeout
        });
        self.shared.sweep(policy, now);
        self.for_websockets.sweep(policy, now);
        if self.is_needed_elsewhere() {
            self.shed();
        }
    }

    /// Another worker waits for a connection: closes everything at rest, and where nothing rests that many
    /// use, takes no more streams of one of them.
    pub fn shed(&self) {
        self.resting.borrow_mut().clear();
        let was_at_rest = self.shared.close_idle() | self.for_websockets.close_idle();
        if !was_at_rest && self.is_needed_elsewhere() {
            self.shared.give_one_up();
        }
    }
}

enum Freed {
    Link(Link),
    Permit(OwnedSemaphorePermit),
}

/// A request that waits for a connection: counted here and over all workers.
struct Pending<'a> {
    pool: &'a Pool,
}

impl<'a> Pending<'a> {
    fn enter(pool: &'a Pool, pending_max: u32) -> Option<Self> {
        let before = pool.cell.pending.fetch_add(1, Ordering::Relaxed);
        pool.room.waiting.set(pool.room.waiting.get() + 1);
        let entered = Self { pool };
        (before < pending_max).then_some(entered)
    }
}

impl Drop for Pending<'_> {
    fn drop(&mut self) {
        self.pool.cell.pending.fetch_sub(1, Ordering::Relaxed);
        self.pool.room.waiting.set(self.pool.room.waiting.get() - 1);
    }
}

/// A request that is at an endpoint.
#[derive(Debug)]
pub struct Load {
    pool: Rc<Pool>,
}

impl Drop for Load {
    fn drop(&mut self) {
        self.pool.load.set(self.pool.load.get().saturating_sub(1));
    }
}
