//! A JSON Web Key Set file (RFC 7517) -> verifying keys. Keys for other uses, of other kinds and
//! for algorithms that are not configured are left out; keys that are wrong are errors.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;
use stamp_core::table::Algorithm;

use super::key::{RsaAlgorithm, VerifyingKey};
use super::ring::KeyFault;

/// A key set as written. A member twice is refused by serde itself.
#[derive(Deserialize)]
struct RawKeySet {
    keys: Vec<RawKey>,
}

/// The most keys of a fetched set that are looked at. The largest known publish about ten.
const FETCHED_KEYS_MAX: usize = 128;

/// A fetched set, whose keys are read one by one.
#[derive(Deserialize)]
struct LooseKeySet {
    keys: Vec<serde_json::Value>,
}

/// One key as written; members that are not listed are ignored (RFC 7517, section 4).
#[derive(Deserialize)]
struct RawKey {
    kty: String,
    #[serde(rename = "use")]
    usage: Option<String>,
    key_ops: Option<Vec<String>>,
    alg: Option<String>,
    kid: Option<Box<str>>,
    crv: Option<String>,
    n: Option<String>,
    e: Option<String>,
    x: Option<String>,
    y: Option<String>,
    k: Option<String>,
    d: Option<serde::de::IgnoredAny>,
}

/// The usable keys of a set.
pub(super) fn read(json: &[u8], allowed: &[Algorithm]) -> Result<Vec<VerifyingKey>, KeyFault> {
    let set: RawKeySet = serde_json::from_slice(json).map_err(KeyFault::Jwks)?;
    let mut keys: Vec<VerifyingKey> = Vec::with_capacity(set.keys.len());
    for raw in set.keys {
        let Some(key) = raw.into_key(allowed)? else { continue };
        let is_twin = |other: &VerifyingKey| {
            key.id.is_some() && other.id == key.id && other.algorithm == key.algorithm
        };
        if keys.iter().any(is_twin) {
            return Err(KeyFault::Twice { id: key.id });
        }
        keys.push(key);
    }
    Ok(keys)
}

/// The usable keys of a set that an issuer published. What is wrong with a key is no fault of the
/// others (RFC 7517, section 5), and no operator is there to mend it.
pub(super) fn read_usable(
    json: &[u8],
    allowed: &[Algorithm],
) -> Result<Vec<VerifyingKey>, KeyFault> {
    let set: LooseKeySet = serde_json::from_slice(json).map_err(KeyFault::Jwks)?;
    let keys = set.keys.into_iter().take(FETCHED_KEYS_MAX);
    let read = keys.filter_map(|key| serde_json::from_value::<RawKey>(key).ok());
    Ok(read.filter_map(|key| key.into_key(allowed).ok().flatten()).collect())
}

impl RawKey {
    fn into_key(self, allowed: &[Algorithm]) -> Result<Option<VerifyingKey>, KeyFault> {
        if !self.is_for_signatures() {
            return Ok(None);
        }
        if self.d.is_some() && self.kty != "oct" {
            return Err(KeyFault::PrivateKey);
        }
        match (&*self.kty, self.crv.as_deref()) {
            ("RSA", _) => self.rsa(allowed),
            ("EC", Some("P-256")) if self.may_be(Algorithm::ES256, allowed) => {
                let point = [&[4], &*self.bytes(&self.x)?, &*self.bytes(&self.y)?].concat();
                VerifyingKey::p256(self.kid, &point).map(Some)
            }
            ("OKP", Some("Ed25519")) if self.may_be(Algorithm::EdDSA, allowed) => {
                let key = self.bytes(&self.x)?;
                VerifyingKey::ed25519(self.kid, &key).map(Some)
            }
            ("oct", _) if self.may_be(Algorithm::HS256, allowed) => {
                let secret = self.bytes(&self.k)?;
                VerifyingKey::secret(self.kid, &secret).map(Some)
            }
            _ => Ok(None),
        }
    }

    fn is_for_signatures(&self) -> bool {
        let by_use = self.usage.as_deref().is_none_or(|usage| usage == "sig");
        let by_operation =
            self.key_ops.as_ref().is_none_or(|all| all.iter().any(|one| one == "verify"));
        by_use && by_operation
    }

    /// An RSA key serves two algorithms; it must be clear which (RFC 8725, section 3.1).
    fn rsa(self, allowed: &[Algorithm]) -> Result<Option<VerifyingKey>, KeyFault> {
        let rs256 = self.may_be(Algorithm::RS256, allowed);
        let ps256 = self.may_be(Algorithm::PS256, allowed);
        let algorithm = match (rs256, ps256) {
            (true, false) => RsaAlgorithm::Rs256,
            (false, true) => RsaAlgorithm::Ps256,
            (true, true) => return Err(KeyFault::Ambiguous { id: self.kid }),
            (false, false) => return Ok(None),
        };
        let (modulus, exponent) = (self.bytes(&self.n)?, self.bytes(&self.e)?);
        VerifyingKey::rsa_components(self.kid, algorithm, (&modulus, &exponent)).map(Some)
    }

    /// Is this algorithm configured, and does the key's own `alg` not name another?
    fn may_be(&self, algorithm: Algorithm, allowed: &[Algorithm]) -> bool {
        let name = match algorithm {
            Algorithm::HS256 => "HS256",
            Algorithm::RS256 => "RS256",
            Algorithm::PS256 => "PS256",
            Algorithm::ES256 => "ES256",
            Algorithm::EdDSA => "EdDSA",
        };
        // RFC 9864 gives Ed25519 its own name, which means the same key and signature.
        let is_named =
            |given: &str| given == name || (algorithm == Algorithm::EdDSA && given == "Ed25519");
        allowed.contains(&algorithm) && self.alg.as_deref().is_none_or(is_named)
    }

    fn bytes(&self, member: &Option<String>) -> Result<Vec<u8>, KeyFault> {
        let decoded = member.as_ref().map(|text| URL_SAFE_NO_PAD.decode(text));
        match decoded {
            Some(Ok(bytes)) => Ok(bytes),
            Some(Err(_)) | None => Err(KeyFault::BadKey { id: self.kid.clone() }),
        }
    }
}
