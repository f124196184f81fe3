//! The life of one request. Read `handle` first: it is the list of the stages.
//!
//! identify -> resolve -> choose -> admit -> forward -> respond -> record. Decisions are core's;
//! this module asks and carries out. It knows nothing of listeners, files or the admin plane.

mod admit;
pub(crate) mod answer;
mod attempt;
mod choose;
mod deadline;
mod early;
mod error;
pub mod explain;
mod flights;
mod forward;
mod headers;
mod hop;
mod identify;
pub(crate) mod line;
mod patience;
mod record;
pub(crate) mod respond;
pub(crate) mod resting;
mod rpc;
pub(crate) mod streams;
mod tunnel;
mod upgrade;
pub(crate) mod wire;
pub mod worker;

use std::net::IpAddr;
use std::num::NonZeroU64;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;

use http::header::{self, HeaderValue};
use http::{Method, Request, Response, StatusCode, Version};
use hyper::body::{Body, Incoming};
use stamp_core::admission;
use stamp_core::forwarded::Chain;
use stamp_core::http2::head::Asked;
use stamp_core::identify::Peer;
use stamp_core::retry::MethodClass;

use answer::Answer;
pub(crate) use error::ProxyError;

use answer::{Ending, FromStamp};
use deadline::Deadline;
use early::Remainder;
use forward::Call;
use headers::{Hop, Provenance};
use line::{Line, MustEnd};
use record::Record;
use respond::Speaker;
use rpc::Manner;
use upgrade::{Handshake, Switch};
use worker::{Worker, WorkerView};

use crate::outbound::body::{BodyLimits, BodySource};
use crate::settings::Live;
use crate::tls::downstream::Session;

/// Whose connection it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Caller {
    /// Whoever is at this address.
    At(IpAddr),
    /// Somebody whom the proxy at this address could not name: nobody whose word counts.
    Behind(IpAddr),
}

impl Caller {
    /// The nearest address that is known.
    pub(crate) const fn address(self) -> IpAddr {
        match self {
            Self::At(address) | Self::Behind(address) => address,
        }
    }

    /// May it speak for others? A proxy that passes bytes on did not write what is in them: where
    /// it told a client's address, that decides.
    fn peer(self, live: &Live) -> Peer {
        match self {
            Self::At(address) if live.trusts(address) => Peer::Trusted,
            Self::At(_) | Self::Behind(_) => Peer::Untrusted,
        }
    }
}

/// One client connection, as its requests see it.
#[derive(Debug)]
pub(crate) struct Client {
    pub(crate) worker: Rc<Worker>,
    pub(crate) caller: Caller,
    pub(crate) listener: u16,
    provenance: Provenance,
    /// `None` = in the clear.
    session: Option<Session>,
}

/// What came of a request.
enum Served {
    /// A stamp answers.
    Answered(Response<Box<FromStamp>>),
    /// The gateway answers in the place of the stamp.
    Own(Response<()>),
    /// The connection is the tunnel's from here on, and so is the record.
    Switched(Response<()>),
}

impl Client {
    pub(crate) fn new(
        worker: Rc<Worker>,
        (caller, listener): (Caller, u16),
        session: Option<Session>,
    ) -> Self {
        let provenance = Provenance::new(caller.address(), session.as_ref());
        Self { worker, caller, listener, provenance, session }
    }

