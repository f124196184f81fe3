//! TLS to stamps and to issuers of keys: the files that routing.toml names -> what each `https://`
//! address is spoken to with, and the handshake. Verification has no switch. `downstream` is TLS with
//! clients.

pub mod downstream;
mod material;

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::pki_types::ServerName;
use rustls::{AlertDescription, ClientConfig};
use stamp_core::id::EndpointIndex;
use stamp_core::jwks::JwksSource;
use stamp_core::table::{Endpoint, KeySource, RoutingTable, Scheme, TlsPolicy};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::clock::Clock;
use material::{HTTP_1_1, HTTP_2, Material, Peer, Sources};

pub use material::{TLS_FILE_BYTES_MAX, TlsFault};

/// How files are read: a function, so that tests need no files and the caller keeps the bytes.
pub type ReadFile<'r> = dyn FnMut(&Path) -> io::Result<Arc<[u8]>> + 'r;

/// What all endpoints of a table are spoken to with.
#[derive(Debug, Default)]
pub struct Upstreams {
    /// In the order of the table; `None` = in the clear.
    endpoints: Vec<Option<Arc<UpstreamTls>>>,
    /// By the `iss` of those whose keys are fetched over TLS.
    issuers: BTreeMap<Box<str>, Arc<UpstreamTls>>,
    materials: Vec<Arc<Material>>,
}

/// What one endpoint is spoken to with.
#[derive(Debug)]
pub struct UpstreamTls {
    material: Arc<Material>,
    name: ServerName<'static>,
}

/// Which protocols an endpoint is offered (RFC 7301).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Offer {
    /// HTTP/1.1 alone.
    Http1,
    /// HTTP/2, or else HTTP/1.1.
    Http2OrHttp1,
}

impl Offer {
    async fn shake_hands<S>(
        self,
        config: &Arc<ClientConfig>,
        name: ServerName<'static>,
        socket: S,
    ) -> io::Result<TlsStream<S>>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let connector = TlsConnector::from(Arc::clone(config));
        match self {
            // What every configuration offers by itself.
            Self::Http1 => connector.connect(name, socket).await,
            Self::Http2OrHttp1 => {
                let names = [HTTP_2, HTTP_1_1].map(<[u8]>::to_vec).to_vec();
                connector.with_alpn(names).connect(name, socket).await
            }
        }
    }
}

/// Did the endpoint choose HTTP/2?
#[must_use]
pub fn agreed_on_http2<S>(session: &TlsStream<S>) -> bool {
    session.get_ref().1.alpn_protocol() == Some(HTTP_2)
}

/// A file of TLS that cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("{fault}")]
pub struct TlsError {
    /// Which file; `None` = the fault is in none of those that are named.
    pub path: Option<PathBuf>,
    /// Why.
    #[source]
    pub fault: TlsFault,
}

impl Upstreams {
    /// Reads what the stamps and issuers of this table need; every mistake is reported. Material that says what
    /// it said in `former` is kept, and with it the connections that were made by it.
    pub fn build(
        table: &RoutingTable,
        former: Option<&Self>,
        clock: Clock,
        read: &mut ReadFile<'_>,
    ) -> Result<Self, Vec<TlsError>> {
        let mut built = Self::default();
        built.endpoints.resize_with(table.endpoint_count(), || None);
        let mut errors: Vec<TlsError> = Vec::new();
        let known = former.map(|former| &*former.materials).unwrap_or_default();
        let mut sources = Sources::new(clock, read);
        for stamp in table.stamps() {
            let Some(policy) = &stamp.tls else { continue };
            let peer = Peer::Stamp(stamp.id.as_str());
            let material = match sources.material(peer, policy, known) {
                Ok(material) => material,
                Err(found) => {
                    add_new(&mut errors, found);
                    continue;
                }
            };
            for endpoint in stamp.endpoints.iter().filter(|it| it.scheme == Scheme::Https) {
                match name_of(policy, endpoint) {
                    Ok(name) => {
                        let tls = Arc::new(UpstreamTls { material: Arc::clone(&material), name });
                        if let Some(slot) = built.endpoints.get_mut(endpoint.index.at()) {
                            *slot = Some(tls);
                        }
                    }
                    Err(fault) => errors.push(TlsError { path: None, fault }),
                }
            }
            built.materials.push(material);
        }
        for rule in &table.identity.jwt {
            let KeySource::JwksUrl(source) = &rule.keys else { continue };
            if source.url.scheme == Scheme::Http {
                continue;
            }
            match built.issuer(&rule.issuer, source, (&mut sources, known)) {
                Ok(tls) => drop(built.issuers.insert(rule.issuer.clone(), Arc::new(tls))),
                Err(found) => add_new(&mut errors, found),
            }
        }
        if errors.is_empty() { Ok(built) } else { Err(errors) }
    }

