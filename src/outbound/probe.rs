//! Active probes: one task an endpoint on the control runtime, never on a worker. What a probe
//! means is core's (`health`); how often one runs too.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http::header::{self, HeaderValue};
use http::{Method, Request, Version};
use http_body_util::Empty;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use stamp_core::health::{ProbeResult, asked_probe_in, next_probe_in};
use stamp_core::table::HealthPolicy;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::{Notify, mpsc};
use tokio::task::JoinHandle;

use crate::state::{Command, EndpointCell, State};
use crate::tls::UpstreamTls;

/// The names that probes go by in the stamps' logs.
const USER_AGENT: HeaderValue = HeaderValue::from_static("stampgate-probe");
/// The largest answer head of a probe.
const ANSWER_HEAD_BYTES_MAX: usize = 16 * 1024;
/// The first probes of a table are spread over this time for each endpoint, and over the interval at
/// most: a few go out at once, and ten thousand do not burst.
const FIRST_PROBES_SPREAD: Duration = Duration::from_millis(1);

/// A probe task and what it was started for.
#[derive(Debug)]
struct Prober {
    policy: HealthPolicy,
    tls: Option<Arc<UpstreamTls>>,
    now: Arc<Notify>,
    task: JoinHandle<()>,
}

/// Probes every endpoint of the table in force until the process ends; endpoints that stay over a
/// reload keep their task.
pub async fn run(state: Arc<State>, mut at_once: mpsc::UnboundedReceiver<u32>) {
    let mut probers: HashMap<u32, Prober> = HashMap::new();
    let mut changes = state.changes();
    let mut table = None;
    loop {
        let view = state.view();
        if !table.as_ref().is_some_and(|known| Arc::ptr_eq(known, &view.table)) {
            table = Some(Arc::clone(&view.table));
            follow(&state, &view, &mut probers);
        }
        drop(view);
        tokio::select! {
            changed = changes.changed() => if changed.is_err() { return },
            asked = at_once.recv() => match asked {
                Some(number) => if let Some(prober) = probers.get(&number) {
                    prober.now.notify_one();
                },
                None => return,
            },
        }
    }
}

fn follow(state: &Arc<State>, view: &crate::state::View, probers: &mut HashMap<u32, Prober>) {
    let mut former = std::mem::take(probers);
    let endpoints = u32::try_from(view.endpoint_cells().len()).unwrap_or(u32::MAX);
    let spread = FIRST_PROBES_SPREAD.saturating_mul(endpoints);
    for stamp in view.table.stamps() {
        for endpoint in &stamp.endpoints {
            let cell = view.endpoint(endpoint.index);
            let tls = view.tls.of(endpoint.index);
            let kept = former.remove(&cell.number).filter(|it| {
                it.policy == stamp.health && UpstreamTls::is_same(it.tls.as_ref(), tls)
            });
            let prober = kept.unwrap_or_else(|| {
                let first = spread.min(stamp.health.interval).mul_f64(fastrand::f64());
                start(state, (cell, tls), &stamp.health, first)
            });
            probers.insert(cell.number, prober);
        }
    }
    for prober in former.into_values() {
        prober.task.abort();
    }
}

fn start(
    state: &Arc<State>,
    (cell, tls): (&Arc<EndpointCell>, Option<&Arc<UpstreamTls>>),
    policy: &HealthPolicy,
    first: Duration,
) -> Prober {
    let now = Arc::new(Notify::new());
    let probes = Probes {
        state: Arc::clone(state),
        cell: Arc::clone(cell),
        tls: tls.cloned(),
        policy: policy.clone(),
        now: Arc::clone(&now),
    };
    Prober { policy: policy.clone(), tls: tls.cloned(), now, task: tokio::spawn(probes.run(first)) }
}

/// One endpoint's probes.
struct Probes {
    state: Arc<State>,
    cell: Arc<EndpointCell>,
    tls: Option<Arc<UpstreamTls>>,
    policy: HealthPolicy,
    now: Arc<Notify>,
}

