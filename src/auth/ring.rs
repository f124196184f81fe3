//! All keys of all issuers in force, built off the request path from the table's rules and the
//! files they name. A worker reads it through the View; a changed file makes a new ring.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use aws_lc_rs::digest;
use rustls_pki_types::SubjectPublicKeyInfoDer;
use rustls_pki_types::pem::{self, PemObject};
use stamp_core::claims::{Claims, Header, Parts, TokenError, Unverified, Verified, split};
use stamp_core::table::{Algorithm, IssuerRule, KeySource};
use stamp_core::time::UnixSeconds;

use super::fetched::{Fetched, FetchedIssuer, KeyChange};
use super::jwks;
use super::key::{Kind, RsaAlgorithm, VerifyingKey, kind_of};

/// The most keys that one token is tried against: nobody buys signature checks by the dozen.
pub const CANDIDATES_MAX: usize = 4;
/// The largest key file, in bytes.
pub const KEY_FILE_BYTES_MAX: usize = 1024 * 1024;

/// How key files are read: a function, so that tests need no files and the caller keeps the bytes.
pub type ReadFile<'r> = dyn FnMut(&Path) -> io::Result<Arc<[u8]>> + 'r;

/// The issuers and their keys.
#[derive(Clone, Debug)]
pub struct KeyRing {
    issuers: Vec<Issuer>,
    fingerprint: Fingerprint,
}

#[derive(Clone, Debug)]
struct Issuer {
    rule: IssuerRule,
    keys: Keys,
    /// Of the rule and of what the keys were read from.
    print: Fingerprint,
}

/// Where keys come from decides whether they can be missing.
#[derive(Clone, Debug)]
enum Keys {
    OfFile(Arc<[VerifyingKey]>),
    Fetched(Option<Fetched>),
}

/// Equal fingerprints: equal rules and keys as written, so what one ring accepted the other accepts too.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Fingerprint([u8; 32]);

impl fmt::Debug for Fingerprint {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Shared secrets went into it: not a thing to print.
        out.write_str("Fingerprint(..)")
    }
}

/// A key file that cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("keys of {issuer} in {}", path.display())]
pub struct KeyError {
    /// Whose keys.
    pub issuer: Box<str>,
    /// Which file.
    pub path: PathBuf,
    /// Why.
    #[source]
    pub fault: KeyFault,
}

/// What is wrong with a key file.
#[derive(Debug, thiserror::Error)]
pub enum KeyFault {
    /// It cannot be read.
    #[error("cannot be read")]
    Read(#[source] io::Error),
    /// It is longer than `KEY_FILE_BYTES_MAX`.
    #[error("larger than {KEY_FILE_BYTES_MAX} bytes")]
    TooLarge,
    /// It is no JSON Web Key Set.
    #[error("not a JSON Web Key Set")]
    Jwks(#[source] serde_json::Error),
    /// It is no PEM.
    #[error("not PEM")]
    Pem(#[source] pem::Error),
    /// It holds a private key, which has no business here.
    #[error("holds a private key: give the public key only, and replace the pair that was exposed")]
    PrivateKey,
    /// It must hold exactly one `PUBLIC KEY`.
    #[error("must hold exactly one `-----BEGIN PUBLIC KEY-----`, found {found}")]
    NotOneKey {
        /// How many there are.
        found: usize,
    },
    /// A key that is malformed, or of no supported kind.
    #[error("key {} is malformed or of an unsupported kind", shown(id.as_deref()))]
    BadKey {
        /// Its `kid`.
        id: Option<Box<str>>,
    },
    /// An RSA key that can be broken.
    #[error("RSA key {} has {bits} bits, fewer than {}", shown(id.as_deref()), super::RSA_BITS_MIN)]
    WeakRsa {
        /// Its `kid`.
        id: Option<Box<str>>,
        /// The length of its modulus.
        bits: usize,
    },
    /// A shared secret that can be guessed.
    #[error("a secret of {bytes} bytes is shorter than {}", super::HMAC_SECRET_BYTES_MIN)]
    ShortSecret {
        /// Its length.
        bytes: usize,
    },
    /// RS256 and PS256 are both configured, and the key does not say which it is for.
    #[error(
        "key {} could be for RS256 or PS256: name one in its `alg` or in `algorithms`",
        shown(id.as_deref())
    )]
    Ambiguous {
        /// Its `kid`.
        id: Option<Box<str>>,
    },
    /// Two keys with one name and one algorithm.
    #[error("key {} is there twice", shown(id.as_deref()))]
    Twice {
        /// Its `kid`.
        id: Option<Box<str>>,
    },
    /// No key that any of the configured algorithms can use.
    #[error("no key for any of the configured algorithms")]
    NoUsableKey,
}

fn shown(id: Option<&str>) -> &str {
    id.unwrap_or("(without kid)")
}

/// A token that does not count, and whose it says it is if that issuer is configured.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("invalid token")]
pub struct InvalidToken {
    /// A configured issuer, so it may label a metric.
    pub issuer: Option<Box<str>>,
    /// Why.
    #[source]
    pub reason: TokenError,
}

impl KeyRing {
    /// Reads the keys of all rules; every mistake is reported. Keys that are fetched are not there
    /// yet: `recall`, `adopt` and `with` bring them.
    pub fn build(rules: &[IssuerRule], read: &mut ReadFile<'_>) -> Result<Self, Vec<KeyError>> {
        let mut issuers = Vec::with_capacity(rules.len());
        let mut errors = Vec::new();
        for rule in rules {
            let Some(path) = rule.keys.file() else {
                issuers.push(Issuer::fetched(rule.clone(), None));
                continue;
            };
            match Issuer::of_file(rule, path, read) {
                Ok(issuer) => issuers.push(issuer),
                Err(fault) => {
                    let (issuer, path) = (rule.issuer.clone(), path.clone());
                    errors.push(KeyError { issuer, path, fault });
                }
            }
        }
        if errors.is_empty() { Ok(Self::of(issuers)) } else { Err(errors) }
    }

