//! A new table: what stays the same keeps its health, breaker, flip and drain.

use std::collections::BTreeMap;

use crate::fleet::Fleet;
use crate::fleet::endpoint::EndpointState;
use crate::fleet::stamp::StampState;
use crate::id::{EndpointIndex, StampId, StampIndex};
use crate::standing::Serving;
use crate::table::{RoutingTable, Stamp};
use crate::time::Moment;

/// The place of an edge that is no longer declared: the flip that follows leaves it.
const NO_EDGE: u8 = u8::MAX;

/// What was known before, by names that outlive a table.
struct Former {
    /// With the name of the secondary that serves for it, if one does.
    stamps: BTreeMap<StampId<'static>, (StampState, Option<StampId<'static>>)>,
    endpoints: BTreeMap<(StampId<'static>, Box<str>), EndpointState>,
}

impl Fleet {
    /// Takes over a new table. Stamps stay the same by id, endpoints by id of their stamp and
    /// `host:port`; policies are those of the new table from now on.
    pub fn adopt(&mut self, table: &RoutingTable, now: Moment) {
        let mut former = self.take_former();
        for (index, stamp) in table.indexed_stamps() {
            self.endpoints.extend(stamp.endpoints.iter().map(|endpoint| {
                let fresh = EndpointState::new(index, endpoint, now);
                let key = (stamp.id.clone(), fresh.authority.clone());
                match former.endpoints.remove(&key) {
                    Some(known) => EndpointState { stamp: index, index: endpoint.index, ..known },
                    None => fresh,
                }
            }));
            let known = former.stamps.remove(&stamp.id);
            self.stamps.push(adopted(table, (index, stamp), known, now));
        }
        // The table numbers endpoints in the order of its stamps.
        debug_assert!((0..).zip(&self.endpoints).all(|(at, it)| it.index == EndpointIndex(at)));
        self.revision += 1;
        for index in (0..).map(StampIndex).take(self.stamps.len()) {
            self.sum_up(index, now);
        }
        self.weigh_evidence_anew(now);
        self.settle_homes(now);
    }

    fn take_former(&mut self) -> Former {
        let answering: Vec<_> = (0..)
            .map(StampIndex)
            .take(self.stamps.len())
            .map(|index| self.secondary_id(index))
            .collect();
        let ids: Vec<_> = self.stamps.iter().map(|stamp| stamp.id.clone()).collect();
        let endpoints = std::mem::take(&mut self.endpoints).into_iter().filter_map(|endpoint| {
            let stamp = ids.get(endpoint.stamp.at())?.clone();
            Some(((stamp, endpoint.authority.clone()), endpoint))
        });
        let endpoints = endpoints.collect();
        let stamps = std::mem::take(&mut self.stamps).into_iter().zip(answering);
        let stamps = stamps.map(|(stamp, answers)| (stamp.id.clone(), (stamp, answers)));
        Former { stamps: stamps.collect(), endpoints }
    }
}

/// The stamp of the new table with what is known of it.
fn adopted(
    table: &RoutingTable,
    (index, stamp): (StampIndex, &Stamp),
    known: Option<(StampState, Option<StampId<'static>>)>,
    now: Moment,
) -> StampState {
    let fresh = StampState::new(stamp, now);
    let tenants = table.active_tenants_on(index);
    let numbered = (0..NO_EDGE).zip(&stamp.failover);
    let ways: Vec<_> = numbered
        .filter(|(_, edge)| edge.to != index)
        .map(|(place, edge)| (place, edge.to))
        .collect();
    let Some((known, secondary)) = known else { return StampState { tenants, ways, ..fresh } };
    let mut state = StampState {
        declared: fresh.declared,
        health: fresh.health,
        failback: fresh.failback,
        endpoints: fresh.endpoints,
        tenants,
        ways,
        ..known
    };
    // The same secondary may have another place now.
    let same = |to: StampIndex| secondary.as_ref() == Some(&table.stamp(to).id);
    let place = state.ways.iter().find(|(_, to)| same(*to));
    let place = place.map_or(NO_EDGE, |(place, _)| *place);
    if let Serving::Edge(edge) | Serving::Split { edge, .. } = &mut state.standing.serving {
        *edge = place;
    }
    state
}
