//! From an accepted socket to a session: within its time, when it is its turn, and with a word for
//! those who speak HTTP in the clear.

use std::num::NonZeroU32;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::net::TcpStream;
use tokio::sync::{Semaphore, SemaphorePermit};

use super::Stop;
use super::connection::Connection;
use crate::proxy::ProxyError;
use crate::proxy::wire::{ClientSocket, Metered, WireState};
use crate::tls::downstream::{HandshakeFailure, Session};

/// The first byte of a record that begins a handshake (RFC 8446, section 5.1).
const HANDSHAKE_RECORD: u8 = 22;

/// Bounds the handshakes that are under way over all workers; whoever comes when all places are
/// taken waits in line.
#[derive(Debug)]
pub(super) struct Turns {
    /// How many places there are, taken or not.
    size: Mutex<u32>,
    places: Semaphore,
}

impl Default for Turns {
    fn default() -> Self {
        Self { size: Mutex::default(), places: Semaphore::new(0) }
    }
}

impl Turns {
    /// Waits for a place among so many.
    async fn take(&self, max: NonZeroU32) -> Option<SemaphorePermit<'_>> {
        self.resize(max.get());
        self.places.acquire().await.ok()
    }

    fn resize(&self, max: u32) {
        let mut size = self.size.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(more) = max.checked_sub(*size) {
            self.places.add_permits(more as usize);
            *size = max;
        } else {
            // Those that are taken go once they are given back and the next one comes.
            let gone = self.places.forget_permits((*size - max) as usize);
            *size -= u32::try_from(gone).unwrap_or(u32::MAX).min(*size);
        }
    }
}

impl Connection {
    /// The client's connection as requests see it; `None` = there is none, and it was counted why.
    pub(super) async fn open(
        &self,
        socket: TcpStream,
        state: &Arc<WireState>,
    ) -> Option<(ClientSocket, Option<Session>)> {
        if !self.is_tls {
            let socket = Metered::new(socket, Arc::clone(state), self.worker.clock());
            return Some((ClientSocket::Plain(socket), None));
        }
        let patience = self.worker.view().live.timeouts.tls_handshake;
        let mut stop = self.stop.clone();
        let shaken = tokio::select! {
            shaken = tokio::time::timeout(patience, Box::pin(self.shake_hands(socket, state))) => {
                shaken.unwrap_or(Err(HandshakeFailure::TooSlow))
            }
            // A client that has no session yet has asked for nothing: it asks elsewhere.
            _ = stop.wait_for(|stop| *stop >= Stop::Gracefully) => return None,
        };
        let result = match &shaken {
            Ok((_, session)) if session.is_resumed() => "resumed",
            Ok(_) => "ok",
            Err(failure) => failure.as_str(),
        };
        self.worker.counts().shook_hands(self.listener, result);
        match shaken {
            Ok((socket, session)) => Some((socket, Some(session))),
            Err(_) => {
                // Not louder: whoever connects could fill the log.
                tracing::debug!(client = %self.caller.address(), reason = result, "no TLS session");
                None
            }
        }
    }

    async fn shake_hands(
        &self,
        socket: TcpStream,
        state: &Arc<WireState>,
    ) -> Result<(ClientSocket, Session), HandshakeFailure> {
        let view = self.worker.view();
        let tls = view.downstreams.of(self.worker.listener_name(self.listener));
        let tls = Arc::clone(tls.ok_or(HandshakeFailure::Closed)?);
        let _place = self.admissions.turns().take(view.live.limits.handshakes_max).await;
        drop(view);
        let mut first = [0];
        match socket.peek(&mut first).await {
            Ok(1..) if first[0] != HANDSHAKE_RECORD && first[0].is_ascii_alphabetic() => {
                self.refuse(socket, &ProxyError::PlainHttp).await;
                return Err(HandshakeFailure::PlainHttp);
            }
            Ok(1..) => {}
            Ok(_) | Err(_) => return Err(HandshakeFailure::Closed),
        }
        let socket = Metered::new(socket, Arc::clone(state), self.worker.clock());
        let (stream, session) = tls.handshake(socket, &self.pace).await?;
        Ok((ClientSocket::Tls(Box::new(stream)), session))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn max(count: u32) -> NonZeroU32 {
        NonZeroU32::new(count).unwrap()
    }

    #[tokio::test]
    async fn whoever_comes_when_all_places_are_taken_waits() {
        let turns = Turns::default();
        let first = turns.take(max(1)).await.unwrap();
        let mut second = std::pin::pin!(turns.take(max(1)));
        let waits = std::future::poll_fn(|it| std::task::Poll::Ready(second.as_mut().poll(it)));
        assert!(waits.await.is_pending());
        drop(first);
        assert!(second.await.is_some());
    }

    #[tokio::test]
    async fn the_number_of_places_follows_the_configuration() {
        let turns = Turns::default();
        let taken = (turns.take(max(3)).await, turns.take(max(3)).await);
        turns.resize(1);
        assert_eq!((turns.places.available_permits(), *turns.size.lock().unwrap()), (0, 2));
        drop(taken);
        turns.resize(1);
        assert_eq!((turns.places.available_permits(), *turns.size.lock().unwrap()), (1, 1));
        turns.resize(5);
        assert_eq!(turns.places.available_permits(), 5);
    }
}
