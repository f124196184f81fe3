//! A stamp's answer as it comes over a link, whatever is spoken over that; and how it came to nothing.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;

use super::exchange::Arriving;

/// The body of an answer.
#[derive(Debug)]
pub enum AnswerBody {
    /// Over HTTP/1.1.
    Http1(Incoming),
    /// Over HTTP/2.
    Http2(Arriving),
}

/// Why an answer, or the rest of it, does not come.
#[derive(Debug, thiserror::Error)]
pub enum AnswerError {
    /// Over HTTP/1.1.
    #[error(transparent)]
    Http1(hyper::Error),
    /// Over HTTP/2.
    #[error(transparent)]
    Http2(h2::Error),
    /// More answers before the answer than anybody has a use for.
    #[error("too many interim answers")]
    Interim,
    /// A head with more fields than is allowed.
    #[error("too many fields in the head of an answer")]
    Fields,
}

/// A request that was given to a link and has no answer.
#[derive(Debug, thiserror::Error)]
#[error("{error}")]
pub struct Unanswered {
    /// Why.
    #[source]
    pub error: AnswerError,
    /// What that says about the request.
    pub fate: Fate,
}

/// What a stamp did with a request that it did not answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It was never given to the socket.
    NotSent,
    /// The stamp closes the connection, and said that it did nothing with this request.
    GoneAway,
    /// The stamp has no room for it, and said that it did nothing with it.
    Refused,
    /// Nobody knows.
    Unknown,
}

impl Body for AnswerBody {
    type Data = Bytes;
    type Error = AnswerError;

    #[inline]
    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, AnswerError>>> {
        match self.get_mut() {
            Self::Http1(body) => Pin::new(body).poll_frame(context).map_err(AnswerError::Http1),
            Self::Http2(body) => body.poll_frame(context).map_err(AnswerError::Http2),
        }
    }

    #[inline]
    fn is_end_stream(&self) -> bool {
        match self {
            Self::Http1(body) => body.is_end_stream(),
            Self::Http2(body) => body.is_over(),
        }
    }

    #[inline]
    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Http1(body) => body.size_hint(),
            Self::Http2(body) => body.size(),
        }
    }
}
