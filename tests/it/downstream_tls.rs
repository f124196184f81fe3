//! TLS with clients: which certificate, which version, whose session, and whose host.

use std::io;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use rustls::{AlertDescription, Error};

use crate::harness::client::Client;
use crate::harness::command::run;
use crate::harness::door::Door;
use crate::harness::gateway::Plan;
use crate::harness::http1::get;
use crate::harness::scene::{ACME, GLOBEX};
use crate::harness::tls::Authority;

/// The alert that a handshake ended with.
fn alert(visited: io::Result<Client>) -> AlertDescription {
    let error = visited.expect_err("a handshake that fails");
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<Error>());
    let Some(Error::AlertReceived(alert)) = inner else { panic!("no alert: {error:?}") };
    *alert
}

#[tokio::test]
async fn a_stamp_is_told_that_its_client_came_over_tls() {
    let door = Door::open().await;
    let answer = door.visit(ACME).await.exchange(&get(ACME, "/")).await;
    assert_eq!(answer.served_by(), "a");
    assert_eq!(answer.arrived("X-Forwarded-Proto"), ["https"]);
    let forwarded = answer.arrived("Forwarded").concat();
    assert!(forwarded.ends_with("host=\"acme.app.test\";proto=https"), "{forwarded}");
}

#[tokio::test]
async fn each_request_of_a_connection_goes_where_its_own_host_says() {
    let door = Door::open().await;
    let mut client = door.visit(GLOBEX).await;
    assert_eq!(client.exchange(&get(GLOBEX, "/")).await.served_by(), "b");
    let by_stamp = get("neutral.test", "/").header("X-Stamp-Id", "a");
    assert_eq!(client.exchange(&by_stamp).await.served_by(), "a");
}

#[tokio::test]
async fn the_certificate_is_the_one_for_the_name_that_is_asked_for() {
    let door = Door::open().await;
    let acme = door.visit("ACME.app.test").await;
    assert_eq!(acme.stream().peer_certificate(), Some(door.acme.der()));
    let globex = door.visit(GLOBEX).await;
    assert_eq!(globex.stream().peer_certificate(), Some(door.wide.der()));
}

#[tokio::test]
async fn who_asks_for_no_name_sees_the_first_certificate() {
    let door = Door::open().await;
    let nobody = door.visitor().names_nobody().config();
    let mut client = door.try_visit(&nobody, GLOBEX).await.unwrap();
    assert_eq!(client.stream().peer_certificate(), Some(door.wide.der()));
    assert_eq!(client.exchange(&get(GLOBEX, "/")).await.served_by(), "b");
}

#[tokio::test]
async fn who_asks_for_no_name_that_is_known_is_refused_where_names_are_demanded() {
    let door = Door::with(", strict_sni = true").await;
    assert_eq!(door.visit(ACME).await.exchange(&get(ACME, "/")).await.served_by(), "a");
    let config = door.visitor().config();
    let unknown = door.try_visit(&config, "other.test").await;
    assert_eq!(alert(unknown), AlertDescription::UnrecognisedName);
    let nobody = door.visitor().names_nobody().config();
    let unnamed = door.try_visit(&nobody, ACME).await;
    assert_eq!(alert(unnamed), AlertDescription::UnrecognisedName);
    door.counted("unrecognized_name", 2).await;
}

#[tokio::test]
async fn a_host_of_another_certificate_is_misdirected_and_the_connection_stays() {
    let door = Door::open().await;
    let mut client = door.visit(GLOBEX).await;
    // The wide certificate has a name for this host, but it is not the one for it.
    client.exchange(&get(ACME, "/")).await.assert_problem(421, "misdirected_request");
    assert_eq!(client.exchange(&get(GLOBEX, "/")).await.served_by(), "b");
    let mut client = door.visit(ACME).await;
    client.exchange(&get(GLOBEX, "/")).await.assert_problem(421, "misdirected_request");
    assert_eq!(door.pair.a.count(), 0, "nothing of it went to a stamp");
}

#[tokio::test]
async fn a_host_that_no_certificate_has_is_misdirected() {
    let door = Door::open().await;
    let mut client = door.visit(GLOBEX).await;
    for host in ["a.stamps.test", "app.test", "x.acme.app.test", "127.0.0.1", "[::1]"] {
        let request = get(host, "/").header("X-Stamp-Id", "a");
        client.exchange(&request).await.assert_problem(421, "misdirected_request");
    }
    let absolute = get(GLOBEX, "http://acme.app.test/");
    client.exchange(&absolute).await.assert_problem(400, "malformed_identifier");
}

