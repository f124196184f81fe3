//! Who answers for a home: every flip must be true, told, counted and due; and when the gateway
//! suspects itself.

use std::collections::BTreeMap;
use std::rc::Rc;

use super::fleet::share;
use super::{
    BreakerIs, EndpointModel, Ends, FlipWhy, Health, Operator, Seen, Serves, Shadow, StampModel,
    Standing, Step, Told,
};
use crate::plan::{StampKey, name};
use crate::world::{MS, Micros, SECOND};

/// Fewer failing stamps are no sign of anything in common.
const FAILING_MIN: usize = 3;
/// So many losses bar the way home.
const LOSSES_MAX: usize = 3;
/// Losses within so long count together.
const HOUR: Micros = 3600 * SECOND;

impl Shadow {
    pub(super) fn is_eligible(&self, stamp: StampKey) -> bool {
        self.stamps.get(&stamp).is_some_and(StampModel::is_eligible)
    }

    fn first_edge(&self, home: StampKey) -> Option<StampKey> {
        let edges = &self.plan.stamp(home)?.edges;
        edges.iter().map(|(to, _)| *to).find(|to| self.is_eligible(*to))
    }

    fn has_edge(&self, home: StampKey, to: StampKey) -> bool {
        self.plan.stamp(home).is_some_and(|stamp| stamp.edges.iter().any(|edge| edge.0 == to))
    }

    fn is_sound_edge(&self, home: StampKey, to: StampKey) -> bool {
        self.has_edge(home, to) && self.is_eligible(to)
    }

    /// Does this home wait for an operator's word?
    pub(super) fn waits_for_operator(&self, home: StampKey) -> bool {
        let losses = self.stamps.get(&home).map_or(0, |model| model.losses.len());
        self.policy(home).is_manual || losses >= LOSSES_MAX
    }

    /// Homes that come back only by an operator's word, and who answers for them.
    pub(super) fn waiting(&self) -> BTreeMap<StampKey, StampKey> {
        let waits = |key: StampKey, model: &StampModel| {
            model.was_lost && !model.is_released && self.waits_for_operator(key)
        };
        let away = self.stamps.iter().filter_map(|(key, model)| match model.serves {
            Serves::Edge(edge) if waits(*key, model) => Some((*key, edge)),
            Serves::Edge(_) | Serves::Home | Serves::Split { .. } | Serves::Nobody => None,
        });
        away.collect()
    }

    /// Does a home wait for its operator since it was lost too often?
    pub(crate) fn has_barred_home(&self) -> bool {
        self.waiting().keys().any(|home| !self.policy(*home).is_manual)
    }

    /// Where a home goes that waited when the process before this one ended.
    fn recalled_to(&self, home: StampKey) -> Option<StampKey> {
        let edge = *self.waited.get(&home)?;
        if self.is_sound_edge(home, edge) { Some(edge) } else { self.first_edge(home) }
    }

    /// A restart brings no home back that waited, unless nobody else can answer for it.
    pub(super) fn check_recalled(&mut self, step: Step, now: Micros) {
        if step != Step::Start {
            return;
        }
        let waited: Vec<StampKey> = self.waited.keys().copied().collect();
        for home in waited {
            let (is_manual, way) = (self.policy(home).is_manual, self.recalled_to(home));
            let Some(model) = self.stamps.get_mut(&home) else { continue };
            let is_home = model.serves == Serves::Home;
            if !is_home {
                model.was_lost = true;
                model.losses = vec![now; if is_manual { 0 } else { LOSSES_MAX }];
                self.counts.recalled += 1;
            }
            let is_right = !is_home || way.is_none();
            self.must(is_right, || format!("{} came back unasked", name(home)));
        }
    }

