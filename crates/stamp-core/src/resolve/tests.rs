//! One fact a test: clues go in, a target or a refusal comes out.

use super::*;
use crate::clue::Source::{Cookie, Header, Host, Jwt};
use crate::fixture::{ROUTING, loaded};

/// A source and its words: `acme@` is a tenant, `@eu-1` a stamp, `acme@eu-1` both.
type Says<'w> = (Source, &'w str);

fn clues<'w>(says: &[Says<'w>]) -> Clues<'w> {
    let mut clues = Clues::default();
    for (source, words) in says {
        let (tenant, stamp) = words.split_once('@').unwrap();
        let clue = Clue {
            source: *source,
            tenant: (!tenant.is_empty()).then(|| TenantId::parse(tenant).unwrap()),
            stamp: (!stamp.is_empty()).then(|| StampId::parse(stamp).unwrap()),
        };
        let place = match source {
            Jwt => &mut clues.jwt,
            Host => &mut clues.host,
            Header => &mut clues.header,
            Cookie => &mut clues.cookie,
        };
        *place = Some(clue);
    }
    clues
}

fn reporting() -> RoutingTable {
    loaded(
        &ROUTING.replace("[identity.host]", "[identity]\nconflict = \"report\"\n[identity.host]"),
    )
}

/// Tenant, home and source of the target, as text.
fn named(table: &RoutingTable, target: &Target) -> String {
    let tenant = target.tenant.map_or("", |tenant| table.directory.name(tenant));
    format!("{} {tenant}@{}", target.source, table.stamp(target.home).id)
}

