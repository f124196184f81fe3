//! Host names of endpoints -> addresses, off the request path: the last good answer stays in use
//! while the resolver is down.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;

use crate::state::{EndpointCell, State, View};

/// How often names are looked up again: the system's resolver does not tell how long an answer
/// holds.
const REFRESH: Duration = Duration::from_secs(10);
/// How often, while a name has no address at all.
const REFRESH_UNKNOWN: Duration = Duration::from_secs(1);
/// The most look-ups at a time: each takes a blocking thread while it lasts.
const LOOK_UPS_AT_ONCE: usize = 32;
/// The longest that one look-up may take.
const LOOK_UP_TIMEOUT: Duration = Duration::from_secs(5);

/// Keeps the addresses of all endpoints with host names current until the process ends.
pub async fn run(state: Arc<State>) {
    let mut changes = state.changes();
    loop {
        let wait = refresh(&state.view()).await;
        // Another View is looked at soon, but many of them only once.
        tokio::time::sleep(wait.min(REFRESH_UNKNOWN)).await;
        let rest = wait.saturating_sub(REFRESH_UNKNOWN);
        tokio::select! {
            () = tokio::time::sleep(rest) => {}
            changed = changes.changed() => if changed.is_err() { return },
        }
    }
}

/// Looks all names up before the first request, no longer than one look-up may take: a resolver
/// that is down must not keep the gateway from starting.
pub async fn begin(view: &View) {
    if tokio::time::timeout(LOOK_UP_TIMEOUT, refresh(view)).await.is_err() {
        tracing::warn!("the resolver is late; serving with the names that are resolved");
    }
}

/// Looks all names up once, many at a time: one that is late keeps no other from its addresses.
/// Returns when to do it again.
async fn refresh(view: &View) -> Duration {
    let mut names = Vec::new();
    for stamp in view.table.stamps() {
        for endpoint in &stamp.endpoints {
            if endpoint.host.parse::<std::net::IpAddr>().is_err() {
                let cell = Arc::clone(view.endpoint(endpoint.index));
                names.push(Name { cell, host: endpoint.host.clone(), port: endpoint.port });
            }
        }
    }
    look_up_all(&names).await;
    let unknown = names.iter().any(|name| name.cell.addresses().is_empty());
    if unknown { REFRESH_UNKNOWN } else { REFRESH }
}

/// A host name, and whose addresses it stands for.
#[derive(Clone, Debug)]
struct Name {
    cell: Arc<EndpointCell>,
    host: Box<str>,
    port: u16,
}

async fn look_up_all(names: &[Name]) {
    let mut waiting = names.iter().cloned();
    let mut running = JoinSet::new();
    loop {
        while running.len() < LOOK_UPS_AT_ONCE
            && let Some(name) = waiting.next()
        {
            running.spawn(async move { look_up(&name.cell, &name.host, name.port).await });
        }
        if running.join_next().await.is_none() {
            return;
        }
    }
}

async fn look_up(cell: &Arc<EndpointCell>, host: &str, port: u16) {
    let answer = tokio::time::timeout(LOOK_UP_TIMEOUT, tokio::net::lookup_host((host, port))).await;
    let found: BTreeSet<SocketAddr> = match answer {
        Ok(Ok(found)) => found.collect(),
        Ok(Err(error)) => {
            tracing::warn!(%error, host, "host name not resolved; the last addresses stay in use");
            return;
        }
        Err(_elapsed) => {
            tracing::warn!(host, "the resolver is late; the last addresses stay in use");
            return;
        }
    };
    let found: Vec<SocketAddr> = found.into_iter().collect();
    if !found.is_empty() && *cell.addresses() != found {
        tracing::info!(host, addresses = ?found, "host name resolved");
        cell.set_addresses(found);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(host: &str, addresses: &[SocketAddr]) -> Name {
        let cell = EndpointCell::at(addresses.to_vec());
        Name { cell, host: host.into(), port: 8080 }
    }

    /// No resolver is asked for it: it cannot even be written down for one.
    const UNRESOLVABLE: &str = "a\0b";

    #[tokio::test]
    async fn addresses_stay_in_use_while_their_name_is_not_resolved() {
        let known = [SocketAddr::from(([127, 0, 0, 7], 8080))];
        let name = name(UNRESOLVABLE, &known);
        look_up_all(std::slice::from_ref(&name)).await;
        assert_eq!(**name.cell.addresses(), known);
    }

    #[tokio::test]
    async fn what_a_name_resolves_to_replaces_its_former_addresses() {
        let former = [SocketAddr::from(([127, 0, 0, 7], 8080))];
        let name = name("localhost", &former);
        look_up_all(std::slice::from_ref(&name)).await;
        let found = name.cell.addresses();
        assert!(!found.contains(&former[0]) && found.iter().all(|it| it.ip().is_loopback()));
    }

    #[tokio::test]
    async fn all_of_more_names_than_are_looked_up_at_once_are_resolved() {
        let names: Vec<_> = (0..2 * LOOK_UPS_AT_ONCE)
            .map(|at| name(if at % 2 == 0 { UNRESOLVABLE } else { "localhost" }, &[]))
            .collect();
        look_up_all(&names).await;
        for (at, name) in names.iter().enumerate() {
            assert_eq!(name.cell.addresses().is_empty(), at % 2 == 0);
        }
    }
}
