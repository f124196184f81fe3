//! Every metric by name, in the text format of Prometheus (0.0.4). Told by `admin`, which copies
//! workers' counts and the View in force; nothing here is on a request's way.

mod families;

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write;

use stamp_core::memory::{Level, Use};

use super::histogram::{BOUNDS, Histogram};
use super::worker::{METHODS, StampCounts, TierCounts, WorkerCounts};
use families::{
    ACTIVE_TENANTS, ATTEMPTS, BAD_ROWS, BUILD, CLIENTS_CUT, CPU, DOWNSTREAM_CONNECTIONS,
    DOWNSTREAM_RESTING, DRAIN_IN_FLIGHT, ENDPOINT_OUT, ENDPOINT_UP, ERRORS, FAILOVER_ACTIVE,
    FAILOVERS, FDS, FDS_MAX, Family, GENERATION, HANDSHAKES, IN_FLIGHT, KEY_FETCHES, KEYS,
    KEYS_AGE, Kind, LAST_RELOAD, LOG_DROPPED, MADE_ROOM, MEMORY_LEVEL, MEMORY_LIMIT, MEMORY_USED,
    NOT_AFTER, OVERHEAD, PANICS, POOL_WAIT, RATE_LIMITED, RELOADS, REQUEST_DURATION, REQUESTS,
    RESIDENT, RESOLUTIONS, RETRIES, SELF_SUSPECT, SHED, STAMP_STATE, STARTED, TOKENS, UNPROXIED,
    UPSTREAM_CONNECTIONS, VIRTUAL, WORKER_LAG,
};

/// Why an endpoint may be out.
const OUT_REASONS: [&str; 3] = ["probe_down", "breaker_open", "trial"];

/// The `Content-Type` of the text.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Everything that a scrape tells of.
#[derive(Debug, Default)]
pub struct Scrape {
    /// What all workers counted.
    pub counts: WorkerCounts,
    /// Who the numbers in `counts` are.
    pub labels: Labels,
    /// The stamps of the table in force.
    pub stamps: Vec<StampGauges>,
    /// Their endpoints.
    pub endpoints: Vec<EndpointGauges>,
    /// Declared failover edges, and whether each is in use: (home, secondary, in use).
    pub edges: Vec<(Box<str>, Box<str>, bool)>,
    /// The issuers whose keys are fetched.
    pub issuers: Vec<IssuerGauges>,
    /// The certificates of listeners: listener, first name, last second since 1970.
    pub certificates: Vec<(Box<str>, Box<str>, i64)>,
    /// The table in force.
    pub config: ConfigGauges,
    /// Tenants that were active within the last minutes.
    pub active_tenants: usize,
    /// Most stamps failed at once, so the fault may be the gateway's.
    pub is_suspect: bool,
    /// Access log lines that found the queue full.
    pub access_log_dropped: u64,
    /// What is given up for memory.
    pub memory: Level,
    /// What is in use; `None` = there is no limit.
    pub memory_now: Option<Use>,
    /// The process; `None` where it cannot be told.
    pub process: Option<ProcessGauges>,
}

/// Who the numbers in the counts are, also those of stamps and endpoints that are gone.
#[derive(Debug, Default)]
pub struct Labels {
    /// Listeners' names, by index.
    pub listeners: Vec<Box<str>>,
    /// Stamps' names, by cell number.
    pub stamps: HashMap<u32, Box<str>>,
    /// Endpoints' stamps and addresses, by cell number.
    pub endpoints: HashMap<u32, (Box<str>, Box<str>)>,
}

/// What is known of a stamp now.
#[derive(Debug)]
pub struct StampGauges {
    /// Its name.
    pub stamp: Box<str>,
    /// One of `STATES`.
    pub state: &'static str,
    /// Requests in flight.
    pub requests: u32,
    /// Everything in flight, while it drains.
    pub draining: Option<u32>,
}

/// What is known of an endpoint now.
#[derive(Debug)]
pub struct EndpointGauges {
    /// Its stamp.
    pub stamp: Box<str>,
    /// `host:port`
    pub endpoint: Box<str>,
    /// Its cell's number.
    pub number: u32,
    /// Why it may not be used without reserve, one of `OUT_REASONS`; `None` = it may.
    pub out: Option<&'static str>,
    /// Connections, in use and at rest.
    pub connections: u32,
}

