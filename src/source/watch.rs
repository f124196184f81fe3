//! Notices when a file changes: the directories are watched (so that renames and symlink swaps
//! show), and the files' marks are compared now and then, in case a notice was lost.

use std::collections::BTreeSet;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use notify::{RecommendedWatcher, RecursiveMode, Watcher};
use tokio::sync::mpsc;

use super::{ReloadAsk, Reloader};

/// How often marks are compared when no notice came.
const POLL: Duration = Duration::from_secs(5);
/// How often where the system gives no notices.
const POLL_ALONE: Duration = Duration::from_secs(1);

/// Reloads whenever a file changed, until the process ends.
pub async fn run(reloader: Arc<Reloader>) {
    let (notices, mut noticed) = mpsc::channel(1);
    let mut watcher = watcher(notices.clone());
    let mut watched = BTreeSet::new();
    let (mut paths, mut settings) = reloader.watched().await;
    let mut marks = marks_of(&paths);
    let mut missed = reloader.has_missed_a_change().await;
    loop {
        follow(&mut watcher, &mut watched, &directories(&paths));
        if !missed {
            let pause = if watcher.is_some() { POLL } else { POLL_ALONE };
            drop(tokio::time::timeout(pause, noticed.recv()).await);
        }
        let now = settled(&paths, settings.routing.debounce).await;
        if (now != marks || missed) && settings.routing.watch {
            reloader.reload(ReloadAsk::default()).await;
        }
        // What was seen before the reload counts: a change meanwhile is seen the next time round.
        let before = std::mem::take(&mut paths);
        (paths, settings) = reloader.watched().await;
        let are_same = paths == before;
        marks = if are_same { now } else { marks_of(&paths) };
        missed = !are_same && reloader.has_missed_a_change().await;
    }
}

/// The marks once they have stood still for so long: an editor writes in several steps. Notices do
/// not count here: a log in the same directory gives them without end.
async fn settled(paths: &[PathBuf], debounce: Duration) -> Vec<Mark> {
    let mut last = marks_of(paths);
    loop {
        tokio::time::sleep(debounce).await;
        let now = marks_of(paths);
        if now == last {
            return now;
        }
        last = now;
    }
}

/// A watcher that says only that something happened; `None` where the system has none to give.
fn watcher(notices: mpsc::Sender<()>) -> Option<RecommendedWatcher> {
    let watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
        let only_read = event.is_ok_and(|event| event.kind.is_access());
        if !only_read {
            // Full means that a notice waits already.
            notices.try_send(()).ok();
        }
    });
    watcher.inspect_err(|error| tracing::warn!(%error, "files are polled, not watched")).ok()
}

fn follow(
    watcher: &mut Option<RecommendedWatcher>,
    watched: &mut BTreeSet<PathBuf>,
    wanted: &BTreeSet<PathBuf>,
) {
    let Some(watcher) = watcher else { return };
    for gone in watched.difference(wanted) {
        drop(watcher.unwatch(gone));
    }
    let mut kept = BTreeSet::new();
    for directory in wanted {
        let known = watched.contains(directory);
        if known || watcher.watch(directory, RecursiveMode::NonRecursive).is_ok() {
            kept.insert(directory.clone());
        }
    }
    *watched = kept;
}

/// The directories of the files, of what symlinks on the way point to, and of symlinked
/// directories themselves (Kubernetes swaps those).
fn directories(files: &[PathBuf]) -> BTreeSet<PathBuf> {
    let mut directories = BTreeSet::new();
    for file in files {
        let parent = parent(file);
        if parent.is_symlink() {
            directories.insert(self::parent(&parent));
        }
        directories.insert(parent);
        if let Ok(real) = file.canonicalize() {
            directories.insert(self::parent(&real));
        }
    }
    directories
}

fn parent(path: &Path) -> PathBuf {
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    parent.map_or_else(|| PathBuf::from("."), Path::to_owned)
}

/// What changes when a file does: device, inode, length, and the times of content and inode.
type Mark = Option<(u64, u64, u64, i64, i64, i64, i64)>;

fn marks_of(paths: &[PathBuf]) -> Vec<Mark> {
    let mark = |path: &PathBuf| {
        let it = std::fs::metadata(path).ok()?;
        Some((
            it.dev(),
            it.ino(),
            it.size(),
            it.mtime(),
            it.mtime_nsec(),
            it.ctime(),
            it.ctime_nsec(),
        ))
    };
    paths.iter().map(mark).collect()
}
