//! One request's line to its client: over HTTP/1.1 the connection, which has one request at a time,
//! over HTTP/2 one stream of many. By it a request learns that it must end, and the connection that
//! the answer has.

use std::rc::Rc;
use std::sync::Arc;

use stamp_core::rate::{self, Pressure, Still};
use stamp_core::time::Moment;

use super::streams::Stream;
use super::wire::WireState;

/// The line of one request.
#[derive(Clone, Debug)]
pub(crate) enum Line {
    /// HTTP/1.1: the connection.
    Connection(Arc<WireState>),
    /// HTTP/2: a stream.
    Stream(Rc<Stream>),
}

/// Why a request must end before its answer does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum MustEnd {
    /// The drain of its stamp is over.
    Drained,
    /// Its client does not take what it is given.
    TooSlow,
    /// The same, and others wait for the room that it holds.
    InTheWay,
}

impl MustEnd {
    /// Its name in the access log.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Drained => "stamp_drained",
            Self::TooSlow => "client_too_slow",
            Self::InTheWay => "client_gave_way",
        }
    }
}

impl Line {
    /// The request under way must end now: a drain demands it.
    pub(super) fn cut(&self) {
        match self {
            Self::Connection(wire) => wire.cut(MustEnd::Drained),
            Self::Stream(stream) => stream.cut(MustEnd::Drained),
        }
    }

    /// Must the request under way end now?
    pub(super) fn must_end(&self) -> Option<MustEnd> {
        match self {
            Self::Connection(wire) => wire.must_end(),
            Self::Stream(stream) => stream.must_end(),
        }
    }

    /// What was to end has ended.
    pub(super) fn forgive(&self) {
        match self {
            Self::Connection(wire) => wire.forgive(),
            Self::Stream(stream) => stream.forgive(),
        }
    }

    /// The client took what it was given, and more is asked for.
    pub(super) fn asked(&self) {
        match self {
            Self::Connection(_) => {}
            Self::Stream(stream) => stream.asked(),
        }
    }

    /// The client is given so many bytes of the answer.
    pub(super) fn gave(&self, bytes: usize) {
        match self {
            Self::Connection(_) => {}
            Self::Stream(stream) => stream.gave(bytes),
        }
    }

    /// May what it is given now wait for long? Over HTTP/2 each stream has a window of its own.
    pub(super) fn may_hold(&self) -> bool {
        match self {
            Self::Connection(wire) => wire.is_write_blocked(),
            Self::Stream(_) => true,
        }
    }

    /// How much of an answer may be read from a stamp at a time, in bytes.
    pub(super) fn piece_bytes_max(&self) -> usize {
        let wire = match self {
            Self::Connection(wire) => wire,
            Self::Stream(stream) => stream.wire(),
        };
        rate::piece_bytes_max(wire.taken_since_held_up())
    }

    /// Must an answer of which so much is left wait until the client takes something? If so, it is polled then.
    pub(super) fn holds_up(&self, left: Option<u64>) -> bool {
        match self {
            Self::Connection(wire) => {
                let holds_up = wire.is_write_blocked() && rate::waits_for_client(left);
                if holds_up {
                    wire.answer_waits();
                }
                holds_up
            }
            Self::Stream(_) => false,
        }
    }

    /// The answer is written or given up.
    pub(super) fn answer_ended(&self) {
        match self {
            Self::Connection(wire) => wire.answer_ended(),
            Self::Stream(_) => {}
        }
    }

    /// For how long its client has taken nothing of what it was given; `None` = it is not waited for.
    pub(super) fn stood_still(&self, now: Moment) -> Option<Still> {
        match self {
            Self::Connection(wire) => {
                wire.blocked_since().map(|since| Still::connection(now.since(since)))
            }
            Self::Stream(stream) => stream.stood_still(now),
        }
    }

    /// Others wait for the room that its answer holds, and it stands still. Over HTTP/1.1 the connection
    /// looks once more whether the client took something.
    pub(super) fn give_way(&self, pressure: Pressure) {
        match self {
            Self::Connection(wire) => wire.press(pressure),
            Self::Stream(stream) => stream.cut(MustEnd::InTheWay),
        }
    }

    /// From now on bytes pass unread.
    pub(super) fn tunnel(&self) {
        match self {
            Self::Connection(wire) => wire.tunnel(),
            Self::Stream(_) => {}
        }
    }
}
