//! Where a tenant without an entry lives: weighted rendezvous hashing over the stamps of a pool. A
//! function of names and weights, in whole numbers: the same on every machine, and for ever.

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroU16;

use xxhash_rust::xxh3::xxh3_64_with_seed;

use crate::id::{StampId, StampIndex};

/// The letters "stampgat". Another seed would move every tenant that is placed.
const SEED: u64 = 0x7374_616d_7067_6174;

/// The stamps that tenants without an entry are placed on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Placement {
    /// In the order of their names, so that the order of the file decides nothing.
    places: Vec<Place>,
    /// All weigh the same.
    is_even: bool,
    /// Names that have an entry which could not be read: nobody knows where they live.
    unreadable: BTreeSet<Box<str>>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Place {
    id: StampId<'static>,
    stamp: StampIndex,
    weight: NonZeroU16,
    /// The hash of the stamp's name.
    key: u64,
}

impl Placement {
    /// A pool of these stamps, each named once.
    #[must_use]
    pub fn new(
        stamps: impl IntoIterator<Item = (StampId<'static>, StampIndex, NonZeroU16)>,
    ) -> Self {
        let place = |(id, stamp, weight): (StampId<'static>, _, _)| {
            let key = hash(id.as_str());
            Place { id, stamp, weight, key }
        };
        let mut places: Vec<Place> = stamps.into_iter().map(place).collect();
        places.sort_by(|one, other| one.id.cmp(&other.id));
        let is_even = places.windows(2).all(|pair| match pair {
            [one, other] => one.weight == other.weight,
            _ => true,
        });
        Self { places, is_even, unreadable: BTreeSet::new() }
    }

    /// The same, but for these names: they have entries, which cannot be read.
    #[must_use]
    pub fn without(self, unreadable: impl IntoIterator<Item = String>) -> Self {
        Self { unreadable: unreadable.into_iter().map(String::into_boxed_str).collect(), ..self }
    }

    /// The home of the tenant of this name (folded to lower case already), which has no entry.
    #[must_use]
    pub fn home(&self, tenant: &str) -> Option<StampIndex> {
        if !self.unreadable.is_empty() && self.unreadable.contains(tenant) {
            return None;
        }
        self.home_of_hash(hash(tenant))
    }

    /// Its stamps and their weights, by name.
    pub fn stamps(&self) -> impl Iterator<Item = (&StampId<'static>, StampIndex, NonZeroU16)> {
        self.places.iter().map(|place| (&place.id, place.stamp, place.weight))
    }

    /// May tenants be placed there?
    #[must_use]
    pub fn has(&self, stamp: StampIndex) -> bool {
        self.places.iter().any(|place| place.stamp == stamp)
    }

    /// The share of all names whose home is another one in `other`, in millionths.
    ///
    /// It follows from the weights. A stamp that weighs `a` here and `b` there is the home of a name in
    /// both when each other stamp draws a straw longer than its own by the factor of the larger of their
    /// two relative weights. So it keeps 1 / (sum of max(a' / a, b' / b)) of all names, where a' and b'
    /// are the weights of each stamp in turn, itself included, and 0 where it is no part of the pool.
    #[must_use]
    pub fn moved_millionths(&self, other: &Self) -> u32 {
        let weights = self.weights_beside(other);
        let kept = |(here, there): &(u64, u64)| {
            let larger = weights.iter().map(|(a, b)| u128::from((a * there).max(b * here)));
            (u128::from(here * there) << 64).checked_div(larger.sum()).unwrap_or_default()
        };
        let kept: u128 = weights.iter().map(kept).sum();
        let moved = (1_u128 << 64).saturating_sub(kept);
        let millionths = (moved * 1_000_000 + (1 << 63)) >> 64;
        u32::try_from(millionths).unwrap_or(1_000_000)
    }

    /// What the stamps of either pool weigh in both; 0 = it is no part of that one.
    fn weights_beside(&self, other: &Self) -> Vec<(u64, u64)> {
        let mut weights: BTreeMap<&StampId<'static>, (u64, u64)> = BTreeMap::new();
        for place in &self.places {
            weights.entry(&place.id).or_default().0 = u64::from(place.weight.get());
        }
        for place in &other.places {
            weights.entry(&place.id).or_default().1 = u64::from(place.weight.get());
        }
        weights.into_values().collect()
    }

    /// How many of `names` made-up names move from which stamp to which. They are always the same names.
    #[must_use]
    pub fn moved_between<'p>(
        &'p self,
        other: &'p Self,
        names: u32,
    ) -> BTreeMap<(&'p str, &'p str), u32> {
        let mut between = BTreeMap::new();
        for number in 0..names {
            let tenant = mix(u64::from(number));
            let homes = self.best(tenant).zip(other.best(tenant));
            let homes = homes.map(|(from, to)| (from.id.as_str(), to.id.as_str()));
            if let Some((from, to)) = homes.filter(|(from, to)| from != to) {
                *between.entry((from, to)).or_default() += 1;
            }
        }
        between
    }