    fn of(issuers: Vec<Issuer>) -> Self {
        let prints = issuers.iter().map(|issuer| &issuer.print.0[..]);
        Self { fingerprint: fingerprint(prints), issuers }
    }

    /// Is no issuer configured? Then no token is looked at.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.issuers.is_empty()
    }

    /// Changes with the rules and with the keys.
    #[must_use]
    pub const fn fingerprint(&self) -> Fingerprint {
        self.fingerprint
    }

    /// The issuers whose keys are fetched.
    pub fn fetched_issuers(&self) -> impl Iterator<Item = FetchedIssuer<'_>> {
        self.issuers.iter().filter_map(Issuer::as_fetched)
    }

    /// The same ring with the fetched keys of the ring that was in force before, where those come
    /// from the same address.
    #[must_use]
    pub fn adopt(self, former: &Self) -> Self {
        self.recall(|own| {
            let same = former
                .fetched_issuers()
                .find(|other| other.issuer == own.issuer && other.source.url == own.source.url)?;
            let fetched = same.fetched?;
            if same.algorithms == own.algorithms {
                return Some(fetched.clone());
            }
            Fetched::read(Arc::clone(fetched.json()), own.algorithms, fetched.at()).ok()
        })
    }

    /// The same ring with fetched keys where `known` has newer ones.
    #[must_use]
    pub fn recall(mut self, mut known: impl FnMut(FetchedIssuer<'_>) -> Option<Fetched>) -> Self {
        for issuer in &mut self.issuers {
            let Some(own) = issuer.as_fetched() else { continue };
            let at = own.fetched.map(Fetched::at);
            let newer = known(own).filter(|other| at.is_none_or(|at| at <= other.at()));
            if newer.is_some() {
                *issuer = Issuer::fetched(issuer.rule.clone(), newer);
            }
        }
        Self::of(self.issuers)
    }

    /// The same ring with other keys of one issuer; `None` when it has no such issuer any more,
    /// or one that the keys were not read for.
    #[must_use]
    pub fn with(&self, change: &KeyChange) -> Option<Self> {
        let mut issuers = self.issuers.clone();
        let issuer = issuers.iter_mut().find(|issuer| {
            let own = issuer.as_fetched();
            own.is_some_and(|own| {
                own.issuer == &*change.issuer
                    && *own.source == change.source
                    && *own.algorithms == *change.algorithms
            })
        })?;
        *issuer = Issuer::fetched(issuer.rule.clone(), change.fetched.clone());
        Some(Self::of(issuers))
    }

    /// Checks a token in full. The issuer it names only picks the keys that it must pass under.
    pub fn verify(&self, token: &str, now: UnixSeconds) -> Result<Verified<Claims>, InvalidToken> {
        let nobody = |reason| InvalidToken { issuer: None, reason };
        let parts = split(token).map_err(nobody)?;
        let header = Header::read(&parts.header).map_err(nobody)?;
        let claims = Unverified::read(&parts.claims).map_err(nobody)?;
        let named = claims.issuer();
        let issuer = self.issuers.iter().find(|issuer| Some(&*issuer.rule.issuer) == named);
        let issuer = issuer.ok_or_else(|| nobody(TokenError::Issuer))?;
        issuer
            .verify_signature(&parts, &header)
            .and_then(|()| claims.check(&issuer.rule, now))
            .map(Verified::vouch)
            .map_err(|reason| InvalidToken { issuer: Some(issuer.rule.issuer.clone()), reason })
    }
}

impl Issuer {
    fn of_file(rule: &IssuerRule, path: &Path, read: &mut ReadFile<'_>) -> Result<Self, KeyFault> {
        let bytes = read(path).map_err(KeyFault::Read)?;
        if bytes.len() > KEY_FILE_BYTES_MAX {
            return Err(KeyFault::TooLarge);
        }
        let keys = keys_of(rule, &bytes)?;
        let print = print_of(rule, Some(&bytes));
        Ok(Self { rule: rule.clone(), keys: Keys::OfFile(keys.into()), print })
    }

