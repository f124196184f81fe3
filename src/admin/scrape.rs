//! Gathers what `/metrics` tells: workers' counts, the View in force, the process.

use std::fs;
use std::time::Duration;

use stamp_core::standing::{EndpointStanding, OperatorState, Serving};

use super::AdminState;
use super::view;
use crate::auth::Fetched;
use crate::state::{State, View};
use crate::telemetry::metrics::{
    ConfigGauges, EndpointGauges, IssuerGauges, Labels, ProcessGauges, Scrape, StampGauges,
};
use crate::telemetry::worker::WorkerCounts;

/// The longest that a scrape waits for the workers.
const COUNTED_WITHIN: Duration = Duration::from_secs(5);
/// Linux tells processor time in hundredths of a second on every platform (`USER_HZ`).
const TICKS_PER_SECOND: f64 = 100.0;

/// Everything that a scrape tells of; `None` when the workers do not answer.
pub(super) async fn gather(admin: &AdminState) -> Option<Scrape> {
    let state = &admin.state;
    let mailboxes = state.mailboxes();
    let of_workers = tokio::time::timeout(COUNTED_WITHIN, mailboxes.counts()).await.ok()?;
    let mut counts = WorkerCounts::default();
    for worker in &of_workers {
        counts.merge(worker);
    }
    counts.client_connections = (0..).zip((admin.clients.open)()).collect();
    let (view, memory) = (state.view(), state.memory());
    Some(Scrape {
        labels: labels(admin, &counts),
        counts,
        stamps: stamps(&view),
        endpoints: endpoints(&view),
        edges: edges(&view),
        issuers: issuers(state, &view),
        certificates: certificates(&view),
        config: config(state, &view),
        active_tenants: view.tenants.known(),
        is_suspect: view.standings.is_suspect,
        access_log_dropped: admin.access_log.dropped(),
        memory: memory.level,
        memory_now: memory.now,
        process: process(admin.started_at),
    })
}

fn labels(admin: &AdminState, counts: &WorkerCounts) -> Labels {
    let names = admin.state.names();
    let mut labels = Labels { listeners: admin.listeners.clone(), ..Labels::default() };
    for (number, stamp) in &counts.stamps {
        let others = stamp.failovers.keys().map(|(to, _)| to);
        for number in [number].into_iter().chain(others) {
            if let Some(name) = names.stamp(*number) {
                labels.stamps.insert(*number, name);
            }
        }
        for ((number, _), _) in &stamp.attempts {
            if let Some(name) = names.endpoint(*number) {
                labels.endpoints.insert(*number, name);
            }
        }
    }
    labels
}

fn stamps(view: &View) -> Vec<StampGauges> {
    let standings = view.standings.stamps.iter();
    let gauges = standings.zip(view.stamp_cells()).map(|(standing, cell)| StampGauges {
        stamp: cell.id.as_str().into(),
        state: standing.operator.as_str(),
        requests: cell.requests(),
        draining: (standing.operator == OperatorState::Draining).then(|| cell.in_flight()),
    });
    gauges.collect()
}

fn endpoints(view: &View) -> Vec<EndpointGauges> {
    let mut gauges = Vec::with_capacity(view.table.endpoint_count());
    for stamp in view.table.stamps() {
        for endpoint in &stamp.endpoints {
            let cell = view.endpoint(endpoint.index);
            let standing = view.standings.endpoints.get(endpoint.index.at());
            let free = u32::try_from(cell.connections.available_permits()).unwrap_or(u32::MAX);
            gauges.push(EndpointGauges {
                stamp: stamp.id.as_str().into(),
                endpoint: cell.authority.clone(),
                number: cell.number,
                out: standing.and_then(|it| out_reason(*it)),
                connections: stamp.pool.connections_max.saturating_sub(free),
            });
        }
    }
    gauges
}

/// Why an endpoint of this standing may not be used without reserve.
const fn out_reason(standing: EndpointStanding) -> Option<&'static str> {
    match standing {
        EndpointStanding::Up | EndpointStanding::Warming(_) | EndpointStanding::Unknown => None,
        EndpointStanding::Trial | EndpointStanding::Out(_) => Some(view::standing(standing)),
    }
}

