//! The gateway before the stamps, as a process of its own, ended by pid when dropped; and what its
//! admin plane is asked.

use std::error::Error;

use super::histogram::Histogram;
use super::stamp::STAMPS;
use super::tables::Tables;
use crate::scene::{self, Gateway};

pub(super) const PORT: u16 = 22_210;
const ADMIN_PORT: u16 = 22_211;
const LAG: &str = "stampgate_worker_lag_seconds_bucket";

/// Starts it with these tables, and waits until it listens.
pub(super) fn start(tables: &Tables) -> Result<Gateway, Box<dyn Error>> {
    Gateway::start(&tables.directory, (&gateway_toml(), &routing_toml()), PORT)
}

/// Lets the gateway read its files anew; how many tenants moved?
pub(super) fn reload() -> Result<usize, Box<dyn Error>> {
    let answer = ask("POST /v1/config/reload")?;
    let moved = answer.split("\"moved\":").nth(1).map(str::trim_start);
    let digits = moved.map(|rest| rest.split(|it: char| !it.is_ascii_digit()).next());
    match digits.flatten().map(str::parse) {
        Some(Ok(moved)) => Ok(moved),
        _ => Err(format!("the reload was not accepted: {answer}").into()),
    }
}

/// How late the gateway's workers were so far.
pub(super) fn lag() -> Result<Histogram, Box<dyn Error>> {
    let text = ask("GET /metrics")?;
    let mut counts = Vec::new();
    for line in text.lines().filter(|line| line.starts_with(LAG)) {
        let (bound, count) =
            line.split_once("le=\"").and_then(|(_, rest)| rest.split_once("\"} ")).ok_or(LAG)?;
        let bound_ms = if bound == "+Inf" { f64::INFINITY } else { bound.parse::<f64>()? * 1e3 };
        counts.push((bound_ms, count.parse()?));
    }
    if counts.is_empty() { Err(LAG.into()) } else { Ok(Histogram::of_cumulative(counts)) }
}

/// Asks the admin plane; the answer, head and all, if it is good.
fn ask(what: &str) -> Result<String, Box<dyn Error>> {
    let answer = scene::ask(ADMIN_PORT, what)?;
    if answer.starts_with("HTTP/1.1 200") { Ok(answer) } else { Err(answer.into()) }
}

fn gateway_toml() -> String {
    format!(
        "version = 1\n[node]\nid = \"bench\"\n[runtime]\nworkers = 2\n\
         [routing]\nfile = \"routing.toml\"\nwatch = false\n\
         [[listener]]\nname = \"public\"\nbind = \"127.0.0.1:{PORT}\"\n\
         [admin]\nbind = \"127.0.0.1:{ADMIN_PORT}\"\n[access_log]\nenabled = false\n"
    )
}

fn routing_toml() -> String {
    let mut text = String::from(
        "version = 1\n[identity.host]\npatterns = [\"{tenant}.app.example.com\"]\n\
         [[tenant_file]]\npath = \"tenants.csv\"\n",
    );
    for (name, port) in STAMPS {
        text += &format!(
            "[[stamp]]\nid = \"{name}\"\nendpoints = [{{ url = \"http://127.0.0.1:{port}\" }}]\n"
        );
    }
    text
}
