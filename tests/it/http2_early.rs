//! Over HTTP/2, answers that are there before their request is: for a moment they wait for the rest of it, so that
//! what is malformed is refused, however fast the answer was.

use std::time::Duration;

use tokio::time::Instant;

use crate::harness::http2::{
    DATA, END_HEADERS, END_STREAM, Ended, Frame, HEADERS, Http2, PROTOCOL_ERROR, block, request,
};
use crate::harness::scene::{ACME, PAIR, Pair};
use crate::harness::script::Script;
use crate::http2::pair;

/// Who sends the rest of a request later than this says nothing of this rule.
const IN_TIME: Duration = Duration::from_millis(25);
/// So often a client tries to be in time.
const TRIES: usize = 100;

const EARLY: &str = "HTTP/1.1 401 Unauthorized\r\nContent-Length: 2\r\n\r\nno";

/// Begins a request, and when its answer is there sends this as the rest of it.
async fn rest_after_answer(pair: &Pair, host: &str, rest: &Frame) -> Ended {
    for _ in 0..TRIES {
        let mut client = Http2::connect(pair.gateway.data).await;
        client.ping().await;
        pair.a.plays_once(Script::RawUnread(EARLY.into()));
        let reached = pair.a.count();
        let began = Instant::now();
        let fields = [&request("POST", host, "/")[..], &[("content-length", "4")]].concat();
        let stream = client.open(0, &fields).await;
        if host == ACME {
            pair.a.reached_by(reached + 1).await;
        }
        // What came before this is done when it is answered.
        client.ping().await;
        client.send(&Frame { stream, ..rest.clone() }).await;
        if began.elapsed() < IN_TIME {
            return client.ended(stream).await;
        }
    }
    panic!("the rest was never sent in time");
}

#[tokio::test]
async fn a_malformed_rest_is_refused_though_the_answer_was_there() {
    let pair = pair().await;
    let trailers = |flags, field| Frame::new(HEADERS, flags, 0, block(&[(field, "x")]));
    let malformed = [
        ("trailers that do not end the stream", trailers(END_HEADERS, "x-trailer")),
        ("a pseudo-field in trailers", trailers(END_HEADERS | END_STREAM, ":method")),
        ("a body that is too short", Frame::new(DATA, END_STREAM, 0, *b"abc")),
        ("a body that is too long", Frame::new(DATA, END_STREAM, 0, *b"abcde")),
    ];
    for (name, rest) in &malformed {
        for host in [ACME, "nobody.test"] {
            let ended = rest_after_answer(&pair, host, rest).await;
            assert!(matches!(ended, Ended::Reset(PROTOCOL_ERROR)), "{name} to {host}: {ended:?}");
        }
    }
}

#[tokio::test]
async fn an_early_answer_is_given_when_the_rest_has_come() {
    let pair = pair().await;
    let rest = Frame::new(DATA, END_STREAM, 0, *b"abcd");
    for (host, status) in [(ACME, 401), ("nobody.test", 400)] {
        match rest_after_answer(&pair, host, &rest).await {
            Ended::Answered(answer) => assert_eq!(answer.status, status),
            other @ (Ended::Reset(_) | Ended::Closed(_)) => panic!("{host}: {other:?}"),
        }
    }
}

#[tokio::test]
async fn an_early_answer_is_given_though_the_rest_never_comes() {
    let pair = pair().await;
    pair.a.plays_once(Script::RawUnread(EARLY.into()));
    let mut client = Http2::connect(pair.gateway.data).await;
    for (host, status) in [(ACME, 401), ("nobody.test", 400)] {
        let stream = client.open(0, &request("POST", host, "/")).await;
        assert_eq!(client.status(stream).await, status, "{host}");
    }
}

#[tokio::test]
async fn a_refusal_does_not_wait_for_what_is_there() {
    let table = PAIR.replace("acme = \"a\"", "acme = { stamp = \"a\", tier = \"t\" }");
    let table = format!("{table}[tier.t]\nmax_in_flight = 1\n");
    let pair = Pair::planned(&table, |plan| plan.set("listener", "protocols", r#"["h2c"]"#)).await;
    pair.a.plays(Script::Hang);
    let mut client = Http2::connect(pair.gateway.data).await;
    client.get(ACME, "/", &[]).await;
    pair.a.reached_by(1).await;
    for _ in 0..TRIES {
        let began = Instant::now();
        let stream = client.post(ACME, "/", b"whole").await;
        client.answer(stream).await.assert_problem(429, "tenant_saturated");
        if began.elapsed() < IN_TIME {
            return;
        }
    }
    panic!("each refusal took longer than {IN_TIME:?}");
}
