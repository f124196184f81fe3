//! The composition root: settings -> sockets, state, control tasks, workers; and the way down.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::runtime::{Builder, Runtime};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{mpsc, oneshot, watch};

use crate::admin::access;
use crate::admin::audit::Audit;
use crate::admin::{AdminState, Clients, Parts, Presence};
use crate::clock::Clock;
use crate::diagnostics::Report;
use crate::listen::{self, Admissions, BindError, Bound, Inherited, Stop};
use crate::settings::{LogTarget, ProxyProtocol, Settings};
use crate::source::{self, ReloadAsk, Reloader};
use crate::state::{
    Mailboxes, OpenError, Start, Started, State, UpgradeAsk, UpgradeError, forget_idle_tenants,
    watch_memory,
};
use crate::telemetry::access_log::AccessLog;
use crate::telemetry::log::{self, Level};
use crate::{admin, disk, outbound};

mod notify;
mod upgrade;
mod workforce;

use upgrade::{Estate, Successor};
use workforce::{Workforce, start_workers};

/// Threads for everything that is not a request: control, probes, admin, watching.
const CONTROL_THREADS: usize = 2;
/// How often the stopping process looks whether its workers are done.
const STOP_CHECK: Duration = Duration::from_millis(20);
/// So long a process that takes over waits for its first probes: three that time out, as they are by default, and
/// their pauses.
const PROBED_WITHIN: Duration = Duration::from_secs(8);

/// Why the gateway did not run.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// A configuration file is wrong. The report says what and where.
    #[error("the configuration is invalid")]
    Configuration(Report),
    /// An address cannot be listened on.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// Sockets were passed that no listener asks for: connections to them would never be served.
    #[error("passed on, but no listener's: {}; write such a `bind`, or do not pass it", .0.join(", "))]
    Left(Vec<String>),
    /// The journal cannot be used.
    #[error("the operators' journal: {0}")]
    Journal(#[from] OpenError),
    /// The system refused something else.
    #[error("{what}")]
    System {
        /// What was tried.
        what: &'static str,
        /// Why not.
        #[source]
        source: io::Error,
    },
}

fn system(what: &'static str) -> impl FnOnce(io::Error) -> RunError {
    move |source| RunError::System { what, source }
}

/// A gateway that serves.
#[derive(Debug)]
pub struct Gateway {
    state: Arc<State>,
    reloader: Arc<Reloader>,
    access_log: AccessLog,
    level: Level,
    control: Runtime,
    workers: Vec<JoinHandle<()>>,
    stop: watch::Sender<Stop>,
    addresses: Addresses,
    signals: Signals,
    /// What a successor gets.
    estate: Estate,
    directory: PathBuf,
    upgrades: mpsc::Receiver<UpgradeAsk>,
    /// The admin plane, and its end.
    admin: Arc<watch::Sender<Presence>>,
}

/// Where a gateway listens.
#[derive(Clone, Debug, serde::Serialize)]
pub struct Addresses {
    /// The admin plane.
    pub admin: SocketAddr,
    /// The addresses of each listener, by its name.
    pub listeners: BTreeMap<String, Vec<SocketAddr>>,
}

/// Runs the gateway of this gateway.toml until a signal ends it.
pub fn run(config: &Path) -> Result<(), RunError> {
    start(config)?.serve_until_signalled();
    Ok(())
}

