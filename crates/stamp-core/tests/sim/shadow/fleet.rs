//! Standings, breakers and flips: what each must be after every step, and that every change is
//! told, explained and counted.

use std::collections::BTreeMap;
use std::rc::Rc;

use super::evidence::{Evidence, Failed, Turn};
use super::{
    BreakerIs, EndpointModel, Facts, Health, Operator, Probes, Seen, Serves, Shadow, StampModel,
    Standing, Step, Told, Word,
};
use crate::plan::{EndpointKey, Plan, Policy, StampKey, name};
use crate::world::{MS, Micros};

/// Views that a worker may still decide by.
const FACTS_KEPT: usize = 400;

/// What an attempt's end says of a breaker.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Lesson {
    Failed(Failed),
    TrialFailed(Failed),
    TrialSucceeded,
}

impl EndpointModel {
    fn new() -> Self {
        Self {
            probes: Probes::Unknown { bad: 0 },
            breaker: BreakerIs::Closed,
            closed_since: 0,
            trips: 0,
            evidence: Evidence::default(),
            turn: Turn::Stay,
            evidence_says: Standing::Unknown,
            standing: Standing::Unknown,
            told: Standing::Unknown,
            out_since: 0,
            warms_since: None,
        }
    }

    /// What probes and breaker say.
    const fn evidence(&self) -> Standing {
        match (self.probes, self.breaker) {
            (Probes::Down { .. } | Probes::Absent, _) => Standing::ProbeDown,
            (_, BreakerIs::Open { .. }) => Standing::BreakerOpen,
            (_, BreakerIs::HalfOpen) => Standing::Trial,
            (Probes::Up { .. }, BreakerIs::Closed) => Standing::Up,
            (Probes::Unknown { .. }, BreakerIs::Closed) => Standing::Unknown,
        }
    }

    const fn is_down(&self) -> bool {
        matches!(self.probes, Probes::Down { .. } | Probes::Absent)
    }
}

impl StampModel {
    const fn new(now: Micros) -> Self {
        Self {
            operator: Operator::Active,
            health: Health::Unknown,
            health_since: now,
            operator_since: now,
            serves: Serves::Home,
            why: None,
            flipped_at: now,
            returns_since: None,
            is_home_since: None,
            losses: Vec::new(),
            is_released: false,
            drill: None,
            was_up: false,
            failed_at: None,
            is_warm: false,
            flips: 0,
            was_lost: false,
            is_empty: false,
            told_operator: Operator::Active,
            told_health: Health::Unknown,
        }
    }

    /// Eligible = the operator allows it, and its endpoints do.
    pub(super) const fn is_eligible(&self) -> bool {
        self.operator.allows() && matches!(self.health, Health::Up | Health::Unknown)
    }
}

impl Shadow {
    /// The process begins, with what its journal says.
    pub(crate) fn start(&mut self, now: Micros) {
        self.waited = self.waiting();
        self.records = self.durable.clone();
        self.endpoints.clear();
        self.stamps.clear();
        self.budgets.clear();
        self.pending = None;
        self.courses.clear();
        self.trials.clear();
        self.promised = self.records.keys().copied().filter(|it| self.is_out(*it)).collect();
        (self.suspects, self.has_suspected) = (false, false);
        self.eases_since = None;
        self.seen = Seen::default();
        self.adopt(Rc::clone(&self.plan), now);
    }

    /// Another table is in force: what stays the same is kept.
    pub(crate) fn adopt(&mut self, plan: Rc<Plan>, now: Micros) {
        let former = std::mem::replace(&mut self.plan, plan);
        let mut endpoints = std::mem::take(&mut self.endpoints);
        for key in self.plan.endpoints() {
            let mut model = endpoints.remove(&key).unwrap_or_else(EndpointModel::new);
            let (policy, before) = (self.policy(key.0), former.stamp(key.0));
            if before.is_some_and(|stamp| stamp.policy.window != policy.window) {
                model.evidence.measure_anew(&policy, now);
            }
            self.endpoints.insert(key, model);
        }
        let mut stamps = std::mem::take(&mut self.stamps);
        for stamp in &self.plan.stamps {
            let fresh = || StampModel::new(now);
            self.stamps.insert(stamp.key, stamps.remove(&stamp.key).unwrap_or_else(fresh));
        }
        self.trials.retain(|key| self.endpoints.contains_key(key));
        self.counts.reloads += 1;
    }

    pub(super) fn policy(&self, stamp: StampKey) -> Policy {
        self.plan.stamp(stamp).unwrap().policy.clone()
    }

