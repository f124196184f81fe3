//! What one worker has in flight at stamps, a place of a slab each: for the counts and ages that a
//! drain shows, and to end what must not last (`stamp_core::closing` says when). Only its worker
//! touches it; what other threads want to know or to end comes by `state::Mail`.

mod shortage;

use std::cell::{Cell, RefCell, RefMut};
use std::rc::{Rc, Weak};
use std::task::Waker;

use hashbrown::HashMap;
use stamp_core::closing::Closing;
use stamp_core::time::{Moment, Occasion};

use super::line::Line;
use crate::clock::Clock;
use crate::outbound::body::BodySource;
use crate::state::{FlightKind, FlightsByStamp, InFlight, TenantKey};
use shortage::Shortages;

/// How something in flight is to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum End {
    /// With a goodbye, where its protocol has one.
    Politely,
    /// Now.
    AtOnce,
}

/// One worker's flights.
#[derive(Debug)]
pub(super) struct Flights {
    clock: Clock,
    slab: RefCell<Slab>,
    /// How the drains end that are under way, by the numbers of stamps' cells.
    drains: RefCell<HashMap<u32, Drain>>,
    serial: Cell<u64>,
    dice: RefCell<fastrand::Rng>,
    shortages: Shortages,
}

#[derive(Debug, Default)]
struct Slab {
    places: Vec<Option<Entry>>,
    free: Vec<usize>,
}

#[derive(Debug)]
struct Entry {
    /// Unique in this worker: a place is used again.
    serial: u64,
    stamp: u32,
    endpoint: u32,
    tenant: Option<TenantKey>,
    /// It has a connection.
    is_connected: bool,
    since: Moment,
    kind: FlightKind,
    rider: Rider,
    /// What its client sends, if that streams.
    body: Option<Weak<BodySource>>,
}

/// Whom to tell that it must end.
#[derive(Debug)]
enum Rider {
    /// A request.
    Line(Line),
    /// The task of a tunnel, once it runs, and what it was told.
    Tunnel(Option<Waker>, Option<End>),
}

#[derive(Clone, Copy, Debug)]
struct Drain {
    serial: u64,
    closing: Closing,
}

/// Something in flight: counted, at its stamp and here, until dropped.
#[derive(Debug)]
pub(super) struct Flight {
    flights: Rc<Flights>,
    place: usize,
    in_flight: InFlight,
}

impl Flights {
    pub(super) fn new(clock: Clock) -> Rc<Self> {
        Rc::new(Self {
            clock,
            slab: RefCell::default(),
            drains: RefCell::default(),
            serial: Cell::new(0),
            dice: RefCell::new(fastrand::Rng::new()),
            shortages: Shortages::default(),
        })
    }

    fn next_serial(&self) -> u64 {
        self.serial.set(self.serial.get() + 1);
        self.serial.get()
    }

    /// Counts a request in that comes over this line, and goes to this endpoint.
    pub(super) fn enter(
        self: &Rc<Self>,
        (in_flight, endpoint): (InFlight, u32),
        (line, tenant): (&Line, Option<TenantKey>),
        body: Option<&Rc<BodySource>>,
        since: Moment,
    ) -> Flight {
        // What an earlier attempt was told is over.
        line.forgive();
        let entry = Entry {
            serial: self.next_serial(),
            stamp: in_flight.stamp().number,
            endpoint,
            tenant,
            is_connected: false,
            since,
            kind: FlightKind::Request,
            rider: Rider::Line(line.clone()),
            body: body.map(Rc::downgrade),
        };
        let place = self.slab.borrow_mut().insert(entry);
        Flight { flights: Rc::clone(self), place, in_flight }
    }

    /// What is in flight now.
    pub(super) fn told(&self) -> FlightsByStamp {
        let now = self.clock.now();
        let mut told = FlightsByStamp::new();
        for entry in self.slab.borrow().places.iter().flatten() {
            told.entry(entry.stamp).or_default().add(entry.kind, now.since(entry.since));
        }
        told
    }

    /// The drain of this stamp ends so; `None` = it is over or was cancelled.
    pub(super) fn close(self: &Rc<Self>, stamp: u32, closing: Option<Closing>) {
        let Some(closing) = closing else {
            self.drains.borrow_mut().remove(&stamp);
            return;
        };
        let serial = self.next_serial();
        self.drains.borrow_mut().insert(stamp, Drain { serial, closing });
        let long_lived = self.slab.borrow().long_lived(stamp);
        for (place, entry) in long_lived {
            self.close_in_time(place, entry, stamp);
        }
        if let Some(cut_at) = closing.cut_at() {
            let (flights, due) = (Rc::clone(self), self.clock.instant(cut_at));
            tokio::task::spawn_local(async move {
                tokio::time::sleep_until(due).await;
                if flights.is_under_way(stamp, serial) {
                    flights.slab.borrow_mut().cut_all(stamp);
                }
            });
        }
    }

