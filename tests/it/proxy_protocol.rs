//! Who passes connections on says first whose they are: the PROXY protocol, versions 1 and 2.

use std::net::Ipv4Addr;

use rustix::process::Signal;

use crate::harness::client::Client;
use crate::harness::deadline::eventually;
use crate::harness::gateway::{Gateway, Plan};
use crate::harness::http1::{Broken, get};
use crate::harness::scene::{ACME, PAIR, Pair};
use crate::harness::script::Script;

/// What version 2 begins with.
const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
const REFUSED: &str = "stampgate_proxy_protocol_refused_total";

/// The usual scene behind a proxy at 127.0.0.1 that passes connections on.
async fn proxied(change: impl FnOnce(Plan) -> Plan) -> Pair {
    Pair::planned(PAIR, |plan| {
        change(plan.set("listener", "proxy_protocol", "\"required\"").set(
            "trust",
            "proxies",
            "[\"127.0.0.1\", \"10.0.0.0/8\"]",
        ))
    })
    .await
}

fn line(client: &str) -> String {
    format!("PROXY TCP4 {client} 198.51.100.1 4711 443\r\n")
}

/// A header of version 2.
fn binary(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
    let length = u16::try_from(rest.len()).unwrap().to_be_bytes();
    [SIGNATURE, &[command, family], &length, rest].concat()
}

/// 192.0.2.7, port 4711, to 198.51.100.1, port 443.
const ADDRESSES: [u8; 12] = [192, 0, 2, 7, 198, 51, 100, 1, 0x12, 0x67, 1, 0xbb];

/// A connection that begins with these bytes.
async fn after(gateway: &Gateway, header: impl AsRef<[u8]>) -> Client {
    let mut client = gateway.connect().await;
    client.send(header).await;
    client
}

/// Checks whose address the stamp is told, and the access log tells, after this header.
async fn assert_told(pair: &Pair, header: impl AsRef<[u8]>, address: &str) {
    let mut client = after(&pair.gateway, header).await;
    let path = format!("/from/{address}");
    let answer = client.exchange(&get(ACME, &path)).await;
    assert_eq!(answer.arrived("x-forwarded-for"), [address]);
    let node = if address.contains(':') { format!("\"[{address}]\"") } else { address.to_owned() };
    let forwarded = answer.arrived("forwarded").concat();
    assert!(forwarded.starts_with(&format!("for={node};")), "{forwarded}");
    assert_logged(pair, &path, address).await;
}

async fn assert_logged(pair: &Pair, path: &str, address: &str) {
    let (path, address) =
        (format!("\"url.path\":\"{path}\""), format!("\"client.address\":\"{address}\""));
    eventually("the line of the access log", async || {
        let log = pair.gateway.log();
        let line = log.lines().find(|line| line.contains(&path))?;
        assert!(line.contains(&address), "{line}");
        Some(())
    })
    .await;
}

async fn assert_counted(pair: &Pair, reason: &str, count: f64) {
    eventually(&format!("{count} refused as {reason}"), async || {
        let labels = [("listener", "public"), ("reason", reason)];
        let counted = pair.gateway.metric(REFUSED, &labels).await;
        (counted >= count).then(|| assert!((counted - count).abs() < 0.5, "{counted}"))
    })
    .await;
}

/// Checks that what begins like this is closed without a word, and counted.
async fn assert_closed(pair: &Pair, bytes: impl AsRef<[u8]>, reason: &str) {
    let mut client = pair.gateway.connect().await;
    // The gateway may close before it was sent everything.
    let _sent = client.try_send(bytes).await;
    assert_eq!(client.closed().await, b"");
    assert_counted(pair, reason, 1.0).await;
    assert_eq!(pair.a.count(), 0);
}

#[tokio::test]
async fn version_1_names_the_client() {
    let pair = proxied(|plan| plan).await;
    assert_told(&pair, line("192.0.2.7"), "192.0.2.7").await;
    assert_told(&pair, "PROXY TCP6 2001:db8::7 ::1 4711 443\r\n", "2001:db8::7").await;
    assert_told(&pair, "PROXY TCP6 ::ffff:192.0.2.8 ::1 4711 443\r\n", "192.0.2.8").await;
}

