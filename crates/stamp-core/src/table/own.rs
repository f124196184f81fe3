//! The gateway's own addresses, which no endpoint may have: through one a tenant would reach the
//! admin plane, or requests would come back to the gateway for ever.

use core::net::{IpAddr, SocketAddr};

use crate::document::{Report, Written};
use crate::raw::{EndpointUrl, RawStamp};

/// An address that the gateway itself listens on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OwnAddress {
    /// Where it listens. Port 0, a new port each time, is nobody's endpoint.
    pub address: SocketAddr,
    /// What it serves there.
    pub door: OwnDoor,
}

/// What the gateway serves at an address of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OwnDoor {
    /// The admin plane.
    Admin,
    /// The requests of clients.
    Listener,
}

impl OwnAddress {
    /// Would a connection to this endpoint end at the gateway itself, as far as text can tell?
    #[must_use]
    pub fn is_reached_by(self, host: &str, port: u16) -> bool {
        if port != self.address.port() {
            return false;
        }
        let own = self.address.ip().to_canonical();
        if host == "localhost" || host.ends_with(".localhost") {
            // Loopback (RFC 6761, section 6.3).
            return own.is_loopback() || own.is_unspecified();
        }
        let Ok(ip) = host.parse::<IpAddr>() else { return false };
        let ip = ip.to_canonical();
        // To connect to "any address" is to connect to this machine.
        let is_here = |ip: IpAddr| ip.is_loopback() || ip.is_unspecified();
        own == ip || (own.is_unspecified() && is_here(ip)) || (ip.is_unspecified() && is_here(own))
    }
}

impl OwnDoor {
    const fn told(self) -> (&'static str, &'static str) {
        match self {
            Self::Admin => (
                "is the address of the admin plane",
                "no tenant may reach the admin plane: write the address of the application",
            ),
            Self::Listener => (
                "is an address of the gateway itself",
                "requests would come back for ever: write the address of the application",
            ),
        }
    }
}

/// Reports the endpoints that lead to one of these addresses.
pub(super) fn refuse_own_addresses(raw: &[RawStamp], own: &[OwnAddress], report: &mut Report) {
    for endpoint in raw.iter().flat_map(|stamp| &stamp.endpoints.value) {
        let Written { value: EndpointUrl { host, port, .. }, span } = &endpoint.value.url;
        let reached = own.iter().find(|own| own.is_reached_by(host, *port));
        if let Some(OwnAddress { door, .. }) = reached {
            let (message, help) = door.told();
            report.error(*span, format!("endpoint `{host}:{port}` {message}")).help(help);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reaches(own: &str, host: &str, port: u16) -> bool {
        let address = own.parse().unwrap();
        OwnAddress { address, door: OwnDoor::Admin }.is_reached_by(host, port)
    }

    #[test]
    fn the_same_address_and_port_are_the_gateway() {
        assert!(reaches("10.0.0.1:9900", "10.0.0.1", 9900));
        assert!(reaches("[::ffff:10.0.0.1]:9900", "10.0.0.1", 9900));
        assert!(!reaches("10.0.0.1:9900", "10.0.0.1", 9901));
        assert!(!reaches("10.0.0.1:9900", "10.0.0.2", 9900));
        assert!(!reaches("10.0.0.1:9900", "admin.internal", 9900));
    }

    #[test]
    fn loopback_leads_to_what_listens_on_every_address() {
        for own in ["0.0.0.0:9900", "[::]:9900"] {
            for host in ["127.0.0.1", "127.8.0.1", "::1", "0.0.0.0", "::", "localhost"] {
                assert!(reaches(own, host, 9900), "{own} {host}");
            }
            assert!(!reaches(own, "10.0.0.1", 9900), "{own}");
        }
    }

    #[test]
    fn any_address_and_localhost_lead_to_loopback() {
        for own in ["127.0.0.1:9900", "[::1]:9900"] {
            for host in ["0.0.0.0", "::", "localhost", "app.localhost"] {
                assert!(reaches(own, host, 9900), "{own} {host}");
            }
        }
        assert!(!reaches("127.0.0.1:9900", "127.0.0.2", 9900));
        assert!(!reaches("10.0.0.1:9900", "localhost", 9900));
    }
}
