//! Section 6 of the contract: how a drain ends what is long-lived, and what it spares.

use serde_json::json;
use tokio::time::Instant;

use crate::connections::upgrade;
use crate::drain::{becomes, undrain};
use crate::drain_progress::{drain_within, overdue, progress, streaming, tunnelling, waiting};
use crate::harness::client::Client;
use crate::harness::command::operate;
use crate::harness::gateway::{Gateway, Plan};
use crate::harness::http1::get;
use crate::harness::scene::{ACME, GLOBEX, PAIR, Pair};
use crate::harness::script::{Gate, Script, feed};

/// A frame as a client sends it: "hello", masked with zeros.
const HELLO: &[u8] = &[0x81, 0x85, 0, 0, 0, 0, b'h', b'e', b'l', b'l', b'o'];
/// A close frame with code 1012, as a server sends it.
const RESTART: &[u8] = &[0x88, 2, 0x03, 0xf4];
/// A client's answer to it.
const CLOSE: &[u8] = &[0x88, 0x82, 0, 0, 0, 0, 0x03, 0xf4];

async fn force_within(gateway: &Gateway, stamp: &str, deadline: &str) {
    let order = json!({ "deadline": deadline, "force": true });
    let target = format!("/v1/stamps/{stamp}/drain");
    let answer = gateway.admin("POST", &target, Some(&order)).await;
    assert_eq!(answer.status, 202, "{}", answer.text());
}

/// Sends a frame through a tunnel and gets it back.
async fn echoes(client: &mut Client) {
    client.send(HELLO).await;
    assert_eq!(client.exactly(HELLO.len()).await, HELLO);
}

#[tokio::test]
async fn a_websocket_is_told_to_come_back_elsewhere() {
    let pair = Pair::start().await;
    let mut client = tunnelling(&pair).await;
    echoes(&mut client).await;
    drain_within(&pair.gateway, "1s").await;
    assert_eq!(client.exactly(RESTART.len()).await, RESTART);
    client.send(CLOSE).await;
    assert!(client.closed().await.is_empty(), "after a close frame comes nothing");
    becomes(&pair.gateway, "a", "drained").await;
}

#[tokio::test]
async fn a_stamp_is_told_that_its_websocket_leaves() {
    let pair = Pair::start().await;
    let mut client = tunnelling(&pair).await;
    echoes(&mut client).await;
    drain_within(&pair.gateway, "1s").await;
    assert_eq!(client.exactly(RESTART.len()).await, RESTART);
    client.send(CLOSE).await;
    pair.a.left_by(1).await;
    let body = pair.a.only().body;
    let (passed, farewell) = body.split_at(HELLO.len());
    assert_eq!(passed, HELLO);
    let [0x88, 0x82, one, two, _, _, high, low] = *farewell else { panic!("{farewell:?}") };
    assert_eq!([high ^ one, low ^ two], 1001_u16.to_be_bytes(), "going away");
}

#[tokio::test]
async fn a_websockets_goodbye_waits_for_the_end_of_the_frame_under_way() {
    let pair = Pair::start().await;
    let mut client = tunnelling(&pair).await;
    let (begun, rest) = HELLO.split_at(8);
    client.send(begun).await;
    assert_eq!(client.exactly(begun.len()).await, begun);
    drain_within(&pair.gateway, "1s").await;
    // The moment of the goodbye is before the deadline, and its patience lasts beyond that.
    overdue(&pair.gateway).await;
    client.send([rest, HELLO].concat()).await;
    let told = client.exactly(rest.len() + RESTART.len()).await;
    assert_eq!(told, [rest, RESTART].concat(), "the frame whole, ours, and no other");
}

#[tokio::test]
async fn a_websocket_within_a_frame_that_never_ends_is_cut_all_the_same() {
    let pair = Pair::start().await;
    let mut client = tunnelling(&pair).await;
    client.send(&HELLO[..8]).await;
    assert_eq!(client.exactly(8).await, &HELLO[..8]);
    drain_within(&pair.gateway, "1s").await;
    assert!(client.closed().await.is_empty(), "nothing is said within a frame");
    becomes(&pair.gateway, "a", "drained").await;
}

#[tokio::test]
async fn another_upgrade_is_just_closed() {
    let pair = Pair::start().await;
    let switched =
        "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n";
    pair.a.plays(Script::Raw(switched.into()));
    let mut client = pair.gateway.connect().await;
    let request = get(ACME, "/").header("Connection", "Upgrade").header("Upgrade", "echo");
    client.send(request.bytes()).await;
    assert_eq!(client.head().await.status().unwrap(), 101);
    drain_within(&pair.gateway, "1s").await;
    assert!(client.closed().await.is_empty());
    becomes(&pair.gateway, "a", "drained").await;
}

