//! The client connections of one worker that are asked for nothing, in the order in which they came to
//! rest. They make room for others. One is put down when it has rested for a while (`listen::connection`)
//! and taken out when it is asked again: no request pays for it.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;

use super::wire::WireState;

/// Those of one worker.
#[derive(Debug, Default)]
pub(crate) struct Resting {
    next: Cell<u64>,
    /// By listener, then by their turn.
    known: RefCell<Vec<BTreeMap<u64, Arc<WireState>>>>,
}

/// A connection that rests: until dropped, or let go.
#[derive(Debug)]
pub(crate) struct AtRest {
    resting: Rc<Resting>,
    listener: u16,
    turn: u64,
}

impl Resting {
    /// Puts one down.
    pub(crate) fn enter(self: &Rc<Self>, listener: u16, state: &Arc<WireState>) -> AtRest {
        let turn = self.next.replace(self.next.get() + 1);
        state.keep();
        let mut known = self.known.borrow_mut();
        let place = usize::from(listener);
        if known.len() <= place {
            known.resize_with(place + 1, BTreeMap::new);
        }
        if let Some(own) = known.get_mut(place) {
            own.insert(turn, Arc::clone(state));
        }
        AtRest { resting: Rc::clone(self), listener, turn }
    }

    /// How many rest, by listener.
    pub(super) fn counts(&self) -> Vec<(u16, u32)> {
        let known = self.known.borrow();
        let count = |own: &BTreeMap<_, _>| u32::try_from(own.len()).unwrap_or(u32::MAX);
        (0..).zip(known.iter().map(count)).collect()
    }

    /// Lets the one go that has rested longest, of this listener or (`None`) of any; says of which it
    /// was.
    pub(crate) fn let_one_go(&self, of: Option<u16>) -> Option<u16> {
        let mut known = self.known.borrow_mut();
        let longest =
            (0..).zip(known.iter()).filter(|(listener, _)| of.is_none_or(|of| of == *listener));
        let longest = longest.filter_map(|(listener, own)| Some((*own.keys().next()?, listener)));
        let (_, listener) = longest.min()?;
        let (_, state) = known.get_mut(usize::from(listener))?.pop_first()?;
        drop(known);
        state.let_go();
        Some(listener)
    }
}

impl Drop for AtRest {
    fn drop(&mut self) {
        let mut known = self.resting.known.borrow_mut();
        let own = known.get_mut(usize::from(self.listener));
        drop(own.and_then(|own| own.remove(&self.turn)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_rests_longest_goes_first_and_only_once() {
        let resting = Rc::new(Resting::default());
        let states = [WireState::new(), WireState::new(), WireState::new()];
        let [_first, second, _third] =
            [(1, 0), (0, 1), (1, 2)].map(|(listener, at)| resting.enter(listener, &states[at]));
        assert_eq!(resting.let_one_go(Some(0)), Some(0));
        assert!(states[1].is_let_go());
        assert_eq!(resting.let_one_go(Some(0)), None);
        drop(second);
        assert_eq!(resting.counts(), [(0, 0), (1, 2)]);
        assert_eq!(resting.let_one_go(None), Some(1));
        assert!(states[0].is_let_go() && !states[2].is_let_go());
    }

    #[test]
    fn whoever_is_asked_again_stays_and_rests_anew() {
        let resting = Rc::new(Resting::default());
        let (one, other) = (WireState::new(), WireState::new());
        let rest = resting.enter(0, &one);
        let _other = resting.enter(0, &other);
        drop(rest);
        let _rest = resting.enter(0, &one);
        assert_eq!(resting.let_one_go(None), Some(0));
        assert!(other.is_let_go() && !one.is_let_go());
    }
}
