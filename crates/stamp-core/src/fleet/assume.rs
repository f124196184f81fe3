//! What if? The standings that would be published if some stamps were otherwise than they are.

use std::fmt;
use std::str::FromStr;

use crate::fleet::{Fleet, Standings};
use crate::id::{StampId, StampIndex};
use crate::operator::OperatorRefusal;
use crate::standing::{EndpointStanding, OperatorState, OutReason, Serving, StampHealth};
use crate::table::RoutingTable;
use crate::time::Moment;

/// What a stamp is taken for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Assumed {
    /// In service and healthy, and it answers for its own tenants.
    Up,
    /// All its endpoints are down.
    Down,
    /// The operator drains it.
    Draining,
}

impl Assumed {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Up, Self::Down, Self::Draining];

    /// The word used on the command line and in the API.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Up => "up",
            Self::Down => "down",
            Self::Draining => "draining",
        }
    }

    /// What this word means.
    #[must_use]
    pub fn of_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|assumed| assumed.as_str() == word)
    }
}

/// A stamp, and what it is taken for. Written `down=eu-1`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Assumption {
    /// The stamp.
    pub stamp: StampId<'static>,
    /// What it is taken for.
    pub assumed: Assumed,
}

/// A text is no assumption.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an assumption is `up=STAMP`, `down=STAMP` or `draining=STAMP`")]
pub struct NoAssumption;

impl FromStr for Assumption {
    type Err = NoAssumption;

    fn from_str(text: &str) -> Result<Self, NoAssumption> {
        let (word, stamp) = text.split_once('=').ok_or(NoAssumption)?;
        let assumed = Assumed::of_word(word).ok_or(NoAssumption)?;
        let stamp = StampId::parse(stamp).or(Err(NoAssumption))?.into_owned();
        Ok(Self { stamp, assumed })
    }
}

impl fmt::Display for Assumption {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}={}", self.assumed.as_str(), self.stamp)
    }
}

impl Fleet {
    /// What would be published if this were so and everything else as it is. The flips that follow
    /// are made by the rules of all flips. This fleet stays as it is. `table` is the one adopted last.
    pub fn assuming(
        &self,
        table: &RoutingTable,
        assumptions: &[Assumption],
        now: Moment,
    ) -> Result<Standings, OperatorRefusal> {
        let mut fleet = self.clone();
        for Assumption { stamp, assumed } in assumptions {
            let stamp = table.find_stamp(stamp).ok_or(OperatorRefusal::UnknownStamp)?;
            fleet.assume(stamp, *assumed);
        }
        fleet.settle_homes(now);
        Ok(fleet.standings())
    }

    fn assume(&mut self, index: StampIndex, assumed: Assumed) {
        let Some(stamp) = self.stamps.get_mut(index.at()) else { return };
        let standing = &mut stamp.standing;
        let endpoints = match assumed {
            Assumed::Up => {
                standing.operator = OperatorState::Active;
                standing.health = StampHealth::Up;
                standing.serving = Serving::Home;
                stamp.drill = None;
                EndpointStanding::Up
            }
            Assumed::Down => {
                standing.health = StampHealth::Down;
                EndpointStanding::Out(OutReason::ProbeDown)
            }
            Assumed::Draining => {
                standing.operator = OperatorState::Draining;
                return;
            }
        };
        for endpoint in &stamp.endpoints {
            if let Some(endpoint) = self.endpoints.get_mut(endpoint.at()) {
                endpoint.standing = endpoints;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::time::Duration;

    use super::*;
    use crate::fixture;

    const START: Moment = Moment(Duration::ZERO);

    /// Who serves for each stamp under these assumptions.
    fn serving(fleet: &Fleet, table: &RoutingTable, assumed: &[&str]) -> Vec<Serving> {
        let assumptions: Vec<_> = assumed.iter().map(|text| text.parse().unwrap()).collect();
        let standings = fleet.assuming(table, &assumptions, START).unwrap();
        assert!(!standings.is_suspect);
        standings.stamps.iter().map(|standing| standing.serving).collect()
    }

    fn of(stamps: &[(&'static str, &[&'static str], u32)]) -> (RoutingTable, Fleet) {
        let table = fixture::table(stamps);
        let fleet = Fleet::new(&table, BTreeMap::new(), START);
        (table, fleet)
    }

    #[test]
    fn a_stamp_that_is_taken_for_out_is_served_by_its_edge() {
        let (table, fleet) = of(&[("a", &["b"], 5), ("b", &[], 5)]);
        let before = fleet.standings();
        for assumed in ["down=a", "draining=a"] {
            let served = serving(&fleet, &table, &[assumed]);
            assert_eq!(served, [Serving::Edge(0), Serving::Home], "{assumed}");
        }
        assert_eq!(fleet.standings(), before);
    }

    #[test]
    fn most_stamps_may_be_taken_for_down_without_suspicion() {
        let (table, fleet) = of(&[("a", &["b"], 5), ("b", &[], 5), ("c", &["a", "b"], 5)]);
        let served = serving(&fleet, &table, &["down=a", "down=b"]);
        assert_eq!(served, [Serving::Nobody, Serving::Nobody, Serving::Home]);
    }

    #[test]
    fn a_stamp_that_is_taken_for_up_answers_for_itself_at_once() {
        let (table, mut fleet) = of(&[("a", &["b"], 5), ("b", &[], 5)]);
        fleet.assume(StampIndex(0), Assumed::Down);
        fleet.settle_homes(START);
        assert_eq!(serving(&fleet, &table, &[]), [Serving::Edge(0), Serving::Home]);
        assert_eq!(serving(&fleet, &table, &["up=a"]), [Serving::Home, Serving::Home]);
    }

    #[test]
    fn a_stamp_that_is_not_there_is_told() {
        let (table, fleet) = of(&[("a", &[], 5)]);
        let assumptions = ["down=b".parse().unwrap()];
        let refused = fleet.assuming(&table, &assumptions, START);
        assert_eq!(refused, Err(OperatorRefusal::UnknownStamp));
    }

    #[test]
    fn an_assumption_reads_back_as_it_is_written() {
        for text in ["up=eu-1", "down=eu-1", "draining=eu-1"] {
            assert_eq!(text.parse::<Assumption>().unwrap().to_string(), text);
        }
        for wrong in ["", "down", "down=", "eu-1=down", "dead=eu-1", "down=Eu 1"] {
            assert_eq!(wrong.parse::<Assumption>(), Err(NoAssumption), "{wrong}");
        }
    }
}
