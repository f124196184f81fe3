//! `[[stamp]]` as written -> stamps: unique, with endpoints of their own, and edges that lead
//! somewhere.

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::path::Path;

use super::tls::TlsPlaces;
use super::zones::{FEWER_ZONES, Zones};
use super::{
    Edge, Endpoint, FailbackPolicy, HealthPolicy, PassivePolicy, PoolPolicy, PoolProtocol,
    RetryPolicy, Scheme, Stamp,
};
use crate::document::{Report, Span, Written, did_you_mean};
use crate::id::{EndpointIndex, StampId, StampIndex};
use crate::raw::{
    EndpointUrl, RawEdge, RawHealth, RawPassive, RawPool, RawRetry, RawRouting, RawStamp,
    ShortOrLong,
};

/// The most endpoints of one stamp.
const ENDPOINTS_MAX: usize = 1024;

/// The most failover edges of one stamp: `Serving::Edge` counts them in a byte, people do not
/// count that far.
const EDGES_MAX: usize = 32;

/// All stamps, and where they stand in the file.
#[derive(Debug, Default)]
pub(super) struct Stamps {
    pub(super) list: Vec<Stamp>,
    pub(super) by_id: BTreeMap<StampId<'static>, StampIndex>,
    pub(super) endpoint_owner: Vec<(StampIndex, u32)>,
    /// Of each stamp: the places of its edges.
    pub(super) edge_spans: Vec<Vec<Span>>,
    pub(super) id_spans: Vec<Span>,
    /// By host and port.
    endpoint_spans: BTreeMap<(Box<str>, u16), (StampIndex, Span)>,
    pub(super) tls_places: TlsPlaces,
}

impl Stamps {
    /// Builds all stamps and reports what is wrong among them.
    pub(super) fn build(
        raw: &RawRouting,
        file: &Path,
        zones: &mut Zones,
        report: &mut Report,
    ) -> Self {
        let mut stamps = Self { tls_places: TlsPlaces::of(file, raw), ..Self::default() };
        let raw = &raw.stamp;
        let mut edges = Vec::with_capacity(raw.len());
        for stamp in raw {
            if stamps.add(stamp, zones, report) {
                edges.push(&stamp.failover);
            }
        }
        for (home, edges) in (0..).map(StampIndex).zip(edges) {
            stamps.connect(home, edges, report);
        }
        stamps.refuse_a_fleet_that_cannot_serve(raw, report);
        stamps
    }

    /// The stamp of this id, or `None` and what was probably meant.
    pub(super) fn find(&self, id: &str) -> Result<StampIndex, String> {
        self.by_id.get(id).copied().ok_or_else(|| {
            did_you_mean(id, self.by_id.keys().map(StampId::as_str))
                .unwrap_or_else(|| format!("declare it: `[[stamp]]` with `id = \"{id}\"`"))
        })
    }

    /// Adds a stamp without its edges; `false` if its name is taken.
    fn add(&mut self, raw: &RawStamp, zones: &mut Zones, report: &mut Report) -> bool {
        let id = &raw.id.value.0;
        let is_named = raw.id.span.is_written();
        if let Some(first) = self.by_id.get(id.as_str()).filter(|_| is_named) {
            let first = self.id_spans.get(first.at()).copied().unwrap_or_default();
            report
                .error(raw.id.span, format!("stamp `{id}` is declared twice"))
                .note(first, "first declared here")
                .help("give one of them another id");
            return false;
        }
        // A file of 4 MiB has no room for so many.
        let index = StampIndex(u32::try_from(self.list.len()).unwrap_or(u32::MAX));
        let endpoints = self.endpoints(index, raw, report);
        let policy = &raw.policy;
        let residency = policy.residency.as_ref().and_then(|zone| {
            let number = zones.zone(&zone.value.0);
            let refuse = |error: &_| {
                report.error(zone.span, ToString::to_string(error)).help(FEWER_ZONES);
            };
            number.inspect_err(refuse).ok()
        });
        self.list.push(Stamp {
            id: id.clone(),
            region: policy.region.as_deref().map(Box::from),
            residency,
            declared: policy.state.value,
            access: policy.access,
            balance: policy.balance,
            in_flight_max: policy.max_in_flight.0,
            tls: self.tls_places.policy(raw, report),
            health: health(&policy.health, report),
            pool: pool(&policy.pool),
            retry: retry(&policy.retry),
            failback: FailbackPolicy {
                mode: policy.failback.mode,
                hold: policy.failback.hold.0,
                ramp: policy.failback.ramp.0,
            },
            endpoints,
            failover: Vec::new(),
        });
        if is_named {
            self.by_id.insert(id.clone(), index);
        }
        self.id_spans.push(raw.id.span);
        self.edge_spans.push(Vec::new());
        true
    }

