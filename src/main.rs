//! The `stampgate` program.
use std::path::Path;
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;
#[expect(clippy::print_stderr, clippy::print_stdout, reason = "stub")]
fn main() {
    let a: Vec<String> = std::env::args().collect();
    if a[1] == "run" { if let Err(e) = stampgate::gateway::run(Path::new(&a[3])) { if let stampgate::gateway::RunError::Configuration(r) = &e { eprintln!("{}", r.render(stampgate::diagnostics::Paint::Plain)); } eprintln!("{e}"); } }
    else { let p = stampgate::demo::Ports { gateway: 0, admin: 0, stamps: 0 }; stampgate::demo::run(p, |t| println!("{t}")).unwrap(); }
}
