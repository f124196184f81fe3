//! The only reader of time. Everything else is told what time it is.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use stamp_core::time::{Moment, UnixSeconds};

/// The process's clock: monotonic since its start, and the wall.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    began: Instant,
}

impl Clock {
    /// Starts the clock of this process.
    #[expect(clippy::disallowed_methods, reason = "the one place that may read the clock")]
    #[must_use]
    pub fn start() -> Self {
        Self { began: Instant::now() }
    }

    /// The time since the process began.
    #[must_use]
    pub fn now(&self) -> Moment {
        Moment(self.began.elapsed())
    }

    /// Wall time since 1970.
    #[expect(clippy::disallowed_methods, reason = "the one place that may read the clock")]
    #[must_use]
    pub fn wall(&self) -> Duration {
        SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
    }

    /// Wall time in whole seconds.
    #[must_use]
    pub fn unix(&self) -> UnixSeconds {
        UnixSeconds(self.wall().as_secs())
    }

    /// The runtime's timer reading that belongs to `moment`.
    #[must_use]
    pub fn instant(&self, moment: Moment) -> tokio::time::Instant {
        tokio::time::Instant::from_std(self.began + moment.0)
    }
}
