//! Waiting, always with an end: the only place of the suite that lets time pass.

use std::fmt::Debug;
use std::future::Future;
use std::time::Duration;

use tokio::time::Instant;

/// No wait of the suite takes longer than this: four times what the slowest took on a machine with
/// three times as much to do as it has cores.
pub const LONGEST: Duration = Duration::from_secs(90);
/// From one look to the next.
const STEP: Duration = Duration::from_millis(5);
/// Looks without a change after which something counts as settled.
const STILL_LOOKS: u32 = 60;

/// The result of `work`, or a failed test that says what it waited for.
pub async fn within<T>(what: &str, work: impl Future<Output = T>) -> T {
    match tokio::time::timeout(LONGEST, work).await {
        Ok(done) => done,
        Err(_) => panic!("waited {LONGEST:?} in vain: {what}"),
    }
}

/// Looks again and again until there is something to see.
pub async fn eventually<T>(what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let end = Instant::now() + LONGEST;
    loop {
        if let Some(found) = within(what, look()).await {
            return found;
        }
        assert!(Instant::now() < end, "waited {LONGEST:?} in vain: {what}");
        tokio::time::sleep(STEP).await;
    }
}

/// Looks until a value has stopped changing, and returns it.
pub async fn settled<T: PartialEq + Debug>(what: &str, mut look: impl AsyncFnMut() -> T) -> T {
    let end = Instant::now() + LONGEST;
    let mut last = look().await;
    let mut still = 0;
    while still < STILL_LOOKS {
        assert!(Instant::now() < end, "still changing after {LONGEST:?}: {what}, at {last:?}");
        tokio::time::sleep(STEP).await;
        let now = look().await;
        still = if now == last { still + 1 } else { 0 };
        last = now;
    }
    last
}

/// A clock tick for a load of so many a second.
pub fn ticks(a_second: u32) -> tokio::time::Interval {
    let mut interval = tokio::time::interval(Duration::from_secs(1) / a_second);
    interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Burst);
    interval
}

/// The same, where the first tick of each `number` comes at another time.
pub fn ticks_from(a_second: u32, number: usize) -> tokio::time::Interval {
    let mut interval = ticks(a_second);
    // Steps of about 0.618 of the period lie apart from each other, however many there are.
    let share = (u32::try_from(number).unwrap() * 618) % 1000;
    interval.reset_after(interval.period() * share / 1000);
    interval
}
