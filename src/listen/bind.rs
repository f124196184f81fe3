//! Sockets: every worker gets one on every address.

use std::io;
use std::net::{SocketAddr, TcpListener};

use socket2::{Domain, Protocol, SockAddr, SockRef, Socket, Type};

/// Connections that the kernel keeps until they are accepted.
const BACKLOG: i32 = 4096;

/// The sockets of one address.
#[derive(Debug)]
pub struct Bound {
    /// The address, with the port that was given where 0 was asked for.
    pub address: SocketAddr,
    /// At least as many sockets as there are workers; more only where more were inherited.
    pub sockets: Vec<TcpListener>,
}

impl Bound {
    /// The share of one of so many workers. Every socket is somebody's: connections wait in each.
    pub fn of_worker(&self, place: usize, workers: usize) -> io::Result<Vec<TcpListener>> {
        let own = self.sockets.iter().skip(place).step_by(workers.max(1));
        own.map(TcpListener::try_clone).collect()
    }
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

/// Listens on `address`, once for each worker, with the sockets that were inherited first.
pub fn bind(
    address: SocketAddr,
    workers: usize,
    inherited: Vec<TcpListener>,
) -> Result<Bound, BindError> {
    let bound = match inherited.first() {
        None => try_bind(address, workers),
        Some(_) => complete(inherited, workers),
    };
    bound.map_err(|source| BindError { address, source })
}

/// Adds sockets of our own to those that were inherited, where the address may be shared; where it
/// may not (systemd's `ReusePort=no`), workers share one socket.
fn complete(mut sockets: Vec<TcpListener>, workers: usize) -> io::Result<Bound> {
    let Some(first) = sockets.first() else { return Err(io::ErrorKind::NotFound.into()) };
    let address = first.local_addr()?;
    let is_shareable = SockRef::from(first).reuse_port()?;
    for socket in &sockets {
        socket.set_nonblocking(true)?;
    }
    let first = first.try_clone()?;
    while sockets.len() < workers {
        sockets.push(if is_shareable { another(address)? } else { first.try_clone()? });
    }
    Ok(Bound { address, sockets })
}

fn another(address: SocketAddr) -> io::Result<TcpListener> {
    let another = socket(address, Sharing::WithWorkers)?;
    another.listen(BACKLOG)?;
    Ok(another.into())
}

fn try_bind(address: SocketAddr, workers: usize) -> io::Result<Bound> {
    // With SO_REUSEPORT a second gateway would silently take half of the connections: an
    // exclusive bind first shows whether the port is free.
    drop(socket(address, Sharing::Exclusive)?);
    let first = another(address)?;
    let address = first.local_addr()?;
    let mut sockets = vec![first];
    for _ in 1..workers {
        sockets.push(another(address)?);
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
        let bound = bind("127.0.0.1:0".parse().unwrap(), 3, Vec::new()).unwrap();
        assert_ne!(bound.address.port(), 0);
        for socket in &bound.sockets {
            assert_eq!(socket.local_addr().unwrap(), bound.address);
        }
        assert_eq!(bound.sockets.len(), 3);
    }

    #[test]
    fn inherited_sockets_are_used_and_completed_and_none_is_left_to_nobody() {
        let former = bind("127.0.0.1:0".parse().unwrap(), 2, Vec::new()).unwrap();
        let inherited = former.sockets.iter().map(|it| it.try_clone().unwrap());
        let more = bind(former.address, 3, inherited.collect()).unwrap();
        assert_eq!((more.address, more.sockets.len()), (former.address, 3));
        let inherited = more.sockets.iter().map(|it| it.try_clone().unwrap());
        let fewer = bind(former.address, 2, inherited.collect()).unwrap();
        let shares = [0, 1].map(|place| fewer.of_worker(place, 2).unwrap().len());
        assert_eq!(shares, [2, 1]);
    }

    #[test]
    fn a_socket_that_may_not_be_shared_serves_all_workers() {
        let only = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = only.local_addr().unwrap();
        let bound = bind(address, 3, vec![only]).unwrap();
        assert_eq!(bound.sockets.len(), 3);
        let _client = std::net::TcpStream::connect(address).unwrap();
        SockRef::from(&bound.sockets[2]).set_nonblocking(false).unwrap();
        bound.sockets[2].accept().unwrap();
    }

    #[test]
    fn an_occupied_port_is_named() {
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = taken.local_addr().unwrap();
        let refused = bind(address, 1, Vec::new()).unwrap_err().to_string();
        assert!(refused.contains(&address.to_string()), "{refused}");
        assert!(refused.contains("another program listens there"), "{refused}");
    }
}