    fn is_under_way(&self, stamp: u32, serial: u64) -> bool {
        self.drains.borrow().get(&stamp).is_some_and(|drain| drain.serial == serial)
    }

    /// If its stamp is draining: draws the moment for what has become long-lived, and waits for it.
    fn close_in_time(self: &Rc<Self>, place: usize, entry: u64, stamp: u32) {
        let Some(drain) = self.drains.borrow().get(&stamp).copied() else { return };
        let at = Occasion { now: self.clock.now(), chance: self.dice.borrow_mut().u64(..) };
        let due = self.clock.instant(drain.closing.moment(at));
        let flights = Rc::clone(self);
        tokio::task::spawn_local(async move {
            tokio::time::sleep_until(due).await;
            if flights.is_under_way(stamp, drain.serial) {
                flights.slab.borrow_mut().end(place, entry, End::Politely);
            }
        });
    }
}

impl Slab {
    fn insert(&mut self, entry: Entry) -> usize {
        if let Some(place) = self.free.pop()
            && let Some(free) = self.places.get_mut(place)
        {
            *free = Some(entry);
            return place;
        }
        self.places.push(Some(entry));
        self.places.len() - 1
    }

    fn remove(&mut self, place: usize) {
        if self.places.get_mut(place).and_then(Option::take).is_some() {
            self.free.push(place);
        }
    }

    fn entry(&mut self, place: usize) -> Option<&mut Entry> {
        self.places.get_mut(place)?.as_mut()
    }

    /// Places and serials of what is long-lived at a stamp.
    fn long_lived(&self, stamp: u32) -> Vec<(usize, u64)> {
        let entries = self.places.iter().enumerate();
        let entries = entries.filter_map(|(place, entry)| Some((place, entry.as_ref()?)));
        let of_stamp = entries.filter(|(_, entry)| entry.stamp == stamp);
        let long_lived = of_stamp.filter(|(_, entry)| entry.kind != FlightKind::Request);
        long_lived.map(|(place, entry)| (place, entry.serial)).collect()
    }

    fn end(&mut self, place: usize, serial: u64, end: End) {
        if let Some(entry) = self.entry(place).filter(|entry| entry.serial == serial) {
            entry.rider.tell(end);
        }
    }

    fn cut_all(&mut self, stamp: u32) {
        for entry in self.places.iter_mut().flatten().filter(|entry| entry.stamp == stamp) {
            entry.rider.tell(End::AtOnce);
        }
    }
}

impl Rider {
    fn tell(&mut self, end: End) {
        match self {
            // A request or a stream has no goodbye: that it is incomplete must be seen.
            Self::Line(line) => line.cut(),
            Self::Tunnel(waker, told) => {
                *told = (*told).max(Some(end));
                if let Some(waker) = waker {
                    waker.wake_by_ref();
                }
            }
        }
    }
}

impl Flight {
    /// The request has a connection to its endpoint.
    pub(super) fn note_connected(&self) {
        if let Some(mut entry) = self.entry() {
            entry.is_connected = true;
        }
    }

    /// The answer flows, and does not say for how long.
    pub(super) fn become_stream(&self) {
        self.become_long_lived(|entry| entry.kind = FlightKind::Stream);
    }

    /// The connection switched protocols.
    pub(super) fn become_tunnel(&mut self) {
        self.in_flight.become_tunnel();
        self.become_long_lived(|entry| {
            entry.kind = FlightKind::Tunnel;
            entry.rider = Rider::Tunnel(None, None);
        });
    }

    fn become_long_lived(&self, change: impl FnOnce(&mut Entry)) {
        let Some(mut entry) = self.entry() else { return };
        change(&mut entry);
        let (serial, stamp) = (entry.serial, entry.stamp);
        drop(entry);
        if !self.flights.drains.borrow().is_empty() {
            self.flights.close_in_time(self.place, serial, stamp);
        }
    }

    fn entry(&self) -> Option<RefMut<'_, Entry>> {
        let slab = self.flights.slab.borrow_mut();
        RefMut::filter_map(slab, |slab| slab.entry(self.place)).ok()
    }

    /// Four bytes that nobody can foresee from the outside.
    pub(super) fn random_key(&self) -> [u8; 4] {
        self.flights.dice.borrow_mut().u32(..).to_ne_bytes()
    }

    /// How this tunnel is to end, if it is. Wakes `waker` when that changes.
    pub(super) fn end(&self, waker: &Waker) -> Option<End> {
        let mut entry = self.entry()?;
        let Rider::Tunnel(known, told) = &mut entry.rider else { return None };
        match known {
            Some(known) => known.clone_from(waker),
            None => *known = Some(waker.clone()),
        }
        *told
    }
}

impl Drop for Flight {
    fn drop(&mut self) {
        self.flights.slab.borrow_mut().remove(self.place);
    }
}

#[cfg(test)]
mod tests;
