//! One connection of HTTP/2 to a fake stamp: each stream plays a script of its own.

use std::future::poll_fn;
use std::sync::Arc;

use bytes::Bytes;
use h2::ext::Protocol;
use h2::server::{self, SendResponse};
use h2::{Reason, RecvStream, SendStream};
use http::{HeaderMap, Request, Response};
use tokio::task::JoinSet;

use super::http1::Head;
use super::script::{Feed, Script, block};
use super::stamp::Shared;
use super::tls::Stream;

type Answering = SendResponse<Bytes>;

/// Serves streams until the connection ends.
pub async fn serve(stream: Stream, shared: Arc<Shared>) {
    let mut builder = server::Builder::new();
    {
        let state = shared.state.lock().unwrap();
        builder.max_concurrent_streams(state.streams_max);
        if state.opens_websockets {
            builder.enable_connect_protocol();
        }
    }
    let handshake = builder.handshake(stream);
    let Ok(mut connection) = handshake.await else { return };
    let mut streams = JoinSet::new();
    let mut number = None;
    let mut says_goodbye = false;
    loop {
        let leave = Arc::clone(&shared);
        let accepted = tokio::select! {
            accepted = connection.accept() => accepted,
            () = leave.leave.notified(), if !says_goodbye => {
                says_goodbye = true;
                connection.graceful_shutdown();
                continue;
            }
        };
        let Some(Ok((request, mut answering))) = accepted else { break };
        if request.uri().path() == "/healthz" {
            let status = if shared.passes_probe() { 200 } else { 503 };
            let answer = Response::builder().status(status).body(()).unwrap();
            drop(answering.send_response(answer, true));
            continue;
        }
        let (head, body) = read_head(request);
        let (own, place, script) = shared.note(head, number);
        number = Some(own);
        let playing = Playing { shared: Arc::clone(&shared), place };
        let _task = streams.spawn(async move {
            // How a scripted stream breaks is the business of the other side.
            let _broken = Box::pin(playing.play(script, body, answering)).await;
        });
    }
    if number.is_some() {
        shared.state.lock().unwrap().ended += 1;
    }
}

/// A head of HTTP/2 as the records have it: the pseudo-fields come first.
fn read_head(request: Request<RecvStream>) -> (Head, RecvStream) {
    let (parts, body) = request.into_parts();
    let target = parts.uri.path_and_query().map_or("", |path| path.as_str());
    let first_line = format!("{} {target} HTTP/2", parts.method);
    let pseudo = [
        (":scheme", parts.uri.scheme_str().unwrap_or_default()),
        (":authority", parts.uri.authority().map_or("", |authority| authority.as_str())),
    ];
    let pseudo = pseudo.map(|(name, value)| (name.to_owned(), value.to_owned()));
    let protocol = parts.extensions.get::<Protocol>().map(Protocol::as_str);
    let protocol = protocol.map(|protocol| (":protocol".to_owned(), protocol.to_owned()));
    let fields = pairs(&parts.headers);
    let headers = pseudo.into_iter().chain(protocol).chain(fields).collect();
    (Head { first_line, headers }, body)
}

fn pairs(fields: &HeaderMap) -> Vec<(String, String)> {
    let pair = |(name, value): (&http::HeaderName, &http::HeaderValue)| {
        (name.to_string(), super::http1::lossy(value.as_bytes()))
    };
    fields.iter().map(pair).collect()
}

struct Playing {
    shared: Arc<Shared>,
    place: usize,
}

impl Playing {
    async fn play(
        &self,
        script: Script,
        mut body: RecvStream,
        mut answering: Answering,
    ) -> Result<(), h2::Error> {
        if self.reads_first(&script) {
            self.read(&mut body).await?;
        }
        match script {
            Script::Gated(gate, script) => {
                gate.passed().await;
                return Box::pin(self.play(*script, body, answering)).await;
            }
            Script::For(host, script) => {
                let authority = self.seen().head.header(":authority").map(str::to_owned);
                let meant = authority.as_deref() == Some(host);
                let script = if meant { *script } else { Script::Echo };
                return Box::pin(self.play(script, body, answering)).await;
            }
            Script::Refuse => {
                answering.send_reset(Reason::REFUSED_STREAM);
            }
            Script::ResetAfterHead | Script::ResetAfterBody => {
                answering.send_reset(Reason::INTERNAL_ERROR);
            }
            Script::ResetMidBody => {
                let mut stream = answering.send_response(ok("text/plain"), false)?;
                stream.send_data(Bytes::from_static(b"0123456789"), false)?;
                // So that it is sent before the reset takes its place.
                tokio::task::yield_now().await;
                stream.send_reset(Reason::INTERNAL_ERROR);
            }
            Script::Hang | Script::Trickle => {
                let reason = poll_fn(|context| answering.poll_reset(context)).await?;
                let reset = ("reset".to_owned(), u32::from(reason).to_string());
                self.shared.state.lock().unwrap().seen[self.place].trailers.push(reset);
            }
            Script::EchoAs(status) => self.declines(status, body, &mut answering).await?,
            Script::Echo
            | Script::EchoAndClose
            | Script::EchoAndCloseUnsaid
            | Script::CloseWhenReused => self.echo(200, &mut answering)?,
            Script::Download(length) => download(length, &mut answering).await?,
            Script::Stream(feed) => stream_out(feed, &mut answering).await?,
            Script::Grpc => self.rpc(body, &mut answering).await?,
            Script::Upgrade => self.websocket(body, &mut answering).await?,
            Script::Raw(_)
            | Script::RawAndClose(_)
            | Script::RawAndLater(..)
            | Script::RawBeforeBody(_)
            | Script::RawUnread(_) => {
                panic!("{script:?} is of HTTP/1.1")
            }
        }
        Ok(())
    }

