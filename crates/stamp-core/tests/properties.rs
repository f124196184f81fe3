//! Laws of identity, tried with arbitrary heads and arbitrary combinations of clues.
#![expect(clippy::unwrap_used, clippy::panic, reason = "the helpers of tests may, as tests may")]

use std::sync::LazyLock;

use http::{HeaderMap, HeaderName, HeaderValue, Version};
use proptest::prelude::*;
use stamp_core::claims::{Claims, Header, Tenants, Unverified, Verified, split};
use stamp_core::clue::{Clue, Clues, Source};
use stamp_core::diagnostic::SourceText;
use stamp_core::host;
use stamp_core::id::{StampId, TenantId};
use stamp_core::identify::{self, Head, Peer};
use stamp_core::resolve::{ResolveError, Target, resolve};
use stamp_core::table::{self, Access, RoutingTable, TenantState};
use stamp_core::time::UnixSeconds;

const ROUTING: &str = r#"
version = 1

[identity]
conflict = "reject"

[identity.host]
patterns = ["{tenant}.app.test", "{stamp}.stamps.test"]
neutral = ["api.test"]
verified_only = ["jwt.test"]

[identity.header]
name = "X-Stamp-Id"
tenant_name = "X-Tenant-Id"

[identity.cookie]
name = "stamp"
names = "stamp"

[[stamp]]
id = "one"
endpoints = [{ url = "http://10.0.0.1:80" }]

[[stamp]]
id = "two"
endpoints = [{ url = "http://10.0.0.2:80" }]

[[stamp]]
id = "safe"
access = "verified"
endpoints = [{ url = "http://10.0.0.3:80" }]

[tenants]
a = "one"
b = "one"
c = "two"
d = "safe"
e = { stamp = "one", state = "suspended" }
f = { stamp = "safe", state = "offboarded" }

[domains]
"orders.test" = "a"
"#;

const TENANTS: [&str; 7] = ["a", "b", "c", "d", "e", "f", "nobody"];
const STAMPS: [&str; 4] = ["one", "two", "safe", "nowhere"];

static REJECTING: LazyLock<RoutingTable> = LazyLock::new(|| loaded(ROUTING));
static AGAIN: LazyLock<RoutingTable> = LazyLock::new(|| loaded(ROUTING));
static REPORTING: LazyLock<RoutingTable> =
    LazyLock::new(|| loaded(&ROUTING.replace(r#""reject""#, r#""report""#)));

fn loaded(text: &str) -> RoutingTable {
    let main = SourceText { path: "routing.toml".into(), text: text.into() };
    match table::load(main, &mut |_| Err(std::io::ErrorKind::NotFound.into()), None) {
        Ok(loaded) => loaded.table,
        Err(rejected) => panic!("{rejected:#?}"),
    }
}

fn tenants() -> impl Strategy<Value = TenantId<'static>> {
    prop::sample::select(&TENANTS[..]).prop_map(|name| TenantId::parse(name).unwrap())
}

fn stamps() -> impl Strategy<Value = StampId<'static>> {
    prop::sample::select(&STAMPS[..]).prop_map(|name| StampId::parse(name).unwrap())
}

/// Nothing, a tenant, a stamp, or both.
fn clue(source: Source) -> impl Strategy<Value = Option<Clue<'static>>> {
    (prop::option::of(tenants()), prop::option::of(stamps())).prop_map(move |(tenant, stamp)| {
        let is_there = tenant.is_some() || stamp.is_some();
        is_there.then_some(Clue { source, tenant, stamp })
    })
}

/// What tokens that are good for several tenants are good for.
static LISTS: LazyLock<[Tenants; 3]> = LazyLock::new(|| {
    [&["a", "b"][..], &["b", "nobody", "e"], &["a", "c", "d", "f"]].map(|names| {
        let ids = names.iter().map(|name| TenantId::parse(name).unwrap()).collect();
        Tenants::of(ids).unwrap()
    })
});

/// The clue of a token, and what it is good for if that is several tenants.
type Token = (Option<Clue<'static>>, Option<&'static Tenants>);

/// Nothing, or one tenant or several, with or without a stamp: a token without a tenant is refused
/// before.
fn token() -> impl Strategy<Value = Token> {
    let whose = prop_oneof![
        3 => tenants().prop_map(|tenant| (Some(tenant), None)),
        1 => (0..LISTS.len()).prop_map(|at| (None, LISTS.get(at))),
    ];
    prop::option::of((whose, prop::option::of(stamps()))).prop_map(|token| match token {
        Some(((tenant, one_of), stamp)) => {
            (Some(Clue { source: Source::Jwt, tenant, stamp }), one_of)
        }
        None => (None, None),
    })
}

fn clues() -> impl Strategy<Value = Clues<'static>> {
    let sources = (clue(Source::Host), clue(Source::Header), clue(Source::Cookie));
    (token(), sources, any::<bool>()).prop_map(
        |((jwt, one_of), (host, header, cookie), verified_demanded)| Clues {
            jwt,
            host,
            header,
            cookie,
            one_of,
            verified_demanded,
        },
    )
}

