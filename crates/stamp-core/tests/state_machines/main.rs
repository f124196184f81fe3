//! The breaker and the operator's orders beside models of themselves, event by event: what fails is
//! shrunk to the shortest story that breaks it.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod breaker;
mod operator;
