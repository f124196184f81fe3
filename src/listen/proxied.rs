//! A connection that a proxy passes on: before anything else the proxy says whose it is, by the
//! PROXY protocol (`stamp_core::proxy_protocol`). Who may say so, and for how long it is waited
//! for, is decided here; TLS and HTTP follow as on any connection.

use std::io;
use std::net::IpAddr;

use stamp_core::proxy_protocol::{Reader, Refusal, Told};
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;

use super::connection::Connection;
use super::{Found, Stop, per_client};
use crate::proxy::Caller;

/// How much is looked at in one go: more than a header without TLVs has.
const LOOK_BYTES: usize = 256;

/// Why a connection is closed before it has begun.
#[derive(Debug, thiserror::Error)]
enum Refused {
    #[error("the peer is no trusted proxy")]
    Untrusted,
    #[error(transparent)]
    Header(#[from] Refusal),
    #[error("the header took too long")]
    Late,
    #[error("the connection ended before the header did")]
    Ended(#[source] io::Error),
}

impl Refused {
    /// As a label of the metric.
    const fn reason(&self) -> &'static str {
        match self {
            Self::Untrusted => "untrusted",
            Self::Header(Refusal::Missing) => "missing",
            Self::Header(Refusal::Malformed) => "malformed",
            Self::Header(Refusal::TooLong) => "too_long",
            Self::Late => "timeout",
            Self::Ended(_) => "closed",
        }
    }
}

impl Connection {
    /// Hears the proxy out and then serves whoever it speaks for, if the listener and that client
    /// have room for one more.
    pub(super) async fn serve_proxied(mut self, mut socket: TcpStream, found: Option<Found>) {
        let live = self.worker.view().live.clone();
        let proxy = self.caller.address();
        if !live.trusts(proxy) {
            self.refuse_proxy(proxy, &Refused::Untrusted);
            return;
        }
        let Some(place) = self.take_place(found).await else { return self.turn_away(socket).await };
        let mut stop = self.stop.clone();
        let told = tokio::select! {
            // What has come whole is served, also when the process is asked to end.
            biased;
            told = tokio::time::timeout(live.timeouts.first_byte, read(&mut socket)) => told,
            _ = stop.wait_for(|stop| *stop >= Stop::Gracefully) => return,
        };
        match told.unwrap_or(Err(Refused::Late)) {
            Ok(Told::Client(client)) => self.caller = Caller::At(client.ip().to_canonical()),
            Ok(Told::Own) => {}
            Ok(Told::Unknown) => self.caller = Caller::Behind(proxy),
            Err(refused) => {
                self.refuse_proxy(proxy, &refused);
                return;
            }
        }
        let live = self.worker.view().live.clone();
        let client = self.caller.address();
        match place.by_client(client, per_client(&live, client)) {
            Some(place) => self.serve(socket, place).await,
            None => self.turn_away(socket).await,
        }
    }

    fn refuse_proxy(&self, proxy: IpAddr, refused: &Refused) {
        self.worker.counts().unproxied(self.listener, refused.reason());
        tracing::debug!(%proxy, error = %refused, "connection closed before it began");
    }
}

/// Takes the header from the socket, and no byte of what follows it.
async fn read(socket: &mut TcpStream) -> Result<Told, Refused> {
    let mut reader = Reader::default();
    let mut bytes = [0; LOOK_BYTES];
    loop {
        let seen = socket.peek(&mut bytes).await.map_err(Refused::Ended)?;
        if seen == 0 {
            return Err(Refused::Ended(io::ErrorKind::UnexpectedEof.into()));
        }
        let step = reader.advance(bytes.get(..seen).unwrap_or_default())?;
        let header = bytes.get_mut(..step.taken).unwrap_or_default();
        socket.read_exact(header).await.map_err(Refused::Ended)?;
        if let Some(told) = step.told {
            return Ok(told);
        }
    }
}
