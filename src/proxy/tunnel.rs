//! A connection that switched protocols (WebSocket and others): bytes pass both ways, unread, until
//! a side ends or the stamp's drain demands it.

use std::sync::Arc;

use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;

use super::record::Record;
use super::wire::WireState;
use crate::outbound::pool::Load;
use crate::state::InFlight;

/// Both ends of a tunnel, and what it holds while it lives.
pub(super) struct Tunnel {
    pub(super) client: OnUpgrade,
    pub(super) stamp: OnUpgrade,
    pub(super) in_flight: InFlight,
    pub(super) load: Load,
    pub(super) record: Box<Record>,
    pub(super) wire: Arc<WireState>,
}

/// Lets the tunnel run on its own.
pub(super) fn run(tunnel: Tunnel) {
    tunnel.wire.tunnel();
    tokio::task::spawn_local(pass(tunnel));
}

async fn pass(tunnel: Tunnel) {
    let Tunnel { client, stamp, in_flight, load, mut record, wire: _ } = tunnel;
    let (client, stamp) = match tokio::try_join!(client, stamp) {
        Ok(both) => both,
        Err(error) => {
            tracing::debug!(%error, "a switch of protocols did not come about");
            record.why_broken = Some("switch_failed");
            return;
        }
    };
    let mut closing = in_flight.stamp().closing();
    let (mut client, mut stamp) = (TokioIo::new(client), TokioIo::new(stamp));
    tokio::select! {
        ended = tokio::io::copy_bidirectional(&mut client, &mut stamp) => match ended {
            Ok((_up, down)) => record.sent_bytes = down,
            Err(_broken) => record.why_broken = Some("tunnel_broke_off"),
        },
        _ = closing.wait_for(|closing| *closing) => record.why_broken = Some("stamp_drained"),
    }
    drop((in_flight, load));
}
