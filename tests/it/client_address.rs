//! The client's address behind proxies: `Forwarded` and `X-Forwarded-For`, read from the right over
//! trusted hops, and sent on well-formed.

use crate::harness::client::Answer;
use crate::harness::deadline::eventually;
use crate::harness::http1::get;
use crate::harness::scene::{ACME, PAIR, Pair};

/// The usual scene, where our peer and all of 10.0.0.0/8 are trusted proxies.
async fn behind_proxies() -> Pair {
    let proxies = "[\"127.0.0.1\", \"10.0.0.0/8\"]";
    Pair::planned(PAIR, |plan| plan.set("trust", "proxies", proxies)).await
}

/// Sends a request with these lines and checks whom the access log names.
async fn told(pair: &Pair, path: &str, lines: &[(&str, &str)], client: &str) -> Answer {
    let mut request = get(ACME, path);
    for (name, value) in lines {
        request = request.header(name, value);
    }
    let answer = pair.gateway.send(&request).await;
    let (path, client) =
        (format!("\"url.path\":\"{path}\""), format!("\"client.address\":\"{client}\""));
    eventually("the line of the access log", async || {
        let log = pair.gateway.log();
        let line = log.lines().find(|line| line.contains(&path))?;
        assert!(line.contains(&client), "{client}: {line}");
        Some(())
    })
    .await;
    answer
}

#[tokio::test]
async fn either_field_tells_the_client_over_trusted_hops() {
    let pair = behind_proxies().await;
    let list = [("X-Forwarded-For", "6.6.6.6, 192.0.2.7:4711, 10.0.0.2")];
    told(&pair, "/list", &list, "192.0.2.7").await;
    let elements =
        [("Forwarded", "for=6.6.6.6, for=\"[2001:db8::7]:80\", For=10.0.0.2;proto=https")];
    told(&pair, "/elements", &elements, "2001:db8::7").await;
    told(&pair, "/none", &[], "127.0.0.1").await;
}

#[tokio::test]
async fn two_fields_that_disagree_are_believed_as_far_as_they_agree() {
    let pair = behind_proxies().await;
    let lines =
        [("Forwarded", "for=6.6.6.6, for=10.0.0.2"), ("X-Forwarded-For", "192.0.2.7, 10.0.0.2")];
    told(&pair, "/", &lines, "10.0.0.2").await;
}

#[tokio::test]
async fn a_request_that_is_refused_is_logged_with_its_client_too() {
    let pair = behind_proxies().await;
    let request =
        get("nobody.app.test", "/refused").header("X-Forwarded-For", "192.0.2.7").header("A", "b");
    pair.gateway.send(&request).await.assert_problem(404, "unknown_tenant");
    eventually("the line of the access log", async || {
        let log = pair.gateway.log();
        let line = log.lines().find(|line| line.contains("\"/refused\""))?;
        assert!(line.contains("\"client.address\":\"192.0.2.7\""), "{line}");
        Some(())
    })
    .await;
}

#[tokio::test]
async fn a_hidden_client_stays_hidden() {
    let pair = behind_proxies().await;
    let lines = [("Forwarded", "for=192.0.2.7, for=_hidden, for=10.0.0.2")];
    let answer = told(&pair, "/", &lines, "10.0.0.2").await;
    let sent = format!(
        "for=192.0.2.7, for=_hidden, for=10.0.0.2, for=127.0.0.1;host=\"{ACME}\";proto=http"
    );
    assert_eq!(answer.arrived("forwarded"), [sent]);
    assert_eq!(answer.arrived("x-forwarded-for"), ["192.0.2.7, unknown, 10.0.0.2, 127.0.0.1"]);
}

#[tokio::test]
async fn several_lines_become_one_list() {
    let pair = behind_proxies().await;
    let lines = [("X-Forwarded-For", "192.0.2.7"), ("x-forwarded-for", "10.0.0.3,,10.0.0.2")];
    let answer = told(&pair, "/", &lines, "192.0.2.7").await;
    assert_eq!(answer.arrived("x-forwarded-for"), ["192.0.2.7, 10.0.0.3, 10.0.0.2, 127.0.0.1"]);
    let own = format!("for=127.0.0.1;host=\"{ACME}\";proto=http");
    let forwarded = format!("for=192.0.2.7, for=10.0.0.3, for=10.0.0.2, {own}");
    assert_eq!(answer.arrived("forwarded"), [forwarded]);
}

#[tokio::test]
async fn what_stands_left_of_garbage_is_neither_believed_nor_sent_on() {
    let pair = behind_proxies().await;
    let lines = [("X-Forwarded-For", "6.6.6.6, ' OR 1=1 --, 192.0.2.7")];
    let answer = told(&pair, "/list", &lines, "192.0.2.7").await;
    assert_eq!(answer.arrived("x-forwarded-for"), ["192.0.2.7, 127.0.0.1"]);
    let lines = [("Forwarded", "for=6.6.6.6, for=\"x, for=192.0.2.7")];
    let answer = told(&pair, "/elements", &lines, "192.0.2.7").await;
    let own = format!("for=127.0.0.1;host=\"{ACME}\";proto=http");
    assert_eq!(answer.arrived("forwarded"), [format!("for=192.0.2.7, {own}")]);
}

#[tokio::test]
async fn who_is_not_trusted_tells_nothing() {
    let pair = Pair::start().await;
    let lines = [("X-Forwarded-For", "192.0.2.7"), ("Forwarded", "for=192.0.2.7")];
    let answer = told(&pair, "/", &lines, "127.0.0.1").await;
    assert_eq!(answer.arrived("x-forwarded-for"), ["127.0.0.1"]);
}