/// The same clues without those that `mask` takes away, one bit a source.
fn fewer<'c>(clues: &Clues<'c>, mask: u8) -> Clues<'c> {
    let kept = |bit: u8, clue: &Option<Clue<'c>>| clue.clone().filter(|_| mask & bit != 0);
    Clues {
        jwt: kept(1, &clues.jwt),
        host: kept(2, &clues.host),
        header: kept(4, &clues.header),
        cookie: kept(8, &clues.cookie),
        one_of: clues.one_of.filter(|_| mask & 1 != 0),
        verified_demanded: clues.verified_demanded,
    }
}

/// Does this clue contradict that target?
fn contradicts(table: &RoutingTable, clue: &Clue<'_>, target: &Target) -> bool {
    let home = &table.stamp(target.home).id;
    let tenant = target.tenant.map(|tenant| table.directory.name(tenant));
    clue.stamp.as_ref().is_some_and(|stamp| stamp != home)
        || clue.tenant.as_ref().is_some_and(|named| Some(named.as_str()) != tenant)
}

/// What must hold of every target, whatever the rule for conflicts.
fn check_target(table: &RoutingTable, clues: &Clues<'_>, target: &Target) {
    if let Some(tenant) = target.tenant {
        let tenant = table.directory.tenant(tenant);
        assert_eq!(tenant.home, target.home);
        assert_eq!(tenant.state, TenantState::Active);
    }
    let verified = clues.jwt.as_ref().and_then(|clue| clue.tenant.as_ref());
    assert_eq!(target.verified, verified.is_some() || clues.one_of.is_some());
    if let Some(tenants) = clues.one_of {
        let tenant = table.directory.name(target.tenant.unwrap());
        assert!(tenants.has(&TenantId::parse(tenant).unwrap()));
        let mut others = [&clues.host, &clues.header, &clues.cookie].into_iter().flatten();
        let first = others.find_map(|clue| clue.tenant.as_ref());
        assert_eq!(first.map(TenantId::as_str), Some(tenant));
    }
    if let Some(verified) = verified {
        let tenant = target.tenant.map(|tenant| table.directory.name(tenant));
        assert_eq!(tenant, Some(verified.as_str()));
    }
    let demanded = clues.verified_demanded || table.stamp(target.home).access == Access::Verified;
    assert!(target.verified || !demanded);
    assert_eq!(clues.iter().next().map(|clue| clue.source), Some(target.source));
}

proptest! {
    // Most combinations disagree, so many are tried for enough that do not.
    #![proptest_config(ProptestConfig::with_cases(4096))]

    #[test]
    fn resolve_is_a_function_of_its_input(clues in clues()) {
        let names = |table: &RoutingTable, target: Target| {
            let tenant = target.tenant.map(|tenant| table.directory.name(tenant).to_owned());
            (tenant, table.stamp(target.home).id.clone(), target.source, target.verified)
        };
        let first = resolve(&REJECTING, &clues);
        prop_assert_eq!(first, resolve(&REJECTING, &clues.clone()));
        let elsewhere = resolve(&AGAIN, &clues).map(|target| names(&AGAIN, target));
        prop_assert_eq!(first.map(|target| names(&REJECTING, target)), elsewhere);
    }

    #[test]
    fn no_stamp_is_chosen_that_any_clue_contradicts(clues in clues()) {
        if let Ok(target) = resolve(&REJECTING, &clues) {
            check_target(&REJECTING, &clues, &target);
            prop_assert_eq!(target.conflict, None);
            prop_assert!(!clues.iter().any(|clue| contradicts(&REJECTING, clue, &target)));
        }
    }

    #[test]
    fn reporting_never_contradicts_the_strongest_clue(clues in clues()) {
        if let Ok(target) = resolve(&REPORTING, &clues) {
            check_target(&REPORTING, &clues, &target);
            let leader = clues.iter().next().unwrap();
            prop_assert!(!contradicts(&REPORTING, leader, &target));
            let overruled = clues.iter().any(|clue| contradicts(&REPORTING, clue, &target));
            prop_assert!(target.conflict.is_some() || !overruled);
        }
    }

    #[test]
    fn reporting_changes_nothing_where_clues_agree(clues in clues()) {
        if let Ok(target) = resolve(&REJECTING, &clues) {
            prop_assert_eq!(resolve(&REPORTING, &clues), Ok(target));
        }
    }

    #[test]
    fn one_more_clue_never_opens_another_stamp(clues in clues(), mask in 0_u8..16) {
        let less = fewer(&clues, mask);
        match (resolve(&REJECTING, &less), resolve(&REJECTING, &clues)) {
            (Ok(before), Ok(after)) => {
                prop_assert_eq!(before.home, after.home);
                prop_assert!(before.tenant.is_none() || before.tenant == after.tenant);
            }
            // Only a token gives the authority that was wanting, and only for what was named.
            (Err(ResolveError::Unverified), Ok(after)) => {
                prop_assert!(less.jwt.is_none() && after.verified);
                prop_assert!(!less.iter().any(|clue| contradicts(&REJECTING, clue, &after)));
            }
            (Err(before), Ok(_)) => prop_assert_eq!(before, ResolveError::Missing),
            (_, Err(_)) => {}
        }
    }

    #[test]
    fn a_target_carried_over_to_its_own_table_is_itself(clues in clues()) {
        for table in [&*REJECTING, &*REPORTING] {
            if let Ok(target) = resolve(table, &clues) {
                prop_assert_eq!(target.carry_over(table, table), Ok(target));
            }
        }
    }
}