    /// Another stamp is said to answer for a home: is the reason true, and the stamp the right one?
    pub(super) fn flip(
        &mut self,
        home: StampKey,
        (ends, is): (Ends, Serves),
        (why, now, doubted): (FlipWhy, Micros, bool),
    ) {
        let Some(model) = self.stamps.get(&home).cloned() else { return };
        let was = model.serves;
        let answers = |serves| match serves {
            Serves::Home | Serves::Split { .. } => Some(home),
            Serves::Edge(edge) => Some(edge),
            Serves::Nobody => None,
        };
        let is_gone = matches!(was, Serves::Edge(edge) if !self.has_edge(home, edge));
        let from_is_true = ends.0 == answers(was) || (is_gone && ends.0.is_none());
        let is_true = doubted || self.is_true((home, &model), is, (why, now));
        self.must(is_true && from_is_true && ends.1 == answers(is), || {
            format!("{}: flip {ends:?} to {is:?} for {why:?} at {now}; was {model:?}", name(home))
        });
        self.counts.flips += 1;
        self.counts.splits += u64::from(matches!(is, Serves::Split { .. }));
        let Some(model) = self.stamps.get_mut(&home) else { return };
        (model.serves, model.why, model.flips) = (is, Some(why), model.flips + 1);
        model.flipped_at = now;
        let returns = matches!(is, Serves::Split { .. }) && why != FlipWhy::Drill;
        model.returns_since = returns.then_some(now);
        if is == Serves::Home {
            (model.was_lost, model.is_released) = (false, false);
            model.is_home_since = Some(now);
        }
        if why == FlipWhy::HomeDown {
            (model.drill, model.is_released) = (None, false);
            model.losses.retain(|at| now - at < HOUR);
            model.losses.push(now);
        } else if why == FlipWhy::SelfSuspect {
            model.losses.pop();
        }
    }

    fn is_true(
        &self,
        (home, model): (StampKey, &StampModel),
        is: Serves,
        (why, now): (FlipWhy, Micros),
    ) -> bool {
        let was = model.serves;
        let (is_eligible, allows) = (model.is_eligible(), model.operator.allows());
        let was_home = matches!(was, Serves::Home | Serves::Split { .. });
        let is_warming = model.operator == Operator::Warming;
        let returns = |begins: bool| self.returns((home, model), is, (begins, now));
        match why {
            FlipWhy::HomeDrained => was_home && !allows && is == self.next_of(home, was),
            FlipWhy::HomeDown => {
                was_home && allows && !is_eligible && is == self.next_of(home, was)
            }
            FlipWhy::EdgeLost => self.is_lost_edge((home, model), is),
            FlipWhy::HomeHeld => {
                let due = self.held_at(home);
                returns(!is_warming && model.was_lost && due.is_some_and(|due| due <= now))
            }
            FlipWhy::Ordered => returns(!is_warming && model.was_lost && model.is_released),
            FlipWhy::HomeWarmed => returns(is_warming),
            FlipWhy::HomeUndrained => {
                let was_edge = matches!(was, Serves::Edge(_));
                was_edge && is_eligible && !model.was_lost && is == Serves::Home
            }
            FlipWhy::LastResort => {
                let is_last = self.first_edge(home).is_none();
                matches!(was, Serves::Edge(_)) && is_last && is_eligible && is == Serves::Home
            }
            FlipWhy::Recovered => {
                let edge = self.first_edge(home).map_or(Serves::Nobody, Serves::Edge);
                let expected = if is_eligible { Serves::Home } else { edge };
                was == Serves::Nobody && is == expected && is != Serves::Nobody
            }
            FlipWhy::Drill => match (was, model.drill.filter(|drill| drill.1 > now)) {
                (Serves::Home, Some((away, _))) => {
                    let edge = self.first_edge(home);
                    is_eligible && edge.is_some_and(|edge| is == Serves::Split { edge, away })
                }
                (Serves::Split { .. }, None) => is_eligible && is == Serves::Home,
                _ => false,
            },
            FlipWhy::Recalled => {
                let edge = self.recalled_to(home);
                was == Serves::Home && edge.is_some_and(|edge| is == Serves::Edge(edge))
            }
            FlipWhy::SelfSuspect => false,
        }
    }

