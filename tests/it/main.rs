//! The promises of the contract, each tried on the real program over real sockets. Every module
//! is one chapter of the contract; `harness` is what they stand on.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stderr,
    unreachable_pub,
    reason = "a test fails by panicking and says why on stderr; nothing here is a public interface"
)]

mod harness;

mod admin;
mod bodies;
mod chaos;
mod chaos_breakers;
mod chaos_bulkheads;
mod chaos_http2;
mod chaos_partial;
mod chaos_statuses;
mod chaos_tls;
mod client_address;
mod command_line;
mod configuration_files;
mod connections;
mod corpus;
mod demonstration;
mod directory;
mod downstream_tls;
mod downstream_tls_files;
mod downstream_tls_gate;
mod drain;
mod drain_closing;
mod drain_commands;
mod drain_progress;
mod drill;
mod events;
mod explain;
mod explain_and_serve;
mod failback;
mod failover;
mod fake_stamp;
mod forwarding;
mod gives_way;
mod grpc;
mod health;
mod hostile_stamps;
mod http2;
mod http2_abuse;
mod http2_conformance;
mod http2_conformance_messages;
mod http2_early;
mod http2_hygiene;
mod http2_tls;
mod http2_websocket;
mod identity;
mod idle_memory;
mod issuers;
mod last_request;
mod limits;
mod limits_http2;
mod load;
mod memory;
mod proxy_protocol;
mod reload;
mod reload_refused;
mod repeats;
mod room;
mod shutdown;
mod silence;
mod slow_readers;
mod small_bodies;
mod supervised;
mod systemd;
mod tiers;
mod timeouts;
mod token_places;
mod tokens;
mod upgrade;
mod upstream_http2;
mod upstream_http2_frames;
mod upstream_http2_websocket;
mod upstream_tls;
