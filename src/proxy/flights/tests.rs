//! The slab alone: who is told to end, and who is not. With timers and sockets, `tests/it/drain*`.

use std::sync::Arc;
use std::time::Duration;

use super::*;
use crate::proxy::wire::WireState;

fn entry(serial: u64, stamp: u32, kind: FlightKind) -> (Entry, Arc<WireState>) {
    let wire = WireState::new();
    let since = Moment(Duration::ZERO);
    (
        Entry {
            serial,
            stamp,
            endpoint: stamp + 10,
            tenant: None,
            is_connected: true,
            since,
            kind,
            rider: Rider::Line(Line::Connection(Arc::clone(&wire))),
            body: None,
        },
        wire,
    )
}

pub(super) fn slab<const N: usize>(of: [(u32, FlightKind); N]) -> (Slab, [Arc<WireState>; N]) {
    let mut slab = Slab::default();
    let mut serial = 0;
    let wires = of.map(|(stamp, kind)| {
        serial += 1;
        let (entry, wire) = entry(serial, stamp, kind);
        slab.insert(entry);
        wire
    });
    (slab, wires)
}

fn cut<const N: usize>(wires: &[Arc<WireState>; N]) -> [bool; N] {
    wires.each_ref().map(|wire| wire.must_end().is_some())
}

#[test]
fn a_place_is_used_again() {
    let (mut slab, _wires) = slab([(1, FlightKind::Request), (1, FlightKind::Request)]);
    slab.remove(0);
    slab.remove(0);
    assert_eq!(slab.insert(entry(3, 1, FlightKind::Request).0), 0);
    assert_eq!(slab.insert(entry(4, 1, FlightKind::Request).0), 2);
}

#[test]
fn streams_and_tunnels_of_the_stamp_are_long_lived_and_nothing_else() {
    let (slab, _wires) = slab([
        (1, FlightKind::Request),
        (1, FlightKind::Stream),
        (2, FlightKind::Stream),
        (1, FlightKind::Tunnel),
    ]);
    assert_eq!(slab.long_lived(1), [(1, 2), (3, 4)]);
}

#[test]
fn an_end_meant_for_a_flight_that_is_over_spares_the_next_one_in_its_place() {
    let (mut slab, [first]) = slab([(1, FlightKind::Stream)]);
    slab.remove(0);
    let (next, second) = entry(2, 1, FlightKind::Stream);
    slab.insert(next);
    slab.end(0, 1, End::Politely);
    assert_eq!(cut(&[first, second]), [false, false]);
}

#[test]
fn a_forced_end_cuts_all_of_the_stamp_and_nobody_else() {
    let (mut slab, wires) =
        slab([(1, FlightKind::Request), (2, FlightKind::Request), (1, FlightKind::Stream)]);
    slab.cut_all(1);
    assert_eq!(cut(&wires), [true, false, true]);
}

#[test]
fn a_tunnel_that_is_cut_is_not_asked_politely_any_more() {
    let mut rider = Rider::Tunnel(None, None);
    rider.tell(End::AtOnce);
    rider.tell(End::Politely);
    assert!(matches!(rider, Rider::Tunnel(None, Some(End::AtOnce))));
}
