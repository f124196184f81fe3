//! What a table of a million tenants costs: to load, to look up in, to place a tenant that has no
//! entry, to compare with the next one, and to free. And what this machine takes to wait for memory,
//! which is most of a look-up in a table that does not fit into its caches.

#![expect(clippy::expect_used, clippy::print_stdout, reason = "a bench fails by panicking")]
#![expect(clippy::disallowed_types, reason = "a bench measures")]

use std::hint::black_box;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use stamp_core::clue::{Clue, Clues, Source};
use stamp_core::diagnostic::SourceText;
use stamp_core::diff;
use stamp_core::id::TenantId;
use stamp_core::resolve::resolve;
use stamp_core::table::{self, RoutingTable};

const TENANTS: usize = 1_000_000;

/// Sixteen stamps of one residency, of different weights.
fn routing() -> String {
    let stamps: String = (1..=16)
        .map(|at| {
            format!(
                "[[stamp]]\nid = \"eu-{at}\"\nresidency = \"eu\"\n\
                 endpoints = [{{ url = \"http://10.0.0.{at}:80\" }}]\nfailover = [\"eu-{}\"]\n",
                at % 16 + 1
            )
        })
        .collect();
    let pool: Vec<String> =
        (1..=16).map(|at| format!("{{ stamp = \"eu-{at}\", weight = {at} }}")).collect();
    format!(
        "version = 1\n[identity]\nunknown_tenant = \"hash\"\n[placement]\nstamps = [{}]\n{stamps}\
         [[tenant_file]]\npath = \"tenants.csv\"\n",
        pool.join(", ")
    )
}

fn name(number: usize) -> String {
    format!("tenant-{number:07}")
}

/// All tenants; the first lives on this stamp.
fn rows(first: &str) -> Arc<[u8]> {
    let mut csv = format!("tenant,stamp,residency,state\n{},{first},,\n", name(0));
    for number in 1..TENANTS {
        csv += &format!("{},eu-{},,active\n", name(number), number % 16 + 1);
    }
    csv.into_bytes().into()
}

fn load(routing: &Arc<str>, rows: &Arc<[u8]>) -> RoutingTable {
    let mut read = |_: &Path| -> io::Result<Arc<[u8]>> { Ok(Arc::clone(rows)) };
    let main = SourceText { path: "routing.toml".into(), text: Arc::clone(routing) };
    table::load(main, &mut read, None).expect("the table is right").table
}

fn tables(bench: &mut Criterion) {
    let routing: Arc<str> = routing().into();
    let rows_of = |first| rows(first);
    let rows = rows_of("eu-1");
    let table = load(&routing, &rows);
    let bytes = table.directory.heap_bytes() - TENANTS * name(0).len();
    println!("heap beyond names: {:.1} bytes a tenant", bytes as f64 / TENANTS as f64);

    let mut group = bench.benchmark_group("a million tenants");
    group.sample_size(10);
    group.bench_function("load and validate", |bench| {
        bench.iter_with_large_drop(|| load(&routing, &rows));
    });
    let moved = load(&routing, &rows_of("eu-2"));
    group.bench_function("compare", |bench| {
        bench.iter(|| {
            let moves = diff::moves(&table, &moved);
            assert_eq!((moves.moved, moves.changed.count, moves.vanished), (1, 0, 0));
            moves
        });
    });
    group.bench_function("free", |bench| {
        bench.iter_batched(|| load(&routing, &rows), drop, BatchSize::PerIteration);
    });
    group.finish();
    look_up(bench, &table);
}

/// Requests of tenants, in the order in which they come: their names, one behind the other.
struct Asked {
    what: &'static str,
    names: String,
}

impl Asked {
    fn new(what: &'static str, tenants: impl Iterator<Item = usize>) -> Self {
        Self { what, names: tenants.map(name).collect() }
    }

    /// Patterns of requests, from the easiest on the caches to the hardest.
    fn all() -> [Self; 4] {
        let mut chance = Chance(4);
        let mut tenants: Vec<usize> = (0..TENANTS).collect();
        chance.shuffle(&mut tenants);
        let some = |count| tenants.iter().copied().take(count);
        // The tenant of rank n asks for a share of 1/n of what the first one asks for.
        let mut below = 0.0;
        let shares: Vec<f64> = (1..=TENANTS)
            .map(|rank| {
                below += 1.0 / rank as f64;
                below
            })
            .collect();
        let mut rank = || {
            let drawn = chance.share() * below;
            shares.partition_point(|share| *share < drawn).min(TENANTS - 1)
        };
        let skewed: Vec<usize> =
            (0..1 << 18).map(|_| tenants.get(rank()).copied().expect("a rank of all")).collect();
        [
            Self::new("1,024 tenants that ask often", some(1024)),
            Self::new("all, by Zipf's law", skewed.into_iter()),
            Self::new("65,536 tenants in turn", some(1 << 16)),
            Self::new("all, in turn", some(TENANTS)),
        ]
    }
}

