//! What RFC 9113 and RFC 7541 say of a client's mistakes and of what is none, rule by rule: which
//! error it is, of the stream or of the connection, and with which code. `http2_conformance_messages`
//! has the rules for header blocks and requests.

use tokio::task::JoinSet;

use crate::harness::client::Client;
use crate::harness::door::Door;
use crate::harness::http2::{
    ACK, CONTINUATION, DATA, END_HEADERS, END_STREAM, Frame, GOAWAY, HEADERS, Http2, PING,
    RST_STREAM, SETTINGS, WINDOW_UPDATE, block, request,
};
use crate::harness::scene::{ACME, PAIR, Pair};
use crate::http2::pair;

pub const PRIORITY: u8 = 2;
pub const PUSH_PROMISE: u8 = 5;
/// No type of frame that anybody knows.
pub const UNKNOWN: u8 = 0x16;

pub const PADDED: u8 = 8;
/// The flag.
pub const HAS_PRIORITY: u8 = 0x20;

pub const PROTOCOL: u32 = 1;
pub const FLOW_CONTROL: u32 = 3;
pub const STREAM_CLOSED: u32 = 5;
pub const FRAME_SIZE: u32 = 6;
const REFUSED_STREAM: u32 = 7;
pub const COMPRESSION: u32 = 9;

/// What the gateway must do.
#[derive(Clone, Copy, Debug)]
pub enum Must {
    /// Say why in a GOAWAY frame, and close.
    End(u32),
    /// End this stream with this code, or the connection, which is allowed instead.
    Refuse(u32, u32),
    /// Say in a GOAWAY frame that it ends, and close.
    Close,
    /// Reset this stream with this code, and serve the next.
    Reset(u32, u32),
    /// Answer 200 on this stream.
    Answer(u32),
    /// Answer a PING that comes last, and serve the next stream.
    Bear,
    /// Send so many bytes of a body and no more.
    SendBytes(usize),
}

/// A rule, and a client that tries it.
pub struct Rule {
    pub name: &'static str,
    /// What is sent once the connection is set up.
    pub frames: Vec<Frame>,
    /// What is sent when the first has been answered on stream 1.
    pub later: Vec<Frame>,
    pub must: Must,
}

pub fn rule(name: &'static str, frames: impl Into<Vec<Frame>>, must: Must) -> Rule {
    Rule { name, frames: frames.into(), later: Vec::new(), must }
}

/// The same after the answer to a first request, on stream 1.
fn closed(name: &'static str, later: impl Into<Vec<Frame>>, must: Must) -> Rule {
    Rule { name, frames: vec![get(1)], later: later.into(), must }
}

pub fn fields(method: &'static str) -> Vec<u8> {
    block(&request(method, ACME, "/"))
}

pub fn get(stream: u32) -> Frame {
    Frame::new(HEADERS, END_HEADERS | END_STREAM, stream, fields("GET"))
}

/// A `POST` whose body follows.
pub fn post(stream: u32) -> Frame {
    Frame::new(HEADERS, END_HEADERS, stream, fields("POST"))
}

pub fn data(flags: u8, stream: u32, payload: &str) -> Frame {
    Frame::new(DATA, flags, stream, payload)
}

/// A header block that goes on.
fn begun(stream: u32) -> Frame {
    Frame::new(HEADERS, END_STREAM, stream, fields("GET"))
}

fn continued(flags: u8, stream: u32) -> Frame {
    Frame::new(CONTINUATION, flags, stream, block(&[("x-more", "fields")]))
}

fn priority(stream: u32, parent: u32) -> Frame {
    Frame::new(PRIORITY, 0, stream, [&parent.to_be_bytes()[..], &[255]].concat())
}

fn reset(stream: u32) -> Frame {
    Frame::new(RST_STREAM, 0, stream, 8_u32.to_be_bytes())
}

fn window(stream: u32, more: u32) -> Frame {
    Frame::new(WINDOW_UPDATE, 0, stream, more.to_be_bytes())
}

fn settings(settings: &[(u16, u32)]) -> Frame {
    let bytes = settings
        .iter()
        .map(|(id, value)| [id.to_be_bytes().to_vec(), value.to_be_bytes().to_vec()].concat());
    Frame::new(SETTINGS, 0, 0, bytes.collect::<Vec<_>>().concat())
}

fn ping() -> Frame {
    Frame::new(PING, 0, 0, *b"question")
}

