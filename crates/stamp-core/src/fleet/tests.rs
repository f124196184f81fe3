//! Scenes from the life of a fleet: home `a` with the secondaries `b` and `c`.

use std::time::Duration;

use super::*;
use crate::breaker::{Event, Failure, FailureKind};
use crate::fixture::{Sketch, drawn, sketch};
use crate::operator::Force;
use crate::standing::{OperatorState, OutReason, Serving};
use crate::time::UnixSeconds;

mod failback;

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
