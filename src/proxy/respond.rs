//! Errors -> responses: the only place that knows the status codes of the data plane. What the
//! client reads is constant; what happened stands in the log.

use std::borrow::Cow;

use bytes::Bytes;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::{Response, StatusCode};
use stamp_core::admission::TenantRefusal;
use stamp_core::failover::Refusal;
use stamp_core::framing::FramingError;
use stamp_core::grpc::Code;
use stamp_core::resolve::{Involved, ResolveError};

use super::answer::Cut;
use super::error::ProxyError;
use super::line::MustEnd;
use super::rpc;

/// RFC 9209.
const PROXY_STATUS: HeaderName = HeaderName::from_static("proxy-status");

/// What a client is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Told {
    pub(crate) status: StatusCode,
    /// The stable code of the product contract.
    pub(crate) code: &'static str,
    /// For people.
    pub(crate) detail: &'static str,
    /// Seconds, for 429 and 503.
    pub(crate) retry_after: Option<u32>,
    /// The error type of RFC 9209, section 2.3, where more is known than the status says.
    pub(crate) proxy_error: Option<&'static str>,
}

const fn told(status: StatusCode, code: &'static str, detail: &'static str) -> Told {
    Told { status, code, detail, retry_after: None, proxy_error: None }
}

const fn unavailable(code: &'static str, detail: &'static str, error: &'static str) -> Told {
    Told {
        status: StatusCode::SERVICE_UNAVAILABLE,
        code,
        detail,
        retry_after: Some(1),
        proxy_error: Some(error),
    }
}

const fn upstream(
    status: StatusCode,
    code: &'static str,
    detail: &'static str,
    error: &'static str,
) -> Told {
    Told { status, code, detail, retry_after: None, proxy_error: Some(error) }
}

/// The one table of errors and answers.
#[expect(clippy::too_many_lines, reason = "one table, one line a row")]
pub(crate) fn told_of(error: &ProxyError) -> Told {
    match error {
        ProxyError::Malformed(error) => told_of_framing(*error),
        ProxyError::PlainHttp => told(
            StatusCode::BAD_REQUEST,
            "malformed_request",
            "This port speaks TLS: write https:// in the URL.",
        ),
        ProxyError::BadTimeout => {
            told(StatusCode::BAD_REQUEST, "malformed_request", "The grpc-timeout is malformed.")
        }
        ProxyError::ExpectationFailed => told(
            StatusCode::EXPECTATION_FAILED,
            "expectation_failed",
            "The only expectation known is 100-continue.",
        ),
        ProxyError::Identify(error) => told_of_identity(error.code()),
        ProxyError::Auth(error) => told_of_identity(error.code()),
        ProxyError::Resolve(error) => {
            let told = told_of_identity(error.code());
            let forbidden =
                matches!(error, ResolveError::Disagree { involved: Involved::Verified, .. });
            Told { status: if forbidden { StatusCode::FORBIDDEN } else { told.status }, ..told }
        }
        ProxyError::Refused(refusal) => told_of_refusal(*refusal),
        ProxyError::Overloaded => {
            unavailable("overloaded", "Too many requests are in flight.", "proxy_internal_response")
        }
        ProxyError::ShortOfMemory => {
            unavailable("overloaded", "The gateway is short of memory.", "proxy_internal_response")
        }
        ProxyError::TenantLimited(refusal) => told_of_limits(*refusal),
        ProxyError::StampSaturated => unavailable(
            "stamp_saturated",
            "The stamp of this request has its fill.",
            "connection_limit_reached",
        ),
        ProxyError::NoEndpoint => unavailable(
            "stamp_unavailable",
            "The stamp of this request is not available.",
            "destination_unavailable",
        ),
        ProxyError::ConnectFailed => upstream(
            StatusCode::BAD_GATEWAY,
            "connect_failed",
            "The stamp could not be reached.",
            "destination_unavailable",
        ),
        ProxyError::UpstreamProtocol => upstream(
            StatusCode::BAD_GATEWAY,
            "upstream_protocol_error",
            "The stamp broke off or broke the protocol.",
            "http_protocol_error",
        ),
        ProxyError::NoSwitch => told(
            StatusCode::NOT_IMPLEMENTED,
            "upgrade_not_supported",
            "The stamp of this request does not switch protocols.",
        ),
        ProxyError::Loop => upstream(
            StatusCode::BAD_GATEWAY,
            "proxy_loop",
            "The request came by this gateway before.",
            "proxy_loop_detected",
        ),
        ProxyError::UpstreamTimeout => upstream(
            StatusCode::GATEWAY_TIMEOUT,
            "upstream_timeout",
            "The stamp did not answer in time.",
            "http_response_timeout",
        ),
        ProxyError::DrainOver => upstream(
            StatusCode::GATEWAY_TIMEOUT,
            "upstream_timeout",
            "The stamp was taken out of service before it answered.",
            "http_response_timeout",
        ),
        ProxyError::RequestTimeout | ProxyError::InTheWay => told(
            StatusCode::REQUEST_TIMEOUT,
            "request_timeout",
            "The request did not come in time.",
        ),
        ProxyError::BodyTooLarge => {
            told(StatusCode::PAYLOAD_TOO_LARGE, "body_too_large", "The request body is too large.")
        }
        ProxyError::BodyBroken => told(
            StatusCode::BAD_REQUEST,
            "malformed_request",
            "The request body broke off or was malformed.",
        ),
        ProxyError::Internal => told(
            StatusCode::INTERNAL_SERVER_ERROR,
            "internal_error",
            "The gateway failed on this request.",
        ),
    }
}

