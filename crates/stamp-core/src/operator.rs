//! What operators decided about stamps: drains, and whether one may begin. Orthogonal to health
//! and to reloads. `journal` makes decisions last; `fleet` combines them with everything else.

use crate::id::{StampId, StampIndex};
use crate::operator::journal::JournalEntry;
use crate::standing::{OperatorState, Serving, StampStanding};
use crate::table::RoutingTable;
use crate::time::UnixSeconds;

pub mod journal;

/// What an operator decided about one stamp.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OperatorRecord {
    /// What the operator wants. Never `Drained`: that nothing is in flight any more is a fact, not
    /// a decision, and is found again after a restart.
    pub state: OperatorState,
    /// What routing.toml declared when this was decided.
    pub over: OperatorState,
    /// Why, in the operator's words.
    pub reason: Box<str>,
    /// Who.
    pub actor: Box<str>,
    /// When it was decided.
    pub since: UnixSeconds,
    /// When a drain is to be over.
    pub deadline: Option<UnixSeconds>,
    /// Whether tenants may be left with nowhere to go.
    pub force: Force,
}

/// What to do when a drain would leave tenants with nowhere to go.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Force {
    /// Refuse it.
    #[default]
    Refuse,
    /// Drain all the same.
    Strand,
}

/// What an operator asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Order {
    /// Why, in the operator's words.
    pub reason: Box<str>,
    /// Who asks.
    pub actor: Box<str>,
    /// When.
    pub at: UnixSeconds,
    /// When a drain is to be over.
    pub deadline: Option<UnixSeconds>,
    /// What to do about tenants with nowhere to go.
    pub force: Force,
}

/// What becomes of an order that is not refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// It is already so: nothing to write, nothing to change.
    AlreadySo,
    /// Write this entry durably, then commit it: in this order, or a crash forgets what was promised.
    Commit(JournalEntry),
}

/// Why an order is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OperatorRefusal {
    /// No stamp of the table has this name.
    #[error("no such stamp")]
    UnknownStamp,
    /// The drain would leave tenants with nowhere to go.
    #[error("{tenants} tenants would have nowhere to go")]
    WouldStrand {
        /// How many.
        tenants: u32,
    },
    /// There is no drain to end.
    #[error("the stamp is not draining")]
    NotDraining,
    /// Something is in flight there, or it still takes requests.
    #[error("the stamp is not drained")]
    NotDrained,
    /// It cannot serve, so nothing comes back to it; or it does not serve, so nothing is drilled.
    #[error("the stamp is not up, or does not serve its own tenants")]
    NotEligible,
    /// No operator can decide that: it is a fact, or it is not the next state.
    #[error("a stamp that is {from} cannot be put into that state")]
    NoSuchStep {
        /// What it is now.
        from: &'static str,
    },
}

/// What holds of a stamp: the operator's record where there is one, else what routing.toml declares.
///
/// The record wins because it is the newer word of a person about this very moment, and because a
/// reload, which may come from a pipeline that knows nothing of the incident, must not end a drain.
/// One exception: "active" answers only the declaration that it was given against. An undrain of
/// last year must not silence the `state = "draining"` that somebody declares today.
#[must_use]
pub fn effective(declared: OperatorState, record: Option<&OperatorRecord>) -> OperatorState {
    match record {
        Some(record) if record.state.takes_requests() && record.over != declared => declared,
        Some(record) => record.state,
        None => declared,
    }
}

/// A stamp as the decisions below see it.
#[derive(Clone, Copy, Debug)]
pub struct Subject<'a> {
    /// Its name.
    pub stamp: &'a StampId<'static>,
    /// What routing.toml declares.
    pub declared: OperatorState,
    /// What the operator decided before.
    pub record: Option<&'a OperatorRecord>,
}

/// May the stamp be drained, when `stranded` tenants would have nowhere to go?
///
/// A stamp that only routing.toml declares out gets a record all the same: the operator was
/// promised a drain that no reload ends.
pub fn drain(
    subject: Subject<'_>,
    stranded: u32,
    order: Order,
) -> Result<Decision, OperatorRefusal> {
    if subject.record.is_some_and(|record| !record.state.takes_requests()) {
        return Ok(Decision::AlreadySo);
    }
    let serves = effective(subject.declared, subject.record).takes_requests();
    if serves && stranded > 0 && order.force == Force::Refuse {
        return Err(OperatorRefusal::WouldStrand { tenants: stranded });
    }
    Ok(Decision::Commit(entry(subject, OperatorState::Draining, order)))
}

