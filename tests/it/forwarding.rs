//! Section 4 of the contract, "Headers", and what passes byte for byte.

use crate::harness::http1::{Request, get, post};
use crate::harness::scene::{ACME, GLOBEX, Pair};
use crate::harness::script::{Script, plain};

/// The usual scene where loopback is a trusted proxy.
async fn behind_a_trusted_proxy() -> Pair {
    Pair::planned(crate::harness::scene::PAIR, |plan| {
        plan.set("trust", "proxies", "[\"127.0.0.0/8\"]")
    })
    .await
}

#[tokio::test]
async fn path_and_query_pass_byte_for_byte() {
    let pair = Pair::start().await;
    for target in [
        "/",
        "/a/../b/./c",
        "//double//slash//",
        "/%41%2f%2F%00%zz%",
        "/semi;colon=1,2;x",
        "/?",
        "/?a=b&a=c&&=;%20+",
        "/a?b?c#d".trim_end_matches("#d"),
        "/~tilde/-_.!*'()@:$&+=,",
        "/path/with|pipe",
    ] {
        let answer = pair.gateway.get(ACME, target).await;
        assert_eq!(answer.status, 200, "{target}: {}", answer.text());
        assert_eq!(pair.a.seen().last().unwrap().target(), target);
    }
}

#[tokio::test]
async fn every_method_passes() {
    let pair = Pair::start().await;
    for method in ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "PROPFIND", "purge"] {
        let request = Request::new(method, "/m").header("Host", ACME).body("x");
        assert_eq!(pair.gateway.send(&request).await.status, 200, "{method}");
        let seen = pair.a.seen();
        let last = seen.last().unwrap();
        assert_eq!((last.method(), last.body.as_slice()), (method, &b"x"[..]));
    }
}

#[tokio::test]
async fn an_answer_to_head_has_the_length_and_no_body() {
    let pair = Pair::start().await;
    pair.a.plays_once(Script::Raw(b"HTTP/1.1 200 OK\r\nContent-Length: 1234\r\n\r\n".into()));
    let mut client = pair.gateway.connect().await;
    let answer = client.exchange(&Request::new("HEAD", "/").header("Host", ACME)).await;
    assert_eq!(answer.header("content-length"), Some("1234"));
    // The next answer on the connection shows that no body came after the first.
    assert_eq!(client.exchange(&get(ACME, "/")).await.served_by(), "a");
}

#[tokio::test]
async fn answers_without_a_body_stay_without_one() {
    let pair = Pair::start().await;
    for status in [204, 304] {
        let head = format!("HTTP/1.1 {status} Status\r\nETag: \"v1\"\r\n\r\n");
        pair.a.plays_once(Script::Raw(head.into()));
        let mut client = pair.gateway.connect().await;
        let answer = client.exchange(&get(ACME, "/")).await;
        assert_eq!((answer.status, answer.header("etag")), (status, Some("\"v1\"")));
        assert_eq!(client.exchange(&get(ACME, "/")).await.served_by(), "a");
    }
}

#[tokio::test]
async fn the_host_passes_unchanged() {
    let pair = Pair::start().await;
    let answer = pair.gateway.get("ACME.app.test:8080", "/").await;
    assert_eq!(answer.arrived("host"), ["ACME.app.test:8080"]);
}

#[tokio::test]
async fn ordinary_headers_pass_in_order_with_their_repeats() {
    let pair = Pair::start().await;
    let request = get(ACME, "/").header("Accept", "a").header("X-Two", "1").header("X-Two", "2");
    let answer = pair.gateway.send(&request).await;
    assert_eq!(answer.arrived("accept"), ["a"]);
    assert_eq!(answer.arrived("x-two"), ["1", "2"]);
}

