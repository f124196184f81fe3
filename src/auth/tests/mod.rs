//! Tokens signed with keys made here, keys in every file format, and the hostile corpus.

mod corpus;
mod files;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use aws_lc_rs::encoding::AsDer;
use aws_lc_rs::hmac;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair, RSA_PKCS1_SHA256,
    RSA_PSS_SHA256, RsaEncoding, RsaKeyPair,
};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use http::{HeaderMap, HeaderValue};
use stamp_core::claims::{TOKEN_BYTES_MAX, TokenError};
use stamp_core::table::{Algorithm, IssuerRule, KeySource};
use stamp_core::time::UnixSeconds;

use super::*;

const NOW: u64 = 1_800_000_000;
const SECRET: &[u8] = b"0123456789abcdef0123456789abcdef";
const ISSUER: &str = "https://issuer.test";
const ALL: [Algorithm; 5] =
    [Algorithm::HS256, Algorithm::RS256, Algorithm::PS256, Algorithm::ES256, Algorithm::EdDSA];

/// Key pairs; making RSA ones is slow, so they are made once.
struct Pairs {
    rsa: RsaKeyPair,
    other_rsa: RsaKeyPair,
    ec: EcdsaKeyPair,
    ed: Ed25519KeyPair,
}

static PAIRS: LazyLock<Pairs> = LazyLock::new(|| Pairs {
    rsa: RsaKeyPair::generate(KeySize::Rsa2048).unwrap(),
    other_rsa: RsaKeyPair::generate(KeySize::Rsa2048).unwrap(),
    ec: EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap(),
    ed: Ed25519KeyPair::generate().unwrap(),
});