/// Tries each rule over a connection of its own.
pub async fn hold(rules: Vec<Rule>) {
    let pair = pair().await;
    let mut tries = JoinSet::new();
    for rule in rules {
        let address = pair.gateway.data;
        tries.spawn(async move { follow(Http2::connect(address).await, &rule).await });
    }
    let told: Vec<_> = tries.join_all().await;
    let broken: Vec<_> = told.into_iter().filter_map(Result::err).collect();
    assert!(broken.is_empty(), "{broken:#?}");
}

/// Tries a rule over this connection; `Err` = what happened instead.
async fn follow(mut client: Http2, rule: &Rule) -> Result<(), String> {
    begin(&mut client).await?;
    for frame in &rule.frames {
        drop(client.try_send_bytes(&frame.bytes()).await);
    }
    if !rule.later.is_empty() {
        while !client.next_frame().await.is_some_and(|frame| ends(&frame, 1)) {}
        for frame in &rule.later {
            drop(client.try_send_bytes(&frame.bytes()).await);
        }
    }
    let (mut body, mut seen) = (0, Vec::new());
    loop {
        let Some(frame) = client.next_frame().await else {
            return Err(format!("{}: closed after {seen:?}", rule.name));
        };
        seen.push((frame.kind, frame.flags, frame.stream, frame.payload.len()));
        match judge(rule.must, &frame, &mut body) {
            Judged::Ended => {
                while client.next_frame().await.is_some() {}
                return Ok(());
            }
            Judged::Kept if matches!(rule.must, Must::SendBytes(_)) => return Ok(()),
            Judged::Kept => return is_served_next(&mut client, rule).await,
            Judged::Other if matches!(frame.kind, GOAWAY | RST_STREAM) => {
                return Err(format!("{}: code {} at {seen:?}", rule.name, frame.code()));
            }
            Judged::Other => {}
        }
    }
}

/// Both sides have said and acknowledged what they are set to.
async fn begin(client: &mut Http2) -> Result<(), String> {
    let (mut acknowledged, mut set) = (false, false);
    while !(acknowledged && set) {
        let frame = client.next_frame().await.ok_or("closed before it began")?;
        acknowledged |= frame.kind == SETTINGS && frame.flags & ACK != 0;
        set |= frame.kind == SETTINGS && frame.flags & ACK == 0;
    }
    client.send(&Frame::new(SETTINGS, ACK, 0, [])).await;
    Ok(())
}

/// What a frame means for a rule.
enum Judged {
    /// It is what the rule demands, and the connection goes on.
    Kept,
    /// It is what the rule demands, and the connection ends.
    Ended,
    /// It is something else.
    Other,
}

fn judge(must: Must, frame: &Frame, body: &mut usize) -> Judged {
    let is_kept = match (must, frame.kind) {
        (Must::End(code) | Must::Refuse(_, code), GOAWAY) if frame.code() == code => {
            return Judged::Ended;
        }
        (Must::Close, GOAWAY) => return Judged::Ended,
        (Must::Reset(stream, code) | Must::Refuse(stream, code), RST_STREAM) => {
            frame.stream == stream && frame.code() == code
        }
        (Must::Bear, PING) => frame.flags == ACK && frame.payload == b"question",
        // `:status: 200`, indexed.
        (Must::Answer(stream), HEADERS) => {
            frame.stream == stream && frame.payload.first() == Some(&0x88)
        }
        (Must::SendBytes(length), DATA) => {
            *body += frame.payload.len();
            *body == length
        }
        _ => false,
    };
    if is_kept { Judged::Kept } else { Judged::Other }
}

/// Is a request on the next stream answered?
async fn is_served_next(client: &mut Http2, rule: &Rule) -> Result<(), String> {
    let streams = rule.frames.iter().chain(&rule.later).map(|frame| frame.stream & 0x7fff_ffff);
    let next = (streams.max().unwrap_or(0) | 1) + 2;
    client.send(&get(next)).await;
    loop {
        match client.next_frame().await {
            Some(frame) if frame.kind == HEADERS && frame.stream == next => return Ok(()),
            Some(frame) if frame.kind != GOAWAY => {}
            frame => return Err(format!("{}: then {frame:?}", rule.name)),
        }
    }
}

fn ends(frame: &Frame, stream: u32) -> bool {
    frame.stream == stream && matches!(frame.kind, DATA | HEADERS) && frame.flags & END_STREAM != 0
}

