//! Requests: whom they are for, where each attempt may go, what may be repeated and who pays.

use std::collections::BTreeSet;
use std::rc::Rc;

use super::{Facts, Health, Serves, Shadow, StampModel, Standing};
use crate::machines::Outcome;
use crate::plan::{EndpointKey, Mode, Plan, StampKey, TenantIs, TenantKey, Zone};
use crate::requests::{Host, Request};
use crate::world::{Micros, SECOND};

/// The most repeats that a stamp saves up, and what it begins with.
const SAVED_MAX: f64 = 1000.0;
const SAVED_AT_FIRST: f64 = 100.0;
/// The gateway counts whole milliseconds.
const ROUNDING: f64 = 0.05;

/// Whom a request is for, if for anybody.
type Target = Option<(Option<TenantKey>, StampKey)>;

/// Where a request is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Chosen {
    Serve(StampKey),
    /// As the trial of a half-open breaker.
    Trial(StampKey),
    Refused(Refusal),
}

/// Why nobody serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    Draining,
    Unavailable,
    Fenced,
    ReadOnly,
}

/// What kind of attempt begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Effort {
    Plain,
    /// As the one trial of a half-open breaker.
    Trial,
}

/// What an attempt's end says of its endpoint, as reported.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reported {
    Nothing,
    Success,
    FailedBeforeSending,
    FailedAfterSending,
}

/// What was decided about another attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Judged {
    Repeat,
    Stop(Stop),
}

/// Why there is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stop {
    NotIdempotent,
    BodyGone,
    AttemptsSpent,
    DeadlineOver,
    BudgetSpent,
    StatusNotDeclared,
    HeadForwarded,
}

/// A stamp's retry budget: no other arithmetic than the contract's.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bucket {
    saved: f64,
    at: Micros,
}

impl Bucket {
    const fn new(now: Micros) -> Self {
        Self { saved: SAVED_AT_FIRST, at: now }
    }

    fn add(&mut self, more: f64, now: Micros) {
        let passed = (now - self.at) as f64 / SECOND as f64;
        self.saved = (self.saved + passed * 10.0 + more).min(SAVED_MAX);
        self.at = now;
    }
}

/// One request on its way.
#[derive(Clone, Debug)]
pub(super) struct Course {
    request: Rc<Request>,
    home: StampKey,
    /// Which of a hundred shares of tenants it belongs to.
    slot: u8,
    zones: Vec<Zone>,
    began: Micros,
    stamps: Vec<StampKey>,
    /// Endpoints of the present stamp.
    tried: BTreeSet<EndpointKey>,
    at: Option<EndpointKey>,
    made: u64,
    /// By the table that the last attempt went by.
    attempts_max: u64,
    processed: u32,
    may_go: bool,
    /// Its attempts at home are spent: the next is over an edge.
    must_hop: bool,
    /// The last attempt met a connection that had closed while it rested: the next is free.
    is_free: bool,
    is_entitled: bool,
}

impl Shadow {
    /// The gateway found out whom a request is for, or that it is for nobody.
    pub(crate) fn resolved(
        &mut self,
        request: &Rc<Request>,
        (version, target): (usize, Target),
        now: Micros,
    ) {
        self.counts.requests += 1;
        let plan = Rc::clone(&self.facts(version).plan);
        let agreed = agreed(&plan, request);
        let is_right = match (agreed, target) {
            (Ok(expected), target) => admitted(&plan, expected) == target,
            (Err(Contradiction), None) => true,
            (Err(Contradiction), Some(target)) => {
                plan.conflicts_are_reported && is_named_by_host(request, target)
            }
        };
        self.must(is_right, || format!("{request:?} is for {target:?}, by its clues {agreed:?}"));
        let Some((tenant, home)) = target else { return };
        let course = Course {
            request: Rc::clone(request),
            home,
            slot: tenant.map_or(50, slot),
            zones: plan.zones(tenant, home),
            began: now,
            stamps: Vec::new(),
            tried: BTreeSet::new(),
            at: None,
            made: 0,
            attempts_max: 0,
            processed: 0,
            may_go: true,
            must_hop: false,
            is_free: false,
            is_entitled: self.is_strict && self.is_entitled(tenant, home, request),
        };
        self.courses.insert(request.number, course);
    }

    /// Is there somebody who must serve it, once all is well?
    fn is_entitled(&self, tenant: Option<TenantKey>, home: StampKey, request: &Request) -> bool {
        let allows =
            |stamp: StampKey| self.stamps.get(&stamp).is_some_and(|model| model.operator.allows());
        let edges = self.plan.stamp(home).map_or(&[][..], |stamp| &stamp.edges);
        let by_edge = || edges.iter().any(|(to, _)| allows(*to));
        allows(home) || (tenant.is_some() && request.is_safe() && by_edge())
    }

