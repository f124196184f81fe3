//! Which endpoint of the chosen stamp: by weighted chance and load, among those known good, or
//! those not known bad where none is. Fed by the published standings; used by the shell's `forward`.

use std::num::NonZeroU32;

use crate::standing::EndpointStanding;
use crate::table::Balance;

/// The most endpoints that one request remembers as tried.
const TRIED_MAX: usize = 8;

/// One endpoint as the balance sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// May it be used?
    pub standing: EndpointStanding,
    /// Its share relative to its siblings.
    pub weight: NonZeroU32,
    /// Requests in flight there, as this worker knows.
    pub load: u32,
}

impl Candidate {
    const fn is_up(self) -> bool {
        matches!(self.standing, EndpointStanding::Up | EndpointStanding::Warming(_))
    }

    /// Its weight in tenths, as far as it is warm.
    fn share(self) -> u64 {
        let tenths = match self.standing {
            EndpointStanding::Warming(percent) => u64::from(percent / 10).clamp(1, 10),
            EndpointStanding::Up
            | EndpointStanding::Unknown
            | EndpointStanding::Trial
            | EndpointStanding::Out(_) => 10,
        };
        u64::from(self.weight.get()) * tenths
    }
}

/// What one pick leans on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Draw {
    /// Any number, each as likely as every other.
    pub random: u64,
    /// Counts the picks of this worker for this stamp.
    pub turn: u64,
}

/// The endpoints that a request has tried already, by their place in the stamp's list. Remembers
/// the last eight: more attempts than that are not worth making.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tried {
    places: [usize; TRIED_MAX],
    count: usize,
}

impl Tried {
    /// Remembers one more.
    pub fn add(&mut self, place: usize) {
        if let Some(slot) = self.places.get_mut(self.count % TRIED_MAX) {
            *slot = place;
            self.count += 1;
        }
    }

    /// Was this one tried?
    #[must_use]
    pub fn contains(&self, place: usize) -> bool {
        self.places.iter().take(self.count).any(|tried| *tried == place)
    }
}

/// The place of the endpoint to use, or `None` when all that may be used were tried.
///
/// An endpoint on trial is never picked: see [`on_trial`].
#[must_use]
pub fn pick<C>(candidates: C, balance: Balance, tried: Tried, draw: Draw) -> Option<usize>
where
    C: Iterator<Item = Candidate> + Clone,
{
    if candidates.size_hint().1 == Some(1) {
        // Most stamps have one endpoint: nothing to weigh.
        return usable(candidates, tried).next().map(|(place, _)| place);
    }
    let group = usable(candidates, tried);
    let total = total_weight(group.clone());
    let first = match balance {
        Balance::RoundRobin => return at_weight(group, in_turn(draw.turn, total)).map(|it| it.0),
        Balance::LeastRequest => at_weight(group.clone(), share(draw.random >> 32, total))?,
    };
    let others = group.filter(|(place, _)| *place != first.0);
    let others_total = total - first.1.share();
    let second = at_weight(others, share(draw.random & u64::from(u32::MAX), others_total));
    Some(second.filter(|second| is_less_loaded(second.1, first.1)).unwrap_or(first).0)
}

/// The place of an untried endpoint whose breaker is half-open, if there is one: whoever takes its
/// one trial from the shell may send a request there.
#[must_use]
pub fn on_trial(candidates: impl Iterator<Item = Candidate>, tried: Tried) -> Option<usize> {
    let mut places = candidates.enumerate();
    let (place, _) = places.find(|(place, candidate)| {
        matches!(candidate.standing, EndpointStanding::Trial) && !tried.contains(*place)
    })?;
    Some(place)
}

/// Untried candidates of the best standing that any untried one has.
fn usable<C>(candidates: C, tried: Tried) -> impl Iterator<Item = (usize, Candidate)> + Clone
where
    C: Iterator<Item = Candidate> + Clone,
{
    let untried = candidates.enumerate().filter(move |(place, _)| !tried.contains(*place));
    let any_up = untried.clone().any(|(_, it)| it.is_up());
    untried.filter(move |(_, candidate)| match any_up {
        true => candidate.is_up(),
        false => candidate.standing == EndpointStanding::Unknown,
    })
}

fn total_weight(group: impl Iterator<Item = (usize, Candidate)>) -> u64 {
    group.map(|(_, candidate)| candidate.share()).sum()
}

/// The candidate in whose stretch of the summed weights this position lies.
fn at_weight(
    mut group: impl Iterator<Item = (usize, Candidate)>,
    position: u64,
) -> Option<(usize, Candidate)> {
    let mut end = 0;
    group.find(|(_, candidate)| {
        end += candidate.share();
        position < end
    })
}