fn edges(view: &View) -> Vec<(Box<str>, Box<str>, bool)> {
    let mut edges = Vec::new();
    for (index, home) in view.table.indexed_stamps() {
        let serving = view.standings.stamps.get(index.at()).map(|standing| standing.serving);
        for (place, edge) in (0..=u8::MAX).zip(&home.failover) {
            let to = view.table.stamp(edge.to).id.as_str();
            let active = match serving {
                Some(Serving::Edge(edge) | Serving::Split { edge, .. }) => edge == place,
                Some(Serving::Home | Serving::Nobody) | None => false,
            };
            edges.push((home.id.as_str().into(), to.into(), active));
        }
    }
    edges
}

fn issuers(state: &State, view: &View) -> Vec<IssuerGauges> {
    let gauges = view.keys.fetched_issuers().map(|issuer| {
        let age = |fetched: &Fetched| state.clock().wall().saturating_sub(fetched.at());
        IssuerGauges {
            issuer: issuer.issuer.into(),
            keys: issuer.fetched.map_or(0, Fetched::len),
            age_s: issuer.fetched.map(|fetched| age(fetched).as_secs_f64()),
            fetches: state.fetches().of(issuer.issuer).counts,
        }
    });
    gauges.collect()
}

fn certificates(view: &View) -> Vec<(Box<str>, Box<str>, i64)> {
    let validities = view.downstreams.validities();
    validities.map(|it| (it.listener.into(), it.name.into(), it.not_after_s)).collect()
}

fn config(state: &State, view: &View) -> ConfigGauges {
    let status = state.reload_status();
    ConfigGauges {
        generation: view.generation,
        last_reload_succeeded: status.refused.is_none() && !status.stale,
        reloads: [status.accepted, status.unchanged, status.refusals],
        bad_rows: [view.table.bad_rows.kept, view.table.bad_rows.left_out],
    }
}

/// What `/proc/self` says; `None` where there is none.
fn process(started_at: Duration) -> Option<ProcessGauges> {
    let stat = fs::read_to_string("/proc/self/stat").ok()?;
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let limits = fs::read_to_string("/proc/self/limits").ok()?;
    let fds = u64::try_from(fs::read_dir("/proc/self/fd").ok()?.count()).ok()?;
    Some(ProcessGauges {
        cpu_s: cpu_s(&stat)?,
        resident_bytes: bytes_of(&status, "VmRSS:")?,
        virtual_bytes: bytes_of(&status, "VmSize:")?,
        // The listing itself was one of them.
        fds: fds.saturating_sub(1),
        fds_max: fds_max(&limits)?,
        started_s: started_at.as_secs_f64(),
    })
}

/// User and system time (proc(5), `/proc/pid/stat`). The name before them may hold spaces.
fn cpu_s(stat: &str) -> Option<f64> {
    let (_, rest) = stat.rsplit_once(')')?;
    let mut fields = rest.split_ascii_whitespace().skip(11);
    let mut ticks = || fields.next()?.parse::<f64>().ok();
    Some((ticks()? + ticks()?) / TICKS_PER_SECOND)
}

fn bytes_of(status: &str, name: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix(name))?;
    let kibibytes: u64 = line.split_ascii_whitespace().next()?.parse().ok()?;
    Some(kibibytes * 1024)
}

fn fds_max(limits: &str) -> Option<u64> {
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    let soft = line.split_ascii_whitespace().next()?;
    if soft == "unlimited" { Some(u64::MAX) } else { soft.parse().ok() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processor_time_is_found_behind_any_name() {
        let stat = "7 (a) b (c) S 1 2 3 4 5 6 7 8 9 10 150 50 0 0 20";
        assert_eq!(cpu_s(stat), Some(2.0));
    }

    #[test]
    fn memory_and_descriptors_are_read() {
        assert_eq!(bytes_of("VmSize:\t  9 kB\nVmRSS:\t   3 kB\n", "VmRSS:"), Some(3072));
        let limits = "Limit  Soft Limit\nMax open files            1024    4096    files\n";
        assert_eq!(fds_max(limits), Some(1024));
    }

    #[test]
    fn this_process_has_figures() {
        let process = process(Duration::ZERO).unwrap();
        assert!(process.resident_bytes > 1024 && process.fds > 1 && process.fds_max > 1);
    }
}
