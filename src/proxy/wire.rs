//! The bytes of one client connection over HTTP/1.1 on their way to hyper: only whole, strictly read heads and
//! well-framed bodies pass (`stamp_core::framing`), one request at a time. What is refused never
//! reaches hyper; `listen::connection` then answers for it.

mod frames;
mod scratch;
mod socket;
mod state;

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::task::{Context, Poll, ready};

use bytes::{Buf, BytesMut};
use stamp_core::framing::{self, BodyFraming, Chunks, FramingError, HeadLimits};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

pub(crate) use frames::FrameWire;
pub(crate) use socket::{ClientSocket, Metered};
pub(crate) use state::{Phase, WireState};

/// How much a client may send ahead before its request is answered.
const AHEAD_BYTES_MAX: usize = 8 * 1024;

/// What may be handed on.
#[derive(Debug)]
enum Gate {
    /// A head must be complete first; so many bytes of the buffer were searched for its end.
    Head { scanned: usize },
    /// The bytes of a good head.
    PassHead { left: usize, then: BodyFraming },
    /// The bytes of a body with a length.
    Length { left: u64 },
    /// The bytes of a chunked body.
    Chunked(Chunks),
    /// The request is complete; nothing passes until it is answered.
    Closed,
}

/// The client's socket behind the gate.
#[derive(Debug)]
pub(crate) struct Wire {
    socket: ClientSocket,
    state: Arc<WireState>,
    limits: HeadLimits,
    gate: Gate,
    buffer: BytesMut,
    ended: bool,
}

impl Wire {
    /// `begun` has come already.
    pub(crate) fn new(
        (socket, begun): (ClientSocket, BytesMut),
        state: Arc<WireState>,
        limits: HeadLimits,
    ) -> Self {
        Self { socket, state, limits, gate: Gate::Head { scanned: 0 }, buffer: begun, ended: false }
    }

    /// The socket alone, for a last answer when hyper is out of the way.
    pub(crate) fn into_socket(self) -> ClientSocket {
        self.socket
    }