/// What is known of the keys of an issuer.
#[derive(Debug)]
pub struct IssuerGauges {
    /// Its `iss`.
    pub issuer: Box<str>,
    /// How many can be used.
    pub keys: usize,
    /// How long ago they came, in seconds.
    pub age_s: Option<f64>,
    /// Fetches, by result.
    pub fetches: BTreeMap<&'static str, u64>,
}

/// What is known of the table in force.
#[derive(Clone, Copy, Debug, Default)]
pub struct ConfigGauges {
    /// Its number.
    pub generation: u64,
    /// The last reload was not refused, and the table is the one in the files.
    pub last_reload_succeeded: bool,
    /// Reloads: accepted, unchanged, refused.
    pub reloads: [u64; 3],
    /// Bad rows of tenant files: kept, left out.
    pub bad_rows: [usize; 2],
}

/// What the kernel knows of this process.
#[derive(Clone, Copy, Debug, Default)]
pub struct ProcessGauges {
    /// Processor time, in seconds.
    pub cpu_s: f64,
    /// Memory in use.
    pub resident_bytes: u64,
    /// Address space in use.
    pub virtual_bytes: u64,
    /// Open file descriptors.
    pub fds: u64,
    /// The most that may be open.
    pub fds_max: u64,
    /// When the process began, in seconds since 1970.
    pub started_s: f64,
}

/// The states of a stamp: one series each, of which one is 1.
const STATES: [&str; 5] = ["active", "draining", "drained", "maintenance", "warming"];

/// The whole text of one scrape.
#[must_use]
pub fn render(scrape: &Scrape) -> String {
    let mut text = Text::default();
    requests(&mut text, scrape);
    clients(&mut text, scrape);
    stamps(&mut text, scrape);
    endpoints(&mut text, scrape);
    config(&mut text, scrape.config);
    let counts = &scrape.counts;
    let tokens = counts.tokens.iter();
    text.counters(
        &TOKENS,
        tokens.map(|((issuer, result), count)| (vec![&**issuer, *result], *count)),
    );
    text.counters(&RATE_LIMITED, by_tier(&counts.limited));
    text.one(&ACTIVE_TENANTS, scrape.active_tenants as f64);
    issuers(&mut text, &scrape.issuers);
    sessions(&mut text, scrape);
    text.one(&SELF_SUSPECT, f64::from(u8::from(scrape.is_suspect)));
    text.one(&LOG_DROPPED, scrape.access_log_dropped as f64);
    text.one(&PANICS, counts.panics as f64);
    text.one(&MEMORY_LEVEL, f64::from(scrape.memory.number()));
    if let Some(now) = scrape.memory_now {
        text.one(&MEMORY_USED, now.used as f64);
        text.one(&MEMORY_LIMIT, now.limit as f64);
    }
    text.values(&BUILD, [(vec![env!("CARGO_PKG_VERSION")], 1.0)]);
    if let Some(process) = scrape.process {
        text.one(&CPU, process.cpu_s);
        text.one(&RESIDENT, process.resident_bytes as f64);
        text.one(&VIRTUAL, process.virtual_bytes as f64);
        text.one(&FDS, process.fds as f64);
        text.one(&FDS_MAX, process.fds_max as f64);
        text.one(&STARTED, process.started_s);
    }
    text.0
}

/// The counts of every stamp with its name; those of requests without a stamp under "".
fn by_stamp(scrape: &Scrape) -> impl Iterator<Item = (&str, &StampCounts)> + Clone {
    let named = scrape.counts.stamps.iter();
    let named = named.map(|(number, counts)| (scrape.labels.stamp(*number), counts));
    named.chain([("", &scrape.counts.unrouted)])
}

fn by_tier(counts: &TierCounts) -> impl Iterator<Item = (Vec<&str>, u64)> + Clone {
    counts.iter().map(|((tier, reason), count)| (vec![&**tier, *reason], *count))
}