    /// The gateway chose who serves.
    pub(crate) fn chosen(&mut self, number: u64, (version, chosen): (usize, Chosen)) {
        let facts = self.facts(version);
        let Some(course) = self.courses.get(&number).cloned() else { return };
        let is_right = match chosen {
            Chosen::Trial(stamp) => course.may_be_tried(&facts, stamp),
            Chosen::Serve(_) | Chosen::Refused(_) => course.expected(&facts) == chosen,
        };
        let serves = facts.stamps.get(&course.home).map(|home| home.serves);
        self.must(is_right, || {
            let expected = course.expected(&facts);
            format!("{chosen:?}, expected {expected:?}; answers: {serves:?}; {course:?}")
        });
        if let Chosen::Refused(refusal) = chosen {
            self.counts.refusals[refusal as usize] += 1;
        }
    }

    /// First attempts fill the budget of their stamp.
    pub(crate) fn earned(
        &mut self,
        (version, stamp): (usize, StampKey),
        requests: u64,
        (account, now): (u32, Micros),
    ) {
        let plan = Rc::clone(&self.facts(version).plan);
        let percent = plan.stamp(stamp).map_or(0, |stamp| stamp.policy.budget_percent);
        if let Some(bucket) = self.budgets.get_mut(&account) {
            bucket.add((requests * percent) as f64 / 100.0, now);
        }
    }

    /// A stamp is there that was not: its budget begins, under a number of its own.
    pub(crate) fn funded(&mut self, account: u32, now: Micros) {
        self.budgets.insert(account, Bucket::new(now));
    }

    /// An attempt begins.
    pub(crate) fn attempts(
        &mut self,
        number: u64,
        (version, endpoint, effort): (usize, EndpointKey, Effort),
        now: Micros,
    ) {
        let facts = self.facts(version);
        let Some(mut course) = self.courses.remove(&number) else { return };
        let stamp = endpoint.0;
        let is_free = course.is_free;
        let said = |law: &str| format!("{law}: attempt at {endpoint:?} ({effort:?}) of {course:?}");
        let is_there =
            facts.plan.stamp(stamp).is_some_and(|it| it.endpoints.contains_key(&endpoint.1));
        self.must(is_there, || said("no such endpoint in the table"));
        let allows = facts.stamps.get(&stamp).is_some_and(|it| it.operator.allows());
        self.must(allows, || said("the operator took the stamp out"));
        let is_closed = self.is_closed(stamp);
        self.must(!is_closed || is_free, || said("the stamp is drained"));
        let is_inside = stamp == course.home || facts.plan.is_inside(&course.zones, stamp);
        self.must(is_inside, || said("the data may not go there"));
        self.must(course.may_go, || said("nobody allowed another attempt"));
        self.must(course.is_way(&facts, stamp), || said("no declared way, or a second hop"));
        let is_fit = course.is_fit(&facts, endpoint, effort);
        self.must(is_fit, || said("an endpoint that may not be used now"));
        let is_late = course.request.time.is_some_and(|time| now - course.began >= time);
        self.must(!is_late || course.made == 0, || said("the time of the request is over"));
        if effort == Effort::Trial {
            let is_first = self.trials.insert(endpoint);
            self.must(is_first, || said("a second trial at a half-open endpoint"));
            self.counts.trials += 1;
        }
        if course.stamps.last().is_some_and(|last| *last != stamp) {
            course.tried.clear();
            self.counts.hops += 1;
        }
        self.counts.repeats += u64::from(course.at.is_some());
        course.stamps.push(stamp);
        course.at = Some(endpoint);
        course.made += u64::from(!is_free);
        let policy = facts.plan.stamp(stamp).map(|stamp| stamp.policy.attempts);
        course.attempts_max = policy.unwrap_or_default();
        course.may_go = false;
        self.courses.insert(number, course);
    }

    /// An attempt ended; this is what the gateway reports of it.
    pub(crate) fn ended(&mut self, number: u64, fate: (Outcome, bool), reported: Reported) {
        let (outcome, is_processed) = fate;
        let Some(course) = self.courses.get_mut(&number) else { return };
        course.processed += u32::from(is_processed);
        let is_once = course.processed <= 1 || course.request.is_idempotent();
        let course = course.clone();
        self.must(is_once, || format!("processed {} times: {course:?}", course.processed));
        let expected = match outcome {
            Outcome::NotConnected => Reported::FailedBeforeSending,
            // Closed while it rested: that says nothing of the endpoint.
            Outcome::NothingWritten | Outcome::ClosedReused => Reported::Nothing,
            // Known to be out already.
            Outcome::Left { .. } => Reported::Nothing,
            Outcome::NoHead | Outcome::TimedOut | Outcome::Answered { status: 502..=504, .. } => {
                Reported::FailedAfterSending
            }
            Outcome::Answered { .. } => Reported::Success,
        };
        self.must(expected == reported, || format!("{outcome:?} is reported as {reported:?}"));
    }

