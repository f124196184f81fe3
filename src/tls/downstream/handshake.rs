//! One handshake with a client: its hello chooses the certificate; what takes the processor's time
//! is done for one client at a time, so that a crowd of newcomers does not hold up who is served.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;

use rustls::pki_types::CertificateDer;
use rustls::server::Acceptor;
use rustls::{Error, HandshakeKind};
use stamp_core::certificate::{CertificateIndex, Certificates};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::sync::Semaphore;
use tokio_rustls::LazyConfigAcceptor;
use tokio_rustls::server::TlsStream;

use super::DownstreamTls;
use crate::settings::Protocol;
use crate::tls::material::HTTP_2;

/// The fatal alert `unrecognized_name` as a record of its own (RFC 8446, sections 5.1 and 6.2).
const UNRECOGNIZED_NAME: [u8; 7] = [21, 3, 3, 0, 2, 2, 112];

/// Lets the handshakes of one worker compute one after the other.
#[derive(Debug)]
pub struct Pace {
    turn: Semaphore,
}

impl Default for Pace {
    fn default() -> Self {
        Self { turn: Semaphore::new(1) }
    }
}

/// What a handshake has settled.
#[derive(Debug)]
pub struct Session {
    tls: Arc<DownstreamTls>,
    in_use: CertificateIndex,
    client: Option<CertificateDer<'static>>,
    is_resumed: bool,
    protocol: Protocol,
}

impl Session {
    /// The certificates of the listener, and the one that this client saw.
    #[must_use]
    pub fn certificates(&self) -> (&Certificates, CertificateIndex) {
        (&self.tls.certificates, self.in_use)
    }

    /// The certificate that the client showed and that was verified, in DER.
    #[must_use]
    pub fn client_certificate(&self) -> Option<&[u8]> {
        self.client.as_deref()
    }

    /// What is spoken.
    #[must_use]
    pub const fn protocol(&self) -> Protocol {
        self.protocol
    }

    /// Was a session of before taken up again?
    #[must_use]
    pub const fn is_resumed(&self) -> bool {
        self.is_resumed
    }
}

/// Why there is no session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HandshakeFailure {
    /// No certificate is for the name that the client asks for.
    UnrecognizedName,
    /// The client spoke HTTP in the clear.
    PlainHttp,
    /// The client showed no certificate, or none that is vouched for.
    ClientCertificate,
    /// The client refused: our certificate, most likely.
    ClientAlert,
    /// The client speaks nothing that the listener speaks (ALPN).
    NoProtocol,
    /// The client knows no version, suite or group that is known here.
    Incompatible,
    /// What came was no TLS, or not as it must be.
    Malformed,
    /// The client left.
    Closed,
    /// It took too long.
    TooSlow,
}

impl HandshakeFailure {
    /// Its name in metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::UnrecognizedName => "unrecognized_name",
            Self::PlainHttp => "plain_http",
            Self::ClientCertificate => "client_certificate",
            Self::ClientAlert => "client_alert",
            Self::NoProtocol => "no_protocol",
            Self::Incompatible => "incompatible",
            Self::Malformed => "malformed",
            Self::Closed => "closed",
            Self::TooSlow => "timeout",
        }
    }

    fn of(error: &io::Error) -> Self {
        let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<Error>());
        match inner {
            None => Self::Closed,
            Some(Error::InvalidCertificate(_) | Error::NoCertificatesPresented) => {
                Self::ClientCertificate
            }
            Some(Error::AlertReceived(_)) => Self::ClientAlert,
            Some(Error::NoApplicationProtocol) => Self::NoProtocol,
            Some(Error::PeerIncompatible(_)) => Self::Incompatible,
            Some(_) => Self::Malformed,
        }
    }
}

impl DownstreamTls {
    /// What is spoken with a client that agreed to this. One that knows nothing of ALPN speaks
    /// HTTP/1.1 (RFC 9113, section 3.2).
    fn protocol(&self, agreed: Option<&[u8]>) -> Result<Protocol, HandshakeFailure> {
        if agreed == Some(HTTP_2) {
            return Ok(Protocol::Http2);
        }
        let is_spoken = self.protocols.contains(&Protocol::Http1);
        is_spoken.then_some(Protocol::Http1).ok_or(HandshakeFailure::NoProtocol)
    }

    /// Shakes hands with a client. What it must be told is told; the socket is then closed.
    pub async fn handshake<S>(
        self: &Arc<Self>,
        socket: S,
        pace: &Pace,
    ) -> Result<(TlsStream<S>, Session), HandshakeFailure>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let failed = |error: io::Error| HandshakeFailure::of(&error);
        let hello = LazyConfigAcceptor::new(Acceptor::default(), socket).await.map_err(failed)?;
        let in_use = self.choose(&hello.client_hello());
        let Some((in_use, served)) = in_use.and_then(|it| Some((it, self.served(it)?))) else {
            let mut socket = hello.io;
            drop(socket.write_all(&UNRECOGNIZED_NAME).await);
            drop(socket.shutdown().await);
            return Err(HandshakeFailure::UnrecognizedName);
        };
        let mut shaking;
        let mut shaken = {
            let turn = pace.turn.acquire().await;
            shaking = hello.into_stream(Arc::clone(&served.config));
            let shaken = poll_fn(|context| Poll::Ready(Pin::new(&mut shaking).poll(context))).await;
            // Sockets are looked at, and who has something to read has its turn, before the next.
            tokio::task::yield_now().await;
            drop(turn);
            shaken
        };
        if shaken.is_pending() {
            shaken = Poll::Ready(shaking.await);
        }
        let Poll::Ready(shaken) = shaken else { return Err(HandshakeFailure::Closed) };
        let stream = shaken.map_err(failed)?;
        let connection = stream.get_ref().1;
        let client = connection.peer_certificates().and_then(|chain| chain.first()).cloned();
        let is_resumed = connection.handshake_kind() == Some(HandshakeKind::Resumed);
        let protocol = self.protocol(connection.alpn_protocol())?;
        Ok((stream, Session { tls: Arc::clone(self), in_use, client, is_resumed, protocol }))
    }
}
