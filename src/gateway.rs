//! The composition root: settings -> sockets, state, control tasks, workers; and the way down.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::runtime::{Builder, LocalOptions, Runtime};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{mpsc, watch};

use crate::admin::access;
use crate::admin::audit::Audit;
use crate::admin::{AdminState, Clients, Parts};
use crate::clock::Clock;
use crate::diagnostics::Report;
use crate::listen::{self, Admissions, BindError, Bound, Listener, Stop};
use crate::proxy::worker::Worker;
use crate::settings::{LogTarget, ProxyProtocol, Settings};
use crate::source::{self, ReloadAsk, Reloader};
use crate::state::{Mail, Mailboxes, OpenError, Start, Started, State, forget_idle_tenants};
use crate::telemetry::access_log::AccessLog;
use crate::telemetry::log::{self, Level};
use crate::tls::downstream::Pace;
use crate::{admin, disk, outbound};

/// Threads for everything that is not a request: control, probes, admin, watching.
const CONTROL_THREADS: usize = 2;
/// How often a worker closes connections that rested too long.
const SWEEP: Duration = Duration::from_secs(1);
/// How often the stopping process looks whether its workers are done.
const STOP_CHECK: Duration = Duration::from_millis(20);

/// Why the gateway did not run.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// A configuration file is wrong. The report says what and where.
    #[error("the configuration is invalid")]
    Configuration(Report),
    /// An address cannot be listened on.
    #[error(transparent)]
    Bind(#[from] BindError),
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
pub fn start(config: &Path) -> Result<Gateway, RunError> {
    let clock = Clock::start();
    let settings = source::load_settings(config).map_err(RunError::Configuration)?;
    access::check(&settings).map_err(RunError::Configuration)?;
    let level = log::start(settings.live.log_level, settings.log_format);
    raise_file_limit();
    let first = source::first(&settings, clock).map_err(RunError::Configuration)?;
    let workers = worker_count(&settings);
    let bound = bind_all(&settings, workers)?;
    let admin = listen::bind(settings.admin.bind, 1)?;
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
    let stop = watch::Sender::new(Stop::Not);
    let addresses = addresses(&settings, &admin, &bound);
    let limits = settings.listeners.iter().map(|listener| listener.connections_max.get());
    let admissions = Admissions::new(limits);
    start_admin(
        &control,
        admin.sockets,
        &settings,
        Parts {
            state: Arc::clone(&state),
            reloader: Arc::clone(&reloader),
            access_log: access_log.clone(),
            listeners: listener_names(&settings),
            clients: clients(&admissions),
            routing_file: settings.routing.file.clone(),
            audit: Audit::open(settings.admin.audit_log.as_deref())
                .map_err(system("open the audit log"))?,
            allowed_hosts: settings.admin.allowed_hosts.clone(),
        },
    )?;
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
    Ok(Gateway { state, reloader, access_log, level, control, workers, stop, addresses, signals })
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
    control.spawn(forget_idle_tenants(state));
    control.spawn(source::watch(Arc::clone(reloader)));
}

fn clients(admissions: &Arc<Admissions>) -> Clients {
    let admissions = Arc::clone(admissions);
    Clients(Box::new(move || admissions.open().collect()))
}

fn start_admin(
    control: &Runtime,
    sockets: Vec<std::net::TcpListener>,
    settings: &Settings,
    parts: Parts,
) -> Result<(), RunError> {
    let _in_runtime = control.enter();
    let listeners = admin::Listeners::new(sockets, settings.admin.unix_socket.as_deref())
        .map_err(system("listen for the admin plane"))?;
    // It answers to the very end: readiness must be seen to fail.
    control.spawn(async move {
        let state = AdminState::new(parts);
        if let Err(error) = admin::serve(listeners, state, std::future::pending()).await {
            tracing::error!(%error, "the admin plane ended");
        }
    });
    Ok(())
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

    /// Serves until TERM or INT, then ends gracefully. A second one ends at once.
    pub fn serve_until_signalled(mut self) {
        self.await_end();
        self.end();
    }

    /// Returns when the process is asked to end.
    fn await_end(&mut self) {
        let Self { control, signals, access_log, reloader, level, state, .. } = self;
        control.block_on(async {
            loop {
                tokio::select! {
                    _ = signals.term.recv() => return,
                    _ = signals.int.recv() => return,
                    _ = signals.hup.recv() => {
                        access_log.reopen();
                        reloader.reload(ReloadAsk::default()).await;
                        level.set(state.view().live.log_level);
                    }
                }
            }
        });
    }

    fn end(self) {
        let live = Arc::clone(&self.state.view().live);
        self.state.begin_stopping();
        tracing::info!(in_flight = self.state.in_flight(), "stopping");
        let Self { control, workers, stop, state, mut signals, .. } = self;
        control.block_on(async {
            let gracefully = async {
                tokio::time::sleep(live.shutdown.delay).await;
                stop.send_replace(Stop::Gracefully);
                let done = async {
                    while workers.iter().any(|worker| !worker.is_finished()) {
                        tokio::time::sleep(STOP_CHECK).await;
                    }
                };
                tokio::time::timeout(live.shutdown.deadline, done).await.is_ok()
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

/// The signals that the gateway knows.
#[derive(Debug)]
struct Signals {
    term: Signal,
    int: Signal,
    hup: Signal,
}

impl Signals {
    fn new() -> Result<Self, RunError> {
        let listen = |kind| signal(kind).map_err(system("listen to signals"));
        Ok(Self {
            term: listen(SignalKind::terminate())?,
            int: listen(SignalKind::interrupt())?,
            hup: listen(SignalKind::hangup())?,
        })
    }
}

fn worker_count(settings: &Settings) -> usize {
    // What is available honours the cgroup's quota.
    let available = || std::thread::available_parallelism().map_or(1, usize::from);
    settings.workers.map_or_else(available, usize::from)
}

/// Each connection is a file: the soft limit of 1,024 that many systems start with is too low.
fn raise_file_limit() {
    let limits = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limits.maximum, maximum: limits.maximum };
    if let Err(error) = setrlimit(Resource::Nofile, raised) {
        tracing::warn!(%error, "the limit of open files could not be raised");
    }
}

fn sink(settings: &Settings) -> LogTarget {
    settings.live.access_log.target.clone()
}

/// The sockets of all listeners: listener index, then addresses.
fn bind_all(settings: &Settings, workers: usize) -> Result<Vec<(u16, Bound)>, RunError> {
    let mut bound = Vec::new();
    for (listener, index) in settings.listeners.iter().zip(0..) {
        for address in &listener.bind {
            bound.push((index, listen::bind(*address, workers)?));
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

/// What the workers are started with.
struct Workforce<'a> {
    state: &'a Arc<State>,
    settings: &'a Settings,
    access_log: &'a AccessLog,
    admissions: &'a Arc<Admissions>,
    stop: &'a watch::Sender<Stop>,
    bound: Vec<(u16, Bound)>,
    mail: Vec<mpsc::UnboundedReceiver<Mail>>,
}

fn listener_names(settings: &Settings) -> Vec<Box<str>> {
    settings.listeners.iter().map(|listener| listener.name.clone()).collect()
}

fn start_workers(force: Workforce<'_>) -> Result<Vec<JoinHandle<()>>, RunError> {
    let names = listener_names(force.settings);
    let mut sockets: Vec<(u16, std::vec::IntoIter<std::net::TcpListener>)> =
        force.bound.into_iter().map(|(index, bound)| (index, bound.sockets.into_iter())).collect();
    let mut workers = Vec::new();
    for (place, mail) in force.mail.into_iter().enumerate() {
        let own = sockets.iter_mut().filter_map(|(index, sockets)| {
            let settings = force.settings.listeners.get(usize::from(*index))?;
            Some(Listener {
                index: *index,
                is_tls: settings.is_tls,
                protocols: settings.protocols.clone(),
                proxy_protocol: settings.proxy_protocol,
                socket: sockets.next()?,
            })
        });
        let desk = Desk {
            place,
            listeners: own.collect(),
            names: names.clone(),
            state: Arc::clone(force.state),
            access_log: force.access_log.clone(),
            admissions: Arc::clone(force.admissions),
            stop: force.stop.subscribe(),
            mail,
        };
        let thread = std::thread::Builder::new().name(format!("worker-{place}"));
        let worker = thread.spawn(move || desk.work()).map_err(system("start a worker"))?;
        workers.push(worker);
    }
    Ok(workers)
}

/// Everything that one worker thread starts with.
struct Desk {
    place: usize,
    listeners: Vec<Listener>,
    names: Vec<Box<str>>,
    state: Arc<State>,
    access_log: AccessLog,
    admissions: Arc<Admissions>,
    stop: watch::Receiver<Stop>,
    mail: mpsc::UnboundedReceiver<Mail>,
}

impl Desk {
    fn work(self) {
        let runtime =
            Builder::new_current_thread().enable_all().build_local(LocalOptions::default());
        let runtime = match runtime {
            Ok(runtime) => runtime,
            Err(error) => {
                tracing::error!(%error, "a worker could not start");
                return;
            }
        };
        runtime.block_on(self.serve());
    }

    async fn serve(mut self) {
        let worker = Worker::new(self.place, self.state, self.access_log, self.names);
        let mut accepting = Vec::new();
        let pace = std::rc::Rc::new(Pace::default());
        for listener in self.listeners {
            let admissions = (Arc::clone(&self.admissions), std::rc::Rc::clone(&pace));
            let accept = listen::accept(
                std::rc::Rc::clone(&worker),
                listener,
                admissions,
                self.stop.clone(),
            );
            accepting.push(tokio::task::spawn_local(accept));
        }
        let mut sweep = tokio::time::interval(SWEEP);
        let stopped = async {
            let _gracefully = self.stop.wait_for(|stop| *stop >= Stop::Gracefully).await.is_ok();
            let idle = async {
                while worker.connections() > 0 {
                    tokio::time::sleep(STOP_CHECK).await;
                }
            };
            let mut stop = self.stop.clone();
            tokio::select! {
                () = idle => {}
                _ = stop.wait_for(|stop| *stop == Stop::Now) => {}
            }
        };
        let mut stopped = std::pin::pin!(stopped);
        let mut look = worker.next_look();
        loop {
            tokio::select! {
                Some(mail) = self.mail.recv() => worker.read_mail(mail),
                _ = sweep.tick() => worker.sweep(),
                () = tokio::time::sleep_until(worker.clock().instant(look)) => {
                    look = worker.note_lag(look);
                }
                () = &mut stopped => return,
            }
        }
    }
}
