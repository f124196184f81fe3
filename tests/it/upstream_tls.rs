//! TLS to stamps: who is talked to, who is not, and what a reload changes.

use std::time::Duration;

use crate::harness::command::stampgate;
use crate::harness::deadline::eventually;
use crate::harness::files::{Directory, routing, routing_without_defaults};
use crate::harness::gateway::{Plan, SYSTEM_CERTIFICATES};
use crate::harness::http1::{Request, get, post};
use crate::harness::scene::{ACME, PAIR, Pair};
use crate::harness::script::{Gate, Script, block};
use crate::harness::stamp::Stamp;
use crate::harness::tls::Authority;

const NAME: &str = "stamp.a.internal";
/// What a stamp of a private authority needs.
const PRIVATE: &str = "tls = { ca = \"tls/ca.crt\", server_name = \"stamp.a.internal\" }";
/// Probes that never take a stamp out: only requests find out.
const BLIND: &str = "health = { path = \"/healthz\", interval = \"100ms\", fall = 1000 }";

/// The usual table with a over TLS, and these lines for it.
fn over_tls(lines: &str) -> String {
    let table = PAIR.replace("http://{stamp_a}", "https://{stamp_a}");
    table.replace("id = \"a\"\n", &format!("id = \"a\"\n{lines}\n"))
}

/// The same without a way out of a.
fn without_edge(lines: &str) -> String {
    over_tls(lines).replace("failover = [{ to = \"b\", mode = \"read_write\" }]\n", "")
}

/// Who vouches for a stamp, and how that stamp serves.
struct Case {
    authority: Authority,
    a: Stamp,
    b: Stamp,
}

impl Case {
    /// A stamp with good papers for `name`.
    async fn of(name: &str) -> Self {
        let case = Self {
            authority: Authority::new(),
            a: Stamp::start("a").await,
            b: Stamp::start("b").await,
        };
        case.a.presents(case.authority.issues(name).served());
        case
    }

    fn plan(&self, table: &str) -> Plan {
        let plan = Plan::new(table, &[&self.a, &self.b]);
        plan.file("tls/ca.crt", &self.authority.pem).set("runtime", "workers", "1")
    }

    async fn start(self, table: &str) -> Pair {
        let gateway = self.plan(table).start().await;
        Pair { a: self.a, b: self.b, gateway }
    }
}

#[tokio::test]
async fn a_stamp_of_a_private_authority_serves_under_its_name() {
    let pair = Case::of(NAME).await.start(&over_tls(PRIVATE)).await;
    assert_eq!(pair.gateway.get(ACME, "/").await.served_by(), "a");
    assert_eq!(pair.gateway.send(&post(ACME, "/", "hello")).await.json()["body"], "hello");
}

#[tokio::test]
async fn without_a_server_name_the_certificate_must_be_for_the_endpoint() {
    let lines = "tls = { ca = \"tls/ca.crt\" }";
    let pair = Case::of("127.0.0.1").await.start(&over_tls(lines)).await;
    assert_eq!(pair.gateway.get(ACME, "/").await.served_by(), "a");
}

#[tokio::test]
async fn stamps_may_inherit_who_vouches_for_them() {
    let table = format!("[defaults.stamp]\ntls = {{ ca = \"tls/ca.crt\" }}\n{}", over_tls(""));
    let pair = Case::of("127.0.0.1").await.start(&table).await;
    assert_eq!(pair.gateway.get(ACME, "/").await.served_by(), "a");
    assert_eq!(pair.gateway.get("globex.app.test", "/").await.served_by(), "b");
}

/// A stamp that cannot prove who it is.
async fn assert_never_talked_to(case: Case, lines: &str, reason: &str) {
    let lines = format!("{lines}\n{BLIND}");
    assert_passed_over(&case, &lines, reason).await;
    assert_refused_without_a_way_out(&case, &lines).await;
    assert_eq!((case.a.count(), case.a.probes(), case.b.count()), (0, 0, 2));
    assert!(case.a.refused() > 0);
}