#[tokio::test]
async fn a_port_and_the_case_of_a_host_are_no_reason_to_refuse_it() {
    let door = Door::open().await;
    let mut client = door.visit(GLOBEX).await;
    for host in ["GLOBEX.app.test:8443", "globex.app.test."] {
        assert_eq!(client.exchange(&get(host, "/")).await.served_by(), "b");
    }
}

#[tokio::test]
async fn both_versions_are_spoken() {
    let door = Door::open().await;
    for visitor in [door.visitor().of_old(), door.visitor().of_late()] {
        let answer = door.ask(&visitor.config(), ACME, &get(ACME, "/")).await;
        assert_eq!(answer.unwrap().served_by(), "a");
    }
}

#[tokio::test]
async fn the_older_version_can_be_left_out() {
    let door = Door::with(", min_version = \"1.3\"").await;
    let old = door.try_visit(&door.visitor().of_old().config(), ACME).await;
    assert_eq!(alert(old), AlertDescription::ProtocolVersion);
    door.counted("incompatible", 1).await;
    let late = door.visitor().of_late().config();
    assert_eq!(door.ask(&late, ACME, &get(ACME, "/")).await.unwrap().served_by(), "a");
}

#[tokio::test]
async fn of_what_a_client_offers_only_what_works_is_taken() {
    let door = Door::open().await;
    let both = door.visitor().offers(&["h2", "http/1.1"]).config();
    let mut client = door.try_visit(&both, ACME).await.unwrap();
    assert_eq!(client.stream().protocol().as_deref(), Some("http/1.1"));
    assert_eq!(client.exchange(&get(ACME, "/")).await.served_by(), "a");
    let unknown = door.visitor().offers(&["h2"]).config();
    let refused = door.try_visit(&unknown, ACME).await;
    assert_eq!(alert(refused), AlertDescription::NoApplicationProtocol);
    door.counted("no_protocol", 1).await;
}

#[tokio::test]
async fn a_session_is_taken_up_again_whichever_worker_is_met() {
    let door = Door::open().await;
    for visitor in [door.visitor().of_old(), door.visitor().of_late()] {
        let config = visitor.config();
        // With two workers, twelve connections do not all meet the same one.
        for number in 0..12 {
            let mut client = door.try_visit(&config, ACME).await.unwrap();
            assert_eq!(client.stream().is_resumed(), number > 0, "connection {number}");
            // Tickets of TLS 1.3 come with the first answer.
            assert_eq!(client.exchange(&get(ACME, "/")).await.status, 200);
        }
    }
    door.counted("ok", 2).await;
    door.counted("resumed", 22).await;
}

const REQUIRED: &str = ", client_auth = \"required\", client_ca = \"tls/clients.crt\"";
const OPTIONAL: &str = ", client_auth = \"optional\", client_ca = \"tls/clients.crt\"";

/// What a stamp is told of a client's certificate.
fn told(der: &[u8]) -> String {
    format!(":{}:", BASE64_STANDARD.encode(der))
}

#[tokio::test]
async fn a_verified_certificate_of_a_client_is_forwarded_and_a_claimed_one_is_not() {
    let door = Door::with(REQUIRED).await;
    let papers = door.authority.issues("device-7");
    for visitor in [door.visitor().of_old(), door.visitor().of_late()] {
        let config = visitor.shows(&papers).config();
        // The second connection takes the session up again: nothing is shown, all is known.
        for is_resumed in [false, true] {
            let mut client = door.try_visit(&config, ACME).await.unwrap();
            assert_eq!(client.stream().is_resumed(), is_resumed);
            let claimed = get(ACME, "/").header("Client-Cert", ":AAAA:");
            let answer = client.exchange(&claimed.header("Client-Cert-Chain", ":AAAA:")).await;
            assert_eq!(answer.arrived("Client-Cert"), [told(&papers.der())]);
            assert!(answer.arrived("Client-Cert-Chain").is_empty());
        }
    }
}

#[tokio::test]
async fn who_shows_no_certificate_is_refused_where_one_is_required() {
    let door = Door::with(REQUIRED).await;
    for visitor in [door.visitor().of_old(), door.visitor().of_late()] {
        assert!(door.ask(&visitor.config(), ACME, &get(ACME, "/")).await.is_none());
    }
    door.counted("client_certificate", 2).await;
    assert_eq!(door.pair.a.count(), 0);
}

