//! Why a request would go where it goes: by the files, and by a gateway that runs.

use serde_json::{Value, json};

use crate::harness::command::{Ended, operate, stampgate_in};
use crate::harness::gateway::Plan;
use crate::harness::scene::{ACME, PAIR, Pair};
use crate::harness::stamp::Stamp;
use crate::harness::token::{AUDIENCE, ISSUER, Key, claims, claims_with};
use crate::tokens::issuer_with_secret;

/// The usual files with an issuer, no gateway running, and the key of the issuer.
struct Files {
    directory: crate::harness::files::Directory,
    key: Key,
    _stamps: [Stamp; 2],
}

impl Files {
    async fn new() -> Self {
        let stamps = [Stamp::start("a").await, Stamp::start("b").await];
        let key = Key::new("HS256", "k1");
        let table = format!("{}{PAIR}[tier.standard]\nmax_in_flight = 100\n", issuer_with_secret());
        let plan = Plan::new(&table, &stamps.each_ref()).file("keys/secret", &key.secret_file());
        let plan = plan.set("trust", "proxies", "[\"10.9.0.0/16\"]");
        Self { directory: plan.written(), key, _stamps: stamps }
    }

    async fn explain(&self, arguments: &[&str]) -> Ended {
        let mut all = vec!["explain"];
        all.extend(arguments);
        stampgate_in(&self.directory.path("."), &all).await
    }

    /// What is printed for people.
    async fn told(&self, arguments: &[&str]) -> String {
        self.explain(arguments).await.exits(0).stdout
    }
}

#[tokio::test]
async fn a_request_is_explained_line_by_line() {
    let files = Files::new().await;
    let told = files.told(&["http://acme.app.test/orders?page=2#top"]).await;
    assert_eq!(
        told,
        "GET /orders?page=2\n\
         \n\
         jwt       no token that is a JWT\n\
         host      acme.app.test -> tenant acme (bound)\n\
         header    not there\n\
         cookie    no cookie is configured\n\
         table     tenant acme: home a, active, listed, data in anywhere, tier standard\n\
         limits    100 in flight, any rate\n\
         stamp     a, home: serves its own tenants\n\
         stamp     b, read_write: sound, but not asked\n\
         \n\
         forwarded to a, its home\n"
    );
}

#[tokio::test]
async fn the_example_of_the_manual_prints_what_the_manual_says() {
    let manual = std::fs::read_to_string("docs/operations.md").unwrap();
    let (_, example) = manual.split_once("$ stampgate explain ").unwrap();
    let (line, rest) = example.split_once('\n').unwrap();
    let (printed, _) = rest.split_once("```").unwrap();
    let arguments: Vec<&str> = ["explain"].into_iter().chain(line.split(' ')).collect();
    let told = stampgate_in(std::path::Path::new("."), &arguments).await.exits(0);
    assert_eq!(told.stdout, printed);
}

#[tokio::test]
async fn what_is_assumed_changes_who_serves() {
    let files = Files::new().await;
    let url = "http://acme.app.test/";
    let told = files.told(&[url, "--assume", "down=a"]).await;
    assert!(told.contains("assumed: down=a\n"), "{told}");
    assert!(told.contains("stamp     a, home: not healthy: down\n"), "{told}");
    assert!(told.ends_with("\nforwarded to b in the place of a (health)\n"), "{told}");
    let told = files.told(&[url, "--assume", "draining=a", "--assume", "down=b"]).await;
    assert!(told.contains("stamp     a, home: out of service: draining\n"), "{told}");
    assert!(told.ends_with("\nrefused: 503 stamp_draining: The stamp of this request is being taken out of service.\n"), "{told}");
    let unknown = files.explain(&[url, "--assume", "down=c"]).await.exits(2);
    assert!(unknown.stderr.contains("no stamp has the id"), "{}", unknown.stderr);
    files.explain(&[url, "--assume", "dead=a"]).await.exits(2);
}

#[tokio::test]
async fn a_token_is_judged_and_never_shown() {
    let files = Files::new().await;
    let token = files.key.sign(&claims("globex"));
    files.directory.write("token", &format!("{token}\n"));
    let told = files.told(&["http://b.stamps.test/", "--jwt-file", "token"]).await;
    let line = format!("jwt       issuer {ISSUER}, key k1, HS256 -> tenant globex (verified)\n");
    assert!(told.contains(&line), "{told}");
    assert!(told.ends_with("\nforwarded to b, its home\n"), "{told}");
    let foreign = Key::new("HS256", "other").sign(&claims("globex"));
    files.directory.write("token", &foreign);
    let refused = files.told(&["http://acme.app.test/", "--jwt-file", "token"]).await;
    assert!(refused.contains("key other, HS256 -> cannot be used: "), "{refused}");
    assert!(refused.contains("host      acme.app.test -> tenant acme (bound)\n"), "{refused}");
    assert!(
        refused.ends_with("\nrefused: 401 invalid_token: The token is not valid.\n"),
        "{refused}"
    );
    for (secret, told) in [(&token, &told), (&foreign, &refused)] {
        assert!(secret.split('.').all(|part| !told.contains(part)), "{told}");
    }
}

