//! Which stamp serves a request, by one View: asks core, and hands out trials.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use stamp_core::failover::{self, Choice, Needs, Refusal, TrialRisk};
use stamp_core::id::StampIndex;
use stamp_core::resolve::Target;
use stamp_core::retry::MethodClass;
use stamp_core::standing::{EndpointStanding, OutReason};
use stamp_core::time::Moment;

use super::error::ProxyError;
use super::worker::{Worker, WorkerView};

/// What core needs to know to choose a stamp.
pub(super) fn needs(target: &Target, method: MethodClass, view: &WorkerView) -> Needs {
    Needs::of(target, method, (&view.table, &view.standings.stamps))
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
    let offers = |stamp, risk| has_trial(view, stamp, risk, now);
    failover::choose_or_try(&view.table, &view.standings.stamps, needs, offers)
        .map_err(ProxyError::Refused)
}

/// Is there an endpoint whose trial nobody has?
fn has_trial(view: &WorkerView, stamp: StampIndex, risk: TrialRisk, now: Moment) -> bool {
    view.table.stamp(stamp).endpoints.iter().any(|endpoint| {
        let standing = view.standings.endpoints.get(endpoint.index.at());
        standing == Some(&EndpointStanding::Trial)
            && view.endpoint(endpoint.index).offers_trial(risk, now)
    })
}