    /// A probe came back. `bad_for` = how long the endpoint has failed its probes without a break,
    /// while it was probed.
    pub(crate) fn probed(&mut self, endpoint: EndpointKey, good: bool, bad_for: Micros) {
        let policy = self.policy(endpoint.0);
        let Some(model) = self.endpoints.get_mut(&endpoint) else { return };
        let (fall, rise) = (policy.fall, policy.rise);
        model.probes = match (good, model.probes) {
            (true, Probes::Down { good }) if good + 1 < rise => Probes::Down { good: good + 1 },
            (true, _) => Probes::Up { bad: 0 },
            (false, Probes::Down { .. }) => Probes::Down { good: 0 },
            (false, Probes::Absent) => Probes::Absent,
            (false, Probes::Up { bad }) if bad + 1 >= fall => Probes::Down { good: 0 },
            (false, Probes::Unknown { bad }) if bad + 1 >= fall => Probes::Absent,
            (false, Probes::Unknown { bad }) => Probes::Unknown { bad: bad + 1 },
            (false, Probes::Up { bad }) => Probes::Up { bad: bad + 1 },
        };
        let is_late = !good && !model.is_down() && bad_for > detection(&policy);
        self.must(!is_late, || format!("{endpoint:?} is bad for {bad_for} us and still not down"));
    }

    /// Attempts are reported to the fleet.
    pub(crate) fn reported(
        &mut self,
        endpoint: EndpointKey,
        (successes, lesson): (u64, Option<Lesson>),
        now: Micros,
    ) {
        let policy = self.policy(endpoint.0);
        let tenants = self.tenants_served(endpoint.0);
        let Some(model) = self.endpoints.get_mut(&endpoint) else { return };
        model.turn = match (model.breaker, lesson) {
            (BreakerIs::Closed, lesson) => {
                let won = u64::from(matches!(lesson, Some(Lesson::TrialSucceeded)));
                model.evidence.succeeded(successes + won, now);
                match lesson {
                    Some(Lesson::Failed(failed) | Lesson::TrialFailed(failed)) => {
                        model.evidence.failed(failed, now);
                        model.evidence.turn(&policy, tenants, now)
                    }
                    Some(Lesson::TrialSucceeded) | None => Turn::Stay,
                }
            }
            (BreakerIs::HalfOpen, Some(Lesson::TrialSucceeded)) => Turn::MustClose,
            (BreakerIs::HalfOpen, Some(Lesson::TrialFailed(_))) => Turn::MustReopen,
            (BreakerIs::HalfOpen | BreakerIs::Open { .. }, _) => Turn::Stay,
        };
    }

    fn tenants_served(&self, stamp: StampKey) -> usize {
        let own = self.plan.active_tenants_on(stamp);
        let guests = self.stamps.iter().filter(|it| it.1.serves == Serves::Edge(stamp));
        own + guests.map(|(home, _)| self.plan.active_tenants_on(*home)).sum::<usize>()
    }

    /// Nothing, or something, is in flight at a stamp: counted when every worker had acknowledged.
    pub(crate) fn counted(&mut self, stamp: StampKey, count: u32) {
        if let Some(model) = self.stamps.get_mut(&stamp) {
            model.is_empty = count == 0;
        }
    }

    /// The fleet did a step: this is what it told and what it would publish.
    pub(crate) fn learn(&mut self, step: Step, now: Micros, (told, seen): (&[Told], Seen)) {
        for change in told {
            self.hear_endpoint(step, now, change);
        }
        self.settle_breakers(step, now);
        let doubted = self.doubt((step, now), told, &seen);
        let before = self.stamps.clone();
        self.settle_endpoints((step, now), &seen, doubted);
        self.hear_stamps(now, told);
        self.settle_stamps(step, now);
        for change in told {
            if let Told::Flip { home, ends, is, why } = change {
                self.flip(*home, (*ends, *is), (*why, now, doubted));
            }
        }
        self.settle_stamps(step, now);
        self.check_recalled(step, now);
        self.check_barred(told);
        if doubted && self.suspects {
            self.check_restored(&before, now);
        }
        self.compare((step, now), &seen);
        self.check_serving(step, now);
        let grew = seen.revision > self.seen.revision || step == Step::Start;
        let same = Seen { revision: seen.revision, ..self.seen.clone() } == seen;
        self.must(grew || (told.is_empty() && same), || {
            "what is published changed without a new revision".to_owned()
        });
        self.seen = seen;
    }

