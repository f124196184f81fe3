//! `GET /v1/events`: what happens, as it happens, as server-sent events (WHATWG HTML, section 9.2).
//! What happened lately is kept in `state`; who reads too slowly misses events and is told so.

use std::convert::Infallible;
use std::fmt::Write as _;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::Body;
use axum::extract::State as Shared;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderName};
use http::{HeaderMap, StatusCode, Uri};
use http_body::Frame;
use serde::{Deserialize, Serialize};
use tokio::sync::{OwnedSemaphorePermit, mpsc};

use super::AdminState;
use super::ask;
use super::problem::Problem;
use super::view::events::{EventView, MissedView, event_kind};
use crate::state::{Events, News};

/// The most readers at a time.
pub(super) const READERS_MAX: usize = 32;
/// So often a reader hears something, if only that there is nothing: proxies and clients take
/// a silent connection for a dead one.
const HEARTBEAT: Duration = Duration::from_secs(15);
/// How many events are written at a time: what a reader who does not read keeps in memory.
const BATCH_MAX: usize = 64;
/// What a client is told to wait before it comes back, in milliseconds.
const RETRY_MS: u32 = 2_000;
const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct NoQuery {}

/// `GET /v1/events`
pub(super) async fn follow(
    Shared(admin): Shared<Arc<AdminState>>,
    headers: HeaderMap,
    uri: Uri,
) -> Result<Response, Problem> {
    let NoQuery {} = ask::query(&uri)?;
    let place = Arc::clone(&admin.event_readers).try_acquire_owned();
    let place = place.map_err(|_full| {
        let detail = format!("No more than {READERS_MAX} may follow the events at a time.");
        Problem::new(StatusCode::SERVICE_UNAVAILABLE, "too_many_readers", detail)
    })?;
    let run = format!("{:x}", admin.started_at.as_millis());
    let events = admin.state.happened();
    let last = *events.last().borrow();
    let seen = match headers.get(LAST_EVENT_ID) {
        None => Seen::UpTo(last),
        Some(id) => Seen::parse(id.to_str().unwrap_or_default(), &run, last),
    };
    // One frame under way: whoever takes it slowly is waited for here, and nowhere else.
    let (frames, receiver) = mpsc::channel(1);
    let telling = Telling { admin: Arc::clone(&admin), run, seen, frames };
    tokio::spawn(telling.tell(place));
    let head = [(CONTENT_TYPE, "text/event-stream"), (CACHE_CONTROL, "no-store")];
    Ok((head, Body::new(Feed(receiver))).into_response())
}

/// What a reader has seen before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Seen {
    /// Everything up to this event.
    UpTo(u64),
    /// Events of another process.
    Another,
}

impl Seen {
    /// An id names the run of the process and the event's place in it, of `last` in all.
    fn parse(id: &str, run: &str, last: u64) -> Self {
        let (of, number) = id.split_once('-').unwrap_or_default();
        match number.parse() {
            Ok(number) if of == run && number <= last => Self::UpTo(number),
            Ok(_) | Err(_) => Self::Another,
        }
    }
}

/// Tells one reader.
struct Telling {
    admin: Arc<AdminState>,
    /// When this process began: events are numbered from there.
    run: String,
    seen: Seen,
    frames: mpsc::Sender<Bytes>,
}

impl Telling {
    /// Tells until the reader is gone.
    async fn tell(mut self, _place: OwnedSemaphorePermit) {
        let admin = Arc::clone(&self.admin);
        let events = admin.state.happened();
        let mut last = events.last();
        let mut text = format!("retry: {RETRY_MS}\n");
        if let Seen::UpTo(number) = self.seen {
            // Who loses the connection before the first event misses none either.
            self.write_id(&mut text, number);
        }
        text.push('\n');
        loop {
            if self.frames.send(Bytes::from(text)).await.is_err() {
                return;
            }
            last.mark_unchanged();
            text = self.news(events);
            if !text.is_empty() {
                continue;
            }
            tokio::select! {
                _ = last.changed() => {}
                () = self.frames.closed() => return,
                () = tokio::time::sleep(HEARTBEAT) => text.push_str(": \n\n"),
            }
            if text.is_empty() {
                text = self.news(events);
            }
        }
    }

    /// What the reader has not seen yet.
    fn news(&mut self, events: &Events) -> String {
        let news = match self.seen {
            Seen::UpTo(number) => events.after(number, BATCH_MAX),
            Seen::Another => events.all(BATCH_MAX),
        };
        let mut text = String::new();
        let News { missed, events: happened } = news;
        if missed != Some(0) {
            write_event(&mut text, "missed", &MissedView { missed });
        }
        for event in &happened {
            self.write_id(&mut text, event.number);
            write_event(&mut text, event_kind(&event.what), &EventView::new(event));
        }
        self.seen = Seen::UpTo(match (self.seen, happened.last()) {
            (_, Some(event)) => event.number,
            (Seen::UpTo(number), None) => number,
            // Nothing is kept, so nothing happened in this process yet.
            (Seen::Another, None) => 0,
        });
        text
    }

    fn write_id(&self, text: &mut String, number: u64) {
        let _infallible = writeln!(text, "id: {}-{number}", self.run);
    }
}

/// JSON has no line breaks of its own: one `data` line.
fn write_event(text: &mut String, kind: &str, data: &impl Serialize) {
    let data = serde_json::to_string(data).unwrap_or_default();
    let _infallible = writeln!(text, "event: {kind}\ndata: {data}\n");
}

/// The frames of one reader, as a body.
struct Feed(mpsc::Receiver<Bytes>);

impl http_body::Body for Feed {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.0.poll_recv(context).map(|bytes| bytes.map(|bytes| Ok(Frame::data(bytes))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_good_for_the_process_that_gave_it() {
        assert_eq!(Seen::parse("19a-7", "19a", 7), Seen::UpTo(7));
        for other in ["19b-7", "7", "", "19a-", "19a-x", "-7", "19a-7-7", "19a-8"] {
            assert_eq!(Seen::parse(other, "19a", 7), Seen::Another, "{other}");
        }
    }

    #[test]
    fn an_event_is_one_block_of_lines() {
        let mut text = String::new();
        write_event(&mut text, "missed", &MissedView { missed: Some(3) });
        assert_eq!(text, "event: missed\ndata: {\"missed\":3}\n\n");
    }
}