fn requests(text: &mut Text, scrape: &Scrape) {
    let (counts, labels) = (&scrape.counts, &scrape.labels);
    let answered = by_stamp(scrape).flat_map(|(stamp, counts)| {
        counts.requests.iter().map(move |(of, count)| {
            let method = METHODS.get(usize::from(of.method)).copied().unwrap_or_default();
            let code = of.code.to_string();
            let listener = labels.listener(of.listener).to_owned();
            (vec![listener, stamp.to_owned(), method.to_owned(), code], *count)
        })
    });
    text.counters(&REQUESTS, answered);
    let durations = by_stamp(scrape).map(|(stamp, counts)| (stamp, &counts.duration));
    text.histograms(&REQUEST_DURATION, durations);
    text.histogram(&OVERHEAD, &counts.overhead);
    text.histogram(&WORKER_LAG, &counts.lag);
    let waits = by_stamp(scrape).map(|(stamp, counts)| (stamp, &counts.pool_wait));
    text.histograms(&POOL_WAIT, waits);
    let resolutions = counts.resolutions.iter();
    let resolutions = resolutions.map(|((source, result), count)| (vec![*source, *result], *count));
    text.counters(&RESOLUTIONS, resolutions);
    let errors = by_stamp(scrape).flat_map(|(stamp, counts)| {
        counts.errors.iter().map(move |(code, count)| (vec![stamp, *code], *count))
    });
    text.counters(&ERRORS, errors);
    let attempts = by_stamp(scrape).flat_map(|(_, counts)| {
        counts.attempts.iter().map(|((number, outcome), count)| {
            let (stamp, endpoint) = labels.endpoint(*number);
            (vec![stamp, endpoint, *outcome], *count)
        })
    });
    text.counters(&ATTEMPTS, attempts);
    let retries = by_stamp(scrape).flat_map(|(stamp, counts)| {
        counts.retries.iter().map(move |(reason, count)| (vec![stamp, *reason], *count))
    });
    text.counters(&RETRIES, retries);
    let failovers = by_stamp(scrape).flat_map(|(from, counts)| {
        counts
            .failovers
            .iter()
            .map(move |((to, reason), count)| (vec![from, labels.stamp(*to), *reason], *count))
    });
    text.counters(&FAILOVERS, failovers);
    let shed = by_stamp(scrape).flat_map(|(stamp, counts)| {
        by_tier(&counts.shed).map(move |(labels, count)| ([vec![stamp], labels].concat(), count))
    });
    text.counters(&SHED, shed);
}

fn clients(text: &mut Text, scrape: &Scrape) {
    let (counts, labels) = (&scrape.counts, &scrape.labels);
    let clients = counts.client_connections.iter();
    let clients =
        clients.map(|(listener, count)| (vec![labels.listener(*listener)], f64::from(*count)));
    text.values(&DOWNSTREAM_CONNECTIONS, clients);
    let resting = counts.resting_connections.iter();
    let resting =
        resting.map(|(listener, count)| (vec![labels.listener(*listener)], f64::from(*count)));
    text.values(&DOWNSTREAM_RESTING, resting);
    let made_room = counts.made_room.iter();
    text.counters(
        &MADE_ROOM,
        made_room.map(|(listener, count)| (vec![labels.listener(*listener)], *count)),
    );
    let unproxied = counts.unproxied.iter();
    text.counters(
        &UNPROXIED,
        unproxied
            .map(|((listener, reason), count)| (vec![labels.listener(*listener), reason], *count)),
    );
    let cut = counts.cut.iter();
    text.counters(
        &CLIENTS_CUT,
        cut.map(|((listener, reason), count)| (vec![labels.listener(*listener), reason], *count)),
    );
}

