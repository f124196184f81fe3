//! A drill: home is treated as down for a share of its tenants, to see that they are served
//! without it. Is the share that moved worse off than the rest? The shell's `state` asks.

use std::time::Duration;

/// Fewer requests than this tell nothing about a share.
pub const REQUESTS_MIN: u64 = 20;
/// How much larger the share of errors may be among those that moved, in hundredths.
pub const ERRORS_MARGIN_PERCENT: u64 = 5;
/// How many times as long their answers may take on average, and this much on top.
pub const LATENCY_FACTOR_MAX: u32 = 2;
/// See [`LATENCY_FACTOR_MAX`].
pub const LATENCY_MARGIN: Duration = Duration::from_millis(50);

/// What a share of a home's requests has come to since the drill began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sample {
    /// Requests that were answered, or given up.
    pub requests: u64,
    /// Those that failed: status 500 to 599.
    pub errors: u64,
    /// How long all of them took together.
    pub took: Duration,
}

impl Sample {
    /// What came since `earlier`.
    #[must_use]
    pub fn since(self, earlier: Self) -> Self {
        Self {
            requests: self.requests.saturating_sub(earlier.requests),
            errors: self.errors.saturating_sub(earlier.errors),
            took: self.took.saturating_sub(earlier.took),
        }
    }

    /// Both together.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self {
            requests: self.requests.saturating_add(other.requests),
            errors: self.errors.saturating_add(other.errors),
            took: self.took.saturating_add(other.took),
        }
    }

    /// With one more request that was answered so.
    #[must_use]
    pub fn with(self, status: u16, took: Duration) -> Self {
        self.and(Self { requests: 1, errors: u64::from((500..600).contains(&status)), took })
    }

    fn is_telling(self) -> bool {
        self.requests >= REQUESTS_MIN
    }

    /// Requests of this share that would fail in `of`.
    fn errors_in(self, of: u64) -> u64 {
        u64::try_from(u128::from(self.errors) * u128::from(of) / u128::from(self.requests.max(1)))
            .unwrap_or(u64::MAX)
    }

    /// How long one took on average; zero of none.
    #[must_use]
    pub fn average(self) -> Duration {
        self.took / u32::try_from(self.requests.max(1)).unwrap_or(u32::MAX)
    }
}

/// Why a drill is ended early.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AbortReason {
    /// More of the requests that moved fail.
    Errors,
    /// They take longer.
    Latency,
}

impl AbortReason {
    /// The word used in the API and the logs.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Errors => "errors",
            Self::Latency => "latency",
        }
    }
}

/// Is the share that moved so much worse off than the rest that the drill must end?
///
/// Where nobody is left to compare with (all tenants moved), errors are compared with none at all,
/// and latency is not judged.
#[must_use]
pub fn must_end(moved: Sample, rest: Sample) -> Option<AbortReason> {
    if !moved.is_telling() {
        return None;
    }
    let rest_errors = if rest.is_telling() { rest.errors_in(100) } else { 0 };
    if moved.errors_in(100) > rest_errors + ERRORS_MARGIN_PERCENT {
        return Some(AbortReason::Errors);
    }
    let longest = rest.average() * LATENCY_FACTOR_MAX + LATENCY_MARGIN;
    (rest.is_telling() && moved.average() > longest).then_some(AbortReason::Latency)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(requests: u64, errors: u64, average_ms: u64) -> Sample {
        Sample { requests, errors, took: Duration::from_millis(average_ms * requests) }
    }

    #[test]
    fn a_share_that_fares_as_well_goes_on() {
        assert_eq!(must_end(sample(100, 5, 30), sample(900, 0, 10)), None);
        assert_eq!(must_end(sample(100, 50, 10), sample(900, 450, 10)), None, "all suffer alike");
    }

    #[test]
    fn a_share_that_fails_more_often_ends_it() {
        assert_eq!(must_end(sample(100, 6, 10), sample(900, 0, 10)), Some(AbortReason::Errors));
        let alone = must_end(sample(100, 6, 10), Sample::default());
        assert_eq!(alone, Some(AbortReason::Errors), "with nobody to compare with too");
    }

    #[test]
    fn a_share_that_waits_much_longer_ends_it() {
        assert_eq!(must_end(sample(100, 0, 71), sample(900, 0, 10)), Some(AbortReason::Latency));
        assert_eq!(must_end(sample(100, 0, 70), sample(900, 0, 10)), None);
    }

    #[test]
    fn a_few_requests_tell_nothing() {
        assert_eq!(must_end(sample(19, 19, 9000), sample(900, 0, 10)), None);
    }

    #[test]
    fn what_came_before_is_not_counted() {
        let now = sample(120, 40, 10).since(sample(100, 40, 10));
        assert_eq!(now, sample(20, 0, 10));
    }
}
