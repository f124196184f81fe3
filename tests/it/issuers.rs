//! Keys by URL: fetched, refreshed, withdrawn, missing; and issuers that misbehave.

use serde_json::json;

use crate::harness::command::operate;
use crate::harness::deadline::eventually;
use crate::harness::gateway::Gateway;
use crate::harness::http1::get;
use crate::harness::issuer::{Issuer, ended, known, rule, told};
use crate::harness::scene::{ACME, PAIR, Pair};
use crate::harness::script::{Script, plain};
use crate::harness::tls::Authority;
use crate::harness::token::{ISSUER, Key, claims, claims_with};

/// Keys that are fetched every second, the shortest that may be written.
const QUICK: &str = "jwks_refresh = \"1s\"";

fn key(kid: &str) -> Key {
    Key::new("ES256", kid)
}

/// The usual scene with this issuer's rule before the table.
async fn with(rule: &str) -> Pair {
    Pair::planned(&format!("{rule}{PAIR}"), |plan| plan).await
}

async fn status(gateway: &Gateway, token: &str) -> u16 {
    gateway.send(&get(ACME, "/").bearer(token)).await.status
}

async fn assert_not_ready(gateway: &Gateway, token: &str) {
    let answer = gateway.send(&get(ACME, "/").bearer(token)).await;
    answer.assert_problem(503, "not_ready");
}

#[tokio::test]
async fn published_keys_verify_tokens() {
    let key = key("k1");
    let issuer = Issuer::publishing(&[&key]).await;
    let pair = with(&issuer.rule("")).await;
    known(&pair.gateway, 1).await;
    assert_eq!(status(&pair.gateway, &key.sign(&claims("acme"))).await, 200);
    assert_eq!(status(&pair.gateway, &self::key("k1").sign(&claims("acme"))).await, 401);
    let told = told(&pair.gateway).await;
    assert_eq!((&told["issuer"], &told["last_fetch"]), (&json!(ISSUER), &json!("ok")));
    let metrics = pair.gateway.metrics().await;
    assert!((metrics.sum("stampgate_jwks_keys", &[("issuer", ISSUER)]) - 1.0).abs() < 0.1);
    assert!(metrics.has("stampgate_jwks_age_seconds"));
}

