//! Who makes room where there is none: requests that a stamp cannot hear to their end, because their clients send
//! next to nothing, and answers that it cannot say to theirs, because they take nothing, hold its places. Those that
//! stand still longest give way.

use std::cell::RefCell;
use std::rc::{Rc, Weak};
use std::time::Duration;

use hashbrown::HashMap;
use stamp_core::rate::{Pressure, Still};
use stamp_core::time::Moment;

use super::{Entry, Flights, Rider, Slab};
use crate::outbound::body::BodySource;
use crate::proxy::line::Line;
use crate::state::Shortage;

/// So long requests that are turned away are counted before room is asked for again.
const ASK_EVERY: Duration = Duration::from_millis(50);

/// Requests that one worker turned away.
#[derive(Debug, Default)]
pub(super) struct Shortages(RefCell<HashMap<Shortage, TurnedAway>>);

#[derive(Clone, Copy, Debug)]
struct TurnedAway {
    /// Since room was asked for.
    count: u32,
    asked: Moment,
}

impl Shortages {
    /// One more was turned away. For how many room is to be made now.
    fn one_more(&self, at: Shortage, now: Moment) -> u32 {
        let mut shortages = self.0.borrow_mut();
        match shortages.get_mut(&at) {
            Some(known) if now.since(known.asked) < ASK_EVERY => {
                known.count += 1;
                0
            }
            Some(known) if now.since(known.asked) < ASK_EVERY * 2 => {
                known.asked = now;
                std::mem::take(&mut known.count) + 1
            }
            // Whoever was turned away earlier is gone.
            Some(_) | None => {
                shortages.insert(at, TurnedAway { count: 0, asked: now });
                1
            }
        }
    }

    /// Forgets what is over.
    fn sweep(&self, now: Moment) {
        self.0.borrow_mut().retain(|_, known| now.since(known.asked) < ASK_EVERY * 2);
    }
}

impl Flights {
    /// A request was turned away. For how many room is to be made now.
    pub(in crate::proxy) fn turned_away(&self, at: Shortage) -> u32 {
        self.shortages.one_more(at, self.clock.now())
    }

    /// Forgets shortages that are over.
    pub(in crate::proxy) fn sweep(&self) {
        self.shortages.sweep(self.clock.now());
    }

    /// Has so many give way, those first that have stood still longest. Returns how many are missing. An
    /// answer whose client turns out to take something does not, and others are asked the next time.
    pub(in crate::proxy) fn give_way(&self, at: Shortage, count: u32) -> u32 {
        self.slab.borrow().give_way(at, count, self.clock.now())
    }
}

impl Slab {
    fn give_way(&self, at: Shortage, count: u32, now: Moment) -> u32 {
        let holders = self.places.iter().flatten().filter(|entry| entry.holds_room_at(at));
        let mut held = 0;
        let mut still: Vec<_> =
            holders.inspect(|_| held += 1).filter_map(|entry| entry.stood_still(now)).collect();
        let count_still = still.iter().filter(|(still, _)| still.is_still()).count();
        let pressure = Pressure::of(count_still, held);
        still.retain(|(still, _)| still.at(pressure) >= pressure.patience());
        let wanted = usize::try_from(count).unwrap_or(usize::MAX);
        if still.len() > wanted {
            let longest_first = |one: &(Still, Slow<'_>), other: &(Still, Slow<'_>)| {
                other.0.at(pressure).cmp(&one.0.at(pressure))
            };
            still.select_nth_unstable_by(wanted, longest_first);
            still.truncate(wanted);
        }
        for (_, slow) in &still {
            match slow {
                Slow::Reader(line) => line.give_way(pressure),
                Slow::Sender(body) => body.give_way(),
            }
        }
        count.saturating_sub(u32::try_from(still.len()).unwrap_or(u32::MAX))
    }
}

/// What is waited for.
enum Slow<'e> {
    /// That a client takes more of its answer.
    Reader(&'e Line),
    /// That it sends more of its request.
    Sender(Rc<BodySource>),
}

impl Entry {
    /// For how long it has stood still, and for whom; `None` = it does not.
    fn stood_still(&self, now: Moment) -> Option<(Still, Slow<'_>)> {
        let Rider::Line(line) = &self.rider else { return None };
        if let Some(still) = line.stood_still(now) {
            return Some((still, Slow::Reader(line)));
        }
        let body = self.body.as_ref().and_then(Weak::upgrade)?;
        Some((body.stood_still(now)?, Slow::Sender(body)))
    }

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
    use super::*;
    use crate::proxy::flights::tests::slab;
    use crate::state::FlightKind;

    const AT_1: Shortage = Shortage::Stamp(1);

    /// Answers of stamp 1 that stand still since these moments, and one of stamp 2.
    fn pressed<const N: usize>(since_ms: [Option<u64>; N], count: u32, now_ms: u64) -> [bool; N] {
        let (slab, wires) = slab([(1, FlightKind::Request); N]);
        let at = |ms| Moment(Duration::from_millis(ms));
        for (wire, since) in wires.iter().zip(since_ms) {
            if let Some(since) = since {
                wire.hold_up(at(since));
            }
        }
        let missing = slab.give_way(AT_1, count, at(now_ms));
        assert_eq!(slab.give_way(Shortage::Stamp(2), count, at(now_ms)), count);
        let pressed = wires.map(|wire| wire.is_pressed());
        let found = pressed.iter().filter(|pressed| **pressed).count();
        assert_eq!(usize::try_from(count - missing).unwrap(), found);
        pressed
    }

    #[test]
    fn those_that_stand_still_longest_give_way_and_no_more_than_are_needed() {
        assert_eq!(pressed([Some(30), Some(10), Some(20)], 2, 1_000), [false, true, true]);
        assert_eq!(pressed([Some(30), Some(10)], 5, 1_000), [true, true]);
        assert_eq!(pressed([Some(800), Some(10)], 5, 1_000), [false, false], "half of them");
        assert_eq!(pressed([Some(800), Some(10)], 5, 2_010), [true, true], "all of them again");
    }

    #[test]
    fn where_most_answers_move_one_has_two_seconds() {
        assert_eq!(pressed([Some(0), None, None], 1, 1_999), [false, false, false]);
        assert_eq!(pressed([Some(0), None, None], 1, 2_000), [true, false, false]);
    }

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
        assert_eq!(shortages.one_more(stamp, at(52)), 0);
        assert_eq!(shortages.one_more(stamp, at(151)), 1, "whoever was turned away is gone");
        shortages.sweep(at(150));
        assert_eq!(shortages.0.borrow().len(), 1);
        shortages.sweep(at(251));
        assert!(shortages.0.borrow().is_empty());
    }
}
