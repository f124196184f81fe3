//! Where each tenant lives: an arena of records and a hash table over it. Built once, then only read.
//!
//! A tenant costs its name, 12 to 15 bytes of record and 5 to 11 bytes of hash table; nothing is
//! allocated per tenant, and a look-up compares the whole name. It waits for memory twice at most: for
//! its slot of the hash table, and for the record.

mod places;
mod records;

use std::fmt;

use crate::id::{StampIndex, TenantId, TenantIndex};
use crate::table::{TenantState, TierIndex};
use places::Places;
use records::Records;

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
    records: Records,
    by_name: Places,
}

/// Why a tenant cannot be added.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InsertError {
    /// The name is taken.
    #[error("this tenant has an entry already")]
    Duplicate(TenantIndex),
    /// 4 GiB of records are too many.
    #[error("no directory holds more than 4 GiB of tenants")]
    Full,
}

impl Directory {
    /// Makes room for so many more tenants.
    pub fn reserve(&mut self, tenants: usize) {
        let end = self.records.reserve(tenants);
        self.by_name.reserve(tenants, end, &self.records);
    }

    /// The place of the tenant of this name (folded to lower case already).
    #[must_use]
    pub fn find(&self, name: &str) -> Option<TenantIndex> {
        let is_it = |place| self.records.is(place, name);
        self.by_name.find(self.by_name.hash(name), is_it).map(TenantIndex)
    }

    /// The same, quickly where the tenant is at the place where it is expected: one of this
    /// directory, or its end.
    #[must_use]
    pub fn find_at(&self, name: &str, expected: TenantIndex) -> Option<TenantIndex> {
        if self.records.is(expected.0, name) { Some(expected) } else { self.find(name) }
    }

    /// The name of the tenant at this place; empty if there is none.
    #[must_use]
    pub fn name(&self, index: TenantIndex) -> &str {
        self.records.at(index.0).map_or("", |record| record.name())
    }

    /// The tenant at this place.
    #[must_use]
    pub fn tenant(&self, index: TenantIndex) -> Tenant {
        #[expect(clippy::expect_used, reason = "a TenantIndex is made by this table only")]
        self.records.at(index.0).expect("a place of this table").tenant()
    }

    /// How many tenants were added before the one at this place: dense, where places are not.
    #[must_use]
    pub fn ordinal(&self, index: TenantIndex) -> usize {
        self.records.at(index.0).map_or(self.len(), |record| record.ordinal() as usize)
    }

    /// The place of the tenant that was added next, or the end.
    #[must_use]
    pub fn after(&self, index: TenantIndex) -> TenantIndex {
        let units = self.records.at(index.0).map_or(0, |record| record.units());
        TenantIndex(index.0 + units)
    }

    /// How many tenants there are.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.records.count() as usize
    }

    /// Is there no tenant at all?
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.records.count() == 0
    }

    /// All tenants, in the order in which they were added.
    pub fn iter(&self) -> impl Iterator<Item = (TenantIndex, &str, Tenant)> {
        let records = self.records.iter();
        records.map(|(place, record)| (TenantIndex(place), record.name(), record.tenant()))
    }

    /// Adds a tenant.
    pub fn insert(
        &mut self,
        name: &TenantId<'_>,
        tenant: Tenant,
    ) -> Result<TenantIndex, InsertError> {
        let name = name.as_str();
        let hash = self.by_name.hash(name);
        if let Some(first) = self.by_name.find(hash, |place| self.records.is(place, name)) {
            return Err(InsertError::Duplicate(TenantIndex(first)));
        }
        let place = self.records.push(name, tenant)?;
        self.by_name.insert(hash, place, &self.records);
        Ok(TenantIndex(place))
    }

    /// Gives back what was reserved and is not used.
    pub fn shrink(&mut self) {
        self.records.shrink();
    }

    /// Bytes on the heap.
    #[must_use]
    pub const fn heap_bytes(&self) -> usize {
        self.records.heap_bytes() + self.by_name.heap_bytes()
    }
}

/// A million names are not worth printing.
impl fmt::Debug for Directory {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Directory").field("tenants", &self.len()).finish_non_exhaustive()
    }
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
        // Three of four slots are taken: one more doubles them.
        for slots in [1024_usize, 32_768, 131_072] {
            let full = slots / 4 * 3;
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
        let (a, b) = (directory.find("a").unwrap(), directory.find("b").unwrap());
        assert_eq!(directory.after(a), b);
        for expected in [a, b, directory.after(b), directory.after(directory.after(b))] {
            assert_eq!(directory.find_at("b", expected), Some(b));
            assert_eq!(directory.find_at("c", expected), None);
            assert_eq!(directory.find_at("", expected), None);
        }
    }

    #[test]
    fn tenants_have_the_ordinals_of_their_order() {
        let directory =
            of((0..100).map(|number| "n".repeat(number % 50 + 1) + &format!("{number}")));
        let ordinals = directory.iter().map(|(index, _, _)| directory.ordinal(index));
        assert!(ordinals.eq(0..100));
    }

    /// So long that places need more bits than was thought when room was made.
    #[test]
    fn long_names_are_found_also_where_room_was_made_for_short_ones() {
        let name = |number: usize| format!("{number:0128}");
        for mut directory in [with_room(10_000), Directory::default()] {
            for number in 0..10_000 {
                directory.insert(&TenantId::parse(&name(number)).unwrap(), tenant(0)).unwrap();
            }
            for number in 0..10_000 {
                let index = directory.find(&name(number)).unwrap();
                assert_eq!(directory.ordinal(index), number);
            }
            assert_eq!(directory.find(&name(10_000)), None);
        }
    }

    proptest::proptest! {
        /// Whatever names come in whatever order, a map says the same.
        #[test]
        fn a_directory_is_a_map(
            names in proptest::collection::vec("[a-c._-]{1,3}|[a-z]{1,128}", 0..400),
            asked in proptest::collection::vec("[a-c._-]{0,4}", 0..100),
            room in 0_usize..500,
        ) {
            let mut directory = with_room(room);
            let mut known = std::collections::BTreeMap::new();
            for (home, name) in (0..).zip(&names) {
                let added = directory.insert(&TenantId::parse(name).unwrap(), tenant(home));
                match known.get(name) {
                    Some((index, _)) => assert_eq!(added, Err(InsertError::Duplicate(*index))),
                    None => _ = known.insert(name.clone(), (added.unwrap(), home)),
                }
            }
            for name in asked.iter().chain(&names) {
                let found = directory.find(name);
                assert_eq!(found, known.get(name).map(|(index, _)| *index), "{name}");
                let home = found.map(|index| directory.tenant(index).home.0);
                assert_eq!(home, known.get(name).map(|(_, home)| *home), "{name}");
            }
            assert_eq!(directory.len(), known.len());
        }
    }
}
