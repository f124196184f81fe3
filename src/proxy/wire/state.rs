//! What the parts of one client connection know of each other.

use std::any::Any;
use std::io;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::task::{Poll, Waker};
use std::time::Duration;

use stamp_core::framing::FramingError;
use stamp_core::http2::allowance::Abuse;
use stamp_core::rate::{HELD_UP, Pressure};
use stamp_core::time::Moment;

use crate::clock::Clock;
use crate::proxy::line::MustEnd;
use crate::socket::Queue;

/// Where a connection stands, as the timers see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Accepted; no byte yet.
    Fresh,
    /// Between two requests.
    Idle,
    /// Part of a head is there.
    Head,
    /// A head was handed on; its body may still come.
    Request,
    /// Switched to another protocol: bytes pass unread.
    Tunnel,
}

/// What the connection's other parts know of the wire. One worker uses it; it is atomic only
/// because hyper asks that a socket that can switch protocols may move between threads.
#[derive(Debug, Default)]
pub(crate) struct WireState {
    phase: AtomicU8,
    read_total: AtomicU64,
    written_total: AtomicU64,
    heads: AtomicU64,
    answered: AtomicBool,
    /// The request is read to its end, nothing more came, and the socket will wake the reader.
    pub(super) parked: AtomicBool,
    /// The reading side must look again.
    news: AtomicBool,
    write_blocked: AtomicBool,
    /// When that began, in nanoseconds,
    held_up_at: AtomicU64,
    /// and what the client had taken in all when it last held an answer up.
    taken_before: AtomicU64,
    /// The answer goes on when the client takes something.
    answer_waits: AtomicBool,
    /// Since when it takes nothing, in nanoseconds,
    blocked_at: AtomicU64,
    /// and what the client had taken when its answer was held up first.
    taken_at_first: Mutex<Option<(u64, Moment)>>,
    is_sampled: AtomicBool,
    /// Others wait for the room that the answer holds: 0 = they do not, 1 = they press it little, 2 = much.
    pressed: AtomicU8,
    /// The connection wants to know what the kernel holds for the client. Its socket, deep within
    /// hyper, tells when it is polled next.
    asks: AtomicBool,
    told: Mutex<Option<Queue>>,
    /// The client is to see a reset.
    resets: AtomicBool,
    /// The request under way must end, whatever it waits for.
    must_end: AtomicU8,
    /// It rests, and makes room for another.
    let_go: AtomicBool,
    /// The task of the connection, which drives its requests.
    task: OnceLock<Waker>,
    refused: Mutex<Option<FramingError>>,
    abuse: OnceLock<Abuse>,
    /// What is given back when nobody uses the connection any more, and no tunnel that it became.
    held: OnceLock<Box<dyn Any + Send + Sync>>,
}