    fn hear_endpoint(&mut self, step: Step, now: Micros, change: &Told) {
        match change {
            Told::Breaker { endpoint, was, is, is_explained } => {
                let is_known = self.endpoints.get(endpoint).map(|it| it.breaker) == Some(*was);
                self.must(is_known, || format!("{endpoint:?}: its breaker was not {was:?}"));
                let explained = *is_explained || *is == BreakerIs::Closed;
                self.must(explained, || format!("{endpoint:?}: a breaker moved without a cause"));
                self.turn_breaker((*endpoint, *is), step, now);
            }
            Told::Endpoint { endpoint, was, is } => {
                let Some(model) = self.endpoints.get_mut(endpoint) else { return };
                let known = std::mem::replace(&mut model.told, *is);
                self.must(known == *was, || format!("{endpoint:?} was {known:?}, not {was:?}"));
            }
            Told::Health { .. }
            | Told::Operator { .. }
            | Told::Flip { .. }
            | Told::Suspicion { .. }
            | Told::Barred { .. } => {}
        }
    }

    /// A breaker is said to be otherwise: was that its turn?
    fn turn_breaker(&mut self, (key, is): (EndpointKey, BreakerIs), step: Step, now: Micros) {
        let policy = self.policy(key.0);
        let Some(model) = self.endpoints.get_mut(&key) else { return };
        let (was, turn) = (model.breaker, model.turn);
        let is_reported = step == Step::Report(key);
        let is_right = match (was, is) {
            (BreakerIs::Closed, BreakerIs::Open { .. }) => {
                is_reported && matches!(turn, Turn::MustOpen | Turn::MayOpen)
            }
            (BreakerIs::HalfOpen, BreakerIs::Open { .. }) => {
                is_reported && turn == Turn::MustReopen
            }
            (BreakerIs::HalfOpen, BreakerIs::Closed) => is_reported && turn == Turn::MustClose,
            (BreakerIs::Open { until }, BreakerIs::HalfOpen) => until <= now && !model.is_down(),
            _ => false,
        };
        let mut is_timely = true;
        match is {
            BreakerIs::Open { until } => {
                let longest = policy.open_for_max * MS;
                if was == BreakerIs::Closed && now - model.closed_since >= longest {
                    model.trips = 0;
                }
                let span = (policy.open_for * MS) << model.trips.min(20);
                let span = span.min(longest);
                model.trips += 1;
                let wait = until.saturating_sub(now);
                is_timely = wait + 2 >= span * 9 / 10 && wait <= span * 11 / 10 + 2;
                self.counts.trips += 1;
            }
            BreakerIs::Closed => model.closed_since = now,
            BreakerIs::HalfOpen => {}
        }
        model.breaker = is;
        model.evidence = Evidence::default();
        self.must(is_right, || format!("{key:?}: {was:?} to {is:?} in {step:?}, turn {turn:?}"));
        self.must(is_timely, || format!("{key:?}: open until {is:?} is not the time it should be"));
    }

    fn settle_breakers(&mut self, step: Step, now: Micros) {
        let mut wrong = None;
        for (key, model) in &mut self.endpoints {
            let is_closed = model.breaker == BreakerIs::Closed;
            let is_due = matches!(model.breaker, BreakerIs::Open { until } if until <= now);
            let is_half_open = model.breaker == BreakerIs::HalfOpen;
            let sleeps = step == Step::Tick && is_due && !model.is_down();
            let missed = match std::mem::replace(&mut model.turn, Turn::Stay) {
                Turn::MustOpen => is_closed.then_some("should have opened"),
                Turn::MustReopen => is_half_open.then_some("should have opened again"),
                Turn::MustClose => (!is_closed).then_some("should have closed"),
                Turn::Stay | Turn::MayOpen => sleeps.then_some("should be half-open"),
            };
            model.evidence_says = model.evidence();
            if let Some(missed) = missed {
                wrong.get_or_insert((*key, missed));
            }
        }
        self.must(wrong.is_none(), || format!("the breaker of {wrong:?}"));
    }

    /// Evidence is believed, unless the gateway suspects itself: then what was usable stays so. An
    /// endpoint that is up again warms up where a sibling can take the rest.
    fn settle_endpoints(&mut self, at: (Step, Micros), seen: &Seen, doubted: bool) {
        let window = self.window_begins(at.1);
        let seen: BTreeMap<EndpointKey, Standing> = seen.endpoints.iter().copied().collect();
        let keys: Vec<EndpointKey> = self.endpoints.keys().copied().collect();
        for key in keys {
            let Some(seen) = seen.get(&key).copied() else { continue };
            if doubted && self.suspects {
                self.check_kept(key, seen, window);
            }
            self.settle_endpoint(key, seen, at);
        }
    }

