//! gateway.toml: the process. Text and environment go in; `Settings`, right by construction, or
//! every mistake at once come out.

mod compare;
mod leaf;
mod load;
mod raw;
#[cfg(test)]
mod tests;
mod tls;

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::num::{NonZeroU32, NonZeroU64, NonZeroUsize};
use std::path::PathBuf;
use std::time::Duration;

use ipnet::IpNet;
use stamp_core::document::{Json, file_schema};
use stamp_core::framing::HeadLimits;

pub use compare::restart_keys;
pub use load::{load, routing_file};
pub use tls::{CertificateFiles, ClientAuth, ListenerTls, TlsVersion};

/// The JSON Schema of gateway.toml.
#[must_use]
pub fn schema_gateway() -> Json {
    file_schema::<raw::RawGateway>("stampgate gateway.toml")
}

/// The JSON Schema of routing.toml.
#[must_use]
pub fn schema_routing() -> Json {
    stamp_core::raw::schema()
}

/// All of gateway.toml. Outside of `live`, a change needs a restart.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// This gateway's name in Via, Proxy-Status and metrics: a token (RFC 9110, section 5.6.2).
    pub node_id: Box<str>,
    /// Data workers; `None` = one per available core.
    pub workers: Option<NonZeroUsize>,
    /// Where clients connect. Never empty; names and addresses are unique.
    pub listeners: Vec<Listener>,
    /// Where the routing table is and how it is watched.
    pub routing: RoutingFile,
    /// Where the last known good table and the operator journal are.
    pub state_directory: PathBuf,
    /// The admin plane.
    pub admin: Admin,
    /// How the application log is written.
    pub log_format: LogFormat,
    /// What a reload applies.
    pub live: Live,
}

/// What a reload of gateway.toml applies without a restart.
#[derive(Clone, Debug, PartialEq)]
pub struct Live {
    /// Peers that may set Forwarded, X-Forwarded-* and X-Request-Id, and send PROXY headers.
    pub trusted_proxies: Vec<IpNet>,
    /// What one client, or all together, may take.
    pub limits: Limits,
    /// How long things may take.
    pub timeouts: Timeouts,
    /// A reload of routing.toml that moves a larger share of tenants is refused. Percent, 0 to 100.
    pub guard_percent: u32,
    /// Who may do what on the admin plane. Empty = everybody on loopback.
    pub admin_tokens: Vec<AdminToken>,
    /// How much the application log says.
    pub log_level: LogLevel,
    /// One line a request.
    pub access_log: AccessLog,
    /// How the process ends.
    pub shutdown: Shutdown,
    /// How listeners that speak TLS shake hands, by their names.
    pub tls: BTreeMap<Box<str>, ListenerTls>,
}

impl Live {
    /// Is this one of `[trust].proxies`?
    #[must_use]
    pub fn trusts(&self, peer: IpAddr) -> bool {
        self.trusted_proxies.iter().any(|proxies| proxies.contains(&peer))
    }
}

/// Where clients connect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listener {
    /// Its name in logs and metrics.
    pub name: Box<str>,
    /// Its addresses. Never empty.
    pub bind: Vec<SocketAddr>,
    /// What is spoken. Never empty.
    pub protocols: Vec<Protocol>,
    /// The most connections, over all workers.
    pub connections_max: NonZeroU32,
    /// Does it speak TLS? How, stands in `Live`.
    pub is_tls: bool,
    /// Must proxies say whose a connection is?
    pub proxy_protocol: ProxyProtocol,
}

/// Must proxies say whose a connection is?
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProxyProtocol {
    /// A connection is its peer's.
    Off,
    /// Each begins with a header of version 1 or 2, from one of `[trust].proxies`.
    Required,
}

/// What is spoken on a listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// HTTP/1.1 (RFC 9112).
    Http1,
    /// HTTP/2 (RFC 9113) over TLS, by ALPN.
    Http2,
    /// HTTP/2 in the clear, with prior knowledge (RFC 9113, section 3.3).
    Http2Clear,
}

/// What one client, or all together, may take.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Largest request head, in bytes: 431 beyond.
    pub header_bytes_max: usize,
    /// Most header lines of a request: 431 beyond.
    pub header_count_max: usize,
    /// Longest request target, in bytes: 414 beyond.
    pub uri_bytes_max: usize,
    /// Largest request body, in bytes: 413 beyond. `None` = unlimited.
    pub request_body_bytes_max: Option<NonZeroU64>,
    /// Most requests in flight over all workers: 503 `overloaded` beyond.
    pub in_flight_max: NonZeroU32,
    /// A body sent or an answer read more slowly than this, 5 s on, is cut. `None` = never.
    pub bytes_per_second_min: Option<NonZeroU32>,
    /// Most streams of one HTTP/2 connection at a time.
    pub h2_streams_max: NonZeroU32,
    /// Most streams of one that its client reset and that were not looked at yet.
    pub h2_pending_resets_max: usize,
    /// Most connections of one address; trusted proxies are exempt. `None` = unlimited.
    pub connections_per_client_max: Option<NonZeroU32>,
    /// Most requests over one connection; it ends after the last. `None` = unlimited.
    pub requests_per_connection_max: Option<NonZeroU32>,
    /// How much memory there is.
    pub memory: MemoryLimit,
    /// Most TLS handshakes under way, over all workers; others wait for their turn.
    pub handshakes_max: NonZeroU32,
}

