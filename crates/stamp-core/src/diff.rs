//! What a new table changes, by meaning: tenants, domains, tiers, stamps, edges; and whether that is too
//! much for one reload. Everything is compared by name: places differ for no reason of their own.

mod tenants;
mod tiers;

use std::collections::BTreeSet;

use crate::id::StampId;
use crate::placement::Placement;
use crate::reach::Tally;
use crate::table::{EdgeMode, RoutingTable, Stamp};

pub use tiers::{LimitChange, TierChange};

/// So many tenants may always move: in a small fleet every tenant is a large share.
const MOVES_ALWAYS_ALLOWED: usize = 50;

/// So many names are tried to find where from and where to a pool moves them: a share that is found so
/// is right to a point, its standard error being half a point at most.
const NAMES_TRIED: u32 = 10_000;

/// What a new table changes.
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
    /// The tenants that moved, by where from and where to.
    pub between: Vec<Between>,
    /// Some of those that vanished.
    pub vanished_examples: Vec<String>,
    /// Some of those that appeared.
    pub appeared_examples: Vec<String>,
    /// Tenants that stay at home with another state or residency: "acme: active -> suspended".
    pub changed: Tally,
    /// Custom domains of the new table that the old one has not.
    pub domains_added: Tally,
    /// Custom domains of the old table that the new one has not.
    pub domains_removed: Tally,
    /// Tiers of the new table that the old one has not.
    pub tiers_added: Vec<String>,
    /// Tiers of the old table that the new one has not.
    pub tiers_removed: Vec<String>,
    /// Tiers of both that say something else.
    pub tiers_changed: Vec<TierChange>,
    /// Stamps of the new table that the old one has not.
    pub stamps_added: Vec<String>,
    /// Stamps of the old table that the new one has not.
    pub stamps_removed: Vec<String>,
    /// Stamps of both that are not the same.
    pub stamps_changed: Vec<String>,
    /// What is not the same, of each of those: keys of `[[stamp]]`.
    pub keys_changed: Vec<Vec<&'static str>>,
    /// Failover edges of the new table that the old one has not: `eu-1 -> eu-2 (read_write)`.
    pub edges_gained: Vec<String>,
    /// Failover edges of the old table that the new one has not.
    pub edges_lost: Vec<String>,
    /// `[identity]` says something else.
    pub identity_changed: bool,
    /// Tenants without an entry are placed otherwise.
    pub placement: Option<PlacementChange>,
}

/// Tenants that move from one stamp to another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Between {
    /// Where they live in the old table.
    pub from: String,
    /// Where they live in the new one.
    pub to: String,
    /// Who.
    pub tenants: Tally,
}

/// Tenants without an entry are placed otherwise.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlacementChange {
    /// The pool of the old table: "eu-1, eu-2 (weight 2)"; empty where such tenants are refused.
    pub before: String,
    /// That of the new one.
    pub after: String,
    /// The share of such tenants that fare otherwise, in millionths: it follows from the weights.
    pub moved_millionths: u32,
    /// Where from and where to, as a sample of names tells.
    pub between: Vec<PlacedBetween>,
}

/// Tenants without an entry that move from one stamp to another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlacedBetween {
    /// Where the old pool places them.
    pub from: String,
    /// Where the new one does.
    pub to: String,
    /// Their share of all such tenants, in 10,000ths, to a hundred or so.
    pub share_e4: u32,
}

impl PlacementChange {
    /// The share of such tenants that fare otherwise, in per cent, rounded up.
    #[must_use]
    pub const fn moved_percent(&self) -> u32 {
        self.moved_millionths.div_ceil(10_000)
    }

    /// The share of the tenants that had a place, in millionths, that have another one or none.
    const fn uprooted_millionths(&self) -> u32 {
        if self.before.is_empty() { 0 } else { self.moved_millionths }
    }
}

impl Moves {
    /// Does the new table say exactly what the old one says?
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// Compares two tables, in time proportional to their size.
#[must_use]
pub fn moves(old: &RoutingTable, new: &RoutingTable) -> Moves {
    let mut moves = Moves {
        identity_changed: old.identity != new.identity,
        placement: compare_pools(old, new),
        ..Moves::default()
    };
    tenants::compare(old, new, &mut moves);
    tenants::compare_domains(old, new, &mut moves);
    tiers::compare(old, new, &mut moves);
    compare_stamps(old, new, &mut moves);
    let (before, after) = (edges(old), edges(new));
    moves.edges_lost = before.difference(&after).cloned().collect();
    moves.edges_gained = after.difference(&before).cloned().collect();
    moves
}

fn compare_stamps(old: &RoutingTable, new: &RoutingTable, moves: &mut Moves) {
    let known: BTreeSet<&StampId<'_>> = old.stamps().iter().map(|stamp| &stamp.id).collect();
    for stamp in old.stamps() {
        let name = stamp.id.to_string();
        let Some(index) = new.find_stamp(&stamp.id) else {
            moves.stamps_removed.push(name);
            continue;
        };
        let keys = keys_changed((old, stamp), (new, new.stamp(index)));
        if !keys.is_empty() {
            moves.stamps_changed.push(name);
            moves.keys_changed.push(keys);
        }
    }
    let added = new.stamps().iter().filter(|stamp| !known.contains(&stamp.id));
    moves.stamps_added = added.map(|stamp| stamp.id.to_string()).collect();
}

/// The keys of which two tables say something else for a stamp. Indices are put into words first.
fn keys_changed(
    (old, one): (&RoutingTable, &Stamp),
    (new, other): (&RoutingTable, &Stamp),
) -> Vec<&'static str> {
    let residency = |table: &RoutingTable, stamp: &Stamp| {
        stamp.residency.map(|zone| table.residency_name(zone).to_owned())
    };
    let keys = [
        ("region", one.region != other.region),
        ("residency", residency(old, one) != residency(new, other)),
        ("state", one.declared != other.declared),
        ("access", one.access != other.access),
        ("balance", one.balance != other.balance),
        ("max_in_flight", one.in_flight_max != other.in_flight_max),
        ("tls", one.tls != other.tls),
        ("health", one.health != other.health),
        ("pool", one.pool != other.pool),
        ("retry", one.retry != other.retry),
        ("failback", one.failback != other.failback),
        ("endpoints", endpoints_of(one) != endpoints_of(other)),
        ("failover", edges_of(old, one) != edges_of(new, other)),
    ];
    keys.into_iter().filter(|(_, is_other)| *is_other).map(|(key, _)| key).collect()
}

