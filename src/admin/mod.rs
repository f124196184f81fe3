//! The admin plane: what operators, probes and scrapers ask, on listeners of its own. It runs on
//! the control runtime; of the request path it only reads.

pub mod access;
mod ask;
pub mod audit;
mod config;
mod drills;
mod events;
mod explain;
mod problem;
mod scrape;
mod serve;
mod stamps;
mod tenants;
mod upgrade;
pub mod view;

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use axum::body::Body;
use axum::extract::State as Shared;
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get, post, put};
use axum::{Json, Router};
use http::header::CONTENT_TYPE;
use http::{Request, StatusCode, Uri};
use serde::Deserialize;
use tokio::sync::{Semaphore, mpsc};

use crate::settings::Live;
use crate::source::Reloader;
use crate::state::{State, UpgradeAsk};
use crate::telemetry::access_log::AccessLog;
use crate::telemetry::metrics;
use access::{Access, Actor, Door};
use ask::Flag;
use audit::{Attempt, Audit};
use problem::Problem;
use view::{CheckView, InfoView, ReadyView};

pub use serve::{Listeners, Presence, bind_unix, serve};

/// What the admin plane tells of and acts on.
#[derive(Debug)]
pub struct AdminState {
    state: Arc<State>,
    reloader: Arc<Reloader>,
    access_log: AccessLog,
    /// Names of the data listeners, in the order of gateway.toml.
    listeners: Vec<Box<str>>,
    clients: Clients,
    routing_file: PathBuf,
    /// Wall time since 1970.
    started_at: Duration,
    audit: Audit,
    allowed_hosts: Vec<Box<str>>,
    known: ArcSwap<Known>,
    /// Places for those who follow the events.
    event_readers: Arc<Semaphore>,
    upgrades: mpsc::Sender<UpgradeAsk>,
}

/// What an `AdminState` is made of.
#[derive(Debug)]
pub struct Parts {
    /// What all parts of the process share.
    pub state: Arc<State>,
    /// Reloads on demand.
    pub reloader: Arc<Reloader>,
    /// For the count of lines that were dropped.
    pub access_log: AccessLog,
    /// Names of the data listeners, in the order of gateway.toml: metrics know them by index.
    pub listeners: Vec<Box<str>>,
    /// How many clients each of them has.
    pub clients: Clients,
    /// The path of routing.toml.
    pub routing_file: PathBuf,
    /// Where the audit goes.
    pub audit: Audit,
    /// `admin.allowed_hosts`
    pub allowed_hosts: Vec<Box<str>>,
    /// Where upgrades are asked for.
    pub upgrades: mpsc::Sender<UpgradeAsk>,
}

/// The rules of access that were made of these settings.
#[derive(Debug)]
struct Known {
    live: Arc<Live>,
    access: Access,
}

/// Tells of the connections of data listeners: `listen`, which counts them, stands above.
pub struct Clients {
    /// How many each has.
    pub open: Box<dyn Fn() -> Vec<u32> + Send + Sync>,
    /// The most that all of them together may have, where there may be so many to stamps.
    pub max: Box<dyn Fn(u64) -> u32 + Send + Sync>,
}

impl fmt::Debug for Clients {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_tuple("Clients").field(&(self.open)()).finish()
    }
}

impl AdminState {
    /// The admin plane of a gateway, not listening yet.
    #[must_use]
    pub fn new(parts: Parts) -> Arc<Self> {
        let clock = parts.state.clock();
        let known = read_access(&parts.state, &parts.allowed_hosts);
        Arc::new(Self {
            started_at: clock.wall().saturating_sub(clock.now().0),
            state: parts.state,
            reloader: parts.reloader,
            access_log: parts.access_log,
            listeners: parts.listeners,
            clients: parts.clients,
            routing_file: parts.routing_file,
            audit: parts.audit,
            allowed_hosts: parts.allowed_hosts,
            known: ArcSwap::from_pointee(known),
            upgrades: parts.upgrades,
            event_readers: Arc::new(Semaphore::new(events::READERS_MAX)),
        })
    }

    /// The rules of access of the settings in force; tokens' digests are read once for each.
    fn known(&self) -> Arc<Known> {
        let known = self.known.load_full();
        if Arc::ptr_eq(&known.live, &self.state.view().live) {
            return known;
        }
        let known = Arc::new(read_access(&self.state, &self.allowed_hosts));
        self.known.store(Arc::clone(&known));
        known
    }

    async fn audit(&self, attempt: Attempt) {
        self.audit.write(attempt, self.state.clock().wall()).await;
    }

    /// Audits what never came to be an order.
    async fn audit_refusal(
        &self,
        actor: Actor,
        action: &'static str,
        target: &str,
        problem: &Problem,
    ) {
        let (before, after, result) = (None, None, problem.code());
        let (target, reason) = (target.to_owned(), String::new());
        self.audit(Attempt { actor, action, target, reason, before, after, result }).await;
    }
}

fn read_access(state: &State, allowed_hosts: &[Box<str>]) -> Known {
    let live = Arc::clone(&state.view().live);
    let (access, errors) = Access::read(&live.admin_tokens, allowed_hosts);
    for error in errors {
        tracing::error!(%error, "an admin token opens nothing");
    }
    Known { live, access }
}