#[tokio::test]
async fn a_token_for_several_tenants_names_them_all() {
    let files = Files::new().await;
    let both = files.key.sign(&claims_with("x", "tid", json!(["globex", "acme"])));
    files.directory.write("token", &both);
    let told = files.told(&["http://acme.app.test/", "--jwt-file", "token"]).await;
    assert!(told.contains("HS256 -> one of acme, globex\n"), "{told}");
    assert!(told.ends_with("\nforwarded to a, its home\n"), "{told}");
    let nobody = files.told(&["/", "-H", "Host: localhost", "--jwt-file", "token"]).await;
    assert!(nobody.contains("refused: 400 missing_identifier"), "{nobody}");
}

#[tokio::test]
async fn a_refusal_shows_the_row_that_it_is_for() {
    let files = Files::new().await;
    let told = files.told(&["http://hooli.app.test/"]).await;
    assert!(told.contains("table     tenant hooli: home a, suspended, listed"), "{told}");
    assert!(told.contains("refused   resolve: the tenant is suspended\n"), "{told}");
    assert!(
        told.ends_with("\nrefused: 403 tenant_suspended: The tenant is suspended.\n"),
        "{told}"
    );
    let told = files.told(&["http://acme.app.test/", "-H", "X-Stamp-Id: b"]).await;
    assert!(told.contains("header    x-stamp-id: b -> stamp b (claimed)\n"), "{told}");
    assert!(told.contains("refused   resolve: clues disagree: host against header\n"), "{told}");
}

#[tokio::test]
async fn what_a_client_sends_cannot_write_to_a_terminal() {
    let files = Files::new().await;
    let told = files.told(&["/", "-H", "Host: a", "-H", "X-Stamp-Id: \u{9b}2Jred"]).await;
    assert!(!told.contains('\u{9b}'), "{told:?}");
    assert!(told.contains("refused: 400 malformed_identifier"), "{told}");
    let told = files.told(&["/", "-H", "Host: a", "-H", "X-Evil: \u{1b}[2J"]).await;
    assert!(told.contains("refused: 400 malformed_request"), "{told}");
}

#[tokio::test]
async fn questions_that_make_no_sense_are_usage_errors_and_bad_files_are_told() {
    let files = Files::new().await;
    let wrong = files.explain(&["acme.app.test"]).await.exits(2);
    assert!(wrong.stderr.contains("the URL must be"), "{}", wrong.stderr);
    files.explain(&["/", "-H", "Host"]).await.exits(2);
    files.explain(&["/", "--client-ip", "here"]).await.exits(2);
    files.explain(&["/", "--jwt-file", "missing"]).await.exits(1);
    files.directory.write("routing.toml", "version = 1\n[[stamp]]\nid = \"A!\"\n");
    let bad = files.explain(&["/"]).await.exits(3);
    assert!(bad.stderr.contains("routing.toml:3:6"), "{}", bad.stderr);
    let elsewhere = files.directory.path("nowhere");
    files.explain(&["/", "--config", elsewhere.to_str().unwrap()]).await.exits(3);
}

#[tokio::test]
async fn a_gateway_is_asked_the_same_question() {
    let pair = Pair::start().await;
    let told = operate(&pair.gateway, &["explain", "http://acme.app.test/"]).await.exits(0).stdout;
    assert!(told.contains("in flight (0 now)"), "{told}");
    assert!(told.ends_with("\nforwarded to a, its home\n"), "{told}");
    operate(&pair.gateway, &["drain", "a"]).await.exits(0);
    let json = operate(&pair.gateway, &["explain", "http://acme.app.test/", "-o", "json"]).await;
    let view = json.exits(0).json();
    let decision = &view["decision"];
    let keys =
        ["outcome", "tenant", "home", "stamp", "route", "why"].map(|key| decision[key].clone());
    assert_eq!(keys, ["forward", "acme", "a", "b", "failover", "operator"]);
    assert_eq!(view["generation"], 1);
    let steps: Vec<_> = view["steps"].as_array().unwrap().iter().map(|it| &it["step"]).collect();
    assert_eq!(steps, ["head", "identify", "resolve", "admit", "choose", "forward"]);
    let assumed = ["explain", "http://acme.app.test/", "--assume", "up=a"];
    let told = operate(&pair.gateway, &assumed).await.exits(0).stdout;
    assert!(told.ends_with("\nforwarded to a, its home\n"), "{told}");
    assert_eq!(pair.gateway.get(ACME, "/").await.served_by(), "b", "nothing was changed");
}

