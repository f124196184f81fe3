//! What the API tells about one stamp: the published standing with reasons and times.

use crate::breaker::{BreakerState, Cause};
use crate::fleet::Fleet;
use crate::fleet::change::FlipReason;
use crate::fleet::stamp::Drill;
use crate::health::Health;
use crate::id::{EndpointIndex, StampId, StampIndex};
use crate::operator::OperatorRecord;
use crate::standing::{EndpointStanding, OperatorState, Serving, StampStanding};
use crate::time::Moment;

/// One stamp.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StampReport<'a> {
    /// Its name.
    pub id: &'a StampId<'static>,
    /// As published.
    pub standing: StampStanding,
    /// What routing.toml declares.
    pub declared: OperatorState,
    /// What the operator decided.
    pub record: Option<&'a OperatorRecord>,
    /// Since when the operator's word is what it is.
    pub operator_since: Moment,
    /// Since when its health is what it is.
    pub health_since: Moment,
    /// The stamp that answers for it; `None` = nobody.
    pub answers: Option<StampId<'static>>,
    /// Since when.
    pub serving_since: Moment,
    /// Why, if it was ever decided otherwise than at the start.
    pub serving_reason: Option<FlipReason>,
    /// When it answers for itself again, if nothing happens until then.
    pub return_due: Option<Moment>,
    /// It comes back only when an operator says so: it is configured so, or was lost too often.
    pub waits_for_operator: bool,
    /// The drill under way.
    pub drill: Option<Drill>,
    /// Its endpoints, in the order of the table.
    pub endpoints: Vec<EndpointReport<'a>>,
}

/// One endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EndpointReport<'a> {
    /// Its place in the table adopted last.
    pub index: EndpointIndex,
    /// `host:port`.
    pub authority: &'a str,
    /// As published.
    pub standing: EndpointStanding,
    /// Since when.
    pub since: Moment,
    /// What its probes say.
    pub health: Health,
    /// What its breaker says.
    pub breaker: BreakerState,
    /// Why the breaker opened.
    pub cause: Option<Cause>,
}

impl Fleet {
    /// Everything about one stamp.
    #[must_use]
    pub fn stamp_report(&self, index: StampIndex) -> Option<StampReport<'_>> {
        let stamp = self.stamps.get(index.at())?;
        let endpoints = stamp.endpoints.iter().filter_map(|index| self.endpoint_report(*index));
        Some(StampReport {
            id: &stamp.id,
            standing: stamp.standing,
            declared: stamp.declared,
            record: self.records.get(&stamp.id),
            operator_since: stamp.operator_since,
            health_since: stamp.health_since,
            answers: self.answering_id(index),
            serving_since: stamp.serving_since,
            serving_reason: stamp.serving_reason,
            return_due: stamp.return_due(),
            waits_for_operator: stamp.waits_for_operator(),
            drill: stamp.drill.filter(|_| stamp.standing.serving != Serving::Home),
            endpoints: endpoints.collect(),
        })
    }

    /// Everything about one endpoint; the prober asks for its health.
    #[must_use]
    pub fn endpoint_report(&self, index: EndpointIndex) -> Option<EndpointReport<'_>> {
        let endpoint = self.endpoints.get(index.at())?;
        Some(EndpointReport {
            index: endpoint.index,
            authority: &endpoint.authority,
            standing: endpoint.standing,
            since: endpoint.since,
            health: endpoint.health,
            breaker: endpoint.breaker.state(),
            cause: endpoint.breaker.cause(),
        })
    }
}
