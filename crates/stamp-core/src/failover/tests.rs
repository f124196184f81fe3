//! Which way a request goes, and which it may not go.

use super::*;
use crate::fixture::{STANDING, table};
use crate::standing::OperatorState;
use crate::table::ResidencyIndex;

const A: StampIndex = StampIndex(0);
const B: StampIndex = StampIndex(1);
const C: StampIndex = StampIndex(2);
const OTHER: Needs =
    Needs { home: A, fence: Fence::Home, method: MethodClass::Other, slot: Slot::OF_NOBODY };
const SAFE: Needs = Needs { method: MethodClass::Safe, ..OTHER };

/// Home `a` with the secondaries `b` and `c`, all up, `a` served as said.
fn scene(serving: Serving) -> (RoutingTable, [StampStanding; 3]) {
    let table = table(&[("a", &["b", "c"], 5), ("b", &[], 5), ("c", &[], 5)]);
    let mut standings = [STANDING; 3];
    standings[0].serving = serving;
    if serving != Serving::Home {
        standings[0].health = StampHealth::Down;
    }
    (table, standings)
}

fn edge(stamp: StampIndex, place: u8, why: Why) -> Choice {
    Choice { stamp, route: Route::Edge { place, why } }
}

#[test]
fn home_serves_while_it_is_said_to() {
    let (table, standings) = scene(Serving::Home);
    assert_eq!(choose(&table, &standings, OTHER), Ok(Choice { stamp: A, route: Route::Home }));
}

#[test]
fn the_published_edge_serves_with_its_reason() {
    let (table, mut standings) = scene(Serving::Edge(1));
    assert_eq!(choose(&table, &standings, OTHER), Ok(edge(C, 1, Why::Health)));
    standings[0].operator = OperatorState::Drained;
    assert_eq!(choose(&table, &standings, OTHER), Ok(edge(C, 1, Why::Operator)));
}

#[test]
fn nobody_serves_with_the_reason_of_home() {
    let (table, mut standings) = scene(Serving::Nobody);
    assert_eq!(choose(&table, &standings, OTHER), Err(Refusal::StampUnavailable { home: A }));
    standings[0].operator = OperatorState::Maintenance;
    assert_eq!(choose(&table, &standings, OTHER), Err(Refusal::StampDraining { home: A }));
}

#[test]
fn a_read_only_edge_takes_only_safe_methods() {
    let (mut table, standings) = scene(Serving::Edge(0));
    table.stamps[0].failover[0].mode = EdgeMode::ReadOnly;
    assert_eq!(choose(&table, &standings, SAFE), Ok(edge(B, 0, Why::Health)));
    let put = Needs { method: MethodClass::Idempotent, ..SAFE };
    assert_eq!(choose(&table, &standings, put), Err(Refusal::ReadOnlyFailover { home: A }));
}

#[test]
fn where_the_serving_edge_is_fenced_a_later_one_may_serve() {
    let (mut table, standings) = scene(Serving::Edge(0));
    table.stamps[1].residency = Some(ResidencyIndex(1));
    assert_eq!(choose(&table, &standings, OTHER), Ok(edge(C, 1, Why::Health)));
}

#[test]
fn where_every_edge_is_fenced_nobody_serves() {
    let (mut table, standings) = scene(Serving::Edge(0));
    table.stamps[1].residency = Some(ResidencyIndex(1));
    table.stamps[2].residency = Some(ResidencyIndex(1));
    assert_eq!(choose(&table, &standings, OTHER), Err(Refusal::ResidencyFenced { home: A }));
}

#[test]
fn a_fenced_request_goes_home_as_soon_as_home_is_sound() {
    let (mut table, mut standings) = scene(Serving::Edge(0));
    table.stamps[1].residency = Some(ResidencyIndex(1));
    table.stamps[2].residency = Some(ResidencyIndex(1));
    standings[0].health = StampHealth::Up;
    assert_eq!(choose(&table, &standings, OTHER), Ok(Choice { stamp: A, route: Route::Home }));
}

