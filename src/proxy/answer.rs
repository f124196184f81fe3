//! The body of an answer on its way to the client. When it ends, well or not, everything that the
//! request held is given back: the connection, the places in flight, the record.

use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use stamp_core::time::Moment;
use tokio::time::Sleep;

use super::flights::Flight;
use super::line::{Line, MustEnd};
use super::record::Record;
use super::{headers, respond};
use crate::clock::Clock;
use crate::outbound::answer::AnswerBody;
use crate::outbound::body::BodySource;
use crate::outbound::link::Link;
use crate::outbound::pool::{Load, Pool};
use crate::state::TenantPlace;

/// Pieces up to this size are copied before they wait for a client.
const COPIED_BYTES_MAX: usize = 16 * 1024;

/// An answer's body.
#[derive(Debug)]
pub(crate) struct Answer {
    content: Content,
    ending: Ending,
}

#[derive(Debug)]
enum Content {
    /// Made here.
    Local(Option<Bytes>),
    /// From a stamp.
    Stamp(Box<FromStamp>),
}

/// What happens when the answer is over: the record is told, the next request may come.
#[derive(Debug)]
pub(super) struct Ending {
    /// `None` once a tunnel took it.
    pub(super) record: Option<Box<Record>>,
    pub(super) line: Line,
}

impl Ending {
    pub(super) fn status(&mut self, status: u16) {
        if let Some(record) = &mut self.record {
            record.status = status;
        }
    }

    /// What the request counts for with its tenant.
    pub(super) fn take_place(&mut self) -> Option<TenantPlace> {
        self.record.as_mut()?.place.take()
    }
}

impl Drop for Ending {
    fn drop(&mut self) {
        if let Some(why) = self.line.must_end()
            && let Some(record) = &mut self.record
        {
            record.why_broken = Some(why.as_str());
        }
        self.line.answer_ended();
    }
}

/// A stamp's answer and what it holds until it ends.
#[derive(Debug)]
pub(super) struct FromStamp {
    pub(super) incoming: AnswerBody,
    pub(super) link: Option<Link>,
    pub(super) pool: Rc<Pool>,
    /// What counts at the stamp, and for the tenant, until the stamp has said all of the answer: how long the
    /// client takes to read that is nothing to them.
    pub(super) counts: Option<(Load, Flight, Option<TenantPlace>)>,
    /// Was the request through when the answer began?
    pub(super) sent: Sent,
    /// The longest pause of the stamp.
    pub(super) idle: Duration,
    /// When the request must be over.
    pub(super) deadline: Option<Moment>,
    /// How its client learns that it ends before its time.
    pub(super) farewell: Farewell,
    pub(super) clock: Clock,
    pub(super) timer: Option<Pin<Box<Sleep>>>,
}

/// How a client learns that an answer is incomplete.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Farewell {
    /// By the end of its stream or connection.
    Reset,
    /// By trailers that say so: it is an RPC.
    Trailers,
}

/// How much of a request was sent when its answer began.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sent {
    /// All of it.
    Whole,
    /// Its body was still on its way: what a stamp that answers so early makes of the rest is not known, so its
    /// connection is not used again.
    InPart,
}

impl Sent {
    pub(super) fn of(body: Option<&Rc<BodySource>>) -> Self {
        if body.is_none_or(|source| source.is_ended()) { Self::Whole } else { Self::InPart }
    }
}

/// The answer was cut: the client sees that it is incomplete.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Cut {
    /// The stamp broke off.
    #[error("the stamp broke off within its answer")]
    BrokeOff,
    /// The stamp paused for too long.
    #[error("the stamp paused for too long within its answer")]
    TooSlow,
    /// The time of the request is over.
    #[error("the time of the request is over")]
    DeadlineOver,
    /// It must end before its time.
    #[error("the answer must end: {}", .0.as_str())]
    MustEnd(MustEnd),
}

impl Answer {
    /// An answer made by the gateway.
    pub(super) fn local(bytes: Bytes, mut ending: Ending) -> Self {
        drop(ending.take_place());
        Self { content: Content::Local(Some(bytes).filter(|bytes| !bytes.is_empty())), ending }
    }

    /// A stamp's answer.
    pub(super) fn from_stamp(mut from: Box<FromStamp>, ending: Ending) -> Self {
        if from.incoming.is_end_stream() {
            from.give_back();
        }
        Self { content: Content::Stamp(from), ending }
    }
}

impl FromStamp {
    /// The answer is read to its end: the connection may serve again, if the request was through before.
    fn give_back(&mut self) {
        if let Some(link) = self.link.take() {
            match self.sent {
                Sent::Whole => self.pool.give_back(link, self.clock.now()),
                Sent::InPart => link.close(),
            }
        }
        self.counts = None;
    }