/// Starts the gateway of this gateway.toml: when this returns, it serves.
#[expect(
    clippy::too_many_lines,
    reason = "the composition root: what is made of what, in its order"
)]
pub fn start(config: &Path) -> Result<Gateway, RunError> {
    let inherited = Inherited::take().map_err(system("take the sockets that were passed"))?;
    let clock = Clock::start();
    let settings = source::load_settings(config).map_err(RunError::Configuration)?;
    access::check(&settings).map_err(RunError::Configuration)?;
    let level = log::start(settings.live.log_level, settings.log_format);
    keep_pages_small();
    let files_max = raise_file_limit();
    let first = source::first(&settings, clock).map_err(RunError::Configuration)?;
    let workers = worker_count(&settings);
    let sockets = Sockets::bind(&settings, workers, inherited)?;
    let control = control_runtime()?;
    let access_log = AccessLog::open(sink(&settings)).map_err(system("open the access log"))?;
    let (mailboxes, mail) = Mailboxes::new(workers);
    let started = State::start(Start {
        clock,
        node: settings.node_id.clone(),
        directory: &settings.state_directory,
        first: first.installation,
        mailboxes,
        loaded: first.result,
    })?;
    let state = Arc::clone(&started.state);
    let config = config.to_owned();
    let reloader = Reloader::new(Arc::clone(&state), config, settings.clone(), first.files);
    start_control(&control, started, &reloader, &settings.state_directory);
    if upgrade::is_successor() {
        // The former process knows who is there, and serves meanwhile.
        control.block_on(outbound::probe::first_round(&state, PROBED_WITHIN));
    }
    let stop = watch::Sender::new(Stop::Not);
    let addresses = addresses(&settings, &sockets.admin, &sockets.bound);
    let limits = settings.listeners.iter().map(|listener| listener.connections_max.get());
    let admissions = Admissions::new(limits, files_max);
    admissions.tell_bound(state.view().table.connections_max());
    let (ask_upgrade, upgrades) = mpsc::channel(1);
    let mut estate = sockets.estate(&settings)?;
    let Sockets { bound, admin, admin_unix } = sockets;
    let admin_unix = (settings.admin.unix_socket.as_deref(), admin_unix);
    let admin_listeners = admin_listeners(&control, admin.sockets, admin_unix, &mut estate)?;
    let audit = Audit::open(settings.admin.audit_log.as_deref());
    let parts = Parts {
        state: Arc::clone(&state),
        reloader: Arc::clone(&reloader),
        access_log: access_log.clone(),
        listeners: listener_names(&settings),
        clients: clients(&admissions),
        routing_file: settings.routing.file.clone(),
        audit: audit.map_err(system("open the audit log"))?,
        allowed_hosts: settings.admin.allowed_hosts.clone(),
        upgrades: ask_upgrade,
    };
    let workers = start_workers(Workforce {
        state: &state,
        settings: &settings,
        access_log: &access_log,
        admissions: &admissions,
        stop: &stop,
        bound,
        mail,
    })?;
    // Whoever reads that it serves may signal it at once.
    let signals = control.block_on(async { Signals::new() })?;
    announce(&settings, &addresses)?;
    // Before the admin plane: what is decided here, the process before this one will not know of.
    upgrade::tell_former().map_err(system("tell the former process"))?;
    let presence = serve_admin(&control, admin_listeners, parts);
    notify::serving(&state);
    control.spawn(notify::keep_watchdog(Arc::clone(&state)));
    Ok(Gateway {
        state,
        reloader,
        access_log,
        level,
        control,
        workers,
        stop,
        addresses,
        signals,
        estate,
        directory: settings.state_directory.clone(),
        upgrades,
        admin: presence,
    })
}

/// The name that the admin plane's sockets go by; no listener can have it.
const ADMIN: &str = "@admin";

/// Everything that the process listens on.
struct Sockets {
    bound: Vec<(u16, Bound)>,
    admin: Bound,
    admin_unix: Option<UnixListener>,
}

impl Sockets {
    /// Those that were inherited, and new ones where there is none.
    fn bind(
        settings: &Settings,
        workers: usize,
        mut inherited: Inherited,
    ) -> Result<Self, RunError> {
        let bound = bind_all(settings, workers, &mut inherited)?;
        let passed = inherited.at(ADMIN, settings.admin.bind);
        let admin = listen::bind(settings.admin.bind, 1, passed)?;
        let path = settings.admin.unix_socket.as_deref();
        let admin_unix = path.and_then(|path| inherited.at_path(path));
        // A successor may have other listeners than the process before it.
        let left = inherited.left();
        if !left.is_empty() && !upgrade::is_successor() {
            return Err(RunError::Left(left));
        }
        Ok(Self { bound, admin, admin_unix })
    }

