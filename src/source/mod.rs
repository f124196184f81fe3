//! Where tables come from: the files, watched, and the last known good copy; and the keys that
//! issuers publish. What is refused
//! changes nothing; what is accepted is on disk before it is in force.

mod compare;
mod keys;
mod load;
mod loader;
mod snapshot;
mod watch;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use stamp_core::diff;
use stamp_core::table::RoutingTable;
use tokio::sync::Mutex;

pub use compare::{Comparison, Nowhere, Offline, Validated, WhyOut, compare_files, read_files};
pub use keys::run as keep_keys;
pub use load::{Files, load_settings};
pub use watch::run as watch;

use crate::clock::Clock;
use crate::diagnostics::Report;
use crate::settings::{Settings, restart_keys};
use crate::state::{Command, Installation, ReloadResult, State, View};
use load::{Former, Inputs, Loaded, Wanted};

/// Loads, guards, persists and installs tables: one at a time.
#[derive(Debug)]
pub struct Reloader {
    state: Arc<State>,
    config: PathBuf,
    running: Mutex<Running>,
}

/// What is in force, as it was read.
#[derive(Debug)]
struct Running {
    settings: Settings,
    files: Files,
}

/// May the mass-change guard refuse?
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Guard {
    /// Yes.
    #[default]
    Keep,
    /// No: somebody said that the change is meant.
    Override,
}

/// Is the new table put in force?
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// Yes.
    #[default]
    Apply,
    /// No, only judged.
    DryRun,
}

/// How to reload.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ReloadAsk {
    /// May the mass-change guard refuse?
    pub guard: Guard,
    /// Is the new table put in force?
    pub mode: Mode,
}

/// What came of a reload.
#[derive(Clone, Debug)]
pub enum ReloadOutcome {
    /// The new table is in force (or would be).
    Accepted(Box<Summary>),
    /// The files say what is in force already.
    Unchanged,
    /// What was in force stays.
    Refused(Report),
    /// Another process is about to take over, and reads the files itself.
    HandingOver,
}

/// What a reload changed.
#[derive(Clone, Debug)]
pub struct Summary {
    /// The table's number; of a dry run, that of the table in force.
    pub generation: u64,
    /// Tenants with another home.
    pub moved: usize,
    /// Tenants that are gone.
    pub vanished: usize,
    /// Tenants that are new.
    pub appeared: usize,
    /// A few of them: "acme: eu-1 -> eu-2".
    pub examples: Vec<String>,
    /// Stamps that are new.
    pub stamps_added: Vec<String>,
    /// Stamps that are gone.
    pub stamps_removed: Vec<String>,
    /// Stamps that changed.
    pub stamps_changed: Vec<String>,
    /// What was let pass, but should be looked at.
    pub warnings: Report,
    /// Keys of gateway.toml that changed and hold only after a restart.
    pub restart_needed: Vec<&'static str>,
}

/// A first table, and where it came from.
#[derive(Debug)]
pub struct First {
    /// What to start with.
    pub installation: Installation,
    /// How it came about.
    pub result: ReloadResult,
    /// The files that it was made of.
    pub files: Files,
}

/// Loads the first table: the files, else the last known good copy of them.
pub fn first(settings: &Settings, clock: Clock) -> Result<First, Report> {
    let loaded = match load_at_start(settings, clock) {
        Ok(loaded) => loaded,
        Err(report) => return from_snapshot(settings, clock, report),
    };
    log_warnings(&loaded.warnings);
    if let Err(error) = snapshot::write(&settings.state_directory, &loaded.snapshot()) {
        tracing::error!(%error, "the last known good copy could not be written");
    }
    let result = ReloadResult::Accepted { at: clock.wall() };
    Ok(First { files: loaded.files.clone(), installation: loaded.install(settings), result })
}

/// Reads the files. A tenant whose row is bad keeps the entry of the table that was accepted last, as
/// it would in a reload: a restart must not take it away. That table is only read when it is needed.
fn load_at_start(settings: &Settings, clock: Clock) -> Result<Loaded, Report> {
    let wanted = Wanted::of(settings);
    let loaded = load::load(&wanted, Inputs::Disk, None, clock)?;
    if loaded.table.bad_rows.left_out == 0 {
        return Ok(loaded);
    }
    let Ok(table) = compare::last_accepted(settings, clock) else { return Ok(loaded) };
    let former = Former { table: &table, tls: None, downstreams: None };
    load::load(&wanted, Inputs::Disk, Some(former), clock)
}

