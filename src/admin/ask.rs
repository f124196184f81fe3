//! What a request asks for beyond its path: strict JSON bodies, strict queries.

use std::time::Duration;

use axum::body::{Body, to_bytes};
use axum::extract::Query;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, Request, StatusCode, Uri};
use serde::de::{Deserializer, Error as _};
use serde::{Deserialize, de::DeserializeOwned};

use super::problem::Problem;

/// The largest body, in bytes.
const BODY_BYTES_MAX: usize = 64 * 1024;
/// The longest that a body may take to come in.
const BODY_WITHIN: Duration = Duration::from_secs(10);

/// Reads the query; parameters that are not known are refused, since they would do nothing.
pub(super) fn query<T: DeserializeOwned>(uri: &Uri) -> Result<T, Problem> {
    let read = Query::<T>::try_from_uri(uri);
    read.map(|Query(query)| query)
        .map_err(|error| Problem::unprocessable("invalid_query", error.body_text()))
}

/// Reads the body as JSON. An empty one asks for the defaults.
pub(super) async fn body<T: DeserializeOwned + Default>(
    request: Request<Body>,
) -> Result<T, Problem> {
    let (parts, body) = request.into_parts();
    let read = tokio::time::timeout(BODY_WITHIN, to_bytes(body, BODY_BYTES_MAX)).await;
    let bytes = match read {
        Ok(Ok(bytes)) => bytes,
        Ok(Err(_too_large_or_broken)) => {
            let detail = "The body is larger than 64 KiB, or was broken off.";
            return Err(Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "body_too_large", detail));
        }
        Err(_elapsed) => {
            let detail = "The body did not come in time.";
            return Err(Problem::new(StatusCode::REQUEST_TIMEOUT, "request_timeout", detail));
        }
    };
    if bytes.is_empty() {
        return Ok(T::default());
    }
    if !is_json(&parts.headers) {
        let detail = "A body must be application/json.";
        let status = StatusCode::UNSUPPORTED_MEDIA_TYPE;
        return Err(Problem::new(status, "unsupported_media_type", detail));
    }
    serde_json::from_slice(&bytes)
        .map_err(|error| Problem::unprocessable("invalid_body", error.to_string()))
}

fn is_json(headers: &HeaderMap) -> bool {
    let mut fields = headers.get_all(CONTENT_TYPE).iter();
    let media_type = fields.next().and_then(|field| field.to_str().ok()).unwrap_or_default();
    let essence = media_type.split(';').next().unwrap_or_default().trim();
    fields.next().is_none() && essence.eq_ignore_ascii_case("application/json")
}

/// A body that asks for nothing.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Nothing {}

/// The query of every order.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct OrderQuery {
    /// Only tell what would come of it.
    pub(super) dry_run: Flag,
}

/// A query parameter that is there, or has the value "true".
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Flag {
    #[default]
    Off,
    On,
}

impl Flag {
    pub(super) const fn is_on(self) -> bool {
        matches!(self, Self::On)
    }
}

impl<'de> Deserialize<'de> for Flag {
    fn deserialize<D: Deserializer<'de>>(source: D) -> Result<Self, D::Error> {
        match &*String::deserialize(source)? {
            "" | "true" => Ok(Self::On),
            "false" => Ok(Self::Off),
            other => Err(D::Error::custom(format!("`{other}` is neither true nor false"))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::view::Span;
    use super::*;

    #[derive(Debug, Default, PartialEq, Deserialize)]
    #[serde(deny_unknown_fields, default)]
    struct Asked {
        wait: Option<Span>,
        force: Flag,
    }

    fn asked(query_text: &str) -> Result<Asked, u16> {
        let uri: Uri = format!("/x?{query_text}").parse().unwrap();
        query(&uri).map_err(|problem: Problem| problem.status().as_u16())
    }

    #[test]
    fn a_query_is_read_strictly() {
        let wait = Some(Span(Duration::from_millis(100)));
        assert_eq!(asked("wait=100ms&force"), Ok(Asked { wait, force: Flag::On }));
        assert_eq!(asked("force=false"), Ok(Asked::default()));
        for wrong in ["wait=soon", "wait=30", "force=yes", "forse=true", "force&force"] {
            assert_eq!(asked(wrong), Err(422), "{wrong}");
        }
    }

    async fn read(media_type: Option<&str>, text: &str) -> Result<Nothing, u16> {
        let mut request = Request::builder();
        if let Some(media_type) = media_type {
            request = request.header(CONTENT_TYPE, media_type);
        }
        let request = request.body(Body::from(text.to_owned())).unwrap();
        body(request).await.map_err(|problem: Problem| problem.status().as_u16())
    }

    #[tokio::test]
    async fn a_body_is_json_or_nothing() {
        read(None, "").await.unwrap();
        read(Some("application/json; charset=utf-8"), "{}").await.unwrap();
        assert_eq!(read(None, "{}").await.unwrap_err(), 415);
        assert_eq!(read(Some("text/plain"), "{}").await.unwrap_err(), 415);
        assert_eq!(read(Some("application/json"), "{").await.unwrap_err(), 422);
        assert_eq!(read(Some("application/json"), "{\"x\":1}").await.unwrap_err(), 422);
    }

    #[tokio::test]
    async fn a_body_is_bounded() {
        let text = format!("{}{{}}", " ".repeat(BODY_BYTES_MAX));
        assert_eq!(read(Some("application/json"), &text).await.unwrap_err(), 413);
    }
}
