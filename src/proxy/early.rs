//! Answers over HTTP/2 that are there before their request is.
//!
//! Such an answer may be given at once (RFC 9113, section 8.1), and then the stream is over: what else comes
//! for it is thrown away unjudged. But what a client sends in one go comes piece by piece, and a stamp or a
//! refusal is as fast as the pieces: of a malformed request it would be chance whether it is seen to be one. So
//! for a moment the answer waits for the rest of its request.

use std::future::poll_fn;
use std::pin::Pin;
use std::rc::Rc;
use std::time::Duration;

use hyper::body::{Body, Incoming};
use stamp_core::time::Moment;

use super::worker::Worker;
use crate::outbound::body::BodySource;

/// For so long from the start of a request at most. What was sent in one go came within 1 ms where this was
/// measured; the rest is for machines that are busy.
const WAIT: Duration = Duration::from_millis(50);

/// What may still come of a request.
#[derive(Debug)]
pub(super) enum Remainder {
    /// Its body, which nobody has asked for yet.
    Unread(Incoming),
    /// Its body, on its way to a stamp.
    Forwarded(Rc<BodySource>),
    /// Nothing.
    Nothing,
}

impl Remainder {
    pub(super) fn of(body: Incoming) -> Self {
        if body.is_end_stream() { Self::Nothing } else { Self::Unread(body) }
    }

    /// Takes the body, if nobody did before.
    pub(super) fn take(&mut self) -> Option<Incoming> {
        match std::mem::replace(self, Self::Nothing) {
            Self::Unread(body) => Some(body),
            other @ (Self::Forwarded(_) | Self::Nothing) => {
                *self = other;
                None
            }
        }
    }

    /// The body as long as nobody has taken it.
    pub(super) const fn unread(&self) -> Option<&Incoming> {
        match self {
            Self::Unread(body) => Some(body),
            Self::Forwarded(_) | Self::Nothing => None,
        }
    }

    /// Waits until all of a request that began then is there, or its time is over. If it is malformed, h2
    /// resets the stream, and this future goes with it.
    pub(super) async fn wait(self, worker: &Worker, began: Moment) {
        let due = began.after(WAIT);
        let _in_time: Option<()> = match self {
            Self::Unread(body) => worker.by(due, read(body)).await,
            // It was refused before a stamp had any of it, or the stamp is gone.
            Self::Forwarded(source) if Rc::strong_count(&source) == 1 => {
                worker.by(due, read(source.body())).await
            }
            Self::Forwarded(source) => worker.by(due, source.over()).await,
            Self::Nothing => None,
        };
    }
}

async fn read<B: Body + Unpin>(mut body: B) {
    while let Some(Ok(_thrown_away)) =
        poll_fn(|context| Pin::new(&mut body).poll_frame(context)).await
    {}
}
