//! The retry budget that workers share.

use std::sync::Arc;

use loom::thread;
use stamp_core::retry::RetryBudget;
use stamp_core::time::Moment;

use crate::purse::Purse;

const NOW: Moment = Moment(std::time::Duration::ZERO);

/// A purse that pays for so many repeats.
fn purse(repeats: usize) -> Arc<Purse> {
    let first = Some(RetryBudget::new(NOW));
    let mut budgets = std::iter::successors(first, |budget| budget.spent(NOW));
    let all = budgets.clone().count() - 1;
    Arc::new(Purse::new(budgets.nth(all - repeats).unwrap()))
}

#[test]
fn the_last_repeat_is_paid_once() {
    loom::model(|| {
        let purse = purse(1);
        let other = Arc::clone(&purse);
        let thread = thread::spawn(move || other.spend(NOW));
        let (mine, theirs) = (purse.spend(NOW), thread.join().unwrap());
        assert!(mine != theirs);
    });
}

#[test]
fn what_is_earned_while_others_spend_is_not_lost() {
    loom::model(|| {
        let purse = purse(1);
        let other = Arc::clone(&purse);
        let thread = thread::spawn(move || other.earn(2, 50));
        assert!(purse.spend(NOW));
        thread.join().unwrap();
        assert!(purse.spend(NOW), "two requests at 50 % earn one");
        assert!(!purse.spend(NOW));
    });
}
