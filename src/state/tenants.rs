//! What each active tenant has in flight and what is left of its rate, over all workers.
//!
//! A tenant has a cell as long as anybody needs it, and one cell however often the table changes: the
//! registry finds it by its whole name, behind locks that only a tenant's first request meets. From
//! then on the index of the table's `TenantCells` leads to it without a lock: by the tenant's place, or
//! by its name if it has none (`placed`). Every minute the index is begun anew, and then cells that
//! nobody holds and whose bucket is full are forgotten: to forget such a one changes nothing.

mod placed;

use std::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use hashbrown::{DefaultHashBuilder, HashTable};
use stamp_core::admission::{self, Bucket, Limits, TenantRefusal};
use stamp_core::id::TenantIndex;
use stamp_core::table::RoutingTable;
use stamp_core::time::Moment;

use super::State;
use placed::PlacedIndex;

/// One tenant's counts. With the counts of its `Arc` it fills one cache line of 64 bytes, so that
/// two tenants do not slow each other down.
#[derive(Debug)]
struct TenantCell {
    name: Box<str>,
    hash: u64,
    bucket: AtomicU64,
    refused: AtomicU64,
    in_flight: AtomicU32,
    /// It was made for a tenant without an entry.
    is_placed: bool,
}

/// One request or tunnel of a tenant: counted until dropped.
#[derive(Debug)]
pub struct TenantPlace {
    cell: Arc<TenantCell>,
}

/// A tenant that something counts for, as long as something does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TenantKey(usize);

/// A request was turned away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TurnedAway {
    /// Whose it was.
    pub tenant: TenantKey,
    /// Why.
    pub why: TenantRefusal,
}

impl TenantPlace {
    /// Whose it is.
    #[must_use]
    pub fn tenant(&self) -> TenantKey {
        self.cell.key()
    }
}

impl Drop for TenantPlace {
    fn drop(&mut self) {
        self.cell.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}

impl TenantCell {
    /// The cell of a tenant that has asked for nothing yet.
    fn new(name: &str, hash: u64) -> Self {
        Self {
            name: name.into(),
            hash,
            bucket: AtomicU64::new(Bucket::FULL.to_bits()),
            refused: AtomicU64::new(0),
            in_flight: AtomicU32::new(0),
            is_placed: false,
        }
    }

    fn join(self, shard: &mut Shard) -> Arc<Self> {
        let cell = Arc::new(self);
        shard.insert_unique(cell.hash, Arc::clone(&cell), |cell| cell.hash);
        cell
    }

    fn key(self: &Arc<Self>) -> TenantKey {
        TenantKey(Arc::as_ptr(self).addr())
    }

    fn enter(self: &Arc<Self>, limits: Limits, now: Moment) -> Result<TenantPlace, TurnedAway> {
        self.try_enter(limits, now).map_err(|why| {
            self.refused.fetch_add(1, Ordering::Relaxed);
            TurnedAway { tenant: self.key(), why }
        })
    }

    fn try_enter(
        self: &Arc<Self>,
        limits: Limits,
        now: Moment,
    ) -> Result<TenantPlace, TenantRefusal> {
        let one_more = |in_flight| admission::one_more(in_flight, limits.in_flight_max);
        self.in_flight
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_more)
            .map_err(|_full| TenantRefusal::Saturated)?;
        // In flight first: what is turned away for that takes nothing of the rate.
        let place = TenantPlace { cell: Arc::clone(self) };
        let Some(rate) = limits.rate else { return Ok(place) };
        let mut bits = self.bucket.load(Ordering::Relaxed);
        loop {
            let bucket = Bucket::from_bits(bits).taken(rate, now);
            let bucket = bucket.map_err(|empty| TenantRefusal::RateLimited { wait: empty.wait })?;
            let after = bucket.to_bits();
            let order = Ordering::Relaxed;
            match self.bucket.compare_exchange_weak(bits, after, order, order) {
                Ok(_) => return Ok(place),
                Err(others) => bits = others,
            }
        }
    }

