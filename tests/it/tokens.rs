//! Section 4 of the contract, the verified class: bearer tokens and the keys that they need.

use serde_json::{Value, json};

use crate::harness::client::Answer;
use crate::harness::http1::get;
use crate::harness::scene::{ACME, PAIR, Pair, pair_with};
use crate::harness::token::{AUDIENCE, ISSUER, Key, claims, claims_with, jwks, part, unix_now};

/// One `[[identity.jwt]]` with this algorithm and key file.
fn issuer(algorithm: &str, key_line: &str) -> String {
    format!(
        "[[identity.jwt]]\nissuer = \"{ISSUER}\"\naudiences = [\"{AUDIENCE}\"]\n\
         algorithms = [\"{algorithm}\"]\n{key_line}\ntenant_claim = \"tid\"\nleeway = \"1s\"\n"
    )
}

/// The issuer whose key is the shared secret in `keys/secret`.
pub fn issuer_with_secret() -> String {
    issuer("HS256", "hmac_secret_file = \"keys/secret\"")
}

/// The usual scene and an issuer of HS256 tokens.
async fn with_secret(table: &str) -> (Pair, Key) {
    let key = Key::new("HS256", "k1");
    let table = format!("{}\n{table}", issuer_with_secret());
    let pair = Pair::planned(&table, |plan| plan.file("keys/secret", &key.secret_file())).await;
    (pair, key)
}

async fn with_token(pair: &Pair, host: &str, token: &str) -> Answer {
    pair.gateway.send(&get(host, "/").bearer(token)).await
}

#[track_caller]
fn assert_invalid(answer: &Answer) {
    answer.assert_problem(401, "invalid_token");
    let challenge = answer.header("www-authenticate").unwrap_or_default();
    assert!(challenge.starts_with("Bearer"), "{challenge}");
    assert!(challenge.contains("error=\"invalid_token\""), "{challenge}");
}

#[tokio::test]
async fn a_shared_secret_verifies_the_tenant() {
    let (pair, key) = with_secret(PAIR).await;
    let token = key.sign(&claims("globex"));
    let answer = with_token(&pair, "localhost", &token).await;
    assert_eq!(answer.served_by(), "b");
    assert_eq!(answer.arrived("x-stamp-tenant"), ["globex"]);
    assert_eq!(answer.arrived("authorization"), [format!("Bearer {token}")]);
}

#[tokio::test]
async fn public_keys_from_pem_files_verify_the_tenant() {
    for algorithm in ["RS256", "PS256", "ES256", "EdDSA"] {
        let key = Key::new(algorithm, "k1");
        let rule = issuer(algorithm, "public_key_file = \"keys/public.pem\"");
        let pem = key.public_pem();
        let pair =
            Pair::planned(&format!("{rule}{PAIR}"), |plan| plan.file("keys/public.pem", &pem))
                .await;
        let answer = with_token(&pair, "localhost", &key.sign(&claims("globex"))).await;
        assert_eq!(answer.served_by(), "b", "{algorithm}");
        let stranger = Key::new(algorithm, "k1");
        assert_invalid(&with_token(&pair, "localhost", &stranger.sign(&claims("acme"))).await);
    }
}

#[tokio::test]
async fn a_key_set_verifies_tokens_of_each_of_its_keys() {
    let algorithms = ["RS256", "PS256", "ES256", "EdDSA"];
    let keys: Vec<Key> = algorithms.map(|algorithm| Key::new(algorithm, algorithm)).into();
    let set = jwks(&keys.iter().collect::<Vec<_>>());
    let list = algorithms.join("\", \"");
    let table = issuer(&list, "jwks_file = \"keys/set.json\"") + PAIR;
    let pair = Pair::planned(&table, |plan| plan.file("keys/set.json", &set)).await;
    for key in &keys {
        let answer = with_token(&pair, "localhost", &key.sign(&claims("globex"))).await;
        assert_eq!(answer.served_by(), "b", "{key:?}");
    }
    let unknown = Key::new("ES256", "nobody");
    assert_invalid(&with_token(&pair, "localhost", &unknown.sign(&claims("globex"))).await);
}

#[tokio::test]
async fn an_algorithm_that_is_not_configured_is_invalid() {
    let keys = [Key::new("RS256", "r"), Key::new("ES256", "e")];
    let set = jwks(&[&keys[0], &keys[1]]);
    let table = issuer("ES256", "jwks_file = \"keys/set.json\"") + PAIR;
    let pair = Pair::planned(&table, |plan| plan.file("keys/set.json", &set)).await;
    assert_invalid(&with_token(&pair, "localhost", &keys[0].sign(&claims("globex"))).await);
    assert_eq!(with_token(&pair, "localhost", &keys[1].sign(&claims("globex"))).await.status, 200);
}

