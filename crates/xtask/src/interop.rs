//! Clients of other makers against the program: `tests/interop/run.py` in an environment of its own.

use crate::run::{Done, root, run, target};

/// Builds what it needs, then runs these cases, or all.
pub(crate) fn run_cases(names: &[&str]) -> Done {
    run("cargo", &["build", "--locked"], &[])?;
    let environment = target().join("interop");
    let python = environment.join("bin/python");
    let (environment, python) = (environment.display().to_string(), python.display().to_string());
    run("python3", &["-m", "venv", &environment], &[])?;
    let packages = root().join("tests/interop/requirements.txt").display().to_string();
    let install =
        ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-r", &packages];
    run(&python, &install, &[])?;
    let gateway = target().join("debug/stampgate").display().to_string();
    let cases = ["tests/interop/run.py", "--gateway", &gateway];
    run(&python, &[&cases, names].concat(), &[])
}
