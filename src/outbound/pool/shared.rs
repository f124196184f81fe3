//! A pool's connections over HTTP/2, which many requests use at a time: those that are open, the first
//! with room first, so that there are no more than are needed; and those that are being made.

use std::cell::{Cell, OnceCell, RefCell};
use std::pin::pin;
use std::rc::{Rc, Weak};
use std::sync::Arc;

use stamp_core::table::{PoolPolicy, PoolProtocol};
use stamp_core::time::Moment;
use tokio::sync::Notify;

use crate::outbound::http2::{Connection, Place};
use crate::outbound::link::ConnectError;
use crate::tls::UpstreamTls;

/// How many streams an endpoint is believed to allow before it said so: no stamp should allow fewer (RFC
/// 9113, section 6.5.2).
const STREAMS_USUAL: u32 = 100;

/// One worker's shared connections to one endpoint.
#[derive(Debug)]
pub(super) struct Shared {
    open: RefCell<Vec<Rc<Connection>>>,
    making: RefCell<Vec<Rc<Making>>>,
    /// As many as the last connection allowed.
    streams_usual: Cell<u32>,
    /// The one that was given up last: it is there until its streams are over.
    given_up: RefCell<Weak<Connection>>,
}

impl Default for Shared {
    fn default() -> Self {
        Self {
            open: RefCell::default(),
            making: RefCell::default(),
            streams_usual: Cell::new(STREAMS_USUAL),
            given_up: RefCell::default(),
        }
    }
}

/// A connection that is being made, and who waits for it.
#[derive(Debug, Default)]
pub(super) struct Making {
    joined: Cell<u32>,
    outcome: OnceCell<Result<(), ConnectError>>,
    ended: Notify,
}

impl Making {
    /// Waits for what comes of it.
    pub(super) async fn outcome(&self) -> Result<(), ConnectError> {
        self.joined.set(self.joined.get() + 1);
        let mut ended = pin!(self.ended.notified());
        ended.as_mut().enable();
        if self.outcome.get().is_none() {
            ended.await;
        }
        self.outcome.get().cloned().unwrap_or(Ok(()))
    }
}

impl Shared {
    /// A place at the first connection that has one, and is as the policy and the files of TLS want it.
    pub(super) fn place(
        &self,
        policy: &PoolPolicy,
        tls: Option<&Arc<UpstreamTls>>,
        now: Moment,
    ) -> Option<Place> {
        let mut open = self.open.borrow_mut();
        open.retain(|connection| {
            let made = connection.made();
            connection.is_open()
                && now.since(made.born) <= policy.lifetime_max
                && UpstreamTls::is_same(made.tls.as_ref(), tls)
        });
        open.iter().find_map(Connection::place)
    }

    /// Does the endpoint open `WebSockets` over streams? `None` = nothing that is open tells.
    pub(super) fn opens_websockets(&self) -> Option<bool> {
        self.open.borrow().last().map(|connection| connection.opens_websockets())
    }

    /// One that is being made, and will have room for one more.
    pub(super) fn making_with_room(&self) -> Option<Rc<Making>> {
        let making = self.making.borrow();
        making.iter().find(|it| it.joined.get() < self.streams_usual.get()).cloned()
    }

    /// One begins to be made.
    pub(super) fn begin(&self) -> Rc<Making> {
        let making = Rc::new(Making::default());
        self.making.borrow_mut().push(Rc::clone(&making));
        making
    }

    /// One was made.
    pub(super) fn add(&self, connection: Rc<Connection>) {
        self.streams_usual.set(connection.streams_max().max(1));
        self.open.borrow_mut().push(connection);
    }

    /// The endpoint speaks HTTP/1.1: what is made serves one.
    pub(super) fn knows_no_streams(&self) {
        self.streams_usual.set(1);
    }

    /// One was made or was not.
    pub(super) fn end(&self, ended: &Rc<Making>, outcome: Result<(), ConnectError>) {
        self.making.borrow_mut().retain(|making| !Rc::ptr_eq(making, ended));
        // It ends once.
        drop(ended.outcome.set(outcome));
        ended.ended.notify_waiters();
    }

    /// How many are open without a stream.
    pub(super) fn idle(&self) -> usize {
        self.open.borrow().iter().filter(|connection| connection.idle_since().is_some()).count()
    }

    /// Lets go of what is of no more use. One that has streams closes when they are over.
    pub(super) fn sweep(&self, policy: &PoolPolicy, now: Moment) {
        self.open.borrow_mut().retain(|connection| {
            let rested = connection
                .idle_since()
                .is_some_and(|since| now.since(since) >= policy.idle_timeout);
            connection.is_open()
                && !rested
                && now.since(connection.made().born) <= policy.lifetime_max
                && policy.protocol != PoolProtocol::Http1
        });
    }

    /// Lets go of those without a stream. Was there one?
    pub(super) fn close_idle(&self) -> bool {
        let mut open = self.open.borrow_mut();
        let before = open.len();
        open.retain(|connection| connection.idle_since().is_none());
        open.len() < before
    }

    /// Takes no more streams of the last one, so that it closes when those that it has are over. However
    /// many ask for that, one goes after the other.
    pub(super) fn give_one_up(&self) {
        let mut given_up = self.given_up.borrow_mut();
        if given_up.strong_count() == 0
            && let Some(last) = self.open.borrow_mut().pop()
        {
            *given_up = Rc::downgrade(&last);
        }
    }
}
