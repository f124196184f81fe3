//! How many repeats a stamp may still be asked for.

use crate::time::Moment;

/// Repeats that a stamp may still be asked for: a bucket filled by its requests and by time. Eight
/// bytes (`to_bits`), so that workers can share one as an atomic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RetryBudget {
    /// Hundredths of a repeat.
    hundredths: u32,
    /// Milliseconds on the monotonic clock, wrapping after 49 days.
    filled_at_ms: u32,
}

/// What one repeat costs.
const REPEAT: u32 = 100;
/// The allowance that does not depend on requests: a quiet stamp may be asked again too.
const REPEATS_PER_SECOND: u32 = 10;
/// The most that is saved up, in repeats: what a stamp of 5,000 requests a second earns in a second
/// at 20 %.
pub const REPEATS_SAVED_MAX: u32 = 1000;
/// What there is at first, in repeats: ten seconds of the allowance.
const REPEATS_AT_FIRST: u32 = 100;

impl RetryBudget {
    /// The budget of a stamp that has seen no request.
    #[must_use]
    pub fn new(now: Moment) -> Self {
        Self { hundredths: REPEATS_AT_FIRST * REPEAT, filled_at_ms: milliseconds(now) }
    }

    /// The budget after this many first attempts, each worth `percent` hundredths of a repeat.
    #[must_use]
    pub fn earned(self, requests: u64, percent: u32) -> Self {
        let share = u32::try_from(requests.saturating_mul(u64::from(percent))).unwrap_or(u32::MAX);
        self.with(share)
    }

    /// The budget after one repeat, or `None` when it does not pay for one.
    #[must_use]
    pub fn spent(self, now: Moment) -> Option<Self> {
        let filled = self.filled(now);
        Some(Self { hundredths: filled.hundredths.checked_sub(REPEAT)?, ..filled })
    }

    /// As one number, for an atomic.
    #[must_use]
    pub const fn to_bits(self) -> u64 {
        ((self.filled_at_ms as u64) << 32) | self.hundredths as u64
    }

    /// The budget of this number.
    #[must_use]
    #[expect(clippy::cast_possible_truncation, reason = "takes the two halves apart")]
    pub const fn from_bits(bits: u64) -> Self {
        Self { filled_at_ms: (bits >> 32) as u32, hundredths: bits as u32 }
    }

    fn filled(self, now: Moment) -> Self {
        let now_ms = milliseconds(now);
        let passed_ms = now_ms.wrapping_sub(self.filled_at_ms);
        // More than half the circle is a clock read before another worker's: no time has passed.
        if passed_ms > u32::MAX / 2 {
            return self;
        }
        // A hundredth of a repeat is one millisecond's allowance: 10 a second are 1,000 hundredths.
        let allowance = u64::from(passed_ms) * u64::from(REPEATS_PER_SECOND * REPEAT) / 1000;
        let filled = self.with(u32::try_from(allowance).unwrap_or(u32::MAX));
        Self { filled_at_ms: now_ms, ..filled }
    }

    fn with(self, hundredths: u32) -> Self {
        let sum = self.hundredths.saturating_add(hundredths);
        Self { hundredths: sum.min(REPEATS_SAVED_MAX * REPEAT), ..self }
    }
}

#[expect(clippy::cast_possible_truncation, reason = "wraps on purpose")]
const fn milliseconds(moment: Moment) -> u32 {
    moment.0.as_millis() as u32
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn spend_all(mut budget: RetryBudget, now: Moment) -> u32 {
        let mut repeats = 0;
        while let Some(rest) = budget.spent(now) {
            budget = rest;
            repeats += 1;
        }
        repeats
    }

    #[test]
    fn a_fifth_of_the_requests_and_ten_a_second_may_be_repeated() {
        let now = Moment::default();
        let empty = RetryBudget { hundredths: 0, filled_at_ms: 0 };
        assert_eq!(spend_all(RetryBudget::new(now), now), 100);
        assert_eq!(spend_all(empty.earned(50, 20), now), 10);
        assert_eq!(spend_all(empty, now.after(Duration::from_secs(3))), 30);
    }

    #[test]
    fn what_is_saved_up_is_bounded() {
        let budget = RetryBudget::new(Moment::default()).earned(u64::MAX, 20);
        assert_eq!(spend_all(budget, Moment(Duration::from_hours(10))), REPEATS_SAVED_MAX);
    }

    #[test]
    fn a_clock_read_too_early_neither_fills_nor_empties() {
        let later = Moment(Duration::from_secs(5));
        let budget = RetryBudget { hundredths: 100, filled_at_ms: milliseconds(later) };
        assert_eq!(spend_all(budget, Moment(Duration::from_secs(4))), 1);
        assert_eq!(RetryBudget::from_bits(budget.to_bits()), budget);
    }
}
