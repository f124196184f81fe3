//! What every TCP connection is set to, with clients and with stamps.

use std::io;
use std::ops::RangeInclusive;
use std::time::Duration;

use nix::sys::socket::getsockopt;
use nix::{getsockopt_impl, sockopt_impl};
use socket2::{SockRef, TcpKeepalive};
use tokio::net::TcpStream;

/// A peer that has said nothing for so many seconds is asked whether it is still there. How many is drawn for each:
/// the kernel asks all at once that are due within 2 s, and its queue of 1,000 packets drops the rest (of 10,000
/// connections that were opened within seconds 853 were lost, since all their questions were).
const SILENT_SECONDS: RangeInclusive<u64> = 30..=60;
/// Then it is asked this often,
const ASK_EVERY: Duration = Duration::from_secs(15);
/// and after so many questions without an answer the connection is over. So a peer that vanished
/// without a word is noticed within two minutes, also behind a tunnel or a stream that rests.
const QUESTIONS: u32 = 4;

/// Small messages go out at once, and peers that vanished are noticed.
pub(crate) fn set_up(socket: &TcpStream) -> io::Result<()> {
    socket.set_nodelay(true)?;
    let silent = Duration::from_secs(fastrand::u64(SILENT_SECONDS));
    let keepalive =
        TcpKeepalive::new().with_time(silent).with_interval(ASK_EVERY).with_retries(QUESTIONS);
    SockRef::from(socket).set_tcp_keepalive(&keepalive)
}

/// What the kernel may hold for a client besides what is on its way to it, in bytes. By itself it takes megabytes
/// (measured: 790 MB for 1,000 clients that read nothing), which no limit of ours counts.
const UNSENT_BYTES_MAX: u32 = 64 * 1024;

/// The same for a client's connection.
pub(crate) fn set_up_client(socket: &TcpStream) -> io::Result<()> {
    set_up(socket)?;
    SockRef::from(socket).set_tcp_notsent_lowat(UNSENT_BYTES_MAX)
}

/// What the kernel holds for a peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Queue {
    /// Bytes that the peer has acknowledged since the connection began.
    pub(crate) taken: u64,
    /// Is there something that it has not acknowledged?
    pub(crate) waits: bool,
}

/// The start of `struct tcp_info`, up to `tcpi_notsent_bytes` (Linux 4.6 and later).
const TCP_INFO_BYTES: usize = 148;
/// Offsets in it.
const UNACKED: usize = 24;
const BYTES_ACKED: usize = 120;
const NOTSENT_BYTES: usize = 144;

sockopt_impl!(TcpInfo, GetOnly, libc::IPPROTO_TCP, libc::TCP_INFO, [u8; TCP_INFO_BYTES]);

/// What the kernel holds for the peer of this socket; `None` = it does not say.
pub(crate) fn outgoing(socket: &TcpStream) -> Option<Queue> {
    let info = getsockopt(socket, TcpInfo).ok()?;
    let count = |at: usize| info.get(at..)?.first_chunk().copied().map(u32::from_ne_bytes);
    let taken = info.get(BYTES_ACKED..)?.first_chunk().copied().map(u64::from_ne_bytes)?;
    Some(Queue { taken, waits: count(UNACKED)? > 0 || count(NOTSENT_BYTES)? > 0 })
}

/// When it is dropped the peer sees a reset, and what the kernel holds for it is gone.
pub(crate) fn reset_on_drop(socket: &TcpStream) {
    // A socket that is broken already needs none.
    let _broken = SockRef::from(socket).set_linger(Some(Duration::ZERO));
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;

    #[tokio::test]
    async fn a_peer_that_vanished_is_noticed_within_two_minutes() {
        let (socket, _peer) = pair().await;
        set_up(&socket).unwrap();
        let set = SockRef::from(&socket);
        assert!(set.keepalive().unwrap() && set.tcp_nodelay().unwrap());
        let silent = set.tcp_keepalive_time().unwrap();
        let asked = set.tcp_keepalive_interval().unwrap() * set.tcp_keepalive_retries().unwrap();
        assert!(silent + asked <= Duration::from_secs(120));
    }

    #[tokio::test]
    async fn peers_are_not_all_asked_at_once() {
        let (socket, _peer) = pair().await;
        let mut drawn = [0; 61];
        for _ in 0..10_000 {
            set_up(&socket).unwrap();
            let silent = SockRef::from(&socket).tcp_keepalive_time().unwrap().as_secs();
            drawn[usize::try_from(silent).unwrap()] += 1;
        }
        // What is due within 2 s fits into the queue, also of 10,000 connections that are opened together.
        assert!(drawn.windows(2).all(|both| both.iter().sum::<u32>() < 1000), "{drawn:?}");
    }

    async fn pair() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let connecting = TcpStream::connect(listener.local_addr().unwrap());
        let (near, accepted) = tokio::join!(connecting, listener.accept());
        (near.unwrap(), accepted.unwrap().0)
    }

    #[tokio::test]
    async fn the_kernel_tells_what_a_peer_does_not_take() {
        let (mut near, mut far) = pair().await;
        assert!(!outgoing(&near).unwrap().waits);
        SockRef::from(&far).set_recv_buffer_size(4096).unwrap();
        let sent = near.write(&[0; 256 * 1024]).await.unwrap() as u64;
        let before = outgoing(&near).unwrap();
        assert!(before.waits && before.taken < sent, "{before:?} of {sent}");
        let mut rest = vec![0; usize::try_from(sent).unwrap()];
        far.read_exact(&mut rest).await.unwrap();
        // The last acknowledgement may be late.
        let after = loop {
            match outgoing(&near).unwrap() {
                after if !after.waits => break after,
                _ => tokio::task::yield_now().await,
            }
        };
        assert!(after.taken >= sent, "{after:?} of {sent}");
    }

    #[tokio::test]
    async fn a_peer_that_is_cut_sees_a_reset() {
        let (near, mut far) = pair().await;
        reset_on_drop(&near);
        drop(near);
        let seen = far.read(&mut [0]).await.unwrap_err();
        assert_eq!(seen.kind(), io::ErrorKind::ConnectionReset);
    }
}