#[tokio::test]
async fn who_shows_no_certificate_is_served_where_it_is_optional_and_claims_none() {
    let door = Door::with(OPTIONAL).await;
    let claimed = get(ACME, "/").header("Client-Cert", ":AAAA:");
    let answer = door.visit(ACME).await.exchange(&claimed).await;
    assert!(answer.arrived("Client-Cert").is_empty());
    let papers = door.authority.issues("device-7");
    let shown = door.visitor().shows(&papers).config();
    let answer = door.ask(&shown, ACME, &get(ACME, "/")).await.unwrap();
    assert_eq!(answer.arrived("Client-Cert"), [told(&papers.der())]);
}

#[tokio::test]
async fn a_certificate_that_nobody_vouches_for_is_refused_even_where_it_is_optional() {
    for keys in [OPTIONAL, REQUIRED] {
        let door = Door::with(keys).await;
        let strange = Authority::new().issues("device-7");
        let expired = door.authority.issues_expired("device-7");
        for papers in [strange, expired] {
            let config = door.visitor().shows(&papers).config();
            assert!(door.ask(&config, ACME, &get(ACME, "/")).await.is_none());
        }
        door.counted("client_certificate", 2).await;
    }
}

#[tokio::test]
async fn a_trusted_proxy_speaks_for_its_clients_and_not_of_itself() {
    let plan = |plan: Plan, _: &Authority| plan.set("trust", "proxies", "[\"127.0.0.1\"]");
    let door = Door::planned(REQUIRED, plan).await;
    let config = door.visitor().shows(&door.authority.issues("proxy")).config();
    let answer = door.ask(&config, ACME, &get(ACME, "/")).await.unwrap();
    assert!(answer.arrived("Client-Cert").is_empty());
    let said = get(ACME, "/").header("Client-Cert", ":AAAA:");
    let answer = door.ask(&config, ACME, &said).await.unwrap();
    assert_eq!(answer.arrived("Client-Cert"), [":AAAA:"]);
}

/// Runs a program of the system; `None`, said on stderr, where there is none.
async fn foreign(program: &str, arguments: &[&str]) -> Option<String> {
    let is_there = std::process::Command::new(program).arg("--version").output().is_ok();
    if !is_there {
        eprintln!("NOT TRIED: there is no {program} here");
        return None;
    }
    let mut command = std::process::Command::new(program);
    command.args(arguments);
    Some(run(command).await.exits(0).all())
}

#[tokio::test]
async fn curl_is_served() {
    let door = Door::open().await;
    let ca = door.pair.gateway.directory.path("tls/clients.crt");
    let to = format!("::127.0.0.1:{}", door.pair.gateway.data.port());
    let ca = ca.to_str().unwrap();
    let arguments =
        ["-sS", "--fail", "--cacert", ca, "--connect-to", &to, "https://acme.app.test/from-curl"];
    if let Some(told) = foreign("curl", &arguments).await {
        assert!(told.contains("/from-curl"), "{told}");
    }
}

#[tokio::test]
async fn openssl_finds_the_session_good() {
    let door = Door::open().await;
    let ca = door.pair.gateway.directory.path("tls/clients.crt");
    let to = door.pair.gateway.data.to_string();
    let ca = ca.to_str().unwrap();
    for version in ["-tls1_2", "-tls1_3"] {
        let arguments = [
            "s_client",
            "-connect",
            &to,
            "-servername",
            ACME,
            "-verify_hostname",
            ACME,
            "-CAfile",
            ca,
            "-verify_return_error",
            "-alpn",
            "http/1.1",
            version,
        ];
        if let Some(told) = foreign("openssl", &arguments).await {
            assert!(told.contains("Verify return code: 0 (ok)"), "{told}");
            assert!(told.contains("ALPN protocol: http/1.1"), "{told}");
        }
    }
}

#[tokio::test]
async fn a_proxy_says_whose_a_connection_is_before_the_handshake() {
    let proxied = |plan: Plan, _: &Authority| {
        plan.set("listener", "proxy_protocol", "\"required\"").set(
            "trust",
            "proxies",
            "[\"127.0.0.1\"]",
        )
    };
    let door = Door::planned("", proxied).await;
    let (config, data) = (door.visitor().config(), door.pair.gateway.data);
    let header = b"PROXY TCP4 192.0.2.7 198.51.100.1 4711 443\r\n";
    let mut client = Client::try_connect_tls(data, (header, &config), ACME).await.unwrap();
    let answer = client.exchange(&get(ACME, "/")).await;
    assert_eq!(answer.arrived("x-forwarded-for"), ["192.0.2.7"]);
    assert_eq!(answer.arrived("x-forwarded-proto"), ["https"]);
    assert!(door.try_visit(&config, ACME).await.is_err(), "no word of a proxy");
}
