//! Which stamp serves a request: home or which edge, and why. Follows what `fleet` published, and
//! checks operator, health and fence once more on every choice.

mod candidates;

pub use candidates::{Candidate, Verdict, candidates};

use crate::directory::FenceIndex;
use crate::id::StampIndex;
use crate::resolve::Target;
use crate::retry::MethodClass;
use crate::standing::{Serving, Slot, StampHealth, StampStanding};
use crate::table::{EdgeMode, RoutingTable};

/// Where the data of a request may go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fence {
    /// Where this tenant's may.
    Tenant(FenceIndex),
    /// Where the home's may: the request names a stamp and no tenant.
    Home,
}

/// What a choice depends on in the request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Needs {
    /// The stamp that it belongs to.
    pub home: StampIndex,
    /// Where its data may go.
    pub fence: Fence,
    /// What its method promises.
    pub method: MethodClass,
    /// Whether it goes over the edge while its home serves only a share.
    pub slot: Slot,
}

impl Needs {
    /// What a request for this target needs, by the table and the standings that it is chosen by.
    #[must_use]
    pub fn of(
        target: &Target,
        method: MethodClass,
        (table, standings): (&RoutingTable, &[StampStanding]),
    ) -> Self {
        let fence = |tenant| Fence::Tenant(table.directory.tenant(tenant).fence);
        let fence = target.tenant.map_or(Fence::Home, fence);
        let standing = standings.get(target.home.at());
        let is_split = standing.is_some_and(|it| matches!(it.serving, Serving::Split { .. }));
        // The name is hashed only where that decides something.
        let name = if is_split { target.tenant_name(table) } else { None };
        let slot = name.map_or(Slot::OF_NOBODY, Slot::of);
        Self { home: target.home, fence, method, slot }
    }
}

/// What becomes of a request that is a trial, when the trial fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TrialRisk {
    /// It is repeated elsewhere, or had nowhere else to go.
    None,
    /// It is lost: it must not be processed twice.
    Lost,
}

impl TrialRisk {
    /// The risk of a request that could go elsewhere.
    #[must_use]
    pub const fn of(method: MethodClass) -> Self {
        match method {
            MethodClass::Safe | MethodClass::Idempotent => Self::None,
            MethodClass::Other => Self::Lost,
        }
    }
}

/// The stamp that serves a request, and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Choice {
    /// The stamp.
    pub stamp: StampIndex,
    /// How the request got there.
    pub route: Route,
}

/// How a request got to its stamp.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Route {
    /// It is the home.
    Home,
    /// Over the failover edge of this place in the home's list.
    Edge {
        /// Its place.
        place: u8,
        /// Why home does not serve.
        why: Why,
    },
    /// To the home, as the trial of a half-open breaker. Only with a trial from the shell in hand.
    HomeTrial,
    /// Over an edge, as the trial of a half-open breaker: no stamp serves without one.
    EdgeTrial {
        /// Its place.
        place: u8,
    },
}

/// Why a home does not serve.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// The operator (or the declared state) took it out.
    Operator,
    /// Probes or breakers did, or its time to hold is not over yet.
    Health,
    /// It serves only a share of its tenants for now: it comes back, warms up, or is drilled.
    Share,
}

impl Why {
    /// The label used in metrics and logs.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Operator => "operator",
            Self::Health => "health",
            Self::Share => "share",
        }
    }
}

/// Why no stamp serves a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// 503 `stamp_draining`: the operator took home out, and there is no way out.
    StampDraining {
        /// The home.
        home: StampIndex,
    },
    /// 503 `stamp_unavailable`: home is down, and there is no way out.
    StampUnavailable {
        /// The home.
        home: StampIndex,
    },
    /// 503 `residency_fenced`: there is a way out, but the data may not take it.
    ResidencyFenced {
        /// The home.
        home: StampIndex,
    },
    /// 503 `read_only_failover`: the way out takes only safe methods.
    ReadOnlyFailover {
        /// The home.
        home: StampIndex,
    },
}

/// Chooses the stamp that serves.
///
/// Where the serving edge is fenced for this tenant, a later edge that is not may serve. A serving
/// edge that is read-only refuses writes rather than let them go to yet another stamp: the reads
/// after them would not find them.
pub fn choose(
    table: &RoutingTable,
    standings: &[StampStanding],
    needs: Needs,
) -> Result<Choice, Refusal> {
    let ways = Ways { table, standings, needs };
    let is_home_eligible = ways.is_eligible(needs.home);
    let first = match ways.home_standing().map(|standing| standing.serving) {
        Some(Serving::Home) if is_home_eligible => return Ok(ways.to_home(Route::Home)),
        Some(Serving::Split { away, .. }) if is_home_eligible && !needs.slot.is_away(away) => {
            return Ok(ways.to_home(Route::Home));
        }
        Some(Serving::Edge(place) | Serving::Split { edge: place, .. }) => place,
        Some(Serving::Home) => 0,
        Some(Serving::Nobody) | None => return Err(ways.nobody()),
    };
    ways.over_edges(first).or_else(|refusal| {
        // Home is sound again and only waits for its time to hold: better home than nobody.
        if is_home_eligible { Ok(ways.to_home(Route::Home)) } else { Err(refusal) }
    })
}