    /// Between two requests: waits until there is something to hand on, or an end to see.
    pub(crate) fn poll_news(&mut self, context: &mut Context<'_>) -> Poll<()> {
        while !self.ended {
            let moved = match self.gate {
                Gate::Head { .. } => ready!(self.poll_head(context)),
                Gate::Closed => ready!(self.poll_closed(context)),
                Gate::PassHead { .. } | Gate::Length { .. } | Gate::Chunked(_) => break,
            };
            // What is wrong shows again to whoever reads.
            if moved.is_some() {
                break;
            }
        }
        Poll::Ready(())
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

    /// Reads from the socket straight into `out`.
    fn poll_direct(
        &mut self,
        context: &mut Context<'_>,
        out: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<usize>> {
        let before = out.filled().len();
        ready!(Pin::new(&mut self.socket).poll_read(context, out))?;
        let read = out.filled().len() - before;
        self.state.count_read(read);
        Poll::Ready(Ok(read))
    }

    /// Hands on up to `most` bytes of the buffer.
    fn hand_on(&mut self, out: &mut ReadBuf<'_>, most: usize) -> usize {
        let taken = most.min(self.buffer.len()).min(out.remaining());
        if let Some(bytes) = self.buffer.get(..taken) {
            out.put_slice(bytes);
        }
        self.buffer.advance(taken);
        taken
    }

    /// One move of the gate. `None` = the gate moved without handing anything on: ask again.
    fn poll_gate(
        &mut self,
        context: &mut Context<'_>,
        out: &mut ReadBuf<'_>,
    ) -> Poll<Option<io::Result<()>>> {
        match &mut self.gate {
            Gate::Head { .. } => self.poll_head(context),
            Gate::PassHead { left, then } => {
                let (left, then) = (*left, *then);
                let taken = self.hand_on(out, left);
                self.gate = if taken < left {
                    Gate::PassHead { left: left - taken, then }
                } else {
                    match then {
                        BodyFraming::Length(0) => Gate::Closed,
                        BodyFraming::Length(left) => Gate::Length { left },
                        BodyFraming::Chunked => Gate::Chunked(Chunks::default()),
                    }
                };
                Poll::Ready(Some(Ok(())))
            }
            Gate::Length { left } => {
                let left = *left;
                self.poll_length(context, out, left)
            }
            Gate::Chunked(chunks) => {
                let chunks = *chunks;
                self.poll_chunked(context, out, chunks)
            }
            Gate::Closed => self.poll_closed(context),
        }
    }

    fn poll_head(&mut self, context: &mut Context<'_>) -> Poll<Option<io::Result<()>>> {
        // RFC 9112, section 2.2: one empty line before a request line is forgiven.
        if matches!(self.gate, Gate::Head { scanned: 0 }) && self.buffer.starts_with(b"\r\n") {
            self.buffer.advance(2);
        }
        if !self.buffer.is_empty() {
            self.state.set_phase(Phase::Head);
            match self.judge_head() {
                Ok(true) => return Poll::Ready(None),
                Ok(false) => {}
                Err(refused) => {
                    return Poll::Ready(Some(Err(self.state.refuse(refused))));
                }
            }
        }
        match ready!(self.poll_fill(context)) {
            Ok(0) => Poll::Ready(Some(Ok(()))),
            Ok(_) => Poll::Ready(None),
            Err(error) => Poll::Ready(Some(Err(error))),
        }
    }

    /// Is the head in the buffer complete and good? Opens the gate if so.
    fn judge_head(&mut self) -> Result<bool, FramingError> {
        let Gate::Head { scanned } = self.gate else { return Ok(true) };
        let Some(end) = framing::head_end(&self.buffer, scanned) else {
            framing::check_partial_head(&self.buffer, self.limits)?;
            self.gate = Gate::Head { scanned: self.buffer.len() };
            return Ok(false);
        };
        let head = self.buffer.get(..end).unwrap_or_default();
        let then = framing::read_head(head, self.limits)?;
        self.gate = Gate::PassHead { left: end, then };
        self.state.begin_request();
        Ok(true)
    }

    fn poll_length(
        &mut self,
        context: &mut Context<'_>,
        out: &mut ReadBuf<'_>,
        left: u64,
    ) -> Poll<Option<io::Result<()>>> {
        // Straight into hyper's buffer where that cannot run into the next request.
        let direct = self.buffer.is_empty() && out.remaining() as u64 <= left;
        let passed = if direct {
            ready!(self.poll_direct(context, out))
        } else {
            if self.buffer.is_empty() {
                match ready!(self.poll_fill(context)) {
                    Ok(0) => return Poll::Ready(Some(Ok(()))),
                    Ok(_) => {}
                    Err(error) => return Poll::Ready(Some(Err(error))),
                }
            }
            Ok(self.hand_on(out, usize::try_from(left).unwrap_or(usize::MAX)))
        };
        Poll::Ready(Some(passed.map(|passed| {
            let left = left.saturating_sub(passed as u64);
            self.gate = if left == 0 { Gate::Closed } else { Gate::Length { left } };
        })))
    }

    fn poll_chunked(
        &mut self,
        context: &mut Context<'_>,
        out: &mut ReadBuf<'_>,
        mut chunks: Chunks,
    ) -> Poll<Option<io::Result<()>>> {
        if self.buffer.is_empty() {
            match ready!(self.poll_fill(context)) {
                Ok(0) => return Poll::Ready(Some(Ok(()))),
                Ok(_) => {}
                Err(error) => return Poll::Ready(Some(Err(error))),
            }
        }
        let room = self.buffer.len().min(out.remaining());
        match chunks.advance(self.buffer.get(..room).unwrap_or_default()) {
            Ok(taken) => {
                self.hand_on(out, taken);
                self.gate = if chunks.is_done() { Gate::Closed } else { Gate::Chunked(chunks) };
                Poll::Ready(Some(Ok(())))
            }
            Err(refused) => Poll::Ready(Some(Err(self.state.refuse(refused)))),
        }
    }

    /// Waits for the answer, and meanwhile notices when the client goes away.
    fn poll_closed(&mut self, context: &mut Context<'_>) -> Poll<Option<io::Result<()>>> {
        if self.state.is_answered() {
            self.gate = Gate::Head { scanned: 0 };
            self.state.set_phase(Phase::Idle);
            if self.buffer.is_empty() {
                scratch::rest(&mut self.buffer);
            }
            return Poll::Ready(None);
        }
        if self.buffer.len() >= AHEAD_BYTES_MAX {
            return Poll::Pending;
        }
        let filled = self.poll_fill(context);
        self.state.parked.store(filled.is_pending() && self.buffer.is_empty(), Relaxed);
        match ready!(filled) {
            // Requests that were sent ahead are answered before the end counts.
            Ok(0) if !self.buffer.is_empty() => Poll::Pending,
            Ok(0) => Poll::Ready(Some(Ok(()))),
            Ok(_) => Poll::Ready(None),
            Err(error) => Poll::Ready(Some(Err(error))),
        }
    }
}

impl AsyncRead for Wire {
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
            if wire.state.phase() == Phase::Tunnel {
                if wire.buffer.is_empty() {
                    return wire.poll_direct(context, out).map_ok(|_| ());
                }
                wire.hand_on(out, usize::MAX);
                return Poll::Ready(Ok(()));
            }
            if let Some(passed) = ready!(wire.poll_gate(context, out)) {
                return Poll::Ready(passed);
            }
        }
    }
}

impl AsyncWrite for Wire {
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
        // hyper takes a refused head for the end of the connection; its answer is still to come.
        if self.state.phase() == Phase::Head && self.state.refused().is_some() {
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut self.get_mut().socket).poll_shutdown(context)
    }
}
