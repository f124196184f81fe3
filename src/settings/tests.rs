//! gateway.toml: its defaults, every mistake by place and words, and the pages that describe it.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::Path;

use stamp_core::diagnostic::SourceText;
use stamp_core::document::Json;

use super::*;
use crate::diagnostics::{Paint, Severity, render, tell};

const LISTENER: &str = "[[listener]]\nname = \"public\"\nbind = \"0.0.0.0:8080\"\n";

fn load_with(body: &str, variables: &[(&str, &str)]) -> Result<Settings, String> {
    let text = format!("version = 1\n{body}").into();
    let variables = variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    load(SourceText { path: "/etc/gateway.toml".into(), text }, variables).map_err(|rejected| {
        let told = tell(&rejected.diagnostics, &rejected.sources);
        let lines = told.iter().map(|one| {
            let file = Path::new(&one.file).file_name().unwrap().to_str().unwrap();
            let help = one.help.as_ref().map(|help| format!("; help: {help}")).unwrap_or_default();
            format!("{file}:{}:{}: {}{help}", one.line, one.column, one.message)
        });
        lines.collect::<Vec<_>>().join("\n")
    })
}

fn loaded(body: &str) -> Settings {
    load_with(body, &[]).unwrap_or_else(|told| panic!("{told}"))
}

#[track_caller]
fn check(body: &str, expected: &str) {
    assert_eq!(load_with(body, &[]).unwrap_err(), expected, "\n{body}");
}

#[test]
fn what_is_not_written_has_its_default() {
    let settings = loaded(LISTENER);
    assert!(!settings.node_id.is_empty());
    assert_eq!(settings.workers, None);
    assert_eq!(settings.listeners[0].connections_max.get(), 50_000);
    assert_eq!(settings.routing.file, Path::new("/etc/routing.toml"));
    assert_eq!(settings.state_directory, Path::new("/etc/state"));
    assert_eq!(settings.admin.bind.to_string(), "127.0.0.1:9900");
    let Live { limits, timeouts, access_log, .. } = &settings.live;
    assert_eq!(limits.request_body_bytes_max.unwrap().get(), 64 << 20);
    assert_eq!(limits.connections_per_client_max, None);
    assert_eq!(timeouts.downstream_idle, Duration::from_secs(75));
    assert_eq!(timeouts.request_total, None);
    assert_eq!(settings.live.guard_percent, 20);
    assert_eq!(access_log.target, LogTarget::Stdout);
}

#[test]
fn everything_can_be_written() {
    let settings = loaded(
        "node.id = \"gw-7\"\nruntime.workers = 3\n\
         [[listener]]\nname = \"a\"\nbind = [\"127.0.0.1:1\", \"[::1]:1\"]\n\
         [trust]\nproxies = [\"10.0.0.0/8\", \"fd00::1\"]\n\
         [limits]\nrequest_body_bytes = \"0\"\n\
         [admin]\nbind = \"0.0.0.0:9\"\ntokens = [{ id = \"x\", role = \"viewer\", sha256_file = \"x.sha\" }]\n\
         allowed_hosts = [\"Admin.Example.\", \"[0:0::1]\"]\naudit_log = \"/var/audit\"\n\
         [access_log]\npath = \"access.log\"\n",
    );
    assert_eq!((&*settings.node_id, settings.workers.unwrap().get()), ("gw-7", 3));
    assert_eq!(settings.listeners[0].bind.len(), 2);
    assert_eq!(settings.live.trusted_proxies[1].to_string(), "fd00::1/128");
    assert_eq!(settings.live.limits.request_body_bytes_max, None);
    assert_eq!(settings.admin.allowed_hosts, ["admin.example".into(), "[::1]".into()]);
    assert_eq!(settings.admin.audit_log.as_deref(), Some(Path::new("/var/audit")));
    assert_eq!(settings.live.admin_tokens[0].sha256_file, Path::new("/etc/x.sha"));
    assert_eq!(settings.live.access_log.target, LogTarget::File("/etc/access.log".into()));
}

