//! One fetch of a key set: bounded in time and bytes, verified by TLS, and never sent elsewhere.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{self, HeaderValue};
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Empty, LengthLimitError, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use stamp_core::jwks::{JwksSource, fresh_for};
use stamp_core::table::Algorithm;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use crate::auth::{Fetched, KeyFault};
use crate::clock::Clock;
use crate::tls::{Offer, UpstreamTls};

/// The longest until a connection is made, handshake included.
const CONNECTED_WITHIN: Duration = Duration::from_secs(5);
/// The longest that a fetch lasts.
const FETCHED_WITHIN: Duration = Duration::from_secs(10);
/// The largest answer head.
const ANSWER_HEAD_BYTES_MAX: usize = 16 * 1024;
/// The largest key set: the largest known have some ten KiB.
const KEY_SET_BYTES_MAX: usize = 1024 * 1024;
/// The name that fetches go by in the issuer's logs.
const USER_AGENT: HeaderValue = HeaderValue::from_static("stampgate");
/// What is asked for (RFC 7517, section 8.5).
const ACCEPT: HeaderValue = HeaderValue::from_static("application/jwk-set+json, application/json");

/// A key set that came, and how long the issuer calls it fresh.
#[derive(Debug)]
pub(super) struct Published {
    pub(super) fetched: Fetched,
    pub(super) fresh: Option<Duration>,
}

/// Why no key set came.
#[derive(Debug, thiserror::Error)]
pub(super) enum FetchError {
    /// The name is not known, or nobody listens.
    #[error("no connection: {0}")]
    Connect(#[source] io::Error),
    /// The issuer did not prove who it is.
    #[error("no TLS session: {0}")]
    Tls(#[source] io::Error),
    /// It took too long.
    #[error("no whole answer in time")]
    Timeout,
    /// The issuer broke off or broke the protocol.
    #[error("no HTTP answer: {0}")]
    Broken(#[source] hyper::Error),
    /// Not 200. Redirects are not followed: they could lead anywhere.
    #[error("an answer with status {0}")]
    Status(StatusCode),
    /// Longer than `KEY_SET_BYTES_MAX`.
    #[error("an answer of over {KEY_SET_BYTES_MAX} bytes")]
    TooLarge,
    /// No key set with a key that can be used.
    #[error("no usable key set: {0}")]
    Unusable(#[source] KeyFault),
    /// The gateway failed.
    #[error("the gateway failed")]
    Internal,
}

impl FetchError {
    /// The label used in metrics.
    pub(super) const fn as_str(&self) -> &'static str {
        match self {
            Self::Connect(_) => "connect_failed",
            Self::Tls(_) => "tls_failed",
            Self::Timeout => "timeout",
            Self::Broken(_) => "broken",
            Self::Status(_) => "bad_status",
            Self::TooLarge => "too_large",
            Self::Unusable(_) => "unusable",
            Self::Internal => "internal",
        }
    }
}

/// Fetches once.
pub(super) async fn fetch(
    source: &JwksSource,
    algorithms: &[Algorithm],
    tls: Option<&UpstreamTls>,
    clock: Clock,
) -> Result<Published, FetchError> {
    let answer = tokio::time::timeout(FETCHED_WITHIN, answer(source, tls)).await;
    let (json, fresh) = answer.unwrap_or(Err(FetchError::Timeout))?;
    let (algorithms, at) = (algorithms.to_vec(), clock.wall());
    // A full set takes its time to read.
    let reading = tokio::task::spawn_blocking(move || Fetched::read(json, &algorithms, at));
    match reading.await {
        Ok(fetched) => Ok(Published { fetched: fetched.map_err(FetchError::Unusable)?, fresh }),
        Err(_panic) => Err(FetchError::Internal),
    }
}

type Answer = (Arc<[u8]>, Option<Duration>);

async fn answer(source: &JwksSource, tls: Option<&UpstreamTls>) -> Result<Answer, FetchError> {
    let connecting = tokio::time::timeout(CONNECTED_WITHIN, connect(source)).await;
    let socket = connecting.unwrap_or(Err(FetchError::Timeout))?;
    let Some(tls) = tls else { return ask(socket, source).await };
    let handshake =
        tokio::time::timeout(CONNECTED_WITHIN, tls.handshake_in_full(socket, Offer::Http1)).await;
    let session = handshake.or(Err(FetchError::Timeout))?.map_err(FetchError::Tls)?;
    ask(session, source).await
}

async fn connect(source: &JwksSource) -> Result<TcpStream, FetchError> {
    // Tries each address of the name.
    let address = (&*source.url.host, source.url.port);
    TcpStream::connect(address).await.map_err(FetchError::Connect)
}

async fn ask<S>(stream: S, source: &JwksSource) -> Result<Answer, FetchError>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let handshake = http1::Builder::new()
        .max_header_size(ANSWER_HEAD_BYTES_MAX)
        .handshake(TokioIo::new(stream))
        .await;
    let (mut sender, connection) = handshake.map_err(FetchError::Broken)?;
    // Ends with this function, whatever comes of the answer.
    let mut driving = JoinSet::new();
    driving.spawn(connection);
    let request = request(source).ok_or(FetchError::Internal)?;
    let response = sender.send_request(request).await.map_err(FetchError::Broken)?;
    if response.status() != StatusCode::OK {
        return Err(FetchError::Status(response.status()));
    }
    let fresh = response.headers().get(header::CACHE_CONTROL);
    let fresh = fresh.and_then(|value| value.to_str().ok()).and_then(fresh_for);
    Ok((body(response).await?, fresh))
}

fn request(source: &JwksSource) -> Option<Request<Empty<Bytes>>> {
    Request::builder()
        .uri(&*source.url.path)
        .header(header::HOST, source.url.authority())
        .header(header::USER_AGENT, USER_AGENT)
        .header(header::ACCEPT, ACCEPT)
        .header(header::CONNECTION, "close")
        .body(Empty::new())
        .ok()
}

async fn body(response: Response<Incoming>) -> Result<Arc<[u8]>, FetchError> {
    let body = Limited::new(response.into_body(), KEY_SET_BYTES_MAX).collect().await;
    match body {
        Ok(body) => Ok(Arc::from(&*body.to_bytes())),
        Err(error) if error.is::<LengthLimitError>() => Err(FetchError::TooLarge),
        Err(error) => match error.downcast::<hyper::Error>() {
            Ok(error) => Err(FetchError::Broken(*error)),
            Err(_unknown) => Err(FetchError::Internal),
        },
    }
}
