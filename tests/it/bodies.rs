//! Bodies of every kind stream through, both ways, and hold nothing back but what must wait.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::harness::deadline::{settled, within};
use crate::harness::http1::{Request, get, post};
use crate::harness::scene::{ACME, PAIR, Pair};
use crate::harness::script::{Gate, Script, block, feed};

const MIB: u64 = 1 << 20;
const LARGE: u64 = 64 * MIB;
/// What the gateway may need beyond its memory at rest to pass a body of any size.
const GROWTH_MAX: u64 = 16 * MIB;

async fn without_a_body_limit() -> Pair {
    Pair::planned(PAIR, |plan| plan.set("limits", "request_body_bytes", "\"256MiB\"")).await
}

#[tokio::test]
async fn a_large_upload_arrives_whole_without_being_held() {
    let pair = without_a_body_limit().await;
    assert_eq!(pair.gateway.get(ACME, "/warm").await.status, 200);
    let rest = pair.gateway.memory("VmHWM");
    let mut client = pair.gateway.connect().await;
    let head = Request::new("PUT", "/up").header("Host", ACME);
    client.send(head.header("Content-Length", &LARGE.to_string()).bytes()).await;
    let mut sent = 0;
    while sent < LARGE {
        let next = block(sent, usize::try_from((LARGE - sent).min(251 << 10)).unwrap());
        client.send(&next).await;
        sent += u64::try_from(next.len()).unwrap();
    }
    assert_eq!(client.answer().await.json()["body_length"], LARGE);
    let seen = pair.a.seen().pop().unwrap();
    assert!(seen.complete && seen.body_is_pattern);
    let grown = pair.gateway.memory("VmHWM").saturating_sub(rest);
    assert!(grown < GROWTH_MAX, "{} MiB more", grown / MIB);
}

#[tokio::test]
async fn a_large_download_arrives_whole_without_being_held() {
    let pair = Pair::start().await;
    assert_eq!(pair.gateway.get(ACME, "/warm").await.status, 200);
    let rest = pair.gateway.memory("VmHWM");
    pair.a.plays(Script::Download(LARGE));
    let mut client = pair.gateway.connect().await;
    client.send(get(ACME, "/down").bytes()).await;
    assert_eq!(client.head().await.header("content-length"), Some(LARGE.to_string().as_str()));
    let mut read = 0;
    while read < LARGE {
        let some = client.some(1 << 16).await;
        assert!(!some.is_empty(), "cut after {read} bytes");
        assert_eq!(some, block(read, some.len()));
        read += u64::try_from(some.len()).unwrap();
    }
    let grown = pair.gateway.memory("VmHWM").saturating_sub(rest);
    assert!(grown < GROWTH_MAX, "{} MiB more", grown / MIB);
}

#[tokio::test]
async fn a_stamp_that_does_not_read_holds_the_client_back() {
    let pair = without_a_body_limit().await;
    let gate = Gate::closed();
    pair.a.plays(gate.before(Script::Echo));
    let rest = pair.gateway.memory("VmRSS");
    let mut client = pair.gateway.connect().await;
    let head = Request::new("PUT", "/up").header("Host", ACME);
    client.send(head.header("Content-Length", &LARGE.to_string()).bytes()).await;
    let sent = Arc::new(AtomicU64::new(0));
    let progress = Arc::clone(&sent);
    let sending = tokio::spawn(async move {
        while progress.load(Ordering::Relaxed) < LARGE {
            let from = progress.load(Ordering::Relaxed);
            let next = block(from, usize::try_from((LARGE - from).min(251 << 8)).unwrap());
            let written = client.send_some(&next).await.unwrap();
            progress.fetch_add(u64::try_from(written).unwrap(), Ordering::Relaxed);
        }
        client.answer().await
    });
    let held = settled("bytes sent", async || sent.load(Ordering::Relaxed)).await;
    assert!(held < LARGE, "everything was swallowed");
    let grown = pair.gateway.memory("VmRSS").saturating_sub(rest);
    assert!(grown < GROWTH_MAX, "{} MiB more", grown / MIB);
    gate.open();
    let answer = within("the upload to end", sending).await.unwrap();
    assert_eq!(answer.json()["body_length"], LARGE);
    assert!(pair.a.only().body_is_pattern);
}

