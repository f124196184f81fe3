//! Mistakes in files, as people and programs read them: file, line, column, source line, help.

use std::fmt;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use annotate_snippets::{AnnotationKind, Group, Level, Renderer, Snippet};
use serde::{Serialize, Serializer};
use stamp_core::diagnostic::{Diagnostic, SourceText};
use stamp_core::table::Rejected;

/// A note further away than this is shown as a snippet of its own.
const ONE_SNIPPET_BYTES_MAX: usize = 16 * 1024;

/// The longest source line that is shown to programs, in bytes.
const SOURCE_LINE_BYTES_MAX: usize = 512;

/// How bad the mistakes are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severity {
    /// The file is refused.
    Error,
    /// The file is accepted all the same.
    Warning,
}

/// For whom they are printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Paint {
    /// A file, a pipe, a log.
    Plain,
    /// A terminal.
    Coloured,
}

/// One mistake as the API tells it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Told {
    /// The file, or "environment".
    pub file: String,
    /// From 1.
    pub line: usize,
    /// From 1, in characters.
    pub column: usize,
    /// What is wrong.
    pub message: String,
    /// A concrete mend.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub help: Option<String>,
    /// A second place that explains the mistake: "first entry: tenants.csv:2".
    #[serde(skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
    /// The line as written.
    pub source_line: String,
}

/// Mistakes with the texts that they are in: what a refused file leaves behind.
#[derive(Clone, Debug)]
pub struct Report {
    diagnostics: Vec<Diagnostic>,
    sources: Arc<[SourceText]>,
    severity: Severity,
}

impl Report {
    /// Mistakes that refuse a file.
    #[must_use]
    pub fn errors(diagnostics: Vec<Diagnostic>, sources: Vec<SourceText>) -> Self {
        Self { diagnostics, sources: sources.into(), severity: Severity::Error }
    }

    /// Mistakes that were lived with.
    #[must_use]
    pub fn warnings(diagnostics: Vec<Diagnostic>, sources: Vec<SourceText>) -> Self {
        Self { diagnostics, sources: sources.into(), severity: Severity::Warning }
    }

    /// Something is wrong with a file as a whole: it cannot be read, for example.
    #[must_use]
    pub fn of_file(path: &Path, message: impl Into<String>) -> Self {
        Self::of_files([(path, message.into())])
    }

    /// The same of several files.
    #[must_use]
    pub fn of_files<'a>(files: impl IntoIterator<Item = (&'a Path, String)>) -> Self {
        Self::of_files_with_help(files.into_iter().map(|(path, message)| (path, message, None)))
    }

    /// The same with a concrete mend for each.
    #[must_use]
    pub fn of_files_with_help<'a>(
        files: impl IntoIterator<Item = (&'a Path, String, Option<String>)>,
    ) -> Self {
        let whole = |(source, (path, message, help)): (usize, (&Path, String, Option<String>))| {
            let text = SourceText { path: path.to_owned(), text: "".into() };
            let (label, note) = (None, None);
            (Diagnostic { source, span: 0..0, message, label, help, note }, text)
        };
        let (diagnostics, sources) = files.into_iter().enumerate().map(whole).unzip();
        Self::errors(diagnostics, sources)
    }

    /// Something is to be said of files as a whole that is lived with.
    #[must_use]
    pub fn warnings_of_files<'a>(
        files: impl IntoIterator<Item = (&'a Path, &'static str)>,
    ) -> Self {
        let told = files.into_iter().map(|(path, message)| (path, message.to_owned()));
        Self { severity: Severity::Warning, ..Self::of_files(told) }
    }

    /// These mistakes, and then those.
    #[must_use]
    pub fn and(mut self, other: Self) -> Self {
        let known = self.sources.len();
        let moved = |one: Diagnostic| Diagnostic { source: one.source + known, ..one };
        self.diagnostics.extend(other.diagnostics.into_iter().map(moved));
        self.sources = self.sources.iter().chain(&*other.sources).cloned().collect();
        self
    }

    /// How many mistakes there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.diagnostics.len()
    }

    /// Is there no mistake?
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.diagnostics.is_empty()
    }

    /// As rustc would print them.
    #[must_use]
    pub fn render(&self, paint: Paint) -> String {
        render(&self.diagnostics, &self.sources, self.severity, paint)
    }

    /// For programs.
    #[must_use]
    pub fn told(&self) -> Vec<Told> {
        tell(&self.diagnostics, &self.sources)
    }
}

impl From<Rejected> for Report {
    fn from(rejected: Rejected) -> Self {
        Self::errors(rejected.diagnostics, rejected.sources)
    }
}

