//! Collects every mistake of a load, whichever text it stands in.
//!
//! All texts of one load share one line of offsets: a `Span` alone says which text it points into.
//! `Report::finish` turns spans into (`source`, range) pairs.

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::diagnostic::{Diagnostic, Rejected, SourceText};

/// The most mistakes that are kept; those beyond are counted.
const MISTAKES_MAX: usize = 1000;

/// Offsets from here on belong to no text: built-in defaults.
const NOWHERE: usize = usize::MAX / 2;

/// Bytes of one of the texts of a load, on the line of offsets that they all share.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Span {
    /// The first byte.
    pub start: usize,
    /// The byte after the last.
    pub end: usize,
}

impl Span {
    /// The place of what nobody wrote: a built-in default.
    pub const BUILT_IN: Self = Self { start: NOWHERE, end: NOWHERE };

    /// Did somebody write this, or is it a built-in default?
    #[must_use]
    pub const fn is_written(self) -> bool {
        self.start < NOWHERE
    }
}

impl From<Range<usize>> for Span {
    fn from(range: Range<usize>) -> Self {
        Self { start: range.start, end: range.end }
    }
}

/// Where a text came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// A file: a string is written with quotes.
    File,
    /// Environment variables: where a string belongs, a bare word or number is one.
    Environment,
}

#[derive(Debug)]
struct Text {
    path: PathBuf,
    origin: Origin,
    base: usize,
    bytes: Arc<[u8]>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// The text is no TOML here.
    Syntax,
    /// Something is not there; with a syntax error about, it may be there after all.
    Missing,
    /// Something is there and wrong.
    Wrong,
    /// Something is wrong and can be lived with.
    Warning,
}

impl Kind {
    /// What to do where nothing more concrete was said.
    const fn mend(self) -> &'static str {
        match self {
            Self::Syntax => "mend this line: the file is TOML (https://toml.io)",
            Self::Missing => "add what is missing",
            Self::Wrong | Self::Warning => "correct or remove what is marked",
        }
    }
}

/// One mistake while it is described.
#[derive(Clone, Debug)]
pub struct Mistake {
    kind: Kind,
    span: Span,
    message: String,
    label: Option<String>,
    help: Option<String>,
    note: Option<(Span, String)>,
}

impl Mistake {
    /// What to write at the marked place.
    pub fn label(&mut self, text: impl Into<String>) -> &mut Self {
        self.label = Some(text.into());
        self
    }

    /// What belongs at the marked place: label and mend in one.
    pub fn expected(&mut self, what: impl std::fmt::Display) -> &mut Self {
        self.label(format!("expected {what}")).help(format!("write {what}"))
    }

    /// A concrete mend.
    pub fn help(&mut self, text: impl Into<String>) -> &mut Self {
        self.help = Some(text.into());
        self
    }

    /// A second place that explains the mistake.
    pub fn note(&mut self, span: Span, text: impl Into<String>) -> &mut Self {
        if span.is_written() {
            self.note = Some((span, text.into()));
        }
        self
    }
}

/// What a load found.
#[derive(Debug)]
pub struct Findings {
    /// What refuses the load.
    pub errors: Vec<Diagnostic>,
    /// What does not.
    pub warnings: Vec<Diagnostic>,
    /// The texts that these point into; the first is the main one.
    pub sources: Vec<SourceText>,
}

impl From<Findings> for Rejected {
    fn from(findings: Findings) -> Self {
        Self { diagnostics: findings.errors, sources: findings.sources }
    }
}

/// Mistakes and the texts that they point into.
#[derive(Debug)]
pub struct Report {
    texts: Vec<Text>,
    mistakes: Vec<Mistake>,
    overflow: Option<Mistake>,
    unlisted: usize,
    /// The last warning of those that are counted only: they refuse nothing.
    spare: Option<Mistake>,
    unlisted_warnings: usize,
}

impl Report {
    /// A report on this text and others that it names.
    #[must_use]
    pub fn new(main: SourceText) -> Self {
        let mut report = Self {
            texts: Vec::new(),
            mistakes: Vec::new(),
            overflow: None,
            unlisted: 0,
            spare: None,
            unlisted_warnings: 0,
        };
        report.add_text(main.path, Origin::File, main.text.into());
        report
    }

    /// Takes another text in; returns the offset of its first byte.
    pub fn add_text(&mut self, path: PathBuf, origin: Origin, bytes: Arc<[u8]>) -> usize {
        // One byte between two texts, so that the end of one is not the start of the next.
        let base = self.texts.last().map_or(0, |text| text.base + text.bytes.len() + 1);
        self.texts.push(Text { path, origin, base, bytes });
        base
    }

