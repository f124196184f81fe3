//! What it costs to admit a request by its tenant's limits, alone and beside another thread, and how
//! much memory an active tenant takes.

#![expect(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a bench fails by panicking, and tells figures that are no times"
)]

use std::hint::black_box;
use std::path::Path;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use criterion::{Criterion, criterion_group, criterion_main};
use stamp_core::diagnostic::SourceText;
use stamp_core::id::TenantIndex;
use stamp_core::table::{self, RoutingTable};
use stamp_core::time::Moment;
use stampgate::state::TenantCells;

/// As in the program: where two tenants' cells lie decides whether they slow each other down.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const TENANTS: u32 = 1_000_000;

const ROUTING: &str = r#"
version = 1
[tier.standard]
requests_per_second = 1
burst = 1000000
[[stamp]]
id = "eu-1"
endpoints = [{ url = "http://127.0.0.1:1" }]
[[tenant_file]]
path = "tenants.csv"
"#;

/// What places tenants without an entry.
const PLACING: &str = r#"
[identity]
unknown_tenant = "hash"
[placement]
stamps = ["eu-1"]
"#;

fn table(more: &str) -> RoutingTable {
    let mut csv = String::from("tenant,stamp\n");
    for number in 0..TENANTS {
        csv += &format!("tenant-{number:07},eu-1\n");
    }
    let csv: Arc<[u8]> = csv.into_bytes().into();
    let main = SourceText { path: "routing.toml".into(), text: format!("{ROUTING}{more}").into() };
    let mut read = |_: &Path| Ok(Arc::clone(&csv));
    table::load(main, &mut read, None).expect("the table is right").table
}

/// After so many requests the next tenant is asked for: two threads do not spend a whole burst.
const BURST: u64 = 400_000;

/// The tenant of a request where all are of one tenant, until it has spent its burst.
fn tenant_of(number: u64) -> u32 {
    u32::try_from(number / BURST * 2).expect("so many tenants there are")
}

/// A table of all tenants, and the place of each.
struct Tenants {
    table: RoutingTable,
    places: Vec<TenantIndex>,
}

impl Tenants {
    fn new() -> Self {
        let all = table("");
        let places = all.directory.iter().map(|(place, _, _)| place).collect();
        Self { table: all, places }
    }

    fn admit(&self, cells: &TenantCells, tenant: u32) {
        let place = *self.places.get(tenant as usize).expect("one of the tenants");
        let admitted = cells.admit(&self.table, place, Moment::default());
        drop(black_box(admitted.expect("it keeps to its rate")));
    }
}

#[expect(clippy::disallowed_methods, reason = "a bench measures")]
fn timed(work: impl FnOnce()) -> Duration {
    let began = Instant::now();
    work();
    began.elapsed()
}

fn alone(bench: &mut Criterion) {
    let tenants = Tenants::new();
    let cells = TenantCells::new(&tenants.table);
    let mut number = 0;
    bench.bench_function("admit: one tenant", |bench| {
        bench.iter(|| {
            number += 1;
            tenants.admit(&cells, tenant_of(number));
        });
    });
    let cells = TenantCells::new(&tenants.table);
    let mut number: u64 = 0;
    bench.bench_function("admit: 100,000 of a million tenants in turn", |bench| {
        bench.iter(|| {
            number += 1;
            // A prime stride, as traffic of many tenants has.
            let tenant = u32::try_from(number % 100_000 * 7919 % u64::from(TENANTS));
            tenants.admit(&cells, tenant.expect("less than all"));
        });
    });
}

/// Names that the table does not have.
fn placed_names() -> Vec<String> {
    (0..100_000).map(|number| format!("newcomer-{number:06}")).collect()
}

fn admit_placed(cells: &TenantCells, table: &RoutingTable, name: &str) {
    let place = cells.admit_placed(table, name, Moment::default());
    drop(black_box(place.expect("it keeps to its rate")));
}

fn placed_alone(bench: &mut Criterion) {
    let (table, names) = (table(PLACING), placed_names());
    let cells = TenantCells::new(&table);
    let mut number = 0;
    bench.bench_function("admit: one tenant that is placed by hash", |bench| {
        bench.iter(|| {
            number += 1;
            admit_placed(&cells, &table, &names[tenant_of(number) as usize]);
        });
    });
    let cells = TenantCells::new(&table);
    let mut number: usize = 0;
    bench.bench_function("admit: 100,000 tenants that are placed by hash, in turn", |bench| {
        bench.iter(|| {
            number += 1;
            admit_placed(&cells, &table, &names[number * 7919 % names.len()]);
        });
    });
}

/// Two threads do this with the numbers of their requests and their own: the same, or two.
fn two_threads(bench: &mut Criterion, name: &str, own: [u32; 2], each: impl Fn(u64, u32) + Sync) {
    let (mut from, each) = (0, &each);
    bench.bench_function(name, |bench| {
        bench.iter_custom(|iterations| {
            let until = from + iterations;
            let took = timed(|| {
                thread::scope(|scope| {
                    for own in own {
                        let _thread =
                            scope.spawn(move || (from..until).for_each(|at| each(at, own)));
                    }
                });
            });
            from = until;
            took
        });
    });
}

fn together(bench: &mut Criterion) {
    let tenants = Tenants::new();
    for (name, own) in [("the same tenant", [0, 0]), ("two tenants", [0, 1])] {
        let cells = TenantCells::new(&tenants.table);
        two_threads(bench, &format!("admit: two threads, {name}"), own, |at, own| {
            tenants.admit(&cells, tenant_of(at) + own);
        });
    }
}

fn placed_together(bench: &mut Criterion) {
    let (table, names) = (table(PLACING), placed_names());
    for (name, own) in [("the same", [0, 0]), ("two", [0, 1])] {
        let cells = TenantCells::new(&table);
        let name = format!("admit: two threads, {name} placed by hash");
        two_threads(bench, &name, own, |at, own| {
            admit_placed(&cells, &table, &names[(tenant_of(at) + own) as usize]);
        });
    }
}

fn memory(_bench: &mut Criterion) {
    let tenants = Tenants::new();
    for active in [TENANTS / 100, TENANTS / 10, TENANTS] {
        let cells = TenantCells::new(&tenants.table);
        let at_rest = cells.heap_bytes();
        let took = timed(|| {
            for tenant in (0..TENANTS).step_by((TENANTS / active) as usize) {
                tenants.admit(&cells, tenant);
            }
        });
        let each = (cells.heap_bytes() - at_rest) / cells.known();
        let first_ns = took.as_nanos() / u128::from(active);
        println!(
            "memory: {active} of {TENANTS} tenants active: {each} bytes each, \
             {at_rest} bytes at rest; the first request of each takes {first_ns} ns"
        );
    }
}

fn placed_memory(_bench: &mut Criterion) {
    let (table, names) = (table(PLACING), placed_names());
    let cells = TenantCells::new(&table);
    let at_rest = cells.heap_bytes();
    let took = timed(|| names.iter().for_each(|name| admit_placed(&cells, &table, name)));
    let known = cells.known();
    let each = (cells.heap_bytes() - at_rest) / known;
    let first_ns = took.as_nanos() / names.len() as u128;
    println!(
        "memory: {known} tenants active that are placed by hash: {each} bytes each; \
         the first request of each takes {first_ns} ns"
    );
}

criterion_group!(benches, alone, together, placed_alone, placed_together, memory, placed_memory);
criterion_main!(benches);
