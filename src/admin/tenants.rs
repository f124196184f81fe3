//! Tenants: where they live, and who answers for them now. Only looked at here.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State as Shared};
use axum::response::{IntoResponse, Response};
use http::{StatusCode, Uri};
use serde::Deserialize;
use stamp_core::directory::Tenant;
use stamp_core::id::{StampId, StampIndex, TenantId};
use stamp_core::standing::{Serving, Slot};
use stamp_core::table::{Located, TenantState};

use super::AdminState;
use super::ask;
use super::problem::Problem;
use super::view::{LimitsView, TenantView, TenantsView};
use crate::state::View;

/// Tenants of one page, unless asked otherwise.
const PAGE: usize = 100;
/// The most tenants of one page.
const PAGE_MAX: usize = 1000;

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Listing {
    stamp: Option<String>,
    prefix: String,
    limit: Option<usize>,
    cursor: Option<String>,
}

/// `GET /v1/tenants/{tenant}`
pub(super) async fn one(
    Shared(admin): Shared<Arc<AdminState>>,
    Path(id): Path<String>,
) -> Result<Response, Problem> {
    let id = TenantId::parse(&id).map_err(|_no_id| Problem::unknown_tenant())?;
    let view = admin.state.view();
    let found = match view.table.locate(&id).ok_or_else(Problem::unknown_tenant)? {
        Located::Listed(index) => tenant(&view, id.as_str(), view.table.directory.tenant(index)),
        Located::Placed(home) => placed(&view, id.as_str(), home),
    };
    Ok(Json(found).into_response())
}

/// `GET /v1/tenants?stamp=&prefix=&limit=&cursor=`
pub(super) async fn list(
    Shared(admin): Shared<Arc<AdminState>>,
    uri: Uri,
) -> Result<Response, Problem> {
    let listing: Listing = ask::query(&uri)?;
    let view = admin.state.view();
    let stamp = match listing.stamp.as_deref().filter(|stamp| !stamp.is_empty()) {
        Some(id) => Some(find_stamp(&view, id).ok_or_else(Problem::unknown_stamp)?),
        None => None,
    };
    let limit = listing.limit.unwrap_or(PAGE);
    if !(1..=PAGE_MAX).contains(&limit) {
        return Err(Problem::unprocessable("invalid_query", "`limit` is 1 to 1000"));
    }
    // The whole directory is looked through: not on the control runtime.
    let page = tokio::task::spawn_blocking(move || page(&view, &listing, stamp, limit));
    let failed = |_panicked| {
        Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", "The listing failed.")
    };
    Ok(Json(page.await.map_err(failed)?).into_response())
}

fn find_stamp(view: &View, id: &str) -> Option<StampIndex> {
    view.table.find_stamp(&StampId::parse(id).ok()?)
}

/// The first `limit` names after the cursor, in their order. Memory grows with the page, not with
/// the table.
fn page(view: &View, listing: &Listing, stamp: Option<StampIndex>, limit: usize) -> TenantsView {
    let prefix = listing.prefix.to_ascii_lowercase();
    let cursor = listing.cursor.as_deref().unwrap_or_default();
    let mut found = BTreeMap::new();
    for (_, name, tenant) in view.table.directory.iter() {
        let wanted = name > cursor
            && name.starts_with(&prefix)
            && stamp.is_none_or(|stamp| tenant.home == stamp);
        if wanted {
            found.insert(name, tenant);
        }
        if found.len() > limit + 1 {
            found.pop_last();
        }
    }
    let more = found.len() > limit;
    let tenants: Vec<TenantView> =
        found.into_iter().take(limit).map(|(name, it)| tenant(view, name, it)).collect();
    let last = tenants.last().map(|last| last.tenant.clone());
    TenantsView { tenants, next: last.filter(|_| more) }
}

fn tenant(view: &View, name: &str, tenant: Tenant) -> TenantView {
    let table = &view.table;
    let allows = |to| table.fence_allows(tenant.fence, table.stamp(to).residency);
    let tier = table.tier(tenant.tier);
    let load = view.tenants.load(name);
    TenantView {
        tenant: name.to_owned(),
        stamp: table.stamp(tenant.home).id.as_str().to_owned(),
        state: tenant.state.as_str().to_owned(),
        residency: table.fence_zones(tenant.fence).map(str::to_owned).collect(),
        answered_by: answering(view, name, tenant.home, allows),
        placed: false,
        tier: tier.name.to_string(),
        limits: LimitsView::new(tier),
        in_flight: load.in_flight,
        refused: load.refused,
    }
}

/// A tenant without an entry, whom a hash of its name places there: it is fenced like its home.
fn placed(view: &View, name: &str, home: StampIndex) -> TenantView {
    let table = &view.table;
    let stamp = table.stamp(home);
    let tier = table.tier_of(None);
    let load = view.tenants.load(name);
    let zones = stamp.residency.map(|zone| table.residency_name(zone).to_owned());
    TenantView {
        tenant: name.to_owned(),
        stamp: stamp.id.as_str().to_owned(),
        state: TenantState::Active.as_str().to_owned(),
        residency: zones.into_iter().collect(),
        answered_by: answering(view, name, home, |to| table.stamp_fence_allows(home, to)),
        placed: true,
        tier: tier.name.to_string(),
        limits: LimitsView::new(tier),
        in_flight: load.in_flight,
        refused: load.refused,
    }
}

/// The stamp that answers for this tenant now: not one that its fence forbids.
fn answering(
    view: &View,
    name: &str,
    home: StampIndex,
    allows: impl Fn(StampIndex) -> bool,
) -> Option<String> {
    let standing = view.standings.stamps.get(home.at())?;
    let over = |place: u8| view.table.stamp(home).failover.get(usize::from(place));
    let stamp = match standing.serving {
        Serving::Home => home,
        Serving::Split { edge, away } if Slot::of(name).is_away(away) => over(edge)?.to,
        Serving::Split { .. } => home,
        Serving::Edge(place) => over(place)?.to,
        Serving::Nobody => return None,
    };
    allows(stamp).then(|| view.table.stamp(stamp).id.as_str().to_owned())
}
