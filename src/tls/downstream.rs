//! TLS with clients: the files that gateway.toml names -> how each listener shakes hands, and which
//! of its certificates a client sees. Sessions may be taken up again at every worker, and survive a
//! reload unless other rules hold for clients' certificates by then.

mod certificate;
mod handshake;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use aws_lc_rs::digest;
use rustls::crypto::{CryptoProvider, aws_lc_rs as provider};
use rustls::server::{
    ClientHello, ProducesTickets, ServerSessionMemoryCache, StoresServerSessions,
    WebPkiClientVerifier,
};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::version::{TLS12, TLS13};
use rustls::{RootCertStore, ServerConfig};
use stamp_core::certificate::{CertificateIndex, Certificates, UnknownName};

pub use handshake::{HandshakeFailure, Pace, Session};

use super::material::{HTTP_1_1, HTTP_2, WallTime, certificates, in_file, private_key, read_file};
use super::{ReadFile, TlsError, TlsFault, add_new};
use crate::clock::Clock;
use crate::settings::{CertificateFiles, ClientAuth, ListenerTls, Protocol, TlsVersion};
use certificate::Facts;

/// Sessions of TLS 1.2 that are remembered for clients that take no tickets.
const SESSIONS_MAX: usize = 1024;

/// How all listeners that speak TLS shake hands.
#[derive(Debug, Default)]
pub struct Downstreams {
    listeners: BTreeMap<Box<str>, Arc<DownstreamTls>>,
}

/// How one listener shakes hands.
pub struct DownstreamTls {
    /// By `CertificateIndex`. Never empty.
    served: Vec<Served>,
    certificates: Certificates,
    unknown_name: UnknownName,
    protocols: Vec<Protocol>,
    sessions: Arc<Sessions>,
}

/// One certificate.
struct Served {
    config: Arc<ServerConfig>,
    key: Arc<CertifiedKey>,
    /// Where it was read from.
    path: PathBuf,
    facts: Facts,
}

/// How long a certificate is good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Validity<'d> {
    /// The listener that shows it.
    pub listener: &'d str,
    /// Its first name.
    pub name: &'d str,
    /// The last second that it is good, since 1970.
    pub not_after_s: i64,
}

/// What clients may take up again. It never leaves the rules for their certificates that it was
/// made under: a session is taken up without any being asked for.
struct Sessions {
    rules: [u8; 32],
    tickets: Arc<dyn ProducesTickets>,
    remembered: Arc<dyn StoresServerSessions>,
}

impl Downstreams {
    /// Reads what these listeners need; every mistake is reported. A listener of `former` that is not
    /// among them goes on as it was: until a restart it is still there.
    pub fn build(
        listeners: &BTreeMap<Box<str>, ListenerTls>,
        former: Option<&Self>,
        clock: Clock,
        read: &mut ReadFile<'_>,
    ) -> Result<Self, Vec<TlsError>> {
        let mut built = former.map(|former| former.listeners.clone()).unwrap_or_default();
        let mut errors = Vec::new();
        for (name, rules) in listeners {
            let before = former.and_then(|former| former.of(name));
            match DownstreamTls::build(rules, before.map(|it| &it.sessions), clock, read) {
                Ok(tls) => drop(built.insert(name.clone(), Arc::new(tls))),
                Err(found) => add_new(&mut errors, found),
            }
        }
        if errors.is_empty() { Ok(Self { listeners: built }) } else { Err(errors) }
    }

    /// How this listener shakes hands; `None` = it speaks no TLS.
    #[must_use]
    pub fn of(&self, listener: &str) -> Option<&Arc<DownstreamTls>> {
        self.listeners.get(listener)
    }

    /// How long each certificate is good.
    pub fn validities(&self) -> impl Iterator<Item = Validity<'_>> {
        self.listeners.iter().flat_map(|(listener, tls)| {
            tls.served.iter().map(|served| Validity {
                listener,
                name: &served.facts.name,
                not_after_s: served.facts.not_after_s,
            })
        })
    }

    /// The files whose certificates no client will take at this time, and why. They serve all the
    /// same: other names are of more use than none.
    #[must_use]
    pub fn doubtful(&self, clock: Clock) -> Vec<(&Path, &'static str)> {
        let now_s = i64::try_from(clock.wall().as_secs()).unwrap_or(i64::MAX);
        let served = self.listeners.values().flat_map(|tls| &tls.served);
        served.filter_map(|it| Some((it.path.as_path(), it.facts.doubt(now_s)?))).collect()
    }
}

