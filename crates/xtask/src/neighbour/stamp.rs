//! A stamp that works on so many requests at a time; the others wait for their turn, as in any
//! application with a pool of threads or of database connections.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use crate::failover::{message, now, sleep_until};
use crate::run::Done;

pub(super) const PORT: u16 = 22_101;
/// Requests at a time: with `WORK` of 20 ms each, room for 1,600 a second.
const SLOTS: usize = 32;
const WORK: Duration = Duration::from_millis(20);
const REQUEST_BYTES_MAX: usize = 16 * 1024;
const STACK_BYTES: usize = 128 * 1024;

#[derive(Default)]
struct Slots {
    taken: Mutex<usize>,
    freed: Condvar,
}

impl Slots {
    fn work(&self) {
        let taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self.freed.wait_while(taken, |taken| *taken >= SLOTS);
        *waited.unwrap_or_else(PoisonError::into_inner) += 1;
        sleep_until(now() + WORK);
        *self.taken.lock().unwrap_or_else(PoisonError::into_inner) -= 1;
        self.freed.notify_one();
    }
}

/// Serves until the process ends.
pub(super) fn start() -> Done {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, PORT))?;
    let slots = Arc::new(Slots::default());
    thread::Builder::new().spawn(move || {
        for socket in listener.incoming().flatten() {
            let slots = Arc::clone(&slots);
            let thread = thread::Builder::new().stack_size(STACK_BYTES);
            // A connection that ends, ends its thread: nothing else to do about it.
            drop(thread.spawn(move || drop(converse(socket, &slots))));
        }
    })?;
    Ok(())
}

fn converse(mut socket: TcpStream, slots: &Slots) -> Done {
    socket.set_nodelay(true)?;
    let mut bytes = vec![0; REQUEST_BYTES_MAX];
    let mut filled = 0;
    loop {
        let read = socket.read(bytes.get_mut(filled..).unwrap_or_default())?;
        if read == 0 {
            return Ok(());
        }
        filled += read;
        let Some(message) = message::parse(bytes.get(..filled).unwrap_or_default()) else {
            continue;
        };
        let (length, closes) = (message.length, message.closes);
        if !message.first_line.starts_with("GET /healthz ") {
            slots.work();
        }
        socket.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")?;
        if closes {
            return Ok(());
        }
        bytes.copy_within(length..filled, 0);
        filled -= length;
    }
}
