//! What the process tells about itself: metrics, access log, log lines.

pub mod access_log;
pub mod histogram;
pub mod log;
pub mod metrics;
pub mod worker;
