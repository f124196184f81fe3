//! The effects of stampgate: sockets, files, clocks, metrics. Decisions are in `stamp-core`.

pub mod admin;
pub mod auth;
pub mod cli;
pub mod clock;
pub mod demo;
pub mod diagnostics;
pub mod disk;
pub mod gateway;
pub mod listen;
pub mod outbound;
pub mod proxy;
pub mod settings;
pub(crate) mod socket;
pub mod source;
pub mod state;
pub mod telemetry;
pub mod tls;
