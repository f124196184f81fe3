//! What is told of a change, in which words.

use std::io;

use super::*;
use crate::diagnostic::SourceText;
use crate::table::load;

fn table(body: &str) -> RoutingTable {
    let stamps: String = ["a", "b"]
        .iter()
        .map(|id| {
            format!("[[stamp]]\nid = \"{id}\"\nendpoints = [{{ url = \"http://{id}:1\" }}]\n")
        })
        .collect();
    table_of(&format!("{stamps}{body}"))
}

fn table_of(body: &str) -> RoutingTable {
    let text = format!("version = 1\n{body}").into();
    let source = SourceText { path: "routing.toml".into(), text };
    load(source, &mut |_| Err(io::Error::from(io::ErrorKind::NotFound)), None).unwrap().table
}

#[test]
fn a_table_compared_with_itself_changes_nothing() {
    let body = "[tenants]\nx = \"a\"\n[domains]\n\"x.y\" = \"x\"\n";
    assert!(moves(&table(body), &table(body)).is_empty());
}

#[test]
fn moves_are_counted_by_name() {
    let old = table("[tenants]\nw = \"a\"\nx = \"a\"\ny = \"b\"\n");
    let new = table("[tenants]\nv = \"a\"\nx = \"b\"\ny = \"b\"\n");
    let moves = moves(&old, &new);
    assert_eq!((moves.moved, moves.vanished, moves.appeared), (1, 1, 1));
    assert_eq!(moves.examples, ["w: a -> nowhere", "x: a -> b"]);
}

#[test]
fn another_tier_is_a_change_and_another_order_of_tiers_is_none() {
    let tenants = "[tenants]\nx = { stamp = \"a\", tier = \"gold\" }\ny = \"b\"\n";
    let (gold, silver) = ("[tier.gold]\npriority = 1\n", "[tier.silver]\npriority = 2\n");
    let old = table(&format!("{tenants}{gold}{silver}"));
    assert!(moves(&old, &table(&format!("{tenants}{silver}{gold}"))).changed.examples.is_empty());
    let new = table(&format!("{}{gold}{silver}", tenants.replace("gold", "silver")));
    assert_eq!(moves(&old, &new).changed.examples, ["x: tier gold -> silver"]);
}

#[test]
fn a_tier_with_other_limits_is_a_change_of_all_its_tenants() {
    let tenants = "[tenants]\nx = { stamp = \"a\", tier = \"gold\" }\ny = \"b\"\n\
                   z = { stamp = \"b\", tier = \"gold\" }\n[tier.gold]\n";
    let of = |limits: &str| table(&format!("{tenants}{limits}"));
    let old = of("max_in_flight = 7\nrequests_per_second = 5\nburst = 9\n");
    let told = |new: &str| {
        let moves = moves(&old, &of(new));
        assert_eq!(moves.changed.count, 0, "none of them is another than before");
        let [changed] = &moves.tiers_changed[..] else { panic!("{moves:?}") };
        assert_eq!((&*changed.tier, changed.tenants, changed.placed), ("gold", 2, false));
        changed.limits.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
    };
    let limits = told("priority = 3\nmax_in_flight = 7\nrequests_per_second = 6\nburst = 9\n");
    assert_eq!(limits, "priority 0 -> 3, requests_per_second 5 -> 6");
    let limits = told("max_in_flight = 8\n");
    assert_eq!(limits, "max_in_flight 7 -> 8, requests_per_second 5 -> none, burst 9 -> none");
}

#[test]
fn tiers_come_and_go_and_the_standard_one_is_always_there() {
    let old = table("[tier.gold]\n[tenants]\nx = \"a\"\n");
    let new = table("[tier.silver]\n[tier.standard]\nmax_in_flight = 500\n[tenants]\nx = \"a\"\n");
    let change = moves(&old, &new);
    assert_eq!(
        (&*change.tiers_added, &*change.tiers_removed),
        (&["silver".into()][..], &["gold".into()][..])
    );
    assert_eq!(change.tiers_changed, [], "what is written is what holds anyway");
}

#[test]
fn placed_tenants_have_the_standard_tier() {
    let of = |limit: u32| {
        table(&format!(
            "[identity]\nunknown_tenant = \"hash\"\n[placement]\nstamps = [\"a\"]\n\
             [tier.standard]\nmax_in_flight = {limit}\n[tier.gold]\npriority = {limit}\n"
        ))
    };
    let changed = moves(&of(1), &of(2)).tiers_changed;
    let told: Vec<_> = changed.iter().map(|it| (&*it.tier, it.tenants, it.placed)).collect();
    assert_eq!(told, [("standard", 0, true), ("gold", 0, false)]);
}

