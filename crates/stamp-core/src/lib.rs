//! Every decision of stampgate, and no effect: no socket, no file, no clock, no thread, no chance
//! of its own. Time and chance are arguments. The shell (`stampgate`) asks and carries out.

pub mod admission;
pub mod balance;
pub mod breaker;
pub mod certificate;
pub mod claims;
pub mod closing;
pub mod clue;
pub mod diagnostic;
pub mod diff;
pub mod directory;
pub mod document;
pub mod drill;
pub mod explain;
pub mod failover;
#[cfg(test)]
mod fixture;
pub mod fleet;
pub mod forwarded;
pub mod framing;
pub mod grpc;
pub mod health;
pub mod host;
pub mod http2;
pub mod id;
pub mod identify;
pub mod jwks;
pub mod memory;
pub mod operator;
pub mod placement;
pub mod pressure;
pub mod proxy_protocol;
pub mod rate;
pub mod raw;
pub mod reach;
pub mod resolve;
pub mod retry;
pub mod silence;
pub mod standing;
pub mod table;
pub mod time;
pub mod websocket;
