//! Where a token is read from, and tokens that are good for several tenants.

use serde_json::json;

use crate::harness::client::Answer;
use crate::harness::http1::{Request, get};
use crate::harness::scene::{ACME, GLOBEX, PAIR, Pair};
use crate::harness::token::{Key, claims, claims_with};
use crate::tokens::issuer_with_secret;

/// The usual scene, tokens from this place, and the key of its issuer.
async fn reading(place: &str) -> (Pair, Key) {
    let key = Key::new("HS256", "k1");
    let table = format!("[identity]\n{place}\n{}{PAIR}", issuer_with_secret());
    let pair = Pair::planned(&table, |plan| plan.file("keys/secret", &key.secret_file())).await;
    (pair, key)
}

const COOKIE: &str = "token = { cookie = \"session\" }";
const HEADER: &str = "token = { header = \"X-Token\" }";

async fn send(pair: &Pair, request: &Request) -> Answer {
    pair.gateway.send(request).await
}

#[tokio::test]
async fn a_token_in_the_declared_cookie_counts_and_one_elsewhere_does_not() {
    let (pair, key) = reading(COOKIE).await;
    let token = key.sign(&claims("globex"));
    let cookie = format!("theme=dark; session={token}; x=y");
    let answer = send(&pair, &get("localhost", "/").header("Cookie", &cookie)).await;
    assert_eq!(answer.served_by(), "b");
    assert_eq!(answer.arrived("cookie"), [cookie]);
    let elsewhere = get("localhost", "/").bearer(&token);
    send(&pair, &elsewhere).await.assert_problem(400, "missing_identifier");
}

#[tokio::test]
async fn a_token_in_the_declared_header_counts_and_one_elsewhere_does_not() {
    let (pair, key) = reading(HEADER).await;
    let token = key.sign(&claims("globex"));
    let answer = send(&pair, &get("localhost", "/").header("x-token", &token)).await;
    assert_eq!(answer.served_by(), "b");
    let elsewhere = get("localhost", "/").bearer(&token);
    send(&pair, &elsewhere).await.assert_problem(400, "missing_identifier");
}

#[tokio::test]
async fn what_is_no_good_token_in_the_declared_place_is_refused() {
    let (pair, key) = reading(COOKIE).await;
    let token = key.sign(&claims("acme"));
    let (signed, _) = token.rsplit_once('.').unwrap();
    for value in ["", "opaque", &format!("{signed}.AAAA"), &format!("\"{token}\"")] {
        let request = get(ACME, "/").header("Cookie", &format!("session={value}"));
        send(&pair, &request).await.assert_problem(401, "invalid_token");
    }
    assert_eq!(pair.a.count(), 0);
}

#[tokio::test]
async fn a_token_that_is_there_twice_is_malformed() {
    let (pair, key) = reading(COOKIE).await;
    let token = key.sign(&claims("acme"));
    let twice = format!("session={token}; session={token}");
    let request = get(ACME, "/").header("Cookie", &twice);
    send(&pair, &request).await.assert_problem(400, "malformed_identifier");
    let (pair, key) = reading(HEADER).await;
    let token = key.sign(&claims("acme"));
    let request = get(ACME, "/").header("X-Token", &token).header("X-Token", &token);
    send(&pair, &request).await.assert_problem(400, "malformed_identifier");
    assert_eq!(pair.a.count(), 0);
}

#[tokio::test]
async fn of_a_list_of_tenants_the_host_selects_and_the_token_authorises() {
    let (pair, key) = reading("").await;
    let both = key.sign(&claims_with("x", "tid", json!(["globex", "acme"])));
    for (host, stamp) in [(ACME, "a"), (GLOBEX, "b")] {
        let answer = send(&pair, &get(host, "/").bearer(&both)).await;
        assert_eq!(answer.served_by(), stamp);
        assert_eq!(answer.arrived("x-stamp-tenant"), [host.split('.').next().unwrap()]);
    }
    let nowhere = get("localhost", "/").bearer(&both);
    send(&pair, &nowhere).await.assert_problem(400, "missing_identifier");
    let stamp_alone = nowhere.header("X-Stamp-Id", "a");
    send(&pair, &stamp_alone).await.assert_problem(400, "missing_identifier");
}

#[tokio::test]
async fn a_tenant_that_is_not_in_the_list_is_refused() {
    let (pair, key) = reading("").await;
    let others = key.sign(&claims_with("x", "tid", json!(["globex", "umbrella"])));
    let request = get(ACME, "/").bearer(&others);
    send(&pair, &request).await.assert_problem(403, "identity_conflict");
    assert_eq!(pair.a.count(), 0);
}

#[tokio::test]
async fn a_list_of_one_is_that_tenant() {
    let (pair, key) = reading("").await;
    let one = key.sign(&claims_with("x", "tid", json!(["globex"])));
    assert_eq!(send(&pair, &get("localhost", "/").bearer(&one)).await.served_by(), "b");
    let none = key.sign(&claims_with("x", "tid", json!([])));
    let request = get(ACME, "/").bearer(&none);
    send(&pair, &request).await.assert_problem(401, "invalid_token");
}
