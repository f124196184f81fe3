//! What all parts of a simulation lean on: a virtual clock, a queue of what happens next, dice that
//! a seed decides, and the history of what happened.

use std::cell::RefCell;
use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::rc::Rc;

use crate::machines::Machines;
use crate::shadow::Shadow;

/// Microseconds since the simulation began.
pub(crate) type Micros = u64;

/// Microseconds in a millisecond.
pub(crate) const MS: Micros = 1000;
/// Microseconds in a second.
pub(crate) const SECOND: Micros = 1_000_000;

/// The most steps that a failing seed prints.
const HISTORY_MAX: usize = 300;

/// Chance, decided by a seed: `SplitMix64`.
#[derive(Clone, Debug)]
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) const fn new(seed: u64) -> Self {
        Self(seed ^ 0x5851_f42d_4c95_7f2d)
    }

    /// Any number.
    pub(crate) const fn any(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `end`.
    pub(crate) const fn below(&mut self, end: u64) -> u64 {
        self.any() % end
    }

    /// A number from `low` to `high`, both included.
    pub(crate) const fn between(&mut self, low: u64, high: u64) -> u64 {
        low + self.below(high - low + 1)
    }

    /// True so many times of a hundred.
    pub(crate) const fn percent(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }

    /// One of these.
    pub(crate) fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        let count = u64::try_from(from.len()).unwrap();
        &from[usize::try_from(self.below(count)).unwrap()]
    }

    /// These in another order.
    pub(crate) fn shuffle<T>(&mut self, list: &mut [T]) {
        for end in (1..list.len()).rev() {
            let count = u64::try_from(end + 1).unwrap();
            list.swap(end, usize::try_from(self.below(count)).unwrap());
        }
    }
}

/// What happened lately, written only when somebody will read it.
#[derive(Clone, Debug, Default)]
pub(crate) struct History {
    lines: Option<Rc<RefCell<VecDeque<String>>>>,
}

impl History {
    /// A history that is kept.
    pub(crate) fn kept() -> Self {
        Self { lines: Some(Rc::default()) }
    }

    /// Adds a step.
    pub(crate) fn note(&self, now: Micros, step: impl FnOnce() -> String) {
        let Some(lines) = &self.lines else { return };
        let mut lines = lines.borrow_mut();
        if lines.len() == HISTORY_MAX {
            lines.pop_front();
        }
        lines.push_back(format!("{:>12.3} ms  {}", now as f64 / 1000.0, step()));
    }

    /// All that is remembered, a line a step.
    pub(crate) fn text(&self) -> String {
        let Some(lines) = &self.lines else { return String::new() };
        lines.borrow().iter().map(|line| format!("{line}\n")).collect()
    }
}

/// Everything around the gateway, and the shadow that watches it.
#[derive(Debug)]
pub(crate) struct World<E> {
    pub(crate) now: Micros,
    pub(crate) dice: Dice,
    pub(crate) history: History,
    pub(crate) machines: Machines,
    pub(crate) shadow: Shadow,
    queue: BinaryHeap<Reverse<Due<E>>>,
    count: u64,
}

/// Something that will happen; first by time, then in the order in which it was planned.
#[derive(Debug)]
struct Due<E> {
    at: Micros,
    number: u64,
    event: E,
}

impl<E> PartialEq for Due<E> {
    fn eq(&self, other: &Self) -> bool {
        self.number == other.number
    }
}

impl<E> Eq for Due<E> {}

impl<E> PartialOrd for Due<E> {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl<E> Ord for Due<E> {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.at, self.number).cmp(&(other.at, other.number))
    }
}

impl<E> World<E> {
    pub(crate) fn new(dice: Dice, history: History, shadow: Shadow) -> Self {
        let (machines, queue) = (Machines::default(), BinaryHeap::new());
        Self { now: 0, dice, history, machines, shadow, queue, count: 0 }
    }

    /// Plans something for so much later.
    pub(crate) fn after(&mut self, wait: Micros, event: E) {
        self.count += 1;
        self.queue.push(Reverse(Due { at: self.now + wait, number: self.count, event }));
    }

    /// So much time passes, and what is planned comes so much later.
    pub(crate) fn sleep(&mut self, span: Micros) {
        self.now += span;
        let later = |Reverse(due): Reverse<Due<E>>| Reverse(Due { at: due.at + span, ..due });
        self.queue = std::mem::take(&mut self.queue).into_iter().map(later).collect();
    }

    /// The next thing that happens: it is that time now.
    pub(crate) fn next(&mut self) -> Option<E> {
        let Reverse(due) = self.queue.pop()?;
        self.now = due.at;
        Some(due.event)
    }

    pub(crate) fn note(&self, step: impl FnOnce() -> String) {
        self.history.note(self.now, step);
    }
}
