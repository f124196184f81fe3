//! Every limit and every time of gateway.toml that concerns a request, over HTTP/2: what `limits` and
//! `timeouts` try over HTTP/1.1 holds for each stream by itself.

use crate::harness::client::Client;
use crate::harness::deadline::{eventually, ticks, within};
use crate::harness::faults::BlackHole;
use crate::harness::gateway::Plan;
use crate::harness::http1::get;
use crate::harness::http2::{
    DATA, END_HEADERS, END_STREAM, ENHANCE_YOUR_CALM, Ended, Frame, HEADERS, Http2, PREFACE,
    RST_STREAM, block, request,
};
use crate::harness::scene::{ACME, GLOBEX, PAIR, Pair, pair_without_edge};
use crate::harness::script::{Gate, Script};
use crate::http2::pair_with;

async fn limited(key: &str, value: &str) -> Pair {
    pair_with(&[("limits", key, value)]).await
}

fn both(plan: Plan) -> Plan {
    plan.set("listener", "protocols", r#"["http/1.1", "h2c"]"#)
}

/// Where this time is short, and stamp a has no way out.
async fn timed(key: &str) -> Pair {
    let change = |plan| both(plan).set("timeouts", key, "\"300ms\"");
    Pair::planned(&pair_without_edge(), change).await
}

/// A stream that has begun to send a body, and does not end.
async fn uploading(client: &mut Http2, length: Option<&str>) -> u32 {
    let length = length.map(|length| ("content-length", length));
    let fields = [&request("POST", ACME, "/upload")[..], length.as_slice()].concat();
    let stream = client.open(0, &fields).await;
    client.send(&Frame::new(DATA, 0, stream, "half")).await;
    stream
}

/// Whatever became of a stream, its connection serves the next.
async fn goes_on(client: &mut Http2) {
    assert_eq!(client.exchange(GLOBEX, "/next").await.served_by(), "b");
}

#[tokio::test]
async fn a_body_with_a_length_over_the_limit_is_refused_at_once() {
    let pair = limited("request_body_bytes", "\"1KiB\"").await;
    let mut client = Http2::connect(pair.gateway.data).await;
    let fields = [&request("POST", ACME, "/")[..], &[("content-length", "1025")]].concat();
    let stream = client.open(0, &fields).await;
    client.answer(stream).await.assert_problem(413, "body_too_large");
    assert_eq!(pair.a.count(), 0);
    let stream = client.post(ACME, "/", &[b'x'; 1024]).await;
    assert_eq!(client.answer(stream).await.served_by(), "a");
}

#[tokio::test]
async fn a_body_without_a_length_over_the_limit_is_refused_when_it_gets_there() {
    let pair = limited("request_body_bytes", "\"1KiB\"").await;
    let mut client = Http2::connect(pair.gateway.data).await;
    let stream = client.open(0, &request("POST", ACME, "/")).await;
    client.send(&Frame::new(DATA, 0, stream, [b'x'; 1024])).await;
    client.send(&Frame::new(DATA, 0, stream, "x")).await;
    client.answer(stream).await.assert_problem(413, "body_too_large");
    assert!(pair.a.seen().iter().all(|seen| !seen.complete), "a cut body must not look whole");
    goes_on(&mut client).await;
}

#[tokio::test]
async fn a_target_over_the_limit_is_refused() {
    let pair = limited("uri_bytes", "\"1KiB\"").await;
    let mut client = Http2::connect(pair.gateway.data).await;
    let longest = format!("/{}", "x".repeat(1023));
    assert_eq!(client.exchange(ACME, &longest).await.served_by(), "a");
    let answer = client.exchange(ACME, &format!("{longest}x")).await;
    answer.assert_problem(414, "uri_too_long");
    goes_on(&mut client).await;
}

#[tokio::test]
async fn a_head_over_the_limit_of_bytes_is_refused() {
    let pair = limited("header_bytes", "\"4KiB\"").await;
    let mut client = Http2::connect(pair.gateway.data).await;
    let (small, large) = ("x".repeat(3000), "x".repeat(5000));
    let stream = client.get(ACME, "/", &[("x-filler", &small)]).await;
    assert_eq!(client.answer(stream).await.served_by(), "a");
    let stream = client.get(ACME, "/", &[("x-filler", &large)]).await;
    client.answer(stream).await.assert_problem(431, "headers_too_large");
    goes_on(&mut client).await;
}

#[tokio::test]
async fn a_head_over_the_limit_of_fields_is_refused() {
    let pair = limited("header_count", "10").await;
    let mut client = Http2::connect(pair.gateway.data).await;
    let stream = client.get(ACME, "/", &[("x-a", "1"); 10]).await;
    assert_eq!(client.answer(stream).await.served_by(), "a");
    let stream = client.get(ACME, "/", &[("x-a", "1"); 11]).await;
    client.answer(stream).await.assert_problem(431, "headers_too_large");
    goes_on(&mut client).await;
}

#[tokio::test]
async fn streams_over_the_gateways_limit_are_shed() {
    let pair = limited("in_flight_requests", "2").await;
    let gate = Gate::closed();
    pair.a.plays(gate.before(Script::Echo));
    let mut client = Http2::connect(pair.gateway.data).await;
    let (one, two) = (client.get(ACME, "/1", &[]).await, client.get(ACME, "/2", &[]).await);
    pair.a.reached_by(2).await;
    client.exchange(GLOBEX, "/3").await.assert_problem(503, "overloaded");
    gate.open();
    assert_eq!(client.answer(one).await.served_by(), "a");
    assert_eq!(client.answer(two).await.served_by(), "a");
    goes_on(&mut client).await;
}

/// One connection that has a stream, a second that is not served, and one that is when there is room again.
async fn assert_a_second_connection_is_refused(pair: &Pair) {
    let gate = Gate::closed();
    pair.a.plays(gate.before(Script::Echo));
    let mut held = Http2::connect(pair.gateway.data).await;
    let stream = held.get(ACME, "/held", &[]).await;
    pair.a.reached_by(1).await;
    let second = Client::connect(pair.gateway.data).await;
    let mut second = Http2::over(second.into_stream(), &[]).await;
    // What it is told is of HTTP/1.1, as to whoever has not spoken yet.
    assert!(second.refusal().await.starts_with(b"HTTP/1.1 503 "));
    gate.open();
    assert_eq!(held.answer(stream).await.served_by(), "a");
    drop(held);
    eventually("room for a new connection", async || {
        let mut client = pair.gateway.connect().await;
        (client.try_exchange(&get(ACME, "/")).await.ok()?.status == 200).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_client_has_only_so_many_connections() {
    assert_a_second_connection_is_refused(&limited("connections_per_client", "1").await).await;
}

#[tokio::test]
async fn a_listener_has_only_so_many_connections() {
    let pair = pair_with(&[("listener", "max_connections", "1")]).await;
    assert_a_second_connection_is_refused(&pair).await;
}

#[tokio::test]
async fn a_body_that_trickles_is_timed_out_and_others_are_not() {
    let change = |plan| both(plan).set("limits", "min_bytes_per_second", "1_000_000_000");
    let pair = Pair::planned(&pair_without_edge(), change).await;
    let mut client = Http2::connect(pair.gateway.data).await;
    let stream = uploading(&mut client, None).await;
    let mut ticks = ticks(20);
    let seen = async {
        // The body never pauses for long, so only its rate can be at fault.
        while pair.gateway.metric("stampgate_errors_total", &TIMED_OUT).await < 0.5 {
            ticks.tick().await;
            client.send(&Frame::new(DATA, 0, stream, "x")).await;
        }
    };
    within("the end of patience", seen).await;
    client.answer(stream).await.assert_problem(408, "request_timeout");
    assert!(pair.a.seen().iter().all(|seen| !seen.complete), "a cut body must not look whole");
    goes_on(&mut client).await;
}

const TIMED_OUT: [(&str, &str); 1] = [("code", "request_timeout")];

#[tokio::test]
async fn a_body_that_stops_coming_is_timed_out() {
    let pair = timed("request_body_idle").await;
    let mut client = Http2::connect(pair.gateway.data).await;
    for length in [Some("10"), None] {
        let stream = uploading(&mut client, length).await;
        client.answer(stream).await.assert_problem(408, "request_timeout");
    }
    assert!(pair.a.seen().iter().all(|seen| !seen.complete), "a cut body must not look whole");
    goes_on(&mut client).await;
}

#[tokio::test]
async fn a_stamp_that_does_not_answer_is_timed_out() {
    let pair = timed("response_headers").await;
    pair.a.plays(Script::Hang);
    let mut client = Http2::connect(pair.gateway.data).await;
    client.exchange(ACME, "/").await.assert_problem(504, "upstream_timeout");
    let seen = pair.a.count();
    pair.a.left_by(seen).await;
    goes_on(&mut client).await;
}

#[tokio::test]
async fn an_answer_that_stops_coming_is_visibly_cut() {
    let pair = timed("response_body_idle").await;
    let raw = "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf";
    pair.a.plays(Script::Raw(raw.into()));
    let mut client = Http2::connect(pair.gateway.data).await;
    let stream = client.get(ACME, "/", &[]).await;
    let ended = client.ended(stream).await;
    assert!(matches!(ended, Ended::Reset(_)), "{ended:?}");
    goes_on(&mut client).await;
}

#[tokio::test]
async fn a_request_that_takes_too_long_altogether_is_timed_out() {
    let pair = timed("request_total").await;
    let gate = Gate::closed();
    pair.a.plays(gate.before(Script::Echo));
    let mut client = Http2::connect(pair.gateway.data).await;
    client.exchange(ACME, "/").await.assert_problem(504, "upstream_timeout");
    goes_on(&mut client).await;
}

#[tokio::test]
async fn an_endpoint_that_does_not_answer_a_connect_is_timed_out() {
    let hole = BlackHole::at(std::net::SocketAddr::from(([127, 0, 0, 1], 0)));
    let table = pair_without_edge().replace("{stamp_a}", &hole.address.to_string());
    let change = |plan| both(plan).set("timeouts", "connect", "\"200ms\"");
    let pair = Pair::planned(&table, change).await;
    let mut client = Http2::connect(pair.gateway.data).await;
    let answer = client.exchange(ACME, "/").await;
    assert!([502, 503, 504].contains(&answer.status), "{}", answer.text());
    goes_on(&mut client).await;
}

#[tokio::test]
async fn a_connection_without_a_first_byte_is_closed() {
    for protocols in [r#"["h2c"]"#, r#"["http/1.1", "h2c"]"#] {
        let pair = Pair::planned(PAIR, |plan| {
            plan.set("listener", "protocols", protocols).set("timeouts", "first_byte", "\"300ms\"")
        })
        .await;
        drop(pair.gateway.connect().await.closed().await);
    }
}

#[tokio::test]
async fn a_header_block_that_never_ends_is_closed_also_where_streams_are_open() {
    let pair = timed("request_headers").await;
    let gate = Gate::closed();
    pair.a.plays(gate.before(Script::Echo));
    let half = Frame::new(HEADERS, END_STREAM, 3, block(&request("GET", ACME, "/half")));
    let settings = Frame::new(4, 0, 0, []).bytes();
    let whole = block(&request("GET", ACME, "/whole"));
    let whole = Frame::new(HEADERS, END_HEADERS | END_STREAM, 1, whole).bytes();
    for bytes in [half.bytes(), half.bytes()[..12].to_vec()] {
        for before in [&[][..], &whole] {
            let mut client = pair.gateway.connect().await;
            client.send([PREFACE, &settings, before, &bytes].concat()).await;
            drop(client.closed().await);
        }
    }
    assert!(pair.a.seen().iter().all(|seen| seen.target() == "/whole"));
}

#[tokio::test]
async fn streams_that_are_reset_before_they_are_looked_at_are_few() {
    // Fewer than our own count of resets cuts.
    let fields = block(&request("GET", ACME, "/reset"));
    let burst = (1..40).step_by(2).flat_map(|stream| {
        let opened = Frame::new(HEADERS, END_HEADERS | END_STREAM, stream, &*fields).bytes();
        [opened, Frame::new(RST_STREAM, 0, stream, 8_u32.to_be_bytes()).bytes()].concat()
    });
    let burst: Vec<u8> = burst.collect();
    for (value, is_cut) in [("2", true), ("10_000", false)] {
        let pair = limited("h2_pending_resets", value).await;
        let mut client = Http2::connect(pair.gateway.data).await;
        client.send_bytes(&burst).await;
        if is_cut {
            assert!(matches!(client.closed().await, None | Some(ENHANCE_YOUR_CALM)));
        } else {
            let stream = 101;
            let fields = block(&request("GET", GLOBEX, "/next"));
            client.send(&Frame::new(HEADERS, END_HEADERS | END_STREAM, stream, fields)).await;
            assert_eq!(client.answer(stream).await.served_by(), "b");
        }
    }
}
