//! `[[tenant_file]]`: CSV (RFC 4180) with a header line. A bad row keeps its tenant's former entry;
//! too many of them, or a bad structure, refuse the whole file.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use hashbrown::HashMap;

use super::tenant_rows::{Row, Rows};
use super::tenants::{FenceError, Tenants};
use super::tiers::UnknownTier;
use super::zones::TooManyZones;
use super::{RoutingTable, TenantState, TierIndex};
use crate::directory::{FenceIndex, Tenant};
use crate::document::{Origin, Report, Span};
use crate::id::{IdError, StampId, StampIndex, TenantId};
use crate::raw::parse_zone;

/// The largest tenant file: some millions of tenants.
pub(super) const FILE_BYTES_MAX: usize = 256 << 20;

/// The most bad rows of a file that are told with what is wrong; of the others only the lines are.
const ROWS_LISTED_MAX: usize = 100;

/// What to do about a bad row.
const MEND_ROW: &str = "mend this row";

/// The text of one tenant file.
pub(super) struct TenantFile<'a> {
    /// Where routing.toml names it.
    pub(super) named_at: Span,
    /// Where it is.
    pub(super) path: PathBuf,
    /// What stood in its place before: rows that are bad now keep their entry of then.
    pub(super) former: &'a FormerEntries<'a>,
}

/// The entries that tenants had before.
#[derive(Debug)]
pub(super) struct FormerEntries<'a> {
    table: Option<&'a RoutingTable>,
    /// Lines of `Loaded::kept`, by tenant.
    kept: HashMap<&'a str, &'a str>,
}

impl<'a> FormerEntries<'a> {
    pub(super) fn new(table: Option<&'a RoutingTable>, kept: &'a str) -> Self {
        let by_tenant = |line: &'a str| line.split_once(',').map(|(tenant, _)| (tenant, line));
        Self { table, kept: kept.lines().filter_map(by_tenant).collect() }
    }

    /// The entry of this tenant, if it still makes sense.
    fn entry(&self, id: &TenantId<'_>, tenants: &mut Tenants<'_>) -> Option<Tenant> {
        if let Some(former) = self.table
            && let Some(index) = former.directory.find(id.as_str())
        {
            let tenant = former.directory.tenant(index);
            let home = tenants.home(former.stamp(tenant.home).id.as_str())?.0;
            let fence = tenants.zones.fence_like(former, tenant.fence).ok()?;
            tenants.check_home(home, fence).ok()?;
            let tier = tenants.tiers.like(former, tenant.tier);
            return Some(Tenant { home, fence, state: tenant.state, tier });
        }
        Row::kept(self.kept.get(id.as_str())?)?.tenant(tenants).ok()
    }
}

impl TenantFile<'_> {
    /// Reads the file and adds its tenants.
    pub(super) fn load(
        &self,
        read: &mut dyn FnMut(&Path) -> io::Result<Arc<[u8]>>,
        tenants: &mut Tenants<'_>,
    ) {
        let Some((bytes, base)) = self.read(read, tenants.report) else { return };
        let Some(text) = text_of(&bytes, base, tenants.report) else { return };
        let mut rows = Rows::new(text, base);
        let Some(columns) = rows.columns(tenants.report) else { return };
        tenants.reserve(memchr::memchr_iter(b'\n', &bytes).count());
        let mut bad = BadRows::default();
        while rows.next(tenants.report) {
            bad.rows += 1;
            self.add_row(&rows.row(&columns), tenants, &mut bad);
        }
        tenants.bad_rows.kept += bad.kept;
        tenants.bad_rows.left_out += bad.bad - bad.kept;
        bad.tell(self, tenants.report);
    }

    /// The bytes, and their place.
    fn read(
        &self,
        read: &mut dyn FnMut(&Path) -> io::Result<Arc<[u8]>>,
        report: &mut Report,
    ) -> Option<(Arc<[u8]>, usize)> {
        let bytes = match read(&self.path) {
            Ok(bytes) => bytes,
            Err(error) => {
                report
                    .error(self.named_at, format!("cannot read {}: {error}", self.path.display()))
                    .help("the path is relative to the directory of this file");
                return None;
            }
        };
        if bytes.len() > FILE_BYTES_MAX {
            report
                .error(self.named_at, format!("{} has over 256 MiB", self.path.display()))
                .help("split it into several tenant files");
            return None;
        }
        let base = report.add_text(self.path.clone(), Origin::File, Arc::clone(&bytes));
        Some((bytes, base))
    }

    fn add_row(&self, row: &Row<'_>, tenants: &mut Tenants<'_>, bad: &mut BadRows) {
        let id = match TenantId::parse(row.tenant) {
            Ok(id) => id,
            Err(error) => {
                bad.add(row, format!("{}: the row is left out", RowError::Tenant(error)));
                return;
            }
        };
        let error = match row.tenant(tenants) {
            Ok(tenant) => return tenants.insert(&id, row.span, tenant),
            Err(error) => error,
        };
        if let Some(former) = self.former.entry(&id, tenants) {
            bad.add(row, format!("tenant `{id}`: {error}: it keeps its former entry"));
            bad.kept += 1;
            tenants.keep(&id, former);
            tenants.insert(&id, row.span, former);
            return;
        }
        bad.add(row, format!("tenant `{id}`: {error}: it is left out"));
        tenants.left_out.insert(id.as_str().to_owned());
    }
}

