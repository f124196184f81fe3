//! Stamps that break the protocol: a clear 502, and the connection is never used again.

use crate::harness::gateway::Plan;
use crate::harness::http1::{Broken, Request, get};
use crate::harness::scene::{ACME, Pair, pair_with, pair_without_edge};
use crate::harness::script::{Gate, Script, plain};
use crate::harness::stamp::Stamp;
use crate::harness::tls::Authority;

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
        "HTTP/1.1 200 OK\r\nContent-Length: +2\r\n\r\nok",
        "HTTP/1.1 200 OK\r\nContent-Length: 2, 2\r\n\r\nok",
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\nok",
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\nHTTP/1.1 200 OK\r\n\r\n",
        "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\nContent-Length: 2\n\nok",
        "HTTP/1.1 200 OK\r\nX-A: b\nContent-Length: 2\r\n\r\nok",
        "HTTP/1.1 200 OK\r\nX-A: b\rX-C: d\r\nContent-Length: 2\r\n\r\nok",
        "HTTP/1.1 200 OK\r\nX-A: b\r\n c\r\nContent-Length: 2\r\n\r\nok",
        "\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
        "HTTP/1.1 999 Odd\r\nContent-Length: 2\r\n\r\nok",
        "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nevil",
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

/// A stamp says "evil" over connections at rest, and nobody hears it. The runtime of a worker hears of bytes
/// when it asks the kernel, which it may not have done when the next request comes: so there are many rounds.
async fn whispers_at_rest(pair: &Pair) {
    let good = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
    let evil = "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil";
    for round in 1..=50 {
        let gate = Gate::closed();
        pair.a.plays_once(Script::RawAndLater(good.into(), gate.clone(), evil.into()));
        assert_eq!(pair.gateway.get(ACME, "/").await.text(), "ok");
        gate.open();
        pair.a.said_later(round).await;
        assert_eq!(pair.gateway.get(ACME, "/").await.json()["target"], "/");
    }
    assert_eq!(pair.a.connections(), 51, "each of them is left");
}

#[tokio::test]
async fn bytes_on_a_resting_connection_never_reach_the_next_client() {
    whispers_at_rest(&alone().await).await;
}

#[tokio::test]
async fn bytes_on_a_resting_tls_connection_never_reach_the_next_client() {
    let authority = Authority::new();
    let (a, b) = (Stamp::start("a").await, Stamp::start("b").await);
    a.presents(authority.issues("127.0.0.1").served());
    let table = pair_without_edge()
        .replace("id = \"a\"\n", "id = \"a\"\ntls = { ca = \"ca.crt\" }\n")
        .replace("http://{stamp_a}", "https://{stamp_a}");
    let plan = Plan::new(&table, &[&a, &b]).file("ca.crt", &authority.pem);
    let gateway = plan.set("runtime", "workers", "1").start().await;
    whispers_at_rest(&Pair { a, b, gateway }).await;
}

#[tokio::test]
async fn a_flood_of_interim_answers_is_a_protocol_error_and_a_few_are_not() {
    let pair = alone().await;
    let hint = "HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n";
    let good = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
    pair.a.plays_once(Script::Raw(format!("{}{good}", hint.repeat(16)).into()));
    assert_eq!(pair.gateway.get(ACME, "/").await.text(), "ok");
    pair.a.plays(Script::Raw(format!("{}{good}", hint.repeat(17)).into()));
    pair.gateway.get(ACME, "/").await.assert_problem(502, "upstream_protocol_error");
}

#[tokio::test]
async fn an_answer_head_of_too_many_fields_is_a_protocol_error() {
    let pair = alone().await;
    let fields = "X-F: y\r\n".repeat(201);
    let raw = format!("HTTP/1.1 200 OK\r\n{fields}Content-Length: 2\r\n\r\nok");
    pair.a.plays(Script::Raw(raw.into()));
    pair.gateway.get(ACME, "/").await.assert_problem(502, "upstream_protocol_error");
}

#[tokio::test]
async fn an_answer_that_has_no_body_and_sends_one_never_reaches_the_next_client() {
    let pair = alone().await;
    let evil = "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil";
    for (wanted, head) in [(204, "204 No Content"), (304, "304 Not Modified")] {
        pair.a.plays_once(Script::Raw(format!("HTTP/1.1 {head}\r\n\r\n{evil}").into()));
        assert_eq!(pair.gateway.get(ACME, "/").await.status, wanted);
        assert_eq!(pair.gateway.get(ACME, "/2").await.json()["target"], "/2");
    }
}

