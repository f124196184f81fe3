//! One fact a test: a head goes in, clues or an error come out.

use http::{HeaderName, HeaderValue};

use super::*;
use crate::claims::Tenants;
use crate::fixture::{ROUTING, loaded};
use crate::time::UnixSeconds;

/// A request head under construction.
struct Request {
    version: Version,
    authority: Option<&'static str>,
    headers: HeaderMap,
}

fn request(fields: &[(&str, &[u8])]) -> Request {
    let mut headers = HeaderMap::new();
    for (name, value) in fields {
        let name = HeaderName::from_bytes(name.as_bytes()).unwrap();
        headers.append(name, HeaderValue::from_bytes(value).unwrap());
    }
    Request { version: Version::HTTP_11, authority: None, headers }
}

fn to(host: &str) -> Request {
    request(&[("host", host.as_bytes())])
}

fn to_neutral(name: &str, values: &[&[u8]]) -> Request {
    let fields: Vec<(&str, &[u8])> = values.iter().map(|value| (name, *value)).collect();
    let mut request = request(&fields);
    request.headers.insert(http::header::HOST, HeaderValue::from_static("api.test"));
    request
}

/// What a request says, as text: `host:acme@` is a tenant, `header:@eu-1` a stamp, `!` a demand.
fn said(routing: &str, request: &Request, peer: Peer) -> Result<String, IdentifyError> {
    let table = loaded(routing);
    let head =
        Head { version: request.version, authority: request.authority, headers: &request.headers };
    let clues = clues(&head, &table, peer, None)?;
    let mut words: Vec<String> = clues.iter().map(word).collect();
    if clues.verified_demanded {
        words.push("!".to_owned());
    }
    Ok(words.join(" "))
}

fn word(clue: &Clue<'_>) -> String {
    let tenant = clue.tenant.as_ref().map_or("", |tenant| tenant.as_str());
    let stamp = clue.stamp.as_ref().map_or("", |stamp| stamp.as_str());
    format!("{}:{tenant}@{stamp}", clue.source)
}

#[track_caller]
fn says(request: &Request, words: &str) {
    assert_eq!(said(ROUTING, request, Peer::Untrusted).as_deref(), Ok(words));
}

#[track_caller]
fn refused(request: &Request, code: &str) -> IdentifyError {
    let error = said(ROUTING, request, Peer::Untrusted).unwrap_err();
    assert_eq!(error.code(), code, "{error}");
    error
}

#[track_caller]
fn malformed(request: &Request) {
    refused(request, "malformed_identifier");
}

fn rejecting_unknown() -> String {
    ROUTING.replace("[identity.header]", "unknown = \"reject\"\n[identity.header]")
}

#[test]
fn a_tenant_pattern_names_a_tenant() {
    says(&to("acme.app.test"), "host:acme@");
    says(&to("ACME.App.Test:8443"), "host:acme@");
    says(&to("acme.app.test."), "host:acme@");
}

#[test]
fn a_stamp_pattern_names_a_stamp() {
    says(&to("eu-1.stamps.test"), "host:@eu-1");
    says(&to("EU-1.stamps.test"), "host:@eu-1");
}

#[test]
fn names_are_not_looked_up_here() {
    says(&to("nobody.app.test"), "host:nobody@");
}

#[test]
fn a_custom_domain_names_its_tenant() {
    says(&to("Orders.Acme.Test"), "host:acme@");
}

#[test]
fn a_custom_domain_goes_before_a_pattern() {
    says(&to("odd.app.test"), "host:globex@");
}

#[test]
fn a_neutral_host_names_nobody_even_under_a_pattern() {
    says(&to("api.test"), "");
    says(&to("www.app.test"), "");
}

#[test]
fn an_unknown_host_says_nothing_where_it_is_ignored() {
    says(&to("evil.test"), "");
    says(&to("a.b.app.test"), "");
    says(&to("app.test"), "");
    says(&to("eu-1.stamps.test.evil.test"), "");
}

#[test]
fn an_unknown_host_is_misdirected_where_it_is_rejected() {
    for host in ["evil.test", "a.b.app.test", "app.test", "eu-1.stamps.test.evil.test"] {
        let error = said(&rejecting_unknown(), &to(host), Peer::Untrusted).unwrap_err();
        assert_eq!(error, IdentifyError::Misdirected);
        assert_eq!(error.code(), "misdirected_request");
    }
}

#[test]
fn known_hosts_are_served_where_unknown_ones_are_rejected() {
    for host in ["acme.app.test", "orders.acme.test", "api.test", "jwt.test", "eu-9.stamps.test"] {
        assert!(said(&rejecting_unknown(), &to(host), Peer::Untrusted).is_ok(), "{host}");
    }
}

