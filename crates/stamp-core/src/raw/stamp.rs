//! `[[stamp]]` and `[defaults.stamp]` as written. Defaults here are those that are built in.

use std::path::PathBuf;

use super::endpoint::EndpointUrl;
use super::leaf::{CertificateName, HasShortForm, ProbePath, ShortOrLong, StatusRange, Zone};
use crate::document::{
    Bytes, Count, FromToml, Json, Lasting, Percent, Ratio, Report, Value, Written,
};
use crate::id::StampId;
use crate::standing::OperatorState;
use crate::table::{Access, Balance, EdgeMode, FailbackMode, PoolProtocol};
use crate::{as_written, words};

as_written! {
    /// One stamp: a whole, isolated copy of the application.
    pub struct RawStamp {
        /// Its name: one DNS label.
        pub id: Written<OwnId>,
        /// Its addresses, one or more.
        pub endpoints: Written<Vec<Written<RawEndpoint>>>,
        /// The stamps that may stand in for it, in order. Nothing else ever does.
        pub failover: Vec<Written<ShortOrLong<RawEdge>>> = [],
        .. pub policy: RawStampPolicy,
    }

    /// What stamps may have in common.
    pub struct RawStampPolicy {
        /// Where it runs, for people.
        pub region: Option<String>,
        /// The zone that its data stays in. Absent: not fenced.
        pub residency: Option<Written<Zone>>,
        /// Its declared state: `active`, `draining` or `maintenance`.
        pub state: Written<OperatorState> = "active",
        /// Who may come in: `any`, or `verified` (only requests whose tenant a token proves).
        pub access: Access = "any",
        /// How an endpoint is picked: `least_request` (the less loaded of two) or `round_robin`.
        pub balance: Balance = "least_request",
        /// The most requests in flight: 503 `stamp_saturated` beyond.
        pub max_in_flight: Count<1, 10_000_000> = 4096,
        /// How it proves who it is at its `https://` endpoints.
        pub tls: Option<Written<RawTls>>,
        /// How its endpoints are probed and judged.
        pub health: RawHealth = {},
        /// How connections to its endpoints are kept.
        pub pool: RawPool = {},
        /// When an attempt is repeated.
        pub retry: RawRetry = {},
        /// How requests come home again.
        pub failback: RawFailback = {},
    }

    /// One address of a stamp.
    pub struct RawEndpoint {
        /// `http://host:port`, or `https://host:port` for TLS.
        pub url: Written<EndpointUrl>,
        /// Its share of the requests relative to its siblings.
        pub weight: Count<1, 65_535> = 1,
    }

    /// How a stamp proves who it is, and the gateway to it.
    pub struct RawTls {
        /// The certificates, in PEM, that vouch for the stamp's own. Absent: those that the system
        /// trusts. Relative to this file.
        pub ca: Option<Written<PathBuf>>,
        /// The name or address that the stamp's certificate must be for. Absent: the host of each
        /// endpoint.
        pub server_name: Option<Written<CertificateName>>,
        /// The gateway's own certificate, in PEM with those that lead to its issuer, where the stamp
        /// demands one. Relative to this file.
        pub cert: Option<Written<PathBuf>>,
        /// The private key of `cert`, in PEM. Relative to this file.
        pub key: Option<Written<PathBuf>>,
    }

    /// A declared way out of a home that cannot serve.
    pub struct RawEdge {
        /// The stamp that stands in.
        pub to: Written<StampId<'static>>,
        /// What may go there: `read_write` (everything) or `read_only` (safe methods).
        pub mode: EdgeMode = "read_write",
    }

    /// How endpoints are probed and judged.
    pub struct RawHealth {
        /// What to ask by GET. Absent or empty: a TCP connect is enough.
        pub path: Option<ProbePath>,
        /// From the start of one probe to the next, before jitter.
        pub interval: Lasting<1> = "5s",
        /// The longest a probe may take.
        pub timeout: Lasting<1> = "2s",
        /// Failed probes in a row that take an endpoint out.
        pub fall: Count<1, 1000> = 3,
        /// Good probes in a row that bring it back.
        pub rise: Count<1, 1000> = 2,
        /// Status codes that count as good.
        pub expect: Written<Vec<StatusRange>> = ["200-299"],
        /// What requests themselves teach.
        pub passive: RawPassive = {},
    }

    /// When failing requests open an endpoint's breaker.
    pub struct RawPassive {
        /// Failures in a row that open it.
        pub consecutive_failures: Count<1, 1_000_000> = 5,
        /// Share of failures in the window that opens it.
        pub failure_ratio: Ratio = 0.5,
        /// Requests in the window below which the ratio says nothing.
        pub min_requests: Count<1, 1_000_000> = 20,
        /// The sliding window of the ratio.
        pub window: Lasting<1> = "10s",
        /// How long the breaker stays open at first; doubles with each trip that follows.
        pub open_for: Written<Lasting<1>> = "10s",
        /// The longest that doubling may reach.
        pub open_for_max: Written<Lasting<1>> = "5m",
    }

    /// How connections to one endpoint are kept.
    pub struct RawPool {
        /// The protocol spoken to the stamp: `http/1.1`, `h2` (HTTP/2 over TLS, by ALPN; `http/1.1` with an
        /// endpoint that knows no other) or `h2c` (HTTP/2 in the clear).
        pub protocol: Written<PoolProtocol> = "http/1.1",
        /// The most connections to one endpoint.
        pub max_connections: Count<1, 1_000_000> = 256,
        /// Unused for this long, a connection is closed.
        pub idle_timeout: Lasting<1> = "30s",
        /// This old, a connection is not used again.
        pub max_lifetime: Lasting<1> = "10m",
        /// The most requests that wait for a connection.
        pub max_pending: Count<0, 1_000_000> = 1024,
        /// The longest that one waits.
        pub pending_timeout: Lasting<1> = "500ms",
    }

    /// When an attempt is repeated.
    pub struct RawRetry {
        /// Attempts at one stamp, the first included; one more may follow over an edge. 1: never
        /// repeated.
        pub attempts: Count<1, 10> = 2,
        /// The most repeats, as a share of requests, plus 10 a second.
        pub budget: Percent = "20%",
        /// Response codes that are repeated too, where the request may be.
        pub statuses: Vec<Count<500, 599>> = [],
        /// Largest request body kept for a repeat; a larger one streams and is not repeatable.
        pub replay_bytes: Bytes<0, 0x100_0000> = "64KiB",
    }

    /// How requests come home again.
    pub struct RawFailback {
        /// `auto`: by themselves, when home was up for `hold`; `manual`: when an operator says so.
        pub mode: FailbackMode = "auto",
        /// How long home must be eligible without a break; doubled by a second loss within the hour.
        pub hold: Lasting<0> = "30s",
        /// How long it takes until all tenants are back, and until a recovered endpoint has its
        /// whole share. 0: at once.
        pub ramp: Lasting<0> = "30s",
    }
}

