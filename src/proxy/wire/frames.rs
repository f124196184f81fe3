//! The bytes of one client connection on their way to h2: `stamp_core::http2::frames` follows them,
//! marks what is malformed and is hidden from us there, and ends what only costs.

use std::cell::RefCell;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::{Buf, BytesMut};
use stamp_core::http2::allowance::Abuse;
use stamp_core::http2::frames::{
    Awaited, FRAME_BYTES_MAX, FRAME_HEAD_BYTES, Reader, Step, calm_down,
};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::{ClientSocket, Phase, WireState};
use crate::clock::Clock;
use crate::proxy::streams::Streams;

thread_local! {
    /// What all connections of a worker are read into, so that one that rests holds no buffer.
    static SCRATCH: RefCell<Box<[u8]>> = RefCell::new(vec![0; SCRATCH_BYTES].into());
}

/// A frame of the largest size, and its head.
const SCRATCH_BYTES: usize = FRAME_BYTES_MAX as usize + FRAME_HEAD_BYTES;

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
}

impl FrameWire {
    /// `begun` has come already.
    pub(crate) fn new(
        (socket, begun): (ClientSocket, BytesMut),
        state: Arc<WireState>,
        streams: Rc<Streams>,
        (reader, clock): (Reader, Clock),
    ) -> Self {
        Self { socket, state, streams, clock, reader, buffer: begun, passing: 0, ended: false }
    }

    /// Reads once from the socket into the buffer. `Ok(0)` = the client will send no more.
    fn poll_fill(&mut self, context: &mut Context<'_>) -> Poll<io::Result<usize>> {
        if self.ended {
            return Poll::Ready(Ok(0));
        }
        let (socket, buffer) = (&mut self.socket, &mut self.buffer);
        let read = ready!(SCRATCH.with_borrow_mut(|scratch| {
            let mut scratch = ReadBuf::new(scratch);
            ready!(Pin::new(socket).poll_read(context, &mut scratch))?;
            buffer.extend_from_slice(scratch.filled());
            Poll::Ready(io::Result::Ok(scratch.filled().len()))
        }))?;
        self.ended = read == 0;
        self.state.count_read(read);
        Poll::Ready(Ok(read))
    }

    /// Finds out how much of the buffer may be handed on.
    fn judge(&mut self) -> Result<(), Abuse> {
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
    }

    /// Hands on what may be; says whether that was anything.
    fn hand_on(&mut self, out: &mut ReadBuf<'_>) -> bool {
        let count = self.passing.min(out.remaining());
        out.put_slice(self.buffer.get(..count).unwrap_or_default());
        self.buffer.advance(count);
        self.passing -= count;
        if self.buffer.is_empty() && self.streams.open() == 0 {
            self.buffer = BytesMut::new();
        }
        count > 0
    }

    /// Tells the client why it is cut, if it takes that at once.
    fn refuse(&mut self, abuse: Abuse, context: &mut Context<'_>) -> io::Error {
        self.state.abused(abuse);
        // Within a frame of ours it could not be told.
        if !self.state.is_write_blocked() {
            let goodbye = calm_down(self.reader.last_stream());
            drop(Pin::new(&mut self.socket).poll_write(context, &goodbye));
            drop(Pin::new(&mut self.socket).poll_flush(context));
        }
        io::ErrorKind::InvalidData.into()
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
        loop {
            if wire.hand_on(out) {
                return Poll::Ready(Ok(()));
            }
            if let Err(abuse) = wire.judge() {
                return Poll::Ready(Err(wire.refuse(abuse, context)));
            }
            if wire.passing == 0 && ready!(wire.poll_fill(context))? == 0 {
                return Poll::Ready(Ok(()));
            }
        }
    }
}

impl AsyncWrite for FrameWire {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().socket).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().socket).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().socket).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().socket).poll_shutdown(context)
    }
}
