//! One breaker: closed, open, half-open. Learns from requests alone: probes may keep it open, but
//! only a trial request closes it. `fleet` holds one for each endpoint.

use std::time::Duration;

use crate::breaker::evidence::{Streak, Window};
use crate::health::Health;
use crate::table::PassivePolicy;
use crate::time::{Moment, Occasion, jittered};

mod evidence;

/// Failures of requests that were sent count only when they come from this many distinct tenants
/// (or from all, where the stamp has fewer): one poison tenant must not take a stamp from all.
pub const WITNESSES_MIN: u32 = 3;

/// What counts as a failure of an endpoint. Status 500, 4xx and whatever the client did wrong
/// have no kind here, so that they cannot be reported.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FailureKind {
    /// No connection, or no TLS session.
    Connect,
    /// The connection ended before the response head.
    BrokeOff,
    /// No response head in time.
    Timeout,
    /// The response was 502, 503 or 504.
    BadStatus,
}

impl FailureKind {
    /// The failure that a response status stands for, if it stands for one.
    #[must_use]
    pub const fn of_status(status: u16) -> Option<Self> {
        match status {
            502..=504 => Some(Self::BadStatus),
            _ => None,
        }
    }

    /// Did it happen before any byte of a request was sent, so that no request can be its cause?
    #[must_use]
    pub const fn is_before_sending(self) -> bool {
        matches!(self, Self::Connect)
    }

    /// The word used in the API, the metrics and the logs.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Connect => "connect_failed",
            Self::BrokeOff => "broke_off",
            Self::Timeout => "timeout",
            Self::BadStatus => "bad_status",
        }
    }
}

/// One failed attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Failure {
    /// What went wrong.
    pub kind: FailureKind,
    /// A hash of the tenant's id. All requests without a tenant count as those of one tenant.
    pub tenant: Option<u64>,
}

/// What a report is about besides plain successes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// An attempt failed.
    Failed(Failure),
    /// The one request that a half-open breaker lets through failed.
    TrialFailed(Failure),
    /// It came back with a response head that is no failure.
    TrialSucceeded,
}

/// What the request path tells of one endpoint.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Attempts that succeeded since the last report, all of them before `event`.
    pub successes: u64,
    /// What happened then.
    pub event: Option<Event>,
}

/// What a breaker is judged by.
#[derive(Clone, Copy, Debug)]
pub struct Limits<'a> {
    /// The stamp's policy.
    pub policy: &'a PassivePolicy,
    /// How many tenants the stamp serves.
    pub tenants: u32,
}

impl Limits<'_> {
    fn witnesses_min(&self) -> u32 {
        self.tenants.clamp(1, WITNESSES_MIN)
    }
}

/// Whether requests pass.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum BreakerState {
    /// They do.
    #[default]
    Closed,
    /// They do not, at least until then.
    Open {
        /// The first moment at which a trial may be offered.
        until: Moment,
    },
    /// One may, as a trial.
    HalfOpen,
}

impl BreakerState {
    /// The word used in the API, the metrics and the logs.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Open { .. } => "open",
            Self::HalfOpen => "half_open",
        }
    }
}

/// Why a breaker opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cause {
    /// The rule that opened it.
    pub rule: TripRule,
    /// The failure that was one too many.
    pub kind: FailureKind,
}

/// The rules that open a breaker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TripRule {
    /// Too many failures in a row.
    InARow,
    /// Too large a share of failures in the window.
    Ratio,
    /// The trial failed.
    Trial,
}

impl TripRule {
    /// The word used in the API and the logs.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::InARow => "consecutive_failures",
            Self::Ratio => "failure_ratio",
            Self::Trial => "trial_failed",
        }
    }
}

/// One breaker, as a value. `Breaker::default()` is closed and has seen nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Breaker {
    state: BreakerState,
    since: Moment,
    cause: Option<Cause>,
    trips: u32,
    streak: Streak,
    window: Window,
}