#[tokio::test]
async fn version_2_names_the_client() {
    let pair = proxied(|plan| plan).await;
    assert_told(&pair, binary(0x21, 0x11, &ADDRESSES), "192.0.2.7").await;
    let mut addresses = [0; 36];
    addresses[..4].copy_from_slice(&[0x20, 0x01, 0x0d, 0xb8]);
    assert_told(&pair, binary(0x21, 0x21, &addresses), "2001:db8::").await;
}

#[tokio::test]
async fn what_version_2_says_besides_is_skipped() {
    let pair = proxied(|plan| plan).await;
    for more in [7, 300, 4068] {
        let header = binary(0x21, 0x11, &[&ADDRESSES[..], &vec![b'G'; more]].concat());
        assert_told(&pair, header, "192.0.2.7").await;
    }
}

#[tokio::test]
async fn a_header_may_come_byte_by_byte() {
    let pair = proxied(|plan| plan).await;
    for header in [line("192.0.2.7").into_bytes(), binary(0x21, 0x11, &ADDRESSES)] {
        let mut client = pair.gateway.connect().await;
        for byte in header {
            client.send([byte]).await;
            tokio::task::yield_now().await;
        }
        let answer = client.exchange(&get(ACME, "/")).await;
        assert_eq!(answer.arrived("x-forwarded-for"), ["192.0.2.7"]);
    }
}

#[tokio::test]
async fn a_header_holds_for_all_requests_that_follow_it() {
    let pair = proxied(|plan| plan).await;
    let request = get(ACME, "/").bytes();
    let all = [line("192.0.2.7").as_bytes(), &request, &request].concat();
    let mut client = after(&pair.gateway, all).await;
    for _ in 0..2 {
        assert_eq!(client.answer().await.arrived("x-forwarded-for"), ["192.0.2.7"]);
    }
    let answer = client.exchange(&get(ACME, "/")).await;
    assert_eq!(answer.arrived("x-forwarded-for"), ["192.0.2.7"]);
}

#[tokio::test]
async fn only_one_header_is_taken() {
    let pair = proxied(|plan| plan).await;
    let mut client = after(
        &pair.gateway,
        [line("192.0.2.7"), line("192.0.2.8") + "Host: " + ACME + "\r\n\r\n"].concat(),
    )
    .await;
    assert_eq!(client.answer().await.status, 400);
    assert_eq!(pair.a.count(), 0);
}

#[tokio::test]
async fn a_proxys_own_connection_has_its_address_and_its_trust() {
    let pair = proxied(|plan| plan).await;
    let mut client = after(&pair.gateway, binary(0x20, 0, b"")).await;
    let request = get(ACME, "/own").header("X-Forwarded-For", "203.0.113.9");
    let answer = client.exchange(&request).await;
    assert_eq!(answer.arrived("x-forwarded-for"), ["203.0.113.9, 127.0.0.1"]);
    assert_logged(&pair, "/own", "203.0.113.9").await;
}

#[tokio::test]
async fn whom_a_proxy_cannot_name_has_its_address_but_not_its_trust() {
    let pair = proxied(|plan| plan).await;
    for header in [b"PROXY UNKNOWN\r\n".to_vec(), binary(0x21, 0, b"")] {
        let mut client = after(&pair.gateway, header).await;
        let answer =
            client.exchange(&get(ACME, "/").header("X-Forwarded-For", "203.0.113.9")).await;
        assert_eq!(answer.arrived("x-forwarded-for"), ["127.0.0.1"]);
    }
}

