//! The rows of a CSV file (RFC 4180) with a header line, one at a time: what stands where.

use std::ops::Range;

use crate::document::{Report, Span, did_you_mean};

/// The columns that a tenant file may have; the first two must be there.
const COLUMNS: [&str; 5] = ["tenant", "stamp", "tier", "residency", "state"];

/// The rows of a file.
pub(super) struct Rows<'a> {
    text: &'a str,
    base: usize,
    reader: Reader<'a>,
    /// Where the row that was read last stands, on the line of all texts.
    span: Span,
    /// Its line, from 1.
    line: u64,
    is_over: bool,
}

enum Reader<'a> {
    /// There is no quote in the whole file: lines are rows, and commas end fields.
    Plain {
        at: usize,
        fields: Vec<Range<usize>>,
    },
    Quoted {
        csv: Box<csv::Reader<&'a [u8]>>,
        record: csv::ByteRecord,
    },
}

impl<'a> Rows<'a> {
    /// The rows of a text that begins there on the line of all texts.
    pub(super) fn new(text: &'a str, base: usize) -> Self {
        let bytes = text.as_bytes();
        let reader = if memchr::memchr(b'"', bytes).is_none() {
            let at = if text.starts_with('\u{feff}') { '\u{feff}'.len_utf8() } else { 0 };
            Reader::Plain { at, fields: Vec::new() }
        } else {
            let mut builder = csv::ReaderBuilder::new();
            let csv = builder.has_headers(false).flexible(true).from_reader(bytes);
            Reader::Quoted { csv: Box::new(csv), record: csv::ByteRecord::new() }
        };
        Self { text, base, reader, span: Span { start: base, end: base }, line: 1, is_over: false }
    }

    /// Moves on to the next row: is there one?
    pub(super) fn next(&mut self, report: &mut Report) -> bool {
        if self.is_over {
            return false;
        }
        self.is_over = match &mut self.reader {
            Reader::Plain { .. } => !self.next_plain(),
            Reader::Quoted { .. } => !self.next_quoted(report),
        };
        !self.is_over
    }

    fn next_plain(&mut self) -> bool {
        let Reader::Plain { at, fields } = &mut self.reader else { return false };
        let bytes = self.text.as_bytes();
        // What ends the row before, and blank lines, which are no rows.
        loop {
            match bytes.get(*at) {
                None => return false,
                Some(b'\n') => self.line += 1,
                Some(b'\r') => {}
                Some(_) => break,
            }
            *at += 1;
        }
        let start = *at;
        let rest = bytes.get(start..).unwrap_or_default();
        let row = memchr::memchr2(b'\r', b'\n', rest).map_or(rest, |end| rest.split_at(end).0);
        fields.clear();
        let mut from = start;
        for comma in memchr::memchr_iter(b',', row) {
            fields.push(from..start + comma);
            from = start + comma + 1;
        }
        *at = start + row.len();
        fields.push(from..*at);
        self.span = Span { start: self.base + start, end: self.base + *at };
        true
    }

    fn next_quoted(&mut self, report: &mut Report) -> bool {
        let Reader::Quoted { csv, record } = &mut self.reader else { return false };
        let read = csv.read_byte_record(record);
        let (offset, line) = record.position().map_or((0, 1), |it| (it.byte(), it.line()));
        self.stand_at(usize::try_from(offset).unwrap_or(usize::MAX), line);
        let Reader::Quoted { record, .. } = &self.reader else { return false };
        match read {
            Ok(true) => {}
            Ok(false) => return false,
            Err(error) => {
                report
                    .error(self.span, format!("this is no CSV: {error}"))
                    .help("mend this row (RFC 4180)");
                return false;
            }
        }
        if record.iter().any(|field| memchr::memchr(b'\n', field).is_some()) {
            // Nothing that may stand in a row has line breaks: a quote was not closed, and the
            // rest of the file went into one field.
            report
                .error(self.span, "a quoted field goes on in the next line")
                .help("close the quotes");
            return false;
        }
        true
    }