words! {
    PoolProtocol {
        "http/1.1" => Self::Http1,
        "h2" => Self::Http2OverTls,
        "h2c" => Self::Http2InTheClear,
    }
    FailbackMode { "auto" => Self::Auto, "manual" => Self::Manual }
    Access { "any" => Self::Any, "verified" => Self::Verified }
    Balance { "least_request" => Self::LeastRequest, "round_robin" => Self::RoundRobin }
    EdgeMode { "read_write" => Self::ReadWrite, "read_only" => Self::ReadOnly }
    OperatorState {
        "active" => Self::Active,
        "draining" => Self::Draining,
        "maintenance" => Self::Maintenance,
    }
}

/// The name that a stamp gives itself. Where it is no name, the stamp is read all the same, so
/// that its other mistakes are found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OwnId(pub StampId<'static>);

impl FromToml for OwnId {
    fn read(value: &Value<'_>, report: &mut Report) -> Option<Self> {
        StampId::read(value, report).map(Self)
    }
    fn schema() -> Json {
        StampId::schema()
    }
    fn salvage() -> Option<Self> {
        StampId::parse("unnamed").ok().map(Self)
    }
}

impl HasShortForm for RawEdge {
    const EXPECTED: &'static str = "the id of a stamp, or a table with `to` and `mode`";

    fn read_short(value: &Value<'_>, report: &mut Report) -> Option<Self> {
        Some(Self { to: Written::read(value, report)?, mode: EdgeMode::ReadWrite })
    }

    fn short_schema() -> Json {
        StampId::schema()
    }
}