    /// What a successor gets: every socket that connections may wait in.
    fn estate(&self, settings: &Settings) -> Result<Estate, RunError> {
        let mut estate = Estate::default();
        for (index, bound) in &self.bound {
            let Some(listener) = settings.listeners.get(usize::from(*index)) else { continue };
            for socket in &bound.sockets {
                estate.add(&listener.name, socket).map_err(system("keep a socket"))?;
            }
        }
        for socket in &self.admin.sockets {
            estate.add(ADMIN, socket).map_err(system("keep a socket"))?;
        }
        Ok(estate)
    }
}

fn control_runtime() -> Result<Runtime, RunError> {
    let mut builder = Builder::new_multi_thread();
    builder.worker_threads(CONTROL_THREADS).thread_name("control").enable_all();
    builder.build().map_err(system("start the control threads"))
}

/// Everything that runs beside the requests.
fn start_control(control: &Runtime, started: Started, reloader: &Arc<Reloader>, directory: &Path) {
    let state = started.state;
    // Names are looked up before the first request, not by it.
    control.block_on(outbound::resolve::begin(&state.view()));
    control.spawn(started.control.run());
    control.spawn(outbound::probe::run(Arc::clone(&state), started.probe_now));
    let (unknown_keys, directory) = (started.unknown_keys, directory.to_owned());
    control.spawn(source::keep_keys(Arc::clone(&state), unknown_keys, directory));
    control.spawn(outbound::resolve::run(Arc::clone(&state)));
    control.spawn(watch_memory(Arc::clone(&state)));
    control.spawn(forget_idle_tenants(state));
    control.spawn(source::watch(Arc::clone(reloader)));
}

fn clients(admissions: &Arc<Admissions>) -> Clients {
    let (counts, bounds) = (Arc::clone(admissions), Arc::clone(admissions));
    Clients {
        open: Box::new(move || counts.open().collect()),
        max: Box::new(move |to_stamps_max| bounds.bound(to_stamps_max).max),
    }
}

fn admin_listeners(
    control: &Runtime,
    sockets: Vec<std::net::TcpListener>,
    unix: (Option<&Path>, Option<UnixListener>),
    estate: &mut Estate,
) -> Result<admin::Listeners, RunError> {
    let _in_runtime = control.enter();
    let listeners = admin::Listeners::new(sockets, unix);
    let listeners = listeners.map_err(system("listen for the admin plane"))?;
    if let Some(unix) = &listeners.unix {
        let unix = unix.as_fd().try_clone_to_owned().map_err(system("keep a socket"))?;
        estate.add_unix(ADMIN, unix);
    }
    Ok(listeners)
}

/// It answers to the very end, for readiness must be seen to fail; but where another process takes over,
/// that is the one to answer.
fn serve_admin(
    control: &Runtime,
    listeners: admin::Listeners,
    parts: Parts,
) -> Arc<watch::Sender<Presence>> {
    let presence = Arc::new(watch::Sender::new(Presence::Open));
    let told = Arc::clone(&presence);
    control.spawn(async move {
        let state = AdminState::new(parts);
        if let Err(error) = admin::serve(listeners, state, &told).await {
            tracing::error!(%error, "the admin plane ended");
            told.send_replace(Presence::Closed);
        }
    });
    presence
}

impl Gateway {
    /// Where it listens.
    #[must_use]
    pub fn addresses(&self) -> &Addresses {
        &self.addresses
    }

    /// The process's state.
    #[must_use]
    pub fn state(&self) -> &Arc<State> {
        &self.state
    }

    /// Serves until TERM or INT, or until another process has taken over, then ends gracefully. A
    /// second signal ends at once.
    pub fn serve_until_signalled(mut self) {
        match self.await_end() {
            Ending::Asked => self.end(),
            Ending::TakenOver => self.leave(),
        }
    }

