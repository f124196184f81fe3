//! Where each tenant lives: an arena of names and a hash table over it. Built once, then only read.
//!
//! A tenant costs its name, 16 bytes of entry and 10 to 20 bytes of hash table; nothing is allocated
//! per tenant, and a look-up compares the whole name.

mod places;

use std::fmt;

use crate::id::{StampIndex, TenantId, TenantIndex};
use crate::table::{TenantState, TierIndex};
use places::Places;

/// One tenant's entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tenant {
    /// The stamp that it lives on.
    pub home: StampIndex,
    /// The residency zones that its data may be in.
    pub fence: FenceIndex,
    /// What it may do.
    pub state: TenantState,
    /// Its limits and its priority.
    pub tier: TierIndex,
}

/// Index of an interned set of residency zones in its table: `RoutingTable::fence_allows` reads it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FenceIndex(pub u16);

/// All tenants of a table.
#[derive(Default)]
pub struct Directory {
    names: String,
    entries: Vec<Entry>,
    by_name: Places,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    name_start: u32,
    home: u32,
    fence: u16,
    name_bytes: u8,
    state: TenantState,
    tier: TierIndex,
}

/// Why a tenant cannot be added.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InsertError {
    /// The name is taken.
    #[error("this tenant has an entry already")]
    Duplicate(TenantIndex),
    /// 4 GiB of names are too many.
    #[error("no directory holds more than 4 GiB of names")]
    Full,
}

impl Directory {
    /// Makes room for so many more tenants.
    pub fn reserve(&mut self, tenants: usize) {
        let Self { names, entries, by_name } = self;
        entries.reserve(tenants);
        by_name.reserve(tenants, |place| name_at(names, entries, place));
    }

    /// The place of the tenant of this name (folded to lower case already).
    #[must_use]
    pub fn find(&self, name: &str) -> Option<TenantIndex> {
        let is_it = |place| self.name(TenantIndex(place)) == name;
        self.by_name.find(self.by_name.hash(name), is_it).map(TenantIndex)
    }

    /// The same, quickly where the tenant is at the place where it is expected.
    #[must_use]
    pub fn find_at(&self, name: &str, expected: TenantIndex) -> Option<TenantIndex> {
        if self.name(expected) == name && !name.is_empty() {
            return Some(expected);
        }
        self.find(name)
    }

    /// The name of the tenant at this place.
    #[must_use]
    pub fn name(&self, index: TenantIndex) -> &str {
        name_at(&self.names, &self.entries, index.0)
    }

    /// The tenant at this place.
    #[must_use]
    pub fn tenant(&self, index: TenantIndex) -> Tenant {
        #[expect(clippy::indexing_slicing, reason = "a TenantIndex is made by this table only")]
        let entry = self.entries[index.at()];
        let Entry { home, fence, state, tier, .. } = entry;
        Tenant { home: StampIndex(home), fence: FenceIndex(fence), state, tier }
    }

    /// How many tenants there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Is there no tenant at all?
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// All tenants, in the order in which they were added.
    pub fn iter(&self) -> impl Iterator<Item = (TenantIndex, &str, Tenant)> {
        (0..self.count()).map(|place| {
            let index = TenantIndex(place);
            (index, self.name(index), self.tenant(index))
        })
    }

    /// Adds a tenant.
    pub fn insert(
        &mut self,
        name: &TenantId<'_>,
        tenant: Tenant,
    ) -> Result<TenantIndex, InsertError> {
        let name = name.as_str();
        let name_start = u32::try_from(self.names.len()).map_err(|_full| InsertError::Full)?;
        let name_bytes = u8::try_from(name.len()).map_err(|_full| InsertError::Full)?;
        let place = self.count();
        let Self { names, entries, by_name } = self;
        let known_at = |place| name_at(names, entries, place);
        let hash = by_name.hash(name);
        if let Some(first) = by_name.find(hash, |place| known_at(place) == name) {
            return Err(InsertError::Duplicate(TenantIndex(first)));
        }
        by_name.insert(hash, place, known_at);
        names.push_str(name);
        entries.push(Entry {
            name_start,
            home: tenant.home.0,
            fence: tenant.fence.0,
            name_bytes,
            state: tenant.state,
            tier: tenant.tier,
        });
        Ok(TenantIndex(place))
    }

