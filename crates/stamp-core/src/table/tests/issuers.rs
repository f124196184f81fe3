//! `[identity.token]` and keys by URL: what is read, and what is refused.

use super::*;

const ISSUER: &str = "[[identity.jwt]]\nissuer = \"i\"\naudiences = [\"a\"]\ntenant_claim = \"t\"\n\
                      algorithms = [\"ES256\"]\n";

fn source(lines: &str) -> JwksSource {
    let mut identity = loaded(&format!("{ISSUER}{lines}{STAMPS}")).table.identity;
    let keys = identity.jwt.remove(0).keys;
    let KeySource::JwksUrl(source) = keys else { panic!("{keys:?}") };
    *source
}

#[test]
fn keys_by_url_are_fetched_every_ten_minutes_and_good_for_a_day() {
    let source = source("jwks_url = \"https://Login.test/keys\"\n");
    assert_eq!(source.url.to_string(), "https://login.test/keys");
    assert_eq!(source.refresh, Duration::from_mins(10));
    assert_eq!(source.stale, Duration::from_hours(24));
    assert_eq!(source.ca, None);
}

#[test]
fn who_vouches_for_an_issuer_is_a_file_of_tls_with_its_place() {
    let lines = "jwks_url = \"https://a/\"\njwks_ca = \"tls/ca.crt\"\n";
    assert_eq!(source(lines).ca, Some(PathBuf::from("/etc/tls/ca.crt")));
    let body = format!("{ISSUER}{lines}{STAMPS}");
    let loaded = loaded(&body);
    assert_eq!(loaded.files, [PathBuf::from("/etc/tls/ca.crt")]);
    let place = loaded.tls_files[Path::new("/etc/tls/ca.crt")].clone();
    assert_eq!(text(&body).text.get(place), Some("\"tls/ca.crt\""));
}

#[test]
fn keys_are_not_fetched_in_the_clear_from_elsewhere() {
    check_with_stamps(
        &format!("{ISSUER}jwks_url = \"http://login.test/keys\"\n"),
        "routing.toml:7: <\"http://login.test/keys\"> keys that come in the clear may be anybody's; \
         help: write `https://`; `http://` is for 127.0.0.1 and [::1] alone",
    );
    assert_eq!(
        source("jwks_url = \"http://127.0.0.1:80/\"\n").url.to_string(),
        "http://127.0.0.1/"
    );
}

#[test]
fn what_is_said_of_fetching_fits_together() {
    check_with_stamps(
        &format!("{ISSUER}jwks_url = \"https://a/\"\njwks_refresh = \"2h\"\njwks_stale = \"1h\"\n"),
        "routing.toml:9: <\"1h\"> keys would end before they are fetched again; \
         help: write a `jwks_stale` that is longer than `jwks_refresh`",
    );
    check_with_stamps(
        &format!("{ISSUER}jwks_file = \"k\"\njwks_refresh = \"1h\"\n"),
        "routing.toml:8: <\"1h\"> the keys of issuer `i` are not fetched; \
         help: remove it, or write `jwks_url`",
    );
    check_with_stamps(
        &format!("{ISSUER}jwks_url = \"http://127.0.0.1/\"\njwks_ca = \"c\"\n"),
        "routing.toml:8: <\"c\"> these keys are not fetched over TLS; \
         help: write `https://` in `jwks_url`, or remove `jwks_ca`",
    );
}

fn token(line: &str) -> TokenPlace {
    loaded(&format!("[identity]\n{line}\n{STAMPS}")).table.identity.token
}

#[test]
fn a_token_has_one_place() {
    assert_eq!(token(""), TokenPlace::Bearer);
    assert_eq!(token("token = { cookie = \"Session\" }"), TokenPlace::Cookie("Session".into()));
    let header = http::HeaderName::from_static("x-token");
    assert_eq!(token("token = { header = \"X-Token\" }"), TokenPlace::Header(header));
}

#[test]
fn a_token_in_two_places_or_none_is_refused() {
    let help = "write `token = { cookie = \"session\" }` or `token = { header = \"X-Token\" }`";
    check_with_stamps(
        "[identity]\ntoken = { cookie = \"a\", header = \"X-B\" }\n",
        &format!("routing.toml:3: <\"X-B\"> tokens are read from one place; help: {help}"),
    );
    check_with_stamps(
        "[identity]\ntoken = {}\n",
        &format!("routing.toml:3: <{{}}> `token` names no place; help: {help}"),
    );
}

#[test]
fn a_token_and_an_identifier_share_no_place() {
    check_with_stamps(
        "[identity]\ntoken = { cookie = \"a\" }\ncookie = { name = \"a\" }\n",
        "routing.toml:3: <\"a\"> one cookie cannot be both a token and an identifier; \
         help: name another one, here or in `[identity.cookie]`",
    );
    check_with_stamps(
        "[identity]\ntoken = { header = \"x-stamp-id\" }\n",
        "routing.toml:3: <\"x-stamp-id\"> one header cannot be both a token and an identifier; \
         help: name another one, here or in `[identity.header]`",
    );
}