fn endpoints_of(stamp: &Stamp) -> Vec<impl PartialEq> {
    let endpoints = stamp.endpoints.iter();
    endpoints.map(|it| (it.authority(), it.scheme, it.weight)).collect()
}

/// The edges of a stamp, in their order: it says which is tried first.
fn edges_of(table: &RoutingTable, stamp: &Stamp) -> Vec<String> {
    let tell = |to: &StampId<'_>, mode| match mode {
        EdgeMode::ReadWrite => format!("{} -> {to} (read_write)", stamp.id),
        EdgeMode::ReadOnly => format!("{} -> {to} (read_only)", stamp.id),
    };
    stamp.failover.iter().map(|edge| tell(&table.stamp(edge.to).id, edge.mode)).collect()
}

fn edges(table: &RoutingTable) -> BTreeSet<String> {
    table.stamps().iter().flat_map(|stamp| edges_of(table, stamp)).collect()
}

fn compare_pools(old: &RoutingTable, new: &RoutingTable) -> Option<PlacementChange> {
    let (before, after) = (pool(old), pool(new));
    if before == after {
        return None;
    }
    let (moved_millionths, between) = match (old.placement(), new.placement()) {
        (Some(old), Some(new)) => (old.moved_millionths(new), placed_between(old, new)),
        // Refused before, or from now on: all fare otherwise.
        (Some(_), None) | (None, Some(_)) => (1_000_000, Vec::new()),
        (None, None) => (0, Vec::new()),
    };
    Some(PlacementChange { before, after, moved_millionths, between })
}

fn placed_between(old: &Placement, new: &Placement) -> Vec<PlacedBetween> {
    let between = old.moved_between(new, NAMES_TRIED).into_iter();
    let tell = |((from, to), found): ((&str, &str), u32)| PlacedBetween {
        from: from.to_owned(),
        to: to.to_owned(),
        share_e4: found,
    };
    between.map(tell).collect()
}

/// The pool in words.
fn pool(table: &RoutingTable) -> String {
    let stamps = table.placement().into_iter().flat_map(Placement::stamps);
    let tell = |(id, _, weight): (&StampId<'_>, _, std::num::NonZeroU16)| match weight.get() {
        1 => id.to_string(),
        weight => format!("{id} (weight {weight})"),
    };
    stamps.map(tell).collect::<Vec<_>>().join(", ")
}

/// Too many tenants would move at once.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TooManyMoves {
    /// Too many of those with an entry.
    #[error(
        "{moved} tenants would move and {vanished} would vanish, of {tenants}: \
         more than {share_max_percent} %"
    )]
    Listed {
        /// Those with another home.
        moved: usize,
        /// Those without an entry in the new table.
        vanished: usize,
        /// Those of the old table.
        tenants: usize,
        /// The share that may move, in percent of the old table.
        share_max_percent: u32,
    },
    /// Too large a share of those without one.
    #[error(
        "{moved_percent} % of the tenants that are placed by hash would have another home, or none: \
         more than {share_max_percent} %"
    )]
    Placed {
        /// The share of them that have another place or none, in percent, rounded up.
        moved_percent: u32,
        /// The share that may.
        share_max_percent: u32,
    },
}

/// Refuses a reload that moves more than a share of the old table's tenants, and more than 50; and
/// one that moves more than that share of those without an entry, of whom nobody knows how many
/// there are.
pub fn guard(
    moves: &Moves,
    old_tenants: usize,
    share_max_percent: u32,
) -> Result<(), TooManyMoves> {
    let Moves { moved, vanished, .. } = *moves;
    let concerned = moved + vanished;
    let is_large_share =
        concerned as u128 * 100 > old_tenants as u128 * u128::from(share_max_percent);
    if concerned > MOVES_ALWAYS_ALLOWED && is_large_share {
        let tenants = old_tenants;
        return Err(TooManyMoves::Listed { moved, vanished, tenants, share_max_percent });
    }
    let Some(pool) = &moves.placement else { return Ok(()) };
    if pool.uprooted_millionths() > share_max_percent.saturating_mul(10_000) {
        let moved_percent = pool.moved_percent();
        return Err(TooManyMoves::Placed { moved_percent, share_max_percent });
    }
    Ok(())
}

#[cfg(test)]
mod properties;
#[cfg(test)]
mod tests;
