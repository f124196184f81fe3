//! Stamps, and the drains that operators order. What is allowed is decided in the core's
//! `operator`; what was ordered holds, durably and at every worker, before it is answered.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::body::Body;
use axum::extract::{Extension, Path, State as Shared};
use axum::response::{IntoResponse, Response};
use http::{Request, StatusCode, Uri};
use serde::Deserialize;
use stamp_core::id::StampId;
use stamp_core::operator::{self, Decision, Force, Order, Subject};
use stamp_core::standing::OperatorState;
use stamp_core::time::UnixSeconds;

use super::AdminState;
use super::access::Actor;
use super::ask::{self, Flag, OrderQuery};
use super::audit::Attempt;
use super::problem::Problem;
use super::view::{
    DrainAsk, DrainView, DryRunView, ReasonAsk, Span, StampView, StampsView, StateAsk,
};
use crate::state::report::StampInfo;
use crate::state::{Command, Ordered, Wish};

/// The deadline of a drain that names none.
const DEADLINE: Duration = Duration::from_secs(600);
/// The latest deadline.
const DEADLINE_MAX: Duration = Duration::from_secs(7 * 24 * 3600);
/// The longest reason, in bytes: it goes into the journal.
const REASON_BYTES_MAX: usize = 1024;
/// The longest that one request may wait for a drain.
const WAIT_MAX: Duration = Duration::from_secs(300);
/// The longest that an answer waits for the workers to tell what they have in flight.
const TOLD_WITHIN: Duration = Duration::from_secs(2);
/// How often a wait looks again when no View says that something changed: what is in flight
/// changes without one.
const LOOK_AGAIN_AFTER: Duration = Duration::from_millis(250);

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct WaitQuery {
    wait: Option<Span>,
}

const fn action(wish: Wish) -> &'static str {
    match wish {
        Wish::Drain => "drain",
        Wish::Undrain => "undrain",
        Wish::State(_) => "set_state",
        Wish::FailBack => "failback",
    }
}

/// `GET /v1/stamps`
pub(super) async fn list(Shared(admin): Shared<Arc<AdminState>>) -> Result<Response, Problem> {
    let stamps = infos(&admin).await?;
    let stamps = with_flights(&admin, stamps).await;
    let stamps = stamps.iter().map(StampView::new).collect();
    Ok(Json(StampsView { stamps }).into_response())
}

/// `GET /v1/stamps/{id}`
pub(super) async fn one(
    Shared(admin): Shared<Arc<AdminState>>,
    Path(id): Path<String>,
) -> Result<Response, Problem> {
    let info = info_with_flights(&admin, &stamp_id(&id)?).await?;
    Ok(Json(StampView::new(&info)).into_response())
}

/// `GET /v1/stamps/{id}/drain[?wait=30s]`
pub(super) async fn progress(
    Shared(admin): Shared<Arc<AdminState>>,
    Path(id): Path<String>,
    uri: Uri,
) -> Result<Response, Problem> {
    let id = stamp_id(&id)?;
    let wait = ask::query::<WaitQuery>(&uri)?.wait.map_or(Duration::ZERO, |Span(wait)| wait);
    if wait > WAIT_MAX {
        let detail = "One request waits 5 minutes at most.";
        return Err(Problem::unprocessable("invalid_query", detail));
    }
    let state = &admin.state;
    let until = state.clock().now().after(wait);
    let mut changes = state.changes();
    loop {
        changes.mark_unchanged();
        let info = info_of(&admin, &id).await?;
        let now = state.clock().now();
        let over = info.operator.0 != OperatorState::Draining || state.is_stopping();
        if over || now >= until {
            let info = info_with_flights(&admin, &id).await?;
            return Ok(Json(DrainView::new(&info)).into_response());
        }
        let look_again = until.min(now.after(LOOK_AGAIN_AFTER));
        // Elapsed or changed: either way it is looked at again.
        let _why =
            tokio::time::timeout_at(state.clock().instant(look_again), changes.changed()).await;
    }
}

/// `POST /v1/stamps/{id}/drain`
pub(super) async fn drain(
    Shared(admin): Shared<Arc<AdminState>>,
    Extension(actor): Extension<Actor>,
    Path(id): Path<String>,
    request: Request<Body>,
) -> Result<Response, Problem> {
    answer_order(&admin, actor, (Wish::Drain, &id), request).await
}

