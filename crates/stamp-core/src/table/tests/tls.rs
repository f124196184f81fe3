//! `tls` of a stamp: what is inherited, and what is refused.

use super::*;

/// One stamp with these endpoints and these other lines.
fn stamp(endpoints: &str, lines: &str) -> String {
    format!("[[stamp]]\nid = \"a\"\nendpoints = [{endpoints}]\n{lines}\n")
}

const OVER_TLS: &str = "{ url = \"https://stamp.a.internal:8443\" }";
const IN_THE_CLEAR: &str = "{ url = \"http://10.1.0.10:8080\" }";

fn policy(loaded: &Loaded) -> TlsPolicy {
    loaded.table.stamps()[0].tls.clone().unwrap()
}

#[test]
fn an_endpoint_over_tls_needs_no_word_more() {
    let loaded = loaded(&stamp(OVER_TLS, ""));
    assert_eq!(policy(&loaded), TlsPolicy::default());
    assert_eq!(loaded.table.stamps()[0].endpoints[0].scheme, Scheme::Https);
}

#[test]
fn the_files_of_tls_are_beside_routing_toml_and_have_a_place_in_it() {
    let line =
        "tls = { ca = \"tls/ca.crt\", server_name = \"A.internal\", cert = \"c\", key = \"/k\" }";
    let loaded = loaded(&stamp(OVER_TLS, line));
    let identity = ClientIdentity { cert: "/etc/c".into(), key: "/k".into() };
    assert_eq!(
        policy(&loaded),
        TlsPolicy {
            ca: Some("/etc/tls/ca.crt".into()),
            server_name: Some("a.internal".into()),
            identity: Some(identity)
        }
    );
    let paths = ["/etc/c", "/etc/tls/ca.crt", "/k"].map(PathBuf::from);
    assert_eq!(loaded.files, paths);
    let text = text(&stamp(OVER_TLS, line)).text;
    let words: Vec<_> =
        loaded.tls_files.values().map(|place| text.get(place.clone()).unwrap()).collect();
    assert_eq!(words, ["\"c\"", "\"tls/ca.crt\"", "\"/k\""]);
}

#[test]
fn stamps_in_the_clear_may_inherit_tls_and_do_not_use_it() {
    let defaults = "[defaults.stamp]\ntls = { ca = \"ca.crt\" }\n";
    let loaded = loaded(&format!("{defaults}{}", stamp(IN_THE_CLEAR, "")));
    assert_eq!(loaded.table.stamps()[0].tls, None);
    assert!(loaded.files.is_empty());
}

#[test]
fn a_stamp_adds_to_the_tls_that_it_inherits() {
    let defaults = "[defaults.stamp]\ntls = { ca = \"ca.crt\" }\n";
    let both = stamp(OVER_TLS, "tls = { server_name = \"other\" }");
    let policy = policy(&loaded(&format!("{defaults}{both}")));
    assert_eq!(policy.ca, Some("/etc/ca.crt".into()));
    assert_eq!(policy.server_name.as_deref(), Some("other"));
}

#[test]
fn tls_of_a_stamp_whose_endpoints_are_all_in_the_clear_is_refused() {
    assert_eq!(
        mistakes(&stamp(IN_THE_CLEAR, "tls = { ca = \"ca.crt\" }")),
        "routing.toml:5: <{ ca = \"ca.crt\" }> no endpoint of stamp `a` uses TLS; \
         help: write `https://` in its `endpoints`, or remove `tls`"
    );
    loaded(&stamp(&format!("{IN_THE_CLEAR}, {OVER_TLS}"), "tls = { ca = \"ca.crt\" }"));
}

#[test]
fn a_certificate_without_its_key_is_refused_and_so_is_the_key() {
    assert_eq!(
        mistakes(&stamp(OVER_TLS, "tls = { cert = \"c\" }")),
        "routing.toml:5: <\"c\"> `cert` is of no use without `key`; \
         help: add `key`: the file with the private key of this certificate"
    );
    assert_eq!(
        mistakes(&stamp(OVER_TLS, "tls = { key = \"k\" }")),
        "routing.toml:5: <\"k\"> `key` is of no use without `cert`; \
         help: add `cert`: the file with the certificate of this key"
    );
}

#[test]
fn a_server_name_is_a_host_name_or_an_address() {
    for name in ["*.internal", "a:8443", "https://a", "a_b", "10.1.0", ""] {
        let told = mistakes(&stamp(OVER_TLS, &format!("tls = {{ server_name = \"{name}\" }}")));
        assert!(told.starts_with(&format!("routing.toml:5: <\"{name}\"> ")), "{told}");
    }
}

#[test]
fn verification_has_no_switch() {
    for key in ["verify = false", "insecure = true", "skip_verify = true"] {
        let told = mistakes(&stamp(OVER_TLS, &format!("tls = {{ {key} }}")));
        assert!(told.contains("unknown"), "{told}");
    }
}

#[test]
fn a_host_that_no_certificate_can_be_for_needs_a_server_name() {
    let odd = "{ url = \"https://-a:8443\" }";
    assert_eq!(
        mistakes(&stamp(odd, "")),
        "routing.toml:4: <\"https://-a:8443\"> no certificate can be for host `-a`; \
         help: write the name in its certificate: `tls = { server_name = \"...\" }`"
    );
    loaded(&stamp(odd, "tls = { server_name = \"a\" }"));
    loaded(&stamp("{ url = \"https://my_stamp\" }, { url = \"https://[::1]:1\" }", ""));
}

#[test]
fn an_address_has_one_endpoint_whatever_is_spoken_there() {
    let twice = "{ url = \"http://a:1\" }, { url = \"https://a:1\" }";
    assert!(mistakes(&stamp(twice, "")).contains("endpoint `a:1` is listed twice"));
}

#[test]
fn an_endpoint_that_changes_to_tls_changes_its_stamp() {
    let table = |scheme: &str| loaded(&stamp(&format!("{{ url = \"{scheme}://a:1\" }}"), "")).table;
    let moves = crate::diff::moves(&table("http"), &table("https"));
    assert_eq!(moves.stamps_changed, ["a"]);
}

#[test]
fn each_scheme_has_its_own_name_of_http2() {
    let pool = |protocol: &str| format!("pool = {{ protocol = \"{protocol}\" }}");
    for (endpoint, protocol, known) in [
        (OVER_TLS, "h2", PoolProtocol::Http2OverTls),
        (OVER_TLS, "http/1.1", PoolProtocol::Http1),
        (IN_THE_CLEAR, "h2c", PoolProtocol::Http2InTheClear),
    ] {
        let loaded = loaded(&stamp(endpoint, &pool(protocol)));
        assert_eq!(loaded.table.stamps()[0].pool.protocol, known);
    }
    let in_the_clear = mistakes(&stamp(IN_THE_CLEAR, &pool("h2")));
    for part in [
        "routing.toml:4: <\"http://10.1.0.10:8080\"> endpoint `10.1.0.10:8080` is in the clear, and \
         `h2` is spoken over TLS",
        "help: write `https://` here, or `protocol = \"h2c\"` in `pool`",
    ] {
        assert!(in_the_clear.contains(part), "{in_the_clear}");
    }
    let over_tls = mistakes(&stamp(OVER_TLS, &pool("h2c")));
    for part in [
        "endpoint `stamp.a.internal:8443` uses TLS, and `h2c` is spoken in the clear",
        "help: write `protocol = \"h2\"` in `pool`, or `http://` here",
    ] {
        assert!(over_tls.contains(part), "{over_tls}");
    }
}
