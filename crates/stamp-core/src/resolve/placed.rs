//! Tenants without an entry, where a hash of their name places them.

use super::*;
use crate::clue::Source::{Header, Host};
use crate::fixture::{ROUTING, loaded};

/// The usual table, whose unknown tenants live on one of these stamps.
fn table(stamps: &str) -> RoutingTable {
    let hash = format!("[placement]\nstamps = [{stamps}]\n[identity]\nunknown_tenant = \"hash\"");
    loaded(&ROUTING.replace("\n[identity.host]", &format!("\n{hash}\n[identity.host]")))
}

fn tenant(source: Source, name: &str) -> Option<Clue<'_>> {
    Some(Clue { source, tenant: Some(TenantId::parse(name).unwrap()), stamp: None })
}

fn of_host(name: &str) -> Clues<'_> {
    Clues { host: tenant(Host, name), ..Clues::default() }
}

/// "tenant@home", and "?" before it where the tenant was placed.
fn named(table: &RoutingTable, target: &Target) -> String {
    let placed = if target.placed.is_some() { "?" } else { "" };
    let tenant = target.tenant_name(table).unwrap_or_default();
    format!("{placed}{tenant}@{}", table.stamp(target.home).id)
}

fn goes(table: &RoutingTable, clues: &Clues<'_>) -> String {
    named(table, &resolve(table, clues).unwrap())
}

#[test]
fn a_tenant_without_an_entry_is_placed_and_keeps_its_name() {
    assert_eq!(goes(&table("\"eu-2\""), &of_host("Nobody")), "?nobody@eu-2");
}

#[test]
fn an_entry_always_wins() {
    assert_eq!(goes(&table("\"eu-2\""), &of_host("acme")), "acme@eu-1");
    let suspended = resolve(&table("\"eu-2\""), &of_host("paused"));
    assert_eq!(suspended, Err(ResolveError::Suspended));
}

#[test]
fn a_stamp_that_is_named_must_be_the_one_that_the_hash_chose() {
    let table = table("\"eu-2\"");
    let stamp =
        |id| Clue { source: Header, tenant: None, stamp: Some(StampId::parse(id).unwrap()) };
    let clues = |id| Clues { header: Some(stamp(id)), ..of_host("nobody") };
    assert_eq!(goes(&table, &clues("eu-2")), "?nobody@eu-2");
    let error = resolve(&table, &clues("eu-1")).unwrap_err();
    assert_eq!(error.code(), "identity_conflict");
}

#[test]
fn a_hash_gives_no_authority() {
    let refused = resolve(&table("\"safe\""), &of_host("nobody"));
    assert_eq!(refused, Err(ResolveError::Unverified));
}

#[test]
fn witnesses_of_placed_tenants_are_their_own() {
    let table = table("\"eu-1\", \"eu-2\"");
    let names = ["a", "b", "c", "acme", "globex"];
    let witness = |name| resolve(&table, &of_host(name)).unwrap().witness().unwrap();
    let witnesses: std::collections::BTreeSet<u64> = names.into_iter().map(witness).collect();
    assert_eq!(witnesses.len(), names.len());
}

#[test]
fn a_placed_tenant_is_carried_over_by_its_name() {
    let old = table("\"eu-2\"");
    let target = resolve(&old, &of_host("nobody")).unwrap();
    let carried = |new: &RoutingTable| target.carry_over(&old, new).map(|it| named(new, &it));
    assert_eq!(carried(&table("\"eu-1\"")), Ok("?nobody@eu-1".to_owned()));
    let listed = loaded(&ROUTING.replace("[tenants]", "[tenants]\nnobody = \"eu-1\""));
    assert_eq!(carried(&listed), Ok("nobody@eu-1".to_owned()));
    let unknown = ResolveError::UnknownTenant { from: Host };
    assert_eq!(carried(&loaded(ROUTING)), Err(unknown));
}

#[test]
fn a_tenant_that_loses_its_entry_is_carried_to_where_it_is_placed() {
    let old = loaded(ROUTING);
    let target = resolve(&old, &of_host("acme")).unwrap();
    let pool =
        "[placement]\nstamps = [\"eu-2\"]\n[identity]\nunknown_tenant = \"hash\"\n[identity.host]";
    let new = ROUTING.replace("[identity.host]", pool).replace("acme = \"eu-1\"\n", "");
    let new = loaded(&new.replace("\"orders.acme.test\" = \"acme\"\n", ""));
    let carried = target.carry_over(&old, &new).map(|it| named(&new, &it));
    assert_eq!(carried, Ok("?acme@eu-2".to_owned()));
}