    /// Serves one request. Whatever happens, there is an answer, and it is recorded once.
    pub(crate) async fn serve(&self, request: Request<Incoming>, line: Line) -> Response<Answer> {
        let record = Record::begin(&self.worker, self.listener, self.caller.address());
        let began = record.began;
        let mut ending = Ending { record: Some(record), line: line.clone() };
        let (parts, body) = request.into_parts();
        let mut remainder = Remainder::of(body);
        let served = {
            let request = Request::from_parts(parts, ());
            let handling = pin!(handle(self, request, &mut remainder, &mut ending));
            let handling = unless_it_must_end(&line, handling);
            catch_panic(pin!(handling)).await
        };
        let served = served.unwrap_or_else(|_panic| {
            self.worker.counts().panics += 1;
            tracing::error!("a request panicked: it was answered with 500");
            Err(ProxyError::Internal)
        });
        let manner = ending.record.as_ref().map(|record| record.manner);
        if matches!((&line, manner), (Line::Stream(_), Some(Manner::Http))) {
            remainder.wait(&self.worker, began).await;
        }
        match served {
            Ok(Served::Answered(response)) => {
                ending.status(response.status().as_u16());
                response.map(|from| Answer::from_stamp(from, ending))
            }
            Ok(Served::Own(response)) => {
                ending.status(response.status().as_u16());
                response.map(|()| Answer::local(bytes::Bytes::new(), ending))
            }
            Ok(Served::Switched(response)) => {
                response.map(|()| Answer::local(bytes::Bytes::new(), ending))
            }
            Err(error) => self.refuse(&error, ending),
        }
    }

    fn refuse(&self, error: &ProxyError, mut ending: Ending) -> Response<Answer> {
        let request_id = ending.record.as_ref().and_then(|record| record.request_id.clone());
        let speaker = Speaker { node: self.worker.state().node(), request_id: request_id.as_ref() };
        if matches!((error, &ending.line), (ProxyError::InTheWay, Line::Connection(_))) {
            self.worker.counts().cut(self.listener, "gave_way");
        }
        let told = respond::told_of(error);
        ending.status(told.status.as_u16());
        let mut manner = Manner::Http;
        if let Some(record) = &mut ending.record {
            record.code = Some(told.code);
            manner = record.manner;
        }
        let response = match manner {
            Manner::Http => respond::response(error, speaker),
            Manner::Grpc => respond::grpc_response(error, speaker),
        };
        tracing::debug!(%error, status = told.status.as_u16(), "request refused");
        response.map(|body| Answer::local(body, ending))
    }
}

/// The stages, in their order.
async fn handle(
    client: &Client,
    request: Request<()>,
    remainder: &mut Remainder,
    ending: &mut Ending,
) -> Result<Served, ProxyError> {
    let worker = &client.worker;
    let Some(record) = &mut ending.record else { return Err(ProxyError::Internal) };
    let view = worker.view();
    record.take_request(&request, &view);
    let _admitted = worker.enter(view.live.limits.in_flight_max.get())?;
    let call = set_out(client, view, (request, remainder), record).await?;
    let Some(mut call) = call else { return Ok(Served::Own(own_options())) };
    forward::forward(&mut call, ending).await
}

/// All stages before the request is sent; `None` = it may go no further than here, and is answered here.
///
/// Apart from what follows, and its outcome boxed, so that a request on its way does not carry what only its
/// start needs, nor that twice (measured: 2.3 of 5.3 KB).
async fn set_out<'c>(
    client: &'c Client,
    view: Rc<WorkerView>,
    (mut request, remainder): (Request<()>, &mut Remainder),
    record: &mut Record,
) -> Result<Option<Box<Call<'c>>>, ProxyError> {
    let worker = &client.worker;
    let live = &view.live;
    let asked = upgrade::asked(&mut request, live.limits.of_head())?;
    let manner = record.manner;
    let patience = manner.timeout(request.headers())?;
    let peer = client.caller.peer(live);
    if peer == Peer::Trusted {
        let chain = Chain::read(request.headers());
        record.client = chain.client(client.caller.address(), |ip| live.trusts(ip));
    }
    identify::check_certificate(worker, client.session.as_ref(), &request)?;
    let mut target = identify::target(worker, &view, &request, peer)?;
    record.take_target(&target);
    let length = remainder.unread().map_or(Length::Said(0), Length::of);
    if !live.limits.takes_body(length.least()) {
        return Err(ProxyError::BodyTooLarge);
    }
    let method = MethodClass::of(request.method());
    let deadline = Deadline::of(record.began, live.timeouts.request_total, patience);
    let switch = request.headers().contains_key(header::UPGRADE) || asked == Asked::WebSocket;
    let switch = switch.then(|| hyper::upgrade::on(&mut request));
    let (mut view, mut choice) = choose::found(worker, view, &target, method).await?;
    let stamp = view.table.stamp(choice.stamp);
    let is_small = length.is_at_most(stamp.retry.replay_bytes);
    let body = remainder.take();
    let body =
        body.map(|body| body_source(&view, body, (manner, stamp.retry.replay_bytes), worker));
    if let Some(body) = &body {
        *remainder = Remainder::Forwarded(Rc::clone(body));
    }
    if let Some(body) = body.as_ref().filter(|_| is_small && manner == Manner::Http)
        && admission::is_short(view.stamp(choice.stamp).in_flight(), stamp.places())
    {
        gather(worker, body, deadline, record).await?;
        let now = worker.view();
        if !Arc::ptr_eq(&now.table, &view.table) {
            record.view = Some(Rc::clone(&now));
            target = identify::target(worker, &now, &request, peer)?;
            record.take_target(&target);
        }
        (view, choice) = choose::found(worker, now, &target, method).await?;
    }
    record.place = admit::admit(worker, &view, &target)?;
    if request.method() == Method::OPTIONS
        && headers::count_forwards(request.headers_mut()).is_none()
    {
        return Ok(None);
    }
    let mut head = prepare(client, &view, request, (peer, length), record)?;
    let handshake = match asked {
        Asked::WebSocket => Some(Handshake::begin(&mut head, &mut worker.dice())),
        Asked::Answer => None,
    };
    let switch = switch.map(|client| Switch { client, handshake });
    let call = Call { client, target, method, head, body, switch, choice, view, deadline };
    Ok(Some(Box::new(call)))
}

