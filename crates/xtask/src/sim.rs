//! The simulation of `stamp-core` against its shadow model, optimised but with every assertion.

use crate::run::{Done, run};

/// How many seeds the gate tries.
pub(crate) const SEEDS: u64 = 1000;

/// Runs so many seeds, from 0 on.
pub(crate) fn run_many(seeds: u64) -> Done {
    simulate("STAMPGATE_SIM_SEEDS", seeds)
}

/// Runs one seed.
pub(crate) fn run_one(seed: u64) -> Done {
    simulate("STAMPGATE_SIM_SEED", seed)
}

fn simulate(name: &str, number: u64) -> Done {
    let arguments = ["test", "--locked", "--profile", "sim", "-p", "stamp-core", "--test", "sim"];
    let arguments = [&arguments[..], &["--", "--nocapture"]].concat();
    run("cargo", &arguments, &[(name, &number.to_string())])
}
