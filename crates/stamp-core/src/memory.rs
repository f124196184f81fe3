//! How much memory is in use of how much, as the kernel's files tell it, and what the process gives up
//! when it is short. Fed by the shell's `state::memory`.

/// What is given up for memory, least first. Each does what those before it do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Nothing.
    #[default]
    Calm,
    /// Connections that rest are closed, and others after their next answer.
    ClosesIdle,
    /// New requests are turned away.
    RefusesRequests,
    /// New connections stay where they are, in the kernel.
    AcceptsNothing,
}

/// The highest first.
const LEVELS: [Level; 3] = [Level::AcceptsNothing, Level::RefusesRequests, Level::ClosesIdle];

/// A level ends this far below where it began, in percent of the limit, so that what it sets free does
/// not end it at once.
const EASED_PERCENT: u32 = 2;

impl Level {
    /// From which share of the limit on (those that Envoy's overload manager is shown with).
    const fn percent(self) -> u32 {
        match self {
            Self::Calm => 0,
            Self::ClosesIdle => 92,
            Self::RefusesRequests => 95,
            Self::AcceptsNothing => 98,
        }
    }

    /// The level that follows on this one. Up at once, down a little later.
    #[must_use]
    pub fn next(self, now: Use) -> Self {
        let holds = |level: &Self| {
            let eased = if *level <= self { EASED_PERCENT } else { 0 };
            now.is_at_least(level.percent() - eased)
        };
        LEVELS.into_iter().find(holds).unwrap_or_default()
    }

    /// As a number, for a metric.
    #[must_use]
    pub const fn number(self) -> u8 {
        self as u8
    }

    /// Its name in the log.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Calm => "calm",
            Self::ClosesIdle => "closes_idle",
            Self::RefusesRequests => "refuses_requests",
            Self::AcceptsNothing => "accepts_nothing",
        }
    }
}

/// So much is in use of so much.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Use {
    /// In bytes, without what the kernel can take back at any time.
    pub used: u64,
    /// In bytes.
    pub limit: u64,
}

impl Use {
    fn is_at_least(self, percent: u32) -> bool {
        u128::from(self.used) * 100 >= u128::from(self.limit) * u128::from(percent)
    }

    /// Whichever is nearer to its limit.
    #[must_use]
    pub fn tighter(self, other: Self) -> Self {
        let (own, others) = (
            u128::from(self.used) * u128::from(other.limit),
            u128::from(other.used) * u128::from(self.limit),
        );
        if own >= others { self } else { other }
    }
}

/// The two kinds of control groups (cgroups(7)).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// A hierarchy for memory of its own.
    One,
    /// One hierarchy for all.
    Two,
}

/// A limit of version 1 beyond this is none: it says so with the largest number of pages.
const ONE_LIMIT_MAX: u64 = 1 << 60;

impl Version {
    /// The files of a group: its limit, what it uses, of what.
    #[must_use]
    pub const fn files(self) -> [&'static str; 3] {
        match self {
            Self::One => ["memory.limit_in_bytes", "memory.usage_in_bytes", "memory.stat"],
            Self::Two => ["memory.max", "memory.current", "memory.stat"],
        }
    }

    /// What these files say; `None` = there is no limit, or it cannot be told.
    ///
    /// The kernel ends a process of the group when it finds nothing more to take back, so what it can
    /// take back is not in use: pages of files, seldom used or often, but for those that wait to
    /// be written. Where often used ones count (as with kubelet's working set), a process that only
    /// reads and writes files comes to look as if it were out of memory (kubernetes issue 43916). Sockets'
    /// buffers are in it, which are no part of any process' own memory and are what a slow client holds.
    #[must_use]
    pub fn used(self, [limit, usage, stat]: [&str; 3]) -> Option<Use> {
        let limit: u64 = limit.trim().parse().ok()?;
        if limit == 0 || (self == Self::One && limit >= ONE_LIMIT_MAX) {
            return None;
        }
        // In version 1 the plain names are those of the group without the groups below it.
        let names = match self {
            Self::One => {
                ["total_active_file", "total_inactive_file", "total_dirty", "total_writeback"]
            }
            Self::Two => ["active_file", "inactive_file", "file_dirty", "file_writeback"],
        };
        let [often, seldom, dirty, writing] = names.map(|name| number_of(stat, name));
        let clean = often.saturating_add(seldom).saturating_sub(dirty.saturating_add(writing));
        let usage: u64 = usage.trim().parse().ok()?;
        Some(Use { used: usage.saturating_sub(clean), limit })
    }
}

/// The number behind a name; 0 where there is none.
fn number_of(stat: &str, name: &str) -> u64 {
    let mut lines = stat.lines().filter_map(|line| line.split_once(' '));
    let number = lines.find(|(own, _)| *own == name);
    number.and_then(|(_, number)| number.trim().parse().ok()).unwrap_or(0)
}

