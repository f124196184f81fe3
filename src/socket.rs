//! What every TCP connection is set to, with clients and with stamps.

use std::io;
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};
use tokio::net::TcpStream;

/// A peer that has said nothing for so long is asked whether it is still there,
const SILENT: Duration = Duration::from_secs(60);
/// then this often,
const ASK_EVERY: Duration = Duration::from_secs(15);
/// and after so many questions without an answer the connection is over. So a peer that vanished
/// without a word is noticed within two minutes, also behind a tunnel or a stream that rests.
const QUESTIONS: u32 = 4;

/// Small messages go out at once, and peers that vanished are noticed.
pub(crate) fn set_up(socket: &TcpStream) -> io::Result<()> {
    socket.set_nodelay(true)?;
    let keepalive =
        TcpKeepalive::new().with_time(SILENT).with_interval(ASK_EVERY).with_retries(QUESTIONS);
    SockRef::from(socket).set_tcp_keepalive(&keepalive)
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    #[tokio::test]
    async fn a_peer_that_vanished_is_noticed_within_two_minutes() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let socket = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        set_up(&socket).unwrap();
        let set = SockRef::from(&socket);
        assert!(set.keepalive().unwrap() && set.tcp_nodelay().unwrap());
        let silent = set.tcp_keepalive_time().unwrap();
        let asked = set.tcp_keepalive_interval().unwrap() * set.tcp_keepalive_retries().unwrap();
        assert!(silent + asked <= Duration::from_secs(120));
    }
}