/// May the stamp's drain be ended?
pub fn undrain(subject: Subject<'_>, order: Order) -> Result<Decision, OperatorRefusal> {
    match effective(subject.declared, subject.record) {
        OperatorState::Draining | OperatorState::Drained => {
            Ok(Decision::Commit(entry(subject, OperatorState::Active, order)))
        }
        OperatorState::Active | OperatorState::Maintenance | OperatorState::Warming => {
            Err(OperatorRefusal::NotDraining)
        }
    }
}

/// May this home's requests come back by the operator's word? Says whether any are away.
pub fn fail_back(home: StampStanding) -> Result<bool, OperatorRefusal> {
    match home.serving {
        Serving::Home | Serving::Split { .. } => Ok(false),
        Serving::Edge(_) | Serving::Nobody if !home.is_eligible() => {
            Err(OperatorRefusal::NotEligible)
        }
        Serving::Edge(_) | Serving::Nobody => Ok(true),
    }
}

/// May this home be treated as down for a share of its tenants? `stranded` of them would have nowhere
/// to go without it.
pub fn drill(home: StampStanding, stranded: u32) -> Result<(), OperatorRefusal> {
    if stranded > 0 {
        return Err(OperatorRefusal::WouldStrand { tenants: stranded });
    }
    if home.serving != Serving::Home || !home.is_eligible() {
        return Err(OperatorRefusal::NotEligible);
    }
    Ok(())
}

/// May the stamp be put into this state? `stranded` tenants would have nowhere to go without it, and
/// `is_empty` tells whether it is drained.
///
/// `draining` is a drain. `maintenance` follows `drained`, or anything when forced. `warming` and
/// `active` put it back, the one with its tenants coming home a share at a time.
pub fn set_state(
    subject: Subject<'_>,
    wanted: OperatorState,
    (stranded, is_empty): (u32, bool),
    order: Order,
) -> Result<Decision, OperatorRefusal> {
    use OperatorState::{Active, Drained, Draining, Maintenance, Warming};
    let from = effective(subject.declared, subject.record);
    match wanted {
        Draining => return drain(subject, stranded, order),
        Drained => return Err(OperatorRefusal::NoSuchStep { from: from.as_str() }),
        Active | Warming | Maintenance => {}
    }
    let is_recorded = subject.record.is_some_and(|record| record.state == wanted);
    match (from, wanted) {
        _ if from == wanted && is_recorded => Ok(Decision::AlreadySo),
        (Active | Warming, Active) if from == Active => Ok(Decision::AlreadySo),
        (Active, Warming) => Err(OperatorRefusal::NoSuchStep { from: from.as_str() }),
        (_, Maintenance) if order.force == Force::Refuse && from.takes_requests() => {
            Err(OperatorRefusal::NotDrained)
        }
        (Draining, Maintenance) if order.force == Force::Refuse && !is_empty => {
            Err(OperatorRefusal::NotDrained)
        }
        _ => Ok(Decision::Commit(entry(subject, wanted, order))),
    }
}

fn entry(subject: Subject<'_>, state: OperatorState, order: Order) -> JournalEntry {
    let Order { reason, actor, at: since, deadline, force } = order;
    let over = subject.declared;
    let record = OperatorRecord { state, over, reason, actor, since, deadline, force };
    JournalEntry { stamp: subject.stamp.clone(), record }
}

