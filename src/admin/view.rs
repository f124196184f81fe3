//! Every JSON shape of the admin plane, and the words in it. Written by the handlers, read back by
//! the command line. Members are only ever added.

pub mod events;

use std::time::{Duration, UNIX_EPOCH};

use serde::de::{Deserializer, Error as _};
use serde::{Deserialize, Serialize, Serializer};
use stamp_core::id::StampId;
use stamp_core::standing::{EndpointStanding, OperatorState, OutReason, Serving, StampHealth};

use crate::diagnostics::{Report, Told};
use crate::source::{Mode, Summary};
use crate::state::report::{EndpointInfo, StampInfo};
use crate::state::{InFlightOf, ReloadStatus, StampFlights, State};

mod asks;
mod diff;
mod drill;
mod explain;
mod issuers;
mod tenants;

pub use asks::{DrainAsk, ExplainAsk, ReasonAsk, StateAsk};
pub use diff::{
    DiffView, KeysView, LimitChangeView, MovesView, NowhereView, OutView, PoolMovesView, PoolView,
    TierView,
};
pub use drill::{DrillAsk, DrillView, DrillsView, ShareView};
pub use explain::{
    AdmitView, ByView, CandidateView, DecisionView, ExplainView, RowView, SourceView, StepView,
    TokenView,
};
pub use issuers::IssuerView;
pub use tenants::{LimitsView, TenantView, TenantsView};

/// A time span written as in the files: "10m".
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span(pub Duration);

impl Serialize for Span {
    fn serialize<S: Serializer>(&self, out: S) -> Result<S::Ok, S::Error> {
        out.collect_str(&humantime::format_duration(self.0))
    }
}

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(source: D) -> Result<Self, D::Error> {
        let text = String::deserialize(source)?;
        humantime::parse_duration(&text)
            .map(Self)
            .map_err(|_wrong| D::Error::custom(format!("`{text}` is no duration such as \"10m\"")))
    }
}

/// `GET /v1/info`
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct InfoView {
    /// "stampgate"
    pub name: String,
    /// The version of the program.
    pub version: String,
    /// `node.id`
    pub node: String,
    /// The process id.
    pub pid: u32,
    /// When the process began.
    pub started_at: String,
    /// For how long it has run.
    pub uptime_s: f64,
    /// Worker threads.
    pub workers: usize,
    /// The most client connections over all listeners.
    pub connections_max: u32,
    /// Number of the table in force.
    pub generation: u64,
}

/// `GET /readyz?verbose`
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ReadyView {
    /// Whether all checks pass.
    pub ready: bool,
    /// What was looked at.
    pub checks: Vec<CheckView>,
}

/// One check of readiness.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct CheckView {
    /// What was looked at.
    pub name: String,
    /// Whether it is as it should be.
    pub ok: bool,
}

/// `GET /v1/stamps`
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct StampsView {
    /// In the order of the table.
    pub stamps: Vec<StampView>,
}

/// `GET /v1/stamps/{id}`
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct StampView {
    /// Its name.
    pub id: String,
    /// As declared.
    pub region: Option<String>,
    /// As declared.
    pub residency: Option<String>,
    /// The operator state that holds.
    pub state: String,
    /// For how long.
    pub state_since_s: f64,
    /// The operator state that routing.toml declares.
    pub declared: String,
    /// What the endpoints add up to.
    pub health: String,
    /// For how long.
    pub health_since_s: f64,
    /// May it serve?
    pub eligible: bool,
    /// "home", "split" (home for some tenants, an edge for the others), "edge" or "nobody"
    pub serving: String,
    /// The share of its tenants, in per cent, that another stamp answers for.
    pub away_percent: u8,
    /// The stamp that answers for it.
    pub answered_by: Option<String>,
    /// Why another (or it again) answers.
    pub reason: Option<String>,
    /// When it answers for itself again, if nothing happens until then.
    pub return_in_s: Option<f64>,
    /// It comes back only when an operator says so (`POST /v1/stamps/{id}/failback`): it is
    /// configured so, or was lost three times within an hour.
    pub waits_for_operator: bool,
    /// Tenants that live on it.
    pub tenants: u32,
    /// What is in flight there.
    pub in_flight: InFlightView,
    /// How old the oldest of it is.
    pub oldest_s: OldestView,
    /// Declared secondaries, in order.
    pub failover: Vec<EdgeView>,
    /// In the order of the table.
    pub endpoints: Vec<EndpointView>,
    /// While it is draining or drained.
    pub drain: Option<DrainView>,
}

