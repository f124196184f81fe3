//! What becomes of a table that is no longer in force: it is freed where that delays no request.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinHandle;

use super::view::View;

/// How often it is looked whether anybody still holds a former table.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Frees the table of a View that no worker takes for its next request any more.
///
/// Requests and tunnels hold the View that they began with, and they end at a worker: if the last of
/// them held the table alone, it would free a million tenants while all others of its worker wait.
pub(super) async fn free(view: Arc<View>) {
    let index = view.tenants.retire();
    let table = Arc::clone(&view.table);
    // A View without its table is small: whoever holds it last may free it.
    drop(view);
    let freed = free_once_unheld(index, LOOK_EVERY).await;
    drop(freed.await);
    let freed = free_once_unheld(table, LOOK_EVERY).await;
    drop(freed.await);
}

/// Waits until nobody else holds `held`, and frees it on a blocking thread. As long as it is held
/// here, nobody else is the last.
async fn free_once_unheld<T>(held: Arc<T>, look_every: Duration) -> JoinHandle<()>
where
    T: Send + Sync + 'static,
{
    // Who holds it not by now cannot get it: it is published no more.
    while Arc::strong_count(&held) > 1 {
        tokio::time::sleep(look_every).await;
    }
    tokio::task::spawn_blocking(move || drop(held))
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::thread::{self, ThreadId};

    use super::*;

    /// Tells by which thread it was freed.
    struct Large(mpsc::Sender<ThreadId>);

    impl Drop for Large {
        fn drop(&mut self) {
            self.0.send(thread::current().id()).unwrap();
        }
    }

    /// Lets a worker be the last but one to hold it; where was it freed?
    async fn freed_beside(worker: impl FnOnce(Arc<Large>) -> ThreadId + Send + 'static) {
        let (sender, freed) = mpsc::channel();
        let held = Arc::new(Large(sender));
        let at_worker = Arc::clone(&held);
        let freeing = tokio::spawn(free_once_unheld(held, Duration::from_millis(1)));
        let worker = thread::spawn(move || worker(at_worker)).join().unwrap();
        freeing.await.unwrap().await.unwrap();
        let by = freed.recv().unwrap();
        assert_ne!(by, worker);
        assert_ne!(by, thread::current().id(), "nor by the control thread");
    }

    #[tokio::test]
    async fn a_worker_that_holds_a_table_last_does_not_free_it() {
        freed_beside(|held| {
            drop(held);
            thread::current().id()
        })
        .await;
    }

    #[tokio::test]
    async fn a_table_that_is_held_is_not_freed() {
        let (sender, freed) = mpsc::channel();
        let held = Arc::new(Large(sender));
        let of_a_tunnel = Arc::clone(&held);
        let freeing = free_once_unheld(held, Duration::from_millis(1));
        let in_time = tokio::time::timeout(Duration::from_millis(20), freeing);
        assert!(in_time.await.is_err(), "it waits");
        // The wait is over, not the tunnel: only what it holds is left.
        assert!(freed.try_recv().is_err());
        drop(of_a_tunnel);
        assert!(freed.try_recv().is_ok());
    }
}
