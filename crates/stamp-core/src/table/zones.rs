//! Residency zones and sets of them, each stored once while a table is built.

use std::collections::BTreeMap;

use super::{ResidencyIndex, RoutingTable};
use crate::directory::FenceIndex;

/// The set that fences nobody in. Always the first.
pub(super) const UNFENCED: FenceIndex = FenceIndex(0);

/// What to do about too many zones.
pub(super) const FEWER_ZONES: &str = "name fewer zones, and fewer different sets of them";

/// More zones or sets of zones than a table can number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a table has at most 65535 residency zones and sets of them")]
pub(super) struct TooManyZones;

/// All zones and sets of zones met so far.
#[derive(Debug)]
pub(super) struct Zones {
    names: Vec<Box<str>>,
    by_name: BTreeMap<Box<str>, ResidencyIndex>,
    fences: Vec<Box<[ResidencyIndex]>>,
    by_set: BTreeMap<Box<[ResidencyIndex]>, FenceIndex>,
}

impl Zones {
    pub(super) fn new() -> Self {
        Self {
            names: Vec::new(),
            by_name: BTreeMap::new(),
            fences: vec![Box::from([])],
            by_set: BTreeMap::from([(Box::from([]), UNFENCED)]),
        }
    }

    /// The number of this zone.
    pub(super) fn zone(&mut self, name: &str) -> Result<ResidencyIndex, TooManyZones> {
        if let Some(index) = self.by_name.get(name) {
            return Ok(*index);
        }
        let index = u16::try_from(self.names.len()).map_err(|_full| TooManyZones)?;
        self.names.push(name.into());
        self.by_name.insert(name.into(), ResidencyIndex(index));
        Ok(ResidencyIndex(index))
    }

    /// The number of this set of zones.
    pub(super) fn fence(
        &mut self,
        mut zones: Vec<ResidencyIndex>,
    ) -> Result<FenceIndex, TooManyZones> {
        zones.sort_unstable();
        zones.dedup();
        if let Some(index) = self.by_set.get(zones.as_slice()) {
            return Ok(*index);
        }
        let index = u16::try_from(self.fences.len()).map_err(|_full| TooManyZones)?;
        let set: Box<[ResidencyIndex]> = zones.into();
        self.fences.push(set.clone());
        self.by_set.insert(set, FenceIndex(index));
        Ok(FenceIndex(index))
    }

    /// The fence of a tenant that names none: that of its home.
    pub(super) fn fence_of_home(
        &mut self,
        residency: Option<ResidencyIndex>,
    ) -> Result<FenceIndex, TooManyZones> {
        self.fence(residency.into_iter().collect())
    }

    /// The same fence as in another table.
    pub(super) fn fence_like(
        &mut self,
        other: &RoutingTable,
        fence: FenceIndex,
    ) -> Result<FenceIndex, TooManyZones> {
        let names = other.fence_zones(fence);
        let zones = names.map(|name| self.zone(name)).collect::<Result<_, _>>()?;
        self.fence(zones)
    }

    /// May something behind this fence be in a stamp of this residency?
    pub(super) fn allows(&self, fence: FenceIndex, residency: Option<ResidencyIndex>) -> bool {
        allows(&self.fences, fence, residency)
    }

    /// "`eu`, `ch`"
    pub(super) fn list(&self, fence: FenceIndex) -> String {
        let zones = self.fences.get(usize::from(fence.0)).into_iter().flatten();
        let names = zones.filter_map(|zone| self.names.get(usize::from(zone.0)));
        names.map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
    }

    /// Its zones as a tenant file writes them.
    pub(super) fn as_written(&self, fence: FenceIndex) -> String {
        let zones = self.fences.get(usize::from(fence.0)).into_iter().flatten();
        let names = zones.filter_map(|zone| self.names.get(usize::from(zone.0)));
        names.map(|name| &**name).collect::<Vec<_>>().join("|")
    }

    /// The names of all zones, and all sets.
    pub(super) fn into_parts(self) -> (Vec<Box<str>>, Vec<Box<[ResidencyIndex]>>) {
        (self.names, self.fences)
    }
}

/// May something behind this fence be in a stamp of this residency?
pub(super) fn allows(
    fences: &[Box<[ResidencyIndex]>],
    fence: FenceIndex,
    residency: Option<ResidencyIndex>,
) -> bool {
    if fence == UNFENCED {
        return true;
    }
    // A stamp without residency may be anywhere: nothing that is fenced goes there.
    let (Some(zones), Some(residency)) = (fences.get(usize::from(fence.0)), residency) else {
        return false;
    };
    zones.binary_search(&residency).is_ok()
}
