//! routing.toml as written -> `RoutingTable`, or every mistake at once. Does no I/O: `read` does.

use std::collections::BTreeMap;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::own::{OwnAddress, refuse_own_addresses};
use super::stamps::Stamps;
use super::tenant_file::{FormerEntries, TenantFile};
use super::tenants::{Gathered, Tenants};
use super::tiers::Tiers;
use super::zones::Zones;
use super::{Identity, RoutingTable, TenantCount, TenantState, identity, placement, proof};
use crate::diagnostic::{Diagnostic, Rejected, SourceText};
use crate::directory::Directory;
use crate::document::{self, Findings, Report, Span, Written, beside};
use crate::raw::{self, RawRouting, RawTenantFile};

/// The largest routing.toml. What is larger belongs into tenant files.
pub const FILE_BYTES_MAX: usize = 4 << 20;

/// A table and what was found on the way to it.
#[derive(Debug)]
pub struct Loaded {
    /// The table.
    pub table: RoutingTable,
    /// What is wrong and was lived with: bad rows of tenant files.
    pub warnings: Vec<Diagnostic>,
    /// The texts that the warnings point into.
    pub sources: Vec<SourceText>,
    /// Every file that routing.toml names: tenant files, key files and those of TLS, joined to its
    /// directory.
    pub files: Vec<PathBuf>,
    /// Where routing.toml first names each file of TLS, in bytes.
    pub tls_files: BTreeMap<PathBuf, Range<usize>>,
    /// Where routing.toml names each stamp, in bytes.
    pub stamp_places: Vec<Range<usize>>,
    /// The entries that tenants with bad rows keep: for `Circumstances::kept`, when the same files
    /// are read again and nothing stands before them.
    pub kept: String,
}

/// What a table is judged by besides its own text.
#[derive(Clone, Copy, Debug, Default)]
pub struct Circumstances<'a> {
    /// The table in force, from which tenants with bad rows keep their entry.
    pub former: Option<&'a RoutingTable>,
    /// What `Loaded::kept` was when these files were accepted.
    pub kept: &'a str,
    /// The gateway's own addresses, which no endpoint may have.
    pub own: &'a [OwnAddress],
}

/// Loads a table that knows nothing of the gateway around it: see `load_in`.
pub fn load(
    main: SourceText,
    read: &mut dyn FnMut(&Path) -> io::Result<Arc<[u8]>>,
    former: Option<&RoutingTable>,
) -> Result<Loaded, Rejected> {
    load_in(main, read, Circumstances { former, ..Circumstances::default() })
}

/// Loads a table. `read` reads a file that routing.toml names.
pub fn load_in(
    main: SourceText,
    read: &mut dyn FnMut(&Path) -> io::Result<Arc<[u8]>>,
    circumstances: Circumstances<'_>,
) -> Result<Loaded, Rejected> {
    let (file, text) = (main.path.clone(), Arc::clone(&main.text));
    let mut report = Report::new(main);
    if text.len() > FILE_BYTES_MAX {
        report
            .error(Span::default(), "routing.toml has over 4 MiB")
            .help("move `[tenants]` into a `[[tenant_file]]`");
        return Err(report.finish().into());
    }
    let raw = document::open(&text, &mut report).and_then(|tree| raw::read(tree, &mut report));
    // In a broken text nothing refers to anything for certain.
    let Some(raw) = raw.filter(|_| !report.has_syntax_errors()) else {
        return Err(report.finish().into());
    };
    let former = FormerEntries::new(circumstances.former, circumstances.kept);
    let mut loading = Loading { file: &file, read, former, report };
    refuse_own_addresses(&raw.stamp, circumstances.own, &mut loading.report);
    let Built { table, tls_files, stamp_places, kept } = loading.build(&raw);
    let mut files = loading.tenant_files(&raw.tenant_file);
    files.extend(table.identity.key_files());
    files.extend(tls_files.keys().cloned());
    if loading.report.has_errors() {
        return Err(loading.report.finish().into());
    }
    let Findings { warnings, sources, .. } = loading.report.finish();
    Ok(Loaded { table, warnings, sources, files, tls_files, stamp_places, kept })
}

