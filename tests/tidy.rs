//! Rules about the code itself, which no compiler keeps: layers, first lines, lengths, the purity
//! of the core, and pages that name what is there. Fails like any other test.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Lowest first. A module may use only itself and modules of lower layers.
const LAYERS: &[&[&str]] = &[
    &["clock", "diagnostics", "disk", "socket"],
    &["settings"],
    &["telemetry"],
    &["auth", "tls"],
    &["state"],
    &["outbound", "source"],
    &["proxy"],
    &["listen", "admin"],
    &["gateway"],
    &["demo"],
    &["cli"],
];

/// A file that outgrows this hides a second idea.
const LINES_MAX: usize = 600;

/// What decides takes time, chance and input as arguments.
const EFFECTS: &[&str] = &["std::net", "std::fs", "std::env", "std::process", "tokio", "hyper::"];

/// Names that say nothing: what is in such a file has no home yet.
const NAMELESS: &[&str] = &["utils", "util", "common", "helpers", "helper", "types", "manager"];

/// All Rust files below these directories, in order.
fn rust_files(directories: &[&str]) -> Vec<PathBuf> {
    files(directories, "rs")
}

/// All files with this ending below these directories; one that is not there has none.
fn files(directories: &[&str], ending: &str) -> Vec<PathBuf> {
    let mut waiting: Vec<PathBuf> = directories.iter().map(PathBuf::from).collect();
    let mut found = Vec::new();
    while let Some(path) = waiting.pop() {
        if path.is_dir() {
            waiting.extend(fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path()));
        } else if path.is_file() && path.extension().is_some_and(|own| own == ending) {
            found.push(path);
        }
    }
    found.sort();
    found
}

fn text_of(path: &Path) -> String {
    fs::read_to_string(path).unwrap()
}

/// The text without comments at the beginning of lines: what the compiler sees.
fn code_of(path: &Path) -> String {
    let text = text_of(path);
    let code = text.lines().filter(|line| !line.trim_start().starts_with("//"));
    code.collect::<Vec<_>>().join("\n")
}

#[track_caller]
fn assert_none(wrong: &[String]) {
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

fn layer_of(module: &str) -> Option<usize> {
    LAYERS.iter().position(|layer| layer.contains(&module))
}

/// The module of the crate that a file of `src` belongs to.
fn module_of(path: &Path) -> String {
    let inside = path.strip_prefix("src").unwrap();
    let first = inside.components().next().unwrap().as_os_str().to_str().unwrap();
    first.trim_end_matches(".rs").to_owned()
}

/// The word that this text begins with.
fn leading_word(text: &str) -> &str {
    let end = text.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(text.len());
    text.get(..end).unwrap_or_default()
}

/// The first modules that code names after `crate::`, alone or in braces.
fn used_modules(code: &str) -> BTreeSet<String> {
    let mut used = BTreeSet::new();
    for after in code.split("crate::").skip(1) {
        let Some(list) = after.strip_prefix('{') else {
            used.insert(leading_word(after).to_owned());
            continue;
        };
        let mut depth = 0;
        let mut fresh = true;
        for (at, sign) in list.char_indices() {
            match sign {
                '{' => depth += 1,
                '}' if depth == 0 => break,
                '}' => depth -= 1,
                ',' if depth == 0 => fresh = true,
                sign if fresh && depth == 0 && !sign.is_whitespace() => {
                    used.insert(leading_word(list.get(at..).unwrap_or_default()).to_owned());
                    fresh = false;
                }
                _ => {}
            }
        }
    }
    used
}

#[test]
fn modules_use_only_lower_layers() {
    let mut wrong = Vec::new();
    for file in rust_files(&["src"]) {
        let module = module_of(&file);
        if ["main", "lib"].contains(&module.as_str()) {
            continue;
        }
        let Some(layer) = layer_of(&module) else {
            wrong.push(format!("{}: module `{module}` has no layer", file.display()));
            continue;
        };
        for used in used_modules(&code_of(&file)) {
            let allowed = used == module || layer_of(&used).is_some_and(|other| other < layer);
            if !allowed {
                wrong.push(format!("{}: may not use `crate::{used}`", file.display()));
            }
        }
    }
    assert_none(&wrong);
}

#[test]
fn every_file_says_what_it_is_for() {
    let silent = |file: &PathBuf| !text_of(file).starts_with("//! ");
    let files = rust_files(&["src", "crates", "tests", "benches", "fuzz/fuzz_targets"]);
    let wrong = files.iter().filter(|file| silent(file));
    let wrong: Vec<String> = wrong.map(|file| format!("{}: no `//!`", file.display())).collect();
    assert_none(&wrong);
}

#[test]
fn no_file_is_too_long() {
    let mut wrong = Vec::new();
    for file in rust_files(&["src", "crates", "tests", "benches", "fuzz/fuzz_targets"]) {
        let lines = text_of(&file).lines().count();
        if lines > LINES_MAX {
            wrong.push(format!("{}: {lines} lines", file.display()));
        }
    }
    assert_none(&wrong);
}

#[test]
fn no_file_has_a_name_that_says_nothing() {
    let mut wrong = Vec::new();
    for file in rust_files(&["src", "crates", "tests", "benches"]) {
        let name = file.file_stem().unwrap().to_str().unwrap();
        if NAMELESS.contains(&name) {
            wrong.push(file.display().to_string());
        }
    }
    assert_none(&wrong);
}

#[test]
fn the_core_names_nothing_that_has_an_effect() {
    let mut wrong = Vec::new();
    for file in rust_files(&["crates/stamp-core/src"]) {
        let code = code_of(&file);
        for effect in EFFECTS.iter().filter(|effect| code.contains(**effect)) {
            wrong.push(format!("{}: names `{effect}`", file.display()));
        }
    }
    assert_none(&wrong);
}

/// The modules of a source directory: files and directories of its top.
fn modules_in(directory: &str) -> Vec<String> {
    let mut modules = Vec::new();
    for entry in fs::read_dir(directory).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        let module = name.trim_end_matches(".rs").to_owned();
        if module != "lib" {
            modules.push(module);
        }
    }
    modules.sort();
    modules
}

