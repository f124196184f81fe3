//! Where each tenant lives: inline entries and custom domains. `tenant_file` reads the large lists.

use std::collections::{BTreeMap, BTreeSet};

use super::{BadRowCounts, ResidencyIndex, TierIndex};
use hashbrown::HashMap;

use super::stamps::Stamps;
use super::tiers::Tiers;
use super::zones::{FEWER_ZONES, TooManyZones, Zones};
use crate::directory::{Directory, FenceIndex, InsertError, Tenant};
use crate::document::{Named, Report, Span, Written, did_you_mean};
use crate::id::{StampIndex, TenantId, TenantIndex};
use crate::raw::{RawTenant, ShortOrLong, TierName, parse_domain};

/// In a larger directory nobody looks for the name that was probably meant.
const SUGGEST_AMONG_MAX: usize = 10_000;

/// Tenants while they are gathered.
#[derive(Debug)]
pub(super) struct Tenants<'a> {
    pub(super) stamps: &'a Stamps,
    pub(super) tiers: &'a Tiers,
    pub(super) zones: &'a mut Zones,
    pub(super) report: &'a mut Report,
    pub(super) directory: Directory,
    /// Of each stamp: its place, by its id; and the fence of a tenant that names no zones.
    by_stamp: HashMap<&'a str, (StampIndex, FenceIndex)>,
    /// Of each tenant: where its entry begins. As large as the directory, so no `Span`.
    places: Vec<usize>,
    /// Tenants whose row in a tenant file is bad and who had no entry before.
    pub(super) left_out: BTreeSet<String>,
    /// The entries that tenants with bad rows keep, a line each.
    pub(super) kept: String,
    pub(super) bad_rows: BadRowCounts,
}

/// What came of all entries.
#[derive(Debug)]
pub(super) struct Gathered {
    pub(super) directory: Directory,
    /// The entries that tenants with bad rows keep, a line each.
    pub(super) kept: String,
    /// Tenants whose row is bad and who had no entry before.
    pub(super) left_out: BTreeSet<String>,
    pub(super) bad_rows: BadRowCounts,
}

/// Why a tenant cannot live so.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum FenceError {
    /// Its residency does not contain its own home.
    #[error("its residency {fence} excludes its home `{home}`")]
    ExcludesHome {
        /// The zones it names.
        fence: String,
        /// Its home stamp.
        home: String,
    },
    /// A list of no zones.
    #[error("its residency names no zone")]
    Empty,
    /// Numbers run out.
    #[error(transparent)]
    TooMany(#[from] TooManyZones),
}

impl<'a> Tenants<'a> {
    pub(super) fn new(
        stamps: &'a Stamps,
        tiers: &'a Tiers,
        zones: &'a mut Zones,
        report: &'a mut Report,
    ) -> Self {
        let mut by_stamp = HashMap::with_capacity(stamps.list.len());
        for (place, stamp) in (0..).map(StampIndex).zip(&stamps.list) {
            match zones.fence_of_home(stamp.residency) {
                Ok(fence) => _ = by_stamp.insert(stamp.id.as_str(), (place, fence)),
                Err(error) => {
                    report.error(Span::default(), error.to_string()).help(FEWER_ZONES);
                }
            }
        }
        Self {
            stamps,
            tiers,
            zones,
            report,
            directory: Directory::default(),
            by_stamp,
            places: Vec::new(),
            left_out: BTreeSet::new(),
            kept: String::new(),
            bad_rows: BadRowCounts::default(),
        }
    }

    /// What came of all entries.
    pub(super) fn finish(mut self) -> Gathered {
        self.directory.shrink();
        let Self { directory, kept, left_out, bad_rows, .. } = self;
        Gathered { directory, kept, left_out, bad_rows }
    }

    /// Makes room for so many more tenants.
    pub(super) fn reserve(&mut self, tenants: usize) {
        self.directory.reserve(tenants);
        self.places.reserve(tenants);
    }

    /// The stamp of this id, and the fence of a tenant that lives there and names no zones.
    pub(super) fn home(&self, id: &str) -> Option<(StampIndex, FenceIndex)> {
        self.by_stamp.get(id).copied()
    }

    /// Takes the tenants of `[tenants]`.
    pub(super) fn add_inline(&mut self, raw: &Named<ShortOrLong<RawTenant>>) {
        for (Written { value: name, span }, ShortOrLong(raw)) in &raw.0 {
            let id = match TenantId::parse(name) {
                Ok(id) => id,
                Err(error) => {
                    self.report
                        .error(*span, format!("`{name}`: {error}"))
                        .label("expected the id of a tenant")
                        .help(
                            "a tenant id has 1 to 128 letters, digits, dots, underscores, hyphens",
                        );
                    continue;
                }
            };
            if let Some(tenant) = self.inline(&id, raw) {
                self.insert(&id, *span, tenant);
            }
        }
    }

    fn inline(&mut self, id: &TenantId<'_>, raw: &RawTenant) -> Option<Tenant> {
        let Written { value: stamp, span } = &raw.stamp;
        let Some((home, fence)) = self.home(stamp.as_str()) else {
            let help = self.stamps.find(stamp.as_str()).err().unwrap_or_default();
            self.report.error(*span, format!("there is no stamp `{stamp}`")).help(help);
            return None;
        };
        let (state, tier) = (raw.state, self.tier(raw.tier.as_ref()));
        let Some(Written { value: zones, span }) = &raw.residency else {
            return Some(Tenant { home, fence, state, tier });
        };
        let numbers: Result<Vec<_>, _> =
            zones.iter().map(|zone| self.zones.zone(&zone.0)).collect();
        let fence = numbers.map_err(FenceError::from).and_then(|zones| self.fence(home, zones));
        if let Err(error) = &fence {
            self.report
                .error(*span, format!("tenant `{id}`: {error}"))
                .help("add the zone of its home, or move the tenant");
        }
        Some(Tenant { home, fence: fence.ok()?, state, tier })
    }