/// What is in flight at a stamp, by kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct InFlightView {
    /// Requests that wait for their answer, or whose answer says how long it is.
    pub request: u32,
    /// Answers that flow without having said how long they are: server-sent events and the like.
    pub stream: u32,
    /// `WebSockets`, and other connections that switched protocols.
    pub websocket: u32,
}

/// Since how many seconds the oldest of each kind is in flight; `None` = there is none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct OldestView {
    /// As in `InFlightView`.
    pub request: Option<f64>,
    /// As in `InFlightView`.
    pub stream: Option<f64>,
    /// As in `InFlightView`.
    pub websocket: Option<f64>,
}

/// A declared secondary.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct EdgeView {
    /// Its name.
    pub to: String,
    /// `read_write` or `read_only`
    pub mode: String,
}

/// One endpoint.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct EndpointView {
    /// `host:port`
    pub endpoint: String,
    /// `up`, `unknown`, `trial`, `probe_down` or `breaker_open`
    pub standing: String,
    /// For how long.
    pub since_s: f64,
    /// What its probes say.
    pub probes: String,
    /// What its breaker says.
    pub breaker: String,
}

/// `GET /v1/stamps/{id}/drain`
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct DrainView {
    /// Its name.
    pub stamp: String,
    /// The operator state that holds; "drained" = nothing is in flight any more.
    pub state: String,
    /// Why, in the operator's words.
    pub reason: Option<String>,
    /// Who ordered it; nobody did where routing.toml declares it.
    pub actor: Option<String>,
    /// When it was ordered.
    pub since: Option<String>,
    /// By when streams and `WebSockets` are closed; where it is forced, requests are cut then too.
    pub deadline: Option<String>,
    /// The deadline is over, and requests are still in flight.
    #[serde(default)]
    pub overdue: bool,
    /// It may leave tenants with nowhere to go, and cuts what is in flight at the deadline.
    pub forced: bool,
    /// What is still in flight.
    pub in_flight: InFlightView,
    /// How old the oldest of it is.
    #[serde(default)]
    pub oldest_s: OldestView,
    /// Tenants that live there.
    pub tenants: u32,
}

/// What an order would come to: the answer to `?dry_run=true`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct DryRunView {
    /// Always true.
    pub dry_run: bool,
    /// Its name.
    pub stamp: String,
    /// `done` or `already_so`
    pub result: String,
}

impl DryRunView {
    pub(super) fn new(stamp: &StampId<'_>, result: &str) -> Self {
        Self { dry_run: true, stamp: stamp.as_str().to_owned(), result: result.to_owned() }
    }
}

/// `GET /v1/config`
#[derive(Debug, Serialize, Deserialize)]
pub struct ConfigView<D = serde_json::Value> {
    /// Number of the table in force.
    pub generation: u64,
    /// Where it comes from.
    pub file: String,
    /// It is the last known good one, not the one in the file.
    pub stale: bool,
    /// When it was accepted.
    pub accepted_at: String,
    /// How many there are.
    pub stamps: usize,
    /// How many there are.
    pub tenants: usize,
    /// How many there are.
    pub endpoints: usize,
    /// Those whose keys are fetched.
    #[serde(default)]
    pub issuers: Vec<IssuerView>,
    /// How the last reload went.
    pub last_reload: LastReloadView<D>,
}

/// How the last reload went.
#[derive(Debug, Serialize, Deserialize)]
pub struct LastReloadView<D> {
    /// "accepted" or "refused"
    pub result: String,
    /// When.
    pub at: String,
    /// Why it was refused.
    pub diagnostics: Option<D>,
}

/// `POST /v1/upgrade`
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct UpgradeView {
    /// The process that serves now.
    pub pid: u32,
}

/// `POST /v1/config/reload`
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct ReloadView {
    /// "accepted" or "unchanged"
    pub result: String,
    /// Nothing was changed, since nothing was to be.
    pub dry_run: bool,
    /// Number of the table in force.
    pub generation: u64,
    /// Tenants that live on another stamp.
    pub moved: usize,
    /// Tenants that are gone.
    pub vanished: usize,
    /// Tenants that are new.
    pub appeared: usize,
    /// Some of them.
    pub examples: Vec<String>,
    /// New stamps.
    pub stamps_added: Vec<String>,
    /// Stamps that are gone.
    pub stamps_removed: Vec<String>,
    /// Stamps that are declared otherwise.
    pub stamps_changed: Vec<String>,
    /// What was let pass, but should be looked at, as people read it.
    pub warnings: Vec<String>,
    /// Keys of gateway.toml that changed and hold only after a restart.
    pub restart_needed: Vec<String>,
}

