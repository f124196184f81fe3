//! Host names of endpoints -> addresses, off the request path: the last good answer stays in use
//! while the resolver is down.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use crate::state::{EndpointCell, State, View};

/// How often names are looked up again: the system's resolver does not tell how long an answer
/// holds.
const REFRESH: Duration = Duration::from_secs(10);
/// How often, while a name has no address at all.
const REFRESH_UNKNOWN: Duration = Duration::from_secs(1);
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

/// Looks all names up once. Returns when to do it again.
pub async fn refresh(view: &View) -> Duration {
    let mut wait = REFRESH;
    for stamp in view.table.stamps() {
        for endpoint in &stamp.endpoints {
            if endpoint.host.parse::<std::net::IpAddr>().is_ok() {
                continue;
            }
            let cell = view.endpoint(endpoint.index);
            look_up(cell, &endpoint.host, endpoint.port).await;
            if cell.addresses().is_empty() {
                wait = REFRESH_UNKNOWN;
            }
        }
    }
    wait
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
