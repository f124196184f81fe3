//! Hostile tokens, each with the reason that must refuse it, and odd ones that must pass.

use super::*;

const RS: &str = r#"{"alg":"RS256","typ":"JWT","kid":"k1"}"#;

fn passes() -> Result<&'static str, TokenError> {
    Ok("tenant-a")
}

/// A name, a token, and the tenants it names or the reason against it.
type Case = (&'static str, String, Result<&'static str, TokenError>);

#[track_caller]
fn check(cases: &[Case]) {
    let ring = full_ring();
    for (name, token, verdict) in cases {
        let found = reason(&ring, token);
        assert_eq!(found.as_deref().map_err(|reason| *reason), *verdict, "{name}: {token}");
    }
}

/// Each group of tokens is a test, and all of them are counted.
macro_rules! groups {
    ($($test:ident: $cases:ident),* $(,)?) => {
        $(
            #[test]
            fn $test() {
                check(&$cases());
            }
        )*

        fn corpus() -> Vec<Case> {
            [$($cases()),*].concat()
        }
    };
}

groups! {
    good_tokens_of_every_algorithm_pass: good_tokens,
    algorithms_that_are_not_known_are_refused: unknown_algorithms,
    algorithms_come_from_configuration: algorithms,
    signatures_are_of_their_algorithm: signatures,
    keys_come_from_configuration: keys,
    headers_are_read_strictly: headers,
    types_of_other_tokens_are_refused: types,
    claims_are_read_strictly: claims,
    a_claim_of_another_type_is_refused: wrong_types,
    tenants_are_named_exactly: tenants,
    a_list_of_tenants_names_each_exactly: lists,
    terms_are_kept: terms,
    the_compact_form_is_kept: compact_forms,
}

