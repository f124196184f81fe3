//! The data workers: a thread each, with a runtime and its share of the listening sockets.

use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::runtime::{Builder, LocalOptions};
use tokio::sync::{mpsc, watch};

use super::{RunError, STOP_CHECK, listener_names, system};
use crate::listen::{self, Admissions, Bound, Listener, Stop};
use crate::proxy::worker::Worker;
use crate::settings::Settings;
use crate::state::{Mail, State};
use crate::telemetry::access_log::AccessLog;
use crate::tls::downstream::Pace;

/// How often a worker closes connections that rested too long.
const SWEEP: Duration = Duration::from_secs(1);

/// What the workers are started with.
pub(super) struct Workforce<'a> {
    pub(super) state: &'a Arc<State>,
    pub(super) settings: &'a Settings,
    pub(super) access_log: &'a AccessLog,
    pub(super) admissions: &'a Arc<Admissions>,
    pub(super) stop: &'a watch::Sender<Stop>,
    pub(super) bound: Vec<(u16, Bound)>,
    pub(super) mail: Vec<mpsc::UnboundedReceiver<Mail>>,
}

pub(super) fn start_workers(force: Workforce<'_>) -> Result<Vec<JoinHandle<()>>, RunError> {
    let names = listener_names(force.settings);
    let mut workers = Vec::new();
    let count = force.mail.len();
    for (place, mail) in force.mail.into_iter().enumerate() {
        let mut own = Vec::new();
        for (index, bound) in &force.bound {
            let Some(settings) = force.settings.listeners.get(usize::from(*index)) else {
                continue;
            };
            let sockets = bound.of_worker(place, count).map_err(system("share a socket"))?;
            own.extend(sockets.into_iter().map(|socket| Listener {
                index: *index,
                is_tls: settings.is_tls,
                protocols: settings.protocols.clone(),
                proxy_protocol: settings.proxy_protocol,
                socket,
            }));
        }
        let desk = Desk {
            place,
            listeners: own,
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
            let _asked = self.stop.wait_for(|stop| *stop >= Stop::Handover).await.is_ok();
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
