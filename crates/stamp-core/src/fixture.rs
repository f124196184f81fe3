//! Small tables for the unit tests of this crate.

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::time::Duration;

use crate::diagnostic::SourceText;
use crate::directory::Directory;
use crate::id::{EndpointIndex, StampId, StampIndex};
use crate::standing::{OperatorState, Serving, StampHealth, StampStanding};
use crate::table::{
    AcceptFrom, Access, BadRowCounts, Balance, ConflictRule, Edge, EdgeMode, Endpoint,
    FailbackMode, FailbackPolicy, HeaderRules, HealthPolicy, HostRules, Identity, PassivePolicy,
    PoolPolicy, PoolProtocol, ResidencyIndex, RetryPolicy, RoutingTable, Scheme, Stamp,
    TenantCount, TokenPlace,
};

/// A stamp that serves itself and is up.
pub(crate) const STANDING: StampStanding = StampStanding {
    operator: OperatorState::Active,
    health: StampHealth::Up,
    serving: Serving::Home,
    flips: 0,
};

/// A stamp of a small table: one endpoint, no tenant, no secondary, unless said.
#[derive(Clone, Debug)]
pub(crate) struct Sketch {
    pub(crate) id: &'static str,
    pub(crate) edges: Vec<&'static str>,
    pub(crate) tenants: u32,
    pub(crate) endpoints: u16,
    pub(crate) residency: u16,
    pub(crate) declared: OperatorState,
}

/// The sketch of a stamp with these secondaries and so many tenants.
pub(crate) fn sketch(id: &'static str, edges: &[&'static str], tenants: u32) -> Sketch {
    let (endpoints, residency, declared) = (1, 0, OperatorState::Active);
    Sketch { id, edges: edges.to_vec(), tenants, endpoints, residency, declared }
}

/// A table of stamps: id, the ids of its secondaries, how many tenants live there. One endpoint
/// each, all in one residency zone; every edge takes everything.
pub(crate) fn table(stamps: &[(&'static str, &[&'static str], u32)]) -> RoutingTable {
    let sketches: Vec<_> =
        stamps.iter().map(|(id, edges, tenants)| sketch(id, edges, *tenants)).collect();
    drawn(&sketches)
}

/// The table of these sketches. Edges to stamps that are none of them are left out.
pub(crate) fn drawn(sketches: &[Sketch]) -> RoutingTable {
    let place = |id: &str| sketches.iter().position(|sketch| sketch.id == id);
    let index = |place: usize| StampIndex(u32::try_from(place).unwrap());
    let mut owners = Vec::new();
    let mut stamps = Vec::new();
    for (at, sketch) in sketches.iter().enumerate() {
        let to = |to| Edge { to: index(to), mode: EdgeMode::ReadWrite };
        let failover = sketch.edges.iter().filter_map(|id| place(id)).map(to).collect();
        let endpoints = (0..sketch.endpoints).map(|port| {
            owners.push((index(at), u32::from(port)));
            endpoint(sketch.id, port, owners.len() - 1)
        });
        let endpoints = endpoints.collect();
        stamps.push(Stamp { endpoints, failover, ..stamp(sketch) });
    }
    let id = |at: usize| StampId::parse(sketches[at].id).unwrap();
    RoutingTable {
        identity: identity(),
        stamp_by_id: (0..sketches.len()).map(|at| (id(at), index(at))).collect(),
        endpoint_owner: owners,
        residencies: vec!["eu".into(), "us".into()],
        // The first fences nobody in; then one for each zone.
        fences: [vec![], vec![ResidencyIndex(0)], vec![ResidencyIndex(1)]].map(Into::into).into(),
        tiers: vec![crate::table::Tier::built_in()],
        directory: Directory::default(),
        domains: BTreeMap::new(),
        tenants_by_stamp: sketches
            .iter()
            .map(|sketch| TenantCount { all: sketch.tenants, active: sketch.tenants })
            .collect(),
        stamps,
        placement: None,
        bad_rows: BadRowCounts::default(),
    }
}

fn endpoint(stamp: &str, port: u16, at: usize) -> Endpoint {
    Endpoint {
        index: EndpointIndex(u32::try_from(at).unwrap()),
        scheme: Scheme::Http,
        host: format!("{stamp}.internal").into(),
        port: 8000 + port,
        weight: NonZeroU32::MIN,
    }
}

fn stamp(sketch: &Sketch) -> Stamp {
    let seconds = Duration::from_secs;
    Stamp {
        id: StampId::parse(sketch.id).unwrap(),
        region: None,
        residency: Some(ResidencyIndex(sketch.residency)),
        declared: sketch.declared,
        access: Access::Any,
        balance: Balance::LeastRequest,
        in_flight_max: 100,
        tls: None,
        health: health(),
        pool: PoolPolicy {
            protocol: PoolProtocol::Http1,
            connections_max: 100,
            idle_timeout: seconds(30),
            lifetime_max: seconds(600),
            pending_max: 100,
            pending_timeout: seconds(1),
        },
        retry: RetryPolicy {
            attempts_max: NonZeroU32::MIN,
            budget_percent: 20,
            statuses: Vec::new(),
            replay_bytes: 0,
        },
        failback: FailbackPolicy {
            mode: FailbackMode::Auto,
            hold: seconds(30),
            ramp: Duration::ZERO,
        },
        endpoints: Vec::new(),
        failover: Vec::new(),
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
        token: TokenPlace::Bearer,
        jwt: Vec::new(),
    }
}

/// The table of this routing.toml.
pub(crate) fn loaded(text: &str) -> RoutingTable {
    let main = SourceText { path: "routing.toml".into(), text: text.into() };
    match crate::table::load(main, &mut |_| Err(std::io::ErrorKind::NotFound.into()), None) {
        Ok(loaded) => loaded.table,
        Err(rejected) => panic!("{rejected:#?}"),
    }
}

/// A routing.toml with two stamps in the open and one that takes verified identities only; every
/// source of clues but tokens is configured.
pub(crate) const ROUTING: &str = r#"
version = 1

[identity.host]
patterns = ["{tenant}.app.test", "{stamp}.stamps.test"]
neutral = ["api.test", "www.app.test"]
verified_only = ["jwt.test", "vip.app.test"]

[identity.header]
name = "X-Stamp-Id"
tenant_name = "X-Tenant-Id"

[identity.cookie]
name = "stamp"
names = "stamp"

[[stamp]]
id = "eu-1"
endpoints = [{ url = "http://10.0.0.1:80" }]

[[stamp]]
id = "eu-2"
endpoints = [{ url = "http://10.0.0.2:80" }]

[[stamp]]
id = "safe"
access = "verified"
endpoints = [{ url = "http://10.0.0.3:80" }]

[tenants]
acme = "eu-1"
globex = "eu-2"
vault = "safe"
paused = { stamp = "eu-1", state = "suspended" }
gone = { stamp = "eu-1", state = "offboarded" }
hidden = { stamp = "safe", state = "suspended" }

[domains]
"orders.acme.test" = "acme"
"odd.app.test" = "globex"
"#;
