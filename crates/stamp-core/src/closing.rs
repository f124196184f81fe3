//! When what is long-lived at a draining stamp is closed: each at a moment of its own in the last
//! part of the drain, so that clients do not come back as a herd. The shell draws the chance,
//! waits for the moment and closes; `operator` holds the drain itself.

use std::time::Duration;

use crate::operator::Force;
use crate::time::{Moment, Occasion};

/// The longest span that closings are spread over: with longer ones operators wait for nothing,
/// and within this one a thousand clients come back at 33 a second.
pub const SPREAD_MAX: Duration = Duration::from_secs(30);

/// This part of the window, at its end, is left for the last ones to say goodbye.
const FAREWELL_PART: u32 = 10;

/// A drain that ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Closing {
    /// When it began.
    pub began: Moment,
    /// When nothing should be in flight any more.
    pub deadline: Moment,
    /// What becomes of that which still is: requests may finish, or nothing may.
    pub force: Force,
}

impl Closing {
    /// The last half of the drain, or its last 30 seconds where that is shorter.
    #[must_use]
    pub fn window(self) -> Duration {
        (self.deadline.since(self.began) / 2).min(SPREAD_MAX)
    }

    /// When a stream or tunnel is to be closed that is open at `at.now`, spread evenly over all
    /// values of `at.chance`: within the window, and never in the past.
    ///
    /// An answer that becomes a stream after the window (its request was waiting all the while) has
    /// one window more to come to its end by itself, unless the drain is forced.
    #[must_use]
    pub fn moment(self, at: Occasion) -> Moment {
        let window = self.window();
        let opens = Moment(self.deadline.0.saturating_sub(window)).max(at.now);
        let ends = Moment(self.deadline.0.saturating_sub(window / FAREWELL_PART));
        let ends = if at.now < ends { ends } else { self.late(at.now) };
        opens.after(share(ends.since(opens), at.chance))
    }

    fn late(self, now: Moment) -> Moment {
        match self.force {
            Force::Refuse => now.after(self.window()),
            Force::Strand => self.deadline.max(now),
        }
    }

    /// When everything is cut, requests too; `None` = requests may take the time that they need.
    #[must_use]
    pub fn cut_at(self) -> Option<Moment> {
        match self.force {
            Force::Refuse => None,
            Force::Strand => Some(self.deadline),
        }
    }
}

/// The part of `span` that `chance` is of all numbers.
fn share(span: Duration, chance: u64) -> Duration {
    let nanos = u64::try_from(span.as_nanos()).unwrap_or(u64::MAX);
    let part = (u128::from(nanos) * u128::from(chance)) >> u64::BITS;
    Duration::from_nanos(u64::try_from(part).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const fn second(at: u64) -> Moment {
        Moment(Duration::from_secs(at))
    }

    fn drain(began_s: u64, deadline_s: u64, force: Force) -> Closing {
        Closing { began: second(began_s), deadline: second(deadline_s), force }
    }

    fn at(now_s: u64, chance: u64) -> Occasion {
        Occasion { now: second(now_s), chance }
    }

    #[test]
    fn a_long_drain_closes_within_its_last_half_minute() {
        let drain = drain(100, 700, Force::Refuse);
        assert_eq!(drain.moment(at(100, 0)), second(670));
        assert!(drain.moment(at(100, u64::MAX)) <= second(697));
    }

    #[test]
    fn a_short_drain_closes_within_its_last_half() {
        let drain = drain(100, 110, Force::Refuse);
        assert_eq!(drain.moment(at(100, 0)), second(105));
        assert_eq!(drain.moment(at(100, 1 << 63)), Moment(Duration::from_millis(107_250)));
    }

    #[test]
    fn only_a_forced_drain_cuts_requests() {
        assert_eq!(drain(0, 10, Force::Refuse).cut_at(), None);
        assert_eq!(drain(0, 10, Force::Strand).cut_at(), Some(second(10)));
    }

    #[test]
    fn a_late_stream_has_one_window_more_unless_forced() {
        let last = |force| drain(0, 10, force).moment(at(20, u64::MAX));
        assert!(last(Force::Refuse) > second(24) && last(Force::Refuse) < second(25));
        assert_eq!(last(Force::Strand), second(20));
    }

    #[test]
    fn many_closings_are_spread_evenly() {
        let drain = drain(0, 600, Force::Refuse);
        let mut chance = 0x9E37_79B9_7F4A_7C15_u64;
        let mut tenths = [0_u32; 10];
        for _ in 0..10_000 {
            chance = chance.wrapping_add(0x9E37_79B9_7F4A_7C15);
            let into = drain.moment(at(0, chance)).since(second(570));
            let tenth = usize::try_from(into.as_millis() / 2_700).unwrap();
            tenths[tenth] += 1;
        }
        assert!(tenths.iter().all(|count| (900..1_100).contains(count)), "{tenths:?}");
    }

    fn any_drain() -> impl Strategy<Value = Closing> {
        let force = prop_oneof![Just(Force::Refuse), Just(Force::Strand)];
        (any::<u32>(), any::<u32>(), force).prop_map(|(began, lasts, force)| Closing {
            began: Moment(Duration::from_millis(began.into())),
            deadline: Moment(Duration::from_millis(u64::from(began) + u64::from(lasts))),
            force,
        })
    }

    proptest! {
        #[test]
        fn nothing_is_closed_in_the_past_or_before_the_window(
            drain in any_drain(), now_ms in any::<u64>(), chance: u64,
        ) {
            let now = Moment(Duration::from_millis(now_ms));
            let moment = drain.moment(Occasion { now, chance });
            prop_assert!(moment >= now);
            prop_assert!(drain.deadline.since(moment) <= drain.window());
            prop_assert!(drain.window() <= SPREAD_MAX);
        }

        #[test]
        fn what_is_open_when_the_drain_begins_is_closed_before_its_deadline(
            drain in any_drain(), chance: u64,
        ) {
            let moment = drain.moment(Occasion { now: drain.began, chance });
            prop_assert!(moment <= drain.deadline);
            prop_assert!(moment.since(drain.began) >= drain.deadline.since(drain.began) / 2);
        }

        #[test]
        fn a_forced_drain_keeps_nothing_open_beyond_its_deadline(
            drain in any_drain(), now_ms in any::<u64>(), chance: u64,
        ) {
            let drain = Closing { force: Force::Strand, ..drain };
            let now = Moment(Duration::from_millis(now_ms));
            let moment = drain.moment(Occasion { now, chance });
            prop_assert!(moment <= drain.deadline.max(now));
        }

        #[test]
        fn a_greater_chance_never_closes_earlier(
            drain in any_drain(), now_ms in any::<u32>(), one: u64, other: u64,
        ) {
            let now = Moment(Duration::from_millis(now_ms.into()));
            let moment = |chance| drain.moment(Occasion { now, chance });
            prop_assert!(moment(one.min(other)) <= moment(one.max(other)));
        }
    }
}