#[tokio::test]
async fn answer_headers_pass_with_their_repeats() {
    let pair = Pair::start().await;
    pair.a.plays(plain(418, "Set-Cookie: a=1\r\nSet-Cookie: b=2\r\nX-Own: yes\r\n", "tea"));
    let answer = pair.gateway.get(ACME, "/").await;
    assert_eq!((answer.status, answer.text().as_str()), (418, "tea"));
    assert_eq!(answer.head.header_values("set-cookie"), ["a=1", "b=2"]);
    assert_eq!(answer.header("x-own"), Some("yes"));
}

#[tokio::test]
async fn the_stamp_namespace_of_a_client_is_removed() {
    let pair = Pair::start().await;
    let request = get(ACME, "/")
        .header("X-Stamp-Tenant", "globex")
        .header("X-Stamp-Home", "b")
        .header("x-stamp-anything", "1");
    let answer = pair.gateway.send(&request).await;
    assert_eq!(answer.arrived("x-stamp-tenant"), ["acme"]);
    assert_eq!(answer.arrived("x-stamp-home"), [""; 0]);
    assert_eq!(answer.arrived("x-stamp-anything"), [""; 0]);
}

#[tokio::test]
async fn forwarding_headers_of_a_stranger_are_replaced() {
    let pair = Pair::start().await;
    let request = get(ACME, "/")
        .header("X-Forwarded-For", "203.0.113.7")
        .header("X-Forwarded-Host", "evil.test")
        .header("X-Forwarded-Proto", "https")
        .header("X-Forwarded-Port", "444")
        .header("X-Forwarded-Anything", "1")
        .header("Forwarded", "for=203.0.113.7;host=evil.test;proto=https");
    let answer = pair.gateway.send(&request).await;
    assert_eq!(answer.arrived("x-forwarded-for"), ["127.0.0.1"]);
    assert_eq!(answer.arrived("x-forwarded-host"), [ACME]);
    assert_eq!(answer.arrived("x-forwarded-proto"), ["http"]);
    assert_eq!(answer.arrived("x-forwarded-port"), [""; 0]);
    assert_eq!(answer.arrived("x-forwarded-anything"), [""; 0]);
    let forwarded = answer.arrived("forwarded");
    assert_eq!(forwarded.len(), 1, "{forwarded:?}");
    assert!(forwarded[0].contains("127.0.0.1") && forwarded[0].contains("proto=http"));
    assert!(forwarded[0].contains(ACME) && !forwarded[0].contains("203.0.113.7"));
}

#[tokio::test]
async fn forwarding_headers_of_a_trusted_proxy_are_honoured() {
    let pair = behind_a_trusted_proxy().await;
    let request = get(ACME, "/")
        .header("X-Forwarded-For", "203.0.113.7")
        .header("X-Forwarded-Proto", "https");
    let answer = pair.gateway.send(&request).await;
    let chain = answer.arrived("x-forwarded-for").join(", ");
    assert!(chain.starts_with("203.0.113.7"), "{chain}");
    assert_eq!(answer.arrived("x-forwarded-proto"), ["https"]);
}

#[tokio::test]
async fn connection_can_nominate_ordinary_headers_for_removal() {
    let pair = Pair::start().await;
    let request = get(ACME, "/")
        .header("Connection", "X-Private, keep-alive")
        .header("X-Private", "1")
        .header("X-Public", "1");
    let answer = pair.gateway.send(&request).await;
    assert_eq!(answer.arrived("x-private"), [""; 0]);
    assert_eq!(answer.arrived("x-public"), ["1"]);
}

#[tokio::test]
async fn connection_can_never_nominate_a_header_of_ours() {
    let pair = Pair::start().await;
    let names = "X-Stamp-Id, X-Stamp-Tenant, X-Request-Id, X-Forwarded-For, Forwarded, Via, \
                 traceparent, X-Forwarded-Host, X-Forwarded-Proto";
    let answer = pair.gateway.send(&get(ACME, "/").header("Connection", names)).await;
    for name in names.split(", ") {
        assert_eq!(answer.arrived(name.trim()).len(), 1, "{name}: {}", answer.text());
    }
    assert_eq!(answer.arrived("x-stamp-id"), ["a"]);
}

