//! How near a bound of the process is, and whether somebody must go for whoever comes. Asked by the
//! shell's `listen`.

/// What a bound on connections leaves to a new one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Room {
    /// Enough.
    Plenty,
    /// It may come in, and one that rests goes, so that those never use the bound up.
    Scarce,
    /// It may come in only if one that rests goes.
    None,
}

/// From this share of a bound on, in percent, connections that rest make room. The rest is for bursts
/// that come faster than connections close.
const SCARCE_PERCENT: u64 = 90;

impl Room {
    /// What there is for the last of so many.
    #[must_use]
    pub const fn of(open: u32, max: u32) -> Self {
        if open > max {
            return Self::None;
        }
        if open as u64 * 100 >= max as u64 * SCARCE_PERCENT {
            return Self::Scarce;
        }
        Self::Plenty
    }
}

/// The bound on the connections of all listeners together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bound {
    /// So many may be open.
    pub max: u32,
    /// The sum of the listeners' own bounds.
    pub asked: u64,
}

/// Files that are neither a client's nor a stamp's: listeners, logs, the admin plane, probes.
const OTHER_FILES: u64 = 512;

impl Bound {
    /// Of a process that may have so many files, whose listeners ask for so many connections, and whose
    /// pools may have as many to stamps. What is for stamps must not be taken by clients, or sound
    /// stamps would look broken; it is half of the files at most.
    #[must_use]
    pub fn of(files_max: Option<u64>, asked: u64, to_stamps_max: u64) -> Self {
        let max = files_max.map_or(asked, |files| {
            let others = to_stamps_max.saturating_add(OTHER_FILES).min(files / 2);
            asked.min((files - others).max(1))
        });
        Self { max: u32::try_from(max).unwrap_or(u32::MAX), asked }
    }

    /// Is it below what the listeners ask for?
    #[must_use]
    pub const fn is_short(self) -> bool {
        (self.max as u64) < self.asked && self.max < u32::MAX
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn room_is_scarce_from_nine_tenths_on() {
        let rooms = [1, 89, 90, 100, 101].map(|open| Room::of(open, 100));
        assert_eq!(rooms, [Room::Plenty, Room::Plenty, Room::Scarce, Room::Scarce, Room::None]);
        assert_eq!(
            [1, 2, 3].map(|open| Room::of(open, 2)),
            [Room::Plenty, Room::Scarce, Room::None]
        );
    }

    #[test]
    fn clients_get_the_files_that_stamps_cannot_need_and_half_of_all_at_least() {
        let of = |files, asked, to_stamps| Bound::of(files, asked, to_stamps);
        assert_eq!(of(Some(20_000), 50_000, 512), Bound { max: 18_976, asked: 50_000 });
        assert_eq!(of(Some(20_000), 50_000, 1_000_000).max, 10_000);
        assert!(of(Some(20_000), 50_000, 512).is_short());
        assert!(!of(Some(20_000), 10_000, 512).is_short());
        assert_eq!(of(Some(1000), 500, 256), Bound { max: 500, asked: 500 });
        assert_eq!(of(Some(999), 501, 256), Bound { max: 500, asked: 501 });
        let all = u64::from(u32::MAX) + 5;
        assert_eq!(of(None, all, 0).max, u32::MAX);
        assert!(!of(None, all, 0).is_short());
        assert_eq!(of(Some(0), 5, 0).max, 1);
    }

    proptest! {
        #[test]
        fn nobody_comes_in_beyond_a_bound_and_the_room_only_shrinks(open in 0..=u32::MAX, max in 1..=u32::MAX) {
            prop_assert_eq!(Room::of(open, max) == Room::None, open > max);
            prop_assert!(Room::of(open, max) <= Room::of(open.saturating_add(1), max));
            prop_assert!(Room::of(max, max) == Room::Scarce);
        }
    }
}
