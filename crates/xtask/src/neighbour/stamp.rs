//! A stamp that works on so many requests at a time; the others wait for their turn, as in any
//! application with a pool of threads or of database connections.

use std::sync::{Condvar, Mutex, PoisonError};
use std::time::Duration;

use crate::failover::{now, sleep_until};
use crate::run::Done;
use crate::scene::{answer, serve};

pub(super) const PORT: u16 = 22_101;
/// Requests at a time: with `WORK` of 20 ms each, room for 1,600 a second.
const SLOTS: usize = 32;
const WORK: Duration = Duration::from_millis(20);

#[derive(Default)]
struct Slots {
    taken: Mutex<usize>,
    freed: Condvar,
}

impl Slots {
    fn work(&self) {
        let taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self.freed.wait_while(taken, |taken| *taken >= SLOTS);
        *waited.unwrap_or_else(PoisonError::into_inner) += 1;
        sleep_until(now() + WORK);
        *self.taken.lock().unwrap_or_else(PoisonError::into_inner) -= 1;
        self.freed.notify_one();
    }
}

/// Serves until the process ends.
pub(super) fn start() -> Done {
    let slots = Slots::default();
    serve(PORT, move |socket, request| {
        if !request.first_line.starts_with("GET /healthz ") {
            slots.work();
        }
        answer(socket, "ok")
    })
}
