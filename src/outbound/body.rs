//! A request body on its way to a stamp: bounded in size and time, and kept for a repeat as long
//! as it is small. What is wrong with it is the client's doing and never counts against a stamp.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::future::poll_fn;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use stamp_core::rate::{Lag, SlowPeer, Still};
use stamp_core::time::Moment;
use tokio::time::Sleep;

use crate::clock::Clock;

/// What the client did wrong with its body.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BodyFault {
    /// More bytes than the limit.
    #[error("the request body is too large")]
    TooLarge,
    /// Nothing came for too long, or too little over a longer time.
    #[error("the request body came too slowly")]
    TooSlow,
    /// The same, and others wait for the room that the request holds.
    #[error("the request body came too slowly while others waited")]
    InTheWay,
    /// A trailer says what only a head may.
    #[error("a trailer of the request says what only a head may")]
    Trailers,
    /// The framing was wrong, or the client went away.
    #[error("the request body broke off or was malformed")]
    Broken,
}

/// The bounds of a request body.
#[derive(Clone, Copy, Debug)]
pub struct BodyLimits {
    /// Largest size in bytes.
    pub bytes_max: u64,
    /// Longest pause.
    pub idle: Duration,
    /// Least bytes a second while we wait for the client.
    pub bytes_per_second_min: u64,
    /// Largest size that is kept for a repeat, in bytes.
    pub replay_bytes: u64,
}

/// The most bytes of all request bodies together that one worker keeps for repeats. What finds no
/// room streams, and is not repeatable.
const KEPT_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// What one worker keeps for repeats.
#[derive(Debug, Default)]
pub struct ReplayBudget {
    kept: Cell<u64>,
}

impl ReplayBudget {
    fn take(&self, bytes: u64) -> bool {
        let kept = self.kept.get() + bytes;
        let fits = kept <= KEPT_BYTES_MAX;
        if fits {
            self.kept.set(kept);
        }
        fits
    }

    /// Takes room that there may not be.
    fn overdraw(&self, bytes: u64) {
        self.kept.set(self.kept.get().saturating_add(bytes));
    }

    fn has_room(&self) -> bool {
        self.kept.get() < KEPT_BYTES_MAX
    }

    fn give_back(&self, bytes: u64) {
        self.kept.set(self.kept.get().saturating_sub(bytes));
    }
}

/// The body of one request, whichever attempt reads it.
#[derive(Debug)]
pub struct BodySource {
    state: RefCell<SourceState>,
    fault: Cell<Option<BodyFault>>,
    are_good: fn(&HeaderMap) -> bool,
}

#[derive(Debug)]
struct SourceState {
    incoming: Incoming,
    kept: Vec<Bytes>,
    kept_bytes: u64,
    budget: Rc<ReplayBudget>,
    kept_trailers: Option<HeaderMap>,
    keeps: Keeps,
    ended: bool,
    seen: u64,
    limits: BodyLimits,
    clock: Clock,
    timer: Option<Pin<Box<Sleep>>>,
    waiting_since: Option<Moment>,
    slow: SlowPeer,
    lag: Lag,
    /// Who waits for its end.
    waiter: Option<Waker>,
    /// Who waits for more of it.
    reader: Option<Waker>,
    /// Others wait for the room that the request holds.
    gives_way: bool,
}

/// Is everything that came so far in `kept`?
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Keeps {
    /// Yes, and what comes must be: no stamp was given any of it.
    All,
    /// Yes, and what comes is if there is room.
    WhatFits,
    /// No.
    Nothing,
}

impl BodySource {
    /// Takes the body over. `are_good` says whether a client may say that in trailers.
    #[must_use]
    pub fn new(
        incoming: Incoming,
        limits: BodyLimits,
        (clock, budget): (Clock, Rc<ReplayBudget>),
        are_good: fn(&HeaderMap) -> bool,
    ) -> Rc<Self> {
        let state = SourceState {
            incoming,
            kept: Vec::new(),
            kept_bytes: 0,
            budget,
            kept_trailers: None,
            keeps: Keeps::WhatFits,
            ended: false,
            seen: 0,
            limits,
            clock,
            timer: None,
            waiting_since: None,
            slow: SlowPeer::default(),
            lag: Lag::of_sender(),
            waiter: None,
            reader: None,
            gives_way: false,
        };
        Rc::new(Self { state: RefCell::new(state), fault: Cell::new(None), are_good })
    }

