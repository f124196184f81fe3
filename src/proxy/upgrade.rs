//! What a request asks for besides an answer: another protocol on its connection (RFC 9110, section
//! 7.8), or over HTTP/2 a WebSocket on its stream (RFC 8441), which the gateway opens in its name.

use aws_lc_rs::digest;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use http::header::{self, HeaderValue};
use http::{Method, Request, StatusCode, Version, response};
use hyper::ext::Protocol;
use hyper::upgrade::OnUpgrade;
use stamp_core::framing::HeadLimits;
use stamp_core::http2::head::{self, Asked};

use super::error::ProxyError;
use super::{Head, headers};

/// RFC 6455, section 1.3.
const WEBSOCKET_GUID: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

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

/// The client's side of a switch of protocols.
pub(super) struct Switch {
    pub(super) client: OnUpgrade,
    /// The gateway's own, for a client that has none over HTTP/2.
    pub(super) handshake: Option<Handshake>,
}

/// A handshake that opens a WebSocket, in the name of a client.
pub(super) struct Handshake {
    /// What the stamp answers if it has understood (RFC 6455, section 4.2.2).
    accept: String,
}

impl Handshake {
    /// Adds to the head what HTTP/1.1 wants.
    pub(super) fn begin(head: &mut Head, random: &mut fastrand::Rng) -> Self {
        let key = BASE64_STANDARD.encode(random.u128(..).to_ne_bytes());
        let digest = digest::digest(
            &digest::SHA1_FOR_LEGACY_USE_ONLY,
            &[key.as_bytes(), WEBSOCKET_GUID].concat(),
        );
        if let Ok(key) = HeaderValue::from_str(&key) {
            head.headers.insert(header::SEC_WEBSOCKET_KEY, key);
        }
        head.upgrade = Some(HeaderValue::from_static("websocket"));
        Self { accept: BASE64_STANDARD.encode(digest) }
    }
}

impl Switch {
    /// Must a stamp not answer so? Over HTTP/2, an answer that is fine would open the WebSocket.
    pub(super) fn forbids(&self, status: StatusCode) -> bool {
        self.handshake.is_some() && status.is_success()
    }

    /// The stamp switches to what was agreed on: what the client is told, and its side.
    pub(super) fn agree(
        self,
        answer: &mut response::Parts,
        agreed: HeaderValue,
    ) -> Result<OnUpgrade, ProxyError> {
        let Some(handshake) = self.handshake else {
            headers::set_upgrade(&mut answer.headers, agreed);
            return Ok(self.client);
        };
        let accept = answer.headers.remove(header::SEC_WEBSOCKET_ACCEPT);
        if accept.is_none_or(|accept| accept.as_bytes() != handshake.accept.as_bytes()) {
            return Err(ProxyError::UpstreamProtocol);
        }
        answer.status = StatusCode::OK;
        Ok(self.client)
    }
}
