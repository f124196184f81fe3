//! One request, as `proxy` and `proxy::forward` take it: identify, resolve, choose, pick, attempt,
//! judge, repeat or fall through.

use std::rc::Rc;
use std::time::Duration;

use stamp_core::balance::{self, Candidate, Draw, Tried};
use stamp_core::breaker::FailureKind;
use stamp_core::failover::{self, Route};
use stamp_core::retry::{
    self, AttemptFailure, Body as CoreBody, Funds, IdempotencyKey, Means, MethodClass,
    RequestFacts, RetryBudget, StatusRule, Verdict,
};
use stamp_core::standing::EndpointStanding;
use stamp_core::table::Balance;

use super::choose::{choose, chosen, needs, standing_now, target, tenant_named, way_out};
use super::control::Inbox;
use super::seen;
use super::{Call, EndpointCell, Gateway, Inside, Link, Place, View, WORKERS, World, moment};
use crate::machines::{Ending, Fate, HEAD_TIMEOUT, Outcome};
use crate::plan::EndpointKey;
use crate::requests::{Body, Request};
use crate::shadow::{Chosen, Effort, Reported};
use crate::world::{MS, Micros, SECOND};

/// As in `proxy::forward`.
const EARN_EVERY: u64 = 16;
/// Most answers come this soon: until then nobody looks whether the endpoint is still good.
const SOON: Micros = 50 * MS;
/// A connection that rested longer is not used again.
const IDLE_TIMEOUT: Micros = 5 * SECOND;

/// Where the next attempt may go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Next {
    /// Over an edge only: the attempts at home are spent.
    OutOnly,
    Any,
}

impl Gateway {
    /// A client's request arrives at some worker.
    pub(crate) fn serve(&mut self, request: Rc<Request>, world: &mut World) {
        let workers = u64::try_from(WORKERS).unwrap();
        let worker = usize::try_from(world.dice.below(workers)).unwrap();
        let view = Rc::clone(&self.workers[worker].view);
        let target = target(&view, &request);
        let named = target.map(|target| {
            let tenant =
                target.tenant.map(|tenant| tenant_named(view.table.directory.name(tenant)));
            (tenant, view.key_of(target.home))
        });
        world.note(|| format!("{request:?} at worker {worker}, View {}", view.version));
        world.shadow.resolved(&request, (view.version, named), world.now);
        let Some(target) = target else { return };
        let method = MethodClass::of(&request.method);
        let (number, deadline) = (request.number, request.time.map(|time| world.now + time));
        let choice = match choose(&view, &target, method, world.now) {
            Ok(choice) => choice,
            Err(refusal) => {
                let refused = Chosen::Refused(seen::refusal(refusal));
                world.shadow.chosen(number, (view.version, refused));
                return finish(number, None, world);
            }
        };
        world.shadow.chosen(number, (view.version, chosen(&view, choice)));
        let call = Call {
            request,
            worker,
            view,
            target,
            method,
            choice,
            tried: Tried::default(),
            made: 0,
            wants_fresh: false,
            deadline,
            body_is_touched: false,
            attempts: 0,
            place: None,
        };
        call.earn_retries(world);
        self.attempt(call, world);
    }

    fn candidates<'v>(
        &self,
        (call, view): (&Call, &'v View),
    ) -> impl Iterator<Item = Candidate> + Clone + use<'v, '_> {
        let load = &self.workers[call.worker].load;
        view.table.stamp(call.choice.stamp).endpoints.iter().map(move |endpoint| Candidate {
            standing: standing_now(view, endpoint.index.at()),
            weight: endpoint.weight,
            load: load.get(&view.endpoints[endpoint.index.at()].number).copied().unwrap_or(0),
        })
    }

    /// The endpoint for the next attempt at the chosen stamp, and whether it is a trial.
    fn place(&mut self, call: &Call, world: &mut World) -> Option<(usize, bool)> {
        let view = &call.view;
        let stamp = view.table.stamp(call.choice.stamp);
        let cell = |place: usize| &view.endpoints[stamp.endpoints[place].index.at()];
        let on_trial = balance::on_trial(self.candidates((call, view)), call.tried);
        let is_chosen = matches!(call.choice.route, Route::HomeTrial | Route::EdgeTrial { .. });
        let risks = call.method == MethodClass::Other && !is_chosen;
        let offered = on_trial.filter(|place| cell(*place).offers_trial(risks, world.now));
        if let Some(place) = offered {
            cell(place).trial_is_free.set(false);
            cell(place).trial_left_at.set(None);
            return Some((place, true));
        }
        let number = view.stamps[call.choice.stamp.at()].number;
        let turn = match stamp.balance {
            Balance::RoundRobin => {
                let turn = self.workers[call.worker].turns.entry(number).or_default();
                *turn += 1;
                *turn - 1
            }
            Balance::LeastRequest => 0,
        };
        let draw = Draw { random: world.dice.any(), turn };
        let candidates = self.candidates((call, view));
        Some((balance::pick(candidates, stamp.balance, call.tried, draw)?, false))
    }