    /// Returns when the process is asked to end, or is not needed any more.
    fn await_end(&mut self) -> Ending {
        let Self { control, signals, access_log, reloader, level, state, admin, .. } = self;
        let (upgrades, estate, directory) = (&mut self.upgrades, &self.estate, &self.directory);
        control.block_on(async {
            let upgrading = Upgrading { state, reloader, estate, directory, admin };
            let mut under_way: Pin<Box<dyn Future<Output = Option<u32>> + '_>> =
                Box::pin(std::future::pending());
            let mut is_under_way = false;
            loop {
                let asked = tokio::select! {
                    _ = signals.term.recv() => return Ending::Asked,
                    _ = signals.int.recv() => return Ending::Asked,
                    _ = signals.hup.recv() => {
                        access_log.reopen();
                        notify::reloading();
                        reloader.reload(ReloadAsk::default()).await;
                        level.set(state.view().live.log_level);
                        notify::serving(state);
                        continue;
                    }
                    done = &mut under_way => {
                        if let Some(pid) = done {
                            notify::taken_over_by(pid);
                            return Ending::TakenOver;
                        }
                        (under_way, is_under_way) = (Box::pin(std::future::pending()), false);
                        continue;
                    }
                    _ = signals.usr2.recv() => oneshot::channel().0,
                    Some(asked) = upgrades.recv() => asked.reply,
                };
                if is_under_way {
                    drop(asked.send(Err(UpgradeError::UnderWay)));
                    continue;
                }
                (under_way, is_under_way) = (Box::pin(upgrading.run(asked)), true);
            }
        })
    }

    /// Another process serves: ends as soon as nobody is connected any more, and at the deadline.
    fn leave(self) {
        tracing::info!("another process has taken over");
        self.wind_up(Stop::Handover, Duration::ZERO);
    }

    fn end(self) {
        self.state.begin_stopping();
        notify::stopping();
        tracing::info!(in_flight = self.state.in_flight(), "stopping");
        let delay = self.state.view().live.shutdown.delay;
        self.wind_up(Stop::Gracefully, delay);
    }

    fn wind_up(self, how: Stop, delay: Duration) {
        let deadline = self.state.view().live.shutdown.deadline;
        let Self { control, workers, stop, state, mut signals, estate, .. } = self;
        control.block_on(async {
            let gracefully = async {
                tokio::time::sleep(delay).await;
                // Nobody may wait in a queue that is not looked at.
                drop(estate);
                stop.send_replace(how);
                let done = async {
                    while workers.iter().any(|worker| !worker.is_finished()) {
                        tokio::time::sleep(STOP_CHECK).await;
                    }
                };
                if tokio::time::timeout(deadline, done).await.is_ok() {
                    return true;
                }
                // Those that rest are closed as they would be at any time.
                stop.send_replace(Stop::Gracefully);
                tokio::time::sleep(STOP_CHECK).await;
                workers.iter().all(JoinHandle::is_finished)
            };
            tokio::select! {
                all_done = gracefully => if !all_done {
                    tracing::warn!(in_flight = state.in_flight(), "the deadline is over");
                },
                _ = signals.term.recv() => tracing::warn!("a second signal ends at once"),
                _ = signals.int.recv() => tracing::warn!("a second signal ends at once"),
            }
        });
        stop.send_replace(Stop::Now);
        for worker in workers {
            drop(worker.join());
        }
        control.shutdown_timeout(Duration::from_millis(100));
        tracing::info!("stopped");
    }
}

/// Why a gateway ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ending {
    /// Somebody asked it to.
    Asked,
    /// Another process serves in its place.
    TakenOver,
}

/// What an upgrade needs.
struct Upgrading<'a> {
    state: &'a Arc<State>,
    reloader: &'a Arc<Reloader>,
    estate: &'a Estate,
    directory: &'a Path,
    admin: &'a watch::Sender<Presence>,
}

impl Upgrading<'_> {
    /// The id of the process that has taken over; `None` = this one goes on.
    async fn run(&self, reply: oneshot::Sender<Result<u32, UpgradeError>>) -> Option<u32> {
        tracing::info!("upgrading");
        let upgraded = self.try_run().await;
        match &upgraded {
            Ok(pid) => {
                tracing::info!(pid, "the new process serves");
                // Whoever has heard of it asks the new process.
                self.admin.send_replace(Presence::Ending);
                let closed = |presence: &Presence| *presence == Presence::Closed;
                drop(self.admin.subscribe().wait_for(closed).await);
            }
            Err(error) => {
                tracing::error!(%error, "not upgraded; this process goes on");
                self.take_back().await;
            }
        }
        let pid = upgraded.as_ref().ok().copied();
        drop(reply.send(upgraded));
        pid
    }

    async fn try_run(&self) -> Result<u32, UpgradeError> {
        self.state.hand_over().await?;
        let successor = Successor::start(self.estate, self.directory);
        successor.map_err(UpgradeError::Start)?.serves().await
    }

    async fn take_back(&self) {
        if let Err(error) = self.state.take_back().await {
            tracing::error!(%error, "no order of an operator can be taken until a restart");
            return;
        }
        // The files may have changed meanwhile.
        self.reloader.reload(ReloadAsk::default()).await;
    }
}