#[test]
fn no_host_is_misdirected_where_unknown_ones_are_rejected() {
    let old = Request { version: Version::HTTP_10, ..request(&[]) };
    let error = said(&rejecting_unknown(), &old, Peer::Untrusted).unwrap_err();
    assert_eq!(error, IdentifyError::Misdirected);
}

#[test]
fn a_verified_only_host_demands_a_verified_identity() {
    says(&to("jwt.test"), "!");
    says(&to("vip.app.test"), "host:vip@ !");
}

#[test]
fn a_label_that_is_no_id_is_malformed() {
    malformed(&to("a_b.stamps.test"));
    says(&to("a_b.app.test"), "host:a_b@");
}

#[test]
fn a_malformed_host_is_an_error_wherever_it_points() {
    let hosts = [
        "",
        "a.test:99999",
        "a.test:80:80",
        "x@acme.app.test",
        "acme.app.test/x",
        "[::1",
        ".a.test",
        "acme.app.test, globex.app.test",
        "acme.app.test globex.app.test",
        "http://acme.app.test",
    ];
    for host in hosts {
        malformed(&to(host));
    }
    malformed(&request(&[("host", b"\xff.app.test")]));
}

#[test]
fn two_hosts_are_malformed_even_when_they_are_equal() {
    let twice = request(&[("host", b"acme.app.test"), ("Host", b"acme.app.test")]);
    assert_eq!(refused(&twice, "malformed_identifier"), IdentifyError::SeveralHosts);
}

#[test]
fn http_1_1_must_have_a_host() {
    assert_eq!(refused(&request(&[]), "malformed_identifier"), IdentifyError::NoHost);
    let absolute = Request { authority: Some("acme.app.test"), ..request(&[]) };
    assert_eq!(refused(&absolute, "malformed_identifier"), IdentifyError::NoHost);
}

#[test]
fn http_1_0_may_be_without_a_host() {
    says(
        &Request { version: Version::HTTP_10, ..request(&[("x-stamp-id", b"eu-1")]) },
        "header:@eu-1",
    );
}

#[test]
fn http_2_names_its_host_in_the_target() {
    let request = Request { version: Version::HTTP_2, ..request(&[]) };
    says(&Request { authority: Some("acme.app.test"), ..request }, "host:acme@");
}

#[test]
fn http_2_without_any_host_is_malformed() {
    malformed(&Request { version: Version::HTTP_2, ..request(&[]) });
}

#[test]
fn a_target_that_contradicts_the_host_field_is_malformed() {
    for authority in ["globex.app.test", "acme.app.test:8080", "acme.app.test@globex.app.test"] {
        let authority = Some(authority);
        malformed(&Request { authority, ..to("acme.app.test") });
    }
    malformed(&Request { authority: Some("acme.app.test:81"), ..to("acme.app.test:82") });
}

#[test]
fn a_target_may_spell_the_host_field_otherwise() {
    for authority in ["acme.app.test", "ACME.app.test.", "acme.app.test:80", "acme.app.test:443"] {
        says(&Request { authority: Some(authority), ..to("acme.app.test") }, "host:acme@");
    }
}

#[test]
fn forwarded_hosts_choose_nothing() {
    let request = request(&[
        ("host", b"acme.app.test"),
        ("x-forwarded-host", b"globex.app.test"),
        ("forwarded", b"host=globex.app.test"),
        ("x-original-host", b"globex.app.test"),
    ]);
    says(&request, "host:acme@");
}

#[test]
fn the_stamp_header_names_a_stamp() {
    says(&to_neutral("X-sTaMp-iD", &[b"EU-1"]), "header:@eu-1");
}

#[test]
fn the_tenant_header_names_a_tenant() {
    says(&to_neutral("x-tenant-id", &[b"Acme.1_x"]), "header:acme.1_x@");
}

#[test]
fn both_headers_make_one_clue() {
    let request =
        request(&[("host", b"api.test"), ("x-stamp-id", b"eu-1"), ("x-tenant-id", b"acme")]);
    says(&request, "header:acme@eu-1");
}

#[test]
fn a_stamp_header_that_is_no_id_is_malformed() {
    let values: [&[u8]; 14] = [
        b"",
        b"eu-1, eu-2",
        b"eu-1,eu-1",
        b"eu-1 eu-2",
        b"\"eu-1\"",
        b"eu-1;q=1",
        b"eu_1",
        b"-eu",
        b"127.0.0.1:21101",
        b"stamp\xe2\x80\x90b",
        b"eu-1\t",
        b" eu-1",
        b"eu-1,",
        &[b's'; 64],
    ];
    for value in values {
        malformed(&to_neutral("x-stamp-id", &[value]));
    }
}

