//! Chains as proxies write them, as clients make them up, and laws over both.

use http::HeaderValue;
use proptest::prelude::*;

use super::*;

/// The peer of all these tests: a trusted proxy, as is all of 10.0.0.0/8.
const PEER: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1));

fn is_proxy(ip: IpAddr) -> bool {
    matches!(ip, IpAddr::V4(ip) if ip.octets()[0] == 10)
}

fn headers(forwarded: &[&str], x_forwarded_for: &[&str]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, lines) in [(FORWARDED, forwarded), (X_FORWARDED_FOR, x_forwarded_for)] {
        for line in lines {
            headers.append(&name, HeaderValue::from_bytes(line.as_bytes()).unwrap());
        }
    }
    headers
}

fn client_of(headers: &HeaderMap) -> String {
    Chain::read(headers).client(PEER, is_proxy).to_string()
}

/// Of one line each; an empty one is not there.
#[track_caller]
fn check(forwarded: &str, x_forwarded_for: &str, expected: &str) {
    let lines = [forwarded, x_forwarded_for].map(|line| Some(line).filter(|line| !line.is_empty()));
    let [forwarded_lines, list_lines] = lines.each_ref().map(Option::as_slice);
    let headers = headers(forwarded_lines, list_lines);
    assert_eq!(client_of(&headers), expected, "{forwarded:?} {x_forwarded_for:?}");
}

fn sent_on(forwarded: &[&str], x_forwarded_for: &[&str]) -> (String, String) {
    let headers = headers(forwarded, x_forwarded_for);
    let sent = Chain::read(&headers).sent_on();
    (sent.forwarded, sent.x_forwarded_for)
}

#[test]
fn the_client_is_the_first_from_the_right_that_is_no_proxy() {
    check("", "203.0.113.9, 192.0.2.7, 10.0.0.2", "192.0.2.7");
    check("for=203.0.113.9, for=192.0.2.7,for=10.0.0.2;proto=https", "", "192.0.2.7");
    check("", "", "10.0.0.1");
    check("", "10.0.0.3, 10.0.0.2", "10.0.0.3");
}

#[test]
fn who_is_no_proxy_is_not_listened_to() {
    let headers = headers(&["for=192.0.2.7"], &["192.0.2.7"]);
    let stranger = IpAddr::from([198, 51, 100, 1]);
    assert_eq!(Chain::read(&headers).client(stranger, is_proxy), stranger);
}

#[test]
fn later_lines_are_nearer() {
    let lines = ["203.0.113.9", "192.0.2.7", "10.0.0.3, 10.0.0.2"];
    assert_eq!(client_of(&headers(&[], &lines)), "192.0.2.7");
    let lines = ["for=203.0.113.9, for=192.0.2.7", "For=10.0.0.2"];
    assert_eq!(client_of(&headers(&lines, &[])), "192.0.2.7");
}

