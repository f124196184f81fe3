//! What a new table changes for tiers: what each of their tenants may have, and who is shed first.

use std::fmt;

use super::Moves;
use crate::admission::Rate;
use crate::table::{RoutingTable, Tier, TierIndex};

/// A tier that says something else.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TierChange {
    /// Its name.
    pub tier: String,
    /// What is not the same, at least one.
    pub limits: Vec<LimitChange>,
    /// The tenants of the new table that have it.
    pub tenants: usize,
    /// So have those without an entry, which a hash places; nobody knows how many they are.
    pub placed: bool,
}

/// A number of a tier that is not the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LimitChange {
    /// The key of `[tier.NAME]`.
    pub key: &'static str,
    /// What the old table says; `None` = there is no such limit.
    pub from: Option<u32>,
    /// What the new one says.
    pub to: Option<u32>,
}

impl fmt::Display for LimitChange {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let told =
            |limit: Option<u32>| limit.map_or_else(|| "none".to_owned(), |it| it.to_string());
        write!(out, "{} {} -> {}", self.key, told(self.from), told(self.to))
    }
}

/// Compares tiers by name: their order says nothing.
pub(super) fn compare(old: &RoutingTable, new: &RoutingTable, moves: &mut Moves) {
    let lacks = |table: &RoutingTable, tier: &Tier| find(table, tier).is_none();
    let name = |tier: &Tier| tier.name.to_string();
    moves.tiers_added = new.tiers().iter().filter(|tier| lacks(old, tier)).map(name).collect();
    moves.tiers_removed = old.tiers().iter().filter(|tier| lacks(new, tier)).map(name).collect();
    let changed = old.tiers().iter().filter_map(|before| {
        let index = find(new, before)?;
        let limits = limits_changed(before, new.tier(index));
        (!limits.is_empty()).then_some((index, limits))
    });
    let changed: Vec<(TierIndex, Vec<LimitChange>)> = changed.collect();
    if changed.is_empty() {
        return;
    }
    let tenants = tenants(new);
    let tell = |(index, limits): (TierIndex, _)| TierChange {
        tier: new.tier(index).name.to_string(),
        limits,
        tenants: tenants.get(usize::from(index.0)).copied().unwrap_or_default(),
        placed: index == TierIndex::STANDARD && new.placement().is_some(),
    };
    moves.tiers_changed = changed.into_iter().map(tell).collect();
}

fn find(table: &RoutingTable, tier: &Tier) -> Option<TierIndex> {
    let at = table.tiers().iter().position(|other| other.name == tier.name)?;
    u8::try_from(at).ok().map(TierIndex)
}

fn limits_changed(before: &Tier, after: &Tier) -> Vec<LimitChange> {
    let in_flight = |tier: &Tier| Some(tier.limits.in_flight_max.get());
    let per_second = |tier: &Tier| tier.limits.rate.map(Rate::per_second);
    let burst = |tier: &Tier| tier.limits.rate.map(Rate::burst);
    let limits = [
        ("priority", Some(before.priority), Some(after.priority)),
        ("max_in_flight", in_flight(before), in_flight(after)),
        ("requests_per_second", per_second(before), per_second(after)),
        ("burst", burst(before), burst(after)),
    ];
    let limits = limits.into_iter().map(|(key, from, to)| LimitChange { key, from, to });
    limits.filter(|limit| limit.from != limit.to).collect()
}

/// How many tenants each tier has.
fn tenants(table: &RoutingTable) -> Vec<usize> {
    let mut counts = vec![0; table.tiers().len()];
    for (_, _, tenant) in table.directory.iter() {
        if let Some(count) = counts.get_mut(usize::from(tenant.tier.0)) {
            *count += 1;
        }
    }
    counts
}
