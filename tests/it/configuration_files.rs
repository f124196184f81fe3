//! Section 3 of the contract: mistakes in the two files, all at once, each with its place.

use crate::harness::command::{Ended, stampgate};
use crate::harness::files::Directory;

const GATEWAY: &str = r#"version = 1
[[listener]]
name = "public"
bind = "127.0.0.1:0"
[admin]
bind = "127.0.0.1:0"
[routing]
file = "routing.toml"
[state]
directory = "state"
"#;

const ROUTING: &str = r#"version = 1
[[stamp]]
id = "a"
endpoints = [{ url = "http://127.0.0.1:1" }]
[tenants]
acme = "a"
"#;

async fn check(gateway: &str, routing: &str) -> Ended {
    let directory = Directory::new();
    directory.write("gateway.toml", gateway);
    directory.write("routing.toml", routing);
    stampgate(&["check", "-c", directory.path("gateway.toml").to_str().unwrap()]).await
}

/// Checks that these texts stand in the diagnostics of a refused configuration.
async fn assert_refused(gateway: &str, routing: &str, texts: &[&str]) {
    let ended = check(gateway, routing).await.exits(3);
    for text in texts {
        assert!(ended.stderr.contains(text), "{text:?} is missing in:\n{}", ended.stderr);
    }
}

#[tokio::test]
async fn the_smallest_configuration_is_good() {
    check(GATEWAY, ROUTING).await.exits(0);
}

#[tokio::test]
async fn a_misspelt_key_is_shown_with_place_line_and_mend() {
    let routing = ROUTING.replace("endpoints", "endpoint");
    let texts = ["routing.toml:4:1", "endpoint = [{ url", "help:", "endpoints"];
    assert_refused(GATEWAY, &routing, &texts).await;
    let gateway = GATEWAY.replace("directory", "directroy");
    let texts = ["gateway.toml:10:1", "directroy = \"state\"", "help:", "`directory`"];
    assert_refused(&gateway, ROUTING, &texts).await;
}

#[tokio::test]
async fn all_mistakes_are_shown_at_once() {
    let routing = "version = 1\n\
        [[stamp]]\n\
        id = \"A_1\"\n\
        endpoints = []\n\
        [[stamp]]\n\
        id = \"b\"\n\
        endpoints = [{ url = \"ftp://x\" }]\n\
        failover = [\"c\"]\n\
        max_in_flight = \"many\"\n\
        [[stamp]]\n\
        id = \"b\"\n\
        endpoints = [{ url = \"http://127.0.0.1:1\" }]\n\
        [tenants]\n\
        acme = \"nowhere\"\n";
    let lines = [3, 4, 7, 8, 9, 11, 14];
    let places: Vec<String> = lines.iter().map(|line| format!("routing.toml:{line}:")).collect();
    let texts: Vec<&str> = places.iter().map(String::as_str).collect();
    assert_refused(GATEWAY, routing, &texts).await;
}

#[tokio::test]
async fn mistakes_of_both_files_are_shown_together() {
    let gateway = format!("{GATEWAY}[limits]\nheader_count = -1\n");
    let routing = format!("{ROUTING}globex = \"nowhere\"\n");
    assert_refused(&gateway, &routing, &["gateway.toml:12:", "routing.toml:7:"]).await;
}

#[tokio::test]
async fn keys_that_have_no_effect_yet_are_unknown() {
    for later in ["[traces]\notlp_endpoint = \"\"\n", "[metrics]\ntenant_label = false\n"] {
        // Right after the listener, where a sub-table of it may stand.
        let gateway = GATEWAY.replace("[admin]\n", &format!("{later}[admin]\n"));
        assert_refused(&gateway, ROUTING, &["gateway.toml:", "unknown"]).await;
    }
}

#[tokio::test]
async fn a_word_that_is_none_is_refused_with_those_that_are() {
    let gateway =
        GATEWAY.replace("name = \"public\"\n", "name = \"public\"\nproxy_protocol = \"v2\"\n");
    let told = ["gateway.toml:4:18", "unknown word \"v2\"", "help: write \"off\" or \"required\""];
    assert_refused(&gateway, ROUTING, &told).await;
}

#[tokio::test]
async fn a_protocol_fits_the_scheme_of_each_endpoint() {
    let pool = |protocol| format!("{ROUTING}[defaults.stamp.pool]\nprotocol = \"{protocol}\"\n");
    check(GATEWAY, &pool("h2c")).await.exits(0);
    let texts = ["routing.toml:4:22", "8 | protocol = \"h2\"", "help: write `https://` here"];
    assert_refused(GATEWAY, &pool("h2"), &texts).await;
    let texts = ["routing.toml:8:12", "h3", "help:"];
    assert_refused(GATEWAY, &pool("h3"), &texts).await;
}

