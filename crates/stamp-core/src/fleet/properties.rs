//! Laws that hold whatever happens to a fleet, in whatever order.

use std::collections::BTreeSet;
use std::num::NonZeroU32;
use std::time::Duration;

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::balance::{self, Candidate, Draw, Tried};
use crate::breaker::{Event, Failure, FailureKind};
use crate::failover::{Fence, Needs, Route, choose, choose_trial, fall_through};
use crate::fixture::{Sketch, drawn};
use crate::operator::Force;
use crate::retry::MethodClass;
use crate::standing::{OperatorState, Serving, Slot};
use crate::table::Balance;
use crate::time::UnixSeconds;

const NAMES: [&str; 5] = ["a", "b", "c", "d", "e"];

/// Something that happens. Places are taken modulo what there is.
#[derive(Clone, Debug)]
enum Happening {
    Probe { endpoint: usize, result: ProbeResult },
    Report { endpoint: usize, successes: u64, event: Option<Event> },
    Pass { seconds: u64 },
    Drain { stamp: usize, force: Force },
    Undrain { stamp: usize },
    InFlight { stamp: usize, count: u64 },
    Reload(Vec<Sketch>),
}

fn sketches() -> impl Strategy<Value = Vec<Sketch>> {
    let declared = prop_oneof![
        8 => Just(OperatorState::Active),
        1 => Just(OperatorState::Draining),
        1 => Just(OperatorState::Maintenance),
    ];
    let stamp = (vec(0..NAMES.len(), 0..4), 0..6_u32, 1..4_u16, 0..2_u16, declared);
    (vec(stamp, NAMES.len()), proptest::sample::subsequence(NAMES.to_vec(), 1..=5)).prop_map(
        |(stamps, names)| {
            let sketch = |(id, stamp): (&'static str, _)| {
                let (edges, tenants, endpoints, residency, declared): (Vec<usize>, _, _, _, _) =
                    stamp;
                let edges: BTreeSet<_> = edges.into_iter().map(|edge| NAMES[edge]).collect();
                let edges = edges.into_iter().filter(|edge| *edge != id).collect();
                Sketch { id, edges, tenants, endpoints, residency, declared }
            };
            names.into_iter().zip(stamps).map(sketch).collect()
        },
    )
}

fn event() -> impl Strategy<Value = Option<Event>> {
    let kind = prop_oneof![
        Just(FailureKind::Connect),
        Just(FailureKind::BrokeOff),
        Just(FailureKind::Timeout),
        Just(FailureKind::BadStatus),
    ];
    let failure =
        (kind, proptest::option::of(0..4_u64)).prop_map(|(kind, tenant)| Failure { kind, tenant });
    prop_oneof![
        1 => Just(None),
        6 => failure.clone().prop_map(|failure| Some(Event::Failed(failure))),
        1 => failure.prop_map(|failure| Some(Event::TrialFailed(failure))),
        1 => Just(Some(Event::TrialSucceeded)),
    ]
}

fn happening() -> impl Strategy<Value = Happening> {
    let endpoint = 0..20_usize;
    let stamp = 0..6_usize;
    let result = prop_oneof![Just(ProbeResult::Good), Just(ProbeResult::Bad)];
    let force = prop_oneof![Just(Force::Refuse), Just(Force::Strand)];
    prop_oneof![
        8 => (endpoint.clone(), result)
            .prop_map(|(endpoint, result)| Happening::Probe { endpoint, result }),
        16 => (endpoint, 0..3_u64, event()).prop_map(|(endpoint, successes, event)| {
            Happening::Report { endpoint, successes, event }
        }),
        4 => (0..40_u64).prop_map(|seconds| Happening::Pass { seconds }),
        2 => (stamp.clone(), force).prop_map(|(stamp, force)| Happening::Drain { stamp, force }),
        1 => stamp.clone().prop_map(|stamp| Happening::Undrain { stamp }),
        2 => (stamp, 0..2_u64).prop_map(|(stamp, count)| Happening::InFlight { stamp, count }),
        1 => sketches().prop_map(Happening::Reload),
    ]
}

struct World {
    table: RoutingTable,
    fleet: Fleet,
    now: Moment,
}

impl World {
    fn new(sketches: &[Sketch]) -> Self {
        let (table, now) = (drawn(sketches), Moment::default());
        let fleet = Fleet::new(&table, BTreeMap::new(), now);
        Self { table, fleet, now }
    }

    fn order(&self, force: Force) -> Order {
        let at = UnixSeconds(self.now.0.as_secs());
        Order { reason: "".into(), actor: "".into(), at, deadline: None, force }
    }

