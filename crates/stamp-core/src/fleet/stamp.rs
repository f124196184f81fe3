//! One stamp: what its endpoints and its operator add up to, and what is remembered to decide who
//! answers for it.

use std::time::Duration;

use crate::fleet::change::{Change, FlipReason};
use crate::id::{EndpointIndex, StampId, StampIndex};
use crate::operator::{self, OperatorRecord};
use crate::standing::{OperatorState, Serving, StampHealth, StampStanding};
use crate::table::{HealthPolicy, Stamp};
use crate::time::Moment;

/// What is known of one stamp.
#[derive(Clone, Debug)]
pub(super) struct StampState {
    pub(super) id: StampId<'static>,
    pub(super) declared: OperatorState,
    pub(super) health: HealthPolicy,
    pub(super) hold: Duration,
    pub(super) tenants: u32,
    pub(super) endpoints: Vec<EndpointIndex>,
    /// Place and stamp of each failover edge.
    pub(super) ways: Vec<(u8, StampIndex)>,
    /// As published.
    pub(super) standing: StampStanding,
    pub(super) operator_since: Moment,
    pub(super) health_since: Moment,
    /// Since when who answers, and why; no reason = the home has answered from the start.
    pub(super) serving_since: Moment,
    pub(super) serving_reason: Option<FlipReason>,
    /// Nothing is in flight there, as far as was told since the operator's last word.
    pub(super) is_empty: bool,
    pub(super) soundness: Soundness,
}

/// What a home did while another stamp answered for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Soundness {
    /// It was never down: only the operator kept requests away.
    AllAlong,
    /// It was down.
    Lost,
}

impl StampState {
    pub(super) fn new(stamp: &Stamp, now: Moment) -> Self {
        Self {
            id: stamp.id.clone(),
            declared: stamp.declared,
            health: stamp.health.clone(),
            hold: stamp.failback.hold,
            tenants: 0,
            endpoints: stamp.endpoints.iter().map(|endpoint| endpoint.index).collect(),
            ways: Vec::new(),
            standing: StampStanding {
                operator: OperatorState::Active,
                health: StampHealth::Unknown,
                serving: Serving::Home,
                flips: 0,
            },
            operator_since: now,
            health_since: now,
            serving_since: now,
            serving_reason: None,
            is_empty: false,
            soundness: Soundness::AllAlong,
        }
    }

    /// What holds of it by the operator's record.
    pub(super) fn operator_by(&self, record: Option<&OperatorRecord>) -> OperatorState {
        match operator::effective(self.declared, record) {
            OperatorState::Draining if self.is_empty => OperatorState::Drained,
            state @ (OperatorState::Active
            | OperatorState::Draining
            | OperatorState::Drained
            | OperatorState::Maintenance) => state,
        }
    }

    /// Publishes the operator's and the endpoints' word.
    pub(super) fn sum_up(
        &mut self,
        operator: OperatorState,
        health: StampHealth,
        now: Moment,
    ) -> [Option<Change>; 2] {
        let was = self.standing;
        let stamp = || self.id.clone();
        let healths = (was.health != health).then(|| Change::Health {
            stamp: stamp(),
            was: was.health,
            is: health,
        });
        let operators = (was.operator != operator).then(|| Change::Operator {
            stamp: stamp(),
            was: was.operator,
            is: operator,
        });
        if healths.is_some() {
            (self.standing.health, self.health_since) = (health, now);
        }
        if operators.is_some() {
            (self.standing.operator, self.operator_since) = (operator, now);
        }
        if !matches!(health, StampHealth::Up | StampHealth::Unknown) {
            self.soundness = Soundness::Lost;
        }
        [healths, operators]
    }

    /// Publishes who answers. While the home answers, nothing is held against it.
    pub(super) fn flip(&mut self, serving: Serving, reason: FlipReason, now: Moment) {
        self.standing.serving = serving;
        self.standing.flips += 1;
        self.serving_since = now;
        self.serving_reason = Some(reason);
        if serving == Serving::Home {
            self.soundness = Soundness::AllAlong;
        }
    }

    /// Why this home is not eligible.
    pub(super) const fn out_reason(&self) -> FlipReason {
        if self.standing.operator.takes_requests() {
            return FlipReason::HomeDown;
        }
        FlipReason::HomeDrained
    }

    /// May this home answer again, now that another stamp does?
    ///
    /// It must be up for its time to hold without a break. The operator's word breaks nothing: a
    /// home that stayed sound through a drain comes back with the undrain, since there is no flap to
    /// guard against.
    pub(super) fn may_return(&self, now: Moment) -> Option<FlipReason> {
        if !self.standing.is_eligible() {
            return None;
        }
        if self.soundness == Soundness::AllAlong {
            return Some(FlipReason::HomeUndrained);
        }
        self.return_due().is_some_and(|due| due <= now).then_some(FlipReason::HomeHeld)
    }

    /// When this home has held long enough, if it is up and another stamp answers for it.
    pub(super) fn return_due(&self) -> Option<Moment> {
        let waits = matches!(self.standing.serving, Serving::Edge(_))
            && self.standing.operator.takes_requests()
            && self.standing.health == StampHealth::Up;
        waits.then(|| self.health_since.after(self.hold))
    }
}
