//! When one request must be over: what it waits for is bounded by that.

use std::time::Duration;

use stamp_core::time::Moment;

/// When a request must be over.
#[derive(Clone, Copy, Debug)]
pub(super) struct Deadline {
    /// For the gateway (`request_total`).
    pub(super) own: Option<Moment>,
    /// For its client (`grpc-timeout`).
    pub(super) clients: Option<Moment>,
}

impl Deadline {
    /// Of a request that began then, with these times for it.
    pub(super) fn of(began: Moment, own: Option<Duration>, clients: Option<Duration>) -> Self {
        Self {
            own: own.map(|time| began.after(time)),
            clients: clients.map(|time| began.after(time)),
        }
    }

    /// The earlier of both.
    pub(super) fn first(self) -> Option<Moment> {
        match (self.own, self.clients) {
            (Some(own), Some(clients)) => Some(own.min(clients)),
            (own, clients) => own.or(clients),
        }
    }
}