    fn tier(&mut self, name: Option<&Written<TierName>>) -> TierIndex {
        let Some(Written { value: TierName(name), span }) = name else {
            return TierIndex::STANDARD;
        };
        self.tiers.find(name).unwrap_or_else(|_unknown| {
            let declare = || format!("declare it: `[tier.{name}]`");
            self.report
                .error(*span, format!("there is no tier `{name}`"))
                .help(self.tiers.near(name).unwrap_or_else(declare));
            TierIndex::STANDARD
        })
    }

    /// The fence of a tenant that lives there and names these zones.
    pub(super) fn fence(
        &mut self,
        home: StampIndex,
        zones: Vec<ResidencyIndex>,
    ) -> Result<FenceIndex, FenceError> {
        if zones.is_empty() {
            return Err(FenceError::Empty);
        }
        let fence = self.zones.fence(zones)?;
        self.check_home(home, fence)?;
        Ok(fence)
    }

    /// May a tenant behind this fence live there?
    pub(super) fn check_home(&self, home: StampIndex, fence: FenceIndex) -> Result<(), FenceError> {
        let Some(stamp) = self.stamps.list.get(home.at()) else { return Err(FenceError::Empty) };
        if self.zones.allows(fence, stamp.residency) {
            return Ok(());
        }
        Err(FenceError::ExcludesHome {
            fence: self.zones.list(fence),
            home: stamp.id.as_str().to_owned(),
        })
    }

    /// Writes down the entry that a tenant with a bad row keeps: what `Row::kept` reads.
    pub(super) fn keep(&mut self, id: &TenantId<'_>, tenant: Tenant) {
        let Some(stamp) = self.stamps.list.get(tenant.home.at()) else { return };
        let (tier, zones) = (self.tiers.name(tenant.tier), self.zones.as_written(tenant.fence));
        let state = tenant.state.as_str();
        self.kept.push_str(&format!("{id},{},{tier},{zones},{state}\n", stamp.id));
    }

    /// Adds a tenant whose entry stands at this place.
    pub(super) fn insert(&mut self, id: &TenantId<'_>, span: Span, tenant: Tenant) {
        match self.directory.insert(id, tenant) {
            Ok(_place) => self.places.push(span.start),
            Err(InsertError::Duplicate(first)) => {
                let first = self.directory.ordinal(first);
                let start = self.places.get(first).copied().unwrap_or_default();
                let first = Span { start, end: start + id.as_str().len() };
                self.report
                    .error(span, format!("tenant `{id}` has two entries"))
                    .note(first, "first entry")
                    .help("a tenant lives on one stamp: remove one of the entries");
            }
            Err(error @ InsertError::Full) => {
                self.report
                    .error(span, error.to_string())
                    .help("spread the tenants over several gateways");
            }
        }
    }

    /// Reads `[domains]`; `neutral` are the hosts that name nobody.
    pub(super) fn domains(
        &mut self,
        raw: &Named<Written<TenantId<'static>>>,
        neutral: &[Box<str>],
    ) -> BTreeMap<Box<str>, TenantIndex> {
        let mut places: BTreeMap<Box<str>, Span> = BTreeMap::new();
        let mut domains = BTreeMap::new();
        for (Written { value: text, span }, tenant) in &raw.0 {
            let host = match parse_domain(text) {
                Ok(host) => host.0,
                Err(error) => {
                    let expected = "a host name such as \"orders.acme.example\"";
                    self.report.error(*span, format!("`{text}`: {error}")).expected(expected);
                    continue;
                }
            };
            if let Some(first) = places.insert(host.clone(), *span) {
                self.report
                    .error(*span, format!("host `{host}` is listed twice"))
                    .note(first, "first listed here")
                    .help("a host belongs to one tenant: remove one of the entries");
                continue;
            }
            if neutral.contains(&host) {
                self.report
                    .error(*span, format!("host `{host}` is neutral and names a tenant"))
                    .help("remove it here, or from `neutral` of `[identity.host]`");
            }
            if let Some(index) = self.domain_tenant(tenant) {
                domains.insert(host, index);
            }
        }
        domains
    }

    fn domain_tenant(&mut self, tenant: &Written<TenantId<'static>>) -> Option<TenantIndex> {
        let Written { value: name, span } = tenant;
        let found = self.directory.find(name.as_str());
        if found.is_some() {
            return found;
        }
        if self.left_out.contains(name.as_str()) {
            self.report
                .warning(*span, format!("tenant `{name}` is left out, and so is this host"))
                .help("mend the tenant's row");
            return None;
        }
        let known = self.directory.iter().map(|(_, known, _)| known).take(SUGGEST_AMONG_MAX);
        let near = did_you_mean(name.as_str(), known);
        self.report
            .error(*span, format!("there is no tenant `{name}`"))
            .help(near.unwrap_or_else(|| "add it to `[tenants]` or to a tenant file".to_owned()));
        None
    }
}