    /// Who serves when a home no longer can: the edge that it shared with, else the first.
    fn next_of(&self, home: StampKey, was: Serves) -> Serves {
        match was {
            Serves::Split { edge, .. } if self.is_sound_edge(home, edge) => Serves::Edge(edge),
            Serves::Split { .. } | Serves::Home | Serves::Edge(_) | Serves::Nobody => {
                self.first_edge(home).map_or(Serves::Nobody, Serves::Edge)
            }
        }
    }

    fn is_lost_edge(&self, (home, model): (StampKey, &StampModel), is: Serves) -> bool {
        let best = self.first_edge(home).map_or(Serves::Nobody, Serves::Edge);
        match model.serves {
            Serves::Split { edge, .. } => {
                !self.is_sound_edge(home, edge) && model.is_eligible() && is == Serves::Home
            }
            Serves::Edge(edge) => {
                let is_last = best == Serves::Nobody && model.is_eligible();
                !self.is_sound_edge(home, edge) && is == best && !is_last
            }
            Serves::Home | Serves::Nobody => false,
        }
    }

    /// A home comes back in shares where a ramp is declared, and the edge serves meanwhile.
    fn returns(
        &self,
        (home, model): (StampKey, &StampModel),
        is: Serves,
        (begins, now): (bool, Micros),
    ) -> bool {
        let ramp = self.policy(home).ramp * MS;
        match (model.serves, is) {
            (Serves::Edge(edge), Serves::Home) => {
                let at_once = share(0, ramp).is_none() || !self.is_sound_edge(home, edge);
                begins && model.is_eligible() && at_once
            }
            (Serves::Edge(edge), Serves::Split { edge: kept, away }) => {
                let is_first = share(0, ramp) == Some(100 - away) && kept == edge;
                begins && model.is_eligible() && is_first && self.is_sound_edge(home, edge)
            }
            (Serves::Split { .. }, Serves::Home) => {
                let since = model.returns_since;
                model.is_eligible() && since.is_some_and(|since| share(now - since, ramp).is_none())
            }
            _ => false,
        }
    }

    /// The third loss of a home is told.
    pub(super) fn check_barred(&mut self, told: &[Told]) {
        for change in told {
            let Told::Flip { home, why: FlipWhy::HomeDown, .. } = change else { continue };
            let losses = self.stamps.get(home).map_or(0, |model| model.losses.len());
            let is_told = |it: &Told| matches!(it, Told::Barred { home: it } if it == home);
            let is_told = told.iter().any(is_told);
            self.counts.barred += u64::from(is_told);
            self.must(is_told == (losses >= LOSSES_MAX) || self.has_suspected, || {
                format!("{} was lost {losses} times, told: {is_told}", name(*home))
            });
        }
    }

    /// The steps of a share are no flips: each lies between the one before and the one due.
    pub(super) fn follow_split(
        &mut self,
        home: StampKey,
        seen: Serves,
        (step, now): (Step, Micros),
    ) {
        let ramp = self.policy(home).ramp * MS;
        let Some(model) = self.stamps.get_mut(&home) else { return };
        let (Serves::Split { edge, away }, Serves::Split { edge: now_edge, away: now_away }) =
            (model.serves, seen)
        else {
            return;
        };
        let due = match (model.returns_since, model.drill) {
            (Some(since), _) => share(now - since, ramp).map_or(0, |home| 100 - home),
            (None, Some((percent, until))) if until > now => percent,
            (None, _) => 0,
        };
        let is_exact = step != Step::Tick || now_away == due;
        let is_between = (due.min(away)..=due.max(away)).contains(&now_away);
        model.serves = seen;
        self.must(is_exact && is_between && edge == now_edge && now_away > 0, || {
            format!("{}: {now_away} of 100 away, was {away}, due {due}", name(home))
        });
    }

