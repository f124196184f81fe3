//! What one worker remembers of tokens, for how long, and at whose expense.

use super::*;

/// A ring of one shared secret: its signatures are cheap to make.
fn secret_ring() -> KeyRing {
    let set = key_set(&[oct_jwk(SECRET, "")]);
    ring(&[rule(jwks(), &[Algorithm::HS256])], set.as_bytes()).unwrap()
}

fn good_hmac_token() -> String {
    token_of(br#"{"alg":"HS256"}"#, good_claims().as_bytes(), Signer::Hmac(SECRET))
}

/// One of many tokens that nobody signed.
fn forged(number: usize) -> String {
    let claims = good_claims().replace("u1", &number.to_string());
    token_of(br#"{"alg":"HS256"}"#, claims.as_bytes(), Signer::Bytes(&[7; 32]))
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
fn a_refusal_after_a_signature_check_is_remembered_for_a_moment() {
    let (ring, mut cache) = (full_ring(), TokenCache::default());
    let forged = forged(0);
    for seconds in [0, 1, REFUSAL_SECONDS - 1] {
        let refused = cache.verify(&ring, &forged, UnixSeconds(NOW + seconds)).unwrap_err();
        assert_eq!(refused.reason, TokenError::Signature);
        assert_eq!(refused.issuer.as_deref(), Some(ISSUER));
        assert_eq!((cache.refusals(), cache.len()), (1, 0));
    }
    let refused = cache.verify(&ring, &forged, UnixSeconds(NOW + 300)).unwrap_err();
    assert_eq!(refused.reason, TokenError::Signature);
}

#[test]
fn a_refusal_that_time_may_mend_is_not_remembered() {
    let (ring, mut cache) = (full_ring(), TokenCache::default());
    let early =
        good_claims().replace(&format!(r#""nbf":{}"#, NOW - 5), &format!(r#""nbf":{}"#, NOW + 61));
    let early = token_of(br#"{"alg":"RS256"}"#, early.as_bytes(), Signer::Rs256(&PAIRS.rsa));
    assert!(cache.verify(&ring, &early, UnixSeconds(NOW)).is_err());
    assert_eq!(cache.refusals(), 0);
    assert!(cache.verify(&ring, &early, UnixSeconds(NOW + 1)).is_ok());
}

#[test]
fn a_refusal_that_costs_nothing_is_not_remembered() {
    let (ring, mut cache) = (full_ring(), TokenCache::default());
    let unknown =
        token_of(br#"{"alg":"RS256","kid":"x"}"#, good_claims().as_bytes(), Signer::Bytes(b""));
    for token in ["a.b.c", &unknown, &"x".repeat(TOKEN_BYTES_MAX + 1)] {
        assert!(cache.verify(&ring, token, UnixSeconds(NOW)).is_err());
    }
    assert_eq!(cache.refusals(), 0);
}

#[test]
fn refused_tokens_never_drive_out_good_ones() {
    let (ring, mut cache, token) = (secret_ring(), TokenCache::default(), good_hmac_token());
    let first = cache.verify(&ring, &token, UnixSeconds(NOW)).unwrap();
    for number in 0..=2 * REFUSALS_MAX {
        assert!(cache.verify(&ring, &forged(number), UnixSeconds(NOW)).is_err());
    }
    assert!(cache.refusals() <= REFUSALS_MAX, "{}", cache.refusals());
    let again = cache.verify(&ring, &token, UnixSeconds(NOW)).unwrap();
    assert!(Rc::ptr_eq(&first, &again));
}

#[test]
fn refusals_go_with_the_keys() {
    let (mut cache, token) = (TokenCache::default(), good_hmac_token());
    let other = [SECRET, b"!"].concat();
    let before =
        ring(&[rule(jwks(), &[Algorithm::HS256])], key_set(&[oct_jwk(&other, "")]).as_bytes());
    assert!(cache.verify(&before.unwrap(), &token, UnixSeconds(NOW)).is_err());
    assert_eq!(cache.refusals(), 1);
    assert!(cache.verify(&secret_ring(), &token, UnixSeconds(NOW)).is_ok());
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
    let (ring, mut cache) = (secret_ring(), TokenCache::default());
    for user in 0..=CACHED_TOKENS_MAX {
        let claims = good_claims().replace("u1", &user.to_string());
        let token = token_of(br#"{"alg":"HS256"}"#, claims.as_bytes(), Signer::Hmac(SECRET));
        cache.verify(&ring, &token, UnixSeconds(NOW)).unwrap();
    }
    assert!(cache.len() <= CACHED_TOKENS_MAX, "{}", cache.len());
    assert!(cache.len() > CACHED_TOKENS_MAX / 2, "{}", cache.len());
}