    /// The answer is given up, and the stamp sees it.
    fn give_up(&mut self) {
        if let Some(link) = self.link.take() {
            link.close();
        }
    }

    fn poll_frame(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Cut>>> {
        let Poll::Ready(frame) = Pin::new(&mut self.incoming).poll_frame(context) else {
            return self.poll_patience(context);
        };
        self.timer = None;
        let Some(frame) = frame else {
            self.give_back();
            return Poll::Ready(None);
        };
        let Ok(frame) = frame else {
            self.give_up();
            return Poll::Ready(Some(Err(Cut::BrokeOff)));
        };
        if self.incoming.is_end_stream() {
            self.give_back();
        }
        Poll::Ready(Some(Ok(match frame.into_trailers() {
            Err(data) => data,
            Ok(mut trailers) => {
                headers::filter_trailers(&mut trailers);
                Frame::trailers(trailers)
            }
        })))
    }

    /// The client sees that the answer is incomplete, and so does the stamp.
    fn cut(&mut self, why: MustEnd) -> Poll<Option<Result<Frame<Bytes>, Cut>>> {
        self.give_up();
        Poll::Ready(Some(Err(Cut::MustEnd(why))))
    }

    fn poll_patience(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Cut>>> {
        let timer = self.timer.get_or_insert_with(|| {
            let due = self.clock.now().after(self.idle);
            let due = self.deadline.map_or(due, |deadline| deadline.min(due));
            Box::pin(tokio::time::sleep_until(self.clock.instant(due)))
        });
        ready!(timer.as_mut().poll(context));
        self.give_up();
        let is_over = self.deadline.is_some_and(|deadline| deadline <= self.clock.now());
        Poll::Ready(Some(Err(if is_over { Cut::DeadlineOver } else { Cut::TooSlow })))
    }
}

/// The same piece, by itself. A slice keeps all of the buffer alive that was read from the stamp, for as long
/// as the client takes (measured: over 1 MB for one that reads slowly, though hyper counts 64 KB).
fn apart(frame: Frame<Bytes>) -> Frame<Bytes> {
    match frame.into_data() {
        Ok(data) if data.len() <= COPIED_BYTES_MAX => Frame::data(Bytes::copy_from_slice(&data)),
        Ok(data) => Frame::data(data),
        Err(frame) => frame,
    }
}

impl Body for Answer {
    type Data = Bytes;
    type Error = Cut;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Cut>>> {
        let this = self.get_mut();
        this.ending.line.asked();
        let must_end = this.ending.line.must_end();
        let frame = match &mut this.content {
            Content::Local(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            Content::Stamp(from) if let Some(why) = must_end => from.cut(why),
            Content::Stamp(from)
                if this.ending.line.holds_up(from.incoming.size_hint().exact()) =>
            {
                Poll::Pending
            }
            Content::Stamp(from) => {
                if let Some(link) = &from.link {
                    link.read_at_most(this.ending.line.piece_bytes_max());
                }
                let frame = from.poll_frame(context);
                if this.ending.line.may_hold() { frame.map_ok(apart) } else { frame }
            }
        };
        let Some(record) = &mut this.ending.record else { return frame };
        match &frame {
            Poll::Ready(Some(Ok(frame))) => {
                let bytes = frame.data_ref().map_or(0, Bytes::len);
                this.ending.line.gave(bytes);
                record.sent_bytes += bytes as u64;
            }
            Poll::Ready(Some(Err(cut))) => {
                record.upstream_ended();
                record.why_broken = Some(match cut {
                    Cut::BrokeOff => "answer_broke_off",
                    Cut::TooSlow | Cut::DeadlineOver => "answer_too_slow",
                    Cut::MustEnd(why) => why.as_str(),
                });
            }
            Poll::Ready(None) => record.upstream_ended(),
            Poll::Pending => {}
        }
        match (frame, &this.content) {
            (Poll::Ready(Some(Err(cut))), Content::Stamp(from))
                if from.farewell == Farewell::Trailers =>
            {
                // What was held for the stamp's answer is given up with it.
                this.content = Content::Local(None);
                Poll::Ready(Some(Ok(Frame::trailers(respond::grpc_trailers(cut)))))
            }
            (frame, _) => frame,
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.content {
            Content::Local(bytes) => bytes.is_none(),
            Content::Stamp(from) => from.incoming.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.content {
            Content::Local(bytes) => {
                SizeHint::with_exact(bytes.as_ref().map_or(0, Bytes::len) as u64)
            }
            Content::Stamp(from) => from.incoming.size_hint(),
        }
    }
}
