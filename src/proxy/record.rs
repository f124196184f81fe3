//! What is told of one request, once, when it is over: metrics, access log, events.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderValue, Method, Uri};
use stamp_core::id::StampIndex;
use stamp_core::resolve::Target;
use stamp_core::standing::Serving;
use stamp_core::time::Moment;

use super::rpc::Manner;
use super::worker::{Worker, WorkerView, Worth};
use crate::outbound::pool::Pool;
use crate::state::{StampCell, TenantPlace};
use crate::telemetry::access_log::Entry;
use crate::telemetry::worker::{RequestLabels, WorkerCounts, method_label};

/// Everything that is known of one request.
#[derive(Debug)]
pub(crate) struct Record {
    worker: Rc<Worker>,
    pub(super) began: Moment,
    pub(super) listener: u16,
    pub(super) method: Method,
    pub(super) uri: Uri,
    pub(super) manner: Manner,
    pub(super) host: Option<HeaderValue>,
    pub(super) client: std::net::IpAddr,
    pub(super) request_id: Option<HeaderValue>,
    /// What the request was resolved by; the places below are of its table.
    pub(super) view: Option<Rc<WorkerView>>,
    pub(super) target: Option<Target>,
    /// What it counts for in the limits of its tenant, until an answer begins (`FromStamp::counts`) or the tunnel ends.
    pub(super) place: Option<TenantPlace>,
    pub(super) source: Option<&'static str>,
    /// The stamp that the request belongs to.
    pub(super) home: Option<StampIndex>,
    /// The stamp that it was sent to last.
    pub(super) stamp: Option<StampIndex>,
    pub(super) endpoint: Option<Rc<Pool>>,
    pub(super) attempts: u32,
    /// From the first byte to a stamp to the last byte from it.
    pub(super) upstream: Duration,
    pub(super) upstream_began: Option<Moment>,
    /// How long its client took to send what is not sent on before it is whole.
    pub(super) client_took: Duration,
    pub(super) status: u16,
    pub(super) code: Option<&'static str>,
    pub(super) sent_bytes: u64,
    pub(super) why_broken: Option<&'static str>,
}

/// nginx's number for a client that went away before its answer: it stands in logs and metrics
/// only, never on the wire.
const CLIENT_CLOSED_REQUEST: u16 = 499;

impl Record {
    pub(super) fn begin(worker: &Rc<Worker>, listener: u16, client: std::net::IpAddr) -> Box<Self> {
        Box::new(Self {
            worker: Rc::clone(worker),
            began: worker.now(),
            listener,
            method: Method::GET,
            uri: Uri::default(),
            manner: Manner::Http,
            host: None,
            client,
            request_id: None,
            view: None,
            target: None,
            place: None,
            source: None,
            home: None,
            stamp: None,
            endpoint: None,
            attempts: 0,
            upstream: Duration::ZERO,
            upstream_began: None,
            client_took: Duration::ZERO,
            status: CLIENT_CLOSED_REQUEST,
            code: None,
            sent_bytes: 0,
            why_broken: None,
        })
    }

    pub(super) fn take_request<B>(&mut self, request: &http::Request<B>, view: &Rc<WorkerView>) {
        self.method = request.method().clone();
        self.uri = request.uri().clone();
        self.manner = Manner::of(request);
        self.host = request.headers().get(http::header::HOST).cloned();
        self.view = Some(Rc::clone(view));
    }

    pub(super) fn take_target(&mut self, target: &Target) {
        self.source = Some(target.source.as_str());
        self.home = Some(target.home);
        self.target = Some(*target);
    }

    /// The tenant's name, if one is known.
    pub(super) fn tenant(&self) -> Option<&str> {
        self.target.as_ref()?.tenant_name(&self.view.as_ref()?.table)
    }

    fn tier(&self) -> Option<&str> {
        self.tenant()?;
        let tenant = self.target.as_ref()?.tenant;
        Some(&self.view.as_ref()?.table.tier_of(tenant).name)
    }

    /// The stamp's part of the time is over.
    pub(super) fn upstream_ended(&mut self) {
        if self.upstream_began.is_some() {
            self.upstream_ended_at(self.worker.now());
        }
    }

    fn upstream_ended_at(&mut self, now: Moment) {
        if let Some(began) = self.upstream_began.take() {
            self.upstream += now.since(began);
        }
    }

    /// What was neither the stamp's time nor the client's.
    fn gateway_took(&self, took: Duration) -> Duration {
        took.saturating_sub(self.upstream).saturating_sub(self.client_took)
    }

    fn count(&self, took: Duration) {
        let mut counts = self.worker.counts();
        counts.overhead.observe(self.gateway_took(took));
        self.count_share(took, &mut counts);
        let counts = counts.stamp(self.cell(self.stamp.or(self.home)).map(|cell| cell.number));
        let method = method_label(&self.method);
        counts.answered(RequestLabels { listener: self.listener, method, code: self.status });
        counts.duration.observe(took);
        if let Some(code) = self.code {
            *counts.errors.entry(code).or_default() += 1;
        }
    }

    /// Counts for a drill, or while requests come home, how those fare that go over the edge.
    fn count_share(&self, took: Duration, counts: &mut WorkerCounts) {
        let (Some(view), Some(home)) = (&self.view, self.home) else { return };
        let standing = view.standings.stamps.get(home.at());
        if !standing.is_some_and(|it| matches!(it.serving, Serving::Split { .. })) {
            return;
        }
        let counts = counts.stamp(Some(view.stamp(home).number));
        let is_moved = self.stamp.is_some_and(|stamp| stamp != home);
        let share = if is_moved { &mut counts.moved } else { &mut counts.rest };
        *share = share.with(self.status, took);
    }

    fn cell(&self, stamp: Option<StampIndex>) -> Option<&Arc<StampCell>> {
        Some(self.view.as_ref()?.stamp(stamp?))
    }

    fn log(&self, took: Duration) {
        let failover = self.stamp.is_some() && self.stamp != self.home;
        let fine = (200..400).contains(&self.status) && !failover;
        let worth = if fine { Worth::Sampled } else { Worth::Always };
        let Some(log) = self.worker.access_log(worth) else { return };
        log.write(&Entry {
            wall: self.worker.clock().wall(),
            method: self.method.as_str(),
            path: self.uri.path(),
            host: self.host.as_ref().and_then(|host| host.to_str().ok()),
            client: self.client,
            listener: self.worker.listener_name(self.listener),
            status: self.status,
            sent_bytes: self.sent_bytes,
            request_id: self.request_id.as_ref().and_then(|id| id.to_str().ok()),
            tenant: self.tenant(),
            tier: self.tier(),
            stamp: self.cell(self.stamp).map(|cell| cell.id.as_str()),
            home: self.cell(self.home).map(|cell| cell.id.as_str()),
            endpoint: self.endpoint.as_ref().map(|pool| &*pool.cell().authority),
            source: self.source,
            generation: self.view.as_ref().map_or(0, |view| view.generation),
            failover,
            attempts: self.attempts,
            code: self.code.or(self.why_broken),
            duration: took,
            upstream: self.upstream,
            gateway: self.gateway_took(took),
        });
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        let now = self.worker.now();
        self.upstream_ended_at(now);
        let took = now.since(self.began);
        self.count(took);
        self.log(took);
    }
}
