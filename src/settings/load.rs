//! gateway.toml as written -> `Settings`: what must be unique is, what is open is guarded.

use std::collections::BTreeMap;
use std::fs;
use std::net::SocketAddr;
use std::num::{NonZeroU32, NonZeroU64, NonZeroUsize};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ipnet::IpNet;
use stamp_core::diagnostic::{Rejected, SourceText};
use stamp_core::document::{self, Environment, Report, Span, Written, beside};
use stamp_core::framing::is_token;

use super::raw::{RawAdmin, RawGateway, RawLimits, RawListener, RawTimeouts, RawToken, RawTrust};
use super::tls::listener_tls;
use super::{
    AccessLog, Admin, AdminToken, Limits, Listener, ListenerTls, Live, LogTarget, Protocol,
    RoutingFile, Settings, Shutdown, Timeouts,
};

/// The largest gateway.toml.
const FILE_BYTES_MAX: usize = 4 << 20;

/// Loads gateway.toml; variables `STAMPGATE__TABLE__KEY` of the environment win over it.
pub fn load(
    main: SourceText,
    environment: impl Iterator<Item = (String, String)>,
) -> Result<Settings, Rejected> {
    let (file, text) = (main.path.clone(), Arc::clone(&main.text));
    let mut report = Report::new(main);
    if text.len() > FILE_BYTES_MAX {
        report
            .error(Span::default(), "gateway.toml has over 4 MiB")
            .help("write what differs from the defaults only");
        return Err(report.finish().into());
    }
    let environment = Environment::new(environment);
    let raw = document::open(&text, &mut report).and_then(|mut tree| {
        environment.lay_over(&mut tree, &mut report);
        document::read::<RawGateway>(tree, &mut report)
    });
    // In a broken text nothing is missing for certain.
    let Some(raw) = raw.filter(|_| !report.has_syntax_errors()) else {
        return Err(report.finish().into());
    };
    let settings = build(raw, &file, &mut report);
    if report.has_errors() {
        return Err(report.finish().into());
    }
    Ok(settings)
}

/// The routing.toml that a refused gateway.toml names, if it can be told; else the default one, if
/// it is there. `stampgate check` finds the mistakes of both in one run.
pub fn routing_file(
    main: SourceText,
    environment: impl Iterator<Item = (String, String)>,
) -> Option<PathBuf> {
    let (file, text) = (main.path.clone(), Arc::clone(&main.text));
    let mut ignored = Report::new(main);
    let environment = Environment::new(environment);
    let mut tree = document::open(&text, &mut ignored)?;
    environment.lay_over(&mut tree, &mut ignored);
    let routing = tree.get("routing").and_then(|table| table.get_ref().as_table());
    let named = routing.and_then(|table| table.get("file")?.get_ref().as_str());
    match named {
        Some(named) => Some(beside(&file, Path::new(named))),
        None => Some(beside(&file, Path::new("routing.toml"))).filter(|path| path.exists()),
    }
}

/// Builds the settings. What is wrong is in the report, and they are then good for nothing.
fn build(raw: RawGateway, file: &Path, report: &mut Report) -> Settings {
    let listeners = listeners(&raw.listener, report);
    refuse_shared_addresses(&raw, report);
    refuse_open_admin(&raw.admin, report);
    let live = Live {
        trusted_proxies: proxies(&raw.trust, report),
        limits: limits(&raw.limits),
        timeouts: timeouts(&raw.timeouts),
        guard_percent: raw.routing.guard_max_tenant_moves.0,
        admin_tokens: tokens(&raw.admin.tokens, file, report),
        log_level: raw.log.level,
        access_log: AccessLog {
            enabled: raw.access_log.enabled,
            target: match &raw.access_log.path {
                LogTarget::Stdout => LogTarget::Stdout,
                LogTarget::File(path) => LogTarget::File(beside(file, path)),
            },
            sample: raw.access_log.sample.0,
        },
        shutdown: Shutdown { delay: raw.shutdown.delay.0, deadline: raw.shutdown.deadline.0 },
        tls: tls_of_listeners(&raw.listener.value, file, report),
    };
    Settings {
        node_id: raw.node.id.map_or_else(host_name, |id| id.0),
        workers: NonZeroUsize::new(raw.runtime.workers.0 as usize),
        listeners,
        routing: RoutingFile {
            file: beside(file, &raw.routing.file),
            watch: raw.routing.watch,
            debounce: raw.routing.debounce.0,
        },
        state_directory: beside(file, &raw.state.directory),
        admin: admin(&raw.admin, file, report),
        log_format: raw.log.format,
        live,
    }
}

