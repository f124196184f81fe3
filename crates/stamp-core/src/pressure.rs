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

impl Bound {
    /// Of a process that may have so many files, with listeners of these bounds. A request needs a
    /// second file, to its stamp, and neither log, admin plane nor probes may go without: clients get
    /// half.
    #[must_use]
    pub fn of(files_max: Option<u64>, listeners: impl Iterator<Item = u32>) -> Self {
        let asked: u64 = listeners.map(u64::from).sum();
        let max = files_max.map_or(asked, |files| asked.min((files / 2).max(1)));
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
    fn listeners_that_ask_for_more_than_half_of_all_files_get_half() {
        let of = |files, listeners: &[u32]| Bound::of(files, listeners.iter().copied());
        assert_eq!(of(Some(1000), &[200, 300]), Bound { max: 500, asked: 500 });
        assert!(!of(Some(1000), &[200, 300]).is_short());
        assert_eq!(of(Some(999), &[200, 300]), Bound { max: 499, asked: 500 });
        assert!(of(Some(999), &[200, 300]).is_short());
        assert_eq!(of(None, &[u32::MAX, 5]).max, u32::MAX);
        assert!(!of(None, &[u32::MAX, 5]).is_short());
        assert_eq!(of(Some(0), &[5]).max, 1);
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