#[test]
fn a_domain_that_changes_hands_is_a_move() {
    let tenants = "[tenants]\nx = \"a\"\ny = \"a\"\n[domains]\n";
    let old = table(&format!("{tenants}\"d.e\" = \"x\"\n"));
    let new = table(&format!("{tenants}\"d.e\" = \"y\"\n"));
    let moves = moves(&old, &new);
    assert_eq!(moves.moved, 1);
    assert_eq!(moves.examples, ["d.e: x -> y"]);
}

#[test]
fn stamps_are_compared_by_what_they_say_and_not_by_their_place() {
    let stamp = |id: &str, more: &str| {
        format!("[[stamp]]\nid = \"{id}\"\nendpoints = [{{ url = \"http://{id}:1\" }}]\n{more}")
    };
    let (a, b, c) = (stamp("a", ""), stamp("b", "failover = [\"a\"]\n"), stamp("c", ""));
    let old = table_of(&format!("{a}{b}{c}"));
    let turned = moves(&old, &table_of(&format!("{c}{b}{a}")));
    assert!(turned.is_empty(), "{turned:?}");
    let other_b = stamp("b", "failover = [\"d\"]\n");
    let moves = moves(&old, &table_of(&format!("{}{a}{other_b}", stamp("d", ""))));
    assert_eq!(moves.stamps_added, ["d"]);
    assert_eq!(moves.stamps_removed, ["c"]);
    assert_eq!(moves.stamps_changed, ["b"]);
}

#[test]
fn the_guard_needs_a_large_share_and_many() {
    let of = |moved, vanished| Moves { moved, vanished, ..Moves::default() };
    assert!(guard(&of(25, 25), 50, 20).is_ok(), "50 may always move");
    assert!(guard(&of(26, 25), 1000, 20).is_ok(), "51 of 1000 are few");
    assert!(guard(&of(200, 0), 1000, 20).is_ok(), "exactly the share");
    let error = guard(&of(200, 1), 1000, 20).unwrap_err();
    assert_eq!(
        error.to_string(),
        "200 tenants would move and 1 would vanish, of 1000: more than 20 %"
    );
    assert!(guard(&of(51, 0), 51, 100).is_ok(), "100 % lets all move");
}

#[test]
fn no_more_than_ten_examples_are_told() {
    let tenants = |home: &str| {
        let list: String = (0..30).map(|number| format!("t{number} = \"{home}\"\n")).collect();
        table(&format!("[tenants]\n{list}"))
    };
    let moves = moves(&tenants("a"), &tenants("b"));
    assert_eq!((moves.moved, moves.examples.len()), (30, 10));
}

#[test]
fn who_stays_at_home_with_another_state_or_residency_is_told() {
    let stamps =
        "[[stamp]]\nid = \"a\"\nresidency = \"eu\"\nendpoints = [{ url = \"http://a:1\" }]\n";
    let old = table_of(&format!("{stamps}[tenants]\nx = \"a\"\ny = \"a\"\nz = \"a\"\n"));
    let new = table_of(&format!(
        "{stamps}[tenants]\nz = {{ stamp = \"a\", residency = [\"eu\"] }}\n\
         x = {{ stamp = \"a\", state = \"suspended\" }}\n\
         y = {{ stamp = \"a\", residency = [\"us\", \"eu\"] }}\n"
    ));
    let moves = moves(&old, &new);
    assert_eq!((moves.moved, moves.vanished, moves.appeared), (0, 0, 0));
    assert_eq!(moves.changed.count, 2);
    assert_eq!(moves.changed.examples, ["x: active -> suspended", "y: eu -> eu, us"]);
}

#[test]
fn moves_are_told_by_where_from_and_where_to() {
    let old = table("[tenants]\nv = \"a\"\nw = \"a\"\nx = \"a\"\ny = \"b\"\n");
    let new = table("[tenants]\nv = \"a\"\nw = \"b\"\nx = \"b\"\ny = \"a\"\nz = \"a\"\n");
    let moves = moves(&old, &new);
    let told = moves
        .between
        .iter()
        .map(|it| (it.from.as_str(), it.to.as_str(), it.tenants.examples.join(" ")));
    let told: Vec<_> = told.collect();
    assert_eq!(told, [("a", "b", "w x".to_owned()), ("b", "a", "y".to_owned())]);
    assert_eq!(moves.appeared_examples, ["z: a"]);
}

