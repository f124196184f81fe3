//! The simulation: core driven by seeded stamps, requests, faults, reloads, drains and clocks, and
//! watched by a model of its own. `cargo xtask sim --seeds N` runs many seeds, `--seed S` one again.
#![expect(
    clippy::fn_params_excessive_bools,
    clippy::struct_excessive_bools,
    reason = "what a machine or a model is or is not, in its own words"
)]
#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_precision_loss,
    reason = "a test fails by panicking, and says what it tried"
)]

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};

use shadow::Counts;
use world::History;

mod gateway;
mod machines;
mod plan;
mod requests;
mod shadow;
mod story;
mod world;

/// How many seeds `cargo test` tries.
const SEEDS: u64 = 40;
/// So many see everything happen.
const TELLING_SEEDS: u64 = 500;

fn variable(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name} is no number: {text}")))
}

/// Runs a seed; a panic of core is a broken law too.
fn run(seed: u64, history: &History) -> Result<Counts, String> {
    let told = history.clone();
    catch_unwind(AssertUnwindSafe(|| story::run(seed, told))).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
        Err(format!("panicked: {}", text.unwrap_or("with no text")))
    })
}

/// Runs a seed once more with its history kept, and tells all of it.
fn explain(seed: u64) -> ! {
    let history = History::kept();
    let broken = run(seed, &history).err().unwrap_or_else(|| "not broken when run again".into());
    panic!(
        "{}\nseed {seed}: {broken}\nreplay with: cargo xtask sim --seed {seed}\n",
        history.text()
    );
}

#[test]
fn every_law_holds_for_every_seed() {
    if let Some(seed) = variable("STAMPGATE_SIM_SEED") {
        if run(seed, &History::default()).is_err() {
            explain(seed);
        }
        return;
    }
    let seeds = variable("STAMPGATE_SIM_SEEDS").unwrap_or(SEEDS);
    let (next, broken) = (AtomicU64::new(0), AtomicU64::new(u64::MAX));
    let workers = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let work = || {
        let mut all = Counts::default();
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= seeds || broken.load(Ordering::Relaxed) < seed {
                return all;
            }
            match run(seed, &History::default()) {
                Ok(counts) => all.add(counts),
                Err(_) => drop(broken.fetch_min(seed, Ordering::Relaxed)),
            }
        }
    };
    let mut all = Counts::default();
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..workers).map(|_| scope.spawn(work)).collect();
        for thread in threads {
            all.add(thread.join().unwrap());
        }
    });
    let broken = broken.into_inner();
    if broken < u64::MAX {
        explain(broken);
    }
    println!("{seeds} seeds: {all:?}");
    // A simulation in which nothing happens proves nothing; few seeds need not see it all.
    if seeds >= TELLING_SEEDS {
        assert!(all.is_telling(), "too little happened: {all:?}");
    }
}