#[tokio::test]
async fn a_version_that_is_missing_or_unknown_is_refused() {
    for version in ["", "version = 2\n", "version = \"1\"\n"] {
        let gateway = GATEWAY.replace("version = 1\n", version);
        assert_refused(&gateway, ROUTING, &["gateway.toml:1:", "version"]).await;
        let routing = ROUTING.replace("version = 1\n", version);
        assert_refused(GATEWAY, &routing, &["routing.toml:1:", "version"]).await;
    }
}

#[tokio::test]
async fn what_is_no_toml_is_shown_with_its_place() {
    assert_refused(GATEWAY, &format!("{ROUTING}= = =\n"), &["routing.toml:7:1"]).await;
    assert_refused(&format!("{GATEWAY}[limits\n"), ROUTING, &["gateway.toml:11:"]).await;
}

#[tokio::test]
async fn a_key_that_is_there_twice_is_refused() {
    assert_refused(GATEWAY, &format!("{ROUTING}acme = \"a\"\n"), &["routing.toml:7:1"]).await;
}

#[tokio::test]
async fn durations_and_sizes_are_strings_with_units() {
    for (bad, help) in [
        ("[timeouts]\nconnect = 5\n", "\"5s\""),
        ("[timeouts]\nconnect = \"5\"\n", "\"5s\""),
        ("[limits]\nheader_bytes = \"32kb\"\n", "KiB"),
    ] {
        assert_refused(&format!("{GATEWAY}{bad}"), ROUTING, &["gateway.toml:12:", "help:", help])
            .await;
    }
}

#[tokio::test]
async fn key_files_are_provisioned_by_check() {
    let issuer = "[[identity.jwt]]\nissuer = \"x\"\naudiences = [\"y\"]\nalgorithms = [\"ES256\"]\n\
                  tenant_claim = \"tid\"\njwks_file = \"keys/none.json\"\n";
    assert_refused(GATEWAY, &format!("{ROUTING}{issuer}"), &["keys/none.json"]).await;
}

#[tokio::test]
async fn keys_by_url_come_over_tls_from_whom_somebody_vouches_for() {
    let issuer = "[[identity.jwt]]\nissuer = \"x\"\naudiences = [\"y\"]\nalgorithms = [\"ES256\"]\n\
                  tenant_claim = \"tid\"\njwks_url = \"https://login.test/keys\"\n";
    let clear = issuer.replace("https", "http");
    let texts =
        ["routing.toml:12:12", "jwks_url = \"http://login.test/keys\"", "help:", "https://"];
    assert_refused(GATEWAY, &format!("{ROUTING}{clear}"), &texts).await;
    let unknown = format!("{ROUTING}{issuer}jwks_ca = \"tls/none.crt\"\n");
    assert_refused(GATEWAY, &unknown, &["routing.toml:13:11", "none.crt", "help:"]).await;
}

#[tokio::test]
async fn a_tenant_in_two_places_is_refused_with_both() {
    let directory = Directory::new();
    directory.write("gateway.toml", GATEWAY);
    directory.write("routing.toml", &format!("{ROUTING}[[tenant_file]]\npath = \"t.csv\"\n"));
    directory.write("t.csv", "tenant,stamp\nacme,a\n");
    let path = directory.path("gateway.toml");
    let ended = stampgate(&["check", "-c", path.to_str().unwrap()]).await.exits(3);
    assert!(ended.stderr.contains("t.csv:2"), "{}", ended.stderr);
    assert!(ended.stderr.contains("routing.toml"), "{}", ended.stderr);
}

#[tokio::test]
async fn a_tier_that_is_not_there_is_refused_with_what_was_meant() {
    let tenant = ROUTING.replace("acme = \"a\"", "acme = { stamp = \"a\", tier = \"glod\" }");
    let texts = ["routing.toml:6:", "no tier `glod`", "help:", "`gold`"];
    assert_refused(GATEWAY, &format!("{tenant}[tier.gold]\n"), &texts).await;
    let burst = format!("{ROUTING}[tier.gold]\nburst = 5\n");
    assert_refused(GATEWAY, &burst, &["routing.toml:8:9", "without a rate", "help:"]).await;
}

#[tokio::test]
async fn the_admin_address_can_never_be_an_endpoint() {
    let gateway =
        GATEWAY.replace("[admin]\nbind = \"127.0.0.1:0\"", "[admin]\nbind = \"127.0.0.1:9900\"");
    let routing = ROUTING.replace("127.0.0.1:1", "127.0.0.1:9900");
    assert_refused(&gateway, &routing, &["routing.toml:4:", "admin"]).await;
}
