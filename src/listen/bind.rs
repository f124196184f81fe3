//! Sockets: every worker gets one on every address.

use std::io;
use std::net::{SocketAddr, TcpListener};

use socket2::{Domain, Protocol, SockAddr, Socket, Type};

/// Connections that the kernel keeps until they are accepted.
const BACKLOG: i32 = 4096;

/// The sockets of one address, one a worker.
#[derive(Debug)]
pub struct Bound {
    /// The address, with the port that was given where 0 was asked for.
    pub address: SocketAddr,
    /// As many sockets as there are workers.
    pub sockets: Vec<TcpListener>,
}

/// An address that cannot be listened on.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address}: {source}{}", hint(.source))]
pub struct BindError {
    address: SocketAddr,
    source: io::Error,
}

fn hint(error: &io::Error) -> &'static str {
    let kind = error.kind();
    if kind == io::ErrorKind::AddrInUse {
        return " (another program listens there; choose another port)";
    }
    if kind == io::ErrorKind::PermissionDenied {
        return " (ports below 1024 need CAP_NET_BIND_SERVICE)";
    }
    ""
}

/// Listens on `address`, once for each worker.
pub fn bind(address: SocketAddr, workers: usize) -> Result<Bound, BindError> {
    try_bind(address, workers).map_err(|source| BindError { address, source })
}

fn try_bind(address: SocketAddr, workers: usize) -> io::Result<Bound> {
    // With SO_REUSEPORT a second gateway would silently take half of the connections: an
    // exclusive bind first shows whether the port is free.
    drop(socket(address, Sharing::Exclusive)?);
    let first = socket(address, Sharing::WithWorkers)?;
    first.listen(BACKLOG)?;
    let first = TcpListener::from(first);
    let address = first.local_addr()?;
    let mut sockets = vec![first];
    for _ in 1..workers {
        let another = socket(address, Sharing::WithWorkers)?;
        another.listen(BACKLOG)?;
        sockets.push(another.into());
    }
    Ok(Bound { address, sockets })
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Sharing {
    Exclusive,
    WithWorkers,
}

fn socket(address: SocketAddr, sharing: Sharing) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    // Connections of a former process in TIME_WAIT must not keep the port.
    socket.set_reuse_address(true)?;
    if sharing == Sharing::WithWorkers {
        socket.set_reuse_port(true)?;
    }
    socket.set_nonblocking(true)?;
    socket.bind(&SockAddr::from(address))?;
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_worker_gets_a_socket_on_the_same_port() {
        let bound = bind("127.0.0.1:0".parse().unwrap(), 3).unwrap();
        assert_ne!(bound.address.port(), 0);
        for socket in &bound.sockets {
            assert_eq!(socket.local_addr().unwrap(), bound.address);
        }
        assert_eq!(bound.sockets.len(), 3);
    }

    #[test]
    fn an_occupied_port_is_named() {
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = taken.local_addr().unwrap();
        let refused = bind(address, 1).unwrap_err().to_string();
        assert!(refused.contains(&address.to_string()), "{refused}");
        assert!(refused.contains("another program listens there"), "{refused}");
    }
}
