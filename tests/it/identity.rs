//! Section 4 of the contract: which stamp does a request belong to? Tokens are in `tokens`.

use crate::harness::client::Answer;
use crate::harness::http1::{Request, get};
use crate::harness::scene::{ACME, GLOBEX, PAIR, Pair};
use crate::harness::token::{Key, claims};
use crate::tokens::issuer_with_secret;

/// Lines for the top of the usual table.
fn table(top: &str) -> String {
    format!("{top}\n{PAIR}")
}

/// The usual table with one more line in `[identity.host]`.
fn hosts(line: &str) -> String {
    PAIR.replace("[identity.host]\n", &format!("[identity.host]\n{line}\n"))
}

async fn with_header(pair: &Pair, host: &str, name: &str, value: &str) -> Answer {
    pair.gateway.send(&get(host, "/").header(name, value)).await
}

#[tokio::test]
async fn a_host_pattern_names_the_tenant_and_the_tenant_its_home() {
    let pair = Pair::start().await;
    let answer = pair.gateway.get(ACME, "/").await;
    assert_eq!(answer.served_by(), "a");
    assert_eq!(answer.arrived("x-stamp-id"), ["a"]);
    assert_eq!(answer.arrived("x-stamp-tenant"), ["acme"]);
    assert_eq!(answer.arrived("x-stamp-home"), [""; 0]);
    assert_eq!(pair.gateway.get(GLOBEX, "/").await.served_by(), "b");
}

#[tokio::test]
async fn a_host_pattern_names_the_stamp_itself() {
    let pair = Pair::start().await;
    let answer = pair.gateway.get("b.stamps.test", "/").await;
    assert_eq!(answer.served_by(), "b");
    assert_eq!(answer.arrived("x-stamp-tenant"), [""; 0]);
}

#[tokio::test]
async fn hosts_are_compared_without_case_port_and_final_dot() {
    let pair = Pair::start().await;
    for host in ["GLOBEX.App.Test", "globex.app.test:8080", "globex.app.test."] {
        assert_eq!(pair.gateway.get(host, "/").await.served_by(), "b", "{host}");
    }
}

#[tokio::test]
async fn a_custom_domain_names_its_tenant() {
    let table = format!("{PAIR}\n[domains]\n\"orders.globex.example\" = \"globex\"\n");
    let pair = Pair::planned(&table, |plan| plan).await;
    let answer = pair.gateway.get("orders.globex.example", "/").await;
    assert_eq!(answer.served_by(), "b");
    assert_eq!(answer.arrived("x-stamp-tenant"), ["globex"]);
}

#[tokio::test]
async fn a_neutral_host_leaves_the_choice_to_other_clues() {
    let pair =
        Pair::planned(&hosts("neutral = [\"api.test\"]\nunknown = \"reject\""), |plan| plan).await;
    let answer = with_header(&pair, "api.test", "X-Stamp-Id", "b").await;
    assert_eq!(answer.served_by(), "b");
    pair.gateway.get("api.test", "/").await.assert_problem(400, "missing_identifier");
}

#[tokio::test]
async fn an_unknown_host_is_no_clue_by_default() {
    let pair = Pair::start().await;
    assert_eq!(with_header(&pair, "other.test", "X-Stamp-Id", "b").await.served_by(), "b");
    pair.gateway.get("other.test", "/").await.assert_problem(400, "missing_identifier");
}

#[tokio::test]
async fn an_unknown_host_is_misdirected_where_the_table_says_reject() {
    let pair = Pair::planned(&hosts("unknown = \"reject\""), |plan| plan).await;
    let answer = with_header(&pair, "other.test", "X-Stamp-Id", "b").await;
    answer.assert_problem(421, "misdirected_request");
    assert_eq!(pair.b.count(), 0);
}

#[tokio::test]
async fn a_request_that_names_nobody_is_told_so() {
    let pair = Pair::start().await;
    let answer = pair.gateway.get("localhost", "/").await;
    answer.assert_problem(400, "missing_identifier");
    assert!(answer.text().contains("Missing stamp identifier."), "{}", answer.text());
}

#[tokio::test]
async fn the_stamp_header_names_a_stamp_in_any_case() {
    let pair = Pair::start().await;
    for value in ["b", "B"] {
        let answer = with_header(&pair, "localhost", "x-stamp-id", value).await;
        assert_eq!(answer.served_by(), "b");
        assert_eq!(answer.arrived("x-stamp-id"), ["b"]);
    }
}

