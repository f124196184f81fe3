//! Self-suspicion: when more than half of all stamps fail within one window, the one thing that
//! they have in common is this gateway. It keeps the last standing and says so.

use std::time::Duration;

use crate::fleet::Fleet;
use crate::fleet::change::{Change, FlipReason};
use crate::fleet::stamp::StampState;
use crate::id::{EndpointIndex, StampIndex};
use crate::standing::Serving;
use crate::time::Moment;

/// Fewer failures than this are no sign of anything in common, however few stamps there are.
const FAILING_MIN: usize = 3;

impl Fleet {
    /// Does the gateway suspect itself?
    #[must_use]
    pub const fn is_suspect(&self) -> bool {
        self.suspect
    }

    /// The evidence about this stamp has changed: is it still about stamps?
    pub(super) fn weigh_evidence(&mut self, index: StampIndex, now: Moment) {
        if self.notes_failure(index, now) {
            self.judge_itself(now);
        }
    }

    /// Another table is in force: stamps that failed may be gone, and sound ones added.
    pub(super) fn weigh_evidence_anew(&mut self, now: Moment) {
        for index in (0..).map(StampIndex).take(self.stamps.len()) {
            self.notes_failure(index, now);
        }
        self.judge_itself_again(now);
    }

    /// Time has passed, or the stamps are others: does it still suspect itself?
    pub(super) fn judge_itself_again(&mut self, now: Moment) {
        if self.suspect {
            self.judge_itself(now);
        }
    }

    /// When it trusts itself again if nothing else fails.
    pub(super) fn trusts_itself_at(&self) -> Option<Moment> {
        self.eases_since.map(|since| since.after(self.window()))
    }

    /// Notes whether all evidence is against this stamp. Says whether that is new.
    fn notes_failure(&mut self, index: StampIndex, now: Moment) -> bool {
        let is_sound = self.is_sound_by_evidence(index);
        let Some(stamp) = self.stamps.get_mut(index.at()) else { return false };
        match (stamp.failed_at, is_sound) {
            (Some(_), true) => stamp.failed_at = None,
            // What never was known good has not failed.
            (None, false) if stamp.was_up => stamp.failed_at = Some(now),
            (None, _) | (Some(_), false) => return false,
        }
        true
    }

    fn judge_itself(&mut self, now: Moment) {
        let window = now.0.saturating_sub(self.window());
        let failing = self.stamps.iter().filter_map(|stamp| stamp.failed_at);
        let failing = failing.filter(|at| self.suspect || at.0 >= window).count();
        let of = self.stamps.len();
        let many = failing >= FAILING_MIN && failing * 2 > of;
        let suspect = if self.suspect { !self.has_eased((many, failing), now) } else { many };
        if suspect == self.suspect {
            return;
        }
        self.suspect = suspect;
        self.eases_since = None;
        self.revision += 1;
        self.changes.push(Change::Suspicion { suspect, failing, of });
        if suspect {
            self.restore_since(Moment(window), now);
        } else {
            for index in (0..).map(EndpointIndex).take(self.endpoints.len()) {
                self.settle_endpoint(index, now);
            }
        }
    }

    /// May what still fails be believed? The stamps come back from a fault that they had in common one
    /// after the other: those that are seen a little later must not be taken for failed meanwhile.
    fn has_eased(&mut self, (many, failing): (bool, usize), now: Moment) -> bool {
        if many {
            self.eases_since = None;
            return false;
        }
        let since = *self.eases_since.get_or_insert(now);
        failing == 0 || now.since(since) >= self.window()
    }

    /// Failures no further apart than this are one event: what the slowest probes need to see one.
    fn window(&self) -> Duration {
        let sight = |stamp: &StampState| stamp.health.interval * stamp.health.fall.get();
        self.stamps.iter().map(sight).max().unwrap_or_default()
    }

    /// Takes back what was concluded from failures since then.
    fn restore_since(&mut self, since: Moment, now: Moment) {
        // Asked first: what is taken back one by one may flip a home once more meanwhile.
        let lost: Vec<_> = (0..)
            .map(StampIndex)
            .zip(&self.stamps)
            .filter(|(_, home)| home.was_lost_since(since))
            .map(|(index, _)| index)
            .collect();
        for index in (0..).map(EndpointIndex).take(self.endpoints.len()) {
            if let Some(endpoint) = self.endpoints.get_mut(index.at()) {
                endpoint.restore_since(since);
            }
            self.settle_endpoint(index, now);
        }
        for index in (0..).map(StampIndex).take(self.stamps.len()) {
            self.sum_up(index, now);
        }
        for index in lost {
            let Some(home) = self.stamps.get_mut(index.at()) else { continue };
            if home.standing.serving != Serving::Home && home.standing.is_eligible() {
                home.losses.forget_last();
                self.flip(index, (Serving::Home, FlipReason::SelfSuspect), now);
            }
        }
        self.settle_homes(now);
    }
}
