//! Where the admin plane of the gateway is: told by a flag, the environment, or found by the
//! gateway's own configuration.

use std::env;
use std::fmt;
use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use http::Uri;
use http::uri::Authority;
use serde::Deserialize;

use super::Operator;
use super::failure::Failure;
use crate::diagnostics::Report;
use crate::settings::Settings;
use crate::source;

/// Where an admin plane listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Address {
    /// `host:port`
    Tcp(Authority),
    /// The path of a unix socket.
    Unix(PathBuf),
}

/// What is no address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("must be http://HOST:PORT or unix:PATH")]
pub(super) struct NoAddress;

impl FromStr for Address {
    type Err = NoAddress;

    fn from_str(text: &str) -> Result<Self, NoAddress> {
        if let Some(path) = text.strip_prefix("unix:") {
            let path = path.strip_prefix("//").unwrap_or(path);
            return if path.is_empty() { Err(NoAddress) } else { Ok(Self::Unix(path.into())) };
        }
        let uri: Uri = text.parse().map_err(|_no_uri| NoAddress)?;
        let authority =
            uri.authority().filter(|it| it.port().is_some() && !it.as_str().contains('@'));
        match (uri.scheme_str(), authority, uri.path()) {
            (Some("http"), Some(authority), "" | "/") => Ok(Self::Tcp(authority.clone())),
            _ => Err(NoAddress),
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(authority) => write!(out, "http://{authority}"),
            Self::Unix(path) => write!(out, "unix:{}", path.display()),
        }
    }
}

/// A flag wins over the environment, and a told address over one that is looked for.
pub(super) fn find(operator: &Operator) -> Result<Address, Failure> {
    if let Some(address) = &operator.admin {
        return Ok(address.clone());
    }
    if let Some(config) = &operator.config {
        return of_config(config);
    }
    if let Ok(text) = env::var("STAMPGATE_ADMIN") {
        return text.parse().map_err(|error: NoAddress| wrong("STAMPGATE_ADMIN", error));
    }
    if let Some(config) = env::var_os("STAMPGATE_CONFIG") {
        return of_config(Path::new(&config));
    }
    Ok(Address::Tcp(Authority::from_static("127.0.0.1:9900")))
}

/// Where the gateway of this configuration listens. It wrote down the port that it was given when
/// it asked for any.
fn of_config(config: &Path) -> Result<Address, Failure> {
    let settings =
        source::load_settings(config).map_err(|report| Failure::Configuration(vec![report]))?;
    if let Some(path) = &settings.admin.unix_socket {
        return Ok(Address::Unix(path.clone()));
    }
    let bound = settings.admin.bind;
    let bound = if bound.port() == 0 { written_down(&settings)? } else { bound };
    let reachable = SocketAddr::new(reachable(bound.ip()), bound.port());
    let authority = reachable.to_string().parse();
    authority.map(Address::Tcp).map_err(|_impossible| wrong("admin.bind", NoAddress))
}

fn wrong(place: &str, error: NoAddress) -> Failure {
    Failure::Configuration(vec![Report::of_file(Path::new(place), error.to_string())])
}

/// Whoever listens on all addresses listens on loopback too.
fn reachable(ip: IpAddr) -> IpAddr {
    match ip {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        IpAddr::V4(_) | IpAddr::V6(_) => ip,
    }
}

#[derive(Deserialize)]
struct Ports {
    admin: SocketAddr,
}

fn written_down(settings: &Settings) -> Result<SocketAddr, Failure> {
    let path = settings.state_directory.join("ports.json");
    let ports = fs::read(&path)
        .and_then(|text| serde_json::from_slice::<Ports>(&text).map_err(Into::into))
        .map_err(|source| Failure::System { what: "read ports.json: is it running?", source })?;
    Ok(ports.admin)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_and_shown_alike() {
        for text in ["http://127.0.0.1:9900", "http://[::1]:1", "unix:/run/stampgate/admin.sock"] {
            let address: Address = text.parse().unwrap();
            assert_eq!(address.to_string(), text);
        }
        assert_eq!("unix:///a".parse(), Ok(Address::Unix("/a".into())));
    }

    #[test]
    fn what_cannot_be_asked_is_no_address() {
        for text in
            ["", "localhost:1", "https://a:1", "http://a", "http://a:1/x", "http://u@a:1", "unix:"]
        {
            assert_eq!(text.parse::<Address>(), Err(NoAddress), "{text}");
        }
    }

    #[test]
    fn who_listens_everywhere_is_asked_on_loopback() {
        assert_eq!(reachable("0.0.0.0".parse().unwrap()), IpAddr::from([127, 0, 0, 1]));
        assert_eq!(reachable("10.0.0.1".parse().unwrap()), IpAddr::from([10, 0, 0, 1]));
    }
}
