//! Which workers know when a drain ends: each is told once, by mail, and told again when the drain
//! is another one or is over. When what is core's to say (`stamp_core::closing`).

use std::collections::HashMap;
use std::time::Duration;

use stamp_core::closing::Closing;
use stamp_core::operator::{Force, OperatorRecord};
use stamp_core::time::{Moment, UnixSeconds};

use super::cells::StampCell;
use super::mail::Mailboxes;
use crate::clock::Clock;

/// A drain, as its record tells it from any other.
type Known = (UnixSeconds, UnixSeconds, Force);

/// What the workers were told, by the numbers of cells.
#[derive(Debug, Default)]
pub(super) struct Closings {
    told: HashMap<u32, Known>,
}

impl Closings {
    /// This stamp is draining by this record: tells the workers, unless they know.
    pub(super) fn begin(
        &mut self,
        cell: &StampCell,
        record: &OperatorRecord,
        clock: Clock,
        mailboxes: &Mailboxes,
    ) {
        let Some(deadline) = record.deadline else { return };
        let known = (record.since, deadline, record.force);
        if self.told.insert(cell.number, known) != Some(known) {
            mailboxes.close(cell.number, Some(closing(known, clock)));
        }
    }

    /// This stamp is not draining (any more): what is still open there may stay.
    pub(super) fn end(&mut self, cell: &StampCell, mailboxes: &Mailboxes) {
        if self.told.remove(&cell.number).is_some() {
            mailboxes.close(cell.number, None);
        }
    }
}

/// The drain by the process's own clock: from here on nobody's change of the wall clock matters.
fn closing((since, deadline, force): Known, clock: Clock) -> Closing {
    let (now, wall) = (clock.now(), clock.wall());
    let moment = |at: UnixSeconds| {
        let at = Duration::from_secs(at.0);
        Moment(
            now.0.saturating_add(at.saturating_sub(wall)).saturating_sub(wall.saturating_sub(at)),
        )
    };
    // The record knows whole seconds, rounded down: nobody is closed early for that.
    let began = moment(UnixSeconds(since.0.saturating_add(1))).min(now);
    Closing { began, deadline: moment(deadline), force }
}
