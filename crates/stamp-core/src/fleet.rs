//! The standing of all stamps and endpoints as one state machine: facts go in, the published
//! standings and a list of changes come out. The shell's control task owns it, publishes after
//! each new `revision`, logs the changes, and probes when a change asks for it.

use std::collections::BTreeMap;

use crate::breaker::{BreakerState, Limits, Report};
use crate::fleet::endpoint::EndpointState;
use crate::fleet::stamp::StampState;
use crate::health::ProbeResult;
use crate::id::{EndpointIndex, StampId, StampIndex};
use crate::operator::journal::JournalEntry;
use crate::operator::{self, Decision, OperatorRecord, OperatorRefusal, Order, Subject};
use crate::standing::{EndpointStanding, StampHealth, StampStanding};
use crate::table::RoutingTable;
use crate::time::{Moment, Occasion};

pub use crate::fleet::change::{Change, EndpointName, FlipReason};
pub use crate::fleet::report::{EndpointReport, StampReport};

mod change;
mod endpoint;
mod flip;
mod reload;
mod report;
mod stamp;

/// What is known of all stamps and endpoints of the table adopted last. Each index that comes in
/// must be of that table: the shell drops or translates what was reported under an earlier one.
/// One that no endpoint or stamp has is ignored.
#[derive(Debug)]
pub struct Fleet {
    stamps: Vec<StampState>,
    endpoints: Vec<EndpointState>,
    /// By name, and also of stamps that no table has now: a stamp that is taken out of the file by
    /// mistake and put back is still drained.
    records: BTreeMap<StampId<'static>, OperatorRecord>,
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
        for index in (0..).map(EndpointIndex).take(self.endpoints.len()) {
            self.settle_endpoint(index, now);
        }
        self.settle_homes(now);
        let breakers = self.endpoints.iter().filter_map(|it| match it.breaker.state() {
            BreakerState::Open { until } => Some(until),
            BreakerState::Closed | BreakerState::HalfOpen => None,
        });
        let homes = self.stamps.iter().filter_map(StampState::return_due);
        breakers.chain(homes).filter(|due| *due > now).min()
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

    /// Puts in force what was journalled.
    pub fn commit(&mut self, entry: JournalEntry, now: Moment) {
        let index = self.stamps.iter().position(|stamp| stamp.id == entry.stamp);
        self.records.insert(entry.stamp, entry.record);
        let Some(index) = index.and_then(|at| u32::try_from(at).ok()).map(StampIndex) else {
            return;
        };
        if let Some(stamp) = self.stamps.get_mut(index.at()) {
            stamp.is_empty = false;
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
        let Some(stamp) = self.stamps.get(endpoint.stamp.at()) else { return };
        let changes = endpoint.settle(&stamp.id, now);
        let stamp = endpoint.stamp;
        if changes.iter().any(Option::is_some) {
            self.changes.extend(changes.into_iter().flatten());
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
        let health = self.health_of(index);
        let Some(stamp) = self.stamps.get_mut(index.at()) else { return };
        let operator = stamp.operator_by(self.records.get(&stamp.id));
        let changes = stamp.sum_up(operator, health, now);
        if changes.iter().any(Option::is_some) {
            self.changes.extend(changes.into_iter().flatten());
            self.revision += 1;
        }
    }

    fn health_of(&self, index: StampIndex) -> StampHealth {
        let endpoints = self.stamps.get(index.at()).map_or(&[][..], |stamp| &stamp.endpoints);
        let standings = endpoints.iter().filter_map(|index| self.endpoints.get(index.at()));
        standings.fold(StampHealth::Down, |best, endpoint| match (best, endpoint.standing) {
            (StampHealth::Up, _) | (_, EndpointStanding::Up) => StampHealth::Up,
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
