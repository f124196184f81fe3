//! The flip: which stamp answers for each home, decided off the request path and once for all
//! requests.

use crate::fleet::Fleet;
use crate::fleet::change::{Change, FlipReason};
use crate::id::{StampId, StampIndex};
use crate::standing::Serving;
use crate::time::Moment;

impl Fleet {
    /// Decides anew who answers for each home.
    pub(super) fn settle_homes(&mut self, now: Moment) {
        for home in (0..).map(StampIndex).take(self.stamps.len()) {
            self.settle_home(home, now);
        }
    }

    /// Decides anew who answers for this home.
    pub(super) fn settle_home(&mut self, home: StampIndex, now: Moment) {
        if let Some((serving, reason)) = self.flip_due(home, now) {
            self.flip(home, (serving, reason), now);
        }
    }

    /// How many tenants a stamp serves: its own, and those of homes that it answers for. Counts no
    /// further than a breaker cares about.
    pub(super) fn tenants_served(&self, stamp: StampIndex) -> u32 {
        let own = self.stamps.get(stamp.at()).map_or(0, |stamp| stamp.tenants);
        if own >= crate::breaker::WITNESSES_MIN {
            return own;
        }
        let homes = (0..).map(StampIndex).zip(&self.stamps);
        let guests = homes
            .filter(|(home, _)| *home != stamp && self.answers(*home) == Some(stamp))
            .map(|(_, home)| home.tenants);
        guests.fold(own, u32::saturating_add)
    }

    /// The change that is due, if one is.
    fn flip_due(&self, index: StampIndex, now: Moment) -> Option<(Serving, FlipReason)> {
        let home = self.stamps.get(index.at())?;
        let is_eligible = home.standing.is_eligible();
        let next = || {
            let (place, _) = home.ways.iter().find(|(_, to)| self.is_eligible(*to))?;
            Some(Serving::Edge(*place))
        };
        match home.standing.serving {
            Serving::Home if is_eligible => None,
            Serving::Home => Some((next().unwrap_or(Serving::Nobody), home.out_reason())),
            Serving::Edge(_) => {
                if let Some(reason) = home.may_return(now) {
                    return Some((Serving::Home, reason));
                }
                // An edge that serves well is not left for an earlier one: each flip costs.
                if self.answers(index).is_some_and(|stamp| self.is_eligible(stamp)) {
                    return None;
                }
                Some(match next() {
                    Some(edge) => (edge, FlipReason::EdgeLost),
                    None if is_eligible => (Serving::Home, FlipReason::LastResort),
                    None => (Serving::Nobody, FlipReason::EdgeLost),
                })
            }
            Serving::Nobody if is_eligible => Some((Serving::Home, FlipReason::Recovered)),
            Serving::Nobody => Some((next()?, FlipReason::Recovered)),
        }
    }

    fn flip(&mut self, index: StampIndex, due: (Serving, FlipReason), now: Moment) {
        let (serving, reason) = due;
        let from = self.answering_id(index);
        let Some(home) = self.stamps.get_mut(index.at()) else { return };
        home.flip(serving, reason, now);
        let home = home.id.clone();
        let to = self.answering_id(index);
        self.revision += 1;
        self.changes.push(Change::Flip { home, from, to, serving, reason });
    }

    pub(super) fn is_eligible(&self, stamp: StampIndex) -> bool {
        self.stamps.get(stamp.at()).is_some_and(|stamp| stamp.standing.is_eligible())
    }

    /// The stamp that answers for this home.
    pub(super) fn answers(&self, index: StampIndex) -> Option<StampIndex> {
        let home = self.stamps.get(index.at())?;
        match home.standing.serving {
            Serving::Home => Some(index),
            Serving::Edge(place) => {
                let way = home.ways.iter().find(|(at, _)| *at == place);
                way.map(|(_, to)| *to)
            }
            Serving::Nobody => None,
        }
    }

    pub(super) fn answering_id(&self, index: StampIndex) -> Option<StampId<'static>> {
        let stamp = self.answers(index)?;
        self.stamps.get(stamp.at()).map(|stamp| stamp.id.clone())
    }
}