/// All routes, behind one door.
fn router(admin: Arc<AdminState>, door: Door) -> Router {
    let guarded = Guarded { admin: Arc::clone(&admin), door };
    Router::new()
        .route("/livez", get(live))
        .route("/healthz", get(live))
        .route("/readyz", get(ready))
        .route("/metrics", get(scraped))
        .route("/v1/info", get(info))
        .route("/v1/stamps", get(stamps::list))
        .route("/v1/stamps/{id}", get(stamps::one))
        .route(
            "/v1/stamps/{id}/drain",
            get(stamps::progress).post(stamps::drain).delete(stamps::undrain),
        )
        .route("/v1/stamps/{id}/state", put(stamps::set_state))
        .route("/v1/stamps/{id}/failback", post(stamps::fail_back))
        .route("/v1/drills", get(drills::list).post(drills::begin))
        .route("/v1/drills/{stamp}", delete(drills::cancel))
        .route("/v1/tenants", get(tenants::list))
        .route("/v1/tenants/{id}", get(tenants::one))
        .route("/v1/events", get(events::follow))
        .route("/v1/explain", post(explain::explain))
        .route("/v1/config", get(config::show))
        .route("/v1/config/reload", post(config::reload))
        .route("/v1/config/validate", post(config::validate))
        .route("/v1/config/diff", post(config::compare))
        .route("/v1/upgrade", post(upgrade::upgrade))
        .fallback(no_route)
        .method_not_allowed_fallback(no_method)
        .with_state(admin)
        .layer(middleware::from_fn_with_state(guarded, guard))
}

#[derive(Clone, Debug)]
struct Guarded {
    admin: Arc<AdminState>,
    door: Door,
}

/// Before every handler: may this request pass? Whoever it is stands in the request from then on.
async fn guard(
    Shared(Guarded { admin, door }): Shared<Guarded>,
    request: Request<Body>,
    next: Next,
) -> Response {
    let (mut parts, body) = request.into_parts();
    let admitted = admin.known().access.admit(&parts, door);
    match admitted {
        Ok(actor) => {
            parts.extensions.insert(actor);
            next.run(Request::from_parts(parts, body)).await
        }
        Err(problem) => {
            if !access::is_looking(&parts.method) {
                let unknown = || Actor("unknown".into());
                let actor = problem.actor().cloned().unwrap_or_else(unknown);
                admin.audit_refusal(actor, "refused", parts.uri.path(), &problem).await;
            }
            problem.into_response()
        }
    }
}

async fn no_route() -> Problem {
    Problem::new(StatusCode::NOT_FOUND, "not_found", "There is nothing at this path.")
}

async fn no_method() -> Problem {
    let detail = "This path is not asked in this way.";
    Problem::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", detail)
}

async fn live() -> &'static str {
    "ok\n"
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct ReadyQuery {
    verbose: Flag,
}

/// About the gateway alone: one bad stamp must not take it away from all tenants.
async fn ready(Shared(admin): Shared<Arc<AdminState>>, uri: Uri) -> Result<Response, Problem> {
    let query: ReadyQuery = ask::query(&uri)?;
    let table = !admin.state.view().table.stamps().is_empty();
    let running = !admin.state.is_stopping();
    let trusted = !admin.state.view().standings.is_suspect;
    let is_ready = table && running && trusted;
    let status = if is_ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    if query.verbose.is_on() {
        // This is only ever served once the listeners are bound.
        let checks =
            [("listeners", true), ("table", table), ("running", running), ("self", trusted)];
        let checks = checks.map(|(name, ok)| CheckView { name: name.to_owned(), ok });
        let view = ReadyView { ready: is_ready, checks: checks.into() };
        return Ok((status, Json(view)).into_response());
    }
    if !running {
        return Err(Problem::not_ready("The gateway is stopping."));
    }
    if !table {
        return Err(Problem::not_ready("No table is in force."));
    }
    if !trusted {
        return Err(Problem::not_ready("Most stamps fail at once: the fault may be here."));
    }
    Ok("ready\n".into_response())
}

async fn scraped(Shared(admin): Shared<Arc<AdminState>>) -> Result<Response, Problem> {
    let scrape = scrape::gather(&admin).await;
    let scrape = scrape.ok_or_else(|| Problem::not_ready("The workers do not answer."))?;
    Ok(([(CONTENT_TYPE, metrics::CONTENT_TYPE)], metrics::render(&scrape)).into_response())
}

async fn info(Shared(admin): Shared<Arc<AdminState>>) -> Response {
    let state = &admin.state;
    let known = state.view();
    let view = InfoView {
        name: env!("CARGO_PKG_NAME").to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        node: state.node().to_owned(),
        pid: std::process::id(),
        started_at: view::timestamp(admin.started_at),
        uptime_s: view::seconds(state.clock().now().0),
        workers: state.mailboxes().workers(),
        connections_max: (admin.clients.max)(known.table.connections_max()),
        generation: known.generation,
    };
    Json(view).into_response()
}
