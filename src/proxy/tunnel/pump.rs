//! One direction of a tunnel: bytes as they come; and at its end, a frame of our own at the next
//! boundary of a WebSocket's frames, after which nothing more passes.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use stamp_core::websocket::Frames;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// How much is under way at a time: what tokio copies with.
const BUFFER_BYTES: usize = 8 * 1024;

/// One direction.
#[derive(Debug)]
pub(super) struct Pump {
    buffer: Box<[u8]>,
    /// What was read and not written is from here...
    start: usize,
    /// ... to here.
    end: usize,
    /// Where the receiver stands, if these are frames.
    frames: Option<Frames>,
    stage: Stage,
    sender: Sender,
    /// The receiver's socket may hold something back.
    unflushed: bool,
    passed: u64,
}

/// What the sender still has to say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sender {
    /// Perhaps something.
    Speaks,
    /// Nothing.
    Ended,
    /// Nothing, and the receiver was told so.
    EndPassed,
}

#[derive(Debug)]
enum Stage {
    /// Everything passes.
    Pass,
    /// The frame under way passes, then this one is said.
    FinishFrame([u8; Pump::FAREWELL_BYTES_MAX], usize),
    /// The buffer holds our own frame.
    Say,
    /// Nothing passes; the sender is listened to until it has answered.
    Listen,
}

impl Pump {
    /// The longest farewell: a masked close frame with its code.
    pub(super) const FAREWELL_BYTES_MAX: usize = 8;

    /// A direction whose bytes mean nothing here.
    pub(super) fn of_bytes() -> Self {
        Self {
            buffer: vec![0; BUFFER_BYTES].into(),
            start: 0,
            end: 0,
            frames: None,
            stage: Stage::Pass,
            sender: Sender::Speaks,
            unflushed: false,
            passed: 0,
        }
    }

    /// A direction whose bytes are WebSocket frames.
    pub(super) fn of_frames() -> Self {
        Self { frames: Some(Frames::default()), ..Self::of_bytes() }
    }

    /// How many bytes of the sender the receiver's socket took.
    pub(super) const fn passed(&self) -> u64 {
        self.passed
    }

    /// Passes what comes; ready when the sender has ended and the receiver was told.
    pub(super) fn poll_pass(
        &mut self,
        context: &mut Context<'_>,
        mut from: Pin<&mut impl AsyncRead>,
        mut to: Pin<&mut impl AsyncWrite>,
    ) -> Poll<io::Result<()>> {
        loop {
            while self.start < self.end {
                ready!(self.poll_write(context, to.as_mut(), self.end - self.start))?;
            }
            match self.sender {
                Sender::Speaks => {}
                Sender::Ended => {
                    ready!(to.as_mut().poll_shutdown(context))?;
                    self.sender = Sender::EndPassed;
                    return Poll::Ready(Ok(()));
                }
                Sender::EndPassed => return Poll::Ready(Ok(())),
            }
            if let Poll::Ready(read) = self.poll_read(context, from.as_mut()) {
                read?;
                continue;
            }
            if self.unflushed {
                ready!(to.poll_flush(context))?;
                self.unflushed = false;
            }
            return Poll::Pending;
        }
    }

    /// From now on only the frame under way passes, and then this one.
    pub(super) fn end_with<const N: usize>(&mut self, farewell: [u8; N]) {
        const { assert!(N <= Self::FAREWELL_BYTES_MAX, "a close frame without a reason") }
        let mut bytes = [0; Self::FAREWELL_BYTES_MAX];
        for (to, from) in bytes.iter_mut().zip(farewell) {
            *to = from;
        }
        self.stage = Stage::FinishFrame(bytes, N);
    }

