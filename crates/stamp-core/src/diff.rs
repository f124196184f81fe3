//! What a new table changes for tenants and stamps, and whether that is too much for one reload.

use std::collections::BTreeSet;

use crate::id::{StampId, StampIndex};
use crate::table::{RoutingTable, Stamp};

/// The most moves that are told one by one.
const EXAMPLES_MAX: usize = 10;

/// So many tenants may always move: in a small fleet every tenant is a large share.
const MOVES_ALWAYS_ALLOWED: usize = 50;

/// What a new table changes. Everything is compared by name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Moves {
    /// Tenants with another home, and custom domains with another tenant.
    pub moved: usize,
    /// Tenants without an entry in the new table.
    pub vanished: usize,
    /// Tenants without an entry in the old table.
    pub appeared: usize,
    /// Some of those that moved or vanished: "acme: eu-1 -> eu-2".
    pub examples: Vec<String>,
    /// Stamps of the new table that the old one has not.
    pub stamps_added: Vec<String>,
    /// Stamps of the old table that the new one has not.
    pub stamps_removed: Vec<String>,
    /// Stamps of both that are not the same.
    pub stamps_changed: Vec<String>,
}

impl Moves {
    /// Does the new table say exactly what the old one says of tenants and stamps?
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    fn tell(&mut self, example: impl FnOnce() -> String) {
        if self.examples.len() < EXAMPLES_MAX {
            self.examples.push(example());
        }
    }
}

/// Compares two tables, in time proportional to their size.
#[must_use]
pub fn moves(old: &RoutingTable, new: &RoutingTable) -> Moves {
    let mut moves = Moves::default();
    // Where each stamp of the old table is in the new one.
    let places: Vec<Option<StampIndex>> =
        old.stamps().iter().map(|stamp| new.find_stamp(&stamp.id)).collect();
    for (_, name, tenant) in old.directory.iter() {
        let Some(index) = new.directory.find(name) else {
            moves.vanished += 1;
            moves.tell(|| format!("{name}: {} -> nowhere", old.stamp(tenant.home).id));
            continue;
        };
        let home = new.directory.tenant(index).home;
        if places.get(tenant.home.at()) != Some(&Some(home)) {
            moves.moved += 1;
            let (from, to) = (&old.stamp(tenant.home).id, &new.stamp(home).id);
            moves.tell(|| format!("{name}: {from} -> {to}"));
        }
    }
    // Whoever is in the new table and did not stay has appeared.
    let stayed = old.directory.len() - moves.vanished;
    moves.appeared = new.directory.len() - stayed;
    compare_domains(old, new, &mut moves);
    compare_stamps(old, new, &mut moves);
    moves
}

/// A domain that changes hands moves somebody's requests, wherever the tenants live.
fn compare_domains(old: &RoutingTable, new: &RoutingTable, moves: &mut Moves) {
    for (host, tenant) in old.domains() {
        let Some(owner) = new.find_domain(host) else { continue };
        let (from, to) = (old.directory.name(tenant), new.directory.name(owner));
        if from != to {
            moves.moved += 1;
            moves.tell(|| format!("{host}: {from} -> {to}"));
        }
    }
}

fn compare_stamps(old: &RoutingTable, new: &RoutingTable, moves: &mut Moves) {
    let known: BTreeSet<&StampId<'_>> = old.stamps().iter().map(|stamp| &stamp.id).collect();
    for stamp in old.stamps() {
        let name = stamp.id.to_string();
        match new.find_stamp(&stamp.id) {
            None => moves.stamps_removed.push(name),
            Some(index) if !is_same(old, stamp, (new, new.stamp(index))) => {
                moves.stamps_changed.push(name);
            }
            Some(_same) => {}
        }
    }
    let added = new.stamps().iter().filter(|stamp| !known.contains(&stamp.id));
    moves.stamps_added = added.map(|stamp| stamp.id.to_string()).collect();
}

/// Do two tables say the same of a stamp? Indices are put into words first: they differ for no
/// reason of the stamp's own.
fn is_same(old: &RoutingTable, one: &Stamp, (new, other): (&RoutingTable, &Stamp)) -> bool {
    let said = |table: &RoutingTable, stamp: &Stamp| {
        let endpoints = stamp.endpoints.iter();
        let edges = stamp.failover.iter();
        (
            endpoints
                .map(|endpoint| (endpoint.authority(), endpoint.scheme, endpoint.weight))
                .collect::<Vec<_>>(),
            edges.map(|edge| (table.stamp(edge.to).id.clone(), edge.mode)).collect::<Vec<_>>(),
            stamp.residency.map(|zone| table.residency_name(zone).to_owned()),
        )
    };
    let bare = |stamp: &Stamp| Stamp {
        residency: None,
        endpoints: Vec::new(),
        failover: Vec::new(),
        ..stamp.clone()
    };
    said(old, one) == said(new, other) && bare(one) == bare(other)
}

/// Too many tenants would move at once.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{moved} tenants would move and {vanished} would vanish, of {tenants}: \
     more than {share_max_percent} %"
)]
pub struct TooManyMoves {
    /// Those with another home.
    pub moved: usize,
    /// Those without an entry in the new table.
    pub vanished: usize,
    /// Those of the old table.
    pub tenants: usize,
    /// The share that may move, in percent of the old table.
    pub share_max_percent: u32,
}

/// Refuses a reload that moves more than a share of the old table's tenants, and more than 50.
pub const fn guard(
    moves: &Moves,
    old_tenants: usize,
    share_max_percent: u32,
) -> Result<(), TooManyMoves> {
    let Moves { moved, vanished, .. } = *moves;
    let concerned = moved + vanished;
    let is_large_share = concerned as u128 * 100 > old_tenants as u128 * share_max_percent as u128;
    if concerned > MOVES_ALWAYS_ALLOWED && is_large_share {
        return Err(TooManyMoves { moved, vanished, tenants: old_tenants, share_max_percent });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
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
}
