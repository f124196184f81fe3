//! Why a request would go where it goes, by the View in force.

use std::net::IpAddr;
use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::State as Shared;
use axum::response::{IntoResponse, Response};
use http::Request;
use stamp_core::fleet::{Assumption, NoAssumption};

use super::AdminState;
use super::ask::{self, Nothing};
use super::problem::Problem;
use super::view::{ExplainAsk, ExplainView};
use crate::proxy::explain::{Description, Scene};
use crate::state::Command;

/// `POST /v1/explain`
pub(super) async fn explain(
    Shared(admin): Shared<Arc<AdminState>>,
    request: Request<Body>,
) -> Result<Response, Problem> {
    let Nothing {} = ask::query(request.uri())?;
    let asked: ExplainAsk = ask::body(request).await.map_err(Problem::into_bad_request)?;
    let (description, assumptions) = read(asked)?;
    let state = &admin.state;
    let (view, assumed) = if assumptions.is_empty() {
        (state.view(), None)
    } else {
        let asked = assumptions.clone();
        let assumed = state.ask(|reply| Command::Assume(asked, reply)).await?;
        let unknown = |_refusal| Problem::bad_request("No stamp has the id of an assumption.");
        let (view, standings) = assumed.map_err(unknown)?;
        (view, Some(standings))
    };
    let scene = Scene {
        table: &view.table,
        keys: &view.keys,
        live: &view.live,
        standings: assumed.as_ref().unwrap_or(&view.standings),
        node: state.node(),
        now: state.clock().unix(),
        running: Some((state, &view)),
    };
    let explained = ExplainView::of(&scene, description, &assumptions);
    let explained = explained.map_err(|error| Problem::bad_request(format!("{error}.")))?;
    Ok(Json(explained).into_response())
}

fn read(asked: ExplainAsk) -> Result<(Description, Vec<Assumption>), Problem> {
    let ExplainAsk { method, url, headers, client_ip, token, assume } = asked;
    let client = client_ip.map(|address| address.parse::<IpAddr>()).transpose();
    let client = client.map_err(|_wrong| Problem::bad_request("`client_ip` is no address."))?;
    let assumptions: Result<Vec<Assumption>, NoAssumption> =
        assume.iter().map(|text| text.parse()).collect();
    let assumptions =
        assumptions.map_err(|error| Problem::bad_request(format!("`assume`: {error}.")))?;
    let method = method.unwrap_or_else(|| "GET".to_owned());
    Ok((Description { method, url, headers, client, token }, assumptions))
}
