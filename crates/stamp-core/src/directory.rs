//! Where each tenant lives: an arena of names and a hash table over it. Built once, then only read.

use crate::id::{StampIndex, TenantIndex};
use crate::table::TenantState;

/// One tenant's entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tenant {
    /// The stamp that it lives on.
    pub home: StampIndex,
    /// The residency zones that its data may be in.
    pub fence: FenceIndex,
    /// What it may do.
    pub state: TenantState,
}

/// Index of an interned set of residency zones in its table: `RoutingTable::fence_allows` reads it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FenceIndex(pub u16);

/// All tenants of a table.
#[derive(Debug, Default)]
pub struct Directory {
    entries: Vec<(Box<str>, Tenant)>,
}

impl Directory {
    /// The place of the tenant of this name (folded to lower case already).
    #[must_use]
    pub fn find(&self, name: &str) -> Option<TenantIndex> {
        let at = self.entries.iter().position(|(known, _)| **known == *name)?;
        u32::try_from(at).ok().map(TenantIndex)
    }

    /// Stub.
    #[must_use]
    #[expect(clippy::indexing_slicing, reason = "stub")]
    pub fn name(&self, index: TenantIndex) -> &str {
        &self.entries[index.at()].0
    }

    /// Stub.
    #[must_use]
    #[expect(clippy::indexing_slicing, reason = "stub")]
    pub fn tenant(&self, index: TenantIndex) -> Tenant {
        self.entries[index.at()].1
    }
}