/// `DELETE /v1/stamps/{id}/drain`
pub(super) async fn undrain(
    Shared(admin): Shared<Arc<AdminState>>,
    Extension(actor): Extension<Actor>,
    Path(id): Path<String>,
    request: Request<Body>,
) -> Result<Response, Problem> {
    answer_order(&admin, actor, (Wish::Undrain, &id), request).await
}

/// `PUT /v1/stamps/{id}/state`
pub(super) async fn set_state(
    Shared(admin): Shared<Arc<AdminState>>,
    Extension(actor): Extension<Actor>,
    Path(id): Path<String>,
    request: Request<Body>,
) -> Result<Response, Problem> {
    // What it is to be stands in the body.
    answer_order(&admin, actor, (Wish::State(OperatorState::Active), &id), request).await
}

/// `POST /v1/stamps/{id}/failback`
pub(super) async fn fail_back(
    Shared(admin): Shared<Arc<AdminState>>,
    Extension(actor): Extension<Actor>,
    Path(id): Path<String>,
    request: Request<Body>,
) -> Result<Response, Problem> {
    answer_order(&admin, actor, (Wish::FailBack, &id), request).await
}

async fn answer_order(
    admin: &AdminState,
    actor: Actor,
    (wish, id): (Wish, &str),
    request: Request<Body>,
) -> Result<Response, Problem> {
    let read = async {
        let stamp = stamp_id(id)?;
        let (wish, order, dry_run) = read_order(admin, &actor, wish, request).await?;
        Ok((stamp, wish, order, dry_run))
    };
    match read.await {
        Ok((stamp, wish, order, dry_run)) if dry_run.is_on() => {
            dry(admin, wish, &stamp, order).await
        }
        Ok((stamp, wish, order, _)) => carry_out(admin, wish, &stamp, order).await,
        Err(problem) => {
            admin.audit_refusal(actor, action(wish), id, &problem).await;
            Err(problem)
        }
    }
}

async fn read_order(
    admin: &AdminState,
    actor: &Actor,
    wish: Wish,
    request: Request<Body>,
) -> Result<(Wish, Order, Flag), Problem> {
    let OrderQuery { dry_run } = ask::query(request.uri())?;
    let (wish, order) = match wish {
        Wish::Drain => (wish, order_of(admin, actor, ask::body(request).await?)?),
        Wish::Undrain | Wish::FailBack => {
            let ReasonAsk { reason } = ask::body(request).await?;
            let order = order_of(admin, actor, DrainAsk { reason, ..DrainAsk::default() })?;
            (wish, Order { deadline: None, ..order })
        }
        Wish::State(_) => {
            let StateAsk { state, force, reason } = ask::body(request).await?;
            let wanted = OperatorState::of_word(&state).ok_or_else(|| {
                let detail = "A state is \"draining\", \"maintenance\", \"warming\" or \"active\".";
                Problem::unprocessable("invalid_body", detail)
            })?;
            let asked = DrainAsk { reason, force, ..DrainAsk::default() };
            let order = order_of(admin, actor, asked)?;
            let deadline = order.deadline.filter(|_| wanted == OperatorState::Draining);
            (Wish::State(wanted), Order { deadline, ..order })
        }
    };
    Ok((wish, order, dry_run))
}

fn order_of(admin: &AdminState, actor: &Actor, asked: DrainAsk) -> Result<Order, Problem> {
    let deadline = asked.deadline.map_or(DEADLINE, |Span(deadline)| deadline);
    if deadline.is_zero() || deadline > DEADLINE_MAX {
        let detail = "A deadline is more than nothing and 7 days at most.";
        return Err(Problem::unprocessable("invalid_body", detail));
    }
    let reason = asked.reason.unwrap_or_default().into_boxed_str();
    if reason.len() > REASON_BYTES_MAX {
        let detail = "A reason has 1024 bytes at most.";
        return Err(Problem::unprocessable("invalid_body", detail));
    }
    let wall = admin.state.clock().wall();
    let over = wall.saturating_add(deadline);
    // The journal knows whole seconds; a drain is never cut short of what was asked.
    let over_s = over.as_secs() + u64::from(over.subsec_nanos() > 0);
    Ok(Order {
        reason,
        actor: actor.0.clone(),
        at: UnixSeconds(wall.as_secs()),
        deadline: Some(UnixSeconds(over_s)),
        force: if asked.force { Force::Strand } else { Force::Refuse },
    })
}

