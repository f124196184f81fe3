//! One question to the admin plane, over TCP or a unix socket.

use std::env;
use std::fs;
use std::time::Duration;

use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE, HOST, HeaderValue};
use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::timeout;

use super::Operator;
use super::address::{self, Address};
use super::failure::{Failure, Unreachable};

/// The longest that a connection may take.
const CONNECTED_WITHIN: Duration = Duration::from_secs(5);
/// The longest that an answer may take, beyond what was asked to be waited.
const ANSWERED_WITHIN: Duration = Duration::from_secs(30);
/// The largest answer, in bytes.
const ANSWER_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Asks one gateway.
#[derive(Debug)]
pub(super) struct Client {
    address: Address,
    authorization: Option<HeaderValue>,
}

/// One question.
#[derive(Debug)]
pub(super) struct Question {
    method: Method,
    target: String,
    body: Option<Vec<u8>>,
    wait: Duration,
}

/// What came back.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) body: Bytes,
}

impl Question {
    pub(super) fn new(method: Method, target: impl Into<String>) -> Self {
        Self { method, target: target.into(), body: None, wait: Duration::ZERO }
    }

    /// With this body.
    pub(super) fn with(self, body: &impl Serialize) -> Result<Self, Failure> {
        Ok(Self { body: Some(serde_json::to_vec(body)?), ..self })
    }

    /// The gateway was asked to answer only after so long.
    pub(super) fn waiting(self, wait: Duration) -> Self {
        Self { wait, ..self }
    }
}

impl Answer {
    /// Reads it as this.
    pub(super) fn read<T: DeserializeOwned>(&self) -> Result<T, Failure> {
        Ok(serde_json::from_slice(&self.body)?)
    }
}

impl Client {
    /// A client of the gateway that the flags name, with the token that they name.
    pub(super) fn new(operator: &Operator) -> Result<Self, Failure> {
        let address = address::find(operator)?;
        let token = match &operator.token_file {
            Some(path) => Some(
                fs::read_to_string(path)
                    .map_err(|source| Failure::System { what: "read the token file", source })?,
            ),
            None => env::var("STAMPGATE_TOKEN").ok(),
        };
        let authorization = token.map(|token| {
            let mut value = HeaderValue::try_from(format!("Bearer {}", token.trim()));
            if let Ok(value) = &mut value {
                value.set_sensitive(true);
            }
            value.map_err(|_wrong_bytes| Failure::Token)
        });
        Ok(Self { address, authorization: authorization.transpose()? })
    }

    /// Asks, and takes every answer that is no success for a refusal.
    pub(super) async fn ask(&self, question: Question) -> Result<Answer, Failure> {
        let answer = self.answer(question).await?;
        if answer.status.is_success() {
            return Ok(answer);
        }
        Err(Failure::Refused(answer.read()?))
    }

    /// Asks, and takes every answer as it is.
    pub(super) async fn answer(&self, question: Question) -> Result<Answer, Failure> {
        let within = ANSWERED_WITHIN + question.wait;
        let asked = timeout(within, self.exchange(question)).await;
        asked.unwrap_or(Err(Unreachable::Late)).map_err(|source| {
            let address = self.address.clone();
            Failure::Unreachable { address, source }
        })
    }

    async fn exchange(&self, question: Question) -> Result<Answer, Unreachable> {
        match &self.address {
            Address::Tcp(authority) => {
                let connect = TcpStream::connect(authority.as_str());
                let stream = timeout(CONNECTED_WITHIN, connect).await;
                let stream = stream.map_err(|_elapsed| Unreachable::Late)?;
                let stream = stream.map_err(Unreachable::Connect)?;
                let host = HeaderValue::from_str(authority.as_str());
                self.send(stream, host.unwrap_or(HeaderValue::from_static("")), question).await
            }
            Address::Unix(path) => {
                let stream = UnixStream::connect(path).await.map_err(Unreachable::Connect)?;
                self.send(stream, HeaderValue::from_static("localhost"), question).await
            }
        }
    }

    async fn send<S>(
        &self,
        stream: S,
        host: HeaderValue,
        question: Question,
    ) -> Result<Answer, Unreachable>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let shaken = http1::handshake(TokioIo::new(stream)).await;
        let (mut sender, connection) = shaken.map_err(Unreachable::Http)?;
        let connection = tokio::spawn(connection);
        let mut request = Request::new(Full::new(Bytes::new()));
        *request.method_mut() = question.method;
        *request.uri_mut() = question.target.parse().unwrap_or_default();
        let headers = request.headers_mut();
        headers.insert(HOST, host);
        if let Some(authorization) = &self.authorization {
            headers.insert(AUTHORIZATION, authorization.clone());
        }
        if let Some(body) = question.body {
            headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
            *request.body_mut() = Full::new(body.into());
        }
        let response = sender.send_request(request).await.map_err(Unreachable::Http)?;
        let (parts, body) = response.into_parts();
        let body = Limited::new(body, ANSWER_BYTES_MAX).collect().await;
        let body = body.map_err(|_too_large_or_broken| Unreachable::Body)?.to_bytes();
        connection.abort();
        Ok(Answer { status: parts.status, body })
    }
}
