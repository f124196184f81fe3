//! From the hash of a name to the place of its entry: one array, so that a look-up waits for memory
//! once before it sees the entry.

use std::hash::BuildHasher as _;

use hashbrown::DefaultHashBuilder;

/// What no bucket holds that is taken: there is no such place.
const EMPTY: u64 = u64::MAX;

/// Places, each in the first bucket that was free from where its hash points to.
#[derive(Default)]
pub(super) struct Places {
    /// Half of the hash, and the place.
    buckets: Vec<u64>,
    taken: usize,
    hasher: DefaultHashBuilder,
}

/// The hash of a name, for one `Places` only.
#[derive(Clone, Copy)]
pub(super) struct Hash(u64);

impl Places {
    /// The hash of this name.
    pub(super) fn hash(&self, name: &str) -> Hash {
        Hash(self.hasher.hash_one(name))
    }

    /// The place with this hash that `is_it`.
    pub(super) fn find(&self, hash: Hash, is_it: impl Fn(u32) -> bool) -> Option<u32> {
        for bucket in self.from(hash) {
            if bucket == EMPTY {
                return None;
            }
            if bucket >> 32 == hash.0 & 0xffff_ffff && is_it(place(bucket)) {
                return Some(place(bucket));
            }
        }
        None
    }

    /// Adds a place that is not there yet; `name_at` is asked for names when the array grows.
    pub(super) fn insert<'n>(&mut self, hash: Hash, place: u32, name_at: impl Fn(u32) -> &'n str) {
        if is_full(self.taken + 1, self.buckets.len()) {
            self.grow(self.buckets.len().max(8) * 2, name_at);
        }
        self.put(hash, place);
        self.taken += 1;
    }

    /// Makes room for so many more.
    pub(super) fn reserve<'n>(&mut self, places: usize, name_at: impl Fn(u32) -> &'n str) {
        let taken = self.taken + places;
        if is_full(taken, self.buckets.len()) {
            self.grow(taken / 4 * 5 + 8, name_at);
        }
    }

    /// Bytes on the heap.
    pub(super) const fn heap_bytes(&self) -> usize {
        self.buckets.capacity() * size_of::<u64>()
    }

    fn grow<'n>(&mut self, buckets: usize, name_at: impl Fn(u32) -> &'n str) {
        let known = std::mem::replace(&mut self.buckets, vec![EMPTY; buckets]);
        for bucket in known.into_iter().filter(|bucket| *bucket != EMPTY) {
            let place = place(bucket);
            self.put(self.hash(name_at(place)), place);
        }
    }

    /// Puts a place into the first free bucket.
    fn put(&mut self, hash: Hash, place: u32) {
        let from = self.start(hash);
        let (before, behind) = self.buckets.split_at_mut(from);
        let free = behind.iter_mut().chain(before).find(|bucket| **bucket == EMPTY);
        if let Some(free) = free {
            *free = (hash.0 << 32) | u64::from(place);
        }
    }

    /// All buckets, from where the hash points to.
    fn from(&self, hash: Hash) -> impl Iterator<Item = u64> {
        let (before, behind) = self.buckets.split_at(self.start(hash));
        behind.iter().chain(before).copied()
    }

    /// The hash as a share of the array (Lemire 2016): buckets need not be a power of two.
    fn start(&self, hash: Hash) -> usize {
        let scaled = (u128::from(hash.0) * self.buckets.len() as u128) >> 64;
        usize::try_from(scaled).unwrap_or_default()
    }
}

/// At most four buckets of five are taken: a look-up ends soon.
const fn is_full(taken: usize, buckets: usize) -> bool {
    taken * 5 > buckets * 4
}

fn place(bucket: u64) -> u32 {
    u32::try_from(bucket & 0xffff_ffff).unwrap_or_default()
}
