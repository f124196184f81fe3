//! One endpoint as its probes see it: a value, moved on by each probe. The shell's `outbound`
//! probes; `fleet` combines this with the breaker and the operator's word.

use std::num::NonZeroU32;
use std::time::Duration;

use crate::table::HealthPolicy;
use crate::time::jittered;

/// The shortest time between two probes of an endpoint whose health is changing.
const HASTE_MIN: Duration = Duration::from_millis(100);

/// What one probe found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProbeResult {
    /// An expected answer in time.
    Good,
    /// Anything else.
    Bad,
}

/// What the probes so far add up to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Health {
    /// No probe was good yet, and too few were bad.
    Unknown {
        /// Bad probes so far, fewer than `fall`.
        failures: u32,
    },
    /// Known good.
    Up {
        /// Bad probes since the last good one, fewer than `fall`.
        failures: u32,
    },
    /// Known bad, and was up before.
    Down {
        /// Good probes since the last bad one, fewer than `rise`.
        successes: u32,
    },
    /// Known bad, and never was anything else: a stamp that is not there yet.
    Absent,
}

impl Default for Health {
    fn default() -> Self {
        Self::Unknown { failures: 0 }
    }
}

impl Health {
    /// The health after one more probe. The first good probe ever is enough: `rise` guards against
    /// flapping, and what was never up has not flapped.
    #[must_use]
    pub const fn after(self, probe: ProbeResult, fall: NonZeroU32, rise: NonZeroU32) -> Self {
        match (probe, self) {
            (ProbeResult::Good, Self::Unknown { .. } | Self::Up { .. } | Self::Absent) => {
                Self::Up { failures: 0 }
            }
            (ProbeResult::Good, Self::Down { successes }) if successes + 1 >= rise.get() => {
                Self::Up { failures: 0 }
            }
            (ProbeResult::Good, Self::Down { successes }) => {
                Self::Down { successes: successes + 1 }
            }
            (ProbeResult::Bad, Self::Down { .. }) => Self::Down { successes: 0 },
            (ProbeResult::Bad, Self::Absent) => Self::Absent,
            (ProbeResult::Bad, Self::Up { failures }) if failures + 1 >= fall.get() => {
                Self::Down { successes: 0 }
            }
            (ProbeResult::Bad, Self::Unknown { failures }) if failures + 1 >= fall.get() => {
                Self::Absent
            }
            (ProbeResult::Bad, Self::Unknown { failures }) => {
                Self::Unknown { failures: failures + 1 }
            }
            (ProbeResult::Bad, Self::Up { failures }) => Self::Up { failures: failures + 1 },
        }
    }

    /// Known bad?
    #[must_use]
    pub const fn is_down(self) -> bool {
        matches!(self, Self::Down { .. } | Self::Absent)
    }

    /// Would the next few probes change it? Then they should come soon. One that is absent may
    /// appear at any moment, and who starts a gateway and its stamps together waits for that.
    #[must_use]
    pub const fn is_changing(self) -> bool {
        match self {
            Self::Unknown { .. } | Self::Absent => true,
            Self::Up { failures } => failures > 0,
            Self::Down { successes } => successes > 0,
        }
    }

    /// The word used in the API and the logs.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Unknown { .. } => "unknown",
            Self::Up { .. } => "up",
            Self::Down { .. } | Self::Absent => "down",
        }
    }
}

/// How long to wait from the start of one probe to the start of the next: the interval, a quarter
/// of it (at least 100 ms) while a change is under way, moved by up to a tenth. The first probe of
/// an endpoint, and the one after a breaker tripped, wait for nothing.
#[must_use]
pub fn next_probe_in(policy: &HealthPolicy, health: Health, chance: u64) -> Duration {
    let span = if health.is_changing() {
        (policy.interval / 4).max(HASTE_MIN).min(policy.interval)
    } else {
        policy.interval
    };
    jittered(span, chance)
}

/// However often requests ask for a probe at once, the probes of an endpoint begin no closer together.
pub const PROBES_APART: Duration = Duration::from_millis(50);

/// How long to wait instead when a request asks for the next probe. Not less than `usual` once a
/// change is under way: `fall` and `rise` say for how long a fault must last, and must not be run
/// through within a moment.
#[must_use]
pub fn asked_probe_in(health: Health, usual: Duration) -> Duration {
    match health {
        Health::Up { failures: 1.. } | Health::Down { successes: 1.. } => usual,
        Health::Unknown { .. } | Health::Absent | Health::Up { .. } | Health::Down { .. } => {
            PROBES_APART.min(usual)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(probes: &str) -> Health {
        let (fall, rise) = (NonZeroU32::new(3).unwrap(), NonZeroU32::new(2).unwrap());
        probes.chars().fold(Health::default(), |health, probe| {
            let result = if probe == '+' { ProbeResult::Good } else { ProbeResult::Bad };
            health.after(result, fall, rise)
        })
    }

    #[test]
    fn the_first_good_probe_is_enough() {
        assert_eq!(after("+"), Health::Up { failures: 0 });
        assert_eq!(after("--+"), Health::Up { failures: 0 });
    }

    #[test]
    fn fall_bad_probes_in_a_row_take_it_down() {
        assert_eq!(after("--"), Health::Unknown { failures: 2 });
        assert_eq!(after("---"), Health::Absent);
        assert_eq!(after("+--"), Health::Up { failures: 2 });
        assert_eq!(after("+---"), Health::Down { successes: 0 });
    }

    #[test]
    fn one_good_probe_forgives_earlier_bad_ones() {
        assert_eq!(after("+--+--"), Health::Up { failures: 2 });
    }

    #[test]
    fn rise_good_probes_in_a_row_bring_it_back() {
        assert_eq!(after("+---+"), Health::Down { successes: 1 });
        assert_eq!(after("+---+-+"), Health::Down { successes: 1 });
        assert_eq!(after("+---++"), Health::Up { failures: 0 });
    }

    #[test]
    fn what_was_never_up_comes_up_with_its_first_good_probe() {
        assert_eq!(after("-----+"), Health::Up { failures: 0 });
    }

    #[test]
    fn whoever_asks_hurries_the_first_sign_of_a_change_only() {
        let usual = Duration::from_secs(5);
        for at_once in ["", "+", "---", "+---"] {
            assert_eq!(asked_probe_in(after(at_once), usual), PROBES_APART, "{at_once}");
        }
        for as_ever in ["+-", "+---+"] {
            assert_eq!(asked_probe_in(after(as_ever), usual), usual, "{as_ever}");
        }
    }

    #[test]
    fn probes_hurry_only_while_a_change_is_under_way() {
        assert!(after("").is_changing());
        assert!(!after("+").is_changing());
        assert!(after("+-").is_changing());
        assert!(!after("+---").is_changing());
        assert!(after("+---+").is_changing());
        assert!(after("---").is_changing(), "it may appear at any moment");
    }
}
