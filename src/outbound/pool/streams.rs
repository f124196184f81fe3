//! How a request over HTTP/2 comes to a place: at a connection that is open, or at one that it has made.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use stamp_core::table::PoolPolicy;
use tokio::sync::OwnedSemaphorePermit;

use super::shared::Making;
use super::{Freed, Pool, Resting, TakeError, Wanted, Wish};
use crate::clock::Clock;
use crate::outbound::link::{Connected, Link, connect_http2};

impl Pool {
    /// A place at a connection that many use, if one has room, or else one at a connection that is
    /// being made: the requests that come meanwhile share it as well, and its failure.
    pub(super) async fn take_stream(
        self: &Rc<Self>,
        wish: Wish<'_>,
        policy: &PoolPolicy,
        clock: Clock,
    ) -> Result<(Link, Option<Duration>), TakeError> {
        if wish.wanted == Wanted::Fresh {
            // Those that many use tell by themselves that they are closed.
            self.resting.borrow_mut().clear();
        }
        let mut waited = None;
        let patience = wish.connect_timeout.saturating_add(policy.pending_timeout);
        // What was made may be taken by others; they cannot do so for ever.
        while clock.now().since(wish.began) <= patience {
            if let Some(link) = self.take_freed(wish, policy, clock.now()).await {
                return Ok((link, waited));
            }
            let making = match self.shared(wish.purpose).making_with_room() {
                Some(making) => making,
                None => match Arc::clone(&self.cell.connections).try_acquire_owned() {
                    Ok(permit) => self.make(wish, permit, clock),
                    Err(_none_free) => {
                        let freed = self.wait(wish, policy, clock).await?;
                        waited = Some(clock.now().since(wish.began));
                        match freed {
                            Freed::Link(link) => return Ok((link, waited)),
                            Freed::Permit(permit) => self.make(wish, permit, clock),
                        }
                    }
                },
            };
            making.outcome().await?;
        }
        Err(TakeError::Saturated)
    }

    /// Begins to make a connection that many may use. It goes on when the one who asked has left.
    fn make(
        self: &Rc<Self>,
        wish: Wish<'_>,
        permit: OwnedSemaphorePermit,
        clock: Clock,
    ) -> Rc<Making> {
        let purpose = wish.purpose;
        let making = self.shared(purpose).begin();
        let (pool, ended) = (Rc::clone(self), Rc::clone(&making));
        let destination = self.destination(wish);
        tokio::task::spawn_local(async move {
            let room = Rc::clone(&pool.room);
            let outcome = match connect_http2(&destination, room, permit, clock).await {
                Ok(Connected::Http2(connection)) => {
                    pool.shared(purpose).add(connection);
                    Ok(())
                }
                Ok(Connected::Http1(link)) => {
                    pool.shared(purpose).knows_no_streams();
                    pool.resting.borrow_mut().push_back(Resting { link, since: clock.now() });
                    Ok(())
                }
                Err(error) => Err(error),
            };
            pool.shared(purpose).end(&ended, outcome);
            pool.room.freed.notify_waiters();
        });
        making
    }
}
