//! `[placement]` as written -> the pool that tenants without an entry are placed on; and where any
//! tenant lives, entry or not.

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroU16;

use super::RoutingTable;
use super::stamps::Stamps;
use crate::document::{Report, Span, Written};
use crate::id::{StampIndex, TenantId, TenantIndex};
use crate::placement::Placement;
use crate::raw::{RawPlace, RawRouting, ShortOrLong, UnknownTenant};

/// The most stamps of a pool: each is looked at for each request of a tenant without an entry.
const PLACES_MAX: usize = 1024;

/// Builds the pool; `None` where tenants without an entry are refused. `left_out` have entries that
/// could not be read.
pub(super) fn build(
    raw: &RawRouting,
    stamps: &Stamps,
    left_out: BTreeSet<String>,
    report: &mut Report,
) -> Option<Placement> {
    let Written { value: list, span } = &raw.placement.stamps;
    let is_wanted = raw.identity.unknown_tenant.value == UnknownTenant::Hash;
    if list.is_empty() && is_wanted {
        report
            .error(raw.identity.unknown_tenant.span, "there is no stamp to place tenants on")
            .help("name them: `[placement]` with `stamps = [\"eu-1\", \"eu-2\"]`");
    }
    if list.len() > PLACES_MAX {
        report
            .error(*span, format!("tenants are placed on at most {PLACES_MAX} stamps"))
            .help("give the tenants of some stamps entries of their own");
    }
    let places = places(list, stamps, report);
    refuse_several_residencies(&places, stamps, report);
    let pool = places.into_iter().filter_map(|(index, (_, weight))| {
        Some((stamps.list.get(index.at())?.id.clone(), index, weight))
    });
    let pool = Placement::new(pool).without(left_out);
    is_wanted.then_some(pool)
}

/// The stamps of the pool, each once: its place in the file, and its weight.
type Places = BTreeMap<StampIndex, (Span, NonZeroU16)>;

fn places(list: &[Written<ShortOrLong<RawPlace>>], stamps: &Stamps, report: &mut Report) -> Places {
    let mut places = Places::new();
    for Written { value: ShortOrLong(RawPlace { stamp, weight }), .. } in list {
        let Written { value: id, span } = stamp;
        let index = match stamps.find(id.as_str()) {
            Ok(index) => index,
            Err(help) => {
                report.error(*span, format!("there is no stamp `{id}`")).help(help);
                continue;
            }
        };
        let weight = u16::try_from(weight.0).ok().and_then(NonZeroU16::new);
        let weight = weight.unwrap_or(NonZeroU16::MIN);
        if let Some((first, _)) = places.get(&index) {
            report
                .error(*span, format!("stamp `{id}` is listed twice"))
                .note(*first, "first listed here")
                .help("remove one; `weight` gives a stamp a larger share");
            continue;
        }
        places.insert(index, (*span, weight));
    }
    places
}

/// A hash knows nothing of law: wherever it may put a tenant, the same must hold.
fn refuse_several_residencies(places: &Places, stamps: &Stamps, report: &mut Report) {
    let mut by_place: Vec<_> = places
        .iter()
        .filter_map(|(index, (span, _))| Some((*span, stamps.list.get(index.at())?)))
        .collect();
    by_place.sort_by_key(|(span, _)| *span);
    let Some(((first_span, first), others)) = by_place.split_first() else { return };
    for (span, stamp) in others {
        if stamp.residency != first.residency {
            let message = format!(
                "stamps `{}` and `{}` differ in residency: tenants are placed within one only",
                first.id, stamp.id
            );
            report
                .error(*span, message)
                .note(*first_span, "a stamp of another residency")
                .help("take one of them out of the pool, or give both the same residency");
        }
    }
}

/// Where a tenant lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Located {
    /// It has an entry. An entry always wins over a hash.
    Listed(TenantIndex),
    /// It has none, and was placed on this stamp by a hash of its name.
    Placed(StampIndex),
}

impl RoutingTable {
    /// Where this tenant lives; `None` = nobody knows.
    #[must_use]
    pub fn locate(&self, tenant: &TenantId<'_>) -> Option<Located> {
        let name = tenant.as_str();
        match self.directory.find(name) {
            Some(index) => Some(Located::Listed(index)),
            None => self.placement.as_ref()?.home(name).map(Located::Placed),
        }
    }

    /// The pool that tenants without an entry are placed on; `None` = they are refused.
    #[must_use]
    pub const fn placement(&self) -> Option<&Placement> {
        self.placement.as_ref()
    }

    /// May tenants without an entry live there? Nobody knows how many do.
    #[must_use]
    pub fn is_placed_on(&self, stamp: StampIndex) -> bool {
        self.placement.as_ref().is_some_and(|pool| pool.has(stamp))
    }
}