impl Limits {
    /// May a request body have so many bytes?
    #[must_use]
    pub fn takes_body(&self, bytes: u64) -> bool {
        self.request_body_bytes_max.is_none_or(|max| bytes <= max.get())
    }

    /// What the head of a request may have.
    #[must_use]
    pub const fn of_head(&self) -> HeadLimits {
        HeadLimits {
            head_bytes_max: self.header_bytes_max,
            fields_max: self.header_count_max,
            uri_bytes_max: self.uri_bytes_max,
        }
    }

    /// Does a connection end after so many requests?
    #[must_use]
    pub fn ends_after(&self, requests: u64) -> bool {
        self.requests_per_connection_max.is_some_and(|max| requests >= u64::from(max.get()))
    }

    /// The least rate of a peer; 0 = none is asked for.
    #[must_use]
    pub fn bytes_per_second(&self) -> u64 {
        self.bytes_per_second_min.map_or(0, |least| u64::from(least.get()))
    }
}

/// How much memory there is: as it becomes short, ever more is given up for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MemoryLimit {
    /// As much as the control groups of the process may have.
    Auto,
    /// Whatever it takes.
    Off,
    /// So much for what the process allocates. Sockets' buffers are the kernel's, and not in it.
    Bytes(NonZeroU64),
}

/// How long things may take. None is zero.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// From accept to the end of the TLS handshake.
    pub tls_handshake: Duration,
    /// From accept, or the end of the TLS handshake, to the first byte of a request.
    pub first_byte: Duration,
    /// From the first byte of a request to the end of its head: 408.
    pub request_headers: Duration,
    /// Between two pieces of a request body: 408.
    pub request_body_idle: Duration,
    /// Between two requests of a client connection.
    pub downstream_idle: Duration,
    /// To connect to an endpoint.
    pub connect: Duration,
    /// From the end of a request to the head of its response: 504.
    pub response_headers: Duration,
    /// Between two pieces of a response body.
    pub response_body_idle: Duration,
    /// From the head of a request to the end of its response. `None` = as long as it takes.
    pub request_total: Option<Duration>,
}

/// Where the routing table is and how it is watched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RoutingFile {
    /// routing.toml.
    pub file: PathBuf,
    /// Reload when it, or a file that it names, changes?
    pub watch: bool,
    /// How long to wait for more changes before a reload.
    pub debounce: Duration,
}

/// The admin plane.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Admin {
    /// Its address; beyond loopback only with tokens.
    pub bind: SocketAddr,
    /// A unix socket besides.
    pub unix_socket: Option<PathBuf>,
    /// The hosts that a request may name: lower case, without port, IPv6 in brackets.
    pub allowed_hosts: Vec<Box<str>>,
    /// Where changes are written down; `None` = the application log.
    pub audit_log: Option<PathBuf>,
}

/// A token of the admin plane.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AdminToken {
    /// Who it belongs to. Unique.
    pub id: Box<str>,
    /// What it may do.
    pub role: Role,
    /// A file with the SHA-256 of the token, in hexadecimal.
    pub sha256_file: PathBuf,
}

/// What a token of the admin plane may do, least first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// Read.
    Viewer,
    /// Read and change.
    Operator,
}

/// How much the application log says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are those of `tracing::Level`")]
pub enum LogLevel {
    Error,
    Warn,
    Info,
    Debug,
    Trace,
}

impl LogLevel {
    /// As an `EnvFilter` directive.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warn => "warn",
            Self::Info => "info",
            Self::Debug => "debug",
            Self::Trace => "trace",
        }
    }
}

/// How the application log is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// Pretty on a terminal, else JSON.
    Auto,
    /// For people.
    Pretty,
    /// One object a line.
    Json,
}

/// One line a request.
#[derive(Clone, Debug, PartialEq)]
pub struct AccessLog {
    /// Write it?
    pub enabled: bool,
    /// Where to.
    pub target: LogTarget,
    /// Share of 2xx and 3xx that is written, 0 to 1; errors and failovers always are.
    pub sample: f64,
}

/// Where a log goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LogTarget {
    /// Standard output.
    Stdout,
    /// A file, opened again on HUP.
    File(PathBuf),
}

/// How the process ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shutdown {
    /// Readiness fails, and connections are still accepted.
    pub delay: Duration,
    /// How long requests in flight may take after that.
    pub deadline: Duration,
}
