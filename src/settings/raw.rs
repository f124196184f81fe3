//! gateway.toml as written: every leaf is parsed, nothing is checked against anything else yet.

use std::path::PathBuf;

use stamp_core::as_written;
use stamp_core::document::{Bytes, Count, Lasting, OneOrMany, Percent, Ratio, Version, Written};

use super::MemoryLimit;
use super::leaf::{AllowedHost, BindAddress, NameToken, Network};
use super::tls::ClientAuthWord;
use super::{LogFormat, LogLevel, LogTarget, Protocol, ProxyProtocol, Role, TlsVersion};

as_written! {
    /// gateway.toml: the process.
    pub(super) struct RawGateway {
        /// The version of this file's format. Must be the first key.
        pub version: Version,
        /// This gateway among others.
        pub node: RawNode = {},
        /// Threads.
        pub runtime: RawRuntime = {},
        /// Where clients connect. One or more.
        pub listener: Written<Vec<Written<RawListener>>>,
        /// Who may speak for others.
        pub trust: RawTrust = {},
        /// What one client, or all together, may take.
        pub limits: RawLimits = {},
        /// How long things may take.
        pub timeouts: RawTimeouts = {},
        /// The routing table.
        pub routing: RawRoutingFile = {},
        /// What survives a restart.
        pub state: RawState = {},
        /// The admin plane.
        pub admin: RawAdmin = {},
        /// The application log.
        pub log: RawLog = {},
        /// One line a request.
        pub access_log: RawAccessLog = {},
        /// How the process ends.
        pub shutdown: RawShutdown = {},
    }

    /// This gateway among others.
    pub(super) struct RawNode {
        /// Its name in Via, Proxy-Status and metrics. Default: the host name.
        pub id: Option<NameToken>,
    }

    /// Threads.
    pub(super) struct RawRuntime {
        /// Data workers; 0: one per available core.
        pub workers: Count<0, 1024> = 0,
    }

    /// Where clients connect.
    pub(super) struct RawListener {
        /// Its name in logs and metrics.
        pub name: Written<NameToken>,
        /// One address or a list of them: `0.0.0.0:8080`.
        pub bind: Written<OneOrMany<Written<BindAddress>>>,
        /// What is spoken: `http/1.1`; `h2` over TLS, by ALPN, the first of both that the client knows; `h2c` in the clear.
        pub protocols: Written<Vec<Protocol>> = ["http/1.1"],
        /// The most connections.
        pub max_connections: Count<1, 10_000_000> = 50_000,
        /// `required`: each connection begins with a PROXY header, version 1 or 2, from `[trust].proxies`; or `off`.
        pub proxy_protocol: ProxyProtocol = "off",
        /// Speaks TLS. Without it: in the clear.
        pub tls: Option<Written<RawListenerTls>>,
    }

    /// How a listener speaks TLS.
    pub(super) struct RawListenerTls {
        /// Its certificates, chosen by the name that the client asks for; the first is the default.
        pub certificates: Written<Vec<Written<RawCertificate>>>,
        /// The oldest version: `1.2` or `1.3`.
        pub min_version: TlsVersion = "1.2",
        /// Do clients show certificates? `none`, `optional` or `required`.
        pub client_auth: Written<ClientAuthWord> = "none",
        /// A file with the certificates that vouch for those of clients. Relative to this file.
        pub client_ca: Option<Written<PathBuf>>,
        /// Refuse clients that ask for no name, or for one that no certificate has? Else the first serves.
        pub strict_sni: bool = false,
    }

    /// A certificate and its key.
    pub(super) struct RawCertificate {
        /// The certificate, then those that lead to its issuer, in PEM. Relative to this file.
        pub cert: Written<PathBuf>,
        /// Its private key, in PEM and not encrypted. Relative to this file.
        pub key: PathBuf,
    }

    /// Who may speak for others.
    pub(super) struct RawTrust {
        /// Networks (CIDR) or addresses. Only these may set Forwarded, X-Forwarded-* and X-Request-Id, and send PROXY headers.
        pub proxies: Vec<Written<Network>> = [],
    }

    /// What one client, or all together, may take.
    pub(super) struct RawLimits {
        /// Largest request head: 431 beyond.
        pub header_bytes: Bytes<64, 0x10_0000> = "32KiB",
        /// Most header lines of a request: 431 beyond.
        pub header_count: Count<1, 10_000> = 100,
        /// Longest request target: 414 beyond.
        pub uri_bytes: Bytes<16, 65_534> = "16KiB",
        /// Largest request body: 413 beyond. "0": unlimited.
        pub request_body_bytes: Bytes<0, 0x100_0000_0000> = "64MiB",
        /// Most requests in flight: 503 `overloaded` beyond.
        pub in_flight_requests: Count<1, 10_000_000> = 20_000,
        /// Most streams of one HTTP/2 connection at a time.
        pub h2_concurrent_streams: Count<1, 100_000> = 128,
        /// Most streams of one that its client reset before they were looked at; it is closed beyond.
        pub h2_pending_resets: Count<1, 10_000> = 20,
        /// A body sent or an answer read more slowly than this, 5 s on, is cut. 0: off.
        pub min_bytes_per_second: Count<0, 1_000_000_000> = 240,
        /// Most connections of one address; trusted proxies are exempt. 0: unlimited.
        pub connections_per_client: Count<0, 10_000_000> = 0,
        /// Most requests over one connection; it ends after the last. 0: unlimited.
        pub requests_per_connection: Count<0, 1_000_000_000> = 10_000,
        /// The most memory; connections and requests are given up before it is reached. `auto`: what the control groups of the process may have, if that is limited; a size: what the process itself allocates; "0": off.
        pub memory: MemoryLimit = "auto",
        /// Most TLS handshakes under way; others wait for their turn.
        pub tls_handshakes: Count<1, 1_000_000> = 1_000,
    }

    /// How long things may take.
    pub(super) struct RawTimeouts {
        /// From accept to the end of the TLS handshake.
        pub tls_handshake: Lasting<1> = "5s",
        /// From accept, or the end of the TLS handshake, to the first byte of a request. A PROXY header must come whole within it too.
        pub first_byte: Lasting<1> = "10s",
        /// From the first byte of a request to the end of its head: 408.
        pub request_headers: Lasting<1> = "10s",
        /// Between two pieces of a request body: 408.
        pub request_body_idle: Lasting<1> = "30s",
        /// Between two requests of a client connection.
        pub downstream_idle: Lasting<1> = "75s",
        /// To connect to an endpoint.
        pub connect: Lasting<1> = "1s",
        /// From the end of a request to the head of its response: 504.
        pub response_headers: Lasting<1> = "30s",
        /// Between two pieces of a response body.
        pub response_body_idle: Lasting<1> = "60s",
        /// From the head of a request to the end of its response. "0s": none.
        pub request_total: Lasting<0> = "0s",
    }

    /// The routing table.
    pub(super) struct RawRoutingFile {
        /// Where it is. Relative to this file.
        pub file: PathBuf = "routing.toml",
        /// Reload when it, or a file that it names, changes?
        pub watch: bool = true,
        /// How long to wait for more changes before a reload.
        pub debounce: Lasting<0> = "250ms",
        /// A reload that moves more tenants than this is refused unless forced.
        pub guard_max_tenant_moves: Percent = "20%",
    }

    /// What survives a restart.
    pub(super) struct RawState {
        /// Last known good table and operator journal. Relative to this file.
        pub directory: PathBuf = "state",
    }

    /// The admin plane.
    pub(super) struct RawAdmin {
        /// Its address. Beyond loopback only with tokens.
        pub bind: Written<BindAddress> = "127.0.0.1:9900",
        /// A unix socket besides. Relative to this file.
        pub unix_socket: Option<PathBuf>,
        /// The hosts that a request may name (against DNS rebinding), without port.
        pub allowed_hosts: Vec<Written<AllowedHost>> = ["localhost", "127.0.0.1", "[::1]"],
        /// Who may do what.
        pub tokens: Vec<RawToken> = [],
        /// Where changes are written down. Default: the application log. Relative to this file.
        pub audit_log: Option<PathBuf>,
    }

    /// A token of the admin plane.
    pub(super) struct RawToken {
        /// Who it belongs to: named in the audit log.
        pub id: Written<NameToken>,
        /// `viewer` (reads) or `operator` (changes).
        pub role: Role,
        /// A file with the SHA-256 of the token in hexadecimal. Relative to this file.
        pub sha256_file: PathBuf,
    }

    /// The application log.
    pub(super) struct RawLog {
        /// `error`, `warn`, `info`, `debug` or `trace`.
        pub level: LogLevel = "info",
        /// `pretty`, `json`, or `auto`: pretty on a terminal, else JSON.
        pub format: LogFormat = "auto",
    }

    /// One line a request.
    pub(super) struct RawAccessLog {
        /// Write it?
        pub enabled: bool = true,
        /// `stdout` or a file, which is opened again on HUP. Relative to this file.
        pub path: LogTarget = "stdout",
        /// Share of 2xx and 3xx that is written; errors and failovers always are.
        pub sample: Ratio = 1.0,
    }

    /// How the process ends.
    pub(super) struct RawShutdown {
        /// Readiness fails, and connections are still accepted.
        pub delay: Lasting<0> = "0s",
        /// How long requests in flight may take after that.
        pub deadline: Lasting<0> = "30s",
    }
}
