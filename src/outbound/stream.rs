//! The bytes of one connection to a stamp, in the clear or over TLS, and how many they are: whether
//! anything was sent, and whether anything came back, decides about repeats.

use std::io;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::task::{Context, Poll};

use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

use crate::tls::{agreed_on_http2, is_refusal_of_our_certificate};

/// How many bytes went over a link.
#[derive(Debug, Default)]
pub struct LinkBytes {
    written: AtomicU64,
    read: AtomicU64,
    refused: AtomicBool,
}

impl LinkBytes {
    /// Bytes that the socket took. What TLS still holds back was not sent.
    pub fn written(&self) -> u64 {
        self.written.load(Relaxed)
    }

    /// Bytes of answers that came back. What TLS says on its own behalf is no answer.
    pub fn read(&self) -> u64 {
        self.read.load(Relaxed)
    }

    /// Did the stamp refuse the gateway's certificate? Then it has read nothing that was sent.
    pub fn were_refused(&self) -> bool {
        self.refused.load(Relaxed) && self.read() == 0
    }
}

/// A socket that counts what it takes.
#[derive(Debug)]
pub(super) struct Sent {
    socket: TcpStream,
    bytes: Arc<LinkBytes>,
}

/// A connection, in the clear or not.
#[derive(Debug)]
pub(super) enum Stream {
    Plain(Sent),
    /// Boxed, for its session is many times a socket.
    Tls(Box<TlsStream<Sent>>),
}

/// A connection that counts what comes back.
#[derive(Debug)]
pub(super) struct Counted {
    stream: Stream,
    bytes: Arc<LinkBytes>,
}

impl Sent {
    pub(super) const fn new(socket: TcpStream, bytes: Arc<LinkBytes>) -> Self {
        Self { socket, bytes }
    }

    fn count(&self, written: &Poll<io::Result<usize>>) {
        if let Poll::Ready(Ok(written)) = written {
            self.bytes.written.store(self.bytes.written() + *written as u64, Relaxed);
        }
    }
}

impl Counted {
    pub(super) const fn new(stream: Stream, bytes: Arc<LinkBytes>) -> Self {
        Self { stream, bytes }
    }

    /// Is HTTP/2 what it was made for? In the clear there is nobody to ask: who asks, knows.
    pub(super) fn is_for_http2(&self) -> bool {
        match &self.stream {
            Stream::Plain(_) => true,
            Stream::Tls(session) => agreed_on_http2(session),
        }
    }

    /// Is there nothing to read, not even the end? That TLS speaks of itself right after the handshake is
    /// no noise: later it has nothing to say while nobody asks.
    pub(super) fn is_quiet(&self) -> bool {
        let socket = match &self.stream {
            Stream::Plain(sent) => &sent.socket,
            Stream::Tls(_) if self.bytes.read() == 0 => return true,
            Stream::Tls(session) => &session.get_ref().0.socket,
        };
        let peeked = SockRef::from(socket).peek(&mut [MaybeUninit::uninit()]);
        peeked.is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock)
    }
}

impl AsyncRead for Sent {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        out: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().socket).poll_read(context, out)
    }
}

impl AsyncWrite for Sent {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = Pin::new(&mut this.socket).poll_write(context, bytes);
        this.count(&written);
        written
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = Pin::new(&mut this.socket).poll_write_vectored(context, slices);
        this.count(&written);
        written
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

impl AsyncRead for Counted {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        out: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = out.filled().len();
        let read = match &mut this.stream {
            Stream::Plain(socket) => Pin::new(socket).poll_read(context, out),
            Stream::Tls(session) => Pin::new(session).poll_read(context, out),
        };
        let more = out.filled().len() - before;
        this.bytes.read.store(this.bytes.read() + more as u64, Relaxed);
        if let Poll::Ready(Err(error)) = &read
            && is_refusal_of_our_certificate(error)
        {
            this.bytes.refused.store(true, Relaxed);
        }
        read
    }
}

impl AsyncWrite for Counted {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match &mut self.get_mut().stream {
            Stream::Plain(socket) => Pin::new(socket).poll_write(context, bytes),
            Stream::Tls(session) => Pin::new(session).poll_write(context, bytes),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match &mut self.get_mut().stream {
            Stream::Plain(socket) => Pin::new(socket).poll_write_vectored(context, slices),
            Stream::Tls(session) => Pin::new(session).poll_write_vectored(context, slices),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match &self.stream {
            Stream::Plain(socket) => socket.is_write_vectored(),
            Stream::Tls(session) => session.is_write_vectored(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().stream {
            Stream::Plain(socket) => Pin::new(socket).poll_flush(context),
            Stream::Tls(session) => Pin::new(session).poll_flush(context),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().stream {
            Stream::Plain(socket) => Pin::new(socket).poll_shutdown(context),
            Stream::Tls(session) => Pin::new(session).poll_shutdown(context),
        }
    }
}
