//! The harness itself: the raw client and the fake stamp agree before a gateway stands between.

use crate::harness::client::Client;
use crate::harness::http1::{Broken, Request, get, post};
use crate::harness::script::{Gate, Script, block, feed, plain};
use crate::harness::stamp::{OnAccept, Stamp};
use crate::harness::token::{Key, claims, jwks};

#[tokio::test]
async fn an_echo_tells_what_arrived() {
    let stamp = Stamp::start("a").await;
    let mut client = Client::connect(stamp.address).await;
    let answer = client.exchange(&post("x.test", "/p?q=1", "hello").header("X-One", "1")).await;
    assert_eq!(answer.served_by(), "a");
    assert_eq!(answer.arrived("x-one"), ["1"]);
    let seen = stamp.only();
    assert_eq!(
        (seen.method(), seen.target(), seen.body.as_slice()),
        ("POST", "/p?q=1", &b"hello"[..])
    );
    assert!(seen.complete);
}

#[tokio::test]
async fn a_killed_stamp_refuses_and_a_revived_one_serves_on_the_same_port() {
    let mut stamp = Stamp::start("a").await;
    let mut client = Client::connect(stamp.address).await;
    client.exchange(&get("x.test", "/")).await;
    stamp.kill().await;
    assert!(client.closed().await.is_empty());
    assert!(Client::try_connect(stamp.address).await.is_err());
    stamp.revive();
    let answer = Client::connect(stamp.address).await.exchange(&get("x.test", "/")).await;
    assert_eq!(answer.served_by(), "a");
}

#[tokio::test]
async fn resets_and_cuts_are_told_apart() {
    let stamp = Stamp::start("a").await;
    for (script, cut) in [
        (Script::ResetAfterHead, false),
        (Script::ResetAfterBody, false),
        (Script::ResetMidBody, false),
        (Script::RawAndClose(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nshort".into()), true),
    ] {
        stamp.plays(script);
        let mut client = Client::connect(stamp.address).await;
        let broken = client.try_exchange(&get("x.test", "/")).await.unwrap_err();
        assert_eq!(matches!(broken, Broken::Cut), cut, "{broken:?}");
    }
    stamp.on_accept(OnAccept::Reset);
    let mut client = Client::connect(stamp.address).await;
    assert!(client.try_exchange(&get("x.test", "/")).await.is_err());
}

#[tokio::test]
async fn a_gate_holds_an_answer_back_until_it_opens() {
    let stamp = Stamp::start("a").await;
    let gate = Gate::closed();
    stamp.plays_once(gate.before(plain(200, "", "late")));
    let mut client = Client::connect(stamp.address).await;
    client.send(get("x.test", "/").bytes()).await;
    stamp.reached_by(1).await;
    gate.open();
    assert_eq!(client.answer().await.text(), "late");
}

#[tokio::test]
async fn a_stream_is_driven_chunk_by_chunk() {
    let stamp = Stamp::start("a").await;
    let (events, script) = feed();
    stamp.plays(Script::Stream(script));
    let mut client = Client::connect(stamp.address).await;
    client.send(get("x.test", "/").bytes()).await;
    assert_eq!(client.head().await.status().unwrap(), 200);
    for text in ["one", "two"] {
        events.send(text.into()).unwrap();
        assert_eq!(client.chunk().await.unwrap(), text.as_bytes());
    }
    drop(events);
    assert_eq!(client.chunk().await, None);
}

#[tokio::test]
async fn an_upgraded_connection_echoes() {
    let stamp = Stamp::start("a").await;
    stamp.plays(Script::Upgrade);
    let mut client = Client::connect(stamp.address).await;
    client.send(get("x.test", "/").bytes()).await;
    assert_eq!(client.head().await.status().unwrap(), 101);
    client.send("ping").await;
    assert_eq!(client.exactly(4).await, b"ping");
}

#[tokio::test]
async fn bodies_are_checked_against_the_pattern() {
    let stamp = Stamp::start("a").await;
    let mut client = Client::connect(stamp.address).await;
    client.exchange(&post("x.test", "/", block(0, 100_000))).await;
    client.exchange(&post("x.test", "/", block(1, 100_000))).await;
    let seen = stamp.seen();
    assert_eq!((seen[0].body_length, seen[1].body_length), (100_000, 100_000));
    assert!(seen[0].body_is_pattern && !seen[1].body_is_pattern);
    stamp.plays(Script::Download(100_000));
    assert_eq!(client.exchange(&get("x.test", "/")).await.body, block(0, 100_000));
}

#[tokio::test]
async fn probes_are_answered_by_health_and_not_recorded() {
    let stamp = Stamp::start("a").await;
    let mut client = Client::connect(stamp.address).await;
    assert_eq!(client.exchange(&get("x.test", "/healthz")).await.status, 200);
    stamp.fails_probes();
    assert_eq!(client.exchange(&get("x.test", "/healthz")).await.status, 503);
    assert_eq!((stamp.count(), stamp.probes()), (0, 2));
}

#[tokio::test]
async fn an_expected_continue_is_given() {
    let stamp = Stamp::start("a").await;
    let mut client = Client::connect(stamp.address).await;
    let request = Request::new("POST", "/").header("Expect", "100-continue");
    client.send(request.header("Content-Length", "2").bytes()).await;
    assert_eq!(client.head().await.status().unwrap(), 100);
    client.send("hi").await;
    assert_eq!(client.answer().await.json()["body"], "hi");
}

#[test]
fn tokens_have_three_parts_and_keys_are_published_without_their_secret() {
    for algorithm in ["RS256", "PS256", "ES256", "EdDSA"] {
        let key = Key::new(algorithm, "k1");
        assert_eq!(key.sign(&claims("acme")).split('.').count(), 3);
        assert!(key.public_pem().starts_with("-----BEGIN PUBLIC KEY-----\n"));
        let published = jwks(&[&key]);
        assert!(published.contains("\"kid\":\"k1\"") && !published.contains("\"d\":"));
    }
}
