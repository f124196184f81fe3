//! What one stamp's endpoints are spoken to with: its files, read and judged.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use aws_lc_rs::digest;
use rustls::client::Resumption;
use rustls::crypto::{CryptoProvider, aws_lc_rs as provider};
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, UnixTime};
use rustls::time_provider::TimeProvider;
use rustls::{ClientConfig, RootCertStore};
use stamp_core::table::{ClientIdentity, TlsPolicy};

use super::{ReadFile, TlsError};
use crate::clock::Clock;

/// The largest file of certificates or keys, in bytes.
pub const TLS_FILE_BYTES_MAX: usize = 4 * 1024 * 1024;

/// What is spoken over a session.
pub(super) const HTTP_1_1: &[u8] = b"http/1.1";
/// HTTP/2 in a handshake (RFC 9113, section 3.2).
pub(super) const HTTP_2: &[u8] = b"h2";

/// What is wrong with a file of TLS.
#[derive(Debug, thiserror::Error)]
pub enum TlsFault {
    /// It cannot be read.
    #[error("cannot read {}: {source}", path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It is longer than `TLS_FILE_BYTES_MAX`.
    #[error("{} has over {TLS_FILE_BYTES_MAX} bytes", .0.display())]
    TooLarge(PathBuf),
    /// It is no PEM.
    #[error("{} is no PEM: {source}", path.display())]
    Pem {
        /// Which.
        path: PathBuf,
        /// Why.
        source: pem::Error,
    },
    /// It holds no certificate.
    #[error("{} holds no certificate", .0.display())]
    NoCertificate(PathBuf),
    /// A certificate that is malformed.
    #[error("a certificate in {} cannot be used: {source}", path.display())]
    BadCertificate {
        /// In which file.
        path: PathBuf,
        /// Why.
        source: rustls::Error,
    },
    /// It holds no private key that is not encrypted.
    #[error("{} holds no private key", .0.display())]
    NoKey(PathBuf),
    /// A key that is malformed, of no supported kind, or not that of the certificate.
    #[error("the key in {} cannot be used with its certificate: {source}", path.display())]
    BadKey {
        /// In which file.
        path: PathBuf,
        /// Why.
        source: rustls::Error,
    },
    /// Its certificate is for nobody.
    #[error("the certificate in {} names no host: it has no subject alternative name", .0.display())]
    NoNames(PathBuf),
    /// The system trusts nobody.
    #[error("the system has no certificate that could vouch for a stamp")]
    NoRoots,
    /// No certificate can be for this host.
    #[error("no certificate can be for host `{0}`")]
    Name(Box<str>),
    /// The library refuses its own defaults.
    #[error("TLS cannot be set up: {0}")]
    Setup(#[source] rustls::Error),
}

impl TlsFault {
    /// A concrete mend.
    #[must_use]
    pub const fn help(&self) -> &'static str {
        match self {
            Self::Read { .. } => "the path is relative to the directory of this file",
            Self::TooLarge(_) => "name a file that holds only what is needed",
            Self::Pem { .. } | Self::NoCertificate(_) | Self::BadCertificate { .. } => {
                "the file must hold `-----BEGIN CERTIFICATE-----` and what follows, in PEM"
            }
            Self::NoKey(_) => {
                "the file must hold `-----BEGIN PRIVATE KEY-----` and what follows, in PEM and not \
                 encrypted"
            }
            Self::BadKey { .. } => "name the private key that `cert` was issued for",
            Self::NoNames(_) => "have one issued with the hosts as subject alternative names",
            Self::NoRoots => {
                "install the system's certificates, or name one: `tls = { ca = \"...\" }`"
            }
            Self::Name(_) => "write the name in its certificate: `tls = { server_name = \"...\" }`",
            Self::Setup(_) => "this is a fault of the gateway: report it",
        }
    }
}

/// What the endpoints of one stamp are spoken to with.
pub(super) struct Material {
    fingerprint: Fingerprint,
    /// For requests.
    pub(super) serving: Arc<ClientConfig>,
    /// For probes: every handshake in full.
    pub(super) probing: Arc<ClientConfig>,
}

impl fmt::Debug for Material {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Private keys went into it: not a thing to print.
        out.write_str("Material(..)")
    }
}