fn told_of_framing(error: FramingError) -> Told {
    match error {
        FramingError::Malformed(_) | FramingError::NoHttp => told(
            StatusCode::BAD_REQUEST,
            "malformed_request",
            "The request is not well-formed HTTP.",
        ),
        FramingError::HeadTooLarge => told(
            StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            "headers_too_large",
            "The request head is too large.",
        ),
        FramingError::UriTooLong => {
            told(StatusCode::URI_TOO_LONG, "uri_too_long", "The request target is too long.")
        }
    }
}

/// The codes that core gives its identity errors.
fn told_of_identity(code: &'static str) -> Told {
    let (status, detail) = match code {
        "not_ready" => {
            let detail = "The keys of the token's issuer are not there.";
            return unavailable(code, detail, "proxy_internal_response");
        }
        "missing_identifier" => (StatusCode::BAD_REQUEST, "Missing stamp identifier."),
        "malformed_identifier" => {
            (StatusCode::BAD_REQUEST, "An identifier is malformed or given more than once.")
        }
        "identity_conflict" => (StatusCode::BAD_REQUEST, "The identifiers contradict each other."),
        "invalid_token" => (StatusCode::UNAUTHORIZED, "The token is not valid."),
        "verified_identity_required" => {
            (StatusCode::UNAUTHORIZED, "A verified identity is required here.")
        }
        "tenant_suspended" => (StatusCode::FORBIDDEN, "The tenant is suspended."),
        "unknown_tenant" => (StatusCode::NOT_FOUND, "The tenant is not known."),
        "unknown_stamp" => (StatusCode::NOT_FOUND, "The stamp is not known."),
        "tenant_offboarded" => (StatusCode::GONE, "The tenant was offboarded."),
        "misdirected_request" => (StatusCode::MISDIRECTED_REQUEST, "This host is not served here."),
        _ => (StatusCode::INTERNAL_SERVER_ERROR, "The gateway failed on this request."),
    };
    told(status, code, detail)
}

fn told_of_limits(refusal: TenantRefusal) -> Told {
    let detail = match refusal {
        TenantRefusal::Saturated => "The tenant has too many requests in flight.",
        TenantRefusal::RateLimited { .. } => "The tenant asks too often.",
    };
    let retry_after = Some(refusal.retry_after_s());
    Told { retry_after, ..told(StatusCode::TOO_MANY_REQUESTS, refusal.code(), detail) }
}

const fn told_of_refusal(refusal: Refusal) -> Told {
    match refusal {
        Refusal::StampUnavailable { .. } => unavailable(
            "stamp_unavailable",
            "The stamp of this request is not available.",
            "destination_unavailable",
        ),
        Refusal::StampDraining { .. } => unavailable(
            "stamp_draining",
            "The stamp of this request is being taken out of service.",
            "destination_unavailable",
        ),
        Refusal::ResidencyFenced { .. } => unavailable(
            "residency_fenced",
            "No stamp within the tenant's residency is available.",
            "destination_unavailable",
        ),
        Refusal::ReadOnlyFailover { .. } => unavailable(
            "read_only_failover",
            "Only reading is possible until the home stamp is back.",
            "destination_unavailable",
        ),
    }
}

/// What a gateway-made answer says besides the error.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Speaker<'a> {
    /// `node.id`
    pub(crate) node: &'a str,
    /// The request's id, once it has one.
    pub(crate) request_id: Option<&'a HeaderValue>,
}

