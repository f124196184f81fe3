//! One request over a connection, and whether the right stamp answered it.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::time::Duration;

use super::gateway::{PORT, TENANTS, home};
use crate::failover::message;

/// After so long, an answer is lost.
pub(super) const PATIENCE: Duration = Duration::from_secs(10);
const ANSWER_BYTES_MAX: usize = 16 * 1024;

/// What becomes of a connection after a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Then {
    Keep,
    Close,
}

pub(super) fn connect() -> Result<TcpStream, String> {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, PORT));
    let connected = TcpStream::connect_timeout(&address, PATIENCE).and_then(|socket| {
        socket.set_nodelay(true)?;
        socket.set_read_timeout(Some(PATIENCE))?;
        socket.set_write_timeout(Some(PATIENCE))?;
        Ok(socket)
    });
    connected.map_err(|error| format!("not connected: {error}"))
}

/// Asks for one of the tenants; says whether the connection may be used again, or what is wrong.
pub(super) fn ask(socket: &mut TcpStream, number: usize, then: Then) -> Result<Then, String> {
    let tenant = number % TENANTS;
    let closing = if then == Then::Close { "Connection: close\r\n" } else { "" };
    let request = format!("GET / HTTP/1.1\r\nHost: t{tenant}.app.example.com\r\n{closing}\r\n");
    socket.write_all(request.as_bytes()).map_err(|error| format!("not sent: {error}"))?;
    let mut bytes = [0; ANSWER_BYTES_MAX];
    let mut filled = 0;
    loop {
        let room = bytes.get_mut(filled..).unwrap_or_default();
        match socket.read(room) {
            Ok(0) => return Err(format!("cut after {filled} bytes of an answer")),
            Ok(read) => filled += read,
            Err(error) => return Err(format!("no answer: {error}")),
        }
        let Some(answer) = message::parse(bytes.get(..filled).unwrap_or_default()) else {
            continue;
        };
        if !answer.first_line.starts_with("HTTP/1.1 200 ") {
            let body = String::from_utf8_lossy(answer.body);
            return Err(format!("{}: {body}", answer.first_line));
        }
        if answer.body != home(tenant).as_bytes() {
            return Err(format!("another stamp than its home answered t{tenant}"));
        }
        return Ok(if answer.closes { Then::Close } else { Then::Keep });
    }
}
