//! Which stamp serves a request, by one View: asks core, and hands out trials.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use stamp_core::failover::{self, Choice, Fence, Needs, Refusal};
use stamp_core::id::StampIndex;
use stamp_core::resolve::Target;
use stamp_core::retry::MethodClass;
use stamp_core::standing::{EndpointStanding, OutReason, Serving, Slot, StampHealth};
use stamp_core::time::Moment;

use super::error::ProxyError;
use super::worker::{Worker, WorkerView};
use crate::state::TrialRisk;

/// What core needs to know to choose a stamp.
pub(super) fn needs(target: &Target, method: MethodClass, view: &WorkerView) -> Needs {
    let directory = &view.table.directory;
    let fence = |tenant| Fence::Tenant(directory.tenant(tenant).fence);
    let fence = target.tenant.map_or(Fence::Home, fence);
    let standing = view.standings.stamps.get(target.home.at());
    let is_split = standing.is_some_and(|it| matches!(it.serving, Serving::Split { .. }));
    // The name is hashed only where that decides something.
    let name = if is_split { target.tenant_name(&view.table) } else { None };
    let slot = name.map_or(Slot::OF_NOBODY, Slot::of);
    Needs { home: target.home, fence, method, slot }
}

/// So long a request waits for the probe that it asked for.
const PROBE_TAKES: Duration = Duration::from_millis(100);

/// Who serves, and by which View.
///
/// Where home is down and nobody may serve for it, the first request to come asks for a probe at once
/// and waits a moment for it; the others are refused as ever. So a stamp that has come up need not
/// wait for its next probe, and a gateway that was started before its stamps loses nothing.
pub(super) async fn found(
    worker: &Worker,
    view: Rc<WorkerView>,
    target: &Target,
    method: MethodClass,
) -> Result<(Rc<WorkerView>, Choice), ProxyError> {
    let refused = match choose(&view, target, method, worker.lately()) {
        Ok(choice) => return Ok((view, choice)),
        Err(refused) => refused,
    };
    let ProxyError::Refused(Refusal::StampUnavailable { home }) = refused else {
        return Err(refused);
    };
    let mut changes = worker.state().changes();
    let due = worker.now().after(PROBE_TAKES);
    if !ask_for_probes(worker, &view, home) {
        return Err(refused);
    }
    loop {
        tokio::select! {
            changed = changes.changed() => if changed.is_err() { return Err(refused) },
            () = tokio::time::sleep_until(worker.clock().instant(due)) => return Err(refused),
        }
        let now = worker.view();
        if !Arc::ptr_eq(&now.table, &view.table) {
            // The request stays with the table that it was resolved by.
            return Err(refused);
        }
        if let Ok(choice) = choose(&now, target, method, worker.now()) {
            return Ok((now, choice));
        }
    }
}

/// Asks for probes of all endpoints of a stamp that probes say are down. Says whether any was asked
/// for: not, where another request has just done so.
fn ask_for_probes(worker: &Worker, view: &WorkerView, stamp: StampIndex) -> bool {
    let mut asked = false;
    for endpoint in &view.table.stamp(stamp).endpoints {
        let standing = view.standings.endpoints.get(endpoint.index.at());
        let cell = view.endpoint(endpoint.index);
        if standing == Some(&EndpointStanding::Out(OutReason::ProbeDown))
            && cell.may_ask(worker.lately())
        {
            worker.state().ask_probe(cell.number);
            asked = true;
        }
    }
    asked
}

/// Who serves, by this View: a half-open breaker first, if its one trial is to be had.
fn choose(
    view: &WorkerView,
    target: &Target,
    method: MethodClass,
    now: Moment,
) -> Result<Choice, ProxyError> {
    let needs = needs(target, method, view);
    let standings = &view.standings.stamps;
    let chosen = failover::choose(&view.table, standings, needs);
    let home = standings.get(target.home.at()).map(|standing| standing.health);
    // Who would be refused otherwise has nothing to lose.
    let risk = if chosen.is_err() { TrialRisk::None } else { risk_of(method) };
    if (chosen.is_err() || home == Some(StampHealth::Trial))
        && let Some(trial) = failover::choose_trial(&view.table, standings, needs)
        && has_trial(view, trial.stamp, risk, now)
    {
        return Ok(trial);
    }
    chosen.map_err(ProxyError::Refused)
}

/// Is there an endpoint whose trial nobody has?
fn has_trial(view: &WorkerView, stamp: StampIndex, risk: TrialRisk, now: Moment) -> bool {
    view.table.stamp(stamp).endpoints.iter().any(|endpoint| {
        let standing = view.standings.endpoints.get(endpoint.index.at());
        standing == Some(&EndpointStanding::Trial)
            && view.endpoint(endpoint.index).offers_trial(risk, now)
    })
}

/// What becomes of such a request when it was a trial that failed.
pub(super) const fn risk_of(method: MethodClass) -> TrialRisk {
    match method {
        MethodClass::Safe | MethodClass::Idempotent => TrialRisk::None,
        MethodClass::Other => TrialRisk::Lost,
    }
}
