//! Section 8 of the contract: the admin plane, who may use it and what it tells.

use aws_lc_rs::digest;
use serde_json::{Value, json};

use crate::harness::client::Client;
use crate::harness::command::stampgate;
use crate::harness::gateway::{Gateway, Plan};
use crate::harness::http1::{Request, get};
use crate::harness::scene::{ACME, PAIR, Pair};
use crate::harness::stamp::Stamp;

const OPERATOR: &str = "operator-token-of-the-test";
pub const VIEWER: &str = "viewer-token-of-the-test";

/// What a token file holds: the SHA-256 of the token, in hex.
fn hashed(token: &str) -> String {
    let hash = digest::digest(&digest::SHA256, token.as_bytes());
    hash.as_ref().iter().map(|byte| format!("{byte:02x}")).collect::<String>() + "\n"
}

fn with_tokens(plan: Plan) -> Plan {
    let tokens = "[{ id = \"oncall\", role = \"operator\", sha256_file = \"tokens/operator\" }, \
                   { id = \"board\", role = \"viewer\", sha256_file = \"tokens/viewer\" }]";
    plan.set("admin", "tokens", tokens)
        .file("tokens/operator", &hashed(OPERATOR))
        .file("tokens/viewer", &hashed(VIEWER))
}

pub async fn guarded() -> Pair {
    Pair::planned(PAIR, with_tokens).await
}

async fn status(gateway: &Gateway, method: &str, target: &str, token: Option<&str>) -> u16 {
    let request = gateway.admin_request(method, target);
    let request = match token {
        Some(token) => request.bearer(token),
        None => request,
    };
    let request = if method == "POST" { request.json(&json!({})) } else { request };
    gateway.admin_send(&request).await.status
}

/// The stamps of `/v1/stamps`, whether bare or in an object.
fn listed(answer: &Value) -> Vec<Value> {
    let list = answer.as_array().or_else(|| answer["stamps"].as_array());
    list.unwrap_or_else(|| panic!("no list of stamps: {answer}")).clone()
}

#[tokio::test]
async fn life_and_readiness_and_metrics_need_no_token() {
    let pair = guarded().await;
    for target in ["/livez", "/healthz", "/readyz", "/readyz?verbose", "/metrics"] {
        assert_eq!(status(&pair.gateway, "GET", target, None).await, 200, "{target}");
    }
}

#[tokio::test]
async fn everything_else_needs_a_token_where_tokens_are_configured() {
    let pair = guarded().await;
    for target in ["/v1/info", "/v1/stamps", "/v1/stamps/a", "/v1/tenants/acme", "/v1/config"] {
        assert_eq!(status(&pair.gateway, "GET", target, None).await, 401, "{target}");
        assert_eq!(status(&pair.gateway, "GET", target, Some("wrong")).await, 401, "{target}");
        assert_eq!(status(&pair.gateway, "GET", target, Some(VIEWER)).await, 200, "{target}");
        assert_eq!(status(&pair.gateway, "GET", target, Some(OPERATOR)).await, 200, "{target}");
    }
    assert_eq!(status(&pair.gateway, "POST", "/v1/stamps/a/drain", None).await, 401);
}

#[tokio::test]
async fn a_missing_token_is_challenged() {
    let pair = guarded().await;
    let answer = pair.gateway.admin_get("/v1/info").await;
    assert_eq!(answer.status, 401);
    assert!(answer.header("www-authenticate").unwrap().starts_with("Bearer"));
    assert_eq!(answer.header("content-type"), Some("application/problem+json"));
}

#[tokio::test]
async fn a_viewer_may_look_and_an_operator_may_change() {
    let pair = guarded().await;
    let drain = "/v1/stamps/a/drain";
    assert_eq!(status(&pair.gateway, "POST", drain, Some(VIEWER)).await, 403);
    assert_eq!(status(&pair.gateway, "DELETE", drain, Some(VIEWER)).await, 403);
    assert_eq!(status(&pair.gateway, "POST", "/v1/config/reload", Some(VIEWER)).await, 403);
    assert_eq!(pair.gateway.get(ACME, "/").await.served_by(), "a");
    assert_eq!(status(&pair.gateway, "POST", drain, Some(OPERATOR)).await, 202);
    assert_eq!(status(&pair.gateway, "GET", drain, Some(VIEWER)).await, 200);
    assert_eq!(status(&pair.gateway, "DELETE", drain, Some(OPERATOR)).await, 200);
}