    /// What the client did wrong, if it did.
    pub fn fault(&self) -> Option<BodyFault> {
        self.fault.get()
    }

    /// Can another attempt send the whole body?
    pub fn is_repeatable(&self) -> bool {
        self.fault.get().is_none() && self.state.borrow().keeps != Keeps::Nothing
    }

    /// Was it read to its end?
    pub fn is_ended(&self) -> bool {
        self.state.borrow().ended
    }

    /// Waits until it is read to its end by whoever reads it, or is found to be at fault.
    pub async fn over(&self) {
        poll_fn(|context| {
            if self.is_ended() || self.fault().is_some() {
                return Poll::Ready(());
            }
            self.state.borrow_mut().waiter = Some(context.waker().clone());
            Poll::Pending
        })
        .await;
    }

    /// For how long its client has kept us waiting; `None` = it does not, or need not keep any rate.
    pub fn stood_still(&self, now: Moment) -> Option<Still> {
        let state = self.state.borrow();
        let since = state.waiting_since.filter(|_| state.limits.bytes_per_second_min > 0)?;
        Some(state.lag.still(now.since(since)))
    }

    /// Ends it: others wait for the room that the request holds.
    pub fn give_way(&self) {
        let mut state = self.state.borrow_mut();
        state.gives_way = true;
        if let Some(reader) = state.reader.take() {
            reader.wake();
        }
    }

    /// Did any of the body leave for a stamp?
    pub fn is_untouched(&self) -> bool {
        self.state.borrow().seen == 0
    }

    /// Waits for all of the body before a stamp has any of it, as far as there is room to keep it: so
    /// a client that is slow holds none of a stamp's connections. For a body of known length that
    /// would be kept for repeats anyway.
    ///
    /// # Errors
    ///
    /// What is wrong with the body.
    pub async fn gather(self: &Rc<Self>) -> Result<(), BodyFault> {
        self.state.borrow_mut().keeps = Keeps::All;
        let mut reading = Reading { source: Rc::clone(self), place: 0, trailers_sent: false };
        while !reading.is_over() && self.state.borrow().budget.has_room() {
            if let Some(Err(fault)) = poll_fn(|context| reading.poll_frame(context)).await {
                return Err(fault);
            }
        }
        self.state.borrow_mut().keeps = Keeps::WhatFits;
        Ok(())
    }

    /// The body for one attempt, from its start.
    pub fn body(self: &Rc<Self>) -> RequestBody {
        RequestBody::Stream(Reading { source: Rc::clone(self), place: 0, trailers_sent: false })
    }
}

impl SourceState {
    fn poll_next(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Result<Option<Frame<Bytes>>, BodyFault>> {
        if self.gives_way {
            return Poll::Ready(Err(BodyFault::InTheWay));
        }
        match Pin::new(&mut self.incoming).poll_frame(context) {
            Poll::Ready(frame) => {
                self.count_wait();
                self.timer = None;
                self.take(frame)
            }
            Poll::Pending => {
                self.reader = Some(context.waker().clone());
                self.poll_patience(context)
            }
        }
    }

    fn take(
        &mut self,
        frame: Option<Result<Frame<Bytes>, hyper::Error>>,
    ) -> Poll<Result<Option<Frame<Bytes>>, BodyFault>> {
        let frame = match frame {
            None => {
                self.ended = true;
                return Poll::Ready(Ok(None));
            }
            Some(Err(_broken)) => return Poll::Ready(Err(BodyFault::Broken)),
            Some(Ok(frame)) => frame,
        };
        let Some(data) = frame.data_ref() else {
            // Trailers are the last that comes.
            self.ended = true;
            return Poll::Ready(Ok(Some(frame)));
        };
        self.seen = self.seen.saturating_add(data.len() as u64);
        self.slow.moved(data.len() as u64, self.limits.bytes_per_second_min);
        self.lag.moved(data.len() as u64, self.limits.bytes_per_second_min);
        if self.seen > self.limits.bytes_max {
            return Poll::Ready(Err(BodyFault::TooLarge));
        }
        let bytes = data.len() as u64;
        let is_kept = match self.keeps {
            Keeps::All => {
                self.budget.overdraw(bytes);
                true
            }
            Keeps::WhatFits => self.seen <= self.limits.replay_bytes && self.budget.take(bytes),
            Keeps::Nothing => false,
        };
        if is_kept {
            self.kept_bytes += bytes;
            self.kept.push(data.clone());
        } else {
            self.keeps = Keeps::Nothing;
            self.forget();
        }
        self.ended = self.incoming.is_end_stream();
        Poll::Ready(Ok(Some(frame)))
    }

    fn forget(&mut self) {
        self.kept.clear();
        self.budget.give_back(std::mem::take(&mut self.kept_bytes));
    }

    fn count_wait(&mut self) {
        if let Some(since) = self.waiting_since.take() {
            let waited = self.clock.now().since(since);
            self.slow.waited(waited);
            self.lag.waited(waited);
        }
    }

    /// Nothing there: how long is the client given?
    fn poll_patience(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Result<Option<Frame<Bytes>>, BodyFault>> {
        let since = *self.waiting_since.get_or_insert_with(|| self.clock.now());
        let patience = self.slow.patience(self.limits.bytes_per_second_min);
        let deadline = since.after(patience.min(self.limits.idle));
        let at = self.clock.instant(deadline);
        let timer = self.timer.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(at)));
        ready!(timer.as_mut().poll(context));
        Poll::Ready(Err(BodyFault::TooSlow))
    }
}