/// Waits for a small body while its stamp is short of room. For that time the request counts neither
/// there nor for its tenant.
async fn gather(
    worker: &Worker,
    body: &Rc<BodySource>,
    deadline: Deadline,
    record: &mut Record,
) -> Result<(), ProxyError> {
    let began = worker.now();
    let gathered = match deadline.first() {
        Some(due) => worker.by(due, body.gather()).await,
        None => Some(body.gather().await),
    };
    record.client_took = worker.now().since(began);
    gathered.ok_or(ProxyError::RequestTimeout)?.map_err(attempt::error_of)
}

/// The fields that the gateway adds at most: room for them is made once.
const FIELDS_ADDED: usize = 12;

/// The answer to an OPTIONS request that may go no further.
fn own_options() -> Response<()> {
    let mut response = Response::new(());
    *response.status_mut() = StatusCode::NO_CONTENT;
    response
}

/// A request without what must not pass, with what the gateway says of it, but for the stamp.
#[derive(Debug)]
pub(super) struct Head {
    pub(super) method: Method,
    pub(super) uri: http::Uri,
    pub(super) headers: http::HeaderMap,
    /// The protocol that the client wants to switch to.
    pub(super) upgrade: Option<HeaderValue>,
    /// The client takes trailers.
    pub(super) takes_trailers: bool,
    /// How long the body is; where that is not known, its end is marked.
    pub(super) length: Length,
}

/// Is it known how long a request's body is?
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Length {
    /// Its head says so, or there is none: so many bytes.
    Said(u64),
    /// No.
    Unsaid,
}

impl Length {
    fn of(body: &Incoming) -> Self {
        body.size_hint().exact().map_or(Self::Unsaid, Self::Said)
    }

    /// So many bytes at least.
    const fn least(self) -> u64 {
        match self {
            Self::Said(length) => length,
            Self::Unsaid => 0,
        }
    }

    fn is_at_most(self, bytes: u64) -> bool {
        matches!(self, Self::Said(length) if length <= bytes)
    }
}