impl Serialize for Report {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.told().serialize(serializer)
    }
}

/// `file:line:column: message (help)`, for a line of the log.
impl fmt::Display for Told {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}:{}:{}: {}", self.file, self.line, self.column, self.message)?;
        if let Some(note) = &self.note {
            write!(out, " ({note})")?;
        }
        match &self.help {
            Some(help) => write!(out, " ({help})"),
            None => Ok(()),
        }
    }
}

/// Prints mistakes as rustc prints them, one after the other.
#[must_use]
pub fn render(
    diagnostics: &[Diagnostic],
    sources: &[SourceText],
    severity: Severity,
    paint: Paint,
) -> String {
    let renderer = match paint {
        Paint::Plain => Renderer::plain(),
        Paint::Coloured => Renderer::styled(),
    };
    let mut out = String::new();
    for diagnostic in diagnostics {
        let Some(source) = sources.get(diagnostic.source) else { continue };
        out.push_str(&renderer.render(&[group(diagnostic, source, severity)]));
        out.push_str("\n\n");
    }
    out.truncate(out.trim_end().len());
    if !out.is_empty() {
        out.push('\n');
    }
    out
}

/// Tells mistakes to a program.
#[must_use]
pub fn tell(diagnostics: &[Diagnostic], sources: &[SourceText]) -> Vec<Told> {
    let known = diagnostics.iter().filter_map(|one| Some((one, sources.get(one.source)?)));
    known.map(|(diagnostic, source)| told(diagnostic, source)).collect()
}

fn told(diagnostic: &Diagnostic, source: &SourceText) -> Told {
    let text = &*source.text;
    let start = text.floor_char_boundary(diagnostic.span.start);
    let lines = lines_of(text, start..start);
    let line = text.get(lines.clone()).unwrap_or_default().trim_end_matches(['\r', '\n']);
    let before = text.get(lines.start..start).unwrap_or_default();
    let shown = line.get(..line.floor_char_boundary(SOURCE_LINE_BYTES_MAX)).unwrap_or_default();
    let note = diagnostic.note.as_ref().map(|(place, words)| {
        let start = text.floor_char_boundary(place.start);
        format!("{words}: {}:{}", source.path.display(), line_number(text, start))
    });
    Told {
        file: source.path.display().to_string(),
        line: line_number(text, lines.start),
        column: before.chars().count() + 1,
        message: diagnostic.message.clone(),
        help: diagnostic.help.clone(),
        note,
        source_line: shown.to_owned(),
    }
}

fn group<'a>(diagnostic: &'a Diagnostic, source: &'a SourceText, severity: Severity) -> Group<'a> {
    let text = &*source.text;
    let span = whole_characters(text, &diagnostic.span);
    let note = diagnostic
        .note
        .as_ref()
        .map(|(span, words)| (whole_characters(text, span), words.as_str()));
    let near =
        note.as_ref().filter(|(note, _)| note.start.abs_diff(span.start) < ONE_SNIPPET_BYTES_MAX);
    let lines = match near {
        Some((note, _)) => lines_of(text, span.start.min(note.start)..span.end.max(note.end)),
        None => lines_of(text, span.clone()),
    };
    let primary = AnnotationKind::Primary.span(shifted(&span, lines.start));
    let mut shown = snippet(source, &lines).annotation(primary.label(diagnostic.label.as_deref()));
    if let Some((note, words)) = near {
        let context = AnnotationKind::Context.span(shifted(note, lines.start));
        shown = shown.annotation(context.label(*words));
    }
    let level = match severity {
        Severity::Error => Level::ERROR,
        Severity::Warning => Level::WARNING,
    };
    let mut group = level.primary_title(diagnostic.message.as_str()).element(shown);
    if let (None, Some((note, words))) = (near, &note) {
        let lines = lines_of(text, note.clone());
        let context = AnnotationKind::Context.span(shifted(note, lines.start));
        group = group.element(snippet(source, &lines).annotation(context.label(*words)));
    }
    if let Some(help) = &diagnostic.help {
        group = group.element(Level::HELP.message(help.as_str()));
    }
    group
}

/// These lines of the source. Only they are handed over: a tenant file may have 256 MiB.
fn snippet<'a>(
    source: &'a SourceText,
    lines: &Range<usize>,
) -> Snippet<'a, annotate_snippets::Annotation<'a>> {
    Snippet::source(source.text.get(lines.clone()).unwrap_or_default())
        .line_start(line_number(&source.text, lines.start))
        .path(source.path.to_string_lossy())
}

fn shifted(span: &Range<usize>, by: usize) -> Range<usize> {
    span.start.saturating_sub(by)..span.end.saturating_sub(by)
}