impl DownstreamTls {
    fn build(
        rules: &ListenerTls,
        former: Option<&Arc<Sessions>>,
        clock: Clock,
        read: &mut ReadFile<'_>,
    ) -> Result<Self, Vec<TlsError>> {
        let mut errors = Vec::new();
        let provider = Arc::new(provider::default_provider());
        let clients = Clients::build(&rules.client_auth, read);
        let clients = clients.map_err(|error| errors.push(error)).ok();
        let mut pairs = Vec::with_capacity(rules.certificates.len());
        for files in &rules.certificates {
            match pair(files, &provider, read) {
                Ok(pair) => pairs.push((files, pair)),
                Err(found) => errors.extend(found),
            }
        }
        let Some(clients) = clients.filter(|_| errors.is_empty()) else { return Err(errors) };
        let sessions = Sessions::of(clients.fingerprint(), former).map_err(|it| vec![it])?;
        let with = Common { provider, clients, sessions: Arc::clone(&sessions), clock };
        let mut served = Vec::with_capacity(pairs.len());
        for (files, (key, facts)) in pairs {
            let key = Arc::new(key);
            let config = with.config(rules, Arc::clone(&key)).map_err(|error| vec![error])?;
            served.push(Served { config: Arc::new(config), key, path: files.cert.clone(), facts });
        }
        let certificates = Certificates::new(served.iter().map(|it| &*it.facts.names));
        let (unknown_name, protocols) = (rules.unknown_name, rules.protocols.clone());
        Ok(Self { served, certificates, unknown_name, protocols, sessions })
    }

    /// The certificate for this client: of those for the name it asks for, the first whose key it
    /// knows how to check. `None` = it is refused.
    fn choose(&self, hello: &ClientHello<'_>) -> Option<CertificateIndex> {
        let chosen = self.certificates.chosen(hello.server_name(), self.unknown_name);
        let is_known = |index: &&CertificateIndex| {
            let key = self.served(**index).map(|served| &served.key.key);
            key.is_some_and(|key| key.choose_scheme(hello.signature_schemes()).is_some())
        };
        chosen.iter().find(is_known).or_else(|| chosen.first()).copied()
    }

    fn served(&self, index: CertificateIndex) -> Option<&Served> {
        self.served.get(usize::from(index.0))
    }
}

/// What all certificates of a listener have in common.
struct Common {
    provider: Arc<CryptoProvider>,
    clients: Clients,
    sessions: Arc<Sessions>,
    clock: Clock,
}

impl Common {
    fn config(
        &self,
        rules: &ListenerTls,
        key: Arc<CertifiedKey>,
    ) -> Result<ServerConfig, TlsError> {
        let setup = |error| TlsError { path: None, fault: TlsFault::Setup(error) };
        let versions: &[_] = match rules.min_version {
            TlsVersion::Tls12 => &[&TLS13, &TLS12],
            TlsVersion::Tls13 => &[&TLS13],
        };
        let time = Arc::new(WallTime(self.clock));
        let builder = ServerConfig::builder_with_details(Arc::clone(&self.provider), time)
            .with_protocol_versions(versions)
            .map_err(setup)?;
        let builder = match &self.clients {
            Clients::NotAsked => builder.with_no_client_auth(),
            Clients::Asked { roots, is_required, .. } => {
                let provider = Arc::clone(&self.provider);
                let verifier = WebPkiClientVerifier::builder_with_provider(roots.clone(), provider);
                let verifier =
                    if *is_required { verifier } else { verifier.allow_unauthenticated() };
                let verifier = verifier.build().map_err(|error| TlsError {
                    path: None,
                    fault: TlsFault::Setup(rustls::Error::General(error.to_string())),
                })?;
                builder.with_client_cert_verifier(verifier)
            }
        };
        let mut config = builder.with_cert_resolver(Arc::new(SingleCertAndKey::from(key)));
        config.alpn_protocols = rules.protocols.iter().map(|it| alpn(*it).to_vec()).collect();
        config.ticketer = Arc::clone(&self.sessions.tickets);
        config.session_storage = Arc::clone(&self.sessions.remembered);
        Ok(config)
    }
}