/// How many tenants would have nowhere to go without this stamp: its own, and those of each home
/// that it serves for now, where no other stamp that their edges declare is eligible. Those that a
/// hash placed on a home are not known by name: together they count as one.
#[must_use]
pub fn would_strand(table: &RoutingTable, stamp: StampIndex, standings: &[StampStanding]) -> u32 {
    let is_eligible = |other: StampIndex| {
        other != stamp && standings.get(other.at()).is_some_and(|it| it.is_eligible())
    };
    let mut tenants = 0_u32;
    for (home, standing) in table.indexed_stamps().zip(standings) {
        let (home_index, home) = home;
        let serves_it = match standing.serving {
            Serving::Home | Serving::Nobody => home_index == stamp,
            Serving::Edge(place) | Serving::Split { edge: place, .. } => {
                home_index == stamp
                    || home.failover.get(usize::from(place)).is_some_and(|edge| edge.to == stamp)
            }
        };
        let has_way = is_eligible(home_index)
            || home
                .failover
                .iter()
                .any(|edge| is_eligible(edge.to) && table.stamp_fence_allows(home_index, edge.to));
        if serves_it && !has_way {
            let placed = u32::from(table.is_placed_on(home_index));
            tenants = tenants.saturating_add(table.tenants_on(home_index)).saturating_add(placed);
        }
    }
    tenants
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::{STANDING, Sketch, drawn, sketch, table};
    use crate::standing::StampHealth;

    fn order(force: Force) -> Order {
        let text = |text: &str| text.into();
        Order {
            reason: text("upgrade"),
            actor: text("ana"),
            at: UnixSeconds(100),
            deadline: None,
            force,
        }
    }

    fn committed(decision: Result<Decision, OperatorRefusal>) -> OperatorRecord {
        match decision {
            Ok(Decision::Commit(entry)) => entry.record,
            other => panic!("{other:?}"),
        }
    }

    fn id() -> StampId<'static> {
        StampId::parse("a").unwrap()
    }

    #[test]
    fn a_drain_that_strands_nobody_begins() {
        let id = id();
        let subject = Subject { stamp: &id, declared: OperatorState::Active, record: None };
        let record = committed(drain(subject, 0, order(Force::Refuse)));
        assert_eq!(effective(OperatorState::Active, Some(&record)), OperatorState::Draining);
    }

    #[test]
    fn a_drain_that_strands_tenants_needs_force() {
        let id = id();
        let subject = Subject { stamp: &id, declared: OperatorState::Active, record: None };
        let refused = drain(subject, 7, order(Force::Refuse));
        assert_eq!(refused, Err(OperatorRefusal::WouldStrand { tenants: 7 }));
        assert_eq!(committed(drain(subject, 7, order(Force::Strand))).force, Force::Strand);
    }

    #[test]
    fn a_second_drain_changes_nothing() {
        let id = id();
        let none = Subject { stamp: &id, declared: OperatorState::Active, record: None };
        let record = committed(drain(none, 0, order(Force::Refuse)));
        let again = Subject { record: Some(&record), ..none };
        assert_eq!(drain(again, 7, order(Force::Refuse)), Ok(Decision::AlreadySo));
    }

    #[test]
    fn an_active_stamp_has_no_drain_to_end() {
        let id = id();
        let subject = Subject { stamp: &id, declared: OperatorState::Active, record: None };
        assert_eq!(undrain(subject, order(Force::Refuse)), Err(OperatorRefusal::NotDraining));
    }

    #[test]
    fn an_undrain_answers_only_the_declaration_it_was_given_against() {
        let id = id();
        let subject = Subject { stamp: &id, declared: OperatorState::Draining, record: None };
        let record = committed(undrain(subject, order(Force::Refuse)));
        let holds = |declared| effective(declared, Some(&record));
        assert_eq!(holds(OperatorState::Draining), OperatorState::Active);
        assert_eq!(holds(OperatorState::Maintenance), OperatorState::Maintenance);
    }

    #[test]
    fn a_drain_outlives_every_declaration() {
        let id = id();
        let subject = Subject { stamp: &id, declared: OperatorState::Active, record: None };
        let record = committed(drain(subject, 0, order(Force::Refuse)));
        for declared in [OperatorState::Active, OperatorState::Maintenance] {
            assert_eq!(effective(declared, Some(&record)), OperatorState::Draining);
        }
    }

    #[test]
    fn tenants_are_stranded_where_no_eligible_edge_is_left() {
        let table = table(&[("a", &["b"], 5), ("b", &[], 3), ("c", &[], 0)]);
        let [a, b, c] = [0, 1, 2].map(StampIndex);
        let mut standings = [STANDING; 3];
        assert_eq!(would_strand(&table, a, &standings), 0, "a has b");
        assert_eq!(would_strand(&table, b, &standings), 3, "b has nobody");
        assert_eq!(would_strand(&table, c, &standings), 0, "c has no tenants");
        standings[1].health = StampHealth::Down;
        assert_eq!(would_strand(&table, a, &standings), 5, "b is down");
    }

    #[test]
    fn a_fenced_edge_is_no_way_out() {
        let elsewhere = Sketch { residency: 1, ..sketch("b", &[], 0) };
        let table = drawn(&[sketch("a", &["b"], 5), elsewhere]);
        assert_eq!(would_strand(&table, StampIndex(0), &[STANDING; 2]), 5);
    }

    #[test]
    fn a_secondary_counts_the_tenants_it_serves_for_another_home() {
        let table = table(&[("a", &["b"], 5), ("b", &["c"], 3), ("c", &[], 0)]);
        let mut standings = [STANDING; 3];
        standings[0].health = StampHealth::Down;
        standings[0].serving = Serving::Edge(0);
        assert_eq!(would_strand(&table, StampIndex(1), &standings), 5);
        standings[0].health = StampHealth::Up;
        assert_eq!(would_strand(&table, StampIndex(1), &standings), 0, "home could serve again");
    }
}
