//! What it costs to admit a request by its tenant's limits, alone and beside another thread, and how
//! much memory an active tenant takes.

#![expect(
    clippy::expect_used,
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

fn table() -> RoutingTable {
    let mut csv = String::from("tenant,stamp\n");
    for number in 0..TENANTS {
        csv += &format!("tenant-{number:07},eu-1\n");
    }
    let csv: Arc<[u8]> = csv.into_bytes().into();
    let main = SourceText { path: "routing.toml".into(), text: ROUTING.into() };
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
        let table = table();
        let places = table.directory.iter().map(|(place, _, _)| place).collect();
        Self { table, places }
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

fn together(bench: &mut Criterion) {
    let tenants = Tenants::new();
    for (name, pair) in [("the same tenant", [0, 0]), ("two tenants", [0, 1])] {
        let cells = TenantCells::new(&tenants.table);
        let mut from = 0;
        bench.bench_function(&format!("admit: two threads, {name}"), |bench| {
            bench.iter_custom(|iterations| {
                let until = from + iterations;
                let each = |own| {
                    (from..until).for_each(|at| tenants.admit(&cells, tenant_of(at) + own));
                };
                let took = timed(|| {
                    thread::scope(|scope| {
                        for own in pair {
                            let _thread = scope.spawn(move || each(own));
                        }
                    });
                });
                from = until;
                took
            });
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

criterion_group!(benches, alone, together, memory);
criterion_main!(benches);
