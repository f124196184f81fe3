//! Is a peer too slow? Only the time that we spent waiting for it counts.

use std::time::Duration;

/// Grace before the least rate is asked for (Kestrel's default; no proxy measured enforces one).
pub const GRACE: Duration = Duration::from_secs(5);
/// However much a peer has moved, a pause may last so long: a client behind full buffers moves
/// in steps, and one that took a megabyte at once must not hold the rest for an hour.
pub const PAUSE_MAX: Duration = Duration::from_secs(25);

/// What a peer that is waited for has left: each byte earns it the time that the least rate gives a
/// byte, and each wait spends some.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SlowPeer {
    left: Duration,
}

impl Default for SlowPeer {
    fn default() -> Self {
        Self { left: GRACE }
    }
}

impl SlowPeer {
    /// One that may pause before it has moved anything.
    #[must_use]
    pub const fn with_pause() -> Self {
        Self { left: PAUSE_MAX }
    }

    /// Counts a wait that is over.
    pub fn waited(&mut self, wait: Duration) {
        self.left = self.left.saturating_sub(wait);
    }

    /// Counts bytes that the peer moved. `bytes_per_second_min` = 0: no rate is asked for.
    pub fn moved(&mut self, bytes: u64, bytes_per_second_min: u64) {
        let nanos = bytes.saturating_mul(1_000_000_000).checked_div(bytes_per_second_min);
        let earned = nanos.map_or(PAUSE_MAX, Duration::from_nanos);
        self.left = self.left.saturating_add(earned).min(PAUSE_MAX);
    }

    /// How much longer the peer may keep us waiting. `bytes_per_second_min` = 0 means for ever.
    #[must_use]
    pub const fn patience(&self, bytes_per_second_min: u64) -> Duration {
        if bytes_per_second_min == 0 { Duration::MAX } else { self.left }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_silent_peer_has_the_grace_only() {
        assert_eq!(SlowPeer::default().patience(240), GRACE);
    }

    #[test]
    fn one_that_may_pause_has_no_more_than_that() {
        assert_eq!(SlowPeer::with_pause().patience(240), PAUSE_MAX);
    }

    #[test]
    fn a_peer_below_the_rate_runs_out_of_patience() {
        let mut peer = SlowPeer::default();
        let seconds = (1..).find(|_| {
            peer.waited(SECOND);
            let is_over = peer.patience(240).is_zero();
            peer.moved(120, 240);
            is_over
        });
        assert_eq!(seconds, Some(9));
    }

    #[test]
    fn no_least_rate_means_no_end_of_patience() {
        let mut peer = SlowPeer::default();
        peer.waited(SECOND * 60);
        peer.moved(1, 0);
        assert_eq!(peer.patience(0), Duration::MAX);
    }

    proptest! {
        #[test]
        fn a_peer_that_keeps_the_rate_is_never_cut(
            rate in 1_u64..1_000_000,
            seconds in prop::collection::vec(1_u64..5, 1..100),
        ) {
            let mut peer = SlowPeer::default();
            for wait in seconds {
                peer.waited(SECOND * u32::try_from(wait).unwrap());
                prop_assert!(!peer.patience(rate).is_zero());
                peer.moved(wait * rate, rate);
                prop_assert!(peer.patience(rate) >= GRACE);
            }
        }

        #[test]
        fn nothing_moved_earlier_buys_a_longer_pause(rate in 1_u64.., bytes in any::<u64>()) {
            let mut peer = SlowPeer::default();
            peer.moved(bytes, rate);
            peer.waited(PAUSE_MAX);
            prop_assert!(peer.patience(rate).is_zero());
        }
    }
}
