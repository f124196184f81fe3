//! The validated routing.toml: right by construction. `raw` is the same as written; `load` in this
//! module turns one into the other and reports every mistake at once.

mod identity;
mod load;
mod own;
mod placement;
mod proof;
#[cfg(test)]
mod properties;
mod stamps;
mod tenant_file;
mod tenant_rows;
mod tenants;
#[cfg(test)]
mod tests;
mod tiers;
mod tls;
mod zones;

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::time::Duration;

use crate::directory::{Directory, FenceIndex};
use crate::id::{EndpointIndex, StampId, StampIndex, TenantIndex};
use crate::jwks::JwksSource;
use crate::placement::Placement;
use crate::standing::OperatorState;

pub use crate::diagnostic::Rejected;
pub use load::{Circumstances, FILE_BYTES_MAX, Loaded, load, load_in};
pub use own::{OwnAddress, OwnDoor};
pub use placement::Located;
pub use tiers::{Tier, TierIndex};
pub use tls::{ClientIdentity, TlsPolicy};

/// Everything that the resolver needs, immutable.
#[derive(Debug)]
pub struct RoutingTable {
    /// How a request names its stamp.
    pub identity: Identity,
    pub(crate) stamps: Vec<Stamp>,
    pub(crate) stamp_by_id: BTreeMap<StampId<'static>, StampIndex>,
    pub(crate) endpoint_owner: Vec<(StampIndex, u32)>,
    pub(crate) residencies: Vec<Box<str>>,
    /// Sets of zones, sorted; the first is empty and fences nobody in.
    pub(crate) fences: Vec<Box<[ResidencyIndex]>>,
    /// By `TierIndex`: the first is `standard`, and always there.
    pub(crate) tiers: Vec<Tier>,
    /// Where each tenant lives.
    pub directory: Directory,
    pub(crate) domains: BTreeMap<Box<str>, TenantIndex>,
    pub(crate) tenants_by_stamp: Vec<TenantCount>,
    /// Where tenants live that have no entry.
    pub(crate) placement: Option<Placement>,
    /// The bad rows of tenant files that were lived with.
    pub bad_rows: BadRowCounts,
}

/// Bad rows of tenant files.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BadRowCounts {
    /// Those whose tenants keep the entry that they had.
    pub kept: usize,
    /// Those that say nothing.
    pub left_out: usize,
}

/// More tenants than any breaker asks for as witnesses.
const PLACED_ASSUMED: u32 = 1000;

/// How many tenants live on a stamp.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct TenantCount {
    pub(crate) all: u32,
    /// Those that send requests there.
    pub(crate) active: u32,
}

/// One stamp: a whole, isolated copy of the application.
#[derive(Clone, Debug, PartialEq)]
pub struct Stamp {
    /// Its name.
    pub id: StampId<'static>,
    /// Where it runs, for people.
    pub region: Option<Box<str>>,
    /// The residency zone that its data stays in; `None` = not fenced. Index into the table's list.
    pub residency: Option<ResidencyIndex>,
    /// What routing.toml declares; the operator's journal comes on top.
    pub declared: OperatorState,
    /// Who may come in.
    pub access: Access,
    /// How an endpoint is picked.
    pub balance: Balance,
    /// The most requests in flight over all workers.
    pub in_flight_max: u32,
    /// How it proves who it is; `None` = no endpoint of it is spoken to over TLS.
    pub tls: Option<TlsPolicy>,
    /// How its endpoints are probed and judged.
    pub health: HealthPolicy,
    /// How connections to its endpoints are kept.
    pub pool: PoolPolicy,
    /// When an attempt is repeated.
    pub retry: RetryPolicy,
    /// How requests come home again.
    pub failback: FailbackPolicy,
    /// One or more.
    pub endpoints: Vec<Endpoint>,
    /// Declared secondaries, in order.
    pub failover: Vec<Edge>,
}

impl Stamp {
    /// How many requests it has room for at a time, over HTTP/1.1 one a connection.
    #[must_use]
    pub fn places(&self) -> u32 {
        match self.pool.protocol {
            PoolProtocol::Http1 => {
                let endpoints = u32::try_from(self.endpoints.len()).unwrap_or(u32::MAX);
                self.pool.connections_max.saturating_mul(endpoints).min(self.in_flight_max)
            }
            PoolProtocol::Http2OverTls | PoolProtocol::Http2InTheClear => self.in_flight_max,
        }
    }
}

