//! Laws of loading: a table written out as TOML reads back equal, and no text panics.

use std::fmt::Write as _;
use std::io;
use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::diagnostic::SourceText;

fn load_text(text: String) -> Result<Loaded, Rejected> {
    let source = SourceText { path: "routing.toml".into(), text: text.into() };
    load(source, &mut |_| Err(io::Error::from(io::ErrorKind::NotFound)), None)
}

/// Writes a table out in full: nothing is left to a default.
fn to_toml(table: &RoutingTable) -> String {
    let mut out = String::from("version = 1\n");
    identity_to_toml(&table.identity, &mut out);
    for stamp in table.stamps() {
        stamp_to_toml(table, stamp, &mut out);
    }
    for tier in table.tiers() {
        tier_to_toml(tier, &mut out);
    }
    out += "[tenants]\n";
    for (_, name, tenant) in table.directory.iter() {
        let zones: Vec<_> = table.fence_zones(tenant.fence).collect();
        let residency =
            if zones.is_empty() { String::new() } else { format!(", residency = {zones:?}") };
        let state = format!("{:?}", tenant.state).to_lowercase();
        let home = &table.stamp(tenant.home).id;
        let tier = &table.tier(tenant.tier).name;
        writeln!(
            out,
            "{name:?} = {{ stamp = \"{home}\", state = \"{state}\"{residency}, tier = {tier:?} }}"
        )
        .unwrap();
    }
    out += "[domains]\n";
    for (host, tenant) in table.domains() {
        writeln!(out, "{host:?} = {:?}", table.directory.name(tenant)).unwrap();
    }
    out
}

fn tier_to_toml(tier: &Tier, out: &mut String) {
    let Tier { name, priority, limits, .. } = tier;
    let in_flight = limits.in_flight_max;
    writeln!(out, "[tier.{name}]\npriority = {priority}\nmax_in_flight = {in_flight}").unwrap();
    if let Some(rate) = limits.rate {
        let (rate, burst) = (rate.per_second(), rate.burst());
        writeln!(out, "requests_per_second = {rate}\nburst = {burst}").unwrap();
    }
}

fn identity_to_toml(identity: &Identity, out: &mut String) {
    let patterns: Vec<String> = identity
        .host
        .patterns
        .iter()
        .map(|(names, suffix)| format!("{{{}}}{suffix}", format!("{names:?}").to_lowercase()))
        .collect();
    let conflict = format!("{:?}", identity.conflict).to_lowercase();
    let host = &identity.host;
    let unknown = format!("{:?}", host.unknown).to_lowercase();
    let header = &identity.header;
    let accept_from = format!("{:?}", header.accept_from).to_lowercase();
    writeln!(
        out,
        "[identity]\nconflict = \"{conflict}\"\n[identity.host]\npatterns = {patterns:?}\n\
         neutral = {:?}\nverified_only = {:?}\nunknown = \"{unknown}\"\n\
         [identity.header]\nname = \"{}\"\naccept_from = \"{accept_from}\"",
        host.neutral, host.verified_only, header.stamp_name,
    )
    .unwrap();
    if let Some(name) = &header.tenant_name {
        writeln!(out, "tenant_name = \"{name}\"").unwrap();
    }
    if let Some(cookie) = &identity.cookie {
        let names = format!("{:?}", cookie.names).to_lowercase();
        writeln!(out, "[identity.cookie]\nname = {:?}\nnames = \"{names}\"", cookie.name).unwrap();
    }
    match &identity.token {
        TokenPlace::Bearer => {}
        TokenPlace::Cookie(name) => writeln!(out, "[identity.token]\ncookie = {name:?}").unwrap(),
        TokenPlace::Header(name) => {
            writeln!(out, "[identity.token]\nheader = \"{name}\"").unwrap();
        }
    }
    for rule in &identity.jwt {
        issuer_to_toml(rule, out);
    }
}

