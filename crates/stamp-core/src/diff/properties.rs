//! Laws of comparing: nothing differs from itself, and what is told leads from one table to the
//! other.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use proptest::prelude::*;

use super::*;
use crate::fixture::loaded;

const STAMPS: [&str; 3] = ["a", "b", "c"];
const STATES: [&str; 3] = ["active", "suspended", "offboarded"];

/// Who lives where in which state: at most eight, so that all are told one by one.
type Fleet = BTreeMap<usize, (usize, usize)>;

fn fleet() -> impl Strategy<Value = Fleet> {
    prop::collection::btree_map(0_usize..8, (0_usize..3, 0_usize..3), 0..8)
}

/// In which order a file has everything.
#[derive(Clone, Copy, PartialEq)]
enum Order {
    Forth,
    Back,
}

fn table(fleet: &Fleet, order: Order) -> RoutingTable {
    let mut text = String::from("version = 1\n");
    let mut stamps = STAMPS;
    if order == Order::Back {
        stamps.reverse();
    }
    for id in stamps {
        writeln!(text, "[[stamp]]\nid = \"{id}\"\nendpoints = [{{ url = \"http://{id}:1\" }}]")
            .unwrap();
    }
    text += "[tenants]\n";
    let mut lines: Vec<String> = fleet
        .iter()
        .map(|(tenant, (home, state))| {
            let (home, state) = (STAMPS[*home], STATES[*state]);
            format!("t{tenant} = {{ stamp = \"{home}\", state = \"{state}\" }}\n")
        })
        .collect();
    if order == Order::Back {
        lines.reverse();
    }
    text += &lines.concat();
    loaded(&text)
}

/// The tenants and homes of a table.
fn homes(table: &RoutingTable) -> BTreeMap<String, String> {
    let entries = table.directory.iter();
    entries.map(|(_, name, it)| (name.to_owned(), table.stamp(it.home).id.to_string())).collect()
}

/// The old homes after what is told has happened.
fn applied(mut homes: BTreeMap<String, String>, moves: &Moves) -> BTreeMap<String, String> {
    for Between { from, to, tenants } in &moves.between {
        for tenant in &tenants.examples {
            assert_eq!(homes.insert(tenant.clone(), to.clone()).as_ref(), Some(from));
        }
    }
    let entry = |text: &String| {
        let (tenant, home) = text.split_once(": ").unwrap();
        (tenant.to_owned(), home.to_owned())
    };
    for (tenant, home) in moves.vanished_examples.iter().map(entry) {
        assert_eq!(homes.remove(&tenant), Some(home));
    }
    for (tenant, home) in moves.appeared_examples.iter().map(entry) {
        assert_eq!(homes.insert(tenant, home), None);
    }
    homes
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn nothing_differs_from_itself_in_whatever_order(fleet in fleet()) {
        prop_assert!(moves(&table(&fleet, Order::Forth), &table(&fleet, Order::Back)).is_empty());
    }

    #[test]
    fn what_is_told_leads_from_one_table_to_the_other(old in fleet(), new in fleet()) {
        let (before, after) = (table(&old, Order::Forth), table(&new, Order::Back));
        let moves = moves(&before, &after);
        prop_assert_eq!(applied(homes(&before), &moves), homes(&after));
        let stays = |tenant: &usize| old.get(tenant).zip(new.get(tenant));
        let both: Vec<_> = old.keys().filter_map(stays).collect();
        let moved = both.iter().filter(|(one, other)| one.0 != other.0).count();
        let changed = both.iter().filter(|(one, other)| one.0 == other.0 && one.1 != other.1);
        prop_assert_eq!((moves.moved, moves.changed.count), (moved, changed.count()));
        prop_assert_eq!(moves.vanished, old.len() - both.len());
        prop_assert_eq!(moves.appeared, new.len() - both.len());
    }
}