    /// Says what `end_with` was given, if it still can be said, and listens until the sender has
    /// said goodbye as well, or is gone: ready then.
    pub(super) fn poll_goodbye(
        &mut self,
        context: &mut Context<'_>,
        mut from: Pin<&mut impl AsyncRead>,
        mut to: Pin<&mut impl AsyncWrite>,
    ) -> Poll<()> {
        loop {
            match self.stage {
                Stage::FinishFrame(farewell, length) => {
                    let rest = self.rest_of_frame();
                    if rest > 0 {
                        if ready!(self.poll_write(context, to.as_mut(), rest)).is_err() {
                            self.stage = Stage::Listen;
                        }
                    } else if self.may_speak() {
                        self.say(farewell.get(..length).unwrap_or_default());
                    } else if self.has_heard() {
                        self.stage = Stage::Listen;
                    } else {
                        ready!(self.poll_hear(context, from.as_mut()));
                    }
                }
                Stage::Say if self.start < self.end => {
                    let left = self.end - self.start;
                    if ready!(self.poll_write(context, to.as_mut(), left)).is_err() {
                        self.start = self.end;
                    }
                }
                Stage::Say => {
                    let _broken = ready!(to.as_mut().poll_flush(context));
                    self.stage = Stage::Listen;
                }
                Stage::Pass | Stage::Listen => {
                    self.skip();
                    if self.has_heard() {
                        return Poll::Ready(());
                    }
                    ready!(self.poll_hear(context, from.as_mut()));
                }
            }
        }
    }

    /// Was everything said that there was to say?
    pub(super) const fn has_spoken(&self) -> bool {
        matches!(self.stage, Stage::Listen)
    }

    /// Has the sender said goodbye, or is it gone?
    pub(super) fn has_heard(&self) -> bool {
        self.sender != Sender::Speaks || self.frames.is_none_or(Frames::has_closed)
    }

    fn waiting(&self) -> &[u8] {
        self.buffer.get(self.start..self.end).unwrap_or_default()
    }

    fn rest_of_frame(&self) -> usize {
        self.frames.map_or(0, |frames| frames.rest_of_frame(self.waiting()))
    }

    /// Does the receiver stand between two frames, and was nothing final said to it?
    fn may_speak(&self) -> bool {
        let between = |frames: Frames| frames.is_at_boundary() && !frames.has_closed();
        self.sender != Sender::EndPassed && self.frames.is_some_and(between)
    }

    /// Puts our own frame in the place of what was not passed on.
    fn say(&mut self, farewell: &[u8]) {
        self.skip();
        self.start = 0;
        self.end = farewell.len();
        for (to, from) in self.buffer.iter_mut().zip(farewell) {
            *to = *from;
        }
        self.stage = Stage::Say;
    }

    /// What waits is followed, and not passed on.
    fn skip(&mut self) {
        let waiting = self.buffer.get(self.start..self.end).unwrap_or_default();
        if let Some(frames) = &mut self.frames {
            frames.advance(waiting);
        }
        self.start = self.end;
    }

    /// Reads once; a sender that cannot be read has ended.
    fn poll_hear(&mut self, context: &mut Context<'_>, from: Pin<&mut impl AsyncRead>) -> Poll<()> {
        if ready!(self.poll_read(context, from)).is_err() {
            self.sender = Sender::Ended;
        }
        Poll::Ready(())
    }

    /// Reads into the buffer, of which everything was written.
    fn poll_read(
        &mut self,
        context: &mut Context<'_>,
        from: Pin<&mut impl AsyncRead>,
    ) -> Poll<io::Result<()>> {
        let mut buffer = ReadBuf::new(&mut self.buffer);
        ready!(from.poll_read(context, &mut buffer))?;
        self.start = 0;
        self.end = buffer.filled().len();
        if self.end == 0 {
            self.sender = Sender::Ended;
        }
        Poll::Ready(Ok(()))
    }

    /// Writes once, at most so many of the bytes that wait.
    fn poll_write(
        &mut self,
        context: &mut Context<'_>,
        to: Pin<&mut impl AsyncWrite>,
        most: usize,
    ) -> Poll<io::Result<()>> {
        let bytes = self.buffer.get(self.start..self.start + most).unwrap_or_default();
        let written = ready!(to.poll_write(context, bytes))?;
        if written == 0 {
            return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
        }
        if !matches!(self.stage, Stage::Say) {
            let bytes = bytes.get(..written).unwrap_or_default();
            if let Some(frames) = &mut self.frames {
                frames.advance(bytes);
            }
            self.passed += written as u64;
        }
        self.start += written;
        self.unflushed = true;
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests;
