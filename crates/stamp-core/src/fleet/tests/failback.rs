//! How requests come home, and what keeps them away: ramps, flaps, suspicion, maintenance, drills.

use super::*;

/// Home `a` with a secondary, whose requests come home over ten seconds.
fn with_ramp() -> Scene {
    let mut scene = Scene::new();
    for stamp in &mut scene.table.stamps {
        stamp.failback.ramp = Duration::from_secs(10);
    }
    scene.fleet.adopt(&scene.table, scene.now);
    scene
}

fn lose_and_regain(scene: &mut Scene) {
    scene.bad(FIRST);
    scene.good(FIRST);
    assert_eq!(scene.serving(), Serving::Edge(0));
}

#[test]
fn requests_come_home_a_share_at_a_time() {
    let mut scene = with_ramp();
    lose_and_regain(&mut scene);
    scene.pass(30);
    assert_eq!(scene.serving(), Serving::Split { edge: 0, away: 90 });
    let next = scene.pass(4);
    assert_eq!(scene.serving(), Serving::Split { edge: 0, away: 50 });
    assert_eq!(next, Some(scene.now.after(Duration::from_secs(1))));
    scene.pass(5);
    assert_eq!(scene.serving(), Serving::Home);
}

#[test]
fn a_home_that_is_lost_on_its_way_back_is_lost_whole() {
    let mut scene = with_ramp();
    lose_and_regain(&mut scene);
    scene.pass(32);
    scene.bad(FIRST);
    assert_eq!(scene.serving(), Serving::Edge(0));
    scene.good(FIRST);
    scene.pass(59);
    assert_eq!(scene.serving(), Serving::Edge(0), "the second loss doubled the hold");
    scene.pass(1);
    assert_eq!(scene.serving(), Serving::Split { edge: 0, away: 90 });
}

#[test]
fn a_secondary_that_is_lost_while_requests_come_home_sends_all_home() {
    let mut scene = with_ramp();
    lose_and_regain(&mut scene);
    scene.pass(30);
    scene.bad(SECOND);
    assert_eq!(scene.serving(), Serving::Home);
}

#[test]
fn a_third_loss_bars_the_way_home_until_the_operator_says_so() {
    let mut scene = Scene::new();
    for hold in [30, 60] {
        lose_and_regain(&mut scene);
        scene.pass(hold);
        assert_eq!(scene.serving(), Serving::Home);
    }
    lose_and_regain(&mut scene);
    let barred = |change: &Change| matches!(change, Change::Barred { losses: 3, .. });
    assert!(scene.fleet.take_changes().iter().any(barred));
    scene.pass(3000);
    assert_eq!(scene.serving(), Serving::Edge(0));
    assert_eq!(scene.fleet.fail_back(&scene.table, &id("a"), scene.now), Ok(true));
    assert_eq!(scene.last_flip(), Some(FlipReason::Ordered));
    lose_and_regain(&mut scene);
    scene.pass(30);
    assert_eq!(scene.serving(), Serving::Home, "the operator's word forgave the losses");
}

#[test]
fn a_home_that_waits_for_its_operator_still_waits_in_the_next_process() {
    let mut scene = Scene::new();
    for hold in [30, 60, 0] {
        lose_and_regain(&mut scene);
        scene.pass(hold);
    }
    let waiting = scene.fleet.waiting();
    assert_eq!(waiting, Waiting([(id("a"), id("b"))].into()));
    let mut next = Scene::new();
    next.fleet.recall(&waiting, next.now);
    assert_eq!(next.last_flip(), Some(FlipReason::Recalled));
    next.pass(3000);
    assert_eq!(next.serving(), Serving::Edge(0));
    assert_eq!(next.fleet.waiting(), waiting);
    assert_eq!(next.fleet.fail_back(&next.table, &id("a"), next.now), Ok(true));
    assert_eq!(next.serving(), Serving::Home);
    assert_eq!(next.fleet.waiting(), Waiting::default());
}

#[test]
fn a_home_that_nobody_can_answer_for_does_not_wait_in_the_next_process() {
    let mut scene = Scene::new();
    scene.bad(SECOND);
    scene.bad(THIRD);
    scene.fleet.recall(&Waiting([(id("a"), id("b")), (id("gone"), id("b"))].into()), scene.now);
    assert_eq!(scene.serving(), Serving::Home);
}

#[test]
fn losses_far_apart_do_not_add_up() {
    let mut scene = Scene::new();
    for _ in 0..5 {
        lose_and_regain(&mut scene);
        scene.pass(30);
        assert_eq!(scene.serving(), Serving::Home);
        scene.pass(3600);
    }
}

