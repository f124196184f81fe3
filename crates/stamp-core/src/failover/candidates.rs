//! The chain of stamps that a request might be served by, and what speaks for or against each: for
//! people. By the same conditions that `choose` goes by, and in the light of what it said.

use super::{Choice, Needs, Refusal, Route, Ways};
use crate::id::StampIndex;
use crate::standing::{OperatorState, StampHealth, StampStanding};
use crate::table::{EdgeMode, RoutingTable};

/// One stamp of the chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// The stamp.
    pub stamp: StampIndex,
    /// The edge that leads there; `None` = it is the home.
    pub edge: Option<(u8, EdgeMode)>,
    /// What is said of it.
    pub verdict: Verdict,
}

/// What speaks for or against a stamp.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is the one that was chosen.
    Serves,
    /// It is the one that was chosen, for the trial of a half-open breaker.
    Tried,
    /// The operator, or the declared state, took it out.
    OutOfService(OperatorState),
    /// Probes or breakers took it out.
    NotHealthy(StampHealth),
    /// The data may not go there.
    Fenced,
    /// The edge takes only safe methods.
    ReadOnly,
    /// It could serve, but another one does: for a home, its tenants are away (all of them, or the
    /// share that this one is of); for an edge, home or an edge before it goes first.
    NotAsked,
}

impl Verdict {
    /// The word used in explanations.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Serves => "serves",
            Self::Tried => "tried",
            Self::OutOfService(_) => "out_of_service",
            Self::NotHealthy(_) => "not_healthy",
            Self::Fenced => "fenced",
            Self::ReadOnly => "read_only",
            Self::NotAsked => "not_asked",
        }
    }
}

/// Home and then each edge in its order, in the light of what [`super::choose_or_try`] said for the
/// same arguments.
#[must_use]
pub fn candidates(
    table: &RoutingTable,
    standings: &[StampStanding],
    needs: Needs,
    chosen: Result<Choice, Refusal>,
) -> Vec<Candidate> {
    let ways = Ways { table, standings, needs };
    let route = chosen.ok().map(|choice| choice.route);
    let home = Candidate {
        stamp: needs.home,
        edge: None,
        verdict: match route {
            Some(Route::Home) => Verdict::Serves,
            Some(Route::HomeTrial) => Verdict::Tried,
            Some(Route::Edge { .. } | Route::EdgeTrial { .. }) | None => {
                ways.against(needs.home).unwrap_or(Verdict::NotAsked)
            }
        },
    };
    let edges = ways.edges().map(|(place, stamp, mode)| {
        let verdict = match route {
            Some(Route::Edge { place: at, .. }) if at == place => Verdict::Serves,
            Some(Route::EdgeTrial { place: at }) if at == place => Verdict::Tried,
            _ => ways.against_edge(stamp, mode).unwrap_or(Verdict::NotAsked),
        };
        Candidate { stamp, edge: Some((place, mode)), verdict }
    });
    std::iter::once(home).chain(edges).collect()
}

impl Ways<'_> {
    /// What the stamp's own standing says against it.
    fn against(&self, stamp: StampIndex) -> Option<Verdict> {
        if self.is_eligible(stamp) {
            return None;
        }
        let standing = self.standings.get(stamp.at());
        Some(match standing {
            Some(standing) if !standing.operator.takes_requests() => {
                Verdict::OutOfService(standing.operator)
            }
            Some(standing) => Verdict::NotHealthy(standing.health),
            None => Verdict::NotHealthy(StampHealth::Unknown),
        })
    }

    /// What speaks against the stamp that such an edge leads to.
    fn against_edge(&self, to: StampIndex, mode: EdgeMode) -> Option<Verdict> {
        self.against(to).or_else(|| {
            if !self.is_allowed(to) {
                return Some(Verdict::Fenced);
            }
            (!self.takes(mode)).then_some(Verdict::ReadOnly)
        })
    }
}
