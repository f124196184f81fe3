//! Tiers: what they say, who has which, and what refuses the table.

use super::*;
use crate::admission::Rank;

/// Loads `body` and these rows of a tenant file, over a former table.
fn with_rows(body: &str, rows: &str, former: Option<&RoutingTable>) -> Loaded {
    let bytes: Arc<[u8]> = rows.as_bytes().into();
    let body = format!("{body}{STAMPS}[[tenant_file]]\npath = \"t.csv\"\n");
    load(text(&body), &mut |_| Ok(Arc::clone(&bytes)), former).unwrap()
}

fn tier_of<'a>(table: &'a RoutingTable, tenant: &str) -> &'a str {
    &table.tier_of(table.directory.find(tenant)).name
}

#[test]
fn without_a_word_every_tenant_is_standard_and_bounded() {
    let table = loaded(&format!("{STAMPS}[tenants]\nacme = \"eu-1\"\n")).table;
    let tier = table.tier_of(table.directory.find("acme"));
    assert_eq!((&*tier.name, tier.priority, tier.rank), ("standard", 0, Rank::ONLY));
    assert_eq!((tier.limits.in_flight_max.get(), tier.limits.rate), (500, None));
    assert_eq!(table.tier_of(None), tier, "a request that names a stamp alone");
}

#[test]
fn tiers_are_read_whole_and_ranked() {
    let table = loaded(&format!(
        "[tier.Gold]\npriority = 10\nmax_in_flight = 2000\n\
         [tier.standard]\nrequests_per_second = 100\n\
         [tier.bulk]\npriority = 3\nrequests_per_second = 10\nburst = 25\n\
         {STAMPS}[tenants]\na = {{ stamp = \"eu-1\", tier = \"GOLD\" }}\n\
         b = {{ stamp = \"eu-1\", tier = \"bulk\" }}\n"
    ))
    .table;
    let a = table.tier_of(table.directory.find("a"));
    assert_eq!((&*a.name, a.limits.in_flight_max.get(), a.limits.rate), ("gold", 2000, None));
    let rate = |tenant| table.tier_of(tenant).limits.rate.map(|it| (it.per_second(), it.burst()));
    assert_eq!(rate(table.directory.find("b")), Some((10, 25)));
    assert_eq!(rate(None), Some((100, 100)), "a burst is one second's worth unless said");
    let fill = |tenant| table.tier_of(tenant).rank.fill_max(100);
    let (a, b) = (table.directory.find("a"), table.directory.find("b"));
    assert_eq!([fill(None), fill(b), fill(a)], [80, 90, 100]);
}

#[test]
fn a_tenant_file_has_a_column_for_tiers() {
    let rows = "tenant,tier,stamp\na,gold,eu-1\nb,,eu-1\nc,Gold,us-1\n";
    let table = with_rows("[tier.gold]\n", rows, None).table;
    assert_eq!(["a", "b", "c"].map(|it| tier_of(&table, it)), ["gold", "standard", "gold"]);
}

#[test]
fn a_tier_that_is_not_there_is_refused_with_what_was_meant() {
    check_with_stamps(
        "[tier.gold]\n[tenants]\na = { stamp = \"eu-1\", tier = \"glod\" }\n\
         b = { stamp = \"eu-1\", tier = \"platinum\" }\n",
        "routing.toml:4: <\"glod\"> there is no tier `glod`; help: did you mean `gold`?\n\
         routing.toml:5: <\"platinum\"> there is no tier `platinum`; \
         help: declare it: `[tier.platinum]`",
    );
}

#[test]
fn a_row_with_a_tier_that_is_not_there_keeps_the_former_entry() {
    let good: String = (0..100).map(|number| format!("t{number},eu-1,\n")).collect();
    let header = "tenant,stamp,tier\n";
    let body = "[tier.gold]\n";
    let former = with_rows(body, &format!("{header}{good}acme,eu-1,gold\n"), None).table;
    let rows = format!("{header}{good}acme,us-1,glod\n");
    let loaded = with_rows(body, &rows, Some(&former));
    assert_eq!(
        told(&loaded.warnings, &loaded.sources),
        "t.csv:102: <acme,us-1,glod> tenant `acme`: there is no tier `glod` \
         (did you mean `gold`?): it keeps its former entry; help: mend this row"
    );
    assert_eq!(tier_of(&loaded.table, "acme"), "gold");
    let without = with_rows("", &rows, Some(&former)).table;
    assert_eq!(tier_of(&without, "acme"), "standard", "its tier is gone");
}

#[test]
fn mistakes_within_tiers_are_told_with_their_places() {
    check_with_stamps(
        "[tier.Gold]\nburst = 5\n[tier.gold]\n[tier.\"a b\"]\n[tier.x]\nmax_in_flight = 0\n\
         requests_per_second = 0\nmax_inflight = 1\n",
        "routing.toml:3: <5> a burst without a rate; \
         help: add `requests_per_second`, or remove `burst`\n\
         routing.toml:4: <gold> tier `gold` is declared twice; \
         help: give one of them another name; first declared here: 2\n\
         routing.toml:5: <\"a b\"> `a b`: byte 0x20 at 1 may not stand in an id; \
         help: write the name of a tier such as `gold`\n\
         routing.toml:7: <0> 0 is out of range; help: write an integer from 1 to 10000000\n\
         routing.toml:8: <0> 0 is out of range; help: write an integer from 1 to 1000000\n\
         routing.toml:9: <max_inflight> unknown key `max_inflight`; \
         help: did you mean `max_in_flight`?",
    );
}

#[test]
fn a_table_has_as_many_tiers_as_a_byte_can_tell() {
    let tiers = |count| (1..count).map(|number| format!("[tier.t{number}]\n")).collect::<String>();
    assert_eq!(loaded(&format!("{}{STAMPS}", tiers(256))).table.tiers().len(), 256);
    assert!(mistakes(&format!("{}{STAMPS}", tiers(257))).contains("at most 256 tiers"));
}
