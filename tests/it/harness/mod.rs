//! What every test stands on: a gateway process, fake stamps, a raw client, tokens, bounded waits.

pub mod client;
pub mod command;
pub mod crowd;
pub mod deadline;
pub mod door;
pub mod faults;
pub mod files;
pub mod gateway;
pub mod http1;
pub mod http2;
pub mod issuer;
pub mod metrics;
pub mod playing;
pub mod playing_h2;
pub mod process;
pub mod scene;
pub mod script;
pub mod stamp;
pub mod tls;
pub mod token;
