//! How long a request waits for its connection and its answer's head: until they are late, or until
//! its endpoint is found to be out and the request may go elsewhere. Used by `forward` for each
//! attempt.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use stamp_core::retry::AttemptFailure;
use stamp_core::standing::EndpointStanding;
use stamp_core::time::Moment;

use super::forward::{Call, Course, Place};

/// Most answers come this soon: they cost nothing but a look at the clock.
const SOON: Duration = Duration::from_millis(50);

/// How a wait ended.
pub(super) enum Waited<T> {
    /// With what was waited for, or its failure.
    Over(T),
    /// It took too long.
    TooLong,
    /// The endpoint is out, and all is prepared for another attempt.
    EndpointOut,
}

/// How long to wait for a head.
#[derive(Clone, Copy)]
pub(super) struct Patience {
    /// When the connection got the request.
    pub(super) began: Moment,
    /// So long after the whole request was sent, its answer is late.
    pub(super) timeout: Duration,
}

impl Call<'_> {
    /// Waits while the endpoint says nothing at all, if this request must not be sent twice: given to
    /// a frozen process, it would be lost. That costs it nothing, since it would have no answer
    /// either, and it is sent after all when its answer would be late.
    pub(super) async fn wait_for_word(
        &mut self,
        course: &mut Course,
        place: &Place<'_>,
    ) -> Waited<()> {
        let mut now = self.worker().lately();
        if place.trial.is_some() || self.facts().is_idempotent() || !place.pool.is_silent(now) {
            return Waited::Over(());
        }
        let due = now.after(self.view.live.timeouts.response_headers.min(self.time_left()));
        let mut changes = self.worker().state().changes();
        while now < due && place.pool.is_silent(now) {
            if self.leaves(course, place, AttemptFailure::NotConnected) {
                return Waited::EndpointOut;
            }
            let mut word = pin!(place.cell.word().notified());
            word.as_mut().enable();
            self.worker().state().ask_probe(place.cell.number);
            tokio::select! {
                () = word => {}
                changed = changes.changed() => if changed.is_err() {
                    break;
                },
                () = tokio::time::sleep_until(self.worker().clock().instant(due)) => {}
            }
            now = self.worker().now();
        }
        Waited::Over(())
    }

    /// Waits for a connection, which has bounds of its own.
    pub(super) async fn wait_for_link<F: Future>(
        &mut self,
        course: &mut Course,
        place: &Place<'_>,
        mut taken: Pin<&mut F>,
    ) -> Waited<F::Output> {
        // One at rest is there at once.
        let at_once = poll_fn(|context| Poll::Ready(taken.as_mut().poll(context))).await;
        if let Poll::Ready(output) = at_once {
            return Waited::Over(output);
        }
        let mut changes = self.worker().state().changes();
        loop {
            if self.leaves(course, place, AttemptFailure::NotConnected) {
                return Waited::EndpointOut;
            }
            tokio::select! {
                biased;
                output = taken.as_mut() => return Waited::Over(output),
                changed = changes.changed() => if changed.is_err() {
                    return Waited::Over(taken.await);
                },
            }
        }
    }

    /// Waits for the answer's head.
    pub(super) async fn wait_for_head<F: Future>(
        &mut self,
        course: &mut Course,
        place: &Place<'_>,
        Patience { began, timeout }: Patience,
        mut sent: Pin<&mut F>,
    ) -> Waited<F::Output> {
        let mut due = began.after(timeout);
        let soon = began.after(SOON);
        if soon < due
            && let Some(output) = self.worker().by(soon, sent.as_mut()).await
        {
            return Waited::Over(output);
        }
        let mut changes = self.worker().state().changes();
        loop {
            if self.leaves(course, place, AttemptFailure::EndpointOut) {
                return Waited::EndpointOut;
            }
            tokio::select! {
                biased;
                output = self.in_time(timeout, &mut due, sent.as_mut()) => {
                    return output.map_or(Waited::TooLong, Waited::Over);
                }
                changed = changes.changed() => if changed.is_err() {
                    let output = self.in_time(timeout, &mut due, sent.as_mut()).await;
                    return output.map_or(Waited::TooLong, Waited::Over);
                },
            }
        }
    }

    /// While the client still sends, the stamp is not late.
    async fn in_time<F: Future>(
        &self,
        timeout: Duration,
        due: &mut Moment,
        mut sent: Pin<&mut F>,
    ) -> Option<F::Output> {
        loop {
            let output = self.worker().by(*due, sent.as_mut()).await;
            let sending = self.body.as_ref().is_some_and(|source| !source.is_ended());
            let left = self.time_left();
            if output.is_some() || !sending || left.is_zero() {
                return output;
            }
            *due = self.worker().now().after(timeout.min(left));
        }
    }

    /// Is the endpoint out by now, or its stamp drained before anything was sent, and may this request
    /// go elsewhere? Then that is prepared. A trial stays: its end is what is waited for.
    fn leaves(&mut self, course: &mut Course, place: &Place<'_>, failure: AttemptFailure) -> bool {
        let now = self.worker().view();
        let endpoint = place.stamp.endpoints.get(place.place);
        let standing = endpoint.and_then(|it| now.standings.endpoints.get(it.index.at()));
        let is_out = matches!(standing, Some(EndpointStanding::Out(_)));
        // A drain lets what was sent come to its end, and nothing new in.
        let stamp = now.standings.stamps.get(self.choice.stamp.at());
        let is_closed = stamp.is_some_and(|stamp| !stamp.operator.takes_requests())
            && failure == AttemptFailure::NotConnected;
        (is_out || is_closed)
            && place.trial.is_none()
            && Arc::ptr_eq(&now.table, &self.view.table)
            && self.has_elsewhere(&now, course, place)
            && self.goes_on(course, place, failure).is_some()
    }
}