    /// Who answers for each home is one who can, and the home itself when it held long enough.
    pub(super) fn check_serving(&mut self, step: Step, now: Micros) {
        for home in Rc::clone(&self.plan).stamps.iter().map(|stamp| stamp.key) {
            let Some(model) = self.stamps.get(&home).cloned() else { continue };
            let best = self.first_edge(home);
            let is_right = match model.serves {
                Serves::Home => model.is_eligible(),
                Serves::Split { edge, .. } => model.is_eligible() && self.is_sound_edge(home, edge),
                Serves::Edge(edge) => self.is_sound_edge(home, edge),
                Serves::Nobody => !model.is_eligible() && best.is_none(),
            };
            self.must(is_right, || format!("{} must not be served so: {model:?}", name(home)));
            if step != Step::Tick {
                continue;
            }
            let drilled = model.drill.is_some_and(|drill| drill.1 > now);
            let is_late = match model.serves {
                Serves::Edge(_) => self.return_due(home).is_some_and(|due| due <= now),
                Serves::Home => drilled && best.is_some(),
                Serves::Split { .. } | Serves::Nobody => false,
            };
            self.must(!is_late, || format!("{} is due another way: {model:?}", name(home)));
        }
    }

    /// When this home has held long enough.
    fn held_at(&self, home: StampKey) -> Option<Micros> {
        let model = self.stamps.get(&home).filter(|model| model.is_eligible())?;
        let doublings = model.losses.len().saturating_sub(1).min(LOSSES_MAX);
        let due = model.health_since + ((self.policy(home).hold * MS) << doublings);
        (model.health == Health::Up && !self.waits_for_operator(home)).then_some(due)
    }

    /// When this home may answer again, for whatever reason.
    fn return_due(&self, home: StampKey) -> Option<Micros> {
        let model = self.stamps.get(&home).filter(|model| model.is_eligible())?;
        let at_once = !model.was_lost || model.is_released || model.operator == Operator::Warming;
        if at_once { Some(0) } else { self.held_at(home) }
    }

    /// The fleet says when it wants to be called again: no rule of time may be due before.
    pub(crate) fn next_tick(&mut self, due: Option<Micros>, now: Micros) {
        let opens = self.endpoints.values().filter_map(|model| match model.breaker {
            BreakerIs::Open { until } => Some(until),
            BreakerIs::Closed | BreakerIs::HalfOpen => None,
        });
        let away = self.stamps.iter().filter(|(_, it)| matches!(it.serves, Serves::Edge(_)));
        let returns = away.filter_map(|(key, _)| self.return_due(*key));
        let drills = self.stamps.values().filter_map(|model| model.drill);
        let drills = drills.map(|(_, until)| until);
        let first = opens.chain(returns).chain(drills).chain(self.steps(now));
        let first = first.filter(|at| *at > now).min();
        let is_in_time = first.is_none_or(|first| due.is_some_and(|due| due <= first));
        self.must(is_in_time, || format!("next look at {due:?}, but {first:?} is due before"));
    }

    /// When shares take their next steps.
    fn steps(&self, now: Micros) -> Vec<Micros> {
        let homes = self.stamps.iter().filter(|(_, it)| matches!(it.serves, Serves::Split { .. }));
        let homes = homes.map(|(key, it)| (*key, it.returns_since));
        let is_warming = |it: &EndpointModel| matches!(it.standing, Standing::Warming(_));
        let endpoints = self.endpoints.iter().filter(|(_, it)| is_warming(it));
        let all = homes.chain(endpoints.map(|(key, it)| (key.0, it.warms_since)));
        let step = |(key, since): (StampKey, Option<Micros>)| {
            let (since, tenth) = (since?, self.policy(key).ramp * MS / 10);
            (1..10).map(|steps| since + steps * tenth).find(|at| *at > now)
        };
        all.filter_map(step).collect()
    }