/// The answer to a request that was not served (RFC 9457).
pub(crate) fn response(error: &ProxyError, speaker: Speaker<'_>) -> Response<Bytes> {
    let told = told_of(error);
    let mut response = Response::new(body(&told));
    *response.status_mut() = told.status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if let Some(seconds) = told.retry_after {
        headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    }
    let error = told.proxy_error.unwrap_or_else(|| own_error(told.status));
    let node = structured(speaker.node);
    if let Ok(status) = HeaderValue::try_from(format!("{node}; error={error}")) {
        headers.insert(PROXY_STATUS, status);
    }
    if told.status == StatusCode::UNAUTHORIZED {
        headers.insert(header::WWW_AUTHENTICATE, challenge(told.code));
    }
    if let Some(id) = speaker.request_id {
        headers.insert(super::headers::X_REQUEST_ID, id.clone());
    }
    response
}

/// The error type of RFC 9209, section 2.3, of what no stamp had a part in.
fn own_error(status: StatusCode) -> &'static str {
    match status {
        StatusCode::FORBIDDEN => "http_request_denied",
        status if status.is_client_error() => "http_request_error",
        _ => "proxy_internal_error",
    }
}

/// A name as an item of a structured field (RFC 9651): many host names are no tokens there, since
/// they begin with a digit.
fn structured(name: &str) -> Cow<'_, str> {
    let is_token = |byte: u8| byte.is_ascii_alphanumeric() || b":/!#$%&'*+-.^_`|~".contains(&byte);
    let begins_well = name.starts_with(|first: char| first.is_ascii_alphabetic() || first == '*');
    if begins_well && name.bytes().all(is_token) {
        return Cow::Borrowed(name);
    }
    Cow::Owned(format!("\"{}\"", name.replace(['"', '\\'], "_")))
}

/// The answer to an RPC that was not served: no body, and all that is told of it in one block of fields
/// ("Trailers-Only" of gRPC over HTTP/2). Its HTTP status is always 200.
pub(crate) fn grpc_response(error: &ProxyError, speaker: Speaker<'_>) -> Response<Bytes> {
    let told = told_of(error);
    let mut response = response(error, speaker);
    *response.status_mut() = StatusCode::OK;
    *response.body_mut() = Bytes::new();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    headers.remove(header::WWW_AUTHENTICATE);
    let message = format!("{}: {}", told.code, told.detail);
    rpc::set_status(headers, code_of(error, told.status), &message);
    response
}

/// The code of gRPC that a client would make of the HTTP status (`http-grpc-status-mapping.md` of the
/// gRPC project), but where more is known here.
const fn code_of(error: &ProxyError, status: StatusCode) -> Code {
    if matches!(error, ProxyError::DrainOver) {
        return Code::Unavailable;
    }
    match status.as_u16() {
        400 => Code::Internal,
        401 => Code::Unauthenticated,
        403 => Code::PermissionDenied,
        404 => Code::Unimplemented,
        413 => Code::ResourceExhausted,
        429 | 502 | 503 => Code::Unavailable,
        // There, a gateway's 504 means that it may be asked again; here, that the time is over.
        504 => Code::DeadlineExceeded,
        _ => Code::Unknown,
    }
}

/// The trailers of an RPC whose answer ends before its time.
pub(super) fn grpc_trailers(cut: Cut) -> HeaderMap {
    let (code, message) = match cut {
        Cut::BrokeOff => (Code::Unavailable, "The stamp broke off within its answer."),
        Cut::TooSlow => (Code::Unavailable, "The stamp paused for too long within its answer."),
        Cut::DeadlineOver => (Code::DeadlineExceeded, "The time of the request is over."),
        Cut::MustEnd(MustEnd::Drained) => {
            (Code::Unavailable, "The stamp of this answer is being taken out of service.")
        }
        Cut::MustEnd(MustEnd::TooSlow | MustEnd::InTheWay) => {
            (Code::Unavailable, "The client did not take its answer.")
        }
    };
    let mut trailers = HeaderMap::new();
    rpc::set_status(&mut trailers, code, message);
    trailers
}

/// RFC 6750, section 3: no error where no token was sent.
fn challenge(code: &str) -> HeaderValue {
    HeaderValue::from_static(if code == "invalid_token" {
        "Bearer error=\"invalid_token\""
    } else {
        "Bearer"
    })
}

fn body(told: &Told) -> Bytes {
    let title = told.status.canonical_reason().unwrap_or("Error");
    Bytes::from(format!(
        "{{\"type\":\"about:blank\",\"title\":\"{title}\",\"status\":{},\"code\":\"{}\",\
         \"detail\":\"{}\"}}\n",
        told.status.as_u16(),
        told.code,
        told.detail
    ))
}