    /// The gateway gave up waiting for an endpoint.
    pub(crate) fn leaves(&mut self, number: u64, version: usize) {
        let facts = self.facts(version);
        let Some(course) = self.courses.get(&number) else { return };
        let standing = course.at.and_then(|at| facts.endpoints.get(&at).copied());
        let is_out = matches!(standing, Some(Standing::ProbeDown | Standing::BreakerOpen));
        self.must(is_out, || format!("#{number} leaves an endpoint that is {standing:?}"));
    }

    /// The trial of an endpoint was judged, or came to nothing.
    pub(crate) fn trial_is_over(&mut self, endpoint: EndpointKey) {
        self.trials.remove(&endpoint);
    }

    /// The gateway decided about another attempt.
    pub(crate) fn judged(
        &mut self,
        number: u64,
        (version, outcome, (body_is_gone, judged)): (usize, Outcome, (bool, Judged)),
        (account, now): (u32, Micros),
    ) {
        let Some(course) = self.courses.get(&number).cloned() else { return };
        let facts = self.facts(version);
        let way_out = matches!(course.over_edges(&facts, None), Chosen::Serve(_))
            && course.stamps.last() == Some(&course.home);
        let expected = course.verdict((outcome, body_is_gone, way_out), now);
        let Some(bucket) = self.budgets.get_mut(&account) else { return };
        bucket.add(0.0, now);
        let saved = bucket.saved;
        let is_right = match (expected, judged) {
            (Judged::Repeat, Judged::Repeat) => saved >= 1.0 - ROUNDING,
            (Judged::Repeat, Judged::Stop(Stop::BudgetSpent)) => saved < 1.0 + ROUNDING,
            (expected, judged) => expected == judged,
        };
        if judged == Judged::Repeat {
            bucket.saved -= 1.0;
        }
        self.counts.unpaid += u64::from(judged == Judged::Stop(Stop::BudgetSpent));
        self.must(is_right, || {
            format!(
                "{judged:?} after {outcome:?}, expected {expected:?}, saved {saved}: {course:?}"
            )
        });
        if let Some(course) = self.courses.get_mut(&number) {
            course.may_go = judged == Judged::Repeat;
            course.is_free = is_stale(outcome);
            course.must_hop = !course.is_free && course.made >= course.attempts_max;
            course.tried.extend(course.at.filter(|_| !is_stale(outcome)));
        }
    }

    /// A repeat was paid, and this many are left.
    pub(crate) fn paid(&mut self, account: u32, left: f64) {
        let Some(bucket) = self.budgets.get(&account).copied() else { return };
        let is_right = (left - bucket.saved).abs() <= ROUNDING;
        self.must(is_right, || format!("{left} repeats are left, expected {}", bucket.saved));
    }

    /// The gateway looked for an edge for a request that failed at a stamp.
    pub(crate) fn fell(
        &mut self,
        number: u64,
        (version, failed, to): (usize, StampKey, Option<StampKey>),
    ) {
        let facts = self.facts(version);
        let Some(course) = self.courses.get(&number).cloned() else { return };
        let expected = match course.over_edges(&facts, None) {
            Chosen::Serve(to) if failed == course.home => Some(to),
            Chosen::Serve(_) | Chosen::Trial(_) | Chosen::Refused(_) => None,
        };
        self.must(expected == to, || format!("falls to {to:?}, expected {expected:?}: {course:?}"));
    }

    /// The gateway will ask an endpoint again that it asked before, after a pause: nobody else is
    /// left.
    pub(crate) fn starts_over(
        &mut self,
        number: u64,
        (version, outcome): (usize, Outcome),
        pause: Micros,
    ) {
        let facts = self.facts(version);
        let Some(course) = self.courses.get_mut(&number) else { return };
        let Some(stamp) = course.stamps.last().copied() else { return };
        let of_stamp = facts.endpoints.range((stamp, 0)..=(stamp, u8::MAX));
        let mut left = of_stamp.filter(|(key, it)| it.is_usable() && !course.tried.contains(key));
        let hangs = matches!(outcome, Outcome::TimedOut | Outcome::Left { .. });
        let is_last = left.next().is_none() && !hangs && pause >= 12_500;
        course.tried.clear();
        self.counts.again += 1;
        self.must(is_last, || format!("#{number} starts over after {outcome:?} and {pause} us"));
    }

