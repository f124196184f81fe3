//! `[tier.NAME]` as written -> tiers: what a tenant may have, and its priority among all. There is
//! always a `standard` one, for the tenants that name none.

use std::num::NonZeroU32;

use hashbrown::HashMap;

use super::RoutingTable;
use crate::admission::{Limits, Rank, Rate};
use crate::document::{Named, Report, Span, Written, did_you_mean};
use crate::id::TenantIndex;
use crate::raw::{RawTier, TierName};

/// The tier of tenants that name none.
const STANDARD: &str = "standard";

/// What `max_in_flight` is where no tier says it.
const IN_FLIGHT_MAX: NonZeroU32 = NonZeroU32::MIN.saturating_add(499);

/// The most tiers of a table: an entry of the directory has one byte for them.
const TIERS_MAX: usize = 256;

/// What a tenant may have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tier {
    /// Its name.
    pub name: Box<str>,
    /// Lower is shed first when a stamp is nearly full.
    pub priority: u32,
    /// Where that stands among the priorities of all tiers.
    pub rank: Rank,
    /// What each of its tenants may have.
    pub limits: Limits,
}

/// Place of a tier in its table: valid for that one table only.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TierIndex(pub u8);

impl TierIndex {
    /// The tier of tenants that name none.
    pub const STANDARD: Self = Self(0);
}

impl Tier {
    /// The standard tier of a table that says nothing of it.
    pub(crate) fn built_in() -> Self {
        let limits = Limits { in_flight_max: IN_FLIGHT_MAX, rate: None };
        Self { name: STANDARD.into(), priority: 0, rank: Rank::ONLY, limits }
    }
}

impl RoutingTable {
    /// All tiers, `standard` first.
    #[must_use]
    pub fn tiers(&self) -> &[Tier] {
        &self.tiers
    }

    /// The tier at this place.
    #[must_use]
    pub fn tier(&self, index: TierIndex) -> &Tier {
        #[expect(clippy::indexing_slicing, reason = "a TierIndex is made by this table only")]
        &self.tiers[usize::from(index.0)]
    }

    /// The tier of a tenant; `standard` for requests that name a stamp alone.
    #[must_use]
    pub fn tier_of(&self, tenant: Option<TenantIndex>) -> &Tier {
        let own = tenant.map(|tenant| self.directory.tenant(tenant).tier);
        self.tier(own.unwrap_or(TierIndex::STANDARD))
    }
}

/// A tier that the table does not have.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("there is no tier `{name}`{near}")]
pub(super) struct UnknownTier {
    name: String,
    /// ` (did you mean ...?)`, or nothing.
    near: String,
}

/// Tiers while a table is built.
#[derive(Debug)]
pub(super) struct Tiers {
    list: Vec<Tier>,
    by_name: HashMap<Box<str>, TierIndex>,
}

impl Tiers {
    /// Builds all tiers and reports what is wrong among them.
    pub(super) fn build(raw: &Named<RawTier>, report: &mut Report) -> Self {
        let by_name = HashMap::from_iter([(STANDARD.into(), TierIndex::STANDARD)]);
        let mut tiers = Self { list: vec![Tier::built_in()], by_name };
        let mut places: HashMap<Box<str>, Span> = HashMap::new();
        for (Written { value: text, span }, raw) in &raw.0 {
            let name = match TierName::parse(text) {
                Ok(name) => name.0,
                Err(error) => {
                    let expected = "the name of a tier such as `gold`";
                    report.error(*span, format!("`{text}`: {error}")).expected(expected);
                    continue;
                }
            };
            if let Some(first) = places.insert(name.clone(), *span) {
                report
                    .error(*span, format!("tier `{name}` is declared twice"))
                    .note(first, "first declared here")
                    .help("give one of them another name");
                continue;
            }
            let limits = limits(raw, report);
            tiers.add(
                Tier { name, priority: raw.priority.0, rank: Rank::ONLY, limits },
                *span,
                report,
            );
        }
        tiers.rank();
        tiers
    }

    fn add(&mut self, tier: Tier, span: Span, report: &mut Report) {
        if let Some(index) = self.by_name.get(&tier.name)
            && let Some(slot) = self.list.get_mut(usize::from(index.0))
        {
            *slot = tier;
            return;
        }
        let Ok(index) = u8::try_from(self.list.len()) else {
            report
                .error(span, format!("a table has at most {TIERS_MAX} tiers"))
                .help("let tenants share tiers");
            return;
        };
        self.by_name.insert(tier.name.clone(), TierIndex(index));
        self.list.push(tier);
    }

    fn rank(&mut self) {
        let priorities: Vec<u32> = self.list.iter().map(|tier| tier.priority).collect();
        for tier in &mut self.list {
            tier.rank = Rank::among(tier.priority, &priorities);
        }
    }

    /// The tier of this name.
    pub(super) fn find(&self, name: &str) -> Result<TierIndex, UnknownTier> {
        // Most rows write the name as it is stored.
        if let Some(index) = self.by_name.get(name) {
            return Ok(*index);
        }
        let folded = TierName::parse(name).ok();
        let found = folded.and_then(|folded| self.by_name.get(&folded.0).copied());
        found.ok_or_else(|| {
            let near = self.near(name).map(|near| format!(" ({near})")).unwrap_or_default();
            UnknownTier { name: name.to_owned(), near }
        })
    }

    /// The name of this tier.
    pub(super) fn name(&self, tier: TierIndex) -> &str {
        self.list.get(usize::from(tier.0)).map_or("", |tier| &tier.name)
    }

    /// The name that was probably meant.
    pub(super) fn near(&self, name: &str) -> Option<String> {
        did_you_mean(name, self.list.iter().map(|tier| &*tier.name))
    }

    /// The tier of the same name as in another table; the standard one where it is gone.
    pub(super) fn like(&self, other: &RoutingTable, tier: TierIndex) -> TierIndex {
        self.by_name.get(&other.tier(tier).name).copied().unwrap_or(TierIndex::STANDARD)
    }

    /// All of them, by index.
    pub(super) fn into_list(self) -> Vec<Tier> {
        self.list
    }
}

fn limits(raw: &RawTier, report: &mut Report) -> Limits {
    let number = |number: u32| NonZeroU32::new(number).unwrap_or(NonZeroU32::MIN);
    let per_second = raw.requests_per_second.map(|rate| number(rate.0));
    let burst = raw.burst.as_ref();
    if let (None, Some(burst)) = (per_second, burst) {
        report
            .error(burst.span, "a burst without a rate")
            .help("add `requests_per_second`, or remove `burst`");
    }
    let rate = per_second.map(|per_second| {
        Rate::new(per_second, burst.map_or(per_second, |burst| number(burst.value.0)))
    });
    Limits { in_flight_max: number(raw.max_in_flight.0), rate }
}
