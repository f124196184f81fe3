//! Certificates made for one test, and a connection that may be in the clear or over TLS.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, date_time_ymd};
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::WebPkiClientVerifier;
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, HandshakeKind, RootCertStore, ServerConfig, SupportedProtocolVersion};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::{TlsAcceptor, TlsConnector, TlsStream};

static OLD: &[&SupportedProtocolVersion] = &[&TLS12];
static LATE: &[&SupportedProtocolVersion] = &[&TLS13];
static BOTH: &[&SupportedProtocolVersion] = &[&TLS12, &TLS13];

/// Who issues certificates.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    /// Its own certificate, in PEM.
    pub pem: String,
}

/// A certificate and its key, in PEM.
#[derive(Clone, Debug)]
pub struct Papers {
    pub cert: String,
    pub key: String,
}

impl Authority {
    /// One that nobody knew before.
    pub fn new() -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        // A name of its own: two authorities of one name would be taken for each other.
        let name = format!("authority {:x?}", key.public_key_raw());
        params.distinguished_name.push(DnType::CommonName, name);
        let pem = params.self_signed(&key).unwrap().pem();
        Self { issuer: Issuer::new(params, key), pem }
    }

    /// A certificate for this name or address.
    pub fn issues(&self, name: &str) -> Papers {
        self.issues_for(&[name])
    }

    /// A certificate for these names and addresses.
    pub fn issues_for(&self, names: &[&str]) -> Papers {
        let names: Vec<String> = names.iter().map(ToString::to_string).collect();
        self.sign(&CertificateParams::new(names).unwrap())
    }

    /// A certificate that is good until the end of that year.
    pub fn issues_until(&self, name: &str, year: i32) -> Papers {
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        params.not_after = date_time_ymd(year, 12, 31);
        self.sign(&params)
    }

    /// A client that trusts this authority alone.
    pub fn visitor(&self) -> Visitor {
        let roots = self.roots();
        Visitor { roots, papers: None, versions: BOTH, offers: vec![], names: true }
    }

    /// The same, expired years ago.
    pub fn issues_expired(&self, name: &str) -> Papers {
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        (params.not_before, params.not_after) =
            (date_time_ymd(2001, 1, 1), date_time_ymd(2002, 1, 1));
        self.sign(&params)
    }

    fn sign(&self, params: &CertificateParams) -> Papers {
        let key = KeyPair::generate().unwrap();
        let cert = params.signed_by(&key, &self.issuer).unwrap();
        Papers { cert: cert.pem(), key: key.serialize_pem() }
    }

    fn roots(&self) -> Arc<RootCertStore> {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(self.pem.as_bytes()).unwrap()).unwrap();
        Arc::new(roots)
    }
}

impl Papers {
    /// The certificate in DER.
    pub fn der(&self) -> CertificateDer<'static> {
        CertificateDer::from_pem_slice(self.cert.as_bytes()).unwrap()
    }

    /// How a stamp with these papers serves whoever comes.
    pub fn served(&self) -> Arc<ServerConfig> {
        self.server(None)
    }

    /// The same, but only those who have papers of this authority.
    /// The same, for those who agree on one of these protocols.
    pub fn served_over(&self, protocols: &[&str]) -> Arc<ServerConfig> {
        let mut config = ServerConfig::clone(&self.served());
        config.alpn_protocols = protocols.iter().map(|name| name.as_bytes().to_vec()).collect();
        Arc::new(config)
    }

    pub fn served_to_those_of(&self, authority: &Authority) -> Arc<ServerConfig> {
        self.server(Some(authority))
    }

    fn server(&self, demanded: Option<&Authority>) -> Arc<ServerConfig> {
        let provider = Arc::new(default_provider());
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .unwrap();
        let builder = match demanded {
            None => builder.with_no_client_auth(),
            Some(authority) => {
                let roots = authority.roots();
                let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider);
                builder.with_client_cert_verifier(verifier.build().unwrap())
            }
        };
        let chain = vec![self.der()];
        let key = PrivateKeyDer::from_pem_slice(self.key.as_bytes()).unwrap();
        Arc::new(builder.with_single_cert(chain, key).unwrap())
    }
}

