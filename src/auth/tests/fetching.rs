//! Keys that are fetched: what a published set gives, and how rings pass it on.

use stamp_core::jwks::{JwksSource, JwksUrl};
use stamp_core::table::Scheme;

use super::*;

fn source(host: &str) -> JwksSource {
    let url = JwksUrl { scheme: Scheme::Https, host: host.into(), port: 443, path: "/".into() };
    let (refresh, stale) = (Duration::from_mins(10), Duration::from_hours(1));
    JwksSource { url, refresh, stale, ca: None }
}

fn by_url(host: &str) -> IssuerRule {
    rule(KeySource::JwksUrl(Box::new(source(host))), &ALL)
}

/// A ring of these rules, none of which names a file.
fn ring_of(rules: &[IssuerRule]) -> KeyRing {
    ring(rules, b"").unwrap()
}

fn published(keys: &[String], seconds: u64) -> Fetched {
    let json: Arc<[u8]> = Arc::from(key_set(keys).as_bytes());
    Fetched::read(json, &ALL, Duration::from_secs(seconds)).unwrap()
}

fn change(host: &str, fetched: Option<Fetched>) -> KeyChange {
    let algorithms = ALL.into();
    KeyChange { issuer: ISSUER.into(), source: source(host), algorithms, fetched }
}