/// The same as bytes, for a connection that hyper has no part in any more.
pub(crate) fn raw_response(error: &ProxyError, node: &str) -> Vec<u8> {
    let response = response(error, Speaker { node, request_id: None });
    let (parts, body) = response.into_parts();
    let reason = parts.status.canonical_reason().unwrap_or_default();
    let mut bytes = format!("HTTP/1.1 {} {reason}\r\n", parts.status.as_u16()).into_bytes();
    for (name, value) in &parts.headers {
        bytes.extend_from_slice(name.as_str().as_bytes());
        bytes.extend_from_slice(b": ");
        bytes.extend_from_slice(value.as_bytes());
        bytes.extend_from_slice(b"\r\n");
    }
    bytes.extend_from_slice(format!("content-length: {}\r\n", body.len()).as_bytes());
    bytes.extend_from_slice(b"connection: close\r\n\r\n");
    bytes.extend_from_slice(&body);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_rpc_is_told_in_trailers_alone() {
        for (error, code) in [
            (ProxyError::StampSaturated, "14"),
            (ProxyError::ConnectFailed, "14"),
            (ProxyError::UpstreamTimeout, "4"),
            (ProxyError::DrainOver, "14"),
            (ProxyError::BadTimeout, "13"),
            (ProxyError::BodyTooLarge, "8"),
            (ProxyError::Internal, "2"),
        ] {
            let response = grpc_response(&error, Speaker { node: "gw", request_id: None });
            assert_eq!(response.status(), StatusCode::OK);
            assert_eq!(response.headers()["grpc-status"], code, "{error}");
            assert_eq!(response.headers()[header::CONTENT_TYPE], "application/grpc");
            assert!(response.body().is_empty());
            // Without percent signs there is nothing to encode.
            let message = response.headers()["grpc-message"].to_str().unwrap();
            assert!(message.starts_with(told_of(&error).code) && !message.contains('%'));
        }
    }

    #[test]
    fn every_503_says_when_to_come_back() {
        let (full, short) = (ProxyError::Overloaded, ProxyError::ShortOfMemory);
        for error in [full, short, ProxyError::StampSaturated, ProxyError::NoEndpoint] {
            let response = response(&error, Speaker { node: "gw", request_id: None });
            assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
            assert!(response.headers().contains_key(header::RETRY_AFTER), "{error}");
        }
    }

    #[test]
    fn a_429_says_when_to_come_back() {
        let wait = std::time::Duration::from_millis(2001);
        for (refusal, code, seconds) in [
            (TenantRefusal::RateLimited { wait }, "tenant_rate_limited", "3"),
            (TenantRefusal::Saturated, "tenant_saturated", "1"),
        ] {
            let speaker = Speaker { node: "gw", request_id: None };
            let response = response(&ProxyError::TenantLimited(refusal), speaker);
            assert_eq!(response.status(), StatusCode::TOO_MANY_REQUESTS);
            assert_eq!(response.headers()[header::RETRY_AFTER], seconds);
            let body: serde_json::Value = serde_json::from_slice(response.body()).unwrap();
            assert_eq!(body["code"], code);
        }
    }

    #[test]
    fn a_body_is_json_with_the_stable_code() {
        let response = response(&ProxyError::Loop, Speaker { node: "gw", request_id: None });
        let body: serde_json::Value = serde_json::from_slice(response.body()).unwrap();
        assert_eq!(body["code"], "proxy_loop");
        assert_eq!(body["status"], 502);
        assert_eq!(response.headers()["proxy-status"], "gw; error=proxy_loop_detected");
    }

    #[test]
    fn every_answer_says_whose_error_it_is() {
        let status = |error: &ProxyError, node| {
            let response = response(error, Speaker { node, request_id: None });
            response.headers()["proxy-status"].to_str().unwrap().to_owned()
        };
        assert_eq!(status(&ProxyError::RequestTimeout, "gw"), "gw; error=http_request_error");
        assert_eq!(status(&ProxyError::Internal, "gw"), "gw; error=proxy_internal_error");
        assert_eq!(
            status(&ProxyError::Resolve(ResolveError::Suspended), "gw"),
            "gw; error=http_request_denied"
        );
        for (node, told) in [("3f2a.example", "\"3f2a.example\""), ("a b\"", "\"a b_\"")] {
            let status = status(&ProxyError::RequestTimeout, node);
            assert_eq!(status, format!("{told}; error=http_request_error"));
        }
    }

    #[test]
    fn a_raw_answer_is_framed_and_closes() {
        let raw = raw_response(&ProxyError::RequestTimeout, "gw");
        let text = String::from_utf8(raw).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("HTTP/1.1 408 Request Timeout\r\n"));
        assert!(head.contains(&format!("content-length: {}", body.len())));
        assert!(head.ends_with("connection: close"));
    }
}