#[test]
fn a_manual_home_serves_all_the_same_when_nobody_else_is_left() {
    let mut scene = Scene::new();
    for stamp in &mut scene.table.stamps {
        stamp.failback.mode = crate::table::FailbackMode::Manual;
    }
    scene.fleet.adopt(&scene.table, scene.now);
    lose_and_regain(&mut scene);
    scene.pass(9999);
    assert_eq!(scene.serving(), Serving::Edge(0));
    scene.bad(SECOND);
    scene.bad(THIRD);
    assert_eq!(scene.last_flip(), Some(FlipReason::LastResort));
}

#[test]
fn a_recovered_endpoint_gets_its_share_by_and_by() {
    let mut scene =
        Scene::of(&[Sketch { endpoints: 2, ..sketch("a", &[], 5) }, sketch("b", &[], 0)]);
    for stamp in &mut scene.table.stamps {
        stamp.failback.ramp = Duration::from_secs(10);
    }
    scene.fleet.adopt(&scene.table, scene.now);
    scene.bad(FIRST);
    scene.good(FIRST);
    assert_eq!(scene.endpoint(FIRST), EndpointStanding::Warming(10));
    scene.pass(5);
    assert_eq!(scene.endpoint(FIRST), EndpointStanding::Warming(60));
    scene.pass(4);
    assert_eq!(scene.endpoint(FIRST), EndpointStanding::Up);
}

#[test]
fn most_stamps_failing_at_once_are_no_fault_of_theirs() {
    let mut scene = Scene::of(&three());
    scene.bad(FIRST);
    scene.bad(SECOND);
    assert_eq!(scene.serving(), Serving::Edge(1));
    scene.bad(THIRD);
    assert!(scene.fleet.is_suspect());
    assert_eq!(scene.serving(), Serving::Home, "what was concluded is taken back");
    assert_eq!(scene.endpoint(FIRST), EndpointStanding::Up);
    assert_eq!(scene.endpoint(THIRD), EndpointStanding::Up);
    scene.good(SECOND);
    scene.pass(14);
    assert!(scene.fleet.is_suspect(), "the others may follow");
    assert_eq!(scene.serving(), Serving::Home);
    scene.pass(1);
    assert!(!scene.fleet.is_suspect());
    assert_eq!(scene.endpoint(FIRST), EndpointStanding::Out(OutReason::ProbeDown));
    assert_eq!(scene.endpoint(THIRD), EndpointStanding::Out(OutReason::ProbeDown));
    assert_eq!(scene.serving(), Serving::Edge(0));
}

#[test]
fn stamps_that_come_back_one_after_the_other_lose_nothing() {
    let mut scene = Scene::of(&three());
    let all = [FIRST, SECOND, THIRD];
    all.into_iter().for_each(|endpoint| scene.bad(endpoint));
    let flips = |scene: &Scene| -> Vec<_> {
        scene.fleet.standings().stamps.iter().map(|stamp| stamp.flips).collect()
    };
    let before = flips(&scene);
    for endpoint in [THIRD, SECOND, FIRST] {
        assert!(scene.fleet.is_suspect());
        scene.pass(5);
        scene.good(endpoint);
        assert_eq!(flips(&scene), before);
    }
    assert!(!scene.fleet.is_suspect(), "nothing fails any more");
}

#[test]
fn a_suspicion_that_is_right_again_lasts() {
    let mut scene = Scene::of(&three());
    [FIRST, SECOND, THIRD].into_iter().for_each(|endpoint| scene.bad(endpoint));
    scene.good(SECOND);
    scene.pass(10);
    scene.bad(SECOND);
    scene.pass(10);
    assert!(scene.fleet.is_suspect());
    scene.good(SECOND);
    scene.pass(14);
    assert!(scene.fleet.is_suspect());
}

#[test]
fn a_home_whose_secondary_is_taken_back_first_is_taken_back_too() {
    let mut scene = Scene::of(&[sketch("b", &[], 5), sketch("c", &[], 5), sketch("a", &["b"], 5)]);
    let serving = |scene: &Scene| scene.fleet.standings().stamps[2].serving;
    scene.bad(FIRST);
    scene.bad(THIRD);
    assert_eq!(serving(&scene), Serving::Nobody);
    scene.bad(SECOND);
    assert!(scene.fleet.is_suspect());
    assert_eq!(serving(&scene), Serving::Home);
}

#[test]
fn what_was_out_long_before_the_suspicion_stays_out() {
    let others = ["d", "e"].map(|id| sketch(id, &[], 5));
    let mut scene = Scene::of(&[three(), others.into()].concat());
    scene.trip(FIRST);
    scene.pass(60);
    scene.bad(FIRST);
    (1..4).for_each(|index| scene.bad(EndpointIndex(index)));
    assert!(scene.fleet.is_suspect());
    assert_eq!(scene.endpoint(FIRST), EndpointStanding::Out(OutReason::ProbeDown));
    assert_eq!(scene.endpoint(SECOND), EndpointStanding::Up);
}

