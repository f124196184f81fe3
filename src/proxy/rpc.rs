//! Requests that are RPCs of gRPC: how long they may take, and how they end when they end here. What each
//! ending is called, `respond` says.

use std::time::Duration;

use http::header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use http::{Request, Version};
use stamp_core::grpc::{Code, is_grpc, parse_timeout, timeout_text};

use super::error::ProxyError;

/// How long an RPC may take.
const GRPC_TIMEOUT: HeaderName = HeaderName::from_static("grpc-timeout");
/// How an RPC ended, and a word about it.
const GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");
const GRPC_MESSAGE: HeaderName = HeaderName::from_static("grpc-message");

/// What a request is, as far as its end is concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Manner {
    /// Any request of HTTP.
    Http,
    /// An RPC: what went wrong is told in trailers.
    Grpc,
}

impl Manner {
    /// gRPC is spoken over HTTP/2 only.
    pub(super) fn of<B>(request: &Request<B>) -> Self {
        let is_rpc = request.version() == Version::HTTP_2 && has_type_of_grpc(request.headers());
        if is_rpc { Self::Grpc } else { Self::Http }
    }

    /// How long the client of this request waits for its end, if it says so.
    pub(super) fn timeout(self, headers: &HeaderMap) -> Result<Option<Duration>, ProxyError> {
        if self == Self::Http {
            return Ok(None);
        }
        let mut values = headers.get_all(GRPC_TIMEOUT).iter();
        match (values.next(), values.next()) {
            (None, _) => Ok(None),
            (Some(only), None) => {
                let timeout = parse_timeout(only.as_bytes());
                timeout.map(Some).map_err(|_no_timeout| ProxyError::BadTimeout)
            }
            (Some(_), Some(_)) => Err(ProxyError::BadTimeout),
        }
    }

    /// Can an answer with this head end in trailers of the gateway's, and nobody take it for whole?
    pub(super) fn may_end_in_trailers(self, answer: &HeaderMap) -> bool {
        self == Self::Grpc && has_type_of_grpc(answer) && !answer.contains_key(CONTENT_LENGTH)
    }
}

fn has_type_of_grpc(headers: &HeaderMap) -> bool {
    headers.get(CONTENT_TYPE).is_some_and(|it| is_grpc(it.as_bytes()))
}

/// Tells a stamp how much of the time is left.
pub(super) fn set_timeout(headers: &mut HeaderMap, left: Duration) {
    if let Ok(text) = HeaderValue::try_from(timeout_text(left)) {
        headers.insert(GRPC_TIMEOUT, text);
    }
}

/// How an RPC ended, as its trailers say it.
pub(super) fn set_status(headers: &mut HeaderMap, code: Code, message: &str) {
    headers.insert(GRPC_STATUS, HeaderValue::from_static(code.as_str()));
    if let Ok(message) = HeaderValue::from_str(message) {
        headers.insert(GRPC_MESSAGE, message);
    }
}
