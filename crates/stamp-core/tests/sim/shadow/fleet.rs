//! Standings, breakers and flips: what each must be after every step, and that every change is
//! told, explained and counted.

use std::collections::BTreeMap;
use std::rc::Rc;

use super::evidence::{Evidence, Failed, Turn};
use super::{
    BreakerIs, EndpointModel, Facts, FlipWhy, Health, Operator, Probes, Seen, Shadow, StampModel,
    Standing, Step, Told,
};
use crate::plan::{Declared, EndpointKey, Plan, Policy, StampKey, name};
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
            standing: Standing::Unknown,
            told: Standing::Unknown,
        }
    }

    const fn standing(&self) -> Standing {
        match (self.probes, self.breaker) {
            (Probes::Down { .. }, _) => Standing::ProbeDown,
            (_, BreakerIs::Open { .. }) => Standing::BreakerOpen,
            (_, BreakerIs::HalfOpen) => Standing::Trial,
            (Probes::Up { .. }, BreakerIs::Closed) => Standing::Up,
            (Probes::Unknown { .. }, BreakerIs::Closed) => Standing::Unknown,
        }
    }

    const fn is_down(&self) -> bool {
        matches!(self.probes, Probes::Down { .. })
    }
}

impl StampModel {
    const fn new(key: StampKey, now: Micros) -> Self {
        Self {
            operator: Operator::Active,
            health: Health::Unknown,
            health_since: now,
            serves: Some(key),
            flips: 0,
            was_lost: false,
            is_empty: false,
            told_operator: Operator::Active,
            told_health: Health::Unknown,
        }
    }

    /// Eligible = the operator allows it, and its endpoints do.
    pub(super) const fn is_eligible(&self) -> bool {
        matches!(self.operator, Operator::Active)
            && matches!(self.health, Health::Up | Health::Unknown)
    }
}

