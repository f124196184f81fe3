//! The files of a listener: renewed while it serves, refused when they are no good, and told of.

use crate::harness::command::stampgate;
use crate::harness::deadline::eventually;
use crate::harness::door::{CERTIFICATES, Door};
use crate::harness::files::Directory;
use crate::harness::gateway::{Gateway, Plan};
use crate::harness::http1::get;
use crate::harness::scene::{ACME, GLOBEX, PAIR};
use crate::harness::stamp::Stamp;
use crate::harness::tls::{Authority, Papers};

fn replace(directory: &Directory, name: &str, papers: &Papers) {
    directory.replace(&format!("tls/{name}.crt"), &papers.cert);
    directory.replace(&format!("tls/{name}.key"), &papers.key);
}

/// Asks for a reload that must be refused, and returns what is said.
async fn refused(gateway: &Gateway) -> String {
    let answer = gateway.admin("POST", "/v1/config/reload", None).await;
    assert_eq!(answer.status, 422, "{}", answer.text());
    answer.text()
}

#[tokio::test]
async fn a_renewed_certificate_is_shown_without_being_asked_for() {
    let door = Door::open().await;
    let mut before = door.visit(ACME).await;
    let renewed = door.authority.issues(ACME);
    replace(&door.pair.gateway.directory, "acme", &renewed);
    eventually("the new certificate", async || {
        let client = door.visit(ACME).await;
        (client.stream().peer_certificate() == Some(renewed.der())).then_some(())
    })
    .await;
    assert_eq!(before.exchange(&get(ACME, "/")).await.served_by(), "a", "who is there stays");
    assert!(door.pair.gateway.last_reload_succeeded().await);
}

#[tokio::test]
async fn a_session_is_taken_up_again_after_a_renewal() {
    let door = Door::open().await;
    let config = door.visitor().config();
    assert!(door.ask(&config, ACME, &get(ACME, "/")).await.is_some());
    replace(&door.pair.gateway.directory, "acme", &door.authority.issues(ACME));
    door.pair.gateway.reload().await;
    assert!(door.try_visit(&config, ACME).await.unwrap().stream().is_resumed());
}

#[tokio::test]
async fn a_bad_pair_is_refused_and_the_old_one_stays() {
    let door = Door::open().await;
    let directory = &door.pair.gateway.directory;
    let other = door.authority.issues(ACME);
    let nameless = door.authority.issues_for(&[]);
    let cases = [
        ("acme.key", other.key.as_str(), "the key in"),
        ("acme.crt", "nonsense", "holds no certificate"),
        ("acme.key", "nonsense", "holds no private key"),
        ("acme.crt", nameless.cert.as_str(), "no subject alternative name"),
        (
            "acme.crt",
            "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
            "cannot be used",
        ),
    ];
    for (file, text, why) in cases {
        let path = format!("tls/{file}");
        let good = directory.read(&path);
        directory.write(&path, text);
        let said = refused(&door.pair.gateway).await;
        assert!(said.contains(why) && said.contains(file), "{file}: {said}");
        assert!(!door.pair.gateway.last_reload_succeeded().await);
        let client = door.visit(ACME).await;
        assert_eq!(client.stream().peer_certificate(), Some(door.acme.der()));
        directory.write(&path, &good);
    }
    directory.remove("tls/acme.crt");
    assert!(refused(&door.pair.gateway).await.contains("cannot read"));
    assert_eq!(door.visit(ACME).await.exchange(&get(ACME, "/")).await.served_by(), "a");
}

#[tokio::test]
async fn a_pair_is_refused_until_both_of_its_files_are_there() {
    let door = Door::open().await;
    let renewed = door.authority.issues(ACME);
    let directory = &door.pair.gateway.directory;
    directory.replace("tls/acme.crt", &renewed.cert);
    eventually("a refused half", async || {
        (!door.pair.gateway.last_reload_succeeded().await).then_some(())
    })
    .await;
    directory.replace("tls/acme.key", &renewed.key);
    eventually("the new certificate", async || {
        let client = door.visit(ACME).await;
        (client.stream().peer_certificate() == Some(renewed.der())).then_some(())
    })
    .await;
}

/// gateway.toml again, with other keys of `tls`.
fn rewrite(directory: &Directory, from: &str, to: &str) {
    let text = directory.read("gateway.toml");
    assert!(text.contains(from), "{text}");
    directory.replace("gateway.toml", &text.replace(from, to));
}

#[tokio::test]
async fn a_session_made_without_a_certificate_is_not_taken_up_once_one_is_required() {
    let door = Door::open().await;
    for visitor in [door.visitor().of_old(), door.visitor().of_late()] {
        let config = visitor.config();
        assert!(door.ask(&config, ACME, &get(ACME, "/")).await.is_some());
        let directory = &door.pair.gateway.directory;
        let required = ", client_auth = \"required\", client_ca = \"tls/clients.crt\" }";
        rewrite(directory, "acme.key\" }] }", &format!("acme.key\" }}]{required}"));
        door.pair.gateway.reload().await;
        assert!(door.ask(&config, ACME, &get(ACME, "/")).await.is_none());
        rewrite(directory, required, " }");
        door.pair.gateway.reload().await;
    }
}

