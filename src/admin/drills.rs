//! Drills: a stamp treated as down for a share of its tenants, for a time, to see that they are
//! served without it.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::body::Body;
use axum::extract::{Extension, Path, State as Shared};
use axum::response::{IntoResponse, Response};
use http::{Request, StatusCode, Uri};
use stamp_core::id::StampId;
use stamp_core::operator;

use super::AdminState;
use super::access::Actor;
use super::ask::{self, Flag, OrderQuery};
use super::audit::Attempt;
use super::problem::Problem;
use super::stamps::stamp_id;
use super::view::{DrillAsk, DrillView, DrillsView, DryRunView, Span};

/// The longest drill: whoever wants more takes the stamp out.
const LASTS_MAX: Duration = Duration::from_hours(24);
/// The drill that names no time.
const LASTS: Duration = Duration::from_mins(5);

/// `GET /v1/drills`
pub(super) async fn list(Shared(admin): Shared<Arc<AdminState>>) -> Response {
    let drills = admin.state.drills().iter().map(DrillView::new).collect();
    Json(DrillsView { drills }).into_response()
}

/// `POST /v1/drills[?dry_run=true]`
pub(super) async fn begin(
    Shared(admin): Shared<Arc<AdminState>>,
    Extension(actor): Extension<Actor>,
    request: Request<Body>,
) -> Result<Response, Problem> {
    let read = async {
        let OrderQuery { dry_run } = ask::query(request.uri())?;
        Ok((dry_run, ask::body(request).await?))
    };
    let (dry_run, asked): (Flag, DrillAsk) = match read.await {
        Ok(read) => read,
        Err(problem) => {
            admin.audit_refusal(actor, "drill", "", &problem).await;
            return Err(problem);
        }
    };
    if dry_run.is_on() {
        let (stamp, _lasts) = read_drill(&asked)?;
        may_drill(&admin, &stamp)?;
        return Ok(Json(DryRunView::new(&stamp, "done")).into_response());
    }
    let begun = carry_out(&admin, &asked).await;
    let result = begun.as_ref().map_or_else(Problem::code, |_begun| "done");
    note(&admin, actor, "drill", (asked.stamp, asked.reason), result).await;
    Ok((StatusCode::ACCEPTED, Json(last(&admin, &begun?)?)).into_response())
}

/// `DELETE /v1/drills/{stamp}[?dry_run=true]`
pub(super) async fn cancel(
    Shared(admin): Shared<Arc<AdminState>>,
    Extension(actor): Extension<Actor>,
    Path(id): Path<String>,
    uri: Uri,
) -> Result<Response, Problem> {
    let none = || {
        let detail = "There is no drill of this stamp to end.";
        Problem::new(StatusCode::CONFLICT, "not_drilled", detail)
    };
    let read = ask::query(&uri).and_then(|OrderQuery { dry_run }| Ok((dry_run, stamp_id(&id)?)));
    if let Ok((Flag::On, stamp)) = &read {
        admin.state.running_drill(stamp).ok_or_else(none)?;
        return Ok(Json(DryRunView::new(stamp, "done")).into_response());
    }
    let cancelled = async {
        let (_, stamp) = read?;
        let was = admin.state.cancel_drill(&stamp).await?;
        was.then_some(stamp).ok_or_else(none)
    };
    let cancelled = cancelled.await;
    let result = cancelled.as_ref().map_or_else(Problem::code, |_stamp| "done");
    note(&admin, actor, "cancel_drill", (id, None), result).await;
    Ok(Json(last(&admin, &cancelled?)?).into_response())
}

async fn carry_out(admin: &AdminState, asked: &DrillAsk) -> Result<StampId<'static>, Problem> {
    let (stamp, lasts) = read_drill(asked)?;
    admin.state.begin_drill(stamp.clone(), asked.percent, lasts).await?;
    Ok(stamp)
}

/// Which stamp, and for how long.
fn read_drill(asked: &DrillAsk) -> Result<(StampId<'static>, Duration), Problem> {
    let lasts = asked.lasts.map_or(LASTS, |Span(lasts)| lasts);
    let wrong = |detail: &'static str| Err(Problem::unprocessable("invalid_body", detail));
    if !(1..=100).contains(&asked.percent) {
        return wrong("\"percent\" is 1 to 100.");
    }
    if lasts.is_zero() || lasts > LASTS_MAX {
        return wrong("\"for\" is more than nothing and 24 hours at most.");
    }
    Ok((stamp_id(&asked.stamp)?, lasts))
}

/// The decision that a drill begins with, of which nothing comes.
fn may_drill(admin: &AdminState, stamp: &StampId<'_>) -> Result<(), Problem> {
    let view = admin.state.view();
    let index = view.table.find_stamp(stamp).ok_or_else(Problem::unknown_stamp)?;
    let standings = &view.standings.stamps;
    let standing = *standings.get(index.at()).ok_or_else(Problem::unknown_stamp)?;
    let stranded = operator::would_strand(&view.table, index, standings);
    Ok(operator::drill(standing, stranded)?)
}

/// The last drill of this stamp.
fn last(admin: &AdminState, stamp: &StampId<'_>) -> Result<DrillView, Problem> {
    let drills = admin.state.drills();
    let last = drills.iter().rev().find(|report| report.stamp == *stamp);
    last.map(DrillView::new).ok_or_else(Problem::unknown_stamp)
}

async fn note(
    admin: &AdminState,
    actor: Actor,
    action: &'static str,
    (target, reason): (String, Option<String>),
    result: &'static str,
) {
    let reason = reason.unwrap_or_default();
    let (before, after) = (None, None);
    admin.audit(Attempt { actor, action, target, reason, before, after, result }).await;
}
