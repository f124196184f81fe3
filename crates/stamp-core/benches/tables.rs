//! What a table of a million tenants costs: to load, to look up in, to place a tenant that has no
//! entry, to compare with the next one, and to free.

#![expect(clippy::expect_used, clippy::print_stdout, reason = "a bench fails by panicking")]

use std::hint::black_box;
use std::io;
use std::path::Path;
use std::sync::Arc;

use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use stamp_core::diagnostic::SourceText;
use stamp_core::diff;
use stamp_core::id::TenantId;
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
    group.sample_size(100);
    for (what, prefix, tenants) in [
        ("look up, of 1,024 that are asked for often", "", 1024),
        ("look up, of 65,536", "", 65_536),
        ("place by hash among 16", "no-", 1024),
    ] {
        let (names, length) = visited(prefix, tenants);
        let mut at = 0;
        group.bench_function(what, |bench| {
            bench.iter(|| {
                at = (at + length) % names.len();
                let id =
                    TenantId::parse(names.get(at..at + length).expect("a name")).expect("an id");
                black_box(table.locate(&id)).expect("a home")
            });
        });
    }
    group.finish();
}

/// So many names, one behind the other, and the length of each. A prime stride visits all of the
/// table, as traffic of many tenants does.
fn visited(prefix: &str, tenants: usize) -> (String, usize) {
    let name = |at: usize| format!("{prefix}{}", name(at * 7919 % TENANTS));
    ((0..tenants).map(name).collect(), name(0).len())
}

criterion_group!(benches, tables);
criterion_main!(benches);