/// The span, grown to whole characters.
fn whole_characters(text: &str, span: &Range<usize>) -> Range<usize> {
    let start = text.floor_char_boundary(span.start);
    start..text.ceil_char_boundary(span.end.max(start))
}

/// The whole lines that a span touches, with the last line's break.
fn lines_of(text: &str, span: Range<usize>) -> Range<usize> {
    let before = text.get(..span.start).unwrap_or_default();
    let start = before.rfind('\n').map_or(0, |place| place + 1);
    let after = text.get(span.end..).unwrap_or_default();
    let end = after.find('\n').map_or(text.len(), |place| span.end + place + 1);
    start..end
}

/// The number, from 1, of the line that begins here.
fn line_number(text: &str, start: usize) -> usize {
    let before = text.as_bytes().get(..start).unwrap_or_default();
    memchr::memchr_iter(b'\n', before).count() + 1
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn source(text: &str) -> SourceText {
        SourceText { path: "routing.toml".into(), text: text.into() }
    }

    fn mistake(span: Range<usize>) -> Diagnostic {
        Diagnostic {
            source: 0,
            span,
            message: "unknown key `endpoint`".to_owned(),
            label: None,
            help: Some("did you mean `endpoints`?".to_owned()),
            note: None,
        }
    }

    #[test]
    fn a_mistake_is_printed_as_rustc_prints_it() {
        let text = "version = 1\n[[stamp]]\nendpoint = []\n";
        let printed = render(&[mistake(22..30)], &[source(text)], Severity::Error, Paint::Plain);
        assert_eq!(
            printed,
            "error: unknown key `endpoint`\n \
             --> routing.toml:3:1\n  \
             |\n\
             3 | endpoint = []\n  \
             | ^^^^^^^^\n  \
             |\n  \
             = help: did you mean `endpoints`?\n"
        );
    }

    #[test]
    fn label_and_note_stand_at_their_places() {
        let text = "a = 1\nb = 2\na = 3\n";
        let note = Some((0..1, "first written here".to_owned()));
        let label = Some("again".to_owned());
        let diagnostic = Diagnostic { note, label, help: None, ..mistake(12..13) };
        let printed = render(&[diagnostic], &[source(text)], Severity::Warning, Paint::Plain);
        assert!(printed.starts_with("warning: unknown key"), "{printed}");
        assert!(printed.contains("--> routing.toml:3:1"), "{printed}");
        assert!(printed.contains("| - first written here"), "{printed}");
        assert!(printed.contains("| ^ again"), "{printed}");
    }

    #[test]
    fn a_note_far_away_has_a_snippet_of_its_own() {
        let text = format!("a = 1\n{}a = 3\n", "# nothing\n".repeat(9000));
        let at = text.len() - 6;
        let note = Some((0..1, "first".to_owned()));
        let diagnostic = Diagnostic { note, ..mistake(at..at + 1) };
        let printed = render(&[diagnostic], &[source(&text)], Severity::Error, Paint::Plain);
        assert!(printed.contains("routing.toml:9002:1"), "{printed}");
        assert!(printed.contains("routing.toml:1"), "{printed}");
        assert!(printed.len() < 1000, "{printed}");
    }

    #[test]
    fn a_program_is_told_line_and_column_from_one() {
        let told = tell(&[mistake(13..14)], &[source("# ä\nkey = 5\r\n")]);
        assert_eq!((told[0].line, told[0].column), (2, 9));
        let told = tell(&[mistake(5..6)], &[source("# ä\nkey = 5\r\n")]);
        assert_eq!((told[0].line, told[0].column, &*told[0].source_line), (2, 1, "key = 5"));
    }

    #[test]
    fn colours_are_for_terminals_only() {
        let print = |paint| render(&[mistake(0..1)], &[source("a")], Severity::Error, paint);
        assert!(!print(Paint::Plain).contains('\x1b'));
        assert!(print(Paint::Coloured).contains('\x1b'));
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn no_text_and_no_span_panics(
            text in "(\\PC|\n|\r|\t|\u{0}){0,40}",
            span in (0_usize..60, 0_usize..60),
            note in prop::option::of((0_usize..60, 0_usize..60)),
        ) {
            let note = note.map(|(start, end)| (start..end, "note".to_owned()));
            let diagnostic = Diagnostic { note, label: Some("x".to_owned()), ..mistake(span.0..span.1) };
            let (diagnostics, sources) = ([diagnostic], [source(&text)]);
            let _printed = render(&diagnostics, &sources, Severity::Error, Paint::Plain);
            let _told = tell(&diagnostics, &sources);
        }
    }
}