    /// Is the request read before the script says anything?
    fn reads_first(&self, script: &Script) -> bool {
        let is_stream = matches!(script, Script::Grpc | Script::Refuse | Script::Hang);
        script.reads_first() && !is_stream && !self.is_connect()
    }

    fn is_connect(&self) -> bool {
        self.seen().method() == "CONNECT"
    }

    /// An echo, after which whoever wanted to open the stream ends it.
    async fn declines(
        &self,
        status: u16,
        mut body: RecvStream,
        answering: &mut Answering,
    ) -> Result<(), h2::Error> {
        self.echo(status, answering)?;
        if self.is_connect() { self.read(&mut body).await } else { Ok(()) }
    }

    fn seen(&self) -> super::stamp::Seen {
        self.shared.state.lock().unwrap().seen[self.place].clone()
    }

    async fn read(&self, body: &mut RecvStream) -> Result<(), h2::Error> {
        while let Some(bytes) = body.data().await {
            let bytes = bytes?;
            self.shared.keep(self.place, &bytes);
            body.flow_control().release_capacity(bytes.len())?;
        }
        self.ended(body).await
    }

    async fn ended(&self, body: &mut RecvStream) -> Result<(), h2::Error> {
        let trailers = body.trailers().await?.unwrap_or_default();
        let seen = &mut self.shared.state.lock().unwrap().seen[self.place];
        seen.trailers = pairs(&trailers);
        seen.complete = true;
        Ok(())
    }

    fn echo(&self, status: u16, answering: &mut Answering) -> Result<(), h2::Error> {
        let seen = self.seen();
        let body = seen.told_by(&self.shared.name);
        let answer = Response::builder()
            .status(status)
            .header("content-type", "application/json")
            .header("content-length", body.len())
            .body(())
            .unwrap();
        let is_head = seen.method() == "HEAD";
        let mut stream = answering.send_response(answer, is_head)?;
        if !is_head {
            stream.send_data(body.into(), true)?;
        }
        Ok(())
    }

    /// What comes goes back, piece by piece, until it is this.
    async fn echo_until(
        &self,
        last: &[u8],
        body: &mut RecvStream,
        stream: &mut SendStream<Bytes>,
    ) -> Result<bool, h2::Error> {
        while let Some(bytes) = body.data().await {
            let bytes = bytes?;
            self.shared.keep(self.place, &bytes);
            body.flow_control().release_capacity(bytes.len())?;
            if bytes == last {
                return Ok(true);
            }
            send(stream, bytes.to_vec()).await?;
        }
        self.ended(body).await.map(|()| false)
    }

    /// An echo, which `bye` ends as some do: the stamp says its end, and then resets what the client may still say.
    async fn websocket(
        &self,
        mut body: RecvStream,
        answering: &mut Answering,
    ) -> Result<(), h2::Error> {
        let answer = Response::builder().header("sec-websocket-protocol", "chat").body(()).unwrap();
        let mut stream = answering.send_response(answer, false)?;
        let leaves = self.echo_until(b"bye", &mut body, &mut stream).await?;
        stream.send_data(Bytes::new(), true)?;
        if leaves {
            // So that the end is sent before the reset takes its place.
            tokio::task::yield_now().await;
            stream.send_reset(Reason::NO_ERROR);
        }
        Ok(())
    }

    /// What comes goes back; then the status.
    async fn rpc(&self, mut body: RecvStream, answering: &mut Answering) -> Result<(), h2::Error> {
        let mut stream = answering.send_response(ok("application/grpc"), false)?;
        self.echo_until(b"", &mut body, &mut stream).await?;
        let mut trailers = HeaderMap::new();
        trailers.insert("grpc-status", "0".parse().unwrap());
        trailers.insert("x-stamp-id", "spoofed".parse().unwrap());
        stream.send_trailers(trailers)
    }
}

fn ok(content_type: &str) -> Response<()> {
    Response::builder().header("content-type", content_type).body(()).unwrap()
}

async fn download(length: u64, answering: &mut Answering) -> Result<(), h2::Error> {
    let mut stream = answering.send_response(ok("text/plain"), false)?;
    let mut sent = 0;
    while sent < length {
        let next = usize::try_from((length - sent).min(251 << 6)).unwrap();
        send(&mut stream, block(sent, next)).await?;
        sent += u64::try_from(next).unwrap();
    }
    stream.send_data(Bytes::new(), true)
}

async fn stream_out(feed: Feed, answering: &mut Answering) -> Result<(), h2::Error> {
    let mut stream = answering.send_response(ok("text/event-stream"), false)?;
    let mut feed = feed.lock().await;
    while let Some(text) = feed.recv().await {
        send(&mut stream, text.into_bytes()).await?;
    }
    stream.send_data(Bytes::new(), true)
}

/// Sends all of this as the peer makes room for it.
async fn send(stream: &mut SendStream<Bytes>, bytes: Vec<u8>) -> Result<(), h2::Error> {
    let mut bytes = Bytes::from(bytes);
    while !bytes.is_empty() {
        stream.reserve_capacity(bytes.len());
        while stream.capacity() == 0 {
            match poll_fn(|context| stream.poll_capacity(context)).await {
                Some(more) => drop(more?),
                None => return Ok(()),
            }
        }
        let part = bytes.split_to(stream.capacity().min(bytes.len()));
        stream.send_data(part, false)?;
    }
    Ok(())
}
