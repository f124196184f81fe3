//! Drills: a stamp treated as down for a share of its tenants, for a time, to see that they are
//! served without it.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::body::Body;
use axum::extract::{Extension, Path, State as Shared};
use axum::response::{IntoResponse, Response};
use http::{Request, StatusCode};
use stamp_core::id::StampId;

use super::access::Actor;
use super::audit::Attempt;
use super::problem::Problem;
use super::stamps::stamp_id;
use super::view::{DrillAsk, DrillView, DrillsView, Span};
use super::{AdminState, ask};

/// The longest drill: whoever wants more takes the stamp out.
const LASTS_MAX: Duration = Duration::from_hours(24);
/// The drill that names no time.
const LASTS: Duration = Duration::from_mins(5);

/// `GET /v1/drills`
pub(super) async fn list(Shared(admin): Shared<Arc<AdminState>>) -> Response {
    let drills = admin.state.drills().iter().map(DrillView::new).collect();
    Json(DrillsView { drills }).into_response()
}

/// `POST /v1/drills`
pub(super) async fn begin(
    Shared(admin): Shared<Arc<AdminState>>,
    Extension(actor): Extension<Actor>,
    request: Request<Body>,
) -> Result<Response, Problem> {
    let asked: DrillAsk = match ask::body(request).await {
        Ok(asked) => asked,
        Err(problem) => {
            admin.audit_refusal(actor, "drill", "", &problem).await;
            return Err(problem);
        }
    };
    let begun = carry_out(&admin, &asked).await;
    let result = begun.as_ref().map_or_else(Problem::code, |_begun| "done");
    note(&admin, actor, "drill", (asked.stamp, asked.reason), result).await;
    Ok((StatusCode::ACCEPTED, Json(last(&admin, &begun?)?)).into_response())
}

/// `DELETE /v1/drills/{stamp}`
pub(super) async fn cancel(
    Shared(admin): Shared<Arc<AdminState>>,
    Extension(actor): Extension<Actor>,
    Path(id): Path<String>,
) -> Result<Response, Problem> {
    let cancelled = async {
        let stamp = stamp_id(&id)?;
        let was = admin.state.cancel_drill(&stamp).await?;
        let none = || {
            let detail = "There is no drill of this stamp to end.";
            Problem::new(StatusCode::CONFLICT, "not_drilled", detail)
        };
        was.then_some(stamp).ok_or_else(none)
    };
    let cancelled = cancelled.await;
    let result = cancelled.as_ref().map_or_else(Problem::code, |_stamp| "done");
    note(&admin, actor, "cancel_drill", (id, None), result).await;
    Ok(Json(last(&admin, &cancelled?)?).into_response())
}

async fn carry_out(admin: &AdminState, asked: &DrillAsk) -> Result<StampId<'static>, Problem> {
    let lasts = asked.lasts.map_or(LASTS, |Span(lasts)| lasts);
    let wrong = |detail: &'static str| Err(Problem::unprocessable("invalid_body", detail));
    if !(1..=100).contains(&asked.percent) {
        return wrong("\"percent\" is 1 to 100.");
    }
    if lasts.is_zero() || lasts > LASTS_MAX {
        return wrong("\"for\" is more than nothing and 24 hours at most.");
    }
    let stamp = stamp_id(&asked.stamp)?;
    admin.state.begin_drill(stamp.clone(), asked.percent, lasts).await?;
    Ok(stamp)
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
