//! The way to the cell of a tenant that is placed by a hash of its name, and so has no place in a
//! table: a tree by hashes, which is read without a lock and in which nothing is ever moved. It is part
//! of an `Index` and goes with it, so that no cell is held for longer than a minute.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use super::TenantCell;

/// The tree begins with so many slots, chosen by as many bits of the hash.
const ROOTS_BITS: u32 = 16;
/// From an entry on there are two ways: with more, it would not fit into a cache line.
const WAYS_BITS: u32 = 1;
/// The longest way that is gone: no entry that chance put there lies deeper.
const STEPS_MAX: u32 = 32;

type Slot = OnceLock<Box<Entry>>;

/// A tenant, and the slots of those whose hashes led here after it was there.
#[derive(Debug)]
struct Entry {
    hash: u64,
    cell: Arc<TenantCell>,
    below: [Slot; 1 << WAYS_BITS],
}

/// The cells of placed tenants that asked for something lately, by their names.
#[derive(Debug)]
pub(super) struct PlacedIndex {
    roots: Box<[Slot]>,
    entries: AtomicUsize,
    entries_max: usize,
}

impl PlacedIndex {
    /// One that leads to so many at most. Without room for any it takes no memory.
    pub(super) fn new(entries_max: usize) -> Self {
        let roots = if entries_max == 0 { 0 } else { 1 << ROOTS_BITS };
        let roots = (0..roots).map(|_| OnceLock::new()).collect();
        Self { roots, entries: AtomicUsize::new(0), entries_max }
    }

    /// The cell of the tenant of this name and hash. `find` brings it the first time, if there is one,
    /// and is the only one to lock anything. `None` = there is no room for one more.
    pub(super) fn cell(
        &self,
        (name, hash): (&str, u64),
        find: impl Fn() -> Option<Arc<TenantCell>>,
    ) -> Option<&Arc<TenantCell>> {
        let (mut slots, mut bits) = (&*self.roots, usize::try_from(hash).ok()?);
        let mut width = ROOTS_BITS;
        for _ in 0..STEPS_MAX {
            let slot = slots.get(bits & ((1 << width) - 1))?;
            let entry = match slot.get() {
                Some(entry) => entry,
                None if self.is_full() => return None,
                None => {
                    let cell = find()?;
                    slot.get_or_init(|| self.entry(hash, cell))
                }
            };
            // Somebody else's may have come into the slot meanwhile.
            if entry.hash == hash && *entry.cell.name == *name {
                return Some(&entry.cell);
            }
            (slots, bits, width) = (entry.below.as_slice(), bits >> width, WAYS_BITS);
        }
        None
    }

    fn is_full(&self) -> bool {
        // Threads that ask at once may be let in together: a few more than said.
        self.entries.load(Ordering::Relaxed) >= self.entries_max
    }

    fn entry(&self, hash: u64, cell: Arc<TenantCell>) -> Box<Entry> {
        self.entries.fetch_add(1, Ordering::Relaxed);
        Box::new(Entry { hash, cell, below: [const { OnceLock::new() }; 1 << WAYS_BITS] })
    }

    pub(super) fn heap_bytes(&self) -> usize {
        size_of_val(&*self.roots) + self.entries.load(Ordering::Relaxed) * size_of::<Entry>()
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::cell;
    use super::*;

    /// Is it found, and is it its own?
    fn finds(index: &PlacedIndex, name: &str, hash: u64) -> bool {
        let found = index.cell((name, hash), || Some(cell(name)));
        found.is_some_and(|cell| *cell.name == *name)
    }

    #[test]
    fn a_name_is_looked_for_once() {
        let index = PlacedIndex::new(8);
        assert!(finds(&index, "acme", 7));
        assert!(index.cell(("acme", 7), || panic!("it is there")).is_some());
    }

    #[test]
    fn names_whose_hashes_begin_alike_are_told_apart() {
        let index = PlacedIndex::new(1000);
        let names: Vec<(String, u64)> =
            (0..500).map(|number| (format!("t{number}"), number << ROOTS_BITS | 3)).collect();
        for (name, hash) in names.iter().chain(&names) {
            assert!(finds(&index, name, *hash), "{name}");
        }
        assert_eq!(index.entries.load(Ordering::Relaxed), 500);
    }

    #[test]
    fn no_way_is_longer_than_the_longest() {
        let index = PlacedIndex::new(1000);
        let names: Vec<String> = (0..=STEPS_MAX).map(|number| format!("t{number}")).collect();
        let (last, first) = names.split_last().unwrap();
        for name in first.iter().chain(first) {
            assert!(finds(&index, name, 7), "{name}");
        }
        assert!(!finds(&index, last, 7), "all have one hash");
    }

    #[test]
    fn beyond_its_room_nobody_is_led_anywhere_and_nobody_is_pushed_out() {
        let index = PlacedIndex::new(2);
        assert!(finds(&index, "one", 1) && finds(&index, "two", 2));
        let bytes = index.heap_bytes();
        for hash in 3..1000 {
            assert!(!finds(&index, "one more", hash));
        }
        assert_eq!(index.heap_bytes(), bytes);
        assert!(finds(&index, "one", 1) && finds(&index, "two", 2));
    }

    #[test]
    fn without_room_it_is_nothing() {
        let index = PlacedIndex::new(0);
        assert!(!finds(&index, "acme", 7));
        assert_eq!(index.heap_bytes(), 0);
    }
}