/// Judges the files as a start would, and changes nothing: the table and what was let pass.
pub fn check(settings: &Settings, clock: Clock) -> Result<(RoutingTable, Report), Report> {
    let loaded = load_at_start(settings, clock)?;
    let warnings = compare::warnings(&loaded);
    Ok((loaded.table, warnings))
}

/// Judges the routing.toml of a gateway.toml that is refused, as far as it can be found.
pub fn check_routing_of_refused(config: &Path, clock: Clock) -> Result<(), Report> {
    let Some(routing) = load::routing_file(config) else { return Ok(()) };
    load::load(&Wanted::alone(routing), Inputs::Disk, None, clock).map(drop)
}

fn from_snapshot(settings: &Settings, clock: Clock, report: Report) -> Result<First, Report> {
    let snapshot = match snapshot::read(&settings.state_directory) {
        Ok(snapshot) => snapshot,
        Err(error) => {
            tracing::warn!(%error, "there is no last known good copy to start from");
            return Err(report);
        }
    };
    let copied = load::load(&Wanted::of(settings), Inputs::Copy(&snapshot), None, clock);
    let Ok(loaded) = copied else { return Err(report) };
    for problem in report.told() {
        tracing::error!(%problem, "the files are refused; the last known good copy serves");
    }
    let result = ReloadResult::StartedStale { at: clock.wall(), report };
    Ok(First { files: loaded.files.clone(), installation: loaded.install(settings), result })
}

impl Reloader {
    /// A reloader that goes on from what was loaded first.
    #[must_use]
    pub fn new(state: Arc<State>, config: PathBuf, settings: Settings, files: Files) -> Arc<Self> {
        Arc::new(Self { state, config, running: Mutex::new(Running { settings, files }) })
    }

    /// Reads the files anew and puts what they say in force, if it is right.
    pub async fn reload(&self, ask: ReloadAsk) -> ReloadOutcome {
        let mut running = self.running.lock().await;
        if ask.mode == Mode::Apply && self.state.is_handing_over() {
            return ReloadOutcome::HandingOver;
        }
        let outcome =
            self.try_reload(&mut running, ask).await.unwrap_or_else(ReloadOutcome::Refused);
        if ask.mode == Mode::Apply {
            self.note(&outcome);
        }
        outcome
    }

    async fn try_reload(
        &self,
        running: &mut Running,
        ask: ReloadAsk,
    ) -> Result<ReloadOutcome, Report> {
        let former = self.state.view();
        let tenants_before = former.table.directory.len();
        let (settings, loaded, moves) = self.read(running, former).await?;
        let stale = self.state.reload_status().stale;
        if loaded.files == running.files && settings.live == running.settings.live && !stale {
            return Ok(ReloadOutcome::Unchanged);
        }
        if ask.guard == Guard::Keep {
            let share_max = settings.live.guard_percent;
            diff::guard(&moves, tenants_before, share_max)
                .map_err(|refusal| too_many_moves(&settings, &refusal))?;
        }
        let restart_needed = restart_keys(&running.settings, &settings);
        let in_force = self.state.view().generation;
        let mut summary = summary(in_force, moves, (loaded.warnings.clone(), restart_needed));
        if ask.mode == Mode::Apply {
            summary.generation = self.apply(running, settings, loaded).await?;
        }
        Ok(ReloadOutcome::Accepted(Box::new(summary)))
    }

    /// Reads and judges the files, and compares them with what is in force.
    async fn read(
        &self,
        running: &Running,
        former: Arc<View>,
    ) -> Result<(Settings, Loaded, diff::Moves), Report> {
        let clock = self.state.clock();
        let config = self.config.clone();
        let in_force = running.settings.clone();
        let loading = loader::run(move || {
            let settings = load_settings(&config)?;
            let wanted = Wanted::of(&settings).beside(&in_force);
            let loaded = load::load(&wanted, Inputs::Disk, Some(Former::of(&former)), clock)?;
            let moves = diff::moves(&former.table, &loaded.table);
            Ok((settings, loaded, moves))
        });
        loading.await.unwrap_or_else(|error| Err(self.failure(&error)))
    }