#[test]
fn a_failed_attempt_at_home_falls_through_to_the_first_edge() {
    let (table, standings) = scene(Serving::Home);
    assert_eq!(fall_through(&table, &standings, OTHER, A), Some(edge(B, 0, Why::Health)));
}

#[test]
fn there_is_no_second_hop() {
    let (table, standings) = scene(Serving::Edge(0));
    assert_eq!(fall_through(&table, &standings, OTHER, B), None);
}

#[test]
fn a_home_on_trial_may_be_tried() {
    let (table, mut standings) = scene(Serving::Edge(0));
    assert_eq!(choose_trial(&table, &standings, SAFE), None);
    standings[0].health = StampHealth::Trial;
    let trial = Choice { stamp: A, route: Route::HomeTrial };
    assert_eq!(choose_trial(&table, &standings, SAFE), Some(trial));
    standings[0].operator = OperatorState::Draining;
    assert_eq!(choose_trial(&table, &standings, SAFE), None);
}

#[test]
fn an_edge_on_trial_may_be_tried_only_when_nobody_serves() {
    let (table, mut standings) = scene(Serving::Nobody);
    standings[1].health = StampHealth::Down;
    standings[2].health = StampHealth::Trial;
    let trial = Choice { stamp: C, route: Route::EdgeTrial { place: 1 } };
    assert_eq!(choose_trial(&table, &standings, SAFE), Some(trial));
    standings[0].serving = Serving::Edge(0);
    assert_eq!(choose_trial(&table, &standings, SAFE), None);
}

#[test]
fn an_edge_on_trial_takes_neither_fenced_data_nor_writes_that_it_does_not_serve() {
    let (mut table, mut standings) = scene(Serving::Nobody);
    standings[1].health = StampHealth::Trial;
    standings[2].health = StampHealth::Down;
    table.stamps[0].failover[0].mode = EdgeMode::ReadOnly;
    assert_eq!(choose_trial(&table, &standings, OTHER), None);
    assert!(choose_trial(&table, &standings, SAFE).is_some());
    table.stamps[1].residency = Some(ResidencyIndex(1));
    assert_eq!(choose_trial(&table, &standings, SAFE), None);
}

#[test]
fn while_home_serves_a_share_each_tenant_goes_by_its_slot() {
    let (table, mut standings) = scene(Serving::Split { edge: 1, away: 40 });
    standings[0].health = StampHealth::Up;
    let mut away = 0;
    for number in 0..1000 {
        let slot = Slot::of(&format!("tenant-{number}"));
        let choice = choose(&table, &standings, Needs { slot, ..OTHER }).unwrap();
        let expected = if slot.is_away(40) {
            edge(C, 1, Why::Share)
        } else {
            Choice { stamp: A, route: Route::Home }
        };
        assert_eq!(choice, expected);
        away += u32::from(choice.stamp == C);
    }
    assert!((330..470).contains(&away), "{away} of 1000");
}

#[test]
fn who_may_not_go_over_the_edge_stays_at_home_while_it_serves_a_share() {
    let (mut table, mut standings) = scene(Serving::Split { edge: 0, away: 100 });
    standings[0].health = StampHealth::Up;
    table.stamps[0].failover[0].mode = EdgeMode::ReadOnly;
    let home = Choice { stamp: A, route: Route::Home };
    assert_eq!(choose(&table, &standings, OTHER), Ok(home));
    assert_eq!(choose(&table, &standings, SAFE), Ok(edge(B, 0, Why::Share)));
}

#[test]
fn a_tenants_slot_is_the_same_for_ever() {
    let away = |tenant: &str| (0..=100).find(|away| Slot::of(tenant).is_away(*away));
    assert_eq!(["acme", "globex", "hooli"].map(away), [Some(15), Some(19), Some(95)]);
}