#[tokio::test]
async fn claims_that_do_not_hold_are_invalid() {
    let (pair, key) = with_secret(PAIR).await;
    let now = unix_now();
    for (name, value) in [
        ("exp", json!(now - 60)),
        ("exp", Value::Null),
        ("exp", json!("tomorrow")),
        ("nbf", json!(now + 600)),
        ("aud", json!("api://other")),
        ("aud", Value::Null),
        ("iss", json!("https://evil.test/")),
        ("iss", Value::Null),
    ] {
        let token = key.sign(&claims_with("acme", name, value.clone()));
        let answer = with_token(&pair, ACME, &token).await;
        assert_eq!(answer.status, 401, "{name} = {value}: {}", answer.text());
        assert_invalid(&answer);
    }
    assert_eq!(pair.a.count(), 0);
}

#[tokio::test]
async fn an_audience_may_be_one_of_a_list() {
    let (pair, key) = with_secret(PAIR).await;
    let token = key.sign(&claims_with("globex", "aud", json!(["api://other", AUDIENCE])));
    assert_eq!(with_token(&pair, "localhost", &token).await.served_by(), "b");
}

#[tokio::test]
async fn a_bad_signature_never_falls_through_to_a_weaker_source() {
    let (pair, key) = with_secret(PAIR).await;
    let token = key.sign(&claims("acme"));
    let (signed, signature) = token.rsplit_once('.').unwrap();
    let other = Key::new("HS256", "other").sign(&claims("acme"));
    let none = key.sign_as(&json!({"alg": "none"}), &claims("acme"));
    let unsigned = format!("{}.{}.", part(&json!({"alg": "none"})), part(&claims("acme")));
    let moved =
        format!("{}.{signature}", signed.replace(&part(&claims("acme")), &part(&claims("globex"))));
    let stripped = format!("{signed}.");
    for token in [other, none, unsigned, stripped, moved] {
        let answer = with_token(&pair, ACME, &token).await;
        assert_eq!(answer.status, 401, "{token}");
        assert_invalid(&answer);
    }
    assert_eq!(pair.a.count(), 0);
    let refused = [("source", "jwt"), ("result", "invalid_token")];
    assert_eq!(pair.gateway.metric("stampgate_resolutions_total", &refused).await, 5.0);
}

#[tokio::test]
async fn a_public_key_used_as_a_shared_secret_is_invalid() {
    let key = Key::new("RS256", "k1");
    let pem = key.public_pem();
    let table = issuer("RS256", "public_key_file = \"keys/public.pem\"") + PAIR;
    let pair = Pair::planned(&table, |plan| plan.file("keys/public.pem", &pem)).await;
    let forged = Key::hmac_with(&pem).sign(&claims("acme"));
    assert_invalid(&with_token(&pair, ACME, &forged).await);
}

#[tokio::test]
async fn an_opaque_bearer_token_is_silence() {
    let (pair, _key) = with_secret(PAIR).await;
    assert_eq!(with_token(&pair, ACME, "opaque-session-42").await.served_by(), "a");
}

#[tokio::test]
async fn a_tenant_claim_is_found_by_its_path() {
    let rule = issuer_with_secret().replace("\"tid\"", "\"org.id\"");
    let key = Key::new("HS256", "k1");
    let secret = key.secret_file();
    let pair = Pair::planned(&(rule + PAIR), |plan| plan.file("keys/secret", &secret)).await;
    let token = key.sign(&claims_with("acme", "org", json!({"id": "globex"})));
    assert_eq!(with_token(&pair, "localhost", &token).await.served_by(), "b");
}

#[tokio::test]
async fn a_stamp_claim_that_is_not_the_tenants_home_is_a_conflict() {
    let rule = issuer_with_secret() + "stamp_claim = \"stamp\"\n";
    let key = Key::new("HS256", "k1");
    let secret = key.secret_file();
    let pair = Pair::planned(&(rule + PAIR), |plan| plan.file("keys/secret", &secret)).await;
    let right = key.sign(&claims_with("globex", "stamp", json!("b")));
    assert_eq!(with_token(&pair, "localhost", &right).await.served_by(), "b");
    let wrong = key.sign(&claims_with("globex", "stamp", json!("a")));
    let answer = with_token(&pair, "localhost", &wrong).await;
    answer.assert_problem(403, "identity_conflict");
}

