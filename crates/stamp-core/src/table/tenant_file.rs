//! `[[tenant_file]]`: CSV (RFC 4180) with a header line. A bad row keeps its tenant's former entry;
//! too many of them, or a bad structure, refuse the whole file.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::tenants::{FenceError, Tenants};
use super::tiers::UnknownTier;
use super::zones::TooManyZones;
use super::{RoutingTable, TenantState, TierIndex};
use crate::directory::{FenceIndex, Tenant};
use crate::document::{Origin, Report, Span, did_you_mean};
use crate::id::{IdError, StampId, StampIndex, TenantId};
use crate::raw::parse_zone;

/// The largest tenant file: some millions of tenants.
pub(super) const FILE_BYTES_MAX: usize = 256 << 20;

/// The most bad rows that are listed one by one.
const ROWS_LISTED_MAX: usize = 20;

/// What to do about a bad row.
const MEND_ROW: &str = "mend this row";

const COLUMNS: [&str; 5] = ["tenant", "stamp", "tier", "residency", "state"];

/// The text of one tenant file.
pub(super) struct TenantFile<'a> {
    /// Where routing.toml names it.
    pub(super) named_at: Span,
    /// Where it is.
    pub(super) path: PathBuf,
    /// What stood in its place before: rows that are bad now keep their entry of then.
    pub(super) former: Option<&'a RoutingTable>,
}

impl TenantFile<'_> {
    /// Reads the file and adds its tenants.
    pub(super) fn load(
        &self,
        read: &mut dyn FnMut(&Path) -> io::Result<Arc<[u8]>>,
        tenants: &mut Tenants<'_>,
    ) {
        let Some((bytes, base)) = self.read(read, tenants.report) else { return };
        let mut rows = Rows::new(&bytes, base);
        let Some(columns) = rows.columns(tenants.report) else { return };
        tenants.reserve(memchr::memchr_iter(b'\n', &bytes).count());
        let mut bad = BadRows::default();
        while let Some(span) = rows.next(tenants.report) {
            bad.rows += 1;
            self.add_row(&columns.row(&rows.record, span), tenants, &mut bad);
        }
        bad.tell(self.named_at, tenants.report);
    }

    /// The bytes, which are UTF-8, and their place.
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
        if let Err(error) = str::from_utf8(&bytes) {
            let at = base + error.valid_up_to();
            report
                .error(Span { start: at, end: at }, "this is not UTF-8")
                .help("save the file as UTF-8");
            return None;
        }
        Some((bytes, base))
    }

    fn add_row(&self, row: &Row<'_>, tenants: &mut Tenants<'_>, bad: &mut BadRows) {
        let id = match TenantId::parse(row.tenant) {
            Ok(id) => id,
            Err(error) => {
                bad.add(row.span, format!("{}: the row is left out", RowError::Tenant(error)));
                return;
            }
        };
        let error = match row.tenant(tenants) {
            Ok(tenant) => return tenants.insert(&id, row.span, tenant),
            Err(error) => error,
        };
        if let Some(former) = self.former_entry(&id, tenants) {
            bad.add(row.span, format!("tenant `{id}`: {error}: it keeps its former entry"));
            tenants.kept += 1;
            tenants.insert(&id, row.span, former);
            return;
        }
        bad.add(row.span, format!("tenant `{id}`: {error}: it is left out"));
        tenants.left_out.insert(id.as_str().to_owned());
    }

    /// The tenant's entry in the former table, if it still makes sense in the new one.
    fn former_entry(&self, id: &TenantId<'_>, tenants: &mut Tenants<'_>) -> Option<Tenant> {
        let former = self.former?;
        let tenant = former.directory.tenant(former.directory.find(id.as_str())?);
        let home = tenants.home(former.stamp(tenant.home).id.as_str())?.0;
        let fence = tenants.zones.fence_like(former, tenant.fence).ok()?;
        tenants.check_home(home, fence).ok()?;
        let tier = tenants.tiers.like(former, tenant.tier);
        Some(Tenant { home, fence, state: tenant.state, tier })
    }
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

/// The rows of a file, one at a time.
struct Rows<'a> {
    reader: csv::Reader<&'a [u8]>,
    bytes: &'a [u8],
    base: usize,
    record: csv::ByteRecord,
    is_over: bool,
}

impl<'a> Rows<'a> {
    fn new(bytes: &'a [u8], base: usize) -> Self {
        let mut builder = csv::ReaderBuilder::new();
        let reader = builder.has_headers(false).flexible(true).from_reader(bytes);
        Self { reader, bytes, base, record: csv::ByteRecord::new(), is_over: false }
    }