    /// Gives back what was reserved and is not used.
    pub fn shrink(&mut self) {
        self.names.shrink_to_fit();
        self.entries.shrink_to_fit();
    }

    /// Bytes on the heap.
    #[must_use]
    pub fn heap_bytes(&self) -> usize {
        self.names.capacity()
            + self.entries.capacity() * size_of::<Entry>()
            + self.by_name.heap_bytes()
    }

    #[expect(clippy::cast_possible_truncation, reason = "`insert` stops at 4 GiB of names")]
    fn count(&self) -> u32 {
        self.entries.len() as u32
    }
}

/// A million names are not worth printing.
impl fmt::Debug for Directory {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Directory").field("tenants", &self.len()).finish_non_exhaustive()
    }
}

/// The name of the entry at this place; empty if there is none.
fn name_at<'n>(names: &'n str, entries: &[Entry], place: u32) -> &'n str {
    let Some(entry) = entries.get(place as usize) else { return "" };
    let start = entry.name_start as usize;
    names.get(start..start + usize::from(entry.name_bytes)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tenant(home: u32) -> Tenant {
        let (state, tier) = (TenantState::Active, TierIndex::STANDARD);
        Tenant { home: StampIndex(home), fence: FenceIndex(0), state, tier }
    }

    fn of(names: impl Iterator<Item = String>) -> Directory {
        let mut directory = Directory::default();
        for (home, name) in (0..).zip(names) {
            directory.insert(&TenantId::parse(&name).unwrap(), tenant(home)).unwrap();
        }
        directory
    }

    #[test]
    fn each_tenant_is_found_under_its_whole_name_only() {
        let directory = of((0..2000).map(|number| format!("tenant-{number}")));
        for number in 0..2000 {
            let index = directory.find(&format!("tenant-{number}")).unwrap();
            assert_eq!(directory.tenant(index), tenant(number));
            assert_eq!(directory.name(index), format!("tenant-{number}"));
        }
        assert_eq!(directory.find("tenant-"), None);
        assert_eq!(directory.find("tenant-00"), None);
        assert_eq!(directory.find(""), None);
        assert_eq!(directory.len(), 2000);
    }

    #[test]
    fn a_name_is_given_once() {
        let mut directory = of(["acme".to_owned()].into_iter());
        let again = directory.insert(&TenantId::parse("ACME").unwrap(), tenant(1));
        assert_eq!(again, Err(InsertError::Duplicate(TenantIndex(0))));
        assert_eq!(directory.tenant(TenantIndex(0)), tenant(0));
    }

    fn with_room(tenants: usize) -> Directory {
        let mut directory = Directory::default();
        directory.reserve(tenants);
        directory
    }

    /// Bytes beyond the name, of so many tenants.
    fn cost(mut directory: Directory, tenants: usize) -> usize {
        for number in 0..tenants {
            let name = format!("{number:010}");
            directory.insert(&TenantId::parse(&name).unwrap(), tenant(0)).unwrap();
        }
        directory.shrink();
        (directory.heap_bytes() - tenants * 10).div_ceil(tenants)
    }

    #[test]
    fn a_tenant_costs_at_most_48_bytes_beyond_its_name_also_right_after_the_table_grew() {
        // Four of five buckets are taken: one more doubles them.
        for buckets in [1024_usize, 32_768, 131_072] {
            let full = buckets / 5 * 4;
            for tenants in full - 1..full + 5 {
                for directory in [Directory::default(), with_room(tenants)] {
                    let cost = cost(directory, tenants);
                    assert!(cost <= 48, "{cost} for {tenants}");
                }
            }
        }
    }

    #[test]
    fn a_million_tenants_cost_at_most_48_bytes_each_beyond_their_names() {
        for directory in [with_room(1_000_000), Directory::default()] {
            let cost = cost(directory, 1_000_000);
            assert!(cost <= 48, "{cost}");
        }
    }

    #[test]
    fn a_tenant_is_found_wherever_it_was_expected() {
        let directory = of(["a", "b"].map(str::to_owned).into_iter());
        for expected in [0, 1, 2, u32::MAX].map(TenantIndex) {
            assert_eq!(directory.find_at("b", expected), Some(TenantIndex(1)));
            assert_eq!(directory.find_at("c", expected), None);
            assert_eq!(directory.find_at("", expected), None);
        }
    }
}