/// Chooses the stamp that serves; a half-open breaker goes first, where home is on trial or nobody
/// serves, if `offers` says that a trial of that stamp is to be had for a request of such a risk.
pub fn choose_or_try(
    table: &RoutingTable,
    standings: &[StampStanding],
    needs: Needs,
    offers: impl FnOnce(StampIndex, TrialRisk) -> bool,
) -> Result<Choice, Refusal> {
    let chosen = choose(table, standings, needs);
    let home = standings.get(needs.home.at()).map(|standing| standing.health);
    // Who would be refused otherwise has nothing to lose.
    let risk = if chosen.is_err() { TrialRisk::None } else { TrialRisk::of(needs.method) };
    if (chosen.is_err() || home == Some(StampHealth::Trial))
        && let Some(trial) = choose_trial(table, standings, needs)
        && offers(trial.stamp, risk)
    {
        return Ok(trial);
    }
    chosen
}

/// Chooses where the request may go as the trial of a half-open breaker. To be asked when home
/// is on trial (`StampHealth::Trial`) or `choose` refused; the request goes there only when it also
/// gets the one trial of an endpoint, else it does what `choose` says.
#[must_use]
pub fn choose_trial(
    table: &RoutingTable,
    standings: &[StampStanding],
    needs: Needs,
) -> Option<Choice> {
    let ways = Ways { table, standings, needs };
    if ways.may_be_tried(needs.home) {
        return Some(ways.to_home(Route::HomeTrial));
    }
    if ways.home_standing()?.serving != Serving::Nobody {
        return None;
    }
    let (place, stamp) = ways.edges().find_map(|(place, to, mode)| {
        let fits = ways.may_be_tried(to) && ways.is_allowed(to) && ways.takes(mode);
        fits.then_some((place, to))
    })?;
    Some(Choice { stamp, route: Route::EdgeTrial { place } })
}

/// Chooses where to repeat a request whose attempt at `failed` may be repeated, before a flip: over
/// the edge that a flip would take. Never from any stamp but the home: one hop is the promise made
/// to tenants about where their data may go.
#[must_use]
pub fn fall_through(
    table: &RoutingTable,
    standings: &[StampStanding],
    needs: Needs,
    failed: StampIndex,
) -> Option<Choice> {
    if failed != needs.home {
        return None;
    }
    Ways { table, standings, needs }.over_edges(0).ok()
}

/// The ways that one request has.
#[derive(Clone, Copy)]
struct Ways<'a> {
    table: &'a RoutingTable,
    standings: &'a [StampStanding],
    needs: Needs,
}

impl Ways<'_> {
    /// The first edge from this place on whose stamp is eligible and allowed, if its mode fits.
    fn over_edges(self, first: u8) -> Result<Choice, Refusal> {
        let home = self.needs.home;
        let mut is_fenced = false;
        for (place, to, mode) in self.edges().filter(|(place, ..)| *place >= first) {
            if !self.is_eligible(to) {
                continue;
            }
            if !self.is_allowed(to) {
                is_fenced = true;
                continue;
            }
            if !self.takes(mode) {
                return Err(Refusal::ReadOnlyFailover { home });
            }
            return Ok(Choice { stamp: to, route: Route::Edge { place, why: self.why() } });
        }
        if is_fenced {
            return Err(Refusal::ResidencyFenced { home });
        }
        Err(self.nobody())
    }

    fn edges(&self) -> impl Iterator<Item = (u8, StampIndex, EdgeMode)> {
        let home = self.needs.home;
        let edges = &self.table.stamp(home).failover;
        // An edge to the home itself would be no hop; the table has none.
        let numbered = (0..u8::MAX).zip(edges).filter(move |(_, edge)| edge.to != home);
        numbered.map(|(place, edge)| (place, edge.to, edge.mode))
    }

    fn is_allowed(&self, to: StampIndex) -> bool {
        let by_home = self.table.stamp_fence_allows(self.needs.home, to);
        match self.needs.fence {
            Fence::Home => by_home,
            Fence::Tenant(fence) => self.table.fence_allows(fence, self.table.stamp(to).residency),
        }
    }

    const fn takes(&self, mode: EdgeMode) -> bool {
        match mode {
            EdgeMode::ReadWrite => true,
            EdgeMode::ReadOnly => matches!(self.needs.method, MethodClass::Safe),
        }
    }

    fn is_eligible(&self, stamp: StampIndex) -> bool {
        self.standings.get(stamp.at()).is_some_and(|standing| standing.is_eligible())
    }

    fn may_be_tried(&self, stamp: StampIndex) -> bool {
        self.standings.get(stamp.at()).is_some_and(|standing| {
            standing.operator.takes_requests() && standing.health == StampHealth::Trial
        })
    }

    fn home_standing(&self) -> Option<&StampStanding> {
        self.standings.get(self.needs.home.at())
    }

    fn why(&self) -> Why {
        match self.home_standing() {
            Some(standing) if !standing.operator.takes_requests() => Why::Operator,
            Some(StampStanding { serving: Serving::Split { .. }, .. }) => Why::Share,
            Some(_) | None => Why::Health,
        }
    }

    fn nobody(&self) -> Refusal {
        let home = self.needs.home;
        match self.why() {
            Why::Operator => Refusal::StampDraining { home },
            Why::Health | Why::Share => Refusal::StampUnavailable { home },
        }
    }

    const fn to_home(self, route: Route) -> Choice {
        Choice { stamp: self.needs.home, route }
    }
}

#[cfg(test)]
mod tests;