#[tokio::test]
async fn a_rotation_loses_no_token() {
    let (old, new) = (key("old"), key("new"));
    let issuer = Issuer::publishing(&[&old]).await;
    let pair = with(&issuer.rule(QUICK)).await;
    known(&pair.gateway, 1).await;
    let (before, after) = (old.sign(&claims("acme")), new.sign(&claims("acme")));
    // Tokens of the old key are sent all the while, those of the new from when it is known.
    issuer.publishes(&[&old, &new]);
    eventually("the new key", async || {
        assert_eq!(status(&pair.gateway, &before).await, 200);
        (told(&pair.gateway).await["keys"] == 2).then_some(())
    })
    .await;
    let fetches = issuer.fetches();
    eventually("three more fetches", async || {
        assert_eq!(status(&pair.gateway, &before).await, 200);
        assert_eq!(status(&pair.gateway, &after).await, 200);
        (issuer.fetches() > fetches + 2).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_withdrawn_key_stops_within_the_refresh() {
    let (old, new) = (key("old"), key("new"));
    let issuer = Issuer::publishing(&[&old]).await;
    let pair = with(&issuer.rule(QUICK)).await;
    known(&pair.gateway, 1).await;
    let token = old.sign(&claims("acme"));
    // Twice, so that the second answer may come from the memory of tokens that passed.
    assert_eq!(status(&pair.gateway, &token).await, 200);
    assert_eq!(status(&pair.gateway, &token).await, 200);
    issuer.publishes(&[&new]);
    // The first may have been answered before the change; the next begins after it is in force.
    issuer.asked_again(2).await;
    eventually("the withdrawn key to be refused", async || {
        (status(&pair.gateway, &token).await == 401).then_some(())
    })
    .await;
    assert_eq!(status(&pair.gateway, &new.sign(&claims("acme"))).await, 200);
}

#[tokio::test]
async fn an_unknown_key_is_fetched_at_once_and_many_fetch_no_more() {
    let (old, new) = (key("old"), key("new"));
    let issuer = Issuer::publishing(&[&old]).await;
    let pair = with(&issuer.rule("")).await;
    known(&pair.gateway, 1).await;
    assert_eq!(issuer.fetches(), 1);
    issuer.publishes(&[&old, &new]);
    let token = new.sign(&claims("acme"));
    eventually("the new key to be known", async || {
        (status(&pair.gateway, &token).await == 200).then_some(())
    })
    .await;
    let mut client = pair.gateway.connect().await;
    for number in 0..500 {
        let header = json!({"alg": "ES256", "kid": format!("random-{number}")});
        let forged = old.sign_as(&header, &claims("acme"));
        let answer = client.exchange(&get(ACME, "/").bearer(&forged)).await;
        answer.assert_problem(401, "invalid_token");
    }
    // The first, the one for the new key, and one more if all this took half a minute.
    assert!(issuer.fetches() <= 3, "{}", issuer.fetches());
    assert_eq!(status(&pair.gateway, &old.sign(&claims("acme"))).await, 200);
}

#[tokio::test]
async fn without_its_issuer_a_start_refuses_its_tokens_alone() {
    let (key, other) = (key("k1"), Key::new("HS256", "k2"));
    let mut issuer = Issuer::publishing(&[&key]).await;
    issuer.server().kill().await;
    let second = "[[identity.jwt]]\nissuer = \"https://other.test/\"\naudiences = [\"api://orders\"]\n\
                  algorithms = [\"HS256\"]\nhmac_secret_file = \"secret\"\ntenant_claim = \"tid\"\n";
    let table = format!("{}{second}{PAIR}", issuer.rule(""));
    let secret = other.secret_file();
    let pair = Pair::planned(&table, |plan| plan.file("secret", &secret)).await;
    assert_not_ready(&pair.gateway, &key.sign(&claims("acme"))).await;
    let of_other = claims_with("acme", "iss", json!("https://other.test/"));
    assert_eq!(status(&pair.gateway, &other.sign(&of_other)).await, 200);
    assert_eq!(pair.gateway.get(ACME, "/").await.served_by(), "a");
    assert_eq!(pair.gateway.admin_get("/readyz").await.status, 200);
    ended(&pair.gateway, "connect_failed").await;
    issuer.server().revive();
    known(&pair.gateway, 1).await;
    assert_eq!(status(&pair.gateway, &key.sign(&claims("acme"))).await, 200);
    assert!(pair.gateway.log().contains("the keys of an issuer are fetched again"));
}

#[tokio::test]
async fn without_its_issuer_a_start_goes_on_from_the_keys_on_disk() {
    let key = key("k1");
    let mut issuer = Issuer::publishing(&[&key]).await;
    let mut pair = with(&issuer.rule("")).await;
    known(&pair.gateway, 1).await;
    kept(&pair.gateway).await;
    issuer.server().kill().await;
    pair.gateway.kill_and_restart().await;
    assert_eq!(status(&pair.gateway, &key.sign(&claims("acme"))).await, 200);
    ended(&pair.gateway, "connect_failed").await;
    assert_eq!(status(&pair.gateway, &key.sign(&claims("acme"))).await, 200);
}

/// Waits until the keys are on disk.
async fn kept(gateway: &Gateway) {
    let directory = gateway.directory.path("state/keys");
    eventually("keys on disk", async || {
        let files = std::fs::read_dir(&directory).ok()?;
        let mut names = files.map(|file| file.unwrap().path());
        names.any(|name| name.extension().is_some_and(|end| end == "json")).then_some(())
    })
    .await;
}

/// The names of the files beside kept keys, and theirs.
fn on_disk(gateway: &Gateway) -> Vec<String> {
    let files = std::fs::read_dir(gateway.directory.path("state/keys")).unwrap();
    files.map(|file| file.unwrap().file_name().into_string().unwrap()).collect()
}

#[tokio::test]
async fn keys_of_an_issuer_that_is_gone_leave_the_disk_when_the_table_is_in_force() {
    let key = key("k1");
    let issuer = Issuer::publishing(&[&key]).await;
    let pair = with(&issuer.rule("")).await;
    known(&pair.gateway, 1).await;
    kept(&pair.gateway).await;
    pair.gateway.directory.write("state/keys/notes.json", "{}");
    pair.gateway.directory.replace("routing.toml", "nonsense");
    assert_eq!(pair.gateway.admin("POST", "/v1/config/reload", None).await.status, 422);
    assert_eq!(on_disk(&pair.gateway).len(), 2, "that table is not in force");
    pair.gateway.reload_with(PAIR, &[&pair.a, &pair.b]).await;
    eventually("the end of its keys", async || {
        (on_disk(&pair.gateway) == ["notes.json"]).then_some(())
    })
    .await;
    let line = "keys of an issuer that is gone are deleted";
    eventually("a line of the log", async || pair.gateway.log().contains(line).then_some(())).await;
}

#[tokio::test]
async fn keys_that_cannot_be_fetched_again_are_good_for_their_time_and_no_longer() {
    let key = key("k1");
    let mut issuer = Issuer::publishing(&[&key]).await;
    let pair = with(&issuer.rule("jwks_refresh = \"1s\"\njwks_stale = \"10s\"")).await;
    known(&pair.gateway, 1).await;
    issuer.server().kill().await;
    let token = key.sign(&claims("acme"));
    ended(&pair.gateway, "connect_failed").await;
    assert_eq!(status(&pair.gateway, &token).await, 200);
    eventually("the end of the keys", async || {
        (status(&pair.gateway, &token).await == 503).then_some(())
    })
    .await;
    assert_not_ready(&pair.gateway, &token).await;
    assert_eq!(pair.gateway.get(ACME, "/").await.served_by(), "a");
    issuer.server().revive();
    eventually("keys again", async || (status(&pair.gateway, &token).await == 200).then_some(()))
        .await;
}

/// An issuer that begins to answer like this keeps its old keys in force.
async fn assert_keeps_keys(answer: Script, result: &str) {
    let key = key("k1");
    let issuer = Issuer::publishing(&[&key]).await;
    let pair = with(&issuer.rule(QUICK)).await;
    known(&pair.gateway, 1).await;
    issuer.answers(answer);
    ended(&pair.gateway, result).await;
    assert_eq!(status(&pair.gateway, &key.sign(&claims("acme"))).await, 200, "{result}");
    assert_eq!(told(&pair.gateway).await["keys"], 1);
    issuer.publishes(&[&key, &self::key("k2")]);
    known(&pair.gateway, 2).await;
}

#[tokio::test]
async fn an_answer_that_is_no_key_set_changes_nothing() {
    for body in ["<html>", "{\"keys\":[]}", "{\"keys\":[{\"kty\":\"future\"}]}"] {
        assert_keeps_keys(plain(200, "", body), "unusable").await;
    }
}

#[tokio::test]
async fn an_answer_that_is_no_http_or_breaks_off_changes_nothing() {
    assert_keeps_keys(Script::RawAndClose(b"nonsense\r\n\r\n".into()), "broken").await;
    assert_keeps_keys(Script::ResetMidBody, "broken").await;
    assert_keeps_keys(plain(503, "", "down"), "bad_status").await;
}

#[tokio::test]
async fn a_key_set_of_over_a_mebibyte_is_not_read_to_its_end() {
    assert_keeps_keys(Script::Download(64 << 20), "too_large").await;
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let (key, evil) = (key("k1"), key("k1"));
    let elsewhere = Issuer::publishing(&[&evil]).await;
    let issuer = Issuer::publishing(&[&key]).await;
    let place = elsewhere.rule("").split('"').nth(7).unwrap().to_owned();
    assert!(place.starts_with("http://127.0.0.1:"), "{place}");
    issuer.answers(plain(302, &format!("Location: {place}\r\n"), ""));
    let pair = with(&issuer.rule("")).await;
    ended(&pair.gateway, "bad_status").await;
    assert_not_ready(&pair.gateway, &evil.sign(&claims("acme"))).await;
    assert_eq!(elsewhere.fetches(), 0);
}

#[tokio::test]
async fn an_issuer_that_never_answers_is_given_up_and_others_go_on() {
    let (slow_key, key) = (key("k1"), key("k2"));
    let slow = Issuer::publishing(&[&slow_key]).await;
    slow.answers(Script::Trickle);
    let issuer = Issuer::publishing(&[&key]).await;
    let other = rule("https://other.test/", &format!("http://{}/keys", address(&issuer)), "");
    let pair = with(&format!("{}{other}", slow.rule(""))).await;
    let of_other = key.sign(&claims_with("acme", "iss", json!("https://other.test/")));
    eventually("keys of the other", async || {
        (status(&pair.gateway, &of_other).await == 200).then_some(())
    })
    .await;
    assert_not_ready(&pair.gateway, &slow_key.sign(&claims("acme"))).await;
    ended(&pair.gateway, "timeout").await;
}

/// Where an issuer listens.
fn address(issuer: &Issuer) -> String {
    let rule = issuer.rule("");
    let (_, rest) = rule.split_once("http://").unwrap();
    rest.split_once('/').unwrap().0.to_owned()
}

#[tokio::test]
async fn keys_come_over_tls_from_whom_the_private_authority_vouches_for() {
    let (authority, key) = (Authority::new(), key("k1"));
    let mut issuer = Issuer::publishing(&[&key]).await;
    issuer.server().presents(authority.issues("127.0.0.1").served());
    let table = format!("{}{PAIR}", issuer.rule_over_tls("jwks_ca = \"tls/ca.crt\""));
    let pair = Pair::planned(&table, |plan| plan.file("tls/ca.crt", &authority.pem)).await;
    known(&pair.gateway, 1).await;
    assert_eq!(status(&pair.gateway, &key.sign(&claims("acme"))).await, 200);
}

#[tokio::test]
async fn keys_of_whom_nobody_vouches_for_are_not_taken() {
    let (authority, key) = (Authority::new(), key("k1"));
    for papers in [Authority::new().issues("127.0.0.1"), authority.issues("other.test")] {
        let mut issuer = Issuer::publishing(&[&key]).await;
        issuer.server().presents(papers.served());
        let table = format!("{}{PAIR}", issuer.rule_over_tls("jwks_ca = \"tls/ca.crt\""));
        let pair = Pair::planned(&table, |plan| plan.file("tls/ca.crt", &authority.pem)).await;
        ended(&pair.gateway, "tls_failed").await;
        assert_not_ready(&pair.gateway, &key.sign(&claims("acme"))).await;
        assert_eq!(issuer.fetches(), 0);
    }
}

#[tokio::test]
async fn a_reload_keeps_the_keys_of_an_issuer_that_stays() {
    let key = key("k1");
    let issuer = Issuer::publishing(&[&key]).await;
    let pair = with(&issuer.rule("")).await;
    known(&pair.gateway, 1).await;
    issuer.answers(plain(500, "", ""));
    let table = format!("{}{}", issuer.rule(""), PAIR.replace("globex = \"b\"", "globex = \"a\""));
    pair.gateway.reload_with(&table, &[&pair.a, &pair.b]).await;
    assert_eq!(status(&pair.gateway, &key.sign(&claims("acme"))).await, 200);
    assert_eq!(issuer.fetches(), 1);
}

#[tokio::test]
async fn a_reload_to_another_address_starts_anew() {
    let (old, new) = (key("old"), key("new"));
    let (first, second) = (Issuer::publishing(&[&old]).await, Issuer::publishing(&[&new]).await);
    let pair = with(&first.rule("")).await;
    known(&pair.gateway, 1).await;
    let table = format!("{}{PAIR}", second.rule(""));
    pair.gateway.reload_with(&table, &[&pair.a, &pair.b]).await;
    assert_ne!(status(&pair.gateway, &old.sign(&claims("acme"))).await, 200);
    eventually("keys from the other address", async || {
        (status(&pair.gateway, &new.sign(&claims("acme"))).await == 200).then_some(())
    })
    .await;
}

/// The line of `stampgate status` that tells of the only issuer.
async fn status_line(gateway: &Gateway) -> String {
    let told = operate(gateway, &["status"]).await.exits(0).stdout;
    let line = told.lines().find(|line| line.starts_with(ISSUER));
    line.unwrap_or_else(|| panic!("{told}")).to_owned()
}

#[tokio::test]
async fn status_tells_people_how_good_the_keys_of_each_issuer_are() {
    let key = key("k1");
    let issuer = Issuer::publishing(&[&key]).await;
    let pair = with(&issuer.rule("")).await;
    known(&pair.gateway, 1).await;
    let line = status_line(&pair.gateway).await;
    assert!(line.contains("fresh") && line.contains("in 9m"), "{line}");
    assert_eq!(told(&pair.gateway).await["last_error"], json!(null));
}

#[tokio::test]
async fn status_tells_people_why_there_are_no_keys() {
    let issuer = Issuer::publishing(&[]).await;
    issuer.answers(plain(500, "", ""));
    let pair = with(&issuer.rule("")).await;
    ended(&pair.gateway, "bad_status").await;
    let line = status_line(&pair.gateway).await;
    assert!(line.contains("none"), "{line}");
    assert!(line.contains("an answer with status 500"), "{line}");
}

#[tokio::test]
async fn keys_that_cannot_be_fetched_again_in_time_are_told_to_be_stale() {
    let issuer = Issuer::publishing(&[&key("k1")]).await;
    let pair = with(&issuer.rule(QUICK)).await;
    known(&pair.gateway, 1).await;
    issuer.answers(plain(500, "", ""));
    eventually("stale keys", async || {
        (told(&pair.gateway).await["state"] == "stale").then_some(())
    })
    .await;
    assert_eq!(told(&pair.gateway).await["keys"], 1);
}
