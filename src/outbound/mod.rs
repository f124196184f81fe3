//! The way to the stamps: connections, their pools, and the probes. Knows nothing of tenants.

pub mod answer;
mod answer_gate;
pub mod body;
pub mod exchange;
pub mod http2;
pub mod link;
pub mod pool;
pub mod probe;
pub mod resolve;
mod stream;
pub mod websocket;
