//! Every kind of mistake in routing.toml: where it is said to be, and in which words.

mod issuers;
mod placement;
mod tenant_file;
mod tiers;
mod tls;

use std::io;
use std::path::Path;
use std::sync::Arc;

use super::*;
use crate::diagnostic::{Diagnostic, SourceText};

/// Two stamps that nothing is wrong with.
const STAMPS: &str = "
[[stamp]]
id = \"eu-1\"
residency = \"eu\"
endpoints = [{ url = \"http://10.1.0.10:8080\" }]
[[stamp]]
id = \"us-1\"
residency = \"us\"
endpoints = [{ url = \"http://10.9.0.10:8080\" }]
";

fn text(body: &str) -> SourceText {
    SourceText { path: "/etc/routing.toml".into(), text: format!("version = 1\n{body}").into() }
}

fn no_files(_path: &Path) -> io::Result<Arc<[u8]>> {
    Err(io::Error::from(io::ErrorKind::NotFound))
}

fn loaded(body: &str) -> Loaded {
    let result = load(text(body), &mut no_files, None);
    result.unwrap_or_else(|rejected| panic!("{}", told(&rejected.diagnostics, &rejected.sources)))
}

/// One line a diagnostic: `file:line: marked text: message; help: ...; note line: ...`.
fn told(diagnostics: &[Diagnostic], sources: &[SourceText]) -> String {
    let mut lines = Vec::new();
    for diagnostic in diagnostics {
        let source = &sources[diagnostic.source];
        let line_of = |offset: usize| source.text.get(..offset).unwrap().matches('\n').count() + 1;
        let line = line_of(diagnostic.span.start);
        let file = source.path.file_name().unwrap().to_str().unwrap();
        let marked = source.text.get(diagnostic.span.clone()).unwrap();
        let mut told = format!("{file}:{line}: <{marked}> {}", diagnostic.message);
        if let Some(help) = &diagnostic.help {
            told += &format!("; help: {help}");
        }
        if let Some((span, words)) = &diagnostic.note {
            told += &format!("; {words}: {}", line_of(span.start));
        }
        lines.push(told);
    }
    lines.join("\n")
}

fn mistakes(body: &str) -> String {
    let rejected = load(text(body), &mut no_files, None).unwrap_err();
    told(&rejected.diagnostics, &rejected.sources)
}

#[test]
fn the_example_of_the_smallest_fleet_loads() {
    let table = loaded(STAMPS).table;
    assert_eq!(table.stamps().len(), 2);
    assert_eq!(table.endpoint(EndpointIndex(1)).0, StampIndex(1));
}

#[test]
fn what_is_not_written_has_its_built_in_default() {
    let table = loaded(STAMPS).table;
    let stamp = table.stamp(StampIndex(0));
    assert_eq!(stamp.in_flight_max, 4096);
    assert_eq!((stamp.access, stamp.balance), (Access::Any, Balance::LeastRequest));
    assert_eq!(stamp.health.path, None);
    assert_eq!(stamp.health.expect, [(200, 299)]);
    assert_eq!(stamp.health.passive.open_for_max, Duration::from_mins(5));
    assert_eq!(stamp.pool.pending_timeout, Duration::from_millis(500));
    assert_eq!((stamp.retry.budget_percent, stamp.retry.replay_bytes), (20, 65_536));
    assert_eq!(stamp.failback.hold, Duration::from_secs(30));
    assert_eq!(table.identity.header.stamp_name, "x-stamp-id");
}

#[test]
fn a_stamp_lies_over_the_defaults_key_by_key() {
    let table = loaded(
        "[defaults.stamp]\nresidency = \"eu\"\n\
         health = { path = \"/up\", passive = { window = \"1s\" } }\n\
         [[stamp]]\nid = \"a\"\nendpoints = [{ url = \"http://h:1\" }]\n\
         [stamp.health]\ninterval = \"9s\"\npassive = { min_requests = 7 }\n",
    )
    .table;
    let stamp = table.stamp(StampIndex(0));
    assert_eq!(stamp.health.path.as_deref(), Some("/up"));
    assert_eq!(stamp.health.interval, Duration::from_secs(9));
    assert_eq!(stamp.health.passive.window, Duration::from_secs(1));
    assert_eq!(stamp.health.passive.requests_min, 7);
    assert_eq!(stamp.health.passive.consecutive_failures.get(), 5);
    assert_eq!(table.residency_name(stamp.residency.unwrap()), "eu");
}

#[test]
fn identity_is_read_whole() {
    let identity = loaded(&format!(
        "[identity]\nconflict = \"report\"\n\
         [identity.host]\npatterns = [\"{{tenant}}.App.example.com\"]\nneutral = [\"b.x\", \"a.x\"]\n\
         unknown = \"reject\"\nverified_only = [\"s.x\"]\n\
         [identity.header]\ntenant_name = \"X-Tenant\"\naccept_from = \"trusted\"\n\
         [identity.cookie]\nname = \"stamp\"\nnames = \"tenant\"\n\
         [[identity.jwt]]\nissuer = \"i\"\naudiences = [\"a\"]\nalgorithms = [\"ES256\"]\n\
         jwks_file = \"keys/i.json\"\ntenant_claim = \"org.id\"\n{STAMPS}"
    ));
    assert_eq!(identity.files, [PathBuf::from("/etc/keys/i.json")]);
    let identity = identity.table.identity;
    assert_eq!(identity.conflict, ConflictRule::Report);
    let pattern = (Placeholder::Tenant, ".app.example.com".into());
    assert_eq!(identity.host.patterns, [pattern]);
    assert_eq!(identity.host.neutral, ["a.x".into(), "b.x".into()]);
    assert_eq!(identity.host.unknown, UnknownHost::Reject);
    assert_eq!(identity.cookie.unwrap().names, Placeholder::Tenant);
    let rule = &identity.jwt[0];
    assert_eq!(rule.tenant_claim, ["org".into(), "id".into()]);
    assert_eq!(rule.leeway, Duration::from_secs(30));
}

#[test]
fn tenants_and_domains_are_found() {
    let table = loaded(&format!(
        "{STAMPS}[tenants]\nAcme = \"EU-1\"\n\
         hooli = {{ stamp = \"us-1\", state = \"suspended\", residency = [\"us\", \"ca\"] }}\n\
         [domains]\n\"Orders.Acme.example.\" = \"acme\"\n"
    ))
    .table;
    let acme = table.directory.find("acme").unwrap();
    assert_eq!(table.directory.tenant(acme).home, StampIndex(0));
    assert_eq!(table.find_domain("orders.acme.example"), Some(acme));
    let hooli = table.directory.tenant(table.directory.find("hooli").unwrap());
    assert_eq!(hooli.state, TenantState::Suspended);
    let mut zones: Vec<_> = table.fence_zones(hooli.fence).collect();
    zones.sort_unstable();
    assert_eq!(zones, ["ca", "us"]);
    assert_eq!(table.tenants_on(StampIndex(1)), 1);
}

#[test]
fn an_edge_has_a_short_and_a_long_form() {
    let table = loaded(
        "[[stamp]]\nid = \"a\"\nfailover = [\"b\", { to = \"c\", mode = \"read_only\" }]\n\
         endpoints = [{ url = \"http://a:1\" }]\n\
         [[stamp]]\nid = \"b\"\nendpoints = [{ url = \"http://b:1\", weight = 3 }]\n\
         [[stamp]]\nid = \"c\"\nendpoints = [{ url = \"http://c:1\" }]\n",
    )
    .table;
    let edges = &table.stamp(StampIndex(0)).failover;
    assert_eq!(edges[0], Edge { to: StampIndex(1), mode: EdgeMode::ReadWrite });
    assert_eq!(edges[1], Edge { to: StampIndex(2), mode: EdgeMode::ReadOnly });
    assert_eq!(table.endpoint(EndpointIndex(1)).1.weight.get(), 3);
}

#[track_caller]
fn check(body: &str, expected: &str) {
    assert_eq!(mistakes(body), expected, "\n{body}");
}

/// With the two good stamps behind it, which begin in line `lines + 2`.
#[track_caller]
fn check_with_stamps(body: &str, expected: &str) {
    check(&format!("{body}{STAMPS}"), expected);
}

#[test]
fn all_mistakes_are_told_at_once() {
    check(
        "[identity]\nconflcit = \"reject\"\nunknown_tenant = \"hsh\"\n[identity.header]\n\
         name = 5\n[[stamp]]\nid = \"a_b\"\nendpoint = []\nbalance = \"round-robin\"\n",
        "routing.toml:3: <conflcit> unknown key `conflcit`; help: did you mean `conflict`?\n\
         routing.toml:4: <\"hsh\"> unknown word \"hsh\"; help: did you mean `hash`?\n\
         routing.toml:6: <5> expected a header name such as \"X-Stamp-Id\", found an integer; \
         help: write a header name such as \"X-Stamp-Id\"\n\
         routing.toml:7: <[[stamp]]> missing key `endpoints`; help: add `endpoints`\n\
         routing.toml:8: <\"a_b\"> `a_b`: byte 0x5f at 1 may not stand in an id; \
         help: write the id of a stamp such as \"eu-1\"\n\
         routing.toml:9: <endpoint> unknown key `endpoint`; help: did you mean `endpoints`?\n\
         routing.toml:10: <\"round-robin\"> unknown word \"round-robin\"; \
         help: did you mean `round_robin`?",
    );
}

#[test]
fn all_syntax_errors_are_told_and_nothing_that_follows_from_them() {
    check(
        "[[stamp]]\nid = eu-1\nidd = 1\nendpoints = [{ url = \"http://a:1\" ]\n",
        "routing.toml:3: <eu-1> string values must be quoted, expected literal string; \
         help: write \"eu-1\"\n\
         routing.toml:4: <idd> unknown key `idd`; help: did you mean `id`?\n\
         routing.toml:5: <> invalid inline table element, expected `,`; \
         help: mend this line: the file is TOML (https://toml.io)",
    );
}

#[test]
fn a_key_written_twice_names_both_places() {
    check_with_stamps(
        "[tenants]\nacme = \"eu-1\"\nacme = \"us-1\"\n",
        "routing.toml:4: <acme> duplicate key; help: remove one of them; first written here: 3",
    );
}

#[test]
fn an_unknown_version_is_the_only_thing_said() {
    let source = SourceText { path: "r".into(), text: "version = 2\nfuture = true\n".into() };
    let rejected = load(source, &mut no_files, None).unwrap_err();
    let told = told(&rejected.diagnostics, &rejected.sources);
    assert_eq!(told, "r:1: <2> unknown version; help: write `version = 1`");
}

#[test]
fn the_version_is_there_and_first() {
    let of = |text: &str| {
        let source = SourceText { path: "r".into(), text: format!("{text}{STAMPS}").into() };
        let rejected = load(source, &mut no_files, None).unwrap_err();
        told(&rejected.diagnostics, &rejected.sources)
    };
    assert_eq!(of(""), "r:1: <> missing key `version`; help: add `version`");
    assert_eq!(
        of("tenants = {}\nversion = 1\n"),
        "r:2: <version> `version` must be the first key; \
         help: move `version = 1` to the top of the file"
    );
}

#[test]
fn keys_of_later_versions_are_unknown() {
    let told =
        mistakes(&format!("{STAMPS}proxy_protocol = \"v2\"\nfailback = {{ slope = \"3s\" }}\n"));
    assert!(told.contains(
        "<slope> unknown key `slope`; help: the keys known here are `mode`, `hold`, `ramp`"
    ));
    assert!(told.contains("<proxy_protocol> unknown key `proxy_protocol`"));
}

#[test]
fn quantities_have_units_and_ranges() {
    check(
        "[defaults.stamp]\nmax_in_flight = 0\nhealth = { interval = \"5\", timeout = \"0s\" }\n\
         retry = { budget = 0.2, replay_bytes = \"64KB\", attempts = 11 }\n",
        "routing.toml:3: <0> 0 is out of range; help: write an integer from 1 to 10000000\n\
         routing.toml:4: <\"5\"> `5`: the unit is missing; \
         help: write \"5s\"; the units are ms, s, m and h\n\
         routing.toml:4: <\"0s\"> this duration is too short; help: write at least \"1ms\"\n\
         routing.toml:5: <0.2> expected a share such as \"20%\", found a float; \
         help: write a share such as \"20%\"\n\
         routing.toml:5: <\"64KB\"> `64KB`: unknown unit; \
         help: write \"64KiB\"; the units are B, KiB, MiB and GiB\n\
         routing.toml:5: <11> 11 is out of range; help: write an integer from 1 to 10",
    );
}

#[test]
fn names_are_given_once() {
    check_with_stamps(
        "[[stamp]]\nid = \"EU-1\"\nendpoints = [{ url = \"http://10.1.0.9:1\" }]\n",
        "routing.toml:7: <\"eu-1\"> stamp `eu-1` is declared twice; \
         help: give one of them another id; first declared here: 3",
    );
    check_with_stamps(
        "[identity.host]\npatterns = [\"{tenant}.a.x\", \"{stamp}.A.x\"]\nneutral = [\"b.x\", \"B.x.\"]\n",
        "routing.toml:3: <\"{stamp}.A.x\"> a second pattern for `a.x`; \
         help: one label cannot name two things: remove one of the patterns; \
         first pattern for it: 3\n\
         routing.toml:4: <\"B.x.\"> host `b.x` is listed twice; \
         help: remove one of them; first listed here: 4",
    );
    check_with_stamps(
        "[tenants]\nacme = \"eu-1\"\nAcme = \"us-1\"\n[domains]\n\"a.x\" = \"acme\"\n\"A.x\" = \"acme\"\n",
        "routing.toml:3: <acme> tenant `acme` has two entries; \
         help: a tenant lives on one stamp: remove one of the entries; first entry: 4\n\
         routing.toml:6: <\"a.x\"> host `a.x` is listed twice; \
         help: a host belongs to one tenant: remove one of the entries; first listed here: 7",
    );
}

#[test]
fn an_endpoint_belongs_to_one_stamp() {
    check(
        "[[stamp]]\nid = \"a\"\nendpoints = [{ url = \"http://h:1\" }, { url = \"http://H.:1/\" }]\n\
         [[stamp]]\nid = \"b\"\nendpoints = [{ url = \"http://h:1\" }]\n",
        "routing.toml:4: <\"http://H.:1/\"> endpoint `h:1` is listed twice; \
         help: remove one; `weight` gives an endpoint a larger share; first listed here: 4\n\
         routing.toml:7: <\"http://h:1\"> endpoint `h:1` belongs to stamp `a`; \
         help: stamps are isolated from each other: no address may serve two of them; \
         first listed here: 4",
    );
}

#[test]
fn what_is_referred_to_exists() {
    check_with_stamps(
        "[tenants]\nacme = \"eu-11\"\nzeta = \"nowhere\"\nhooli = \"us-1\"\n\
         [domains]\n\"a.x\" = \"holi\"\n",
        "routing.toml:3: <\"eu-11\"> there is no stamp `eu-11`; help: did you mean `eu-1`?\n\
         routing.toml:4: <\"nowhere\"> there is no stamp `nowhere`; \
         help: declare it: `[[stamp]]` with `id = \"nowhere\"`\n\
         routing.toml:7: <\"holi\"> there is no tenant `holi`; help: did you mean `hooli`?",
    );
}

#[test]
fn an_edge_leads_to_another_stamp_and_once() {
    check(
        "[[stamp]]\nid = \"a\"\nendpoints = [{ url = \"http://h:1\" }]\n\
         failover = [\"a\", \"b\", { to = \"b\" }, \"bb\"]\n\
         [[stamp]]\nid = \"b\"\nendpoints = [{ url = \"http://h:2\" }]\n",
        "routing.toml:5: <\"a\"> stamp `a` cannot stand in for itself; \
         help: name another stamp, or remove the edge\n\
         routing.toml:5: <\"b\"> a second edge to stamp `b`; \
         help: remove one of them; first edge to it: 5\n\
         routing.toml:5: <\"bb\"> there is no stamp `bb`; help: did you mean `b`?",
    );
}

#[test]
fn a_fleet_can_serve() {
    check(
        "",
        "routing.toml:1: <> no stamp is declared; help: add one: `[[stamp]]` with `id` and `endpoints`",
    );
    check(
        "[[stamp]]\nid = \"a\"\nendpoints = []\n",
        "routing.toml:4: <[]> stamp `a` has no endpoint; \
         help: add one: `endpoints = [{ url = \"http://10.1.0.10:8080\" }]`",
    );
    check(
        "[defaults.stamp]\nstate = \"draining\"\n\
         [[stamp]]\nid = \"a\"\nendpoints = [{ url = \"http://h:1\" }]\n\
         [[stamp]]\nid = \"b\"\nstate = \"maintenance\"\nendpoints = [{ url = \"http://h:2\" }]\n",
        "routing.toml:3: <\"draining\"> no stamp takes requests; \
         help: declare at least one stamp `state = \"active\"`",
    );
}

const ISSUER: &str =
    "[[identity.jwt]]\nissuer = \"i\"\naudiences = [\"a\"]\ntenant_claim = \"t\"\n";

#[test]
fn keys_fit_their_algorithms() {
    check_with_stamps(
        &format!("{ISSUER}algorithms = [\"HS256\", \"RS256\"]\nhmac_secret_file = \"s\"\n"),
        "routing.toml:6: <\"RS256\"> a shared secret verifies HS256 only; \
         help: write `algorithms = [\"HS256\"]`",
    );
    check_with_stamps(
        &format!("{ISSUER}algorithms = [\"HS256\", \"EdDSA\"]\npublic_key_file = \"s\"\n"),
        "routing.toml:6: <\"HS256\"> HS256 needs a shared secret; \
         help: write `hmac_secret_file`, or another algorithm",
    );
}

#[test]
fn an_issuer_has_exactly_one_source_of_keys() {
    let help = "write exactly one of `jwks_url`, `jwks_file`, `public_key_file` and \
                `hmac_secret_file`";
    check_with_stamps(
        &format!("{ISSUER}algorithms = [\"RS256\"]\n"),
        &format!("routing.toml:3: <\"i\"> issuer `i` has no keys; help: {help}"),
    );
    check_with_stamps(
        &format!("{ISSUER}algorithms = [\"RS256\"]\njwks_file = \"j\"\npublic_key_file = \"p\"\n"),
        &format!(
            "routing.toml:8: <\"p\"> issuer `i` has keys in two places; help: {help}; keys here: 7"
        ),
    );
}

#[test]
fn an_issuer_is_declared_once_and_accepts_something() {
    let issuer = "[[identity.jwt]]\nissuer = \"i\"\naudiences = []\nalgorithms = [\"ES256\", \"ES256\"]\n\
                  tenant_claim = \"a..b\"\njwks_file = \"j\"\nleeway = \"2m\"\n";
    check_with_stamps(
        &format!("{}{issuer}", issuer.replace("a..b", "a.b")),
        "routing.toml:4: <[]> at least one audience must be named; \
         help: name one: `audiences = [\"api.example.com\"]`\n\
         routing.toml:5: <\"ES256\"> this algorithm is listed twice; \
         help: remove one of them; first listed here: 5\n\
         routing.toml:8: <\"2m\"> this leeway is too long; help: a token may be used this long \
         after it has expired: keep clocks in step instead\n\
         routing.toml:13: <\"a..b\"> `a..b`: the names between dots may not be empty; \
         help: write the name of a claim such as \"tid\" or \"org.id\"",
    );
    let good = "[[identity.jwt]]\nissuer = \"i\"\naudiences = [\"a\"]\nalgorithms = [\"ES256\"]\n\
                tenant_claim = \"t\"\njwks_file = \"j\"\n";
    check_with_stamps(
        &format!("{good}{good}"),
        "routing.toml:9: <\"i\"> issuer `i` is declared twice; help: put all audiences and \
         algorithms of an issuer into one `[[identity.jwt]]`; first declared here: 3",
    );
}

#[test]
fn hosts_and_headers_mean_one_thing() {
    check_with_stamps(
        "[identity.host]\npatterns = [\"*.a.x\", \"{tenant}.\", \"{tenant}.{stamp}.x\"]\nneutral = [\"a.x\"]\n\
         [identity.header]\nname = \"Authorization\"\n[identity.cookie]\nname = \"a b\"\n\
         [domains]\n\"a.x\" = \"acme\"\n[tenants]\nacme = \"eu-1\"\n",
        "routing.toml:3: <\"*.a.x\"> `*.a.x`: a pattern begins with `{tenant}.` or `{stamp}.`; \
         help: write a pattern such as \"{tenant}.app.example.com\"\n\
         routing.toml:3: <\"{tenant}.\"> `{tenant}.`: a host name may not be empty; \
         help: write a pattern such as \"{tenant}.app.example.com\"\n\
         routing.toml:3: <\"{tenant}.{stamp}.x\"> `{tenant}.{stamp}.x`: \
         each label has 1 to 63 letters, digits and inner hyphens; \
         help: write a pattern such as \"{tenant}.app.example.com\"\n\
         routing.toml:6: <\"Authorization\"> `Authorization`: \
         this header has another meaning and cannot carry an identity; \
         help: write a header name such as \"X-Stamp-Id\"\n\
         routing.toml:8: <\"a b\"> `a b`: this is no cookie name (RFC 6265, section 4.1.1); \
         help: write the name of a cookie such as \"stamp\"\n\
         routing.toml:10: <\"a.x\"> host `a.x` is neutral and names a tenant; \
         help: remove it here, or from `neutral` of `[identity.host]`",
    );
    check_with_stamps(
        "[identity.header]\ntenant_name = \"x-stamp-id\"\n",
        "routing.toml:3: <\"x-stamp-id\"> one header cannot name both a stamp and a tenant; \
         help: write for example `tenant_name = \"X-Tenant-Id\"`",
    );
}

/// A home in `eu` whose edge leads to a stamp with this residency, and these tenants.
fn edge_to(residency: &str, tenants: &str) -> String {
    format!(
        "[tenants]\n{tenants}[[stamp]]\nid = \"home\"\nresidency = \"eu\"\n\
         failover = [\"away\"]\nendpoints = [{{ url = \"http://h:1\" }}]\n\
         [[stamp]]\nid = \"away\"\n{residency}endpoints = [{{ url = \"http://h:2\" }}]\n"
    )
}

#[test]
fn no_edge_leaves_the_residency_of_a_tenant() {
    check(
        &edge_to("residency = \"us\"\n", "acme = \"home\"\n"),
        "routing.toml:7: <\"away\"> the edge `home` -> `away` leaves the residency of tenant \
         `acme`; help: remove the edge, or widen the residency of the tenant",
    );
    let wide = "acme = { stamp = \"home\", residency = [\"us\", \"eu\"] }\n";
    loaded(&edge_to("residency = \"us\"\n", wide));
    loaded(&edge_to("residency = \"EU\"\n", "acme = \"home\"\n"));
    check(
        &edge_to("residency = \"us\"\n", &format!("{wide}zeta = \"home\"\n")),
        "routing.toml:8: <\"away\"> the edge `home` -> `away` leaves the residency of tenant \
         `zeta`; help: remove the edge, or widen the residency of the tenant",
    );
}

#[test]
fn no_edge_leaves_the_residency_of_an_empty_stamp() {
    check(
        &edge_to("residency = \"us\"\n", ""),
        "routing.toml:6: <\"away\"> the edge `home` -> `away` leaves the residency of stamp \
         `home`; help: remove the edge, or give both stamps the same residency",
    );
}

#[test]
fn a_stamp_without_residency_may_be_anywhere() {
    check(
        &edge_to("", "acme = \"home\"\n"),
        "routing.toml:7: <\"away\"> the edge `home` -> `away` leaves the residency of tenant \
         `acme`; help: remove the edge, or widen the residency of the tenant",
    );
    loaded(&edge_to("", "").replace("residency = \"eu\"\n", ""));
}

#[test]
fn a_tenant_may_be_where_it_lives() {
    check_with_stamps(
        "[tenants]\nacme = { stamp = \"us-1\", residency = [\"eu\", \"ch\"] }\n\
         zeta = { stamp = \"us-1\", residency = [] }\n",
        "routing.toml:3: <[\"eu\", \"ch\"]> tenant `acme`: \
         its residency `eu`, `ch` excludes its home `us-1`; \
         help: add the zone of its home, or move the tenant\n\
         routing.toml:4: <[]> tenant `zeta`: its residency names no zone; \
         help: add the zone of its home, or move the tenant",
    );
}

#[test]
fn the_fence_is_asked_again_on_every_choice() {
    let table = loaded(&format!("{STAMPS}[tenants]\nacme = \"eu-1\"\n")).table;
    let acme = table.directory.tenant(table.directory.find("acme").unwrap());
    let (eu, us) = (StampIndex(0), StampIndex(1));
    assert!(table.fence_allows(acme.fence, table.stamp(eu).residency));
    assert!(!table.fence_allows(acme.fence, table.stamp(us).residency));
    assert!(!table.fence_allows(acme.fence, None));
    assert!(table.stamp_fence_allows(eu, eu));
    assert!(!table.stamp_fence_allows(eu, us));
}

#[test]
fn a_file_that_is_too_large_is_not_read() {
    let long = format!("# {}\n", "x".repeat(FILE_BYTES_MAX));
    check(
        &long,
        "routing.toml:1: <> routing.toml has over 4 MiB; \
         help: move `[tenants]` into a `[[tenant_file]]`",
    );
}

#[test]
fn no_endpoint_leads_to_the_gateway_itself() {
    let own = [
        OwnAddress { address: "127.0.0.1:9900".parse().unwrap(), door: OwnDoor::Admin },
        OwnAddress { address: "0.0.0.0:8080".parse().unwrap(), door: OwnDoor::Listener },
    ];
    let body = "[[stamp]]\nid = \"a\"\nendpoints = [\n{ url = \"http://localhost:9900\" },\n\
                { url = \"http://127.0.0.1:8080\" },\n{ url = \"http://10.1.0.10:8080\" }]\n";
    let circumstances = Circumstances { own: &own, ..Circumstances::default() };
    let rejected = load_in(text(body), &mut no_files, circumstances).unwrap_err();
    assert_eq!(
        told(&rejected.diagnostics, &rejected.sources),
        "routing.toml:5: <\"http://localhost:9900\"> endpoint `localhost:9900` is the address of \
         the admin plane; help: no tenant may reach the admin plane: \
         write the address of the application\n\
         routing.toml:6: <\"http://127.0.0.1:8080\"> endpoint `127.0.0.1:8080` is an address of \
         the gateway itself; help: requests would come back for ever: \
         write the address of the application"
    );
    loaded(body);
}

#[test]
fn a_stamp_with_a_bad_name_is_read_all_the_same() {
    check(
        "[[stamp]]\nid = \"A_1\"\nendpoints = []\nfailover = [\"c\"]\n\
         [[stamp]]\nendpoints = [{ url = \"http://h:1\" }]\n",
        "routing.toml:3: <\"A_1\"> `A_1`: byte 0x5f at 1 may not stand in an id; \
         help: write the id of a stamp such as \"eu-1\"\n\
         routing.toml:4: <[]> stamp `unnamed` has no endpoint; \
         help: add one: `endpoints = [{ url = \"http://10.1.0.10:8080\" }]`\n\
         routing.toml:5: <\"c\"> there is no stamp `c`; \
         help: declare it: `[[stamp]]` with `id = \"c\"`\n\
         routing.toml:6: <[[stamp]]> missing key `id`; help: add `id`",
    );
}

#[test]
fn what_stands_nowhere_in_a_broken_text_is_not_told() {
    check_with_stamps(
        "[tenants]\nacme = \"eu-1\"\n= = =\n",
        "routing.toml:4: <> unquoted keys cannot be empty, expected letters, numbers, `-`, `_`; \
         help: mend this line: the file is TOML (https://toml.io)",
    );
}

#[test]
fn only_active_tenants_count_as_those_that_send_requests() {
    let tenants = "[tenants]\na = \"eu-1\"\nb = { stamp = \"eu-1\", state = \"suspended\" }\n\
                   c = { stamp = \"eu-1\", state = \"offboarded\" }\n";
    let table = loaded(&format!("{STAMPS}{tenants}")).table;
    let stamp = table.find_stamp(&StampId::parse("eu-1").unwrap()).unwrap();
    assert_eq!((table.tenants_on(stamp), table.active_tenants_on(stamp)), (3, 1));
}