const VERSIONS: [Version; 3] = [Version::HTTP_10, Version::HTTP_11, Version::HTTP_2];
const NAMES: [&str; 5] = ["host", "x-stamp-id", "x-tenant-id", "cookie", "x-forwarded-host"];

/// Values that are often almost right.
fn values() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        "[a-zA-Z0-9.:,@=; _\\[\\]\"-]{0,40}".prop_map(String::into_bytes),
        "(one|two|A)?(\\.app|\\.stamps)?\\.test(:80)?\\.?".prop_map(String::into_bytes),
        "stamp=(one|two)?(; stamp=one)?".prop_map(String::into_bytes),
        prop::collection::vec(any::<u8>(), 0..40),
    ]
}

fn heads() -> impl Strategy<Value = (Version, Option<String>, HeaderMap)> {
    let field = (prop::sample::select(&NAMES[..]), values());
    let fields = prop::collection::vec(field, 0..6).prop_map(|fields| {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            if let Ok(value) = HeaderValue::from_bytes(&value) {
                headers.append(HeaderName::from_static(name), value);
            }
        }
        headers
    });
    let authority =
        prop::option::weighted(0.3, "[a-z.:@\\[\\]]{0,12}|one\\.stamps\\.test|\\PC{0,8}");
    (prop::sample::select(&VERSIONS[..]), authority, fields)
}

proptest! {
    #[test]
    fn any_head_is_read_or_refused((version, authority, headers) in heads()) {
        let head = Head { version, authority: authority.as_deref(), headers: &headers };
        for table in [&*REJECTING, &*REPORTING] {
            let Ok(clues) = identify::clues(&head, table, Peer::Untrusted, None) else { continue };
            for clue in clues.iter() {
                prop_assert!(clue.tenant.is_some() || clue.stamp.is_some());
            }
            if let Ok(target) = resolve(table, &clues) {
                check_target(table, &clues, &target);
            }
        }
    }

    #[test]
    fn no_head_makes_a_verified_clue((version, authority, headers) in heads()) {
        let head = Head { version, authority: authority.as_deref(), headers: &headers };
        if let Ok(clues) = identify::clues(&head, &REJECTING, Peer::Trusted, None) {
            prop_assert_eq!(clues.jwt, None);
        }
    }

    #[test]
    fn a_token_changes_no_other_clue((version, authority, headers) in heads(), tenant in tenants()) {
        let head = Head { version, authority: authority.as_deref(), headers: &headers };
        let issuer = "issuer".into();
        let tenants = Tenants::one(tenant);
        let claims = Claims { issuer, tenants, stamp: None, expires_at: UnixSeconds(0) };
        let verified = Verified::vouch(claims);
        let without = identify::clues(&head, &REJECTING, Peer::Untrusted, None);
        let with = identify::clues(&head, &REJECTING, Peer::Untrusted, Some(&verified));
        prop_assert_eq!(with.map(|clues| Clues { jwt: None, ..clues }), without);
    }

    #[test]
    fn a_parsed_host_parses_to_itself(text in "\\PC{0,20}|[A-Za-z0-9.:_-]{0,30}|\\[[0-9a-fA-F:]{0,20}\\](:80)?") {
        if let Ok(first) = host::parse(&text) {
            let second = host::parse(&first.host).unwrap();
            prop_assert_eq!(&second.host, &first.host);
            prop_assert_eq!(second.port, None);
            prop_assert!(!first.host.bytes().any(|byte| byte.is_ascii_uppercase()));
        }
    }

    #[test]
    fn any_token_text_is_read_or_refused(text in "\\PC{0,60}|[A-Za-z0-9_.-]{0,80}") {
        if let Ok(parts) = split(&text) {
            let (signed, _) = text.rsplit_once('.').unwrap();
            prop_assert_eq!(parts.signed, signed);
        }
    }

    #[test]
    fn any_bytes_are_read_or_refused_as_header_and_claims(
        bytes in prop_oneof![
            prop::collection::vec(any::<u8>(), 0..60),
            "[\\[\\]{}\":,a-e0-9\\\\.-]{0,60}".prop_map(String::into_bytes),
        ],
    ) {
        // The claims set is any object, the header one with demands: it may only refuse more.
        let (header, claims) = (Header::read(&bytes), Unverified::read(&bytes));
        prop_assert!(header.is_err() || claims.is_ok());
    }
}
