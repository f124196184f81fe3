//! Two stamps that answer with their name, or with more than any buffer on the way holds.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::thread;

use crate::failover::message;
use crate::run::Done;

/// Names and ports.
pub(super) const STAMPS: [(&str, u16); 2] = [("a", 22_301), ("b", 22_302)];
/// The body of `/large`.
pub(super) const LARGE_BYTES: usize = 16 * 1024 * 1024;
const PIECE_BYTES: usize = 64 * 1024;
const REQUEST_BYTES_MAX: usize = 16 * 1024;
const STACK_BYTES: usize = 256 * 1024;

/// Both serve until the process ends.
pub(super) fn start() -> Done {
    for (name, port) in STAMPS {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port))?;
        thread::Builder::new().spawn(move || {
            for socket in listener.incoming().flatten() {
                let thread = thread::Builder::new().stack_size(STACK_BYTES);
                // A connection that ends, ends its thread: nothing else to do about it.
                drop(thread.spawn(move || drop(converse(socket, name))));
            }
        })?;
    }
    Ok(())
}

fn converse(mut socket: TcpStream, name: &str) -> Done {
    socket.set_nodelay(true)?;
    let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{name}", name.len());
    let mut bytes = vec![0; REQUEST_BYTES_MAX];
    let mut filled = 0;
    loop {
        // A body that is sent too slowly to become whole is cut before the buffer is full.
        let read = socket.read(bytes.get_mut(filled..).unwrap_or_default())?;
        if read == 0 {
            return Ok(());
        }
        filled += read;
        let Some(request) = message::parse(bytes.get(..filled).unwrap_or_default()) else {
            continue;
        };
        let (length, closes) = (request.length, request.closes);
        if request.first_line.starts_with("GET /large ") {
            large(&mut socket)?;
        } else {
            socket.write_all(answer.as_bytes())?;
        }
        if closes {
            return Ok(());
        }
        bytes.copy_within(length..filled, 0);
        filled -= length;
    }
}

fn large(socket: &mut TcpStream) -> Done {
    write!(socket, "HTTP/1.1 200 OK\r\nContent-Length: {LARGE_BYTES}\r\n\r\n")?;
    let piece = vec![b'l'; PIECE_BYTES];
    for _ in 0..LARGE_BYTES / PIECE_BYTES {
        socket.write_all(&piece)?;
    }
    Ok(())
}