#[tokio::test]
async fn a_client_that_does_not_read_holds_the_stamp_back() {
    let pair = Pair::start().await;
    let rest = pair.gateway.memory("VmRSS");
    pair.a.plays(Script::Download(LARGE));
    let mut client = pair.gateway.connect().await;
    client.send(get(ACME, "/down").bytes()).await;
    let _head = client.head().await;
    let held = settled("memory of the gateway", async || pair.gateway.memory("VmRSS")).await;
    assert!(held.saturating_sub(rest) < GROWTH_MAX, "{} MiB", held / MIB);
    let mut left = LARGE;
    while left > 0 {
        let some = client.some(1 << 16).await;
        assert!(!some.is_empty(), "cut with {left} bytes left");
        left -= u64::try_from(some.len()).unwrap();
    }
}

#[tokio::test]
async fn a_chunked_upload_arrives_whole() {
    let pair = Pair::start().await;
    let mut client = pair.gateway.connect().await;
    let head = Request::new("POST", "/").header("Host", ACME);
    client.send(head.header("Transfer-Encoding", "chunked").bytes()).await;
    for part in ["4\r\nwiki\r\n", "5;ext=1\r\npedia\r\n", "0\r\n\r\n"] {
        client.send(part).await;
    }
    let answer = client.answer().await;
    assert_eq!(answer.json()["body"], "wikipedia");
    assert!(pair.a.only().complete);
}

#[tokio::test]
async fn an_upload_reaches_the_stamp_before_its_end() {
    let pair = Pair::start().await;
    let mut client = pair.gateway.connect().await;
    let head = Request::new("POST", "/").header("Host", ACME).header("Content-Length", "200000");
    client.send(head.bytes()).await;
    client.send(block(0, 100_000)).await;
    crate::harness::deadline::eventually("half of the body at the stamp", async || {
        let seen = pair.a.seen().pop()?;
        (seen.body_length == 100_000).then_some(())
    })
    .await;
    client.send(block(100_000, 100_000)).await;
    assert_eq!(client.answer().await.json()["body_length"], 200_000);
}

#[tokio::test]
async fn events_of_a_stream_arrive_one_by_one() {
    let pair = Pair::start().await;
    let (events, script) = feed();
    pair.a.plays(Script::Stream(script));
    let mut client = pair.gateway.connect().await;
    client.send(get(ACME, "/events").bytes()).await;
    let head = client.head().await;
    assert_eq!(head.header("content-type"), Some("text/event-stream"));
    for count in 1..=5 {
        let event = format!("data: {count}\n\n");
        events.send(event.clone()).unwrap();
        assert_eq!(client.chunk().await.unwrap(), event.as_bytes());
    }
    drop(events);
    assert_eq!(client.chunk().await, None);
}

#[tokio::test]
async fn trailers_of_an_answer_pass() {
    let pair = Pair::start().await;
    let raw = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Checksum\r\n\r\n\
               2\r\nok\r\n0\r\nX-Checksum: abc\r\n\r\n";
    pair.a.plays(Script::Raw(raw.into()));
    let mut client = pair.gateway.connect().await;
    let answer = client.exchange(&get(ACME, "/").header("TE", "trailers")).await;
    assert_eq!(answer.text(), "ok");
    let trailers: Vec<(String, &str)> =
        answer.trailers.iter().map(|(name, value)| (name.to_lowercase(), value.as_str())).collect();
    assert_eq!(trailers, [("x-checksum".to_owned(), "abc")]);
}

