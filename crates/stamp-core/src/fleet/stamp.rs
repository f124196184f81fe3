//! One stamp: what its endpoints and its operator add up to, and what is remembered to decide who
//! answers for it.

use std::time::Duration;

use crate::fleet::change::{Change, FlipReason};
use crate::id::{EndpointIndex, StampId, StampIndex};
use crate::operator::{self, OperatorRecord};
use crate::standing::{OperatorState, Serving, StampHealth, StampStanding};
use crate::table::{FailbackMode, FailbackPolicy, HealthPolicy, Stamp};
use crate::time::{Moment, next_step, share_after};

/// What is known of one stamp.
#[derive(Clone, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
pub(super) struct StampState {
    pub(super) id: StampId<'static>,
    pub(super) declared: OperatorState,
    pub(super) health: HealthPolicy,
    pub(super) failback: FailbackPolicy,
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
    /// It warmed up since the operator's last word.
    pub(super) is_warm: bool,
    pub(super) soundness: Soundness,
    /// Since when it takes over from the edge, while it does.
    pub(super) returns_since: Option<Moment>,
    pub(super) losses: Losses,
    /// The operator said that requests may come home.
    pub(super) is_released: bool,
    pub(super) drill: Option<Drill>,
    /// It was known good before.
    pub(super) was_up: bool,
    /// Since when all evidence is against it, after it was known good.
    pub(super) failed_at: Option<Moment>,
}

/// A stamp treated as down for a share of its tenants, to see that they are served without it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Drill {
    /// The share, in per cent of its tenants: 1 to 100.
    pub percent: u8,
    /// When it began.
    pub began: Moment,
    /// When it is over.
    pub until: Moment,
}

/// Losses of a home that lie no further apart count together.
const LOSSES_WITHIN: Duration = Duration::from_hours(1);
/// So many of them, and requests come home only when an operator says so.
const LOSSES_MAX: usize = 3;

/// How often a home was lost.
#[derive(Clone, Debug, Default)]
pub(super) struct Losses {
    recent: Vec<Moment>,
}

impl Losses {
    /// As many as it takes to bar the way home.
    pub(super) fn barred(now: Moment) -> Self {
        Self { recent: vec![now; LOSSES_MAX] }
    }

    /// One more. Says how many there were within the hour.
    fn add(&mut self, now: Moment) -> usize {
        self.recent.retain(|at| now.since(*at) < LOSSES_WITHIN);
        self.recent.push(now);
        self.recent.len()
    }

    /// The last one was none.
    pub(super) fn forget_last(&mut self) {
        self.recent.pop();
    }

    /// Does it take an operator to come home?
    pub(super) fn is_barred(&self) -> bool {
        self.recent.len() >= LOSSES_MAX
    }

    /// How long home must hold: each loss after the first doubles it.
    fn hold(&self, hold: Duration) -> Duration {
        let flaps = self.recent.len().saturating_sub(1).min(LOSSES_MAX);
        hold.saturating_mul(1 << flaps)
    }
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
            failback: stamp.failback.clone(),
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
            is_warm: false,
            soundness: Soundness::AllAlong,
            returns_since: None,
            losses: Losses::default(),
            is_released: false,
            drill: None,
            was_up: false,
            failed_at: None,
        }
    }

    /// What holds of it by the operator's record.
    pub(super) fn operator_by(&self, record: Option<&OperatorRecord>) -> OperatorState {
        match operator::effective(self.declared, record) {
            OperatorState::Draining if self.is_empty => OperatorState::Drained,
            OperatorState::Warming if self.is_warm => OperatorState::Active,
            state @ (OperatorState::Active
            | OperatorState::Draining
            | OperatorState::Drained
            | OperatorState::Maintenance
            | OperatorState::Warming) => state,
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
        self.was_up |= health == StampHealth::Up;
        [healths, operators]
    }

    /// Publishes who answers. While the home answers, nothing is held against it. Says how often
    /// the home was lost within the hour, if that now bars its return.
    pub(super) fn flip(
        &mut self,
        serving: Serving,
        reason: FlipReason,
        now: Moment,
    ) -> Option<usize> {
        self.standing.serving = serving;
        self.standing.flips += 1;
        self.serving_since = now;
        self.serving_reason = Some(reason);
        self.returns_since = None;
        match serving {
            Serving::Home => {
                self.soundness = Soundness::AllAlong;
                self.is_released = false;
            }
            Serving::Split { .. } if reason != FlipReason::Drill => self.returns_since = Some(now),
            Serving::Split { .. } | Serving::Edge(_) | Serving::Nobody => {}
        }
        if reason != FlipReason::HomeDown {
            return None;
        }
        self.drill = None;
        self.is_released = false;
        let losses = self.losses.add(now);
        self.losses.is_barred().then_some(losses)
    }

    /// The tenants that still go over the edge while this home takes over, or that a drill sends
    /// there; 0 = none.
    pub(super) fn away(&self, now: Moment) -> u8 {
        if let Some(since) = self.returns_since {
            return share_after(now.since(since), self.failback.ramp).map_or(0, |home| 100 - home);
        }
        self.drill.filter(|drill| drill.until > now).map_or(0, |drill| drill.percent)
    }

    /// Is it warm by now, having served as long as warming up takes?
    pub(super) fn has_warmed_up(&self, now: Moment) -> bool {
        self.standing.operator == OperatorState::Warming
            && self.standing.serving == Serving::Home
            && self.standing.is_eligible()
            && now.since(self.operator_since) >= self.failback.ramp
    }

    /// Did it lose its requests to a failure since then?
    pub(super) fn was_lost_since(&self, since: Moment) -> bool {
        matches!(self.serving_reason, Some(FlipReason::HomeDown | FlipReason::EdgeLost))
            && self.standing.serving != Serving::Home
            && self.serving_since >= since
    }

    /// The next moment at which something happens here without a cause from outside.
    pub(super) fn next_due(&self, now: Moment) -> Option<Moment> {
        let returning = self.returns_since.map(|since| next_step(since, now, self.failback.ramp));
        let warm = (self.standing.operator == OperatorState::Warming)
            .then(|| self.operator_since.after(self.failback.ramp));
        let drill = self.drill.map(|drill| drill.until);
        let due = [self.return_due(), returning, warm, drill];
        due.into_iter().flatten().filter(|due| *due > now).min()
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
        if self.standing.operator == OperatorState::Warming {
            return Some(FlipReason::HomeWarmed);
        }
        if self.soundness == Soundness::AllAlong {
            return Some(FlipReason::HomeUndrained);
        }
        if self.is_released {
            return Some(FlipReason::Ordered);
        }
        self.return_due().is_some_and(|due| due <= now).then_some(FlipReason::HomeHeld)
    }

    /// When this home has held long enough, if it is up, another stamp answers for it, and no
    /// operator has to be asked.
    pub(super) fn return_due(&self) -> Option<Moment> {
        let waits = matches!(self.standing.serving, Serving::Edge(_))
            && self.standing.operator.takes_requests()
            && self.standing.health == StampHealth::Up
            && !self.waits_for_operator();
        waits.then(|| self.health_since.after(self.losses.hold(self.failback.hold)))
    }

    /// Do requests come home only when an operator says so?
    pub(super) fn waits_for_operator(&self) -> bool {
        self.failback.mode == FailbackMode::Manual || self.losses.is_barred()
    }
}