#[track_caller]
fn goes(says: &[Says<'_>], to: &str) {
    let table = loaded(ROUTING);
    let target = resolve(&table, &clues(says)).unwrap();
    assert_eq!(named(&table, &target), to);
    assert_eq!(target.conflict, None);
}

#[track_caller]
fn refused(says: &[Says<'_>], code: &str) -> ResolveError {
    let error = resolve(&loaded(ROUTING), &clues(says)).unwrap_err();
    assert_eq!(error.code(), code, "{error}");
    error
}

#[track_caller]
fn disagree(says: &[Says<'_>], whose: Involved, stronger: Source, weaker: Source) {
    let conflict = Conflict { stronger, weaker };
    let expected = ResolveError::Disagree { conflict, involved: whose };
    assert_eq!(refused(says, "identity_conflict"), expected);
}

#[track_caller]
fn reported(says: &[Says<'_>], to: &str, stronger: Source, weaker: Source) {
    let table = reporting();
    let target = resolve(&table, &clues(says)).unwrap();
    assert_eq!(named(&table, &target), to);
    assert_eq!(target.conflict, Some(Conflict { stronger, weaker }));
}

#[track_caller]
fn refused_though_reporting(says: &[Says<'_>], code: &str) {
    assert_eq!(resolve(&reporting(), &clues(says)).unwrap_err().code(), code);
}

#[test]
fn no_clue_is_missing() {
    refused(&[], "missing_identifier");
}

#[test]
fn a_tenant_goes_to_its_home() {
    for source in [Jwt, Host, Header, Cookie] {
        goes(&[(source, "acme@")], &format!("{source} acme@eu-1"));
    }
}

#[test]
fn a_stamp_alone_is_its_own_home() {
    goes(&[(Header, "@eu-2")], "header @eu-2");
}

#[test]
fn a_stamp_agrees_with_a_tenant_that_lives_there() {
    goes(&[(Host, "@eu-1"), (Header, "acme@")], "host acme@eu-1");
    goes(&[(Header, "acme@eu-1")], "header acme@eu-1");
    goes(&[(Jwt, "acme@eu-1"), (Host, "acme@"), (Cookie, "@eu-1")], "jwt acme@eu-1");
}

#[test]
fn two_tenants_disagree() {
    disagree(&[(Host, "acme@"), (Header, "globex@")], Involved::Unverified, Host, Header);
    disagree(&[(Jwt, "acme@"), (Host, "globex@")], Involved::Verified, Jwt, Host);
}

#[test]
fn two_tenants_disagree_even_where_they_share_a_home() {
    disagree(&[(Jwt, "acme@"), (Host, "paused@")], Involved::Verified, Jwt, Host);
}

#[test]
fn two_stamps_disagree() {
    disagree(&[(Host, "@eu-1"), (Header, "@eu-2")], Involved::Unverified, Host, Header);
    disagree(&[(Header, "@eu-1"), (Cookie, "@eu-2")], Involved::Unverified, Header, Cookie);
}

#[test]
fn a_stamp_that_is_not_the_tenants_home_disagrees() {
    disagree(&[(Host, "acme@"), (Header, "@eu-2")], Involved::Unverified, Host, Header);
    disagree(&[(Host, "@eu-2"), (Header, "acme@")], Involved::Unverified, Host, Header);
    disagree(&[(Jwt, "acme@"), (Header, "@eu-2")], Involved::Verified, Jwt, Header);
    disagree(&[(Jwt, "acme@eu-2")], Involved::Verified, Jwt, Jwt);
}

#[test]
fn a_weak_disagreement_beside_a_token_is_a_verified_one() {
    let says = [(Jwt, "acme@"), (Header, "@eu-1"), (Cookie, "@eu-2")];
    disagree(&says, Involved::Verified, Header, Cookie);
}

#[test]
fn names_that_differ_disagree_before_they_are_looked_up() {
    disagree(&[(Host, "acme@"), (Header, "nobody@")], Involved::Unverified, Host, Header);
    disagree(&[(Host, "acme@"), (Header, "@nowhere")], Involved::Unverified, Host, Header);
}

#[test]
fn unknown_names_are_refused_by_kind() {
    let error = refused(&[(Header, "nobody@")], "unknown_tenant");
    assert_eq!(error, ResolveError::UnknownTenant { from: Header });
    let error = refused(&[(Host, "@nowhere")], "unknown_stamp");
    assert_eq!(error, ResolveError::UnknownStamp { from: Host });
    refused(&[(Jwt, "nobody@"), (Header, "@eu-1")], "unknown_tenant");
    refused(&[(Host, "@eu-1"), (Header, "nobody@")], "unknown_tenant");
}

#[test]
fn suspended_and_offboarded_tenants_are_refused() {
    refused(&[(Host, "paused@")], "tenant_suspended");
    refused(&[(Jwt, "gone@")], "tenant_offboarded");
}

#[test]
fn a_verified_stamp_takes_verified_tenants_only() {
    goes(&[(Jwt, "vault@")], "jwt vault@safe");
    goes(&[(Jwt, "vault@"), (Host, "vault@"), (Header, "@safe")], "jwt vault@safe");
    for says in [(Host, "vault@"), (Header, "vault@safe"), (Host, "@safe"), (Cookie, "@safe")] {
        refused(&[says], "verified_identity_required");
    }
}

#[test]
fn a_verified_stamp_does_not_tell_strangers_that_a_tenant_is_suspended() {
    refused(&[(Host, "hidden@")], "verified_identity_required");
    refused(&[(Jwt, "hidden@")], "tenant_suspended");
}

#[test]
fn a_demand_for_a_verified_identity_is_met_by_a_token_only() {
    let table = loaded(ROUTING);
    let demanded = |says: &[Says<'_>]| {
        let clues = Clues { verified_demanded: true, ..clues(says) };
        resolve(&table, &clues).map(|target| named(&table, &target))
    };
    assert_eq!(demanded(&[]), Err(ResolveError::Unverified));
    assert_eq!(demanded(&[(Host, "acme@"), (Header, "@eu-1")]), Err(ResolveError::Unverified));
    assert_eq!(demanded(&[(Jwt, "acme@")]), Ok("jwt acme@eu-1".to_owned()));
}

#[test]
fn only_a_token_makes_a_target_verified() {
    let table = loaded(ROUTING);
    let verified = |says: &[Says<'_>]| resolve(&table, &clues(says)).unwrap().verified;
    assert!(verified(&[(Jwt, "acme@"), (Host, "@eu-1")]));
    assert!(!verified(&[(Host, "acme@"), (Header, "acme@")]));
}

#[test]
fn reporting_lets_the_strongest_class_win() {
    reported(&[(Jwt, "acme@"), (Host, "globex@")], "jwt acme@eu-1", Jwt, Host);
    reported(&[(Jwt, "acme@"), (Header, "@eu-2")], "jwt acme@eu-1", Jwt, Header);
    reported(&[(Host, "@eu-2"), (Header, "acme@")], "host @eu-2", Host, Header);
    reported(&[(Host, "acme@"), (Cookie, "@eu-2")], "host acme@eu-1", Host, Cookie);
}

#[test]
fn reporting_overrules_weak_names_that_are_unknown() {
    reported(&[(Host, "@eu-2"), (Header, "nobody@")], "host @eu-2", Host, Header);
    reported(&[(Host, "acme@"), (Header, "@nowhere")], "host acme@eu-1", Host, Header);
}

#[test]
fn reporting_does_not_believe_the_other_half_of_an_overruled_clue() {
    reported(&[(Host, "@eu-2"), (Header, "globex@eu-1")], "host @eu-2", Host, Header);
}

#[test]
fn reporting_overrules_weak_sources_that_disagree_among_themselves() {
    let says = [(Jwt, "acme@"), (Header, "@eu-1"), (Cookie, "@eu-2")];
    reported(&says, "jwt acme@eu-1", Header, Cookie);
}

#[test]
fn reporting_names_the_first_disagreement() {
    let says = [(Jwt, "acme@"), (Host, "globex@"), (Header, "@eu-2")];
    reported(&says, "jwt acme@eu-1", Jwt, Host);
}

#[test]
fn reporting_still_refuses_where_equals_disagree() {
    refused_though_reporting(&[(Header, "@eu-1"), (Cookie, "@eu-2")], "identity_conflict");
    refused_though_reporting(&[(Header, "acme@"), (Cookie, "@eu-2")], "identity_conflict");
    refused_though_reporting(&[(Header, "acme@eu-2")], "identity_conflict");
    refused_though_reporting(&[(Jwt, "acme@eu-2")], "identity_conflict");
}

#[test]
fn reporting_takes_no_weaker_word_for_an_unknown_strong_one() {
    refused_though_reporting(&[(Jwt, "nobody@"), (Header, "@eu-1")], "unknown_tenant");
    refused_though_reporting(&[(Host, "@nowhere"), (Header, "acme@")], "unknown_stamp");
}

#[test]
fn reporting_does_not_open_verified_stamps() {
    refused_though_reporting(&[(Host, "@safe"), (Header, "acme@")], "verified_identity_required");
}

fn carried(says: &[Says<'_>], from: &str, to: &str) -> Result<String, ResolveError> {
    let (old, new) = (loaded(ROUTING), loaded(&ROUTING.replace(from, to)));
    let target = resolve(&old, &clues(says)).unwrap();
    target.carry_over(&old, &new).map(|target| named(&new, &target))
}

#[test]
fn a_target_is_carried_over_by_name() {
    let added = "[tenants]\naaa = \"eu-2\"\nzzz = \"eu-2\"";
    assert_eq!(carried(&[(Host, "acme@")], "[tenants]", added), Ok("host acme@eu-1".to_owned()));
    let before = "[[stamp]]\nid = \"aa\"\nendpoints = [{ url = \"http://10.0.0.9:80\" }]\n\
                  [[stamp]]\nid = \"eu-1\"";
    let eu_1 = "[[stamp]]\nid = \"eu-1\"";
    assert_eq!(carried(&[(Header, "@eu-2")], eu_1, before), Ok("header @eu-2".to_owned()));
}

#[test]
fn a_tenant_that_moved_is_carried_to_its_new_home() {
    let moved = carried(&[(Host, "acme@")], "acme = \"eu-1\"", "acme = \"eu-2\"");
    assert_eq!(moved, Ok("host acme@eu-2".to_owned()));
}

#[test]
fn a_target_that_vanished_is_not_carried_over() {
    let without = ROUTING.replace("\"odd.app.test\" = \"globex\"", "");
    let (old, new) = (loaded(ROUTING), loaded(&without.replace("globex = \"eu-2\"", "")));
    let target = resolve(&old, &clues(&[(Header, "globex@")])).unwrap();
    let unknown = ResolveError::UnknownTenant { from: Header };
    assert_eq!(target.carry_over(&old, &new), Err(unknown));
}

#[test]
fn state_and_access_are_checked_again_when_carried_over() {
    let suspended = "acme = { stamp = \"eu-1\", state = \"suspended\" }";
    let found = carried(&[(Host, "acme@")], "acme = \"eu-1\"", suspended);
    assert_eq!(found, Err(ResolveError::Suspended));
    let fenced = carried(&[(Host, "acme@")], "acme = \"eu-1\"", "acme = \"safe\"");
    assert_eq!(fenced, Err(ResolveError::Unverified));
    let verified = carried(&[(Jwt, "acme@")], "acme = \"eu-1\"", "acme = \"safe\"");
    assert_eq!(verified, Ok("jwt acme@safe".to_owned()));
}

/// Resolves these clues and a token that is good for each of these tenants.
fn with_token_for(
    tenants: &[&str],
    says: &[Says<'_>],
    table: &RoutingTable,
) -> Result<String, ResolveError> {
    let ids = tenants.iter().map(|name| TenantId::parse(name).unwrap().into_owned()).collect();
    let tenants = Tenants::of(ids).unwrap();
    let jwt = Clue { source: Jwt, tenant: None, stamp: None };
    let mut clues = Clues { one_of: Some(&tenants), ..clues(says) };
    clues.jwt.get_or_insert(jwt);
    resolve(table, &clues).map(|target| {
        assert!(target.verified);
        named(table, &target)
    })
}

#[test]
fn of_the_tenants_of_a_token_the_host_picks_one() {
    let table = loaded(ROUTING);
    let goes = |says: &[Says<'_>]| with_token_for(&["acme", "vault"], says, &table);
    assert_eq!(goes(&[(Host, "acme@")]), Ok("jwt acme@eu-1".to_owned()));
    assert_eq!(goes(&[(Host, "vault@")]), Ok("jwt vault@safe".to_owned()));
    assert_eq!(goes(&[(Header, "acme@eu-1")]), Ok("jwt acme@eu-1".to_owned()));
    assert_eq!(goes(&[(Jwt, "@eu-1"), (Cookie, "acme@")]), Ok("jwt acme@eu-1".to_owned()));
}

#[test]
fn a_token_for_several_tenants_says_not_whose_a_request_is() {
    let table = loaded(ROUTING);
    for says in [&[][..], &[(Host, "@eu-1")], &[(Header, "@eu-1")], &[(Jwt, "@eu-1")]] {
        let refused = with_token_for(&["acme", "globex"], says, &table);
        assert_eq!(refused, Err(ResolveError::Missing), "{says:?}");
    }
}

#[test]
fn a_tenant_that_the_token_is_not_good_for_is_refused_under_every_rule() {
    for table in [loaded(ROUTING), reporting()] {
        let refused = with_token_for(&["acme", "globex"], &[(Host, "vault@")], &table);
        let conflict = Conflict { stronger: Jwt, weaker: Host };
        let expected = ResolveError::Disagree { conflict, involved: Involved::Verified };
        assert_eq!(refused, Err(expected));
    }
}

#[test]
fn the_other_clues_must_agree_though_the_token_is_good_for_both() {
    let table = loaded(ROUTING);
    let says: &[Says<'_>] = &[(Host, "acme@"), (Header, "globex@")];
    let refused = with_token_for(&["acme", "globex"], says, &table).unwrap_err();
    assert_eq!(refused.code(), "identity_conflict");
    let wrong_home: &[Says<'_>] = &[(Jwt, "@eu-2"), (Host, "acme@")];
    let refused = with_token_for(&["acme", "globex"], wrong_home, &table).unwrap_err();
    assert_eq!(refused.code(), "identity_conflict");
}
