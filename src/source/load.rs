//! Files -> a table, its keys and all certificates. Every file is read once: what is judged is what is kept as the
//! last known good copy.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use stamp_core::diagnostic::{Diagnostic, SourceText};
use stamp_core::table::{self, Circumstances, OwnAddress, OwnDoor, RoutingTable};

use super::keys::kept;
use super::snapshot::Snapshot;
use crate::auth::{KeyError, KeyRing};
use crate::clock::Clock;
use crate::diagnostics::Report;
use crate::settings::{self, ListenerTls, Settings};
use crate::state::{Installation, View};
use crate::tls::downstream::Downstreams;
use crate::tls::{TlsError, Upstreams};

/// The largest file that is read at all: a CSV of about five million tenants.
const FILE_BYTES_MAX: u64 = 256 * 1024 * 1024;

/// The files that a table was made of, by path.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Files(BTreeMap<PathBuf, Arc<[u8]>>);

impl Files {
    /// Adds one.
    pub(super) fn add(&mut self, path: PathBuf, bytes: Arc<[u8]>) {
        self.0.insert(path, bytes);
    }

    /// The file of this path. The program that wrote a copy may have started elsewhere: what was
    /// relative for it ends the whole path.
    fn find(&self, path: &Path) -> Option<Arc<[u8]>> {
        let whole = std::path::absolute(path).ok()?;
        let is_same = |known: &Path| {
            known.is_relative() && whole.ends_with(known.strip_prefix(".").unwrap_or(known))
        };
        let found = self.0.get(path).or_else(|| self.0.get(&whole));
        found.or_else(|| self.0.iter().find(|(known, _)| is_same(known)).map(|(_, it)| it)).cloned()
    }

    /// Their paths.
    pub(super) fn paths(&self) -> impl Iterator<Item = &PathBuf> {
        self.0.keys()
    }

    /// Do they hold something else on disk by now?
    pub(super) fn have_changed(&self) -> bool {
        self.0.iter().any(|(path, bytes)| !read(path).is_ok_and(|now| now == *bytes))
    }

    /// Paths and contents.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&PathBuf, &Arc<[u8]>)> {
        self.0.iter()
    }
}

/// Where the files are taken from.
#[derive(Clone, Copy, Debug)]
pub(super) enum Inputs<'a> {
    /// The file system.
    Disk,
    /// A copy.
    Copy(&'a Snapshot),
}

/// A table and everything that goes with it.
#[derive(Debug)]
pub(super) struct Loaded {
    pub(super) table: RoutingTable,
    pub(super) keys: KeyRing,
    pub(super) tls: Upstreams,
    pub(super) downstreams: Downstreams,
    pub(super) warnings: Report,
    pub(super) files: Files,
    /// The entries that tenants with bad rows keep.
    pub(super) kept: String,
    /// routing.toml, and where it names each stamp.
    pub(super) main: SourceText,
    pub(super) stamp_places: Vec<Range<usize>>,
}

/// What stood before: tenants whose rows are bad keep their entry of then.
#[derive(Clone, Copy, Debug)]
pub(super) struct Former<'a> {
    pub(super) table: &'a RoutingTable,
    /// What was made of files that have not changed is kept.
    pub(super) tls: Option<&'a Upstreams>,
    /// Listeners and sessions that go on.
    pub(super) downstreams: Option<&'a Downstreams>,
}

impl<'a> Former<'a> {
    /// The View in force.
    pub(super) fn of(view: &'a View) -> Self {
        let (tls, downstreams) = (Some(&*view.tls), Some(&*view.downstreams));
        Self { table: &view.table, tls, downstreams }
    }
}

impl Loaded {
    /// What is kept to start with when the files are gone.
    pub(super) fn snapshot(&self) -> Snapshot {
        Snapshot { files: self.files.clone(), kept: self.kept.clone() }
    }

    pub(super) fn install(self, settings: &Settings) -> Installation {
        Installation {
            table: Arc::new(self.table),
            keys: Arc::new(self.keys),
            tls: Arc::new(self.tls),
            downstreams: Arc::new(self.downstreams),
            live: Arc::new(settings.live.clone()),
        }
    }
}

/// What is asked of a load.
#[derive(Clone, Debug)]
pub(super) struct Wanted {
    /// routing.toml.
    routing: PathBuf,
    /// Where no endpoint may lead.
    own: Vec<OwnAddress>,
    /// The digests of admin tokens: read along, so that a new one is noticed.
    digests: Vec<PathBuf>,
    /// `state.directory`: fetched keys are kept there.
    state: Option<PathBuf>,
    /// How listeners shake hands.
    listeners: BTreeMap<Box<str>, ListenerTls>,
}

impl Wanted {
    /// All that these settings name.
    pub(super) fn of(settings: &Settings) -> Self {
        let admin = OwnAddress { address: settings.admin.bind, door: OwnDoor::Admin };
        let listeners = settings.listeners.iter().flat_map(|listener| &listener.bind);
        let listener = |address: &_| OwnAddress { address: *address, door: OwnDoor::Listener };
        let tokens = settings.live.admin_tokens.iter();
        Self {
            routing: settings.routing.file.clone(),
            own: std::iter::once(admin).chain(listeners.map(listener)).collect(),
            digests: tokens.map(|token| token.sha256_file.clone()).collect(),
            state: Some(settings.state_directory.clone()),
            listeners: settings.live.tls.clone(),
        }
    }

    /// A routing.toml alone, whose gateway.toml is refused.
    pub(super) fn alone(routing: PathBuf) -> Self {
        let listeners = BTreeMap::new();
        Self { routing, own: Vec::new(), digests: Vec::new(), state: None, listeners }
    }