    fn happens(&mut self, happening: Happening) {
        let index = |place: usize| EndpointIndex(u32::try_from(place).unwrap());
        let stamp = |place: usize| StampIndex(u32::try_from(place).unwrap());
        let id = |place: usize| StampId::parse(NAMES[place % NAMES.len()]).unwrap();
        let now = self.now;
        let decision = match happening {
            Happening::Drain { stamp, force } => {
                self.fleet.drain(&self.table, &id(stamp), self.order(force)).ok()
            }
            Happening::Undrain { stamp } => {
                self.fleet.undrain(&self.table, &id(stamp), self.order(Force::Refuse)).ok()
            }
            Happening::Probe { endpoint, result } => {
                self.fleet.probed(index(endpoint), result, now);
                None
            }
            Happening::Report { endpoint, successes, event } => {
                let at = Occasion { now, chance: 7 };
                self.fleet.attempts(index(endpoint), Report { successes, event }, at);
                None
            }
            Happening::Pass { seconds } => {
                self.now = now.after(Duration::from_secs(seconds));
                self.fleet.tick(self.now);
                None
            }
            Happening::InFlight { stamp: place, count } => {
                self.fleet.in_flight(stamp(place), count, now);
                None
            }
            Happening::Reload(sketches) => {
                self.table = drawn(&sketches);
                self.fleet.adopt(&self.table, now);
                None
            }
        };
        if let Some(Decision::Commit(entry)) = decision {
            self.fleet.commit(entry, now);
        }
    }

    /// Every way that a request of every kind may take now, with the home that it is for.
    fn ways(&self) -> Vec<(StampIndex, crate::failover::Choice)> {
        let standings = self.fleet.standings().stamps;
        let mut ways = Vec::new();
        for (home, stamp) in self.table.indexed_stamps() {
            for method in [MethodClass::Safe, MethodClass::Idempotent, MethodClass::Other] {
                let fence = crate::directory::FenceIndex(stamp.residency.unwrap().0 + 1);
                for fence in [Fence::Home, Fence::Tenant(fence)] {
                    let needs = Needs { home, fence, method, slot: Slot::OF_NOBODY };
                    let chosen = [
                        choose(&self.table, &standings, needs).ok(),
                        choose_trial(&self.table, &standings, needs),
                        fall_through(&self.table, &standings, needs, home),
                    ];
                    ways.extend(chosen.into_iter().flatten().map(|choice| (home, choice)));
                }
            }
        }
        ways
    }
}