/// Pseudo-random numbers (splitmix64), the same in each run.
struct Chance(u64);

impl Chance {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// 0 to 1.
    fn share(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }

    fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.next() % end as u64).expect("less than a usize")
    }

    fn shuffle(&mut self, list: &mut [usize]) {
        for last in (1..list.len()).rev() {
            list.swap(last, self.below(last + 1));
        }
    }
}

fn look_up(bench: &mut Criterion, table: &RoutingTable) {
    let length = name(0).len();
    let mut group = bench.benchmark_group("of a million tenants");
    for Asked { what, names } in Asked::all() {
        let mut at = 0;
        let mut next = || {
            at = (at + length) % names.len();
            TenantId::parse(names.get(at..at + length).expect("a name")).expect("an id")
        };
        group.bench_function(format!("read the name: {what}"), |bench| {
            bench.iter(|| drop(black_box(next())));
        });
        group.bench_function(format!("read and look up: {what}"), |bench| {
            bench.iter(|| table.locate(&next()).expect("a home"));
        });
        group.bench_function(format!("read and resolve: {what}"), |bench| {
            bench.iter(|| {
                let clue = Clue { source: Source::Host, tenant: Some(next()), stamp: None };
                let clues = Clues { host: Some(clue), ..Clues::default() };
                resolve(table, &clues).expect("a home")
            });
        });
    }
    // Not where `cargo test` only looks whether it runs.
    if std::env::args().any(|argument| argument == "--bench") {
        for Asked { what, names } in Asked::all() {
            print_single(what, table, &names);
        }
    }
    let none: Vec<String> = (0..1024).map(|number| format!("no-{number:011}")).collect();
    let mut number = 0;
    group.bench_function("place by hash among 16", |bench| {
        bench.iter(|| {
            number = (number + 1) % none.len();
            let id = TenantId::parse(none.get(number).expect("a name")).expect("an id");
            table.locate(&id).expect("a home")
        });
    });
    group.finish();
}

/// What single look-ups take, each for itself: half of them take no longer than the median. A mean
/// says little where some find all in a cache and others nothing.
#[expect(clippy::disallowed_methods, reason = "a bench measures")]
fn print_single(what: &str, table: &RoutingTable, names: &str) {
    let length = name(0).len();
    let tenants = names.len() / length;
    let mut clock = Vec::with_capacity(tenants);
    let mut took = Vec::with_capacity(tenants);
    // All passes but the last one fill the caches, with what fits into them.
    for _pass in 0..(TENANTS / tenants).max(2) {
        clock.clear();
        took.clear();
        for at in (0..names.len()).step_by(length) {
            let id = TenantId::parse(names.get(at..at + length).expect("a name")).expect("an id");
            let began = Instant::now();
            let looked = Instant::now();
            black_box(table.locate(&id)).expect("a home");
            let found = looked.elapsed();
            clock.push((looked - began).as_nanos());
            took.push(found.as_nanos());
        }
    }
    clock.sort_unstable();
    took.sort_unstable();
    let clock_ns = clock.get(clock.len() / 2).expect("a time");
    let at = |percent: usize| {
        took.get(took.len() * percent / 100).expect("a time").saturating_sub(*clock_ns)
    };
    println!(
        "single look-ups: {what}: median {} ns, 75 % {} ns, 90 % {} ns, 99 % {} ns",
        at(50),
        at(75),
        at(90),
        at(99)
    );
}

/// A line of memory that says where the next one is: to go on from it, one has to wait for it.
#[repr(align(64))]
#[derive(Clone, Copy)]
struct Line(usize);

/// One wait for memory: what a look-up cannot do without, of its slot and of its record.
fn wait_for_memory(bench: &mut Criterion) {
    let mut group = bench.benchmark_group("wait for memory once");
    for (what, lines, step) in [
        ("1,024 lines, each of another page of 4 KiB", 1024, 65),
        ("the slots of a million tenants, 5 MiB", 5 << 14, 1),
        ("the records of a million tenants, 27 MiB", 27 << 14, 1),
    ] {
        // A step of a page and a line: lines at the same place of each page share few places of a cache.
        let mut order: Vec<usize> = (0..lines).map(|number| number * step).collect();
        Chance(4).shuffle(&mut order);
        let mut memory = vec![Line(0); lines * step];
        for (number, line) in order.iter().enumerate() {
            let next = order.get((number + 1) % lines).copied().expect("a line");
            memory.get_mut(*line).expect("a line").0 = next;
        }
        let mut at = 0;
        group.bench_function(what, |bench| {
            bench.iter(|| {
                at = memory.get(at).expect("a line").0;
                at
            });
        });
    }
    group.finish();
}

criterion_group!(benches, tables, wait_for_memory);
criterion_main!(benches);
