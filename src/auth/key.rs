//! One key that checks signatures, bound to one algorithm for good (RFC 8725, section 3.1): a token
//! cannot make an RSA key into an HMAC secret, for no such value exists.

use std::fmt;

use aws_lc_rs::hmac;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ED25519, ParsedPublicKey, RSA_PKCS1_2048_8192_SHA256,
    RSA_PSS_2048_8192_SHA256, RsaParameters, RsaPublicKeyComponents, RsaSubjectPublicKey,
};
use stamp_core::table::Algorithm;

use super::ring::KeyFault;

/// The smallest RSA modulus, in bits (RFC 7518, section 3.3).
pub const RSA_BITS_MIN: usize = 2048;
/// The shortest shared secret, in bytes: as long as the hash (RFC 7518, section 3.2).
pub const HMAC_SECRET_BYTES_MIN: usize = 32;

/// A key, its algorithm and its name.
pub(super) struct VerifyingKey {
    /// `kid`; `None` matches every token.
    pub(super) id: Option<Box<str>>,
    pub(super) algorithm: Algorithm,
    material: Material,
}

enum Material {
    /// Boxed, for its prepared state is twenty times a public key's handle.
    Secret(Box<hmac::Key>),
    Public(ParsedPublicKey),
}

/// What kind of key an encoded public key turned out to be.
pub(super) enum Kind {
    Rsa,
    P256,
    Ed25519,
}

impl VerifyingKey {
    /// HS256 with this secret.
    pub(super) fn secret(id: Option<Box<str>>, secret: &[u8]) -> Result<Self, KeyFault> {
        if secret.len() < HMAC_SECRET_BYTES_MIN {
            return Err(KeyFault::ShortSecret { bytes: secret.len() });
        }
        let key = hmac::Key::new(hmac::HMAC_SHA256, secret);
        Ok(Self { id, algorithm: Algorithm::HS256, material: Material::Secret(Box::new(key)) })
    }

    /// RS256 or PS256 with this modulus and exponent, big-endian.
    pub(super) fn rsa_components(
        id: Option<Box<str>>,
        algorithm: RsaAlgorithm,
        (modulus, exponent): (&[u8], &[u8]),
    ) -> Result<Self, KeyFault> {
        let n = without_leading_zeros(modulus);
        let e = without_leading_zeros(exponent);
        let parsed = RsaPublicKeyComponents { n, e }.to_parsed_public_key(algorithm.parameters());
        let Ok(parsed) = parsed else { return Err(KeyFault::BadKey { id }) };
        Self::rsa(id, algorithm, parsed.as_ref())
    }

    /// RS256 or PS256 with this key: `SubjectPublicKeyInfo` in DER.
    pub(super) fn rsa(
        id: Option<Box<str>>,
        algorithm: RsaAlgorithm,
        der: &[u8],
    ) -> Result<Self, KeyFault> {
        let checked = RsaSubjectPublicKey::from_der(der);
        let parsed = ParsedPublicKey::new(algorithm.parameters(), der);
        let (Ok(checked), Ok(parsed)) = (checked, parsed) else {
            return Err(KeyFault::BadKey { id });
        };
        let bits = bits_of(checked.modulus().big_endian_without_leading_zero());
        if bits < RSA_BITS_MIN {
            return Err(KeyFault::WeakRsa { id, bits });
        }
        Ok(Self { id, algorithm: algorithm.as_algorithm(), material: Material::Public(parsed) })
    }

    /// ES256 with this key: an uncompressed point (SEC 1, section 2.3.3) or DER.
    pub(super) fn p256(id: Option<Box<str>>, key: &[u8]) -> Result<Self, KeyFault> {
        match ParsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, key) {
            Ok(key) => {
                Ok(Self { id, algorithm: Algorithm::ES256, material: Material::Public(key) })
            }
            Err(_) => Err(KeyFault::BadKey { id }),
        }
    }

    /// `EdDSA` with this Ed25519 key: 32 bytes, or DER.
    pub(super) fn ed25519(id: Option<Box<str>>, key: &[u8]) -> Result<Self, KeyFault> {
        match ParsedPublicKey::new(&ED25519, key) {
            Ok(key) => {
                Ok(Self { id, algorithm: Algorithm::EdDSA, material: Material::Public(key) })
            }
            Err(_) => Err(KeyFault::BadKey { id }),
        }
    }

    /// Did the holder of this key sign these bytes?
    pub(super) fn signed(&self, message: &[u8], signature: &[u8]) -> bool {
        match &self.material {
            Material::Secret(key) => hmac::verify(key, message, signature).is_ok(),
            Material::Public(key) => key.verify_sig(message, signature).is_ok(),
        }
    }
}

/// Which of the two an RSA key is for.
#[derive(Clone, Copy)]
pub(super) enum RsaAlgorithm {
    Rs256,
    Ps256,
}

impl RsaAlgorithm {
    const fn parameters(self) -> &'static RsaParameters {
        match self {
            Self::Rs256 => &RSA_PKCS1_2048_8192_SHA256,
            Self::Ps256 => &RSA_PSS_2048_8192_SHA256,
        }
    }

    const fn as_algorithm(self) -> Algorithm {
        match self {
            Self::Rs256 => Algorithm::RS256,
            Self::Ps256 => Algorithm::PS256,
        }
    }
}

/// What kind of public key this DER is, by its own word (RFC 5280, section 4.1.2.7).
pub(super) fn kind_of(der: &[u8]) -> Option<Kind> {
    if RsaSubjectPublicKey::from_der(der).is_ok() {
        return Some(Kind::Rsa);
    }
    if ParsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, der).is_ok() {
        return Some(Kind::P256);
    }
    ParsedPublicKey::new(&ED25519, der).is_ok().then_some(Kind::Ed25519)
}

fn without_leading_zeros(number: &[u8]) -> &[u8] {
    let zeros = number.iter().take_while(|byte| **byte == 0).count();
    number.get(zeros..).unwrap_or_default()
}

fn bits_of(number: &[u8]) -> usize {
    match number.first() {
        Some(first) => number.len() * 8 - first.leading_zeros() as usize,
        None => 0,
    }
}

impl fmt::Debug for VerifyingKey {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { id, algorithm, material: _ } = self;
        out.debug_struct("VerifyingKey")
            .field("id", id)
            .field("algorithm", algorithm)
            .finish_non_exhaustive()
    }
}
