//! One request to the stamps: attempt, judge, repeat or stop. Which endpoint, whether again and
//! where to is core's to decide (`balance`, `retry`, `failover`).

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use http::header::HeaderName;
use http::uri::Scheme;
use http::{Request, Response, StatusCode, Version};
use http_body::Body as _;
use stamp_core::admission::Shed;
use stamp_core::balance::{self, Candidate, Draw, Tried};
use stamp_core::breaker::FailureKind;
use stamp_core::failover::{self, Choice, Route, TrialRisk};
use stamp_core::id::StampIndex;
use stamp_core::resolve::Target;
use stamp_core::retry::{
    self, AttemptFailure, Body, Funds, IdempotencyKey, Means, MethodClass, RequestFacts,
    StatusRule, Verdict,
};
use stamp_core::standing::{EndpointStanding, OutReason};
use stamp_core::table::{Balance, Stamp};
use stamp_core::time::Moment;

use super::answer::{Ending, Farewell, FromStamp, Sent};
use super::choose::needs;
use super::deadline::Deadline;
use super::error::ProxyError;
use super::flights::Flight;
use super::rpc::Manner;
use super::tunnel::{self, Tunnel};
use super::upgrade::{self, Switch};
use super::worker::{Worker, WorkerView};
use super::{Client, Head, Served, headers, hop, rpc};
use crate::outbound::answer::AnswerBody;
use crate::outbound::body::{BodySource, RequestBody};
use crate::outbound::link::Link;
use crate::outbound::pool::{Load, Pool, Wanted, Wish};
use crate::state::{AttemptReport, EndpointCell, InFlight, Shortage, TenantPlace, Trial};
use crate::tls::UpstreamTls;

const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

/// A request on its way.
pub(super) struct Call<'a> {
    pub(super) client: &'a Client,
    pub(super) target: Target,
    pub(super) method: MethodClass,
    pub(super) head: Head,
    pub(super) body: Option<Rc<BodySource>>,
    /// The client's side of a switch of protocols.
    pub(super) switch: Option<Switch>,
    pub(super) choice: Choice,
    pub(super) view: Rc<WorkerView>,
    pub(super) deadline: Deadline,
}

/// One first attempt in so many, by chance, pays into its stamp's retry budget, for all of them: so that not
/// every request writes to what all workers share.
const EARN_EVERY: u64 = 16;

/// One attempt that came to nothing.
pub(super) struct Failed {
    pub(super) failure: AttemptFailure,
    /// What the client is told if it stays at that.
    pub(super) error: ProxyError,
    /// What it says about the endpoint; `None` = nothing.
    pub(super) kind: Option<FailureKind>,
}

/// Where one attempt goes.
pub(super) struct Place<'v> {
    pub(super) stamp: &'v Stamp,
    pub(super) place: usize,
    pub(super) cell: &'v Arc<EndpointCell>,
    pub(super) pool: Rc<Pool>,
    /// What it is spoken to with; `None` = in the clear.
    pub(super) tls: Option<&'v Arc<UpstreamTls>>,
    pub(super) trial: Option<Trial>,
}

/// Sends the request until a stamp answers or nothing may be tried any more.
pub(super) async fn forward(
    call: &mut Call<'_>,
    ending: &mut Ending,
) -> Result<Served, ProxyError> {
    let mut course = Course::default();
    call.earn_retries();
    loop {
        let view = Rc::clone(&call.view);
        let mut place = match call.place(&view, course.tried) {
            Some(place) => place,
            None => call.place_without_trial(&view)?,
        };
        course.made += 1;
        let failed = match call.attempt(&view, &mut place, &mut course, ending).await {
            Ok(got) => {
                let status = AttemptFailure::Status(StatusRule::Declared);
                if is_declared(&place, &got.response)
                    && let Some(pause) = call.goes_on(&mut course, &place, status)
                    && call.pause(&mut course, pause).await
                {
                    continue;
                }
                return call.answer(&view, &place, got, ending);
            }
            Err(Stopped::ForGood(error)) => return Err(error),
            Err(Stopped::GoesOn) => continue,
            Err(Stopped::Failed(failed)) => failed,
        };
        call.report(&mut place, failed.kind);
        let Some(pause) = call.goes_on(&mut course, &place, failed.failure) else {
            return Err(failed.error);
        };
        if !call.pause(&mut course, pause).await {
            return Err(failed.error);
        }
    }
}