#[tokio::test]
async fn two_authorization_headers_are_refused() {
    let (pair, key) = with_secret(PAIR).await;
    let token = key.sign(&claims("acme"));
    let twice = get(ACME, "/").bearer(&token).bearer("opaque");
    let status = pair.gateway.send(&twice).await.status;
    assert!(status == 400 || status == 401, "{status}");
    assert_eq!(pair.a.count(), 0);
}

#[tokio::test]
async fn a_stamp_for_verified_tenants_takes_no_others() {
    let (pair, key) = with_secret(&pair_with("access = \"verified\"")).await;
    pair.gateway.get(ACME, "/").await.assert_problem(401, "verified_identity_required");
    let claimed = get("localhost", "/").header("X-Stamp-Id", "a");
    pair.gateway.send(&claimed).await.assert_problem(401, "verified_identity_required");
    assert_eq!(pair.a.count(), 0);
    assert_eq!(with_token(&pair, ACME, &key.sign(&claims("acme"))).await.served_by(), "a");
}

#[tokio::test]
async fn on_a_verified_only_host_a_token_is_required() {
    let table = PAIR.replace(
        "[identity.host]\n",
        "[identity.host]\nverified_only = [\"api.test\"]\nneutral = [\"api.test\"]\n",
    );
    let (pair, key) = with_secret(&table).await;
    let claimed = get("api.test", "/").header("X-Stamp-Id", "a");
    pair.gateway.send(&claimed).await.assert_problem(401, "verified_identity_required");
    assert_eq!(with_token(&pair, "api.test", &key.sign(&claims("acme"))).await.served_by(), "a");
}

#[tokio::test]
async fn a_token_of_a_withdrawn_key_stops_with_the_reload() {
    let (old, new) = (Key::new("ES256", "old"), Key::new("ES256", "new"));
    let table = issuer("ES256", "jwks_file = \"keys/set.json\"") + PAIR;
    let set = jwks(&[&old]);
    let pair = Pair::planned(&table, |plan| plan.file("keys/set.json", &set)).await;
    let token = old.sign(&claims("acme"));
    // Twice, so that the second answer may come from the cache of verified tokens.
    assert_eq!(with_token(&pair, ACME, &token).await.status, 200);
    assert_eq!(with_token(&pair, ACME, &token).await.status, 200);
    pair.gateway.directory.replace("keys/set.json", &jwks(&[&new]));
    pair.gateway.reload().await;
    assert_invalid(&with_token(&pair, ACME, &token).await);
    assert_eq!(with_token(&pair, ACME, &new.sign(&claims("acme"))).await.status, 200);
}

#[tokio::test]
async fn a_cached_token_is_not_used_past_its_end() {
    let (pair, key) = with_secret(PAIR).await;
    let token = key.sign(&claims_with("acme", "exp", json!(unix_now() + 1)));
    let mut client = pair.gateway.connect().await;
    assert_eq!(client.exchange(&get(ACME, "/").bearer(&token)).await.status, 200);
    // One second to live, one of leeway: the same worker must refuse within a few seconds.
    crate::harness::deadline::eventually("the token to end", async || {
        let answer = client.exchange(&get(ACME, "/").bearer(&token)).await;
        (answer.status == 401).then_some(())
    })
    .await;
}

#[tokio::test]
async fn each_request_on_a_connection_is_verified_anew() {
    let (pair, key) = with_secret(&pair_with("access = \"verified\"")).await;
    let mut client = pair.gateway.connect().await;
    let token = key.sign(&claims("acme"));
    assert_eq!(client.exchange(&get(ACME, "/").bearer(&token)).await.status, 200);
    let answer = client.exchange(&get(ACME, "/")).await;
    answer.assert_problem(401, "verified_identity_required");
}

#[tokio::test]
async fn token_values_never_appear_in_the_log() {
    let (pair, key) = with_secret(PAIR).await;
    let (good, bad) = (key.sign(&claims("acme")), Key::new("HS256", "x").sign(&claims("acme")));
    assert_eq!(with_token(&pair, ACME, &good).await.status, 200);
    assert_invalid(&with_token(&pair, ACME, &bad).await);
    let log = pair.gateway.log();
    for token in [good, bad] {
        let signature = token.rsplit('.').next().unwrap();
        assert!(!log.contains(signature), "{log}");
    }
}
