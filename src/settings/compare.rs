//! Which keys differ between two `Settings` and are not applied without a restart.

use super::{Live, Settings};

/// The keys that differ and need a restart, as they are named in gateway.toml.
#[must_use]
pub fn restart_keys(old: &Settings, new: &Settings) -> Vec<&'static str> {
    // Named one by one, so that a new field cannot be forgotten.
    let Settings { node_id, workers, listeners, routing, state_directory, admin, log_format, live } =
        new;
    let _applied: &Live = live;
    let differs = [
        ("node.id", *node_id != old.node_id),
        ("runtime.workers", *workers != old.workers),
        ("listener", *listeners != old.listeners),
        ("routing.file", routing.file != old.routing.file),
        ("routing.watch", routing.watch != old.routing.watch),
        ("routing.debounce", routing.debounce != old.routing.debounce),
        ("state.directory", *state_directory != old.state_directory),
        ("admin.bind", admin.bind != old.admin.bind),
        ("admin.unix_socket", admin.unix_socket != old.admin.unix_socket),
        ("admin.allowed_hosts", admin.allowed_hosts != old.admin.allowed_hosts),
        ("admin.audit_log", admin.audit_log != old.admin.audit_log),
        ("log.format", *log_format != old.log_format),
    ];
    differs.into_iter().filter(|(_, differs)| *differs).map(|(key, _)| key).collect()
}
