//! May this request come in? Its tenant's limits, which hold over all workers. What it counts for is
//! given back when its stamp has said all of the answer, or its tunnel ends. A request that names a stamp
//! alone counts for nobody. Whether the stamp has room for it is asked when it is sent (`forward`).

use stamp_core::admission::TenantRefusal;
use stamp_core::resolve::Target;

use super::error::ProxyError;
use super::worker::{Worker, WorkerView};
use crate::state::{Shortage, TenantPlace, TurnedAway};

/// Counts the request in for its tenant.
pub(super) fn admit(
    worker: &Worker,
    view: &WorkerView,
    target: &Target,
) -> Result<Option<TenantPlace>, ProxyError> {
    let now = worker.lately();
    let admitted = match (target.tenant, &target.placed) {
        (Some(tenant), _) => view.tenants.admit(&view.table, tenant, now),
        (None, Some(name)) => view.tenants.admit_placed(&view.table, name.as_str(), now),
        (None, None) => return Ok(None),
    };
    let place = admitted.map_err(|TurnedAway { tenant, why }| {
        worker.counts().limited(&view.table.tier_of(target.tenant).name, why.reason());
        if why == TenantRefusal::Saturated {
            worker.turned_away(Shortage::Tenant(tenant));
        }
        why
    })?;
    Ok(Some(place))
}