fn issuer_to_toml(rule: &IssuerRule, out: &mut String) {
    let algorithms: Vec<String> =
        rule.algorithms.iter().map(|algorithm| format!("{algorithm:?}")).collect();
    let keys = match &rule.keys {
        KeySource::JwksFile(path) => format!("jwks_file = {path:?}"),
        KeySource::JwksUrl(source) => format!(
            "jwks_url = \"{}\"\njwks_refresh = \"{}ms\"\njwks_stale = \"{}ms\"{}",
            source.url,
            source.refresh.as_millis(),
            source.stale.as_millis(),
            source.ca.as_ref().map(|ca| format!("\njwks_ca = {ca:?}")).unwrap_or_default(),
        ),
        KeySource::PublicKeyFile(path) => format!("public_key_file = {path:?}"),
        KeySource::HmacSecretFile(path) => format!("hmac_secret_file = {path:?}"),
    };
    writeln!(
        out,
        "[[identity.jwt]]\nissuer = {:?}\naudiences = {:?}\nalgorithms = {algorithms:?}\n\
         {keys}\ntenant_claim = {:?}\nleeway = \"{}ms\"",
        rule.issuer,
        rule.audiences,
        rule.tenant_claim.join("."),
        rule.leeway.as_millis(),
    )
    .unwrap();
    if let Some(claim) = &rule.stamp_claim {
        writeln!(out, "stamp_claim = {:?}", claim.join(".")).unwrap();
    }
}

fn stamp_to_toml(table: &RoutingTable, stamp: &Stamp, out: &mut String) {
    let endpoints: Vec<String> = stamp
        .endpoints
        .iter()
        .map(|endpoint| {
            let (authority, weight) = (endpoint.authority(), endpoint.weight);
            format!("{{ url = \"http://{authority}\", weight = {weight} }}")
        })
        .collect();
    let edges: Vec<String> = stamp
        .failover
        .iter()
        .map(|edge| {
            let mode = match edge.mode {
                EdgeMode::ReadWrite => "read_write",
                EdgeMode::ReadOnly => "read_only",
            };
            format!("{{ to = \"{}\", mode = \"{mode}\" }}", table.stamp(edge.to).id)
        })
        .collect();
    let access = format!("{:?}", stamp.access).to_lowercase();
    let balance = match stamp.balance {
        Balance::LeastRequest => "least_request",
        Balance::RoundRobin => "round_robin",
    };
    writeln!(
        out,
        "[[stamp]]\nid = \"{}\"\nendpoints = [{}]\nfailover = [{}]\nstate = \"{}\"\n\
         access = \"{access}\"\nbalance = \"{balance}\"\nmax_in_flight = {}",
        stamp.id,
        endpoints.join(", "),
        edges.join(", "),
        stamp.declared.as_str(),
        stamp.in_flight_max,
    )
    .unwrap();
    if let Some(region) = &stamp.region {
        writeln!(out, "region = {region:?}").unwrap();
    }
    if let Some(zone) = stamp.residency {
        writeln!(out, "residency = {:?}", table.residency_name(zone)).unwrap();
    }
    policies_to_toml(stamp, out);
}

fn policies_to_toml(stamp: &Stamp, out: &mut String) {
    let (health, passive) = (&stamp.health, &stamp.health.passive);
    let (pool, retry) = (&stamp.pool, &stamp.retry);
    let expect: Vec<String> =
        health.expect.iter().map(|(from, to)| format!("{from}-{to}")).collect();
    let ms = |duration: Duration| format!("\"{}ms\"", duration.as_millis());
    writeln!(
        out,
        "health = {{ path = {:?}, interval = {}, timeout = {}, fall = {}, rise = {}, \
         expect = {expect:?}, passive = {{ consecutive_failures = {}, failure_ratio = {:?}, \
         min_requests = {}, window = {}, open_for = {}, open_for_max = {} }} }}",
        health.path.as_deref().unwrap_or(""),
        ms(health.interval),
        ms(health.timeout),
        health.fall,
        health.rise,
        passive.consecutive_failures,
        passive.failure_ratio,
        passive.requests_min,
        ms(passive.window),
        ms(passive.open_for),
        ms(passive.open_for_max),
    )
    .unwrap();
    writeln!(
        out,
        "pool = {{ max_connections = {}, idle_timeout = {}, max_lifetime = {}, max_pending = {}, \
         pending_timeout = {} }}\n\
         retry = {{ attempts = {}, budget = \"{}%\", statuses = {:?}, replay_bytes = \"{}B\" }}\n\
         failback = {{ hold = {} }}",
        pool.connections_max,
        ms(pool.idle_timeout),
        ms(pool.lifetime_max),
        pool.pending_max,
        ms(pool.pending_timeout),
        retry.attempts_max,
        retry.budget_percent,
        retry.statuses,
        retry.replay_bytes,
        ms(stamp.failback.hold),
    )
    .unwrap();
}