async fn assert_passed_over(case: &Case, lines: &str, reason: &str) {
    let gateway = case.plan(&over_tls(lines)).start().await;
    assert_eq!(gateway.get(ACME, "/").await.served_by(), "b");
    let answer = gateway.send(&post(ACME, "/", "precious")).await;
    assert_eq!((answer.served_by().as_str(), &answer.json()["body"]), ("b", &"precious".into()));
    eventually(reason, async || gateway.log().contains(reason).then_some(())).await;
}

async fn assert_refused_without_a_way_out(case: &Case, lines: &str) {
    let gateway = case.plan(&without_edge(lines)).start().await;
    for request in [get(ACME, "/"), post(ACME, "/", "precious")] {
        gateway.send(&request).await.assert_problem(502, "connect_failed");
    }
    let failed = [("stamp", "a"), ("outcome", "tls_failed")];
    assert!(gateway.metric("stampgate_attempts_total", &failed).await >= 2.0);
}

#[tokio::test]
async fn a_stamp_of_an_unknown_authority_is_never_talked_to() {
    let case = Case::of(NAME).await;
    case.a.presents(Authority::new().issues(NAME).served());
    assert_never_talked_to(case, PRIVATE, "UnknownIssuer").await;
}

/// A stamp that only those know whom the system trusts.
const OF_THE_SYSTEM: &str = "tls = { server_name = \"stamp.a.internal\" }";

#[tokio::test]
async fn without_a_ca_those_count_whom_the_system_trusts() {
    let case = Case::of(NAME).await;
    let plan = case.plan(&over_tls(OF_THE_SYSTEM));
    let gateway = plan.file(SYSTEM_CERTIFICATES, &case.authority.pem).start().await;
    assert_eq!(gateway.get(ACME, "/").await.served_by(), "a");
}

#[tokio::test]
async fn a_private_authority_is_none_of_the_systems() {
    let case = Case::of(NAME).await;
    let plan = case.plan(&over_tls(&format!("{OF_THE_SYSTEM}\n{BLIND}")));
    let gateway = plan.file(SYSTEM_CERTIFICATES, &Authority::new().pem).start().await;
    assert_eq!(gateway.get(ACME, "/").await.served_by(), "b");
    assert_eq!((case.a.count(), case.a.probes()), (0, 0));
}

#[tokio::test]
async fn a_named_authority_takes_the_place_of_the_systems() {
    let case = Case::of(NAME).await;
    let other = Authority::new();
    case.a.presents(other.issues(NAME).served());
    let plan = case.plan(&over_tls(&format!("{PRIVATE}\n{BLIND}")));
    let gateway = plan.file(SYSTEM_CERTIFICATES, &other.pem).start().await;
    assert_eq!(gateway.get(ACME, "/").await.served_by(), "b");
    assert_eq!((case.a.count(), case.a.probes()), (0, 0));
}

#[tokio::test]
async fn a_stamp_under_a_wrong_name_is_never_talked_to() {
    let case = Case::of("stamp.b.internal").await;
    assert_never_talked_to(case, PRIVATE, "not valid for name").await;
}

#[tokio::test]
async fn a_stamp_with_an_expired_certificate_is_never_talked_to() {
    let case = Case::of(NAME).await;
    case.a.presents(case.authority.issues_expired(NAME).served());
    assert_never_talked_to(case, PRIVATE, "certificate expired").await;
}

#[tokio::test]
async fn a_stamp_that_speaks_no_tls_is_never_talked_to() {
    let case = Case {
        authority: Authority::new(),
        a: Stamp::start("a").await,
        b: Stamp::start("b").await,
    };
    let gateway = case.plan(&over_tls(&format!("{PRIVATE}\n{BLIND}"))).start().await;
    assert_eq!(gateway.get(ACME, "/").await.served_by(), "b");
    assert_eq!(gateway.send(&post(ACME, "/", "precious")).await.served_by(), "b");
    assert_eq!(case.a.count(), 0);
}