#[test]
fn all_mistakes_are_told_at_once_with_line_and_column() {
    check(
        "[limits]\nheader_byte = \"1KiB\"\nheader_count = 0\nuri_bytes = \"64KiB\"\n\
         [timeouts]\nconnect = \"0s\"\nrequest_total = 5\n[log]\nlevel = \"inof\"\n",
        "gateway.toml:1:1: missing key `listener`; help: add `listener`\n\
         gateway.toml:3:1: unknown key `header_byte`; help: did you mean `header_bytes`?\n\
         gateway.toml:4:16: 0 is out of range; help: write an integer from 1 to 10000\n\
         gateway.toml:5:13: this size is too large; help: write at most \"65534B\"\n\
         gateway.toml:7:11: this duration is too short; help: write at least \"1ms\"\n\
         gateway.toml:8:17: expected a duration such as \"5s\", found an integer; \
         help: write \"5s\"; the units are ms, s, m and h\n\
         gateway.toml:10:9: unknown word \"inof\"; help: did you mean `info`?",
    );
}

#[test]
fn keys_of_later_versions_are_unknown() {
    for later in ["metrics = {}", "traces = {}"] {
        let told = load_with(&format!("{later}\n{LISTENER}"), &[]).unwrap_err();
        assert!(told.contains("unknown key"), "{told}");
    }
}

#[test]
fn http_2_has_another_name_over_tls_than_in_the_clear() {
    check(
        "[[listener]]\nname = \"a\"\nbind = \"0.0.0.0:80\"\nprotocols = [\"h2\", \"http/1.1\"]\n\
         [[listener]]\nname = \"b\"\nbind = \"0.0.0.0:81\"\nprotocols = [\"h2c\", \"h2c\"]\n\
         [listener.tls]\ncertificates = [{ cert = \"c\", key = \"k\" }]\n",
        "gateway.toml:5:13: listener `a` cannot speak HTTP/2 by this name; \
         help: in the clear it is \"h2c\", or give the listener `tls`\n\
         gateway.toml:9:13: listener `b` cannot speak HTTP/2 by this name; \
         help: over TLS it is \"h2\"\n\
         gateway.toml:9:13: listener `b` is given a protocol twice; help: remove one of them",
    );
    let settings = loaded(&format!("{LISTENER}protocols = [\"http/1.1\", \"h2c\"]\n"));
    assert_eq!(settings.listeners[0].protocols, [Protocol::Http1, Protocol::Http2Clear]);
}

#[test]
fn listeners_have_names_and_addresses_of_their_own() {
    check(
        "[[listener]]\nname = \"a\"\nbind = \"0.0.0.0:80\"\n\
         [[listener]]\nname = \"a\"\nbind = [\"127.0.0.1:80\", \":81\"]\n\
         [[listener]]\nname = \"b c\"\nbind = []\nprotocols = []\n[[listener]]\nname = \"d\"\nbind = []\nprotocols = []\n",
        "gateway.toml:6:8: listener `a` is declared twice; help: give one of them another name\n\
         gateway.toml:7:9: address `127.0.0.1:80` is listened on already; \
         help: give one of them another port\n\
         gateway.toml:7:25: `:81` is no address to listen on; help: write \"0.0.0.0:81\" or \"[::]:81\"\n\
         gateway.toml:9:8: `b c`: a name consists of letters, digits and !#$%&'*+-.^_`|~; \
         help: write a name such as \"gw-1\"\n\
         gateway.toml:14:8: listener `d` has no address; \
         help: write for example `bind = \"0.0.0.0:8080\"`\n\
         gateway.toml:15:13: listener `d` speaks nothing; help: write `protocols = [\"http/1.1\"]`",
    );
    check(
        "listener = []\n",
        "gateway.toml:2:12: no listener is declared; help: add one: `[[listener]]` with `name` and `bind`",
    );
}

#[test]
fn who_passes_connections_on_is_declared() {
    let with = |word: &str| format!("{LISTENER}proxy_protocol = \"{word}\"\n");
    assert_eq!(loaded(LISTENER).listeners[0].proxy_protocol, ProxyProtocol::Off);
    assert_eq!(loaded(&with("required")).listeners[0].proxy_protocol, ProxyProtocol::Required);
    check(
        &with("require"),
        "gateway.toml:5:18: unknown word \"require\"; help: did you mean `required`?",
    );
}