#[test]
fn a_stamp_header_twice_is_malformed_even_when_equal() {
    malformed(&to_neutral("x-stamp-id", &[b"eu-1", b"eu-2"]));
    malformed(&to_neutral("x-stamp-id", &[b"eu-1", b"eu-1"]));
    malformed(&to_neutral("x-tenant-id", &[b"acme", b"acme"]));
}

#[test]
fn names_like_the_stamp_header_are_not_it() {
    says(&to_neutral("x_stamp_id", &[b"eu-2"]), "");
    says(&to_neutral("x-stamp_id", &[b"eu-2"]), "");
    says(&to_neutral("x-stamp-tenant", &[b"acme"]), "");
}

#[test]
fn a_header_that_is_not_accepted_is_no_clue_whatever_it_holds() {
    let trusted = ROUTING.replace("tenant_name", "accept_from = \"trusted\"\ntenant_name");
    let never = ROUTING.replace("tenant_name", "accept_from = \"never\"\ntenant_name");
    let good = to_neutral("x-stamp-id", &[b"eu-1"]);
    let bad = to_neutral("x-stamp-id", &[b"eu-1", b"eu 2"]);
    for request in [&good, &bad] {
        assert_eq!(said(&trusted, request, Peer::Untrusted).as_deref(), Ok(""));
        assert_eq!(said(&never, request, Peer::Trusted).as_deref(), Ok(""));
    }
    assert_eq!(said(&trusted, &good, Peer::Trusted).as_deref(), Ok("header:@eu-1"));
    assert!(said(&trusted, &bad, Peer::Trusted).is_err());
}

#[test]
fn the_cookie_names_a_stamp() {
    says(&to_neutral("cookie", &[b"stamp=EU-1"]), "cookie:@eu-1");
    says(&to_neutral("cookie", &[b"a=1; stamp=eu-1; b=2"]), "cookie:@eu-1");
    says(&to_neutral("cookie", &[b"a=1;stamp = eu-1 ;"]), "cookie:@eu-1");
}

#[test]
fn the_cookie_names_a_tenant_where_configured() {
    let routing = ROUTING.replace("names = \"stamp\"", "names = \"tenant\"");
    let request = to_neutral("cookie", &[b"stamp=Acme_1"]);
    assert_eq!(said(&routing, &request, Peer::Untrusted).as_deref(), Ok("cookie:acme_1@"));
}

#[test]
fn other_cookies_say_nothing_and_may_hold_what_they_like() {
    says(&to_neutral("cookie", &[b"X-Stamp-Id=eu-1; Stamp=eu-1; xstamp=eu-1"]), "");
    says(&to_neutral("cookie", &[b"a=\xff\"; stamp=eu-1; junk"]), "cookie:@eu-1");
}

#[test]
fn a_cookie_that_is_no_id_is_malformed() {
    let values: [&[u8]; 5] =
        [b"stamp=", b"stamp=\"eu-1\"", b"stamp=eu-1,eu-2", b"stamp=eu=1", b"stamp=\xff"];
    for value in values {
        malformed(&to_neutral("cookie", &[value]));
    }
}

#[test]
fn the_same_cookie_twice_is_malformed() {
    malformed(&to_neutral("cookie", &[b"stamp=eu-1; stamp=eu-1"]));
    malformed(&to_neutral("cookie", &[b"stamp=eu-1; a=1; stamp=eu-2"]));
}

#[test]
fn two_cookie_fields_are_malformed_before_http_2() {
    malformed(&to_neutral("cookie", &[b"a=1", b"stamp=eu-1"]));
    let split = to_neutral("cookie", &[b"a=1", b"stamp=eu-1"]);
    says(&Request { version: Version::HTTP_2, ..split }, "cookie:@eu-1");
    let twice = to_neutral("cookie", &[b"stamp=eu-1", b"stamp=eu-1"]);
    malformed(&Request { version: Version::HTTP_2, ..twice });
}

#[test]
fn cookies_are_not_read_where_none_is_configured() {
    let (before, rest) = ROUTING.split_once("[identity.cookie]").unwrap();
    let (_, after) = rest.split_once("[[stamp]]").unwrap();
    let routing = format!("{before}[[stamp]]{after}");
    let request = to_neutral("cookie", &[b"stamp=eu 1", b"stamp=eu-1"]);
    assert_eq!(said(&routing, &request, Peer::Untrusted).as_deref(), Ok(""));
}

