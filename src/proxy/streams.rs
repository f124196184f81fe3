//! The streams of one HTTP/2 connection: how many are open, and which of them are not taken by the
//! client. Its window may stay shut for ever, and to all of it hyper's side of a stream just waits.

use std::cell::{Cell, RefCell};
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::task::Waker;

use stamp_core::rate::{SlowPeer, Still, StreamHeldUp};
use stamp_core::time::Moment;

use super::line::MustEnd;
use super::wire::{Phase, WireState};
use crate::clock::Clock;

/// What of an answer is kept for a client that does not take it, for each stream, besides what hyper holds of it.
/// hyper's own value is 400 KiB.
pub(crate) const SEND_BUFFER_BYTES: usize = 64 * 1024;
/// Streams that are gone are forgotten when so many are known at least.
const FORGET_AT: usize = 64;

/// The streams of one connection.
#[derive(Debug)]
pub(crate) struct Streams {
    clock: Clock,
    wire: Arc<WireState>,
    open: Cell<u32>,
    known: RefCell<Vec<Weak<Stream>>>,
    /// The client has reset a stream lately.
    pub(super) resets: Cell<bool>,
    /// The stream whose request was handed over, and whose task comes next.
    begun: RefCell<Option<Rc<Stream>>>,
}

/// One request's stream.
#[derive(Debug)]
pub(crate) struct Stream {
    clock: Clock,
    wire: Arc<WireState>,
    must_end: Cell<Option<MustEnd>>,
    task: RefCell<Option<Waker>>,
    /// Since when the client does not take what it was given.
    given_at: Cell<Option<Moment>>,
    slow: Cell<SlowPeer>,
    /// Bytes that the client is to take,
    given: Cell<u64>,
    /// and those that h2 took before.
    passed: Cell<u64>,
    /// What had gone out on its connection when it was given something last.
    written_before: Cell<u64>,
    /// The least rate, in bytes a second.
    least: u64,
}

/// Counts a stream as open until dropped.
#[derive(Debug)]
pub(crate) struct Open {
    streams: Rc<Streams>,
}

impl Streams {
    pub(crate) fn new(wire: Arc<WireState>, clock: Clock) -> Rc<Self> {
        Rc::new(Self {
            clock,
            wire,
            open: Cell::new(0),
            known: RefCell::default(),
            resets: Cell::new(false),
            begun: RefCell::default(),
        })
    }

    /// A stream for a request that has just come, whose client must keep this rate.
    pub(crate) fn begin(&self, bytes_per_second_min: u64) -> Rc<Stream> {
        let stream = Rc::new(Stream {
            clock: self.clock,
            must_end: Cell::new(None),
            task: RefCell::default(),
            given_at: Cell::new(None),
            slow: Cell::default(),
            given: Cell::new(0),
            passed: Cell::new(0),
            written_before: Cell::new(0),
            wire: Arc::clone(&self.wire),
            least: bytes_per_second_min,
        });
        let mut known = self.known.borrow_mut();
        if known.len() == known.capacity().max(FORGET_AT) {
            known.retain(|stream| stream.strong_count() > 0);
        }
        known.push(Rc::downgrade(&stream));
        *self.begun.borrow_mut() = Some(Rc::clone(&stream));
        stream
    }

    /// The stream whose task is to be run now; `None` = it is the task of a tunnel.
    pub(crate) fn take_begun(&self) -> Option<Rc<Stream>> {
        self.begun.borrow_mut().take()
    }

    /// Counts one in.
    pub(crate) fn enter(self: &Rc<Self>) -> Open {
        self.open.set(self.open.get() + 1);
        if self.wire.phase() == Phase::Idle {
            self.wire.set_phase(Phase::Request);
        }
        Open { streams: Rc::clone(self) }
    }

    /// May a stream that was handed over be reset already?
    pub(crate) fn may_be_reset(&self) -> bool {
        self.resets.get()
    }

    /// How many are open.
    pub(crate) fn open(&self) -> u32 {
        self.open.get()
    }

    /// Ends the streams that are taken below the least rate.
    pub(crate) fn end_slow(&self, now: Moment) {
        let known: Vec<_> = self.known.borrow().iter().filter_map(Weak::upgrade).collect();
        for stream in known {
            if stream.is_too_slow(now) {
                stream.cut(MustEnd::TooSlow);
            }
        }
    }
}

impl Stream {
    pub(super) fn cut(&self, why: MustEnd) {
        self.must_end.set(Some(why));
        if let Some(task) = &*self.task.borrow() {
            task.wake_by_ref();
        }
    }

    pub(super) fn must_end(&self) -> Option<MustEnd> {
        self.must_end.get()
    }

    /// The connection that it is one of.
    pub(super) fn wire(&self) -> &WireState {
        &self.wire
    }

    pub(super) fn forgive(&self) {
        self.must_end.set(None);
    }

    /// Must it end although the client takes nothing, so that hyper asks for no more of it?
    pub(crate) fn must_end_while_given(&self) -> bool {
        self.must_end.get().is_some() && self.given_at.get().is_some()
    }

    /// This task drives the stream.
    pub(crate) fn driven_by(&self, waker: &Waker) {
        let mut task = self.task.borrow_mut();
        if !task.as_ref().is_some_and(|known| known.will_wake(waker)) {
            *task = Some(waker.clone());
        }
    }

    pub(super) fn asked(&self) {
        if let Some(since) = self.given_at.take() {
            let mut slow = self.slow.get();
            slow.waited(self.clock.now().since(since));
            let given = self.given.take();
            slow.moved(given, self.least);
            self.passed.set(self.passed.get() + given);
            self.slow.set(slow);
        }
    }

    pub(super) fn gave(&self, bytes: usize) {
        self.given.set(self.given.get() + bytes as u64);
        self.given_at.set(Some(self.clock.now()));
        self.written_before.set(self.wire.written_total());
    }

    /// For how long its client has taken nothing of what it was given; `None` = it is not waited for, or
    /// need not keep any rate.
    pub(super) fn stood_still(&self, now: Moment) -> Option<Still> {
        let since = self.given_at.get().filter(|_| self.least > 0)?;
        let held_up = StreamHeldUp {
            waited: now.since(since),
            // What it was given last h2 has not taken, but may still hold something of what came before.
            under_way_max: self.passed.get().min(SEND_BUFFER_BYTES as u64),
            connection_took: self.wire.written_total().saturating_sub(self.written_before.get()),
        };
        Some(Still::stream(held_up, self.least))
    }

    fn is_too_slow(&self, now: Moment) -> bool {
        let Some(since) = self.given_at.get() else { return false };
        now.since(since) > self.slow.get().patience(self.least)
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        let streams = &self.streams;
        streams.open.set(streams.open.get().saturating_sub(1));
        if streams.open.get() == 0 && streams.wire.phase() == Phase::Request {
            streams.wire.set_phase(Phase::Idle);
        }
    }
}
