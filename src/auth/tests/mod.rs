//! Tokens signed with keys made here, keys in every file format, and the hostile corpus.

mod corpus;
mod fetching;
mod files;
mod memory;

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
use stamp_core::id::TenantId;
use stamp_core::table::{Algorithm, IssuerRule, KeySource, TokenPlace};
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
        Ok(claims) => {
            let names: Vec<&str> = claims.tenants.iter().map(TenantId::as_str).collect();
            Ok(names.join(" "))
        }
        Err(invalid) => Err(invalid.reason),
    }
}

fn header_place() -> TokenPlace {
    TokenPlace::Header(http::HeaderName::from_static("x-token"))
}

/// What a request with these fields proves.
fn read(
    ring: &KeyRing,
    cache: &mut TokenCache,
    place: &TokenPlace,
    headers: &HeaderMap,
) -> Result<Option<Rc<Verified<Claims>>>, AuthError> {
    let head = Head { version: http::Version::HTTP_11, authority: None, headers };
    verified(ring, cache, (place, &head), || UnixSeconds(NOW))
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
    assert_eq!(read(&ring, &mut cache, &TokenPlace::Bearer, &headers), Ok(None));
}

#[test]
fn a_good_token_is_verified() {
    let headers = authorization(&[&format!("Bearer {}", good_token())]);
    let mut cache = TokenCache::default();
    let claims = read(&full_ring(), &mut cache, &TokenPlace::Bearer, &headers).unwrap().unwrap();
    assert_eq!(claims.tenants.only().map(TenantId::as_str), Some("tenant-a"));
    assert_eq!(&*claims.issuer, ISSUER);
}

#[test]
fn a_token_is_read_from_the_declared_place_alone() {
    let (ring, mut cache, token) = (full_ring(), TokenCache::default(), good_token());
    let mut headers = authorization(&["Bearer a.b.c"]);
    headers.insert("x-token", HeaderValue::from_str(&token).unwrap());
    headers.insert("cookie", HeaderValue::from_str(&format!("a=b; session={token}")).unwrap());
    for place in [header_place(), TokenPlace::Cookie("session".into())] {
        assert!(read(&ring, &mut cache, &place, &headers).unwrap().is_some(), "{place:?}");
    }
    assert!(read(&ring, &mut cache, &TokenPlace::Bearer, &headers).is_err());
    let elsewhere = authorization(&[&format!("Bearer {token}")]);
    assert_eq!(read(&ring, &mut cache, &header_place(), &elsewhere), Ok(None));
}

#[test]
fn what_is_no_token_in_a_place_for_tokens_is_refused() {
    let (ring, mut cache) = (full_ring(), TokenCache::default());
    for value in [&b""[..], b"opaque", b"Bearer x", b"eyJ.\xff.c", b"\"a.b.c\""] {
        let mut headers = HeaderMap::new();
        headers.insert("x-token", HeaderValue::from_bytes(value).unwrap());
        let refused = read(&ring, &mut cache, &header_place(), &headers).unwrap_err();
        assert_eq!(refused.code(), "invalid_token");
    }
    let mut twice = HeaderMap::new();
    twice.append("x-token", HeaderValue::from_static("a.b.c"));
    twice.append("x-token", HeaderValue::from_static("a.b.c"));
    let refused = read(&ring, &mut cache, &header_place(), &twice).unwrap_err();
    assert_eq!(refused.code(), "malformed_identifier");
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
