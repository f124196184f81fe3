//! What is explained is what is done: random requests are sent and explained, and the two must agree.

use fastrand::Rng;
use serde_json::{Value, json};

use crate::harness::command::operate;
use crate::harness::gateway::{Gateway, Plan};
use crate::harness::http1::Request;
use crate::harness::stamp::Stamp;
use crate::harness::token::{Key, claims, claims_with};
use crate::tokens::issuer_with_secret;

/// Three stamps and everything that a request may say of itself.
const TABLE: &str = r#"
[identity.host]
patterns = ["{tenant}.app.test", "{stamp}.stamps.test"]
neutral = ["api.test"]
verified_only = ["jwt.test"]
unknown = "reject"
[identity.header]
name = "X-Stamp-Id"
tenant_name = "X-Tenant-Id"
[identity.cookie]
name = "stamp"
names = "stamp"
[[stamp]]
id = "a"
residency = "eu"
endpoints = [{ url = "http://{stamp_a}" }]
failover = [{ to = "b", mode = "read_write" }]
[[stamp]]
id = "b"
residency = "eu"
endpoints = [{ url = "http://{stamp_b}" }]
failover = [{ to = "a", mode = "read_only" }]
[[stamp]]
id = "safe"
access = "verified"
endpoints = [{ url = "http://{stamp_safe}" }]
[tenants]
acme = "a"
globex = "b"
vault = "safe"
hooli = { stamp = "a", state = "suspended" }
initech = { stamp = "b", state = "offboarded" }
[domains]
"orders.test" = "acme"
"#;

const METHODS: [&str; 5] = ["GET", "POST", "PUT", "DELETE", "OPTIONS"];
const HOSTS: [&str; 14] = [
    "api.test",
    "api.test",
    "api.test",
    "api.test:8080",
    "ACME.app.test",
    "globex.app.test",
    "vault.app.test",
    "hooli.app.test",
    "nobody.app.test",
    "b.stamps.test",
    "orders.test",
    "jwt.test",
    "elsewhere.test",
    "a_b.app.test",
];
const FIELDS: [(&str, &str); 16] = [
    ("X-Stamp-Id", "a"),
    ("X-Stamp-Id", "b"),
    ("X-Stamp-Id", "safe"),
    ("X-Stamp-Id", "nowhere"),
    ("X-Stamp-Id", "a, b"),
    ("X-Tenant-Id", "acme"),
    ("X-Tenant-Id", "initech"),
    ("Cookie", "stamp=a"),
    ("Cookie", "x=y; stamp=b"),
    ("Cookie", "stamp=\"a\""),
    ("Via", "1.1 gw-test"),
    ("Via", "1.1 other"),
    ("Expect", "100-later"),
    ("Max-Forwards", "0"),
    ("Accept", "*/*"),
    ("X-Control", "\u{1}"),
];

/// A request, described.
fn described(dice: &mut Rng, tokens: &[String]) -> Value {
    let mut headers = vec![json!(["Host", dice.choice(HOSTS)])];
    for _ in 0..dice.usize(0..3) {
        let (name, value) = dice.choice(FIELDS).unwrap();
        headers.push(json!([name, value]));
    }
    if dice.u8(..) < 100 {
        let token = &tokens[dice.usize(..tokens.len())];
        headers.push(json!(["Authorization", format!("Bearer {token}")]));
    }
    if dice.u8(..) < 8 {
        headers.push(json!(["X-Long", "x".repeat(9000)]));
    }
    let method = dice.choice(METHODS).unwrap();
    if method == "OPTIONS" && dice.bool() {
        headers.push(json!(["Max-Forwards", "0"]));
    }
    let long = if dice.u8(..) < 8 { "x".repeat(9000) } else { "x?y=1".to_owned() };
    json!({ "method": method, "url": format!("/{long}"), "headers": headers })
}

/// The same request, to be sent.
fn sent(described: &Value) -> Request {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let request = Request::new(&text(&described["method"]), &text(&described["url"]));
    let headers = described["headers"].as_array().unwrap();
    headers.iter().fold(request, |request, it| request.header(&text(&it[0]), &text(&it[1])))
}

/// What was done: "to a", or the status and code of the refusal.
async fn done(gateway: &Gateway, described: &Value) -> String {
    let answer = gateway.send(&sent(described)).await;
    match answer.status {
        200 => format!("to {}", answer.served_by()),
        204 => "answered".to_owned(),
        status => format!("{status} {}", answer.code()),
    }
}

/// What is explained, in the same words.
async fn told(gateway: &Gateway, described: &Value) -> (String, Value) {
    let answer = gateway.admin("POST", "/v1/explain", Some(described)).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let view = answer.json();
    let decision = &view["decision"];
    let text = |key: &str| decision[key].as_str().unwrap_or_default().to_owned();
    let told = match &*text("outcome") {
        "forward" => format!("to {}", text("stamp")),
        "answer" => "answered".to_owned(),
        _ => format!("{} {}", decision["status"], text("code")),
    };
    (told, view)
}

/// Sends and explains so many random requests. Says which answers came up.
async fn agree(gateway: &Gateway, tokens: &[String], seed: u64) -> Vec<String> {
    let mut dice = Rng::with_seed(seed);
    let mut seen = Vec::new();
    for _ in 0..500 {
        let request = described(&mut dice, tokens);
        let done = done(gateway, &request).await;
        let (told, view) = told(gateway, &request).await;
        assert_eq!(told, done, "seed {seed}: {request}\n{view:#}");
        if !seen.contains(&done) {
            seen.push(done);
        }
    }
    seen.sort();
    seen
}

#[tokio::test]
async fn what_is_explained_is_what_is_done() {
    let stamps = [Stamp::start("a").await, Stamp::start("b").await, Stamp::start("safe").await];
    let key = Key::new("HS256", "k1");
    let tokens = [
        key.sign(&claims("acme")),
        key.sign(&claims("vault")),
        key.sign(&claims("hooli")),
        key.sign(&claims_with("x", "tid", json!(["globex", "vault"]))),
        Key::new("HS256", "k2").sign(&claims("acme")),
    ];
    let table = format!("{}{TABLE}", issuer_with_secret());
    let plan = Plan::new(&table, &stamps.each_ref());
    let plan = plan.file("keys/secret", &key.secret_file()).set("node", "id", "\"gw-test\"");
    let gateway = plan.set("limits", "uri_bytes", "\"4KiB\"").start().await;
    let mut seen = agree(&gateway, &tokens, 1).await;
    operate(&gateway, &["drain", "b"]).await.exits(0);
    seen.extend(agree(&gateway, &tokens, 2).await);
    operate(&gateway, &["drain", "a", "--force"]).await.exits(0);
    seen.extend(agree(&gateway, &tokens, 3).await);
    // The trial is only as good as what came up.
    for wanted in [
        "to a",
        "to b",
        "to safe",
        "answered",
        "400 missing_identifier",
        "400 malformed_identifier",
        "400 malformed_request",
        "400 identity_conflict",
        "401 invalid_token",
        "401 verified_identity_required",
        "403 identity_conflict",
        "403 tenant_suspended",
        "404 unknown_stamp",
        "404 unknown_tenant",
        "410 tenant_offboarded",
        "414 uri_too_long",
        "417 expectation_failed",
        "421 misdirected_request",
        "502 proxy_loop",
        "503 read_only_failover",
        "503 stamp_draining",
    ] {
        assert!(seen.iter().any(|it| it == wanted), "{wanted} did not come up: {seen:?}");
    }
}
