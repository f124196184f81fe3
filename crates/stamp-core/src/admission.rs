//! How much one tenant may ask for, and who is turned away first when a stamp is nearly full. Values
//! and rules only: the shell keeps a count and a `Bucket` for each active tenant, over all workers,
//! and a count for each stamp, and asks here.

use std::num::NonZeroU32;
use std::time::Duration;

use crate::time::Moment;

/// So many requests a second, and so many at once after a pause.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    per_second: NonZeroU32,
    burst: NonZeroU32,
    /// What one request takes of a bucket.
    interval_ns: u64,
    /// What a full bucket holds.
    depth_ns: u64,
}

impl Rate {
    /// A rate: at most so many requests within any second, and `burst` more.
    #[must_use]
    pub fn new(per_second: NonZeroU32, burst: NonZeroU32) -> Self {
        // Rounded up: the rate is never exceeded, and missed by a thousandth at most.
        let interval_ns = 1_000_000_000_u64.div_ceil(u64::from(per_second.get()));
        let depth_ns = interval_ns * u64::from(burst.get());
        Self { per_second, burst, interval_ns, depth_ns }
    }

    /// Requests a second.
    #[must_use]
    pub const fn per_second(self) -> u32 {
        self.per_second.get()
    }

    /// Requests at once after a pause.
    #[must_use]
    pub const fn burst(self) -> u32 {
        self.burst.get()
    }
}

/// What is left of a tenant's rate, as the moment at which its bucket is full again (the generic
/// cell rate algorithm: ITU-T I.371, annex A). Eight bytes (`to_bits`), so that workers can share
/// one as an atomic.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Bucket {
    /// On the monotonic clock: enough for 584 years.
    full_at_ns: u64,
}

/// A bucket has nothing left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Empty {
    /// Until there is enough for one request.
    pub wait: Duration,
}

impl Bucket {
    /// The bucket of a tenant that has asked for nothing for long.
    pub const FULL: Self = Self { full_at_ns: 0 };

    /// The bucket after one more request, or how long to wait for that.
    pub fn taken(self, rate: Rate, now: Moment) -> Result<Self, Empty> {
        let now_ns = nanoseconds(now);
        let full_at_ns = self.full_at_ns.max(now_ns).saturating_add(rate.interval_ns);
        let latest_ns = now_ns.saturating_add(rate.depth_ns);
        if full_at_ns > latest_ns {
            return Err(Empty { wait: Duration::from_nanos(full_at_ns - latest_ns) });
        }
        Ok(Self { full_at_ns })
    }

    /// The bucket under a rate that may be another than before: as empty as that can be at most.
    #[must_use]
    pub fn under(self, rate: Rate, now: Moment) -> Self {
        let empty_ns = nanoseconds(now).saturating_add(rate.depth_ns);
        Self { full_at_ns: self.full_at_ns.min(empty_ns) }
    }

    /// Is it full, so that nothing need be known of it any more?
    #[must_use]
    pub fn is_full(self, now: Moment) -> bool {
        self.full_at_ns <= nanoseconds(now)
    }

    /// As one number, for an atomic.
    #[must_use]
    pub const fn to_bits(self) -> u64 {
        self.full_at_ns
    }

    /// The bucket of this number.
    #[must_use]
    pub const fn from_bits(bits: u64) -> Self {
        Self { full_at_ns: bits }
    }
}

fn nanoseconds(moment: Moment) -> u64 {
    u64::try_from(moment.0.as_nanos()).unwrap_or(u64::MAX)
}

/// What one tenant may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The most requests and tunnels in flight over all workers.
    pub in_flight_max: NonZeroU32,
    /// How often it may ask; `None` = as often as it likes.
    pub rate: Option<Rate>,
}

