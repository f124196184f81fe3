//! Who makes room where there is none: answers that a stamp cannot say to their end, because their
//! clients take nothing, hold its places. Those that stand still longest give way.

use std::cell::RefCell;

use hashbrown::HashMap;
use stamp_core::rate::Pressure;
use stamp_core::time::Moment;

use super::{Entry, Flights, Rider};
use crate::state::{Shortage, Unplaced};

/// Requests that one worker turned away.
#[derive(Debug, Default)]
pub(super) struct Shortages(RefCell<HashMap<Shortage, Unplaced>>);

impl Shortages {
    fn one_more(&self, at: Shortage, now: Moment) -> usize {
        self.0.borrow_mut().entry(at).or_default().one_more(now)
    }

    /// Forgets what is over.
    fn sweep(&self, now: Moment) {
        self.0.borrow_mut().retain(|_, turned| turned.is_recent(now));
    }
}

impl Flights {
    /// A request was turned away. For how many room is to be made now.
    pub(in crate::proxy) fn turned_away(&self, at: Shortage) -> usize {
        self.shortages.one_more(at, self.clock.now())
    }

    /// Forgets shortages that are over.
    pub(in crate::proxy) fn sweep(&self) {
        self.shortages.sweep(self.clock.now());
    }

    /// Has so many answers give way, those first that have stood still longest. Returns how many are
    /// missing. One whose client turns out to take something does not, and others are asked the next time.
    pub(in crate::proxy) fn give_way(&self, at: Shortage, count: usize) -> usize {
        let now = self.clock.now();
        let slab = self.slab.borrow();
        let holders = slab.places.iter().flatten().filter(|entry| entry.holds_room_at(at));
        let mut held = 0;
        let mut still: Vec<_> = holders
            .inspect(|_| held += 1)
            .filter_map(|entry| match &entry.rider {
                Rider::Line(line) => Some((line.stood_still(now)?, line)),
                Rider::Tunnel(..) => None,
            })
            .filter(|(still, _)| *still >= Pressure::STILL_AFTER)
            .collect();
        let pressure = Pressure::of(still.len(), held);
        still.retain(|(still, _)| *still >= pressure.patience());
        if still.len() > count {
            still.select_nth_unstable_by(count, |(one, _), (other, _)| other.cmp(one));
            still.truncate(count);
        }
        for (_, line) in &still {
            line.give_way(pressure);
        }
        count - still.len()
    }
}

impl Entry {
    fn holds_room_at(&self, at: Shortage) -> bool {
        match at {
            Shortage::Endpoint(endpoint) => self.is_connected && self.endpoint == endpoint,
            Shortage::Stamp(stamp) => self.stamp == stamp,
            Shortage::Tenant(tenant) => self.tenant == Some(tenant),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_flood_that_is_turned_away_asks_for_room_now_and_then() {
        let shortages = Shortages::default();
        let at = |ms| Moment(Duration::from_millis(ms));
        let stamp = Shortage::Stamp(1);
        assert_eq!(shortages.one_more(stamp, at(1)), 1);
        assert_eq!(shortages.one_more(stamp, at(2)), 0);
        assert_eq!(shortages.one_more(stamp, at(50)), 0);
        assert_eq!(shortages.one_more(Shortage::Stamp(2), at(50)), 1);
        assert_eq!(shortages.one_more(stamp, at(51)), 3);
        shortages.sweep(at(100));
        assert_eq!(shortages.0.borrow().len(), 1);
        shortages.sweep(at(101));
        assert!(shortages.0.borrow().is_empty());
    }
}