/// RFC 9113, section 4.
fn frames() -> Vec<Rule> {
    let unknown = Frame::new(UNKNOWN, 0, 0, [0; 8]);
    let with_flags = Frame::new(PING, 0x16, 0, *b"question");
    let reserved_bit = Frame::new(PING, 0x16, 0x8000_0000, *b"question");
    let full = "x".repeat(16_384);
    let too_long = "x".repeat(16_385);
    let long_value = "v".repeat(4_000);
    let long = [&request("GET", ACME, "/")[..], &[("x-a", &*long_value); 5]].concat();
    let flags = END_HEADERS | END_STREAM;
    vec![
        rule("4.1 frames of an unknown type", [unknown.clone(), ping()], Must::Bear),
        rule("4.1 flags that are not defined", [with_flags], Must::Bear),
        rule("4.1 the reserved bit", [reserved_bit], Must::Bear),
        rule("4.2 a frame of 2^14 bytes", [post(1), data(END_STREAM, 1, &full)], Must::Answer(1)),
        rule("4.2 longer DATA", [post(1), data(END_STREAM, 1, &too_long)], Must::End(FRAME_SIZE)),
        rule(
            "4.2 longer HEADERS",
            [Frame::new(HEADERS, flags, 1, block(&long))],
            Must::End(FRAME_SIZE),
        ),
        rule(
            "4.3 a block that breaks off",
            [Frame::new(HEADERS, flags, 1, [0x40])],
            Must::End(COMPRESSION),
        ),
        rule(
            "4.3 PRIORITY within a block",
            [begun(1), priority(1, 0), continued(END_HEADERS, 1)],
            Must::End(PROTOCOL),
        ),
        rule(
            "4.3 HEADERS of another stream within a block",
            [begun(1), get(3), continued(END_HEADERS, 1)],
            Must::End(PROTOCOL),
        ),
        rule(
            "5.5 frames of an unknown type within a block",
            [begun(1), unknown],
            Must::End(PROTOCOL),
        ),
    ]
}

/// RFC 9113, section 5.
fn streams() -> Vec<Rule> {
    let own_parent = [&1_u32.to_be_bytes()[..], &[255], &fields("GET")].concat();
    let own_parent = Frame::new(HEADERS, END_HEADERS | END_STREAM | HAS_PRIORITY, 1, own_parent);
    vec![
        rule("5.1 idle: DATA", [data(END_STREAM, 1, "test")], Must::End(PROTOCOL)),
        rule("5.1 idle: RST_STREAM", [reset(1)], Must::End(PROTOCOL)),
        rule("5.1 idle: WINDOW_UPDATE", [window(1, 100)], Must::End(PROTOCOL)),
        rule("5.1 idle: CONTINUATION", [continued(END_HEADERS, 1)], Must::End(PROTOCOL)),
        rule("5.1 idle: PRIORITY", [priority(1, 0), ping()], Must::Bear),
        rule("5.1 half closed: DATA", [get(1), data(END_STREAM, 1, "x")], Must::End(STREAM_CLOSED)),
        rule("5.1 half closed: HEADERS", [get(1), get(1)], Must::End(STREAM_CLOSED)),
        rule(
            "5.1 half closed: CONTINUATION",
            [get(1), continued(END_HEADERS, 1)],
            Must::End(PROTOCOL),
        ),
        rule("5.1 half closed: PRIORITY", [get(1), priority(1, 0)], Must::Answer(1)),
        rule("5.1 half closed: WINDOW_UPDATE", [get(1), window(1, 1)], Must::Answer(1)),
        rule("5.1 half closed: RST_STREAM", [get(1), reset(1), ping()], Must::Bear),
        rule(
            "5.1 reset: DATA",
            [post(1), reset(1), data(END_STREAM, 1, "x")],
            Must::End(STREAM_CLOSED),
        ),
        rule("5.1 reset: HEADERS", [post(1), reset(1), get(1)], Must::End(STREAM_CLOSED)),
        rule(
            "5.1 reset: CONTINUATION",
            [post(1), reset(1), continued(END_HEADERS, 1)],
            Must::End(PROTOCOL),
        ),
        closed("5.1 closed: DATA", [data(END_STREAM, 1, "x")], Must::End(STREAM_CLOSED)),
        closed("5.1 closed: HEADERS", [get(1)], Must::End(STREAM_CLOSED)),
        closed("5.1 closed: CONTINUATION", [continued(END_HEADERS, 1)], Must::End(PROTOCOL)),
        closed("5.1 closed: PRIORITY", [priority(1, 0), ping()], Must::Bear),
        closed("5.1 closed: WINDOW_UPDATE", [window(1, 1), ping()], Must::Bear),
        closed("5.1 closed: RST_STREAM", [reset(1), ping()], Must::Bear),
        rule("5.1.1 an even number", [get(2)], Must::End(PROTOCOL)),
        rule("5.1.1 a smaller number", [get(5), get(3)], Must::End(PROTOCOL)),
        rule("5.1.1 the same number", [get(5), get(5)], Must::End(STREAM_CLOSED)),
        rule(
            "7540 5.3.1 HEADERS that depend on themselves",
            [own_parent],
            Must::Reset(1, PROTOCOL),
        ),
        rule(
            "7540 5.3.1 PRIORITY that depends on itself",
            [priority(1, 1)],
            Must::Reset(1, PROTOCOL),
        ),
        rule(
            "5.4.1 an error is told before the end",
            [Frame::new(PING, 0, 3, [0; 8])],
            Must::End(PROTOCOL),
        ),
    ]
}

