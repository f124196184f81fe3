//! How much a client may demand of the gateway that costs itself next to nothing (CVE-2019-9512 to
//! 9518, CVE-2023-44487, CVE-2025-8671): frames that only have to be answered, and streams that it
//! resets as soon as they are open.
//!
//! Frames of control are earned: by time, by requests and by bytes that move, since clients that
//! work send them too, for each few kilobytes that they take.

use std::time::Duration;

use crate::time::Moment;

/// What a connection begins with, and the most that it can save up.
const SAVED_MAX: u64 = 2_000;
/// Earned each second.
const BY_SECOND: u64 = 50;
/// Earned by each request.
const BY_REQUEST: u64 = 10;
/// Bytes of bodies, either way, that earn one. The most eager clients known send two `WINDOW_UPDATE`
/// frames for each 4 KiB.
const BYTES_FOR_ONE: u64 = 512;
/// Resets are counted over this time.
const WINDOW: Duration = Duration::from_secs(10);
/// So many resets within it are nobody's business.
const RESETS_FREE: u32 = 100;

/// Why a connection is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Abuse {
    /// More frames of control than what is done on the connection explains.
    ControlFrames,
    /// More than half of the streams are reset, and they are many.
    Resets,
    /// A header block of more bytes than any that is good, or a malformed one of nearly as many as a
    /// frame may have.
    HeaderBlock,
}

impl Abuse {
    /// Its name in metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ControlFrames => "control_frames",
            Self::Resets => "resets",
            Self::HeaderBlock => "header_block",
        }
    }
}

/// What was seen of a connection so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seen {
    /// Bytes of bodies that came, and all bytes that went.
    pub bytes: u64,
    /// Streams that the client opened.
    pub streams: u64,
    /// Now.
    pub now: Moment,
}

/// What one connection may still demand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Allowance {
    /// In parts of `BYTES_FOR_ONE`, so that no byte is forgotten.
    saved: u64,
    counted: Seen,
    window_began: Moment,
    resets: u32,
    streams_before: u64,
}

impl Allowance {
    /// For a connection that begins now.
    #[must_use]
    pub const fn new(now: Moment) -> Self {
        Self {
            saved: SAVED_MAX * BYTES_FOR_ONE,
            counted: Seen { bytes: 0, streams: 0, now },
            window_began: now,
            resets: 0,
            streams_before: 0,
        }
    }

    /// A frame that costs its sender nothing but the frame.
    pub fn spend(&mut self, seen: Seen) -> Result<(), Abuse> {
        let bytes = seen.bytes.saturating_sub(self.counted.bytes);
        let streams = seen.streams.saturating_sub(self.counted.streams);
        (self.counted.bytes, self.counted.streams) = (seen.bytes, seen.streams);
        let by_streams = streams.saturating_mul(BY_REQUEST * BYTES_FOR_ONE);
        let by_time = earned_in(seen.now.since(self.counted.now));
        // What is too short to earn anything counts with the next frame.
        if by_time > 0 {
            self.counted.now = seen.now;
        }
        let earned = bytes.saturating_add(by_streams).saturating_add(by_time);
        let saved = self.saved.saturating_add(earned).min(SAVED_MAX * BYTES_FOR_ONE);
        self.saved = saved.checked_sub(BYTES_FOR_ONE).ok_or(Abuse::ControlFrames)?;
        Ok(())
    }

    /// The client resets a stream.
    pub fn reset(&mut self, seen: Seen) -> Result<(), Abuse> {
        if seen.now.since(self.window_began) >= WINDOW {
            (self.window_began, self.resets, self.streams_before) = (seen.now, 0, seen.streams);
        }
        self.resets += 1;
        let opened = seen.streams.saturating_sub(self.streams_before);
        let are_most = u64::from(self.resets) * 2 > opened;
        if self.resets > RESETS_FREE && are_most { Err(Abuse::Resets) } else { Ok(()) }
    }

    /// Has the client reset a stream lately?
    #[must_use]
    pub const fn has_resets(&self) -> bool {
        self.resets > 0
    }
}

/// In parts of `BYTES_FOR_ONE`.
fn earned_in(time: Duration) -> u64 {
    let micros = u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
    micros.saturating_mul(BY_SECOND * BYTES_FOR_ONE) / 1_000_000
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(ms: u64, bytes: u64, streams: u64) -> Seen {
        Seen { bytes, streams, now: Moment(Duration::from_millis(ms)) }
    }

    #[test]
    fn a_flood_of_control_frames_ends_with_what_was_saved() {
        let mut allowance = Allowance::new(Moment::default());
        for _ in 0..SAVED_MAX {
            assert_eq!(allowance.spend(at(0, 0, 0)), Ok(()));
        }
        assert_eq!(allowance.spend(at(0, 0, 0)), Err(Abuse::ControlFrames));
    }

    #[test]
    fn a_client_that_takes_much_may_say_so_often() {
        let mut allowance = Allowance::new(Moment::default());
        // A gigabyte within a second, and a WINDOW_UPDATE for each 2 KiB.
        for frame in 0..500_000_u64 {
            assert_eq!(allowance.spend(at(frame / 500, frame * 2048, 1)), Ok(()));
        }
    }

    #[test]
    fn a_frame_now_and_then_is_for_ever() {
        let mut allowance = Allowance::new(Moment::default());
        for frame in 0..100_000_u64 {
            assert_eq!(allowance.spend(at(frame * 21, 0, 1)), Ok(()), "frame {frame}");
        }
    }

    #[test]
    fn rapid_resets_are_seen_at_the_first_beyond_a_hundred() {
        let mut allowance = Allowance::new(Moment::default());
        for stream in 1..=100 {
            assert_eq!(allowance.reset(at(0, 0, stream)), Ok(()));
        }
        assert_eq!(allowance.reset(at(0, 0, 101)), Err(Abuse::Resets));
    }

    #[test]
    fn a_client_that_gives_up_less_than_half_of_its_requests_is_served() {
        let mut allowance = Allowance::new(Moment::default());
        for stream in 1..=10_000 {
            if stream % 2 == 0 {
                assert_eq!(allowance.reset(at(stream, 0, stream)), Ok(()), "stream {stream}");
            }
        }
    }

    proptest! {
        #[test]
        fn nobody_gets_more_than_is_earned(
            steps in prop::collection::vec((0_u64..50, 0_u64..5_000, 0_u64..3), 1..3_000),
        ) {
            let mut allowance = Allowance::new(Moment::default());
            let (mut ms, mut bytes, mut streams, mut passed) = (0, 0, 0, 0_u64);
            for (wait, moved, opened) in steps {
                ms += wait;
                bytes += moved;
                streams += opened;
                passed += u64::from(allowance.spend(at(ms, bytes, streams)).is_ok());
            }
            let earned = ms * BY_SECOND / 1000 + bytes / BYTES_FOR_ONE + streams * BY_REQUEST;
            prop_assert!(passed <= SAVED_MAX + earned + 1);
        }
    }
}