/// What was tried so far.
#[derive(Default)]
pub(super) struct Course {
    /// Endpoints of the present stamp.
    tried: Tried,
    /// Attempts that count.
    made: u32,
    /// May the next attempt use a connection that rested?
    wanted: Wanted,
}

/// Where the next attempt may go.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Next {
    /// Over an edge only: the attempts at home are spent.
    OutOnly,
    /// Anywhere, but not again to an endpoint that keeps requests waiting.
    Any { hangs: bool },
}

/// How an attempt ended without an answer.
pub(super) enum Stopped {
    /// Core may allow another.
    Failed(Failed),
    /// Core has allowed another, and all is prepared for it.
    GoesOn,
    /// Whatever core says: the client is at fault, or there is no room.
    ForGood(ProxyError),
}

impl Call<'_> {
    pub(super) fn worker(&self) -> &Rc<Worker> {
        &self.client.worker
    }

    fn candidates<'v>(
        &self,
        view: &'v WorkerView,
        stamp: &'v Stamp,
    ) -> impl Iterator<Item = Candidate> + Clone + use<'v, '_> {
        let worker = &self.client.worker;
        stamp.endpoints.iter().map(move |endpoint| {
            let cell = view.endpoint(endpoint.index);
            let standing = match view.standings.endpoints.get(endpoint.index.at()).copied() {
                // Its one trial is under way: whoever comes now looks at the next endpoint.
                Some(EndpointStanding::Trial) if !cell.trial_is_free() => {
                    EndpointStanding::Out(OutReason::BreakerOpen)
                }
                published => published.unwrap_or(EndpointStanding::Unknown),
            };
            Candidate { standing, weight: endpoint.weight, load: worker.load(cell) }
        })
    }

    /// The endpoint for the next attempt at the chosen stamp.
    fn place<'v>(&self, view: &'v WorkerView, tried: Tried) -> Option<Place<'v>> {
        let stamp = view.table.stamp(self.choice.stamp);
        let candidates = self.candidates(view, stamp);
        let cell_at =
            |place: usize| stamp.endpoints.get(place).map(|endpoint| view.endpoint(endpoint.index));
        let on_trial = balance::on_trial(candidates.clone(), tried).and_then(|place| {
            let cell = cell_at(place)?;
            let is_chosen = matches!(self.choice.route, Route::HomeTrial | Route::EdgeTrial { .. });
            let risk = TrialRisk::of(self.method);
            let offered = is_chosen || cell.offers_trial(risk, self.worker().lately());
            offered.then(|| cell.take_trial().map(|trial| (place, trial))).flatten()
        });
        let (place, trial) = match on_trial {
            Some((place, trial)) => (place, Some(trial)),
            None => {
                let turn = match stamp.balance {
                    Balance::RoundRobin => self.worker().turn(view.stamp(self.choice.stamp).number),
                    Balance::LeastRequest => 0,
                };
                let draw = Draw { random: self.worker().random(), turn };
                (balance::pick(candidates, stamp.balance, tried, draw)?, None)
            }
        };
        let cell = cell_at(place)?;
        let tls = stamp.endpoints.get(place).and_then(|endpoint| view.tls.of(endpoint.index));
        Some(Place { stamp, place, cell, pool: self.worker().pool(cell), tls, trial })
    }

    /// Another request took the trial that this one was chosen for: it goes where all others go.
    fn place_without_trial<'v>(&mut self, view: &'v WorkerView) -> Result<Place<'v>, ProxyError> {
        match self.choice.route {
            Route::HomeTrial | Route::EdgeTrial { .. } => {
                let needs = needs(&self.target, self.method, view);
                let choice = failover::choose(&view.table, &view.standings.stamps, needs);
                self.choice = choice.map_err(ProxyError::Refused)?;
                self.place(view, Tried::default()).ok_or(ProxyError::NoEndpoint)
            }
            Route::Home | Route::Edge { .. } => Err(ProxyError::NoEndpoint),
        }
    }

    /// Is there an endpoint for another attempt at the chosen stamp?
    fn has_place(&self, view: &WorkerView, tried: Tried) -> bool {
        let stamp = view.table.stamp(self.choice.stamp);
        let candidates = self.candidates(view, stamp);
        let draw = Draw { random: 0, turn: 0 };
        balance::pick(candidates, stamp.balance, tried, draw).is_some()
    }

    /// What of this request decides about a repeat.
    pub(super) fn facts(&self) -> RequestFacts {
        let body = match &self.body {
            None => Body::Empty,
            Some(source) if source.is_untouched() => Body::Untouched,
            Some(source) if source.is_repeatable() => Body::Kept,
            Some(_) => Body::Consumed,
        };
        let key = if self.head.headers.contains_key(IDEMPOTENCY_KEY) {
            IdempotencyKey::Present
        } else {
            IdempotencyKey::Absent
        };
        RequestFacts { method: self.method, key, body }
    }

    fn judge(&self, failure: AttemptFailure, attempts_left: u32) -> Verdict {
        let request = self.facts();
        let cell = self.view.stamp(self.choice.stamp);
        let time_left = self.time_left();
        let means = |budget| Means { attempts_left, time_left, budget };
        // The budget is asked last: a repeat that is not allowed anyway costs nothing.
        let verdict = retry::judge(failure, request, means(Funds::Enough));
        let unpaid =
            matches!(verdict, Verdict::Repeat(_)) && !cell.spend_retry(self.worker().now());
        if unpaid { retry::judge(failure, request, means(Funds::Spent)) } else { verdict }
    }

    fn earn_retries(&self) {
        if self.worker().random().is_multiple_of(EARN_EVERY) {
            let stamp = self.view.table.stamp(self.choice.stamp);
            let cell = self.view.stamp(self.choice.stamp);
            cell.earn_retries(EARN_EVERY, stamp.retry.budget_percent);
        }
    }

    pub(super) fn time_left(&self) -> Duration {
        self.deadline.first().map_or(Duration::MAX, |first| first.since(self.worker().now()))
    }

    /// Decides whether there is another attempt, prepares it, and says how long to wait for it.
    pub(super) fn goes_on(
        &mut self,
        course: &mut Course,
        place: &Place<'_>,
        failure: AttemptFailure,
    ) -> Option<Duration> {
        // A connection that closed while it rested says nothing of its endpoint: a fresh one is
        // tried at once, and that does not count.
        let free = failure.is_of_its_connection() && course.wanted == Wanted::Any;
        if free {
            course.made -= 1;
        }
        let attempts_max = place.stamp.retry.attempts_max.get();
        let own_left = attempts_max.saturating_sub(course.made);
        // The attempts that are declared are those at home: that all of its endpoints fail at once
        // must not cost the request its one way out.
        let only_out = own_left == 0 && attempts_max > 1 && self.way_out(&self.view).is_some();
        let attempts_left = own_left.max(u32::from(only_out));
        let Verdict::Repeat(reason) = self.judge(failure, attempts_left) else { return None };
        let pause = if free {
            course.wanted = Wanted::Fresh;
            Duration::ZERO
        } else {
            course.wanted = Wanted::Any;
            course.tried.add(place.place);
            let hangs = matches!(failure, AttemptFailure::TimedOut | AttemptFailure::EndpointOut);
            self.find_next(course, if only_out { Next::OutOnly } else { Next::Any { hangs } })?
        };
        self.count_repeat(reason.as_str());
        Some(pause)
    }

    /// Waits for the next attempt, and finds its stamp anew: it may have been drained meanwhile.
    /// Says whether there is an attempt: none is made once the request's time is over, for an
    /// endpoint would be blamed for it.
    async fn pause(&mut self, course: &mut Course, pause: Duration) -> bool {
        if pause.is_zero() {
            return true;
        }
        if pause >= self.time_left() {
            return false;
        }
        tokio::time::sleep(pause).await;
        // The process may have been frozen for longer than that.
        if self.time_left().is_zero() {
            return false;
        }
        self.find_next(course, Next::Any { hangs: true }).is_some()
    }

    /// Another endpoint of the same stamp if there is one, else across an edge, else one that was
    /// tried already, after a pause, unless it is one that keeps requests waiting: by the View of
    /// now.
    fn find_next(&mut self, course: &mut Course, wanted: Next) -> Option<Duration> {
        let now = self.worker().view();
        if !Arc::ptr_eq(&now.table, &self.view.table) {
            // The request stays with the table that it was resolved by, and is not sent anywhere
            // that the new one might forbid.
            return None;
        }
        self.view = Rc::clone(&now);
        if wanted != Next::OutOnly && self.has_sibling(&now, course.tried) {
            return Some(Duration::ZERO);
        }
        if let Some(choice) = self.way_out(&now) {
            self.choice = choice;
            course.tried = Tried::default();
            return Some(Duration::ZERO);
        }
        course.tried = Tried::default();
        let again = wanted == Next::Any { hangs: false } && self.has_sibling(&now, course.tried);
        again.then(|| retry::back_off(course.made, self.worker().random()))
    }

    /// Would `find_next` find something after this place?
    pub(super) fn has_elsewhere(
        &self,
        now: &WorkerView,
        course: &Course,
        place: &Place<'_>,
    ) -> bool {
        let mut tried = course.tried;
        tried.add(place.place);
        self.has_sibling(now, tried) || self.way_out(now).is_some()
    }

    fn has_sibling(&self, now: &WorkerView, tried: Tried) -> bool {
        let standing = now.standings.stamps.get(self.choice.stamp.at());
        let stays = standing.is_some_and(|standing| standing.operator.takes_requests());
        stays && self.has_place(now, tried)
    }

    fn way_out(&self, now: &WorkerView) -> Option<Choice> {
        let needs = needs(&self.target, self.method, now);
        failover::fall_through(&now.table, &now.standings.stamps, needs, self.choice.stamp)
    }

    /// Tells the fleet what the attempt taught; a trial is the fleet's to free from then on.
    fn report(&self, place: &mut Place<'_>, kind: Option<FailureKind>) {
        let Some(kind) = kind else { return };
        let tenant = self.target.witness();
        let trial = place.trial.take().map(Trial::settle).is_some();
        self.worker().report(AttemptReport {
            endpoint: place.cell.number,
            failure: Some((kind, tenant)),
            trial,
        });
    }

    fn report_success(&self, place: &mut Place<'_>) {
        place.cell.succeeded(self.worker().index);
        if let Some(trial) = place.trial.take() {
            trial.settle();
            let endpoint = place.cell.number;
            self.worker().report(AttemptReport { endpoint, failure: None, trial: true });
        }
    }

    fn count_repeat(&self, reason: &'static str) {
        let number = self.view.stamp(self.target.home).number;
        let mut counts = self.worker().counts();
        *counts.stamp(Some(number)).retries.entry(reason).or_default() += 1;
    }

    pub(super) fn count_attempt(&self, place: &Place<'_>, outcome: &'static str) {
        self.count_attempt_at(self.choice.stamp, place, outcome);
    }

    pub(super) fn count_attempt_at(
        &self,
        stamp: StampIndex,
        place: &Place<'_>,
        outcome: &'static str,
    ) {
        let number = self.view.stamp(stamp).number;
        self.worker().counts().stamp(Some(number)).attempted(place.cell.number, outcome);
    }

    /// One attempt at one endpoint.
    async fn attempt(
        &mut self,
        view: &WorkerView,
        place: &mut Place<'_>,
        course: &mut Course,
        ending: &mut Ending,
    ) -> Result<Got, Stopped> {
        let entered = self.enter(view, place.stamp).map_err(Stopped::ForGood)?;
        let load = place.pool.enter();
        let began = self.worker().now();
        let tenant = ending.record.as_ref().and_then(|record| record.place.as_ref());
        let of = (&ending.line, tenant.map(TenantPlace::tenant));
        let flights = self.worker().flights();
        let flight = flights.enter((entered, place.cell.number), of, self.body.as_ref(), began);
        self.note(view, place, began, ending);
        let connect_timeout = view.live.timeouts.connect;
        let purpose = upgrade::purpose(&self.head);
        let (wanted, tls) = (course.wanted, place.tls);
        let wish = Wish { purpose, wanted, tls, began, connect_timeout };
        let link = self.take_link(view, place, course, wish).await?;
        flight.note_connected();
        link.read_at_most(ending.line.piece_bytes_max());
        if self.time_left().is_zero() {
            return Err(Stopped::ForGood(ProxyError::UpstreamTimeout));
        }
        let (response, link) = self.send(view, place, course, link).await?;
        if is_gateway_error(response.status()) {
            self.count_attempt(place, "bad_status");
            self.report(place, Some(FailureKind::BadStatus));
        } else {
            self.count_attempt(place, "ok");
            self.report_success(place);
        }
        Ok(Got { response, link, load, flight })
    }

    /// Counts the request in at the chosen stamp. The fuller that is, the more it is left to higher
    /// priorities.
    fn enter(&self, view: &WorkerView, stamp: &Stamp) -> Result<InFlight, ProxyError> {
        let tier = view.table.tier_of(self.target.tenant);
        let cell = view.stamp(self.choice.stamp);
        cell.enter(stamp.in_flight_max, tier.rank).map_err(|shed| {
            self.worker().counts().stamp(Some(cell.number)).shed(&tier.name, shed.as_str());
            if shed == Shed::Full {
                self.worker().turned_away(Shortage::Stamp(cell.number));
            }
            ProxyError::StampSaturated
        })
    }

    fn note(&self, view: &WorkerView, place: &Place<'_>, began: Moment, ending: &mut Ending) {
        let Some(record) = &mut ending.record else { return };
        record.attempts += 1;
        record.endpoint = Some(Rc::clone(&place.pool));
        let stamp = view.stamp(self.choice.stamp);
        let first_time = record.stamp != Some(self.choice.stamp);
        if first_time && self.choice.stamp != self.target.home {
            let why = match self.choice.route {
                Route::Edge { why, .. } => why.as_str(),
                Route::Home | Route::HomeTrial | Route::EdgeTrial { .. } => "trial",
            };
            let home = view.stamp(self.target.home).number;
            let mut counts = self.worker().counts();
            let failovers = &mut counts.stamp(Some(home)).failovers;
            *failovers.entry((stamp.number, why)).or_default() += 1;
        }
        record.stamp = Some(self.choice.stamp);
        record.upstream_ended();
        record.upstream_began = Some(began);
    }

    /// The request as this attempt's stamp gets it, in the version of its link.
    pub(super) fn request(
        &self,
        view: &WorkerView,
        place: &Place<'_>,
        version: Version,
    ) -> Request<RequestBody> {
        let body = self.body.as_ref().map_or(RequestBody::Empty, BodySource::body);
        let mut request = Request::new(body);
        *request.method_mut() = self.head.method.clone();
        *request.version_mut() = version;
        let mut fields = self.head.headers.clone();
        fields.insert(headers::X_STAMP_ID, view.name(self.choice.stamp));
        if self.choice.stamp != self.target.home {
            fields.insert(headers::X_STAMP_HOME, view.name(self.target.home));
        }
        if self.deadline.clients.is_some() {
            rpc::set_timeout(&mut fields, self.time_left());
        }
        *request.uri_mut() = if version == Version::HTTP_2 {
            let scheme = if place.tls.is_some() { Scheme::HTTPS } else { Scheme::HTTP };
            hop::to_http2(&self.head, scheme, &mut fields)
        } else {
            hop::to_http1(&self.head, &mut fields);
            self.head.uri.clone()
        };
        *request.headers_mut() = fields;
        if version == Version::HTTP_2 && self.head.upgrade.is_some() {
            upgrade::connect(&mut request);
        }
        request
    }

    fn answer(
        &mut self,
        view: &WorkerView,
        place: &Place<'_>,
        got: Got,
        ending: &mut Ending,
    ) -> Result<Served, ProxyError> {
        let status = got.response.status();
        let is_opened = got.link.version() == Version::HTTP_2
            && self.head.upgrade.is_some()
            && status.is_success();
        if status == StatusCode::SWITCHING_PROTOCOLS || is_opened {
            return self.switch(got, ending);
        }
        if self.switch.as_ref().is_some_and(|switch| switch.forbids(got.response.status())) {
            return Err(ProxyError::UpstreamProtocol);
        }
        let (mut parts, incoming) = got.response.into_parts();
        headers::strip_answer(&mut parts.headers);
        // Each side's version is its own.
        parts.version = Version::HTTP_11;
        if !incoming.is_end_stream() && incoming.size_hint().exact().is_none() {
            got.flight.become_stream();
        }
        let manner = ending.record.as_ref().map_or(Manner::Http, |record| record.manner);
        let farewell = if manner.may_end_in_trailers(&parts.headers) {
            Farewell::Trailers
        } else {
            Farewell::Reset
        };
        let from = FromStamp {
            incoming,
            link: Some(got.link),
            pool: Rc::clone(&place.pool),
            counts: Some((got.load, got.flight, ending.take_place())),
            sent: Sent::of(self.body.as_ref()),
            idle: view.live.timeouts.response_body_idle,
            deadline: self.deadline.first(),
            farewell,
            clock: self.worker().clock(),
            timer: None,
        };
        Ok(Served::Answered(Response::from_parts(parts, Box::new(from))))
    }

    /// 101, or what it is over HTTP/2: only what the client asked for.
    fn switch(&mut self, got: Got, ending: &mut Ending) -> Result<Served, ProxyError> {
        let Got { response, load, mut flight, link } = got;
        link.read_at_most(usize::MAX);
        let asked = self.head.upgrade.take().and_then(|_| self.switch.take());
        let switch = asked.ok_or(ProxyError::UpstreamProtocol)?;
        let (mut parts, stamp, agreed) = upgrade::agreement(response, link)?;
        let protocol = agreed.protocol();
        headers::strip_answer(&mut parts.headers);
        let client = switch.agree(&self.head, &mut parts, agreed)?;
        let Some(mut record) = ending.record.take() else { return Err(ProxyError::Internal) };
        record.status = parts.status.as_u16();
        flight.become_tunnel();
        let line = ending.line.clone();
        tunnel::run(Tunnel { client, stamp, protocol, flight, load, record, line });
        Ok(Served::Switched(Response::from_parts(parts, ())))
    }
}

/// Does routing.toml declare that this answer is worth another attempt?
fn is_declared(place: &Place<'_>, response: &Response<AnswerBody>) -> bool {
    place.stamp.retry.statuses.contains(&response.status().as_u16())
}

/// RFC 9110, sections 15.6.3 to 15.6.5: what a stamp says when something behind it fails.
fn is_gateway_error(status: StatusCode) -> bool {
    matches!(
        status,
        StatusCode::BAD_GATEWAY | StatusCode::SERVICE_UNAVAILABLE | StatusCode::GATEWAY_TIMEOUT
    )
}

/// An answer's head, and what is held until its body ends.
struct Got {
    response: Response<AnswerBody>,
    link: Link,
    load: Load,
    flight: Flight,
}