/// Everything that a table says, in words: indices of zones and fences may differ.
fn said(table: &RoutingTable) -> impl PartialEq + std::fmt::Debug {
    let stamps: Vec<_> = table
        .stamps()
        .iter()
        .map(|stamp| {
            let zone = stamp.residency.map(|zone| table.residency_name(zone).to_owned());
            (Stamp { residency: None, ..stamp.clone() }, zone)
        })
        .collect();
    let mut tenants: Vec<_> = table
        .directory
        .iter()
        .map(|(_, name, tenant)| {
            let mut zones: Vec<_> =
                table.fence_zones(tenant.fence).map(ToOwned::to_owned).collect();
            zones.sort_unstable();
            (name.to_owned(), tenant.home, tenant.state, table.tier(tenant.tier).clone(), zones)
        })
        .collect();
    tenants.sort_by(|one, other| one.0.cmp(&other.0));
    let domains: Vec<_> = table
        .domains()
        .map(|(host, tenant)| (host.to_owned(), table.directory.name(tenant).to_owned()))
        .collect();
    (table.identity.clone(), stamps, tenants, domains)
}

/// One stamp as TOML; `number` makes its names its own.
fn stamp_text() -> impl Strategy<Value = String> {
    let policy = (1_u32..9999, 1_u64..100_000, 1_u32..10, 0_u32..=100, 0_u64..9999);
    let words = (any::<bool>(), any::<bool>(), 0.0..=1.0, 1_usize..4, any::<bool>());
    (policy, words).prop_map(|((in_flight, ms, few, percent, bytes), (a, b, ratio, hosts, c))| {
        let endpoints: Vec<String> = (0..hosts)
            .map(|host| format!("{{ url = \"http://h{host}-NUMBER:{few}\", weight = {few} }}"))
            .collect();
        format!(
            "[[stamp]]\nid = \"s-NUMBER\"\nendpoints = [{}]\nmax_in_flight = {in_flight}\n\
             access = \"{}\"\nbalance = \"{}\"\n{}\
             health = {{ interval = \"{ms}ms\", fall = {few}, passive = {{ failure_ratio = {ratio:?}, \
             open_for = \"1ms\" }}, path = \"{}\" }}\npool = {{ max_pending = {few} }}\n\
             retry = {{ budget = \"{percent}%\", replay_bytes = \"{bytes}KiB\", statuses = [503] }}\n",
            endpoints.join(", "),
            if a { "any" } else { "verified" },
            if b { "least_request" } else { "round_robin" },
            if c { "residency = \"eu\"\nregion = \"a \\\" b\"\n" } else { "" },
            if a { "/up?x=1" } else { "" },
        )
    })
}