    /// Another request took the trial that this one was chosen for.
    fn place_without_trial(&mut self, call: &mut Call, world: &mut World) -> Option<(usize, bool)> {
        if !matches!(call.choice.route, Route::HomeTrial | Route::EdgeTrial { .. }) {
            return None;
        }
        let view = Rc::clone(&call.view);
        let needs = needs(&call.target, call.method, &view);
        let found = failover::choose(&view.table, &view.standings.stamps, needs);
        let told = found.map_or_else(
            |refusal| Chosen::Refused(seen::refusal(refusal)),
            |choice| chosen(&view, choice),
        );
        world.shadow.chosen(call.request.number, (view.version, told));
        call.choice = found.ok()?;
        call.tried = Tried::default();
        self.place(call, world)
    }

    /// Begins an attempt, or ends the request.
    fn attempt(&mut self, mut call: Call, world: &mut World) {
        let placed = self.place(&call, world);
        let Some((at, is_trial)) = placed.or_else(|| self.place_without_trial(&mut call, world))
        else {
            return finish(call.request.number, None, world);
        };
        call.made += 1;
        let stamp = Rc::clone(&call.view.stamps[call.choice.stamp.at()]);
        let index = call.view.table.stamp(call.choice.stamp).endpoints[at].index;
        let endpoint = Rc::clone(&call.view.endpoints[index.at()]);
        stamp.in_flight.set(stamp.in_flight.get() + 1);
        *self.workers[call.worker].load.entry(endpoint.number).or_default() += 1;
        let rested = self.take_link(&call, &endpoint, world.now);
        let machine = world.machines.of(endpoint.key);
        let life = machine.life;
        let fate = machine.attempt(rested.map(|link| link.life), &mut world.dice);
        let fate = in_time(fate, call.deadline, world.now);
        let effort = if is_trial { Effort::Trial } else { Effort::Plain };
        let (number, version) = (call.request.number, call.view.version);
        world.note(|| format!("#{number} attempts {:?} ({effort:?}): {fate:?}", endpoint.key));
        world.shadow.attempts(number, (version, endpoint.key, effort), world.now);
        let began = world.now;
        call.place = Some(Place { at, stamp, endpoint, is_trial, began, life, fate });
        call.attempts += 1;
        let attempt = call.attempts;
        self.calls.insert(number, call);
        self.later(fate.after, Inside::AttemptEnds(number, attempt), world);
        if fate.after > SOON {
            self.later(SOON, Inside::Waits(number, attempt), world);
        }
    }

    fn take_link(&mut self, call: &Call, endpoint: &EndpointCell, now: Micros) -> Option<Link> {
        let links = self.workers[call.worker].links.entry(endpoint.number).or_default();
        if call.wants_fresh {
            links.clear();
        }
        links.retain(|link| now - link.rests_since <= IDLE_TIMEOUT);
        links.pop()
    }

    /// Is the endpoint that is waited for out by now, and may the request go elsewhere? A trial
    /// stays: its end is what is waited for.
    pub(super) fn waits(&mut self, (number, attempt): (u64, u32), world: &mut World) {
        let Some(call) = self.calls.get(&number).filter(|call| call.attempts == attempt) else {
            return;
        };
        let Some(place) = &call.place else { return };
        let now = Rc::clone(&self.workers[call.worker].view);
        let before_sending = place.fate.outcome == Outcome::NotConnected;
        let is_soon = !before_sending && world.now < place.began + SOON;
        if is_soon || place.is_trial || !Rc::ptr_eq(&now.table, &call.view.table) {
            return;
        }
        let index = now.table.stamp(call.choice.stamp).endpoints[place.at].index;
        let mut tried = call.tried;
        tried.add(place.at);
        let elsewhere = self.has_sibling((call, &now), tried) || way_out(call, &now).is_some();
        if !matches!(now.standing(index.at()), EndpointStanding::Out(_)) || !elsewhere {
            return;
        }
        let Some(mut call) = self.calls.remove(&number) else { return };
        let Some(place) = call.place.take() else { return };
        self.leaves_place((call, place), world);
    }