/// `stampgate check -o json`, `POST /v1/config/validate`
#[derive(Debug, Serialize)]
pub struct CheckedView {
    /// Whether the configuration is valid.
    pub ok: bool,
    /// How many there are; 0 where it is not valid.
    pub stamps: usize,
    /// How many there are; 0 where it is not valid.
    pub tenants: usize,
    /// How many there are; 0 where it is not valid.
    pub endpoints: usize,
    /// What is wrong, or was let pass.
    pub diagnostics: Vec<Told>,
    /// What it would change; absent where no gateway was asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub changes: Option<DiffView>,
}

/// `stampgate status -o json`: the answers of three questions.
#[derive(Clone, Debug, Serialize)]
pub struct StatusView {
    /// `/v1/info`
    pub info: serde_json::Value,
    /// `/v1/config`
    pub config: serde_json::Value,
    /// `/v1/stamps`
    pub stamps: serde_json::Value,
}

/// An error as the command line reads it.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct RefusalView {
    /// The stable code.
    pub code: String,
    /// For people.
    pub detail: String,
    /// What is wrong with the files.
    pub diagnostics: Vec<DiagnosticView>,
}

/// One mistake in a file, as the command line reads it.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct DiagnosticView {
    /// The file.
    pub file: String,
    /// From 1.
    pub line: u64,
    /// From 1.
    pub column: u64,
    /// What is wrong.
    pub message: String,
    /// A concrete mend.
    pub help: Option<String>,
}

/// An error (RFC 9457).
#[derive(Debug, Serialize)]
pub(super) struct ProblemView<'a> {
    #[serde(rename = "type")]
    pub(super) kind: &'static str,
    pub(super) title: &'a str,
    pub(super) status: u16,
    pub(super) code: &'a str,
    pub(super) detail: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) tenants: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) diagnostics: Option<&'a Report>,
}

/// One line of the audit.
#[derive(Debug, Serialize)]
pub(super) struct AuditLine<'a> {
    pub(super) ts: String,
    pub(super) actor: &'a str,
    pub(super) action: &'a str,
    pub(super) target: &'a str,
    pub(super) reason: &'a str,
    pub(super) before: Option<&'a str>,
    pub(super) after: Option<&'a str>,
    pub(super) result: &'a str,
}

impl StampView {
    pub(super) fn new(info: &StampInfo) -> Self {
        let text = |text: &Option<Box<str>>| text.as_deref().map(str::to_owned);
        let state = info.operator.0;
        let is_draining = matches!(state, OperatorState::Draining | OperatorState::Drained);
        Self {
            id: info.id.to_string(),
            region: text(&info.region),
            residency: text(&info.residency),
            state: state.as_str().to_owned(),
            state_since_s: seconds(info.operator.1),
            declared: info.declared.as_str().to_owned(),
            health: health(info.health.0).to_owned(),
            health_since_s: seconds(info.health.1),
            eligible: info.eligible,
            serving: serving(info.serving).to_owned(),
            away_percent: away_percent(info.serving),
            answered_by: text(&info.answers.0),
            reason: info.serving_reason.map(str::to_owned),
            return_in_s: info.return_in.map(seconds),
            waits_for_operator: info.waits_for_operator,
            tenants: info.tenants,
            in_flight: in_flight(info),
            oldest_s: oldest(info),
            failover: info.edges.iter().map(edge).collect(),
            endpoints: info.endpoints.iter().map(EndpointView::new).collect(),
            drain: is_draining.then(|| DrainView::new(info)),
        }
    }
}

impl EndpointView {
    fn new(info: &EndpointInfo) -> Self {
        Self {
            endpoint: info.authority.to_string(),
            standing: standing(info.standing.0).to_owned(),
            since_s: seconds(info.standing.1),
            probes: info.probes.to_owned(),
            breaker: info.breaker.clone(),
        }
    }
}

impl DrainView {
    pub(super) fn new(info: &StampInfo) -> Self {
        // The record of an undrain says nothing of a drain that routing.toml declares.
        let record = info.record.as_ref().filter(|record| !record.state.takes_requests());
        let at = |at: stamp_core::time::UnixSeconds| timestamp_s(at.0);
        Self {
            stamp: info.id.to_string(),
            state: info.operator.0.as_str().to_owned(),
            reason: record.map(|it| it.reason.to_string()).filter(|reason| !reason.is_empty()),
            actor: record.map(|record| record.actor.to_string()),
            since: record.map(|record| at(record.since)),
            deadline: record.and_then(|record| record.deadline).map(at),
            forced: record
                .is_some_and(|record| record.force == stamp_core::operator::Force::Strand),
            overdue: info.overdue,
            in_flight: in_flight(info),
            oldest_s: oldest(info),
            tenants: info.tenants,
        }
    }
}

