//! The effects of stampgate: sockets, files, clocks, metrics. Decisions are in `stamp-core`.

pub mod diagnostics;
pub mod settings;