/// The groups that bound the memory of a process, by its `/proc/self/cgroup`: its own, then those above
/// it. Paths are relative to where the hierarchy is mounted; in a container those that are not there
/// are the host's.
pub fn groups(cgroup: &str) -> impl Iterator<Item = (Version, &str)> {
    let own = cgroup.lines().filter_map(|line| {
        let (number, rest) = line.split_once(':')?;
        let (controllers, path) = rest.split_once(':')?;
        if controllers.split(',').any(|controller| controller == "memory") {
            return Some((Version::One, path));
        }
        (number == "0" && controllers.is_empty()).then_some((Version::Two, path))
    });
    own.flat_map(|(version, path)| {
        let path = path.trim_matches('/');
        let above = std::iter::successors(Some(path), |path| {
            (!path.is_empty()).then(|| path.rsplit_once('/').map_or("", |(above, _)| above))
        });
        above.map(move |path| (version, path))
    })
}

/// What a process holds by itself, by its `/proc/self/status`, in bytes: what it allocated. Pages of its
/// program can be read again.
#[must_use]
pub fn own(status: &str) -> Option<u64> {
    let kibibytes = |name: &str| -> Option<u64> {
        let line = status.lines().find_map(|line| line.strip_prefix(name))?;
        line.split_ascii_whitespace().next()?.parse().ok()
    };
    Some((kibibytes("RssAnon:")?.saturating_add(kibibytes("RssShmem:")?)).saturating_mul(1024))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[track_caller]
    fn check(uses: &[u64], levels: &[Level]) {
        let mut level = Level::Calm;
        let seen: Vec<Level> = uses
            .iter()
            .map(|used| {
                level = level.next(Use { used: *used, limit: 1000 });
                level
            })
            .collect();
        assert_eq!(seen, levels);
    }

    #[test]
    fn each_level_begins_at_its_share_and_ends_a_little_below() {
        use Level::{
            AcceptsNothing as Nothing, Calm, ClosesIdle as Idle, RefusesRequests as Refuses,
        };
        check(&[919, 920, 949, 950, 979, 980], &[Calm, Idle, Idle, Refuses, Refuses, Nothing]);
        check(
            &[980, 960, 959, 930, 929, 900, 899],
            &[Nothing, Nothing, Refuses, Refuses, Idle, Idle, Calm],
        );
        check(&[990, 100, 990], &[Nothing, Calm, Nothing]);
    }

    #[test]
    fn groups_are_told_with_all_above_them() {
        let both = "5:cpu,memory:/a/b\n1:name=systemd:/x\n0::/c\n";
        let told: Vec<_> = groups(both).collect();
        let one = ["a/b", "a", ""].map(|path| (Version::One, path));
        assert_eq!(told, [&one[..], &[(Version::Two, "c"), (Version::Two, "")]].concat());
        assert_eq!(groups("0::/\n").collect::<Vec<_>>(), [(Version::Two, "")]);
        assert_eq!(groups("nonsense\n7:cpu:/a\n").count(), 0);
    }

    #[test]
    fn what_the_kernel_can_take_back_is_not_in_use() {
        let stat = "anon 300\nfile 500\nactive_file 200\ninactive_file 250\nfile_dirty 30\nfile_writeback 20\n";
        let used = Version::Two.used(["1000\n", "850\n", stat]);
        assert_eq!(used, Some(Use { used: 450, limit: 1000 }));
        assert_eq!(Version::Two.used(["max\n", "850\n", stat]), None);
        let stat = "active_file 9\ntotal_active_file 100\ntotal_inactive_file 50\ntotal_dirty 10\n";
        let used = Version::One.used(["1000\n", "850\n", stat]);
        assert_eq!(used, Some(Use { used: 710, limit: 1000 }));
        assert_eq!(Version::One.used(["9223372036854771712\n", "850\n", stat]), None);
        assert_eq!(Version::Two.used(["1000", "", ""]), None);
    }

    #[test]
    fn the_group_that_is_nearest_to_its_limit_counts() {
        let (own, above) = (Use { used: 90, limit: 100 }, Use { used: 95, limit: 200 });
        assert_eq!((own.tighter(above), above.tighter(own)), (own, own));
    }

    #[test]
    fn a_process_holds_what_it_allocated() {
        let status = "VmRSS:\t 9 kB\nRssAnon:\t  3 kB\nRssFile:\t 5 kB\nRssShmem:\t 1 kB\n";
        assert_eq!(own(status), Some(4096));
        assert_eq!(own("VmRSS:\t 9 kB\n"), None);
    }

    proptest! {
        #[test]
        fn more_use_is_never_a_lower_level(used in 0_u64..2000, more in 0_u64..500, from in 0_usize..4) {
            let from = [Level::Calm, Level::ClosesIdle, Level::RefusesRequests, Level::AcceptsNothing][from];
            let level = from.next(Use { used, limit: 1000 });
            let higher = from.next(Use { used: used + more, limit: 1000 });
            prop_assert!(level <= higher);
            // What a level was come to by holds it: a look at the same use changes nothing.
            prop_assert_eq!(level.next(Use { used, limit: 1000 }), level);
        }

        #[test]
        fn no_text_is_too_odd(text in ".{0,80}", stat in "([a-z_]{1,12} [0-9x]{1,22}\n){0,6}") {
            for version in [Version::One, Version::Two] {
                let _odd = version.used([&text, &text, &stat]);
                let used = version.used(["1000", "900", &stat]);
                prop_assert!(used.is_some_and(|used| used.used <= 900));
            }
            prop_assert!(groups(&text).count() <= 1000);
            let _odd = own(&text);
        }
    }
}