    /// The gateway begins to suspect itself: homes that lost their requests within the window have
    /// them back.
    pub(super) fn check_restored(&mut self, before: &BTreeMap<StampKey, StampModel>, now: Micros) {
        let window = self.window_begins(now);
        for (home, was) in before {
            let by_failure = matches!(was.why, Some(FlipWhy::HomeDown | FlipWhy::EdgeLost));
            let is_lately = match was.serves {
                Serves::Home | Serves::Split { .. } => true,
                Serves::Edge(_) | Serves::Nobody => by_failure && was.flipped_at >= window,
            };
            let Some(model) = self.stamps.get(home).cloned() else { continue };
            let is_back = matches!(model.serves, Serves::Home | Serves::Split { .. });
            let is_right = !is_lately || is_back || !model.is_eligible();
            self.must(is_right, || format!("{} is not restored: {model:?}", name(*home)));
        }
    }

    /// Does the gateway rightly suspect itself, or rightly not? Says whether that changed: then
    /// many things happen at once.
    pub(super) fn doubt(
        &mut self,
        (step, now): (Step, Micros),
        told: &[Told],
        seen: &Seen,
    ) -> bool {
        let toggled = self.weigh(now);
        let mut changed = false;
        let was = self.suspects;
        for change in told {
            let Told::Suspicion { suspects } = change else { continue };
            self.must(*suspects != self.suspects, || "suspicion is told twice".to_owned());
            (self.suspects, changed) = (*suspects, true);
            self.counts.suspicions += u64::from(*suspects);
        }
        let is = self.suspects;
        self.has_suspected |= is;
        self.must(seen.suspects == is, || format!("suspicion {} is not told", seen.suspects));
        let (failing, of) = (self.failing(0), self.stamps.len());
        let many = |failing: usize| failing >= FAILING_MIN && failing * 2 > of;
        let at_once = self.failing(self.window_begins(now));
        let is_weighed = matches!(step, Step::Probe | Step::Report(_)) && toggled;
        let must_begin = is_weighed && !was && many(at_once);
        let window_begins = self.window_begins(now);
        if was && !many(failing) {
            self.eases_since.get_or_insert(now);
        } else {
            self.eases_since = None;
        }
        let has_eased = failing == 0 || self.eases_since.is_some_and(|it| it <= window_begins);
        let may_end = !many(failing) && has_eased;
        let must_end = step == Step::Tick && may_end;
        self.must(!was || is || may_end, || format!("{failing} of {of} fail: trusted too early"));
        self.must(!must_begin || is, || format!("{at_once} of {of} fail, and it trusts itself"));
        self.must(!must_end || !is, || format!("{failing} of {of} fail, and it suspects itself"));
        self.must(was || !is || many(at_once), || format!("suspicion by {at_once} of {of}"));
        if !is {
            self.eases_since = None;
        }
        changed
    }

    /// Notes which stamps fail by all evidence. Says whether one began or ceased to.
    fn weigh(&mut self, now: Micros) -> bool {
        let mut toggled = false;
        let keys: Vec<StampKey> = self.stamps.keys().copied().collect();
        for key in keys {
            let health = self.health(key, |model| model.evidence_says);
            let is_sound = matches!(health, Health::Up | Health::Unknown);
            let Some(model) = self.stamps.get_mut(&key) else { continue };
            match (model.failed_at, is_sound) {
                (Some(_), true) => model.failed_at = None,
                (None, false) if model.was_up => model.failed_at = Some(now),
                _ => continue,
            }
            toggled = true;
        }
        toggled
    }

    fn failing(&self, since: Micros) -> usize {
        self.stamps.values().filter(|it| it.failed_at.is_some_and(|at| at >= since)).count()
    }

    pub(super) fn window_begins(&self, now: Micros) -> Micros {
        let sight = self.plan.stamps.iter().map(|it| it.policy.interval * it.policy.fall * MS);
        now.saturating_sub(sight.max().unwrap_or_default())
    }
}