impl<'a> ConfigView<&'a Report> {
    pub(super) fn new(state: &State, status: &'a ReloadStatus, file: String) -> Self {
        let view = &state.view();
        let (result, at) = match &status.refused {
            Some(_) => ("refused", status.refused_at),
            None => ("accepted", status.accepted_at),
        };
        Self {
            generation: view.generation,
            file,
            stale: status.stale,
            accepted_at: timestamp(status.accepted_at),
            stamps: view.table.stamps().len(),
            tenants: view.table.directory.len(),
            endpoints: view.table.endpoint_count(),
            issuers: issuers::of(state, view),
            last_reload: LastReloadView {
                result: result.to_owned(),
                at: timestamp(at),
                diagnostics: status.refused.as_ref(),
            },
        }
    }
}

impl ReloadView {
    pub(super) fn accepted(summary: Summary, mode: Mode) -> Self {
        Self {
            result: "accepted".to_owned(),
            dry_run: mode == Mode::DryRun,
            generation: summary.generation,
            moved: summary.moved,
            vanished: summary.vanished,
            appeared: summary.appeared,
            examples: summary.examples,
            stamps_added: summary.stamps_added,
            stamps_removed: summary.stamps_removed,
            stamps_changed: summary.stamps_changed,
            warnings: summary.warnings.told().iter().map(ToString::to_string).collect(),
            restart_needed: summary.restart_needed.into_iter().map(str::to_owned).collect(),
        }
    }

    pub(super) fn unchanged(generation: u64, mode: Mode) -> Self {
        let (result, dry_run) = ("unchanged".to_owned(), mode == Mode::DryRun);
        Self { result, dry_run, generation, ..Self::default() }
    }
}

fn in_flight(info: &StampInfo) -> InFlightView {
    let StampFlights { requests, streams, tunnels } = info.in_flight;
    InFlightView { request: requests.count, stream: streams.count, websocket: tunnels.count }
}

fn oldest(info: &StampInfo) -> OldestView {
    let StampFlights { requests, streams, tunnels } = info.in_flight;
    let age = |of: InFlightOf| of.oldest.map(seconds);
    OldestView { request: age(requests), stream: age(streams), websocket: age(tunnels) }
}

fn edge((to, read_only): &(Box<str>, bool)) -> EdgeView {
    let mode = if *read_only { "read_only" } else { "read_write" };
    EdgeView { to: to.to_string(), mode: mode.to_owned() }
}

pub(super) const fn health(health: StampHealth) -> &'static str {
    match health {
        StampHealth::Up => "up",
        StampHealth::Unknown => "unknown",
        StampHealth::Trial => "trial",
        StampHealth::Down => "down",
    }
}

pub(super) const fn serving(serving: Serving) -> &'static str {
    match serving {
        Serving::Home => "home",
        Serving::Split { .. } => "split",
        Serving::Edge(_) => "edge",
        Serving::Nobody => "nobody",
    }
}

const fn away_percent(serving: Serving) -> u8 {
    match serving {
        Serving::Home => 0,
        Serving::Split { away, .. } => away,
        Serving::Edge(_) | Serving::Nobody => 100,
    }
}

pub(super) const fn standing(standing: EndpointStanding) -> &'static str {
    match standing {
        EndpointStanding::Up => "up",
        EndpointStanding::Warming(_) => "warming",
        EndpointStanding::Unknown => "unknown",
        EndpointStanding::Trial => "trial",
        EndpointStanding::Out(OutReason::ProbeDown) => "probe_down",
        EndpointStanding::Out(OutReason::BreakerOpen) => "breaker_open",
    }
}

/// Seconds to the millisecond.
pub(super) fn seconds(span: Duration) -> f64 {
    (span.as_secs_f64() * 1e3).round() / 1e3
}

/// Wall time (since 1970) as RFC 3339 writes it, to the millisecond.
pub(super) fn timestamp(wall: Duration) -> String {
    UNIX_EPOCH
        .checked_add(wall)
        .map_or_else(String::new, |at| humantime::format_rfc3339_millis(at).to_string())
}

/// Seconds since 1970 as RFC 3339 writes them.
fn timestamp_s(unix_s: u64) -> String {
    // Beyond the year 9999 there is no such text.
    let at = UNIX_EPOCH + Duration::from_secs(unix_s.min(253_402_300_799));
    humantime::format_rfc3339_seconds(at).to_string()
}