    /// The gateway begins to suspect itself: what was taken out within the window is taken back, and
    /// nothing else.
    fn check_kept(&mut self, key: EndpointKey, seen: Standing, window: Micros) {
        let Some(model) = self.endpoints.get(&key).cloned() else { return };
        let is_back = !model.standing.is_usable() && seen.is_usable();
        let is_lately = model.out_since >= window && model.out_since > 0;
        let is_right = if model.standing.is_usable() || model.evidence_says.is_usable() {
            seen.is_usable()
        } else {
            is_back == is_lately
        };
        self.must(is_right, || format!("{key:?} is {seen:?} in self-suspicion, was {model:?}"));
    }

    fn settle_endpoint(&mut self, key: EndpointKey, seen: Standing, (step, now): (Step, Micros)) {
        let siblings = self.plan.stamp(key.0).map_or(0, |stamp| stamp.endpoints.len());
        let ramp = if siblings > 1 { self.policy(key.0).ramp * MS } else { 0 };
        let (suspects, suspected) = (self.suspects, self.seen.suspects);
        let has_suspected = self.has_suspected;
        let Some(model) = self.endpoints.get_mut(&key) else { return };
        let (was, says) = (model.standing, model.evidence_says);
        let kept = suspects && seen.is_usable() && !says.is_usable();
        let same = says == seen || (says == Standing::Up && seen.is_up());
        let lost = suspects && suspected && was.is_usable() && !seen.is_usable();
        if says == Standing::Up && !was.is_usable() && ramp > 0 {
            model.warms_since = Some(now);
        } else if !says.is_usable() {
            model.warms_since = None;
        }
        let passed = model.warms_since.map_or(Micros::MAX, |since| now - since);
        let is_share_right = match seen {
            Standing::Warming(percent) if step == Step::Tick => {
                kept || Some(percent) == share(passed, ramp)
            }
            Standing::Warming(percent) => percent % 10 == 0 && (10..=90).contains(&percent),
            Standing::Up
            | Standing::Unknown
            | Standing::Trial
            | Standing::ProbeDown
            | Standing::BreakerOpen => model.warms_since != Some(now) || has_suspected,
        };
        // Warming and warm are told as one and the same, but for the first and the last step.
        let told = std::mem::replace(&mut model.told, seen);
        let is_told = told == seen || (told.is_up() && seen.is_up());
        model.standing = seen;
        if was.is_usable() && !seen.is_usable() {
            model.out_since = now;
        }
        self.must(!lost && (same || kept), || {
            format!("{key:?} is published as {seen:?}, and all evidence says {says:?}")
        });
        self.must(is_share_right, || format!("{key:?} is {seen:?}, up again since {passed} us"));
        self.must(is_told, || format!("{key:?} is {seen:?}, and was told to be {told:?}"));
    }

    /// What operators and endpoints add up to.
    fn settle_stamps(&mut self, step: Step, now: Micros) {
        let keys: Vec<StampKey> = self.stamps.keys().copied().collect();
        for key in keys {
            let health = self.health(key, |model| model.standing);
            let ramp = self.policy(key).ramp * MS;
            let was_eligible = self.seen.stamps.iter().any(|it| {
                let is_sound = matches!(it.health, Health::Up | Health::Unknown);
                it.key == key && it.operator.allows() && is_sound
            });
            let Some(model) = self.stamps.get_mut(&key) else { continue };
            let is_time = model.operator == Operator::Warming && now - model.operator_since >= ramp;
            let is_home = model.serves == Serves::Home;
            let is_told = model.told_operator == Operator::Active;
            // Whoever came home in this very step may be found warm in it, or in the next.
            let is_due = step == Step::Tick && model.is_home_since < Some(now);
            let has_warmed = model.is_eligible() && is_home && (is_told || is_due);
            // Whoever ceases to be sound in this step may have come home and been warm before that.
            let is_lost = !model.is_eligible() && was_eligible && is_told;
            let was_home = is_home || matches!(model.serves, Serves::Split { .. });
            model.is_warm |= is_time && (has_warmed || (is_lost && was_home));
            let operator = self.operator(key);
            let Some(model) = self.stamps.get_mut(&key) else { continue };
            if model.health != health {
                (model.health, model.health_since) = (health, now);
            }
            if model.operator != operator {
                (model.operator, model.operator_since) = (operator, now);
            }
            model.was_lost |= !matches!(health, Health::Up | Health::Unknown);
            model.was_up |= health == Health::Up;
        }
    }

