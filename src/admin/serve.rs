//! The admin plane's listeners: bounded connections, bounded heads, a graceful end. What is asked
//! is answered by the router of `admin`.

use std::io;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::Path;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

use super::access::Door;
use super::{AdminState, router};

/// The most connections over all listeners.
const CONNECTIONS_MAX: usize = 256;
/// The longest that a head may take, from the first byte or the end of the answer before.
const HEAD_WITHIN: Duration = Duration::from_secs(10);
/// The largest head, in bytes.
const HEAD_BYTES_MAX: usize = 32 * 1024;
/// The longest that open connections hold up the end.
const CLOSED_WITHIN: Duration = Duration::from_secs(2);
/// How long to rest when the system has no descriptors left.
const REST: Duration = Duration::from_millis(100);

/// Where the admin plane listens.
#[derive(Debug, Default)]
pub struct Listeners {
    /// Bound TCP listeners.
    pub tcp: Vec<TcpListener>,
    /// A bound unix socket.
    pub unix: Option<UnixListener>,
}

impl Listeners {
    /// Hands bound sockets (non-blocking) to the runtime that this is called on, and binds the unix
    /// socket unless it was inherited.
    pub fn new(
        sockets: Vec<std::net::TcpListener>,
        (path, inherited): (Option<&Path>, Option<std::os::unix::net::UnixListener>),
    ) -> io::Result<Self> {
        let tcp = sockets.into_iter().map(TcpListener::from_std).collect::<io::Result<_>>()?;
        let unix = match inherited {
            Some(socket) => {
                socket.set_nonblocking(true)?;
                Some(UnixListener::from_std(socket)?)
            }
            None => path.map(bind_unix).transpose()?,
        };
        Ok(Self { tcp, unix })
    }
}

/// Binds the unix socket, for its owner alone. A socket that a crash left behind is replaced.
pub fn bind_unix(path: &Path) -> io::Result<UnixListener> {
    if let Ok(metadata) = std::fs::symlink_metadata(path)
        && metadata.file_type().is_socket()
    {
        if std::os::unix::net::UnixStream::connect(path).is_ok() {
            return Err(io::ErrorKind::AddrInUse.into());
        }
        std::fs::remove_file(path)?;
    }
    let listener = UnixListener::bind(path)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))?;
    Ok(listener)
}

/// Is the admin plane there?
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Presence {
    /// For everybody.
    Open,
    /// It is asked to end.
    Ending,
    /// For those alone that are connected: another process answers whoever comes now.
    Closed,
}

/// Serves until it is asked to end, then says that it is closed and lets requests finish that are being answered. To be called once the data
/// listeners are bound and a table is in force: that is what `/readyz` tells from the first answer on.
pub async fn serve(
    listeners: Listeners,
    admin: Arc<AdminState>,
    presence: &watch::Sender<Presence>,
) -> io::Result<()> {
    let (stop, shutdown_seen) = watch::channel(false);
    let connections = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let mut tasks = tokio::task::JoinSet::new();
    for listener in listeners.tcp {
        let is_loopback = listener.local_addr()?.ip().is_loopback();
        let door = if is_loopback { Door::Loopback } else { Door::Network };
        let server = Server::new(&admin, door, &connections, &shutdown_seen);
        tasks.spawn(server.run(async move || Ok(listener.accept().await?.0)));
    }
    if let Some(listener) = listeners.unix {
        let server = Server::new(&admin, Door::UnixSocket, &connections, &shutdown_seen);
        tasks.spawn(server.run(async move || Ok(listener.accept().await?.0)));
    }
    // The sender is here: there is an end to wait for.
    drop(presence.subscribe().wait_for(|presence| *presence >= Presence::Ending).await);
    stop.send_replace(true);
    while let Some(ended) = tasks.join_next().await {
        ended.map_err(io::Error::other)?;
    }
    presence.send_replace(Presence::Closed);
    // All permits are back when the last connection is closed.
    let all = u32::try_from(CONNECTIONS_MAX).unwrap_or(u32::MAX);
    let closed = tokio::time::timeout(CLOSED_WITHIN, connections.acquire_many(all)).await;
    if closed.is_err() {
        tracing::debug!("admin connections were left open");
    }
    Ok(())
}

/// One listener's side of the service.
struct Server {
    router: Router,
    connections: Arc<Semaphore>,
    shutdown: watch::Receiver<bool>,
}

impl Server {
    fn new(
        admin: &Arc<AdminState>,
        door: Door,
        connections: &Arc<Semaphore>,
        shutdown: &watch::Receiver<bool>,
    ) -> Self {
        let router = router(Arc::clone(admin), door);
        Self { router, connections: Arc::clone(connections), shutdown: shutdown.clone() }
    }

    async fn run<S>(mut self, accept: impl AsyncFn() -> io::Result<S>)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        loop {
            // A permit first: beyond the limit, connections wait in the kernel's queue.
            let next = async {
                let permit = Arc::clone(&self.connections).acquire_owned().await.ok()?;
                Some((permit, accept().await))
            };
            let accepted = tokio::select! {
                accepted = next => accepted,
                _ = self.shutdown.wait_for(|stop| *stop) => None,
            };
            match accepted {
                None => return,
                Some((permit, Ok(stream))) => self.spawn(stream, permit),
                Some((_, Err(error))) => {
                    tracing::warn!(%error, "the admin plane could not accept a connection");
                    tokio::time::sleep(REST).await;
                }
            }
        }
    }

    fn spawn<S>(&self, stream: S, permit: OwnedSemaphorePermit)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let service = TowerToHyperService::new(self.router.clone());
        let mut shutdown = self.shutdown.clone();
        tokio::spawn(async move {
            let _permit = permit;
            let mut http = http1::Builder::new();
            http.timer(TokioTimer::new())
                .header_read_timeout(HEAD_WITHIN)
                .max_buf_size(HEAD_BYTES_MAX);
            let mut connection = pin!(http.serve_connection(TokioIo::new(stream), service));
            tokio::select! {
                ended = &mut connection => return log(ended),
                _ = shutdown.wait_for(|stop| *stop) => (),
            }
            connection.as_mut().graceful_shutdown();
            log(connection.await);
        });
    }
}

fn log(ended: hyper::Result<()>) {
    if let Err(error) = ended {
        tracing::debug!(%error, "an admin connection broke off");
    }
}
