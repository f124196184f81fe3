//! A connection over HTTP/2: which client speaks it, and hyper behind the gate for frames. Each
//! stream is a request of its own, which is routed by itself and has a task of its own.

use std::convert::Infallible;
use std::error::Error;
use std::future::poll_fn;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::BytesMut;
use http::{Request, Response};
use hyper::body::Incoming;
use hyper::rt::Executor;
use hyper::server::conn::http2;
use hyper::service::{HttpService, service_fn};
use hyper_util::rt::TokioIo;
use stamp_core::http2::frames::{FRAME_BYTES_MAX, PREFACE, Reader};
use tokio::io::AsyncReadExt;

use super::Stop;
use super::connection::{Connection, Drive, Ended, LAST_WORD, Watch};
use crate::proxy::Client;
use crate::proxy::answer::Answer;
use crate::proxy::line::Line;
use crate::proxy::streams::{Open, SEND_BUFFER_BYTES, Stream, Streams};
use crate::proxy::wire::{ClientSocket, FrameWire, Phase, WireState};
use crate::settings::{Limits, Protocol};

/// What a stream may have under way before the client must wait, in bytes (Envoy's values for an
/// edge).
const STREAM_WINDOW_BYTES: u32 = 64 * 1024;
/// The same of a connection.
const CONNECTION_WINDOW_BYTES: u32 = 1024 * 1024;
/// What a field costs besides its name and value in the size of a list of them (RFC 9113, section
/// 6.5.2).
const FIELD_BYTES: usize = 32;
/// Streams that a client may make us reset: errors of its own, so a connection sees few.
const OWN_RESETS_MAX: usize = 100;
/// An encoded header block may have so many times the bytes of a head: beyond what is good h2
/// answers 431 until then.
const BLOCK_TIMES_HEAD: usize = 4;

impl Connection {
    /// What a client in the clear speaks, by its first bytes where the listener knows both. `None` =
    /// it said nothing in time, or left.
    pub(super) async fn protocol_of(
        &self,
        socket: &mut ClientSocket,
        begun: &mut BytesMut,
        state: &Arc<WireState>,
    ) -> Option<Protocol> {
        if let [only] = &*self.protocols {
            return Some(*only);
        }
        let patience = self.worker.view().live.timeouts.first_byte;
        let mut stop = self.stop.clone();
        let reading = async {
            loop {
                let read = socket.read_buf(begun).await.ok().filter(|read| *read > 0)?;
                state.count_read(read);
                let seen = begun.len().min(PREFACE.len());
                if begun.get(..seen) != PREFACE.get(..seen) {
                    return Some(Protocol::Http1);
                }
                if seen == PREFACE.len() {
                    return Some(Protocol::Http2Clear);
                }
            }
        };
        let reading = tokio::time::timeout(patience, reading);
        tokio::select! {
            protocol = reading => protocol.ok().flatten(),
            // Nothing was asked for.
            _ = stop.wait_for(|stop| *stop >= Stop::Gracefully) => None,
            () = self.makes_room(state) => None,
        }
    }

    pub(super) async fn serve_http2(
        &self,
        socket: (ClientSocket, BytesMut),
        state: Arc<WireState>,
        client: Client,
    ) {
        let clock = self.worker.clock();
        let view = self.worker.view();
        let limits = &view.live.limits;
        let streams = Streams::new(Arc::clone(&state), clock);
        let reader = Reader::new(block_bytes_max(limits), clock.now());
        let wire = FrameWire::new(socket, Arc::clone(&state), Rc::clone(&streams), (reader, clock));
        let builder = builder(Tasks { streams: Rc::clone(&streams) }, limits);
        let (client, begun) = (Rc::new(client), Rc::clone(&streams));
        let least = limits.bytes_per_second();
        let service = service_fn(move |request| {
            let line = Line::Stream(begun.begin(least));
            let waiting = Waiting { client: Rc::clone(&client), request, line };
            Serving::Waits { may_be_reset: begun.may_be_reset(), waiting: Some(Box::new(waiting)) }
        });
        let mut connection = builder.serve_connection(TokioIo::new(wire), service);
        drop(view);
        let watch = Watch::new(self, &state, Some(&streams));
        let ended = self.watch(&mut connection, watch).await;
        if let Some(abuse) = state.abuse() {
            self.worker.counts().cut(self.listener, abuse.as_str());
            tracing::debug!(client = %self.caller.address(), reason = abuse.as_str(), "client cut");
        }
        if matches!(ended, Ended::TooSlow(Phase::Idle)) {
            connection.stop_gracefully();
            let goodbye = poll_fn(|context| connection.drive(context));
            drop(tokio::time::timeout(LAST_WORD, goodbye).await);
        }
    }
}

