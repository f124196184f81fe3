//! Developer commands: `cargo xtask ci`, `cargo xtask sim`, `cargo xtask mutants`,
//! `cargo xtask interop`, `cargo xtask loom`, `cargo xtask bench`, `cargo xtask fuzz`. Standard library only, so that they
//! build in a second.

mod bench;
mod failover;
mod fuzz;
mod interop;
mod mutants;
mod neighbour;
mod reload;
mod run;
mod scene;
mod sim;
mod soak;

use std::process::ExitCode;

const USAGE: &str = "\
usage: cargo xtask COMMAND
  ci                  what .ci/run calls: format, lints, docs, tests, simulation, benches run once
  sim [--seeds N]     core against its shadow model, 1000 seeds by default
  sim --seed S        one seed again; what breaks a law prints its history
  mutants [NAME]..    rules of core broken one at a time: the simulation must notice each
  interop [CASE]..    clients and attackers of other makers (needs python3, curl,
                      nghttp2-client, openssl, slowhttptest)
  loom                the atomics that decide, in every order that two threads can have
  bench [--rounds N]  CPU per request and latency beside nginx, one worker each (needs nginx, wrk)
  bench failover [--rounds N] [SCENARIO]..
                      what clients see of failing stamps, beside nginx and HAProxy (needs both)
  bench neighbour [SECONDS]
                      what twenty tenants see of one that asks 50 times its share, 10 s a run
  bench reload [SECONDS]
                      reloads of a million tenants under 5,000 requests a second, 20 s each half
  bench soak [MINUTES]
                      10,000 idle connections, 2,000 requests a second, slow clients and
                      reloads: what fails, grows or stays open within 10 minutes?
  bench upgrade       twenty upgrades under 1,000 requests a second: does a client notice?
  fuzz [SECONDS]      every fuzz target for so long each, 60 by default (needs cargo-fuzz, nightly)";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let done = match words.as_slice() {
        ["ci"] => run::ci(),
        ["bench"] => bench::run(bench::ROUNDS),
        ["bench", "--rounds", rounds] => match rounds.parse() {
            Ok(rounds) => bench::run(rounds),
            Err(_) => return usage(),
        },
        ["sim"] => sim::run_many(sim::SEEDS),
        ["sim", "--seeds", seeds] => match seeds.parse() {
            Ok(seeds) => sim::run_many(seeds),
            Err(_) => return usage(),
        },
        ["sim", "--seed", seed] => match seed.parse() {
            Ok(seed) => sim::run_one(seed),
            Err(_) => return usage(),
        },
        ["mutants", names @ ..] => mutants::run(names),
        ["interop", names @ ..] => interop::run_cases(names),
        ["loom"] => run::loom(),
        ["bench", "failover", "--rounds", rounds, names @ ..] => match rounds.parse() {
            Ok(rounds) => failover::run(rounds, names),
            Err(_) => return usage(),
        },
        ["bench", "failover", names @ ..] => failover::run(1, names),
        ["bench", "neighbour"] => neighbour::run(neighbour::SECONDS),
        ["bench", "neighbour", seconds] => match seconds.parse() {
            Ok(seconds) => neighbour::run(seconds),
            Err(_) => return usage(),
        },
        ["bench", "reload"] => reload::run(reload::SECONDS),
        ["bench", "reload", seconds] => match seconds.parse() {
            Ok(seconds) => reload::run(seconds),
            Err(_) => return usage(),
        },
        ["bench", "upgrade"] => soak::upgrades::run(),
        ["bench", "soak"] => soak::run(soak::MINUTES),
        ["bench", "soak", minutes] => match minutes.parse() {
            Ok(minutes) => soak::run(minutes),
            Err(_) => return usage(),
        },
        // Not for people: what `bench failover` starts as stamps.
        [failover::STAMP_COMMAND, name, port, log] => failover::serve_stamp(name, port, log),
        // Nor for people: what `bench reload` starts beside the gateway.
        [reload::WITNESS_COMMAND, seconds] => reload::look(seconds),
        ["fuzz"] => fuzz::run_all(60),
        ["fuzz", seconds] => match seconds.parse() {
            Ok(seconds) => fuzz::run_all(seconds),
            Err(_) => return usage(),
        },
        _ => return usage(),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            run::say(&format!("xtask: {error}"));
            ExitCode::FAILURE
        }
    }
}

fn usage() -> ExitCode {
    run::say(USAGE);
    ExitCode::from(2)
}