/// Equal fingerprints: the same peer, the same policy, and files that say the same.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Fingerprint([u8; 32]);

/// Who is spoken to: sessions of one are of no use for another.
#[derive(Clone, Copy)]
pub(super) enum Peer<'a> {
    /// The endpoints of this stamp.
    Stamp(&'a str),
    /// Whoever publishes the keys of this issuer.
    Issuer(&'a str),
}

/// Where material is made of: files, and what the system trusts, read once and only if needed.
pub(super) struct Sources<'a, 'r> {
    clock: Clock,
    provider: Arc<CryptoProvider>,
    read: &'a mut ReadFile<'r>,
    system: Option<Arc<[CertificateDer<'static>]>>,
}

/// The bytes of one stamp's files.
#[derive(Default)]
struct Read {
    ca: Option<Arc<[u8]>>,
    cert: Option<Arc<[u8]>>,
    key: Option<Arc<[u8]>>,
}

impl<'a, 'r> Sources<'a, 'r> {
    pub(super) fn new(clock: Clock, read: &'a mut ReadFile<'r>) -> Self {
        Self { clock, provider: Arc::new(provider::default_provider()), read, system: None }
    }

    /// What this peer is spoken to with: that of `former` if nothing changed.
    pub(super) fn material(
        &mut self,
        peer: Peer<'_>,
        policy: &TlsPolicy,
        former: &[Arc<Material>],
    ) -> Result<Arc<Material>, Vec<TlsError>> {
        let bytes = self.read_all(policy)?;
        if policy.ca.is_none() {
            self.read_system();
        }
        let fingerprint = self.fingerprint(peer, policy, &bytes);
        if let Some(same) = former.iter().find(|former| former.fingerprint == fingerprint) {
            return Ok(Arc::clone(same));
        }
        let (roots, identity) = (self.roots(policy, &bytes), own_identity(policy, &bytes));
        let (roots, identity) = match (roots, identity) {
            (Ok(roots), Ok(identity)) => (roots, identity),
            (roots, identity) => {
                return Err(roots.err().into_iter().chain(identity.err()).collect());
            }
        };
        let serving = self.config(roots, identity).map_err(|error| vec![error])?;
        let mut probing = serving.clone();
        probing.resumption = Resumption::disabled();
        Ok(Arc::new(Material {
            fingerprint,
            serving: Arc::new(serving),
            probing: Arc::new(probing),
        }))
    }

    fn read_all(&mut self, policy: &TlsPolicy) -> Result<Read, Vec<TlsError>> {
        let mut errors = Vec::new();
        let mut read = |path: Option<&PathBuf>| {
            let path = path?;
            read_file(path, self.read).map_err(|fault| errors.push(in_file(path, fault))).ok()
        };
        let identity = policy.identity.as_ref();
        let bytes = Read {
            ca: read(policy.ca.as_ref()),
            cert: read(identity.map(|own| &own.cert)),
            key: read(identity.map(|own| &own.key)),
        };
        if errors.is_empty() { Ok(bytes) } else { Err(errors) }
    }

    fn read_system(&mut self) {
        if self.system.is_some() {
            return;
        }
        let found = rustls_native_certs::load_native_certs();
        for error in &found.errors {
            tracing::warn!(%error, "a certificate that the system trusts cannot be read");
        }
        self.system = Some(found.certs.into());
    }

    fn fingerprint(&self, peer: Peer<'_>, policy: &TlsPolicy, bytes: &Read) -> Fingerprint {
        let mut print = digest::Context::new(&digest::SHA256);
        let mut add = |part: &[u8]| {
            // With its length, so that no two lists of parts look alike.
            print.update(&(part.len() as u64).to_be_bytes());
            print.update(part);
        };
        let (kind, name) = match peer {
            Peer::Stamp(name) => ("stamp", name),
            Peer::Issuer(name) => ("issuer", name),
        };
        add(kind.as_bytes());
        add(name.as_bytes());
        add(format!("{policy:?}").as_bytes());
        for file in [&bytes.ca, &bytes.cert, &bytes.key] {
            add(file.as_deref().unwrap_or_default());
        }
        if policy.ca.is_none() {
            for certificate in self.system.iter().flat_map(|system| system.iter()) {
                add(certificate);
            }
        }
        let mut fingerprint = Fingerprint([0; 32]);
        fingerprint.0.copy_from_slice(print.finish().as_ref());
        fingerprint
    }

    /// Who vouches for the stamp.
    fn roots(&self, policy: &TlsPolicy, bytes: &Read) -> Result<RootCertStore, TlsError> {
        let mut roots = RootCertStore::empty();
        let (Some(path), Some(pem)) = (&policy.ca, &bytes.ca) else {
            let system = self.system.as_deref().unwrap_or_default();
            // Stores of systems hold odd ones: those that cannot be used vouch for nobody.
            let (good, _odd) = roots.add_parsable_certificates(system.iter().cloned());
            let nobody = TlsError { path: None, fault: TlsFault::NoRoots };
            return if good > 0 { Ok(roots) } else { Err(nobody) };
        };
        for certificate in certificates(path, pem)? {
            roots.add(certificate).map_err(|source| {
                in_file(path, TlsFault::BadCertificate { path: path.clone(), source })
            })?;
        }
        Ok(roots)
    }

    fn config(
        &self,
        roots: RootCertStore,
        identity: Option<OwnIdentity<'_>>,
    ) -> Result<ClientConfig, TlsError> {
        let time = Arc::new(WallTime(self.clock));
        let setup = |error| TlsError { path: None, fault: TlsFault::Setup(error) };
        let builder = ClientConfig::builder_with_details(Arc::clone(&self.provider), time)
            .with_safe_default_protocol_versions()
            .map_err(setup)?
            .with_root_certificates(roots);
        let mut config = match identity {
            None => builder.with_no_client_auth(),
            Some(OwnIdentity { path, chain, key }) => {
                builder.with_client_auth_cert(chain, key).map_err(|source| {
                    in_file(path, TlsFault::BadKey { path: path.to_owned(), source })
                })?
            }
        };
        config.alpn_protocols = vec![HTTP_1_1.to_vec()];
        Ok(config)
    }
}

/// A file of TLS, which is never large.
pub(super) fn read_file(path: &Path, read: &mut ReadFile<'_>) -> Result<Arc<[u8]>, TlsFault> {
    let bytes = read(path).map_err(|source| TlsFault::Read { path: path.to_owned(), source })?;
    if bytes.len() > TLS_FILE_BYTES_MAX {
        return Err(TlsFault::TooLarge(path.to_owned()));
    }
    Ok(bytes)
}

pub(super) fn in_file(path: &Path, fault: TlsFault) -> TlsError {
    TlsError { path: Some(path.to_owned()), fault }
}

/// The gateway's own certificate and key, and the file of the key.
struct OwnIdentity<'a> {
    path: &'a Path,
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
}

fn own_identity<'a>(
    policy: &'a TlsPolicy,
    bytes: &Read,
) -> Result<Option<OwnIdentity<'a>>, TlsError> {
    let (Some(ClientIdentity { cert, key: path }), Some(chain), Some(key)) =
        (&policy.identity, &bytes.cert, &bytes.key)
    else {
        return Ok(None);
    };
    let chain = certificates(cert, chain)?;
    let key = private_key(path, key)?;
    Ok(Some(OwnIdentity { path, chain, key }))
}

/// The first private key of a file.
pub(super) fn private_key(path: &Path, pem: &[u8]) -> Result<PrivateKeyDer<'static>, TlsError> {
    PrivateKeyDer::from_pem_slice(pem).map_err(|error| {
        let fault = if matches!(error, pem::Error::NoItemsFound) {
            TlsFault::NoKey(path.to_owned())
        } else {
            TlsFault::Pem { path: path.to_owned(), source: error }
        };
        in_file(path, fault)
    })
}

/// The certificates of a file: one at least.
pub(super) fn certificates(
    path: &Path,
    pem: &[u8],
) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    let found =
        found.map_err(|source| in_file(path, TlsFault::Pem { path: path.to_owned(), source }))?;
    if found.is_empty() {
        return Err(in_file(path, TlsFault::NoCertificate(path.to_owned())));
    }
    Ok(found)
}

/// The wall as the process's clock reads it.
#[derive(Debug)]
pub(super) struct WallTime(pub(super) Clock);

impl TimeProvider for WallTime {
    fn current_time(&self) -> Option<UnixTime> {
        Some(UnixTime::since_unix_epoch(self.0.wall()))
    }
}
