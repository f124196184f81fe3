//! What operators order: which orders must be taken, and what holds from then on.

use super::{Operator, Record, Serves, Shadow, Word};
use crate::plan::{Declared, StampKey, name};

/// An order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Asked {
    Drain,
    /// Whoever is stranded.
    ForcedDrain,
    Undrain,
    Maintenance,
    /// Whatever is in flight.
    ForcedMaintenance,
    Warming,
    Active,
}

impl Asked {
    /// What the stamp is to be.
    const fn word(self) -> Word {
        match self {
            Self::Drain | Self::ForcedDrain => Word::Draining,
            Self::Undrain | Self::Active => Word::Active,
            Self::Maintenance | Self::ForcedMaintenance => Word::Maintenance,
            Self::Warming => Word::Warming,
        }
    }
}

/// What became of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Decided {
    Commit,
    AlreadySo,
    UnknownStamp,
    WouldStrand(usize),
    NotDraining,
    NotDrained,
    NotEligible,
    NoSuchStep,
}

impl Shadow {
    /// What holds of a stamp: the operator's word where there is one, else the declaration. A word
    /// that lets it serve answers only the declaration that it was given against.
    pub(super) fn effective(&self, stamp: StampKey, declared: Declared) -> Word {
        let declaration = match declared {
            Declared::Active => Word::Active,
            Declared::Draining => Word::Draining,
            Declared::Maintenance => Word::Maintenance,
        };
        match self.records.get(&stamp) {
            Some(Record { word: Word::Active | Word::Warming, over }) if *over != declared => {
                declaration
            }
            Some(record) => record.word,
            None => declaration,
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
            self.pending = Some((stamp, Record { word: asked.word(), over }));
            self.counts.drains += 1;
        }
    }

    fn expected(&self, stamp: StampKey, declared: Declared, asked: Asked) -> Decided {
        let holds = self.effective(stamp, declared);
        let word = self.records.get(&stamp).map(|record| record.word);
        let is_out = matches!(word, Some(Word::Draining | Word::Maintenance));
        let serves = matches!(holds, Word::Active | Word::Warming);
        let is_drained =
            self.stamps.get(&stamp).is_some_and(|model| model.operator == Operator::Drained);
        match asked {
            Asked::Undrain if holds == Word::Draining => Decided::Commit,
            Asked::Undrain => Decided::NotDraining,
            Asked::Drain | Asked::ForcedDrain if is_out => Decided::AlreadySo,
            Asked::Drain if serves && self.stranded(stamp).1 > 0 => {
                Decided::WouldStrand(self.stranded(stamp).1)
            }
            Asked::Drain | Asked::ForcedDrain => Decided::Commit,
            _ if holds == asked.word() && word == Some(holds) => Decided::AlreadySo,
            Asked::Active if holds == Word::Active => Decided::AlreadySo,
            Asked::Warming if holds == Word::Active => Decided::NoSuchStep,
            Asked::Maintenance if serves => Decided::NotDrained,
            Asked::Maintenance if holds == Word::Draining && !is_drained => Decided::NotDrained,
            Asked::Maintenance | Asked::ForcedMaintenance | Asked::Warming | Asked::Active => {
                Decided::Commit
            }
        }
    }

    /// The operator lets a home's requests come back.
    pub(crate) fn failed_back(&mut self, home: StampKey, decided: Decided) {
        let Some(model) = self.stamps.get_mut(&home) else {
            return self.must(decided == Decided::UnknownStamp, || "no such stamp".to_owned());
        };
        let expected = match model.serves {
            Serves::Home | Serves::Split { .. } => Decided::AlreadySo,
            Serves::Edge(_) | Serves::Nobody if !model.is_eligible() => Decided::NotEligible,
            Serves::Edge(_) | Serves::Nobody => Decided::Commit,
        };
        if expected == Decided::Commit {
            model.is_released = true;
            model.losses.clear();
        }
        self.must(decided == expected, || {
            format!("failback of {}: {decided:?}, expected {expected:?}", name(home))
        });
    }

    /// A drill was to begin, or to end.
    pub(crate) fn drilled(&mut self, home: StampKey, drill: Option<(u8, u64)>, decided: Decided) {
        let (least, most) = self.stranded(home);
        let Some(model) = self.stamps.get_mut(&home) else {
            return self.must(decided == Decided::UnknownStamp, || "no such stamp".to_owned());
        };
        let serves = model.serves == Serves::Home && model.is_eligible();
        let is_right = match decided {
            Decided::WouldStrand(_) => drill.is_some() && most > 0,
            Decided::NotEligible => drill.is_some() && !serves && least == 0,
            Decided::Commit => drill.is_none() || (serves && least == 0),
            Decided::AlreadySo
            | Decided::UnknownStamp
            | Decided::NotDraining
            | Decided::NotDrained
            | Decided::NoSuchStep => false,
        };
        if decided == Decided::Commit {
            model.drill = drill;
        }
        self.must(is_right, || format!("drill {drill:?} of {}: {decided:?}", name(home)));
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
            let over = match self.stamps.get(&home).map(|model| model.serves) {
                Some(Serves::Edge(edge) | Serves::Split { edge, .. }) => Some(edge),
                Some(Serves::Home | Serves::Nobody) | None => None,
            };
            if home != stamp && over != Some(stamp) {
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
        if !self.is_out(stamp) {
            self.promised.remove(&stamp);
        }
        if let Some(model) = self.stamps.get_mut(&stamp) {
            (model.is_empty, model.is_warm) = (false, false);
        }
    }

    /// An order was answered: it holds at every worker.
    pub(crate) fn answered(&mut self, stamp: StampKey) {
        if self.is_out(stamp) {
            self.promised.insert(stamp);
        }
    }

    /// Did an operator take it out?
    pub(super) fn is_out(&self, stamp: StampKey) -> bool {
        let word = self.records.get(&stamp).map(|record| record.word);
        matches!(word, Some(Word::Draining | Word::Maintenance))
    }

    /// May no new request go there, whoever decides it?
    pub(super) fn is_closed(&self, stamp: StampKey) -> bool {
        let is_drained =
            self.stamps.get(&stamp).is_some_and(|model| model.operator == Operator::Drained);
        is_drained || self.promised.contains(&stamp)
    }
}