#[test]
fn a_verified_token_is_the_strongest_clue() {
    let table = loaded(ROUTING);
    let request = to("eu-1.stamps.test");
    let head = Head { version: request.version, authority: None, headers: &request.headers };
    let verified = Verified::vouch(Claims {
        issuer: "issuer".into(),
        tenants: Tenants::one(TenantId::parse("acme").unwrap()),
        stamp: Some(StampId::parse("eu-1").unwrap()),
        expires_at: UnixSeconds(0),
    });
    let clues = clues(&head, &table, Peer::Untrusted, Some(&verified)).unwrap();
    let words: Vec<String> = clues.iter().map(word).collect();
    assert_eq!(words, ["jwt:acme@eu-1", "host:@eu-1"]);
}

#[test]
fn a_token_for_several_tenants_names_none_itself() {
    let table = loaded(ROUTING);
    let request = to("acme.app.test");
    let head = Head { version: request.version, authority: None, headers: &request.headers };
    let both = ["acme", "globex"].map(|name| TenantId::parse(name).unwrap());
    let verified = Verified::vouch(Claims {
        issuer: "issuer".into(),
        tenants: Tenants::of(both.into()).unwrap(),
        stamp: None,
        expires_at: UnixSeconds(0),
    });
    let clues = clues(&head, &table, Peer::Untrusted, Some(&verified)).unwrap();
    let words: Vec<String> = clues.iter().map(word).collect();
    assert_eq!(words, ["jwt:@", "host:acme@"]);
    assert_eq!(clues.one_of, Some(&verified.tenants));
}

/// What stands where tokens are read from.
fn token_in(place: &TokenPlace, request: &Request) -> Result<Option<String>, IdentifyError> {
    let head = Head { version: request.version, authority: None, headers: &request.headers };
    let found = token_at(place, &head)?;
    Ok(found.map(|value| String::from_utf8_lossy(value).into_owned()))
}

#[test]
fn a_token_is_read_from_its_one_place() {
    let cookie = TokenPlace::Cookie("session".into());
    let header = TokenPlace::Header(HeaderName::from_static("x-token"));
    let request = request(&[
        ("cookie", b"a=1; session=x.y.z; b=2"),
        ("x-token", b" u.v.w"),
        ("authorization", b"Bearer q.r.s"),
    ]);
    assert_eq!(token_in(&cookie, &request), Ok(Some("x.y.z".to_owned())));
    assert_eq!(token_in(&header, &request), Ok(Some(" u.v.w".to_owned())));
    assert_eq!(token_in(&TokenPlace::Bearer, &request), Ok(None));
    assert_eq!(token_in(&cookie, &to("api.test")), Ok(None));
}

#[test]
fn a_token_that_is_there_twice_is_malformed() {
    let twice = IdentifyError::Twice { from: Source::Jwt };
    assert_eq!(twice.code(), "malformed_identifier");
    let cookie = TokenPlace::Cookie("session".into());
    let request_with = request(&[("cookie", b"session=x.y.z; session=x.y.z")]);
    assert_eq!(token_in(&cookie, &request_with), Err(twice));
    let header = TokenPlace::Header(HeaderName::from_static("x-token"));
    let request_with = request(&[("x-token", b"x.y.z"), ("x-token", b"x.y.z")]);
    assert_eq!(token_in(&header, &request_with), Err(twice));
}

#[test]
fn over_tls_a_host_is_asked_for_over_its_own_certificate() {
    use crate::certificate::{CertificateIndex, CertificateName, Certificates};

    let names = ["*.app.test", "acme.app.test"].map(|text| [CertificateName::parse(text).unwrap()]);
    let known = Certificates::new(names.iter().map(<[_; 1]>::as_slice));
    let checked = |host: &str, in_use| {
        let request = to(host);
        let head = Head { version: request.version, authority: None, headers: &request.headers };
        check_covered(&head, &known, CertificateIndex(in_use))
    };
    assert_eq!(checked("globex.app.test", 0), Ok(()));
    assert_eq!(checked("GLOBEX.app.test:443", 0), Ok(()));
    assert_eq!(checked("acme.app.test", 1), Ok(()));
    assert_eq!(checked("acme.app.test", 0), Err(IdentifyError::Misdirected));
    assert_eq!(checked("globex.app.test", 1), Err(IdentifyError::Misdirected));
    assert_eq!(checked("other.test", 0), Err(IdentifyError::Misdirected));
    assert!(matches!(checked("a b", 0), Err(IdentifyError::Host(_))));
}

#[test]
fn over_tls_a_request_of_old_without_a_host_passes() {
    use crate::certificate::{CertificateIndex, Certificates};

    let headers = HeaderMap::new();
    let head = Head { version: Version::HTTP_10, authority: None, headers: &headers };
    assert_eq!(check_covered(&head, &Certificates::default(), CertificateIndex(0)), Ok(()));
}