#[tokio::test]
async fn a_handshake_that_hangs_is_over_with_the_connect_timeout() {
    let case = Case::of(NAME).await;
    case.a.on_accept(crate::harness::stamp::OnAccept::Ignore);
    let plan = case.plan(&over_tls(&format!("{PRIVATE}\n{BLIND}")));
    let gateway = plan.set("timeouts", "connect", "\"300ms\"").start().await;
    let began = tokio::time::Instant::now();
    assert_eq!(gateway.send(&post(ACME, "/", "precious")).await.served_by(), "b");
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
    let timeouts = [("stamp", "a"), ("outcome", "connect_timeout")];
    assert!(gateway.metric("stampgate_attempts_total", &timeouts).await >= 1.0);
}

#[tokio::test]
async fn probes_shake_hands_and_an_expired_certificate_takes_a_stamp_out() {
    let pair = Case::of(NAME).await;
    let (good, expired) =
        (pair.authority.issues(NAME).served(), pair.authority.issues_expired(NAME).served());
    let pair = pair.start(&without_edge(PRIVATE)).await;
    pair.gateway.serves(ACME, "a").await;
    pair.a.presents(expired);
    pair.gateway.knows_down("a").await;
    pair.gateway.get(ACME, "/").await.assert_problem(503, "stamp_unavailable");
    pair.a.presents(good);
    pair.gateway.serves(ACME, "a").await;
}

#[tokio::test]
async fn a_probe_without_a_path_shakes_hands_all_the_same() {
    let case = Case::of(NAME).await;
    let (good, expired) =
        (case.authority.issues(NAME).served(), case.authority.issues_expired(NAME).served());
    let defaults = "version = 1\n[defaults.stamp.health]\ninterval = \"100ms\"\nfall = 2\nrise = 2\n\
                    [defaults.stamp.failback]\nhold = \"300ms\"\nramp = \"0s\"\n";
    let plan = case.plan(PAIR);
    let table = format!("{defaults}{}", over_tls(PRIVATE));
    let table = routing_without_defaults(&table, &[&case.a, &case.b]);
    plan.directory.write("routing.toml", &table);
    let gateway = plan.start().await;
    gateway.serves(ACME, "a").await;
    case.a.presents(expired);
    gateway.knows_down("a").await;
    case.a.presents(good);
    gateway.serves(ACME, "a").await;
    assert_eq!(case.a.probes(), 0);
}

#[tokio::test]
async fn a_probe_takes_up_no_session_and_a_request_does() {
    let pair = Case::of(NAME).await.start(&over_tls(PRIVATE)).await;
    pair.a.probed_again(3).await;
    assert_eq!(pair.a.resumed(), 0);
    pair.a.plays(Script::EchoAndClose);
    for _ in 0..3 {
        assert_eq!(pair.gateway.get(ACME, "/").await.served_by(), "a");
    }
    assert_eq!(pair.a.connections(), 3);
    assert!(pair.a.resumed() >= 1, "{}", pair.a.resumed());
}

/// A stamp that demands papers of the gateway's own, by the same authority.
async fn demanding() -> (Case, Plan, String) {
    let case = Case::of(NAME).await;
    case.a.presents(case.authority.issues(NAME).served_to_those_of(&case.authority));
    let own = case.authority.issues("gateway.internal");
    let mutual = PRIVATE.replace(" }", ", cert = \"tls/own.crt\", key = \"tls/own.key\" }");
    let plan = case.plan(&over_tls(&mutual)).file("tls/own.crt", &own.cert);
    (case, plan.file("tls/own.key", &own.key), mutual)
}

#[tokio::test]
async fn the_gateway_shows_its_certificate_to_a_stamp_that_demands_one() {
    let (_case, plan, _) = demanding().await;
    let gateway = plan.start().await;
    assert_eq!(gateway.get(ACME, "/").await.served_by(), "a");
    assert_eq!(gateway.send(&post(ACME, "/", "hello")).await.served_by(), "a");
}