    pub(super) fn health(
        &self,
        stamp: StampKey,
        by: impl Fn(&EndpointModel) -> Standing,
    ) -> Health {
        let of = self.endpoints.range((stamp, 0)..=(stamp, u8::MAX));
        let standings: Vec<Standing> = of.map(|(_, model)| by(model)).collect();
        let any = |wanted: fn(&Standing) -> bool| standings.iter().any(wanted);
        match () {
            () if any(|it| it.is_up()) => Health::Up,
            () if any(|it| *it == Standing::Unknown) => Health::Unknown,
            () if any(|it| *it == Standing::Trial) => Health::Trial,
            () => Health::Down,
        }
    }

    fn operator(&self, stamp: StampKey) -> Operator {
        let declared = self.plan.stamp(stamp).unwrap().declared;
        let is = |fact: fn(&StampModel) -> bool| self.stamps.get(&stamp).is_some_and(fact);
        match self.effective(stamp, declared) {
            Word::Draining if is(|model| model.is_empty) => Operator::Drained,
            Word::Draining => Operator::Draining,
            Word::Maintenance => Operator::Maintenance,
            Word::Warming if !is(|model| model.is_warm) => Operator::Warming,
            Word::Warming | Word::Active => Operator::Active,
        }
    }

    fn hear_stamps(&mut self, now: Micros, told: &[Told]) {
        for change in told {
            let (stamp, is_known) = match change {
                Told::Health { stamp, was, is } => {
                    let Some(model) = self.stamps.get_mut(stamp) else { continue };
                    model.was_lost |= !matches!(is, Health::Up | Health::Unknown);
                    model.was_up |= *is == Health::Up;
                    (model.health, model.health_since) = (*is, now);
                    (stamp, std::mem::replace(&mut model.told_health, *is) == *was)
                }
                Told::Operator { stamp, was, is } => {
                    let Some(model) = self.stamps.get_mut(stamp) else { continue };
                    (stamp, std::mem::replace(&mut model.told_operator, *is) == *was)
                }
                Told::Endpoint { .. }
                | Told::Breaker { .. }
                | Told::Flip { .. }
                | Told::Suspicion { .. }
                | Told::Barred { .. } => continue,
            };
            self.must(is_known, || format!("{} was not so: {change:?}", name(*stamp)));
        }
    }

    fn compare(&mut self, (step, now): (Step, Micros), seen: &Seen) {
        let order = seen.stamps.iter().map(|stamp| stamp.key);
        let is_aligned = order.eq(self.plan.stamps.iter().map(|stamp| stamp.key));
        self.must(is_aligned, || format!("published stamps are not the table's: {seen:?}"));
        let is_complete = seen.endpoints.iter().map(|it| it.0).eq(self.plan.endpoints());
        self.must(is_complete, || format!("published endpoints are not the table's: {seen:?}"));
        for stamp in &seen.stamps {
            self.follow_split(stamp.key, stamp.serves, (step, now));
            let Some(model) = self.stamps.get(&stamp.key).cloned() else { continue };
            let same = (stamp.operator, stamp.health) == (model.operator, model.health);
            let served = (stamp.serves, stamp.flips) == (model.serves, model.flips);
            self.must(same && served, || format!("published {stamp:?} and must be {model:?}"));
            let told = (model.told_operator, model.told_health) == (model.operator, model.health);
            self.must(told, || format!("{}: changed and nothing was told", name(stamp.key)));
        }
    }

    /// A View is published: workers decide by it, at once or later. Returns its number.
    pub(crate) fn published(&mut self) -> usize {
        let endpoints: BTreeMap<_, _> =
            self.endpoints.iter().map(|(key, model)| (*key, model.standing)).collect();
        let (plan, stamps) = (Rc::clone(&self.plan), self.stamps.clone());
        self.versions += 1;
        self.facts.push_back((self.versions, Rc::new(Facts { plan, stamps, endpoints })));
        if self.facts.len() > FACTS_KEPT {
            self.facts.pop_front();
        }
        self.versions
    }
}

/// The share in per cent of what came back so long ago; `None` = all of it.
pub(super) fn share(passed: Micros, ramp: Micros) -> Option<u8> {
    let tenths = passed.checked_div(ramp / 10).map_or(10, |done| done.saturating_add(1).min(10));
    u8::try_from(tenths * 10).ok().filter(|percent| *percent < 100)
}

/// The longest that an endpoint may fail its probes and not be down: one pause, then `fall` probes
/// in haste. None begins before the one before it came back.
fn detection(policy: &Policy) -> Micros {
    let haste = (policy.interval / 4).max(100).min(policy.interval);
    let begins = |pause: u64| (pause * 11 / 10).max(policy.probe_timeout) + 10;
    let begun = begins(policy.interval) + (policy.fall - 1) * begins(haste);
    (begun + policy.probe_timeout + 10) * MS
}