#[test]
fn the_corpus_has_over_two_hundred_different_tokens() {
    let corpus = corpus();
    let mut tokens: Vec<&str> = corpus.iter().map(|(_, token, _)| &**token).collect();
    tokens.sort_unstable();
    tokens.dedup();
    assert!(tokens.len() > 200, "{}", tokens.len());
    let refused = corpus.iter().filter(|(_, _, verdict)| verdict.is_err()).count();
    assert!(refused > 180, "{refused}");
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

fn good_tokens() -> Vec<Case> {
    vec![
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
    ]
}

fn unknown_algorithms() -> Vec<Case> {
    let names = [
        "none",
        "None",
        "NONE",
        "nOnE",
        "none ",
        " none",
        "none\\u0000",
        "\\u006eone",
        "ｎｏｎｅ",
        "",
        "RS384",
        "RS1",
        "PS512",
        "ES384",
        "Ed448",
        "dir",
        "RSA-OAEP",
        "RS256 ",
        "RS256\\n",
        "RS\\u0032567",
    ];
    let unsigned = |name| (name, by(name, "k1", Signer::Bytes(b"")), Err(TokenError::Algorithm));
    names.map(unsigned).to_vec()
}

fn algorithms() -> Vec<Case> {
    let der = PAIRS.rsa.public_key().as_der().unwrap();
    let pem = pem("PUBLIC KEY", der.as_ref());
    let pkcs1 = PAIRS.rsa.public_key().as_ref().to_vec();
    let none = |alg: &str| by(alg, "k1", Signer::Bytes(b""));
    vec![
        ("HS384", by("HS384", "h1", Signer::Hmac(SECRET)), Err(TokenError::Algorithm)),
        ("HS512", by("HS512", "h1", Signer::Hmac(SECRET)), Err(TokenError::Algorithm)),
        ("a number", headed(r#"{"alg":256,"kid":"k1"}"#), Err(TokenError::Algorithm)),
        ("true", headed(r#"{"alg":true,"kid":"k1"}"#), Err(TokenError::Algorithm)),
        ("an object", headed(r#"{"alg":{"RS256":1},"kid":"k1"}"#), Err(TokenError::Algorithm)),
        ("in another case", headed(r#"{"Alg":"RS256","kid":"k1"}"#), Err(TokenError::Algorithm)),
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
    ]
}

fn signatures() -> Vec<Case> {
    let good = good_token();
    let (signed, signature) = good.rsplit_once('.').unwrap();
    let rsa = URL_SAFE_NO_PAD.decode(signature).unwrap();
    let with = |bytes: &[u8]| format!("{signed}.{}", base64url(bytes));
    let zeros = [&[0], &*rsa].concat();
    let more = [&*rsa, &[0]].concat();
    let reversed: Vec<u8> = rsa.iter().rev().copied().collect();
    let es256 = by("ES256", "e1", Signer::Es256);
    let (es_signed, es_signature) = es256.rsplit_once('.').unwrap();
    let raw = URL_SAFE_NO_PAD.decode(es_signature).unwrap();
    // The same numbers as ASN.1 (SEC 1, appendix C.8), which JWS does not use.
    let integer = |half: &[u8]| [&[2, 33, 0], half].concat();
    let der = [&[0x30, 70], &*integer(&raw[..32]), &*integer(&raw[32..])].concat();
    let swapped = [&raw[32..], &raw[..32]].concat();
    let es = |bytes: &[u8]| format!("{es_signed}.{}", base64url(bytes));
    let hs256 = by("HS256", "h1", Signer::Hmac(SECRET));
    let (hs_signed, hs_signature) = hs256.rsplit_once('.').unwrap();
    let mac = URL_SAFE_NO_PAD.decode(hs_signature).unwrap();
    let hs = |bytes: &[u8]| format!("{hs_signed}.{}", base64url(bytes));
    let refused = Err(TokenError::Signature);
    vec![
        ("RS256, a zero before it", with(&zeros), refused),
        ("RS256, a zero behind it", with(&more), refused),
        ("RS256, one byte less", with(&rsa[1..]), refused),
        ("RS256, reversed", with(&reversed), refused),
        ("RS256 of ones", with(&[1; 256]), refused),
        ("RS256 of zeros", with(&[0; 256]), refused),
        ("ES256 as DER", es(&der), refused),
        ("ES256, halves swapped", es(&swapped), refused),
        ("ES256, half of it", es(&raw[..32]), refused),
        ("ES256 of ones", es(&[255; 64]), refused),
        ("EdDSA of zeros", by("EdDSA", "d1", Signer::Bytes(&[0; 64])), refused),
        ("EdDSA, empty", by("EdDSA", "d1", Signer::Bytes(b"")), refused),
        ("HS256, half of it", hs(&mac[..16]), refused),
        ("HS256, one byte more", hs(&[&*mac, &[0]].concat()), refused),
        ("HS256, empty", hs(b""), refused),
        (
            "HS256 by the secret's base64",
            by("HS256", "h1", Signer::Hmac(base64url(SECRET).as_bytes())),
            refused,
        ),
        ("PS256 of another kid", by("PS256", "p1", Signer::Ps256(&PAIRS.rsa)), refused),
        ("PKCS 1 in the place of PSS", by("PS256", "p1", Signer::Rs256(&PAIRS.other_rsa)), refused),
        ("PSS in the place of PKCS 1", by("RS256", "k1", Signer::Ps256(&PAIRS.rsa)), refused),
        ("HS256 in the place of ES256", by("ES256", "e1", Signer::Hmac(SECRET)), refused),
    ]
}

fn keys() -> Vec<Case> {
    let evil = Signer::Rs256(&PAIRS.other_rsa);
    let jwk = rsa_jwk(&PAIRS.other_rsa, "");
    let embedded = format!(r#"{{"alg":"RS256","jwk":{jwk}}}"#);
    let linked = r#"{"alg":"RS256","kid":"evil","x5u":"http://127.0.0.1/x"}"#;
    let good = good_claims();
    let forged = |header: &str| token_of(header.as_bytes(), good.as_bytes(), evil);
    vec![
        ("another's key", by("RS256", "k1", evil), Err(TokenError::Signature)),
        ("embedded key", forged(&embedded), Err(TokenError::Signature)),
        ("linked key", forged(linked), Err(TokenError::Key)),
        (
            "key set linked",
            forged(r#"{"alg":"RS256","kid":"k1","jku":"http://127.0.0.1/jwks.json"}"#),
            Err(TokenError::Signature),
        ),
        (
            "certificates embedded",
            forged(r#"{"alg":"RS256","x5c":["MIIB"],"x5t":"AA"}"#),
            Err(TokenError::Signature),
        ),
        ("unknown kid", by("RS256", "k2", evil), Err(TokenError::Key)),
        ("kid of another algorithm", by("RS256", "e1", evil), Err(TokenError::Key)),
        ("kid and NUL", by("RS256", "k1\\u0000", evil), Err(TokenError::Key)),
        ("kid and a blank", by("RS256", "k1 ", evil), Err(TokenError::Key)),
        ("kid of a URL", by("RS256", "http://127.0.0.1/k1", evil), Err(TokenError::Key)),
        ("kid of a list", headed(r#"{"alg":"RS256","kid":["k1"]}"#), Err(TokenError::KeyId)),
        ("kid of an object", headed(r#"{"alg":"RS256","kid":{}}"#), Err(TokenError::KeyId)),
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
    ]
}

fn headers() -> Vec<Case> {
    let with = |more: &str| headed(&format!(r#"{{"alg":"RS256","kid":"k1",{more}}}"#));
    vec![
        ("crit", with(r#""crit":["exp-test"],"exp-test":1"#), Err(TokenError::Critical)),
        ("empty crit", with(r#""crit":[]"#), Err(TokenError::Critical)),
        ("b64", with(r#""b64":false"#), Err(TokenError::Critical)),
        ("crit and b64", with(r#""crit":["b64"],"b64":true"#), Err(TokenError::Critical)),
        ("crit of null", with(r#""crit":null"#), Err(TokenError::Critical)),
        ("crit of alg", with(r#""crit":["alg"]"#), Err(TokenError::Critical)),
        ("crit, escaped", with(r#""\u0063rit":["x"],"x":1"#), Err(TokenError::Critical)),
        ("typ twice", with(r#""typ":"JWT","typ":"JWT""#), Err(TokenError::DuplicateMember)),
        ("alg twice, escaped", with(r#""\u0061lg":"none""#), Err(TokenError::DuplicateMember)),
        (
            "deep",
            with(&format!(r#""x":{}{}"#, "[".repeat(40), "]".repeat(40))),
            Err(TokenError::TooDeep),
        ),
        (
            "not UTF-8",
            token_of(b"{\"alg\":\"RS256\",\"x\":\"\xff\"}", b"{}", Signer::Bytes(b"")),
            Err(TokenError::Json),
        ),
        ("a byte order mark", headed(&format!("\u{feff}{RS}")), Err(TokenError::Json)),
        ("single quotes", headed("{'alg':'RS256'}"), Err(TokenError::Json)),
        ("a comma too many", headed(r#"{"alg":"RS256",}"#), Err(TokenError::Json)),
        ("a comment", headed(r#"{"alg":"RS256"/**/}"#), Err(TokenError::Json)),
        ("cut", headed(r#"{"alg":"RS256""#), Err(TokenError::Json)),
        ("empty", headed(""), Err(TokenError::Json)),
        ("null", headed("null"), Err(TokenError::NotAnObject)),
        ("typ of a number", with(r#""typ":1"#), Err(TokenError::Type)),
        ("alg twice", with(r#""alg":"none""#), Err(TokenError::DuplicateMember)),
        ("kid twice", with(r#""kid":"h1""#), Err(TokenError::DuplicateMember)),
        ("a list", headed(r#"["RS256"]"#), Err(TokenError::NotAnObject)),
        ("no JSON", headed("alg=RS256"), Err(TokenError::Json)),
        ("bytes after it", headed(&format!("{RS} x")), Err(TokenError::Json)),
    ]
}

fn types() -> Vec<Case> {
    let typed = |json: &str| headed(&format!(r#"{{"alg":"RS256","kid":"k1","typ":{json}}}"#));
    let others = [
        r#""""#,
        r#""JWS""#,
        r#""JOSE""#,
        r#""JOSE+JSON""#,
        r#""id_token""#,
        r#""logout+jwt""#,
        r#""secevent+jwt""#,
        r#""dpop+jwt""#,
        r#""token-introspection+jwt""#,
        r#""application/application/jwt""#,
        r#""text/jwt""#,
        r#"" JWT""#,
        r#""JWT\u0000""#,
        "null",
        "true",
        "[]",
        r#"["JWT"]"#,
        "{}",
    ];
    let mut cases = others.map(|json| (json, typed(json), Err(TokenError::Type))).to_vec();
    let ours = [r#""jwt""#, r#""JWT""#, r#""AT+JWT""#, r#""application/at+jwt""#];
    cases.extend(ours.map(|json| (json, typed(json), passes())));
    cases
}

fn claims() -> Vec<Case> {
    let nested =
        |levels: usize| but(r#""u1""#, &format!("{}{}", "[".repeat(levels), "]".repeat(levels)));
    vec![
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
    ]
}

fn tenants() -> Vec<Case> {
    let spellings = [
        r#""TENANT-A""#,
        r#""""#,
        r#"" tenant-a""#,
        r#""tenant-a ""#,
        r#""tenant-a,tenant-b""#,
        r#""tenant-a\u0000tenant-b""#,
        r#""tenant-a\r\nX-Stamp-Id: stamp-b""#,
        r#""tenant/a""#,
        r#""../tenant-a""#,
        r#""tenant%2da""#,
        r#""*""#,
        r#""tenant‐a""#,
        r#""tenant-à""#,
        r#""tenant-a\u0301""#,
        r#""tenant-\u200ba""#,
        r#""\u202etenant-a""#,
        r#""ｔenant-a""#,
        r#""tеnant-a""#,
        r#"{"id":"tenant-a"}"#,
        "1",
        "1.5",
        "-1",
        "true",
        "false",
        "null",
    ];
    let mut cases = spellings.map(|json| (json, tenant(json), Err(TokenError::Tenant))).to_vec();
    cases.extend([
        ("missing", but(r#""tenant":"tenant-a","#, ""), Err(TokenError::Tenant)),
        ("129 bytes", tenant(&format!(r#""{}""#, "x".repeat(129))), Err(TokenError::Tenant)),
        ("escaped", tenant(r#""\u0074enant-a""#), passes()),
    ]);
    cases
}

fn lists() -> Vec<Case> {
    let spoilt = [
        "[]",
        "[[]]",
        r#"[["tenant-a"]]"#,
        r#"["tenant-a",null]"#,
        r#"["tenant-a",1]"#,
        r#"["tenant-a",""]"#,
        r#"["tenant-a","TENANT-B"]"#,
        r#"["tenant-a","*"]"#,
        r#"["tenant-a",{"id":"tenant-b"}]"#,
        r#"["tenant-a","tenant-b tenant-c"]"#,
    ];
    let mut cases = spoilt.map(|json| (json, tenant(json), Err(TokenError::Tenant))).to_vec();
    cases.extend([
        ("one", tenant(r#"["tenant-a"]"#), passes()),
        ("one, twice", tenant(r#"["tenant-a","tenant-a"]"#), passes()),
        ("two", tenant(r#"["tenant-b","tenant-a"]"#), Ok("tenant-a tenant-b")),
    ]);
    cases
}

/// Every claim that is read, with a value of every type that it is not.
fn wrong_types() -> Vec<Case> {
    let others = ["null", "true", "false", "-1", "[]", "{}", r#""""#, r#"["x"]"#, r#"[1]"#];
    let date = |claim: &'static str| {
        let name = format!(r#""{claim}":"#);
        let good = good_claims();
        let from = good.find(&name).unwrap();
        let digits = good.get(from + name.len()..).unwrap();
        let end = digits.find([',', '}']).unwrap();
        let old = format!("{name}{}", digits.get(..end).unwrap());
        others.map(|json| (json, but(&old, &format!("{name}{json}")), Err(TokenError::Date)))
    };
    let text = |old: String, why: TokenError| {
        let number = ["1", "1.5"];
        let all = others.into_iter().chain(number);
        all.map(|json| (json, but(&old, json), Err(why))).collect::<Vec<_>>()
    };
    let issuer = text(format!("\"{ISSUER}\""), TokenError::Issuer);
    let audience = text(r#""gateway""#.to_owned(), TokenError::Audience);
    [date("exp").to_vec(), date("nbf").to_vec(), date("iat").to_vec(), issuer, audience].concat()
}

fn terms() -> Vec<Case> {
    let exp = format!(r#""exp":{}"#, NOW + 300);
    let nbf = format!(r#""nbf":{}"#, NOW - 5);
    let iat = format!(r#""iat":{}"#, NOW - 5);
    let until = |seconds: u64| but(&exp, &format!(r#""exp":{seconds}"#));
    let from = |seconds: u64| but(&nbf, &format!(r#""nbf":{seconds}"#));
    vec![
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
    ]
}

fn compact_forms() -> Vec<Case> {
    let token = good_token();
    let parts: Vec<&str> = token.split('.').collect();
    let (header, claims, signature) = (parts[0], parts[1], parts[2]);
    let swapped = base64url(good_claims().replace("tenant-a", "tenant-b"));
    let json_form =
        format!(r#"{{"payload":"{claims}","protected":"{header}","signature":"{signature}"}}"#);
    let huge = by("RS256", &"k".repeat(TOKEN_BYTES_MAX), Signer::Bytes(b""));
    vec![
        ("two parts", format!("{header}.{claims}"), Err(TokenError::Parts)),
        ("four parts", format!("{token}.AA"), Err(TokenError::Parts)),
        ("encrypted", format!("{header}.AA.AA.AA.AA"), Err(TokenError::Parts)),
        ("nothing", String::new(), Err(TokenError::Parts)),
        ("dots", "..".to_owned(), Err(TokenError::Json)),
        ("padding", format!("{header}=.{claims}.{signature}"), Err(TokenError::Encoding)),
        ("padded claims", format!("{header}.{claims}==.{signature}"), Err(TokenError::Encoding)),
        ("a padded signature", format!("{token}=="), Err(TokenError::Encoding)),
        ("a line end", format!("{token}\n"), Err(TokenError::Encoding)),
        (
            "a line end inside",
            format!("{header}.{claims}\r\n.{signature}"),
            Err(TokenError::Encoding),
        ),
        ("a tab", format!("\t{token}"), Err(TokenError::Encoding)),
        ("NUL", format!("{token}\0"), Err(TokenError::Encoding)),
        ("a comma", format!("{token},{token}"), Err(TokenError::Parts)),
        ("two tokens", format!("{token} {token}"), Err(TokenError::Parts)),
        ("stray bits", stray_bits(&token), Err(TokenError::Encoding)),
        ("quotes", format!("\"{token}\""), Err(TokenError::Encoding)),
        ("percent-encoded", token.replace('.', "%2E"), Err(TokenError::Parts)),
        ("full-width dots", token.replace('.', "．"), Err(TokenError::Parts)),
        ("JSON serialization", json_form, Err(TokenError::Parts)),
        ("an empty header", format!(".{claims}.{signature}"), Err(TokenError::Json)),
        ("empty claims", format!("{header}..{signature}"), Err(TokenError::Json)),
        ("no signature", format!("{header}.{claims}."), Err(TokenError::Signature)),
        ("a blank", format!("{header}. {claims}.{signature}"), Err(TokenError::Encoding)),
        ("a blank at the end", format!("{token} "), Err(TokenError::Encoding)),
        ("another alphabet", format!("{header}.{claims}.+/{signature}"), Err(TokenError::Encoding)),
        ("beyond ASCII", format!("{header}.{claims}é.{signature}"), Err(TokenError::Encoding)),
        ("other claims", format!("{header}.{swapped}.{signature}"), Err(TokenError::Signature)),
        ("huge", huge, Err(TokenError::TooLong)),
    ]
}

/// The same signature by other letters: 256 bytes leave four bits of the last letter unused.
fn stray_bits(token: &str) -> String {
    let (rest, last) = token.split_at(token.len() - 1);
    let alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let place = alphabet.iter().position(|letter| *letter == last.as_bytes()[0]).unwrap();
    format!("{rest}{}", char::from(alphabet[place + 1]))
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
