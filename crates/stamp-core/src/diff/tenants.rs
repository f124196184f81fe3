//! What a new table changes for tenants and their domains.

use std::collections::BTreeMap;

use super::{Between, Moves};
use crate::directory::{FenceIndex, Tenant};
use crate::id::{StampIndex, TenantIndex};
use crate::reach::Tally;
use crate::table::{RoutingTable, TierIndex};

/// Compares the entries of tenants. Mostly both tables have them in the same order: then nothing is
/// looked up.
pub(super) fn compare(old: &RoutingTable, new: &RoutingTable, moves: &mut Moves) {
    let same = Same::of(old, new);
    let (mut moved, mut vanished) = (BTreeMap::new(), Tally::default());
    let mut all = Tally::default();
    let mut next = TenantIndex(0);
    for (_, name, tenant) in old.directory.iter() {
        let from = &old.stamp(tenant.home).id;
        let Some(index) = new.directory.find_at(name, next) else {
            let to = placed(new, name).unwrap_or_else(|| "nowhere".to_owned());
            vanished.add(|| format!("{name}: {from}"));
            all.add(|| format!("{name}: {from} -> {to}"));
            continue;
        };
        next = new.directory.after(index);
        let now = new.directory.tenant(index);
        if same.home(tenant.home) != Some(now.home) {
            let to = &new.stamp(now.home).id;
            all.add(|| format!("{name}: {from} -> {to}"));
            let between: &mut Tally = moved.entry((from, to)).or_default();
            between.add(|| name.to_owned());
        } else if tenant.state != now.state
            || same.fence(tenant.fence) != Some(now.fence)
            || same.tier(tenant.tier) != Some(now.tier)
        {
            moves.changed.add(|| format!("{name}: {}", told((old, tenant), (new, now))));
        }
    }
    moves.moved = all.count - vanished.count;
    moves.vanished = vanished.count;
    moves.examples = all.examples;
    moves.vanished_examples = vanished.examples;
    // Whoever is in the new table and did not stay has appeared.
    moves.appeared = new.directory.len() - (old.directory.len() - moves.vanished);
    if moves.appeared > 0 {
        moves.appeared_examples = appeared(old, new);
    }
    let between = moved.into_iter().map(|((from, to), tenants)| Between {
        from: from.to_string(),
        to: to.to_string(),
        tenants,
    });
    moves.between = between.collect();
}

/// Where a hash places a tenant without an entry.
fn placed(table: &RoutingTable, name: &str) -> Option<String> {
    let home = table.placement()?.home(name)?;
    Some(format!("{} by hash", table.stamp(home).id))
}

fn appeared(old: &RoutingTable, new: &RoutingTable) -> Vec<String> {
    let mut appeared = Tally::default();
    let mut next = TenantIndex(0);
    for (_, name, tenant) in new.directory.iter() {
        if let Some(index) = old.directory.find_at(name, next) {
            next = old.directory.after(index);
            continue;
        }
        let home = &new.stamp(tenant.home).id;
        appeared.add(|| match placed(old, name) {
            Some(before) => format!("{name}: {before} -> {home}"),
            None => format!("{name}: {home}"),
        });
    }
    appeared.examples
}

/// Places of the old table that mean the same in the new one.
struct Same {
    homes: Vec<Option<StampIndex>>,
    fences: Vec<Option<FenceIndex>>,
    tiers: Vec<Option<TierIndex>>,
}

impl Same {
    fn of(old: &RoutingTable, new: &RoutingTable) -> Self {
        let homes = old.stamps().iter().map(|stamp| new.find_stamp(&stamp.id));
        let by_zones: BTreeMap<Vec<&str>, FenceIndex> =
            fences(new).map(|fence| (zones(new, fence), fence)).collect();
        let fences = fences(old).map(|fence| by_zones.get(&zones(old, fence)).copied());
        let find_tier = |name: &str| new.tiers().iter().position(|tier| *tier.name == *name);
        let tiers = old.tiers().iter().map(|tier| {
            let at = find_tier(&tier.name)?;
            u8::try_from(at).ok().map(TierIndex)
        });
        Self { homes: homes.collect(), fences: fences.collect(), tiers: tiers.collect() }
    }

    fn home(&self, home: StampIndex) -> Option<StampIndex> {
        self.homes.get(home.at()).copied().flatten()
    }

    fn fence(&self, fence: FenceIndex) -> Option<FenceIndex> {
        self.fences.get(usize::from(fence.0)).copied().flatten()
    }

    fn tier(&self, tier: TierIndex) -> Option<TierIndex> {
        self.tiers.get(usize::from(tier.0)).copied().flatten()
    }
}

fn fences(table: &RoutingTable) -> impl Iterator<Item = FenceIndex> {
    (0..=u16::MAX).map(FenceIndex).take(table.fences.len())
}

/// The zones of a fence, in the order of their names.
fn zones(table: &RoutingTable, fence: FenceIndex) -> Vec<&str> {
    let mut zones: Vec<&str> = table.fence_zones(fence).collect();
    zones.sort_unstable();
    zones
}

/// What changed for a tenant that stays at home.
fn told((old, before): (&RoutingTable, Tenant), (new, after): (&RoutingTable, Tenant)) -> String {
    let mut told = Vec::new();
    if before.state != after.state {
        told.push(format!("{} -> {}", before.state.as_str(), after.state.as_str()));
    }
    let (from, to) = (zones(old, before.fence), zones(new, after.fence));
    if from != to {
        let list = |zones: &[&str]| match zones {
            [] => "anywhere".to_owned(),
            zones => zones.join(", "),
        };
        told.push(format!("{} -> {}", list(&from), list(&to)));
    }
    let (from, to) = (&old.tier(before.tier).name, &new.tier(after.tier).name);
    if from != to {
        told.push(format!("tier {from} -> {to}"));
    }
    told.join("; ")
}

/// A domain that changes hands moves somebody's requests, wherever the tenants live.
pub(super) fn compare_domains(old: &RoutingTable, new: &RoutingTable, moves: &mut Moves) {
    let mut handed_over = Tally { count: 0, examples: std::mem::take(&mut moves.examples) };
    for (host, tenant) in old.domains() {
        let from = old.directory.name(tenant);
        let Some(owner) = new.find_domain(host) else {
            moves.domains_removed.add(|| format!("{host}: {from}"));
            continue;
        };
        let to = new.directory.name(owner);
        if from != to {
            handed_over.add(|| format!("{host}: {from} -> {to}"));
        }
    }
    for (host, tenant) in new.domains().filter(|(host, _)| old.find_domain(host).is_none()) {
        moves.domains_added.add(|| format!("{host}: {}", new.directory.name(tenant)));
    }
    moves.moved += handed_over.count;
    moves.examples = handed_over.examples;
}