    fn issuer(
        &mut self,
        issuer: &str,
        source: &JwksSource,
        (sources, known): (&mut Sources<'_, '_>, &[Arc<Material>]),
    ) -> Result<UpstreamTls, Vec<TlsError>> {
        let policy = TlsPolicy { ca: source.ca.clone(), ..TlsPolicy::default() };
        let material = sources.material(Peer::Issuer(issuer), &policy, known)?;
        self.materials.push(Arc::clone(&material));
        let host = &source.url.host;
        let name = ServerName::try_from(host.to_string());
        let fault = |_no_name| vec![TlsError { path: None, fault: TlsFault::Name(host.clone()) }];
        Ok(UpstreamTls { material, name: name.map_err(fault)? })
    }

    /// What the address of this issuer's keys is spoken to with; `None` = in the clear.
    #[must_use]
    pub fn of_issuer(&self, issuer: &str) -> Option<&Arc<UpstreamTls>> {
        self.issuers.get(issuer)
    }

    /// What an endpoint is spoken to with; `None` = in the clear.
    #[must_use]
    pub fn of(&self, endpoint: EndpointIndex) -> Option<&Arc<UpstreamTls>> {
        self.endpoints.get(endpoint.at())?.as_ref()
    }
}

/// What many stamps inherit is wrong once.
fn add_new(errors: &mut Vec<TlsError>, found: Vec<TlsError>) {
    for error in found {
        let same =
            |other: &TlsError| other.path == error.path && other.to_string() == error.to_string();
        if !errors.iter().any(same) {
            errors.push(error);
        }
    }
}

/// Whom the certificate of this endpoint must name.
fn name_of(policy: &TlsPolicy, endpoint: &Endpoint) -> Result<ServerName<'static>, TlsFault> {
    let name = policy.server_name.as_deref().unwrap_or(&endpoint.host);
    ServerName::try_from(name.to_owned()).map_err(|_no_name| TlsFault::Name(name.into()))
}

impl UpstreamTls {
    /// Would a connection that was made by the one do for the other?
    #[must_use]
    pub fn is_same(one: Option<&Arc<Self>>, other: Option<&Arc<Self>>) -> bool {
        match (one, other) {
            (None, None) => true,
            (Some(one), Some(other)) => {
                Arc::ptr_eq(&one.material, &other.material) && one.name == other.name
            }
            (Some(_), None) | (None, Some(_)) => false,
        }
    }

    /// Shakes hands for requests: a session of before may be taken up again.
    pub async fn handshake<S>(&self, socket: S, offer: Offer) -> io::Result<TlsStream<S>>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        offer.shake_hands(&self.material.serving, self.name.clone(), socket).await
    }

    /// Shakes hands for a probe: in full, for a session that is taken up again shows no certificate.
    pub async fn handshake_in_full<S>(&self, socket: S, offer: Offer) -> io::Result<TlsStream<S>>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        offer.shake_hands(&self.material.probing, self.name.clone(), socket).await
    }
}

/// Did the peer end a session because of our certificate, or for lack of one? In TLS 1.3 it says so
/// when the handshake looks done from here, and before it reads anything that was sent over it (RFC
/// 8446, section 4.4.2.4).
#[must_use]
pub fn is_refusal_of_our_certificate(error: &io::Error) -> bool {
    matches!(
        alert(error),
        Some(
            AlertDescription::CertificateRequired
                | AlertDescription::BadCertificate
                | AlertDescription::UnsupportedCertificate
                | AlertDescription::CertificateRevoked
                | AlertDescription::CertificateExpired
                | AlertDescription::CertificateUnknown
                | AlertDescription::UnknownCA
        )
    )
}

/// Did the peer refuse a handshake since it speaks none of the protocols that it was offered (RFC 7301, section 3.2)?
#[must_use]
pub fn is_refusal_of_protocols(error: &io::Error) -> bool {
    alert(error) == Some(AlertDescription::NoApplicationProtocol)
}

/// What the peer said when it ended a session.
fn alert(error: &io::Error) -> Option<AlertDescription> {
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    let Some(rustls::Error::AlertReceived(alert)) = inner else { return None };
    Some(*alert)
}

impl fmt::Display for UpstreamTls {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.name.to_str())
    }
}

#[cfg(test)]
mod tests;