    /// What `try_enter` would say.
    fn would_enter(&self, limits: Limits, now: Moment) -> Result<(), TenantRefusal> {
        let in_flight = self.in_flight.load(Ordering::Relaxed);
        admission::one_more(in_flight, limits.in_flight_max).ok_or(TenantRefusal::Saturated)?;
        let Some(rate) = limits.rate else { return Ok(()) };
        let bucket = Bucket::from_bits(self.bucket.load(Ordering::Relaxed)).under(rate, now);
        let taken = bucket.taken(rate, now);
        taken.map(drop).map_err(|empty| TenantRefusal::RateLimited { wait: empty.wait })
    }

    /// The limits may be others than before.
    fn take_limits(&self, limits: Limits, now: Moment) {
        if let Some(rate) = limits.rate {
            let under = |bits| Some(Bucket::from_bits(bits).under(rate, now).to_bits());
            let _always =
                self.bucket.fetch_update(Ordering::Relaxed, Ordering::Relaxed, under).is_ok();
        }
    }

    /// Does it say the same as one that was just made?
    fn says_nothing(&mut self, now: Moment) -> bool {
        *self.in_flight.get_mut() == 0 && Bucket::from_bits(*self.bucket.get_mut()).is_full(now)
    }
}

/// What is known of one tenant now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TenantLoad {
    /// Requests and tunnels in flight.
    pub in_flight: u32,
    /// Requests turned away for its limits since it was last idle for a minute or two.
    pub refused: u64,
}

/// So many locks share all tenants: who waits for one waits for few others.
const SHARDS: usize = 256;

type Shard = HashTable<Arc<TenantCell>>;

/// All cells, by name.
#[derive(Debug)]
struct Registry {
    shards: Box<[Mutex<Shard>]>,
    hasher: DefaultHashBuilder,
    /// Cells that were made for tenants without an entry.
    placed: AtomicUsize,
    placed_max: usize,
}

/// The most cells of tenants without an entry, 140 MiB or so: their names are whatever clients send.
const PLACED_CELLS_MAX: usize = 1 << 20;
/// So many cells are shared by those who find no room among these: by chance of their names.
const CROWDS: u64 = 1024;

impl Registry {
    fn new(placed_max: usize) -> Arc<Self> {
        let shards = (0..SHARDS).map(|_| Mutex::default()).collect();
        let (hasher, placed) = (DefaultHashBuilder::default(), AtomicUsize::new(0));
        Arc::new(Self { shards, hasher, placed, placed_max })
    }

    fn shard(&self, hash: u64) -> MutexGuard<'_, Shard> {
        // The low bits choose the place within the shard's own table.
        let at = usize::try_from(hash >> 48).unwrap_or_default() % SHARDS;
        #[expect(clippy::indexing_slicing, reason = "there are so many shards")]
        self.shards[at].lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn hash(&self, name: &str) -> u64 {
        use std::hash::BuildHasher as _;
        self.hasher.hash_one(name)
    }

    /// The cell of the tenant of this name and hash, which has these limits from now on.
    fn cell(&self, (name, hash): (&str, u64), limits: Limits, now: Moment) -> Arc<TenantCell> {
        let mut shard = self.shard(hash);
        let is_it = |cell: &Arc<TenantCell>| *cell.name == *name;
        if let Some(cell) = shard.find(hash, is_it) {
            cell.take_limits(limits, now);
            return Arc::clone(cell);
        }
        TenantCell::new(name, hash).join(&mut shard)
    }

    /// The same for a tenant without an entry. `None` = it is new, and there is no room for it.
    fn placed_cell(
        &self,
        (name, hash): (&str, u64),
        limits: Limits,
        now: Moment,
    ) -> Option<Arc<TenantCell>> {
        let mut shard = self.shard(hash);
        if let Some(cell) = shard.find(hash, |cell| *cell.name == *name) {
            cell.take_limits(limits, now);
            return Some(Arc::clone(cell));
        }
        if self.placed.load(Ordering::Relaxed) >= self.placed_max {
            return None;
        }
        self.placed.fetch_add(1, Ordering::Relaxed);
        Some(TenantCell { is_placed: true, ..TenantCell::new(name, hash) }.join(&mut shard))
    }

    /// The cell that a tenant shares with others that came when there was no room. No tenant has its
    /// name.
    fn crowd(&self, hash: u64, limits: Limits, now: Moment) -> Arc<TenantCell> {
        let name = format!("\0{}", hash % CROWDS);
        self.cell((&name, self.hash(&name)), limits, now)
    }