#[tokio::test]
async fn a_stamp_header_that_is_no_single_id_is_malformed() {
    let pair = Pair::start().await;
    for value in ["a, b", "a,a", "a_b", "-a", "a b", "a/../b", "\"a\""] {
        let answer = with_header(&pair, "localhost", "X-Stamp-Id", value).await;
        answer.assert_problem(400, "malformed_identifier");
    }
    assert_eq!(pair.a.count() + pair.b.count(), 0);
}

#[tokio::test]
async fn two_stamp_headers_are_malformed_even_when_they_agree() {
    let pair = Pair::start().await;
    for second in ["a", "b"] {
        let twice = get("localhost", "/").header("X-Stamp-Id", "a").header("x-stamp-id", second);
        pair.gateway.send(&twice).await.assert_problem(400, "malformed_identifier");
    }
}

#[tokio::test]
async fn an_underscored_spelling_of_the_stamp_header_never_reaches_a_stamp() {
    let pair = Pair::start().await;
    let answer = with_header(&pair, ACME, "X_Stamp_Id", "b").await;
    if answer.status == 200 {
        assert_eq!(answer.served_by(), "a");
        assert_eq!(answer.arrived("x_stamp_id"), [""; 0]);
    } else {
        assert_eq!(answer.status, 400, "{}", answer.text());
    }
}

#[tokio::test]
async fn the_stamp_header_is_not_read_where_the_table_says_never() {
    let pair =
        Pair::planned(&table("[identity.header]\naccept_from = \"never\""), |plan| plan).await;
    let answer = with_header(&pair, "localhost", "X-Stamp-Id", "b").await;
    answer.assert_problem(400, "missing_identifier");
    let answer = with_header(&pair, ACME, "X-Stamp-Id", "b").await;
    assert_eq!(answer.arrived("x-stamp-id"), ["a"]);
}

#[tokio::test]
async fn a_stamp_header_for_trusted_peers_is_read_from_them_alone() {
    let rule = table("[identity.header]\naccept_from = \"trusted\"");
    let strangers = Pair::planned(&rule, |plan| plan).await;
    let answer = with_header(&strangers, "localhost", "X-Stamp-Id", "b").await;
    answer.assert_problem(400, "missing_identifier");
    let trusted = "[\"127.0.0.1/32\"]";
    let friends = Pair::planned(&rule, |plan| plan.set("trust", "proxies", trusted)).await;
    assert_eq!(with_header(&friends, "localhost", "X-Stamp-Id", "b").await.served_by(), "b");
}

#[tokio::test]
async fn a_tenant_header_names_a_tenant_where_one_is_configured() {
    let pair =
        Pair::planned(&table("[identity.header]\ntenant_name = \"X-Tenant-Id\""), |plan| plan)
            .await;
    assert_eq!(with_header(&pair, "localhost", "X-Tenant-Id", "Globex").await.served_by(), "b");
    let answer = with_header(&pair, "localhost", "X-Tenant-Id", "no/tenant").await;
    answer.assert_problem(400, "malformed_identifier");
}

#[tokio::test]
async fn a_cookie_names_a_stamp_or_a_tenant() {
    for (names, value) in [("stamp", "b"), ("tenant", "globex")] {
        let rule = table(&format!("[identity.cookie]\nname = \"home\"\nnames = \"{names}\""));
        let pair = Pair::planned(&rule, |plan| plan).await;
        let cookies = format!("theme=dark; home={value}; x=1");
        let answer = with_header(&pair, "localhost", "Cookie", &cookies).await;
        assert_eq!(answer.served_by(), "b");
        assert_eq!(answer.arrived("cookie"), [cookies]);
    }
}

#[tokio::test]
async fn a_cookie_that_comes_twice_is_malformed() {
    let rule = table("[identity.cookie]\nname = \"home\"\nnames = \"stamp\"");
    let pair = Pair::planned(&rule, |plan| plan).await;
    let answer = with_header(&pair, "localhost", "Cookie", "home=a; home=b").await;
    answer.assert_problem(400, "malformed_identifier");
    let lines = get("localhost", "/").header("Cookie", "home=a").header("Cookie", "home=b");
    pair.gateway.send(&lines).await.assert_problem(400, "malformed_identifier");
}

