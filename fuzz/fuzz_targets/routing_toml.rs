//! No routing.toml and no tenant file panics, and every mistake stands in its text.
#![no_main]

use std::sync::Arc;

use libfuzzer_sys::fuzz_target;
use stamp_core::diagnostic::{Diagnostic, SourceText};
use stamp_core::diff;
use stamp_core::table::load;

/// What follows the first NUL is the tenant file.
fn split(data: &[u8]) -> Option<(&str, Arc<[u8]>)> {
    let nul = data.iter().position(|byte| *byte == 0).unwrap_or(data.len());
    let rows = data.get(nul + 1..).unwrap_or_default();
    Some((str::from_utf8(&data[..nul]).ok()?, rows.into()))
}

fn stands_in(diagnostic: &Diagnostic, sources: &[SourceText]) {
    let text = &sources[diagnostic.source].text;
    assert!(diagnostic.span.start <= diagnostic.span.end && diagnostic.span.end <= text.len());
    assert!(!diagnostic.message.is_empty());
    if let Some((note, _)) = &diagnostic.note {
        assert!(note.start <= note.end && note.end <= text.len());
    }
}

fuzz_target!(|data: &[u8]| {
    let Some((text, rows)) = split(data) else { return };
    let source = SourceText { path: "routing.toml".into(), text: text.into() };
    match load(source.clone(), &mut |_| Ok(Arc::clone(&rows)), None) {
        Err(rejected) => {
            assert!(!rejected.diagnostics.is_empty(), "refused without a reason");
            rejected.diagnostics.iter().for_each(|one| stands_in(one, &rejected.sources));
        }
        Ok(first) => {
            first.warnings.iter().for_each(|one| stands_in(one, &first.sources));
            let again = load(source, &mut |_| Ok(Arc::clone(&rows)), Some(&first.table));
            let again = again.expect("what was accepted once is accepted again");
            assert!(diff::moves(&first.table, &again.table).is_empty());
        }
    }
});