fn listeners(raw: &Written<Vec<Written<RawListener>>>, report: &mut Report) -> Vec<Listener> {
    if raw.value.is_empty() && raw.span.is_written() {
        report
            .missing(raw.span, "no listener is declared")
            .help("add one: `[[listener]]` with `name` and `bind`");
    }
    let mut places = BTreeMap::new();
    let mut listeners = Vec::with_capacity(raw.value.len());
    for Written { value: listener, .. } in &raw.value {
        let Written { value: name, span } = &listener.name;
        if let Some(first) = places.insert(name, *span) {
            report
                .error(*span, format!("listener `{}` is declared twice", name.0))
                .note(first, "first declared here")
                .help("give one of them another name");
        }
        if listener.bind.value.0.is_empty() && listener.bind.span.is_written() {
            report
                .missing(listener.bind.span, format!("listener `{}` has no address", name.0))
                .help("write for example `bind = \"0.0.0.0:8080\"`");
        }
        if listener.protocols.value.is_empty() && listener.protocols.span.is_written() {
            report
                .error(listener.protocols.span, format!("listener `{}` speaks nothing", name.0))
                .help("write `protocols = [\"http/1.1\"]`");
        }
        refuse_unspeakable(listener, report);
        listeners.push(Listener {
            name: name.0.clone(),
            bind: listener.bind.value.0.iter().map(|bind| bind.value.0).collect(),
            protocols: listener.protocols.value.clone(),
            connections_max: at_least_one(listener.max_connections.0),
            is_tls: listener.tls.is_some(),
            proxy_protocol: listener.proxy_protocol,
        });
    }
    listeners
}

/// HTTP/2 goes by one name over TLS and by another in the clear.
fn refuse_unspeakable(listener: &RawListener, report: &mut Report) {
    let Written { value: protocols, span } = &listener.protocols;
    let (wrong, help) = match &listener.tls {
        Some(_) => (Protocol::Http2Clear, "over TLS it is \"h2\""),
        None => (Protocol::Http2, "in the clear it is \"h2c\", or give the listener `tls`"),
    };
    let name = &listener.name.value.0;
    if protocols.contains(&wrong) {
        report
            .error(*span, format!("listener `{name}` cannot speak HTTP/2 by this name"))
            .help(help);
    }
    let mut rest = protocols.iter();
    while let Some(protocol) = rest.next() {
        if rest.as_slice().contains(protocol) {
            report
                .error(*span, format!("listener `{name}` is given a protocol twice"))
                .help("remove one of them");
        }
    }
}

fn tls_of_listeners(
    raw: &[Written<RawListener>],
    file: &Path,
    report: &mut Report,
) -> BTreeMap<Box<str>, ListenerTls> {
    let mut by_name = BTreeMap::new();
    for Written { value: listener, .. } in raw {
        if let Some(tls) = &listener.tls {
            by_name.insert(
                listener.name.value.0.clone(),
                listener_tls((tls, &listener.protocols.value), file, report),
            );
        }
    }
    by_name
}

/// No address is listened on twice, and the admin plane has one of its own.
fn refuse_shared_addresses(raw: &RawGateway, report: &mut Report) {
    let mut taken: Vec<(SocketAddr, Span)> = Vec::new();
    for listener in &raw.listener.value {
        for Written { value: bind, span } in &listener.value.bind.value.0 {
            if let Some((_, first)) = taken.iter().find(|(other, _)| overlap(*other, bind.0)) {
                report
                    .error(*span, format!("address `{}` is listened on already", bind.0))
                    .note(*first, "first listened on here")
                    .help("give one of them another port");
            }
            taken.push((bind.0, *span));
        }
    }
    let Written { value: bind, span } = &raw.admin.bind;
    let Some((_, listener)) = taken.iter().find(|(other, _)| overlap(*other, bind.0)) else {
        return;
    };
    // A default cannot be pointed at: then the listener is in its way.
    let (place, other) = if span.is_written() { (*span, *listener) } else { (*listener, *span) };
    report
        .error(place, format!("the admin plane and a listener share the address `{}`", bind.0))
        .note(other, "the other one")
        .help("the admin plane is never on a data listener: give one of them another port");
}

/// Would a connection to one of these addresses find the other's socket? Port 0 is a new port each
/// time.
fn overlap(one: SocketAddr, other: SocketAddr) -> bool {
    if one.port() != other.port() || one.port() == 0 {
        return false;
    }
    let covers = |wide: SocketAddr, narrow: SocketAddr| {
        wide.ip().is_unspecified() && (wide.is_ipv6() || narrow.is_ipv4())
    };
    one.ip() == other.ip() || covers(one, other) || covers(other, one)
}

