//! Clients over HTTP/2 that only cost: they are cut, and nobody else notices.

use crate::harness::client::Client;
use crate::harness::deadline::eventually;
use crate::harness::http2::{
    CONTINUATION, DATA, END_HEADERS, END_STREAM, ENHANCE_YOUR_CALM, Ended, Frame, GOAWAY, HEADERS,
    Http2, PING, PREFACE, RST_STREAM, SETTINGS, WINDOW_UPDATE, block, request,
};
use crate::harness::scene::{ACME, GLOBEX, Pair};
use crate::harness::script::Script;
use crate::http2::{pair, pair_with};

/// More than any client may send that does nothing else.
const FLOOD: usize = 5_000;

async fn counted(pair: &Pair, reason: &str, count: f64) {
    eventually(&format!("a client cut for {reason}"), async || {
        let labels = [("listener", "public"), ("reason", reason)];
        (pair.gateway.metric("stampgate_clients_cut_total", &labels).await >= count).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_flood_of_frames_that_cost_nothing_is_cut() {
    let pair = pair().await;
    let mut good = Http2::connect(pair.gateway.data).await;
    let frames = [
        Frame::new(SETTINGS, 0, 0, [0, 3, 0, 0, 0, 9]),
        Frame::new(PING, 0, 0, [0; 8]),
        Frame::new(2, 0, 1, [0, 0, 0, 0, 9]),
        Frame::new(WINDOW_UPDATE, 0, 0, [0, 0, 0, 1]),
        Frame::new(0xfa, 0, 0, []),
        Frame::new(DATA, 0, 1, []),
        Frame::new(DATA, 8, 1, [9; 10]),
    ];
    for (frame, count) in frames.iter().zip(1..) {
        let mut client = Http2::connect(pair.gateway.data).await;
        client.open(0, &request("POST", ACME, "/")).await;
        drop(client.try_send_bytes(&frame.bytes().repeat(FLOOD)).await);
        // What is still on its way to a socket that is closed may reset it before its last word.
        assert!(matches!(client.closed().await, None | Some(ENHANCE_YOUR_CALM)), "{frame:?}");
        // Of DATA frames h2 has a limit of its own, below ours.
        if frame.kind != DATA {
            counted(&pair, "control_frames", f64::from(count)).await;
        }
        assert_eq!(good.exchange(GLOBEX, "/").await.served_by(), "b", "beside {frame:?}");
    }
}

#[tokio::test]
async fn a_client_that_is_cut_is_told_why() {
    let pair = pair().await;
    let mut client = Http2::connect(pair.gateway.data).await;
    assert_eq!(client.exchange(ACME, "/").await.served_by(), "a");
    // One at a time, so that nothing is on its way when the last word comes.
    let ping = Frame::new(PING, 0, 0, [7; 8]);
    let last = loop {
        client.send(&ping).await;
        match client.next_frame().await {
            Some(frame) if frame.kind == PING => {}
            last => break last,
        }
    };
    assert_eq!(last, Some(Frame::new(GOAWAY, 0, 0, [0, 0, 0, 1, 0, 0, 0, 11])));
    assert_eq!(client.next_frame().await, None);
}

/// So many streams, each reset as soon as it is open.
fn opened_and_reset(streams: u32) -> Vec<u8> {
    let fields = block(&request("GET", ACME, "/"));
    let mut bytes = Vec::new();
    for stream in (1..2 * streams).step_by(2) {
        bytes.extend(Frame::new(HEADERS, END_HEADERS | END_STREAM, stream, &*fields).bytes());
        bytes.extend(Frame::new(RST_STREAM, 0, stream, 8_u32.to_be_bytes()).bytes());
    }
    bytes
}

#[tokio::test]
async fn streams_that_are_reset_as_they_are_opened_cost_the_connection() {
    let pair = pair().await;
    let mut client = Http2::connect(pair.gateway.data).await;
    drop(client.try_send_bytes(&opened_and_reset(500)).await);
    client.closed().await;
    assert!(pair.a.count() < 150, "{} reached the stamp", pair.a.count());
}

#[tokio::test]
async fn streams_that_a_client_makes_us_reset_cost_the_connection() {
    let pair = pair().await;
    pair.a.plays(Script::Hang);
    let mut client = Http2::connect(pair.gateway.data).await;
    let fields = block(&request("GET", ACME, "/"));
    let mut bytes = Vec::new();
    for stream in (1..1_001).step_by(2) {
        bytes.extend(Frame::new(HEADERS, END_HEADERS | END_STREAM, stream, &*fields).bytes());
        bytes.extend(Frame::new(WINDOW_UPDATE, 0, stream, [0; 4]).bytes());
    }
    drop(client.try_send_bytes(&bytes).await);
    client.closed().await;
    assert!(pair.a.count() < 250, "{} reached the stamp", pair.a.count());
}

#[tokio::test]
async fn a_header_block_has_an_end() {
    let pair = pair().await;
    let fields = block(&request("GET", ACME, "/"));
    for more in [
        Frame::new(CONTINUATION, 0, 1, []).bytes().repeat(FLOOD),
        Frame::new(CONTINUATION, 0, 1, [0; 16_384]).bytes().repeat(20),
    ] {
        let mut client = Http2::connect(pair.gateway.data).await;
        client.send(&Frame::new(HEADERS, END_STREAM, 1, &*fields)).await;
        drop(client.try_send_bytes(&more).await);
        client.closed().await;
    }
    assert_eq!(pair.a.count(), 0);
}

#[tokio::test]
async fn who_begins_and_does_not_go_on_is_cut_in_time() {
    let pair = pair_with(&[
        ("timeouts", "first_byte", "\"300ms\""),
        ("timeouts", "request_headers", "\"300ms\""),
    ])
    .await;
    let settings = Frame::new(SETTINGS, 0, 0, []).bytes();
    let begun = Frame::new(HEADERS, END_STREAM, 1, block(&request("GET", ACME, "/"))).bytes();
    for bytes in [
        b"".to_vec(),
        PREFACE[..10].to_vec(),
        [PREFACE, &settings, &begun].concat(),
        [PREFACE, &settings, &begun[..30]].concat(),
        [PREFACE, &settings, &begun[..3]].concat(),
    ] {
        let mut client = Client::connect(pair.gateway.data).await;
        client.send(&bytes).await;
        drop(client.closed().await);
    }
    assert_eq!(pair.a.count(), 0);
}

#[tokio::test]
async fn streams_that_are_reset_as_soon_as_they_are_open_are_nothing_to_a_stamp() {
    let pair = pair().await;
    let mut client = Http2::connect(pair.gateway.data).await;
    client.send_bytes(&opened_and_reset(10)).await;
    client.ping().await;
    assert!(pair.gateway.metric("stampgate_resolutions_total", &[]).await < 0.5);
    assert_eq!(pair.a.count(), 0);
}

#[tokio::test]
async fn a_client_that_never_opens_its_window_loses_its_stream_and_no_other_waits() {
    let pair = pair().await;
    pair.a.plays(Script::Download(1_000_000));
    let mut client = Http2::with_window(pair.gateway.data, 0).await;
    client.takes = false;
    let stream = client.get(ACME, "/", &[]).await;
    assert_eq!(client.status(stream).await, 200);
    let mut good = Http2::connect(pair.gateway.data).await;
    assert_eq!(good.exchange(ACME, "/").await.body.len(), 1_000_000);
    assert!(matches!(client.ended(stream).await, Ended::Reset(_)));
    eventually("the reason in the access log", async || {
        pair.gateway.log().contains("client_too_slow").then_some(())
    })
    .await;
}