fn stamps(text: &mut Text, scrape: &Scrape) {
    let stamps = &scrape.stamps;
    text.values(
        &IN_FLIGHT,
        stamps.iter().map(|stamp| (vec![&*stamp.stamp], f64::from(stamp.requests))),
    );
    let states = stamps.iter().flat_map(|stamp| {
        let holds = |state: &'static str| f64::from(u8::from(state == stamp.state));
        STATES.map(|state| (vec![&*stamp.stamp, state], holds(state)))
    });
    text.values(&STAMP_STATE, states);
    let draining = stamps.iter().filter_map(|stamp| {
        stamp.draining.map(|in_flight| (vec![&*stamp.stamp], f64::from(in_flight)))
    });
    text.values(&DRAIN_IN_FLIGHT, draining);
    let edges = scrape.edges.iter();
    let edges =
        edges.map(|(from, to, active)| (vec![&**from, &**to], f64::from(u8::from(*active))));
    text.values(&FAILOVER_ACTIVE, edges);
}

fn endpoints(text: &mut Text, scrape: &Scrape) {
    let endpoints = &scrape.endpoints;
    let up = endpoints
        .iter()
        .map(|it| (vec![&*it.stamp, &*it.endpoint], u8::from(it.out.is_none()).into()));
    text.values(&ENDPOINT_UP, up);
    let out = endpoints.iter().flat_map(|it| {
        OUT_REASONS.map(|reason| {
            let holds = u8::from(it.out == Some(reason)).into();
            (vec![&*it.stamp, &*it.endpoint, reason], holds)
        })
    });
    text.values(&ENDPOINT_OUT, out);
    let connections = endpoints.iter().flat_map(|it| {
        let idle = scrape.counts.idle_connections.get(&it.number).copied().unwrap_or_default();
        // The copies were made one after the other: what rests may have been closed since.
        let active = it.connections.saturating_sub(idle);
        [("active", active), ("idle", idle)]
            .map(|(state, count)| (vec![&*it.stamp, &*it.endpoint, state], f64::from(count)))
    });
    text.values(&UPSTREAM_CONNECTIONS, connections);
}

fn issuers(text: &mut Text, issuers: &[IssuerGauges]) {
    let fetches = issuers.iter().flat_map(|it| {
        it.fetches.iter().map(|(result, count)| (vec![&*it.issuer, *result], *count))
    });
    text.counters(&KEY_FETCHES, fetches);
    text.values(&KEYS, issuers.iter().map(|it| (vec![&*it.issuer], it.keys as f64)));
    let ages = issuers.iter().filter_map(|it| Some((vec![&*it.issuer], it.age_s?)));
    text.values(&KEYS_AGE, ages);
}

fn sessions(text: &mut Text, scrape: &Scrape) {
    let handshakes = scrape.counts.handshakes.iter().map(|((listener, result), count)| {
        (vec![scrape.labels.listener(*listener), *result], *count)
    });
    text.counters(&HANDSHAKES, handshakes);
    // Of two certificates of one name, the one that expires first counts.
    let mut soonest: BTreeMap<Vec<&str>, i64> = BTreeMap::new();
    for (listener, name, not_after_s) in &scrape.certificates {
        let known = soonest.entry(vec![listener, name]).or_insert(*not_after_s);
        *known = (*known).min(*not_after_s);
    }
    text.values(&NOT_AFTER, soonest.into_iter().map(|(labels, at)| (labels, at as f64)));
}

fn config(text: &mut Text, config: ConfigGauges) {
    text.one(&GENERATION, config.generation as f64);
    text.one(&LAST_RELOAD, u8::from(config.last_reload_succeeded).into());
    let results = ["accepted", "unchanged", "refused"].into_iter().zip(config.reloads);
    let bad_rows = ["kept", "left_out"].into_iter().zip(config.bad_rows);
    text.values(&BAD_ROWS, bad_rows.map(|(result, count)| (vec![result], count as f64)));
    text.counters(&RELOADS, results.map(|(result, count)| (vec![result], count)));
}

impl Labels {
    fn listener(&self, index: u16) -> &str {
        self.listeners.get(usize::from(index)).map_or("", |name| name)
    }

    fn stamp(&self, number: u32) -> &str {
        self.stamps.get(&number).map_or("", |name| name)
    }

    fn endpoint(&self, number: u32) -> (&str, &str) {
        self.endpoints.get(&number).map_or(("", ""), |(stamp, authority)| (stamp, authority))
    }
}