#[tokio::test]
async fn a_stamp_that_demands_a_certificate_refuses_without_and_nothing_is_lost() {
    let (case, plan, _) = demanding().await;
    let table = routing(&over_tls(&format!("{PRIVATE}\n{BLIND}")), &[&case.a, &case.b]);
    plan.directory.write("routing.toml", &table);
    let gateway = plan.start().await;
    for _ in 0..20 {
        assert_eq!(gateway.get(ACME, "/").await.served_by(), "b");
        // In TLS 1.3 the POST is on its way when the stamp refuses, and nobody has read it.
        assert_eq!(gateway.send(&post(ACME, "/", "precious")).await.served_by(), "b");
    }
    assert_eq!((case.a.count(), case.b.count()), (0, 40));
    assert!(case.a.refused() > 0);
}

#[tokio::test]
async fn a_certificate_of_the_wrong_authority_is_refused_by_the_stamp() {
    let (case, plan, _) = demanding().await;
    let stranger = Authority::new().issues("gateway.internal");
    let plan = plan.file("tls/own.crt", &stranger.cert).file("tls/own.key", &stranger.key);
    let gateway = plan.start().await;
    gateway.serves(ACME, "b").await;
    assert_eq!((case.a.count(), case.a.probes()), (0, 0));
}

#[tokio::test]
async fn a_new_authority_takes_effect_without_a_restart_and_loses_nothing() {
    let case = Case::of(NAME).await;
    let next = Authority::new();
    let both = format!("{}{}", case.authority.pem, next.pem);
    let renewed = next.issues(NAME).served();
    let pair = case.start(&over_tls(PRIVATE)).await;
    let before = pair.gateway.generation().await;
    let stop = Gate::closed();
    let data = pair.gateway.data;
    let stopped = stop.clone();
    let load = tokio::spawn(async move {
        let mut served = Vec::new();
        let mut client = crate::harness::client::Client::connect(data).await;
        let over = stopped.passed();
        tokio::pin!(over);
        let request = get(ACME, "/load");
        loop {
            tokio::select! {
                biased;
                () = &mut over => return served,
                answer = client.exchange(&request) => served.push(answer.status),
            }
        }
    });
    pair.gateway.directory.replace("tls/ca.crt", &both);
    eventually("a table with both", async || {
        (pair.gateway.generation().await > before).then_some(())
    })
    .await;
    pair.a.presents(renewed);
    pair.gateway.directory.replace("tls/ca.crt", &next.pem);
    eventually("a table with the new one alone", async || {
        (pair.gateway.generation().await > before + 1.0).then_some(())
    })
    .await;
    let seen = pair.a.count();
    pair.a.reached_by(seen + 20).await;
    stop.open();
    let served = load.await.unwrap();
    assert!(served.len() > 20 && served.iter().all(|status| *status == 200), "{served:?}");
    assert_eq!(pair.gateway.get(ACME, "/").await.served_by(), "a");
    assert!(pair.gateway.last_reload_succeeded().await);
}

#[tokio::test]
async fn a_connection_of_before_is_not_used_after_the_authority_changed() {
    let pair = Case::of(NAME).await.start(&over_tls(&format!("{PRIVATE}\n{BLIND}"))).await;
    assert_eq!(pair.gateway.get(ACME, "/").await.served_by(), "a");
    pair.gateway.directory.replace("tls/ca.crt", &Authority::new().pem);
    pair.gateway.reload().await;
    assert_eq!(pair.gateway.get(ACME, "/").await.served_by(), "b");
    assert_eq!((pair.a.count(), pair.a.connections()), (1, 1));
}