#[test]
fn the_architecture_page_names_every_module() {
    let page = text_of(Path::new("ARCHITECTURE.md"));
    let words: BTreeSet<&str> = page.split(|c: char| !c.is_alphanumeric() && c != '_').collect();
    let mut wrong = Vec::new();
    for directory in ["src", "crates/stamp-core/src"] {
        for module in modules_in(directory) {
            if !words.contains(module.as_str()) {
                wrong.push(format!("ARCHITECTURE.md does not name `{module}` of {directory}"));
            }
        }
    }
    assert_none(&wrong);
}

#[test]
fn the_architecture_page_prints_the_layers() {
    let layers: Vec<String> = LAYERS.iter().rev().map(|layer| layer.join(" | ")).collect();
    let arrows = format!("main -> {} -> stamp-core", layers.join(" -> "));
    let page = text_of(Path::new("ARCHITECTURE.md"));
    assert!(page.lines().any(|line| line == arrows), "ARCHITECTURE.md lacks:\n{arrows}");
}

/// Where the names of metrics are written down.
fn metrics_source() -> Option<String> {
    let mut found = rust_files(&["src/telemetry/metrics"]);
    found.extend(Some(PathBuf::from("src/telemetry/metrics.rs")).filter(|path| path.is_file()));
    let text: String = found.iter().map(|path| text_of(path)).collect();
    (!text.is_empty()).then_some(text)
}

/// The metric names of a text, without the endings that a histogram adds.
fn metric_names(text: &str) -> BTreeSet<String> {
    let names = text.match_indices("stampgate_").map(|(at, _)| {
        let name = leading_word(text.get(at..).unwrap_or_default());
        let name = ["_bucket", "_count", "_sum"]
            .iter()
            .find_map(|end| name.strip_suffix(end))
            .unwrap_or(name);
        name.to_owned()
    });
    names.filter(|name| name != "stampgate_").collect()
}

#[test]
fn every_metric_that_a_page_names_exists() {
    let Some(source) = metrics_source() else { return };
    let mut wrong = Vec::new();
    let mut pages =
        files(&["docs", "deploy", "README.md", "ARCHITECTURE.md", "CHANGELOG.md"], "md");
    pages.extend(files(&["docs", "deploy"], "json"));
    pages.extend(files(&["docs", "deploy"], "yaml"));
    for page in pages {
        for name in metric_names(&text_of(&page)) {
            let bare = name.trim_start_matches("stampgate_");
            if !source.contains(&name) && !source.contains(&format!("\"{bare}")) {
                wrong.push(format!("{}: there is no metric `{name}`", page.display()));
            }
        }
    }
    assert_none(&wrong);
}

#[test]
fn every_limit_and_every_time_is_tried_over_sockets() {
    let schema = text_of(Path::new("schema/gateway.schema.json"));
    let schema: serde_json::Value = serde_json::from_str(&schema).unwrap();
    let tests: String = rust_files(&["tests/it"]).iter().map(|path| text_of(path)).collect();
    let mut wrong = Vec::new();
    for table in ["limits", "timeouts"] {
        let keys = schema["properties"][table]["properties"].as_object().unwrap();
        for key in keys.keys().filter(|key| !tests.contains(&format!("\"{key}\""))) {
            wrong.push(format!("no test in tests/it sets `{table}.{key}`"));
        }
    }
    assert_none(&wrong);
}

#[test]
fn the_front_page_has_the_two_commands() {
    let page = text_of(Path::new("README.md"));
    for command in ["cargo run --release -- demo", "cargo test"] {
        assert!(page.contains(command), "README.md lacks `{command}`");
    }
}

#[test]
fn module_lists_in_braces_are_understood() {
    let code = "use crate::clock::Clock; use crate::{state::{View, x}, auth, proxy::forward};";
    let used: Vec<String> = used_modules(code).into_iter().collect();
    assert_eq!(used, ["auth", "clock", "proxy", "state"]);
}

#[test]
fn metric_names_lose_the_endings_of_histograms() {
    let text = "rate(stampgate_request_duration_seconds_bucket{stamp=\"a\"}), `stampgate_up`";
    let names: Vec<String> = metric_names(text).into_iter().collect();
    assert_eq!(names, ["stampgate_request_duration_seconds", "stampgate_up"]);
}
