//! Scenes from the life of a fleet: home `a` with the secondaries `b` and `c`.

use std::time::Duration;

use super::*;
use crate::breaker::{Event, Failure, FailureKind};
use crate::fixture::{Sketch, drawn, sketch};
use crate::operator::Force;
use crate::standing::{OperatorState, OutReason, Serving};
use crate::time::UnixSeconds;

const A: StampIndex = StampIndex(0);
const B: StampIndex = StampIndex(1);
/// By the fixture, endpoints have the places of their stamps unless a stamp has two.
const FIRST: EndpointIndex = EndpointIndex(0);
const SECOND: EndpointIndex = EndpointIndex(1);
const THIRD: EndpointIndex = EndpointIndex(2);

struct Scene {
    table: RoutingTable,
    fleet: Fleet,
    now: Moment,
}

fn three() -> Vec<Sketch> {
    vec![sketch("a", &["b", "c"], 5), sketch("b", &[], 5), sketch("c", &[], 5)]
}

impl Scene {
    /// Among enough others that the faults of three are no sign of the gateway's own.
    fn new() -> Self {
        let others = ["m1", "m2", "m3", "m4"].map(|id| sketch(id, &[], 0));
        Self::of(&[three(), others.into()].concat())
    }

    /// With every endpoint probed good once.
    fn of(sketches: &[Sketch]) -> Self {
        let (table, now) = (drawn(sketches), Moment::default());
        let fleet = Fleet::new(&table, BTreeMap::new(), now);
        let mut scene = Self { table, fleet, now };
        scene.recover_all();
        scene
    }

    fn recover_all(&mut self) {
        for index in (0..).map(EndpointIndex).take(self.table.endpoint_count()) {
            self.good(index);
        }
    }

    /// Two good probes: enough for `rise`.
    fn good(&mut self, index: EndpointIndex) {
        (0..2).for_each(|_| self.fleet.probed(index, ProbeResult::Good, self.now));
    }

    /// Three bad probes: enough for `fall`.
    fn bad(&mut self, index: EndpointIndex) {
        (0..3).for_each(|_| self.fleet.probed(index, ProbeResult::Bad, self.now));
    }

    fn report(&mut self, index: EndpointIndex, event: Event) {
        let at = Occasion { now: self.now, chance: 1 << 63 };
        self.fleet.attempts(index, Report { successes: 0, event: Some(event) }, at);
    }

    fn trip(&mut self, index: EndpointIndex) {
        let failure = Failure { kind: FailureKind::Connect, tenant: None };
        (0..5).for_each(|_| self.report(index, Event::Failed(failure)));
    }

    fn pass(&mut self, seconds: u64) -> Option<Moment> {
        self.now = self.now.after(Duration::from_secs(seconds));
        self.fleet.tick(self.now)
    }

    fn drain(&mut self, stamp: &'static str) {
        let decision = self.fleet.drain(&self.table, &id(stamp), order(Force::Refuse));
        self.commit(decision);
    }

    fn undrain(&mut self, stamp: &'static str) {
        let decision = self.fleet.undrain(&self.table, &id(stamp), order(Force::Refuse));
        self.commit(decision);
    }

    fn commit(&mut self, decision: Result<Decision, OperatorRefusal>) {
        match decision {
            Ok(Decision::Commit(entry)) => self.fleet.commit(entry, self.now),
            other => panic!("{other:?}"),
        }
    }

    fn reload(&mut self, sketches: &[Sketch]) {
        self.table = drawn(sketches);
        self.fleet.adopt(&self.table, self.now);
    }

    fn serving(&self) -> Serving {
        self.fleet.standings().stamps[A.at()].serving
    }

    fn endpoint(&self, index: EndpointIndex) -> EndpointStanding {
        self.fleet.standings().endpoints[index.at()]
    }

    fn last_flip(&mut self) -> Option<FlipReason> {
        let changes = self.fleet.take_changes();
        changes.into_iter().rev().find_map(|change| {
            let Change::Flip { home, reason, .. } = change else { return None };
            (home.as_str() == "a").then_some(reason)
        })
    }
}