/// One address inside a stamp.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// Its place among all endpoints of the table.
    pub index: EndpointIndex,
    /// How it is spoken to.
    pub scheme: Scheme,
    /// A host name or an IP address (IPv6 without brackets).
    pub host: Box<str>,
    /// The TCP port.
    pub port: u16,
    /// Its share of the stamp's requests relative to its siblings.
    pub weight: NonZeroU32,
}

/// How an endpoint is spoken to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheme {
    /// In the clear.
    Http,
    /// Over TLS (RFC 8446), never without a verified certificate.
    Https,
}

impl Endpoint {
    /// `host:port`, with brackets around an IPv6 address: used in metrics, logs and the API.
    #[must_use]
    pub fn authority(&self) -> String {
        if self.host.contains(':') {
            return format!("[{}]:{}", self.host, self.port);
        }
        format!("{}:{}", self.host, self.port)
    }
}

/// A declared way out of a home that cannot serve.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Edge {
    /// The secondary.
    pub to: StampIndex,
    /// What may go there.
    pub mode: EdgeMode,
}

/// What may go over a failover edge.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EdgeMode {
    /// Everything.
    ReadWrite,
    /// Only safe methods (RFC 9110, section 9.2.1).
    ReadOnly,
}

/// Who may come into a stamp.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Everybody whose clues agree.
    Any,
    /// Only requests whose tenant a verified token names.
    Verified,
}

/// How an endpoint of a stamp is picked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Balance {
    /// The less loaded of two chosen by weighted chance.
    LeastRequest,
    /// Weighted, in turn.
    RoundRobin,
}

/// How endpoints are probed and judged.
#[derive(Clone, Debug, PartialEq)]
pub struct HealthPolicy {
    /// What to ask; `None` = a TCP connect is enough.
    pub path: Option<Box<str>>,
    /// From the start of one probe to the next, before jitter.
    pub interval: Duration,
    /// The longest a probe may take.
    pub timeout: Duration,
    /// Failed probes in a row that take an endpoint out.
    pub fall: NonZeroU32,
    /// Good probes in a row that bring it back.
    pub rise: NonZeroU32,
    /// Status codes that count as good, inclusive.
    pub expect: Vec<(u16, u16)>,
    /// What requests themselves teach.
    pub passive: PassivePolicy,
}

/// When failing requests open an endpoint's breaker.
#[derive(Clone, Debug, PartialEq)]
pub struct PassivePolicy {
    /// Failures in a row that open it.
    pub consecutive_failures: NonZeroU32,
    /// Share of failures in the window that opens it, 0 to 1.
    pub failure_ratio: f64,
    /// Requests in the window below which the ratio says nothing.
    pub requests_min: u32,
    /// The sliding window of the ratio.
    pub window: Duration,
    /// How long the breaker stays open at first; doubles with each trip that follows.
    pub open_for: Duration,
    /// The longest that doubling may reach.
    pub open_for_max: Duration,
}

/// How connections to one endpoint are kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PoolPolicy {
    /// What is spoken over them.
    pub protocol: PoolProtocol,
    /// The most connections to one endpoint over all workers.
    pub connections_max: u32,
    /// Unused for this long, a connection is closed.
    pub idle_timeout: Duration,
    /// This old, a connection is not used again.
    pub lifetime_max: Duration,
    /// The most requests that wait for a connection.
    pub pending_max: u32,
    /// The longest that one waits.
    pub pending_timeout: Duration,
}

/// The protocol spoken to a stamp. In a table that is right, it fits the scheme of each endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PoolProtocol {
    /// HTTP/1.1 (RFC 9112).
    Http1,
    /// HTTP/2 (RFC 9113) over TLS, if the endpoint agrees to it (RFC 7301); else HTTP/1.1.
    Http2OverTls,
    /// HTTP/2 in the clear, as is known before (RFC 9113, section 3.3).
    Http2InTheClear,
}

/// When an attempt is repeated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RetryPolicy {
    /// Attempts at one stamp, the first included.
    pub attempts_max: NonZeroU32,
    /// The most repeats, in percent of requests, 0 to 100, plus 10 a second.
    pub budget_percent: u32,
    /// Response codes that are repeated too, where the request may be. Sorted; 500 to 599.
    pub statuses: Vec<u16>,
    /// Largest request body kept for a repeat, in bytes.
    pub replay_bytes: u64,
}

/// How requests come home again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FailbackPolicy {
    /// Who brings them.
    pub mode: FailbackMode,
    /// How long home must be eligible without a break.
    pub hold: Duration,
    /// How long it takes until all are back, and until a recovered endpoint has its whole share.
    pub ramp: Duration,
}

