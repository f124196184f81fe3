//! HTTP/1.1 with clients: hyper behind the wire's gate, and out of the way while the client asks for
//! nothing, since its buffers are most of what a connection holds.

use std::convert::Infallible;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::BytesMut;
use http::StatusCode;
use http::header::{self, HeaderValue};
use hyper::body::Incoming;
use hyper::server::conn::http1::{Builder, UpgradeableConnection};
use hyper::service::{HttpService, service_fn};
use hyper_util::rt::TokioIo;
use stamp_core::framing::FramingError;

use super::connection::{Connection, Drive, Ended, Watch};
use crate::proxy::line::Line;
use crate::proxy::wire::{ClientSocket, Phase, Wire, WireState};
use crate::proxy::{Client, ProxyError};
use crate::settings::Protocol;

/// hyper's own limits lie above ours, so that ours speak. As much of an answer is kept for a client
/// that does not take it: hyper's own value, 408 KiB, made of 1,000 slow readers 176 MB.
const HYPER_HEAD_BYTES_MIN: usize = 64 * 1024;
/// hyper ends a connection after an answer that says so.
const CLOSE: HeaderValue = HeaderValue::from_static("close");

impl Connection {
    pub(super) async fn serve_http1(
        &self,
        socket: (ClientSocket, BytesMut),
        state: Arc<WireState>,
        client: Client,
    ) {
        let view = self.worker.view();
        let limits = &view.live.limits;
        let wire = Wire::new(socket, Arc::clone(&state), limits.of_head());
        let (client, line) = (Rc::new(client), Line::Connection(Arc::clone(&state)));
        let told = Arc::clone(&state);
        let service = service_fn(move |request| {
            let (client, line) = (Rc::clone(&client), line.clone());
            let state = Arc::clone(&told);
            // Boxed: hyper keeps room for one all the time, and it is many times all else.
            Box::pin(async move {
                let mut response = client.serve(request, line).await;
                // An answer may be there before the connection's own task looks again.
                let switches = response.status() == StatusCode::SWITCHING_PROTOCOLS;
                if !switches && client.worker.is_last(state.heads()) {
                    response.headers_mut().insert(header::CONNECTION, CLOSE);
                }
                Ok::<_, Infallible>(response)
            })
        });
        let head_bytes_max = limits.header_bytes_max.saturating_mul(2).max(HYPER_HEAD_BYTES_MIN);
        let mut builder = Builder::new();
        builder
            .max_buf_size(head_bytes_max)
            .max_header_size(head_bytes_max)
            .max_headers(limits.header_count_max.saturating_add(8))
            .header_read_timeout(None);
        drop(view);
        let side = Side::Asleep(wire);
        let mut connection = Http1 { builder, service, side };
        let ended = self.watch(&mut connection, Watch::new(self, &state, None)).await;
        let last_word = match ended {
            Ended::ByHyper if state.phase() == Phase::Head => match state.refused() {
                // It may be an invalid preface: to whoever speaks HTTP/2 an answer of HTTP/1.1 is no end (RFC 9113,
                // section 3.4).
                Some(error @ FramingError::NoHttp)
                    if state.heads() == 0 && self.protocols.contains(&Protocol::Http2Clear) =>
                {
                    self.count(&ProxyError::Malformed(error));
                    None
                }
                refused => refused.map(ProxyError::Malformed),
            },
            Ended::TooSlow(Phase::Head) => Some(ProxyError::RequestTimeout),
            Ended::ByHyper | Ended::TooSlow(_) | Ended::Cut => None,
        };
        if let Some(error) = last_word
            && let Some(wire) = connection.into_wire()
        {
            self.refuse(wire.into_socket(), &error).await;
        }
    }
}

/// A connection, with hyper while there is something to do for it.
struct Http1<S: HttpService<Incoming>> {
    builder: Builder,
    service: S,
    side: Side<S>,
}

enum Side<S: HttpService<Incoming>> {
    /// Boxed, so that it takes no room while it is away.
    Awake(Box<UpgradeableConnection<TokioIo<Wire>, S>>),
    /// No whole head is there, and nothing of an answer is left.
    Asleep(Wire),
    Ended,
}

impl<S, B> Http1<S>
where
    S: HttpService<Incoming, ResBody = B> + Clone,
    S::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    B: hyper::body::Body + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    fn wake(&mut self) {
        self.side = match std::mem::replace(&mut self.side, Side::Ended) {
            Side::Asleep(wire) => {
                let served =
                    self.builder.serve_connection(TokioIo::new(wire), self.service.clone());
                Side::Awake(Box::new(served.with_upgrades()))
            }
            other @ (Side::Awake(_) | Side::Ended) => other,
        };
    }

    fn into_wire(self) -> Option<Wire> {
        match self.side {
            Side::Awake(hyper) => hyper.into_parts().map(|parts| parts.io.into_inner()),
            Side::Asleep(wire) => Some(wire),
            Side::Ended => None,
        }
    }
}

impl<S, B> Drive for Http1<S>
where
    S: HttpService<Incoming, ResBody = B> + Clone + Unpin,
    S::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    B: hyper::body::Body + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    UpgradeableConnection<TokioIo<Wire>, S>: Future + Unpin,
{
    fn drive(&mut self, context: &mut Context<'_>) -> Poll<()> {
        if let Side::Asleep(wire) = &mut self.side {
            ready!(wire.poll_news(context));
            self.wake();
        }
        match &mut self.side {
            Side::Awake(hyper) => Pin::new(&mut **hyper).poll(context).map(|_ended| ()),
            Side::Asleep(_) => Poll::Pending,
            Side::Ended => Poll::Ready(()),
        }
    }

    fn stop_gracefully(&mut self) {
        // hyper says goodbye, over TLS as well.
        self.wake();
        if let Side::Awake(hyper) = &mut self.side {
            Pin::new(&mut **hyper).graceful_shutdown();
        }
    }

    fn rest(&mut self) {
        self.side = match std::mem::replace(&mut self.side, Side::Ended) {
            Side::Awake(hyper) => match hyper.into_parts() {
                // What hyper has read and not used belongs to no request: nobody reads on after it.
                Some(parts) if parts.read_buf.is_empty() => Side::Asleep(parts.io.into_inner()),
                Some(_) | None => Side::Ended,
            },
            other @ (Side::Asleep(_) | Side::Ended) => other,
        };
    }
}
