//! `POST /v1/upgrade`: the program as it is on disk takes over from this process. How, is the
//! composition root's business.

use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::{Extension, State as Shared};
use axum::response::{IntoResponse, Response};
use http::{Request, StatusCode};
use tokio::sync::oneshot;

use super::access::Actor;
use super::audit::Attempt;
use super::problem::Problem;
use super::view::UpgradeView;
use super::{AdminState, ask};
use crate::state::{UpgradeAsk, UpgradeError};

pub(super) async fn upgrade(
    Shared(admin): Shared<Arc<AdminState>>,
    Extension(actor): Extension<Actor>,
    request: Request<Body>,
) -> Result<Response, Problem> {
    let upgraded = match ask::body::<ask::Nothing>(request).await {
        Ok(ask::Nothing {}) => begin(&admin).await.map_err(Problem::from),
        Err(problem) => Err(problem),
    };
    let result = upgraded.as_ref().map_or_else(Problem::code, |_pid| "done");
    let (action, target) = ("upgrade", String::new());
    let (reason, before, after) = (String::new(), None, None);
    admin.audit(Attempt { actor, action, target, reason, before, after, result }).await;
    upgraded.map(|pid| Json(UpgradeView { pid }).into_response())
}

/// Asks for it, and returns the id of the process that serves now.
async fn begin(admin: &AdminState) -> Result<u32, UpgradeError> {
    let (reply, answer) = oneshot::channel();
    admin.upgrades.send(UpgradeAsk { reply }).await.map_err(|_gone| UpgradeError::Stopping)?;
    answer.await.unwrap_or(Err(UpgradeError::Stopping))
}

impl From<UpgradeError> for Problem {
    fn from(error: UpgradeError) -> Self {
        match error {
            UpgradeError::UnderWay => {
                Self::new(StatusCode::CONFLICT, "upgrade_under_way", error.to_string())
            }
            UpgradeError::Stopping => Self::not_ready("The gateway is stopping."),
            UpgradeError::Journal(_)
            | UpgradeError::Start(_)
            | UpgradeError::Ended(_)
            | UpgradeError::Late(_) => {
                let detail = format!("{error}. This process goes on serving.");
                Self::new(StatusCode::INTERNAL_SERVER_ERROR, "upgrade_failed", detail)
            }
        }
    }
}
