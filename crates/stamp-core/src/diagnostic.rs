//! One mistake in a file as the reader of that file should see it. The shell's `diagnostics`
//! prints it with file, line, column and source line.

use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;

/// A text that diagnostics point into: a configuration file, or the environment overrides.
#[derive(Clone, Debug)]
pub struct SourceText {
    /// What to print before the line number.
    pub path: PathBuf,
    /// The whole text.
    pub text: Arc<str>,
}

/// A mistake and its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostic {
    /// Which text: an index into the list of `SourceText` that came with the diagnostics.
    pub source: usize,
    /// Bytes of that text.
    pub span: Range<usize>,
    /// What is wrong, in one line without a full stop: "unknown key `endpoint`".
    pub message: String,
    /// What to write at the marked place, if more than the message is worth saying.
    pub label: Option<String>,
    /// A concrete mend: "did you mean `endpoints`?".
    pub help: Option<String>,
    /// A second place that explains the mistake ("first defined here"): span in the same source.
    pub note: Option<(Range<usize>, String)>,
}

/// Why a file was refused.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{} in {}", mistakes(diagnostics.len()), shown(sources))]
pub struct Rejected {
    /// Every mistake, in the order of the texts. Never empty.
    pub diagnostics: Vec<Diagnostic>,
    /// The texts that they point into; the first is the file itself.
    pub sources: Vec<SourceText>,
}

fn mistakes(count: usize) -> String {
    if count == 1 { "1 mistake".to_owned() } else { format!("{count} mistakes") }
}

fn shown(sources: &[SourceText]) -> String {
    sources.first().map_or_else(String::new, |source| source.path.display().to_string())
}