#[tokio::test]
async fn a_rotated_token_counts_at_once_and_the_old_one_no_longer() {
    let pair = guarded().await;
    let target = "/v1/info";
    pair.gateway.directory.replace("tokens/viewer", &hashed("the-next-viewer-token"));
    crate::harness::deadline::eventually("the new token to open", async || {
        let status = status(&pair.gateway, "GET", target, Some("the-next-viewer-token")).await;
        (status == 200).then_some(())
    })
    .await;
    assert_eq!(status(&pair.gateway, "GET", target, Some(VIEWER)).await, 401);
    pair.gateway.directory.replace("tokens/viewer", "no digest\n");
    crate::harness::deadline::eventually("the token to be refused", async || {
        let status = status(&pair.gateway, "GET", target, Some("the-next-viewer-token")).await;
        (status == 401).then_some(())
    })
    .await;
    assert_eq!(status(&pair.gateway, "GET", target, Some(OPERATOR)).await, 200);
}

#[tokio::test]
async fn on_loopback_without_tokens_everybody_is_an_operator() {
    let pair = Pair::start().await;
    assert_eq!(status(&pair.gateway, "POST", "/v1/stamps/a/drain", None).await, 202);
}

#[tokio::test]
async fn a_host_that_is_not_allowed_is_refused() {
    let pair = Pair::start().await;
    for host in ["evil.example", "localhost.evil.example", "10.0.0.1", ""] {
        let request = Request::new("GET", "/v1/info").header("Host", host);
        let status = pair.gateway.admin_send(&request).await.status;
        assert!([400, 403, 421].contains(&status), "{host:?}: {status}");
    }
    let port = pair.gateway.admin.port();
    for host in ["localhost", "127.0.0.1", &format!("localhost:{port}"), &format!("[::1]:{port}")] {
        let request = Request::new("GET", "/v1/info").header("Host", host);
        assert_eq!(pair.gateway.admin_send(&request).await.status, 200, "{host}");
    }
}

#[tokio::test]
async fn a_request_of_another_origin_is_refused() {
    let pair = Pair::start().await;
    for origin in ["http://evil.example", "null", "https://localhost.evil.example"] {
        let request = pair.gateway.admin_request("POST", "/v1/stamps/a/drain");
        let request = request.header("Origin", origin).json(&json!({}));
        assert_eq!(pair.gateway.admin_send(&request).await.status, 403, "{origin}");
    }
    assert_eq!(pair.gateway.get(ACME, "/").await.served_by(), "a");
}

#[tokio::test]
async fn a_body_that_is_not_json_changes_nothing() {
    let pair = Pair::start().await;
    let request = pair.gateway.admin_request("POST", "/v1/stamps/a/drain");
    let form = request.header("Content-Type", "text/plain").body("{}");
    let status = pair.gateway.admin_send(&form).await.status;
    assert!([400, 403, 415, 422].contains(&status), "{status}");
    assert_eq!(pair.gateway.get(ACME, "/").await.served_by(), "a");
}

#[tokio::test]
async fn beyond_loopback_without_tokens_the_gateway_does_not_start() {
    let (a, b) = (Stamp::start("a").await, Stamp::start("b").await);
    let plan = Plan::new(PAIR, &[&a, &b]).set("admin", "bind", "\"0.0.0.0:0\"");
    let directory = plan.written();
    let path = directory.path("gateway.toml");
    for command in ["run", "check"] {
        let ended = stampgate(&[command, "-c", path.to_str().unwrap()]).await.exits(3);
        assert!(ended.stderr.contains("token"), "{ended:?}");
    }
}

#[tokio::test]
async fn info_tells_who_this_is() {
    let pair = Pair::start().await;
    let info = pair.gateway.admin_get("/v1/info").await;
    assert_eq!(info.status, 200);
    let text = info.json().to_string();
    assert!(text.contains(env!("CARGO_PKG_VERSION")) && text.contains("gw-test"), "{text}");
}

