//! Homes that were lost and whose requests come back only when an operator says so: what of a fleet
//! must outlive its process, since a restart is nobody's word. Kept as text by the shell's `state`.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::fleet::Fleet;
use crate::fleet::change::FlipReason;
use crate::fleet::stamp::{Losses, Soundness, StampState};
use crate::id::{StampId, StampIndex};
use crate::standing::Serving;
use crate::table::FailbackMode;
use crate::time::Moment;

/// The version of the text.
const VERSION: u64 = 1;

/// Homes that wait for their operator, and who answers for each meanwhile.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Waiting(pub BTreeMap<StampId<'static>, StampId<'static>>);

/// The text is not one that was written here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a list of homes that wait for their operator")]
pub struct NotWaiting;

impl Waiting {
    /// As text.
    #[must_use]
    pub fn encode(&self) -> String {
        let homes = self.0.iter().map(|(home, edge)| (home.as_str().to_owned(), edge.as_str()));
        let homes: BTreeMap<_, _> = homes.collect();
        format!("{}\n", json!({ "version": VERSION, "homes": homes }))
    }

    /// From text.
    pub fn decode(text: &[u8]) -> Result<Self, NotWaiting> {
        let object: Value = serde_json::from_slice(text).or(Err(NotWaiting))?;
        if object.get("version").and_then(Value::as_u64) != Some(VERSION) {
            return Err(NotWaiting);
        }
        let homes = object.get("homes").and_then(Value::as_object).ok_or(NotWaiting)?;
        let id = |text: &str| StampId::parse(text).map(StampId::into_owned).or(Err(NotWaiting));
        let homes =
            homes.iter().map(|(home, edge)| Ok((id(home)?, id(edge.as_str().ok_or(NotWaiting)?)?)));
        homes.collect::<Result<_, _>>().map(Self)
    }
}

impl Fleet {
    /// The homes that wait for their operator now.
    #[must_use]
    pub fn waiting(&self) -> Waiting {
        let homes = self.stamps.iter().zip(0..).filter(|(home, _)| home.is_away_for_good());
        let homes = homes
            .filter_map(|(home, at)| Some((home.id.clone(), self.answering_id(StampIndex(at))?)));
        Waiting(homes.collect())
    }

    /// Those homes waited when the process before this one ended: they still do, where there is
    /// anybody to answer for them.
    pub fn recall(&mut self, waiting: &Waiting, now: Moment) {
        for (home, edge) in &waiting.0 {
            let at = self.stamps.iter().position(|stamp| stamp.id == *home);
            let Some(index) = at.and_then(|at| u32::try_from(at).ok()).map(StampIndex) else {
                continue;
            };
            if self.answers(index) == Some(index) {
                let Some(place) = self.way_to(index, edge) else { continue };
                self.flip(index, (Serving::Edge(place), FlipReason::Recalled), now);
            }
            if let Some(home) = self.stamps.get_mut(index.at()) {
                home.soundness = Soundness::Lost;
                if home.failback.mode == FailbackMode::Auto {
                    home.losses = Losses::barred(now);
                }
            }
        }
    }

    /// The place of the edge to this stamp, or else of the first one that may be used.
    fn way_to(&self, home: StampIndex, stamp: &StampId<'_>) -> Option<u8> {
        let ways = self.stamps.get(home.at()).map_or(&[][..], |home| &home.ways);
        let usable = || ways.iter().filter(|(_, to)| self.is_eligible(*to));
        let is_it = |to: StampIndex| self.stamps.get(to.at()).is_some_and(|it| it.id == *stamp);
        usable().find(|(_, to)| is_it(*to)).or_else(|| usable().next()).map(|(place, _)| *place)
    }
}

impl StampState {
    fn is_away_for_good(&self) -> bool {
        matches!(self.standing.serving, Serving::Edge(_))
            && self.soundness == Soundness::Lost
            && self.waits_for_operator()
            && !self.is_released
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(name: &'static str) -> StampId<'static> {
        StampId::parse(name).unwrap()
    }

    #[test]
    fn text_reads_as_it_was_written() {
        let waiting = Waiting([(id("eu-1"), id("eu-2")), (id("us-1"), id("us-2"))].into());
        assert_eq!(Waiting::decode(waiting.encode().as_bytes()), Ok(waiting));
    }

    #[test]
    fn other_text_is_refused() {
        let waiting = Waiting([(id("eu-1"), id("eu-2"))].into()).encode();
        for cut in 0..waiting.len() - 1 {
            assert_eq!(Waiting::decode(&waiting.as_bytes()[..cut]), Err(NotWaiting), "{cut}");
        }
        assert!(
            Waiting::decode(waiting.replace("\"version\":1", "\"version\":2").as_bytes()).is_err()
        );
        assert!(Waiting::decode(waiting.replace("eu-2", "eu 2").as_bytes()).is_err());
    }
}
