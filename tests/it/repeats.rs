//! Section 5 of the contract, the table: when an attempt may be repeated, and when never.

use crate::harness::gateway::Plan;
use crate::harness::http1::{Request, get, post};
use crate::harness::scene::{ACME, PAIR, Pair, pair_without_edge};
use crate::harness::script::{Gate, Script, block};
use crate::harness::stamp::{OnAccept, Stamp};

/// How many requests of this method reached either stamp.
fn arrivals(pair: &Pair, method: &str) -> usize {
    let of = |seen: &crate::harness::stamp::Seen| seen.method() == method;
    pair.a.seen().into_iter().chain(pair.b.seen()).filter(of).count()
}

#[tokio::test]
async fn a_post_that_was_not_connected_is_repeated_with_its_body() {
    let mut pair = Pair::start().await;
    pair.a.kill().await;
    let answer = pair.gateway.send(&post(ACME, "/", "precious")).await;
    assert_eq!(answer.served_by(), "b");
    assert_eq!(answer.json()["body"], "precious");
}

#[tokio::test]
async fn a_large_post_that_was_not_connected_is_repeated_with_its_body() {
    let mut pair = Pair::start().await;
    pair.a.kill().await;
    let answer = pair.gateway.send(&post(ACME, "/", block(0, 1_000_000))).await;
    assert_eq!(answer.served_by(), "b");
    assert_eq!(answer.json()["body_length"], 1_000_000);
    assert!(pair.b.only().body_is_pattern);
}

#[tokio::test]
async fn a_post_that_was_written_is_never_repeated() {
    for script in [Script::ResetAfterHead, Script::ResetAfterBody] {
        let pair = Pair::start().await;
        pair.a.plays(script);
        let answer = pair.gateway.send(&post(ACME, "/", "precious")).await;
        assert_eq!(answer.status, 502, "{}", answer.text());
        assert_eq!(answer.header("content-type"), Some("application/problem+json"));
        assert_eq!((pair.a.count(), pair.b.count()), (1, 0));
    }
}

#[tokio::test]
async fn a_post_with_an_idempotency_key_is_repeated_with_its_body() {
    let pair = Pair::start().await;
    pair.a.plays(Script::ResetAfterBody);
    let keyed = post(ACME, "/", "precious").header("Idempotency-Key", "\"8e03978e\"");
    let answer = pair.gateway.send(&keyed).await;
    assert_eq!(answer.served_by(), "b");
    assert_eq!(answer.arrived("idempotency-key"), ["\"8e03978e\""]);
    assert_eq!((pair.a.count(), pair.b.only().body_length), (1, 8));
}

#[tokio::test]
async fn a_get_that_was_broken_off_before_its_answer_is_repeated() {
    let pair = Pair::start().await;
    pair.a.plays(Script::ResetAfterHead);
    let answer = pair.gateway.get(ACME, "/").await;
    assert_eq!(answer.served_by(), "b");
    assert_eq!(answer.arrived("x-stamp-home"), ["a"]);
}

#[tokio::test]
async fn a_put_that_was_broken_off_is_repeated_with_its_kept_body() {
    let pair = Pair::start().await;
    pair.a.plays(Script::ResetAfterBody);
    let request = Request::new("PUT", "/").header("Host", ACME).body(block(0, 60_000));
    let answer = pair.gateway.send(&request).await;
    assert_eq!(answer.served_by(), "b");
    let seen = pair.b.only();
    assert!(seen.body_length == 60_000 && seen.body_is_pattern);
}

#[tokio::test]
async fn a_put_whose_body_is_too_large_to_keep_is_not_repeated_and_not_refused_for_that() {
    let pair = Pair::start().await;
    let request = Request::new("PUT", "/").header("Host", ACME).body(block(0, 200_000));
    assert_eq!(pair.gateway.send(&request).await.json()["body_length"], 200_000);
    pair.a.plays(Script::ResetAfterBody);
    assert_eq!(pair.gateway.send(&request).await.status, 502);
    assert_eq!(pair.b.count(), 0);
}

#[tokio::test]
async fn a_pooled_connection_that_closes_under_a_get_loses_nothing() {
    let pair = Pair::on_one_worker().await;
    pair.a.plays(Script::CloseWhenReused);
    for count in 0..10 {
        let target = format!("/{count}");
        assert_eq!(pair.gateway.get(ACME, &target).await.json()["target"], target);
    }
}

#[tokio::test]
async fn a_post_whose_pooled_connection_closes_under_it_is_never_done_twice() {
    let pair = Pair::on_one_worker().await;
    pair.a.plays(Script::CloseWhenReused);
    assert_eq!(pair.gateway.get(ACME, "/").await.status, 200);
    let answer = pair.gateway.send(&post(ACME, "/", "precious")).await;
    assert_eq!(answer.status, 502, "{}", answer.text());
    assert_eq!(arrivals(&pair, "POST"), 1);
}

#[tokio::test]
async fn an_answer_that_has_begun_is_never_repeated() {
    let pair = Pair::start().await;
    pair.a.plays(Script::ResetMidBody);
    let told = pair.gateway.connect().await.try_exchange(&get(ACME, "/")).await;
    assert!(told.is_err(), "{told:?}");
    assert_eq!((pair.a.count(), pair.b.count()), (1, 0));
}