#[tokio::test]
async fn stamps_are_listed_and_shown_one_by_one() {
    let pair = Pair::start().await;
    let all = listed(&pair.gateway.admin_get("/v1/stamps").await.json());
    let ids: Vec<&str> = all.iter().map(|stamp| stamp["id"].as_str().unwrap()).collect();
    assert_eq!(ids, ["a", "b"]);
    let one = pair.gateway.admin_get("/v1/stamps/a").await.json();
    assert_eq!((&one["id"], &one["state"]), (&json!("a"), &json!("active")), "{one}");
    assert!(one.to_string().contains(&pair.a.address.to_string()), "{one}");
    let none = pair.gateway.admin_get("/v1/stamps/c").await;
    none.assert_problem(404, "unknown_stamp");
}

#[tokio::test]
async fn a_tenant_is_shown_with_its_home() {
    let pair = Pair::start().await;
    let tenant = pair.gateway.admin_get("/v1/tenants/acme").await.json();
    assert_eq!((&tenant["stamp"], &tenant["state"]), (&json!("a"), &json!("active")), "{tenant}");
    let tenant = pair.gateway.admin_get("/v1/tenants/hooli").await.json();
    assert_eq!(tenant["state"], "suspended");
    let none = pair.gateway.admin_get("/v1/tenants/nobody").await;
    none.assert_problem(404, "unknown_tenant");
}

#[tokio::test]
async fn the_configuration_in_force_is_told_with_its_generation() {
    let pair = Pair::start().await;
    let first = pair.gateway.admin_get("/v1/config").await.json();
    let generation = first["generation"].as_u64().unwrap();
    pair.gateway.reload_with(&format!("{PAIR}umbrella = \"a\"\n"), &[&pair.a, &pair.b]).await;
    let second = pair.gateway.admin_get("/v1/config").await.json();
    assert!(second["generation"].as_u64().unwrap() > generation, "{second}");
}

#[tokio::test]
async fn what_is_not_there_is_a_problem_document() {
    let pair = Pair::start().await;
    for (method, target, wanted) in
        [("GET", "/nothing", 404), ("GET", "/v1/nothing", 404), ("PUT", "/v1/info", 405)]
    {
        let answer = pair.gateway.admin(method, target, None).await;
        assert_eq!(answer.status, wanted, "{method} {target}");
        assert_eq!(answer.header("content-type"), Some("application/problem+json"));
    }
    assert_eq!(status(&pair.gateway, "GET", "/v1/config/reload", None).await, 405);
}

#[tokio::test]
async fn admin_paths_are_not_served_on_the_data_listener() {
    let pair = Pair::start().await;
    for target in ["/metrics", "/v1/info", "/livez", "/readyz", "/v1/stamps/a/drain"] {
        let answer = pair.gateway.get("localhost", target).await;
        answer.assert_problem(400, "missing_identifier");
        assert_eq!(pair.gateway.get(ACME, target).await.json()["target"], target);
    }
}

#[tokio::test]
async fn the_admin_plane_forwards_nothing() {
    let pair = Pair::start().await;
    let request = get(ACME, "/").header("X-Stamp-Id", "a");
    let status = pair.gateway.admin_send(&request).await.status;
    assert!(status >= 400, "{status}");
    assert_eq!(pair.a.count(), 0);
}

#[tokio::test]
async fn metrics_carry_the_promised_names() {
    let mut pair = Pair::start().await;
    pair.gateway.get(ACME, "/").await;
    pair.gateway.get("nobody.app.test", "/").await;
    pair.a.kill().await;
    pair.gateway.serves(ACME, "b").await;
    let metrics = pair.gateway.metrics().await;
    for name in [
        "requests_total",
        "request_duration_seconds_count",
        "gateway_overhead_seconds_count",
        "worker_lag_seconds_count",
        "requests_in_flight",
        "resolutions_total",
        "errors_total",
        "attempts_total",
        "failovers_total",
        "stamp_state",
        "endpoint_up",
        "upstream_connections",
        "config_generation",
        "config_last_reload_success",
        "config_reloads_total",
    ] {
        assert!(metrics.has(&format!("stampgate_{name}")), "{name}");
    }
    assert!(
        metrics.has("process_resident_memory_bytes")
            || metrics.has("stampgate_process_resident_memory_bytes")
    );
}