impl Probes {
    async fn run(self, first: Duration) {
        tokio::time::sleep(first).await;
        let mut told = None;
        loop {
            let began = self.state.clock().now();
            let good = self.is_good(&mut told).await;
            let result = if good { ProbeResult::Good } else { ProbeResult::Bad };
            if good {
                self.cell.probed(began);
            }
            self.state.probed(self.cell.number, result).await;
            let asked = self.state.ask(|reply| Command::Health(self.cell.number, reply)).await;
            let health = asked.ok().flatten().unwrap_or_default();
            let wait = next_probe_in(&self.policy, health, fastrand::u64(..));
            tokio::select! {
                () = tokio::time::sleep_until(self.state.clock().instant(began.after(wait))) => {}
                () = self.now.notified() => {
                    let soonest = began.after(asked_probe_in(health, wait));
                    tokio::time::sleep_until(self.state.clock().instant(soonest)).await;
                }
            }
        }
    }
}

impl Probes {
    /// Probes once. `told` is why there was no TLS session, as it was logged last.
    async fn is_good(&self, told: &mut Option<String>) -> bool {
        let probe = probe(&self.cell, self.tls.as_deref(), &self.policy);
        match tokio::time::timeout(self.policy.timeout, probe).await {
            Ok(Found::Answer(good)) => {
                if good {
                    *told = None;
                }
                good
            }
            Ok(Found::NoTls(error)) => {
                self.tell(told, &error);
                false
            }
            Err(_elapsed) => false,
        }
    }

    /// Logs why there is no TLS session, once for each reason.
    fn tell(&self, told: &mut Option<String>, error: &io::Error) {
        // The time is part of some reasons: without digits they stay the same.
        let reason = error.to_string().replace(|sign: char| sign.is_ascii_digit(), "");
        if told.as_ref() != Some(&reason) {
            let (stamp, endpoint) = (&self.cell.stamp, &self.cell.authority);
            tracing::warn!(%stamp, %endpoint, %error, "no TLS session with an endpoint");
            *told = Some(reason);
        }
    }
}

/// What a probe found.
enum Found {
    /// The endpoint is good, or it is not.
    Answer(bool),
    /// It did not prove who it is.
    NoTls(io::Error),
}

/// Is the endpoint good? One over TLS is not without a good handshake, path or no path.
async fn probe(cell: &EndpointCell, tls: Option<&UpstreamTls>, policy: &HealthPolicy) -> Found {
    let addresses = cell.addresses();
    let Some(socket) = connect(&addresses).await else { return Found::Answer(false) };
    let Some(tls) = tls else { return Found::Answer(judge(socket, cell, policy).await) };
    match tls.handshake_in_full(socket).await {
        Ok(session) => Found::Answer(judge(session, cell, policy).await),
        Err(error) => Found::NoTls(error),
    }
}

async fn judge<S>(mut stream: S, cell: &EndpointCell, policy: &HealthPolicy) -> bool
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    match &policy.path {
        None => {
            // What is said in parting is of no matter to what was found.
            drop(stream.shutdown().await);
            true
        }
        Some(path) => ask(stream, path, &cell.authority, &policy.expect).await,
    }
}

async fn connect(addresses: &[SocketAddr]) -> Option<TcpStream> {
    for address in addresses {
        if let Ok(socket) = TcpStream::connect(address).await {
            return Some(socket);
        }
    }
    None
}

async fn ask<S>(stream: S, path: &str, host: &str, expect: &[(u16, u16)]) -> bool
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let handshake = http1::Builder::new()
        .max_header_size(ANSWER_HEAD_BYTES_MAX)
        .handshake(TokioIo::new(stream))
        .await;
    let Ok((mut sender, connection)) = handshake else { return false };
    let Some(request) = request(path, host) else { return false };
    // Ends with this function, whatever comes of the answer.
    let mut driving = tokio::task::JoinSet::new();
    driving.spawn(connection);
    let Ok(response) = sender.send_request(request).await else { return false };
    let status = response.status().as_u16();
    expect.iter().any(|(from, to)| (*from..=*to).contains(&status))
}

fn request(path: &str, host: &str) -> Option<Request<Empty<bytes::Bytes>>> {
    Request::builder()
        .method(Method::GET)
        .uri(path)
        .version(Version::HTTP_11)
        .header(header::HOST, host)
        .header(header::USER_AGENT, USER_AGENT)
        .header(header::CONNECTION, "close")
        .body(Empty::new())
        .ok()
}
