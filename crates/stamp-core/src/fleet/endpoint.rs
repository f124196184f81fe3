//! One endpoint: its probes and its breaker, and the standing that they add up to.

use crate::breaker::{Breaker, BreakerState};
use crate::fleet::change::{Change, EndpointName};
use crate::health::Health;
use crate::id::{EndpointIndex, StampId, StampIndex};
use crate::standing::{EndpointStanding, OutReason};
use crate::table::Endpoint;
use crate::time::Moment;

/// What is known of one endpoint.
#[derive(Clone, Debug)]
pub(super) struct EndpointState {
    pub(super) index: EndpointIndex,
    pub(super) stamp: StampIndex,
    pub(super) authority: Box<str>,
    pub(super) health: Health,
    pub(super) breaker: Breaker,
    /// As published.
    pub(super) standing: EndpointStanding,
    pub(super) since: Moment,
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
            standing: EndpointStanding::Unknown,
            since: now,
            told: BreakerState::Closed,
        }
    }

    /// Lets the breaker wake, and publishes what changed.
    pub(super) fn settle(&mut self, stamp: &StampId<'static>, now: Moment) -> [Option<Change>; 2] {
        self.breaker = self.breaker.woken(self.health, now);
        let name = || EndpointName {
            stamp: stamp.clone(),
            index: self.index,
            authority: self.authority.clone(),
        };
        let (was, is) = (self.told, self.breaker.state());
        let cause = self.breaker.cause();
        let breaker = (was != is).then(|| Change::Breaker { endpoint: name(), was, is, cause });
        let (was, is) = (self.standing, standing(self.health, is));
        let probes = self.health;
        let endpoint = (was != is).then(|| Change::Endpoint { endpoint: name(), was, is, probes });
        if endpoint.is_some() {
            (self.standing, self.since) = (is, now);
        }
        self.told = self.breaker.state();
        [breaker, endpoint]
    }
}

/// May an endpoint be used? Probes first: what they know to be down is not worth a trial.
const fn standing(health: Health, breaker: BreakerState) -> EndpointStanding {
    match (health, breaker) {
        (Health::Down { .. }, _) => EndpointStanding::Out(OutReason::ProbeDown),
        (_, BreakerState::Open { .. }) => EndpointStanding::Out(OutReason::BreakerOpen),
        (_, BreakerState::HalfOpen) => EndpointStanding::Trial,
        (Health::Up { .. }, BreakerState::Closed) => EndpointStanding::Up,
        (Health::Unknown { .. }, BreakerState::Closed) => EndpointStanding::Unknown,
    }
}