/// What is built of a text.
struct Built {
    table: RoutingTable,
    tls_files: TlsFiles,
    stamp_places: Vec<Range<usize>>,
    kept: String,
}

/// Where routing.toml first names each file of TLS.
type TlsFiles = BTreeMap<PathBuf, Range<usize>>;

struct Loading<'a> {
    file: &'a Path,
    read: &'a mut dyn FnMut(&Path) -> io::Result<Arc<[u8]>>,
    former: FormerEntries<'a>,
    report: Report,
}

impl Loading<'_> {
    /// Builds the table. What is wrong is in the report, and the table is then good for nothing.
    fn build(&mut self, raw: &RawRouting) -> Built {
        let mut zones = Zones::new();
        let stamps = Stamps::build(raw, self.file, &mut zones, &mut self.report);
        let identity = identity::build(&raw.identity, self.file, &mut self.report);
        let tiers = Tiers::build(&raw.tier, &mut self.report);
        let mut tenants = Tenants::new(&stamps, &tiers, &mut zones, &mut self.report);
        tenants.add_inline(&raw.tenants);
        add_tenant_files(&raw.tenant_file, (self.file, &self.former), self.read, &mut tenants);
        let domains = tenants.domains(&raw.domains, &identity.host.neutral);
        let Gathered { directory, kept, left_out, bad_rows } = tenants.finish();
        let placement = placement::build(raw, &stamps, left_out, &mut self.report);
        proof::prove_residency(&stamps, &directory, &mut zones, &mut self.report);
        let tenants_by_stamp = count_tenants(stamps.list.len(), &directory);
        let (residencies, fences) = zones.into_parts();
        let Stamps { list, by_id, endpoint_owner, tls_places, id_spans, .. } = stamps;
        // The main text is the first: its places are bytes of it.
        let stamp_places = id_spans.into_iter().map(|span| span.start..span.end).collect();
        let table = RoutingTable {
            identity,
            stamps: list,
            stamp_by_id: by_id,
            endpoint_owner,
            residencies,
            fences,
            tiers: tiers.into_list(),
            directory,
            domains,
            tenants_by_stamp,
            placement,
            bad_rows,
        };
        let mut tls_files = tls_places.into_files();
        tls_files.extend(identity::files_of_tls(&raw.identity, self.file));
        Built { table, tls_files, stamp_places, kept }
    }

    fn tenant_files(&self, raw: &[RawTenantFile]) -> Vec<PathBuf> {
        raw.iter().map(|file| beside(self.file, &file.path.value)).collect()
    }
}

/// How many tenants live on each of so many stamps.
fn count_tenants(stamps: usize, directory: &Directory) -> Vec<TenantCount> {
    let mut counts = vec![TenantCount::default(); stamps];
    for (_, _, tenant) in directory.iter() {
        if let Some(count) = counts.get_mut(tenant.home.at()) {
            count.all += 1;
            count.active += u32::from(tenant.state == TenantState::Active);
        }
    }
    counts
}

/// Reads the tenant files that `file` names.
fn add_tenant_files(
    raw: &[RawTenantFile],
    (file, former): (&Path, &FormerEntries<'_>),
    read: &mut dyn FnMut(&Path) -> io::Result<Arc<[u8]>>,
    tenants: &mut Tenants<'_>,
) {
    let mut places: BTreeMap<PathBuf, Span> = BTreeMap::new();
    for RawTenantFile { path: Written { value, span } } in raw {
        let path = beside(file, value);
        if let Some(first) = places.insert(path.clone(), *span) {
            tenants
                .report
                .error(*span, "this tenant file is named twice")
                .note(first, "first named here")
                .help("remove one of them");
            continue;
        }
        TenantFile { named_at: *span, path, former }.load(read, tenants);
    }
}

impl Identity {
    /// The files with the keys of all issuers.
    pub fn key_files(&self) -> impl Iterator<Item = PathBuf> {
        self.jwt.iter().filter_map(|rule| rule.keys.file().cloned())
    }
}
