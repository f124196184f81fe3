//! The standing of all stamps and endpoints as one state machine: facts go in, the published
//! standings and a list of changes come out. The shell's control task owns it, publishes after
//! each new `revision`, logs the changes, and probes when a change asks for it.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::breaker::{BreakerState, Limits, Report};
use crate::fleet::endpoint::{Belief, EndpointState, Rules};
use crate::fleet::stamp::{Losses, StampState};
use crate::health::ProbeResult;
use crate::id::{EndpointIndex, StampId, StampIndex};
use crate::operator::journal::JournalEntry;
use crate::operator::{self, Decision, OperatorRecord, OperatorRefusal, Order, Subject};
use crate::standing::{EndpointStanding, OperatorState, StampHealth, StampStanding};
use crate::table::RoutingTable;
use crate::time::{Moment, Occasion, next_step};

pub use crate::fleet::assume::{Assumed, Assumption, NoAssumption};
pub use crate::fleet::change::{Change, EndpointName, FlipReason};
pub use crate::fleet::report::{EndpointReport, StampReport};
pub use crate::fleet::stamp::Drill;
pub use crate::fleet::waiting::{NotWaiting, Waiting};

mod assume;
mod change;
mod endpoint;
mod flip;
mod reload;
mod report;
mod stamp;
mod suspicion;
mod waiting;

/// What is known of all stamps and endpoints of the table adopted last. Each index that comes in
/// must be of that table: the shell drops or translates what was reported under an earlier one.
/// One that no endpoint or stamp has is ignored.
#[derive(Clone, Debug)]
pub struct Fleet {
    stamps: Vec<StampState>,
    endpoints: Vec<EndpointState>,
    /// By name, and also of stamps that no table has now: a stamp that is taken out of the file by
    /// mistake and put back is still drained.
    records: BTreeMap<StampId<'static>, OperatorRecord>,
    /// More than half of all stamps failed at once: evidence is not believed.
    suspect: bool,
    /// Since when it suspects itself although no more than half fail.
    eases_since: Option<Moment>,
    revision: u64,
    changes: Vec<Change>,
}

/// What is published to the request path, in the order of the table.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Standings {
    /// By `StampIndex`.
    pub stamps: Vec<StampStanding>,
    /// By `EndpointIndex`.
    pub endpoints: Vec<EndpointStanding>,
    /// More than half of all stamps failed at once, so the gateway suspects itself: this is what
    /// held before.
    pub is_suspect: bool,
}

impl Fleet {
    /// The fleet of the first table: every endpoint unknown, every drain of the journal in force.
    #[must_use]
    pub fn new(
        table: &RoutingTable,
        records: BTreeMap<StampId<'static>, OperatorRecord>,
        now: Moment,
    ) -> Self {
        let mut fleet = Self {
            stamps: Vec::new(),
            endpoints: Vec::new(),
            records,
            suspect: false,
            eases_since: None,
            revision: 0,
            changes: Vec::new(),
        };
        fleet.adopt(table, now);
        fleet
    }

    /// What to publish.
    #[must_use]
    pub fn standings(&self) -> Standings {
        Standings {
            stamps: self.stamps.iter().map(|stamp| stamp.standing).collect(),
            endpoints: self.endpoints.iter().map(|endpoint| endpoint.standing).collect(),
            is_suspect: self.suspect,
        }
    }

    /// Grows whenever `standings` would say something else than before.
    #[must_use]
    pub const fn revision(&self) -> u64 {
        self.revision
    }

    /// What changed since this was asked last, in order.
    #[must_use]
    pub fn take_changes(&mut self) -> Vec<Change> {
        std::mem::take(&mut self.changes)
    }