fn id(stamp: &'static str) -> StampId<'static> {
    StampId::parse(stamp).unwrap()
}

fn order(force: Force) -> Order {
    Order {
        reason: "upgrade".into(),
        actor: "ana".into(),
        at: UnixSeconds(1),
        deadline: None,
        force,
    }
}

#[test]
fn a_home_that_nobody_probed_yet_serves() {
    let table = drawn(&three());
    let fleet = Fleet::new(&table, BTreeMap::new(), Moment::default());
    let standings = fleet.standings();
    assert_eq!(standings.endpoints, [EndpointStanding::Unknown; 3]);
    assert!(standings.stamps.iter().all(|stamp| stamp.serving == Serving::Home));
}

#[test]
fn a_home_that_is_down_is_answered_for_by_its_first_edge() {
    let mut scene = Scene::new();
    scene.bad(FIRST);
    assert_eq!(scene.serving(), Serving::Edge(0));
    let (home, from, to) = (id("a"), Some(id("a")), Some(id("b")));
    let (serving, reason) = (Serving::Edge(0), FlipReason::HomeDown);
    let flip = Change::Flip { home, from, to, serving, reason };
    assert_eq!(scene.fleet.take_changes().last(), Some(&flip));
    assert_eq!(scene.fleet.take_changes(), []);
}

#[test]
fn an_edge_that_is_down_is_passed_over() {
    let mut scene = Scene::new();
    scene.bad(SECOND);
    scene.bad(FIRST);
    assert_eq!(scene.serving(), Serving::Edge(1));
}

#[test]
fn a_home_comes_back_after_its_time_to_hold() {
    let mut scene = Scene::new();
    scene.bad(FIRST);
    scene.good(FIRST);
    assert_eq!(scene.pass(29), Some(Moment(Duration::from_secs(30))));
    assert_eq!(scene.serving(), Serving::Edge(0));
    assert_eq!(scene.pass(1), None);
    assert_eq!(scene.serving(), Serving::Home);
    assert_eq!(scene.last_flip(), Some(FlipReason::HomeHeld));
}

#[test]
fn a_break_starts_the_time_to_hold_again() {
    let mut scene = Scene::new();
    scene.bad(FIRST);
    scene.good(FIRST);
    scene.pass(20);
    scene.bad(FIRST);
    scene.good(FIRST);
    scene.pass(29);
    assert_eq!(scene.serving(), Serving::Edge(0));
    scene.pass(1);
    assert_eq!(scene.serving(), Serving::Home);
}

#[test]
fn a_lost_edge_is_followed_by_the_next_while_home_holds() {
    let mut scene = Scene::new();
    scene.bad(FIRST);
    scene.good(FIRST);
    scene.bad(SECOND);
    assert_eq!(scene.serving(), Serving::Edge(1));
    assert_eq!(scene.last_flip(), Some(FlipReason::EdgeLost));
}

#[test]
fn a_home_that_has_not_held_is_better_than_nobody() {
    let mut scene = Scene::new();
    scene.bad(FIRST);
    scene.bad(SECOND);
    scene.good(FIRST);
    scene.bad(THIRD);
    assert_eq!(scene.serving(), Serving::Home);
    assert_eq!(scene.last_flip(), Some(FlipReason::LastResort));
}

#[test]
fn nobody_serves_when_all_are_down_and_the_first_to_recover_does() {
    let mut scene = Scene::new();
    for index in [FIRST, SECOND, THIRD] {
        scene.bad(index);
    }
    assert_eq!(scene.serving(), Serving::Nobody);
    scene.good(THIRD);
    assert_eq!(scene.serving(), Serving::Edge(1));
    assert_eq!(scene.last_flip(), Some(FlipReason::Recovered));
}

#[test]
fn an_edge_that_serves_is_not_left_for_an_earlier_one() {
    let mut scene = Scene::new();
    scene.bad(SECOND);
    scene.bad(FIRST);
    scene.good(SECOND);
    assert_eq!(scene.serving(), Serving::Edge(1));
}

#[test]
fn a_drained_home_is_answered_for_and_is_drained_when_nothing_is_in_flight() {
    let mut scene = Scene::new();
    scene.drain("a");
    let state = |scene: &Scene| scene.fleet.standings().stamps[A.at()].operator;
    assert_eq!(scene.serving(), Serving::Edge(0));
    scene.fleet.in_flight(A, 3, scene.now);
    assert_eq!(state(&scene), OperatorState::Draining);
    scene.fleet.in_flight(A, 0, scene.now);
    assert_eq!(state(&scene), OperatorState::Drained);
}

#[test]
fn that_nothing_is_in_flight_must_be_told_after_each_order() {
    let mut scene = Scene::new();
    scene.fleet.in_flight(A, 0, scene.now);
    scene.drain("a");
    assert_eq!(scene.fleet.standings().stamps[A.at()].operator, OperatorState::Draining);
}

#[test]
fn a_home_that_was_sound_all_along_comes_back_with_the_undrain() {
    let mut scene = Scene::new();
    scene.drain("a");
    scene.undrain("a");
    assert_eq!(scene.serving(), Serving::Home);
    assert_eq!(scene.last_flip(), Some(FlipReason::HomeUndrained));
}

#[test]
fn a_home_that_was_down_during_its_drain_must_hold_after_the_undrain() {
    let mut scene = Scene::new();
    scene.drain("a");
    scene.bad(FIRST);
    scene.good(FIRST);
    scene.pass(10);
    scene.undrain("a");
    assert_eq!(scene.serving(), Serving::Edge(0));
    scene.pass(20);
    assert_eq!(scene.serving(), Serving::Home);
}

#[test]
fn a_drain_that_leaves_no_eligible_edge_is_refused() {
    let mut scene = Scene::new();
    scene.bad(SECOND);
    scene.bad(THIRD);
    let refused = scene.fleet.drain(&scene.table, &id("a"), order(Force::Refuse));
    assert_eq!(refused, Err(OperatorRefusal::WouldStrand { tenants: 5 }));
    let unknown = scene.fleet.drain(&scene.table, &id("z"), order(Force::Refuse));
    assert_eq!(unknown, Err(OperatorRefusal::UnknownStamp));
}

#[test]
fn a_drain_survives_reloads_even_without_its_stamp_and_restarts() {
    let mut scene = Scene::new();
    scene.drain("a");
    scene.reload(&[sketch("b", &[], 5)]);
    scene.reload(&three());
    assert_eq!(scene.serving(), Serving::Edge(0));
    let records = scene.fleet.records().clone();
    let restarted = Fleet::new(&scene.table, records, Moment::default());
    assert_eq!(restarted.standings().stamps[A.at()].operator, OperatorState::Draining);
}

#[test]
fn a_declared_drain_counts_from_the_first_moment() {
    let mut sketches = three();
    sketches[0].declared = OperatorState::Maintenance;
    sketches[1].declared = OperatorState::Draining;
    let fleet = Fleet::new(&drawn(&sketches), BTreeMap::new(), Moment::default());
    assert_eq!(fleet.standings().stamps[A.at()].serving, Serving::Edge(1));
}

#[test]
fn a_trip_takes_the_endpoint_out_and_asks_for_a_probe() {
    let mut scene = Scene::new();
    scene.fleet.take_changes().clear();
    scene.trip(FIRST);
    assert_eq!(scene.endpoint(FIRST), EndpointStanding::Out(OutReason::BreakerOpen));
    let asked: Vec<_> =
        scene.fleet.take_changes().iter().filter_map(Change::asks_for_probe).collect();
    assert_eq!(asked, [FIRST]);
}

#[test]
fn good_probes_do_not_close_a_breaker_but_a_trial_does() {
    let mut scene = Scene::new();
    scene.trip(FIRST);
    scene.good(FIRST);
    assert_eq!(scene.endpoint(FIRST), EndpointStanding::Out(OutReason::BreakerOpen));
    scene.pass(10);
    scene.good(FIRST);
    assert_eq!(scene.endpoint(FIRST), EndpointStanding::Trial);
    scene.report(FIRST, Event::TrialSucceeded);
    assert_eq!(scene.endpoint(FIRST), EndpointStanding::Up);
    assert_eq!(scene.serving(), Serving::Edge(0));
    scene.pass(30);
    assert_eq!(scene.serving(), Serving::Home);
}

#[test]
fn a_breaker_over_its_time_waits_for_probes_that_say_down() {
    let mut scene = Scene::new();
    scene.trip(FIRST);
    scene.bad(FIRST);
    scene.pass(10);
    assert_eq!(scene.endpoint(FIRST), EndpointStanding::Out(OutReason::ProbeDown));
    scene.good(FIRST);
    assert_eq!(scene.endpoint(FIRST), EndpointStanding::Trial);
}

#[test]
fn one_endpoint_of_two_does_not_flip_a_stamp() {
    let two = Sketch { endpoints: 2, ..sketch("a", &["b"], 5) };
    let mut scene = Scene::of(&[two, sketch("b", &[], 5)]);
    scene.trip(FIRST);
    assert_eq!(scene.serving(), Serving::Home);
    scene.bad(SECOND);
    assert_eq!(scene.serving(), Serving::Edge(0));
}

#[test]
fn a_reload_keeps_health_breakers_and_flips_wherever_they_stand_now() {
    let mut scene = Scene::new();
    scene.trip(FIRST);
    scene.bad(THIRD);
    let sketches =
        [sketch("n", &[], 0), three()[2].clone(), sketch("a", &["c", "b"], 5), three()[1].clone()];
    scene.reload(&sketches);
    let standings = scene.fleet.standings();
    let expected = [
        EndpointStanding::Unknown,
        EndpointStanding::Out(OutReason::ProbeDown),
        EndpointStanding::Out(OutReason::BreakerOpen),
        EndpointStanding::Up,
    ];
    assert_eq!(standings.endpoints, expected);
    assert_eq!(standings.stamps[2].serving, Serving::Edge(1), "still b, in its new place");
    assert_eq!(standings.stamps[2].flips, 1);
}

#[test]
fn an_edge_that_is_no_longer_declared_is_left() {
    let mut scene = Scene::new();
    scene.bad(FIRST);
    scene.reload(&[sketch("a", &["c"], 5), three()[1].clone(), three()[2].clone()]);
    assert_eq!(scene.serving(), Serving::Edge(0));
    let report = scene.fleet.stamp_report(A).unwrap();
    assert_eq!(report.answers, Some(id("c")));
    assert_eq!(report.serving_reason, Some(FlipReason::EdgeLost));
}

#[test]
fn new_endpoints_of_a_home_that_was_down_must_prove_themselves() {
    let mut scene = Scene::new();
    scene.bad(FIRST);
    let mut sketches = three();
    sketches[0].endpoints = 2;
    scene.reload(&sketches);
    assert_eq!(scene.serving(), Serving::Edge(0));
    assert_eq!(scene.pass(60), None, "unknown is not up");
    scene.good(SECOND);
    scene.pass(30);
    assert_eq!(scene.serving(), Serving::Home);
}

#[test]
fn guests_count_among_the_tenants_that_a_stamp_serves() {
    let mut scene = Scene::of(&[sketch("a", &["b"], 5), sketch("b", &[], 1)]);
    assert_eq!(scene.fleet.tenants_served(B), 1);
    scene.bad(FIRST);
    assert_eq!(scene.fleet.tenants_served(B), 6);
}

#[test]
fn a_report_tells_when_home_is_back() {
    let mut scene = Scene::new();
    scene.bad(FIRST);
    scene.pass(5);
    scene.good(FIRST);
    let report = scene.fleet.stamp_report(A).unwrap();
    assert_eq!(report.return_due, Some(Moment(Duration::from_secs(35))));
    assert_eq!(report.endpoints[0].authority, "a.internal:8000");
}

#[test]
fn the_revision_grows_only_with_what_is_published() {
    let mut scene = Scene::new();
    let revision = scene.fleet.revision();
    scene.good(FIRST);
    let report = Report { successes: 100, event: None };
    scene.fleet.attempts(FIRST, report, Occasion { now: scene.now, chance: 0 });
    scene.pass(5);
    assert_eq!(scene.fleet.revision(), revision);
    scene.bad(FIRST);
    assert!(scene.fleet.revision() > revision);
}

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
    assert!(!scene.fleet.is_suspect());
    assert_eq!(scene.endpoint(FIRST), EndpointStanding::Out(OutReason::ProbeDown));
    assert_eq!(scene.endpoint(THIRD), EndpointStanding::Out(OutReason::ProbeDown));
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
    assert!(scene.fleet.end_drill(&scene.table, &id("a"), scene.now));
    assert_eq!(scene.serving(), Serving::Home);
    assert!(!scene.fleet.end_drill(&scene.table, &id("a"), scene.now));
}
