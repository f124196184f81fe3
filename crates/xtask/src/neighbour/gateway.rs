//! The gateway before the stamp, as a process of its own, ended by pid when dropped.

use std::error::Error;
use std::fmt::Write as _;
use std::path::Path;

use super::{NEIGHBOURS, stamp};
use crate::scene::{Gateway, empty};

pub(super) const PORT: u16 = 22_110;
const ADMIN_PORT: u16 = 22_111;

/// Starts it with these keys of `[tier.standard]`, and waits until it listens.
pub(super) fn start(directory: &Path, tier: &str) -> Result<Gateway, Box<dyn Error>> {
    empty(directory)?;
    Gateway::start(directory, (&gateway_toml(), &routing_toml(tier)?), PORT)
}

fn gateway_toml() -> String {
    format!(
        "version = 1\n[node]\nid = \"bench\"\n[runtime]\nworkers = 2\n\
         [[listener]]\nname = \"public\"\nbind = \"127.0.0.1:{PORT}\"\n\
         [admin]\nbind = \"127.0.0.1:{ADMIN_PORT}\"\n[access_log]\nenabled = false\n"
    )
}

fn routing_toml(tier: &str) -> Result<String, std::fmt::Error> {
    let stamp = stamp::PORT;
    let mut text = format!(
        "version = 1\n[identity.host]\npatterns = [\"{{tenant}}.app.example.com\"]\n\
         [defaults.stamp]\nhealth = {{ path = \"/healthz\" }}\npool = {{ max_connections = 512 }}\n\
         [[stamp]]\nid = \"a\"\nendpoints = [{{ url = \"http://127.0.0.1:{stamp}\" }}]\n\
         [tier.standard]\n{tier}[tenants]\n"
    );
    for number in 0..=NEIGHBOURS {
        writeln!(text, "t{number} = \"a\"")?;
    }
    Ok(text)
}