fn refuse_open_admin(raw: &RawAdmin, report: &mut Report) {
    let Written { value: bind, span } = &raw.bind;
    if bind.0.ip().to_canonical().is_loopback() || !raw.tokens.is_empty() {
        return;
    }
    report
        .error(*span, "the admin plane would be open to everybody")
        .label("this address is not loopback, and no token is configured")
        .help("add `tokens` to `[admin]`, or bind to \"127.0.0.1:9900\"");
}

fn proxies(raw: &RawTrust, report: &mut Report) -> Vec<IpNet> {
    let mut places = BTreeMap::new();
    for Written { value: network, span } in &raw.proxies {
        if let Some(first) = places.insert(network.0, *span) {
            report
                .error(*span, format!("network `{}` is listed twice", network.0))
                .note(first, "first listed here")
                .help("remove one of them");
        }
    }
    places.into_keys().collect()
}

#[expect(clippy::cast_possible_truncation, reason = "these sizes are bounded to 1 MiB")]
const fn limits(raw: &RawLimits) -> Limits {
    Limits {
        header_bytes_max: raw.header_bytes.0 as usize,
        header_count_max: raw.header_count.0 as usize,
        uri_bytes_max: raw.uri_bytes.0 as usize,
        request_body_bytes_max: NonZeroU64::new(raw.request_body_bytes.0),
        in_flight_max: at_least_one(raw.in_flight_requests.0),
        bytes_per_second_min: NonZeroU32::new(raw.min_bytes_per_second.0),
        connections_per_client_max: NonZeroU32::new(raw.connections_per_client.0),
        requests_per_connection_max: NonZeroU32::new(raw.requests_per_connection.0),
        memory: raw.memory,
        handshakes_max: at_least_one(raw.tls_handshakes.0),
        h2_streams_max: at_least_one(raw.h2_concurrent_streams.0),
        h2_pending_resets_max: raw.h2_pending_resets.0 as usize,
    }
}

fn timeouts(raw: &RawTimeouts) -> Timeouts {
    let total = raw.request_total.0;
    Timeouts {
        tls_handshake: raw.tls_handshake.0,
        first_byte: raw.first_byte.0,
        request_headers: raw.request_headers.0,
        request_body_idle: raw.request_body_idle.0,
        downstream_idle: raw.downstream_idle.0,
        connect: raw.connect.0,
        response_headers: raw.response_headers.0,
        response_body_idle: raw.response_body_idle.0,
        request_total: (!total.is_zero()).then_some(total),
    }
}

fn admin(raw: &RawAdmin, file: &Path, report: &mut Report) -> Admin {
    let mut places = BTreeMap::new();
    for Written { value: host, span } in &raw.allowed_hosts {
        if let Some(first) = places.insert(host, *span) {
            report
                .error(*span, format!("host `{}` is listed twice", host.0))
                .note(first, "first listed here")
                .help("remove one of them");
        }
    }
    let joined = |path: &PathBuf| beside(file, path);
    Admin {
        bind: raw.bind.value.0,
        unix_socket: raw.unix_socket.as_ref().map(joined),
        allowed_hosts: raw.allowed_hosts.iter().map(|host| host.value.0.clone()).collect(),
        audit_log: raw.audit_log.as_ref().map(joined),
    }
}

fn tokens(raw: &[RawToken], file: &Path, report: &mut Report) -> Vec<AdminToken> {
    let mut places = BTreeMap::new();
    let mut tokens = Vec::with_capacity(raw.len());
    for token in raw {
        let Written { value: id, span } = &token.id;
        if let Some(first) = places.insert(id, *span) {
            report
                .error(*span, format!("token `{}` is declared twice", id.0))
                .note(first, "first declared here")
                .help("give one of them another id: the audit log tells them apart by it");
        }
        tokens.push(AdminToken {
            id: id.0.clone(),
            role: token.role,
            sha256_file: beside(file, &token.sha256_file),
        });
    }
    tokens
}

/// For numbers whose range begins at one.
const fn at_least_one(number: u32) -> NonZeroU32 {
    match NonZeroU32::new(number) {
        Some(number) => number,
        None => NonZeroU32::MIN,
    }
}

/// The host name as a token; "stampgate" where there is none.
fn host_name() -> Box<str> {
    let files = ["/proc/sys/kernel/hostname", "/etc/hostname"];
    let name = files.iter().find_map(|file| fs::read_to_string(file).ok()).unwrap_or_default();
    let name: String = name
        .trim()
        .chars()
        .filter(|letter| u8::try_from(*letter).is_ok_and(is_token))
        .take(64)
        .collect();
    if name.is_empty() { "stampgate".into() } else { name.into() }
}
