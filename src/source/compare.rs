//! What the files would change, and what is to be said of them, without doing any of it.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use stamp_core::diagnostic::Diagnostic;
use stamp_core::diff::{self, Moves, TooManyMoves};
use stamp_core::id::StampIndex;
use stamp_core::operator;
use stamp_core::reach::{self, Stranded, Tally};
use stamp_core::standing::{OperatorState, StampHealth, StampStanding};
use stamp_core::table::{RoutingTable, Stamp};

use super::load::{self, Former, Inputs, Loaded, Wanted};
use super::{Reloader, load_settings, snapshot};
use crate::auth::KeyRing;
use crate::clock::Clock;
use crate::diagnostics::Report;
use crate::settings::{Settings, restart_keys};
use crate::state::{self, Records};

/// What a valid configuration holds, and what it would change.
#[derive(Clone, Debug)]
pub struct Validated {
    /// How many stamps.
    pub stamps: usize,
    /// How many tenants.
    pub tenants: usize,
    /// How many endpoints.
    pub endpoints: usize,
    /// What it would change.
    pub changes: Comparison,
}

/// What the files would change.
#[derive(Clone, Debug)]
pub struct Comparison {
    /// The number of the table in force, where a gateway was asked.
    pub generation: Option<u64>,
    /// Tenants, stamps, edges and the rest.
    pub moves: Moves,
    /// Tenants that nobody could serve at this moment.
    pub nowhere: Vec<Nowhere>,
    /// The stamps that take no request at this moment.
    pub stamps_out: Vec<(String, WhyOut)>,
    /// Why the mass-change guard would refuse.
    pub guard: Option<TooManyMoves>,
    /// What was let pass, but should be looked at.
    pub warnings: Report,
    /// Keys of gateway.toml that changed and hold only after a restart.
    pub restart_needed: Vec<&'static str>,
}

/// Why a stamp takes no request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WhyOut {
    /// Somebody said so: an operator, or routing.toml.
    State(OperatorState),
    /// Probes or breakers do.
    Health(StampHealth),
}

/// Tenants of one home that nobody could serve.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Nowhere {
    /// Their home.
    pub stamp: String,
    /// Those with an entry.
    pub tenants: Tally,
    /// So it is with those that a hash places there.
    pub placed: bool,
}

impl Comparison {
    /// Do the files say what is in force?
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.moves.is_empty() && self.restart_needed.is_empty()
    }
}

impl Reloader {
    /// Judges the files and tells what a reload would change, and changes nothing.
    pub async fn validate(&self) -> Result<Validated, Report> {
        let running = self.running.lock().await;
        let former = self.state.view();
        let (settings, loaded, moves) = self.read(&running, Arc::clone(&former)).await?;
        let restart_needed = restart_keys(&running.settings, &settings);
        let telling = tokio::task::spawn_blocking(move || {
            let standings = (&*former.table, &*former.standings.stamps);
            let (nowhere, stamps_out) = nowhere(&loaded.table, |stamp| why_out(standings, stamp));
            let changes = Comparison {
                generation: Some(former.generation),
                guard: guard(&moves, &former.table, &settings),
                nowhere,
                stamps_out,
                moves,
                warnings: warnings(&loaded),
                restart_needed,
            };
            Validated {
                stamps: loaded.table.stamps().len(),
                tenants: loaded.table.directory.len(),
                endpoints: loaded.table.endpoint_count(),
                changes,
            }
        });
        telling.await.map_err(|panic| self.failure(&panic))
    }

    /// Tells what a reload would change, and changes nothing.
    pub async fn compare(&self) -> Result<Comparison, Report> {
        Ok(self.validate().await?.changes)
    }
}

/// Compares the files of a gateway.toml, or of its directory, with those of another, or with the
/// last table that a gateway of it accepted. No gateway is asked, so that nothing is known of what
/// probes say; what operators said is in the journal of the gateway that it is compared with.
pub fn compare_files(
    config: &Path,
    from: Option<&Path>,
    clock: Clock,
) -> Result<Comparison, Report> {
    let settings = load_settings(&gateway_toml(config))?;
    let (before, old) = match from {
        Some(from) => {
            let settings = load_settings(&gateway_toml(from))?;
            let loaded = load::load(&Wanted::of(&settings), Inputs::Disk, None, clock)?;
            (settings, loaded.table)
        }
        None => (settings.clone(), last_accepted(&settings, clock)?),
    };
    let former = Former { table: &old, tls: None, downstreams: None };
    let new = load::load(&Wanted::of(&settings), Inputs::Disk, Some(former), clock)?;
    let moves = diff::moves(&old, &new.table);
    let (records, unread) = orders(&before.state_directory);
    let (nowhere, stamps_out) = nowhere(&new.table, |stamp| {
        let state = operator::effective(stamp.declared, records.get(&stamp.id));
        (!state.takes_requests()).then_some(WhyOut::State(state))
    });
    let warnings = warnings(&new);
    Ok(Comparison {
        generation: None,
        guard: guard(&moves, &old, &settings),
        nowhere,
        stamps_out,
        moves,
        warnings: match unread {
            Some(unread) => warnings.and(unread),
            None => warnings,
        },
        restart_needed: restart_keys(&before, &settings),
    })
}

/// What a start with these files would be decided by.
#[derive(Debug)]
pub struct Offline {
    /// gateway.toml.
    pub settings: Settings,
    /// routing.toml and the files of tenants.
    pub table: RoutingTable,
    /// The keys of its issuers; of those that are fetched, what a gateway fetched last.
    pub keys: KeyRing,
}