    /// Notes where a row stands. The reader's position is before the line break that ends the row
    /// before.
    fn stand_at(&mut self, offset: usize, line: u64) {
        let rest = self.text.as_bytes().get(offset..).unwrap_or_default();
        let blank = rest.iter().take_while(|byte| matches!(byte, b'\r' | b'\n')).count();
        let (blank, row) = rest.split_at(blank);
        let breaks = memchr::memchr_iter(b'\n', blank).count() as u64;
        let bytes = memchr::memchr2(b'\r', b'\n', row).unwrap_or(row.len());
        let start = self.base + offset + blank.len();
        self.span = Span { start, end: start + bytes };
        self.line = line + breaks;
    }

    /// A field of the row that was read last; empty if it has fewer.
    fn field(&self, place: usize) -> &str {
        let field = match &self.reader {
            Reader::Plain { fields, .. } => {
                fields.get(place).and_then(|field| self.text.get(field.clone()))
            }
            // The whole file was found to be UTF-8, and fields end at ASCII bytes.
            Reader::Quoted { record, .. } => {
                record.get(place).and_then(|field| str::from_utf8(field).ok())
            }
        };
        field.unwrap_or_default()
    }

    /// How many fields the row that was read last has.
    fn len(&self) -> usize {
        match &self.reader {
            Reader::Plain { fields, .. } => fields.len(),
            Reader::Quoted { record, .. } => record.len(),
        }
    }

    /// Reads the header line.
    pub(super) fn columns(&mut self, report: &mut Report) -> Option<Columns> {
        let help = "the first line names the columns: `tenant,stamp`, and `,tier,residency,state`";
        let start = self.span;
        let mistakes = report.count();
        if !self.next(report) {
            if report.count() == mistakes {
                report.error(start, "this tenant file has no header line").help(help);
            }
            return None;
        }
        let span = self.span;
        let mut columns = Columns { places: [None; COLUMNS.len()], count: self.len() };
        let mut is_good = true;
        for place in 0..columns.count {
            let name = self.field(place);
            let Some(column) = COLUMNS.iter().position(|column| *column == name) else {
                let near = did_you_mean(name, COLUMNS);
                report
                    .error(span, format!("unknown column `{name}`"))
                    .help(near.unwrap_or_else(|| help.to_owned()));
                is_good = false;
                continue;
            };
            let slot = columns.places.get_mut(column);
            if slot.and_then(|slot| slot.replace(place)).is_some() {
                report
                    .error(span, format!("column `{name}` is named twice"))
                    .help("remove one of them");
                is_good = false;
            }
        }
        for (name, place) in COLUMNS.iter().zip(columns.places).take(2) {
            if place.is_none() && is_good {
                report.error(span, format!("there is no column `{name}`")).help(help);
                return None;
            }
        }
        is_good.then_some(columns)
    }

    /// The row that was read last.
    pub(super) fn row(&self, columns: &Columns) -> Row<'_> {
        let [tenant, stamp, tier, residency, state] =
            columns.places.map(|place| place.map_or("", |place| self.field(place)));
        let (span, line) = (self.span, self.line);
        let (found, expected) = (self.len(), columns.count);
        Row { span, line, tenant, stamp, tier, residency, state, found, expected }
    }
}

impl<'a> Row<'a> {
    /// A row with all columns, in the order of `COLUMNS`, that stands in no file.
    pub(super) fn kept(line: &'a str) -> Option<Self> {
        let fields: Vec<&str> = line.split(',').collect();
        let &[tenant, stamp, tier, residency, state] = fields.as_slice() else { return None };
        let (span, line, columns) = (Span::default(), 0, COLUMNS.len());
        let (found, expected) = (columns, columns);
        Some(Row { span, line, tenant, stamp, tier, residency, state, found, expected })
    }
}

/// Which column means what: places of `COLUMNS`.
pub(super) struct Columns {
    places: [Option<usize>; COLUMNS.len()],
    count: usize,
}

/// One row: what is absent is empty.
pub(super) struct Row<'a> {
    pub(super) span: Span,
    /// From 1.
    pub(super) line: u64,
    pub(super) tenant: &'a str,
    pub(super) stamp: &'a str,
    pub(super) tier: &'a str,
    pub(super) residency: &'a str,
    pub(super) state: &'a str,
    /// How many columns it has.
    pub(super) found: usize,
    /// How many the header has.
    pub(super) expected: usize,
}
