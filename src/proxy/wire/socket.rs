//! A client's socket, in the clear or over TLS. What it took is counted at the socket itself: what
//! TLS still holds back says nothing about the client.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;

use super::WireState;
use crate::clock::Clock;
use crate::socket;

/// A client's connection.
#[derive(Debug)]
pub(crate) enum ClientSocket {
    /// In the clear.
    Plain(Metered),
    /// Boxed, for its session is many times a socket.
    Tls(Box<TlsStream<Metered>>),
}

/// A socket that counts what it takes, and tells what the client takes of it.
#[derive(Debug)]
pub(crate) struct Metered {
    socket: TcpStream,
    state: Arc<WireState>,
    clock: Clock,
}

impl Metered {
    pub(crate) const fn new(socket: TcpStream, state: Arc<WireState>, clock: Clock) -> Self {
        Self { socket, state, clock }
    }

    fn polled(&self) {
        self.state.tell_outgoing(|| socket::outgoing(&self.socket));
    }

    fn wrote(&self, written: &Poll<io::Result<usize>>) {
        self.state.count_written(written, self.clock, || socket::outgoing(&self.socket));
    }
}

impl Drop for Metered {
    fn drop(&mut self) {
        if self.state.resets() {
            socket::reset_on_drop(&self.socket);
        }
    }
}

impl AsyncRead for ClientSocket {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        out: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(socket) => Pin::new(socket).poll_read(context, out),
            Self::Tls(session) => Pin::new(session).poll_read(context, out),
        }
    }
}

impl AsyncWrite for ClientSocket {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(socket) => Pin::new(socket).poll_write(context, bytes),
            Self::Tls(session) => Pin::new(session).poll_write(context, bytes),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(socket) => Pin::new(socket).poll_write_vectored(context, slices),
            Self::Tls(session) => Pin::new(session).poll_write_vectored(context, slices),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Plain(socket) => socket.is_write_vectored(),
            Self::Tls(session) => session.is_write_vectored(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(socket) => Pin::new(socket).poll_flush(context),
            Self::Tls(session) => Pin::new(session).poll_flush(context),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(socket) => Pin::new(socket).poll_shutdown(context),
            Self::Tls(session) => Pin::new(session).poll_shutdown(context),
        }
    }
}

impl AsyncRead for Metered {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        out: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        this.polled();
        Pin::new(&mut this.socket).poll_read(context, out)
    }
}

impl AsyncWrite for Metered {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        this.polled();
        let written = Pin::new(&mut this.socket).poll_write(context, bytes);
        this.wrote(&written);
        written
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        this.polled();
        let written = Pin::new(&mut this.socket).poll_write_vectored(context, slices);
        this.wrote(&written);
        written
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        this.polled();
        Pin::new(&mut this.socket).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().socket).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use bytes::BytesMut;
    use rcgen::KeyPair;
    use rustls::crypto::aws_lc_rs::default_provider;
    use rustls::pki_types::{PrivateKeyDer, ServerName};
    use rustls::{ClientConfig, RootCertStore, ServerConfig};
    use socket2::SockRef;
    use stamp_core::framing::HeadLimits;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;
    use tokio_rustls::{TlsAcceptor, TlsConnector};

    use super::*;
    use crate::proxy::wire::Wire;

    /// How the one side and the other shake hands.
    fn configs() -> (Arc<ClientConfig>, Arc<ServerConfig>) {
        let key = KeyPair::generate().unwrap();
        let params = rcgen::CertificateParams::new(vec!["a.test".to_owned()]).unwrap();
        let certificate = params.self_signed(&key).unwrap();
        let mut roots = RootCertStore::empty();
        roots.add(certificate.der().clone()).unwrap();
        let client = ClientConfig::builder_with_provider(Arc::new(default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let secret = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
        let server = ServerConfig::builder_with_provider(Arc::new(default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], secret)
            .unwrap();
        (Arc::new(client), Arc::new(server))
    }

    #[tokio::test]
    async fn what_tls_holds_back_is_not_taken_and_the_client_is_waited_for() {
        let (client, server) = configs();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let connecting = TcpStream::connect(listener.local_addr().unwrap());
        let (near, far) = tokio::join!(connecting, listener.accept());
        let (near, (far, _)) = (near.unwrap(), far.unwrap());
        // Less than TLS takes at once.
        SockRef::from(&far).set_send_buffer_size(4096).unwrap();
        SockRef::from(&near).set_recv_buffer_size(4096).unwrap();
        let state = WireState::new();
        let name = ServerName::try_from("a.test").unwrap();
        let connecting = TlsConnector::from(client).connect(name, near);
        let accepting =
            TlsAcceptor::from(server).accept(Metered::new(far, Arc::clone(&state), Clock::start()));
        let (near, far) = tokio::join!(connecting, accepting);
        let (mut near, far) = (near.unwrap(), ClientSocket::Tls(Box::new(far.unwrap())));
        let limits = HeadLimits { head_bytes_max: 1, fields_max: 1, uri_bytes_max: 1 };
        let mut wire = Wire::new((far, BytesMut::new()), Arc::clone(&state), limits);

        let before = state.written_total();
        let answer = [0; 48 * 1024];
        let written = poll_fn(|it| Poll::Ready(Pin::new(&mut wire).poll_write(it, &answer))).await;
        assert!(matches!(written, Poll::Ready(Ok(all)) if all == answer.len()), "{written:?}");
        assert!(state.is_write_blocked());
        assert!(state.written_total() - before < answer.len() as u64, "held back, yet counted");

        let mut taken = vec![0; answer.len()];
        let (flushed, read) = tokio::join!(wire.flush(), near.read_exact(&mut taken));
        flushed.unwrap();
        read.unwrap();
        assert!(!state.is_write_blocked());
        assert!(state.written_total() - before >= answer.len() as u64);
    }
}