/// Who signs a token, and how.
#[derive(Clone, Copy)]
enum Signer<'k> {
    Rs256(&'k RsaKeyPair),
    Ps256(&'k RsaKeyPair),
    Es256,
    EdDsa,
    Hmac(&'k [u8]),
    Bytes(&'k [u8]),
}

fn rsa_signature(pair: &RsaKeyPair, how: &'static dyn RsaEncoding, message: &[u8]) -> Vec<u8> {
    let mut signature = vec![0; pair.public_modulus_len()];
    pair.sign(how, &SystemRandom::new(), message, &mut signature).unwrap();
    signature
}

fn signature(signer: Signer<'_>, message: &[u8]) -> Vec<u8> {
    match signer {
        Signer::Rs256(pair) => rsa_signature(pair, &RSA_PKCS1_SHA256, message),
        Signer::Ps256(pair) => rsa_signature(pair, &RSA_PSS_SHA256, message),
        Signer::Es256 => PAIRS.ec.sign(&SystemRandom::new(), message).unwrap().as_ref().to_vec(),
        Signer::EdDsa => PAIRS.ed.sign(message).as_ref().to_vec(),
        Signer::Hmac(secret) => {
            let key = hmac::Key::new(hmac::HMAC_SHA256, secret);
            hmac::sign(&key, message).as_ref().to_vec()
        }
        Signer::Bytes(bytes) => bytes.to_vec(),
    }
}

fn base64url(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

fn token_of(header: &[u8], claims: &[u8], signer: Signer<'_>) -> String {
    let signed = format!("{}.{}", base64url(header), base64url(claims));
    let signature = base64url(signature(signer, signed.as_bytes()));
    format!("{signed}.{signature}")
}

fn good_claims() -> String {
    format!(
        r#"{{"iss":"{ISSUER}","aud":"gateway","sub":"u1","tenant":"tenant-a","iat":{},"nbf":{},"exp":{}}}"#,
        NOW - 5,
        NOW - 5,
        NOW + 300
    )
}

fn good_token() -> String {
    let header = br#"{"alg":"RS256","typ":"JWT","kid":"k1"}"#;
    token_of(header, good_claims().as_bytes(), Signer::Rs256(&PAIRS.rsa))
}

fn rsa_jwk(pair: &RsaKeyPair, more: &str) -> String {
    let key = pair.public_key();
    let n = base64url(key.modulus().big_endian_without_leading_zero());
    let e = base64url(key.exponent().big_endian_without_leading_zero());
    format!(r#"{{"kty":"RSA","n":"{n}","e":"{e}"{more}}}"#)
}

fn ec_jwk(more: &str) -> String {
    let point = PAIRS.ec.public_key().as_ref();
    let (x, y) = (base64url(&point[1..33]), base64url(&point[33..65]));
    format!(r#"{{"kty":"EC","crv":"P-256","x":"{x}","y":"{y}"{more}}}"#)
}

fn ed_jwk(more: &str) -> String {
    let x = base64url(PAIRS.ed.public_key().as_ref());
    format!(r#"{{"kty":"OKP","crv":"Ed25519","x":"{x}"{more}}}"#)
}

fn oct_jwk(secret: &[u8], more: &str) -> String {
    format!(r#"{{"kty":"oct","k":"{}"{more}}}"#, base64url(secret))
}

fn key_set(keys: &[String]) -> String {
    format!(r#"{{"keys":[{}]}}"#, keys.join(","))
}

fn pem(label: &str, der: &[u8]) -> String {
    format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", STANDARD.encode(der))
}

fn rule(keys: KeySource, algorithms: &[Algorithm]) -> IssuerRule {
    IssuerRule {
        issuer: ISSUER.into(),
        audiences: vec!["gateway".into()],
        algorithms: algorithms.to_vec(),
        keys,
        tenant_claim: vec!["tenant".into()],
        stamp_claim: None,
        leeway: Duration::from_secs(60),
    }
}

fn jwks() -> KeySource {
    KeySource::JwksFile(PathBuf::from("keys.json"))
}

/// A ring of these rules, all of whose files hold `bytes`.
fn ring(rules: &[IssuerRule], bytes: &[u8]) -> Result<KeyRing, Vec<KeyError>> {
    let bytes: Arc<[u8]> = Arc::from(bytes);
    KeyRing::build(rules, &mut |_: &Path| -> io::Result<Arc<[u8]>> { Ok(Arc::clone(&bytes)) })
}

/// The ring that the corpus runs against: one key of each kind under one issuer.
fn full_ring() -> KeyRing {
    let set = key_set(&[
        rsa_jwk(&PAIRS.rsa, r#","kid":"k1","alg":"RS256","use":"sig""#),
        rsa_jwk(&PAIRS.other_rsa, r#","kid":"p1","alg":"PS256""#),
        ec_jwk(r#","kid":"e1""#),
        ed_jwk(r#","kid":"d1""#),
        oct_jwk(SECRET, r#","kid":"h1""#),
    ]);
    ring(&[rule(jwks(), &ALL)], set.as_bytes()).unwrap()
}

fn reason(ring: &KeyRing, token: &str) -> Result<String, TokenError> {
    match ring.verify(token, UnixSeconds(NOW)) {
        Ok(claims) => Ok(claims.tenant.as_str().to_owned()),
        Err(invalid) => Err(invalid.reason),
    }
}

fn authorization(values: &[&str]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for value in values {
        headers.append(AUTHORIZATION, HeaderValue::from_bytes(value.as_bytes()).unwrap());
    }
    headers
}

#[track_caller]
fn silent(value: &str) {
    assert_eq!(bearer(&authorization(&[value])), Ok(None), "{value}");
}

#[track_caller]
fn heard(value: &str, token: &str) {
    assert_eq!(bearer(&authorization(&[value])), Ok(Some(token)), "{value}");
}

#[test]
fn no_authorization_is_silence() {
    assert_eq!(bearer(&HeaderMap::new()), Ok(None));
}

#[test]
fn the_scheme_is_read_without_case() {
    heard("Bearer a.b.c", "a.b.c");
    heard("bEARER a.b.c", "a.b.c");
    heard("Bearer   a.b.c  ", "a.b.c");
    heard("Bearer\ta.b.c", "a.b.c");
}

#[test]
fn other_schemes_and_opaque_tokens_are_silence() {
    for value in ["Basic YTpi", "Bearer", "Bearer ", "Bearer 0123abcd", "Bearera.b.c", "a.b.c", ""]
    {
        silent(value);
    }
}

#[test]
fn a_token_with_blanks_or_bytes_beyond_ascii_does_not_pass_as_opaque() {
    heard("Bearer eyJ.a b.c", "eyJ.a b.c");
    heard("Bearer abc, Bearer a.b.c", "abc, Bearer a.b.c");
    let mut headers = HeaderMap::new();
    headers.insert(AUTHORIZATION, HeaderValue::from_bytes(b"Bearer eyJ.\xff.c").unwrap());
    let refused = bearer(&headers).unwrap_err();
    assert_eq!(refused.code(), "invalid_token");
}

#[test]
fn two_authorization_fields_are_malformed_whatever_they_hold() {
    let refused = bearer(&authorization(&["Basic YTpi", "Bearer a.b.c"])).unwrap_err();
    assert_eq!(refused, AuthError::SeveralAuthorizations);
    assert_eq!(refused.code(), "malformed_identifier");
}

#[test]
fn without_issuers_no_token_is_looked_at() {
    let ring = ring(&[], b"").unwrap();
    let headers = authorization(&["Bearer eyJ.not.one", "Bearer twice"]);
    let mut cache = TokenCache::default();
    assert_eq!(verified(&ring, &mut cache, &headers, || UnixSeconds(NOW)), Ok(None));
}

#[test]
fn a_good_token_is_verified() {
    let headers = authorization(&[&format!("Bearer {}", good_token())]);
    let mut cache = TokenCache::default();
    let claims =
        verified(&full_ring(), &mut cache, &headers, || UnixSeconds(NOW)).unwrap().unwrap();
    assert_eq!(claims.tenant.as_str(), "tenant-a");
    assert_eq!(&*claims.issuer, ISSUER);
}

#[test]
fn an_invalid_token_says_which_configured_issuer_it_claims() {
    let ring = full_ring();
    let of = |token: &str| ring.verify(token, UnixSeconds(NOW)).unwrap_err().issuer;
    let forged =
        token_of(br#"{"alg":"RS256"}"#, good_claims().as_bytes(), Signer::Bytes(&[0; 256]));
    assert_eq!(of(&forged).as_deref(), Some(ISSUER));
    let stranger = token_of(br#"{"alg":"RS256"}"#, br#"{"iss":"x"}"#, Signer::Bytes(&[0; 256]));
    assert_eq!(of(&stranger), None);
}

#[test]
fn each_issuer_is_checked_with_its_own_keys_and_terms() {
    let other = "https://other.test";
    let second = IssuerRule { issuer: other.into(), ..rule(jwks_at("two"), &[Algorithm::RS256]) };
    let rules = [rule(jwks_at("one"), &[Algorithm::RS256]), second];
    let sets = [key_set(&[rsa_jwk(&PAIRS.rsa, "")]), key_set(&[rsa_jwk(&PAIRS.other_rsa, "")])];
    let ring = KeyRing::build(&rules, &mut |path: &Path| {
        Ok(Arc::from(sets[usize::from(path == Path::new("two"))].as_bytes()))
    })
    .unwrap();
    let claims = good_claims().replace(ISSUER, other);
    let header = br#"{"alg":"RS256"}"#;
    let own = token_of(header, claims.as_bytes(), Signer::Rs256(&PAIRS.other_rsa));
    assert_eq!(reason(&ring, &own), Ok("tenant-a".to_owned()));
    let crossed = token_of(header, claims.as_bytes(), Signer::Rs256(&PAIRS.rsa));
    assert_eq!(reason(&ring, &crossed), Err(TokenError::Signature));
}

fn jwks_at(path: &str) -> KeySource {
    KeySource::JwksFile(PathBuf::from(path))
}

#[test]
fn a_token_that_passed_is_remembered() {
    let (ring, mut cache, token) = (full_ring(), TokenCache::default(), good_token());
    let first = cache.verify(&ring, &token, UnixSeconds(NOW)).unwrap();
    let second = cache.verify(&ring, &token, UnixSeconds(NOW + 1)).unwrap();
    assert!(Rc::ptr_eq(&first, &second));
}

#[test]
fn memory_ends_at_the_expiry_though_leeway_goes_on() {
    let (ring, mut cache, token) = (full_ring(), TokenCache::default(), good_token());
    cache.verify(&ring, &token, UnixSeconds(NOW)).unwrap();
    assert!(cache.verify(&ring, &token, UnixSeconds(NOW + 300)).is_ok());
    assert!(cache.is_empty());
    let late = cache.verify(&ring, &token, UnixSeconds(NOW + 360)).unwrap_err();
    assert_eq!(late.reason, TokenError::Expired);
}

#[test]
fn refusals_are_not_remembered() {
    let (ring, mut cache) = (full_ring(), TokenCache::default());
    assert!(cache.verify(&ring, "a.b.c", UnixSeconds(NOW)).is_err());
    assert!(cache.is_empty());
}

#[test]
fn a_token_with_another_signature_is_another_token() {
    let (ring, mut cache, token) = (full_ring(), TokenCache::default(), good_token());
    cache.verify(&ring, &token, UnixSeconds(NOW)).unwrap();
    let (signed, _) = token.rsplit_once('.').unwrap();
    let forged = format!("{signed}.{}", base64url([0; 256]));
    let refused = cache.verify(&ring, &forged, UnixSeconds(NOW)).unwrap_err();
    assert_eq!(refused.reason, TokenError::Signature);
}

#[test]
fn memory_goes_with_the_keys() {
    let (mut cache, token) = (TokenCache::default(), good_token());
    cache.verify(&full_ring(), &token, UnixSeconds(NOW)).unwrap();
    let rotated = key_set(&[rsa_jwk(&PAIRS.other_rsa, r#","kid":"k1""#)]);
    let rotated = ring(&[rule(jwks(), &[Algorithm::RS256])], rotated.as_bytes()).unwrap();
    let refused = cache.verify(&rotated, &token, UnixSeconds(NOW)).unwrap_err();
    assert_eq!(refused.reason, TokenError::Signature);
}

#[test]
fn memory_goes_with_the_rules() {
    let set = key_set(&[rsa_jwk(&PAIRS.rsa, "")]);
    let lax = rule(jwks(), &[Algorithm::RS256]);
    let strict = IssuerRule { audiences: vec!["other".into()], ..lax.clone() };
    let (mut cache, token) = (TokenCache::default(), good_token());
    let build = |rule: &IssuerRule| ring(std::slice::from_ref(rule), set.as_bytes()).unwrap();
    cache.verify(&build(&lax), &token, UnixSeconds(NOW)).unwrap();
    let refused = cache.verify(&build(&strict), &token, UnixSeconds(NOW)).unwrap_err();
    assert_eq!(refused.reason, TokenError::Audience);
}

#[test]
fn the_same_keys_and_rules_have_the_same_fingerprint() {
    assert_eq!(full_ring().fingerprint(), full_ring().fingerprint());
}

#[test]
fn memory_is_bounded() {
    let secret =
        ring(&[rule(jwks(), &[Algorithm::HS256])], key_set(&[oct_jwk(SECRET, "")]).as_bytes());
    let (ring, mut cache) = (secret.unwrap(), TokenCache::default());
    for user in 0..=CACHED_TOKENS_MAX {
        let claims = good_claims().replace("u1", &user.to_string());
        let token = token_of(br#"{"alg":"HS256"}"#, claims.as_bytes(), Signer::Hmac(SECRET));
        cache.verify(&ring, &token, UnixSeconds(NOW)).unwrap();
    }
    assert!(cache.len() <= CACHED_TOKENS_MAX, "{}", cache.len());
    assert!(cache.len() > CACHED_TOKENS_MAX / 2, "{}", cache.len());
}