impl Shadow {
    /// The process begins, with what its journal says.
    pub(crate) fn start(&mut self, now: Micros) {
        self.records = self.durable.clone();
        self.endpoints.clear();
        self.stamps.clear();
        self.budgets.clear();
        self.pending = None;
        self.courses.clear();
        self.trials.clear();
        self.promised = self.durable.iter().filter(|it| it.1.drains).map(|it| *it.0).collect();
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
            let fresh = || StampModel::new(stamp.key, now);
            self.stamps.insert(stamp.key, stamps.remove(&stamp.key).unwrap_or_else(fresh));
        }
        self.trials.retain(|key| self.endpoints.contains_key(key));
        self.counts.reloads += 1;
    }

    fn policy(&self, stamp: StampKey) -> Policy {
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
            (false, Probes::Unknown { bad } | Probes::Up { bad }) if bad + 1 >= fall => {
                Probes::Down { good: 0 }
            }
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
        let own = self.plan.tenants_on(stamp);
        let guests =
            self.stamps.iter().filter(|(home, it)| **home != stamp && it.serves == Some(stamp));
        own + guests.map(|(home, _)| self.plan.tenants_on(*home)).sum::<usize>()
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
        self.settle_stamps(now);
        for change in told {
            self.hear_stamp(now, change);
        }
        self.compare(&seen);
        self.check_serving(step, now);
        let grew = seen.revision > self.seen.revision || step == Step::Start;
        let same = seen.stamps == self.seen.stamps && seen.endpoints == self.seen.endpoints;
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
            Told::Health { .. } | Told::Operator { .. } | Told::Flip { .. } => {}
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
            model.standing = model.standing();
            if let Some(missed) = missed {
                wrong.get_or_insert((*key, missed));
            } else if model.told != model.standing {
                wrong.get_or_insert((*key, "changed and nothing was told"));
            }
        }
        self.must(wrong.is_none(), || format!("the breaker or standing of {wrong:?}"));
    }

    /// What operators and endpoints add up to.
    fn settle_stamps(&mut self, now: Micros) {
        let keys: Vec<StampKey> = self.stamps.keys().copied().collect();
        for key in keys {
            let health = self.health(key);
            let operator = self.operator(key);
            let Some(model) = self.stamps.get_mut(&key) else { continue };
            if model.health != health {
                (model.health, model.health_since) = (health, now);
            }
            model.operator = operator;
            model.was_lost |= !matches!(health, Health::Up | Health::Unknown);
        }
    }

    fn health(&self, stamp: StampKey) -> Health {
        let of = self.endpoints.range((stamp, 0)..=(stamp, u8::MAX));
        let standings: Vec<Standing> = of.map(|(_, model)| model.standing).collect();
        let ladder = [
            (Standing::Up, Health::Up),
            (Standing::Unknown, Health::Unknown),
            (Standing::Trial, Health::Trial),
        ];
        let best = ladder.iter().find(|(standing, _)| standings.contains(standing));
        best.map_or(Health::Down, |(_, health)| *health)
    }

    fn operator(&self, stamp: StampKey) -> Operator {
        let declared = self.plan.stamp(stamp).unwrap().declared;
        let is_empty = self.stamps.get(&stamp).is_some_and(|model| model.is_empty);
        match self.effective(stamp, declared) {
            Declared::Draining if is_empty => Operator::Drained,
            Declared::Draining => Operator::Draining,
            Declared::Maintenance => Operator::Maintenance,
            Declared::Active => Operator::Active,
        }
    }

    fn hear_stamp(&mut self, now: Micros, change: &Told) {
        match change {
            Told::Health { stamp, was, is } => {
                let Some(model) = self.stamps.get_mut(stamp) else { return };
                let known = std::mem::replace(&mut model.told_health, *is);
                self.must(known == *was, || format!("{} was {known:?}", name(*stamp)));
            }
            Told::Operator { stamp, was, is } => {
                let Some(model) = self.stamps.get_mut(stamp) else { return };
                let known = std::mem::replace(&mut model.told_operator, *is);
                self.must(known == *was, || format!("{} was {known:?}", name(*stamp)));
            }
            Told::Flip { home, from, to, why } => self.flip(*home, (*from, *to), (*why, now)),
            Told::Endpoint { .. } | Told::Breaker { .. } => {}
        }
    }

    fn is_eligible(&self, stamp: StampKey) -> bool {
        self.stamps.get(&stamp).is_some_and(StampModel::is_eligible)
    }

    fn first_edge(&self, home: StampKey) -> Option<StampKey> {
        let edges = &self.plan.stamp(home)?.edges;
        edges.iter().map(|(to, _)| *to).find(|to| self.is_eligible(*to))
    }

    fn has_edge(&self, home: StampKey, to: StampKey) -> bool {
        self.plan.stamp(home).is_some_and(|stamp| stamp.edges.iter().any(|edge| edge.0 == to))
    }

    /// Another stamp is said to answer for a home: is the reason true, and the stamp the right one?
    fn flip(
        &mut self,
        home: StampKey,
        (from, to): (Option<StampKey>, Option<StampKey>),
        (why, now): (FlipWhy, Micros),
    ) {
        let Some(model) = self.stamps.get(&home).cloned() else { return };
        let was = model.serves;
        let was_edge = was.filter(|it| *it != home);
        let is_gone = |edge: StampKey| !self.has_edge(home, edge);
        let is_lost = was_edge.is_some_and(|edge| is_gone(edge) || !self.is_eligible(edge));
        let (best, returns) = (self.first_edge(home), to == Some(home) && model.is_eligible());
        let allows = model.operator == Operator::Active;
        let hold = self.policy(home).hold * MS;
        let is_true = match why {
            FlipWhy::HomeDrained => was == Some(home) && !allows && to == best,
            FlipWhy::HomeDown => was == Some(home) && allows && !model.is_eligible() && to == best,
            FlipWhy::EdgeLost => is_lost && to == best && (best.is_some() || !model.is_eligible()),
            FlipWhy::HomeHeld => {
                let up_for = now - model.health_since;
                was_edge.is_some() && returns && model.health == Health::Up && up_for >= hold
            }
            FlipWhy::HomeUndrained => was_edge.is_some() && returns && !model.was_lost,
            FlipWhy::LastResort => is_lost && best.is_none() && returns,
            FlipWhy::Recovered => {
                was.is_none() && (returns || (!model.is_eligible() && to.is_some() && to == best))
            }
        };
        let from_is_true = from == was || (from.is_none() && was_edge.is_some_and(is_gone));
        self.must(is_true && from_is_true && to != was, || {
            format!("{}: flip {from:?} -> {to:?} for {why:?}; was {was:?}, {model:?}", name(home))
        });
        self.counts.flips += 1;
        let Some(model) = self.stamps.get_mut(&home) else { return };
        (model.serves, model.flips) = (to, model.flips + 1);
        model.was_lost &= to != Some(home);
    }

    fn compare(&mut self, seen: &Seen) {
        let order = seen.stamps.iter().map(|stamp| stamp.key);
        let is_aligned = order.eq(self.plan.stamps.iter().map(|stamp| stamp.key));
        self.must(is_aligned, || format!("published stamps are not the table's: {seen:?}"));
        let is_complete = seen.endpoints.len() == self.endpoints.len();
        self.must(is_complete, || format!("published endpoints are not the table's: {seen:?}"));
        for (key, standing) in &seen.endpoints {
            let known = self.endpoints.get(key).map(|model| model.standing);
            self.must(known == Some(*standing), || {
                format!("{key:?} is published as {standing:?} and must be {known:?}")
            });
        }
        for stamp in &seen.stamps {
            let Some(model) = self.stamps.get(&stamp.key).cloned() else { continue };
            let same = (stamp.operator, stamp.health) == (model.operator, model.health);
            let served = (stamp.serves, stamp.flips) == (model.serves, model.flips);
            self.must(same && served, || format!("published {stamp:?} and must be {model:?}"));
            let told = (model.told_operator, model.told_health) == (model.operator, model.health);
            self.must(told, || format!("{}: changed and nothing was told", name(stamp.key)));
        }
    }

    /// Who answers for each home is one who can, and the home itself when it held long enough.
    fn check_serving(&mut self, step: Step, now: Micros) {
        for stamp in Rc::clone(&self.plan).stamps.iter().map(|stamp| stamp.key) {
            let Some(model) = self.stamps.get(&stamp).cloned() else { continue };
            let is_right = match model.serves {
                Some(serving) if serving == stamp => model.is_eligible(),
                Some(edge) => self.has_edge(stamp, edge) && self.is_eligible(edge),
                None => !model.is_eligible() && self.first_edge(stamp).is_none(),
            };
            self.must(is_right, || format!("{} must not be served so: {model:?}", name(stamp)));
            let is_away = model.serves.is_some_and(|serving| serving != stamp);
            let due = self.return_due(stamp);
            let is_late = step == Step::Tick && is_away && due.is_some_and(|due| due <= now);
            self.must(!is_late, || format!("{} should have come home", name(stamp)));
        }
    }

    /// When this home may answer again.
    fn return_due(&self, home: StampKey) -> Option<Micros> {
        let model = self.stamps.get(&home).filter(|model| model.is_eligible())?;
        if !model.was_lost {
            return Some(0);
        }
        let due = model.health_since + self.policy(home).hold * MS;
        (model.health == Health::Up).then_some(due)
    }

    /// The fleet says when it wants to be called again: no rule of time may be due before.
    pub(crate) fn next_tick(&mut self, due: Option<Micros>, now: Micros) {
        let opens = self.endpoints.values().filter_map(|model| match model.breaker {
            BreakerIs::Open { until } => Some(until),
            BreakerIs::Closed | BreakerIs::HalfOpen => None,
        });
        let away = self.stamps.iter().filter(|(key, it)| it.serves.is_some_and(|to| to != **key));
        let returns = away.filter_map(|(key, _)| self.return_due(*key));
        let first = opens.chain(returns).filter(|at| *at > now).min();
        let is_in_time = first.is_none_or(|first| due.is_some_and(|due| due <= first));
        self.must(is_in_time, || format!("next look at {due:?}, but {first:?} is due before"));
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

/// The longest that an endpoint may fail its probes and not be down: one pause, then `fall` probes
/// in haste.
fn detection(policy: &Policy) -> Micros {
    let haste = (policy.interval / 4).max(100).min(policy.interval);
    let round = haste * 11 / 10 + policy.probe_timeout + 100;
    (policy.interval * 11 / 10 + policy.probe_timeout + policy.fall * round + 200) * MS
}
