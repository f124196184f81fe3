//! One request and its answer over one stream of an HTTP/2 connection. Either side may go on while the
//! other waits, so the request's body has a task of its own; both have no more in memory than the windows.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use h2::client::{ResponseFuture, SendRequest};
use h2::{Reason, RecvStream, SendStream};
use http::header::CONTENT_LENGTH;
use http::{HeaderMap, Method, Request, Response};
use http_body::{Body as _, Frame, SizeHint};
use tokio::task::JoinHandle;

use super::answer::{AnswerBody, AnswerError, Fate, Unanswered};
use super::body::RequestBody;
use super::link::ANSWER_LIMITS;

/// A request's body on its way, unless it was away at once. It ends with its owner.
#[derive(Debug)]
pub(super) struct Uploading(JoinHandle<()>);

impl Drop for Uploading {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// The way to the stamp, of a stream that is to be a WebSocket. In a box, since few are.
pub(super) type Opening = Box<SendStream<Bytes>>;

/// Opens a stream for the request, and waits for the head of its answer. To drop this, or what comes of
/// it, resets the stream and nothing else. CONNECT has no body: its stream stays open for whatever comes.
pub(super) async fn exchange(
    mut sender: SendRequest<Bytes>,
    request: Request<RequestBody>,
    (uploading, opening): (&mut Option<Uploading>, &mut Option<Opening>),
) -> Result<Response<AnswerBody>, Unanswered> {
    let (head, body) = request.into_parts();
    let opens = head.method == Method::CONNECT;
    let is_whole = body.is_end_stream() && !opens;
    let (response, stream) = sender
        .send_request(Request::from_parts(head, ()), is_whole)
        .map_err(|error| unanswered(error, Fate::NotSent))?;
    drop(sender);
    if opens {
        *opening = Some(Box::new(stream));
    } else if !is_whole {
        *uploading = upload(Upload { body, stream, next: Bytes::new() }).await;
    }
    let response = final_answer(response).await?;
    if let Some(mut stream) = opening.take_if(|_| !response.status().is_success()) {
        // What it would carry is not wanted. It fails where the stamp has reset it already.
        drop(stream.send_data(Bytes::new(), true));
    }
    Ok(response.map(AnswerBody::Http2))
}

fn unanswered(error: h2::Error, otherwise: Fate) -> Unanswered {
    // Of the streams, a GOAWAY of the stamp ends only those that it did not and will not look at.
    let fate = if error.is_go_away() && error.is_remote() {
        Fate::GoneAway
    } else if error.is_remote() && error.reason() == Some(Reason::REFUSED_STREAM) {
        Fate::Refused
    } else {
        otherwise
    };
    Unanswered { error: AnswerError::Http2(error), fate }
}

async fn final_answer(mut response: ResponseFuture) -> Result<Response<Arriving>, Unanswered> {
    let mut interim = 0;
    let answered = poll_fn(|context| {
        loop {
            match response.poll_informational(context) {
                Poll::Ready(Some(Ok(_interim))) => interim += 1,
                Poll::Ready(Some(Err(error))) => {
                    return Poll::Ready(Err(unanswered(error, Fate::Unknown)));
                }
                Poll::Ready(None) | Poll::Pending => break,
            }
            if interim > ANSWER_LIMITS.interim_max {
                let (error, fate) = (AnswerError::Interim, Fate::Unknown);
                return Poll::Ready(Err(Unanswered { error, fate }));
            }
        }
        Pin::new(&mut response).poll(context).map_err(|error| unanswered(error, Fate::Unknown))
    });
    let (head, stream) = answered.await?.into_parts();
    if head.headers.len() > ANSWER_LIMITS.fields_max {
        return Err(Unanswered { error: AnswerError::Fields, fate: Fate::Unknown });
    }
    let body = Arriving::new(stream, &head.headers);
    Ok(Response::from_parts(head, body))
}

/// The body of an answer as it comes.
#[derive(Debug)]
pub struct Arriving {
    stream: RecvStream,
    /// Bytes that are still to come, where the head says how many there are.
    left: Option<u64>,
    is_read: bool,
}

impl Arriving {
    fn new(stream: RecvStream, headers: &HeaderMap) -> Self {
        // The protocol's own library compares it with what comes.
        let length =
            headers.get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
        let left = if stream.is_end_stream() { Some(0) } else { length };
        Self { stream, left, is_read: false }
    }