    fn endpoints(
        &mut self,
        stamp: StampIndex,
        raw: &RawStamp,
        report: &mut Report,
    ) -> Vec<Endpoint> {
        let list = &raw.endpoints;
        if list.value.is_empty() && list.span.is_written() {
            report
                .missing(list.span, format!("stamp `{}` has no endpoint", raw.id.value.0))
                .help("add one: `endpoints = [{ url = \"http://10.1.0.10:8080\" }]`");
        }
        if list.value.len() > ENDPOINTS_MAX {
            report
                .error(list.span, format!("a stamp has at most {ENDPOINTS_MAX} endpoints"))
                .help("name a load balancer in front of them, or make two stamps of this one");
        }
        let mut endpoints = Vec::with_capacity(list.value.len());
        for Written { value: endpoint, .. } in &list.value {
            let Written { value: url, span } = &endpoint.url;
            refuse_other_scheme(&endpoint.url, &raw.policy.pool.protocol, report);
            let address = (url.host.clone(), url.port);
            if let Some((owner, first)) = self.endpoint_spans.get(&address).copied() {
                let owner = self.list.get(owner.at()).filter(|_| owner != stamp);
                refuse_shared_endpoint(owner, first, &endpoint.url, report);
                continue;
            }
            self.endpoint_spans.insert(address, (stamp, *span));
            let index = u32::try_from(self.endpoint_owner.len()).unwrap_or(u32::MAX);
            let place = u32::try_from(endpoints.len()).unwrap_or(u32::MAX);
            self.endpoint_owner.push((stamp, place));
            endpoints.push(Endpoint {
                index: EndpointIndex(index),
                scheme: url.scheme,
                host: url.host.clone(),
                port: url.port,
                weight: at_least_one(endpoint.weight.0),
            });
        }
        endpoints
    }

    fn connect(
        &mut self,
        home: StampIndex,
        edges: &[Written<ShortOrLong<RawEdge>>],
        report: &mut Report,
    ) {
        if let Some(beyond) = edges.get(EDGES_MAX) {
            report
                .error(beyond.span, format!("a stamp has at most {EDGES_MAX} failover edges"))
                .help("remove this edge and those after it");
        }
        let mut places: BTreeMap<StampIndex, Span> = BTreeMap::new();
        let mut built = Vec::with_capacity(edges.len());
        let mut spans = Vec::with_capacity(edges.len());
        for Written { value: ShortOrLong(edge), span } in edges {
            let Written { value: to, span: to_span } = &edge.to;
            let index = match self.find(to.as_str()) {
                Ok(index) => index,
                Err(help) => {
                    report.error(*to_span, format!("there is no stamp `{to}`")).help(help);
                    continue;
                }
            };
            if index == home {
                report
                    .error(*to_span, format!("stamp `{to}` cannot stand in for itself"))
                    .help("name another stamp, or remove the edge");
                continue;
            }
            if let Some(first) = places.insert(index, *to_span) {
                report
                    .error(*to_span, format!("a second edge to stamp `{to}`"))
                    .note(first, "first edge to it")
                    .help("remove one of them");
                continue;
            }
            built.push(Edge { to: index, mode: edge.mode });
            spans.push(*span);
        }
        if let (Some(stamp), Some(slot)) =
            (self.list.get_mut(home.at()), self.edge_spans.get_mut(home.at()))
        {
            stamp.failover = built;
            *slot = spans;
        }
    }

    fn refuse_a_fleet_that_cannot_serve(&self, raw: &[RawStamp], report: &mut Report) {
        let Some(first) = raw.first() else {
            if !report.has_errors() {
                let help = "add one: `[[stamp]]` with `id` and `endpoints`";
                report.missing(Span::default(), "no stamp is declared").help(help);
            }
            return;
        };
        if !self.list.is_empty() && !self.list.iter().any(|stamp| stamp.declared.takes_requests()) {
            report
                .error(first.policy.state.span, "no stamp takes requests")
                .label("every stamp is declared draining or in maintenance")
                .help("declare at least one stamp `state = \"active\"`");
        }
    }
}