/// Who brings requests home.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum FailbackMode {
    /// The gateway itself, when home has held.
    #[default]
    Auto,
    /// An operator.
    Manual,
}

/// Index of a residency zone in its table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ResidencyIndex(pub u16);

/// What a tenant may do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TenantState {
    /// Served.
    #[default]
    Active,
    /// 403 `tenant_suspended`.
    Suspended,
    /// 410 `tenant_offboarded`.
    Offboarded,
}

impl TenantState {
    /// The word used in files and in the API.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Suspended => "suspended",
            Self::Offboarded => "offboarded",
        }
    }
}

/// How a request names its stamp.
#[derive(Clone, Debug, PartialEq)]
pub struct Identity {
    /// What to do when clues disagree.
    pub conflict: ConflictRule,
    /// What hosts mean.
    pub host: HostRules,
    /// What headers mean.
    pub header: HeaderRules,
    /// What a cookie means; `None` = cookies are not read.
    pub cookie: Option<CookieRule>,
    /// Where tokens are read from.
    pub token: TokenPlace,
    /// Token issuers, at most one rule an issuer.
    pub jwt: Vec<IssuerRule>,
}

/// What to do when clues disagree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConflictRule {
    /// Refuse: 403 with a verified clue involved, else 400.
    Reject,
    /// Count and log; the strongest class wins.
    Report,
}

/// What hosts mean.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct HostRules {
    /// Placeholder and the suffix that follows it, with its leading dot: (`Tenant`, ".app.example.com").
    pub patterns: Vec<(Placeholder, Box<str>)>,
    /// Hosts that are ours and name nobody. Lower case, sorted.
    pub neutral: Vec<Box<str>>,
    /// Refuse (421) hosts that are none of these?
    pub unknown: UnknownHost,
    /// Hosts on which only a verified identity selects a stamp. Lower case, sorted.
    pub verified_only: Vec<Box<str>>,
}

/// What the first label of a host pattern names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Placeholder {
    /// `{tenant}`
    Tenant,
    /// `{stamp}`
    Stamp,
}

/// A host that is no pattern, domain or neutral host.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum UnknownHost {
    /// Says nothing.
    #[default]
    Ignore,
    /// 421 `misdirected_request`.
    Reject,
}

/// What headers mean.
#[derive(Clone, Debug, PartialEq)]
pub struct HeaderRules {
    /// The header that names a stamp.
    pub stamp_name: http::HeaderName,
    /// The header that names a tenant, if one is configured.
    pub tenant_name: Option<http::HeaderName>,
    /// Whose headers count.
    pub accept_from: AcceptFrom,
}

/// Whose identity headers count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AcceptFrom {
    /// Everybody's.
    Any,
    /// Those of `[trust].proxies`.
    Trusted,
    /// Nobody's.
    Never,
}

/// What a cookie means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CookieRule {
    /// The cookie's name.
    pub name: Box<str>,
    /// What its value is.
    pub names: Placeholder,
}

/// Where the token of a request is read from: exactly one place.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum TokenPlace {
    /// `Authorization: Bearer` (RFC 6750, section 2.1).
    #[default]
    Bearer,
    /// The cookie of this name.
    Cookie(Box<str>),
    /// The header of this name.
    Header(http::HeaderName),
}

/// One token issuer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IssuerRule {
    /// Must equal `iss`.
    pub issuer: Box<str>,
    /// One of these must be in `aud`. Never empty.
    pub audiences: Vec<Box<str>>,
    /// The algorithms that are accepted. Never empty.
    pub algorithms: Vec<Algorithm>,
    /// Where the keys are; paths are relative to nothing: the loader made them absolute.
    pub keys: KeySource,
    /// Path of the tenant claim, from the top: a tenant, or a list of them.
    pub tenant_claim: Vec<Box<str>>,
    /// Path of the stamp claim, if one is configured.
    pub stamp_claim: Option<Vec<Box<str>>>,
    /// How far clocks may differ.
    pub leeway: Duration,
}

/// Where an issuer's keys are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeySource {
    /// A JSON Web Key Set (RFC 7517).
    JwksFile(PathBuf),
    /// The same, published by the issuer.
    JwksUrl(Box<JwksSource>),
    /// One PEM public key.
    PublicKeyFile(PathBuf),
    /// One shared secret, as raw bytes without the final newline.
    HmacSecretFile(PathBuf),
}