/// RFC 9113, sections 6.1 to 6.4.
fn definitions() -> Vec<Rule> {
    let padded = |kind, flags, padding: u8, payload: &[u8], behind: usize| {
        let payload = [&[padding], payload, &vec![0; behind]].concat();
        Frame::new(kind, flags | PADDED, 1, payload)
    };
    let fields = fields("GET");
    let length = u8::try_from(fields.len()).unwrap();
    let both = END_HEADERS | END_STREAM;
    let wrong = |kind, stream, length| Frame::new(kind, 0, stream, vec![0; length]);
    let weighed = |weight: u8, parent: u32| {
        let payload = [&parent.to_be_bytes()[..], &[weight], &fields].concat();
        Frame::new(HEADERS, both | HAS_PRIORITY, 1, payload)
    };
    vec![
        rule("6.1 DATA on stream 0", [data(END_STREAM, 0, "x")], Must::End(PROTOCOL)),
        rule("6.1 DATA", [post(1), data(0, 1, "x"), data(END_STREAM, 1, "y")], Must::Answer(1)),
        rule("6.1 padding", [post(1), padded(DATA, END_STREAM, 6, b"x", 6)], Must::Answer(1)),
        rule(
            "6.1 too much padding",
            [post(1), padded(DATA, END_STREAM, 6, b"Test", 0)],
            Must::End(PROTOCOL),
        ),
        rule("6.2 padding", [padded(HEADERS, both, 8, &fields, 8)], Must::Answer(1)),
        rule("6.2 priority", [weighed(255, 0)], Must::Answer(1)),
        rule("6.2 an exclusive priority", [weighed(0, 0x8000_0000)], Must::Answer(1)),
        rule(
            "6.2 too much padding",
            [padded(HEADERS, both, length + 1, &fields, 0)],
            Must::End(PROTOCOL),
        ),
        rule("6.2 HEADERS on stream 0", [get(0)], Must::End(PROTOCOL)),
        rule("6.3 priority of an idle stream", [priority(3, 0), get(1)], Must::Answer(1)),
        rule("6.3 priority below another stream", [priority(3, 1), get(1)], Must::Answer(1)),
        rule("6.3 priority of all", [priority(1, 0x8000_0000), get(1)], Must::Answer(1)),
        rule("6.3 PRIORITY on stream 0", [priority(0, 0)], Must::End(PROTOCOL)),
        rule("6.3 PRIORITY of four bytes", [get(1), wrong(PRIORITY, 1, 4)], Must::End(FRAME_SIZE)),
        rule("6.4 RST_STREAM on stream 0", [reset(0)], Must::End(PROTOCOL)),
        rule(
            "6.4 RST_STREAM of three bytes",
            [get(1), wrong(RST_STREAM, 1, 3)],
            Must::End(FRAME_SIZE),
        ),
    ]
}

