//! Everything that is known of the stamps at one moment, owned: for the admin plane.

use std::time::Duration;

use stamp_core::fleet::{EndpointReport, Fleet, StampReport};
use stamp_core::id::StampIndex;
use stamp_core::operator::OperatorRecord;
use stamp_core::standing::{EndpointStanding, OperatorState, Serving, StampHealth};

use super::{InFlightOf, StampFlights, View};
use crate::clock::Clock;

/// One stamp.
#[derive(Clone, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
pub struct StampInfo {
    /// Its name.
    pub id: Box<str>,
    /// Its region, as declared.
    pub region: Option<Box<str>>,
    /// Its residency zone, as declared.
    pub residency: Option<Box<str>>,
    /// The operator's word, and for how long it has been that.
    pub operator: (OperatorState, Duration),
    /// What routing.toml declares.
    pub declared: OperatorState,
    /// What the operator decided.
    pub record: Option<OperatorRecord>,
    /// What the endpoints add up to, and for how long.
    pub health: (StampHealth, Duration),
    /// May it serve?
    pub eligible: bool,
    /// Whether home, an edge or nobody answers.
    pub serving: Serving,
    /// The stamp that answers for it, and for how long.
    pub answers: (Option<Box<str>>, Duration),
    /// Why, if it was ever decided otherwise than at the start.
    pub serving_reason: Option<&'static str>,
    /// When it answers for itself again, if nothing happens until then.
    pub return_in: Option<Duration>,
    /// It comes back only when an operator says so.
    pub waits_for_operator: bool,
    /// Tenants that live on it.
    pub tenants: u32,
    /// The number of its cell.
    pub number: u32,
    /// What is in flight there: as its cell counts it, without ages.
    pub in_flight: StampFlights,
    /// It is draining, and its deadline is over.
    pub overdue: bool,
    /// Where its failover edges lead, and whether only reading goes there.
    pub edges: Vec<(Box<str>, bool)>,
    /// Its endpoints.
    pub endpoints: Vec<EndpointInfo>,
}

/// One endpoint.
#[derive(Clone, Debug)]
pub struct EndpointInfo {
    /// `host:port`
    pub authority: Box<str>,
    /// Its standing, and for how long.
    pub standing: (EndpointStanding, Duration),
    /// What its probes say.
    pub probes: &'static str,
    /// What its breaker says.
    pub breaker: String,
}

/// Everything about all stamps.
pub(super) fn of_fleet(fleet: &Fleet, view: &View, clock: Clock) -> Vec<StampInfo> {
    let indices = (0..).map(StampIndex).take(view.table.stamps().len());
    let reports = indices.filter_map(|index| Some((index, fleet.stamp_report(index)?)));
    reports.map(|(index, report)| of_stamp(index, &report, view, clock)).collect()
}

fn of_stamp(index: StampIndex, report: &StampReport<'_>, view: &View, clock: Clock) -> StampInfo {
    let now = clock.now();
    let stamp = view.table.stamp(index);
    let cell = view.stamp(index);
    let residency = stamp.residency.map(|zone| view.table.residency_name(zone).into());
    let read_only = |mode| mode == stamp_core::table::EdgeMode::ReadOnly;
    let edges = stamp.failover.iter();
    let answers = report.answers.as_ref().map(|id| id.as_str().into());
    StampInfo {
        id: stamp.id.as_str().into(),
        region: stamp.region.clone(),
        residency,
        operator: (report.standing.operator, now.since(report.operator_since)),
        declared: report.declared,
        record: report.record.cloned(),
        health: (report.standing.health, now.since(report.health_since)),
        eligible: report.standing.is_eligible(),
        serving: report.standing.serving,
        answers: (answers, now.since(report.serving_since)),
        serving_reason: report.serving_reason.map(stamp_core::fleet::FlipReason::as_str),
        return_in: report.return_due.map(|due| due.since(now)),
        waits_for_operator: report.waits_for_operator,
        tenants: view.table.tenants_on(index),
        number: cell.number,
        in_flight: StampFlights {
            requests: InFlightOf::counted(cell.requests()),
            streams: InFlightOf::default(),
            tunnels: InFlightOf::counted(cell.tunnels()),
        },
        overdue: is_overdue(report, clock),
        edges: edges
            .map(|edge| (view.table.stamp(edge.to).id.as_str().into(), read_only(edge.mode)))
            .collect(),
        endpoints: report.endpoints.iter().map(|it| of_endpoint(it, clock)).collect(),
    }
}

fn is_overdue(report: &StampReport<'_>, clock: Clock) -> bool {
    let deadline = report.record.and_then(|record| record.deadline);
    let is_draining = report.standing.operator == OperatorState::Draining;
    is_draining && deadline.is_some_and(|at| at <= clock.unix())
}

fn of_endpoint(report: &EndpointReport<'_>, clock: Clock) -> EndpointInfo {
    EndpointInfo {
        authority: report.authority.into(),
        standing: (report.standing, clock.now().since(report.since)),
        probes: report.health.as_str(),
        breaker: report.breaker.as_str().to_owned(),
    }
}