proptest! {
    #[test]
    fn what_is_published_is_aligned_with_the_table(
        first in sketches(),
        story in vec(happening(), 0..60),
    ) {
        let mut world = World::new(&first);
        for happening in story {
            world.happens(happening);
            let standings = world.fleet.standings();
            prop_assert_eq!(standings.stamps.len(), world.table.stamps().len());
            prop_assert_eq!(standings.endpoints.len(), world.table.endpoint_count());
            for (index, stamp) in world.table.indexed_stamps() {
                let report = world.fleet.stamp_report(index).unwrap();
                prop_assert_eq!(report.id, &stamp.id);
                for (told, endpoint) in report.endpoints.iter().zip(&stamp.endpoints) {
                    prop_assert_eq!(told.index, endpoint.index);
                    prop_assert_eq!(told.authority, endpoint.authority());
                }
            }
        }
    }

    #[test]
    fn nobody_is_sent_where_an_operator_or_a_fence_forbids(
        first in sketches(),
        story in vec(happening(), 0..60),
    ) {
        let mut world = World::new(&first);
        for happening in story {
            world.happens(happening);
            let standings = world.fleet.standings();
            for (home, choice) in world.ways() {
                let stamp = world.table.stamp(choice.stamp);
                let record = world.fleet.records().get(&stamp.id);
                let state = operator::effective(stamp.declared, record);
                prop_assert!(state.takes_requests(), "{:?} to {}", choice, stamp.id);
                prop_assert_eq!(world.table.stamp(home).residency, stamp.residency);
                let standing = standings.stamps[choice.stamp.at()];
                let is_trial =
                    matches!(choice.route, Route::HomeTrial | Route::EdgeTrial { .. });
                prop_assert_eq!(standing.is_eligible(), !is_trial);
            }
        }
    }

    #[test]
    fn every_request_makes_at_most_one_declared_hop(
        first in sketches(),
        story in vec(happening(), 0..60),
    ) {
        let mut world = World::new(&first);
        story.into_iter().for_each(|happening| world.happens(happening));
        let standings = world.fleet.standings().stamps;
        for (home, choice) in world.ways() {
            match choice.route {
                Route::Home | Route::HomeTrial => prop_assert_eq!(choice.stamp, home),
                Route::Edge { place, .. } | Route::EdgeTrial { place } => {
                    let edge = world.table.stamp(home).failover[usize::from(place)];
                    prop_assert_eq!(edge.to, choice.stamp);
                    let (fence, method) = (Fence::Home, MethodClass::Safe);
                    let needs = Needs { home, fence, method, slot: Slot::OF_NOBODY };
                    let second = fall_through(&world.table, &standings, needs, choice.stamp);
                    prop_assert_eq!(second, None);
                }
            }
        }
    }

    #[test]
    fn an_eligible_stamp_has_an_endpoint_to_pick(
        first in sketches(),
        story in vec(happening(), 0..60),
        random in any::<u64>(),
    ) {
        let mut world = World::new(&first);
        story.into_iter().for_each(|happening| world.happens(happening));
        let standings = world.fleet.standings();
        for (index, stamp) in world.table.indexed_stamps() {
            let candidates = stamp.endpoints.iter().map(|endpoint| Candidate {
                standing: standings.endpoints[endpoint.index.at()],
                weight: NonZeroU32::MIN,
                load: 0,
            });
            let draw = Draw { random, turn: random };
            let picked =
                balance::pick(candidates.clone(), Balance::LeastRequest, Tried::default(), draw);
            let health = standings.stamps[index.at()].health;
            let has_usable = matches!(health, StampHealth::Up | StampHealth::Unknown);
            prop_assert_eq!(picked.is_some(), has_usable);
            let picked = picked.and_then(|place| candidates.clone().nth(place));
            let wanted = [EndpointStanding::Up, EndpointStanding::Unknown];
            prop_assert!(picked.is_none_or(|it| wanted.contains(&it.standing)));
        }
    }

    #[test]
    fn all_is_well_again_once_probes_and_trials_are(
        first in sketches(),
        story in vec(happening(), 0..60),
    ) {
        let mut world = World::new(&first);
        story.into_iter().for_each(|happening| world.happens(happening));
        for _ in 0..3 {
            world.happens(Happening::Pass { seconds: 400 });
            for endpoint in 0..world.table.endpoint_count() {
                for _ in 0..2 {
                    let result = ProbeResult::Good;
                    world.happens(Happening::Probe { endpoint, result });
                }
                let event = Some(Event::TrialSucceeded);
                world.happens(Happening::Report { endpoint, successes: 1, event });
            }
        }
        let standings = world.fleet.standings();
        prop_assert!(standings.endpoints.iter().all(|it| *it == EndpointStanding::Up));
        for standing in standings.stamps.iter().filter(|it| it.operator.takes_requests()) {
            prop_assert!(standing.is_eligible());
            prop_assert_eq!(standing.serving, Serving::Home);
        }
    }

    #[test]
    fn a_reload_of_the_same_table_changes_nothing(
        first in sketches(),
        story in vec(happening(), 0..60),
    ) {
        let mut world = World::new(&first);
        story.into_iter().for_each(|happening| world.happens(happening));
        let before = world.fleet.standings();
        world.fleet.take_changes().clear();
        world.fleet.adopt(&world.table, world.now);
        prop_assert_eq!(world.fleet.standings(), before);
        prop_assert_eq!(world.fleet.take_changes(), []);
    }

    #[test]
    fn a_reload_keeps_the_standing_of_endpoints_that_stay(
        first in sketches(),
        second in sketches(),
        story in vec(happening(), 0..60),
    ) {
        let mut world = World::new(&first);
        story.into_iter().for_each(|happening| world.happens(happening));
        let known = |world: &World| {
            let mut known = BTreeMap::new();
            for (index, stamp) in world.table.indexed_stamps() {
                for told in world.fleet.stamp_report(index).unwrap().endpoints {
                    let key = (stamp.id.clone(), told.authority.to_owned());
                    known.insert(key, (told.standing, told.since, told.health, told.breaker));
                }
            }
            known
        };
        let before = known(&world);
        world.happens(Happening::Reload(second));
        for (key, told) in known(&world) {
            let expected = before.get(&key).copied();
            let fresh = (EndpointStanding::Unknown, world.now, told.2, BreakerState::Closed);
            prop_assert_eq!(told, expected.unwrap_or(fresh));
        }
    }

    #[test]
    fn two_tenants_never_open_a_breaker_of_a_stamp_of_three(
        first in sketches(),
        reports in vec((0..20_usize, 0..2_u64, event()), 0..200),
    ) {
        let first: Vec<_> =
            first.into_iter().map(|it| Sketch { tenants: it.tenants.max(3), ..it }).collect();
        let mut world = World::new(&first);
        for (endpoint, successes, event) in reports {
            let event = event.map(|event| match event {
                Event::Failed(failure) | Event::TrialFailed(failure) => {
                    // One tenant, and those without a name, who count as one.
                    let tenant = failure.tenant.map(|_| 0);
                    let was_sent = !failure.kind.is_before_sending();
                    let kind = if was_sent { failure.kind } else { FailureKind::BrokeOff };
                    Event::Failed(Failure { kind, tenant })
                }
                Event::TrialSucceeded => Event::TrialSucceeded,
            });
            world.happens(Happening::Report { endpoint, successes, event });
        }
        let opened = |change: &Change| change.asks_for_probe().is_some();
        prop_assert!(!world.fleet.take_changes().iter().any(opened));
    }
}