#[tokio::test]
async fn a_client_is_not_believed_since_its_proxy_is() {
    let pair = proxied(|plan| plan).await;
    let mut client = after(&pair.gateway, line("192.0.2.7")).await;
    let request = get(ACME, "/made-up")
        .header("X-Forwarded-For", "203.0.113.9")
        .header("Forwarded", "for=203.0.113.9")
        .header("X-Forwarded-Proto", "https")
        .header("X-Request-Id", "mine");
    let answer = client.exchange(&request).await;
    assert_eq!(answer.arrived("x-forwarded-for"), ["192.0.2.7"]);
    assert_eq!(answer.arrived("x-forwarded-proto"), ["http"]);
    assert_ne!(answer.arrived("x-request-id"), ["mine"]);
    assert_logged(&pair, "/made-up", "192.0.2.7").await;
}

#[tokio::test]
async fn a_trusted_proxy_behind_another_is_believed() {
    let pair = proxied(|plan| plan).await;
    let mut client = after(&pair.gateway, line("10.1.2.3")).await;
    let request = get(ACME, "/chain").header("X-Forwarded-For", "192.0.2.7");
    let answer = client.exchange(&request).await;
    assert_eq!(answer.arrived("x-forwarded-for"), ["192.0.2.7, 10.1.2.3"]);
    assert_logged(&pair, "/chain", "192.0.2.7").await;
}

#[tokio::test]
async fn who_is_not_trusted_is_closed_whatever_it_says() {
    let pair = proxied(|plan| plan).await;
    let stranger = Ipv4Addr::new(127, 0, 0, 2).into();
    for count in [1.0, 2.0] {
        let mut client = Client::connect_from(stranger, pair.gateway.data).await;
        let _sent = client.try_send(line("192.0.2.7")).await;
        assert_eq!(client.closed().await, b"");
        assert_counted(&pair, "untrusted", count).await;
    }
    assert_eq!(pair.a.count(), 0);
}

#[tokio::test]
async fn a_reload_decides_who_is_trusted() {
    let pair = proxied(|plan| plan).await;
    let settings = pair.gateway.directory.read("gateway.toml").replace("\"127.0.0.1\", ", "");
    pair.gateway.directory.replace("gateway.toml", &settings);
    pair.gateway.reload().await;
    assert_closed(&pair, line("192.0.2.7"), "untrusted").await;
}

#[tokio::test]
async fn a_trusted_peer_that_says_nothing_of_the_kind_is_closed() {
    let pair = proxied(|plan| plan).await;
    assert_closed(&pair, get(ACME, "/").bytes(), "missing").await;
}

#[tokio::test]
async fn a_malformed_header_is_closed() {
    let pair = proxied(|plan| plan).await;
    assert_closed(&pair, line("192.0.2.256"), "malformed").await;
}

#[tokio::test]
async fn a_malformed_binary_header_is_closed() {
    let pair = proxied(|plan| plan).await;
    assert_closed(&pair, binary(0x21, 0x11, &ADDRESSES[..11]), "malformed").await;
}

#[tokio::test]
async fn a_line_without_an_end_is_closed() {
    let pair = proxied(|plan| plan).await;
    assert_closed(&pair, format!("PROXY UNKNOWN {}", "x".repeat(93)), "too_long").await;
}

#[tokio::test]
async fn an_oversize_binary_header_is_closed_before_it_is_read() {
    let pair = proxied(|plan| plan).await;
    let header = binary(0x21, 0x11, &[0; 4081]);
    assert_closed(&pair, &header[..16], "too_long").await;
}

#[tokio::test]
async fn a_header_that_takes_too_long_is_closed() {
    let pair = proxied(|plan| plan.set("timeouts", "first_byte", "\"300ms\"")).await;
    assert_closed(&pair, "", "timeout").await;
    let mut client = after(&pair.gateway, "PROXY TCP4 192.0.2.7").await;
    assert_eq!(client.closed().await, b"");
    assert_counted(&pair, "timeout", 2.0).await;
}

#[tokio::test]
async fn a_proxy_that_leaves_within_its_header_is_counted() {
    let pair = proxied(|plan| plan).await;
    let mut client = after(&pair.gateway, "PROXY TCP4").await;
    client.finish().await;
    assert_eq!(client.closed().await, b"");
    assert_counted(&pair, "closed", 1.0).await;
}

