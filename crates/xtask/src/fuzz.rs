//! Every fuzz target for a while.

use std::fs;

use crate::run::{Done, root, run};

/// Runs each target for `seconds`.
pub(crate) fn run_all(seconds: u32) -> Done {
    let mut targets = Vec::new();
    for entry in fs::read_dir(root().join("fuzz/fuzz_targets"))? {
        let path = entry?.path();
        if let Some(name) = path.file_stem().and_then(|name| name.to_str()) {
            targets.push(name.to_owned());
        }
    }
    targets.sort();
    for target in &targets {
        let time = format!("-max_total_time={seconds}");
        run("cargo", &["+nightly", "fuzz", "run", target, "--", &time, "-timeout=10"], &[])?;
    }
    Ok(())
}