#[test]
fn a_table_without_most_of_those_that_failed_ends_the_suspicion() {
    let mut scene = Scene::of(&three());
    [FIRST, SECOND, THIRD].into_iter().for_each(|endpoint| scene.bad(endpoint));
    assert!(scene.fleet.is_suspect());
    let left = [sketch("a", &["d"], 5), sketch("d", &[], 5)];
    scene.table = drawn(&left);
    scene.fleet.adopt(&scene.table, scene.now);
    scene.pass(15);
    assert!(!scene.fleet.is_suspect());
    assert_eq!(scene.endpoint(FIRST), EndpointStanding::Out(OutReason::ProbeDown));
    assert_eq!(scene.serving(), Serving::Edge(0));
}

#[test]
fn stamps_that_fail_one_after_the_other_are_believed() {
    let mut scene = Scene::of(&three());
    for endpoint in [FIRST, SECOND, THIRD] {
        scene.bad(endpoint);
        scene.pass(16);
    }
    assert!(!scene.fleet.is_suspect());
    assert_eq!(scene.serving(), Serving::Nobody);
}

#[test]
fn a_stamp_is_put_back_from_maintenance_by_warming_up() {
    let mut scene = with_ramp();
    let set = |scene: &mut Scene, wanted| {
        let order = order(Force::Refuse);
        scene.fleet.set_state(&scene.table, &id("a"), (wanted, order))
    };
    assert_eq!(set(&mut scene, OperatorState::Maintenance), Err(OperatorRefusal::NotDrained));
    scene.drain("a");
    assert_eq!(set(&mut scene, OperatorState::Maintenance), Err(OperatorRefusal::NotDrained));
    scene.fleet.in_flight(A, 0, scene.now);
    let decision = set(&mut scene, OperatorState::Maintenance);
    scene.commit(decision);
    assert_eq!(scene.serving(), Serving::Edge(0));
    let decision = set(&mut scene, OperatorState::Warming);
    scene.commit(decision);
    assert_eq!(scene.serving(), Serving::Split { edge: 0, away: 90 });
    let state = |scene: &Scene| scene.fleet.standings().stamps[A.at()].operator;
    assert_eq!(state(&scene), OperatorState::Warming);
    scene.pass(10);
    scene.pass(1);
    assert_eq!((scene.serving(), state(&scene)), (Serving::Home, OperatorState::Active));
}

#[test]
fn a_drill_treats_home_as_down_for_a_share_until_it_is_over() {
    let mut scene = Scene::new();
    let until = scene.now.after(Duration::from_secs(60));
    let drill = Drill { percent: 25, began: scene.now, until };
    assert_eq!(scene.fleet.begin_drill(&scene.table, &id("a"), drill), Ok(()));
    assert_eq!(scene.serving(), Serving::Split { edge: 0, away: 25 });
    scene.pass(60);
    assert_eq!(scene.serving(), Serving::Home);
    assert_eq!(
        scene.fleet.begin_drill(&scene.table, &id("b"), drill),
        Err(OperatorRefusal::WouldStrand { tenants: 5 }),
        "b has no way out"
    );
}

#[test]
fn a_drill_that_is_ended_sends_all_home() {
    let mut scene = Scene::new();
    let until = scene.now.after(Duration::from_secs(60));
    let drill = Drill { percent: 25, began: scene.now, until };
    scene.fleet.begin_drill(&scene.table, &id("a"), drill).unwrap();
    assert!(scene.fleet.end_drill(&scene.table, (&id("a"), drill), scene.now));
    assert_eq!(scene.serving(), Serving::Home);
    assert!(!scene.fleet.end_drill(&scene.table, (&id("a"), drill), scene.now));
}

#[test]
fn the_end_of_a_drill_is_not_that_of_the_next() {
    let mut scene = Scene::new();
    let until = scene.now.after(Duration::from_secs(60));
    let first = Drill { percent: 25, began: scene.now, until };
    scene.fleet.begin_drill(&scene.table, &id("a"), first).unwrap();
    assert!(scene.fleet.end_drill(&scene.table, (&id("a"), first), scene.now));
    scene.pass(1);
    let second = Drill { percent: 50, began: scene.now, until };
    scene.fleet.begin_drill(&scene.table, &id("a"), second).unwrap();
    assert!(!scene.fleet.end_drill(&scene.table, (&id("a"), first), scene.now));
    assert_eq!(scene.serving(), Serving::Split { edge: 0, away: 50 });
}