    /// Something is wrong here.
    pub fn error(&mut self, span: Span, message: impl Into<String>) -> &mut Mistake {
        self.add(Kind::Wrong, span, message.into())
    }

    /// Something is not here.
    pub fn missing(&mut self, span: Span, message: impl Into<String>) -> &mut Mistake {
        self.add(Kind::Missing, span, message.into())
    }

    /// This is not in the language of the text.
    pub fn syntax(&mut self, span: Span, message: impl Into<String>) -> &mut Mistake {
        self.add(Kind::Syntax, span, message.into())
    }

    /// Something is wrong here and can be lived with.
    pub fn warning(&mut self, span: Span, message: impl Into<String>) -> &mut Mistake {
        self.add(Kind::Warning, span, message.into())
    }

    fn add(&mut self, kind: Kind, span: Span, message: String) -> &mut Mistake {
        let mistake = Mistake { kind, span, message, label: None, help: None, note: None };
        let is_full = self.mistakes.len() >= MISTAKES_MAX;
        if is_full && mistake.kind == Kind::Warning {
            self.unlisted_warnings += 1;
            return self.spare.insert(mistake);
        }
        if is_full {
            self.unlisted += 1;
            return self.overflow.insert(mistake);
        }
        self.mistakes.push(mistake);
        let last = self.mistakes.len() - 1;
        #[expect(clippy::indexing_slicing, reason = "pushed in the line above")]
        &mut self.mistakes[last]
    }

    /// Is something so wrong that nothing comes of this load?
    #[must_use]
    pub fn has_errors(&self) -> bool {
        self.unlisted > 0 || self.mistakes.iter().any(|mistake| mistake.kind != Kind::Warning)
    }

    /// How many mistakes there are, warnings among them.
    #[must_use]
    pub const fn count(&self) -> usize {
        self.mistakes.len() + self.unlisted + self.unlisted_warnings
    }

    /// Is a text so broken that what is missing from it says nothing?
    #[must_use]
    pub fn has_syntax_errors(&self) -> bool {
        self.mistakes.iter().any(|mistake| mistake.kind == Kind::Syntax)
    }

    /// The text at this place, if it came from the environment.
    #[must_use]
    pub fn environment_text(&self, span: Span) -> Option<&str> {
        let (_, text) = self.text_of(span)?;
        if text.origin == Origin::File {
            return None;
        }
        let bytes = text.bytes.get(span.start - text.base..span.end.checked_sub(text.base)?)?;
        str::from_utf8(bytes).ok()
    }

    /// `file:line` of this place.
    #[must_use]
    pub fn place(&self, span: Span) -> String {
        let Some((_, text)) = self.text_of(span) else { return "built in".to_owned() };
        format!("{}:{}", text.path.display(), text.line(span))
    }

    fn text_of(&self, span: Span) -> Option<(usize, &Text)> {
        if !span.is_written() {
            return None;
        }
        self.texts.iter().enumerate().rev().find(|(_, text)| text.base <= span.start)
    }

    /// Ends the report: what was found, in the order of the texts.
    #[must_use]
    pub fn finish(mut self) -> Findings {
        self.drop_what_follows_from_syntax_errors();
        let mut mistakes = std::mem::take(&mut self.mistakes);
        mistakes.sort_by_key(|mistake| mistake.span.start);
        let (overflow, spare) = (self.overflow.take(), self.spare.take());
        let mut findings =
            Findings { errors: Vec::new(), warnings: Vec::new(), sources: Vec::new() };
        let mut shown = Shown::new(&self);
        for mistake in mistakes {
            let is_warning = mistake.kind == Kind::Warning;
            let list = if is_warning { &mut findings.warnings } else { &mut findings.errors };
            let diagnostic = shown.diagnostic(mistake);
            let same = |other: &Diagnostic| {
                (other.source, &other.span, &other.message)
                    == (diagnostic.source, &diagnostic.span, &diagnostic.message)
            };
            if !list.iter().any(same) {
                list.push(diagnostic);
            }
        }
        if let Some(last) = overflow {
            let message = format!("and {} more mistakes, of which this is the last", self.unlisted);
            findings.errors.push(shown.diagnostic(Mistake { message, ..last }));
        }
        if let Some(last) = spare {
            let count = self.unlisted_warnings;
            let message = format!("and {count} more warnings, of which this is the last");
            findings.warnings.push(shown.diagnostic(Mistake { message, ..last }));
        }
        findings.sources = shown.sources;
        findings
    }

