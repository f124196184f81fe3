//! The thread that a table is loaded by. It has less weight than the workers: where there is no core
//! to spare, requests go first and the reload takes longer.

use std::io;
use std::thread;

use tokio::sync::oneshot;

/// Added to the nice value of the process: a tenth of a worker's weight (sched(7)), so that a reload
/// comes to its end also where the workers are never idle.
const NICE: i32 = 10;

/// Why a load did not come to its end.
#[derive(Debug, thiserror::Error)]
pub(super) enum LoaderError {
    /// The system has no thread for it.
    #[error("a thread to load by cannot be started")]
    NoThread(#[source] io::Error),
    /// A bug.
    #[error("loading panicked")]
    Panicked,
}

/// Does `work` on a thread of its own.
pub(super) async fn run<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, LoaderError> {
    let (reply, done) = oneshot::channel();
    let thread = thread::Builder::new().name("loader".into());
    let started = thread.spawn(move || {
        // Of this thread alone, and never to be taken back: so it is not one of a pool.
        if let Err(error) = rustix::process::nice(NICE) {
            tracing::debug!(%error, "the loader has the weight of a worker");
        }
        reply.send(work()).ok();
    });
    started.map_err(LoaderError::NoThread)?;
    done.await.map_err(|_gone| LoaderError::Panicked)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn own_nice() -> i32 {
        rustix::process::getpriority_process(None).unwrap()
    }

    #[tokio::test]
    async fn what_is_loaded_comes_back_from_a_thread_of_less_weight() {
        let before = own_nice();
        let there = run(own_nice).await.unwrap();
        assert_eq!(there, (before + NICE).min(19));
        assert_eq!(own_nice(), before, "this thread has the weight that it had");
    }

    #[tokio::test]
    async fn a_panic_is_an_error() {
        let ended = run(|| panic!("a bug")).await;
        assert!(matches!(ended, Err(LoaderError::Panicked)));
    }
}
