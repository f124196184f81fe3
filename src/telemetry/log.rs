//! The application log: standard error, pretty on a terminal and JSON elsewhere.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::reload::{self, Handle};
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Registry, fmt};

use crate::settings::{LogFormat, LogLevel};

/// Changes the level of the running log.
#[derive(Clone, Debug)]
pub struct Level(Handle<EnvFilter, Registry>);

/// Starts the log of this process. Does nothing where one was started before (tests).
pub fn start(level: LogLevel, format: LogFormat) -> Level {
    let (filter, handle) = reload::Layer::new(filter(level));
    let pretty = match format {
        LogFormat::Auto => std::io::stderr().is_terminal(),
        LogFormat::Pretty => true,
        LogFormat::Json => false,
    };
    let registry = tracing_subscriber::registry().with(filter);
    let layer = fmt::layer().with_writer(std::io::stderr).with_target(false);
    let started = if pretty {
        registry.with(layer).try_init()
    } else {
        registry.with(layer.json().flatten_event(true)).try_init()
    };
    drop(started);
    Level(handle)
}

impl Level {
    /// From now on this level.
    pub fn set(&self, level: LogLevel) {
        drop(self.0.reload(filter(level)));
    }
}

/// The level for this program's own lines; libraries only warn, and rustls and h2 not even that: what
/// they warn of is what peers do, who could fill the log.
fn filter(level: LogLevel) -> EnvFilter {
    EnvFilter::new(format!("warn,rustls=off,h2=off,stampgate={0},stamp_core={0}", level.as_str()))
}
