//! Every kind of mistake in routing.toml: where it is said to be, and in which words.

use std::io;
use std::path::Path;
use std::sync::Arc;

use super::*;
use crate::diagnostic::{Diagnostic, SourceText};

/// Two stamps that nothing is wrong with.
const STAMPS: &str = "
[[stamp]]
id = \"eu-1\"
residency = \"eu\"
endpoints = [{ url = \"http://10.1.0.10:8080\" }]
[[stamp]]
id = \"us-1\"
residency = \"us\"
endpoints = [{ url = \"http://10.9.0.10:8080\" }]
";

fn text(body: &str) -> SourceText {
    SourceText { path: "/etc/routing.toml".into(), text: format!("version = 1\n{body}").into() }
}

fn no_files(_path: &Path) -> io::Result<Arc<[u8]>> {
    Err(io::Error::from(io::ErrorKind::NotFound))
}

fn loaded(body: &str) -> Loaded {
    let result = load(text(body), &mut no_files, None);
    result.unwrap_or_else(|rejected| panic!("{}", told(&rejected.diagnostics, &rejected.sources)))
}

/// Loads with one tenant file, over a former table.
fn with_rows(rows: &str, former: Option<&RoutingTable>) -> Result<Loaded, Rejected> {
    let bytes: Arc<[u8]> = rows.as_bytes().into();
    let body = format!("{STAMPS}[[tenant_file]]\npath = \"tenants.csv\"\n");
    load(
        text(&body),
        &mut |path| {
            assert_eq!(path, Path::new("/etc/tenants.csv"));
            Ok(Arc::clone(&bytes))
        },
        former,
    )
}

/// One line a diagnostic: `file:line: marked text: message; help: ...; note line: ...`.
fn told(diagnostics: &[Diagnostic], sources: &[SourceText]) -> String {
    let mut lines = Vec::new();
    for diagnostic in diagnostics {
        let source = &sources[diagnostic.source];
        let line_of = |offset: usize| source.text.get(..offset).unwrap().matches('\n').count() + 1;
        let line = line_of(diagnostic.span.start);
        let file = source.path.file_name().unwrap().to_str().unwrap();
        let marked = source.text.get(diagnostic.span.clone()).unwrap();
        let mut told = format!("{file}:{line}: <{marked}> {}", diagnostic.message);
        if let Some(help) = &diagnostic.help {
            told += &format!("; help: {help}");
        }
        if let Some((span, words)) = &diagnostic.note {
            told += &format!("; {words}: {}", line_of(span.start));
        }
        lines.push(told);
    }
    lines.join("\n")
}

fn mistakes(body: &str) -> String {
    let rejected = load(text(body), &mut no_files, None).unwrap_err();
    told(&rejected.diagnostics, &rejected.sources)
}

#[test]
fn the_example_of_the_smallest_fleet_loads() {
    let table = loaded(STAMPS).table;
    assert_eq!(table.stamps().len(), 2);
    assert_eq!(table.endpoint(EndpointIndex(1)).0, StampIndex(1));
}
