//! A WebSocket over one stream of an HTTP/2 connection (RFC 8441): bytes both ways, as a socket has them.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf as _, Bytes};
use h2::{RecvStream, SendStream};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::exchange::poll_room;
use super::http2::Place;

/// A stream that a stamp has opened as a WebSocket. To drop it resets it unless both sides have ended, and what was
/// not sent by then is lost, as where a socket is reset.
#[derive(Debug)]
pub struct WebSocketStream {
    sender: SendStream<Bytes>,
    receiver: RecvStream,
    /// What came and was not read.
    unread: Bytes,
    _place: Place,
}

impl WebSocketStream {
    pub(super) const fn new(sender: SendStream<Bytes>, receiver: RecvStream, place: Place) -> Self {
        Self { sender, receiver, unread: Bytes::new(), _place: place }
    }
}

impl AsyncRead for WebSocketStream {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        out: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        while this.unread.is_empty() {
            match ready!(this.receiver.poll_data(context)) {
                Some(bytes) => this.unread = bytes.map_err(io::Error::other)?,
                None => return Poll::Ready(Ok(())),
            }
        }
        let read = this.unread.len().min(out.remaining());
        out.put_slice(&this.unread.split_to(read));
        // What is read is taken: whoever does not read holds the stamp back.
        this.receiver.flow_control().release_capacity(read).map_err(io::Error::other)?;
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for WebSocketStream {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        this.sender.reserve_capacity(bytes.len());
        let room = ready!(poll_room(&mut this.sender, context)).ok_or(io::ErrorKind::BrokenPipe)?;
        let mut rest = bytes;
        let part = rest.copy_to_bytes(room.min(bytes.len()));
        let written = part.len();
        this.sender.send_data(part, false).map_err(io::Error::other)?;
        Poll::Ready(Ok(written))
    }

    fn poll_flush(self: Pin<&mut Self>, _context: &mut Context<'_>) -> Poll<io::Result<()>> {
        // The task of the connection writes as soon as it can.
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _context: &mut Context<'_>) -> Poll<io::Result<()>> {
        // It fails where the stamp has reset the stream: nobody is left to be told.
        drop(self.get_mut().sender.send_data(Bytes::new(), true));
        Poll::Ready(Ok(()))
    }
}
