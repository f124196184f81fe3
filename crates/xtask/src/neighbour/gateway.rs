//! The gateway before the stamp, as a process of its own, ended by pid when dropped.

use std::error::Error;
use std::fmt::Write as _;
use std::fs;
use std::net::{Ipv4Addr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use super::{NEIGHBOURS, stamp};
use crate::failover::{now, sleep_until};
use crate::run::{Done, release_build};

pub(super) const PORT: u16 = 22_110;
const ADMIN_PORT: u16 = 22_111;

pub(super) struct Gateway {
    child: Child,
}

impl Gateway {
    /// Starts it with these keys of `[tier.standard]`, and waits until it listens.
    pub(super) fn start(directory: &Path, tier: &str) -> Result<Self, Box<dyn Error>> {
        if directory.exists() {
            fs::remove_dir_all(directory)?;
        }
        fs::create_dir_all(directory)?;
        fs::write(directory.join("gateway.toml"), gateway_toml())?;
        fs::write(directory.join("routing.toml"), routing_toml(tier)?)?;
        let mut command = Command::new(release_build());
        command.args(["run", "-c"]).arg(directory.join("gateway.toml")).stdout(Stdio::null());
        command.stderr(fs::File::create(directory.join("stderr.log"))?);
        let mut gateway = Self { child: command.spawn()? };
        gateway.wait_until_it_listens()?;
        Ok(gateway)
    }

    fn wait_until_it_listens(&mut self) -> Done {
        let due = now() + Duration::from_secs(5);
        while now() < due {
            if let Some(status) = self.child.try_wait()? {
                return Err(format!("the gateway ended: {status}").into());
            }
            if TcpStream::connect((Ipv4Addr::LOCALHOST, PORT)).is_ok() {
                return Ok(());
            }
            sleep_until(now() + Duration::from_millis(10));
        }
        Err("the gateway does not listen".into())
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
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
