//! Running other programs.

use std::error::Error;
use std::io::Write;
use std::path::PathBuf;
use std::process::Command;

/// What every command returns.
pub(crate) type Done = Result<(), Box<dyn Error>>;

/// Writes a line to standard error.
pub(crate) fn say(line: &str) {
    drop(writeln!(std::io::stderr(), "{line}"));
}

/// Writes a line to standard output.
pub(crate) fn print(line: &str) {
    drop(writeln!(std::io::stdout(), "{line}"));
}

/// The project's root.
pub(crate) fn root() -> PathBuf {
    let own = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    own.ancestors().nth(2).map_or_else(|| PathBuf::from("."), PathBuf::from)
}

/// Where cargo puts builds.
pub(crate) fn target() -> PathBuf {
    let target = std::env::var_os("CARGO_TARGET_DIR").unwrap_or_else(|| "target".into());
    root().join(target)
}

/// The release build of stampgate.
pub(crate) fn release_build() -> PathBuf {
    target().join("release/stampgate")
}

/// Runs a program to its end; its failure is an error.
pub(crate) fn run(program: &str, arguments: &[&str], environment: &[(&str, &str)]) -> Done {
    say(&format!("+ {program} {}", arguments.join(" ")));
    let mut command = Command::new(program);
    command.args(arguments).envs(environment.iter().copied()).current_dir(root());
    let status = command.status().map_err(|error| format!("{program}: {error}"))?;
    if status.success() { Ok(()) } else { Err(format!("{program}: {status}").into()) }
}

/// The models of the atomics that decide, each run in every order that its threads can have.
pub(crate) fn loom() -> Done {
    run("cargo", &["test", "--locked", "-p", "atomic-models"], &[])
}

/// The gate: everything that must hold of a change.
pub(crate) fn ci() -> Done {
    run("cargo", &["fmt", "--all", "--check"], &[])?;
    let clippy = ["clippy", "--locked", "--workspace", "--all-targets", "--", "-D", "warnings"];
    run("cargo", &clippy, &[])?;
    let doc = ["doc", "--locked", "--workspace", "--no-deps", "--document-private-items"];
    run("cargo", &doc, &[("RUSTDOCFLAGS", "-D warnings")])?;
    run("cargo", &["test", "--locked"], &[])?;
    crate::interop::run_cases(&[])?;
    crate::sim::run_many(crate::sim::SEEDS)?;
    loom()?;
    run("cargo", &["test", "--locked", "--benches"], &[])
}
