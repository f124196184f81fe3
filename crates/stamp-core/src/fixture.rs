//! Small tables for the unit tests of this crate.

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::time::Duration;

use crate::directory::Directory;
use crate::id::{EndpointIndex, StampId, StampIndex};
use crate::standing::{OperatorState, Serving, StampHealth, StampStanding};
use crate::table::{
    AcceptFrom, Access, Balance, ConflictRule, Edge, EdgeMode, Endpoint, FailbackPolicy,
    HeaderRules, HealthPolicy, HostRules, Identity, PassivePolicy, PoolPolicy, ResidencyIndex,
    RetryPolicy, RoutingTable, Stamp,
};

/// A stamp that serves itself and is up.
pub(crate) const STANDING: StampStanding = StampStanding {
    operator: OperatorState::Active,
    health: StampHealth::Up,
    serving: Serving::Home,
    flips: 0,
};

/// A table of stamps: id, the ids of its secondaries, how many tenants live there. One endpoint
/// each, all in one residency zone; every edge takes everything.
pub(crate) fn table(stamps: &[(&'static str, &[&str], u32)]) -> RoutingTable {
    let place = |id: &str| stamps.iter().position(|stamp| stamp.0 == id).unwrap();
    let index = |place: usize| StampIndex(u32::try_from(place).unwrap());
    let mut built = Vec::new();
    for (at, (id, edges, _)) in stamps.iter().enumerate() {
        let to = |edge: &&str| Edge { to: index(place(edge)), mode: EdgeMode::ReadWrite };
        built.push(stamp(id, at, edges.iter().map(to).collect()));
    }
    let id = |at: usize| StampId::parse(stamps[at].0).unwrap();
    RoutingTable {
        identity: identity(),
        stamp_by_id: (0..stamps.len()).map(|at| (id(at), index(at))).collect(),
        endpoint_owner: (0..stamps.len()).map(|at| (index(at), 0)).collect(),
        residencies: vec!["eu".into(), "us".into()],
        directory: Directory::default(),
        domains: BTreeMap::new(),
        tenants_by_stamp: stamps.iter().map(|stamp| stamp.2).collect(),
        stamps: built,
    }
}

fn stamp(id: &'static str, at: usize, failover: Vec<Edge>) -> Stamp {
    let endpoint = Endpoint {
        index: EndpointIndex(u32::try_from(at).unwrap()),
        host: "10.0.0.1".into(),
        port: 8000 + u16::try_from(at).unwrap(),
        weight: NonZeroU32::MIN,
    };
    let seconds = Duration::from_secs;
    Stamp {
        id: StampId::parse(id).unwrap(),
        region: None,
        residency: Some(ResidencyIndex(0)),
        declared: OperatorState::Active,
        access: Access::Any,
        balance: Balance::LeastRequest,
        in_flight_max: 100,
        health: health(),
        pool: PoolPolicy {
            connections_max: 100,
            idle_timeout: seconds(30),
            lifetime_max: seconds(600),
            pending_max: 100,
            pending_timeout: seconds(1),
        },
        retry: RetryPolicy { attempts_max: NonZeroU32::MIN, replay_bytes: 0 },
        failback: FailbackPolicy { hold: seconds(30) },
        endpoints: vec![endpoint],
        failover,
    }
}

fn health() -> HealthPolicy {
    HealthPolicy {
        path: None,
        interval: Duration::from_secs(5),
        timeout: Duration::from_secs(2),
        fall: NonZeroU32::new(3).unwrap(),
        rise: NonZeroU32::new(2).unwrap(),
        expect: vec![(200, 299)],
        passive: PassivePolicy {
            consecutive_failures: NonZeroU32::new(5).unwrap(),
            failure_ratio: 0.5,
            requests_min: 20,
            window: Duration::from_secs(10),
            open_for: Duration::from_secs(10),
            open_for_max: Duration::from_mins(5),
        },
    }
}

fn identity() -> Identity {
    Identity {
        conflict: ConflictRule::Reject,
        host: HostRules::default(),
        header: HeaderRules {
            stamp_name: http::HeaderName::from_static("x-stamp-id"),
            tenant_name: None,
            accept_from: AcceptFrom::Any,
        },
        cookie: None,
        jwt: Vec::new(),
    }
}