    /// Looks at the cell of the tenant of this name, if it has one.
    fn look<T>(&self, name: &str, look: impl FnOnce(&TenantCell) -> T) -> Option<T> {
        let hash = self.hash(name);
        let shard = self.shard(hash);
        shard.find(hash, |cell| *cell.name == *name).map(|cell| look(cell))
    }

    /// Forgets the cells that nobody holds and that say nothing. Who wants one of them meanwhile
    /// waits for the lock, and gets it or a new one: there are never two of a name.
    fn forget_idle(&self, now: Moment) {
        for shard in &self.shards {
            let mut shard = shard.lock().unwrap_or_else(PoisonError::into_inner);
            shard.retain(|cell| {
                let Some(own) = Arc::get_mut(cell) else { return true };
                let is_idle = own.says_nothing(now);
                if is_idle && own.is_placed {
                    self.placed.fetch_sub(1, Ordering::Relaxed);
                }
                !is_idle
            });
            if shard.capacity() > 4 * shard.len() {
                shard.shrink_to_fit(|cell| cell.hash);
            }
        }
    }

    /// The sum of what is looked up in each shard.
    fn sum(&self, look: impl Fn(&Shard) -> usize) -> usize {
        let locked =
            |shard: &Mutex<Shard>| look(&shard.lock().unwrap_or_else(PoisonError::into_inner));
        self.shards.iter().map(locked).sum()
    }
}

/// Tenants that are near each other in the table share what is allocated for the first of them.
const CHUNK: usize = 16;

type Slot = OnceLock<Arc<TenantCell>>;
type Chunk = Box<[Slot; CHUNK]>;

/// The most placed tenants that an index leads to: an index is never larger than 13 MiB,
/// whatever names a flood brings. Who finds no room in it meets a lock at each request of that minute.
const PLACED_MAX: usize = 1 << 18;

/// Whom an index may lead to.
#[derive(Clone, Copy, Debug)]
struct Extent {
    tenants: usize,
    placed_max: usize,
}

impl Extent {
    const NOBODY: Self = Self { tenants: 0, placed_max: 0 };

    fn of(table: &RoutingTable) -> Self {
        let placed_max = if table.placement().is_some() { PLACED_MAX } else { 0 };
        Self { tenants: table.directory.len(), placed_max }
    }
}

/// The cells of the tenants that asked for something lately: of those of one table by their places,
/// and of those that are placed by their names.
#[derive(Debug)]
pub(super) struct Index {
    chunks: Box<[OnceLock<Chunk>]>,
    placed: PlacedIndex,
}

impl Index {
    fn new(extent: Extent) -> Arc<Self> {
        let chunks = (0..extent.tenants.div_ceil(CHUNK)).map(|_| OnceLock::new()).collect();
        Arc::new(Self { chunks, placed: PlacedIndex::new(extent.placed_max) })
    }

    /// The slot of the tenant that was added to the table after so many others.
    fn slot(&self, ordinal: usize) -> Option<&Slot> {
        let chunk = self.chunks.get(ordinal / CHUNK)?;
        let empty = || Box::new([const { OnceLock::new() }; CHUNK]);
        chunk.get_or_init(empty).get(ordinal % CHUNK)
    }

    fn heap_bytes(&self) -> usize {
        let begun = self.chunks.iter().filter(|chunk| chunk.get().is_some()).count();
        let listed = size_of_val(&*self.chunks) + begun * size_of::<[Slot; CHUNK]>();
        listed + self.placed.heap_bytes()
    }
}

/// Admits the requests of the tenants of one table.
#[derive(Debug)]
pub struct TenantCells {
    index: ArcSwap<Index>,
    extent: Extent,
    registry: Arc<Registry>,
}

impl TenantCells {
    /// The cells of the first table.
    #[must_use]
    pub fn new(table: &RoutingTable) -> Arc<Self> {
        Self::with(table, Registry::new(PLACED_CELLS_MAX))
    }

    /// The cells of another table: a tenant of the same name has the same one.
    #[must_use]
    pub fn of(&self, table: &RoutingTable) -> Arc<Self> {
        Self::with(table, Arc::clone(&self.registry))
    }

    fn with(table: &RoutingTable, registry: Arc<Registry>) -> Arc<Self> {
        let extent = Extent::of(table);
        Arc::new(Self { index: ArcSwap::new(Index::new(extent)), extent, registry })
    }