    /// The client has its answer. `status` is the stamp's; `None` = the gateway refused.
    pub(crate) fn finished(&mut self, number: u64, status: Option<u16>) {
        let Some(course) = self.courses.remove(&number) else { return };
        self.counts.succeeded += u64::from(status == Some(200));
        self.counts.entitled += u64::from(course.is_entitled);
        let is_well = status == Some(200) || !course.is_entitled;
        self.must(is_well, || format!("all is well, and yet {status:?}: {course:?}"));
    }
}

impl Course {
    /// By the contract's table, but for the budget.
    /// The attempts that are declared are those at home; one more may follow over an edge.
    fn verdict(
        &self,
        (outcome, body_is_gone, way_out): (Outcome, bool, bool),
        now: Micros,
    ) -> Judged {
        let is_repeatable = match outcome {
            Outcome::NotConnected
            | Outcome::NothingWritten
            | Outcome::Left { before_sending: true } => true,
            Outcome::ClosedReused
            | Outcome::NoHead
            | Outcome::TimedOut
            | Outcome::Left { before_sending: false }
            | Outcome::Answered { .. } => self.request.is_idempotent(),
        };
        // A connection that had closed while it rested costs no attempt.
        let made = self.made - u64::from(is_stale(outcome));
        let is_late = self.request.time.is_some_and(|time| now - self.began >= time);
        match () {
            () if !is_repeatable => Judged::Stop(Stop::NotIdempotent),
            () if body_is_gone => Judged::Stop(Stop::BodyGone),
            () if made >= self.attempts_max && !(way_out && self.attempts_max > 1) => {
                Judged::Stop(Stop::AttemptsSpent)
            }
            () if is_late => Judged::Stop(Stop::DeadlineOver),
            () => Judged::Repeat,
        }
    }

    fn is_allowed(&self, facts: &Facts, to: StampKey) -> bool {
        facts.plan.is_inside(&self.zones, to)
    }

    /// Who must serve it, by what was published.
    fn expected(&self, facts: &Facts) -> Chosen {
        let Some(home) = facts.stamps.get(&self.home) else { return self.nobody(facts) };
        let edge = match home.serves {
            Serves::Home => return Chosen::Serve(self.home),
            Serves::Split { away, .. } if self.slot >= away => return Chosen::Serve(self.home),
            Serves::Nobody => return self.nobody(facts),
            Serves::Edge(edge) | Serves::Split { edge, .. } => edge,
        };
        let chosen = self.over_edges(facts, Some(edge));
        let is_refused = matches!(chosen, Chosen::Refused(_));
        if is_refused && home.is_eligible() { Chosen::Serve(self.home) } else { chosen }
    }

    /// The first edge, from this one on, that can and may serve; a read-only one refuses writes.
    fn over_edges(&self, facts: &Facts, from: Option<StampKey>) -> Chosen {
        let edges = facts.plan.stamp(self.home).map_or(&[][..], |stamp| &stamp.edges);
        let known = edges.iter().skip_while(|(to, _)| from.is_some_and(|from| from != *to));
        let mut able =
            known.filter(|(to, _)| facts.stamps.get(to).is_some_and(StampModel::is_eligible));
        let any_able = able.clone().next().is_some();
        match able.find(|(to, _)| self.is_allowed(facts, *to)) {
            Some((_, Mode::ReadOnly)) if !self.request.is_safe() => {
                Chosen::Refused(Refusal::ReadOnly)
            }
            Some((to, _)) => Chosen::Serve(*to),
            None if any_able => Chosen::Refused(Refusal::Fenced),
            None => self.nobody(facts),
        }
    }

    fn nobody(&self, facts: &Facts) -> Chosen {
        let home = facts.stamps.get(&self.home);
        let allows = home.is_some_and(|home| home.operator.allows());
        Chosen::Refused(if allows { Refusal::Unavailable } else { Refusal::Draining })
    }

    fn may_be_tried(&self, facts: &Facts, stamp: StampKey) -> bool {
        let is_on_trial = facts
            .stamps
            .get(&stamp)
            .is_some_and(|model| model.operator.allows() && model.health == Health::Trial);
        let nobody = facts.stamps.get(&self.home).is_some_and(|home| home.serves == Serves::Nobody);
        let by_edge = nobody && self.edge(facts, stamp) && self.is_allowed(facts, stamp);
        is_on_trial && (stamp == self.home || by_edge)
    }

