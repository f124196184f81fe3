//! What a request asks for besides an answer: another protocol on its connection (RFC 9110, section
//! 7.8), or over HTTP/2 a WebSocket on its stream (RFC 8441). The client and the stamp may each have it in
//! the version that it speaks: the gateway says for either what that wants.

use aws_lc_rs::digest;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use http::header::{self, HeaderMap, HeaderValue};
use http::{Method, Request, Response, StatusCode, Version, response};
use hyper::ext::Protocol;
use hyper::upgrade::OnUpgrade;
use stamp_core::framing::HeadLimits;
use stamp_core::http2::head::{self, Asked};
use stamp_core::websocket;

use super::error::ProxyError;
use super::tunnel::{StampEnd, Tunnelled};
use super::{Head, Length, headers};
use crate::outbound::answer::AnswerBody;
use crate::outbound::link::Link;
use crate::outbound::pool::Purpose;

/// RFC 6455, section 1.3.
const WEBSOCKET_GUID: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
/// The protocol's name.
const WEBSOCKET: &str = "websocket";

/// Judges the head of a request over HTTP/2 (that of HTTP/1.1 was judged on the wire). From here on
/// one that asks for a WebSocket is what it is over HTTP/1.1: a GET.
pub(super) fn asked<B>(request: &mut Request<B>, limits: HeadLimits) -> Result<Asked, ProxyError> {
    if request.version() != Version::HTTP_2 {
        return Ok(Asked::Answer);
    }
    let head = head::Head {
        method: request.method(),
        uri: request.uri(),
        protocol: request.extensions().get::<Protocol>().map(Protocol::as_str),
        headers: request.headers(),
    };
    let asked = head::read(head, limits).map_err(ProxyError::Malformed)?;
    if asked == Asked::WebSocket {
        *request.method_mut() = Method::GET;
    }
    Ok(asked)
}

/// What a connection to a stamp is wanted for by this request.
pub(super) fn purpose(head: &Head) -> Purpose {
    let Some(upgrade) = &head.upgrade else { return Purpose::Exchange };
    let opens_websocket = Tunnelled::of(upgrade) == Tunnelled::WebSocket
        && head.method == Method::GET
        && head.length == Length::Said(0)
        && has_key(&head.headers);
    if opens_websocket { Purpose::WebSocket } else { Purpose::Switch }
}

/// Is there one key, and a good one?
fn has_key(fields: &HeaderMap) -> bool {
    let mut keys = fields.get_all(header::SEC_WEBSOCKET_KEY).iter();
    let (Some(key), None) = (keys.next(), keys.next()) else { return false };
    websocket::is_key(key.as_bytes())
}

/// Makes of a request that opens a WebSocket what it is over HTTP/2 (RFC 8441, section 5).
pub(super) fn connect<B>(request: &mut Request<B>) {
    *request.method_mut() = Method::CONNECT;
    request.extensions_mut().insert(h2::ext::Protocol::from_static(WEBSOCKET));
    // What flows is no body, whatever length a client said for the one that it does not have.
    for name in [header::SEC_WEBSOCKET_KEY, header::CONTENT_LENGTH] {
        request.headers_mut().remove(name);
    }
}

/// What a stamp answers to a handshake if it has understood (RFC 6455, section 4.2.2).
fn accept(key: &[u8]) -> String {
    let digest = digest::digest(&digest::SHA1_FOR_LEGACY_USE_ONLY, &[key, WEBSOCKET_GUID].concat());
    BASE64_STANDARD.encode(digest)
}

/// How a stamp agreed.
pub(super) enum Agreed {
    /// HTTP/1.1: its connection speaks this from now on.
    Switched(HeaderValue),
    /// HTTP/2: its stream is the WebSocket.
    Opened,
}

impl Agreed {
    /// What is spoken from now on.
    pub(super) fn protocol(&self) -> Tunnelled {
        match self {
            Self::Switched(protocol) => Tunnelled::of(protocol),
            Self::Opened => Tunnelled::WebSocket,
        }
    }
}

/// What a stamp agreed to by this answer, and its end of that.
pub(super) fn agreement(
    mut answer: Response<AnswerBody>,
    link: Link,
) -> Result<(response::Parts, StampEnd, Agreed), ProxyError> {
    let switched = hyper::upgrade::on(&mut answer);
    let (parts, body) = answer.into_parts();
    if let Some(stream) = link.websocket(body) {
        return Ok((parts, StampEnd::Stream(Box::new(stream)), Agreed::Opened));
    }
    let agreed = parts.headers.get(header::UPGRADE).cloned();
    let agreed = agreed.ok_or(ProxyError::UpstreamProtocol)?;
    Ok((parts, StampEnd::Connection(switched), Agreed::Switched(agreed)))
}

/// The client's side of a switch of protocols.
pub(super) struct Switch {
    pub(super) client: OnUpgrade,
    /// The gateway's own, for a client that has none over HTTP/2.
    pub(super) handshake: Option<Handshake>,
}

/// A handshake that opens a WebSocket, in the name of a client.
pub(super) struct Handshake {
    accept: String,
}

impl Handshake {
    /// Adds to the head what HTTP/1.1 wants.
    pub(super) fn begin(head: &mut Head, random: &mut fastrand::Rng) -> Self {
        let key = BASE64_STANDARD.encode(random.u128(..).to_ne_bytes());
        let accept = accept(key.as_bytes());
        if let Ok(key) = HeaderValue::from_str(&key) {
            head.headers.insert(header::SEC_WEBSOCKET_KEY, key);
        }
        head.upgrade = Some(HeaderValue::from_static(WEBSOCKET));
        Self { accept }
    }
}

impl Switch {
    /// Must a stamp not answer so? To a client over HTTP/2, an answer that is fine would open the WebSocket.
    pub(super) fn forbids(&self, status: StatusCode) -> bool {
        self.handshake.is_some() && status.is_success()
    }

    /// The stamp agrees to what this head asked for: what the client is told, and its side.
    pub(super) fn agree(
        self,
        head: &Head,
        answer: &mut response::Parts,
        agreed: Agreed,
    ) -> Result<OnUpgrade, ProxyError> {
        let fields = &mut answer.headers;
        match (self.handshake, agreed) {
            (None, Agreed::Switched(protocol)) => headers::set_upgrade(fields, protocol),
            (None, Agreed::Opened) => {
                let key = head.headers.get(header::SEC_WEBSOCKET_KEY);
                let accept = key.and_then(|key| HeaderValue::try_from(accept(key.as_bytes())).ok());
                fields.insert(header::SEC_WEBSOCKET_ACCEPT, accept.ok_or(ProxyError::Internal)?);
                fields.remove(header::CONTENT_LENGTH);
                headers::set_upgrade(fields, HeaderValue::from_static(WEBSOCKET));
                answer.status = StatusCode::SWITCHING_PROTOCOLS;
            }
            (Some(handshake), Agreed::Switched(_)) => {
                let accept = fields.remove(header::SEC_WEBSOCKET_ACCEPT);
                if accept.is_none_or(|accept| accept.as_bytes() != handshake.accept.as_bytes()) {
                    return Err(ProxyError::UpstreamProtocol);
                }
                answer.status = StatusCode::OK;
            }
            (Some(_), Agreed::Opened) => {
                fields.remove(header::SEC_WEBSOCKET_ACCEPT);
                fields.remove(header::CONTENT_LENGTH);
                answer.status = StatusCode::OK;
            }
        }
        Ok(self.client)
    }
}
