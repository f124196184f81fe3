//! Active probes: one task an endpoint on the control runtime, never on a worker. What a probe
//! means is core's (`health`); how often one runs too.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{self, HeaderValue};
use http::{Method, Request, StatusCode, Version, request};
use http_body_util::Empty;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use stamp_core::health::{ProbeResult, asked_probe_in, next_probe_in};
use stamp_core::standing::EndpointStanding;
use stamp_core::table::{HealthPolicy, PoolProtocol};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::{Notify, mpsc};
use tokio::task::{JoinHandle, JoinSet};

use crate::state::{Command, EndpointCell, State};
use crate::tls::{Offer, UpstreamTls, agreed_on_http2};

/// The names that probes go by in the stamps' logs.
const USER_AGENT: HeaderValue = HeaderValue::from_static("stampgate-probe");
/// The largest answer head of a probe.
const ANSWER_HEAD_BYTES_MAX: u32 = 16 * 1024;
/// The first probes of a table are spread over this time for each endpoint, and over the interval at
/// most: a few go out at once, and ten thousand do not burst.
const FIRST_PROBES_SPREAD: Duration = Duration::from_millis(1);

/// A probe task and what it was started for.
#[derive(Debug)]
struct Prober {
    policy: HealthPolicy,
    protocol: PoolProtocol,
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

/// Waits until probes have told of every endpoint whether it is there, for so long at most.
pub async fn first_round(state: &State, at_most: Duration) {
    let mut changes = state.changes();
    let round = async {
        while state.view().standings.endpoints.contains(&EndpointStanding::Unknown) {
            if changes.changed().await.is_err() {
                return;
            }
        }
    };
    if tokio::time::timeout(at_most, round).await.is_err() {
        tracing::warn!("not every endpoint is known to be there or not yet");
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
                it.policy == stamp.health
                    && it.protocol == stamp.pool.protocol
                    && UpstreamTls::is_same(it.tls.as_ref(), tls)
            });
            let prober = kept.unwrap_or_else(|| {
                let first = spread.min(stamp.health.interval).mul_f64(fastrand::f64());
                start(state, (cell, tls), (&stamp.health, stamp.pool.protocol), first)
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
    (policy, protocol): (&HealthPolicy, PoolProtocol),
    first: Duration,
) -> Prober {
    let now = Arc::new(Notify::new());
    let probes = Probes {
        state: Arc::clone(state),
        cell: Arc::clone(cell),
        tls: tls.cloned(),
        policy: policy.clone(),
        protocol,
        now: Arc::clone(&now),
    };
    let task = tokio::spawn(probes.run(first));
    Prober { policy: policy.clone(), protocol, tls: tls.cloned(), now, task }
}

/// One endpoint's probes.
struct Probes {
    state: Arc<State>,
    cell: Arc<EndpointCell>,
    tls: Option<Arc<UpstreamTls>>,
    policy: HealthPolicy,
    protocol: PoolProtocol,
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
        let probe = self.probe();
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

impl Probes {
    /// Is the endpoint good? One over TLS is not without a good handshake, path or no path.
    async fn probe(&self) -> Found {
        let addresses = self.cell.addresses();
        let Some(socket) = connect(&addresses).await else { return Found::Answer(false) };
        let Some(tls) = &self.tls else {
            let version = match self.protocol {
                PoolProtocol::Http1 | PoolProtocol::Http2OverTls => Version::HTTP_11,
                PoolProtocol::Http2InTheClear => Version::HTTP_2,
            };
            return Found::Answer(self.judge(socket, version).await);
        };
        let offer = match self.protocol {
            PoolProtocol::Http1 | PoolProtocol::Http2InTheClear => Offer::Http1,
            PoolProtocol::Http2OverTls => Offer::Http2OrHttp1,
        };
        match tls.handshake_in_full(socket, offer).await {
            Ok(session) => {
                let is_http2 = agreed_on_http2(&session);
                let version = if is_http2 { Version::HTTP_2 } else { Version::HTTP_11 };
                Found::Answer(self.judge(session, version).await)
            }
            Err(error) => Found::NoTls(error),
        }
    }

    async fn judge<S>(&self, mut stream: S, version: Version) -> bool
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let Some(path) = &self.policy.path else {
            // What is said in parting is of no matter to what was found.
            drop(stream.shutdown().await);
            return true;
        };
        let status = if version == Version::HTTP_2 {
            ask_http2(stream, self.scheme(), path, &self.cell.authority).await
        } else {
            ask_http1(stream, path, &self.cell.authority).await
        };
        let status = status.map(|status| status.as_u16());
        let expect = &self.policy.expect;
        status.is_some_and(|it| expect.iter().any(|(from, to)| (*from..=*to).contains(&it)))
    }

    const fn scheme(&self) -> &'static str {
        if self.tls.is_some() { "https" } else { "http" }
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

async fn ask_http1<S>(stream: S, path: &str, host: &str) -> Option<StatusCode>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let handshake = http1::Builder::new()
        .max_header_size(ANSWER_HEAD_BYTES_MAX as usize)
        .handshake(TokioIo::new(stream))
        .await;
    let (mut sender, connection) = handshake.ok()?;
    let request = request(path)
        .version(Version::HTTP_11)
        .header(header::HOST, host)
        .header(header::CONNECTION, "close")
        .body(Empty::<Bytes>::new())
        .ok()?;
    // Ends with this function, whatever comes of the answer.
    let mut driving = JoinSet::new();
    driving.spawn(connection);
    Some(sender.send_request(request).await.ok()?.status())
}

async fn ask_http2<S>(stream: S, scheme: &str, path: &str, host: &str) -> Option<StatusCode>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let handshake = h2::client::Builder::new()
        .max_header_list_size(ANSWER_HEAD_BYTES_MAX)
        .enable_push(false)
        .handshake::<_, Bytes>(stream)
        .await;
    let (sender, connection) = handshake.ok()?;
    let request = request(&format!("{scheme}://{host}{path}")).body(()).ok()?;
    let mut driving = JoinSet::new();
    driving.spawn(connection);
    let (response, _no_body) = sender.ready().await.ok()?.send_request(request, true).ok()?;
    Some(response.await.ok()?.status())
}

fn request(uri: &str) -> request::Builder {
    Request::builder().method(Method::GET).uri(uri).header(header::USER_AGENT, USER_AGENT)
}
