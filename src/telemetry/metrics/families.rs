//! The metrics: names, labels, and what each is for.

/// A metric, whatever its labels say.
pub(super) struct Family {
    pub(super) name: &'static str,
    pub(super) kind: Kind,
    pub(super) labels: &'static [&'static str],
    pub(super) help: &'static str,
}

/// What a metric is to Prometheus.
#[derive(Clone, Copy)]
pub(super) enum Kind {
    Counter,
    Gauge,
    Histogram,
}

const fn counter(
    name: &'static str,
    labels: &'static [&'static str],
    help: &'static str,
) -> Family {
    Family { name, kind: Kind::Counter, labels, help }
}

const fn gauge(name: &'static str, labels: &'static [&'static str], help: &'static str) -> Family {
    Family { name, kind: Kind::Gauge, labels, help }
}

const fn histogram(
    name: &'static str,
    labels: &'static [&'static str],
    help: &'static str,
) -> Family {
    Family { name, kind: Kind::Histogram, labels, help }
}

pub(super) const REQUESTS: Family = counter(
    "stampgate_requests_total",
    &["listener", "stamp", "method", "code"],
    "Requests answered; stamp is empty where none was found.",
);
pub(super) const REQUEST_DURATION: Family = histogram(
    "stampgate_request_duration_seconds",
    &["stamp"],
    "Time from a request's head to the end of its answer.",
);
pub(super) const OVERHEAD: Family = histogram(
    "stampgate_gateway_overhead_seconds",
    &[],
    "Time that requests spent in the gateway itself.",
);
pub(super) const WORKER_LAG: Family = histogram(
    "stampgate_worker_lag_seconds",
    &[],
    "How late workers came to look at what is due, every 10 ms while clients are connected.",
);
pub(super) const IN_FLIGHT: Family =
    gauge("stampgate_requests_in_flight", &["stamp"], "Requests in flight at a stamp.");
pub(super) const RESOLUTIONS: Family = counter(
    "stampgate_resolutions_total",
    &["source", "result"],
    "Requests by the source that named their stamp, and what came of it.",
);
pub(super) const ERRORS: Family = counter(
    "stampgate_errors_total",
    &["stamp", "code"],
    "Requests that the gateway refused or could not serve, by problem code.",
);
pub(super) const ATTEMPTS: Family = counter(
    "stampgate_attempts_total",
    &["stamp", "endpoint", "outcome"],
    "Attempts to send a request to an endpoint.",
);
pub(super) const RETRIES: Family =
    counter("stampgate_retries_total", &["stamp", "reason"], "Attempts that were repeated.");
pub(super) const FAILOVERS: Family = counter(
    "stampgate_failovers_total",
    &["from", "to", "reason"],
    "Requests served by a secondary instead of their home.",
);
pub(super) const FAILOVER_ACTIVE: Family = gauge(
    "stampgate_failover_active",
    &["from", "to"],
    "1 while the secondary answers for the home.",
);
pub(super) const STAMP_STATE: Family =
    gauge("stampgate_stamp_state", &["stamp", "state"], "1 for the operator state that holds.");
pub(super) const ENDPOINT_UP: Family = gauge(
    "stampgate_endpoint_up",
    &["stamp", "endpoint"],
    "0 while an endpoint is known to be bad or on trial, else 1.",
);
pub(super) const ENDPOINT_OUT: Family = gauge(
    "stampgate_endpoint_out",
    &["stamp", "endpoint", "reason"],
    "1 for the reason that an endpoint is out: probe_down, breaker_open, or trial (one request at a time).",
);
pub(super) const UPSTREAM_CONNECTIONS: Family = gauge(
    "stampgate_upstream_connections",
    &["stamp", "endpoint", "state"],
    "Connections to an endpoint, in use (active) or at rest (idle).",
);
pub(super) const DOWNSTREAM_CONNECTIONS: Family =
    gauge("stampgate_downstream_connections", &["listener"], "Clients' connections.");
pub(super) const DOWNSTREAM_RESTING: Family = gauge(
    "stampgate_downstream_connections_resting",
    &["listener"],
    "Those of them that were asked for nothing for a second, and make room for others.",
);
pub(super) const MADE_ROOM: Family = counter(
    "stampgate_connections_closed_for_room_total",
    &["listener"],
    "Clients' connections at rest that were closed since connections or memory were short.",
);
pub(super) const UNPROXIED: Family = counter(
    "stampgate_proxy_protocol_refused_total",
    &["listener", "reason"],
    "Connections closed for want of the PROXY header that their listener demands.",
);
pub(super) const POOL_WAIT: Family = histogram(
    "stampgate_pool_wait_seconds",
    &["stamp"],
    "Time that requests waited for a connection to their stamp.",
);
pub(super) const RATE_LIMITED: Family = counter(
    "stampgate_rate_limited_total",
    &["tier", "reason"],
    "Requests turned away (429) for their tenant's limits: rate or in_flight.",
);
pub(super) const SHED: Family = counter(
    "stampgate_shed_total",
    &["stamp", "tier", "reason"],
    "Requests turned away (503) by a stamp that is full, or nearly so and left to higher priorities.",
);
pub(super) const ACTIVE_TENANTS: Family =
    gauge("stampgate_active_tenants", &[], "Tenants that were active within the last minutes.");
