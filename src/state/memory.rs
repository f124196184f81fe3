//! Looks how much memory is in use, off the request path, and tells the workers what to give up for it
//! (`stamp_core::memory`).

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use stamp_core::memory::{self, Level, Use, Version};
use tokio::time::MissedTickBehavior;

use super::State;
use crate::settings::MemoryLimit;

/// How often it is looked: what memory can grow by meanwhile must fit between two levels.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// What is known of memory.
#[derive(Clone, Copy, Debug, Default)]
pub struct Memory {
    /// What is given up for it.
    pub level: Level,
    /// `None` = there is no limit.
    pub now: Option<Use>,
}

/// Looks until the process ends.
pub async fn watch_memory(state: Arc<State>) {
    let files = Files { root: PathBuf::from("/") };
    let mut look = tokio::time::interval(LOOK_EVERY);
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        look.tick().await;
        let limit = state.view().live.limits.memory;
        state.note_memory(files.look(limit));
    }
}

impl State {
    /// What is known of memory.
    #[must_use]
    pub fn memory(&self) -> Memory {
        *self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes what is in use, and tells of a level that changes.
    fn note_memory(&self, now: Option<Use>) {
        let was = self.memory().level;
        let level = now.map_or(Level::Calm, |now| was.next(now));
        *self.memory.lock().unwrap_or_else(PoisonError::into_inner) = Memory { level, now };
        if level == was {
            return;
        }
        let (from, to) = (was.as_str(), level.as_str());
        let (used, limit) = now.map_or((0, 0), |now| (now.used, now.limit));
        if level > was {
            tracing::warn!(from, to, used, limit, "memory is short");
        } else {
            tracing::info!(from, to, used, limit, "memory is less short");
        }
        self.mailboxes.tell_memory(level);
    }
}

/// The kernel's files.
struct Files {
    root: PathBuf,
}

impl Files {
    fn look(&self, limit: MemoryLimit) -> Option<Use> {
        match limit {
            MemoryLimit::Off => None,
            MemoryLimit::Bytes(limit) => {
                let used = memory::own(&self.read("proc/self/status")?)?;
                Some(Use { used, limit: limit.get() })
            }
            MemoryLimit::Auto => {
                let own = self.read("proc/self/cgroup")?;
                let bounded = memory::groups(&own).filter_map(|(version, group)| {
                    mounts(version).iter().find_map(|mount| {
                        let place = Path::new(mount).join(group);
                        let [limit, usage, stat] =
                            version.files().map(|file| self.read(place.join(file)));
                        version.used([&limit?, &usage?, &stat?])
                    })
                });
                bounded.reduce(Use::tighter)
            }
        }
    }

    fn read(&self, path: impl AsRef<Path>) -> Option<String> {
        fs::read_to_string(self.root.join(path)).ok()
    }
}

/// Where systemd and container runtimes mount a hierarchy.
const fn mounts(version: Version) -> &'static [&'static str] {
    match version {
        Version::One => &["sys/fs/cgroup/memory"],
        Version::Two => &["sys/fs/cgroup", "sys/fs/cgroup/unified"],
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU64;

    use super::*;

    /// Files of a machine that is not this one.
    fn files(written: &[(&str, &str)]) -> (tempfile::TempDir, Files) {
        let root = tempfile::tempdir().unwrap();
        for (path, text) in written {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        let files = Files { root: root.path().to_owned() };
        (root, files)
    }

    #[test]
    fn the_tightest_of_all_groups_above_is_the_limit() {
        let (_root, files) = files(&[
            ("proc/self/cgroup", "0::/pods/one\n"),
            ("sys/fs/cgroup/pods/one/memory.max", "max\n"),
            ("sys/fs/cgroup/pods/one/memory.current", "700\n"),
            ("sys/fs/cgroup/pods/one/memory.stat", "inactive_file 10\n"),
            ("sys/fs/cgroup/pods/memory.max", "1000\n"),
            ("sys/fs/cgroup/pods/memory.current", "800\n"),
            ("sys/fs/cgroup/pods/memory.stat", "inactive_file 50\n"),
        ]);
        assert_eq!(files.look(MemoryLimit::Auto), Some(Use { used: 750, limit: 1000 }));
        assert_eq!(files.look(MemoryLimit::Off), None);
    }

    #[test]
    fn in_a_container_the_mount_itself_is_the_group() {
        let (_root, files) = files(&[
            ("proc/self/cgroup", "9:memory:/docker/abc\n0::/docker/abc\n"),
            ("sys/fs/cgroup/memory/memory.limit_in_bytes", "1000\n"),
            ("sys/fs/cgroup/memory/memory.usage_in_bytes", "800\n"),
            ("sys/fs/cgroup/memory/memory.stat", "total_inactive_file 100\n"),
        ]);
        assert_eq!(files.look(MemoryLimit::Auto), Some(Use { used: 700, limit: 1000 }));
    }

    #[test]
    fn without_groups_there_is_no_limit_and_one_that_is_written_is_of_this_process() {
        let (_root, none) = files(&[("proc/self/cgroup", "0::/\n")]);
        assert_eq!(none.look(MemoryLimit::Auto), None);
        let limit = NonZeroU64::new(1 << 40).unwrap();
        assert_eq!(none.look(MemoryLimit::Bytes(limit)), None);
        let this = Files { root: "/".into() };
        let now = this.look(MemoryLimit::Bytes(limit)).unwrap();
        assert!(now.used > 100_000 && now.limit == 1 << 40, "{now:?}");
    }
}
