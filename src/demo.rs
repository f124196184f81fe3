//! `stampgate demo`: three sample stamps, a gateway and its admin plane on loopback, with nothing
//! to configure, and five lines to try.

mod stamps;

use std::fs;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use aws_lc_rs::hmac;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use crate::clock::Clock;
use crate::gateway::{self, Gateway, RunError};
use stamps::SampleStamp;

/// Ports to listen on; 0 = any that is free.
#[derive(Clone, Copy, Debug)]
pub struct Ports {
    /// The gateway.
    pub gateway: u16,
    /// The admin plane.
    pub admin: u16,
    /// The first of three stamps; the others take the next two.
    pub stamps: u16,
}

/// Why the demo did not run.
#[derive(Debug, thiserror::Error)]
pub enum DemoError {
    /// A sample stamp could not listen.
    #[error("the sample stamp {stamp} cannot listen on {address}: {source}")]
    Stamp {
        /// Which.
        stamp: &'static str,
        /// Where.
        address: SocketAddr,
        /// Why not.
        source: io::Error,
    },
    /// The demo's files could not be written.
    #[error("write the demo's files in {}: {source}", .directory.display())]
    Files {
        /// Where.
        directory: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The gateway did not run.
    #[error(transparent)]
    Gateway(#[from] RunError),
}

/// The sample stamps: eu-1 and eu-2 stand in for each other, us-1 stands alone.
const STAMPS: [&str; 3] = ["eu-1", "eu-2", "us-1"];
/// Signs the demo's token; it opens nothing else.
const SECRET: &[u8] = b"a secret of the demo that protects nothing at all";
/// Under the longest lifetime that the gateway accepts.
const TOKEN_LIFETIME_S: u64 = 12 * 60 * 60;

/// Runs the demo until Ctrl-C. `ready` gets the text to print once everything serves.
pub fn run(ports: Ports, ready: impl FnOnce(&str)) -> Result<(), DemoError> {
    let stamps = start_stamps(ports)?;
    let directory = std::env::temp_dir().join(format!("stampgate-demo-{}", std::process::id()));
    let served = serve(ports, &stamps, &directory, ready);
    drop(stamps);
    drop(fs::remove_dir_all(&directory));
    served
}

fn start_stamps(ports: Ports) -> Result<Vec<SampleStamp>, DemoError> {
    let mut stamps = Vec::new();
    for (stamp, place) in STAMPS.into_iter().zip(0..) {
        let port = if ports.stamps == 0 { 0 } else { ports.stamps.saturating_add(place) };
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        let started = SampleStamp::start(stamp, address);
        stamps.push(started.map_err(|source| DemoError::Stamp { stamp, address, source })?);
    }
    Ok(stamps)
}

fn serve(
    ports: Ports,
    stamps: &[SampleStamp],
    directory: &Path,
    ready: impl FnOnce(&str),
) -> Result<(), DemoError> {
    let config = write_files(ports, stamps, directory)
        .map_err(|source| DemoError::Files { directory: directory.to_owned(), source })?;
    let gateway = gateway::start(&config)?;
    ready(&lines_to_try(&gateway, stamps));
    gateway.serve_until_signalled();
    Ok(())
}

fn write_files(ports: Ports, stamps: &[SampleStamp], directory: &Path) -> io::Result<PathBuf> {
    fs::create_dir_all(directory)?;
    let config = directory.join("gateway.toml");
    fs::write(&config, gateway_toml(ports))?;
    fs::write(directory.join("routing.toml"), routing_toml(stamps))?;
    fs::write(directory.join("demo.secret"), SECRET)?;
    Ok(config)
}

fn gateway_toml(ports: Ports) -> String {
    format!(
        r#"version = 1

[node]
id = "demo"

[[listener]]
name = "public"
bind = "127.0.0.1:{}"

[admin]
bind = "127.0.0.1:{}"

[log]
level = "warn"

[access_log]
enabled = false
"#,
        ports.gateway, ports.admin
    )
}

fn routing_toml(stamps: &[SampleStamp]) -> String {
    let address =
        |place: usize| stamps.get(place).map_or(String::new(), |it| it.address.to_string());
    format!(
        r#"version = 1

[identity.host]
patterns = ["{{tenant}}.app.localhost", "{{stamp}}.stamps.localhost"]

[[identity.jwt]]
issuer = "demo"
audiences = ["demo"]
algorithms = ["HS256"]
hmac_secret_file = "demo.secret"
tenant_claim = "tid"

[defaults.stamp.health]
path = "/healthz"
interval = "1s"
timeout = "500ms"

[defaults.stamp.failback]
hold = "5s"
ramp = "5s"

[[stamp]]
id = "eu-1"
residency = "eu"
endpoints = [{{ url = "http://{}" }}]
failover = ["eu-2"]

[[stamp]]
id = "eu-2"
residency = "eu"
endpoints = [{{ url = "http://{}" }}]
failover = ["eu-1"]

[[stamp]]
id = "us-1"
residency = "us"
endpoints = [{{ url = "http://{}" }}]

[tenants]
acme = "eu-1"
globex = "eu-2"
initech = "us-1"
"#,
        address(0),
        address(1),
        address(2)
    )
}

fn lines_to_try(gateway: &Gateway, stamps: &[SampleStamp]) -> String {
    let addresses = gateway.addresses();
    let public = addresses.listeners.values().flatten().next();
    let public = public.map(ToString::to_string).unwrap_or_default();
    let admin = addresses.admin;
    let eu1 = stamps.first().map(|stamp| stamp.address.to_string()).unwrap_or_default();
    let token = token();
    format!(
        "stampgate serves on http://{public}, its admin plane on http://{admin}.\n\
         Tenants: acme lives on eu-1, globex on eu-2, initech on us-1. Try, one after the other:\n\
         \n\
         # by host: acme is answered by eu-1\n\
         curl -s http://{public}/hello -H 'Host: acme.app.localhost'\n\
         # by header: us-1 answers\n\
         curl -s http://{public}/hello -H 'X-Stamp-Id: us-1'\n\
         # by a verified token: globex is answered by eu-2\n\
         curl -s http://{public}/hello -H 'Authorization: Bearer {token}'\n\
         # drain eu-1: acme is answered by eu-2\n\
         curl -s -X POST http://{admin}/v1/stamps/eu-1/drain && \
         curl -s http://{public}/hello -H 'Host: acme.app.localhost'\n\
         # end the drain, then kill eu-1: acme is answered by eu-1 first, then by eu-2\n\
         curl -s -X DELETE http://{admin}/v1/stamps/eu-1/drain && \
         curl -s http://{public}/hello -H 'Host: acme.app.localhost' && \
         curl -s -X POST http://{eu1}/demo/kill && \
         curl -s http://{public}/hello -H 'Host: acme.app.localhost'\n\
         \n\
         Ctrl-C ends it.\n"
    )
}

/// A token for globex, good for half a day.
fn token() -> String {
    let now = Clock::start().unix().0;
    let claims = json!({
        "iss": "demo", "aud": "demo", "tid": "globex", "iat": now, "exp": now + TOKEN_LIFETIME_S,
    });
    sign(&claims, SECRET)
}

/// A token with these claims under HS256 (RFC 7515, section 3.1).
#[must_use]
pub fn sign(claims: &Value, secret: &[u8]) -> String {
    let header = json!({ "typ": "JWT", "alg": "HS256" });
    let [header, claims] = [&header, claims].map(|it| URL_SAFE_NO_PAD.encode(it.to_string()));
    let signed = format!("{header}.{claims}");
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret), signed.as_bytes());
    format!("{signed}.{}", URL_SAFE_NO_PAD.encode(tag))
}