    pub(super) fn poll_frame(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, h2::Error>>> {
        if !self.is_read {
            match ready!(self.stream.poll_data(context)) {
                Some(Ok(bytes)) => return Poll::Ready(Some(self.take(bytes))),
                Some(Err(error)) if self.is_complete_after(&error) => return Poll::Ready(None),
                Some(Err(error)) => return Poll::Ready(Some(Err(error))),
                None => self.is_read = true,
            }
        }
        match ready!(self.stream.poll_trailers(context)) {
            Ok(trailers) => Poll::Ready(trailers.map(|trailers| Ok(Frame::trailers(trailers)))),
            Err(error) if self.is_complete_after(&error) => Poll::Ready(None),
            Err(error) => Poll::Ready(Some(Err(error))),
        }
    }

    fn take(&mut self, bytes: Bytes) -> Result<Frame<Bytes>, h2::Error> {
        // What is asked for is taken: whoever does not ask holds the stamp back.
        self.stream.flow_control().release_capacity(bytes.len())?;
        self.left = self.left.map(|left| left.saturating_sub(bytes.len() as u64));
        Ok(Frame::data(bytes))
    }

    /// RFC 9113, section 8.1: with `NO_ERROR` a stamp that has answered in full ends the rest of the
    /// request, and it may say so only then.
    fn is_complete_after(&self, error: &h2::Error) -> bool {
        error.is_remote()
            && error.is_reset()
            && error.reason() == Some(Reason::NO_ERROR)
            && self.left.is_none_or(|left| left == 0)
    }

    /// What comes over the stream, where that is no body.
    pub(super) fn into_stream(self) -> RecvStream {
        self.stream
    }

    pub(super) fn is_over(&self) -> bool {
        self.stream.is_end_stream()
    }

    pub(super) fn size(&self) -> SizeHint {
        self.left.map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}

/// A body on its way to a stamp.
struct Upload {
    body: RequestBody,
    stream: SendStream<Bytes>,
    /// What was read and not sent.
    next: Bytes,
}

/// Sends what can be sent at once, and leaves the rest to a task.
async fn upload(mut upload: Upload) -> Option<Uploading> {
    let at_once = poll_fn(|context| Poll::Ready(upload.poll(context))).await;
    at_once.is_pending().then(|| {
        Uploading(tokio::task::spawn_local(async move {
            poll_fn(|context| upload.poll(context)).await;
        }))
    })
}

impl Upload {
    /// Ends when the body is sent, is no body, or the stamp wants no more of it. In all cases the rest is
    /// told by the answer, or by the body's source.
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<()> {
        loop {
            // Nothing is asked of the client that the stamp has no room for.
            self.stream.reserve_capacity(self.next.len().max(1));
            let room = ready!(poll_room(&mut self.stream, context));
            let Some(room) = room else { return Poll::Ready(()) };
            if !self.next.is_empty() {
                let part = self.next.split_to(room.min(self.next.len()));
                let is_last = self.next.is_empty() && self.body.is_over();
                if self.stream.send_data(part, is_last).is_err() || is_last {
                    return Poll::Ready(());
                }
                continue;
            }
            let Poll::Ready(frame) = Pin::new(&mut self.body).poll_frame(context) else {
                return self.stream.poll_reset(context).map(|_ended| ());
            };
            match frame {
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => self.next = data,
                    Err(trailers) => {
                        let trailers = trailers.into_trailers().unwrap_or_default();
                        // It fails where nobody waits for them any more.
                        drop(self.stream.send_trailers(trailers));
                        return Poll::Ready(());
                    }
                },
                Some(Err(_fault)) => {
                    self.stream.send_reset(Reason::CANCEL);
                    return Poll::Ready(());
                }
                None => {
                    drop(self.stream.send_data(Bytes::new(), true));
                    return Poll::Ready(());
                }
            }
        }
    }
}

/// How much the stamp has room for, of what was asked for; `None` = it wants nothing any more.
pub(super) fn poll_room(
    stream: &mut SendStream<Bytes>,
    context: &mut Context<'_>,
) -> Poll<Option<usize>> {
    loop {
        let room = stream.capacity();
        if room > 0 {
            return Poll::Ready(Some(room));
        }
        // It may say that there is more, and be used up by then.
        match ready!(stream.poll_capacity(context)) {
            Some(Ok(_more)) => {}
            Some(Err(_)) | None => return Poll::Ready(None),
        }
    }
}