#[tokio::test]
async fn headers_of_the_hop_are_not_forwarded_to_the_stamp() {
    let pair = Pair::start().await;
    let request = get(ACME, "/")
        .header("Connection", "keep-alive")
        .header("Keep-Alive", "timeout=5")
        .header("Proxy-Connection", "keep-alive")
        .header("Proxy-Authorization", "Basic eDp5")
        .header("Upgrade-Insecure-Requests", "1");
    let answer = pair.gateway.send(&request).await;
    for name in ["keep-alive", "proxy-connection", "proxy-authorization"] {
        assert_eq!(answer.arrived(name), [""; 0], "{name}");
    }
    assert_eq!(answer.arrived("upgrade-insecure-requests"), ["1"]);
}

#[tokio::test]
async fn headers_of_the_hop_are_not_forwarded_to_the_client() {
    let pair = Pair::start().await;
    let fields =
        "Connection: X-Private\r\nX-Private: 1\r\nKeep-Alive: timeout=5\r\nX-Public: 1\r\n";
    pair.a.plays(plain(200, fields, "ok"));
    let answer = pair.gateway.get(ACME, "/").await;
    assert_eq!(answer.header("x-private"), None);
    assert_eq!(answer.header("keep-alive"), None);
    assert_eq!(answer.header("x-public"), Some("1"));
}

#[tokio::test]
async fn via_names_the_gateway_after_those_before_it() {
    let pair = Pair::start().await;
    assert_eq!(pair.gateway.get(ACME, "/").await.arrived("via"), ["1.1 gw-test"]);
    let answer = pair.gateway.send(&get(ACME, "/").header("Via", "1.0 other")).await;
    assert_eq!(answer.arrived("via").join(", "), "1.0 other, 1.1 gw-test");
}

#[tokio::test]
async fn a_request_that_came_through_this_gateway_before_is_a_loop() {
    let pair = Pair::start().await;
    for via in ["1.1 gw-test", "1.0 other, 1.1 gw-test", "1.1 gw-test (comment), 1.1 x"] {
        let answer = pair.gateway.send(&get(ACME, "/").header("Via", via)).await;
        answer.assert_problem(502, "proxy_loop");
    }
    assert_eq!(pair.a.count(), 0);
    let similar = get(ACME, "/").header("Via", "1.1 gw-test-2");
    assert_eq!(pair.gateway.send(&similar).await.status, 200);
}

#[tokio::test]
async fn each_request_gets_its_own_request_id() {
    let pair = Pair::start().await;
    let mut ids = Vec::new();
    for _ in 0..3 {
        let mut arrived = pair.gateway.get(ACME, "/").await.arrived("x-request-id");
        assert_eq!(arrived.len(), 1);
        assert!(!arrived[0].is_empty());
        ids.append(&mut arrived);
    }
    ids.dedup();
    assert_eq!(ids.len(), 3, "{ids:?}");
}

#[tokio::test]
async fn a_request_id_is_kept_only_from_a_trusted_peer() {
    let request = get(ACME, "/").header("X-Request-Id", "mine-1");
    let strangers = Pair::start().await;
    let arrived = strangers.gateway.send(&request).await.arrived("x-request-id");
    assert!(arrived.len() == 1 && arrived[0] != "mine-1", "{arrived:?}");
    let friends = behind_a_trusted_proxy().await;
    let answer = friends.gateway.send(&request).await;
    assert_eq!(answer.arrived("x-request-id"), ["mine-1"]);
}

#[tokio::test]
async fn a_trace_context_is_made_when_there_is_none() {
    let pair = Pair::start().await;
    let arrived = pair.gateway.get(ACME, "/").await.arrived("traceparent");
    let parts: Vec<usize> = arrived[0].split('-').map(str::len).collect();
    assert_eq!((arrived.len(), parts.as_slice()), (1, &[2, 32, 16, 2][..]), "{arrived:?}");
}