/// Reads the files of a gateway.toml, or of its directory, as a start would.
pub fn read_files(config: &Path, clock: Clock) -> Result<Offline, Report> {
    let settings = load_settings(&gateway_toml(config))?;
    let loaded = super::load_at_start(&settings, clock)?;
    Ok(Offline { settings, table: loaded.table, keys: loaded.keys })
}

/// What operators said of stamps, or why that is not known.
fn orders(directory: &Path) -> (Records, Option<Report>) {
    match state::read_journal(directory) {
        Ok(records) => (records, None),
        Err(error) => {
            let message = format!("what operators said of stamps is not known: {error}");
            (Records::new(), Some(Report::of_file(directory, message)))
        }
    }
}

fn gateway_toml(path: &Path) -> PathBuf {
    if path.is_dir() { path.join("gateway.toml") } else { path.to_owned() }
}

/// The table that was accepted last.
pub(super) fn last_accepted(settings: &Settings, clock: Clock) -> Result<RoutingTable, Report> {
    let directory = &settings.state_directory;
    let snapshot = snapshot::read(directory).map_err(|error| {
        let message = format!("there is no table to compare with: {error}");
        Report::of_file(directory, message)
    })?;
    // The copy may be older than what gateway.toml says of listeners.
    let wanted = Wanted::of(settings).without_listeners();
    load::load(&wanted, Inputs::Copy(&snapshot), None, clock).map(|loaded| loaded.table)
}

fn guard(moves: &Moves, old: &RoutingTable, settings: &Settings) -> Option<TooManyMoves> {
    diff::guard(moves, old.directory.len(), settings.live.guard_percent).err()
}

/// Why this stamp of a new table could not serve at this moment; `None` = it could. One that is new is
/// as it is declared.
fn why_out((old, standings): (&RoutingTable, &[StampStanding]), stamp: &Stamp) -> Option<WhyOut> {
    let out = |state: OperatorState| (!state.takes_requests()).then_some(WhyOut::State(state));
    let Some(index) = old.find_stamp(&stamp.id) else { return out(stamp.declared) };
    let Some(standing) = standings.get(index.at()) else { return out(stamp.declared) };
    let (was_declared, takes) = (old.stamp(index).declared, standing.operator.takes_requests());
    // What an operator took out stays out; what was only declared goes by the new declaration.
    let by_operator = takes != was_declared.takes_requests();
    let stays = by_operator || was_declared == stamp.declared;
    let unsound = match standing.health {
        StampHealth::Up | StampHealth::Unknown => None,
        StampHealth::Trial | StampHealth::Down => Some(WhyOut::Health(standing.health)),
    };
    out(if stays { standing.operator } else { stamp.declared }).or(unsound)
}

/// The tenants that nobody could serve, and the stamps that are out.
fn nowhere(
    table: &RoutingTable,
    why_out: impl Fn(&Stamp) -> Option<WhyOut>,
) -> (Vec<Nowhere>, Vec<(String, WhyOut)>) {
    let out: Vec<Option<WhyOut>> = table.stamps().iter().map(why_out).collect();
    let is_eligible = |stamp: StampIndex| out.get(stamp.at()).is_some_and(Option::is_none);
    let tell = |Stranded { home, tenants, placed }| Nowhere {
        stamp: table.stamp(home).id.to_string(),
        tenants,
        placed,
    };
    let nowhere = reach::nowhere(table, is_eligible).into_iter().map(tell).collect();
    let stamps = table.stamps().iter().zip(&out);
    let out = stamps.filter_map(|(stamp, out)| Some((stamp.id.to_string(), (*out)?)));
    (nowhere, out.collect())
}

/// What was let pass, and who has nowhere to go, or would have if its home failed.
pub(super) fn warnings(loaded: &Loaded) -> Report {
    let stranded = reach::without_home(&loaded.table);
    if stranded.is_empty() {
        return loaded.warnings.clone();
    }
    let tell = |Stranded { home, tenants, placed }: Stranded| Diagnostic {
        source: 0,
        span: loaded.stamp_places.get(home.at()).cloned().unwrap_or(0..0),
        message: without_home(&loaded.table, home, (&tenants, placed)),
        label: None,
        help: Some("declare a stamp of their residency as `failover`, or accept it".to_owned()),
        note: None,
    };
    let told = stranded.into_iter().map(tell).collect();
    loaded.warnings.clone().and(Report::warnings(told, vec![loaded.main.clone()]))
}

fn without_home(
    table: &RoutingTable,
    home: StampIndex,
    (tenants, placed): (&Tally, bool),
) -> String {
    let id = &table.stamp(home).id;
    let whose = match (tenants.count, placed) {
        (0, _) => "the tenants that a hash places there".to_owned(),
        (count, false) => format!("{count} tenants ({})", listed(tenants)),
        (count, true) => {
            format!("{count} tenants ({}) and those that a hash places there", listed(tenants))
        }
    };
    let declared = table.stamp(home).declared;
    if declared.takes_requests() {
        return format!("if stamp `{id}` fails, {whose} have nowhere to go");
    }
    format!("stamp `{id}` is declared `{}`: {whose} have nowhere to go", declared.as_str())
}

/// The examples, and that there are more.
fn listed(tenants: &Tally) -> String {
    let more = if tenants.examples.len() < tenants.count { ", ..." } else { "" };
    format!("{}{more}", tenants.examples.join(", "))
}
