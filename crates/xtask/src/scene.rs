//! What a run of stampgate alone is made of: stamps, the release build, and its admin plane, over
//! loopback.

use std::error::Error;
use std::fs;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use crate::failover::message::{self, Message};
use crate::failover::{now, sleep_until};
use crate::run::{Done, release_build};

/// Where a gateway's standard error goes, in its directory.
pub(crate) const LOG: &str = "stderr.log";
const REQUEST_BYTES_MAX: usize = 16 * 1024;
const STACK_BYTES: usize = 256 * 1024;
const STARTED_WITHIN: Duration = Duration::from_secs(20);
const PATIENCE: Duration = Duration::from_secs(30);

/// A stamp at this port until the process ends: a thread a connection, `answer` for each request.
pub(crate) fn serve<A>(port: u16, answer: A) -> Done
where
    A: Fn(&mut TcpStream, &Message<'_>) -> Done + Send + Sync + 'static,
{
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port))?;
    let answer = Arc::new(answer);
    thread::Builder::new().spawn(move || {
        for socket in listener.incoming().flatten() {
            let answer = Arc::clone(&answer);
            let thread = thread::Builder::new().stack_size(STACK_BYTES);
            // A connection that ends, ends its thread: nothing else to do about it.
            drop(thread.spawn(move || drop(converse(socket, &*answer))));
        }
    })?;
    Ok(())
}

fn converse(mut socket: TcpStream, answer: &impl Fn(&mut TcpStream, &Message<'_>) -> Done) -> Done {
    socket.set_nodelay(true)?;
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
        answer(&mut socket, &request)?;
        if request.closes {
            return Ok(());
        }
        let length = request.length;
        bytes.copy_within(length..filled, 0);
        filled -= length;
    }
}

/// Writes an answer of 200 with this body.
pub(crate) fn answer(socket: &mut TcpStream, body: &str) -> Done {
    let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len());
    Ok(socket.write_all(answer.as_bytes())?)
}

/// Makes an empty directory of this path.
pub(crate) fn empty(directory: &Path) -> Done {
    if directory.exists() {
        fs::remove_dir_all(directory)?;
    }
    Ok(fs::create_dir_all(directory)?)
}

/// A gateway that runs, until it is dropped.
pub(crate) struct Gateway {
    pub(crate) child: Child,
}

impl Gateway {
    /// Starts it in this directory with the texts of gateway.toml and routing.toml, and waits until
    /// it listens at this port.
    pub(crate) fn start(
        directory: &Path,
        (gateway, routing): (&str, &str),
        port: u16,
    ) -> Result<Self, Box<dyn Error>> {
        fs::write(directory.join("gateway.toml"), gateway)?;
        fs::write(directory.join("routing.toml"), routing)?;
        let mut command = Command::new(release_build());
        command.args(["run", "-c"]).arg(directory.join("gateway.toml")).stdout(Stdio::null());
        command.stderr(fs::File::create(directory.join(LOG))?);
        let mut gateway = Self { child: command.spawn()? };
        let due = now() + STARTED_WITHIN;
        while now() < due {
            if let Some(status) = gateway.child.try_wait()? {
                return Err(format!("the gateway ended: {status}").into());
            }
            if TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok() {
                return Ok(gateway);
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

/// Asks the admin plane at this port; the answer, head and all.
pub(crate) fn ask(port: u16, what: &str) -> Result<String, Box<dyn Error>> {
    let mut socket = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
    socket.set_read_timeout(Some(PATIENCE))?;
    write!(
        socket,
        "{what} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: close\r\n\
         Content-Length: 0\r\n\r\n"
    )?;
    let mut answer = String::new();
    socket.read_to_string(&mut answer)?;
    Ok(answer)
}
