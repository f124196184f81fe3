//! STUB
#![allow(missing_docs, dead_code)]
use std::sync::Arc;
use crate::state::State;
pub struct Parts<'a> { pub state: Arc<State>, pub reloader: Arc<crate::source::Reloader>, pub access_log: crate::telemetry::access_log::AccessLog, pub admissions: Arc<crate::listen::Admissions>, pub settings: &'a crate::settings::Settings }
#[derive(Clone)]
pub struct AdminState;
impl AdminState { pub fn new(_: Parts<'_>) -> Self { Self } }
pub async fn serve(_: Vec<std::net::TcpListener>, _: Option<std::path::PathBuf>, _: AdminState) {}
