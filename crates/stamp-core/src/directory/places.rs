//! From the hash of a name to the place of its record: 4 bytes a slot, so that the slots of a million
//! tenants stay in a processor's caches, and no second wait for memory comes before that for the
//! record itself.
//!
//! A slot holds a place, in as many bits as all places need, and above it bits of the hash: a record
//! of another name is hardly ever looked at.

use std::hash::BuildHasher as _;

use hashbrown::DefaultHashBuilder;

use super::records::Records;

/// What no slot holds that is taken: no record has the last place.
const EMPTY: u32 = u32::MAX;
/// There are always bits of a hash in a slot.
const PLACE_BITS_MAX: u32 = 31;

/// Places, each in the first slot that was free from where its hash points to.
#[derive(Default)]
pub(super) struct Places {
    slots: Vec<u32>,
    taken: usize,
    /// So many low bits of a slot are the place.
    place_bits: u32,
    /// Keyed: clients choose what is looked up.
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
        let tag = low(hash);
        let (before, from) = self.slots.split_at(self.start(hash));
        for slots in [from, before] {
            for slot in slots {
                if *slot == EMPTY {
                    return None;
                }
                let place = slot & self.place_mask();
                if (slot ^ tag) >> self.place_bits == 0 && is_it(place) {
                    return Some(place);
                }
            }
        }
        None
    }

    /// Adds the place of a record that is not there yet; `records` has it already.
    pub(super) fn insert(&mut self, hash: Hash, place: u32, records: &Records) {
        let is_full = is_full(self.taken + 1, self.slots.len());
        if is_full || place >= self.place_mask() {
            let slots = if is_full { self.slots.len().max(8) * 2 } else { self.slots.len() };
            self.rebuild(slots, records.end(), records);
            return;
        }
        self.put(hash, place);
    }

    /// Makes room for so many more, whose records will end about there.
    pub(super) fn reserve(&mut self, places: usize, end: u32, records: &Records) {
        let taken = self.taken + places;
        if is_full(taken, self.slots.len()) || end >= self.place_mask() {
            self.rebuild(self.slots.len().max(taken / 3 * 4 + 8), end, records);
        }
    }

    /// Bytes on the heap.
    pub(super) const fn heap_bytes(&self) -> usize {
        self.slots.capacity() * size_of::<u32>()
    }

    /// Puts all records into so many new slots. Room is left for places twice as far as `end`.
    fn rebuild(&mut self, slots: usize, end: u32, records: &Records) {
        self.place_bits = (33 - end.leading_zeros()).clamp(16, PLACE_BITS_MAX);
        self.slots.clear();
        // What was there is freed before the new ones are asked for.
        self.slots.shrink_to_fit();
        self.slots.resize(slots, EMPTY);
        self.taken = 0;
        for (place, record) in records.iter() {
            self.put(self.hash(record.name()), place);
        }
    }

    /// Puts a place into the first free slot.
    fn put(&mut self, hash: Hash, place: u32) {
        let from = self.start(hash);
        let slot = low(hash) & !self.place_mask() | place;
        let (before, behind) = self.slots.split_at_mut(from);
        let free = behind.iter_mut().chain(before).find(|slot| **slot == EMPTY);
        if let Some(free) = free {
            *free = slot;
            self.taken += 1;
        }
    }

    /// The hash as a share of the slots (Lemire 2016): they need not be a power of two.
    fn start(&self, hash: Hash) -> usize {
        let scaled = (u128::from(hash.0) * self.slots.len() as u128) >> 64;
        usize::try_from(scaled).unwrap_or_default()
    }

    const fn place_mask(&self) -> u32 {
        (1 << self.place_bits) - 1
    }
}

/// At most three slots of four are taken: a look-up ends soon.
const fn is_full(taken: usize, slots: usize) -> bool {
    taken * 4 > slots * 3
}

/// The bits of a hash that go into a slot; the others say where it is.
fn low(hash: Hash) -> u32 {
    u32::try_from(hash.0 & u64::from(u32::MAX)).unwrap_or_default()
}