#[test]
fn port_zero_is_never_the_same_port() {
    let zero = "name = \"NAME\"\nbind = \"127.0.0.1:0\"\n";
    let two: String =
        ["a", "b"].map(|name| format!("[[listener]]\n{}", zero.replace("NAME", name))).concat();
    loaded(&format!("{two}[admin]\nbind = \"127.0.0.1:0\"\n"));
}

#[test]
fn the_admin_plane_is_never_on_a_data_listener() {
    let help = "the admin plane is never on a data listener: give one of them another port";
    let message = |bind: &str| format!("the admin plane and a listener share the address `{bind}`");
    check(
        &format!("{LISTENER}[admin]\nbind = \"127.0.0.1:8080\"\n"),
        &format!("gateway.toml:6:8: {}; help: {help}", message("127.0.0.1:8080")),
    );
    check(
        "[[listener]]\nname = \"a\"\nbind = \"[::]:9900\"\n",
        &format!("gateway.toml:4:8: {}; help: {help}", message("127.0.0.1:9900")),
    );
}

#[test]
fn the_admin_plane_is_not_open_to_everybody() {
    let told = "the admin plane would be open to everybody; \
                help: add `tokens` to `[admin]`, or bind to \"127.0.0.1:9900\"";
    check(
        &format!("{LISTENER}[admin]\nbind = \"0.0.0.0:9900\"\n"),
        &format!("gateway.toml:6:8: {told}"),
    );
    let variables = [("STAMPGATE__ADMIN__BIND", "10.0.0.1:9900")];
    let told_of_variable = load_with(LISTENER, &variables).unwrap_err();
    assert_eq!(told_of_variable, format!("environment:1:24: {told}"));
    loaded(&format!("{LISTENER}[admin]\nbind = \"[::ffff:127.0.0.1]:9900\"\n"));
}

#[test]
fn lists_name_everything_once() {
    let token = "{ id = \"x\", role = \"operator\", sha256_file = \"f\" }";
    check(
        &format!(
            "{LISTENER}[trust]\nproxies = [\"10.0.0.1\", \"10.0.0.1/32\", \"10.0.0.1/8\"]\n\
             [admin]\ntokens = [{token}, {token}]\nallowed_hosts = [\"a\", \"A\", \"a:1\", \"::1\"]\n"
        ),
        "gateway.toml:6:24: network `10.0.0.1/32` is listed twice; help: remove one of them\n\
         gateway.toml:6:39: `10.0.0.1/8`: bits are set behind the prefix: write \"10.0.0.0/8\"; \
         help: write a network such as \"10.0.0.0/8\", or an address\n\
         gateway.toml:8:70: token `x` is declared twice; \
         help: give one of them another id: the audit log tells them apart by it\n\
         gateway.toml:9:23: host `a` is listed twice; help: remove one of them\n\
         gateway.toml:9:28: `a:1`: a host name here has no port; help: write a host such as \"localhost\"\n\
         gateway.toml:9:35: `::1`: an IPv6 address has brackets: write \"[::1]\"; \
         help: write a host such as \"localhost\"",
    );
}

#[test]
fn the_environment_wins_over_the_file() {
    let settings = load_with(
        &format!("{LISTENER}[log]\nlevel = \"warn\"\n"),
        &[("STAMPGATE__LOG__LEVEL", "debug"), ("STAMPGATE__LIMITS__REQUEST_BODY_BYTES", "0")],
    );
    let live = settings.unwrap().live;
    assert_eq!(live.log_level, LogLevel::Debug);
    assert_eq!(live.limits.request_body_bytes_max, None);
}

