//! Reloads of a million tenants under load: a gateway before two stamps is asked 5,000 times a second
//! in an open loop, first in quiet, then while one table after the other is put in force: one row
//! changed, a tenth of all rows changed. What do clients see, and for how long does a worker stand
//! still? That the gateway tells itself (`stampgate_worker_lag_seconds`).

mod gateway;
mod histogram;
mod load;
mod stamp;
mod tables;
mod witness;

use std::time::{Duration, Instant};

use self::histogram::{Histogram, side_by_side};
use self::load::{Answers, Load};
use self::tables::Tables;
use self::witness::Witness;
use crate::failover::{now, sleep_until};
use crate::run::{Done, print, root, say};

pub(crate) use self::witness::{COMMAND as WITNESS_COMMAND, look};

/// How long each half lasts, unless told otherwise.
pub(crate) const SECONDS: u32 = 20;
/// Requests a second.
const RATE: u32 = 5_000;
/// Before anything is measured, connections are made, and the stamps are known to be well.
const WARM_UP_SECONDS: u32 = 3;
/// After a reload the old table is freed: that belongs to it.
const BETWEEN_RELOADS: Duration = Duration::from_millis(1200);
/// A worker looks so often how late it is.
const LOOK_MS: f64 = 10.0;
/// What is promised.
const PAUSE_MS_MAX: f64 = 20.0;

/// What was seen of one half.
struct Half {
    answers: Answers,
    /// How late workers were.
    lag: Histogram,
    /// How late the machine itself was.
    machine: Histogram,
}

/// One reload, as the admin API told it.
struct Reload {
    changed: &'static str,
    moved: usize,
    took: Duration,
}

/// Measures both halves and prints them side by side; fails where the promise was not kept.
pub(crate) fn run(seconds: u32) -> Done {
    stamp::start()?;
    let mut tables = Tables::write(&root().join("target/reload"))?;
    let _gateway = gateway::start(&tables)?;
    say("the gateway serves a million tenants");
    Load { began: now(), rate: RATE, seconds: WARM_UP_SECONDS }.start().finish();

    say("quiet");
    let quiet = half(seconds, |_until| Ok(()))?;
    say("reloading");
    let mut reloads = Vec::new();
    let busy = half(seconds, |until| {
        while now() + BETWEEN_RELOADS < until {
            let changed = tables.change()?;
            let began = now();
            let moved = gateway::reload()?;
            let took = now().saturating_duration_since(began);
            reloads.push(Reload { changed, moved, took });
            sleep_until((now() + BETWEEN_RELOADS).min(until));
        }
        Ok(())
    })?;
    tell(&quiet.answers, &busy.answers, &reloads);
    print("\nHow late a worker looked at what was due, in ms; it looks every 10 ms:\n");
    print(&side_by_side(&quiet.lag, &busy.lag));
    print("\nThe same of a program before all others that does nothing: the machine itself:\n");
    print(&side_by_side(&quiet.machine, &busy.machine));
    verdict(&quiet, &busy, &reloads)
}

/// So long under load, and what is done meanwhile.
fn half(
    seconds: u32,
    meanwhile: impl FnOnce(Instant) -> Done,
) -> Result<Half, Box<dyn std::error::Error>> {
    let witness = Witness::start(seconds)?;
    let before = gateway::lag()?;
    let began = now() + Duration::from_millis(100);
    let load = Load { began, rate: RATE, seconds }.start();
    meanwhile(began + Duration::from_secs(seconds.into()))?;
    let answers = load.finish();
    let lag = gateway::lag()?.since(&before);
    Ok(Half { answers, lag, machine: witness.finish()? })
}

fn tell(quiet: &Answers, busy: &Answers, reloads: &[Reload]) {
    print("| | requests | errors | p50 ms | p99 ms | p99.9 ms | max ms | client late, p99.9 ms |");
    print("|---|---|---|---|---|---|---|---|");
    for (name, answers) in [("quiet", quiet), ("reloading", busy)] {
        print(&format!(
            "| {name} | {} | {} | {:.2} | {:.2} | {:.2} | {:.2} | {:.2} |",
            answers.latency.count(),
            answers.errors(),
            answers.latency_ms(500),
            answers.latency_ms(990),
            answers.latency_ms(999),
            answers.latency_ms(1000),
            answers.late_ms(999),
        ));
    }
    for changed in tables::CHANGES {
        let took = reloads.iter().filter(|reload| reload.changed == changed);
        let mut took: Vec<f64> = took.map(|reload| reload.took.as_secs_f64() * 1e3).collect();
        took.sort_by(f64::total_cmp);
        let (Some(least), Some(most)) = (took.first(), took.last()) else { continue };
        let moved = reloads.iter().find(|it| it.changed == changed).map_or(0, |it| it.moved);
        let count = took.len();
        print(&format!("\n{count} reloads, {changed} ({moved} moved): {least:.0} to {most:.0} ms"));
    }
    print("\nLatency from the time at which a request was due, in ms:\n");
    print(&side_by_side(&quiet.latency, &busy.latency));
}

fn verdict(quiet: &Half, busy: &Half, reloads: &[Reload]) -> Done {
    let errors = quiet.answers.errors() + busy.answers.errors();
    let [quiet_ms, busy_ms, machine_ms] =
        [&quiet.lag, &busy.lag, &busy.machine].map(|late| late.most_ms() + LOOK_MS);
    print(&format!(
        "no worker stood still for more than {quiet_ms} ms in quiet, {busy_ms} ms while reloading; \
         the machine itself did for up to {machine_ms} ms"
    ));
    if errors > 0 {
        return Err(format!("{errors} requests failed").into());
    }
    if reloads.len() < 4 || reloads.iter().any(|reload| reload.moved == 0) {
        return Err("too few reloads changed anything".into());
    }
    if busy_ms <= PAUSE_MS_MAX {
        return Ok(());
    }
    if busy_ms <= quiet_ms.max(machine_ms) {
        return Err("this machine pauses by itself for as long: measure on a quiet one".into());
    }
    Err(format!("a worker may have stood still for more than {PAUSE_MS_MAX} ms").into())
}