#[test]
fn addresses_are_read_with_ports_and_brackets() {
    for (item, expected) in [
        ("192.0.2.7:4711", "192.0.2.7"),
        ("2001:db8::7", "2001:db8::7"),
        ("[2001:db8::7]", "2001:db8::7"),
        ("[2001:db8::7]:4711", "2001:db8::7"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
    ] {
        check("", item, expected);
    }
    for (element, expected) in [
        ("for=\"192.0.2.7\"", "192.0.2.7"),
        ("for=\"192.0.2.7:4711\"", "192.0.2.7"),
        ("for=\"192.0.2.7:_port\"", "192.0.2.7"),
        ("FOR=\"[2001:db8::7]\"", "2001:db8::7"),
        ("proto=https;for=\"[2001:db8::7]:1\";by=_x", "2001:db8::7"),
        ("host=\"a,b;for=6.6.6.6\\\"\";for=192.0.2.7", "192.0.2.7"),
        (";for=192.0.2.7;", "192.0.2.7"),
    ] {
        check(element, "", expected);
    }
}

#[test]
fn behind_what_is_hidden_nothing_is_known() {
    for hidden in ["for=unknown", "for=_hidden", "for=\"_hidden:80\"", "for=Unknown", "by=1.1.1.1"]
    {
        check(&format!("for=192.0.2.7, {hidden}"), "", "10.0.0.1");
        check(&format!("for=192.0.2.7, {hidden}, for=10.0.0.9"), "", "10.0.0.9");
    }
    check("", "192.0.2.7, unknown", "10.0.0.1");
}

#[test]
fn behind_garbage_nothing_is_believed() {
    for garbage in [
        "x",
        "1.2.3",
        "1.2.3.4.5",
        "01.2.3.4",
        "1.2.3.4:",
        "1.2.3.4:123456",
        "1.2.3.4:_p",
        "[::1",
        "::1]",
        "[1.2.3.4]",
        "[::1]80",
        "fe80::1%1",
        "_hidden",
        "' OR 1=1 --",
        "\"1.2.3.4\"",
        "1.2.3.4 5.6.7.8",
        "for=1.2.3.4",
    ] {
        check("", &format!("192.0.2.7, {garbage}, 10.0.0.9"), "10.0.0.9");
    }
    for garbage in [
        "1.2.3.4",
        "for",
        "for=",
        "=1.2.3.4",
        "for =1.2.3.4",
        "for= 1.2.3.4",
        "for=1.2.3.4 ;by=a",
        "for=::1",
        "for=[::1]",
        "for=\"::1\"",
        "for=1.2.3.4:80",
        "for=\"1.2.3.4",
        "for=1.2.3.4\"",
        "for=1.2.3.4;for=1.2.3.4",
        "for=1.2.3.4;FOR=5.6.7.8",
        "by=a;by=b;for=1.2.3.4",
        "for=_",
        "for=\"1.2.3.4\"x",
        "for=\"\\1.2.3.4\"",
        "for=1.2.3.4;x",
        ";",
        "f\u{f6}r=1.2.3.4",
    ] {
        check(&format!("for=192.0.2.7, {garbage}, for=10.0.0.9"), "", "10.0.0.9");
    }
    let many: String = (0..=PARAMETERS_MAX).map(|n| format!("p{n}=x;")).collect();
    check(&format!("for=192.0.2.7;{many}"), "", "10.0.0.1");
}

#[test]
fn an_open_quote_does_not_swallow_what_a_proxy_wrote() {
    for open in ["for=\"", "for=\"x", "for=6.6.6.6;x=\"\\", "\"", "x=\\\"", "for=6.6.6.6, for=\"x"]
    {
        check(&format!("{open}, for=192.0.2.7"), "", "192.0.2.7");
        check(&format!("{open}, for=\"[2001:db8::7]:1\""), "", "2001:db8::7");
        check(&format!("{open}, for=\"[2001:db8::7]\", for=10.0.0.2"), "", "2001:db8::7");
    }
    // What a client had its proxy quote stays quoted.
    check("for=192.0.2.7;host=\"a\\\", for=6.6.6.6;x=\\\"b\"", "", "192.0.2.7");
    check("for=192.0.2.7;host=\"a\\\\\"", "", "192.0.2.7");
}

#[test]
fn two_fields_are_believed_as_far_as_they_agree() {
    check("for=192.0.2.7", "192.0.2.7", "192.0.2.7");
    check("for=\"192.0.2.7:1\"", "192.0.2.7", "192.0.2.7");
    check("for=6.6.6.6", "192.0.2.7", "10.0.0.1");
    check("for=6.6.6.6, for=10.0.0.2", "192.0.2.7, 10.0.0.2", "10.0.0.2");
    check("for=10.0.0.2", "192.0.2.7, 10.0.0.2", "10.0.0.2");
    check("garbage", "192.0.2.7", "10.0.0.1");
    check(" , ", "192.0.2.7", "192.0.2.7");
}

#[test]
fn what_is_well_formed_is_sent_on_as_it_came() {
    let (forwarded, list) = sent_on(
        &["for=192.0.2.7;host=\"a,b\"", "proto=https;For=_x"],
        &["192.0.2.7:80,,unknown", "[::1]"],
    );
    assert_eq!(forwarded, "for=192.0.2.7;host=\"a,b\", proto=https;For=_x, ");
    assert_eq!(list, "192.0.2.7:80, unknown, [::1], ");
}

#[test]
fn what_is_left_of_a_mistake_is_not_sent_on() {
    let (forwarded, list) = sent_on(
        &["for=6.6.6.6, for=\"x, for=192.0.2.7"],
        &["6.6.6.6", "7.7.7.7, <x>, 192.0.2.7", "10.0.0.2"],
    );
    assert_eq!(forwarded, "for=192.0.2.7, ");
    assert_eq!(list, "192.0.2.7, 10.0.0.2, ");
    assert_eq!(sent_on(&["\"", "x"], &["'"]), (String::new(), String::new()));
}

#[test]
fn a_field_that_is_not_there_is_made_from_the_other() {
    let (forwarded, _) = sent_on(&[], &["1.2.3.4, 1.2.3.4:80, ::1, [::1]:80, unknown"]);
    assert_eq!(
        forwarded,
        "for=1.2.3.4, for=\"1.2.3.4:80\", for=\"[::1]\", for=\"[::1]:80\", for=unknown, "
    );
    let (_, list) = sent_on(&["for=1.2.3.4, for=\"[::1]\", for=\"[::1]:80\", by=x, for=_x"], &[]);
    assert_eq!(list, "1.2.3.4, ::1, [::1]:80, unknown, unknown, ");
    assert_eq!(sent_on(&[], &[]), (String::new(), String::new()));
}

/// Lines that are often a chain, or nearly one.
fn line() -> impl Strategy<Value = String> {
    let pieces = [
        "for=",
        "by=",
        "host=",
        ";",
        ",",
        ", ",
        "\"",
        "\\",
        "[",
        "]",
        ":",
        "10.0.0.2",
        "192.0.2.7",
        "::1",
        "[::1]",
        "unknown",
        "_x",
        "80",
        " ",
        "\t",
        "x",
        "\u{e9}",
        "for=10.0.0.3, ",
        "for=\"[::1]:9\"",
        "10.0.0.4,",
    ];
    prop::collection::vec(prop::sample::select(pieces.to_vec()), 0..14).prop_map(|it| it.concat())
}

fn lines() -> impl Strategy<Value = Vec<String>> {
    prop::collection::vec(line(), 0..3)
}

fn map(forwarded: &[String], list: &[String]) -> HeaderMap {
    let of = |lines: &[String]| lines.iter().map(|line| line.trim().to_owned()).collect::<Vec<_>>();
    let (forwarded, list) = (of(forwarded), of(list));
    let of = |lines| <[String]>::iter(lines).map(String::as_str).collect::<Vec<_>>();
    headers(&of(&forwarded), &of(&list))
}

proptest! {
    #[test]
    fn what_is_sent_on_is_read_again_whole(forwarded in lines(), list in lines()) {
        let before = map(&forwarded, &list);
        let chain = Chain::read(&before);
        let sent = chain.sent_on();
        let (own, next) = (format!("{}for=10.0.0.1", sent.forwarded), &sent.x_forwarded_for);
        let after = headers(&[&own], &[&format!("{next}10.0.0.1")]);
        let again = Chain::read(&after);
        let count = |text: &Option<Vec<Hop<'_>>>| text.as_ref().map_or(0, Vec::len);
        let (one, other) = (count(&chain.forwarded), count(&chain.x_forwarded_for));
        let expected = |own: &Option<_>, count, other| if own.is_some() { count } else { other };
        prop_assert_eq!(count(&again.forwarded), expected(&chain.forwarded, one, other) + 1);
        let listed = expected(&chain.x_forwarded_for, other, one) + 1;
        prop_assert_eq!(count(&again.x_forwarded_for), listed);
        // Whoever stands behind us finds the same client.
        let told = again.client(PEER, is_proxy);
        prop_assert_eq!(told, chain.client(PEER, is_proxy), "{:?} {:?}", before, after);
    }

    #[test]
    fn the_client_is_told_by_proxies_alone(forwarded in lines(), list in lines()) {
        let headers = map(&forwarded, &list);
        let chain = Chain::read(&headers);
        let client = chain.client(PEER, is_proxy);
        let told = (0..).map_while(|place| chain.told(place));
        let mut way = std::iter::once(PEER).chain(told);
        // Everybody between us and the client is a proxy.
        prop_assert!(way.by_ref().take_while(|ip| *ip != client).all(is_proxy));
    }

    #[test]
    fn what_a_client_writes_does_not_change_what_its_proxy_tells(
        made_up in line(), from: IpAddr, quoted: bool,
    ) {
        let from = from.to_canonical();
        let text = match from {
            IpAddr::V4(ip) if !quoted => format!("for={ip}"),
            IpAddr::V4(ip) => format!("for=\"{ip}:1\""),
            IpAddr::V6(ip) => format!("for=\"[{ip}]\""),
        };
        prop_assume!(!is_proxy(from));
        let made_up = made_up.trim();
        let list = format!("{made_up}, {from}");
        let forwarded = format!("{made_up}, {text}");
        prop_assert_eq!(client_of(&headers(&[&forwarded], &[])), from.to_string());
        prop_assert_eq!(client_of(&headers(&[], &[&list])), from.to_string());
        prop_assert_eq!(client_of(&headers(&[made_up, &text], &[])), from.to_string());
    }
}
