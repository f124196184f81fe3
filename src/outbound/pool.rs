//! One worker's connections to one endpoint: the last one used is the first one used again. The
//! cap counts over all workers (`EndpointCell::connections`); who finds none waits, bounded.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use stamp_core::silence::Silence;
use stamp_core::table::PoolPolicy;
use stamp_core::time::Moment;
use tokio::sync::{Notify, OwnedSemaphorePermit};

use super::link::{ConnectError, Link, connect};
use crate::clock::Clock;
use crate::state::{EndpointCell, Mailboxes};
use crate::tls::UpstreamTls;

/// A link at rest.
#[derive(Debug)]
struct Resting {
    link: Link,
    since: Moment,
}

/// One worker's connections to one endpoint.
#[derive(Debug)]
pub struct Pool {
    cell: Arc<EndpointCell>,
    mailboxes: Arc<Mailboxes>,
    resting: RefCell<VecDeque<Resting>>,
    waiting: Cell<u32>,
    given_back: Notify,
    load: Cell<u32>,
    silence: Cell<Silence>,
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

/// A request's wish for a connection.
#[derive(Clone, Copy, Debug)]
pub struct Wish<'a> {
    /// Which one will do.
    pub wanted: Wanted,
    /// What the endpoint is spoken to with; `None` = in the clear.
    pub tls: Option<&'a Arc<UpstreamTls>>,
    /// When the request came for it.
    pub began: Moment,
    /// How long making a new one may take.
    pub connect_timeout: Duration,
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
}

impl Pool {
    /// An empty pool.
    #[must_use]
    pub fn new(cell: Arc<EndpointCell>, mailboxes: Arc<Mailboxes>) -> Rc<Self> {
        Rc::new(Self {
            cell,
            mailboxes,
            resting: RefCell::new(VecDeque::new()),
            waiting: Cell::new(0),
            given_back: Notify::new(),
            load: Cell::new(0),
            silence: Cell::default(),
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

    /// Links at rest.
    pub fn resting(&self) -> usize {
        self.resting.borrow().len()
    }

    /// Counts a request in until the guard is dropped.
    pub fn enter(self: &Rc<Self>) -> Load {
        self.load.set(self.load.get() + 1);
        Load { pool: Rc::clone(self) }
    }

    /// A connection that is ready to send: one at rest, else a new one, else the next to be free;
    /// and how long it had to be waited for, if it had.
    pub async fn take(
        &self,
        wish: Wish<'_>,
        policy: &PoolPolicy,
        clock: Clock,
    ) -> Result<(Link, Option<Duration>), TakeError> {
        match wish.wanted {
            Wanted::Any => {
                if let Some(link) = self.take_resting(policy, wish.tls, wish.began).await {
                    return Ok((link, None));
                }
            }
            Wanted::Fresh => self.shed(),
        }
        let mut waited = None;
        let permit = match Arc::clone(&self.cell.connections).try_acquire_owned() {
            Ok(permit) => permit,
            Err(_none_free) => {
                let freed = self.wait(policy, wish.tls, clock).await?;
                waited = Some(clock.now().since(wish.began));
                match freed {
                    Freed::Link(link) => return Ok((link, waited)),
                    Freed::Permit(permit) => permit,
                }
            }
        };
        let addresses = self.cell.addresses();
        let link = connect(&addresses, wish.tls, wish.connect_timeout, permit, clock).await?;
        Ok((link, waited))
    }

    /// A link at rest that is still good. A link that is about to rest counts: its answer is read.
    async fn take_resting(
        &self,
        policy: &PoolPolicy,
        tls: Option<&Arc<UpstreamTls>>,
        now: Moment,
    ) -> Option<Link> {
        loop {
            let Resting { mut link, .. } = self.resting.borrow_mut().pop_back()?;
            if link.is_over() || now.since(link.born) > policy.lifetime_max {
                continue;
            }
            if !UpstreamTls::is_same(link.tls.as_ref(), tls) {
                // Made before the files of its stamp's TLS changed.
                continue;
            }
            if link.sender.is_ready() || link.sender.ready().await.is_ok() {
                return Some(link);
            }
        }
    }

    async fn wait(
        &self,
        policy: &PoolPolicy,
        tls: Option<&Arc<UpstreamTls>>,
        clock: Clock,
    ) -> Result<Freed, TakeError> {
        let Some(_pending) = Pending::enter(self, policy.pending_max) else {
            return Err(TakeError::Saturated);
        };
        self.mailboxes.shed(self.cell.number);
        let freed = async {
            loop {
                tokio::select! {
                    permit = Arc::clone(&self.cell.connections).acquire_owned() => {
                        return permit.map(Freed::Permit).map_err(|_closed| TakeError::Saturated);
                    }
                    () = self.given_back.notified() => {
                        if let Some(link) = self.take_resting(policy, tls, clock.now()).await {
                            return Ok(Freed::Link(link));
                        }
                    }
                }
            }
        };
        tokio::time::timeout(policy.pending_timeout, freed)
            .await
            .unwrap_or(Err(TakeError::Saturated))
    }

    /// Takes back a link whose answer was read to its end.
    pub fn give_back(&self, mut link: Link, now: Moment) {
        // Another worker waits for a connection and this one does not need it: let it go.
        let needed_elsewhere =
            self.cell.pending.load(Ordering::Relaxed) > 0 && self.waiting.get() == 0;
        if needed_elsewhere || link.is_over() {
            return;
        }
        link.used += 1;
        self.resting.borrow_mut().push_back(Resting { link, since: now });
        if self.waiting.get() > 0 {
            self.given_back.notify_one();
        }
    }

    /// Closes what rested too long or is closed already.
    pub fn sweep(&self, idle_timeout: Duration, now: Moment) {
        self.resting
            .borrow_mut()
            .retain(|resting| !resting.link.is_over() && now.since(resting.since) < idle_timeout);
    }

    /// Closes everything at rest.
    pub fn shed(&self) {
        self.resting.borrow_mut().clear();
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
        pool.waiting.set(pool.waiting.get() + 1);
        let entered = Self { pool };
        (before < pending_max).then_some(entered)
    }
}

impl Drop for Pending<'_> {
    fn drop(&mut self) {
        self.pool.cell.pending.fetch_sub(1, Ordering::Relaxed);
        self.pool.waiting.set(self.pool.waiting.get() - 1);
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
