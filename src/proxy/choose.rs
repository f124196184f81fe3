//! Which stamp serves a request, by one View: asks core, and hands out trials.

use stamp_core::failover::{self, Choice, Fence, Needs};
use stamp_core::id::StampIndex;
use stamp_core::resolve::Target;
use stamp_core::retry::MethodClass;
use stamp_core::standing::{EndpointStanding, Serving, Slot, StampHealth};
use stamp_core::time::Moment;

use super::error::ProxyError;
use super::worker::WorkerView;
use crate::state::TrialRisk;

/// What core needs to know to choose a stamp.
pub(super) fn needs(target: &Target, method: MethodClass, view: &WorkerView) -> Needs {
    let directory = &view.table.directory;
    let fence = |tenant| Fence::Tenant(directory.tenant(tenant).fence);
    let fence = target.tenant.map_or(Fence::Home, fence);
    let standing = view.standings.stamps.get(target.home.at());
    let is_split = standing.is_some_and(|it| matches!(it.serving, Serving::Split { .. }));
    // The name is hashed only where that decides something.
    let slot = target.tenant.filter(|_| is_split);
    let slot = slot.map_or(Slot::OF_NOBODY, |tenant| Slot::of(directory.name(tenant)));
    Needs { home: target.home, fence, method, slot }
}

/// Who serves, by this View: a half-open breaker first, if its one trial is to be had.
pub(super) fn choose(
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
