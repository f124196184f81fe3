//! What may stand on a stamp's port instead of the stamp: nobody who answers a handshake, or
//! another program.

use std::net::SocketAddr;

use socket2::{Domain, Socket, Type};
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio::task::{JoinHandle, JoinSet};

use super::http1::Wire;
use super::stamp::{listen, reserve};

/// A port that completes no handshake: a listener with a full backlog drops every further SYN.
/// It is a port again when this is dropped.
#[derive(Debug)]
pub struct BlackHole {
    pub address: SocketAddr,
    _held: Vec<Socket>,
}

impl BlackHole {
    /// Makes one of a reserved address, or of any port that is free.
    pub fn at(address: SocketAddr) -> Self {
        let listener = reserve(address);
        listener.listen(0).unwrap();
        let address = listener.local_addr().unwrap();
        let mut held = vec![listener];
        for _ in 0..4 {
            let filler = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
            filler.set_nonblocking(true).unwrap();
            // In progress or done: either takes a place of the backlog.
            let _in_progress = filler.connect(&address);
            held.push(filler);
        }
        Self { address: address.as_socket().unwrap(), _held: held }
    }
}

/// A program of somebody else that got a stamp's port.
#[derive(Debug)]
pub struct Stranger {
    accepting: JoinHandle<()>,
}

/// What a stranger speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tongue {
    /// It greets in another protocol, and closes.
    Greeting(&'static str),
    /// HTTP, but it knows none of our paths.
    NotFound,
}

/// What a stranger that speaks HTTP answers.
pub const NOT_OURS: &str = "no such page in this service";

impl Stranger {
    /// Takes a reserved port.
    pub fn at(address: SocketAddr, tongue: Tongue) -> Self {
        let listener = listen(address);
        let accepting = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                connections.spawn(speak(stream, tongue));
            }
        });
        Self { accepting }
    }

    /// Gives the port back.
    pub async fn leave(self) {
        self.accepting.abort();
        assert!(self.accepting.await.is_err(), "the accept loop never ends by itself");
    }
}

async fn speak(mut stream: TcpStream, tongue: Tongue) {
    match tongue {
        Tongue::Greeting(text) => drop(stream.write_all(text.as_bytes()).await),
        Tongue::NotFound => {
            let mut wire = Wire::new(stream);
            let head = "HTTP/1.1 404 Not Found\r\nContent-Type: text/plain\r\n";
            let answer = format!("{head}Content-Length: {}\r\n\r\n{NOT_OURS}", NOT_OURS.len());
            while let Ok(head) = wire.head().await {
                let length = head.header("content-length").unwrap_or("0").parse().unwrap();
                if wire.exactly(length).await.is_err()
                    || wire.stream.write_all(answer.as_bytes()).await.is_err()
                {
                    return;
                }
            }
        }
    }
}