    /// Moves on to the next row and says where it stands.
    fn next(&mut self, report: &mut Report) -> Option<Span> {
        if self.is_over {
            return None;
        }
        match self.reader.read_byte_record(&mut self.record) {
            Ok(true) => {}
            Ok(false) => return None,
            Err(error) => {
                report
                    .error(self.span(), format!("this is no CSV: {error}"))
                    .help("mend this row (RFC 4180)");
                return None;
            }
        }
        if self.record.iter().any(|field| memchr::memchr(b'\n', field).is_some()) {
            // Nothing that may stand in a row has line breaks: a quote was not closed, and the
            // rest of the file went into one field.
            self.is_over = true;
            report
                .error(self.span(), "a quoted field goes on in the next line")
                .help("close the quotes");
            return None;
        }
        Some(self.span())
    }

    fn span(&self) -> Span {
        let offset = self.record.position().map_or(0, csv::Position::byte);
        let offset = usize::try_from(offset).unwrap_or(usize::MAX);
        let rest = self.bytes.get(offset..).unwrap_or_default();
        // The reader's position is before the line break that ends the row before.
        let blank = rest.iter().take_while(|byte| matches!(byte, b'\r' | b'\n')).count();
        let line = rest.get(blank..).unwrap_or_default();
        let bytes = memchr::memchr2(b'\r', b'\n', line).unwrap_or(line.len());
        let start = self.base + offset + blank;
        Span { start, end: start + bytes }
    }

    /// Reads the header line.
    fn columns(&mut self, report: &mut Report) -> Option<Columns> {
        let start = Span { start: self.base, end: self.base };
        let help = "the first line names the columns: `tenant,stamp`, and `,tier,residency,state`";
        let Some(span) = self.next(report) else {
            if !self.is_over {
                report.error(start, "this tenant file has no header line").help(help);
            }
            return None;
        };
        let mut columns = Columns { places: [None; COLUMNS.len()], count: self.record.len() };
        let mut is_good = true;
        for (place, field) in self.record.iter().enumerate() {
            let name = String::from_utf8_lossy(field);
            let Some(column) = COLUMNS.iter().position(|column| *column == name) else {
                let near = did_you_mean(&name, COLUMNS);
                report
                    .error(span, format!("unknown column `{name}`"))
                    .help(near.unwrap_or_else(|| help.to_owned()));
                is_good = false;
                continue;
            };
            let slot = columns.places.get_mut(column);
            if slot.and_then(|slot| slot.replace(place)).is_some() {
                report
                    .error(span, format!("column `{name}` is named twice"))
                    .help("remove one of them");
                is_good = false;
            }
        }
        for (name, place) in COLUMNS.iter().zip(columns.places).take(2) {
            if place.is_none() && is_good {
                report.error(span, format!("there is no column `{name}`")).help(help);
                return None;
            }
        }
        is_good.then_some(columns)
    }
}

/// Which column means what: places of `COLUMNS`.
struct Columns {
    places: [Option<usize>; COLUMNS.len()],
    count: usize,
}

impl Columns {
    fn row<'a>(&self, record: &'a csv::ByteRecord, span: Span) -> Row<'a> {
        let [tenant, stamp, tier, residency, state] = self.places.map(|place| {
            // The whole file was found to be UTF-8, and fields end at ASCII bytes.
            place.and_then(|place| str::from_utf8(record.get(place)?).ok()).unwrap_or_default()
        });
        let (found, expected) = (record.len(), self.count);
        Row { span, tenant, stamp, tier, residency, state, found, expected }
    }
}

/// One row: what is absent is empty.
struct Row<'a> {
    span: Span,
    tenant: &'a str,
    stamp: &'a str,
    tier: &'a str,
    residency: &'a str,
    state: &'a str,
    found: usize,
    expected: usize,
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
    listed: Vec<(Span, String)>,
}

impl BadRows {
    fn add(&mut self, span: Span, message: String) {
        self.bad += 1;
        if self.listed.len() < ROWS_LISTED_MAX {
            self.listed.push((span, message));
        }
    }

    fn tell(self, named_at: Span, report: &mut Report) {
        let Self { rows, bad, listed } = self;
        let unlisted = bad - listed.len();
        // At most one row in a hundred.
        if bad * 100 > rows {
            report
                .error(named_at, format!("{bad} of {rows} rows are bad: more than 1 %"))
                .help("mend the rows; the file is refused as a whole");
            for (span, message) in listed {
                report.error(span, message).help(MEND_ROW);
            }
            return;
        }
        for (span, message) in listed {
            report.warning(span, message).help(MEND_ROW);
        }
        if unlisted > 0 {
            report
                .warning(named_at, format!("{unlisted} more rows of this file are bad"))
                .help("mend them as well");
        }
    }
}
