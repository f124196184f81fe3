//! One endpoint: its probes and its breaker, and the standing that they add up to.

use std::time::Duration;

use crate::breaker::{Breaker, BreakerState};
use crate::fleet::change::{Change, EndpointName};
use crate::health::Health;
use crate::id::{EndpointIndex, StampId, StampIndex};
use crate::standing::{EndpointStanding, OutReason};
use crate::table::Endpoint;
use crate::time::{Moment, share_after};

/// What is known of one endpoint.
#[derive(Clone, Debug)]
pub(super) struct EndpointState {
    pub(super) index: EndpointIndex,
    pub(super) stamp: StampIndex,
    pub(super) authority: Box<str>,
    pub(super) health: Health,
    pub(super) breaker: Breaker,
    /// What probes and breaker say, whether or not it is believed.
    pub(super) evidence: EndpointStanding,
    /// As published.
    pub(super) standing: EndpointStanding,
    pub(super) since: Moment,
    /// The standing before it was last taken out.
    pub(super) before: EndpointStanding,
    /// When that was; the reason may have changed since then.
    pub(super) out_since: Moment,
    /// What is kept in the place of evidence that is not believed.
    pub(super) kept: Option<EndpointStanding>,
    /// Since when it gets only a share, after it was out.
    pub(super) warms_since: Option<Moment>,
    /// The breaker as it was published last.
    pub(super) told: BreakerState,
}

impl EndpointState {
    pub(super) fn new(stamp: StampIndex, endpoint: &Endpoint, now: Moment) -> Self {
        Self {
            index: endpoint.index,
            stamp,
            authority: endpoint.authority().into(),
            health: Health::default(),
            breaker: Breaker::default(),
            evidence: EndpointStanding::Unknown,
            standing: EndpointStanding::Unknown,
            since: now,
            before: EndpointStanding::Unknown,
            out_since: now,
            kept: None,
            warms_since: None,
            told: BreakerState::Closed,
        }
    }

    /// Lets the breaker wake. Says whether the evidence is another than before.
    pub(super) fn look(&mut self, now: Moment) -> bool {
        self.breaker = self.breaker.woken(self.health, now);
        let is = standing(self.health, self.breaker.state());
        std::mem::replace(&mut self.evidence, is) != is
    }

    /// Publishes what changed.
    pub(super) fn settle(&mut self, rules: Rules<'_>, now: Moment) -> Settled {
        let name = EndpointName {
            stamp: rules.stamp.clone(),
            index: self.index,
            authority: self.authority.clone(),
        };
        let (was, is) = (self.told, self.breaker.state());
        let cause = self.breaker.cause();
        let breaker =
            (was != is).then(|| Change::Breaker { endpoint: name.clone(), was, is, cause });
        let (was, is) = (self.standing, self.due_standing(rules, now));
        let probes = self.health;
        let steps =
            matches!((was, is), (EndpointStanding::Warming(_), EndpointStanding::Warming(_)));
        let endpoint =
            (was != is && !steps).then_some(Change::Endpoint { endpoint: name, was, is, probes });
        if was != is && !steps {
            self.since = now;
        }
        if !is_out(was) && is_out(is) {
            (self.before, self.out_since) = (was, now);
        }
        self.standing = is;
        self.told = self.breaker.state();
        Settled { is_new: was != is || breaker.is_some(), changes: [breaker, endpoint] }
    }

    /// What its standing ought to be now.
    fn due_standing(&mut self, rules: Rules<'_>, now: Moment) -> EndpointStanding {
        if is_out(self.evidence) {
            self.warms_since = None;
            return match rules.belief {
                Belief::Evidence => {
                    self.kept = None;
                    self.evidence
                }
                Belief::LastStanding if is_out(self.standing) => self.kept.unwrap_or(self.evidence),
                Belief::LastStanding => *self.kept.get_or_insert(self.standing),
            };
        }
        self.kept = None;
        if self.evidence != EndpointStanding::Up {
            return self.evidence;
        }
        if is_out(self.standing) && !rules.warm_up.is_zero() {
            self.warms_since = Some(now);
        }
        let Some(since) = self.warms_since else { return EndpointStanding::Up };
        match share_after(now.since(since), rules.warm_up) {
            Some(percent) => EndpointStanding::Warming(percent),
            None => {
                self.warms_since = None;
                EndpointStanding::Up
            }
        }
    }

    /// Keeps the standing of before, if it was taken out since then.
    pub(super) fn restore_since(&mut self, since: Moment) {
        if is_out(self.standing) && self.out_since >= since {
            self.kept = Some(self.before);
        }
    }
}

/// What came of settling an endpoint.
pub(super) struct Settled {
    /// Something else is to be published.
    pub(super) is_new: bool,
    /// What is to be told of it: the steps of a warm-up are not.
    pub(super) changes: [Option<Change>; 2],
}

/// What an endpoint is settled by.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rules<'a> {
    pub(super) stamp: &'a StampId<'static>,
    pub(super) belief: Belief,
    /// How long a recovered endpoint takes to get its whole share.
    pub(super) warm_up: Duration,
}

/// What is believed when evidence and the last standing disagree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Belief {
    Evidence,
    /// The gateway suspects itself.
    LastStanding,
}

const fn is_out(standing: EndpointStanding) -> bool {
    matches!(standing, EndpointStanding::Out(_) | EndpointStanding::Trial)
}

/// May an endpoint be used? Probes first: what they know to be down is not worth a trial.
const fn standing(health: Health, breaker: BreakerState) -> EndpointStanding {
    match (health, breaker) {
        (Health::Down { .. } | Health::Absent, _) => EndpointStanding::Out(OutReason::ProbeDown),
        (_, BreakerState::Open { .. }) => EndpointStanding::Out(OutReason::BreakerOpen),
        (_, BreakerState::HalfOpen) => EndpointStanding::Trial,
        (Health::Up { .. }, BreakerState::Closed) => EndpointStanding::Up,
        (Health::Unknown { .. }, BreakerState::Closed) => EndpointStanding::Unknown,
    }
}
