//! The stamps' endpoints as machines that fail in every way that a network knows.

use std::collections::BTreeMap;

use crate::plan::EndpointKey;
use crate::world::{Dice, MS, Micros, SECOND};

/// The longest that a connection may take to come about.
pub(crate) const CONNECT_TIMEOUT: Micros = 400 * MS;
/// The longest that a response head may take.
pub(crate) const HEAD_TIMEOUT: Micros = 1500 * MS;

/// What is wrong with a machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    None,
    /// Its process is gone: connections are reset and refused.
    Dead,
    /// Packets vanish.
    BlackHole,
    /// It takes requests and never answers.
    Hanging,
    Says503,
    Says502,
    Says500,
    /// It takes a request and resets before a head.
    Resets,
    /// It resets after some bytes of the body.
    ResetsInBody,
    /// It closes connections at rest.
    ClosesIdle,
    /// It answers late, but in time.
    Slow,
}

/// All faults.
pub(crate) const FAULTS: [Fault; 10] = [
    Fault::Dead,
    Fault::BlackHole,
    Fault::Hanging,
    Fault::Says503,
    Fault::Says502,
    Fault::Says500,
    Fault::Resets,
    Fault::ResetsInBody,
    Fault::ClosesIdle,
    Fault::Slow,
];

/// Those that requests notice and probes may not.
pub(crate) const BLIND: [Fault; 4] =
    [Fault::Hanging, Fault::Says503, Fault::Resets, Fault::ClosesIdle];

/// One machine.
#[derive(Clone, Debug)]
pub(crate) struct Machine {
    pub(crate) fault: Fault,
    /// Do probes fail too, where they can?
    pub(crate) probes_fail: bool,
    /// Since when probes fail without a break.
    pub(crate) bad_since: Option<Micros>,
    /// How often its process was killed: connections of an earlier life are closed.
    pub(crate) life: u32,
}

/// How an attempt ends, as the machine and the wire know it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// No connection.
    NotConnected,
    /// A connection that had rested was closed before a byte was written.
    NothingWritten,
    /// A connection that had rested was closed after bytes were written.
    ClosedReused,
    /// The connection ended before a response head.
    NoHead,
    /// No response head in time.
    TimedOut,
    /// The endpoint was found to be out while it was waited for: for a connection, or for a head.
    Left { before_sending: bool },
    /// A response head; the body may break off.
    Answered { status: u16, body: Ending },
}

/// How a body ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    Whole,
    BrokenOff,
}

/// What will become of an attempt.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Fate {
    pub(crate) after: Micros,
    pub(crate) outcome: Outcome,
    /// Did the machine begin to work on the request?
    pub(crate) is_processed: bool,
}

/// All machines that a table ever named.
#[derive(Debug, Default)]
pub(crate) struct Machines(BTreeMap<EndpointKey, Machine>);

impl Machines {
    pub(crate) fn of(&mut self, endpoint: EndpointKey) -> &mut Machine {
        let sound = Machine { fault: Fault::None, probes_fail: false, bad_since: None, life: 0 };
        self.0.entry(endpoint).or_insert(sound)
    }

    /// All machines fail no more.
    pub(crate) fn mend_all(&mut self, now: Micros) {
        for machine in self.0.values_mut() {
            machine.set(Fault::None, false, now);
        }
    }
}

impl Machine {
    /// From now on it fails like this.
    pub(crate) fn set(&mut self, fault: Fault, probes_fail: bool, now: Micros) {
        if fault == Fault::Dead && self.fault != Fault::Dead {
            self.life += 1;
        }
        (self.fault, self.probes_fail) = (fault, probes_fail);
        self.bad_since = if self.is_good_to_probes() { None } else { self.bad_since.or(Some(now)) };
    }

    const fn is_good_to_probes(&self) -> bool {
        match self.fault {
            Fault::Dead | Fault::BlackHole => false,
            Fault::Hanging | Fault::Says503 | Fault::Says502 | Fault::Resets => !self.probes_fail,
            Fault::None
            | Fault::Says500
            | Fault::ResetsInBody
            | Fault::ClosesIdle
            | Fault::Slow => true,
        }
    }

    /// How long a probe takes, and whether it is good.
    pub(crate) fn probe(&self, timeout: Micros, dice: &mut Dice) -> (Micros, bool) {
        let good = self.is_good_to_probes();
        let after = match self.fault {
            Fault::BlackHole | Fault::Hanging if !good => timeout,
            Fault::None
            | Fault::Dead
            | Fault::BlackHole
            | Fault::Hanging
            | Fault::Says503
            | Fault::Says502
            | Fault::Says500
            | Fault::Resets
            | Fault::ResetsInBody
            | Fault::ClosesIdle
            | Fault::Slow => dice.between(100, 5 * MS).min(timeout),
        };
        (after, good)
    }

    /// What becomes of an attempt that begins now; `rested` = over a connection of this life.
    pub(crate) fn attempt(&self, rested: Option<u32>, dice: &mut Dice) -> Fate {
        let is_stale = rested.is_some_and(|life| life != self.life)
            || (rested.is_some() && self.fault == Fault::ClosesIdle && dice.percent(60));
        if is_stale {
            return stale(dice);
        }
        let soon = dice.between(200, 10 * MS);
        let fate = |after, outcome, is_processed| Fate { after, outcome, is_processed };
        let answered = |after, status, is_processed| {
            fate(after, Outcome::Answered { status, body: Ending::Whole }, is_processed)
        };
        match self.fault {
            Fault::None | Fault::ClosesIdle => answered(soon, 200, true),
            Fault::Slow => answered(dice.between(100 * MS, SECOND), 200, true),
            Fault::Dead => fate(soon, Outcome::NotConnected, false),
            Fault::BlackHole if rested.is_some() => fate(HEAD_TIMEOUT, Outcome::TimedOut, false),
            Fault::BlackHole => fate(CONNECT_TIMEOUT, Outcome::NotConnected, false),
            Fault::Hanging => fate(HEAD_TIMEOUT, Outcome::TimedOut, dice.percent(80)),
            Fault::Says503 => answered(soon, 503, dice.percent(50)),
            Fault::Says502 => answered(soon, 502, true),
            Fault::Says500 => answered(soon, 500, true),
            Fault::Resets => fate(soon, Outcome::NoHead, dice.percent(80)),
            Fault::ResetsInBody => {
                let body = Ending::BrokenOff;
                fate(soon, Outcome::Answered { status: 200, body }, true)
            }
        }
    }
}

fn stale(dice: &mut Dice) -> Fate {
    let after = dice.between(50, 500);
    if dice.percent(30) {
        return Fate { after, outcome: Outcome::NothingWritten, is_processed: false };
    }
    // HTTP/1.1 cannot tell whether the stamp had begun.
    let is_processed = dice.percent(50);
    Fate { after, outcome: Outcome::ClosedReused, is_processed }
}
