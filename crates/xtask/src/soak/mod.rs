//! The soak: for minutes on end, a gateway holds 10,000 connections that ask nothing, answers 2,000
//! requests a second, suffers clients that are slow in every way and reads its table anew every few
//! seconds, right ones and wrong ones. Does anything fail, grow or stay open?

mod client;
mod gateway;
mod load;
mod slow;
mod stamp;
pub(crate) mod upgrades;
mod watch;

use std::error::Error;
use std::fs;
use std::net::TcpStream;
use std::time::{Duration, Instant};

use self::gateway::{Gateway, Verdict};
use self::load::{Counts, Load};
use self::watch::{Seen, drift_percent, mib};
use crate::failover::{now, sleep_until};
use crate::run::{Done, print, root, say};

/// How long it lasts, unless told otherwise.
pub(crate) const MINUTES: u32 = 10;
const IDLE_CONNECTIONS: usize = 10_000;
/// Requests a second.
const RATE: u32 = 2_000;
/// Slow clients of each kind at a time.
const SLOW_OF_EACH_KIND: usize = 16;
const RELOAD_EVERY: Duration = Duration::from_secs(3);
/// What the gateway allocates once, it has allocated after this share of the time.
const WARM_UP_SHARE: u32 = 5;
/// As many lines as fit on a page.
const LINES: u32 = 20;
/// The pool of the gateway gives idle connections up after 3 s; probes open one for a moment.
const SETTLING: Duration = Duration::from_secs(8);
/// After the end, everything is to be closed within this time.
const CLOSING: Duration = Duration::from_secs(60);
/// This program holds the client's end of each connection.
const FILES_MIN: u64 = 12_000;
/// What is promised.
const DRIFT_PERCENT_MAX: f64 = 3.0;
const RATE_SHARE_MIN: f64 = 0.95;

/// Soaks, prints what was seen, and fails where a promise was not kept.
pub(crate) fn run(minutes: u32) -> Done {
    let files = watch::own_file_limit()?;
    if files < FILES_MIN {
        return Err(format!("{files} files may be open, {FILES_MIN} are needed: ulimit -n").into());
    }
    let lasts = Duration::from_secs(60) * minutes.max(1);
    stamp::start()?;
    let gateway = Gateway::start(&root().join("target/soak"))?;
    let mut broken = Vec::new();

    // A first load of what is allocated once: threads, buffers, pools.
    Load { rate: RATE, lasts: Duration::from_secs(5) }.start().finish();
    let before = settled(&gateway)?;
    print(&format!("at rest: {} MiB, {} open files", mib(before.rss_kib), before.files));
    let mut idle = open_idle(&gateway, before)?;

    let began = now();
    let load = Load { rate: RATE, lasts }.start();
    let slow = slow::start(began + lasts)?;
    let seen = watch_and_reload(&gateway, began + lasts, load.counts())?;
    let counts = load.finish();
    broken.extend(slow.finish());

    broken.extend(counts.broken(RATE, lasts));
    let warm = seen.get(seen.len() / WARM_UP_SHARE as usize..).unwrap_or_default();
    let drift = drift_percent(warm);
    print(&format!("\nRSS drift after warm-up: {drift:+.2} %"));
    if drift.is_nan() || drift > DRIFT_PERCENT_MAX {
        broken.push(format!("the memory grew by {drift:.2} %"));
    }

    let asked = idle
        .iter_mut()
        .enumerate()
        .filter_map(|(number, socket)| client::ask(socket, number, client::Then::Keep).err());
    let lost: Vec<String> = asked.collect();
    print(&format!("of {} idle connections {} did not answer at the end", idle.len(), lost.len()));
    broken.extend(lost.first().map(|why| format!("idle connections were lost: {why}")));
    drop(idle);

    let after = closed(&gateway, before.files)?;
    print(&format!("at rest again: {} MiB, {} open files", mib(after.rss_kib), after.files));
    if after.files > before.files {
        broken.push(format!("{} files stayed open", after.files - before.files));
    }
    broken.extend(gateway.end()?);
    if broken.is_empty() { Ok(()) } else { Err(broken.join("; ").into()) }
}

/// What the gateway has when nobody asks anything.
fn settled(gateway: &Gateway) -> Result<Seen, Box<dyn Error>> {
    let until = now() + SETTLING;
    let mut least = watch::look(gateway.pid())?;
    while now() < until {
        sleep_until(now() + Duration::from_millis(250));
        let seen = watch::look(gateway.pid())?;
        least = Seen { files: least.files.min(seen.files), ..seen };
    }
    Ok(least)
}

/// Waits until no more files are open than before, at most for a bound.
fn closed(gateway: &Gateway, files_before: usize) -> Result<Seen, Box<dyn Error>> {
    let due = now() + CLOSING;
    loop {
        let seen = watch::look(gateway.pid())?;
        if seen.files <= files_before || now() >= due {
            return Ok(seen);
        }
        sleep_until(now() + Duration::from_millis(250));
    }
}

/// Opens the connections that ask once and are idle then.
fn open_idle(gateway: &Gateway, before: Seen) -> Result<Vec<TcpStream>, Box<dyn Error>> {
    let mut idle = Vec::with_capacity(IDLE_CONNECTIONS);
    for number in 0..IDLE_CONNECTIONS {
        let mut socket = client::connect()?;
        client::ask(&mut socket, number, client::Then::Keep)?;
        idle.push(socket);
    }
    sleep_until(now() + SETTLING);
    let after = watch::look(gateway.pid())?;
    let bytes = after.rss_kib.saturating_sub(before.rss_kib) * 1024 / IDLE_CONNECTIONS as u64;
    print(&format!(
        "{IDLE_CONNECTIONS} idle HTTP/1.1 connections: {} MiB, {bytes} bytes each\n",
        mib(after.rss_kib)
    ));
    Ok(idle)
}

/// Looks at the gateway every second and reloads its table every few, until then.
fn watch_and_reload(
    gateway: &Gateway,
    until: Instant,
    counts: &Counts,
) -> Result<Vec<Seen>, Box<dyn Error>> {
    let began = now();
    let line_every = until.saturating_duration_since(began) / LINES;
    let (mut next_line, mut next_reload) = (began, began + RELOAD_EVERY);
    let mut reloads = gateway::Reloads::default();
    let mut seen = Vec::new();
    print("| s | RSS MiB | open files | requests | errors | reloads | refused as they should be |");
    print("|---|---|---|---|---|---|---|");
    while now() < until {
        let one = watch::look(gateway.pid())?;
        seen.push(one);
        if now() >= next_line {
            next_line += line_every;
            let seconds = now().saturating_duration_since(began).as_secs();
            print(&format!(
                "| {seconds} | {} | {} | {} | {} | {} | {} |",
                mib(one.rss_kib),
                one.files,
                counts.requests(),
                counts.errors(),
                reloads.accepted,
                reloads.refused,
            ));
        }
        if now() >= next_reload {
            next_reload += RELOAD_EVERY;
            match gateway.reload(reloads.tried())? {
                Verdict::Accepted => reloads.accepted += 1,
                Verdict::Refused => reloads.refused += 1,
            }
        }
        sleep_until((now() + Duration::from_secs(1)).min(until));
    }
    say("the load ends; the last slow clients are waited for");
    Ok(seen)
}

/// The text of a file of `/proc`.
fn proc_file(path: &str) -> Result<String, Box<dyn Error>> {
    Ok(fs::read_to_string(path).map_err(|error| format!("{path}: {error}"))?)
}
