//! Listening sockets that were handed to the process, by systemd (`sd_listen_fds`) or by the process
//! before it (`gateway::upgrade`), which uses the same protocol. Connections that wait in their
//! queues are served: a socket that is taken over loses none.

use std::env;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::net::UnixListener;
use std::path::Path;

use listenfd::ListenFd;

/// Sockets that nobody has asked for yet.
#[derive(Debug, Default)]
pub struct Inherited {
    tcp: Vec<Passed>,
    unix: Vec<(String, UnixListener)>,
}

#[derive(Debug)]
struct Passed {
    /// What it was called.
    name: String,
    address: SocketAddr,
    socket: TcpListener,
}

impl Inherited {
    /// Takes what the environment tells of. To be called before there are other threads, for what it
    /// tells is removed from the environment.
    pub fn take() -> io::Result<Self> {
        let names = env::var("LISTEN_FDNAMES").unwrap_or_default();
        let mut names = names.split(':');
        let mut passed = ListenFd::from_env();
        let mut inherited = Self::default();
        for place in 0..passed.len() {
            let name = names.next().unwrap_or_default().to_owned();
            match passed.take_tcp_listener(place) {
                Ok(Some(socket)) => {
                    let address = socket.local_addr()?;
                    inherited.tcp.push(Passed { name, address, socket });
                }
                Ok(None) => {}
                Err(_no_tcp) => {
                    if let Some(socket) = passed.take_unix_listener(place)? {
                        inherited.unix.push((name, socket));
                    }
                }
            }
        }
        Ok(inherited)
    }

    /// The sockets that listen on this address. One that was bound to any free port (0) is known by
    /// its name: all of one port are taken.
    pub fn at(&mut self, name: &str, address: SocketAddr) -> Vec<TcpListener> {
        let wanted = if address.port() == 0 {
            let is_own = |it: &&Passed| it.name == name && it.address.ip() == address.ip();
            let Some(first) = self.tcp.iter().find(is_own) else { return Vec::new() };
            first.address
        } else {
            address
        };
        let (taken, left) = std::mem::take(&mut self.tcp).into_iter().partition(|it: &Passed| {
            it.address == wanted && (address.port() != 0 || it.name == name)
        });
        self.tcp = left;
        let taken: Vec<Passed> = taken;
        taken.into_iter().map(|it| it.socket).collect()
    }

    /// The socket at this path.
    pub fn at_path(&mut self, path: &Path) -> Option<UnixListener> {
        let is_there = |socket: &UnixListener| {
            socket.local_addr().is_ok_and(|address| address.as_pathname() == Some(path))
        };
        let place = self.unix.iter().position(|(_, socket)| is_there(socket))?;
        Some(self.unix.remove(place).1)
    }

    /// Those that nobody asked for, as an operator would name them.
    #[must_use]
    pub fn left(&self) -> Vec<String> {
        let tcp = self.tcp.iter().map(|it| format!("{} (`{}`)", it.address, it.name));
        let unix = self.unix.iter().map(|(name, socket)| {
            let path = socket.local_addr().ok().and_then(|it| Some(it.as_pathname()?.to_owned()));
            format!("{} (`{name}`)", path.unwrap_or_default().display())
        });
        tcp.chain(unix).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn passed(name: &str, port: u16) -> Passed {
        let socket = TcpListener::bind(("127.0.0.1", port)).unwrap();
        Passed { name: name.into(), address: socket.local_addr().unwrap(), socket }
    }

    #[test]
    fn a_socket_is_known_by_its_address_and_by_its_name_only_where_the_port_was_free_to_choose() {
        let (one, two) = (passed("public", 0), passed("public", 0));
        let address = two.address;
        let mut inherited = Inherited { tcp: vec![one, two], unix: Vec::new() };
        assert!(inherited.at("other", "127.0.0.1:0".parse().unwrap()).is_empty());
        assert_eq!(inherited.at("whatever", address).len(), 1);
        assert_eq!(inherited.left().len(), 1);
        assert_eq!(inherited.at("public", "127.0.0.1:0".parse().unwrap()).len(), 1);
        assert!(inherited.at("public", "127.0.0.1:0".parse().unwrap()).is_empty());
    }
}
