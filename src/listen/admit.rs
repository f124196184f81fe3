//! How many client connections there are, over all workers: by listener and by client address.

use std::collections::HashMap;
use std::net::IpAddr;
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use stamp_core::pressure::{Bound, Room};

use super::handshake::Turns;

/// Counts connections. Touched when one opens or closes, never by a request.
#[derive(Debug)]
pub struct Admissions {
    listeners: Vec<Open>,
    all: AtomicU32,
    /// What the process may have.
    files_max: Option<u64>,
    clients: Mutex<HashMap<IpAddr, u32>>,
    turns: Turns,
}

#[derive(Debug)]
struct Open {
    count: AtomicU32,
    max: u32,
}

impl Open {
    fn new(max: u32) -> Self {
        Self { count: AtomicU32::new(0), max }
    }
}

/// Counts one more among so many.
fn enter(count: &AtomicU32, max: u32) -> Room {
    Room::of(count.fetch_add(1, Ordering::Relaxed).saturating_add(1), max)
}

/// What a new connection finds.
#[derive(Debug)]
pub struct Found {
    /// Its place; without room it may be kept only if another goes.
    pub admitted: Admitted,
    /// What is left beside it.
    pub room: Room,
    /// Where that is short: at this listener, or over all.
    pub of: Option<u16>,
}

/// A connection that was let in: counted until dropped.
#[derive(Debug)]
pub struct Admitted {
    admissions: Arc<Admissions>,
    listener: u16,
    client: Option<IpAddr>,
}

impl Admissions {
    /// Counters for listeners with these limits, in a process that may have so many files.
    #[must_use]
    pub fn new(connections_max: impl Iterator<Item = u32>, files_max: Option<u64>) -> Arc<Self> {
        Arc::new(Self {
            listeners: connections_max.map(Open::new).collect(),
            all: AtomicU32::new(0),
            files_max,
            clients: Mutex::default(),
            turns: Turns::default(),
        })
    }

    /// The bound over all listeners, where there may be so many connections to stamps.
    #[must_use]
    pub fn bound(&self, to_stamps_max: u64) -> Bound {
        let asked = self.listeners.iter().map(|open| u64::from(open.max)).sum();
        Bound::of(self.files_max, asked, to_stamps_max)
    }

    /// Says in the log where that is less than the listeners ask for.
    pub fn tell_bound(&self, to_stamps_max: u64) {
        let bound = self.bound(to_stamps_max);
        if bound.is_short() {
            tracing::warn!(
                connections_max = bound.max,
                listeners_max = bound.asked,
                files_max = self.files_max,
                "fewer connections than the listeners' max_connections: other open files are for stamps"
            );
        }
    }

    /// Whose turn it is to shake hands.
    pub(super) fn turns(&self) -> &Turns {
        &self.turns
    }

    /// Counts a connection in, unless its client has its fill. There may be so many to stamps.
    pub fn admit(
        self: &Arc<Self>,
        listener: u16,
        (client, per_client_max): (IpAddr, Option<NonZeroU32>),
        to_stamps_max: u64,
    ) -> Option<Found> {
        let open = self.listeners.get(usize::from(listener))?;
        let here = enter(&open.count, open.max);
        let over_all = enter(&self.all, self.bound(to_stamps_max).max);
        let admitted = Admitted { admissions: Arc::clone(self), listener, client: None };
        let admitted = admitted.by_client(client, per_client_max)?;
        // One of this listener's that goes makes room either way.
        let of = (here >= over_all).then_some(listener);
        Some(Found { admitted, room: here.max(over_all), of })
    }

    /// Open connections by listener.
    pub fn open(&self) -> impl Iterator<Item = u32> {
        self.listeners.iter().map(|open| open.count.load(Ordering::Relaxed))
    }
}

impl Admitted {
    /// Counts it for this client too, unless that has its fill. For a connection that was let in
    /// before it was known whose it is.
    pub fn by_client(mut self, client: IpAddr, max: Option<NonZeroU32>) -> Option<Self> {
        let Some(max) = max else { return Some(self) };
        let mut clients = self.admissions.clients.lock().unwrap_or_else(PoisonError::into_inner);
        let count = clients.entry(client).or_default();
        let has_room = *count < max.get();
        *count += u32::from(has_room);
        drop(clients);
        if !has_room {
            return None;
        }
        self.client = Some(client);
        Some(self)
    }
}

impl Drop for Admitted {
    fn drop(&mut self) {
        if let Some(open) = self.admissions.listeners.get(usize::from(self.listener)) {
            open.count.fetch_sub(1, Ordering::Relaxed);
        }
        self.admissions.all.fetch_sub(1, Ordering::Relaxed);
        let Some(client) = self.client else { return };
        let mut clients = self.admissions.clients.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = clients.get_mut(&client) {
            *count -= 1;
            if *count == 0 {
                clients.remove(&client);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1));
    const TWO: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 2));

    #[test]
    fn a_listener_takes_so_many_and_no_more() {
        let admissions = Admissions::new([2].into_iter(), None);
        let find = || admissions.admit(0, (ONE, None), 0).unwrap();
        let (first, second) = (find(), find());
        assert_eq!((first.room, second.room), (Room::Plenty, Room::Scarce));
        let third = find();
        assert_eq!((third.room, third.of), (Room::None, Some(0)));
        drop((first, third));
        assert_eq!(find().room, Room::Scarce);
    }

    #[test]
    fn all_listeners_together_take_half_of_the_files() {
        let admissions = Admissions::new([10, 10].into_iter(), Some(4));
        assert_eq!(admissions.bound(0).max, 2);
        let _first = admissions.admit(0, (ONE, None), 0).unwrap();
        let second = admissions.admit(1, (ONE, None), 0).unwrap();
        assert_eq!((second.room, second.of), (Room::Scarce, None));
        let third = admissions.admit(1, (ONE, None), 0).unwrap();
        assert_eq!((third.room, third.of), (Room::None, None));
    }

    #[test]
    fn one_client_cannot_take_all_places() {
        let admissions = Admissions::new([10].into_iter(), None);
        let first = admissions.admit(0, (ONE, NonZeroU32::new(1)), 0).unwrap();
        assert!(admissions.admit(0, (ONE, NonZeroU32::new(1)), 0).is_none());
        assert!(admissions.admit(0, (TWO, NonZeroU32::new(1)), 0).is_some());
        assert_eq!(admissions.open().collect::<Vec<_>>(), [1]);
        drop(first);
        assert!(admissions.clients.lock().unwrap().is_empty());
        assert_eq!(admissions.all.load(Ordering::Relaxed), 0);
    }
}
