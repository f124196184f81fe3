//! What all connections of a worker are read into, so that one that rests holds no buffer of its own.

use std::cell::RefCell;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::BytesMut;
use stamp_core::http2::frames::{FRAME_BYTES_MAX, FRAME_HEAD_BYTES};
use tokio::io::{AsyncRead, ReadBuf};

use super::ClientSocket;

thread_local! {
    static SCRATCH: RefCell<Box<[u8]>> = RefCell::new(vec![0; SCRATCH_BYTES].into());
}

/// A frame of the largest size of HTTP/2, and its head.
const SCRATCH_BYTES: usize = FRAME_BYTES_MAX as usize + FRAME_HEAD_BYTES;
/// What a resting connection may keep: most heads fit, and need not be given room again each time.
const KEPT_BYTES_MAX: usize = 1024;

/// Reads once from the socket into the buffer. `Ok(0)` = the client will send no more.
pub(super) fn poll_fill(
    socket: &mut ClientSocket,
    buffer: &mut BytesMut,
    context: &mut Context<'_>,
) -> Poll<io::Result<usize>> {
    // By `poll_read`, which knows that a short read emptied the socket: `try_read` would ask
    // the kernel once more (measured: a call of recv for each request).
    SCRATCH.with_borrow_mut(|scratch| {
        let mut scratch = ReadBuf::new(scratch);
        ready!(Pin::new(socket).poll_read(context, &mut scratch))?;
        buffer.extend_from_slice(scratch.filled());
        Poll::Ready(Ok(scratch.filled().len()))
    })
}

/// Nothing is in the buffer for now: large ones are given back.
pub(super) fn rest(buffer: &mut BytesMut) {
    debug_assert!(buffer.is_empty(), "bytes of a client would be lost");
    if buffer.capacity() > KEPT_BYTES_MAX {
        *buffer = BytesMut::new();
    }
}