/// HTTP/2 in the clear and over TLS have two names, and an endpoint is one of both.
fn refuse_other_scheme(
    url: &Written<EndpointUrl>,
    protocol: &Written<PoolProtocol>,
    report: &mut Report,
) {
    let EndpointUrl { scheme, host, port } = &url.value;
    let (message, help) = match (protocol.value, scheme) {
        (PoolProtocol::Http1, _)
        | (PoolProtocol::Http2OverTls, Scheme::Https)
        | (PoolProtocol::Http2InTheClear, Scheme::Http) => return,
        (PoolProtocol::Http2OverTls, Scheme::Http) => (
            format!("endpoint `{host}:{port}` is in the clear, and `h2` is spoken over TLS"),
            "write `https://` here, or `protocol = \"h2c\"` in `pool`",
        ),
        (PoolProtocol::Http2InTheClear, Scheme::Https) => (
            format!("endpoint `{host}:{port}` uses TLS, and `h2c` is spoken in the clear"),
            "write `protocol = \"h2\"` in `pool`, or `http://` here",
        ),
    };
    report.error(url.span, message).note(protocol.span, "the protocol of its stamp").help(help);
}

/// `owner` is the other stamp that has the endpoint; `None`: the same stamp has it twice.
fn refuse_shared_endpoint(
    owner: Option<&Stamp>,
    first: Span,
    url: &Written<EndpointUrl>,
    report: &mut Report,
) {
    let EndpointUrl { host, port, .. } = &url.value;
    let (message, help) = match owner {
        Some(owner) => (
            format!("endpoint `{host}:{port}` belongs to stamp `{}`", owner.id),
            "stamps are isolated from each other: no address may serve two of them",
        ),
        None => (
            format!("endpoint `{host}:{port}` is listed twice"),
            "remove one; `weight` gives an endpoint a larger share",
        ),
    };
    report.error(url.span, message).note(first, "first listed here").help(help);
}

fn health(raw: &RawHealth, report: &mut Report) -> HealthPolicy {
    if raw.expect.value.is_empty() && raw.expect.span.is_written() {
        report
            .error(raw.expect.span, "no status would count as good")
            .help("write for example `expect = [\"200-299\"]`");
    }
    HealthPolicy {
        path: raw.path.as_ref().and_then(|path| path.0.clone()),
        interval: raw.interval.0,
        timeout: raw.timeout.0,
        fall: at_least_one(raw.fall.0),
        rise: at_least_one(raw.rise.0),
        expect: raw.expect.value.iter().map(|range| (range.0, range.1)).collect(),
        passive: passive(&raw.passive, report),
    }
}

fn passive(raw: &RawPassive, report: &mut Report) -> PassivePolicy {
    let (open_for, open_for_max) = (raw.open_for.value.0, raw.open_for_max.value.0);
    if open_for > open_for_max {
        let is_written = raw.open_for.span.is_written();
        let span = if is_written { raw.open_for.span } else { raw.open_for_max.span };
        report
            .error(span, "`open_for` is longer than `open_for_max`")
            .note(raw.open_for_max.span, "the longest that it may grow to")
            .help("raise `open_for_max`, or shorten `open_for`");
    }
    PassivePolicy {
        consecutive_failures: at_least_one(raw.consecutive_failures.0),
        failure_ratio: raw.failure_ratio.0,
        requests_min: raw.min_requests.0,
        window: raw.window.0,
        open_for,
        open_for_max,
    }
}

const fn pool(raw: &RawPool) -> PoolPolicy {
    PoolPolicy {
        protocol: raw.protocol.value,
        connections_max: raw.max_connections.0,
        idle_timeout: raw.idle_timeout.0,
        lifetime_max: raw.max_lifetime.0,
        pending_max: raw.max_pending.0,
        pending_timeout: raw.pending_timeout.0,
    }
}

fn retry(raw: &RawRetry) -> RetryPolicy {
    let mut statuses: Vec<u16> =
        raw.statuses.iter().filter_map(|status| u16::try_from(status.0).ok()).collect();
    statuses.sort_unstable();
    statuses.dedup();
    RetryPolicy {
        attempts_max: at_least_one(raw.attempts.0),
        budget_percent: raw.budget.0,
        statuses,
        replay_bytes: raw.replay_bytes.0,
    }
}

/// For numbers whose range begins at one.
fn at_least_one(number: u32) -> NonZeroU32 {
    NonZeroU32::new(number).unwrap_or(NonZeroU32::MIN)
}