/// How a client shakes hands with the gateway.
#[derive(Clone, Debug)]
pub struct Visitor {
    roots: Arc<RootCertStore>,
    papers: Option<Papers>,
    versions: &'static [&'static SupportedProtocolVersion],
    offers: Vec<Vec<u8>>,
    names: bool,
}

impl Visitor {
    /// Shows these papers where it is asked to.
    pub fn shows(self, papers: &Papers) -> Self {
        Self { papers: Some(papers.clone()), ..self }
    }

    /// Speaks TLS 1.2 and nothing newer.
    pub fn of_old(self) -> Self {
        Self { versions: OLD, ..self }
    }

    /// Speaks TLS 1.3 and nothing older.
    pub fn of_late(self) -> Self {
        Self { versions: LATE, ..self }
    }

    /// Offers to speak these (ALPN).
    pub fn offers(self, protocols: &[&str]) -> Self {
        Self { offers: protocols.iter().map(|name| name.as_bytes().to_vec()).collect(), ..self }
    }

    /// Does not say whom it wants to talk to.
    pub fn names_nobody(self) -> Self {
        Self { names: false, ..self }
    }

    /// What its connections have in common: sessions, above all.
    pub fn config(self) -> Arc<ClientConfig> {
        let builder = ClientConfig::builder_with_provider(Arc::new(default_provider()))
            .with_protocol_versions(self.versions)
            .unwrap()
            .with_root_certificates(self.roots);
        let mut config = match &self.papers {
            None => builder.with_no_client_auth(),
            Some(papers) => {
                let key = PrivateKeyDer::from_pem_slice(papers.key.as_bytes()).unwrap();
                builder.with_client_auth_cert(vec![papers.der()], key).unwrap()
            }
        };
        config.alpn_protocols = self.offers;
        config.enable_sni = self.names;
        Arc::new(config)
    }
}

/// A connection to a fake stamp, or to the gateway.
#[derive(Debug)]
pub enum Stream {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

impl Stream {
    /// Shakes hands if the stamp wants that.
    pub async fn accept(socket: TcpStream, tls: Option<Arc<ServerConfig>>) -> io::Result<Self> {
        let Some(config) = tls else { return Ok(Self::Plain(socket)) };
        let session = TlsAcceptor::from(config).accept(socket).await?;
        Ok(Self::Tls(Box::new(session.into())))
    }

    /// Shakes hands with a peer that must have this name.
    pub async fn connect(
        socket: TcpStream,
        config: &Arc<ClientConfig>,
        name: &str,
    ) -> io::Result<Self> {
        let name = ServerName::try_from(name.to_owned()).unwrap();
        let session = TlsConnector::from(Arc::clone(config)).connect(name, socket).await?;
        Ok(Self::Tls(Box::new(session.into())))
    }

    /// The certificate that the peer showed.
    pub fn peer_certificate(&self) -> Option<CertificateDer<'static>> {
        let Self::Tls(session) = self else { return None };
        session.get_ref().1.peer_certificates()?.first().cloned()
    }

    /// What both have agreed to speak (ALPN).
    pub fn protocol(&self) -> Option<String> {
        let Self::Tls(session) = self else { return None };
        session.get_ref().1.alpn_protocol().map(super::http1::lossy)
    }

    /// Does the peer speak HTTP/2: as agreed, or by its first bytes?
    pub async fn begins_http2(&self) -> bool {
        let Self::Plain(socket) = self else { return self.protocol().as_deref() == Some("h2") };
        let mut begun = [0; 3];
        loop {
            match socket.peek(&mut begun).await {
                Ok(read @ 1..3) if b"PRI".starts_with(&begun[..read]) => {
                    tokio::task::yield_now().await;
                }
                Ok(3) => return &begun == b"PRI",
                Ok(_) | Err(_) => return false,
            }
        }
    }

    /// Was a session of before taken up again?
    pub fn is_resumed(&self) -> bool {
        let Self::Tls(session) = self else { return false };
        session.get_ref().1.handshake_kind() == Some(HandshakeKind::Resumed)
    }

    /// The socket beneath.
    pub fn socket(&self) -> &TcpStream {
        match self {
            Self::Plain(socket) => socket,
            Self::Tls(session) => session.get_ref().0,
        }
    }
}

impl AsyncRead for Stream {
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

impl AsyncWrite for Stream {
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