/// A position below `total` from 32 random bits.
fn share(random: u64, total: u64) -> u64 {
    let position = (u128::from(random) * u128::from(total)) >> 32;
    u64::try_from(position).unwrap_or_default()
}

/// The position of this turn: steps of about 0.618 of the whole visit every position once a round,
/// and those of one heavy endpoint not in one go.
fn in_turn(turn: u64, total: u64) -> u64 {
    if total <= 1 {
        return 0;
    }
    let golden = (total.saturating_mul(618) / 1000).max(1);
    let step = (golden..=total).find(|step| divisor(*step, total) == 1).unwrap_or(1);
    let position = u128::from(turn) * u128::from(step) % u128::from(total);
    u64::try_from(position).unwrap_or_default()
}

/// The greatest common divisor.
const fn divisor(mut a: u64, mut b: u64) -> u64 {
    while b != 0 {
        (a, b) = (b, a % b);
    }
    a
}

/// Compares load per weight. Equal loads leave it at the first, which chance has chosen by weight.
fn is_less_loaded(this: Candidate, than: Candidate) -> bool {
    u64::from(this.load) * than.share() < u64::from(than.load) * this.share()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::standing::OutReason;

    const UP: EndpointStanding = EndpointStanding::Up;
    const OUT: EndpointStanding = EndpointStanding::Out(OutReason::ProbeDown);

    fn candidate(standing: EndpointStanding, weight: u32, load: u32) -> Candidate {
        Candidate { standing, weight: NonZeroU32::new(weight).unwrap(), load }
    }

    fn shares(candidates: &[Candidate], balance: Balance) -> Vec<u32> {
        let mut shares = vec![0; candidates.len()];
        for turn in 0..6000_u64 {
            // A step coprime to 2^64 spreads the draws evenly.
            let draw = Draw { random: turn.wrapping_mul(0x9e37_79b9_7f4a_7c15), turn };
            let place = pick(candidates.iter().copied(), balance, Tried::default(), draw);
            shares[place.unwrap()] += 1;
        }
        shares
    }

    #[test]
    fn idle_endpoints_get_requests_by_weight() {
        let candidates = [candidate(UP, 1, 0), candidate(UP, 2, 0)];
        let shares = shares(&candidates, Balance::LeastRequest);
        assert!((1900..2100).contains(&shares[0]), "{shares:?}");
    }

    #[test]
    fn of_two_endpoints_the_less_loaded_is_picked() {
        let candidates = [candidate(UP, 1, 9), candidate(UP, 1, 8)];
        assert_eq!(shares(&candidates, Balance::LeastRequest), [0, 6000]);
        let weighted = [candidate(UP, 2, 9), candidate(UP, 1, 8)];
        assert_eq!(shares(&weighted, Balance::LeastRequest), [6000, 0]);
    }

    #[test]
    fn turns_are_exact_by_weight_and_not_in_one_go() {
        let candidates = [candidate(UP, 100, 5), candidate(UP, 200, 0)];
        assert_eq!(shares(&candidates, Balance::RoundRobin), [2000, 4000]);
        let first = |turn| {
            let draw = Draw { random: 0, turn };
            pick(candidates.into_iter(), Balance::RoundRobin, Tried::default(), draw)
        };
        assert!((0..6).any(|turn| first(turn) == Some(0)));
        assert!((0..6).any(|turn| first(turn) == Some(1)));
    }

    #[test]
    fn unknown_endpoints_are_used_only_where_none_is_known_good() {
        let unknown = candidate(EndpointStanding::Unknown, 9, 0);
        let mixed = [unknown, candidate(UP, 1, 99)];
        assert_eq!(shares(&mixed, Balance::LeastRequest), [0, 6000]);
        assert_eq!(shares(&[candidate(OUT, 9, 0), unknown], Balance::RoundRobin), [0, 6000]);
    }

    #[test]
    fn what_is_out_on_trial_or_tried_is_never_picked() {
        let trial = candidate(EndpointStanding::Trial, 1, 0);
        let candidates = [candidate(OUT, 1, 0), trial, candidate(UP, 1, 0)];
        let mut tried = Tried::default();
        tried.add(2);
        for balance in [Balance::LeastRequest, Balance::RoundRobin] {
            let draw = Draw { random: u64::MAX, turn: 7 };
            assert_eq!(pick(candidates.into_iter(), balance, tried, draw), None);
        }
        assert_eq!(on_trial(candidates.into_iter(), tried), Some(1));
    }

    #[test]
    fn nothing_is_tried_at_first() {
        let mut tried = Tried::default();
        assert!(!tried.contains(0));
        (0..20).for_each(|place| tried.add(place));
        assert!(tried.contains(19) && tried.contains(12) && !tried.contains(11));
    }
}