#[tokio::test]
async fn a_connection_in_the_clear_is_not_used_after_its_endpoint_changed_to_tls() {
    let case = Case::of(NAME).await;
    let plain = PAIR.replace("id = \"a\"\n", &format!("id = \"a\"\n{BLIND}\n"));
    let (a, b) = (Stamp::start("a").await, case.b);
    let pair = Pair { gateway: Plan::new(&plain, &[&a, &b]).start().await, a, b };
    assert_eq!(pair.gateway.get(ACME, "/").await.served_by(), "a");
    pair.gateway.directory.write("tls/ca.crt", &case.authority.pem);
    let table = over_tls(&format!("{PRIVATE}\n{BLIND}"));
    pair.gateway.reload_with(&table, &[&pair.a, &pair.b]).await;
    assert_eq!(pair.gateway.get(ACME, "/").await.served_by(), "b");
    assert_eq!(pair.a.count(), 1);
}

#[tokio::test]
async fn connections_survive_a_reload_that_leaves_tls_as_it_was() {
    let pair = Case::of(NAME).await.start(&over_tls(PRIVATE)).await;
    for extra in ["", "one = \"a\"\n", "one = \"b\"\n"] {
        let table = format!("{}{extra}", over_tls(PRIVATE));
        pair.gateway.reload_with(&table, &[&pair.a, &pair.b]).await;
        assert_eq!(pair.gateway.get(ACME, "/").await.served_by(), "a");
    }
    assert_eq!((pair.a.count(), pair.a.connections()), (3, 1));
}

#[tokio::test]
async fn a_broken_certificate_file_is_refused_and_the_old_one_serves() {
    let pair = Case::of(NAME).await.start(&over_tls(PRIVATE)).await;
    pair.gateway.directory.replace("tls/ca.crt", "nonsense");
    let answer = pair.gateway.admin("POST", "/v1/config/reload", None).await;
    assert_eq!(answer.status, 422, "{}", answer.text());
    let told = answer.json()["diagnostics"][0].clone();
    assert!(told["source_line"].as_str().unwrap().contains("tls = { ca"), "{told}");
    assert_eq!(pair.gateway.get(ACME, "/").await.served_by(), "a");
}

#[tokio::test]
async fn a_gateway_starts_from_the_last_good_certificates() {
    let mut pair = Case::of(NAME).await.start(&over_tls(PRIVATE)).await;
    pair.gateway.kill();
    pair.gateway.directory.remove("tls/ca.crt");
    pair.gateway.restart().await;
    assert_eq!(pair.gateway.get(ACME, "/").await.served_by(), "a");
}

#[tokio::test]
async fn a_tls_connection_is_used_again() {
    let pair = Case::of(NAME).await.start(&over_tls(PRIVATE)).await;
    for _ in 0..5 {
        assert_eq!(pair.gateway.send(&post(ACME, "/", "x")).await.served_by(), "a");
    }
    assert_eq!((pair.a.count(), pair.a.connections()), (5, 1));
}

#[tokio::test]
async fn a_get_is_repeated_when_a_tls_connection_closes_while_it_rests() {
    let pair = Case::of(NAME).await.start(&over_tls(PRIVATE)).await;
    pair.a.plays(Script::CloseWhenReused);
    for _ in 0..4 {
        assert_eq!(pair.gateway.get(ACME, "/").await.served_by(), "a");
    }
    assert_eq!(pair.b.count(), 0);
}

const LARGE: u64 = 8 << 20;

#[tokio::test]
async fn large_bodies_pass_both_ways() {
    let pair = Case::of(NAME).await.start(&over_tls(PRIVATE)).await;
    let mut client = pair.gateway.connect().await;
    let head = Request::new("POST", "/up").header("Host", ACME);
    client.send(head.header("Content-Length", &LARGE.to_string()).bytes()).await;
    let mut sent = 0;
    while sent < LARGE {
        let next = usize::try_from((LARGE - sent).min(251 << 8)).unwrap();
        client.send(block(sent, next)).await;
        sent += u64::try_from(next).unwrap();
    }
    assert_eq!(client.answer().await.json()["body_length"], LARGE);
    let seen = pair.a.only();
    assert!(seen.complete && seen.body_is_pattern);
    pair.a.plays(Script::Download(LARGE));
    let answer = client.exchange(&get(ACME, "/down")).await;
    assert_eq!(answer.body, block(0, usize::try_from(LARGE).unwrap()));
}