    /// Counts a request of a tenant in, if its limits allow that. `table` is the one that these are
    /// the cells of.
    pub fn admit(
        &self,
        table: &RoutingTable,
        tenant: TenantIndex,
        now: Moment,
    ) -> Result<TenantPlace, TurnedAway> {
        let limits = table.tier_of(Some(tenant)).limits;
        let find = || {
            let name = table.directory.name(tenant);
            self.registry.cell((name, self.registry.hash(name)), limits, now)
        };
        let index = self.index.load();
        match index.slot(table.directory.ordinal(tenant)) {
            Some(slot) => slot.get_or_init(find).enter(limits, now),
            // This table is no longer in force.
            None => find().enter(limits, now),
        }
    }

    /// The same for a tenant without an entry: it has no place in the table, and is found by its name.
    pub fn admit_placed(
        &self,
        table: &RoutingTable,
        name: &str,
        now: Moment,
    ) -> Result<TenantPlace, TurnedAway> {
        let limits = table.tier_of(None).limits;
        let named = (name, self.registry.hash(name));
        let find = || self.registry.placed_cell(named, limits, now);
        let index = self.index.load();
        if let Some(cell) = index.placed.cell(named, find) {
            return cell.enter(limits, now);
        }
        let cell = find().unwrap_or_else(|| self.registry.crowd(named.1, limits, now));
        cell.enter(limits, now)
    }

    /// Would one more request of this tenant be admitted now? Counts nothing.
    pub fn would_admit(
        &self,
        limits: Limits,
        name: &str,
        now: Moment,
    ) -> Result<(), TenantRefusal> {
        self.registry.look(name, |cell| cell.would_enter(limits, now)).unwrap_or(Ok(()))
    }

    /// What the tenant of this name has in flight.
    #[must_use]
    pub fn load(&self, name: &str) -> TenantLoad {
        let load = |cell: &TenantCell| TenantLoad {
            in_flight: cell.in_flight.load(Ordering::Relaxed),
            refused: cell.refused.load(Ordering::Relaxed),
        };
        self.registry.look(name, load).unwrap_or_default()
    }

    /// Tenants that something is known of.
    #[must_use]
    pub fn known(&self) -> usize {
        self.registry.sum(Shard::len)
    }

    /// Bytes on the heap for all tenants that something is known of, names included.
    #[must_use]
    pub fn heap_bytes(&self) -> usize {
        // An `Arc` holds two counts besides.
        let cell_bytes = size_of::<TenantCell>() + 2 * size_of::<usize>();
        let of_shard = |shard: &Shard| {
            let names: usize = shard.iter().map(|cell| cell.name.len()).sum();
            shard.allocation_size() + shard.len() * cell_bytes + names
        };
        self.index.load().heap_bytes() + self.registry.sum(of_shard)
    }

    /// Its table is no longer in force: lets go of all cells. Who holds the View still, for a tunnel
    /// of days, does not hold them. What they were found by is to be dropped where that delays nobody.
    pub(super) fn retire(&self) -> Arc<Index> {
        self.index.swap(Index::new(Extent::NOBODY))
    }

    /// Begins the index anew. What it was is to be dropped where that delays nobody.
    fn renew(&self) -> Arc<Index> {
        self.index.swap(Index::new(self.extent))
    }
}

/// How often idle tenants are looked for.
const FORGET_EVERY: Duration = Duration::from_secs(60);
/// By then nobody looks anything up in an index that was replaced.
const LOOKED_UP_WITHIN: Duration = Duration::from_secs(1);

/// Forgets tenants that are idle, until the process ends. Nothing of it is done by a worker.
pub async fn forget_idle_tenants(state: Arc<State>) {
    loop {
        tokio::time::sleep(FORGET_EVERY).await;
        let former = state.view().tenants.renew();
        tokio::time::sleep(LOOKED_UP_WITHIN).await;
        let state = Arc::clone(&state);
        let forgotten = tokio::task::spawn_blocking(move || {
            drop(former);
            state.view().tenants.registry.forget_idle(state.clock().now());
        });
        if let Err(error) = forgotten.await {
            tracing::error!(%error, "idle tenants could not be forgotten");
        }
    }
}

#[cfg(test)]
mod tests;