#[test]
fn what_needs_a_restart_is_named() {
    let old = loaded(LISTENER);
    assert_eq!(restart_keys(&old, &old), Vec::<&str>::new());
    let live = loaded(&format!(
        "{LISTENER}[limits]\nuri_bytes = \"1KiB\"\n[log]\nlevel = \"warn\"\n[shutdown]\ndelay = \"1s\"\n"
    ));
    assert_eq!(restart_keys(&old, &live), Vec::<&str>::new());
    let new = loaded(
        "node.id = \"other\"\nruntime.workers = 9\n[[listener]]\nname = \"b\"\nbind = \"0.0.0.0:8080\"\n\
         [routing]\nfile = \"r\"\nwatch = false\ndebounce = \"1s\"\n[state]\ndirectory = \"s\"\n\
         [admin]\nbind = \"127.0.0.1:1\"\nunix_socket = \"u\"\nallowed_hosts = []\naudit_log = \"a\"\n\
         [log]\nformat = \"json\"\n",
    );
    let keys = restart_keys(&old, &new);
    assert_eq!(
        keys,
        [
            "node.id",
            "runtime.workers",
            "listener",
            "routing.file",
            "routing.watch",
            "routing.debounce",
            "state.directory",
            "admin.bind",
            "admin.unix_socket",
            "admin.allowed_hosts",
            "admin.audit_log",
            "log.format"
        ]
    );
}

fn project_file(path: &str) -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap()
}

fn project_source(path: &str) -> SourceText {
    SourceText { path: path.into(), text: project_file(path).into() }
}

#[test]
fn the_gateway_toml_that_ships_loads_and_shows_the_defaults() {
    let loaded_file = load(project_source("config/gateway.toml"), std::iter::empty());
    let shipped = loaded_file.unwrap_or_else(|rejected| {
        let (diagnostics, sources) = (&rejected.diagnostics, &rejected.sources);
        panic!("{}", render(diagnostics, sources, Severity::Error, Paint::Plain))
    });
    let bare = SourceText {
        path: "config/gateway.toml".into(),
        text: format!("version = 1\n{LISTENER}").into(),
    };
    assert_eq!(shipped, load(bare, std::iter::empty()).unwrap());
}

#[test]
fn the_routing_toml_that_ships_loads_and_shows_the_defaults() {
    let mut no_file = |_: &Path| Err(io::Error::from(io::ErrorKind::NotFound));
    let shipped =
        stamp_core::table::load(project_source("config/routing.toml"), &mut no_file, None);
    let shipped = shipped.unwrap_or_else(|rejected| {
        let (diagnostics, sources) = (&rejected.diagnostics, &rejected.sources);
        panic!("{}", render(diagnostics, sources, Severity::Error, Paint::Plain))
    });
    assert!(shipped.warnings.is_empty());
    let text = project_file("config/routing.toml");
    let (head, rest) = text.split_once("\n[defaults.stamp]").unwrap();
    let (_, tail) = rest.split_once("\n[[stamp]]").unwrap();
    let text = format!("{head}\n[[stamp]]{tail}").into();
    let bare = SourceText { path: "config/routing.toml".into(), text };
    let bare = stamp_core::table::load(bare, &mut no_file, None).unwrap();
    assert_eq!(shipped.table.stamps(), bare.table.stamps());
}

#[test]
fn the_committed_schemas_are_current() {
    for (name, schema) in [("gateway", schema_gateway()), ("routing", schema_routing())] {
        let committed: Json =
            serde_json::from_str(&project_file(&format!("schema/{name}.schema.json"))).unwrap();
        assert_eq!(committed, schema, "run `stampgate schema {name}` and commit what it prints");
    }
}

/// Every key of a file with its default, as the page writes them.
fn keys_of(schema: &Json, path: &str, found: &mut BTreeMap<String, String>) {
    let properties = schema["properties"].as_object();
    for (name, key) in properties.into_iter().flatten() {
        let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
        // A list of tables, and a table that has a short form, have keys too.
        let items = key.get("items").unwrap_or(key);
        let long = items["anyOf"].as_array().and_then(|forms| forms.last()).unwrap_or(items);
        let is_table = long.get("properties").is_some();
        // The defaults of stamps have the keys of stamps.
        if is_table && path != "defaults.stamp" {
            keys_of(long, &path, found);
            continue;
        }
        let is_required = schema["required"]
            .as_array()
            .is_some_and(|required| required.iter().any(|required| required == name));
        let default = match key.get("default") {
            Some(default) if !is_table && *default != serde_json::json!({}) => {
                format!("`{default}`")
            }
            _ if is_required => "required".to_owned(),
            _ => "absent".to_owned(),
        };
        found.insert(path, default);
    }
}