    fn leaves_place(&mut self, (mut call, place): (Call, Place), world: &mut World) {
        let before_sending = place.fate.outcome == Outcome::NotConnected;
        let (outcome, number) = (Outcome::Left { before_sending }, call.request.number);
        world.shadow.leaves(number, self.workers[call.worker].view.version);
        let was_touched = call.body_is_touched;
        call.body_is_touched |= !before_sending;
        if self.goes_on((&mut call, &place), outcome, world).is_none() {
            call.body_is_touched = was_touched;
            call.place = Some(place);
            self.calls.insert(number, call);
            return;
        }
        world.shadow.ended(number, (outcome, place.fate.is_processed), Reported::Nothing);
        self.leave(call.worker, (place.endpoint.number, place.stamp.number));
        self.attempt(call, world);
    }

    pub(super) fn attempt_ends(&mut self, (number, attempt): (u64, u32), world: &mut World) {
        if self.calls.get(&number).is_none_or(|call| call.attempts != attempt) {
            return;
        }
        let Some(mut call) = self.calls.remove(&number) else { return };
        let Some(mut place) = call.place.take() else { return };
        let was_killed = world.machines.of(place.endpoint.key).life != place.life;
        let waited = matches!(place.fate.outcome, Outcome::Answered { .. } | Outcome::TimedOut);
        let outcome = if was_killed && waited { Outcome::NoHead } else { place.fate.outcome };
        call.body_is_touched |= match outcome {
            Outcome::NotConnected => false,
            Outcome::NothingWritten => world.dice.percent(50),
            Outcome::ClosedReused
            | Outcome::NoHead
            | Outcome::TimedOut
            | Outcome::Left { .. }
            | Outcome::Answered { .. } => true,
        };
        let (reported, kind) = lesson(outcome);
        world.note(|| format!("#{number} ends {:?}: {outcome:?}", place.endpoint.key));
        world.shadow.ended(number, (outcome, place.fate.is_processed), reported);
        if let Some(kind) = kind {
            self.report_failure((&call, &mut place), kind, world);
        } else if reported == Reported::Success {
            self.report_success(&mut place, world);
        }
        if let Outcome::Answered { status, body } = outcome {
            let retry = &call.view.table.stamp(call.choice.stamp).retry;
            let is_declared = retry.statuses.contains(&status);
            let pause =
                is_declared.then(|| self.goes_on((&mut call, &place), outcome, world)).flatten();
            let Some(pause) = pause else {
                return self.answer((&call, &place), (status, body), world);
            };
            self.leave(call.worker, (place.endpoint.number, place.stamp.number));
            drop_trial(&mut place, world);
            return self.pause(call, pause, world);
        }
        self.leave(call.worker, (place.endpoint.number, place.stamp.number));
        let pause = self.goes_on((&mut call, &place), outcome, world);
        drop_trial(&mut place, world);
        match pause {
            Some(pause) => self.pause(call, pause, world),
            None => finish(number, None, world),
        }
    }

    /// The next attempt, at once or after a pause.
    fn pause(&mut self, call: Call, pause: Micros, world: &mut World) {
        if pause == 0 {
            return self.attempt(call, world);
        }
        let number = call.request.number;
        if call.deadline.is_some_and(|deadline| world.now + pause >= deadline) {
            return finish(number, None, world);
        }
        self.calls.insert(number, call);
        self.later(pause, Inside::PauseEnds(number), world);
    }

    /// The stamp is found anew: it may have been drained meanwhile.
    pub(super) fn pause_ends(&mut self, number: u64, world: &mut World) {
        let Some(mut call) = self.calls.remove(&number) else { return };
        // No pause is planned beyond the deadline, but the world may sleep through both.
        if call.deadline.is_some_and(|deadline| world.now >= deadline) {
            return finish(number, None, world);
        }
        match self.find_next(&mut call, (Next::Any, Outcome::TimedOut), world) {
            Some(_) => self.attempt(call, world),
            None => finish(number, None, world),
        }
    }

    /// The client gets the answer; its body may take a while.
    fn answer(&mut self, (call, place): (&Call, &Place), got: (u16, Ending), world: &mut World) {
        let (status, body) = got;
        finish(call.request.number, Some(status), world);
        let wait = match world.dice.below(20) {
            0 => world.dice.between(SECOND, 4 * SECOND),
            1..6 => world.dice.between(MS, 300 * MS),
            _ => 0,
        };
        let link = Link { life: place.life, rests_since: world.now };
        let ends = Inside::BodyEnds {
            worker: call.worker,
            endpoint: place.endpoint.number,
            stamp: place.stamp.number,
            link: (body == Ending::Whole).then_some(link),
        };
        self.later(wait, ends, world);
    }