#[tokio::test]
async fn a_stream_is_cut_so_that_it_shows() {
    let pair = Pair::start().await;
    let (sender, receiver) = feed();
    let mut client = streaming(&pair, receiver).await;
    sender.send("data: 1\n\n".into()).unwrap();
    assert_eq!(client.chunk().await.unwrap(), b"data: 1\n\n");
    drain_within(&pair.gateway, "1s").await;
    assert!(client.closed().await.is_empty(), "no last chunk: the answer is not whole");
    becomes(&pair.gateway, "a", "drained").await;
    assert_eq!(progress(&pair.gateway).await["overdue"], false);
}

#[tokio::test]
async fn long_lived_connections_are_not_closed_all_at_once() {
    let pair = Pair::start().await;
    pair.a.plays(Script::Upgrade);
    let mut clients = Vec::new();
    for _ in 0..24 {
        let mut client = pair.gateway.connect().await;
        client.send(upgrade(ACME).bytes()).await;
        assert_eq!(client.head().await.status().unwrap(), 101);
        clients.push(client);
    }
    let began = Instant::now();
    drain_within(&pair.gateway, "3s").await;
    let mut told = tokio::task::JoinSet::new();
    for mut client in clients {
        told.spawn(async move {
            assert_eq!(client.exactly(RESTART.len()).await, RESTART);
            Instant::now()
        });
    }
    let told = told.join_all().await;
    let (first, last) = (told.iter().min().unwrap(), told.iter().max().unwrap());
    // The window is the second half of 3 to 4 seconds, less a tenth. That all 24 fall into a third
    // of it has a chance of one in a thousand million.
    assert!(first.duration_since(began).as_millis() >= 1_500, "before the window");
    assert!(last.duration_since(*first).as_millis() >= 450, "a herd");
}

#[tokio::test]
async fn an_undrain_keeps_everything_open() {
    let pair = Pair::start().await;
    let (sender, receiver) = feed();
    let mut stream = streaming(&pair, receiver).await;
    let mut tunnel = tunnelling(&pair).await;
    drain_within(&pair.gateway, "1s").await;
    assert_eq!(undrain(&pair.gateway, "a").await.status, 200);
    // A drain of the same length that began later and is over: the first one would be as well.
    pair.b.plays(Script::Hang);
    let mut other = pair.gateway.connect().await;
    other.send(get(GLOBEX, "/").bytes()).await;
    pair.b.reached_by(1).await;
    force_within(&pair.gateway, "b", "1s").await;
    becomes(&pair.gateway, "b", "drained").await;
    sender.send("data: 1\n\n".into()).unwrap();
    assert_eq!(stream.chunk().await.unwrap(), b"data: 1\n\n");
    echoes(&mut tunnel).await;
}

#[tokio::test]
async fn a_forced_drain_answers_for_a_stamp_that_does_not() {
    let pair = Pair::start().await;
    pair.a.plays(Script::Hang);
    let mut client = pair.gateway.connect().await;
    client.send(get(ACME, "/").bytes()).await;
    pair.a.reached_by(1).await;
    force_within(&pair.gateway, "a", "1s").await;
    client.answer().await.assert_problem(504, "upstream_timeout");
    pair.a.left_by(1).await;
    becomes(&pair.gateway, "a", "drained").await;
    assert_eq!(pair.a.count() + pair.b.count(), 1, "what was sent is not repeated");
    assert_eq!(client.exchange(&get(ACME, "/next")).await.served_by(), "b");
}

#[tokio::test]
async fn a_forced_drain_cuts_an_answer_that_goes_on() {
    let pair = Pair::start().await;
    pair.a.plays(Script::Download(1 << 40));
    let mut client = pair.gateway.connect().await;
    client.send(get(ACME, "/").bytes()).await;
    assert_eq!(client.head().await.status().unwrap(), 200);
    force_within(&pair.gateway, "a", "1s").await;
    while !client.some(1 << 20).await.is_empty() {}
    becomes(&pair.gateway, "a", "drained").await;
}

#[tokio::test]
async fn a_forced_drain_cuts_an_answer_that_the_client_does_not_take() {
    // Nothing else may end it.
    let patient = |plan: Plan| plan.set("limits", "min_bytes_per_second", "0");
    let pair = Pair::planned(PAIR, patient).await;
    pair.a.plays(Script::Download(1 << 40));
    let mut client = pair.gateway.connect().await;
    client.send(get(ACME, "/").bytes()).await;
    assert_eq!(client.head().await.status().unwrap(), 200);
    force_within(&pair.gateway, "a", "1s").await;
    becomes(&pair.gateway, "a", "drained").await;
    pair.a.left_by(1).await;
}

#[tokio::test]
async fn a_forced_drain_on_the_command_line_ends_at_its_deadline() {
    let pair = Pair::start().await;
    let _request = waiting(&pair, &Gate::closed()).await;
    let arguments = ["drain", "a", "--wait", "--force", "--deadline", "1s"];
    let ended = operate(&pair.gateway, &arguments).await.exits(0);
    assert!(ended.stdout.contains("drained"), "{ended:?}");
}
