//! Client connections: bind, accept within the limits, shake hands, serve, stop gracefully. Each worker has
//! listeners of its own on the same addresses (`SO_REUSEPORT`).

mod admit;
mod bind;
mod connection;
mod handshake;
mod http1;
mod http2;
mod inherited;
mod proxied;

use std::net::IpAddr;
use std::num::NonZeroU32;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use stamp_core::memory::Level;
use tokio::net::TcpListener;
use tokio::sync::watch;

pub use admit::{Admissions, Admitted, Found};
pub use bind::{BindError, Bound, bind};
pub use inherited::Inherited;

use crate::proxy::Caller;
use crate::proxy::worker::Worker;
use crate::settings::{Live, Protocol, ProxyProtocol};
use crate::tls::downstream::Pace;

/// How far the stop of the process has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stop {
    /// Not asked for.
    #[default]
    Not,
    /// Another process takes over: no new connections; open ones are told with their next answer
    /// that it is the last. None is closed on a client that is about to ask.
    Handover,
    /// No new connections; open ones end after the request that they serve.
    Gracefully,
    /// Whatever is still open is cut.
    Now,
}

/// After a failed accept (no file descriptors left, for example) this long nothing is tried.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// One listener of one worker.
#[derive(Debug)]
pub struct Listener {
    /// Its place in gateway.toml.
    pub index: u16,
    /// Does it speak TLS?
    pub is_tls: bool,
    /// The bound socket.
    pub socket: std::net::TcpListener,
    /// What is spoken. Never empty.
    pub protocols: Vec<Protocol>,
    /// Must proxies say whose a connection is?
    pub proxy_protocol: ProxyProtocol,
}

/// Accepts and serves until the process stops.
pub(crate) async fn accept(
    worker: Rc<Worker>,
    listener: Listener,
    (admissions, pace): (Arc<Admissions>, Rc<Pace>),
    mut stop: watch::Receiver<Stop>,
) {
    let socket = match TcpListener::from_std(listener.socket) {
        Ok(socket) => socket,
        Err(error) => {
            tracing::error!(%error, "a listener could not be used");
            return;
        }
    };
    let protocols: Rc<[Protocol]> = listener.protocols.into();
    loop {
        let accepted = tokio::select! {
            accepted = socket.accept(), if worker.memory() < Level::AcceptsNothing => accepted,
            () = worker.memory_changed() => continue,
            _ = stop.wait_for(|stop| *stop >= Stop::Handover) => return,
        };
        let (client, address) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let address = address.ip().to_canonical();
        let view = worker.view();
        let live = &view.live;
        let is_proxied = listener.proxy_protocol == ProxyProtocol::Required;
        let per_client = per_client(live, address).filter(|_| !is_proxied);
        let found =
            admissions.admit(listener.index, (address, per_client), view.table.connections_max());
        let connection = connection::Connection {
            worker: Rc::clone(&worker),
            listener: listener.index,
            is_tls: listener.is_tls,
            protocols: Rc::clone(&protocols),
            caller: Caller::At(address),
            admissions: Arc::clone(&admissions),
            pace: Rc::clone(&pace),
            stop: stop.clone(),
        };
        // From here on the worker has somebody to wait for.
        let connected = worker.connected();
        tokio::task::spawn_local(async move {
            let _connected = connected;
            if is_proxied {
                return Box::pin(connection.serve_proxied(client, found)).await;
            }
            match Box::pin(connection.take_place(found)).await {
                Some(place) => connection.serve(client, place).await,
                None => Box::pin(connection.turn_away(client)).await,
            }
        });
    }
}

/// How many connections this client may have, if there is a limit for it.
fn per_client(live: &Live, client: IpAddr) -> Option<NonZeroU32> {
    live.limits.connections_per_client_max.filter(|_| !live.trusts(client))
}
