//! Hostile tokens, each with the reason that must refuse it, and odd ones that must pass.

use super::*;

const RS: &str = r#"{"alg":"RS256","typ":"JWT","kid":"k1"}"#;

fn passes() -> Result<&'static str, TokenError> {
    Ok("tenant-a")
}

/// A name, a token, and the tenant it names or the reason against it.
type Case<'c> = (&'c str, String, Result<&'c str, TokenError>);

#[track_caller]
fn check(cases: &[Case<'_>]) {
    let ring = full_ring();
    for (name, token, verdict) in cases {
        let found = reason(&ring, token);
        assert_eq!(found.as_deref().map_err(|reason| *reason), *verdict, "{name}: {token}");
    }
}

/// Signed by the right key under this header.
fn headed(header: &str) -> String {
    token_of(header.as_bytes(), good_claims().as_bytes(), Signer::Rs256(&PAIRS.rsa))
}

/// Signed by `signer` under a header of this algorithm and key id.
fn by(algorithm: &str, kid: &str, signer: Signer<'_>) -> String {
    let header = format!(r#"{{"alg":"{algorithm}","kid":"{kid}"}}"#);
    token_of(header.as_bytes(), good_claims().as_bytes(), signer)
}

/// Signed by the right key over these claims.
fn claiming(claims: &str) -> String {
    token_of(RS.as_bytes(), claims.as_bytes(), Signer::Rs256(&PAIRS.rsa))
}

/// The good claims with `from` replaced.
fn but(from: &str, to: &str) -> String {
    let good = good_claims();
    assert!(good.contains(from), "{from}");
    claiming(&good.replacen(from, to, 1))
}

fn tenant(json: &str) -> String {
    but(r#""tenant-a""#, json)
}

#[test]
fn good_tokens_of_every_algorithm_pass() {
    check(&[
        ("RS256", by("RS256", "k1", Signer::Rs256(&PAIRS.rsa)), passes()),
        ("PS256", by("PS256", "p1", Signer::Ps256(&PAIRS.other_rsa)), passes()),
        ("ES256", by("ES256", "e1", Signer::Es256), passes()),
        ("EdDSA", by("EdDSA", "d1", Signer::EdDsa), passes()),
        ("HS256", by("HS256", "h1", Signer::Hmac(SECRET)), passes()),
        ("no kid", headed(r#"{"alg":"RS256"}"#), passes()),
        ("at+jwt", headed(r#"{"alg":"RS256","typ":"at+jwt"}"#), passes()),
        ("aud list", but(r#""gateway""#, r#"["x","gateway"]"#), passes()),
        (
            "jku ignored",
            headed(r#"{"alg":"RS256","kid":"k1","jku":"http://evil.test/"}"#),
            passes(),
        ),
    ]);
}

#[test]
fn algorithms_come_from_configuration() {
    let der = PAIRS.rsa.public_key().as_der().unwrap();
    let pem = pem("PUBLIC KEY", der.as_ref());
    let pkcs1 = PAIRS.rsa.public_key().as_ref().to_vec();
    let none = |alg: &str| by(alg, "k1", Signer::Bytes(b""));
    check(&[
        ("none", none("none"), Err(TokenError::Algorithm)),
        ("None", none("None"), Err(TokenError::Algorithm)),
        ("NONE", none("NONE"), Err(TokenError::Algorithm)),
        ("empty", none(""), Err(TokenError::Algorithm)),
        ("unicode", none("RS\\u0032567"), Err(TokenError::Algorithm)),
        ("empty signature", none("RS256"), Err(TokenError::Signature)),
        ("none, signed", by("none", "k1", Signer::Rs256(&PAIRS.rsa)), Err(TokenError::Algorithm)),
        ("missing", headed(r#"{"kid":"k1"}"#), Err(TokenError::Algorithm)),
        ("list", headed(r#"{"alg":["RS256"]}"#), Err(TokenError::Algorithm)),
        ("null", headed(r#"{"alg":null}"#), Err(TokenError::Algorithm)),
        ("lower case", headed(r#"{"alg":"rs256"}"#), Err(TokenError::Algorithm)),
        ("RS512", headed(r#"{"alg":"RS512","kid":"k1"}"#), Err(TokenError::Algorithm)),
        ("ES256K", by("ES256K", "e1", Signer::Es256), Err(TokenError::Algorithm)),
        ("HS256 by SPKI", by("HS256", "k1", Signer::Hmac(der.as_ref())), Err(TokenError::Key)),
        ("HS256 by PKCS 1", by("HS256", "k1", Signer::Hmac(&pkcs1)), Err(TokenError::Key)),
        ("HS256 by PEM", by("HS256", "k1", Signer::Hmac(pem.as_bytes())), Err(TokenError::Key)),
        (
            "HS256 by SPKI on h1",
            by("HS256", "h1", Signer::Hmac(der.as_ref())),
            Err(TokenError::Signature),
        ),
        ("HS256 by nothing", by("HS256", "h1", Signer::Hmac(b"")), Err(TokenError::Signature)),
        ("PS256 over PKCS 1", by("PS256", "k1", Signer::Rs256(&PAIRS.rsa)), Err(TokenError::Key)),
        (
            "PS256 by RS256's key",
            by("PS256", "k1", Signer::Ps256(&PAIRS.rsa)),
            Err(TokenError::Key),
        ),
        (
            "RS256 by PS256's key",
            by("RS256", "p1", Signer::Rs256(&PAIRS.other_rsa)),
            Err(TokenError::Key),
        ),
        ("EdDSA over ES256", by("EdDSA", "d1", Signer::Es256), Err(TokenError::Signature)),
        ("ES256 of zeros", by("ES256", "e1", Signer::Bytes(&[0; 64])), Err(TokenError::Signature)),
        ("ES256 too long", by("ES256", "e1", Signer::Bytes(&[1; 65])), Err(TokenError::Signature)),
    ]);
}

#[test]
fn keys_come_from_configuration() {
    let evil = Signer::Rs256(&PAIRS.other_rsa);
    let jwk = rsa_jwk(&PAIRS.other_rsa, "");
    let embedded = format!(r#"{{"alg":"RS256","jwk":{jwk}}}"#);
    let linked = r#"{"alg":"RS256","kid":"evil","x5u":"http://127.0.0.1/x"}"#;
    let good = good_claims();
    let forged = |header: &str| token_of(header.as_bytes(), good.as_bytes(), evil);
    check(&[
        ("another's key", by("RS256", "k1", evil), Err(TokenError::Signature)),
        ("embedded key", forged(&embedded), Err(TokenError::Signature)),
        ("linked key", forged(linked), Err(TokenError::Key)),
        ("unknown kid", by("RS256", "k2", evil), Err(TokenError::Key)),
        ("kid by another case", by("RS256", "K1", Signer::Rs256(&PAIRS.rsa)), Err(TokenError::Key)),
        (
            "kid of a path",
            by("HS256", "../../../dev/null", Signer::Hmac(b"")),
            Err(TokenError::Key),
        ),
        ("kid of SQL", by("RS256", "k1' UNION SELECT 'x", evil), Err(TokenError::Key)),
        ("empty kid", by("RS256", "", evil), Err(TokenError::Key)),
        ("kid of a number", headed(r#"{"alg":"RS256","kid":1}"#), Err(TokenError::KeyId)),
        ("kid of null", headed(r#"{"alg":"RS256","kid":null}"#), Err(TokenError::KeyId)),
    ]);
}

#[test]
fn headers_are_read_strictly() {
    let with = |more: &str| headed(&format!(r#"{{"alg":"RS256","kid":"k1",{more}}}"#));
    check(&[
        ("crit", with(r#""crit":["exp-test"],"exp-test":1"#), Err(TokenError::Critical)),
        ("empty crit", with(r#""crit":[]"#), Err(TokenError::Critical)),
        ("b64", with(r#""b64":false"#), Err(TokenError::Critical)),
        ("crit and b64", with(r#""crit":["b64"],"b64":true"#), Err(TokenError::Critical)),
        ("typ", with(r#""typ":"dpop+jwt""#), Err(TokenError::Type)),
        ("typ of a number", with(r#""typ":1"#), Err(TokenError::Type)),
        ("alg twice", with(r#""alg":"none""#), Err(TokenError::DuplicateMember)),
        ("kid twice", with(r#""kid":"h1""#), Err(TokenError::DuplicateMember)),
        ("a list", headed(r#"["RS256"]"#), Err(TokenError::NotAnObject)),
        ("no JSON", headed("alg=RS256"), Err(TokenError::Json)),
        ("bytes after it", headed(&format!("{RS} x")), Err(TokenError::Json)),
    ]);
}

#[test]
fn claims_are_read_strictly() {
    let nested =
        |levels: usize| but(r#""u1""#, &format!("{}{}", "[".repeat(levels), "]".repeat(levels)));
    check(&[
        (
            "tenant twice",
            but(r#""sub":"u1""#, r#""tenant":"tenant-b""#),
            Err(TokenError::DuplicateMember),
        ),
        (
            "tenant twice, escaped",
            but(r#""sub":"u1""#, r#""\u0074enant":"tenant-b""#),
            Err(TokenError::DuplicateMember),
        ),
        (
            "twice, deep inside",
            but(r#""u1""#, r#"[{"a":{"b":1,"b":1}}]"#),
            Err(TokenError::DuplicateMember),
        ),
        ("31 levels below the top", nested(31), passes()),
        ("32 levels below the top", nested(32), Err(TokenError::TooDeep)),
        ("2000 levels", nested(2000), Err(TokenError::TooDeep)),
        ("no JSON", claiming("not json"), Err(TokenError::Json)),
        ("a list", claiming(r#"["tenant-a"]"#), Err(TokenError::NotAnObject)),
        (
            "a byte order mark",
            claiming(&format!("\u{feff}{}", good_claims())),
            Err(TokenError::Json),
        ),
        ("bytes after it", claiming(&format!("{}{{}}", good_claims())), Err(TokenError::Json)),
        ("empty", claiming(""), Err(TokenError::Json)),
        ("a lone surrogate", tenant(r#""\ud800""#), Err(TokenError::Json)),
    ]);
}

#[test]
fn tenants_are_named_exactly() {
    let spellings = [
        r#""TENANT-A""#,
        r#""""#,
        r#"" tenant-a""#,
        r#""tenant-a ""#,
        r#""tenant-a,tenant-b""#,
        r#""tenant-a\u0000tenant-b""#,
        r#""tenant-a\r\nX-Stamp-Id: stamp-b""#,
        r#""tenant/a""#,
        r#""tenant‐a""#,
        r#""tenant-à""#,
        r#""ｔenant-a""#,
        r#"["tenant-a"]"#,
        r#"{"id":"tenant-a"}"#,
        "1",
        "true",
        "null",
    ];
    let named = spellings.map(|json| (json, tenant(json), Err(TokenError::Tenant)));
    check(&named);
    check(&[
        ("missing", but(r#""tenant":"tenant-a","#, ""), Err(TokenError::Tenant)),
        ("129 bytes", tenant(&format!(r#""{}""#, "x".repeat(129))), Err(TokenError::Tenant)),
    ]);
}

#[test]
fn terms_are_kept() {
    let exp = format!(r#""exp":{}"#, NOW + 300);
    let nbf = format!(r#""nbf":{}"#, NOW - 5);
    let iat = format!(r#""iat":{}"#, NOW - 5);
    let until = |seconds: u64| but(&exp, &format!(r#""exp":{seconds}"#));
    let from = |seconds: u64| but(&nbf, &format!(r#""nbf":{seconds}"#));
    check(&[
        ("an hour ago", until(NOW - 3600), Err(TokenError::Expired)),
        ("leeway ago", until(NOW - 60), Err(TokenError::Expired)),
        ("just within the leeway", until(NOW - 59), passes()),
        ("for more than a day", until(NOW + 86_396), Err(TokenError::LivesTooLong)),
        ("no exp", but(&format!(",{exp}"), ""), Err(TokenError::Date)),
        ("exp as text", but(&exp, r#""exp":"9999999999""#), Err(TokenError::Date)),
        ("exp below zero", but(&exp, r#""exp":-1"#), Err(TokenError::Date)),
        ("exp beyond time", but(&exp, r#""exp":1e18"#), Err(TokenError::Date)),
        ("exp beyond numbers", but(&exp, r#""exp":1e999"#), Err(TokenError::Json)),
        ("exp as NaN", but(&exp, r#""exp":NaN"#), Err(TokenError::Json)),
        ("exp in parts of a second", but(&exp, &format!(r#""exp":{}.5"#, NOW + 9)), passes()),
        ("nbf just within the leeway", from(NOW + 60), passes()),
        ("nbf beyond the leeway", from(NOW + 61), Err(TokenError::NotYetValid)),
        ("nbf as null", but(&nbf, r#""nbf":null"#), Err(TokenError::Date)),
        (
            "iat in the future",
            but(&iat, &format!(r#""iat":{}"#, NOW + 61)),
            Err(TokenError::NotYetValid),
        ),
        ("another issuer", but(ISSUER, "https://evil.test"), Err(TokenError::Issuer)),
        ("an issuer alike", but(ISSUER, "https://issuer.test/"), Err(TokenError::Issuer)),
        (
            "an issuer list",
            but(&format!("\"{ISSUER}\""), &format!("[\"{ISSUER}\"]")),
            Err(TokenError::Issuer),
        ),
        ("no issuer", but(&format!(r#""iss":"{ISSUER}","#), ""), Err(TokenError::Issuer)),
        ("another audience", but("gateway", "other"), Err(TokenError::Audience)),
        ("an audience alike", but("gateway", "gateway.evil.test"), Err(TokenError::Audience)),
        ("no audience", but(r#""aud":"gateway","#, ""), Err(TokenError::Audience)),
        ("an empty audience list", but(r#""gateway""#, "[]"), Err(TokenError::Audience)),
        (
            "an audience of objects",
            but(r#""gateway""#, r#"[{},"gateway"]"#),
            Err(TokenError::Audience),
        ),
    ]);
}

#[test]
fn the_compact_form_is_kept() {
    let token = good_token();
    let parts: Vec<&str> = token.split('.').collect();
    let (header, claims, signature) = (parts[0], parts[1], parts[2]);
    let swapped = base64url(good_claims().replace("tenant-a", "tenant-b"));
    let huge = by("RS256", &"k".repeat(TOKEN_BYTES_MAX), Signer::Bytes(b""));
    check(&[
        ("two parts", format!("{header}.{claims}"), Err(TokenError::Parts)),
        ("four parts", format!("{token}.AA"), Err(TokenError::Parts)),
        ("encrypted", format!("{header}.AA.AA.AA.AA"), Err(TokenError::Parts)),
        ("nothing", String::new(), Err(TokenError::Parts)),
        ("dots", "..".to_owned(), Err(TokenError::Json)),
        ("padding", format!("{header}=.{claims}.{signature}"), Err(TokenError::Encoding)),
        ("a blank", format!("{header}. {claims}.{signature}"), Err(TokenError::Encoding)),
        ("a blank at the end", format!("{token} "), Err(TokenError::Encoding)),
        ("another alphabet", format!("{header}.{claims}.+/{signature}"), Err(TokenError::Encoding)),
        ("beyond ASCII", format!("{header}.{claims}é.{signature}"), Err(TokenError::Encoding)),
        ("other claims", format!("{header}.{swapped}.{signature}"), Err(TokenError::Signature)),
        ("huge", huge, Err(TokenError::TooLong)),
    ]);
}

#[test]
fn a_token_cut_at_any_byte_is_refused() {
    let (ring, token) = (full_ring(), good_token());
    for end in 0..token.len() {
        let cut = token.get(..end).unwrap();
        assert!(reason(&ring, cut).is_err(), "{end}");
    }
}

#[test]
fn a_token_with_any_character_changed_is_refused() {
    let (ring, token) = (full_ring(), good_token());
    for at in 0..token.len() {
        let other = if token.as_bytes()[at] == b'A' { "B" } else { "A" };
        let mut changed = token.clone();
        changed.replace_range(at..=at, other);
        assert!(reason(&ring, &changed).is_err(), "{at}");
    }
}
