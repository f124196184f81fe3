//! A connection has so many requests and no more; none of them is lost.

use crate::connections::upgrade;
use crate::harness::http1::{Broken, get};
use crate::harness::http2::Http2;
use crate::harness::scene::{ACME, PAIR, Pair};
use crate::harness::script::{Gate, Script};
use crate::http2::pair_with;

const KEY: &str = "requests_per_connection";

async fn pair_of(requests: &str) -> Pair {
    Pair::planned(PAIR, |plan| plan.set("limits", KEY, requests)).await
}

#[tokio::test]
async fn the_last_answer_says_so_and_the_connection_ends_as_it_should() {
    let pair = pair_of("3").await;
    // An answer of the gateway's own may be there before anybody looks again.
    for last in [ACME, "nobody.app.test"] {
        let mut client = pair.gateway.connect().await;
        for _ in 0..2 {
            let answer = client.exchange(&get(ACME, "/")).await;
            assert_eq!((answer.status, answer.header("connection")), (200, None));
        }
        let answer = client.exchange(&get(last, "/")).await;
        assert_eq!(answer.header("connection"), Some("close"), "{}", answer.text());
        assert_eq!(client.ended().await.unwrap(), b"");
    }
}

#[tokio::test]
async fn requests_that_were_sent_ahead_of_the_last_answer_reach_no_stamp() {
    let pair = pair_of("2").await;
    let mut client = pair.gateway.connect().await;
    client.send(get(ACME, "/").bytes().repeat(4)).await;
    assert_eq!(client.answer().await.header("connection"), None);
    assert_eq!(client.answer().await.header("connection"), Some("close"));
    let end = client.ended().await;
    assert!(matches!(end.as_deref(), Ok(b"") | Err(Broken::Failed(_))), "{end:?}");
    assert_eq!(pair.a.count(), 2);
}

#[tokio::test]
async fn a_tunnel_that_the_last_request_opened_goes_on() {
    let pair = pair_of("1").await;
    pair.a.plays(Script::Upgrade);
    let mut client = pair.gateway.connect().await;
    client.send(upgrade(ACME).bytes()).await;
    let head = client.head().await;
    assert_eq!(head.status().unwrap(), 101);
    assert_eq!(head.header("connection").map(str::to_ascii_lowercase).as_deref(), Some("upgrade"));
    client.send("hello").await;
    assert_eq!(client.exactly(5).await, b"hello");
}

#[tokio::test]
async fn without_a_limit_a_connection_goes_on_and_a_reload_sets_one() {
    let pair = pair_of("0").await;
    let mut client = pair.gateway.connect().await;
    for _ in 0..20 {
        assert_eq!(client.exchange(&get(ACME, "/")).await.header("connection"), None);
    }
    pair.gateway.reconfigure(&format!("{KEY} = 0"), &format!("{KEY} = 1")).await;
    assert_eq!(client.exchange(&get(ACME, "/")).await.header("connection"), Some("close"));
    assert_eq!(client.ended().await.unwrap(), b"");
}

#[tokio::test]
async fn a_connection_of_http_2_is_told_and_loses_no_stream() {
    let pair = pair_with(&[("limits", KEY, "2")]).await;
    let gate = Gate::closed();
    pair.a.plays(gate.before(Script::Echo));
    let mut client = Http2::connect(pair.gateway.data).await;
    let first = client.get(ACME, "/1", &[]).await;
    pair.a.reached_by(1).await;
    let second = client.get(ACME, "/2", &[]).await;
    pair.a.reached_by(2).await;
    // The client has not read yet that there may be no more.
    let third = client.get(ACME, "/3", &[]).await;
    pair.a.reached_by(3).await;
    assert_eq!(client.goaway().await, 0, "NO_ERROR");
    gate.open();
    for (stream, target) in [(first, "/1"), (second, "/2"), (third, "/3")] {
        assert_eq!(client.answer(stream).await.json()["target"], target);
    }
    assert_eq!(client.closed().await, Some(0));
    assert_eq!(pair.a.count(), 3);
}

#[tokio::test]
async fn a_connection_of_http_2_below_the_limit_is_not_told() {
    let pair = pair_with(&[("limits", KEY, "3")]).await;
    let mut client = Http2::connect(pair.gateway.data).await;
    for _ in 0..2 {
        assert_eq!(client.exchange(ACME, "/").await.served_by(), "a");
    }
    client.ping().await;
    assert!(!client.is_told());
    assert_eq!(client.exchange(ACME, "/").await.served_by(), "a");
    assert_eq!(client.closed().await, Some(0));
}
