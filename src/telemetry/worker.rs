//! One worker's counts: plain numbers that only their worker writes. A scrape asks each worker for
//! a copy, so that no request ever pays for sharing.

use hashbrown::HashMap;
use stamp_core::drill::Sample;

use super::histogram::Histogram;

/// The methods that have a label of their own; all others are "other", so that clients cannot
/// make series.
pub const METHODS: [&str; 10] =
    ["GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH", "TRACE", "CONNECT", "other"];

/// The label of a method: an index into `METHODS`.
#[must_use]
pub fn method_label(method: &http::Method) -> u8 {
    let known = METHODS.iter().position(|known| *known == method.as_str());
    u8::try_from(known.unwrap_or(METHODS.len() - 1)).unwrap_or(u8::MAX)
}

/// Labels of `requests_total` within one stamp.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct RequestLabels {
    /// Index of the listener.
    pub listener: u16,
    /// Index into `METHODS`.
    pub method: u8,
    /// The status code sent to the client.
    pub code: u16,
}

/// What one worker counted for one stamp (by cell number; `None` where no stamp was found).
#[derive(Clone, Debug, Default)]
pub struct StampCounts {
    /// `requests_total`: few label sets a stamp, so a list beats a map.
    pub requests: Vec<(RequestLabels, u64)>,
    /// `request_duration_seconds`
    pub duration: Histogram,
    /// `pool_wait_seconds`
    pub pool_wait: Histogram,
    /// `errors_total`, by code.
    pub errors: HashMap<&'static str, u64>,
    /// `retries_total`, by reason.
    pub retries: HashMap<&'static str, u64>,
    /// `attempts_total`, by endpoint number and outcome.
    pub attempts: Vec<((u32, &'static str), u64)>,
    /// While its tenants are split between it and an edge: those that moved, and the rest.
    pub moved: Sample,
    /// See `moved`.
    pub rest: Sample,
    /// `failovers_total`, by the number of the stamp that served instead, and reason.
    pub failovers: HashMap<(u32, &'static str), u64>,
    /// `shed_total`, by tier and reason.
    pub shed: TierCounts,
}

/// Counts by the name of a tier and a reason.
pub type TierCounts = Vec<((Box<str>, &'static str), u64)>;

impl StampCounts {
    /// Counts an answered request.
    pub fn answered(&mut self, labels: RequestLabels) {
        add(&mut self.requests, labels, 1);
    }

    /// Counts an attempt at an endpoint.
    pub fn attempted(&mut self, endpoint: u32, outcome: &'static str) {
        add(&mut self.attempts, (endpoint, outcome), 1);
    }

    /// Counts a request that was turned away since its stamp had no room for it.
    pub fn shed(&mut self, tier: &str, reason: &'static str) {
        add_one(&mut self.shed, tier, reason);
    }

    fn merge(&mut self, other: &Self) {
        for ((tier, reason), count) in &other.shed {
            add(&mut self.shed, (tier.clone(), *reason), *count);
        }
        for &(labels, count) in &other.requests {
            add(&mut self.requests, labels, count);
        }
        for &(labels, count) in &other.attempts {
            add(&mut self.attempts, labels, count);
        }
        self.moved = self.moved.and(other.moved);
        self.rest = self.rest.and(other.rest);
        self.duration.merge(&other.duration);
        self.pool_wait.merge(&other.pool_wait);
        add_all(&mut self.errors, &other.errors);
        add_all(&mut self.retries, &other.retries);
        add_all(&mut self.failovers, &other.failovers);
    }
}

/// Everything that one worker counts.
#[derive(Clone, Debug, Default)]
pub struct WorkerCounts {
    /// By stamp cell number; requests without a stamp are in `unrouted`.
    pub stamps: HashMap<u32, StampCounts>,
    /// Requests that no stamp was found for.
    pub unrouted: StampCounts,
    /// `gateway_overhead_seconds`
    pub overhead: Histogram,
    /// `worker_lag_seconds`
    pub lag: Histogram,
    /// `resolutions_total`, by source and result: a few label sets, so a list beats a map.
    pub resolutions: Vec<((&'static str, &'static str), u64)>,
    /// `rate_limited_total`, by tier and reason.
    pub limited: TierCounts,
    /// `jwt_validations_total`, by issuer and result.
    pub tokens: HashMap<(Box<str>, &'static str), u64>,
    /// Idle connections by endpoint number; filled in when the copy is made.
    pub idle_connections: HashMap<u32, u32>,
    /// Client connections by listener; filled in when the copy is made.
    pub client_connections: HashMap<u16, u32>,
    /// Those of them that rest, by listener; filled in when the copy is made.
    pub resting_connections: HashMap<u16, u32>,
    /// `tls_handshakes_total`, by listener and result.
    pub handshakes: Vec<((u16, &'static str), u64)>,
    /// `proxy_protocol_refused_total`, by listener and reason.
    pub unproxied: Vec<((u16, &'static str), u64)>,
    /// `clients_cut_total`, by listener and reason.
    pub cut: Vec<((u16, &'static str), u64)>,
    /// `connections_closed_for_room_total`, by listener.
    pub made_room: HashMap<u16, u64>,
    /// Panics that were caught and answered with 500.
    pub panics: u64,
}

impl WorkerCounts {
    /// The counts of a stamp, or those of requests without one.
    pub fn stamp(&mut self, number: Option<u32>) -> &mut StampCounts {
        match number {
            Some(number) => self.stamps.entry(number).or_default(),
            None => &mut self.unrouted,
        }
    }

    /// Counts what came of a request's clues.
    pub fn resolved(&mut self, source: &'static str, result: &'static str) {
        add(&mut self.resolutions, (source, result), 1);
    }

    /// Counts a handshake at a listener.
    pub fn shook_hands(&mut self, listener: u16, result: &'static str) {
        add(&mut self.handshakes, (listener, result), 1);
    }

    /// Counts a request that was turned away for its tenant's limits.
    pub fn limited(&mut self, tier: &str, reason: &'static str) {
        add_one(&mut self.limited, tier, reason);
    }

    /// Counts a connection without the PROXY header that its listener demands.
    pub fn unproxied(&mut self, listener: u16, reason: &'static str) {
        add(&mut self.unproxied, (listener, reason), 1);
    }

    /// Counts a connection that was closed since its client did nothing but cost.
    pub fn cut(&mut self, listener: u16, reason: &'static str) {
        add(&mut self.cut, (listener, reason), 1);
    }

    /// Counts a connection that rested and was closed for want of room.
    pub fn made_room(&mut self, listener: u16) {
        *self.made_room.entry(listener).or_default() += 1;
    }

    /// Adds what another worker counted.
    pub fn merge(&mut self, other: &Self) {
        for (number, counts) in &other.stamps {
            self.stamps.entry(*number).or_default().merge(counts);
        }
        self.unrouted.merge(&other.unrouted);
        self.overhead.merge(&other.overhead);
        self.lag.merge(&other.lag);
        for &(labels, count) in &other.resolutions {
            add(&mut self.resolutions, labels, count);
        }
        for ((tier, reason), count) in &other.limited {
            add(&mut self.limited, (tier.clone(), *reason), *count);
        }
        add_all(&mut self.tokens, &other.tokens);
        add_all(&mut self.idle_connections, &other.idle_connections);
        add_all(&mut self.client_connections, &other.client_connections);
        add_all(&mut self.resting_connections, &other.resting_connections);
        for &(labels, count) in &other.handshakes {
            add(&mut self.handshakes, labels, count);
        }
        for &(labels, count) in &other.unproxied {
            add(&mut self.unproxied, labels, count);
        }
        for &(labels, count) in &other.cut {
            add(&mut self.cut, labels, count);
        }
        add_all(&mut self.made_room, &other.made_room);
        self.panics += other.panics;
    }
}

/// Adds one; the name is copied the first time only.
fn add_one(counters: &mut TierCounts, tier: &str, reason: &'static str) {
    let known = counters.iter_mut().find(|((name, why), _)| **name == *tier && *why == reason);
    match known {
        Some((_, sum)) => *sum += 1,
        None => counters.push(((tier.into(), reason), 1)),
    }
}

/// Adds to a short list of counters.
fn add<K: PartialEq>(counters: &mut Vec<(K, u64)>, key: K, count: u64) {
    match counters.iter_mut().find(|(known, _)| *known == key) {
        Some((_, sum)) => *sum += count,
        None => counters.push((key, count)),
    }
}

fn add_all<K: Clone + Eq + std::hash::Hash, N: Copy + Default + std::ops::AddAssign>(
    sums: &mut HashMap<K, N>,
    more: &HashMap<K, N>,
) {
    for (key, count) in more {
        *sums.entry(key.clone()).or_default() += *count;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_methods_share_one_label() {
        assert_eq!(METHODS[usize::from(method_label(&http::Method::GET))], "GET");
        let odd = http::Method::from_bytes(b"BREW").unwrap();
        assert_eq!(METHODS[usize::from(method_label(&odd))], "other");
    }

    #[test]
    fn two_workers_counts_add_up() {
        let labels = RequestLabels { listener: 0, method: 0, code: 200 };
        let mut one = WorkerCounts::default();
        one.stamp(Some(7)).answered(labels);
        let mut two = WorkerCounts::default();
        two.stamp(Some(7)).answered(labels);
        two.stamp(Some(7)).attempted(3, "ok");
        for counts in [&mut one, &mut two] {
            counts.limited("gold", "rate");
            counts.limited("gold", "rate");
            counts.stamp(Some(7)).shed("gold", "full");
        }
        one.merge(&two);
        assert_eq!(one.limited, [(("gold".into(), "rate"), 4)]);
        assert_eq!(one.stamp(Some(7)).shed, [(("gold".into(), "full"), 2)]);
        assert_eq!(one.stamp(Some(7)).requests, [(labels, 2)]);
        assert_eq!(one.stamp(Some(7)).attempts, [((3, "ok"), 1)]);
    }
}
