//! The `stampgate` program: the arguments go in, an exit code comes out.

use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    stampgate::cli::main(std::env::args_os())
}