impl WireState {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self::default())
    }

    /// A new connection, and what it holds until it, or the tunnel that it becomes, ends.
    pub(crate) fn holding(held: impl Any + Send + Sync) -> Arc<Self> {
        let state = Self::new();
        state.held.get_or_init(|| Box::new(held));
        state
    }

    pub(crate) fn phase(&self) -> Phase {
        match self.phase.load(Relaxed) {
            0 => Phase::Fresh,
            1 => Phase::Idle,
            2 => Phase::Head,
            3 => Phase::Request,
            _ => Phase::Tunnel,
        }
    }

    pub(in crate::proxy) fn set_phase(&self, phase: Phase) {
        self.phase.store(phase as u8, Relaxed);
    }

    /// Heads that passed so far.
    pub(crate) fn heads(&self) -> u64 {
        self.heads.load(Relaxed)
    }

    pub(super) fn set_heads(&self, heads: u64) {
        self.heads.store(heads, Relaxed);
    }

    /// A good head is about to pass.
    pub(super) fn begin_request(&self) {
        self.set_phase(Phase::Request);
        self.set_heads(self.heads() + 1);
        self.answered.store(false, Relaxed);
        self.parked.store(false, Relaxed);
    }

    /// Is the request under way answered?
    pub(super) fn is_answered(&self) -> bool {
        self.answered.load(Relaxed)
    }

    /// Is the client to see a reset?
    pub(super) fn resets(&self) -> bool {
        self.resets.load(Relaxed)
    }

    /// Bytes read from the client so far.
    pub(crate) fn read_total(&self) -> u64 {
        self.read_total.load(Relaxed)
    }

    /// Bytes taken by the client's socket so far.
    pub(crate) fn written_total(&self) -> u64 {
        self.written_total.load(Relaxed)
    }

    /// Is there something to send that the client does not take?
    pub(crate) fn is_write_blocked(&self) -> bool {
        self.write_blocked.load(Relaxed)
    }

    /// Why the head, or the body of the request under way, was refused, if it was.
    pub(crate) fn refused(&self) -> Option<FramingError> {
        *lock(&self.refused)
    }

    pub(super) fn refuse(&self, error: FramingError) -> io::Error {
        *lock(&self.refused) = Some(error);
        io::ErrorKind::InvalidData.into()
    }

    /// Why the connection is closed on a client that only costs (HTTP/2).
    pub(crate) fn abuse(&self) -> Option<Abuse> {
        self.abuse.get().copied()
    }

    pub(super) fn abused(&self, abuse: Abuse) {
        self.abuse.get_or_init(|| abuse);
    }

    pub(crate) fn count_read(&self, read: usize) {
        self.read_total.store(self.read_total() + read as u64, Relaxed);
    }

    pub(super) fn count_written(
        &self,
        written: &Poll<io::Result<usize>>,
        clock: Clock,
        outgoing: impl FnOnce() -> Option<Queue>,
    ) {
        let was_blocked = self.is_write_blocked();
        self.write_blocked.store(written.is_pending(), Relaxed);
        if let Poll::Ready(Ok(written)) = written {
            self.written_total.store(self.written_total() + *written as u64, Relaxed);
            if was_blocked {
                self.takes_again(clock.now());
            }
        }
        if written.is_pending() && !was_blocked {
            let now = clock.now();
            self.held_up_at.store(nanos_of(now), Relaxed);
            self.restart(now);
            if !self.is_sampled.load(Relaxed) {
                self.is_sampled.store(true, Relaxed);
                *lock(&self.taken_at_first) = outgoing().map(|queue| (queue.taken, now));
            }
        }
    }

    fn takes_again(&self, now: Moment) {
        let at = Moment(Duration::from_nanos(self.held_up_at.load(Relaxed)));
        if now.since(at) > HELD_UP {
            self.taken_before.store(self.written_total(), Relaxed);
        }
        if self.answer_waits.swap(false, Relaxed) {
            self.wake();
        }
    }

    /// What the client has taken since it held an answer up.
    pub(in crate::proxy) fn taken_since_held_up(&self) -> u64 {
        self.written_total() - self.taken_before.load(Relaxed)
    }

    /// The answer goes on when the client takes something.
    pub(in crate::proxy) fn answer_waits(&self) {
        self.answer_waits.store(true, Relaxed);
    }

    /// The client takes nothing since then.
    #[cfg(test)]
    pub(in crate::proxy) fn hold_up(&self, since: Moment) {
        self.write_blocked.store(true, Relaxed);
        self.restart(since);
    }

    /// Since when the client has taken nothing; `None` = it is not waited for.
    pub(crate) fn blocked_since(&self) -> Option<Moment> {
        let at = Duration::from_nanos(self.blocked_at.load(Relaxed));
        self.is_write_blocked().then_some(Moment(at))
    }

    /// It has taken something by now.
    pub(crate) fn restart(&self, now: Moment) {
        self.blocked_at.store(nanos_of(now), Relaxed);
    }

    /// What the client had taken when the answer under way was held up first, and when that was. Told once.
    pub(crate) fn take_taken_at_first(&self) -> Option<(u64, Moment)> {
        lock(&self.taken_at_first).take()
    }

    /// Others wait for the room that the answer holds.
    pub(in crate::proxy) fn press(&self, pressure: Pressure) {
        let pressed = match pressure {
            Pressure::Low => 1,
            Pressure::High => 2,
        };
        self.pressed.store(pressed, Relaxed);
        self.wake();
    }

    /// Do others wait for the room that the answer holds?
    pub(crate) fn is_pressed(&self) -> bool {
        self.pressed.load(Relaxed) > 0
    }

    /// The same, told once: how much.
    pub(crate) fn take_pressed(&self) -> Option<Pressure> {
        match self.pressed.swap(0, Relaxed) {
            0 => None,
            1 => Some(Pressure::Low),
            _ => Some(Pressure::High),
        }
    }

    /// Asks the socket what the kernel holds for the client.
    pub(crate) fn ask_outgoing(&self) {
        self.asks.store(true, Relaxed);
    }

    /// What the socket told, if it was polled since.
    pub(crate) fn take_outgoing(&self) -> Option<Queue> {
        self.asks.store(false, Relaxed);
        lock(&self.told).take()
    }

    pub(super) fn tell_outgoing(&self, outgoing: impl FnOnce() -> Option<Queue>) {
        if self.asks.load(Relaxed) {
            self.asks.store(false, Relaxed);
            *lock(&self.told) = outgoing();
        }
    }

    /// The connection is given up on a client that does not take what it was given: so that the
    /// kernel keeps none of it, the client sees a reset.
    pub(crate) fn give_up(&self, why: MustEnd) {
        self.must_end.store(number_of(why), Relaxed);
        self.resets.store(true, Relaxed);
    }

    /// This task drives the connection.
    pub(crate) fn driven_by(&self, waker: &Waker) {
        self.task.get_or_init(|| waker.clone());
    }

    /// It is to make room for another, if it still rests.
    pub(in crate::proxy) fn let_go(&self) {
        self.let_go.store(true, Relaxed);
        self.wake();
    }

    /// It is not to make room (any more).
    pub(in crate::proxy) fn keep(&self) {
        self.let_go.store(false, Relaxed);
    }

    /// Is it to make room for another?
    pub(crate) fn is_let_go(&self) -> bool {
        self.let_go.load(Relaxed)
    }

    /// The request under way must end now.
    pub(in crate::proxy) fn cut(&self, why: MustEnd) {
        self.must_end.store(number_of(why), Relaxed);
        self.wake();
    }

    fn wake(&self) {
        if let Some(task) = self.task.get() {
            task.wake_by_ref();
        }
    }

    /// Must the request under way end now, and why?
    pub(in crate::proxy) fn must_end(&self) -> Option<MustEnd> {
        match self.must_end.load(Relaxed) {
            0 => None,
            1 => Some(MustEnd::Drained),
            2 => Some(MustEnd::TooSlow),
            _ => Some(MustEnd::InTheWay),
        }
    }

    /// Must it end although the client takes nothing, so that hyper asks for no more of it?
    pub(crate) fn is_cut_while_blocked(&self) -> bool {
        self.must_end().is_some() && self.is_write_blocked()
    }

    /// What was to end has ended.
    pub(in crate::proxy) fn forgive(&self) {
        self.must_end.store(0, Relaxed);
    }

    /// The answer to the request under way is written or given up: the next head may pass.
    pub(crate) fn answer_ended(&self) {
        if self.phase() == Phase::Tunnel {
            return;
        }
        self.forgive();
        self.is_sampled.store(false, Relaxed);
        self.answered.store(true, Relaxed);
        if self.parked.load(Relaxed) {
            self.set_phase(Phase::Idle);
        } else {
            self.news.store(true, Relaxed);
        }
    }

    /// From now on bytes pass unread (101 Switching Protocols).
    pub(crate) fn tunnel(&self) {
        self.set_phase(Phase::Tunnel);
        self.news.store(true, Relaxed);
    }

    /// Must hyper read once more? Answers end and tunnels begin while hyper is polled, and by itself
    /// it does not read again before the socket has more.
    pub(crate) fn take_news(&self) -> bool {
        let news = self.news.load(Relaxed);
        self.news.store(false, Relaxed);
        news
    }
}

/// As it is kept where 0 is none.
const fn number_of(why: MustEnd) -> u8 {
    match why {
        MustEnd::Drained => 1,
        MustEnd::TooSlow => 2,
        MustEnd::InTheWay => 3,
    }
}

fn nanos_of(at: Moment) -> u64 {
    u64::try_from(at.0.as_nanos()).unwrap_or(u64::MAX)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
