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

/// The steps that a share grows by.
const SHARE_STEPS: u8 = 10;

/// The share in per cent, 10 to 90, that something has so long after it began to take over within
/// `ramp`; `None` = all of it. Grows in ten steps, so that what follows it changes ten times and not
/// all the time.
#[must_use]
pub fn share_after(passed: Duration, ramp: Duration) -> Option<u8> {
    let step = ramp / u32::from(SHARE_STEPS);
    let steps = (1..SHARE_STEPS).find(|steps| passed < step * u32::from(*steps))?;
    Some(steps * (100 / SHARE_STEPS))
}

/// When the share that began at `began` takes its next step.
#[must_use]
pub fn next_step(began: Moment, now: Moment, ramp: Duration) -> Moment {
    let step = ramp / u32::from(SHARE_STEPS);
    let steps = (1..SHARE_STEPS).map(|steps| began.after(step * u32::from(steps)));
    steps.into_iter().find(|at| *at > now).unwrap_or(now)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_grows_by_tenths_and_is_whole_at_the_last() {
        let (ramp, began) = (Duration::from_secs(10), Moment(Duration::from_secs(5)));
        let shares: Vec<_> = (0..11).map(|at| share_after(Duration::from_secs(at), ramp)).collect();
        let tenths = (1..10).map(|tenth| Some(tenth * 10)).chain([None, None]);
        assert_eq!(shares, tenths.collect::<Vec<_>>());
        assert_eq!(share_after(Duration::ZERO, Duration::ZERO), None);
        assert_eq!(next_step(began, began, ramp), began.after(Duration::from_secs(1)));
    }

    #[test]
    fn jitter_stays_within_a_tenth_either_way() {
        let span = Duration::from_secs(10);
        assert_eq!(jittered(span, 0), Duration::from_secs(9));
        assert_eq!(jittered(span, 1 << 63), span);
        assert!(jittered(span, u64::MAX) <= Duration::from_secs(11));
        assert!(jittered(Duration::MAX, u64::MAX) > Duration::from_secs(1));
    }
}