    /// The tree of a broken text has holes: a missing key may be there, and a broken line says
    /// nothing more than that it is broken.
    fn drop_what_follows_from_syntax_errors(&mut self) {
        let main = self.texts.first();
        let Some(main) = main.filter(|_| self.has_syntax_errors()) else { return };
        let broken: Vec<u64> = self
            .mistakes
            .iter()
            .filter(|mistake| mistake.kind == Kind::Syntax)
            .map(|mistake| main.line(mistake.span))
            .collect();
        let header_broken = broken.iter().any(|line| main.line_text(*line).starts_with(b"["));
        let mut mistakes = std::mem::take(&mut self.mistakes);
        mistakes.sort_by_key(|mistake| mistake.span.start);
        let mut told = Vec::new();
        mistakes.retain(|mistake| match mistake.kind {
            Kind::Warning => true,
            Kind::Syntax => {
                // The first error of a line explains the others.
                let line = main.line(mistake.span);
                let is_first = !told.contains(&line);
                told.push(line);
                is_first
            }
            Kind::Missing => false,
            // A value that could not be read stands nowhere.
            Kind::Wrong => {
                mistake.span.start < mistake.span.end
                    && !header_broken
                    && !broken.contains(&main.line(mistake.span))
            }
        });
        self.mistakes = mistakes;
    }
}

impl Text {
    /// The number of the line, from 1.
    fn line(&self, span: Span) -> u64 {
        let before = self.bytes.get(..span.start.saturating_sub(self.base)).unwrap_or(&self.bytes);
        memchr::memchr_iter(b'\n', before).count() as u64 + 1
    }

    fn line_text(&self, line: u64) -> &[u8] {
        let mut lines = self.bytes.split(|byte| *byte == b'\n');
        let at = usize::try_from(line - 1).unwrap_or(usize::MAX);
        lines.nth(at).unwrap_or_default().trim_ascii_start()
    }

    /// As text, up to the first byte that is none.
    fn to_source(&self) -> SourceText {
        let text = match str::from_utf8(&self.bytes) {
            Ok(text) => text,
            Err(error) => {
                let good = self.bytes.get(..error.valid_up_to()).unwrap_or_default();
                str::from_utf8(good).unwrap_or_default()
            }
        };
        SourceText { path: self.path.clone(), text: text.into() }
    }
}

/// The texts that diagnostics point into, numbered as they come up.
struct Shown<'a> {
    report: &'a Report,
    numbers: Vec<Option<usize>>,
    sources: Vec<SourceText>,
}

impl<'a> Shown<'a> {
    fn new(report: &'a Report) -> Self {
        let mut shown = Self { report, numbers: vec![None; report.texts.len()], sources: vec![] };
        shown.number(0);
        shown
    }

    fn number(&mut self, text: usize) -> usize {
        if let Some(Some(number)) = self.numbers.get(text) {
            return *number;
        }
        let number = self.sources.len();
        if let (Some(slot), Some(text)) = (self.numbers.get_mut(text), self.report.texts.get(text))
        {
            *slot = Some(number);
            self.sources.push(text.to_source());
        }
        number
    }

    fn diagnostic(&mut self, mistake: Mistake) -> Diagnostic {
        let (text, span) = self.local(mistake.span);
        let mut diagnostic = Diagnostic {
            source: self.number(text),
            span,
            message: mistake.message,
            label: mistake.label,
            help: Some(mistake.help.unwrap_or_else(|| mistake.kind.mend().to_owned())),
            note: None,
        };
        if let Some((place, words)) = mistake.note {
            let (note_text, span) = self.local(place);
            if note_text == text {
                diagnostic.note = Some((span, words));
            } else {
                let elsewhere = format!("{words}: {}", self.report.place(place));
                diagnostic.help = Some(match diagnostic.help {
                    Some(help) => format!("{help} ({elsewhere})"),
                    None => elsewhere,
                });
            }
        }
        diagnostic
    }

    /// The number of the text and the bytes inside it.
    fn local(&self, span: Span) -> (usize, Range<usize>) {
        let Some((number, text)) = self.report.text_of(span) else { return (0, 0..0) };
        let inside = |offset: usize| offset.saturating_sub(text.base).min(text.bytes.len());
        (number, inside(span.start)..inside(span.end.max(span.start)))
    }
}

/// The path that a file names, relative to the directory of that file.
#[must_use]
pub fn beside(file: &Path, named: &Path) -> PathBuf {
    file.parent().map_or_else(|| named.to_owned(), |directory| directory.join(named))
}