/// The text so far. Series are sorted, and those with the same labels added up: a stamp that left
/// the table and came back has two numbers and one name.
#[derive(Default)]
struct Text(String);

impl Text {
    fn counters<L: AsRef<str> + Ord>(
        &mut self,
        family: &Family,
        series: impl IntoIterator<Item = (Vec<L>, u64)>,
    ) {
        let mut sums: BTreeMap<Vec<L>, u64> = BTreeMap::new();
        for (labels, count) in series {
            *sums.entry(labels).or_default() += count;
        }
        self.head(family);
        for (labels, count) in &sums {
            self.sample(family, "", labels, &count.to_string());
        }
    }

    fn values<L: AsRef<str> + Ord>(
        &mut self,
        family: &Family,
        series: impl IntoIterator<Item = (Vec<L>, f64)>,
    ) {
        let series: BTreeMap<Vec<L>, f64> = series.into_iter().collect();
        self.head(family);
        for (labels, value) in &series {
            self.sample(family, "", labels, &value.to_string());
        }
    }

    fn one(&mut self, family: &Family, value: f64) {
        self.values::<&str>(family, [(Vec::new(), value)]);
    }

    fn histogram(&mut self, family: &Family, histogram: &Histogram) {
        self.head(family);
        self.buckets::<&str>(family, &[], histogram);
    }

    fn histograms<'a>(
        &mut self,
        family: &Family,
        series: impl IntoIterator<Item = (&'a str, &'a Histogram)>,
    ) {
        let mut sums: BTreeMap<&str, Histogram> = BTreeMap::new();
        for (label, histogram) in series.into_iter().filter(|(_, it)| it.count() > 0) {
            sums.entry(label).or_default().merge(histogram);
        }
        self.head(family);
        for (label, histogram) in &sums {
            self.buckets(family, &[label], histogram);
        }
    }

    fn buckets<L: AsRef<str>>(&mut self, family: &Family, labels: &[L], histogram: &Histogram) {
        let mut below = 0;
        let bounds = BOUNDS.iter().map(ToString::to_string).chain(["+Inf".to_owned()]);
        for (bound, count) in bounds.zip(histogram.buckets) {
            below += count;
            self.0.push_str(family.name);
            self.0.push_str("_bucket{");
            self.labels(family, labels);
            if !labels.is_empty() {
                self.0.push(',');
            }
            self.line(format_args!("le=\"{bound}\"}} {below}"));
        }
        let sum_s = histogram.sum_ns as f64 / 1e9;
        self.sample(family, "_sum", labels, &sum_s.to_string());
        self.sample(family, "_count", labels, &histogram.count().to_string());
    }

    fn head(&mut self, family: &Family) {
        let kind = match family.kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram => "histogram",
        };
        let (name, help) = (family.name, family.help);
        self.line(format_args!("# HELP {name} {help}"));
        self.line(format_args!("# TYPE {name} {kind}"));
    }

    fn sample<L: AsRef<str>>(&mut self, family: &Family, suffix: &str, labels: &[L], value: &str) {
        self.0.push_str(family.name);
        self.0.push_str(suffix);
        if !labels.is_empty() {
            self.0.push('{');
            self.labels(family, labels);
            self.0.push('}');
        }
        self.line(format_args!(" {value}"));
    }

    fn labels<L: AsRef<str>>(&mut self, family: &Family, labels: &[L]) {
        debug_assert_eq!(family.labels.len(), labels.len(), "{}", family.name);
        for (at, (name, value)) in family.labels.iter().zip(labels).enumerate() {
            if at > 0 {
                self.0.push(',');
            }
            self.0.push_str(name);
            self.0.push_str("=\"");
            for char in value.as_ref().chars() {
                match char {
                    '\\' => self.0.push_str("\\\\"),
                    '"' => self.0.push_str("\\\""),
                    '\n' => self.0.push_str("\\n"),
                    other => self.0.push(other),
                }
            }
            self.0.push('"');
        }
    }

    fn line(&mut self, rest: std::fmt::Arguments<'_>) {
        // Writing to a String cannot fail.
        let _never = writeln!(self.0, "{rest}");
    }
}

#[cfg(test)]
mod tests;
