//! What stamps send on its way to hyper: only answers that `stamp_core::framing` reads strictly, and each only
//! once its request is on its way. A connection over which anything else came is spoiled and never used again,
//! so that no tenant gets what was meant for, or made up by, another.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicUsize};
use std::task::{Context, Poll, ready};

use http::header::UPGRADE;
use http::{Method, Request};
use stamp_core::framing::{AnswerFault, AnswerLimits, Answers, Asked};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::stream::Counted;

/// What a link's owner and its gate tell each other. One worker uses it; it is atomic only because hyper asks
/// that a socket that can switch protocols may move between threads.
#[derive(Debug)]
pub(super) struct Watch {
    asked: AtomicU8,
    spoiled: AtomicBool,
    /// So much is read at a time, in bytes.
    piece: AtomicUsize,
}

impl Default for Watch {
    fn default() -> Self {
        let piece = AtomicUsize::new(usize::MAX);
        Self { asked: AtomicU8::default(), spoiled: AtomicBool::default(), piece }
    }
}

impl Watch {
    /// This request is sent next.
    pub(super) fn expect<B>(&self, request: &Request<B>) {
        let asked = if request.method() == Method::HEAD {
            Asked::HeadOnly
        } else if request.headers().contains_key(UPGRADE) {
            Asked::Switch
        } else {
            Asked::Answer
        };
        self.asked.store(1 + asked as u8, Relaxed);
    }

    fn take_asked(&self) -> Option<Asked> {
        let asked = match self.asked.load(Relaxed) {
            0 => return None,
            1 => Asked::Answer,
            2 => Asked::HeadOnly,
            _ => Asked::Switch,
        };
        self.asked.store(0, Relaxed);
        Some(asked)
    }

    pub(super) fn read_at_most(&self, bytes: usize) {
        self.piece.store(bytes, Relaxed);
    }

    /// Did anything come that is no answer to what was asked?
    pub(super) fn is_spoiled(&self) -> bool {
        self.spoiled.load(Relaxed)
    }
}

/// Why a connection is spoiled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
enum Spoiled {
    /// The answer is none.
    #[error(transparent)]
    Fault(AnswerFault),
    /// Something came that nobody asked for.
    #[error("bytes came that answer no request")]
    Unasked,
    /// The connection is not as quiet as one at rest must be: there is something unread, or its end.
    #[error("the connection did not rest")]
    NotQuiet,
    /// It was found out before.
    #[error("the connection is spoiled")]
    Before,
}

/// A stamp's connection behind the gate.
#[derive(Debug)]
pub(super) struct AnswerGate {
    stream: Counted,
    answers: Answers,
    watch: Arc<Watch>,
}

impl AnswerGate {
    pub(super) const fn new(stream: Counted, watch: Arc<Watch>, limits: AnswerLimits) -> Self {
        Self { stream, answers: Answers::new(limits), watch }
    }

    /// Reads no more than may be read at a time.
    fn poll_piece(
        &mut self,
        context: &mut Context<'_>,
        out: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let piece = self.watch.piece.load(Relaxed);
        if piece >= out.remaining() {
            return Pin::new(&mut self.stream).poll_read(context, out);
        }
        let mut part = ReadBuf::new(out.initialize_unfilled_to(piece));
        ready!(Pin::new(&mut self.stream).poll_read(context, &mut part))?;
        let read = part.filled().len();
        out.advance(read);
        Poll::Ready(Ok(()))
    }

    fn spoil(&self, why: Spoiled) -> io::Error {
        if !self.watch.spoiled.swap(true, Relaxed) {
            tracing::debug!(%why, "connection to a stamp is thrown away");
        }
        io::Error::new(io::ErrorKind::InvalidData, why)
    }

    /// Is a request about to be written? Then all that came until now answers something else.
    fn begin(&mut self) -> io::Result<()> {
        if self.watch.is_spoiled() {
            return Err(self.spoil(Spoiled::Before));
        }
        let Some(asked) = self.watch.take_asked() else { return Ok(()) };
        // The runtime may not have heard yet of what is in the socket.
        if !self.answers.is_resting() || !self.stream.is_quiet() {
            return Err(self.spoil(Spoiled::NotQuiet));
        }
        self.answers.ask(asked);
        Ok(())
    }

    /// How many of the bytes that came may be handed on.
    fn judge(&mut self, came: &[u8]) -> io::Result<usize> {
        let taken =
            self.answers.advance(came).map_err(|fault| self.spoil(Spoiled::Fault(fault)))?;
        if taken == came.len() {
            return Ok(taken);
        }
        let unasked = self.spoil(Spoiled::Unasked);
        // The answer itself is good: only what follows it is not.
        if taken > 0 { Ok(taken) } else { Err(unasked) }
    }
}

impl AsyncRead for AnswerGate {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        out: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let gate = self.get_mut();
        if gate.watch.is_spoiled() {
            return Poll::Ready(Err(gate.spoil(Spoiled::Before)));
        }
        let before = out.filled().len();
        ready!(gate.poll_piece(context, out))?;
        let came = out.filled().get(before..).unwrap_or_default();
        let taken = gate.judge(came)?;
        out.set_filled(before + taken);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for AnswerGate {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let gate = self.get_mut();
        gate.begin()?;
        Pin::new(&mut gate.stream).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let gate = self.get_mut();
        gate.begin()?;
        Pin::new(&mut gate.stream).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(context)
    }
}