#[tokio::test]
async fn a_question_counts_nothing() {
    let pair = Pair::start().await;
    let before = pair.gateway.metrics().await;
    let ask = json!({ "url": format!("http://{ACME}/"), "token": "e30.e30.AAAA" });
    for _ in 0..3 {
        assert_eq!(pair.gateway.admin("POST", "/v1/explain", Some(&ask)).await.status, 200);
    }
    let after = pair.gateway.metrics().await;
    for name in ["stampgate_resolutions_total", "stampgate_jwt_validations_total"] {
        assert_eq!(before.sum(name, &[]), after.sum(name, &[]), "{name}");
    }
    assert_eq!(pair.a.count(), 0);
}

#[tokio::test]
async fn the_api_refuses_what_is_no_question() {
    let pair = Pair::start().await;
    let url = "http://acme.app.test/";
    let wrong: [Value; 7] = [
        json!({}),
        json!({ "url": "acme" }),
        json!({ "url": url, "client_ip": "here" }),
        json!({ "url": url, "assume": ["dead=a"] }),
        json!({ "url": url, "assume": ["down=nobody"] }),
        json!({ "url": url, "headers": { "Host": "a" } }),
        json!({ "url": url, "tenant": "acme" }),
    ];
    for body in &wrong {
        let answer = pair.gateway.admin("POST", "/v1/explain", Some(body)).await;
        answer.assert_problem(400, "invalid_body");
    }
    assert_eq!(pair.gateway.admin_get("/v1/explain").await.status, 405);
}

#[tokio::test]
async fn a_viewer_may_ask() {
    let digest = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08";
    let token = "[{ id = \"v\", role = \"viewer\", sha256_file = \"viewer.sha256\" }]";
    let plan = |plan: Plan| plan.file("viewer.sha256", digest).set("admin", "tokens", token);
    let stamps = [Stamp::start("a").await, Stamp::start("b").await];
    let directory = plan(Plan::new(PAIR, &stamps.each_ref())).written();
    let gateway = crate::harness::gateway::Gateway::start(directory).await;
    let body = json!({ "url": "http://acme.app.test/" });
    let ask = gateway.admin_request("POST", "/v1/explain").json(&body);
    assert_eq!(gateway.admin_send(&ask).await.status, 401);
    assert_eq!(gateway.admin_send(&ask.bearer("test")).await.status, 200);
}

#[tokio::test]
async fn the_client_and_the_audience_count() {
    let files = Files::new().await;
    let mut other = claims("acme");
    other["aud"] = json!(format!("not-{AUDIENCE}"));
    files.directory.write("token", &files.key.sign(&other));
    let told = files.told(&["http://acme.app.test/", "--jwt-file", "token", "-o", "json"]).await;
    let view: Value = serde_json::from_str(&told).unwrap();
    assert_eq!(view["decision"]["code"], "invalid_token");
    let steps = view["steps"].as_array().unwrap();
    let results: Vec<_> = steps.iter().map(|step| step["result"].as_str().unwrap()).collect();
    assert_eq!(
        results,
        ["ok", "refused", "not_reached", "not_reached", "not_reached", "not_reached"]
    );
    assert_eq!(steps[1]["sources"][0]["token"]["issuer"], ISSUER);
    let trusted = "[identity.header]\naccept_from = \"trusted\"\n";
    let routing = std::fs::read_to_string(files.directory.path("routing.toml")).unwrap();
    files.directory.write("routing.toml", &format!("{routing}{trusted}"));
    let ask = ["http://api/", "-H", "X-Stamp-Id: a", "--client-ip"];
    let near = files.told(&[&ask[..], &["10.9.9.9"]].concat()).await;
    let far = files.told(&[&ask[..], &["192.0.2.1"]].concat()).await;
    assert!(
        far.contains("x-stamp-id: a -> not accepted from a client that is not trusted\n"),
        "{far}"
    );
    assert!(far.contains("refused: 400 missing_identifier"), "{far}");
    assert!(near.ends_with("\nforwarded to a, its home\n"), "{near}");
}
