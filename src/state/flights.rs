//! What is in flight at stamps, by what it means for a drain: counted by each worker in a slab of
//! its own (`proxy::flights`), asked for by mail, and added up here.

use std::collections::HashMap;
use std::time::Duration;

/// What something in flight is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FlightKind {
    /// A request whose answer's head was not forwarded, or whose answer says how long it is: it
    /// ends by itself.
    Request,
    /// An answer that flows without having said how long it is, such as server-sent events.
    Stream,
    /// A connection that switched protocols: a WebSocket, or another upgrade.
    Tunnel,
}

/// What is in flight of one kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct InFlightOf {
    /// How many.
    pub count: u32,
    /// The age of the oldest; `None` = there are none, or it is not known.
    pub oldest: Option<Duration>,
}

/// What is in flight at one stamp.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StampFlights {
    /// Requests.
    pub requests: InFlightOf,
    /// Streams.
    pub streams: InFlightOf,
    /// Tunnels.
    pub tunnels: InFlightOf,
}

/// What is in flight at all stamps, by the numbers of their cells.
pub type FlightsByStamp = HashMap<u32, StampFlights>;

impl InFlightOf {
    /// So many, of no known age.
    #[must_use]
    pub const fn counted(count: u32) -> Self {
        Self { count, oldest: None }
    }

    fn merge(&mut self, other: Self) {
        self.count = self.count.saturating_add(other.count);
        self.oldest = self.oldest.max(other.oldest);
    }
}

impl StampFlights {
    /// Adds one.
    pub fn add(&mut self, kind: FlightKind, age: Duration) {
        let of_kind = match kind {
            FlightKind::Request => &mut self.requests,
            FlightKind::Stream => &mut self.streams,
            FlightKind::Tunnel => &mut self.tunnels,
        };
        of_kind.merge(InFlightOf { count: 1, oldest: Some(age) });
    }

    fn merge(&mut self, other: Self) {
        self.requests.merge(other.requests);
        self.streams.merge(other.streams);
        self.tunnels.merge(other.tunnels);
    }
}

/// What several workers have in flight.
#[must_use]
pub(super) fn merged(of_workers: Vec<FlightsByStamp>) -> FlightsByStamp {
    let mut all = FlightsByStamp::new();
    for (stamp, flights) in of_workers.into_iter().flatten() {
        all.entry(stamp).or_default().merge(flights);
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_of_all_workers_is_told() {
        let one = |kind, age_s| {
            let mut flights = StampFlights::default();
            flights.add(kind, Duration::from_secs(age_s));
            FlightsByStamp::from([(7, flights)])
        };
        let of_workers = [
            one(FlightKind::Request, 1),
            one(FlightKind::Request, 5),
            one(FlightKind::Tunnel, 9),
            FlightsByStamp::new(),
        ];
        let of_stamp = merged(of_workers.into())[&7];
        let oldest = Some(Duration::from_secs(5));
        assert_eq!(of_stamp.requests, InFlightOf { count: 2, oldest });
        assert_eq!(of_stamp.streams, InFlightOf::default());
        assert_eq!(of_stamp.tunnels.count, 1);
    }
}
