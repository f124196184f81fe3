//! The corpus of hostile and odd requests, answers and tokens (`tests/corpus/`) against the real program.
//! Its runner judges by what reaches two recording origins of its own, and not by what we think of ourselves.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::harness::command::run;
use crate::harness::gateway::Plan;
use crate::harness::stamp::reserve;

/// The contract of the corpus.
const TABLE: &str = r#"
[defaults.stamp.health]
path = "/__health"
interval = "1s"
fall = 100
[identity.host]
patterns = ["{tenant}.tenants.test"]
unknown = "reject"
neutral = ["gw.test"]
verified_only = ["jwt.gw.test", "b.jwt.gw.test"]
[identity.header]
accept_from = "any"
[[identity.jwt]]
issuer = "https://issuer.test"
audiences = ["gateway"]
algorithms = ["RS256"]
jwks_file = "jwks.json"
tenant_claim = "tenant"
leeway = "60s"
[[stamp]]
id = "stamp-a"
endpoints = [{ url = "http://ORIGIN_A" }]
[[stamp]]
id = "stamp-b"
endpoints = [{ url = "http://ORIGIN_B" }]
[tenants]
tenant-a = "stamp-a"
tenant-b = "stamp-b"
[domains]
"a.stamps.test" = "tenant-a"
"b.stamps.test" = "tenant-b"
"b.jwt.gw.test" = "tenant-b"
"#;

fn corpus(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus").join(name)
}

/// The cases that were given, and those that were found missing.
fn all_cases() -> Value {
    let read =
        |name| -> Value { serde_json::from_slice(&fs::read(corpus(name)).unwrap()).unwrap() };
    let mut all = read("corpus.json");
    let mut more = read("more.json");
    let cases = all["cases"].as_array_mut().unwrap();
    cases.append(more["cases"].as_array_mut().unwrap());
    all
}

async fn python(arguments: &[&str]) -> (i32, String) {
    let mut command = Command::new("python3");
    // The runner lies among the sources, where nothing is to be left.
    command.arg("-B").arg(corpus("corpus_run.py")).args(arguments);
    let ended = run(command).await;
    (ended.code, ended.all())
}

#[tokio::test]
async fn no_case_of_the_corpus_that_must_pass_fails() {
    let loopback = SocketAddr::from(([127, 0, 0, 1], 0));
    let origins = [reserve(loopback), reserve(loopback)];
    let [a, b] = origins
        .each_ref()
        .map(|origin| origin.local_addr().unwrap().as_socket().unwrap().to_string());
    let table = TABLE.replace("ORIGIN_A", &a).replace("ORIGIN_B", &b);
    let plan = Plan::new("", &[]).set("listener", "protocols", r#"["http/1.1", "h2c"]"#);
    plan.directory.write("routing.toml", &format!("version = 1\n{table}"));
    plan.directory.write("corpus.json", &all_cases().to_string());
    let directory = plan.directory.path("").display().to_string();
    let (code, said) = python(&["--write-jwks", &directory]).await;
    assert_eq!(code, 0, "python3 is needed: {said}");
    let gateway = plan.start().await;

    let data = gateway.data.to_string();
    let path = |name| gateway.directory.path(name).display().to_string();
    let (cases, verdicts) = (path("corpus.json"), path("verdicts.json"));
    let given = ["--corpus", &cases, "--json", &verdicts, "--origin-a", &a, "--origin-b", &b];
    let (_code, said) = python(&[&["--h1", &*data, "--h2", &*data][..], &given].concat()).await;
    let told: Value = serde_json::from_str(&gateway.directory.read("verdicts.json")).unwrap();
    let told = told["results"].as_array().unwrap();
    let asked = all_cases()["cases"].as_array().unwrap().len();
    assert_eq!(told.len(), asked, "every case was tried: {said}");

    let failed: Vec<_> = told
        .iter()
        .filter(|told| {
            let is_fatal = told["verdict"] == "CRIT";
            let is_failed = told["level"] == "must" && told["verdict"] != "ok";
            is_fatal || is_failed
        })
        .collect();
    assert!(failed.is_empty(), "{failed:#?}\n{said}");
}
