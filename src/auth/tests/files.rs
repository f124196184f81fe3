//! Key files of every format: which keys they give, and what is refused.

use aws_lc_rs::encoding::PublicKeyX509Der;

use super::*;

fn rsa_der() -> PublicKeyX509Der<'static> {
    PAIRS.rsa.public_key().as_der().unwrap()
}

fn pem_file() -> KeySource {
    KeySource::PublicKeyFile(PathBuf::from("key.pem"))
}

fn secret_file() -> KeySource {
    KeySource::HmacSecretFile(PathBuf::from("secret"))
}

/// What is wrong with a single rule whose file holds these bytes.
#[track_caller]
fn fault(keys: KeySource, algorithms: &[Algorithm], bytes: &[u8]) -> KeyFault {
    let mut errors = ring(&[rule(keys, algorithms)], bytes).unwrap_err();
    assert_eq!(errors.len(), 1);
    errors.remove(0).fault
}

#[track_caller]
fn accepts(ring: &KeyRing, algorithm: &str, signer: Signer<'_>) {
    let header = format!(r#"{{"alg":"{algorithm}","kid":"whatever"}}"#);
    let token = token_of(header.as_bytes(), good_claims().as_bytes(), signer);
    assert_eq!(reason(ring, &token), Ok("tenant-a".to_owned()), "{algorithm}");
}

#[test]
fn a_pem_file_gives_an_rsa_key() {
    let file = pem("PUBLIC KEY", rsa_der().as_ref());
    let rs256 = ring(&[rule(pem_file(), &[Algorithm::RS256])], file.as_bytes()).unwrap();
    accepts(&rs256, "RS256", Signer::Rs256(&PAIRS.rsa));
    let ps256 = ring(&[rule(pem_file(), &[Algorithm::PS256])], file.as_bytes()).unwrap();
    accepts(&ps256, "PS256", Signer::Ps256(&PAIRS.rsa));
}

#[test]
fn a_pem_file_gives_a_p256_key() {
    let der = AsDer::<PublicKeyX509Der<'static>>::as_der(PAIRS.ec.public_key()).unwrap();
    let file = pem("PUBLIC KEY", der.as_ref());
    let ring = ring(&[rule(pem_file(), &ALL)], file.as_bytes()).unwrap();
    accepts(&ring, "ES256", Signer::Es256);
}

#[test]
fn a_pem_file_gives_an_ed25519_key() {
    let der = PAIRS.ed.public_key().as_der().unwrap();
    let file = pem("PUBLIC KEY", der.as_ref());
    let ring = ring(&[rule(pem_file(), &ALL)], file.as_bytes()).unwrap();
    accepts(&ring, "EdDSA", Signer::EdDsa);
}

#[test]
fn a_secret_file_is_read_without_its_final_newline() {
    for end in ["", "\n", "\r\n"] {
        let file = [SECRET, end.as_bytes()].concat();
        let ring = ring(&[rule(secret_file(), &[Algorithm::HS256])], &file).unwrap();
        accepts(&ring, "HS256", Signer::Hmac(SECRET));
    }
}

#[test]
fn a_secret_of_31_bytes_is_refused() {
    let found = fault(secret_file(), &[Algorithm::HS256], &SECRET[1..]);
    assert!(matches!(found, KeyFault::ShortSecret { bytes: 31 }), "{found:?}");
    let set = key_set(&[oct_jwk(&SECRET[1..], "")]);
    let found = fault(jwks(), &[Algorithm::HS256], set.as_bytes());
    assert!(matches!(found, KeyFault::ShortSecret { bytes: 31 }), "{found:?}");
}

#[test]
fn a_secret_without_hs256_is_refused() {
    let found = fault(secret_file(), &[Algorithm::RS256], SECRET);
    assert!(matches!(found, KeyFault::NoUsableKey), "{found:?}");
}

#[test]
fn a_public_key_is_never_a_secret() {
    let file = pem("PUBLIC KEY", rsa_der().as_ref());
    let found = fault(pem_file(), &[Algorithm::HS256], file.as_bytes());
    assert!(matches!(found, KeyFault::NoUsableKey), "{found:?}");
}

#[test]
fn private_keys_are_refused_in_every_dress() {
    let both = pem("PUBLIC KEY", rsa_der().as_ref()) + &pem("PRIVATE KEY", b"x");
    let labels = ["PRIVATE KEY", "RSA PRIVATE KEY", "EC PRIVATE KEY", "ENCRYPTED PRIVATE KEY"];
    let files = labels.map(|label| pem(label, b"xyz")).into_iter().chain([both]);
    for file in files {
        let found = fault(pem_file(), &[Algorithm::RS256], file.as_bytes());
        assert!(matches!(found, KeyFault::PrivateKey), "{file}: {found:?}");
    }
    let set = key_set(&[rsa_jwk(&PAIRS.rsa, r#","d":"AQAB""#)]);
    let found = fault(jwks(), &[Algorithm::RS256], set.as_bytes());
    assert!(matches!(found, KeyFault::PrivateKey), "{found:?}");
}

#[test]
fn a_pem_file_holds_exactly_one_key() {
    let one = pem("PUBLIC KEY", rsa_der().as_ref());
    let certificate = pem("CERTIFICATE", b"xyz");
    for (file, count) in [("", 0), (&*certificate, 0), (&*one.repeat(2), 2)] {
        let wrong = fault(pem_file(), &[Algorithm::RS256], file.as_bytes());
        assert!(matches!(wrong, KeyFault::NotOneKey { found } if found == count), "{wrong:?}");
    }
}

#[test]
fn a_pem_file_of_something_else_is_refused() {
    let found = fault(pem_file(), &ALL, pem("PUBLIC KEY", b"xyz").as_bytes());
    assert!(matches!(found, KeyFault::BadKey { .. }), "{found:?}");
    let found = fault(pem_file(), &ALL, b"-----BEGIN PUBLIC KEY-----\nAAAA\n");
    assert!(matches!(found, KeyFault::Pem(_)), "{found:?}");
}

#[test]
fn an_rsa_key_for_two_algorithms_must_name_one() {
    let both = [Algorithm::RS256, Algorithm::PS256];
    let found = fault(pem_file(), &both, pem("PUBLIC KEY", rsa_der().as_ref()).as_bytes());
    assert!(matches!(found, KeyFault::Ambiguous { .. }), "{found:?}");
    let set = key_set(&[rsa_jwk(&PAIRS.rsa, "")]);
    let found = fault(jwks(), &both, set.as_bytes());
    assert!(matches!(found, KeyFault::Ambiguous { .. }), "{found:?}");
}

#[test]
fn rsa_keys_below_2048_bits_are_refused() {
    let mut modulus = vec![0xff; 255];
    modulus.extend([0xff]);
    modulus[0] = 0x7f;
    let set = format!(r#"{{"keys":[{{"kty":"RSA","n":"{}","e":"AQAB"}}]}}"#, base64url(modulus));
    let found = fault(jwks(), &[Algorithm::RS256], set.as_bytes());
    assert!(matches!(found, KeyFault::WeakRsa { bits: 2047, .. }), "{found:?}");
}

#[test]
fn rsa_exponents_that_break_signatures_are_refused() {
    for exponent in ["AQ", "AA", "Ag", ""] {
        let set = key_set(&[rsa_jwk(&PAIRS.rsa, "")]).replace("AQAB", exponent);
        let found = fault(jwks(), &[Algorithm::RS256], set.as_bytes());
        assert!(matches!(found, KeyFault::BadKey { .. }), "{exponent:?}: {found:?}");
    }
}

#[test]
fn a_point_off_the_curve_is_refused() {
    let x = base64url([1; 32]);
    let set = format!(r#"{{"keys":[{{"kty":"EC","crv":"P-256","x":"{x}","y":"{x}"}}]}}"#);
    let found = fault(jwks(), &[Algorithm::ES256], set.as_bytes());
    assert!(matches!(found, KeyFault::BadKey { .. }), "{found:?}");
}

#[test]
fn keys_for_other_uses_and_kinds_are_left_out() {
    let others = [
        rsa_jwk(&PAIRS.rsa, r#","use":"enc""#),
        rsa_jwk(&PAIRS.rsa, r#","key_ops":["encrypt"]"#),
        rsa_jwk(&PAIRS.rsa, r#","alg":"RS512""#),
        r#"{"kty":"EC","crv":"P-384","x":"AA","y":"AA"}"#.to_owned(),
        r#"{"kty":"OKP","crv":"X25519","x":"AA"}"#.to_owned(),
        r#"{"kty":"new","thing":{}}"#.to_owned(),
    ];
    let found = fault(jwks(), &[Algorithm::RS256], key_set(&others).as_bytes());
    assert!(matches!(found, KeyFault::NoUsableKey), "{found:?}");
    let with_one = [&others[..], &[rsa_jwk(&PAIRS.rsa, r#","key_ops":["verify"]"#)]].concat();
    let ring = ring(&[rule(jwks(), &[Algorithm::RS256])], key_set(&with_one).as_bytes()).unwrap();
    accepts(&ring, "RS256", Signer::Rs256(&PAIRS.rsa));
}

#[test]
fn two_keys_of_one_name_and_algorithm_are_refused() {
    let named = r#","kid":"k1""#;
    let set = key_set(&[rsa_jwk(&PAIRS.rsa, named), rsa_jwk(&PAIRS.other_rsa, named)]);
    let found = fault(jwks(), &[Algorithm::RS256], set.as_bytes());
    assert!(matches!(found, KeyFault::Twice { .. }), "{found:?}");
}

#[test]
fn what_is_no_key_set_is_refused() {
    for file in ["", "[]", "{}", r#"{"keys":{}}"#, r#"{"keys":[{}]}"#, r#"{"keys":[],"keys":[]}"#] {
        let found = fault(jwks(), &[Algorithm::RS256], file.as_bytes());
        assert!(matches!(found, KeyFault::Jwks(_)), "{file}: {found:?}");
    }
}

#[test]
fn a_file_larger_than_a_mebibyte_is_refused() {
    let found = fault(jwks(), &[Algorithm::RS256], &vec![b' '; KEY_FILE_BYTES_MAX + 1]);
    assert!(matches!(found, KeyFault::TooLarge), "{found:?}");
}

#[test]
fn every_bad_file_is_reported_with_its_issuer_and_path() {
    let second = IssuerRule { issuer: "two".into(), ..rule(pem_file(), &ALL) };
    let rules = [rule(jwks(), &ALL), second];
    let errors =
        KeyRing::build(&rules, &mut |_: &Path| Err(io::Error::from(io::ErrorKind::NotFound)))
            .unwrap_err();
    let said: Vec<String> = errors.iter().map(ToString::to_string).collect();
    assert_eq!(said, ["keys of https://issuer.test in keys.json", "keys of two in key.pem"]);
}

#[test]
fn a_token_without_kid_is_tried_against_four_keys_at_most() {
    let mut keys: Vec<String> = Vec::new();
    // Not from zero: HMAC pads short keys with zeros, so a final zero makes no other key.
    for number in 1..=CANDIDATES_MAX {
        let secret = [SECRET, &[u8::try_from(number).unwrap()]].concat();
        keys.push(oct_jwk(&secret, &format!(r#","kid":"{number}""#)));
    }
    keys.push(oct_jwk(SECRET, r#","kid":"last""#));
    let ring = ring(&[rule(jwks(), &[Algorithm::HS256])], key_set(&keys).as_bytes()).unwrap();
    let signed =
        |header: &str| token_of(header.as_bytes(), good_claims().as_bytes(), Signer::Hmac(SECRET));
    assert_eq!(reason(&ring, &signed(r#"{"alg":"HS256"}"#)), Err(TokenError::Signature));
    let named = signed(r#"{"alg":"HS256","kid":"last"}"#);
    assert_eq!(reason(&ring, &named), Ok("tenant-a".to_owned()));
}

#[test]
fn no_secret_shows_in_what_is_printed_for_debugging() {
    let ring = ring(&[rule(secret_file(), &[Algorithm::HS256])], SECRET).unwrap();
    let shown = format!("{ring:?}");
    assert!(shown.contains("HS256") && !shown.contains("0123456789abcdef"), "{shown}");
}
