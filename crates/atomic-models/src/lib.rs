//! Models of the gateway's atomics that decide: how many are in flight, who makes the one trial, who
//! is paid a repeat. The files under test are those of `src/state/cells`, with the atomics of loom in
//! the place of the standard ones: it runs each model in every order that its threads can have, and
//! with every value that a load may then see. `cargo xtask loom` runs them.

#![cfg(test)]

mod atomic {
    pub(crate) use loom::sync::atomic::{AtomicU64, Ordering};
}

#[path = "../../../src/state/cells/gauge.rs"]
mod gauge;
#[path = "../../../src/state/cells/purse.rs"]
mod purse;
#[path = "../../../src/state/cells/turnstile.rs"]
mod turnstile;

mod in_flight;
mod repeats;
mod trials;
