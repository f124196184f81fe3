//! The bytes of one client connection on their way to h2: `stamp_core::http2::frames` follows them,
//! marks what is malformed and is hidden from us there, and ends what only costs.

use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use stamp_core::http2::frames::{Awaited, End, Reader, Step, goodbye};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Sleep;

use super::{ClientSocket, Phase, WireState, scratch};
use crate::clock::Clock;
use crate::proxy::streams::Streams;

/// How long a client is listened to after our last word. Bytes of its that were not read would turn
/// the close into a reset, and that would take our GOAWAY with it (RFC 9112, section 9.6).
const LISTENED: Duration = Duration::from_secs(1);
/// How much of what it sends meanwhile is thrown away, at most.
const LISTENED_BYTES: usize = 1024 * 1024;

/// The client's socket behind the gate.
#[derive(Debug)]
pub(crate) struct FrameWire {
    socket: ClientSocket,
    state: Arc<WireState>,
    streams: Rc<Streams>,
    clock: Clock,
    reader: Reader,
    buffer: BytesMut,
    /// So many bytes of the buffer may be handed on.
    passing: usize,
    ended: bool,
    leave: Leave,
}

/// How far the end of the connection has come.
#[derive(Debug)]
enum Leave {
    /// It goes on.
    Stays,
    /// The connection is over: so much of the last word is still to be written. h2 writes no more.
    Tells(Bytes),
    /// Nothing more is written.
    Closes,
    /// The client knows; what it sends is thrown away, until then.
    Listens(Pin<Box<Sleep>>, usize),
}

impl FrameWire {
    /// `begun` has come already.
    pub(crate) fn new(
        (socket, begun): (ClientSocket, BytesMut),
        state: Arc<WireState>,
        streams: Rc<Streams>,
        (reader, clock): (Reader, Clock),
    ) -> Self {
        Self {
            socket,
            state,
            streams,
            clock,
            reader,
            buffer: begun,
            passing: 0,
            ended: false,
            leave: Leave::Stays,
        }
    }

    /// Reads once from the socket into the buffer. `Ok(0)` = the client will send no more.
    fn poll_fill(&mut self, context: &mut Context<'_>) -> Poll<io::Result<usize>> {
        if self.ended {
            return Poll::Ready(Ok(0));
        }
        let read = ready!(scratch::poll_fill(&mut self.socket, &mut self.buffer, context))?;
        self.ended = read == 0;
        self.state.count_read(read);
        Poll::Ready(Ok(read))
    }

    /// Finds out how much of the buffer may be handed on.
    fn judge(&mut self) -> Result<(), End> {
        let (sent, now) = (self.state.written_total(), self.clock.now());
        while let Some(bytes) = self.buffer.get(self.passing..) {
            match self.reader.step(bytes, sent, now)? {
                Step::Wait => break,
                Step::Pass(count) => self.passing += count,
                Step::Replace(count, frame, malformed) => {
                    tracing::debug!(?malformed, "a malformed header block ends its stream");
                    let mut rest = self.buffer.split_off(self.passing);
                    rest.advance(count);
                    self.buffer.extend_from_slice(&frame);
                    self.passing = self.buffer.len();
                    self.buffer.unsplit(rest);
                }
            }
        }
        self.note_phase();
        Ok(())
    }

    fn note_phase(&self) {
        let phase = match self.reader.awaited() {
            Awaited::Preface if self.state.read_total() == 0 => Phase::Fresh,
            Awaited::Preface | Awaited::Head => Phase::Head,
            Awaited::Nothing if self.streams.open() > 0 => Phase::Request,
            Awaited::Nothing => Phase::Idle,
        };
        self.state.set_phase(phase);
        self.state.set_heads(self.reader.streams());
        self.streams.resets.set(self.reader.has_resets());
    }

    /// Hands on what may be; says whether that was anything.
    fn hand_on(&mut self, out: &mut ReadBuf<'_>) -> bool {
        let count = self.passing.min(out.remaining());
        out.put_slice(self.buffer.get(..count).unwrap_or_default());
        self.buffer.advance(count);
        self.passing -= count;
        if self.buffer.is_empty() && self.streams.open() == 0 {
            scratch::rest(&mut self.buffer);
        }
        count > 0
    }

    /// The connection is over. The client is told why, unless we are within a frame of ours.
    fn refuse(&mut self, end: End) {
        match end {
            End::Cut(abuse) => self.state.abused(abuse),
            End::Broken(rule) => tracing::debug!(?rule, "the client broke a rule of HTTP/2"),
        }
        self.leave = if self.state.is_write_blocked() {
            Leave::Closes
        } else {
            Leave::Tells(Bytes::copy_from_slice(&goodbye(self.reader.last_stream(), end)))
        };
    }

    /// Writes what is left to say, closes our side, and listens for a while.
    fn poll_leave(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            match &mut self.leave {
                Leave::Tells(word) if !word.is_empty() => {
                    let written = Pin::new(&mut self.socket).poll_write(context, word);
                    word.advance(ready!(written)?);
                }
                Leave::Stays | Leave::Tells(_) | Leave::Closes => {
                    ready!(Pin::new(&mut self.socket).poll_shutdown(context))?;
                    self.leave = Leave::Listens(Box::pin(tokio::time::sleep(LISTENED)), 0);
                }
                Leave::Listens(until, heard) => {
                    let waits = until.as_mut().poll(context).is_pending();
                    if !waits || self.ended || *heard >= LISTENED_BYTES {
                        return Poll::Ready(Ok(()));
                    }
                    self.buffer.clear();
                    let read = ready!(self.poll_fill(context))?;
                    if let Leave::Listens(_, heard) = &mut self.leave {
                        *heard += read;
                    }
                }
            }
        }
    }

    /// Whatever h2 still writes comes after the last word, and is lost.
    const fn is_told(&self) -> bool {
        !matches!(self.leave, Leave::Stays)
    }
}

impl AsyncRead for FrameWire {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        out: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let wire = self.get_mut();
        if out.remaining() == 0 {
            return Poll::Ready(Ok(()));
        }
        while !wire.is_told() {
            if wire.hand_on(out) {
                return Poll::Ready(Ok(()));
            }
            if let Err(end) = wire.judge() {
                wire.refuse(end);
            } else if wire.passing == 0 && ready!(wire.poll_fill(context))? == 0 {
                return Poll::Ready(Ok(()));
            }
        }
        ready!(wire.poll_leave(context))?;
        Poll::Ready(Err(io::ErrorKind::InvalidData.into()))
    }
}

impl AsyncWrite for FrameWire {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let wire = self.get_mut();
        if wire.is_told() {
            return Poll::Ready(Ok(bytes.len()));
        }
        Pin::new(&mut wire.socket).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let wire = self.get_mut();
        if wire.is_told() {
            return Poll::Ready(Ok(slices.iter().map(|slice| slice.len()).sum()));
        }
        Pin::new(&mut wire.socket).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let wire = self.get_mut();
        if wire.is_told() {
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut wire.socket).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.get_mut().poll_leave(context)
    }
}
