//! The flip: which stamp answers for each home, decided off the request path and once for all
//! requests.

use std::time::Duration;

use crate::fleet::Fleet;
use crate::fleet::change::{Change, FlipReason};
use crate::fleet::stamp::StampState;
use crate::id::{StampId, StampIndex};
use crate::standing::Serving;
use crate::time::{Moment, share_after};

impl Fleet {
    /// Decides anew who answers for each home.
    pub(super) fn settle_homes(&mut self, now: Moment) {
        for home in (0..).map(StampIndex).take(self.stamps.len()) {
            self.settle_home(home, now);
        }
    }

    /// Decides anew who answers for this home.
    pub(super) fn settle_home(&mut self, home: StampIndex, now: Moment) {
        self.step(home, now);
        if let Some((serving, reason)) = self.flip_due(home, now) {
            self.flip(home, (serving, reason), now);
        }
    }

    /// The next step of a share.
    fn step(&mut self, index: StampIndex, now: Moment) {
        let Some(home) = self.stamps.get_mut(index.at()) else { return };
        let now_away = home.away(now);
        if let Serving::Split { away, .. } = &mut home.standing.serving
            && *away != now_away
            && now_away > 0
        {
            *away = now_away;
            self.revision += 1;
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
            Serving::Home if is_eligible => match (home.away(now), next()?) {
                (away @ 1.., Serving::Edge(edge)) => {
                    Some((Serving::Split { edge, away }, FlipReason::Drill))
                }
                _ => None,
            },
            Serving::Split { edge, .. } => self.split_due(home, (edge, home.away(now)), next),
            Serving::Home => Some((next().unwrap_or(Serving::Nobody), home.out_reason())),
            Serving::Edge(place) => {
                let edge_serves = self.answers(index).is_some_and(|it| self.is_eligible(it));
                if let Some(reason) = home.may_return(now) {
                    let at_once = reason == FlipReason::HomeUndrained || !edge_serves;
                    let share = share_after(Duration::ZERO, home.failback.ramp);
                    let share = share.filter(|_| !at_once);
                    let split = |home: u8| Serving::Split { edge: place, away: 100 - home };
                    return Some((share.map_or(Serving::Home, split), reason));
                }
                // An edge that serves well is not left for an earlier one: each flip costs.
                if edge_serves {
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

    /// The change that is due of a home that shares with an edge.
    fn split_due(
        &self,
        home: &StampState,
        (edge, away): (u8, u8),
        next: impl Fn() -> Option<Serving>,
    ) -> Option<(Serving, FlipReason)> {
        let way = home.ways.iter().find(|(at, _)| *at == edge);
        let edge_serves = way.is_some_and(|(_, to)| self.is_eligible(*to));
        let reason = home.serving_reason.unwrap_or(FlipReason::Drill);
        match (home.standing.is_eligible(), edge_serves) {
            (true, true) if away > 0 => None,
            (true, true) => Some((Serving::Home, reason)),
            (true, false) => Some((Serving::Home, FlipReason::EdgeLost)),
            (false, true) => Some((Serving::Edge(edge), home.out_reason())),
            (false, false) => Some((next().unwrap_or(Serving::Nobody), home.out_reason())),
        }
    }

    pub(super) fn flip(&mut self, index: StampIndex, due: (Serving, FlipReason), now: Moment) {
        let (serving, reason) = due;
        let from = self.answering_id(index);
        let Some(home) = self.stamps.get_mut(index.at()) else { return };
        let barred = home.flip(serving, reason, now);
        let home = home.id.clone();
        let to = self.answering_id(index);
        self.revision += 1;
        let told = home.clone();
        self.changes.push(Change::Flip { home, from, to, serving, reason });
        self.changes.extend(barred.map(|losses| Change::Barred { home: told, losses }));
    }

    pub(super) fn is_eligible(&self, stamp: StampIndex) -> bool {
        self.stamps.get(stamp.at()).is_some_and(|stamp| stamp.standing.is_eligible())
    }

    /// The stamp that answers for this home.
    pub(super) fn answers(&self, index: StampIndex) -> Option<StampIndex> {
        let home = self.stamps.get(index.at())?;
        match home.standing.serving {
            // The home is what requests come back to, and what a drill goes back to.
            Serving::Home | Serving::Split { .. } => Some(index),
            Serving::Edge(place) => {
                let way = home.ways.iter().find(|(at, _)| *at == place);
                way.map(|(_, to)| *to)
            }
            Serving::Nobody => None,
        }
    }

    /// The secondary that serves for this home, or for some of its tenants.
    pub(super) fn secondary_id(&self, index: StampIndex) -> Option<StampId<'static>> {
        let home = self.stamps.get(index.at())?;
        let (Serving::Edge(edge) | Serving::Split { edge, .. }) = home.standing.serving else {
            return None;
        };
        let (_, to) = home.ways.iter().find(|(at, _)| *at == edge)?;
        self.stamps.get(to.at()).map(|stamp| stamp.id.clone())
    }

    pub(super) fn answering_id(&self, index: StampIndex) -> Option<StampId<'static>> {
        let stamp = self.answers(index)?;
        self.stamps.get(stamp.at()).map(|stamp| stamp.id.clone())
    }
}