    /// The same without the certificates of listeners.
    pub(super) fn without_listeners(self) -> Self {
        Self { listeners: BTreeMap::new(), ..self }
    }

    /// The addresses of these settings are taken as well: until a restart they are in force.
    pub(super) fn beside(mut self, running: &Settings) -> Self {
        self.own.extend(Self::of(running).own);
        self
    }
}

/// Reads gateway.toml and the environment's overrides.
pub fn load_settings(config: &Path) -> Result<Settings, Report> {
    Ok(settings::load(read_text(config)?, std::env::vars())?)
}

/// The routing.toml of a gateway.toml that is refused, if it can be told.
pub(super) fn routing_file(config: &Path) -> Option<PathBuf> {
    settings::routing_file(read_text(config).ok()?, std::env::vars())
}

/// Reads and judges routing.toml and all that it names.
pub(super) fn load(
    wanted: &Wanted,
    inputs: Inputs<'_>,
    former: Option<Former<'_>>,
    clock: Clock,
) -> Result<Loaded, Report> {
    let mut files = Files::default();
    let mut read = |path: &Path| -> io::Result<Arc<[u8]>> {
        let bytes = match inputs {
            Inputs::Disk => read(path)?,
            Inputs::Copy(copy) => {
                copy.files.find(path).ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))?
            }
        };
        files.add(path.to_owned(), Arc::clone(&bytes));
        Ok(bytes)
    };
    let main = &wanted.routing;
    let bytes = read(main).map_err(|error| unreadable(main, &error))?;
    let main = text(main, &bytes)?;
    let table = former.map(|former| former.table);
    let kept = match inputs {
        Inputs::Disk => "",
        Inputs::Copy(copy) => &copy.kept,
    };
    let circumstances = Circumstances { former: table, kept, own: &wanted.own };
    let loaded = table::load_in(main.clone(), &mut read, circumstances)?;
    let keys = KeyRing::build(&loaded.table.identity.jwt, &mut read).map_err(|errors| {
        let of = |error: &KeyError| (error.path.clone(), error.fault.to_string());
        let files: Vec<_> = errors.iter().map(of).collect();
        Report::of_files(files.iter().map(|(path, fault)| (path.as_path(), fault.clone())))
    });
    let of_stamps = former.and_then(|former| former.tls);
    let tls = Upstreams::build(&loaded.table, of_stamps, clock, &mut read)
        .map_err(|errors| told_of_tls(&errors, &loaded.tls_files, main.clone()));
    let of_listeners = former.and_then(|former| former.downstreams);
    let downstreams = Downstreams::build(&wanted.listeners, of_listeners, clock, &mut read)
        .map_err(|errors| told_of_listeners(&errors));
    let (keys, tls, downstreams) = match (keys, tls, downstreams) {
        (Ok(keys), Ok(tls), Ok(downstreams)) => (keys, tls, downstreams),
        (keys, tls, downstreams) => {
            let refused = [tls.err(), keys.err(), downstreams.err()].into_iter().flatten();
            return Err(refused.fold(Report::errors(Vec::new(), Vec::new()), Report::and));
        }
    };
    for digest in &wanted.digests {
        // One that cannot be read opens nothing; `admin::access` says so.
        drop(read(digest));
    }
    let keys = keys.recall(|issuer| {
        wanted.state.as_ref().and_then(|state| kept::read(state, issuer, clock.wall()))
    });
    let warnings = Report::warnings(loaded.warnings, loaded.sources)
        .and(Report::warnings_of_files(downstreams.doubtful(clock)));
    let (table, kept, stamp_places) = (loaded.table, loaded.kept, loaded.stamp_places);
    Ok(Loaded { table, keys, tls, downstreams, warnings, files, kept, main, stamp_places })
}

/// Mistakes in files of TLS, told where routing.toml names them.
fn told_of_tls(
    errors: &[TlsError],
    places: &BTreeMap<PathBuf, Range<usize>>,
    main: SourceText,
) -> Report {
    let told = |error: &TlsError| Diagnostic {
        source: 0,
        span: error.path.as_ref().and_then(|path| places.get(path)).cloned().unwrap_or(0..0),
        message: error.fault.to_string(),
        label: None,
        help: Some(error.fault.help().to_owned()),
        note: None,
    };
    Report::errors(errors.iter().map(told).collect(), vec![main])
}

/// Mistakes in the files of listeners, told where they are.
fn told_of_listeners(errors: &[TlsError]) -> Report {
    let nowhere = Path::new("");
    Report::of_files_with_help(errors.iter().map(|error| {
        let path = error.path.as_deref().unwrap_or(nowhere);
        (path, error.fault.to_string(), Some(error.fault.help().to_owned()))
    }))
}

fn read(path: &Path) -> io::Result<Arc<[u8]>> {
    let file = File::open(path)?;
    let mut bytes = Vec::new();
    file.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, "larger than 256 MiB"));
    }
    Ok(bytes.into())
}

fn read_text(path: &Path) -> Result<SourceText, Report> {
    let bytes = read(path).map_err(|error| unreadable(path, &error))?;
    text(path, &bytes)
}

fn text(path: &Path, bytes: &[u8]) -> Result<SourceText, Report> {
    let text = std::str::from_utf8(bytes)
        .map_err(|_not_utf8| Report::of_file(path, "the file is not UTF-8"))?;
    Ok(SourceText { path: path.to_owned(), text: text.into() })
}

fn unreadable(path: &Path, error: &io::Error) -> Report {
    Report::of_file(path, format!("the file cannot be read: {error}"))
}