#[tokio::test]
async fn connections_are_counted_by_the_address_that_is_told() {
    let pair = proxied(|plan| plan.set("limits", "connections_per_client", "2")).await;
    let mut held = Vec::new();
    for _ in 0..2 {
        let mut client = after(&pair.gateway, line("192.0.2.7")).await;
        assert_eq!(client.exchange(&get(ACME, "/")).await.status, 200);
        held.push(client);
    }
    let mut third = after(&pair.gateway, line("192.0.2.7")).await;
    third.answer().await.assert_problem(503, "overloaded");
    for other in [line("192.0.2.8").into_bytes(), binary(0x20, 0, b""), line("10.0.0.1").into()] {
        for _ in 0..2 {
            let mut client = after(&pair.gateway, &other).await;
            assert_eq!(client.exchange(&get(ACME, "/")).await.status, 200);
            held.push(client);
        }
    }
    drop(held);
    eventually("a place for the client", async || {
        let mut client = after(&pair.gateway, line("192.0.2.7")).await;
        client.try_exchange(&get(ACME, "/")).await.ok().filter(|answer| answer.status == 200)
    })
    .await;
}

#[tokio::test]
async fn a_proxy_that_has_said_nothing_yet_takes_a_place_of_its_listener() {
    let pair = proxied(|plan| plan.set("listener", "max_connections", "1")).await;
    let silent = after(&pair.gateway, "PROXY").await;
    let open = [("listener", "public")];
    eventually("the connection to be counted", async || {
        let open = pair.gateway.metric("stampgate_downstream_connections", &open).await;
        (open > 0.5).then_some(())
    })
    .await;
    let mut second = after(&pair.gateway, line("192.0.2.7")).await;
    second.answer().await.assert_problem(503, "overloaded");
    drop(silent);
}

#[tokio::test]
async fn a_half_header_does_not_hold_up_the_end_of_the_process() {
    let mut pair = proxied(|plan| plan.set("timeouts", "first_byte", "\"80s\"")).await;
    let mut half = after(&pair.gateway, "PROXY TCP4").await;
    pair.gateway.signal(Signal::TERM);
    assert_eq!(half.closed().await, b"");
    assert!(pair.gateway.ended().await.success());
}

#[tokio::test]
async fn an_upgrade_behind_a_proxy_is_a_tunnel_as_any_other() {
    let pair = proxied(|plan| plan).await;
    pair.a.plays(Script::Upgrade);
    let mut client = after(&pair.gateway, line("192.0.2.7")).await;
    client.send(crate::connections::upgrade(ACME).bytes()).await;
    assert_eq!(client.head().await.status().unwrap(), 101);
    client.send("ping").await;
    assert_eq!(client.exactly(4).await, b"ping");
    assert_eq!(pair.a.only().head.header("x-forwarded-for"), Some("192.0.2.7"));
}

#[tokio::test]
async fn where_no_header_is_declared_none_is_taken() {
    let pair = Pair::planned(PAIR, |plan| plan.set("trust", "proxies", "[\"127.0.0.1\"]")).await;
    for header in [line("192.0.2.7").into_bytes(), binary(0x21, 0x11, &ADDRESSES)] {
        let mut client = after(&pair.gateway, header).await;
        match client.try_exchange(&get(ACME, "/")).await {
            Ok(answer) => assert_eq!(answer.status, 400),
            Err(Broken::Closed | Broken::Failed(_)) => {}
            Err(other) => panic!("{other}"),
        }
    }
    assert_eq!(pair.a.count(), 0);
}

#[tokio::test]
async fn a_listener_that_nobody_may_pass_connections_to_is_told_of() {
    let pair =
        Pair::planned(PAIR, |plan| plan.set("listener", "proxy_protocol", "\"required\"")).await;
    assert_closed(&pair, line("192.0.2.7"), "untrusted").await;
    // It is told once all listeners serve, which may be a moment later.
    eventually("the warning", async || {
        pair.gateway.log().contains("no proxy is trusted").then_some(())
    })
    .await;
}