    /// Is there an edge from home that takes this request?
    fn edge(&self, facts: &Facts, to: StampKey) -> bool {
        let edges = facts.plan.stamp(self.home).map_or(&[][..], |stamp| &stamp.edges);
        let takes = |mode| mode == Mode::ReadWrite || self.request.is_safe();
        edges.iter().any(|(edge, mode)| *edge == to && takes(*mode))
    }

    /// Home, or one declared hop from it and never another.
    fn is_way(&self, facts: &Facts, stamp: StampKey) -> bool {
        match self.stamps.last() {
            Some(last) if *last == stamp => !self.must_hop,
            Some(last) if *last != self.home => false,
            Some(_) | None => stamp == self.home || self.edge(facts, stamp),
        }
    }

    /// The best standing that any untried endpoint of the stamp has, and never one that is out.
    fn is_fit(&self, facts: &Facts, endpoint: EndpointKey, effort: Effort) -> bool {
        let stays = self.stamps.last() == Some(&endpoint.0);
        let is_tried = stays && self.tried.contains(&endpoint);
        let of_stamp = facts.endpoints.range((endpoint.0, 0)..=(endpoint.0, u8::MAX));
        let mut untried = of_stamp.filter(|(key, _)| !(stays && self.tried.contains(key)));
        let standing = facts.endpoints.get(&endpoint);
        match (effort, standing) {
            (Effort::Trial, Some(Standing::Trial)) => !is_tried,
            (Effort::Plain, Some(standing)) if standing.is_up() => !is_tried,
            (Effort::Plain, Some(Standing::Unknown)) => {
                !is_tried && !untried.any(|(_, standing)| standing.is_up())
            }
            (Effort::Plain | Effort::Trial, _) => false,
        }
    }
}

/// Did the attempt meet a connection that had closed while it rested?
const fn is_stale(outcome: Outcome) -> bool {
    matches!(outcome, Outcome::NothingWritten | Outcome::ClosedReused)
}

/// The slot of a tenant: CRC-32 of its name (ISO 3309), by the hundred.
fn slot(tenant: TenantKey) -> u8 {
    let mut crc = u32::MAX;
    for byte in format!("t{tenant}").bytes() {
        crc ^= u32::from(byte);
        for _ in 0..8 {
            crc = if crc & 1 == 1 { (crc >> 1) ^ 0xedb8_8320 } else { crc >> 1 };
        }
    }
    u8::try_from(!crc % 100).unwrap()
}

/// Two clues that do not agree.
#[derive(Clone, Copy, Debug)]
struct Contradiction;

/// Whom all clues name together.
fn agreed(plan: &Plan, request: &Request) -> Result<Target, Contradiction> {
    let (host_tenant, host_stamp) = match request.host {
        Host::Neutral => (None, None),
        Host::Tenant(tenant) => (Some(tenant), None),
        Host::Stamp(stamp) => (None, Some(stamp)),
    };
    let tenants: BTreeSet<TenantKey> =
        host_tenant.into_iter().chain(request.header_tenant).collect();
    let stamps = host_stamp.into_iter().chain(request.header_stamp).chain(request.cookie_stamp);
    let stamps: BTreeSet<StampKey> = stamps.collect();
    if tenants.len() > 1 || stamps.len() > 1 {
        return Err(Contradiction);
    }
    let (tenant, stamp) = (tenants.first().copied(), stamps.first().copied());
    let Some(tenant) = tenant else { return Ok(stamp.map(|stamp| (None, stamp))) };
    match (plan.tenants.get(&tenant).map(|tenant| tenant.home), stamp) {
        (Some(home), Some(stamp)) if home != stamp => Err(Contradiction),
        // A tenant that nobody knows agrees with no stamp; without one it is for nobody.
        (None, Some(_)) => Err(Contradiction),
        (home, _) => Ok(home.map(|home| (Some(tenant), home))),
    }
}

/// Those who are in the table and served.
fn admitted(plan: &Plan, target: Target) -> Target {
    target.filter(|(tenant, home)| {
        let tenant = tenant.and_then(|tenant| plan.tenants.get(&tenant));
        plan.stamp(*home).is_some() && tenant.is_none_or(|it| it.is == TenantIs::Active)
    })
}

/// Where clues may disagree, what the host says is still true.
fn is_named_by_host(request: &Request, (tenant, home): (Option<TenantKey>, StampKey)) -> bool {
    match request.host {
        // Header and cookie are equals: between them there is doubt, and doubt is an error.
        Host::Neutral => false,
        Host::Tenant(named) => tenant == Some(named),
        Host::Stamp(named) => home == named,
    }
}
