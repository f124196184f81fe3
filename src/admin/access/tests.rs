//! Who gets in, through which door, and with what.

use http::Request;

use super::*;

fn access(tokens: &[(&str, Role)]) -> Access {
    let token = |(id, role): &(&str, Role)| Token {
        id: (*id).into(),
        role: *role,
        digest: Digest::of(format!("secret of {id}").as_bytes()),
    };
    let allowed_hosts = ["localhost", "127.0.0.1", "[::1]"].map(Into::into).into();
    let known = tokens.iter().map(token).collect();
    let entry = if tokens.is_empty() { Entry::Local } else { Entry::Tokens(known) };
    Access { entry, allowed_hosts }
}

fn both() -> Access {
    access(&[("board", Role::Viewer), ("oncall", Role::Operator)])
}

/// A request that passes but for what a test adds.
fn request(method: &str, path: &str, fields: &[(&str, &str)]) -> request::Parts {
    let mut request = Request::builder().method(method).uri(path);
    if !fields.iter().any(|(name, _)| *name == "host") {
        request = request.header("host", "localhost:9900");
    }
    for (name, value) in fields {
        request = request.header(*name, *value);
    }
    request.body(()).unwrap().into_parts().0
}

/// The actor's name, or the status of the refusal.
fn check(access: &Access, door: Door, request: &request::Parts) -> Result<String, u16> {
    let admitted = access.admit(request, door);
    admitted.map(|actor| actor.0.into()).map_err(|problem| problem.status().as_u16())
}

#[test]
fn without_tokens_only_local_doors_are_open() {
    let open = access(&[]);
    let request = request("POST", "/v1/config/reload", &[]);
    assert_eq!(check(&open, Door::Loopback, &request), Ok("local".into()));
    assert_eq!(check(&open, Door::UnixSocket, &request), Ok("local".into()));
    assert_eq!(check(&open, Door::Network, &request), Err(401));
}

#[test]
fn with_tokens_every_door_asks_for_one() {
    for door in [Door::Loopback, Door::UnixSocket, Door::Network] {
        assert_eq!(check(&both(), door, &request("GET", "/v1/info", &[])), Err(401));
        let named = request("GET", "/v1/info", &[("authorization", "Bearer secret of board")]);
        assert_eq!(check(&both(), door, &named), Ok("board".into()));
    }
}

#[test]
fn a_viewer_looks_and_an_operator_changes() {
    let ask = |method, token| {
        let token = format!("bearer secret of {token}");
        let request = request(method, "/v1/stamps/a/drain", &[("authorization", &token)]);
        check(&both(), Door::Network, &request)
    };
    assert_eq!(ask("GET", "board"), Ok("board".into()));
    assert_eq!(ask("HEAD", "board"), Ok("board".into()));
    assert_eq!(ask("POST", "board"), Err(403));
    assert_eq!(ask("DELETE", "board"), Err(403));
    assert_eq!(ask("POST", "oncall"), Ok("oncall".into()));
    assert_eq!(ask("GET", "nobody"), Err(401));
}

#[test]
fn two_authorizations_are_none() {
    let twice = [
        ("authorization", "Bearer secret of oncall"),
        ("authorization", "Bearer secret of oncall"),
    ];
    assert_eq!(check(&both(), Door::Loopback, &request("GET", "/v1/info", &twice)), Err(401));
    let basic = [("authorization", "Basic secret of oncall")];
    assert_eq!(check(&both(), Door::Loopback, &request("GET", "/v1/info", &basic)), Err(401));
}

#[test]
fn probes_and_scrapes_need_no_token() {
    for path in ["/livez", "/healthz", "/readyz?verbose", "/metrics"] {
        assert!(check(&both(), Door::Network, &request("GET", path, &[])).is_ok(), "{path}");
    }
    assert_eq!(check(&both(), Door::Network, &request("GET", "/metrics/", &[])), Err(401));
}

#[test]
fn only_allowed_hosts_pass_whatever_their_port() {
    let ask = |host| {
        check(&access(&[]), Door::Loopback, &request("GET", "/v1/info", &[("host", host)])).is_ok()
    };
    for host in ["localhost", "LocalHost:1", "127.0.0.1:9900", "[::1]:9900", "[::1]"] {
        assert!(ask(host), "{host}");
    }
    for host in ["", "evil.example", "localhost.evil.example", "10.0.0.1", "localhost:1x", ":80"] {
        assert!(!ask(host), "{host}");
    }
}

#[test]
fn a_target_may_not_name_another_host_than_the_allowed() {
    let request = request("GET", "http://evil.example/v1/info", &[]);
    assert_eq!(check(&access(&[]), Door::Loopback, &request), Err(421));
}

#[test]
fn two_hosts_are_none() {
    let twice = [("host", "localhost"), ("host", "localhost")];
    let request = request("GET", "/v1/info", &twice);
    assert_eq!(check(&access(&[]), Door::Loopback, &request), Err(421));
}

#[test]
fn a_unix_socket_may_be_asked_under_any_host() {
    let request = request("GET", "/v1/info", &[("host", "whatever")]);
    assert_eq!(check(&access(&[]), Door::UnixSocket, &request), Ok("local".into()));
}

#[test]
fn nothing_that_a_web_page_sends_passes() {
    for (name, value) in [
        ("origin", "http://localhost:9900"),
        ("origin", "null"),
        ("origin", ""),
        ("sec-fetch-site", "cross-site"),
    ] {
        for door in [Door::Loopback, Door::UnixSocket] {
            let request = request("GET", "/metrics", &[(name, value)]);
            assert_eq!(check(&access(&[]), door, &request), Err(403), "{name}: {value}");
        }
    }
}

#[test]
fn a_digest_is_read_as_sha256sum_prints_it() {
    let digest = Digest::of(b"abc");
    let hex = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
    assert_eq!(Digest::parse(hex), Some(digest));
    assert_eq!(Digest::parse(&format!("{}  -\n", hex.to_uppercase())), Some(digest));
    for wrong in ["", "abc", &hex.replace("61a3", ""), &hex.replace('b', "g")] {
        assert_eq!(Digest::parse(wrong), None, "{wrong}");
    }
}

#[test]
fn a_token_that_cannot_be_read_leaves_no_door_open() {
    let sha256_file = "/nowhere/token".into();
    let token = AdminToken { id: "oncall".into(), role: Role::Operator, sha256_file };
    let (access, errors) = Access::read(&[token], &["localhost".into()]);
    assert_eq!(errors.len(), 1);
    assert_eq!(check(&access, Door::Loopback, &request("GET", "/v1/info", &[])), Err(401));
}