#[tokio::test]
async fn requests_are_counted_by_listener_stamp_method_and_code() {
    let pair = Pair::start().await;
    for _ in 0..3 {
        assert_eq!(pair.gateway.get(ACME, "/").await.status, 200);
    }
    let labels = [("listener", "public"), ("stamp", "a"), ("method", "GET"), ("code", "200")];
    crate::harness::deadline::eventually("three counted requests", async || {
        let count = pair.gateway.metric("stampgate_requests_total", &labels).await;
        (count > 2.5).then_some(())
    })
    .await;
}

#[tokio::test]
async fn workers_tell_how_late_they_are_while_clients_are_connected() {
    let pair = Pair::on_one_worker().await;
    let _client = pair.gateway.connect().await;
    crate::harness::deadline::eventually("a worker that looked often", async || {
        let looks = pair.gateway.metric("stampgate_worker_lag_seconds_count", &[]).await;
        (looks > 20.0).then_some(())
    })
    .await;
}

#[tokio::test]
async fn slow_admin_clients_do_not_hold_up_others() {
    let pair = Pair::start().await;
    let mut held = Vec::new();
    for _ in 0..50 {
        let mut client = Client::connect(pair.gateway.admin).await;
        client.send("GET /v1/info HTTP/1.1\r\nHost: ").await;
        held.push(client);
    }
    assert_eq!(pair.gateway.admin_get("/readyz").await.status, 200);
    drop(held);
}

#[tokio::test]
async fn changes_are_logged_with_actor_and_reason() {
    let pair = guarded().await;
    let request = pair.gateway.admin_request("POST", "/v1/stamps/a/drain").bearer(OPERATOR);
    let request = request.json(&json!({"reason": "kernel upgrade 42"}));
    assert_eq!(pair.gateway.admin_send(&request).await.status, 202);
    crate::harness::deadline::eventually("an audit line", async || {
        let log = pair.gateway.log();
        let line = log.lines().find(|line| line.contains("kernel upgrade 42"))?;
        (line.contains("oncall") && !log.contains(OPERATOR)).then_some(())
    })
    .await;
}

fn own_socket(plan: Plan) -> Plan {
    plan.set("admin", "unix_socket", "\"admin.sock\"")
}

/// What `--admin` takes for this gateway's socket.
fn socket_of(gateway: &Gateway) -> String {
    format!("unix:{}", gateway.directory.path("admin.sock").display())
}

#[tokio::test]
async fn a_unix_socket_serves_its_owner_without_a_token() {
    use std::os::unix::fs::PermissionsExt;
    let pair = Pair::planned(PAIR, own_socket).await;
    let path = pair.gateway.directory.path("admin.sock");
    let mode = std::fs::metadata(&path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600, "only its owner may connect");
    stampgate(&["status", "--admin", &socket_of(&pair.gateway)]).await.exits(0);
    stampgate(&["drain", "a", "--admin", &socket_of(&pair.gateway)]).await.exits(0);
    pair.gateway.serves(ACME, "b").await;
}

#[tokio::test]
async fn a_unix_socket_asks_for_a_token_where_tokens_are_configured() {
    let pair = Pair::planned(PAIR, |plan| own_socket(with_tokens(plan))).await;
    let refused = stampgate(&["drain", "a", "--admin", &socket_of(&pair.gateway)]).await.exits(5);
    assert!(refused.all().contains("token"), "{}", refused.all());
    pair.gateway.serves(ACME, "a").await;
}

#[tokio::test]
async fn a_unix_socket_that_a_crash_left_behind_is_replaced() {
    let mut pair = Pair::planned(PAIR, own_socket).await;
    pair.gateway.kill_and_restart().await;
    stampgate(&["status", "--admin", &socket_of(&pair.gateway)]).await.exits(0);
}