    /// What operators decided, to write a journal anew.
    #[must_use]
    pub const fn records(&self) -> &BTreeMap<StampId<'static>, OperatorRecord> {
        &self.records
    }

    /// A probe of this endpoint came back.
    pub fn probed(&mut self, index: EndpointIndex, result: ProbeResult, now: Moment) {
        let Some(endpoint) = self.endpoints.get_mut(index.at()) else { return };
        let Some(stamp) = self.stamps.get(endpoint.stamp.at()) else { return };
        endpoint.health = endpoint.health.after(result, stamp.health.fall, stamp.health.rise);
        self.settle_endpoint(index, now);
    }

    /// Requests to this endpoint came back.
    pub fn attempts(&mut self, index: EndpointIndex, report: Report, at: Occasion) {
        let Some(endpoint) = self.endpoints.get(index.at()) else { return };
        // Only failures are judged, and only they are worth the count.
        let tenants = report.event.map_or(0, |_| self.tenants_served(endpoint.stamp));
        let Some(endpoint) = self.endpoints.get_mut(index.at()) else { return };
        let Some(stamp) = self.stamps.get(endpoint.stamp.at()) else { return };
        let limits = Limits { policy: &stamp.health.passive, tenants };
        endpoint.breaker = endpoint.breaker.after(report, limits, at);
        self.settle_endpoint(index, at.now);
    }

    /// Time has passed: open breakers become half-open, homes that held long enough serve again.
    /// Says when to call next at the latest; `None` = not before something else happens.
    pub fn tick(&mut self, now: Moment) -> Option<Moment> {
        self.judge_itself_again(now);
        for index in (0..).map(EndpointIndex).take(self.endpoints.len()) {
            self.settle_endpoint(index, now);
        }
        for index in (0..).map(StampIndex).take(self.stamps.len()) {
            if self.stamps.get(index.at()).is_some_and(|stamp| stamp.has_warmed_up(now)) {
                self.settle_stamp(index, now);
            }
        }
        self.settle_homes(now);
        let breakers = self.endpoints.iter().filter_map(|it| match it.breaker.state() {
            BreakerState::Open { until } => Some(until),
            BreakerState::Closed | BreakerState::HalfOpen => None,
        });
        let homes = self.stamps.iter().filter_map(|stamp| stamp.next_due(now));
        let warming = self.endpoints.iter().filter_map(|endpoint| {
            let ramp = self.stamps.get(endpoint.stamp.at())?.failback.ramp;
            Some(next_step(endpoint.warms_since?, now, ramp))
        });
        let trust = self.trusts_itself_at();
        breakers.chain(homes).chain(warming).chain(trust).filter(|due| *due > now).min()
    }

    /// May this stamp be drained? Changes nothing: journal the entry, then `commit` it.
    pub fn drain(
        &self,
        table: &RoutingTable,
        stamp: &StampId<'_>,
        order: Order,
    ) -> Result<Decision, OperatorRefusal> {
        let index = table.find_stamp(stamp).ok_or(OperatorRefusal::UnknownStamp)?;
        let stranded = operator::would_strand(table, index, &self.standings().stamps);
        operator::drain(self.subject(index)?, stranded, order)
    }

    /// May this stamp's drain be ended? Changes nothing: journal the entry, then `commit` it.
    pub fn undrain(
        &self,
        table: &RoutingTable,
        stamp: &StampId<'_>,
        order: Order,
    ) -> Result<Decision, OperatorRefusal> {
        let index = table.find_stamp(stamp).ok_or(OperatorRefusal::UnknownStamp)?;
        operator::undrain(self.subject(index)?, order)
    }

    /// May this stamp be put into that state? Changes nothing: journal the entry, then `commit` it.
    pub fn set_state(
        &self,
        table: &RoutingTable,
        stamp: &StampId<'_>,
        (wanted, order): (OperatorState, Order),
    ) -> Result<Decision, OperatorRefusal> {
        let index = table.find_stamp(stamp).ok_or(OperatorRefusal::UnknownStamp)?;
        let stranded = operator::would_strand(table, index, &self.standings().stamps);
        let held = self.stamps.get(index.at()).map(|stamp| stamp.standing.operator);
        let is_empty = held == Some(OperatorState::Drained);
        operator::set_state(self.subject(index)?, wanted, (stranded, is_empty), order)
    }

    /// The operator lets this home's requests come back now, whatever it had to hold and however
    /// often it was lost. Says whether anything was away.
    pub fn fail_back(
        &mut self,
        table: &RoutingTable,
        stamp: &StampId<'_>,
        now: Moment,
    ) -> Result<bool, OperatorRefusal> {
        let index = table.find_stamp(stamp).ok_or(OperatorRefusal::UnknownStamp)?;
        let home = self.stamps.get_mut(index.at()).ok_or(OperatorRefusal::UnknownStamp)?;
        let is_away = operator::fail_back(home.standing)?;
        if is_away {
            home.is_released = true;
            home.losses = Losses::default();
            self.settle_home(index, now);
        }
        Ok(is_away)
    }

    /// Begins to treat this stamp as down for a share of its tenants. Not journalled: a drill ends
    /// with the process.
    pub fn begin_drill(
        &mut self,
        table: &RoutingTable,
        stamp: &StampId<'_>,
        drill: Drill,
    ) -> Result<(), OperatorRefusal> {
        let index = table.find_stamp(stamp).ok_or(OperatorRefusal::UnknownStamp)?;
        let stranded = operator::would_strand(table, index, &self.standings().stamps);
        let home = self.stamps.get_mut(index.at()).ok_or(OperatorRefusal::UnknownStamp)?;
        operator::drill(home.standing, stranded)?;
        home.drill = Some(drill);
        self.settle_home(index, drill.began);
        Ok(())
    }

    /// Ends this drill of this stamp, and no other that began since. Says whether it was there.
    pub fn end_drill(
        &mut self,
        table: &RoutingTable,
        (stamp, drill): (&StampId<'_>, Drill),
        now: Moment,
    ) -> bool {
        let Some(index) = table.find_stamp(stamp) else { return false };
        let Some(home) = self.stamps.get_mut(index.at()) else { return false };
        if home.drill != Some(drill) {
            return false;
        }
        home.drill = None;
        self.settle_home(index, now);
        true
    }

    /// Puts in force what was journalled.
    pub fn commit(&mut self, entry: JournalEntry, now: Moment) {
        let index = self.stamps.iter().position(|stamp| stamp.id == entry.stamp);
        self.records.insert(entry.stamp, entry.record);
        let Some(index) = index.and_then(|at| u32::try_from(at).ok()).map(StampIndex) else {
            return;
        };
        if let Some(stamp) = self.stamps.get_mut(index.at()) {
            stamp.is_empty = false;
            stamp.is_warm = false;
        }
        self.settle_stamp(index, now);
    }

    /// So many requests, streams and tunnels are in flight at this stamp, counted after the last
    /// published standings reached every worker. With none, a draining stamp is drained.
    pub fn in_flight(&mut self, index: StampIndex, count: u64, now: Moment) {
        let Some(stamp) = self.stamps.get_mut(index.at()) else { return };
        stamp.is_empty = count == 0;
        self.settle_stamp(index, now);
    }

    fn subject(&self, index: StampIndex) -> Result<Subject<'_>, OperatorRefusal> {
        let stamp = self.stamps.get(index.at()).ok_or(OperatorRefusal::UnknownStamp)?;
        let record = self.records.get(&stamp.id);
        Ok(Subject { stamp: &stamp.id, declared: stamp.declared, record })
    }

    /// Lets an endpoint's breaker wake, publishes its standing, and settles its stamp.
    fn settle_endpoint(&mut self, index: EndpointIndex, now: Moment) {
        let Some(endpoint) = self.endpoints.get_mut(index.at()) else { return };
        let stamp = endpoint.stamp;
        if endpoint.look(now) {
            self.weigh_evidence(stamp, now);
        }
        let Some(endpoint) = self.endpoints.get_mut(index.at()) else { return };
        let Some(its_stamp) = self.stamps.get(stamp.at()) else { return };
        // An only endpoint has nobody to leave its share to.
        let is_only = its_stamp.endpoints.len() == 1;
        let rules = Rules {
            stamp: &its_stamp.id,
            belief: if self.suspect { Belief::LastStanding } else { Belief::Evidence },
            warm_up: if is_only { Duration::ZERO } else { its_stamp.failback.ramp },
        };
        let settled = endpoint.settle(rules, now);
        if settled.is_new {
            self.changes.extend(settled.changes.into_iter().flatten());
            self.revision += 1;
            self.settle_stamp(stamp, now);
        }
    }

    /// Settles a stamp, then its home; and all homes when it became eligible or ceased to be.
    fn settle_stamp(&mut self, index: StampIndex, now: Moment) {
        let is_eligible = self.is_eligible(index);
        self.sum_up(index, now);
        if self.is_eligible(index) == is_eligible {
            self.settle_home(index, now);
            return;
        }
        self.settle_homes(now);
    }

    /// Publishes what a stamp's endpoints and its operator add up to.
    fn sum_up(&mut self, index: StampIndex, now: Moment) {
        let health = self.health_of(index, |endpoint| endpoint.standing);
        let Some(stamp) = self.stamps.get_mut(index.at()) else { return };
        stamp.is_warm |= stamp.has_warmed_up(now);
        let operator = stamp.operator_by(self.records.get(&stamp.id));
        let changes = stamp.sum_up(operator, health, now);
        if changes.iter().any(Option::is_some) {
            self.changes.extend(changes.into_iter().flatten());
            self.revision += 1;
        }
    }

    /// Is anything known in this stamp's favour, believed or not?
    fn is_sound_by_evidence(&self, index: StampIndex) -> bool {
        let health = self.health_of(index, |endpoint| endpoint.evidence);
        matches!(health, StampHealth::Up | StampHealth::Unknown)
    }

    fn health_of(
        &self,
        index: StampIndex,
        of: impl Fn(&EndpointState) -> EndpointStanding,
    ) -> StampHealth {
        let endpoints = self.stamps.get(index.at()).map_or(&[][..], |stamp| &stamp.endpoints);
        let standings = endpoints.iter().filter_map(|index| self.endpoints.get(index.at()));
        standings.fold(StampHealth::Down, |best, endpoint| match (best, of(endpoint)) {
            (StampHealth::Up, _) | (_, EndpointStanding::Up | EndpointStanding::Warming(_)) => {
                StampHealth::Up
            }
            (StampHealth::Unknown, _) | (_, EndpointStanding::Unknown) => StampHealth::Unknown,
            (StampHealth::Trial, _) | (_, EndpointStanding::Trial) => StampHealth::Trial,
            (StampHealth::Down, EndpointStanding::Out(_)) => StampHealth::Down,
        })
    }
}

#[cfg(test)]
mod properties;
#[cfg(test)]
mod tests;
