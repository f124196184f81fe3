//! Two stamps that answer with their name, or with more than any buffer on the way holds.

use std::io::Write;
use std::net::TcpStream;

use crate::run::Done;
use crate::scene::{answer, serve};

/// Names and ports.
pub(super) const STAMPS: [(&str, u16); 2] = [("a", 22_301), ("b", 22_302)];
/// The body of `/large`.
pub(super) const LARGE_BYTES: usize = 16 * 1024 * 1024;
const PIECE_BYTES: usize = 64 * 1024;

/// Both serve until the process ends.
pub(super) fn start() -> Done {
    for (name, port) in STAMPS {
        serve(port, move |socket, request| {
            if request.first_line.starts_with("GET /large ") {
                large(socket)
            } else {
                answer(socket, name)
            }
        })?;
    }
    Ok(())
}

fn large(socket: &mut TcpStream) -> Done {
    write!(socket, "HTTP/1.1 200 OK\r\nContent-Length: {LARGE_BYTES}\r\n\r\n")?;
    let piece = vec![b'l'; PIECE_BYTES];
    for _ in 0..LARGE_BYTES / PIECE_BYTES {
        socket.write_all(&piece)?;
    }
    Ok(())
}