const IDENTITIES: [&str; 4] = [
    "",
    "[identity]\nconflict = \"report\"\n[identity.host]\npatterns = [\"{tenant}.a.x\"]\n\
     neutral = [\"n.x\", \"m.x\"]\nunknown = \"reject\"\n[identity.cookie]\nname = \"c\"\n",
    "[identity.header]\ntenant_name = \"X-T\"\naccept_from = \"never\"\n[[identity.jwt]]\n\
     issuer = \"https://i/\"\naudiences = [\"a\", \"b\"]\nalgorithms = [\"EdDSA\", \"PS256\"]\n\
     public_key_file = \"k.pem\"\ntenant_claim = \"a.b\"\nstamp_claim = \"c\"\nleeway = \"1s\"\n",
    "[identity]\ntoken = { cookie = \"Session\" }\n[[identity.jwt]]\nissuer = \"i\"\n\
     audiences = [\"a\"]\nalgorithms = [\"ES256\"]\njwks_url = \"https://i.x:8443/k?a=b\"\n\
     jwks_refresh = \"5s\"\njwks_stale = \"1h\"\njwks_ca = \"ca.pem\"\ntenant_claim = \"t\"\n",
];

prop_compose! {
    /// A routing.toml that nothing is wrong with.
    fn routing()(
        identity in 0..IDENTITIES.len(),
        stamps in prop::collection::vec(stamp_text(), 1..5),
        tiers in prop::collection::vec((0_u32..4, 1_u32..999, prop::option::of(1_u32..99)), 0..4),
        tenants in prop::collection::vec((0_usize..5, 0_usize..3, 0_usize..5), 0..20),
    ) -> String {
        let mut out = format!("version = 1\n{}", IDENTITIES[identity]);
        let count = stamps.len();
        for (number, stamp) in stamps.iter().enumerate() {
            out += &stamp.replace("NUMBER", &number.to_string());
        }
        for (number, (priority, few, rate)) in tiers.iter().enumerate() {
            let name = if number == 0 { "Standard".to_owned() } else { format!("tier-{number}") };
            writeln!(out, "[tier.{name}]\npriority = {priority}\nmax_in_flight = {few}").unwrap();
            if let Some(rate) = rate {
                writeln!(out, "requests_per_second = {rate}").unwrap();
            }
        }
        out += "[tenants]\n";
        for (number, (home, state, tier)) in tenants.iter().enumerate() {
            let state = ["active", "suspended", "offboarded"][*state];
            let home = home % count;
            write!(out, "t-{number} = {{ stamp = \"s-{home}\", state = \"{state}\"").unwrap();
            if (1..tiers.len()).contains(tier) {
                write!(out, ", tier = \"tier-{tier}\"").unwrap();
            }
            out += " }\n";
        }
        out += "[domains]\n";
        for number in (0..tenants.len()).step_by(3) {
            writeln!(out, "\"d{number}.x\" = \"t-{number}\"").unwrap();
        }
        out
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_table_written_out_reads_back_equal(text in routing()) {
        let once = load_text(text).unwrap().table;
        let twice = load_text(to_toml(&once)).unwrap().table;
        prop_assert_eq!(said(&once), said(&twice));
    }

    #[test]
    fn no_text_panics(text in "\\PC*") {
        let _result = load_text(text);
    }

    #[test]
    fn no_mutilated_table_panics(text in routing(), at in any::<prop::sample::Index>(), noise in "\\PC{0,9}") {
        let places: Vec<usize> = text.char_indices().map(|(place, _)| place).collect();
        let place = places[at.index(places.len())];
        let (before, after) = text.split_at(place);
        let _cut = load_text(before.to_owned());
        let _noisy = load_text(format!("{before}{noise}{after}"));
        let gap = after.get(noise.len()..).unwrap_or_default();
        let _gap = load_text(format!("{before}{gap}"));
    }

    #[test]
    fn no_tenant_file_panics(rows in prop::collection::vec(any::<u8>(), 0..200), whole in any::<bool>()) {
        let header: &[u8] = if whole { b"" } else { b"tenant,stamp,residency,state\n" };
        let bytes: Arc<[u8]> = [header, &rows].concat().into();
        let text = "version = 1\n[[stamp]]\nid = \"a\"\nendpoints = [{ url = \"http://h:1\" }]\n\
                    [[tenant_file]]\npath = \"t\"\n";
        let source = SourceText { path: "routing.toml".into(), text: text.into() };
        let _result = load(source, &mut |_| Ok(Arc::clone(&bytes)), None);
    }
}