/// RFC 9113, sections 6.5 to 6.8.
fn definitions_of_the_connection() -> Vec<Rule> {
    let wrong = |kind, stream, length| Frame::new(kind, 0, stream, vec![0; length]);
    let promise = [&[0, 0, 0, 2][..], &fields("GET")].concat();
    vec![
        rule(
            "6.5 acknowledgement with bytes",
            [Frame::new(SETTINGS, ACK, 0, [0])],
            Must::End(FRAME_SIZE),
        ),
        rule(
            "6.5 SETTINGS on stream 1",
            [Frame::new(SETTINGS, 0, 1, [0, 3, 0, 0, 0, 9])],
            Must::End(PROTOCOL),
        ),
        rule("6.5 SETTINGS of nine bytes", [wrong(SETTINGS, 0, 9)], Must::End(FRAME_SIZE)),
        rule(
            "6.5 each setting",
            [settings(&[(1, 4096), (2, 1), (3, 100), (4, 65_535), (5, 16_384), (6, 100)]), ping()],
            Must::Bear,
        ),
        rule("6.5.2 push 2", [settings(&[(2, 2)])], Must::End(PROTOCOL)),
        rule("6.5.2 a window of 2^31", [settings(&[(4, 1 << 31)])], Must::Close),
        rule("6.5.2 frames below 2^14", [settings(&[(5, 16_383)])], Must::End(PROTOCOL)),
        rule("6.5.2 frames of 2^24", [settings(&[(5, 1 << 24)])], Must::End(PROTOCOL)),
        rule("6.5.2 an unknown setting", [settings(&[(0xff, 1)]), ping()], Must::Bear),
        rule(
            "6.6 PUSH_PROMISE",
            [Frame::new(PUSH_PROMISE, END_HEADERS, 1, promise)],
            Must::End(PROTOCOL),
        ),
        rule("6.7 PING", [ping()], Must::Bear),
        rule(
            "6.7 an answer to no PING",
            [Frame::new(PING, ACK, 0, *b"nothing!"), ping()],
            Must::Bear,
        ),
        rule("6.7 PING on stream 1", [wrong(PING, 1, 8)], Must::End(PROTOCOL)),
        rule("6.7 PING of six bytes", [wrong(PING, 0, 6)], Must::End(FRAME_SIZE)),
        rule("6.8 GOAWAY on stream 1", [wrong(GOAWAY, 1, 8)], Must::End(PROTOCOL)),
    ]
}

/// RFC 9113, sections 6.10 and 7.
fn continuations() -> Vec<Rule> {
    vec![
        rule(
            "6.10 a block in three frames",
            [begun(1), continued(0, 1), continued(END_HEADERS, 1)],
            Must::Answer(1),
        ),
        rule(
            "6.10 DATA within a block",
            [begun(1), continued(0, 1), data(END_STREAM, 1, "x")],
            Must::End(PROTOCOL),
        ),
        rule(
            "6.10 CONTINUATION on stream 0",
            [begun(1), continued(END_HEADERS, 0)],
            Must::End(PROTOCOL),
        ),
        rule(
            "6.10 CONTINUATION of another",
            [begun(1), continued(END_HEADERS, 3)],
            Must::End(PROTOCOL),
        ),
        rule(
            "6.10 CONTINUATION after the end",
            [begun(1), continued(END_HEADERS, 1), continued(END_HEADERS, 1)],
            Must::End(PROTOCOL),
        ),
        rule(
            "7 an unknown code",
            [post(1), Frame::new(RST_STREAM, 0, 1, [0, 0, 0, 255]), ping()],
            Must::Bear,
        ),
    ]
}

/// RFC 9113, section 6.9.
fn flow_control() -> Vec<Rule> {
    const MOST: u32 = 0x7fff_ffff;
    vec![
        rule("6.9 nothing more", [window(0, 0)], Must::End(PROTOCOL)),
        rule("6.9 nothing more for a stream", [post(1), window(1, 0)], Must::Refuse(1, PROTOCOL)),
        rule(
            "6.9 of three bytes",
            [Frame::new(WINDOW_UPDATE, 0, 0, [0, 0, 1])],
            Must::End(FRAME_SIZE),
        ),
        rule("6.9 one more", [window(0, 1), ping()], Must::Bear),
        rule("6.9.1 a window of one", [settings(&[(4, 1)]), get(1)], Must::SendBytes(1)),
        rule("6.9.1 too much", [window(0, MOST), window(0, MOST)], Must::End(FLOW_CONTROL)),
        rule(
            "6.9.1 too much for a stream",
            [post(1), window(1, MOST), window(1, MOST)],
            Must::Reset(1, FLOW_CONTROL),
        ),
        rule(
            "6.9.2 the last value counts",
            [settings(&[(4, 100), (4, 1)]), get(1)],
            Must::SendBytes(1),
        ),
        rule(
            "6.9.2 streams that are open follow",
            [settings(&[(4, 0)]), get(1), settings(&[(4, 1)])],
            Must::SendBytes(1),
        ),
        rule(
            "6.9.2 too much for a stream that is open",
            [post(1), window(1, MOST - 65_535), settings(&[(4, 65_536)])],
            Must::End(FLOW_CONTROL),
        ),
    ]
}

