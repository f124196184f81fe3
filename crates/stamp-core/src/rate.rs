//! Is a peer too slow? Only the time that we spent waiting for it counts.

use std::time::Duration;

/// Grace before the least rate is asked for (Kestrel's default; no proxy measured enforces one).
pub const GRACE: Duration = Duration::from_secs(5);

/// How long we waited for one peer in all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SlowPeer {
    waited: Duration,
}

impl SlowPeer {
    /// Adds a wait that is over.
    pub fn waited(&mut self, wait: Duration) {
        self.waited = self.waited.saturating_add(wait);
    }

    /// How much longer the peer may keep us waiting, having moved `bytes` so far.
    ///
    /// `bytes_per_second_min` = 0 means for ever.
    #[must_use]
    pub fn patience(&self, bytes: u64, bytes_per_second_min: u64) -> Duration {
        if bytes_per_second_min == 0 {
            return Duration::MAX;
        }
        let earned = Duration::from_millis(bytes.saturating_mul(1000) / bytes_per_second_min);
        GRACE.saturating_add(earned).saturating_sub(self.waited)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_silent_peer_has_the_grace_only() {
        assert_eq!(SlowPeer::default().patience(0, 240), GRACE);
    }

    #[test]
    fn a_peer_that_keeps_the_rate_is_never_cut() {
        let mut peer = SlowPeer::default();
        for second in 1..=100_u64 {
            peer.waited(Duration::from_secs(1));
            assert!(peer.patience(second * 240, 240) >= GRACE);
        }
    }

    #[test]
    fn a_peer_below_the_rate_runs_out_of_patience() {
        let mut peer = SlowPeer::default();
        peer.waited(Duration::from_secs(20));
        assert_eq!(peer.patience(2_400, 240), Duration::ZERO);
    }

    #[test]
    fn no_least_rate_means_no_end_of_patience() {
        assert_eq!(SlowPeer::default().patience(0, 0), Duration::MAX);
    }
}