#[tokio::test]
async fn a_cookie_is_not_read_unless_one_is_configured() {
    let pair = Pair::start().await;
    let answer = with_header(&pair, "localhost", "Cookie", "stamp=b").await;
    answer.assert_problem(400, "missing_identifier");
}

#[tokio::test]
async fn clues_that_agree_are_accepted() {
    let pair = Pair::start().await;
    assert_eq!(with_header(&pair, ACME, "X-Stamp-Id", "a").await.served_by(), "a");
}

#[tokio::test]
async fn clues_that_disagree_are_refused() {
    let pair = Pair::start().await;
    with_header(&pair, ACME, "X-Stamp-Id", "b").await.assert_problem(400, "identity_conflict");
    let answer = with_header(&pair, "a.stamps.test", "X-Stamp-Id", "b").await;
    answer.assert_problem(400, "identity_conflict");
    assert_eq!(pair.a.count() + pair.b.count(), 0);
}

#[tokio::test]
async fn a_conflict_with_a_verified_clue_is_forbidden() {
    let key = Key::new("HS256", "k1");
    let table = table(&issuer_with_secret());
    let secret = key.secret_file();
    let pair = Pair::planned(&table, |plan| plan.file("keys/secret", &secret)).await;
    let token = key.sign(&claims("globex"));
    let answer = pair.gateway.send(&get(ACME, "/").bearer(&token)).await;
    answer.assert_problem(403, "identity_conflict");
    let claimed = get("localhost", "/").bearer(&token).header("X-Stamp-Id", "a");
    pair.gateway.send(&claimed).await.assert_problem(403, "identity_conflict");
    assert_eq!(pair.a.count() + pair.b.count(), 0);
}

#[tokio::test]
async fn in_report_mode_the_strongest_class_of_clue_wins() {
    let key = Key::new("HS256", "k1");
    let table = table(&format!("[identity]\nconflict = \"report\"\n{}", issuer_with_secret()));
    let secret = key.secret_file();
    let pair = Pair::planned(&table, |plan| plan.file("keys/secret", &secret)).await;
    assert_eq!(with_header(&pair, ACME, "X-Stamp-Id", "b").await.served_by(), "a");
    let verified = get(ACME, "/").bearer(&key.sign(&claims("globex")));
    assert_eq!(pair.gateway.send(&verified).await.served_by(), "b");
}

#[tokio::test]
async fn suspended_and_offboarded_tenants_are_turned_away() {
    let pair = Pair::start().await;
    pair.gateway.get("hooli.app.test", "/").await.assert_problem(403, "tenant_suspended");
    pair.gateway.get("initech.app.test", "/").await.assert_problem(410, "tenant_offboarded");
    assert_eq!(pair.a.count(), 0);
}

#[tokio::test]
async fn unknown_tenants_and_stamps_are_not_found() {
    let pair = Pair::start().await;
    pair.gateway.get("nobody.app.test", "/").await.assert_problem(404, "unknown_tenant");
    pair.gateway.get("nowhere.stamps.test", "/").await.assert_problem(404, "unknown_stamp");
    let answer = with_header(&pair, "localhost", "X-Stamp-Id", "nowhere").await;
    answer.assert_problem(404, "unknown_stamp");
}

#[tokio::test]
async fn a_label_under_a_pattern_that_is_no_id_reaches_no_stamp() {
    let pair = Pair::start().await;
    for host in ["a.b.stamps.test", "a_b.stamps.test", ".stamps.test", "a,b.stamps.test"] {
        let status = pair.gateway.get(host, "/").await.status;
        assert!((400..500).contains(&status), "{host}: {status}");
    }
    assert_eq!(pair.a.count() + pair.b.count(), 0);
}

#[tokio::test]
async fn hosts_that_are_missing_doubled_or_lists_are_refused() {
    let pair = Pair::start().await;
    let none = Request::new("GET", "/").header("X-Stamp-Id", "a");
    let two = get(ACME, "/").header("Host", GLOBEX);
    let list = get("acme.app.test, globex.app.test", "/");
    for request in [none, two, list] {
        let status = pair.gateway.send(&request).await.status;
        assert_eq!(status, 400, "{request:?}");
    }
    assert_eq!(pair.a.count() + pair.b.count(), 0);
}
