//! Stamps that break the protocol: a clear 502, and the connection is never used again.

use crate::harness::http1::{Broken, get};
use crate::harness::scene::{ACME, Pair, pair_without_edge};
use crate::harness::script::{Script, plain};

/// One worker, so that connections to a can be counted; a has no way out.
async fn alone() -> Pair {
    let table = pair_without_edge();
    Pair::planned(&table, |plan| plan.set("runtime", "workers", "1")).await
}

#[tokio::test]
async fn an_answer_that_is_no_http_is_a_protocol_error() {
    for raw in [
        "garbage\r\n\r\n",
        "HTTP/1.1 2000 OK\r\n\r\n",
        "HTTP/1.1 xyz OK\r\n\r\n",
        "HTTP/1.1 200 OK\r\nno colon here\r\n\r\n",
        "HTTP/1.1 200 OK\r\nBad Name: 1\r\nContent-Length: 0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nX-Nul: a\0b\r\nContent-Length: 0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nxy",
        "HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: many\r\n\r\n",
    ] {
        let pair = alone().await;
        pair.a.plays(Script::Raw(raw.into()));
        let answer = pair.gateway.get(ACME, "/").await;
        assert_eq!(answer.status, 502, "{raw:?}: {}", answer.text());
        answer.assert_problem(502, "upstream_protocol_error");
        let broken = pair.a.connections();
        pair.a.plays(Script::Echo);
        pair.gateway.serves(ACME, "a").await;
        assert!(pair.a.connections() > broken, "{raw:?}: the connection was used again");
    }
}

#[tokio::test]
async fn an_answer_head_without_end_is_a_protocol_error() {
    let pair = alone().await;
    let mut raw = b"HTTP/1.1 200 OK\r\n".to_vec();
    for _ in 0..2000 {
        raw.extend(format!("X-Filler: {}\r\n", "x".repeat(1000)).bytes());
    }
    pair.a.plays(Script::RawAndClose(raw));
    pair.gateway.get(ACME, "/").await.assert_problem(502, "upstream_protocol_error");
}

#[tokio::test]
async fn bytes_after_an_answer_never_reach_the_next_client() {
    let pair = alone().await;
    let raw = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok\
               HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil";
    pair.a.plays_once(Script::Raw(raw.into()));
    assert_eq!(pair.gateway.get(ACME, "/1").await.text(), "ok");
    for target in ["/2", "/3"] {
        assert_eq!(pair.gateway.get(ACME, target).await.json()["target"], target);
    }
    assert_eq!(pair.a.connections(), 2, "the connection with bytes left over was used again");
}

#[tokio::test]
async fn an_answer_to_head_with_a_body_never_reaches_the_next_client() {
    let pair = alone().await;
    pair.a.plays_once(plain(200, "", "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil"));
    let head = crate::harness::http1::Request::new("HEAD", "/").header("Host", ACME);
    assert_eq!(pair.gateway.send(&head).await.status, 200);
    assert_eq!(pair.gateway.get(ACME, "/2").await.json()["target"], "/2");
}

#[tokio::test]
async fn an_answer_cut_before_its_length_is_visibly_cut() {
    let pair = alone().await;
    for script in [
        Script::RawAndClose(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nshort".into()),
        Script::RawAndClose(
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nshort\r\n".into(),
        ),
        Script::ResetMidBody,
    ] {
        pair.a.plays_once(script);
        let told = pair.gateway.connect().await.try_exchange(&get(ACME, "/")).await;
        assert!(matches!(told, Err(Broken::Cut | Broken::Failed(_))), "{told:?}");
    }
    pair.gateway.serves(ACME, "a").await;
}

#[tokio::test]
async fn a_bad_chunk_in_an_answer_is_visibly_cut() {
    let pair = alone().await;
    let raw = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\nxyz\r\n";
    pair.a.plays_once(Script::Raw(raw.into()));
    let told = pair.gateway.connect().await.try_exchange(&get(ACME, "/")).await;
    assert!(told.is_err(), "{told:?}");
    pair.gateway.serves(ACME, "a").await;
    assert_eq!(pair.a.connections(), 2);
}

#[tokio::test]
async fn an_answer_that_closes_early_does_not_cut_the_next_request() {
    let pair = alone().await;
    let raw = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
    pair.a.plays(Script::RawAndClose(raw.into()));
    for _ in 0..10 {
        assert_eq!(pair.gateway.get(ACME, "/").await.text(), "ok");
    }
}

#[tokio::test]
async fn a_client_that_breaks_its_body_is_no_failure_of_the_stamp() {
    let pair = alone().await;
    for _ in 0..10 {
        let mut client = pair.gateway.connect().await;
        let head = crate::harness::http1::Request::new("POST", "/").header("Host", ACME);
        client.send(head.header("Transfer-Encoding", "chunked").bytes()).await;
        client.send("2\r\nok\r\nxyz\r\n").await;
        if let Ok(answer) = client.try_answer().await {
            assert_eq!(answer.status, 400, "{}", answer.text());
        }
    }
    assert!(pair.a.seen().iter().all(|seen| !seen.complete), "a broken body must not look whole");
    assert_eq!(pair.gateway.get(ACME, "/").await.served_by(), "a");
}