#[test]
fn edges_are_lost_and_gained_with_their_mode() {
    let of = |edge: &str| {
        table_of(&format!(
            "[[stamp]]\nid = \"a\"\nendpoints = [{{ url = \"http://a:1\" }}]\n\
             failover = [{edge}]\n[[stamp]]\nid = \"b\"\nendpoints = [{{ url = \"http://b:1\" }}]\n"
        ))
    };
    let changed = moves(&of("\"b\""), &of("{ to = \"b\", mode = \"read_only\" }"));
    assert_eq!(changed.edges_lost, ["a -> b (read_write)"]);
    assert_eq!(changed.edges_gained, ["a -> b (read_only)"]);
    assert_eq!(changed.keys_changed, [["failover"]]);
}

#[test]
fn what_else_may_differ_is_told() {
    let plain = table("");
    let other = table(
        "[identity]\nconflict = \"report\"\n[tenants]\nx = \"a\"\n[domains]\n\"x.y\" = \"x\"\n",
    );
    assert!(moves(&plain, &other).identity_changed);
    assert_eq!(moves(&plain, &other).domains_added.examples, ["x.y: x"]);
    assert_eq!(moves(&other, &plain).domains_removed.examples, ["x.y: x"]);
}

/// A table with this pool.
fn placing(stamps: &str) -> RoutingTable {
    table(&format!("[identity]\nunknown_tenant = \"hash\"\n[placement]\nstamps = [{stamps}]\n"))
}

#[test]
fn a_pool_that_changes_says_how_many_tenants_it_moves() {
    let (one, two) = (placing("\"a\""), placing("\"a\", { stamp = \"b\", weight = 3 }"));
    let change = moves(&one, &two).placement.unwrap();
    assert_eq!((&*change.before, &*change.after), ("a", "a, b (weight 3)"));
    assert_eq!((change.moved_millionths, change.moved_percent()), (750_000, 75));
    let [between] = &change.between[..] else { panic!("{change:?}") };
    assert_eq!((&*between.from, &*between.to), ("a", "b"));
    assert!((7400..=7600).contains(&between.share_e4), "{between:?}");
    assert_eq!(moves(&table(""), &one).placement.unwrap().moved_percent(), 100);
    assert!(moves(&two, &placing("{ stamp = \"b\", weight = 3 }, \"a\"")).is_empty());
}

#[test]
fn the_guard_knows_the_share_of_placed_tenants_that_move() {
    let a = "{ stamp = \"a\", weight = 4 }";
    let weighing = |b: u32| placing(&format!("{a}, {{ stamp = \"b\", weight = {b} }}"));
    let alone = placing("\"a\"");
    let judge = |old: &RoutingTable, new: &RoutingTable| guard(&moves(old, new), 0, 20);
    assert_eq!(judge(&alone, &weighing(1)), Ok(()), "20 % exactly");
    let refused = judge(&alone, &weighing(2)).unwrap_err();
    let told = "34 % of the tenants that are placed by hash would have another home, or none: \
                more than 20 %";
    assert_eq!(refused.to_string(), told);
    assert!(judge(&weighing(1), &alone).is_ok());
    assert!(judge(&weighing(1), &placing("\"b\"")).is_err());
    assert!(judge(&alone, &table("")).is_err(), "all are refused from then on");
    assert!(judge(&table(""), &alone).is_ok(), "they were refused before");
    assert!(guard(&moves(&alone, &table("")), 0, 100).is_ok(), "100 % lets all move");
}

#[test]
fn a_tenant_that_loses_its_entry_to_the_pool_is_told_where_it_goes() {
    let hash = "[identity]\nunknown_tenant = \"hash\"\n[placement]\nstamps = [\"b\"]\n";
    let (with, without) = (table(&format!("{hash}[tenants]\nx = \"a\"\n")), table(hash));
    let lost = moves(&with, &without);
    assert_eq!((lost.vanished, &*lost.examples), (1, &["x: a -> b by hash".to_owned()][..]));
    let gained = moves(&without, &with);
    assert_eq!(gained.appeared_examples, ["x: b by hash -> a"]);
}
