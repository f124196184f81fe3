//! One attempt's connection and exchange: taken, sent over, and what it means when either fails. Whether
//! there is another attempt is `forward`'s to ask.

use std::pin::pin;
use std::time::Duration;

use http::Response;
use stamp_core::breaker::FailureKind;
use stamp_core::framing::FramingError;
use stamp_core::retry::AttemptFailure;
use stamp_core::time::Moment;

use super::error::ProxyError;
use super::forward::{Call, Course, Failed, Place, Stopped};
use super::patience::{Patience, Waited};
use super::worker::WorkerView;
use crate::outbound::answer::{AnswerBody, Fate, Unanswered};
use crate::outbound::body::BodyFault;
use crate::outbound::link::{ConnectError, Link};
use crate::outbound::pool::{TakeError, Wish};

/// A connection as it was when a request was sent.
#[derive(Clone, Copy)]
struct Before {
    at: Moment,
    written: u64,
    read: u64,
}

/// Besides two round trips: what either side may need to notice.
const STALE_SHOWS_WITHIN: Duration = Duration::from_millis(2);

impl Call<'_> {
    /// A connection to the place.
    pub(super) async fn take_link(
        &mut self,
        view: &WorkerView,
        place: &Place<'_>,
        course: &mut Course,
        wish: Wish<'_>,
    ) -> Result<Link, Stopped> {
        let stamp = self.choice.stamp;
        if let Waited::EndpointOut = self.wait_for_word(course, place).await {
            self.count_attempt_at(stamp, place, "endpoint_out");
            return Err(Stopped::GoesOn);
        }
        let taken = pin!(place.pool.take(wish, &place.stamp.pool, self.worker().clock()));
        let taken = match self.wait_for_link(course, place, taken).await {
            Waited::Over(taken) => taken,
            Waited::EndpointOut | Waited::TooLong => {
                self.count_attempt_at(stamp, place, "endpoint_out");
                return Err(Stopped::GoesOn);
            }
        };
        let error = match taken {
            Ok((link, waited)) => {
                if let Some(waited) = waited {
                    let number = view.stamp(stamp).number;
                    self.worker().counts().stamp(Some(number)).pool_wait.observe(waited);
                }
                return Ok(link);
            }
            Err(TakeError::Saturated) => {
                self.count_attempt(place, "saturated");
                return Err(Stopped::ForGood(ProxyError::StampSaturated));
            }
            Err(TakeError::NoSwitch) => {
                self.count_attempt(place, "no_switch");
                return Err(Stopped::ForGood(ProxyError::NoSwitch));
            }
            Err(TakeError::Connect(error)) => error,
        };
        let outcome = match error {
            ConnectError::Timeout(_) => "connect_timeout",
            ConnectError::Tls(_) => "tls_failed",
            ConnectError::Unresolved
            | ConnectError::Socket(_)
            | ConnectError::Http1(_)
            | ConnectError::Http2(_)
            | ConnectError::Closed => "connect_failed",
        };
        self.count_attempt(place, outcome);
        tracing::debug!(%error, endpoint = %place.cell.authority, "no connection");
        Err(not_connected())
    }

    /// Sends the request and waits for its answer's head.
    pub(super) async fn send(
        &mut self,
        view: &WorkerView,
        place: &Place<'_>,
        course: &mut Course,
        mut link: Link,
    ) -> Result<(Response<AnswerBody>, Link), Stopped> {
        let (written, read) = (link.bytes().written(), link.bytes().read());
        let before = Before { at: self.worker().now(), written, read };
        let timeout = view.live.timeouts.response_headers.min(self.time_left());
        place.pool.asked(before.at);
        let stamp = self.choice.stamp;
        let waited = {
            let sent = pin!(link.send(self.request(view, place, link.version())));
            let patience = Patience { began: before.at, timeout };
            self.wait_for_head(course, place, patience, sent).await
        };
        let sent = match waited {
            Waited::Over(sent) => sent,
            Waited::EndpointOut => {
                self.count_attempt_at(stamp, place, "endpoint_out");
                return Err(Stopped::GoesOn);
            }
            Waited::TooLong => {
                self.count_attempt(place, "timeout");
                // A client that has little patience says nothing of the endpoint.
                let now = self.worker().now();
                let is_clients = self.deadline.clients.is_some_and(|deadline| deadline <= now);
                return Err(Stopped::Failed(Failed {
                    failure: AttemptFailure::TimedOut,
                    error: ProxyError::UpstreamTimeout,
                    kind: (!is_clients).then_some(FailureKind::Timeout),
                }));
            }
        };
        match sent {
            Ok(response) => {
                let now = self.worker().now();
                place.pool.answered(now.since(before.at), now);
                Ok((response, link))
            }
            Err(error) => Err(self.broke_off(place, &link, before, error)),
        }
    }

    /// The connection ended before the answer's head.
    fn broke_off(
        &self,
        place: &Place<'_>,
        link: &Link,
        before: Before,
        unanswered: Unanswered,
    ) -> Stopped {
        if let Some(fault) = self.body.as_ref().and_then(|source| source.fault()) {
            self.count_attempt(place, "client_failed");
            return Stopped::ForGood(error_of(fault));
        }
        let now = self.worker().now();
        place.pool.spoke(now);
        if link.used() == 0 && link.bytes().were_refused() {
            // In TLS 1.3 a handshake fails at the stamp when it looks done from here.
            self.count_attempt(place, "tls_failed");
            tracing::debug!(endpoint = %place.cell.authority, "the stamp refused our certificate");
            return not_connected();
        }
        let Unanswered { error, fate } = unanswered;
        tracing::debug!(%error, ?fate, endpoint = %place.cell.authority, "attempt failed");
        let unsent = fate == Fate::NotSent || link.bytes().written() == before.written;
        let unheard = link.bytes().read() == before.read;
        let failure = match (fate, unsent, unheard && link.used() > 0) {
            (Fate::GoneAway | Fate::Refused, _, _) => AttemptFailure::NotProcessed,
            (Fate::NotSent | Fate::Unknown, true, _) => AttemptFailure::NothingWritten,
            (Fate::NotSent | Fate::Unknown, false, true) => AttemptFailure::ReusedClosedBeforeByte,
            (Fate::NotSent | Fate::Unknown, false, false) => AttemptFailure::SentNoHead,
        };
        let (outcome, kind) = match fate {
            // It closes as it should: that says nothing about its endpoint.
            Fate::GoneAway => ("gone_away", None),
            Fate::Refused => ("refused", Some(FailureKind::BrokeOff)),
            Fate::NotSent | Fate::Unknown => {
                // A connection that was closed while it rested tells nothing about its endpoint. That it
                // was, shows a round trip after the request was sent; what breaks off later had taken it.
                let at_once = now.since(before.at) <= link.connected_in() * 2 + STALE_SHOWS_WITHIN;
                let was_there = failure != AttemptFailure::SentNoHead;
                if link.used() > 0 && (unsent || at_once) && was_there {
                    ("stale", None)
                } else {
                    ("broke_off", Some(FailureKind::BrokeOff))
                }
            }
        };
        self.count_attempt(place, outcome);
        Stopped::Failed(Failed { failure, error: ProxyError::UpstreamProtocol, kind })
    }
}

const fn not_connected() -> Stopped {
    Stopped::Failed(Failed {
        failure: AttemptFailure::NotConnected,
        error: ProxyError::ConnectFailed,
        kind: Some(FailureKind::Connect),
    })
}

pub(super) const fn error_of(fault: BodyFault) -> ProxyError {
    match fault {
        BodyFault::TooLarge => ProxyError::BodyTooLarge,
        BodyFault::TooSlow => ProxyError::RequestTimeout,
        BodyFault::InTheWay => ProxyError::InTheWay,
        BodyFault::Broken => ProxyError::BodyBroken,
        BodyFault::Trailers => ProxyError::Malformed(FramingError::Malformed(
            "a trailer of the request says what only a head may",
        )),
    }
}
