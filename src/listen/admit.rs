//! How many client connections there are, over all workers: by listener and by client address.

use std::collections::HashMap;
use std::net::IpAddr;
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use super::handshake::Turns;

/// Counts connections. Touched when one opens or closes, never by a request.
#[derive(Debug)]
pub struct Admissions {
    listeners: Vec<Open>,
    clients: Mutex<HashMap<IpAddr, u32>>,
    turns: Turns,
}

#[derive(Debug)]
struct Open {
    count: AtomicU32,
    max: u32,
}

/// A connection that was let in: counted until dropped.
#[derive(Debug)]
pub struct Admitted {
    admissions: Arc<Admissions>,
    listener: u16,
    client: Option<IpAddr>,
}

impl Admissions {
    /// Counters for listeners with these limits.
    #[must_use]
    pub fn new(connections_max: impl Iterator<Item = u32>) -> Arc<Self> {
        let listeners = connections_max.map(|max| Open { count: AtomicU32::new(0), max });
        let (clients, turns) = (Mutex::default(), Turns::default());
        Arc::new(Self { listeners: listeners.collect(), clients, turns })
    }

    /// Whose turn it is to shake hands.
    pub(super) fn turns(&self) -> &Turns {
        &self.turns
    }

    /// Lets a connection in, unless its listener or its client
    /// has its fill.
    pub fn admit(
        self: &Arc<Self>,
        listener: u16,
        client: IpAddr,
        per_client_max: Option<NonZeroU32>,
    ) -> Option<Admitted> {
        let open = self.listeners.get(usize::from(listener))?;
        let admitted = Admitted { admissions: Arc::clone(self), listener, client: None };
        if open.count.fetch_add(1, Ordering::Relaxed) >= open.max {
            return None;
        }
        admitted.by_client(client, per_client_max)
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
        let admissions = Admissions::new([2].into_iter());
        let first = admissions.admit(0, ONE, None).unwrap();
        let _second = admissions.admit(0, ONE, None).unwrap();
        assert!(admissions.admit(0, ONE, None).is_none());
        drop(first);
        assert!(admissions.admit(0, ONE, None).is_some());
    }

    #[test]
    fn one_client_cannot_take_all_places() {
        let admissions = Admissions::new([10].into_iter());
        let first = admissions.admit(0, ONE, NonZeroU32::new(1)).unwrap();
        assert!(admissions.admit(0, ONE, NonZeroU32::new(1)).is_none());
        assert!(admissions.admit(0, TWO, NonZeroU32::new(1)).is_some());
        assert_eq!(admissions.open().collect::<Vec<_>>(), [1]);
        drop(first);
        assert!(admissions.clients.lock().unwrap().is_empty());
    }
}