/// Gives the order, tells what came of it, and writes both down.
async fn carry_out(
    admin: &AdminState,
    wish: Wish,
    stamp: &StampId<'static>,
    order: Order,
) -> Result<Response, Problem> {
    let actor = Actor(order.actor.clone());
    let reason = order.reason.to_string();
    let before = info_of(admin, stamp).await.ok().map(|info| info.operator.0.as_str());
    let asked = stamp.clone();
    let ordered = admin.state.ask(|reply| Command::Order(wish, asked, order, reply)).await;
    let outcome = ordered.and_then(|outcome| outcome).map_err(Problem::from);
    let after = info_with_flights(admin, stamp).await;
    let result = match &outcome {
        Ok(Ordered::Done) => "done",
        Ok(Ordered::AlreadySo) => "already_so",
        Err(problem) => problem.code(),
    };
    let attempt = Attempt {
        actor,
        action: action(wish),
        target: stamp.as_str().to_owned(),
        reason,
        before,
        after: after.as_ref().ok().map(|info| info.operator.0.as_str()),
        result,
    };
    admin.audit(attempt).await;
    let status = match (outcome?, wish) {
        (Ordered::Done, Wish::Drain) => StatusCode::ACCEPTED,
        (Ordered::Done, Wish::Undrain | Wish::State(_) | Wish::FailBack)
        | (Ordered::AlreadySo, _) => StatusCode::OK,
    };
    let after = after?;
    Ok(match wish {
        Wish::Drain | Wish::Undrain => (status, Json(DrainView::new(&after))).into_response(),
        Wish::State(_) | Wish::FailBack => (status, Json(StampView::new(&after))).into_response(),
    })
}

/// The same decision, of which nothing comes.
async fn dry(
    admin: &AdminState,
    wish: Wish,
    stamp: &StampId<'static>,
    order: Order,
) -> Result<Response, Problem> {
    let info = info_of(admin, stamp).await?;
    let view = admin.state.view();
    let index = view.table.find_stamp(stamp).ok_or_else(Problem::unknown_stamp)?;
    let subject = Subject { stamp, declared: info.declared, record: info.record.as_ref() };
    let stranded = operator::would_strand(&view.table, index, &view.standings.stamps);
    let is_empty = info.operator.0 == OperatorState::Drained;
    let changes = |decision| matches!(decision, Decision::Commit(_));
    let is_new = match wish {
        Wish::Drain => changes(operator::drain(subject, stranded, order)?),
        Wish::Undrain => changes(operator::undrain(subject, order)?),
        Wish::State(wanted) => {
            changes(operator::set_state(subject, wanted, (stranded, is_empty), order)?)
        }
        Wish::FailBack => {
            let standing = view.standings.stamps.get(index.at());
            operator::fail_back(*standing.ok_or_else(Problem::unknown_stamp)?)?
        }
    };
    let result = if is_new { "done" } else { "already_so" };
    Ok(Json(DryRunView::new(stamp, result)).into_response())
}

async fn infos(admin: &AdminState) -> Result<Vec<StampInfo>, Problem> {
    Ok(admin.state.ask(Command::Stamps).await?)
}

/// With what the workers know: kinds and ages. One that does not answer hides nothing else.
async fn with_flights(admin: &AdminState, mut infos: Vec<StampInfo>) -> Vec<StampInfo> {
    let mailboxes = admin.state.mailboxes();
    if let Ok(flights) = tokio::time::timeout(TOLD_WITHIN, mailboxes.flights()).await {
        for info in &mut infos {
            info.in_flight = flights.get(&info.number).copied().unwrap_or_default();
        }
    }
    infos
}

async fn info_of(admin: &AdminState, id: &StampId<'_>) -> Result<StampInfo, Problem> {
    let infos = infos(admin).await?;
    infos.into_iter().find(|info| *info.id == *id.as_str()).ok_or_else(Problem::unknown_stamp)
}

async fn info_with_flights(admin: &AdminState, id: &StampId<'_>) -> Result<StampInfo, Problem> {
    let info = info_of(admin, id).await?;
    with_flights(admin, vec![info]).await.pop().ok_or_else(Problem::unknown_stamp)
}

pub(super) fn stamp_id(text: &str) -> Result<StampId<'static>, Problem> {
    StampId::parse(text).map(StampId::into_owned).map_err(|_no_id| Problem::unknown_stamp())
}