/// Why a tenant's request is turned away.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TenantRefusal {
    /// The tenant has as much in flight as it may.
    #[error("the tenant has its fill in flight")]
    Saturated,
    /// The tenant asks too often.
    #[error("the tenant asks too often: not again for {wait:?}")]
    RateLimited {
        /// Until it may ask again.
        wait: Duration,
    },
}

impl TenantRefusal {
    /// The stable code.
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Self::Saturated => "tenant_saturated",
            Self::RateLimited { .. } => "tenant_rate_limited",
        }
    }

    /// The label used in metrics.
    #[must_use]
    pub const fn reason(self) -> &'static str {
        match self {
            Self::Saturated => "in_flight",
            Self::RateLimited { .. } => "rate",
        }
    }

    /// When to ask again, in whole seconds (RFC 9110, section 10.2.3), at least one.
    #[must_use]
    pub fn retry_after_s(self) -> u32 {
        match self {
            Self::Saturated => 1,
            Self::RateLimited { wait } => {
                let whole = wait.as_secs().saturating_add(u64::from(wait.subsec_nanos() > 0));
                u32::try_from(whole).unwrap_or(u32::MAX).max(1)
            }
        }
    }
}

/// What a tenant has in flight after one more request, or `None` when it has its fill.
#[must_use]
pub fn one_more(in_flight: u32, in_flight_max: NonZeroU32) -> Option<u32> {
    (in_flight < in_flight_max.get()).then_some(in_flight + 1)
}

/// Where a priority stands among all priorities of a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rank {
    /// How many lower priorities there are.
    place: u32,
    /// The place of the highest.
    highest: u32,
}

/// Up to this much of a stamp, in percent, every request is as good as another.
const FREE_FOR_ALL_PERCENT: u64 = 80;

impl Rank {
    /// The rank of the only priority.
    pub const ONLY: Self = Self { place: 0, highest: 0 };

    /// The rank of `priority` among `all`, of which it is one.
    #[must_use]
    pub fn among(priority: u32, all: &[u32]) -> Self {
        let mut distinct = all.to_vec();
        distinct.sort_unstable();
        distinct.dedup();
        let lower = distinct.iter().filter(|other| **other < priority).count();
        let count = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
        Self { place: count(lower), highest: count(distinct.len().saturating_sub(1)) }
    }

    /// The most that may be in flight at a stamp, with a request of this rank that comes in.
    ///
    /// The lowest rank may fill 80 % of it, the highest all of it, and those between them as much more
    /// each as the one before. So whatever is let in at some fill, every higher rank is too.
    #[must_use]
    pub fn fill_max(self, in_flight_max: u32) -> u32 {
        if self.place >= self.highest {
            return in_flight_max;
        }
        let all = u64::from(in_flight_max);
        let free_for_all = all * FREE_FOR_ALL_PERCENT / 100;
        let more = (all - free_for_all) * u64::from(self.place) / u64::from(self.highest);
        // A stamp that takes one request at a time takes it from anybody.
        u32::try_from(free_for_all + more).unwrap_or(in_flight_max).max(in_flight_max.min(1))
    }
}

/// Why a stamp does not take a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shed {
    /// It has its fill.
    Full,
    /// What room there is, is left to higher priorities.
    Priority,
}

impl Shed {
    /// The label used in metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::Priority => "priority",
        }
    }
}

/// What a stamp has in flight after one more request of this rank, or why it does not take it.
pub fn let_in(in_flight: u32, in_flight_max: u32, rank: Rank) -> Result<u32, Shed> {
    if in_flight >= in_flight_max {
        return Err(Shed::Full);
    }
    if in_flight >= rank.fill_max(in_flight_max) {
        return Err(Shed::Priority);
    }
    Ok(in_flight + 1)
}

/// Is a stamp so full that a request should have its body before it takes one of the places? From
/// half of them on: clients that send slowly hold no more.
#[must_use]
pub const fn is_short(in_flight: u32, places: u32) -> bool {
    in_flight >= places.div_ceil(2)
}

#[cfg(test)]
mod tests;