/// As many bytes as an encoded header block may have.
fn block_bytes_max(limits: &Limits) -> usize {
    limits.header_bytes_max.saturating_mul(BLOCK_TIMES_HEAD).max(FRAME_BYTES_MAX as usize)
}

fn builder(tasks: Tasks, limits: &Limits) -> http2::Builder<Tasks> {
    // h2's own limits lie above ours where ours have a better answer.
    let list_bytes = limits.header_count_max.saturating_mul(FIELD_BYTES);
    let list_bytes = list_bytes.saturating_add(limits.header_bytes_max);
    let mut builder = http2::Builder::new(tasks);
    builder
        .max_concurrent_streams(limits.h2_streams_max.get())
        .max_pending_accept_reset_streams(limits.h2_pending_resets_max)
        .max_local_error_reset_streams(OWN_RESETS_MAX)
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .max_frame_size(FRAME_BYTES_MAX)
        .max_send_buf_size(SEND_BUFFER_BYTES)
        .max_header_list_size(u32::try_from(list_bytes).unwrap_or(u32::MAX))
        .enable_connect_protocol();
    builder
}

/// One request of a stream. It is in a box, so that it is gone as soon as there is an answer: a client that takes
/// its time for that keeps no more than the answer. The box is made when it is polled first: h2 hands over all
/// streams that have come before one of them is.
enum Serving {
    /// Not yet polled.
    Waits {
        /// The stream may be reset already.
        may_be_reset: bool,
        waiting: Option<Box<Waiting>>,
    },
    Serves(Pin<Box<dyn Future<Output = Response<Answer>>>>),
}

struct Waiting {
    client: Rc<Client>,
    request: Request<Incoming>,
    line: Line,
}

impl Waiting {
    async fn serve(self) -> Response<Answer> {
        self.client.serve(self.request, self.line).await
    }
}

impl Future for Serving {
    type Output = Result<Response<Answer>, Infallible>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        if let Self::Waits { may_be_reset, waiting } = this {
            if std::mem::take(may_be_reset) {
                // h2 hands over streams that are reset already, and hyper sees it when there is
                // nothing else to do. Otherwise the stamp would have the cost of an attack
                // (CVE-2023-44487): 21 connections made for each of the client's.
                context.waker().wake_by_ref();
                return Poll::Pending;
            }
            let Some(waiting) = waiting.take() else { return Poll::Pending };
            *this = Self::Serves(Box::pin(waiting.serve()));
        }
        let Self::Serves(serving) = this else { return Poll::Pending };
        serving.as_mut().poll(context).map(Ok)
    }
}

/// Runs what hyper gives it at this worker: the tasks of streams and of tunnels.
#[derive(Clone, Debug)]
struct Tasks {
    streams: Rc<Streams>,
}

/// The task of a stream. By name, since an async block would hold what it awaits twice (1,024 bytes a stream, measured).
struct Task<F> {
    task: F,
    /// `None` = it is the task of a tunnel.
    stream: Option<Rc<Stream>>,
    /// Counted as long as what it counts is there.
    _open: Open,
}

impl<F: Future<Output = ()> + Unpin + 'static> Executor<F> for Tasks {
    fn execute(&self, task: F) {
        let (open, stream) = (self.streams.enter(), self.streams.take_begun());
        tokio::task::spawn_local(Task { task, stream, _open: open });
    }
}

impl<F: Future<Output = ()> + Unpin> Future for Task<F> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let this = self.get_mut();
        if let Some(stream) = &this.stream {
            stream.driven_by(context.waker());
            // hyper waits for the client's window and asks nobody: without its task the stream is
            // reset.
            if stream.must_end_while_given() {
                return Poll::Ready(());
            }
        }
        Pin::new(&mut this.task).poll(context)
    }
}

impl<S> Drive for http2::Connection<TokioIo<FrameWire>, S, Tasks>
where
    S: HttpService<Incoming, ResBody = Answer, Future = Serving>,
    S::Error: Into<Box<dyn Error + Send + Sync>>,
    Self: Future + Unpin,
{
    fn drive(&mut self, context: &mut Context<'_>) -> Poll<()> {
        Pin::new(self).poll(context).map(|_ended| ())
    }

    fn stop_gracefully(&mut self) {
        Pin::new(self).graceful_shutdown();
    }

    // h2 holds little at rest, and what both sides know of each other.
    fn rest(&mut self) {}
}