/// A protocol's name in a handshake (RFC 7301). What is spoken in the clear has none over TLS, and the
/// settings let none of it come here.
const fn alpn(protocol: Protocol) -> &'static [u8] {
    match protocol {
        Protocol::Http1 => HTTP_1_1,
        Protocol::Http2 | Protocol::Http2Clear => HTTP_2,
    }
}

/// Whether clients are asked for certificates, and who vouches for those.
enum Clients {
    NotAsked,
    Asked { roots: Arc<RootCertStore>, is_required: bool, ca: Arc<[u8]> },
}

impl Clients {
    fn build(rules: &ClientAuth, read: &mut ReadFile<'_>) -> Result<Self, TlsError> {
        let (path, is_required) = match rules {
            ClientAuth::None => return Ok(Self::NotAsked),
            ClientAuth::Optional(path) => (path, false),
            ClientAuth::Required(path) => (path, true),
        };
        let ca = read_file(path, read).map_err(|fault| in_file(path, fault))?;
        let mut roots = RootCertStore::empty();
        for certificate in certificates(path, &ca)? {
            roots.add(certificate).map_err(|source| {
                in_file(path, TlsFault::BadCertificate { path: path.clone(), source })
            })?;
        }
        Ok(Self::Asked { roots: Arc::new(roots), is_required, ca })
    }

    fn fingerprint(&self) -> [u8; 32] {
        let mut print = digest::Context::new(&digest::SHA256);
        match self {
            Self::NotAsked => {}
            Self::Asked { is_required, ca, .. } => {
                print.update(&[1, u8::from(*is_required)]);
                print.update(ca);
            }
        }
        let mut fingerprint = [0; 32];
        fingerprint.copy_from_slice(print.finish().as_ref());
        fingerprint
    }
}

impl Sessions {
    /// Those of before, if the same rules held for them.
    fn of(rules: [u8; 32], former: Option<&Arc<Self>>) -> Result<Arc<Self>, TlsError> {
        if let Some(former) = former.filter(|former| former.rules == rules) {
            return Ok(Arc::clone(former));
        }
        let tickets = provider::Ticketer::new()
            .map_err(|error| TlsError { path: None, fault: TlsFault::Setup(error) })?;
        let remembered = ServerSessionMemoryCache::new(SESSIONS_MAX);
        Ok(Arc::new(Self { rules, tickets, remembered }))
    }
}

/// Reads a certificate and its key.
fn pair(
    files: &CertificateFiles,
    provider: &CryptoProvider,
    read: &mut ReadFile<'_>,
) -> Result<(CertifiedKey, Facts), Vec<TlsError>> {
    let CertificateFiles { cert, key } = files;
    let mut errors = Vec::new();
    let mut bytes = |path: &PathBuf| {
        read_file(path, read).map_err(|fault| errors.push(in_file(path, fault))).ok()
    };
    let (Some(chain), Some(secret)) = (bytes(cert), bytes(key)) else { return Err(errors) };
    let chain = certificates(cert, &chain)
        .and_then(|chain| Facts::of(cert, chain.first()).map(|facts| (chain, facts)));
    let (chain, secret) = (chain, private_key(key, &secret));
    let ((chain, facts), secret) = match (chain, secret) {
        (Ok(chain), Ok(secret)) => (chain, secret),
        (chain, secret) => return Err(chain.err().into_iter().chain(secret.err()).collect()),
    };
    let certified = CertifiedKey::from_der(chain, secret, provider)
        .map_err(|source| vec![in_file(key, TlsFault::BadKey { path: key.clone(), source })])?;
    Ok((certified, facts))
}

impl fmt::Debug for DownstreamTls {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = self.served.iter().map(|served| &served.facts.name);
        out.debug_list().entries(names).finish()
    }
}