#[tokio::test]
async fn trailers_of_a_request_pass() {
    let pair = Pair::start().await;
    let mut client = pair.gateway.connect().await;
    let head = Request::new("POST", "/").header("Host", ACME).header("TE", "trailers");
    let head = head.header("Transfer-Encoding", "chunked").header("Trailer", "X-Checksum");
    client.send(head.bytes()).await;
    client.send("2\r\nok\r\n0\r\nX-Checksum: abc\r\n\r\n").await;
    assert_eq!(client.answer().await.json()["body"], "ok");
    let seen = pair.a.only();
    assert!(seen.complete);
    assert_eq!(seen.trailers, [("x-checksum".to_owned(), "abc".to_owned())]);
}

#[tokio::test]
async fn a_request_whose_trailers_say_what_only_a_head_may_is_refused() {
    let pair = Pair::start().await;
    for trailer in ["X-Stamp-Id: b", "Host: b", "Content-Length: 2", "Authorization: Bearer x"] {
        let mut client = pair.gateway.connect().await;
        let head = Request::new("POST", "/").header("Host", ACME);
        client.send(head.header("Transfer-Encoding", "chunked").bytes()).await;
        client.send(format!("2\r\nok\r\n0\r\nX-Checksum: abc\r\n{trailer}\r\n\r\n")).await;
        client.answer().await.assert_problem(400, "malformed_request");
    }
    assert!(pair.a.seen().iter().all(|seen| !seen.complete), "a stamp took one for whole");
    assert!(pair.b.seen().is_empty());
}

#[tokio::test]
async fn an_expected_continue_comes_before_the_body() {
    let pair = Pair::start().await;
    let mut client = pair.gateway.connect().await;
    let request = Request::new("POST", "/").header("Host", ACME).header("Content-Length", "2");
    client.send(request.header("Expect", "100-continue").bytes()).await;
    assert_eq!(client.head().await.status().unwrap(), 100);
    client.send("hi").await;
    assert_eq!(client.answer().await.json()["body"], "hi");
    assert_eq!(client.exchange(&get(ACME, "/")).await.status, 200);
}

#[tokio::test]
async fn a_refused_request_is_not_told_to_continue() {
    let pair = Pair::start().await;
    let mut client = pair.gateway.connect().await;
    let request = Request::new("POST", "/").header("Host", "nobody.app.test");
    let request = request.header("Content-Length", "2").header("Expect", "100-continue");
    client.send(request.bytes()).await;
    assert_eq!(client.head().await.status().unwrap(), 404);
}

#[tokio::test]
async fn interim_answers_of_a_stamp_do_not_replace_the_final_one() {
    let pair = Pair::start().await;
    let raw = "HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n\
               HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
    pair.a.plays(Script::Raw(raw.into()));
    let answer = pair.gateway.get(ACME, "/").await;
    assert_eq!((answer.status, answer.text().as_str()), (200, "ok"));
}

#[tokio::test]
async fn an_answer_that_comes_before_the_body_was_read_reaches_the_client() {
    let pair = Pair::start().await;
    let raw = "HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\nConnection: close\r\n\r\nno";
    pair.a.plays(Script::RawBeforeBody(raw.into()));
    let mut client = pair.gateway.connect().await;
    let head = Request::new("POST", "/").header("Host", ACME).header("Content-Length", "1000000");
    client.send(head.bytes()).await;
    let answer = client.answer().await;
    assert_eq!((answer.status, answer.text().as_str()), (403, "no"));
}

#[tokio::test]
async fn an_answer_that_ends_with_its_connection_is_complete() {
    let pair = Pair::start().await;
    pair.a.plays(Script::RawAndClose(b"HTTP/1.1 200 OK\r\n\r\nuntil the end".into()));
    assert_eq!(pair.gateway.get(ACME, "/").await.text(), "until the end");
}

#[tokio::test]
async fn a_post_passes_with_an_empty_body() {
    let pair = Pair::start().await;
    let answer = pair.gateway.send(&post(ACME, "/", "")).await;
    assert_eq!(answer.json()["body_length"], 0);
}