#[tokio::test]
async fn a_listener_speaks_tls_until_a_restart_whatever_the_file_says() {
    let door = Door::open().await;
    let directory = &door.pair.gateway.directory;
    let text = directory.read("gateway.toml");
    let without: Vec<&str> = text.lines().filter(|line| !line.starts_with("tls = ")).collect();
    directory.replace("gateway.toml", &without.join("\n"));
    let answer = door.pair.gateway.admin("POST", "/v1/config/reload", None).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert!(answer.text().contains("\"listener\""), "{}", answer.text());
    assert_eq!(door.visit(ACME).await.exchange(&get(ACME, "/")).await.served_by(), "a");
    door.pair.gateway.get(ACME, "/").await.assert_problem(400, "malformed_request");
}

#[tokio::test]
async fn a_gateway_starts_from_the_last_good_pair_when_the_files_are_gone() {
    let mut door = Door::open().await;
    door.pair.gateway.kill();
    door.pair.gateway.directory.remove("tls/acme.key");
    door.pair.gateway.restart().await;
    let client = door.visit(ACME).await;
    assert_eq!(client.stream().peer_certificate(), Some(door.acme.der()));
    assert!(!door.pair.gateway.last_reload_succeeded().await);
}

const NOT_AFTER: &str = "stampgate_tls_certificate_not_after_timestamp_seconds";

#[tokio::test]
async fn the_metric_tells_when_each_certificate_expires() {
    let plan = |plan: Plan, authority: &Authority| {
        let papers = authority.issues_until(ACME, 2040);
        plan.file("tls/acme.crt", &papers.cert).file("tls/acme.key", &papers.key)
    };
    let door = Door::planned("", plan).await;
    let labels = |name: &'static str| [("listener", "public"), ("name", name)];
    // 2040-12-31T00:00:00Z
    let told = door.pair.gateway.metric(NOT_AFTER, &labels(ACME)).await;
    assert!((told - 2_240_524_800.0).abs() < 0.5, "{told}");
    assert!(door.pair.gateway.metric(NOT_AFTER, &labels("*.app.test")).await > told);
}

/// The usual plan behind these papers, not running.
async fn planned(papers: &Papers) -> Directory {
    let (a, b) = (Stamp::start("a").await, Stamp::start("b").await);
    Plan::new(PAIR, &[&a, &b])
        .set("listener", "tls", "{ certificates = [{ cert = \"site.crt\", key = \"site.key\" }] }")
        .file("site.crt", &papers.cert)
        .file("site.key", &papers.key)
        .written()
}

async fn check(directory: &Directory) -> crate::harness::command::Ended {
    stampgate(&["check", "-c", directory.path("gateway.toml").to_str().unwrap()]).await
}

#[tokio::test]
async fn an_expired_certificate_is_warned_of_and_served() {
    let authority = Authority::new();
    let directory = planned(&authority.issues_expired(GLOBEX)).await;
    let said = check(&directory).await.exits(0);
    assert!(said.stderr.contains("expired") && said.stderr.contains("site.crt"), "{said:?}");
    let gateway = Gateway::start(directory).await;
    assert!(gateway.metric(NOT_AFTER, &[]).await > 1_000_000_000.0);
    assert!(gateway.log().contains("the certificate is expired"));
}

#[tokio::test]
async fn check_tells_which_file_is_bad_and_why() {
    let authority = Authority::new();
    let papers = authority.issues(GLOBEX);
    let mixed = Papers { key: authority.issues(GLOBEX).key, ..papers.clone() };
    let said = check(&planned(&mixed).await).await.exits(3).stderr;
    assert!(said.contains("site.key") && said.contains("cannot be used with"), "{said}");
    assert!(said.contains("help: name the private key"), "{said}");
    let directory = planned(&papers).await;
    check(&directory).await.exits(0);
    directory.remove("site.crt");
    let said = check(&directory).await.exits(3).stderr;
    assert!(said.contains("cannot read") && said.contains("site.crt"), "{said}");
}

#[tokio::test]
async fn mistakes_in_the_keys_are_told_where_they_stand() {
    let directory = planned(&Authority::new().issues(GLOBEX)).await;
    let text = directory.read("gateway.toml");
    let line = text.lines().find(|line| line.starts_with("tls = ")).unwrap().to_owned();
    for (tls, why) in [
        ("{ certificates = [] }", "no certificate is listed"),
        (
            &*format!("{{ {CERTIFICATES}, client_auth = \"required\" }}"),
            "nobody is named who vouches for clients",
        ),
        (
            &*format!("{{ {CERTIFICATES}, client_ca = \"ca\" }}"),
            "is of no use while no client is asked",
        ),
        (&*format!("{{ {CERTIFICATES}, min_version = \"1.1\" }}"), "unknown word \"1.1\""),
    ] {
        directory.write("gateway.toml", &text.replace(&line, &format!("tls = {tls}")));
        let said = check(&directory).await.exits(3).stderr;
        assert!(said.contains(why) && said.contains("gateway.toml:"), "{said}");
        assert!(said.contains("help:"), "{said}");
    }
}