impl Breaker {
    /// Whether requests pass.
    #[must_use]
    pub const fn state(&self) -> BreakerState {
        self.state
    }

    /// Why it opened the last time; stays while it is half-open, and is gone once it is closed.
    #[must_use]
    pub const fn cause(&self) -> Option<Cause> {
        self.cause
    }

    /// The breaker after what was reported.
    #[must_use]
    pub fn after(self, report: Report, limits: Limits<'_>, at: Occasion) -> Self {
        match (self.state, report.event) {
            (BreakerState::Closed, _) => self.closed_after(report, limits, at),
            (BreakerState::HalfOpen, Some(Event::TrialSucceeded)) => self.closed(at.now),
            (BreakerState::HalfOpen, Some(Event::TrialFailed(failure))) => {
                self.opened(Cause { rule: TripRule::Trial, kind: failure.kind }, limits.policy, at)
            }
            // Requests that set out before it opened teach nothing about the time after.
            (BreakerState::HalfOpen, Some(Event::Failed(_)) | None)
            | (BreakerState::Open { .. }, _) => self,
        }
    }

    /// The breaker after time has passed: half-open once its time is over and probes do not say
    /// that the endpoint is down (a request must not be spent on what a probe can find out).
    #[must_use]
    pub fn woken(self, health: Health, now: Moment) -> Self {
        match self.state {
            BreakerState::Open { until } if until <= now && !health.is_down() => {
                Self { state: BreakerState::HalfOpen, since: now, ..self }
            }
            BreakerState::Open { .. } | BreakerState::Closed | BreakerState::HalfOpen => self,
        }
    }

    fn closed_after(mut self, report: Report, limits: Limits<'_>, at: Occasion) -> Self {
        let won = matches!(report.event, Some(Event::TrialSucceeded));
        let successes = report.successes.saturating_add(u64::from(won));
        if successes > 0 {
            self.streak = Streak::default();
            self.window.succeeded(successes, limits.policy.window, at.now);
        }
        let Some(Event::Failed(failure) | Event::TrialFailed(failure)) = report.event else {
            return self;
        };
        self.streak.failed(failure, at.now);
        self.window.failed(failure, limits.policy.window, at.now);
        match self.broken_rule(limits, at.now) {
            Some(rule) => self.opened(Cause { rule, kind: failure.kind }, limits.policy, at),
            None => self,
        }
    }

    fn broken_rule(&self, limits: Limits<'_>, now: Moment) -> Option<TripRule> {
        let (policy, witnesses_min) = (limits.policy, limits.witnesses_min());
        if self.streak.failures(witnesses_min) >= policy.consecutive_failures.get() {
            return Some(TripRule::InARow);
        }
        let counts = self.window.counts(policy.window, now, witnesses_min);
        let enough = counts.requests > 0 && counts.requests >= policy.requests_min;
        let share = f64::from(counts.failures) / f64::from(counts.requests.max(1));
        let broken = enough && counts.failures > 0 && share >= policy.failure_ratio;
        broken.then_some(TripRule::Ratio)
    }

    fn opened(self, cause: Cause, policy: &PassivePolicy, at: Occasion) -> Self {
        // As long without a trip as the longest pause: earlier trips say nothing any more.
        let was_sound = matches!(self.state, BreakerState::Closed)
            && at.now.since(self.since) >= policy.open_for_max;
        let trips = if was_sound { 0 } else { self.trips };
        let until = at.now.after(jittered(open_for(policy, trips), at.chance));
        Self {
            state: BreakerState::Open { until },
            since: at.now,
            cause: Some(cause),
            trips: trips.saturating_add(1),
            ..Self::default()
        }
    }

    fn closed(self, now: Moment) -> Self {
        Self { since: now, trips: self.trips, ..Self::default() }
    }
}

fn open_for(policy: &PassivePolicy, trips: u32) -> Duration {
    policy.open_for.saturating_mul(2_u32.saturating_pow(trips)).min(policy.open_for_max)
}

#[cfg(test)]
mod tests;