fn prepare(
    client: &Client,
    view: &WorkerView,
    request: Request<()>,
    (peer, length): (Peer, Length),
    record: &mut Record,
) -> Result<Head, ProxyError> {
    let worker = &client.worker;
    let (parts, ()) = request.into_parts();
    let mut headers = parts.headers;
    headers::check_loop(&headers, worker.state().node())?;
    if let Some(authority) = parts.uri.authority()
        && let Ok(host) = HeaderValue::from_str(authority.as_str())
    {
        headers.insert(header::HOST, host);
    }
    headers.reserve(FIELDS_ADDED);
    headers::join_cookies(&mut headers);
    let hop = headers::strip_request(&mut headers, &view.table.identity.header, peer)?;
    // The chain names the peer that spoke to us; the log names the client behind it.
    headers::set_provenance(&mut headers, &client.provenance, peer);
    headers::append_to_list(&mut headers, header::VIA, worker.via(parts.version));
    let wall_ms = u64::try_from(worker.clock().wall().as_millis()).unwrap_or(u64::MAX);
    let id = headers::set_request_id(&mut headers, wall_ms, &mut worker.dice());
    record.request_id = Some(id);
    headers::set_trace(&mut headers, &mut worker.dice());
    if length == Length::Unsaid {
        headers.remove(header::CONTENT_LENGTH);
    }
    if let Some(tenant) = record.tenant()
        && let Ok(tenant) = HeaderValue::from_str(tenant)
    {
        headers.insert(headers::X_STAMP_TENANT, tenant);
    }
    let uri = origin_form(parts.uri)?;
    let Hop { upgrade, takes_trailers } = hop;
    // RFC 9110, section 7.8: HTTP/1.0 knows no switch.
    let upgrade = upgrade.filter(|_| parts.version != Version::HTTP_10);
    Ok(Head { method: parts.method, uri, headers, upgrade, takes_trailers, length })
}

fn body_source(
    view: &WorkerView,
    body: Incoming,
    (manner, replay_bytes): (Manner, u64),
    worker: &Worker,
) -> Rc<BodySource> {
    let live = &view.live;
    let (idle, bytes_per_second_min) = match manner {
        Manner::Http => (live.timeouts.request_body_idle, live.limits.bytes_per_second()),
        // Either side of an RPC may listen for as long as the other may.
        Manner::Grpc => (live.timeouts.request_body_idle.max(live.timeouts.response_body_idle), 0),
    };
    let bytes_max = live.limits.request_body_bytes_max.map_or(u64::MAX, NonZeroU64::get);
    let limits = BodyLimits { bytes_max, idle, bytes_per_second_min, replay_bytes };
    let room = (worker.clock(), worker.replay());
    BodySource::new(body, limits, room, headers::are_good_trailers)
}

/// RFC 9112, section 3.2.1: to an origin goes the path and the query, as they came.
fn origin_form(uri: http::Uri) -> Result<http::Uri, ProxyError> {
    if uri.scheme().is_none() {
        return Ok(uri);
    }
    let mut parts = http::uri::Parts::default();
    parts.path_and_query = uri.into_parts().path_and_query;
    http::Uri::from_parts(parts).map_err(|_impossible| ProxyError::Internal)
}

/// Drives the request to its answer, unless it must end before that.
async fn unless_it_must_end(
    line: &Line,
    mut handling: Pin<&mut impl Future<Output = Result<Served, ProxyError>>>,
) -> Result<Served, ProxyError> {
    std::future::poll_fn(|context| {
        match line.must_end() {
            Some(MustEnd::Drained) => return Poll::Ready(Err(ProxyError::DrainOver)),
            // Of what it does not take it was given nothing yet.
            Some(MustEnd::TooSlow | MustEnd::InTheWay) | None => {}
        }
        handling.as_mut().poll(context)
    })
    .await
}

/// Turns a panic of the future into an error: one request suffers, not the process.
///
/// Takes it by reference: a future passed by value would lie in the one around it twice, and hyper
/// copies that whole for each request (measured: 10.5 KiB).
async fn catch_panic<F: Future>(mut future: Pin<&mut F>) -> std::thread::Result<F::Output> {
    std::future::poll_fn(|context| {
        let polled = AssertUnwindSafe(|| future.as_mut().poll(context));
        match catch_unwind(polled) {
            Ok(Poll::Pending) => Poll::Pending,
            Ok(Poll::Ready(output)) => Poll::Ready(Ok(output)),
            Err(panic) => Poll::Ready(Err(panic)),
        }
    })
    .await
}
