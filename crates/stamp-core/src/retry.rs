//! May this attempt be repeated? The table of the contract (section 5); `budget` keeps repeats from
//! becoming a storm. The shell's `forward` asks after each failed attempt.

use std::time::Duration;

pub use crate::retry::budget::{REPEATS_SAVED_MAX, RetryBudget};

mod budget;

/// What a method promises (RFC 9110, section 9.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MethodClass {
    /// Reads only: GET, HEAD, OPTIONS, TRACE.
    Safe,
    /// Twice is as once: PUT, DELETE.
    Idempotent,
    /// Nothing.
    Other,
}

impl MethodClass {
    /// What this method promises.
    #[must_use]
    pub fn of(method: &http::Method) -> Self {
        if method.is_safe() {
            return Self::Safe;
        }
        if method.is_idempotent() { Self::Idempotent } else { Self::Other }
    }
}

/// Does the request carry an `Idempotency-Key`?
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IdempotencyKey {
    /// It does: the stamp tells repeats apart.
    Present,
    /// It does not.
    Absent,
}

/// What is left of the request's body on our side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Body {
    /// There is none.
    Empty,
    /// All of it is kept.
    Kept,
    /// It streams, and nothing of it was read yet.
    Untouched,
    /// It streams, and some of it is gone.
    Consumed,
}

/// What a repeat depends on in the request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RequestFacts {
    /// What its method promises.
    pub method: MethodClass,
    /// Whether it carries a key.
    pub key: IdempotencyKey,
    /// What is left of its body.
    pub body: Body,
}

impl RequestFacts {
    /// Does it do no harm to be processed twice?
    #[must_use]
    pub const fn is_idempotent(self) -> bool {
        matches!(self.method, MethodClass::Safe | MethodClass::Idempotent)
            || matches!(self.key, IdempotencyKey::Present)
    }
}

/// How an attempt ended without an answer for the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AttemptFailure {
    /// No connection, or no TLS session.
    NotConnected,
    /// A connection, but no byte of the request was written to it.
    NothingWritten,
    /// The stamp said that it did nothing with the request: `REFUSED_STREAM`, or a GOAWAY below our
    /// stream (RFC 9113, section 8.7).
    NotProcessed,
    /// A reused connection closed after bytes were written and before any came back. HTTP/1.1
    /// cannot tell whether the stamp had begun (RFC 9112, section 9.3.1): judged as sent.
    ReusedClosedBeforeByte,
    /// Sent, and the connection ended before a response head.
    SentNoHead,
    /// Sent, and no response head in time.
    TimedOut,
    /// Sent, and the endpoint was found to be out before a response head came.
    EndpointOut,
    /// A response head whose status asks for a repeat.
    Status(StatusRule),
    /// The client has the response head, or is upgraded.
    HeadForwarded,
}

impl AttemptFailure {
    /// Does it say something of one connection, and nothing of the endpoint? Then another connection is
    /// tried at once, and the attempt does not count.
    #[must_use]
    pub const fn is_of_its_connection(self) -> bool {
        matches!(self, Self::ReusedClosedBeforeByte | Self::NothingWritten | Self::NotProcessed)
    }
}

/// Did the stamp's policy declare that this status is repeated?
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StatusRule {
    /// It did.
    Declared,
    /// It did not: the response is the client's.
    NotDeclared,
}

/// What is left to spend on a repeat.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Means {
    /// Attempts that may still be made, without those already made.
    pub attempts_left: u32,
    /// Until the request's deadline; zero once it is over.
    pub time_left: Duration,
    /// Would the stamp's budget pay for one more?
    pub budget: Funds,
}

/// Whether a budget would pay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Funds {
    /// It would.
    Enough,
    /// It is spent.
    Spent,
}

/// Repeat or not, and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Repeat it.
    Repeat(RepeatReason),
    /// Tell the client.
    Stop(StopReason),
}

/// Why an attempt is repeated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RepeatReason {
    /// There was no connection.
    NotConnected,
    /// No byte was written.
    NothingWritten,
    /// The stamp said that it did nothing.
    NotProcessed,
    /// A reused connection was closed by the stamp.
    ConnectionClosed,
    /// No response head came.
    NoHead,
    /// No response head came in time.
    TimedOut,
    /// The endpoint was found to be out while its response head was awaited.
    EndpointOut,
    /// The status says so.
    Status,
}

