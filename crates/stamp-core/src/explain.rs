//! The decisions that a request meets, told step by step: what each source says, whom the request is
//! for, and the chain of stamps that may serve it. Made of the very functions that requests are
//! decided by; nothing is decided here.

use crate::claims::{Claims, Verified};
use crate::clue::{Clue, Source};
use crate::failover::{Candidate, Choice, Needs, Refusal, TrialRisk, candidates, choose_or_try};
use crate::id::StampIndex;
use crate::identify::{self, Head, IdentifyError, Peer};
use crate::resolve::{ResolveError, Target, resolve};
use crate::retry::MethodClass;
use crate::standing::StampStanding;
use crate::table::RoutingTable;

/// A request as far as routing sees it.
#[derive(Clone, Copy, Debug)]
pub struct Question<'a> {
    /// Its head.
    pub head: Head<'a>,
    /// Does it come from a trusted proxy?
    pub peer: Peer,
    /// What its method promises.
    pub method: MethodClass,
    /// What the shell's `auth` made of its token.
    pub verified: Option<&'a Verified<Claims>>,
}

/// What one source says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Heard<'a> {
    /// The source.
    pub source: Source,
    /// Nothing, a clue, or why it cannot be read.
    pub said: Result<Option<Clue<'a>>, IdentifyError>,
}

/// Why a request has no target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Denied {
    /// A source cannot be read.
    Identify(IdentifyError),
    /// What the sources say names nobody who is served.
    Resolve(ResolveError),
}

/// Everything about one request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Story<'a> {
    /// Each source, strongest first, whether or not another one ended it.
    pub heard: [Heard<'a>; 4],
    /// The host demands a verified identity.
    pub verified_demanded: bool,
    /// Whom the request is for.
    pub target: Result<Target, Denied>,
    /// Who may serve it, if it has a target.
    pub ways: Option<Ways>,
}

/// Who may serve a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ways {
    /// Home, then each edge.
    pub candidates: Vec<Candidate>,
    /// Which of them does.
    pub choice: Result<Choice, Refusal>,
}

/// Tells of a request all that is decided before it is sent. `offers` says whether the trial of a
/// half-open breaker is to be had at a stamp.
#[must_use]
pub fn explain<'a>(
    (table, standings): (&'a RoutingTable, &[StampStanding]),
    question: Question<'a>,
    offers: impl FnOnce(StampIndex, TrialRisk) -> bool,
) -> Story<'a> {
    let Question { head, peer, method, verified } = question;
    let target = target(table, &question);
    let ways = target.ok().map(|target| {
        let needs = Needs::of(&target, method, (table, standings));
        let choice = choose_or_try(table, standings, needs, offers);
        Ways { candidates: candidates(table, standings, needs, choice), choice }
    });
    let host = identify::of_host(&head, table);
    let heard = |source, said| Heard { source, said };
    Story {
        verified_demanded: host.as_ref().is_ok_and(|(_, demanded)| *demanded),
        heard: [
            heard(Source::Jwt, Ok(verified.map(|claims| identify::of_token(claims)))),
            heard(Source::Host, host.map(|(clue, _)| clue)),
            heard(Source::Header, identify::of_header(&head, table, peer)),
            heard(Source::Cookie, identify::of_cookie(&head, table)),
        ],
        target,
        ways,
    }
}

fn target(table: &RoutingTable, question: &Question<'_>) -> Result<Target, Denied> {
    let Question { head, peer, verified, .. } = question;
    let clues = identify::clues(head, table, *peer, *verified).map_err(Denied::Identify)?;
    resolve(table, &clues).map_err(Denied::Resolve)
}
