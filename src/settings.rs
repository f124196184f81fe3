//! STUB
#![allow(missing_docs, dead_code)]
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;
#[derive(Clone, Debug, PartialEq)]
pub struct Settings { pub node_id: String, pub workers: usize, pub listeners: Vec<ListenerSettings>, pub live: Live, pub state_directory: PathBuf, pub routing_file: PathBuf, pub admin: Admin, pub log_format: LogFormat }
#[derive(Clone, Debug, PartialEq)]
pub struct ListenerSettings { pub name: String, pub bind: Vec<SocketAddr>, pub max_connections: u32 }
#[derive(Clone, Debug, PartialEq)]
pub struct Admin { pub bind: SocketAddr, pub unix_socket: Option<PathBuf> }
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum LogFormat { Auto, Pretty, Json }
#[derive(Clone, Debug, PartialEq)]
pub struct Live { pub trust: Trust, pub limits: Limits, pub timeouts: Timeouts, pub access_log: AccessLogSettings, pub shutdown: Shutdown, pub log_level: String, pub guard_max_tenant_moves: u32, pub debounce: Duration, pub watch: bool }
#[derive(Clone, Debug, PartialEq)]
pub struct Trust;
impl Trust { pub fn is_trusted(&self, _: IpAddr) -> bool { false } }
#[derive(Clone, Debug, PartialEq)]
pub struct Limits { pub header_bytes: usize, pub header_count: usize, pub uri_bytes: usize, pub request_body_bytes: u64, pub in_flight_requests: u32, pub min_bytes_per_second: u64, pub connections_per_client: u32 }
#[derive(Clone, Debug, PartialEq)]
pub struct Timeouts { pub first_byte: Duration, pub request_headers: Duration, pub request_body_idle: Duration, pub downstream_idle: Duration, pub connect: Duration, pub response_headers: Duration, pub response_body_idle: Duration, pub request_total: Duration }
#[derive(Clone, Debug, PartialEq)]
pub struct AccessLogSettings { pub enabled: bool, pub path: Option<PathBuf>, pub sample: f64 }
#[derive(Clone, Debug, PartialEq)]
pub struct Shutdown { pub delay: Duration, pub deadline: Duration }
impl Settings { pub fn restart_keys_changed(&self, _: &Self) -> Vec<String> { vec![] } }
pub fn load(_: stamp_core::diagnostic::SourceText, _: impl Iterator<Item=(String,String)>) -> Result<Settings, stamp_core::table::Rejected> { todo!() }