    fn report_success(&mut self, place: &mut Place, world: &mut World) {
        place.endpoint.successes.set(place.endpoint.successes.get() + 1);
        if std::mem::take(&mut place.is_trial) {
            let endpoint = place.endpoint.number;
            self.tell_control(Inbox::Attempt { endpoint, failure: None, is_trial: true }, world);
        }
    }

    fn report_failure(
        &mut self,
        (call, place): (&Call, &mut Place),
        kind: FailureKind,
        world: &mut World,
    ) {
        let tenant = call.target.tenant.map(|tenant| u64::from(tenant.0));
        let is_trial = std::mem::take(&mut place.is_trial);
        let endpoint = place.endpoint.number;
        let failure = Some((kind, tenant));
        self.tell_control(Inbox::Attempt { endpoint, failure, is_trial }, world);
    }

    /// Decides whether there is another attempt, and prepares it.
    fn goes_on(
        &self,
        (call, place): (&mut Call, &Place),
        outcome: Outcome,
        world: &mut World,
    ) -> Option<Micros> {
        let failure = failure_of(outcome);
        let is_free = failure.is_of_its_connection() && !call.wants_fresh;
        if is_free {
            call.made -= 1;
        }
        let attempts_max = call.view.table.stamp(call.choice.stamp).retry.attempts_max.get();
        let own_left = attempts_max.saturating_sub(call.made);
        let only_out = own_left == 0 && attempts_max > 1 && way_out(call, &call.view).is_some();
        let verdict = call.judge(failure, own_left.max(u32::from(only_out)), world.now);
        let number = call.request.number;
        let gone = call.request.body == Body::Large && call.body_is_touched;
        world.note(|| format!("#{number} after {outcome:?}: {verdict:?}"));
        let judged = (call.view.version, outcome, (gone, seen::judged(verdict)));
        world.shadow.judged(number, judged, (place.stamp.number, world.now));
        if !matches!(verdict, Verdict::Repeat(_)) {
            return None;
        }
        let hundredths = u32::try_from(place.stamp.budget.get() & u64::from(u32::MAX)).unwrap();
        world.shadow.paid(place.stamp.number, f64::from(hundredths) / 100.0);
        call.wants_fresh = is_free;
        if is_free {
            return Some(0);
        }
        call.tried.add(place.at);
        let next = if only_out { Next::OutOnly } else { Next::Any };
        self.find_next(call, (next, outcome), world)
    }

    /// Another endpoint of the same stamp, else across an edge, else one that was tried already,
    /// after a pause: by the View of now.
    fn find_next(
        &self,
        call: &mut Call,
        (next, outcome): (Next, Outcome),
        world: &mut World,
    ) -> Option<Micros> {
        let now = Rc::clone(&self.workers[call.worker].view);
        if !Rc::ptr_eq(&now.table, &call.view.table) {
            return None;
        }
        call.view = Rc::clone(&now);
        if next == Next::Any && self.has_sibling((call, &now), call.tried) {
            return Some(0);
        }
        let found = way_out(call, &now);
        let (number, to) = (call.request.number, found.map(|choice| now.key_of(choice.stamp)));
        world.note(|| format!("#{number} falls through to {to:?}, View {}", now.version));
        world.shadow.fell(number, (now.version, now.key_of(call.choice.stamp), to));
        if let Some(choice) = found {
            (call.choice, call.tried) = (choice, Tried::default());
            return Some(0);
        }
        call.tried = Tried::default();
        let hangs = matches!(outcome, Outcome::TimedOut | Outcome::Left { .. });
        if next == Next::OutOnly || hangs || !self.has_sibling((call, &now), call.tried) {
            return None;
        }
        let pause = retry::back_off(call.made, world.dice.any());
        let pause = Micros::try_from(pause.as_micros()).unwrap();
        world.shadow.starts_over(number, (now.version, outcome), pause);
        Some(pause)
    }

    fn has_sibling(&self, (call, now): (&Call, &View), tried: Tried) -> bool {
        let standing = now.standings.stamps[call.choice.stamp.at()];
        standing.operator.takes_requests() && self.has_place((call, now), tried)
    }

    /// Is there an endpoint for another attempt at the chosen stamp?
    fn has_place(&self, (call, view): (&Call, &View), tried: Tried) -> bool {
        let balance = view.table.stamp(call.choice.stamp).balance;
        let draw = Draw { random: 0, turn: 0 };
        balance::pick(self.candidates((call, view)), balance, tried, draw).is_some()
    }
}

