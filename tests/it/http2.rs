//! HTTP/2 with clients (RFC 9113): each stream is a request of its own.

use rustix::process::Signal;

use crate::harness::client::Client;
use crate::harness::deadline::eventually;
use crate::harness::http1::get;
use crate::harness::http2::{
    CONTINUATION, DATA, END_HEADERS, END_STREAM, Ended, Frame, HEADERS, Http2, PREFACE, block,
    request,
};
use crate::harness::scene::{ACME, GLOBEX, PAIR, Pair};
use crate::harness::script::{Gate, Script, block as pattern_block, feed, pattern};

/// The usual scene behind a listener that speaks both versions in the clear.
pub async fn pair() -> Pair {
    pair_with(&[]).await
}

/// The same with more keys of gateway.toml.
pub async fn pair_with(keys: &[(&str, &str, &str)]) -> Pair {
    Pair::planned(PAIR, |plan| {
        let plan = plan.set("listener", "protocols", r#"["http/1.1", "h2c"]"#);
        keys.iter().fold(plan, |plan, (table, key, value)| plan.set(table, key, value))
    })
    .await
}

#[tokio::test]
async fn each_stream_goes_where_its_own_host_says() {
    let pair = pair().await;
    let mut client = Http2::connect(pair.gateway.data).await;
    let (acme, globex) = (client.get(ACME, "/1", &[]).await, client.get(GLOBEX, "/2", &[]).await);
    assert_eq!(client.answer(globex).await.served_by(), "b");
    assert_eq!(client.answer(acme).await.served_by(), "a");
    let by_stamp = [("x-stamp-id", "a")];
    let contradiction = client.get(GLOBEX, "/3", &by_stamp).await;
    client.answer(contradiction).await.assert_problem(400, "identity_conflict");
    client.exchange("nobody.app.test", "/4").await.assert_problem(404, "unknown_tenant");
    assert_eq!(client.exchange(ACME, "/5").await.served_by(), "a");
}

#[tokio::test]
async fn a_stamp_sees_a_request_of_http_1() {
    let pair = pair().await;
    let mut client = Http2::connect(pair.gateway.data).await;
    let cookies = [("cookie", "a=b"), ("te", "trailers"), ("cookie", "c=d"), ("x-own", "1")];
    let stream = client.get(ACME, "/a?b=%2F", &cookies).await;
    let answer = client.answer(stream).await;
    assert_eq!(answer.arrived("Host"), [ACME]);
    assert_eq!(answer.arrived("Cookie"), ["a=b; c=d"]);
    assert_eq!(answer.arrived("Via"), ["2.0 gw-test"]);
    assert_eq!(answer.arrived("X-Forwarded-Proto"), ["http"]);
    assert_eq!(
        (answer.arrived("TE"), answer.arrived("X-Own")),
        (vec!["trailers".into()], vec!["1".into()])
    );
    assert_eq!(pair.a.only().target(), "/a?b=%2F");
    assert_eq!(answer.head.header("connection"), None);
}

#[tokio::test]
async fn a_host_field_alone_names_the_host_and_may_not_contradict_the_authority() {
    let pair = pair().await;
    let mut client = Http2::connect(pair.gateway.data).await;
    let fields = [(":method", "GET"), (":scheme", "http"), (":path", "/"), ("host", ACME)];
    let stream = client.open(END_STREAM, &fields).await;
    assert_eq!(client.answer(stream).await.served_by(), "a");
    let both = client.get(ACME, "/", &[("host", GLOBEX)]).await;
    client.answer(both).await.assert_problem(400, "malformed_identifier");
    let neither = client.open(END_STREAM, &fields[..3]).await;
    client.answer(neither).await.assert_problem(400, "malformed_identifier");
    assert_eq!((pair.a.count(), pair.b.count()), (1, 0));
}

#[tokio::test]
async fn bodies_pass_either_way_whatever_their_size() {
    let pair = pair().await;
    let mut client = Http2::connect(pair.gateway.data).await;
    let stream = client.post(ACME, "/", b"some body").await;
    client.answer(stream).await;
    let seen = pair.a.only();
    assert_eq!((seen.body, seen.head.header("content-length")), (b"some body".to_vec(), Some("9")));

    pair.a.plays(Script::Download(3_000_000));
    let answer = client.exchange(ACME, "/large").await;
    assert_eq!(answer.body.len(), 3_000_000);
    assert!(answer.body.iter().zip(0..).all(|(byte, at)| *byte == pattern(at)));
}

#[tokio::test]
async fn an_upload_is_taken_as_far_as_its_stamp_reads_and_no_further() {
    let pair = pair().await;
    let gate = Gate::closed();
    pair.a.plays(gate.before(Script::Echo));
    let mut client = Http2::connect(pair.gateway.data).await;
    let stream = client.open(0, &request("POST", ACME, "/")).await;
    // About as much as a stream may have under way: more may come once the stamp has read that.
    for piece in 0..4 {
        let body = pattern_block(piece * 16_000, 16_000);
        client.send(&Frame::new(DATA, 0, stream, body)).await;
    }
    gate.open();
    // A window opens by halves at least: what is read last may not open it any more.
    let mut left = 32_000_u32;
    while left > 0 {
        let frame = client.next_frame().await.expect("a window that opens");
        if frame.kind == 8 && frame.stream == stream {
            let more = u32::from_be_bytes(frame.payload.try_into().unwrap());
            left = left.saturating_sub(more);
        }
    }
    client.send(&Frame::new(DATA, END_STREAM, stream, pattern_block(64_000, 9))).await;
    assert_eq!(client.answer(stream).await.status, 200);
    let seen = pair.a.only();
    assert_eq!((seen.body_length, seen.body_is_pattern), (64_009, true));
}

#[tokio::test]
async fn trailers_pass_but_for_what_a_stamp_may_not_say() {
    let pair = pair().await;
    let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: x-sum\r\n\r\n\
                   2\r\nok\r\n0\r\nx-sum: 7\r\nx-stamp-id: b\r\n\r\n";
    pair.a.plays(Script::Raw(chunked.into()));
    let mut client = Http2::connect(pair.gateway.data).await;
    // HTTP/1.1 has only trailers that are declared.
    let fields = [&request("POST", ACME, "/")[..], &[("trailer", "x-check")]].concat();
    let stream = client.open(0, &fields).await;
    client.send(&Frame::new(DATA, 0, stream, "body")).await;
    let trailers = block(&[("x-check", "9")]);
    client.send(&Frame::new(HEADERS, END_HEADERS | END_STREAM, stream, trailers)).await;
    let answer = client.answer(stream).await;
    assert_eq!(
        (answer.body, answer.trailers),
        (b"ok".to_vec(), vec![("x-sum".into(), "7".into())])
    );
    let seen = pair.a.only();
    assert_eq!(
        (seen.body, seen.trailers),
        (b"body".to_vec(), vec![("x-check".into(), "9".into())])
    );
}

#[tokio::test]
async fn a_stream_whose_trailers_say_what_only_a_head_may_is_refused() {
    let pair = pair().await;
    let mut client = Http2::connect(pair.gateway.data).await;
    for trailer in [("x-stamp-id", "b"), ("authorization", "none"), ("content-length", "4")] {
        let stream = client.open(0, &request("POST", ACME, "/")).await;
        client.send(&Frame::new(DATA, 0, stream, "body")).await;
        let trailers = block(&[("x-check", "9"), trailer]);
        client.send(&Frame::new(HEADERS, END_HEADERS | END_STREAM, stream, trailers)).await;
        assert_eq!(client.answer(stream).await.status, 400, "{trailer:?}");
    }
    assert!(pair.a.seen().iter().all(|seen| !seen.complete), "a stamp took one for whole");
    assert_eq!(client.exchange(ACME, "/").await.status, 200);
}

#[tokio::test]
async fn both_versions_are_told_apart_however_slowly_a_client_begins() {
    let pair = pair().await;
    assert_eq!(pair.gateway.get(ACME, "/").await.served_by(), "a");
    let mut client = Client::connect(pair.gateway.data).await;
    for byte in get(ACME, "/slow").bytes() {
        client.send([byte]).await;
    }
    assert_eq!(client.answer().await.served_by(), "a");
    let mut client = Client::connect(pair.gateway.data).await;
    let request =
        Frame::new(HEADERS, END_HEADERS | END_STREAM, 1, block(&request("GET", ACME, "/")));
    let bytes = [PREFACE, &Frame::new(4, 0, 0, []).bytes(), &request.bytes()].concat();
    for byte in bytes {
        client.send([byte]).await;
    }
    pair.a.reached_by(3).await;
}

#[tokio::test]
async fn a_header_block_in_pieces_is_one_head() {
    let pair = pair().await;
    let mut client = Http2::connect(pair.gateway.data).await;
    let whole = block(&request("GET", ACME, "/"));
    let (first, second) = whole.split_at(20);
    client.send(&Frame::new(HEADERS, END_STREAM, 1, first)).await;
    client.send(&Frame::new(CONTINUATION, 0, 1, [])).await;
    client.send(&Frame::new(CONTINUATION, END_HEADERS, 1, second)).await;
    assert_eq!(client.answer(1).await.served_by(), "a");
}

#[tokio::test]
async fn a_client_that_gives_a_stream_up_ends_it_at_the_stamp_and_no_other() {
    let pair = pair().await;
    pair.a.plays_once(Script::Hang);
    let mut client = Http2::connect(pair.gateway.data).await;
    let hangs = client.get(ACME, "/hangs", &[]).await;
    pair.a.reached_by(1).await;
    client.send(&Frame::new(3, 0, hangs, 8_u32.to_be_bytes())).await;
    pair.a.left_by(1).await;
    assert_eq!(client.exchange(ACME, "/").await.served_by(), "a");
    eventually("the request logged as left by its client", async || {
        let log = pair.gateway.log();
        log.lines().find(|line| line.contains("\"/hangs\"") && line.contains("499")).map(drop)
    })
    .await;
}

#[tokio::test]
async fn a_forced_drain_ends_the_streams_of_its_stamp_and_leaves_the_connection() {
    let pair = pair().await;
    let (stamp, fed) = feed();
    pair.a.plays(Script::Stream(fed));
    let mut client = Http2::connect(pair.gateway.data).await;
    let events = client.get(ACME, "/events", &[]).await;
    stamp.send("one".into()).unwrap();
    assert_eq!(client.body(events, 3).await, b"one");
    let order = serde_json::json!({ "deadline": "300ms", "force": true });
    let drain = pair.gateway.admin("POST", "/v1/stamps/a/drain", Some(&order)).await;
    assert_eq!(drain.status, 202, "{}", drain.text());
    assert!(matches!(client.ended(events).await, Ended::Reset(_)));
    assert_eq!(client.exchange(ACME, "/").await.served_by(), "b", "the edge serves");
}

#[tokio::test]
async fn an_answer_that_breaks_off_is_seen_to_be_incomplete() {
    let pair = pair().await;
    pair.a.plays_once(Script::ResetMidBody);
    let mut client = Http2::connect(pair.gateway.data).await;
    let stream = client.get(ACME, "/", &[]).await;
    assert!(matches!(client.ended(stream).await, Ended::Reset(_)));
    assert_eq!(client.exchange(ACME, "/").await.served_by(), "a");
}

#[tokio::test]
async fn more_streams_than_the_limit_are_refused_unprocessed() {
    let pair = pair_with(&[("limits", "h2_concurrent_streams", "2")]).await;
    let gate = Gate::closed();
    pair.a.plays(gate.before(Script::Echo));
    let mut client = Http2::connect(pair.gateway.data).await;
    let (one, two) = (client.get(ACME, "/1", &[]).await, client.get(ACME, "/2", &[]).await);
    pair.a.reached_by(2).await;
    let three = client.get(ACME, "/3", &[]).await;
    assert_eq!(client.error(three).await, 7, "REFUSED_STREAM: it may be sent again");
    gate.open();
    assert_eq!(client.answer(one).await.served_by(), "a");
    assert_eq!(client.answer(two).await.served_by(), "a");
    assert_eq!(pair.a.count(), 2);
}

#[tokio::test]
async fn a_process_that_ends_says_so_and_answers_what_it_has() {
    let mut pair = pair().await;
    let gate = Gate::closed();
    pair.a.plays(gate.before(Script::Echo));
    let mut client = Http2::connect(pair.gateway.data).await;
    let stream = client.get(ACME, "/", &[]).await;
    pair.a.reached_by(1).await;
    pair.gateway.signal(Signal::TERM);
    assert_eq!(client.goaway().await, 0, "NO_ERROR");
    gate.open();
    assert_eq!(client.answer(stream).await.served_by(), "a");
    assert_eq!(client.closed().await, Some(0));
    assert!(pair.gateway.ended().await.success());
}

#[tokio::test]
async fn an_idle_connection_is_ended_with_a_word() {
    let pair = pair_with(&[("timeouts", "downstream_idle", "\"300ms\"")]).await;
    let mut client = Http2::connect(pair.gateway.data).await;
    assert_eq!(client.exchange(ACME, "/").await.served_by(), "a");
    assert_eq!(client.closed().await, Some(0));
}