#[tokio::test]
async fn frames_are_taken_and_refused_as_section_4_says() {
    hold(frames()).await;
}

#[tokio::test]
async fn streams_have_the_states_of_section_5() {
    hold(streams()).await;
}

#[tokio::test]
async fn each_type_of_frame_is_read_as_section_6_says() {
    let rules = [definitions(), definitions_of_the_connection(), continuations()];
    hold(rules.into_iter().flatten().collect()).await;
}

#[tokio::test]
async fn windows_are_kept_as_section_6_9_says() {
    hold(flow_control()).await;
}

#[tokio::test]
async fn a_client_that_goes_away_is_let_go() {
    let pair = pair().await;
    for code in [0_u32, 0xff] {
        let mut client = Http2::connect(pair.gateway.data).await;
        let payload = [&[0; 4], &code.to_be_bytes()[..], b"bye"].concat();
        client.send(&Frame::new(GOAWAY, 0, 0, payload)).await;
        assert!(matches!(client.closed().await, None | Some(0)), "code {code}");
    }
}

#[tokio::test]
async fn more_streams_than_the_gateway_said_are_refused() {
    let pair = pair().await;
    let mut client = Http2::connect(pair.gateway.data).await;
    let first = client.next_frame().await.unwrap();
    assert_eq!((first.kind, first.flags), (SETTINGS, 0), "the first frame of a server");
    let most = first.payload.chunks(6).find(|setting| setting[..2] == [0, 3]).unwrap();
    let most = u32::from_be_bytes(most[2..].try_into().unwrap());
    client.send(&settings(&[(4, 0)])).await;
    for number in 0..=most {
        client.send(&get(number * 2 + 1)).await;
    }
    let refused = loop {
        let frame = client.next_frame().await.expect("a refusal");
        if frame.kind == RST_STREAM {
            break frame;
        }
    };
    assert_eq!((refused.stream, refused.code()), (most * 2 + 1, REFUSED_STREAM));
}

#[tokio::test]
async fn what_is_no_preface_is_the_end() {
    let pair = Pair::planned(PAIR, |plan| plan.set("listener", "protocols", r#"["h2c"]"#)).await;
    let mut client = Client::connect(pair.gateway.data).await;
    client.send(b"INVALID CONNECTION PREFACE\r\n\r\n").await;
    drop(client.closed().await);
}

#[tokio::test]
async fn where_http1_is_spoken_too_it_is_the_end_without_an_answer() {
    let (both, http1) = (r#"["http/1.1", "h2c"]"#, r#"["http/1.1"]"#);
    let other_version = "GET / HTTP/3.0\r\n\r\n";
    for (protocols, first, answer) in [
        (both, "INVALID CONNECTION PREFACE\r\n\r\n", ""),
        (both, other_version, "HTTP/1.1 400 "),
        (http1, "INVALID CONNECTION PREFACE\r\n\r\n", "HTTP/1.1 400 "),
    ] {
        let pair = Pair::planned(PAIR, |plan| plan.set("listener", "protocols", protocols)).await;
        let mut client = Client::connect(pair.gateway.data).await;
        client.send(first).await;
        let told = client.closed().await;
        assert_eq!(told.get(..answer.len()), Some(answer.as_bytes()), "{first:?} to {protocols}");
        assert_eq!(told.is_empty(), answer.is_empty(), "{first:?} to {protocols}");
        let counted =
            pair.gateway.metric("stampgate_errors_total", &[("code", "malformed_request")]);
        assert!((counted.await - 1.0).abs() < 0.5);
    }
}

#[tokio::test]
async fn over_tls_the_rules_are_the_same() {
    let door = Door::planned("", |plan, _| plan.set("listener", "protocols", r#"["h2"]"#)).await;
    for rule in streams().into_iter().chain(flow_control()) {
        let config = door.visitor().offers(&["h2"]).config();
        let visited = door.try_visit(&config, ACME).await.unwrap();
        let client = Http2::over(visited.into_stream(), &[]).await;
        follow(client, &rule).await.unwrap();
    }
}
