//! What operators order: which orders must be taken, and what holds from then on.

use super::{Operator, Record, Shadow};
use crate::plan::{Declared, StampKey, name};

/// An order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Asked {
    Drain,
    /// Whoever is stranded.
    ForcedDrain,
    Undrain,
}

/// What became of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Decided {
    Commit,
    AlreadySo,
    UnknownStamp,
    WouldStrand(usize),
    NotDraining,
}

impl Shadow {
    /// What holds of a stamp: the operator's word where there is one and it answers this
    /// declaration, else the declaration.
    pub(super) fn effective(&self, stamp: StampKey, declared: Declared) -> Declared {
        match self.records.get(&stamp) {
            Some(record) if record.drains => Declared::Draining,
            Some(record) if record.over == declared => Declared::Active,
            Some(_) | None => declared,
        }
    }

    /// An order was decided.
    pub(crate) fn decided(&mut self, stamp: StampKey, asked: Asked, decided: Decided) {
        let expected = match self.plan.stamp(stamp).map(|stamp| stamp.declared) {
            None => Decided::UnknownStamp,
            Some(declared) => self.expected(stamp, declared, asked),
        };
        let is_right = match (expected, decided) {
            // How many depends on the fences of tenants and on that of their home; `stranded` says
            // where the two differ.
            (Decided::WouldStrand(_), Decided::WouldStrand(count)) => {
                let (least, most) = self.stranded(stamp);
                (least.max(1)..=most).contains(&count)
            }
            (Decided::WouldStrand(_), Decided::Commit) => self.stranded(stamp).0 == 0,
            (expected, decided) => expected == decided,
        };
        self.must(is_right, || {
            format!("{asked:?} {}: {decided:?}, expected {expected:?}", name(stamp))
        });
        if decided == Decided::Commit
            && let Some(over) = self.plan.stamp(stamp).map(|stamp| stamp.declared)
        {
            self.pending = Some((stamp, Record { drains: asked != Asked::Undrain, over }));
            self.counts.drains += 1;
        }
    }

    fn expected(&self, stamp: StampKey, declared: Declared, asked: Asked) -> Decided {
        let holds = self.effective(stamp, declared);
        let drains = self.records.get(&stamp).is_some_and(|record| record.drains);
        match asked {
            Asked::Undrain if holds == Declared::Draining => Decided::Commit,
            Asked::Undrain => Decided::NotDraining,
            Asked::Drain | Asked::ForcedDrain if drains => Decided::AlreadySo,
            Asked::Drain if holds == Declared::Active && self.stranded(stamp).1 > 0 => {
                Decided::WouldStrand(self.stranded(stamp).1)
            }
            Asked::Drain | Asked::ForcedDrain => Decided::Commit,
        }
    }

    /// How many tenants would have nowhere to go without this stamp: by their own fences, and by
    /// that of their home, which may be narrower.
    fn stranded(&self, stamp: StampKey) -> (usize, usize) {
        let is_way = |home: StampKey, to: StampKey| {
            let model = self.stamps.get(&to);
            to != stamp
                && (to == home
                    || self
                        .plan
                        .stamp(home)
                        .is_some_and(|it| it.edges.iter().any(|edge| edge.0 == to)))
                && model.is_some_and(super::StampModel::is_eligible)
        };
        let (mut least, mut most) = (0, 0);
        for (key, tenant) in &self.plan.tenants {
            let home = tenant.home;
            let serves = self.stamps.get(&home).and_then(|model| model.serves);
            if home != stamp && serves != Some(stamp) {
                continue;
            }
            let inside = |zones: &[&'static str]| {
                let mut all = self.plan.stamps.iter().map(|it| it.key);
                let is_home = |to: StampKey| to == home;
                all.any(|to| is_way(home, to) && (is_home(to) || self.plan.is_inside(zones, to)))
            };
            least += usize::from(!inside(&self.plan.zones(Some(*key), home)));
            most += usize::from(!inside(&self.plan.zones(None, home)));
        }
        (least, most)
    }

    /// The order is in the journal: it outlives the process.
    pub(crate) fn written(&mut self) {
        self.durable.extend(self.pending);
    }

    /// An order holds.
    pub(crate) fn committed(&mut self, stamp: StampKey) {
        if let Some(record) = self.durable.get(&stamp) {
            self.records.insert(stamp, *record);
        }
        if self.records.get(&stamp).is_some_and(|record| !record.drains) {
            self.promised.remove(&stamp);
        }
        if let Some(model) = self.stamps.get_mut(&stamp) {
            model.is_empty = false;
        }
    }

    /// An order was answered: it holds at every worker.
    pub(crate) fn answered(&mut self, stamp: StampKey) {
        if self.records.get(&stamp).is_some_and(|record| record.drains) {
            self.promised.insert(stamp);
        }
    }

    /// May no new request go there, whoever decides it?
    pub(super) fn is_closed(&self, stamp: StampKey) -> bool {
        let is_drained =
            self.stamps.get(&stamp).is_some_and(|model| model.operator == Operator::Drained);
        is_drained || self.promised.contains(&stamp)
    }
}