    fn fetched(rule: IssuerRule, fetched: Option<Fetched>) -> Self {
        let print = print_of(&rule, fetched.as_ref().map(|fetched| &**fetched.json()));
        Self { rule, keys: Keys::Fetched(fetched), print }
    }

    fn as_fetched(&self) -> Option<FetchedIssuer<'_>> {
        let (KeySource::JwksUrl(source), Keys::Fetched(fetched)) = (&self.rule.keys, &self.keys)
        else {
            return None;
        };
        let IssuerRule { issuer, algorithms, .. } = &self.rule;
        Some(FetchedIssuer { issuer, algorithms, source, fetched: fetched.as_ref() })
    }

    fn keys(&self) -> Result<&[VerifyingKey], TokenError> {
        match &self.keys {
            Keys::OfFile(keys) => Ok(keys),
            Keys::Fetched(Some(fetched)) => Ok(&fetched.keys),
            Keys::Fetched(None) => Err(TokenError::NotReady),
        }
    }

    fn verify_signature(&self, parts: &Parts<'_>, header: &Header) -> Result<(), TokenError> {
        let mut candidates = self
            .keys()?
            .iter()
            .filter(|key| key.algorithm == header.algorithm)
            .filter(|key| match (key.id.as_deref(), header.key_id.as_deref()) {
                (Some(ours), Some(theirs)) => ours == theirs,
                _ => true,
            })
            .take(CANDIDATES_MAX)
            .peekable();
        if candidates.peek().is_none() {
            return Err(TokenError::Key);
        }
        if candidates.any(|key| key.signed(parts.signed.as_bytes(), &parts.signature)) {
            return Ok(());
        }
        Err(TokenError::Signature)
    }
}

fn print_of(rule: &IssuerRule, keys: Option<&[u8]>) -> Fingerprint {
    let rule = format!("{rule:?}");
    fingerprint([rule.as_bytes()].into_iter().chain(keys))
}

fn fingerprint<'p>(parts: impl Iterator<Item = &'p [u8]>) -> Fingerprint {
    let mut print = digest::Context::new(&digest::SHA256);
    for part in parts {
        // With its length, so that no two lists of parts look alike.
        print.update(&(part.len() as u64).to_be_bytes());
        print.update(part);
    }
    let mut fingerprint = Fingerprint([0; 32]);
    fingerprint.0.copy_from_slice(print.finish().as_ref());
    fingerprint
}

fn keys_of(rule: &IssuerRule, bytes: &[u8]) -> Result<Vec<VerifyingKey>, KeyFault> {
    let keys = match &rule.keys {
        KeySource::JwksFile(_) => jwks::read(bytes, &rule.algorithms)?,
        KeySource::PublicKeyFile(_) => vec![public_key(bytes, &rule.algorithms)?],
        KeySource::HmacSecretFile(_) => vec![secret(bytes, &rule.algorithms)?],
        KeySource::JwksUrl(_) => Vec::new(),
    };
    if keys.is_empty() {
        return Err(KeyFault::NoUsableKey);
    }
    Ok(keys)
}

fn public_key(pem: &[u8], allowed: &[Algorithm]) -> Result<VerifyingKey, KeyFault> {
    // By its words, for sections of unknown kinds (encrypted, OpenSSH) are skipped by the reader.
    if memchr::memmem::find(pem, b"PRIVATE KEY-----").is_some() {
        return Err(KeyFault::PrivateKey);
    }
    let found: Result<Vec<_>, _> = SubjectPublicKeyInfoDer::pem_slice_iter(pem).collect();
    let found = found.map_err(KeyFault::Pem)?;
    let [der] = &*found else { return Err(KeyFault::NotOneKey { found: found.len() }) };
    let is_allowed = |algorithm| allowed.contains(&algorithm);
    match kind_of(der) {
        Some(Kind::Rsa) => match (is_allowed(Algorithm::RS256), is_allowed(Algorithm::PS256)) {
            (true, false) => VerifyingKey::rsa(None, RsaAlgorithm::Rs256, der),
            (false, true) => VerifyingKey::rsa(None, RsaAlgorithm::Ps256, der),
            (true, true) => Err(KeyFault::Ambiguous { id: None }),
            (false, false) => Err(KeyFault::NoUsableKey),
        },
        Some(Kind::P256) if is_allowed(Algorithm::ES256) => VerifyingKey::p256(None, der),
        Some(Kind::Ed25519) if is_allowed(Algorithm::EdDSA) => VerifyingKey::ed25519(None, der),
        Some(Kind::P256 | Kind::Ed25519) => Err(KeyFault::NoUsableKey),
        None => Err(KeyFault::BadKey { id: None }),
    }
}

fn secret(bytes: &[u8], allowed: &[Algorithm]) -> Result<VerifyingKey, KeyFault> {
    if !allowed.contains(&Algorithm::HS256) {
        return Err(KeyFault::NoUsableKey);
    }
    let secret = bytes.strip_suffix(b"\n").unwrap_or(bytes);
    VerifyingKey::secret(None, secret.strip_suffix(b"\r").unwrap_or(secret))
}
