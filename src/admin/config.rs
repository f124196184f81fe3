//! The configuration in force, questions about the files, and reloads on demand. How a reload is made
//! is `source`'s business.

use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::{Extension, State as Shared};
use axum::response::{IntoResponse, Response};
use http::Request;
use serde::Deserialize;

use super::AdminState;
use super::access::Actor;
use super::ask::{self, Flag, Nothing};
use super::audit::Attempt;
use super::problem::Problem;
use super::view::{CheckedView, ConfigView, DiffView, ReloadView};
use crate::source::{Guard, Mode, ReloadAsk, ReloadOutcome};

#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct ReloadQuery {
    force: Flag,
    dry_run: Flag,
}

/// `GET /v1/config`
pub(super) async fn show(Shared(admin): Shared<Arc<AdminState>>) -> Response {
    let status = admin.state.reload_status();
    let file = admin.routing_file.display().to_string();
    Json(ConfigView::new(&admin.state, &status, file)).into_response()
}

/// `POST /v1/config/validate`: what a start or a reload would say of the files on disk, and change.
pub(super) async fn validate(
    Shared(admin): Shared<Arc<AdminState>>,
    request: Request<Body>,
) -> Result<Response, Problem> {
    let Nothing {} = ask::query(request.uri())?;
    let Nothing {} = ask::body(request).await?;
    let validated = admin.reloader.validate().await.map_err(Problem::of_report)?;
    Ok(Json(CheckedView::valid(validated)).into_response())
}

/// `POST /v1/config/diff`: what the files on disk would change.
pub(super) async fn compare(
    Shared(admin): Shared<Arc<AdminState>>,
    request: Request<Body>,
) -> Result<Response, Problem> {
    let Nothing {} = ask::query(request.uri())?;
    let Nothing {} = ask::body(request).await?;
    let comparison = admin.reloader.compare().await.map_err(Problem::of_report)?;
    Ok(Json(DiffView::new(comparison)).into_response())
}

/// `POST /v1/config/reload[?force=true&dry_run=true]`
pub(super) async fn reload(
    Shared(admin): Shared<Arc<AdminState>>,
    Extension(actor): Extension<Actor>,
    request: Request<Body>,
) -> Result<Response, Problem> {
    let asked = match ask::query::<ReloadQuery>(request.uri()) {
        Ok(query) => ask::body::<Nothing>(request).await.map(|Nothing {}| query),
        Err(problem) => Err(problem),
    };
    let query = match asked {
        Ok(query) => query,
        Err(problem) => {
            admin.audit_refusal(actor, "reload", "routing", &problem).await;
            return Err(problem);
        }
    };
    let guard = if query.force.is_on() { Guard::Override } else { Guard::Keep };
    let mode = if query.dry_run.is_on() { Mode::DryRun } else { Mode::Apply };
    let outcome = admin.reloader.reload(ReloadAsk { guard, mode }).await;
    let (result, answer) = match outcome {
        ReloadOutcome::Accepted(summary) => ("done", Ok(ReloadView::accepted(*summary, mode))),
        ReloadOutcome::Unchanged => {
            let generation = admin.state.view().generation;
            ("unchanged", Ok(ReloadView::unchanged(generation, mode)))
        }
        ReloadOutcome::Refused(report) => ("config_refused", Err(Problem::of_report(report))),
        ReloadOutcome::HandingOver => ("not_ready", Err(Problem::handing_over())),
    };
    if mode == Mode::Apply {
        let reason = if query.force.is_on() { "forced" } else { "" };
        let target = "routing".to_owned();
        let (before, after) = (None, None);
        let reason = reason.to_owned();
        let action = "reload";
        admin.audit(Attempt { actor, action, target, reason, before, after, result }).await;
    }
    answer.map(|view| Json(view).into_response())
}
