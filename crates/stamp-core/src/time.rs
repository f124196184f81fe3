//! Time as the core sees it: an argument, never a reading. The shell's `clock` makes these.

use std::time::Duration;

/// A point on the monotonic clock: the time since the process began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Moment(pub Duration);

impl Moment {
    /// The time from `earlier` to this moment; zero when `earlier` is later.
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        self.0.saturating_sub(earlier.0)
    }

    /// This moment moved on by `by`, at most to the end of time.
    #[must_use]
    pub fn after(self, by: Duration) -> Self {
        Self(self.0.saturating_add(by))
    }
}

/// A point on the wall clock, in whole seconds since 1970-01-01T00:00:00Z (RFC 7519, `NumericDate`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UnixSeconds(pub u64);

/// When something happened, and the chance that was drawn for it: what a decision may lean on
/// besides its facts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Occasion {
    /// When.
    pub now: Moment,
    /// Any number, each as likely as every other.
    pub chance: u64,
}

/// `span` made up to a tenth of itself shorter or longer, evenly over all values of `chance`, so
/// that what began together does not stay together.
#[must_use]
pub fn jittered(span: Duration, chance: u64) -> Duration {
    let nanos = u64::try_from(span.as_nanos()).unwrap_or(u64::MAX);
    let spread = (u128::from(nanos / 5) * u128::from(chance)) >> u64::BITS;
    let spread = u64::try_from(spread).unwrap_or(u64::MAX);
    Duration::from_nanos((nanos - nanos / 10).saturating_add(spread))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jitter_stays_within_a_tenth_either_way() {
        let span = Duration::from_secs(10);
        assert_eq!(jittered(span, 0), Duration::from_secs(9));
        assert_eq!(jittered(span, 1 << 63), span);
        assert!(jittered(span, u64::MAX) <= Duration::from_secs(11));
        assert!(jittered(Duration::MAX, u64::MAX) > Duration::from_secs(1));
    }
}