#[tokio::test]
async fn an_answer_that_is_cut_is_not_taken_for_a_whole_one() {
    let pair = Case::of(NAME).await.start(&over_tls(PRIVATE)).await;
    // Its end would be the end of the connection, and TLS says goodbye before that.
    pair.a.plays(Script::RawAndClose(b"HTTP/1.1 200 OK\r\n\r\nhalf".into()));
    let mut client = pair.gateway.connect().await;
    assert!(client.try_exchange(&get(ACME, "/")).await.is_err());
}

#[tokio::test]
async fn a_websocket_passes() {
    let pair = Case::of(NAME).await.start(&over_tls(PRIVATE)).await;
    pair.a.plays(Script::Upgrade);
    let mut client = pair.gateway.connect().await;
    let request = get(ACME, "/").header("Connection", "Upgrade").header("Upgrade", "websocket");
    client.send(request.bytes()).await;
    assert_eq!(client.head().await.status().unwrap(), 101);
    let frames = block(0, 1 << 18);
    for part in frames.chunks(1 << 14) {
        client.send(part).await;
        assert_eq!(client.exactly(part.len()).await, part);
    }
}

const GATEWAY: &str = "version = 1\n[[listener]]\nname = \"public\"\nbind = \"127.0.0.1:0\"\n\
    [admin]\nbind = \"127.0.0.1:0\"\n[routing]\nfile = \"routing.toml\"\n\
    [state]\ndirectory = \"state\"\n";

/// Line 5 of routing.toml is this one.
async fn check(tls: &str, files: &[(&str, &str)]) -> crate::harness::command::Ended {
    let directory = Directory::new();
    directory.write("gateway.toml", GATEWAY);
    let endpoints = "endpoints = [{ url = \"https://127.0.0.1:1\" }]";
    let table = format!("version = 1\n[[stamp]]\nid = \"a\"\n{endpoints}\n{tls}\n");
    directory.write("routing.toml", &table);
    for (name, text) in files {
        directory.write(name, text);
    }
    stampgate(&["check", "-c", directory.path("gateway.toml").to_str().unwrap()]).await
}

#[tokio::test]
async fn check_reads_the_files_and_tells_the_line_that_names_a_bad_one() {
    let authority = Authority::new();
    let own = authority.issues("gateway.internal");
    let other = authority.issues("gateway.internal");
    let all = "tls = { ca = \"ca\", cert = \"own.crt\", key = \"own.key\" }";
    let good = [("ca", &*authority.pem), ("own.crt", &*own.cert), ("own.key", &*own.key)];
    check(all, &good).await.exits(0);
    for (name, text, column, words) in [
        ("ca", "", "14", "holds no certificate"),
        ("own.crt", &*own.key, "27", "holds no certificate"),
        ("own.key", &*own.cert, "44", "holds no private key"),
        ("own.key", &*other.key, "44", "cannot be used with its certificate"),
    ] {
        let files = good.map(|(own, good)| (own, if own == name { text } else { good }));
        let ended = check(all, &files).await.exits(3);
        let place = format!("routing.toml:5:{column}");
        for text in [&*place, words, "help:"] {
            assert!(ended.stderr.contains(text), "{text} is missing in:\n{}", ended.stderr);
        }
    }
    let ended = check("tls = { ca = \"tls/nowhere.crt\" }", &[]).await.exits(3);
    for text in ["routing.toml:5:14", "cannot read", "tls/nowhere.crt", "help:"] {
        assert!(ended.stderr.contains(text), "{text} is missing in:\n{}", ended.stderr);
    }
}