/// The file as text.
fn text_of<'a>(bytes: &'a [u8], base: usize, report: &mut Report) -> Option<&'a str> {
    let told = |error: &std::str::Utf8Error| {
        let at = base + error.valid_up_to();
        report
            .error(Span { start: at, end: at }, "this is not UTF-8")
            .help("save the file as UTF-8");
    };
    str::from_utf8(bytes).inspect_err(told).ok()
}

/// Why a row is bad.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
enum RowError {
    #[error("this row has {found} columns and the header has {expected}")]
    Columns { found: usize, expected: usize },
    #[error("this is no tenant id: {0}")]
    Tenant(#[source] IdError),
    #[error("`{0}` is no stamp id")]
    Stamp(String),
    #[error("there is no stamp `{0}`")]
    UnknownStamp(String),
    #[error("`{0}` is no residency zone")]
    Zone(String),
    #[error("unknown state `{0}`")]
    State(String),
    #[error(transparent)]
    Tier(#[from] UnknownTier),
    #[error(transparent)]
    Fence(#[from] FenceError),
    #[error(transparent)]
    TooMany(#[from] TooManyZones),
}

impl Row<'_> {
    fn tenant(&self, tenants: &mut Tenants<'_>) -> Result<Tenant, RowError> {
        if self.found != self.expected {
            return Err(RowError::Columns { found: self.found, expected: self.expected });
        }
        // Most rows write the id as it is stored.
        let (home, home_fence) = match tenants.home(self.stamp) {
            Some(found) => found,
            None => self.home(tenants)?,
        };
        let state = match self.state {
            "" | "active" => TenantState::Active,
            "suspended" => TenantState::Suspended,
            "offboarded" => TenantState::Offboarded,
            other => return Err(RowError::State(other.to_owned())),
        };
        let tier = match self.tier {
            "" => TierIndex::STANDARD,
            name => tenants.tiers.find(name)?,
        };
        if self.residency.is_empty() {
            return Ok(Tenant { home, fence: home_fence, state, tier });
        }
        let zones = self.residency.split('|').map(|text| {
            let zone = parse_zone(text).map_err(|_no_zone| RowError::Zone(text.to_owned()))?;
            Ok::<_, RowError>(tenants.zones.zone(&zone.0)?)
        });
        let zones = zones.collect::<Result<Vec<_>, _>>()?;
        Ok(Tenant { home, fence: tenants.fence(home, zones)?, state, tier })
    }

    fn home(&self, tenants: &Tenants<'_>) -> Result<(StampIndex, FenceIndex), RowError> {
        let id =
            StampId::parse(self.stamp).map_err(|_no_id| RowError::Stamp(self.stamp.to_owned()))?;
        tenants.home(id.as_str()).ok_or_else(|| RowError::UnknownStamp(id.as_str().to_owned()))
    }
}

/// The bad rows of one file.
#[derive(Default)]
struct BadRows {
    rows: usize,
    bad: usize,
    /// Those whose tenants keep their former entry.
    kept: usize,
    listed: Vec<(Span, String)>,
    /// The lines of those that are not listed: from, to.
    unlisted: Vec<(u64, u64)>,
}

impl BadRows {
    fn add(&mut self, row: &Row<'_>, message: String) {
        self.bad += 1;
        if self.listed.len() < ROWS_LISTED_MAX {
            self.listed.push((row.span, message));
            return;
        }
        match self.unlisted.last_mut() {
            Some((_, to)) if *to + 1 == row.line => *to = row.line,
            _ => self.unlisted.push((row.line, row.line)),
        }
    }

    fn tell(self, file: &TenantFile<'_>, report: &mut Report) {
        let Self { rows, bad, listed, unlisted, .. } = self;
        // At most one row in a hundred.
        let is_refused = bad * 100 > rows;
        if is_refused {
            report
                .error(file.named_at, format!("{bad} of {rows} rows are bad: more than 1 %"))
                .help("mend the rows; the file is refused as a whole");
        }
        let more = bad - listed.len();
        for (span, message) in listed {
            let told = if is_refused {
                report.error(span, message)
            } else {
                report.warning(span, message)
            };
            told.help(MEND_ROW);
        }
        if more > 0 && !is_refused {
            let (path, lines) = (file.path.display(), lines(&unlisted));
            report
                .warning(file.named_at, format!("{more} more rows are bad: {path}:{lines}"))
                .help("mend them as well");
        }
    }
}

/// "7, 9-12"
fn lines(ranges: &[(u64, u64)]) -> String {
    let tell = |(from, to): &(u64, u64)| {
        if from == to { from.to_string() } else { format!("{from}-{to}") }
    };
    ranges.iter().map(tell).collect::<Vec<_>>().join(", ")
}