#[tokio::test]
async fn an_early_answer_frees_its_place_though_its_client_still_sends() {
    let table = pair_with("pool = { max_connections = 1, pending_timeout = \"10s\" }");
    // Nothing else may end what its client sends.
    let patient = |plan: Plan| {
        let plan = plan.set("limits", "min_bytes_per_second", "0");
        plan.set("timeouts", "request_body_idle", "\"1h\"").set("runtime", "workers", "1")
    };
    let pair = Pair::planned(&table, patient).await;
    let early = "HTTP/1.1 401 Unauthorized\r\nContent-Length: 2\r\n\r\nno";
    pair.a.plays_once(Script::RawUnread(early.into()));
    let mut client = pair.gateway.connect().await;
    let head = Request::new("POST", "/").header("Host", ACME);
    client.send(head.header("Content-Length", "1000000").bytes()).await;
    assert_eq!(client.answer().await.status, 401);
    // Its body has not come, and could for long.
    assert_eq!(pair.gateway.get(ACME, "/").await.served_by(), "a");
    pair.a.left_by(1).await;
    drop(client);
}

#[tokio::test]
async fn an_answer_before_its_request_was_sent_is_relayed_and_its_connection_left() {
    let pair = alone().await;
    let early = "HTTP/1.1 401 Unauthorized\r\nContent-Length: 2\r\n\r\nno";
    pair.a.plays_once(Script::RawUnread(early.into()));
    let mut client = pair.gateway.connect().await;
    let head = Request::new("POST", "/").header("Host", ACME);
    client.send(head.header("Content-Length", "8").bytes()).await;
    let answer = client.try_answer().await.unwrap();
    assert_eq!((answer.status, answer.text()), (401, "no".into()));
    pair.gateway.serves(ACME, "a").await;
    assert_eq!(pair.a.connections(), 2, "the connection of the early answer was used again");
}

#[tokio::test]
async fn an_answer_to_head_with_a_body_never_reaches_the_next_client() {
    let pair = alone().await;
    pair.a.plays_once(plain(200, "", "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil"));
    let head = Request::new("HEAD", "/").header("Host", ACME);
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
async fn a_bad_chunk_in_an_answer_that_has_begun_is_visibly_cut() {
    let pair = alone().await;
    let gate = Gate::closed();
    let good = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n";
    pair.a.plays_once(Script::RawAndLater(good.into(), gate.clone(), b"xyz\r\n".into()));
    let mut client = pair.gateway.connect().await;
    client.send(get(ACME, "/").bytes()).await;
    assert_eq!(client.head().await.status().unwrap(), 200);
    assert_eq!(client.chunk().await, Some(b"ok".into()));
    gate.open();
    let told = client.ended().await;
    assert!(told.as_ref().map_or(true, |rest| !rest.ends_with(b"0\r\n\r\n")), "{told:?}");
    pair.gateway.serves(ACME, "a").await;
    assert_eq!(pair.a.connections(), 2);
}

#[tokio::test]
async fn chunks_that_others_could_read_differently_are_visibly_cut() {
    for chunks in [
        "2\nok\r\n0\r\n\r\n",
        "2;\nok\r\n0\r\n\r\n",
        "0x2\r\nok\r\n0\r\n\r\n",
        "+2\r\nok\r\n0\r\n\r\n",
        "2 \r\nok\r\n0\r\n\r\n",
        "2\r\nok0\r\n\r\n",
        "10000000000000002\r\nok\r\n0\r\n\r\n",
        "2\r\nok\r\n0\r\nX: a\nY: b\r\n\r\n",
        &format!("2;{}\r\nok\r\n0\r\n\r\n", "x".repeat(9 * 1024)),
        &format!("2\r\nok\r\n0\r\n{}\r\n", "X: y\r\n".repeat(3000)),
    ] {
        let pair = alone().await;
        let raw = format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{chunks}");
        pair.a.plays(Script::Raw(raw.into()));
        let told = pair.gateway.connect().await.try_exchange(&get(ACME, "/")).await;
        let is_cut = told.as_ref().map_or(true, |answer| answer.status == 502);
        assert!(is_cut, "{chunks:?}: {told:?}");
        let broken = pair.a.connections();
        pair.a.plays(Script::Echo);
        pair.gateway.serves(ACME, "a").await;
        assert!(pair.a.connections() > broken, "{chunks:?}: the connection was used again");
    }
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
        let head = Request::new("POST", "/").header("Host", ACME);
        client.send(head.header("Transfer-Encoding", "chunked").bytes()).await;
        client.send("2\r\nok\r\nxyz\r\n").await;
        if let Ok(answer) = client.try_answer().await {
            assert_eq!(answer.status, 400, "{}", answer.text());
        }
    }
    assert!(pair.a.seen().iter().all(|seen| !seen.complete), "a broken body must not look whole");
    assert_eq!(pair.gateway.get(ACME, "/").await.served_by(), "a");
}