/// The signals that the gateway knows.
#[derive(Debug)]
struct Signals {
    term: Signal,
    int: Signal,
    hup: Signal,
    usr2: Signal,
}

impl Signals {
    fn new() -> Result<Self, RunError> {
        let listen = |kind| signal(kind).map_err(system("listen to signals"));
        Ok(Self {
            term: listen(SignalKind::terminate())?,
            int: listen(SignalKind::interrupt())?,
            hup: listen(SignalKind::hangup())?,
            usr2: listen(SignalKind::user_defined2())?,
        })
    }
}

fn worker_count(settings: &Settings) -> usize {
    // What is available honours the cgroup's quota.
    let available = || std::thread::available_parallelism().map_or(1, usize::from);
    settings.workers.map_or_else(available, usize::from)
}

/// Each connection is a file: the soft limit of 1,024 that many systems start with is too low. Says
/// how many files there may be; `None` = any number.
fn raise_file_limit() -> Option<u64> {
    let limits = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limits.maximum, maximum: limits.maximum };
    if let Err(error) = setrlimit(Resource::Nofile, raised) {
        tracing::warn!(%error, "the limit of open files could not be raised");
    }
    getrlimit(Resource::Nofile).current
}

/// Memory that is used in small pieces stays in small pages. The allocator asks for large ones, and the
/// kernel makes them later by itself, of what is mostly free (measured: 10,000 connections at rest grew
/// from 77 to 190 MB within minutes, and nothing had happened).
fn keep_pages_small() {
    if let Err(error) = rustix::thread::disable_transparent_huge_pages(true) {
        tracing::warn!(%error, "transparent huge pages could not be turned off");
    }
}

fn sink(settings: &Settings) -> LogTarget {
    settings.live.access_log.target.clone()
}

/// The sockets of all listeners: listener index, then addresses.
fn bind_all(
    settings: &Settings,
    workers: usize,
    inherited: &mut Inherited,
) -> Result<Vec<(u16, Bound)>, RunError> {
    let mut bound = Vec::new();
    for (listener, index) in settings.listeners.iter().zip(0..) {
        for address in &listener.bind {
            let passed = inherited.at(&listener.name, *address);
            bound.push((index, listen::bind(*address, workers, passed)?));
        }
    }
    Ok(bound)
}

fn addresses(settings: &Settings, admin: &Bound, bound: &[(u16, Bound)]) -> Addresses {
    let mut listeners: BTreeMap<String, Vec<SocketAddr>> = BTreeMap::new();
    for (index, bound) in bound {
        if let Some(listener) = settings.listeners.get(usize::from(*index)) {
            listeners.entry(listener.name.to_string()).or_default().push(bound.address);
        }
    }
    Addresses { admin: admin.address, listeners }
}

/// Tells where the gateway listens: in the log, and in `ports.json` of the state directory for
/// whoever asked for port 0.
fn announce(settings: &Settings, addresses: &Addresses) -> Result<(), RunError> {
    let path: PathBuf = settings.state_directory.join("ports.json");
    let text = serde_json::to_vec(addresses).map_err(io::Error::from);
    text.and_then(|text| disk::replace(&path, &text)).map_err(system("write ports.json"))?;
    tracing::info!(admin = %addresses.admin, listeners = ?addresses.listeners, "serving");
    for listener in &settings.listeners {
        let is_proxied = listener.proxy_protocol == ProxyProtocol::Required;
        if is_proxied && settings.live.trusted_proxies.is_empty() {
            tracing::warn!(
                listener = %listener.name,
                "no proxy is trusted: until one is, every connection to this listener is closed"
            );
        }
    }
    Ok(())
}

fn listener_names(settings: &Settings) -> Vec<Box<str>> {
    settings.listeners.iter().map(|listener| listener.name.clone()).collect()
}