fn with_first_key() -> KeyRing {
    let keys = [rsa_jwk(&PAIRS.rsa, r#","kid":"k1","alg":"RS256""#)];
    ring_of(&[by_url("a")]).with(&change("a", Some(published(&keys, 1)))).unwrap()
}

#[test]
fn without_keys_a_token_cannot_be_judged() {
    let ring = ring_of(&[by_url("a")]);
    let refused = ring.verify(&good_token(), UnixSeconds(NOW)).unwrap_err();
    assert_eq!((refused.reason, refused.issuer.as_deref()), (TokenError::NotReady, Some(ISSUER)));
    assert_eq!(AuthError::from(refused).code(), "not_ready");
}

#[test]
fn without_keys_what_is_no_token_of_the_issuer_is_still_refused() {
    let ring = ring_of(&[by_url("a")]);
    assert_eq!(reason(&ring, "a.b.c"), Err(TokenError::Encoding));
    let none = token_of(br#"{"alg":"none"}"#, good_claims().as_bytes(), Signer::Bytes(b""));
    assert_eq!(reason(&ring, &none), Err(TokenError::Algorithm));
    let stranger = token_of(br#"{"alg":"RS256"}"#, br#"{"iss":"x"}"#, Signer::Bytes(b""));
    assert_eq!(reason(&ring, &stranger), Err(TokenError::Issuer));
}

#[test]
fn fetched_keys_verify_and_lapse() {
    let ring = with_first_key();
    assert_eq!(reason(&ring, &good_token()), Ok("tenant-a".to_owned()));
    let lapsed = ring.with(&change("a", None)).unwrap();
    assert_eq!(reason(&lapsed, &good_token()), Err(TokenError::NotReady));
}

#[test]
fn a_key_that_was_withdrawn_stops_though_its_tokens_are_remembered() {
    let (ring, mut cache, token) = (with_first_key(), TokenCache::default(), good_token());
    cache.verify(&ring, &token, UnixSeconds(NOW)).unwrap();
    let other = [rsa_jwk(&PAIRS.other_rsa, r#","kid":"k2","alg":"RS256""#)];
    let ring = ring.with(&change("a", Some(published(&other, 2)))).unwrap();
    let refused = cache.verify(&ring, &token, UnixSeconds(NOW)).unwrap_err();
    assert_eq!(refused.reason, TokenError::Key);
}

#[test]
fn keys_that_were_fetched_again_and_are_the_same_cost_no_memory() {
    let (ring, mut cache, token) = (with_first_key(), TokenCache::default(), good_token());
    let first = cache.verify(&ring, &token, UnixSeconds(NOW)).unwrap();
    let keys = [rsa_jwk(&PAIRS.rsa, r#","kid":"k1","alg":"RS256""#)];
    let ring = ring.with(&change("a", Some(published(&keys, 2)))).unwrap();
    let again = cache.verify(&ring, &token, UnixSeconds(NOW)).unwrap();
    assert!(Rc::ptr_eq(&first, &again));
}

#[test]
fn a_reload_keeps_the_keys_of_an_address_that_stays() {
    let stricter = IssuerRule { algorithms: vec![Algorithm::RS256], ..by_url("a") };
    for rule in [by_url("a"), stricter] {
        let ring = ring_of(&[rule]).adopt(&with_first_key());
        assert_eq!(reason(&ring, &good_token()), Ok("tenant-a".to_owned()));
    }
    let none_left = IssuerRule { algorithms: vec![Algorithm::ES256], ..by_url("a") };
    let ring = ring_of(&[none_left]).adopt(&with_first_key());
    assert_eq!(reason(&ring, &good_token()), Err(TokenError::NotReady));
}

#[test]
fn an_address_that_changed_starts_anew() {
    let ring = ring_of(&[by_url("b")]).adopt(&with_first_key());
    assert_eq!(reason(&ring, &good_token()), Err(TokenError::NotReady));
    assert!(ring.with(&change("a", None)).is_none());
}

#[test]
fn keys_that_were_read_for_other_algorithms_are_not_taken() {
    let rule = IssuerRule { algorithms: vec![Algorithm::ES256], ..by_url("a") };
    let keys = [rsa_jwk(&PAIRS.rsa, r#","kid":"k1","alg":"RS256""#)];
    assert!(ring_of(&[rule]).with(&change("a", Some(published(&keys, 1)))).is_none());
}

#[test]
fn of_two_sets_of_an_address_the_newer_is_taken() {
    let kept = published(&[ec_jwk("")], 1);
    let ring = ring_of(&[by_url("a")]).recall(|_| Some(kept.clone())).adopt(&with_first_key());
    assert_eq!(reason(&ring, &good_token()), Ok("tenant-a".to_owned()));
    let kept = published(&[ec_jwk("")], 2);
    let ring = ring_of(&[by_url("a")]).recall(|_| Some(kept.clone())).adopt(&with_first_key());
    assert_eq!(reason(&ring, &good_token()), Err(TokenError::Key));
}

#[test]
fn a_key_that_cannot_be_used_does_not_spoil_a_published_set() {
    let odd = [
        r#"{"kty":"RSA","kid":"weak","n":"AQAB","e":"AQAB"}"#.to_owned(),
        r#"{"kty":"future"}"#.to_owned(),
        r#"{"kid":7}"#.to_owned(),
        "7".to_owned(),
        rsa_jwk(&PAIRS.other_rsa, r#","alg":"RS256","kid":"private","d":"AQAB""#),
        rsa_jwk(&PAIRS.rsa, r#","alg":"RS256","kid":"k1""#),
    ];
    assert_eq!(published(&odd, 0).len(), 1);
}

#[test]
fn what_is_no_key_set_or_has_no_key_for_us_is_refused() {
    for json in ["", "{}", "[]", "<html>", r#"{"keys":{}}"#, r#"{"keys":[]}"#, r#"{"keys":[{}]}"#] {
        assert!(Fetched::read(Arc::from(json.as_bytes()), &ALL, Duration::ZERO).is_err(), "{json}");
    }
    let only_rsa = key_set(&[rsa_jwk(&PAIRS.rsa, r#","alg":"RS256""#)]);
    let wanted = &[Algorithm::ES256];
    let found = Fetched::read(Arc::from(only_rsa.as_bytes()), wanted, Duration::ZERO);
    assert!(matches!(found, Err(KeyFault::NoUsableKey)), "{found:?}");
}
