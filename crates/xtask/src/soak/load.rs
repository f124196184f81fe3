//! Requests at a fixed rate, whatever becomes of those before (open loop), over connections that are
//! kept for a while.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::RATE_SHARE_MIN;
use super::client::{self, Then};
use crate::failover::{now, sleep_until};

const CONNECTIONS: u64 = 96;
/// A connection is closed and opened anew after so many requests.
const REQUESTS_A_CONNECTION: u64 = 500;
const STACK_BYTES: usize = 128 * 1024;
/// So many errors are told in full.
const TOLD_MAX: usize = 5;

/// What is asked.
#[derive(Clone, Copy, Debug)]
pub(super) struct Load {
    /// Requests a second.
    pub(super) rate: u32,
    pub(super) lasts: Duration,
}

/// What became of it so far.
#[derive(Debug, Default)]
pub(super) struct Counts {
    next: AtomicU64,
    requests: AtomicU64,
    errors: AtomicU64,
    told: Mutex<Vec<String>>,
}

/// Threads that ask.
pub(super) struct Threads {
    counts: Arc<Counts>,
    threads: Vec<JoinHandle<()>>,
}

impl Load {
    pub(super) fn start(self) -> Threads {
        let counts = Arc::new(Counts::default());
        let began = now();
        let threads = (0..CONNECTIONS).filter_map(|_| {
            let counts = Arc::clone(&counts);
            let thread = thread::Builder::new().stack_size(STACK_BYTES);
            thread.spawn(move || self.ask_all(began, &counts)).ok()
        });
        let threads = threads.collect();
        Threads { counts, threads }
    }

    fn ask_all(self, began: Instant, counts: &Counts) {
        let (mut kept, mut asked) = (None, 0);
        loop {
            let number = counts.next.fetch_add(1, Ordering::Relaxed);
            let after = Duration::from_secs(1).mul_f64(number as f64 / f64::from(self.rate));
            if after >= self.lasts {
                return;
            }
            sleep_until(began + after);
            asked += 1;
            let then = if asked % REQUESTS_A_CONNECTION == 0 { Then::Close } else { Then::Keep };
            let socket = kept.take().map_or_else(client::connect, Ok);
            let answered = socket.and_then(|mut socket| {
                let tenant = usize::try_from(number).unwrap_or_default();
                Ok((client::ask(&mut socket, tenant, then)?, socket))
            });
            counts.requests.fetch_add(1, Ordering::Relaxed);
            match answered {
                Ok((Then::Keep, socket)) => kept = Some(socket),
                Ok((Then::Close, _)) => {}
                Err(why) => counts.failed(why),
            }
        }
    }
}

impl Threads {
    pub(super) fn counts(&self) -> &Counts {
        &self.counts
    }

    pub(super) fn finish(self) -> Arc<Counts> {
        for thread in self.threads {
            if thread.join().is_err() {
                self.counts.failed("a client panicked".to_owned());
            }
        }
        self.counts
    }
}

impl Counts {
    fn failed(&self, why: String) {
        self.errors.fetch_add(1, Ordering::Relaxed);
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        if told.len() < TOLD_MAX {
            told.push(why);
        }
    }

    pub(super) fn requests(&self) -> u64 {
        self.requests.load(Ordering::Relaxed)
    }

    pub(super) fn errors(&self) -> u64 {
        self.errors.load(Ordering::Relaxed)
    }

    /// Which promises were not kept.
    pub(super) fn broken(&self, rate: u32, lasts: Duration) -> Vec<String> {
        let mut broken = Vec::new();
        if self.errors() > 0 {
            let told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
            broken.push(format!("{} requests failed: {}", self.errors(), told.join(", ")));
        }
        let wanted = f64::from(rate) * lasts.as_secs_f64();
        if (self.requests() as f64) < wanted * RATE_SHARE_MIN {
            broken.push(format!("only {} requests were asked of {wanted}", self.requests()));
        }
        broken
    }
}
