//! Keys and signed tokens, made without the library that the gateway checks them with.

use aws_lc_rs::encoding::AsDer as _;
use aws_lc_rs::encoding::PublicKeyX509Der;
use aws_lc_rs::hmac;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _, RSA_PKCS1_SHA256,
    RSA_PSS_SHA256, RsaKeyPair,
};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde_json::{Value, json};

/// The issuer that the tests' tables trust.
pub const ISSUER: &str = "https://login.test/";
/// The audience that the tests' tables demand.
pub const AUDIENCE: &str = "api://orders";

/// A private key, and the name of the algorithm it signs by.
#[derive(Debug)]
pub struct Key {
    kid: String,
    algorithm: &'static str,
    secret: Secret,
}

#[derive(Debug)]
enum Secret {
    Hmac(Vec<u8>),
    Rsa(Box<RsaKeyPair>),
    Ecdsa(Box<EcdsaKeyPair>),
    Ed25519(Box<Ed25519KeyPair>),
}

impl Key {
    /// A new key for `HS256`, `RS256`, `PS256`, `ES256` or `EdDSA`.
    pub fn new(algorithm: &'static str, kid: &str) -> Self {
        let secret = match algorithm {
            "HS256" => {
                Secret::Hmac(format!("thirty-two bytes or more of secret {kid}").into_bytes())
            }
            "RS256" | "PS256" => {
                Secret::Rsa(Box::new(RsaKeyPair::generate(KeySize::Rsa2048).unwrap()))
            }
            "ES256" => Secret::Ecdsa(Box::new(
                EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap(),
            )),
            "EdDSA" => Secret::Ed25519(Box::new(Ed25519KeyPair::generate().unwrap())),
            other => panic!("no key for {other}"),
        };
        Self { kid: kid.into(), algorithm, secret }
    }

    /// The shared secret that is this text.
    pub fn hmac_with(text: &str) -> Self {
        Self { kid: "k1".into(), algorithm: "HS256", secret: Secret::Hmac(text.into()) }
    }

    /// A token with these claims and the key's own header.
    pub fn sign(&self, claims: &Value) -> String {
        self.sign_as(&json!({"alg": self.algorithm, "typ": "JWT", "kid": self.kid}), claims)
    }

    /// A token with this header, signed by the key whatever the header says.
    pub fn sign_as(&self, header: &Value, claims: &Value) -> String {
        let signed = format!("{}.{}", part(header), part(claims));
        let signature = self.signature(signed.as_bytes());
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
    }

    fn signature(&self, message: &[u8]) -> Vec<u8> {
        let random = SystemRandom::new();
        match &self.secret {
            Secret::Hmac(secret) => {
                let key = hmac::Key::new(hmac::HMAC_SHA256, secret);
                hmac::sign(&key, message).as_ref().to_vec()
            }
            Secret::Rsa(pair) => {
                let mut signature = vec![0; pair.public_modulus_len()];
                let scheme =
                    if self.algorithm == "PS256" { &RSA_PSS_SHA256 } else { &RSA_PKCS1_SHA256 };
                pair.sign(scheme, &random, message, &mut signature).unwrap();
                signature
            }
            Secret::Ecdsa(pair) => pair.sign(&random, message).unwrap().as_ref().to_vec(),
            Secret::Ed25519(pair) => pair.sign(message).as_ref().to_vec(),
        }
    }

    /// The file that `hmac_secret_file` names.
    pub fn secret_file(&self) -> String {
        match &self.secret {
            Secret::Hmac(secret) => String::from_utf8(secret.clone()).unwrap(),
            Secret::Rsa(_) | Secret::Ecdsa(_) | Secret::Ed25519(_) => panic!("not a shared secret"),
        }
    }

    /// The file that `public_key_file` names.
    pub fn public_pem(&self) -> String {
        let der: PublicKeyX509Der<'_> = match &self.secret {
            Secret::Hmac(_) => panic!("no public half"),
            Secret::Rsa(pair) => pair.public_key().as_der().unwrap(),
            Secret::Ecdsa(pair) => pair.public_key().as_der().unwrap(),
            Secret::Ed25519(pair) => pair.public_key().as_der().unwrap(),
        };
        let text = STANDARD.encode(der.as_ref());
        let lines: Vec<String> =
            text.as_bytes().chunks(64).map(|line| String::from_utf8_lossy(line).into()).collect();
        format!("-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n", lines.join("\n"))
    }

    /// The key as a member of a JSON Web Key Set.
    pub fn jwk(&self) -> Value {
        let encode = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        let mut jwk = match &self.secret {
            Secret::Hmac(_) => panic!("a shared secret is never published"),
            Secret::Rsa(pair) => {
                let public = pair.public_key();
                let modulus = public.modulus().big_endian_without_leading_zero().to_vec();
                let exponent = public.exponent().big_endian_without_leading_zero().to_vec();
                json!({"kty": "RSA", "n": encode(&modulus), "e": encode(&exponent)})
            }
            Secret::Ecdsa(pair) => {
                // An uncompressed point: 0x04, then both coordinates.
                let point = pair.public_key().as_ref();
                json!({"kty": "EC", "crv": "P-256", "x": encode(&point[1..33]), "y": encode(&point[33..])})
            }
            Secret::Ed25519(pair) => {
                json!({"kty": "OKP", "crv": "Ed25519", "x": encode(pair.public_key().as_ref())})
            }
        };
        jwk["kid"] = self.kid.as_str().into();
        jwk["alg"] = self.algorithm.into();
        jwk["use"] = "sig".into();
        jwk
    }
}

/// A key set file with these keys.
pub fn jwks(keys: &[&Key]) -> String {
    json!({"keys": keys.iter().map(|key| key.jwk()).collect::<Vec<_>>()}).to_string()
}

/// One part of a token.
pub fn part(value: &Value) -> String {
    URL_SAFE_NO_PAD.encode(value.to_string())
}

/// Claims that are good for the next hour and name this tenant as `tid`.
pub fn claims(tenant: &str) -> Value {
    let now = unix_now();
    json!({
        "iss": ISSUER, "aud": AUDIENCE, "sub": "someone", "tid": tenant,
        "iat": now - 10, "nbf": now - 10, "exp": now + 3600,
    })
}

/// The same claims with one of them changed; `null` removes it.
pub fn claims_with(tenant: &str, name: &str, value: Value) -> Value {
    let mut claims = claims(tenant);
    let members = claims.as_object_mut().unwrap();
    let _former = members.remove(name);
    if !value.is_null() {
        let _absent = members.insert(name.into(), value);
    }
    claims
}

/// Seconds since 1970.
#[expect(clippy::disallowed_methods, reason = "tokens are dated by the wall clock")]
pub fn unix_now() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.unwrap().as_secs()
}