impl Call {
    fn judge(&self, failure: AttemptFailure, attempts_left: u32, now: Micros) -> Verdict {
        let body = match self.request.body {
            Body::None => CoreBody::Empty,
            Body::Small => CoreBody::Kept,
            Body::Large if self.body_is_touched => CoreBody::Consumed,
            Body::Large => CoreBody::Untouched,
        };
        let key =
            if self.request.has_key { IdempotencyKey::Present } else { IdempotencyKey::Absent };
        let request = RequestFacts { method: self.method, key, body };
        let time_left =
            self.deadline.map_or(Duration::MAX, |deadline| moment(deadline).since(moment(now)));
        let means = |budget| Means { attempts_left, time_left, budget };
        let verdict = retry::judge(failure, request, means(Funds::Enough));
        if !matches!(verdict, Verdict::Repeat(_)) {
            return verdict;
        }
        let budget = &self.view.stamps[self.choice.stamp.at()].budget;
        match RetryBudget::from_bits(budget.get()).spent(moment(now)) {
            Some(rest) => {
                budget.set(rest.to_bits());
                verdict
            }
            None => retry::judge(failure, request, means(Funds::Spent)),
        }
    }

    fn earn_retries(&self, world: &mut World) {
        if !world.dice.any().is_multiple_of(EARN_EVERY) {
            return;
        }
        let stamp = self.view.table.stamp(self.choice.stamp);
        let cell = &self.view.stamps[self.choice.stamp.at()];
        let budget = RetryBudget::from_bits(cell.budget.get());
        cell.budget.set(budget.earned(EARN_EVERY, stamp.retry.budget_percent).to_bits());
        let at = (cell.number, world.now);
        world.shadow.earned((self.view.version, cell.key), EARN_EVERY, at);
    }
}

/// A head that does not come before the request's time is over comes too late.
fn in_time(fate: Fate, deadline: Option<Micros>, now: Micros) -> Fate {
    let left = deadline.map_or(HEAD_TIMEOUT, |deadline| deadline.saturating_sub(now));
    if fate.outcome == Outcome::NotConnected || fate.after <= left {
        return fate;
    }
    Fate { after: left, outcome: Outcome::TimedOut, ..fate }
}

/// What the end of an attempt says of its endpoint.
const fn lesson(outcome: Outcome) -> (Reported, Option<FailureKind>) {
    let kind = match outcome {
        Outcome::NotConnected => Some(FailureKind::Connect),
        Outcome::NothingWritten | Outcome::ClosedReused | Outcome::Left { .. } => {
            return (Reported::Nothing, None);
        }
        Outcome::NoHead => Some(FailureKind::BrokeOff),
        Outcome::TimedOut => Some(FailureKind::Timeout),
        Outcome::Answered { status, .. } => FailureKind::of_status(status),
    };
    match kind {
        None => (Reported::Success, None),
        Some(kind) if kind.is_before_sending() => (Reported::FailedBeforeSending, Some(kind)),
        Some(kind) => (Reported::FailedAfterSending, Some(kind)),
    }
}

const fn failure_of(outcome: Outcome) -> AttemptFailure {
    match outcome {
        Outcome::NotConnected => AttemptFailure::NotConnected,
        Outcome::NothingWritten => AttemptFailure::NothingWritten,
        Outcome::ClosedReused => AttemptFailure::ReusedClosedBeforeByte,
        Outcome::NoHead => AttemptFailure::SentNoHead,
        Outcome::TimedOut => AttemptFailure::TimedOut,
        Outcome::Left { before_sending: true } => AttemptFailure::NotConnected,
        Outcome::Left { before_sending: false } => AttemptFailure::EndpointOut,
        Outcome::Answered { .. } => AttemptFailure::Status(StatusRule::Declared),
    }
}

/// A trial that nobody will judge: another may be made.
fn drop_trial(place: &mut Place, world: &mut World) {
    if std::mem::take(&mut place.is_trial) {
        free_trial(&place.endpoint, world);
    }
}

pub(super) fn free_trial(endpoint: &EndpointCell, world: &mut World) {
    endpoint.trial_is_free.set(true);
    let key: EndpointKey = endpoint.key;
    world.shadow.trial_is_over(key);
}

fn finish(number: u64, status: Option<u16>, world: &mut World) {
    world.note(|| format!("#{number} is over: {status:?}"));
    world.shadow.finished(number, status);
}