#[tokio::test]
async fn an_error_status_of_a_stamp_is_an_answer_and_not_repeated() {
    let pair = Pair::start().await;
    for status in [500, 502, 503, 504] {
        pair.a.plays_once(crate::harness::script::plain(status, "", "mine"));
        let answer = pair.gateway.get(ACME, "/").await;
        assert_eq!((answer.status, answer.text().as_str()), (status, "mine"));
    }
    assert_eq!(pair.b.count(), 0);
}

#[tokio::test]
async fn a_named_status_is_repeated_for_a_get_and_not_for_a_post() {
    let table = format!("[defaults.stamp.retry]\nstatuses = [503]\n{PAIR}");
    let pair = Pair::planned(&table, |plan| plan).await;
    pair.a.plays(crate::harness::script::plain(503, "", "mine"));
    let answer = pair.gateway.get(ACME, "/").await;
    assert_eq!(answer.served_by(), "b");
    assert_eq!((arrivals(&pair, "GET"), pair.a.count(), pair.b.count()), (2, 1, 1));
    let answer = pair.gateway.send(&post(ACME, "/", "precious")).await;
    assert_eq!((answer.status, answer.text().as_str()), (503, "mine"));
    assert_eq!(arrivals(&pair, "POST"), 1);
}

#[tokio::test]
async fn attempts_end_with_the_configured_number() {
    let pair = Pair::start().await;
    pair.a.plays(Script::ResetAfterHead);
    pair.b.plays(Script::ResetAfterHead);
    assert_eq!(pair.gateway.get(ACME, "/").await.status, 502);
    assert_eq!((pair.a.count(), pair.b.count()), (1, 1));
}

#[tokio::test]
async fn a_connection_reset_on_accept_loses_no_get() {
    let pair = Pair::start().await;
    pair.a.on_accept(OnAccept::Reset);
    for _ in 0..20 {
        assert_eq!(pair.gateway.get(ACME, "/").await.served_by(), "b");
    }
}

#[tokio::test]
async fn repeats_are_counted() {
    let pair = Pair::start().await;
    pair.a.plays_once(Script::ResetAfterHead);
    assert_eq!(pair.gateway.get(ACME, "/").await.served_by(), "b");
    assert!(pair.gateway.metric("stampgate_retries_total", &[]).await >= 1.0);
}

#[tokio::test]
async fn where_there_is_no_other_endpoint_the_same_one_is_asked_again() {
    let pair = Pair::planned(&pair_without_edge(), |plan| plan).await;
    pair.a.plays_once(Script::ResetAfterHead);
    assert_eq!(pair.gateway.get(ACME, "/").await.served_by(), "a");
    assert_eq!(pair.a.count(), 2);
}

#[tokio::test]
async fn a_post_that_reached_the_only_endpoint_is_not_sent_again() {
    let pair = Pair::planned(&pair_without_edge(), |plan| plan).await;
    pair.a.plays_once(Script::ResetAfterBody);
    pair.gateway.send(&post(ACME, "/", "x")).await.assert_problem(502, "upstream_protocol_error");
    assert_eq!(pair.a.count(), 1);
}

#[tokio::test]
async fn a_get_that_waits_goes_elsewhere_as_soon_as_its_endpoint_is_known_to_be_out() {
    let pair = Pair::start().await;
    pair.a.plays(Script::Hang);
    let mut client = pair.gateway.connect().await;
    client.send(get(ACME, "/").bytes()).await;
    pair.a.reached_by(1).await;
    pair.a.fails_probes();
    // Long before `response_headers`, which is longer than any wait of the suite.
    assert_eq!(client.answer().await.served_by(), "b");
    let reason = [("reason", "endpoint_out")];
    assert!(pair.gateway.metric("stampgate_retries_total", &reason).await > 0.5);
}

#[tokio::test]
async fn a_post_that_waits_stays_with_its_endpoint_though_it_is_known_to_be_out() {
    let pair = Pair::start().await;
    let gate = Gate::closed();
    pair.a.plays(gate.before(Script::Echo));
    let mut client = pair.gateway.connect().await;
    client.send(post(ACME, "/", "precious").bytes()).await;
    pair.a.reached_by(1).await;
    pair.a.fails_probes();
    pair.gateway.serves(ACME, "b").await;
    gate.open();
    assert_eq!(client.answer().await.served_by(), "a");
    assert_eq!(arrivals(&pair, "POST"), 1);
}

#[tokio::test]
async fn a_home_whose_endpoints_all_fail_at_once_costs_no_get() {
    let (mut first, mut second) = (Stamp::start("a").await, Stamp::start("c").await);
    let b = Stamp::start("b").await;
    let both = "{ url = \"http://{stamp_a}\" }, { url = \"http://{stamp_c}\" }";
    let table = PAIR.replace("{ url = \"http://{stamp_a}\" }", both);
    let gateway = Plan::new(&table, &[&first, &second, &b]).start().await;
    assert_eq!(gateway.get(ACME, "/").await.status, 200);
    first.kill().await;
    second.kill().await;
    assert_eq!(gateway.get(ACME, "/").await.served_by(), "b", "two attempts are for home alone");
}