pub(super) const DRAIN_IN_FLIGHT: Family = gauge(
    "stampgate_drain_in_flight",
    &["stamp"],
    "Requests and tunnels in flight at a stamp that is draining.",
);
pub(super) const SELF_SUSPECT: Family = gauge(
    "stampgate_self_suspect",
    &[],
    "1 while more than half of all stamps fail at once: the last standing is kept.",
);
pub(super) const GENERATION: Family =
    gauge("stampgate_config_generation", &[], "Number of the table in force.");
pub(super) const LAST_RELOAD: Family = gauge(
    "stampgate_config_last_reload_success",
    &[],
    "0 while the files were refused or an older table serves, else 1.",
);
pub(super) const RELOADS: Family =
    counter("stampgate_config_reloads_total", &["result"], "Reloads by their result.");
pub(super) const BAD_ROWS: Family = gauge(
    "stampgate_config_bad_rows",
    &["result"],
    "Bad rows of tenant files: their tenants keep the entry that they had (kept), or have none (left_out).",
);
pub(super) const TOKENS: Family = counter(
    "stampgate_jwt_validations_total",
    &["issuer", "result"],
    "Tokens that were looked at.",
);
pub(super) const KEY_FETCHES: Family = counter(
    "stampgate_jwks_fetches_total",
    &["issuer", "result"],
    "Fetches of an issuer's keys by their result.",
);
pub(super) const KEYS: Family = gauge(
    "stampgate_jwks_keys",
    &["issuer"],
    "Fetched keys that can be used; with none the issuer's tokens are answered with 503.",
);
pub(super) const KEYS_AGE: Family = gauge(
    "stampgate_jwks_age_seconds",
    &["issuer"],
    "Time since an issuer's keys were last fetched.",
);
pub(super) const HANDSHAKES: Family = counter(
    "stampgate_tls_handshakes_total",
    &["listener", "result"],
    "TLS handshakes with clients: ok, resumed, or why there is no session.",
);
pub(super) const CLIENTS_CUT: Family = counter(
    "stampgate_clients_cut_total",
    &["listener", "reason"],
    "Connections closed since their clients only cost: slow_reader, gave_way; of HTTP/2 also control_frames, resets, header_block.",
);
pub(super) const NOT_AFTER: Family = gauge(
    "stampgate_tls_certificate_not_after_timestamp_seconds",
    &["listener", "name"],
    "When the certificate that is shown for a name expires, since 1970.",
);
pub(super) const LOG_DROPPED: Family = counter(
    "stampgate_access_log_dropped_total",
    &[],
    "Access log lines that were dropped since they could not be written in time.",
);
pub(super) const PANICS: Family =
    counter("stampgate_panics_total", &[], "Requests answered with 500 since their task panicked.");
pub(super) const MEMORY_LEVEL: Family = gauge(
    "stampgate_memory_level",
    &[],
    "What is given up for memory: 0 nothing, 1 idle connections, 2 new requests, 3 new connections.",
);
pub(super) const MEMORY_USED: Family = gauge(
    "stampgate_memory_used_bytes",
    &[],
    "Memory that counts against its limit; absent without one.",
);
pub(super) const MEMORY_LIMIT: Family =
    gauge("stampgate_memory_limit_bytes", &[], "The limit of memory; absent without one.");
pub(super) const BUILD: Family =
    gauge("stampgate_build_info", &["version"], "1, with the version as a label.");
pub(super) const CPU: Family =
    counter("process_cpu_seconds_total", &[], "Processor time in seconds.");
pub(super) const RESIDENT: Family = gauge("process_resident_memory_bytes", &[], "Memory in use.");
pub(super) const VIRTUAL: Family =
    gauge("process_virtual_memory_bytes", &[], "Address space in use.");
pub(super) const FDS: Family = gauge("process_open_fds", &[], "Open file descriptors.");
pub(super) const FDS_MAX: Family =
    gauge("process_max_fds", &[], "The most file descriptors that may be open.");
pub(super) const STARTED: Family =
    gauge("process_start_time_seconds", &[], "When the process began, since 1970.");