/// The keys of the tables under a heading of the page, with their defaults.
fn keys_in_page(page: &str, heading: &str) -> BTreeMap<String, String> {
    let (_, rest) = page.split_once(&format!("\n## {heading}\n")).unwrap();
    let section = rest.split_once("\n## ").map_or(rest, |(section, _)| section);
    let rows = section.lines().filter_map(|line| line.strip_prefix("| `"));
    let cells = rows.filter_map(|row| {
        let (key, rest) = row.split_once("` | ")?;
        let (default, _) = rest.split_once(" | ")?;
        Some((key.to_owned(), default.to_owned()))
    });
    cells.collect()
}

#[test]
fn the_page_names_every_key_and_its_default() {
    let page = project_file("docs/configuration.md");
    for (file, schema) in [("gateway.toml", schema_gateway()), ("routing.toml", schema_routing())] {
        let mut keys = BTreeMap::new();
        keys_of(&schema, "", &mut keys);
        assert_eq!(keys_in_page(&page, file), keys, "docs/configuration.md, section {file}");
    }
}

#[test]
fn the_commented_files_show_every_key() {
    for (file, schema) in [("gateway", schema_gateway()), ("routing", schema_routing())] {
        let text = project_file(&format!("config/{file}.toml"));
        let words: BTreeSet<&str> =
            text.split(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_').collect();
        let mut keys = BTreeMap::new();
        keys_of(&schema, "", &mut keys);
        for key in keys.keys() {
            let last = key.rsplit('.').next().unwrap();
            assert!(words.contains(last), "config/{file}.toml does not show `{key}`");
        }
    }
}

#[test]
fn a_refused_file_still_tells_where_the_routing_table_is() {
    let told = |text: &str, variables: &[(&str, &str)]| {
        let source = SourceText { path: "/etc/gateway.toml".into(), text: text.into() };
        let pairs = variables.iter().map(|(name, value)| ((*name).into(), (*value).into()));
        routing_file(source, pairs)
    };
    let text = "version = 1\nlimits = 5\n= =\n[routing]\nfile = \"r.toml\"\n";
    assert_eq!(told(text, &[]), Some("/etc/r.toml".into()));
    let variables = [("STAMPGATE__ROUTING__FILE", "/srv/r.toml")];
    assert_eq!(told(text, &variables), Some("/srv/r.toml".into()));
    assert_eq!(told("version = 1\n[listener]\n", &[]), None);
    assert_eq!(told("version = 2\n[routing]\nfile = \"r.toml\"\n", &[]), None);
}

#[test]
fn how_a_listener_speaks_tls_is_live_and_that_it_does_is_not() {
    let plain = loaded("[[listener]]\nname = \"s\"\nbind = \"[::1]:1\"\n");
    let tls = |keys: &str| {
        loaded(&format!(
            "[[listener]]\nname = \"s\"\nbind = \"[::1]:1\"\n[listener.tls]\n\
             certificates = [{{ cert = \"a.crt\", key = \"/etc/a.key\" }}]\n{keys}"
        ))
    };
    let (one, other) = (tls(""), tls("min_version = \"1.3\"\nstrict_sni = true\n"));
    assert_eq!(restart_keys(&plain, &one), ["listener"]);
    assert!(restart_keys(&one, &other).is_empty());
    assert_ne!(one.live, other.live);
    let rules = &one.live.tls["s"];
    assert_eq!(rules.certificates[0].cert, Path::new("/etc/a.crt"));
    assert_eq!(rules.certificates[0].key, Path::new("/etc/a.key"));
    assert_eq!((rules.min_version, &rules.client_auth), (TlsVersion::Tls12, &ClientAuth::None));
    assert_eq!(other.live.tls["s"].min_version, TlsVersion::Tls13);
}