impl KeySource {
    /// The file that the keys are in, unless they are fetched.
    #[must_use]
    pub const fn file(&self) -> Option<&PathBuf> {
        match self {
            Self::JwksFile(path) | Self::PublicKeyFile(path) | Self::HmacSecretFile(path) => {
                Some(path)
            }
            Self::JwksUrl(_) => None,
        }
    }
}

/// Signature algorithms (RFC 7518, section 3.1; RFC 8037).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[expect(missing_docs, reason = "the names are the registry's")]
pub enum Algorithm {
    HS256,
    RS256,
    PS256,
    ES256,
    EdDSA,
}

impl RoutingTable {
    /// All stamps, in the order of the file.
    #[must_use]
    pub fn stamps(&self) -> &[Stamp] {
        &self.stamps
    }

    /// The most connections that the pools of all stamps may have.
    #[must_use]
    pub fn connections_max(&self) -> u64 {
        let of =
            |stamp: &Stamp| stamp.endpoints.len() as u64 * u64::from(stamp.pool.connections_max);
        self.stamps.iter().map(of).sum()
    }

    /// The stamp at this place.
    #[must_use]
    pub fn stamp(&self, index: StampIndex) -> &Stamp {
        #[expect(clippy::indexing_slicing, reason = "a StampIndex is made by this table only")]
        &self.stamps[index.at()]
    }

    /// The place of the stamp of this name.
    #[must_use]
    pub fn find_stamp(&self, id: &StampId<'_>) -> Option<StampIndex> {
        self.stamp_by_id.get(id.as_str()).copied()
    }

    /// The endpoint at this place, and its stamp.
    #[must_use]
    pub fn endpoint(&self, index: EndpointIndex) -> (StampIndex, &Endpoint) {
        #[expect(clippy::indexing_slicing, reason = "an EndpointIndex is made by this table only")]
        let (stamp, place) = self.endpoint_owner[index.at()];
        #[expect(clippy::indexing_slicing, reason = "built together with endpoint_owner")]
        (stamp, &self.stamp(stamp).endpoints[place as usize])
    }

    /// How many endpoints all stamps have together.
    #[must_use]
    pub fn endpoint_count(&self) -> usize {
        self.endpoint_owner.len()
    }

    /// The tenant that owns this custom domain (lower case, no port, no final dot).
    #[must_use]
    pub fn find_domain(&self, host: &str) -> Option<TenantIndex> {
        self.domains.get(host).copied()
    }

    /// How many tenants live on this stamp.
    #[must_use]
    pub fn tenants_on(&self, stamp: StampIndex) -> u32 {
        self.tenants_by_stamp.get(stamp.at()).copied().unwrap_or_default().all
    }

    /// How many of them are active: suspended and offboarded ones send it nothing. Where tenants
    /// are placed by a hash, nobody knows how many: then a thousand are assumed besides.
    #[must_use]
    pub fn active_tenants_on(&self, stamp: StampIndex) -> u32 {
        let placed = if self.is_placed_on(stamp) { PLACED_ASSUMED } else { 0 };
        self.tenants_by_stamp.get(stamp.at()).copied().unwrap_or_default().active + placed
    }

    /// The name of a residency zone.
    #[must_use]
    pub fn residency_name(&self, residency: ResidencyIndex) -> &str {
        self.residencies.get(usize::from(residency.0)).map_or("", |name| name)
    }

    /// All stamps with their places.
    pub fn indexed_stamps(&self) -> impl Iterator<Item = (StampIndex, &Stamp)> {
        (0..).map(StampIndex).zip(&self.stamps)
    }

    /// May what is behind this fence be in a stamp of this residency?
    #[must_use]
    pub fn fence_allows(&self, fence: FenceIndex, residency: Option<ResidencyIndex>) -> bool {
        zones::allows(&self.fences, fence, residency)
    }

    /// May requests for the stamp `home`, without a tenant, be served by the stamp `to`?
    #[must_use]
    pub fn stamp_fence_allows(&self, home: StampIndex, to: StampIndex) -> bool {
        match self.stamp(home).residency {
            Some(zone) => self.stamp(to).residency == Some(zone),
            None => true,
        }
    }

    /// The names of the zones that a fence allows; none for the fence that fences nobody in.
    pub fn fence_zones(&self, fence: FenceIndex) -> impl Iterator<Item = &str> {
        let zones = self.fences.get(usize::from(fence.0)).into_iter().flatten();
        zones.map(|zone| self.residency_name(*zone))
    }

    /// All custom domains and their tenants, by name.
    pub fn domains(&self) -> impl Iterator<Item = (&str, TenantIndex)> {
        self.domains.iter().map(|(host, tenant)| (&**host, *tenant))
    }
}