    /// On disk first, then in force.
    async fn apply(
        &self,
        running: &mut Running,
        settings: Settings,
        loaded: Loaded,
    ) -> Result<u64, Report> {
        let directory = running.settings.state_directory.clone();
        let snapshot = loaded.snapshot();
        let written = loader::run(move || snapshot::write(&directory, &snapshot));
        match written.await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => return Err(self.failure(&error)),
            Err(error) => return Err(self.failure(&error)),
        }
        log_warnings(&loaded.warnings);
        running.files = loaded.files.clone();
        let installation = Box::new(loaded.install(&settings));
        running.settings = settings;
        let installed = self.state.ask(|done| Command::Install(installation, done)).await;
        installed.map_err(|stopping| self.failure(&stopping))
    }

    /// A refusal that no file is to blame for.
    fn failure(&self, error: &dyn std::error::Error) -> Report {
        Report::of_file(&self.config, error.to_string())
    }

    fn note(&self, outcome: &ReloadOutcome) {
        let at = self.state.clock().wall();
        match outcome {
            ReloadOutcome::Accepted(summary) => {
                tracing::info!(
                    generation = summary.generation,
                    moved = summary.moved,
                    vanished = summary.vanished,
                    appeared = summary.appeared,
                    "routing table accepted"
                );
                if !summary.restart_needed.is_empty() {
                    tracing::warn!(keys = ?summary.restart_needed, "these hold after a restart");
                }
                self.state.note_reload(ReloadResult::Accepted { at });
            }
            ReloadOutcome::HandingOver => {}
            ReloadOutcome::Unchanged => self.state.note_reload(ReloadResult::Unchanged),
            ReloadOutcome::Refused(report) => {
                for problem in report.told() {
                    tracing::error!(%problem, "reload refused; what was in force stays");
                }
                self.state.note_reload(ReloadResult::Refused { at, report: report.clone() });
            }
        }
    }

    /// Do the files say something else than what is in force? What changed after it was read and
    /// before it was watched gives no notice.
    async fn has_missed_a_change(&self) -> bool {
        let running = self.running.lock().await;
        if self.state.reload_status().stale {
            // Refused already, and said.
            return false;
        }
        let (settings, files) = (running.settings.clone(), running.files.clone());
        let config = self.config.clone();
        let comparing = tokio::task::spawn_blocking(move || {
            load_settings(&config).ok() != Some(settings) || files.have_changed()
        });
        comparing.await.unwrap_or(false)
    }

    /// The files to watch: gateway.toml, routing.toml and what those name.
    async fn watched(&self) -> (Vec<PathBuf>, Settings) {
        let running = self.running.lock().await;
        let mut paths: Vec<PathBuf> = running.files.paths().cloned().collect();
        paths.push(self.config.clone());
        let tokens = &running.settings.live.admin_tokens;
        paths.extend(tokens.iter().map(|token| token.sha256_file.clone()));
        (paths, running.settings.clone())
    }
}

fn too_many_moves(settings: &Settings, refusal: &diff::TooManyMoves) -> Report {
    let help =
        "where that is meant, force it: `stampgate reload --force`, `?force=true`".to_owned();
    let file = &*settings.routing.file;
    Report::of_files_with_help([(file, refusal.to_string(), Some(help))])
}

fn summary(
    generation: u64,
    moves: diff::Moves,
    (warnings, restart_needed): (Report, Vec<&'static str>),
) -> Summary {
    Summary {
        generation,
        moved: moves.moved,
        vanished: moves.vanished,
        appeared: moves.appeared,
        examples: moves.examples,
        stamps_added: moves.stamps_added,
        stamps_removed: moves.stamps_removed,
        stamps_changed: moves.stamps_changed,
        warnings,
        restart_needed,
    }
}

fn log_warnings(warnings: &Report) {
    for warning in warnings.told() {
        tracing::warn!(%warning, "configuration");
    }
}
