//! The leaves of gateway.toml that need more than a number: names, addresses, networks, words.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::num::NonZeroU64;
use std::path::PathBuf;

use ipnet::IpNet;
use serde_json::json;
use stamp_core::document::{
    Bytes, FromToml, Json, Report, Value, mismatch, read_parsed, string_of,
};
use stamp_core::framing::is_token;
use stamp_core::raw::parse_domain;
use stamp_core::words;

use super::{LogFormat, LogLevel, LogTarget, MemoryLimit, Protocol, ProxyProtocol, Role};

/// The longest name of a gateway, a listener or a token.
const NAME_BYTES_MAX: usize = 64;

/// A name that may stand in a header (RFC 9110, section 5.6.2: token).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct NameToken(pub(super) Box<str>);

impl NameToken {
    fn parse(text: &str) -> Result<Self, &'static str> {
        if text.is_empty() || text.len() > NAME_BYTES_MAX {
            return Err("a name has 1 to 64 bytes");
        }
        if !text.bytes().all(is_token) {
            return Err("a name consists of letters, digits and !#$%&'*+-.^_`|~");
        }
        Ok(Self(text.into()))
    }
}

impl FromToml for NameToken {
    fn read(value: &Value<'_>, report: &mut Report) -> Option<Self> {
        read_parsed(value, report, "a name such as \"gw-1\"", Self::parse)
    }
    fn schema() -> Json {
        json!({ "type": "string", "pattern": "^[A-Za-z0-9!#$%&'*+.^_`|~-]{1,64}$" })
    }
}

/// Where to listen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct BindAddress(pub(super) SocketAddr);

impl FromToml for BindAddress {
    fn read(value: &Value<'_>, report: &mut Report) -> Option<Self> {
        let expected = "an IP address and a port such as \"0.0.0.0:8080\"";
        let Some(text) = string_of(value, report) else {
            mismatch(value, expected, report);
            return None;
        };
        if let Ok(address) = text.parse() {
            return Some(Self(address));
        }
        let port = text.rsplit(':').next().and_then(|port| port.parse::<u16>().ok());
        let help = match (text.rsplit_once(':').map(|(host, _)| host), port) {
            (Some("" | "*"), Some(port)) => format!("write \"0.0.0.0:{port}\" or \"[::]:{port}\""),
            (Some("localhost"), Some(port)) => format!("write \"127.0.0.1:{port}\""),
            _ => "write for example \"0.0.0.0:8080\" or \"[::]:8080\"".to_owned(),
        };
        report
            .error(value.span().into(), format!("`{text}` is no address to listen on"))
            .label(format!("expected {expected}"))
            .help(help);
        None
    }
    fn schema() -> Json {
        json!({ "type": "string", "pattern": "^([0-9.]+|\\[[0-9A-Fa-f:.%]+\\]):[0-9]{1,5}$" })
    }
}

/// A network of trusted peers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Network(pub(super) IpNet);

impl FromToml for Network {
    fn read(value: &Value<'_>, report: &mut Report) -> Option<Self> {
        let expected = "a network such as \"10.0.0.0/8\", or an address";
        read_parsed(value, report, expected, |text| {
            if let Ok(address) = text.parse::<IpAddr>() {
                return Ok(Self(IpNet::from(address)));
            }
            let network: IpNet =
                text.parse().map_err(|_no_network| "this is no network".to_owned())?;
            if network.trunc() != network {
                return Err(format!(
                    "bits are set behind the prefix: write \"{}\"",
                    network.trunc()
                ));
            }
            Ok(Self(network))
        })
    }
    fn schema() -> Json {
        json!({ "type": "string", "pattern": "^[0-9A-Fa-f:.]+(/[0-9]{1,3})?$" })
    }
}

/// A host that a request to the admin plane may name: lower case, without port.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct AllowedHost(pub(super) Box<str>);

impl FromToml for AllowedHost {
    fn read(value: &Value<'_>, report: &mut Report) -> Option<Self> {
        read_parsed(value, report, "a host such as \"localhost\"", |text| {
            let bracketed = text.strip_prefix('[').and_then(|text| text.strip_suffix(']'));
            if let Some(address) = bracketed {
                let address: Ipv6Addr =
                    address.parse().map_err(|_no_address| "this is no IPv6 address".to_owned())?;
                return Ok(Self(format!("[{address}]").into()));
            }
            if let Ok(address) = text.parse::<Ipv4Addr>() {
                return Ok(Self(address.to_string().into()));
            }
            if text.parse::<Ipv6Addr>().is_ok() {
                return Err(format!("an IPv6 address has brackets: write \"[{text}]\""));
            }
            parse_domain(text).map(|host| Self(host.0)).map_err(|error| error.to_string())
        })
    }
    fn schema() -> Json {
        json!({ "type": "string", "minLength": 1 })
    }
}

impl FromToml for LogTarget {
    fn read(value: &Value<'_>, report: &mut Report) -> Option<Self> {
        let path = PathBuf::read(value, report)?;
        Some(if path.as_os_str() == "stdout" { Self::Stdout } else { Self::File(path) })
    }
    fn schema() -> Json {
        PathBuf::schema()
    }
}

impl FromToml for MemoryLimit {
    fn read(value: &Value<'_>, report: &mut Report) -> Option<Self> {
        if value.get_ref().as_str() == Some("auto") {
            return Some(Self::Auto);
        }
        let size = Bytes::<0, { 1 << 40 }>::read(value, report)?;
        Some(NonZeroU64::new(size.0).map_or(Self::Off, Self::Bytes))
    }
    fn schema() -> Json {
        json!({ "type": "string", "pattern": "^(auto|0|[0-9]+(B|KiB|MiB|GiB))$" })
    }
}

words! {
    Protocol { "http/1.1" => Self::Http1, "h2" => Self::Http2, "h2c" => Self::Http2Clear }
    ProxyProtocol { "off" => Self::Off, "required" => Self::Required }
    Role { "viewer" => Self::Viewer, "operator" => Self::Operator }
    LogFormat { "auto" => Self::Auto, "pretty" => Self::Pretty, "json" => Self::Json }
    LogLevel {
        "error" => Self::Error,
        "warn" => Self::Warn,
        "info" => Self::Info,
        "debug" => Self::Debug,
        "trace" => Self::Trace,
    }
}