#[tokio::test]
async fn a_trace_context_is_passed_on() {
    let pair = Pair::start().await;
    let trace = "4bf92f3577b34da6a3ce929d0e0e4736";
    let request = get(ACME, "/")
        .header("traceparent", &format!("00-{trace}-00f067aa0ba902b7-01"))
        .header("tracestate", "vendor=value");
    let answer = pair.gateway.send(&request).await;
    assert!(answer.arrived("traceparent")[0].contains(trace));
    assert_eq!(answer.arrived("tracestate"), ["vendor=value"]);
}

#[tokio::test]
async fn each_request_on_a_connection_resolves_anew() {
    let pair = Pair::start().await;
    let mut client = pair.gateway.connect().await;
    for (host, stamp) in [(ACME, "a"), (GLOBEX, "b"), (ACME, "a"), ("b.stamps.test", "b")] {
        assert_eq!(client.exchange(&get(host, "/")).await.served_by(), stamp);
    }
    client.exchange(&get("nobody.app.test", "/")).await.assert_problem(404, "unknown_tenant");
    assert_eq!(client.exchange(&post(GLOBEX, "/", "x")).await.served_by(), "b");
}

#[tokio::test]
async fn pipelined_requests_are_answered_in_order_each_by_its_own_stamp() {
    let pair = Pair::start().await;
    let mut client = pair.gateway.connect().await;
    let mut both = get(ACME, "/1").bytes();
    both.extend(get(GLOBEX, "/2").bytes());
    both.extend(get(ACME, "/3").bytes());
    client.send(both).await;
    for (stamp, target) in [("a", "/1"), ("b", "/2"), ("a", "/3")] {
        let answer = client.answer().await;
        assert_eq!(answer.served_by(), stamp);
        assert_eq!(answer.json()["target"], target);
    }
}

#[tokio::test]
async fn ambiguous_framing_is_refused_and_the_connection_closed() {
    let pair = Pair::start().await;
    for fields in [
        "Content-Length: 5\r\nTransfer-Encoding: chunked",
        "Content-Length: 5\r\nContent-Length: 6",
        "Content-Length: 5, 5",
        "Content-Length: +5",
        "Transfer-Encoding: chunked, identity",
        "Transfer-Encoding: xchunked",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding : chunked",
        "X-Folded: a\r\n b",
        "Bad Name: 1",
    ] {
        let mut client = pair.gateway.connect().await;
        let head = format!("POST / HTTP/1.1\r\nHost: {ACME}\r\n{fields}\r\n\r\n");
        client.send(format!("{head}0\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: {ACME}\r\n\r\n")).await;
        let answer = client.answer().await;
        assert!(answer.status == 400 || answer.status == 501, "{fields}: {answer:?}");
        assert!(client.closed().await.is_empty(), "{fields}");
    }
    assert_eq!(pair.a.count(), 0);
}

#[tokio::test]
async fn max_forwards_of_options_is_counted_down() {
    let pair = Pair::start().await;
    let options = |left: &str| {
        Request::new("OPTIONS", "/m").header("Host", ACME).header("Max-Forwards", left)
    };
    assert_eq!(pair.gateway.send(&options("5")).await.arrived("max-forwards"), ["4"]);
    let reached = pair.a.seen().len();
    assert_eq!(pair.gateway.send(&options("0")).await.status, 204);
    assert_eq!(pair.a.seen().len(), reached, "it may go no further than the gateway");
}

#[tokio::test]
async fn trace_is_refused_at_the_edge() {
    let pair = Pair::start().await;
    let trace = Request::new("TRACE", "/").header("Host", ACME).header("Authorization", "secret");
    pair.gateway.send(&trace).await.assert_problem(400, "malformed_request");
    assert!(pair.a.seen().is_empty());
}

#[tokio::test]
async fn connection_cannot_make_a_request_anonymous() {
    let pair = Pair::start().await;
    let request =
        get(ACME, "/").header("Connection", "Authorization").header("Authorization", "Basic eA==");
    assert_eq!(pair.gateway.send(&request).await.arrived("authorization"), ["Basic eA=="]);
}