impl RepeatReason {
    /// The label used in metrics and logs.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NotConnected => "not_connected",
            Self::NothingWritten => "nothing_written",
            Self::NotProcessed => "not_processed",
            Self::ConnectionClosed => "connection_closed",
            Self::NoHead => "no_head",
            Self::TimedOut => "timeout",
            Self::EndpointOut => "endpoint_out",
            Self::Status => "status",
        }
    }
}

/// Why an attempt is not repeated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StopReason {
    /// The client has the response head.
    HeadForwarded,
    /// The status is not one that is repeated.
    StatusNotDeclared,
    /// It may have been processed, and twice is not as once.
    NotIdempotent,
    /// Its body streamed and is gone.
    BodyGone,
    /// It was the last attempt allowed.
    AttemptsSpent,
    /// The deadline is over.
    DeadlineOver,
    /// The stamp's budget is spent.
    BudgetSpent,
}

impl StopReason {
    /// The label used in metrics and logs.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::HeadForwarded => "head_forwarded",
            Self::StatusNotDeclared => "status_not_declared",
            Self::NotIdempotent => "not_idempotent",
            Self::BodyGone => "body_gone",
            Self::AttemptsSpent => "attempts_spent",
            Self::DeadlineOver => "deadline_over",
            Self::BudgetSpent => "budget_spent",
        }
    }
}

/// May the attempt that failed so be repeated? Whether it could do harm comes first, so that the
/// reason for a stop names the lasting obstacle before the passing one.
#[must_use]
pub fn judge(failure: AttemptFailure, request: RequestFacts, means: Means) -> Verdict {
    let reason = match repeatable(failure, request) {
        Verdict::Repeat(reason) => reason,
        stop @ Verdict::Stop(_) => return stop,
    };
    if matches!(request.body, Body::Consumed) {
        return Verdict::Stop(StopReason::BodyGone);
    }
    if means.attempts_left == 0 {
        return Verdict::Stop(StopReason::AttemptsSpent);
    }
    if means.time_left.is_zero() {
        return Verdict::Stop(StopReason::DeadlineOver);
    }
    match means.budget {
        Funds::Enough => Verdict::Repeat(reason),
        Funds::Spent => Verdict::Stop(StopReason::BudgetSpent),
    }
}

/// The pause before a first repeat at the same endpoint; doubled for each after that.
const BACK_OFF: Duration = Duration::from_millis(25);
/// The longest pause.
const BACK_OFF_MAX: Duration = Duration::from_millis(250);

/// How long to wait before the same endpoint is asked again, after so many attempts: half of it
/// certain, half of it by chance, so that what failed together does not return together. Another
/// endpoint or stamp is asked at once.
#[must_use]
pub fn back_off(attempts: u32, chance: u64) -> Duration {
    let doublings = attempts.saturating_sub(1).min(8);
    let longest = (BACK_OFF * (1 << doublings)).min(BACK_OFF_MAX);
    let nanos = u64::try_from(longest.as_nanos() / 2).unwrap_or(u64::MAX);
    let drawn = (u128::from(nanos) * u128::from(chance)) >> u64::BITS;
    Duration::from_nanos(nanos.saturating_add(u64::try_from(drawn).unwrap_or(u64::MAX)))
}

/// The table: which rows ask for an idempotent request.
const fn repeatable(failure: AttemptFailure, request: RequestFacts) -> Verdict {
    let reason = match failure {
        AttemptFailure::NotConnected => return Verdict::Repeat(RepeatReason::NotConnected),
        AttemptFailure::NothingWritten => return Verdict::Repeat(RepeatReason::NothingWritten),
        AttemptFailure::NotProcessed => return Verdict::Repeat(RepeatReason::NotProcessed),
        AttemptFailure::HeadForwarded => return Verdict::Stop(StopReason::HeadForwarded),
        AttemptFailure::Status(StatusRule::NotDeclared) => {
            return Verdict::Stop(StopReason::StatusNotDeclared);
        }
        AttemptFailure::Status(StatusRule::Declared) => RepeatReason::Status,
        AttemptFailure::ReusedClosedBeforeByte => RepeatReason::ConnectionClosed,
        AttemptFailure::SentNoHead => RepeatReason::NoHead,
        AttemptFailure::TimedOut => RepeatReason::TimedOut,
        AttemptFailure::EndpointOut => RepeatReason::EndpointOut,
    };
    if request.is_idempotent() {
        return Verdict::Repeat(reason);
    }
    Verdict::Stop(StopReason::NotIdempotent)
}