impl Drop for SourceState {
    fn drop(&mut self) {
        self.forget();
    }
}

/// A body as hyper's client reads it.
#[derive(Debug)]
pub enum RequestBody {
    /// None.
    Empty,
    /// From the client, or again from what was kept.
    Stream(Reading),
}

/// One attempt's place in a body.
#[derive(Debug)]
pub struct Reading {
    source: Rc<BodySource>,
    place: usize,
    trailers_sent: bool,
}

impl Reading {
    fn is_over(&self) -> bool {
        let state = self.source.state.borrow();
        let trailers_are_left = state.kept_trailers.is_some() && !self.trailers_sent;
        state.ended && self.place >= state.kept.len() && !trailers_are_left
    }

    fn poll_frame(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyFault>>> {
        let mut state = self.source.state.borrow_mut();
        if let Some(kept) = state.kept.get(self.place) {
            self.place += 1;
            return Poll::Ready(Some(Ok(Frame::data(kept.clone()))));
        }
        if let Some(trailers) = state.kept_trailers.clone().filter(|_| !self.trailers_sent) {
            self.trailers_sent = true;
            return Poll::Ready(Some(Ok(Frame::trailers(trailers))));
        }
        if state.ended {
            return Poll::Ready(None);
        }
        let next = ready!(state.poll_next(context));
        if (state.ended || next.is_err())
            && let Some(waiter) = state.waiter.take()
        {
            waiter.wake();
        }
        let next = match next {
            Ok(next) => next,
            Err(fault) => {
                self.source.fault.set(Some(fault));
                return Poll::Ready(Some(Err(fault)));
            }
        };
        self.place = state.kept.len();
        let Some(frame) = next else { return Poll::Ready(None) };
        let frame = match frame.into_trailers() {
            Err(data) => data,
            Ok(trailers) => {
                if !(self.source.are_good)(&trailers) {
                    self.source.fault.set(Some(BodyFault::Trailers));
                    return Poll::Ready(Some(Err(BodyFault::Trailers)));
                }
                self.trailers_sent = true;
                state.kept_trailers = Some(trailers.clone());
                Frame::trailers(trailers)
            }
        };
        Poll::Ready(Some(Ok(frame)))
    }
}

impl RequestBody {
    /// Is it known that nothing more comes, not even trailers? Where it is not, its next frame tells.
    pub(super) fn is_over(&self) -> bool {
        match self {
            Self::Empty => true,
            Self::Stream(reading) => reading.is_over(),
        }
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = BodyFault;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyFault>>> {
        match self.get_mut() {
            Self::Empty => Poll::Ready(None),
            Self::Stream(reading) => reading.poll_frame(context),
        }
    }

    fn is_end_stream(&self) -> bool {
        matches!(self, Self::Empty)
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Empty => SizeHint::with_exact(0),
            // The framing fields of the request say it: hyper follows them.
            Self::Stream(_) => SizeHint::default(),
        }
    }
}

impl fmt::Display for RequestBody {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(if matches!(self, Self::Empty) { "empty" } else { "stream" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_finds_no_room_is_not_kept_and_room_comes_back() {
        let budget = ReplayBudget::default();
        assert!(budget.take(KEPT_BYTES_MAX));
        assert!(!budget.take(1));
        budget.give_back(KEPT_BYTES_MAX);
        assert!(budget.take(1));
    }
}