    fn home_of_hash(&self, tenant: u64) -> Option<StampIndex> {
        self.best(tenant).map(|place| place.stamp)
    }

    /// The stamp that draws the shortest straw. With a weight twice as large, straws are half as
    /// long; what the others draw does not depend on it, so that nobody else moves.
    fn best(&self, tenant: u64) -> Option<&Place> {
        let drawn = |place: &Place| mix(tenant ^ place.key);
        if self.is_even {
            // The largest number makes the shortest straw: no length is needed.
            let all = self.places.iter().map(|place| (drawn(place), place));
            let best = all.reduce(|best, next| if next.0 > best.0 { next } else { best });
            return best.map(|(_, place)| place);
        }
        let all = self.places.iter().map(|place| {
            let number = drawn(place);
            Straw { number, length: length(number), place }
        });
        let best = all.reduce(|best, next| if next.is_shorter_than(&best) { next } else { best });
        best.map(|straw| straw.place)
    }
}

/// What a stamp draws: a straw of `length` by its weight.
#[derive(Clone, Copy)]
struct Straw<'p> {
    number: u64,
    length: u64,
    place: &'p Place,
}

impl Straw<'_> {
    fn is_shorter_than(&self, other: &Self) -> bool {
        // At most 2^38 by 2^16: no product overflows.
        let this = self.length * u64::from(other.place.weight.get());
        let that = other.length * u64::from(self.place.weight.get());
        this < that || (this == that && self.number > other.number)
    }
}

/// The hash of a name.
pub(crate) fn hash(name: &str) -> u64 {
    xxh3_64_with_seed(name.as_bytes(), SEED)
}

/// The finaliser of `SplitMix64` (Steele, Lea, Flood 2014): every bit of the result depends on
/// every bit of the number.
const fn mix(number: u64) -> u64 {
    let number = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let number = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let number = (number ^ (number >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    number ^ (number >> 31)
}

/// -log2(number / 2^64), in 2^-32: never longer for a larger number.
fn length(number: u64) -> u64 {
    let number = number.max(1);
    let zeros = number.leading_zeros();
    // 1 and then 63 bits of a fraction: 8 to look up, 32 to interpolate by.
    let fraction = (number << zeros) << 1;
    let place = usize::try_from(fraction >> 56).unwrap_or_default();
    let between = (fraction >> 24) & 0xffff_ffff;
    let from = LOG2.get(place).copied().unwrap_or_default();
    let to = LOG2.get(place + 1).copied().unwrap_or(from);
    let log2 = from + (((to - from) * between) >> 32);
    (u64::from(zeros + 1) << 32) - log2
}

/// log2(1 + place / 256), in 2^-32, rounded down.
const LOG2: [u64; 257] = {
    let mut table = [0; 257];
    let mut place = 0;
    while place < 256 {
        #[expect(clippy::indexing_slicing, reason = "evaluated by the compiler")]
        {
            table[place] = log2(place as u128);
        }
        place += 1;
    }
    table[256] = 1 << 32;
    table
};

/// One bit of the logarithm a squaring.
const fn log2(place: u128) -> u64 {
    let mut number = (256 + place) << 54;
    let mut result = 0;
    let mut bit = 32;
    while bit > 0 {
        bit -= 1;
        number = (number * number) >> 62;
        if number >> 63 == 1 {
            number >>= 1;
            result |= 1 << bit;
        }
    }
    result
}

#[cfg(test)]
mod tests;