#[cfg(test)]
mod tests {
    use super::*;

    const GET: RequestFacts =
        RequestFacts { method: MethodClass::Safe, key: IdempotencyKey::Absent, body: Body::Empty };
    const POST: RequestFacts = RequestFacts { method: MethodClass::Other, body: Body::Kept, ..GET };
    const PLENTY: Means =
        Means { attempts_left: 1, time_left: Duration::from_secs(1), budget: Funds::Enough };

    fn repeats(failure: AttemptFailure, request: RequestFacts) -> bool {
        matches!(judge(failure, request, PLENTY), Verdict::Repeat(_))
    }

    #[test]
    fn pauses_grow_and_are_never_quite_the_same() {
        assert_eq!(back_off(1, 0), Duration::from_micros(12_500));
        assert!(back_off(1, u64::MAX) <= Duration::from_millis(25));
        assert_eq!(back_off(2, 0), Duration::from_millis(25));
        assert_eq!(back_off(30, 0), Duration::from_millis(125));
    }

    #[test]
    fn what_was_never_written_or_processed_is_repeated_for_every_method() {
        for failure in [
            AttemptFailure::NotConnected,
            AttemptFailure::NothingWritten,
            AttemptFailure::NotProcessed,
        ] {
            assert!(repeats(failure, POST));
            assert!(repeats(failure, RequestFacts { body: Body::Untouched, ..POST }));
        }
    }

    #[test]
    fn what_was_sent_is_repeated_only_when_twice_is_as_once() {
        for failure in [
            AttemptFailure::ReusedClosedBeforeByte,
            AttemptFailure::SentNoHead,
            AttemptFailure::TimedOut,
            AttemptFailure::EndpointOut,
            AttemptFailure::Status(StatusRule::Declared),
        ] {
            assert!(repeats(failure, GET));
            assert_eq!(
                judge(failure, POST, PLENTY),
                Verdict::Stop(StopReason::NotIdempotent),
                "{failure:?}"
            );
            assert!(repeats(failure, RequestFacts { key: IdempotencyKey::Present, ..POST }));
        }
    }

    #[test]
    fn a_body_that_is_gone_is_never_repeated() {
        let put = RequestFacts { method: MethodClass::Idempotent, body: Body::Consumed, ..GET };
        for failure in [
            AttemptFailure::NothingWritten,
            AttemptFailure::NotProcessed,
            AttemptFailure::SentNoHead,
        ] {
            assert_eq!(judge(failure, put, PLENTY), Verdict::Stop(StopReason::BodyGone));
        }
    }

    #[test]
    fn a_forwarded_head_and_an_undeclared_status_are_the_clients() {
        assert_eq!(
            judge(AttemptFailure::HeadForwarded, GET, PLENTY),
            Verdict::Stop(StopReason::HeadForwarded)
        );
        assert_eq!(
            judge(AttemptFailure::Status(StatusRule::NotDeclared), GET, PLENTY),
            Verdict::Stop(StopReason::StatusNotDeclared)
        );
    }

    #[test]
    fn each_means_that_is_spent_stops_the_repeat() {
        let stop = |means| judge(AttemptFailure::NotConnected, GET, means);
        assert_eq!(
            stop(Means { attempts_left: 0, ..PLENTY }),
            Verdict::Stop(StopReason::AttemptsSpent)
        );
        assert_eq!(
            stop(Means { time_left: Duration::ZERO, ..PLENTY }),
            Verdict::Stop(StopReason::DeadlineOver)
        );
        assert_eq!(
            stop(Means { budget: Funds::Spent, ..PLENTY }),
            Verdict::Stop(StopReason::BudgetSpent)
        );
    }
}
