//! A TOML text, read with all of its mistakes at once.
//!
//! `as_written!` declares a table once; from that come its reader, its known keys and its part of
//! the JSON Schema. serde is not used: it stops at the first mistake.

mod declare;
mod keys;
mod leaf;
mod overlay;
mod report;
mod suggest;
#[cfg(test)]
mod tests;
mod unit;

pub use serde_json::Value as Json;
use serde_json::json;
use toml::de::{DeTable, DeValue};

pub use declare::{read_word, word_schema};
pub use keys::{Default, Keys, Shape, read_table, table_schema};
pub use leaf::{
    Bytes, Count, Lasting, Named, OneOrMany, Percent, Ratio, Written, mismatch, read_parsed,
    string_of,
};
pub use overlay::{Environment, lay_under};
pub use report::{Findings, Mistake, Origin, Report, Span, beside};
pub use suggest::{did_you_mean, nearest};
pub use unit::{UnitError, parse_bytes, parse_duration, parse_percent};

/// A value of the tree and its place.
pub type Value<'i> = toml::Spanned<DeValue<'i>>;

/// What can be read from one value.
pub trait FromToml: Sized {
    /// Reads the value; what is wrong goes into the report, and `None` comes back.
    fn read(value: &Value<'_>, report: &mut Report) -> Option<Self>;

    /// What the value must look like (JSON Schema 2020-12).
    fn schema() -> Json;

    /// What an absent key means, if it may be absent.
    fn absent() -> Option<Self> {
        None
    }

    /// What to go on with after a mistake, so that the other mistakes are found.
    fn salvage() -> Option<Self> {
        Self::absent()
    }
}

/// What can be read from the keys of a table, on its own or together with other keys.
pub trait FromTable: Sized {
    /// Reads the keys that it knows.
    fn read_keys(keys: &mut Keys<'_, '_>, report: &mut Report) -> Option<Self>;

    /// Describes the keys that it knows.
    fn describe(shape: &mut Shape);
}

/// The version of both files that this program reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Version;

impl Version {
    const NUMBER: &'static str = "1";

    fn is_known(value: &Value<'_>) -> bool {
        value.get_ref().as_integer().is_some_and(|number| number.as_str() == Self::NUMBER)
    }

    fn refuse(value: &Value<'_>, report: &mut Report) {
        report
            .error(value.span().into(), "unknown version")
            .label("this program knows version 1 only")
            .help("write `version = 1`");
    }
}

impl FromToml for Version {
    fn read(value: &Value<'_>, report: &mut Report) -> Option<Self> {
        // The file's own has passed `open`; one laid over it has not.
        if !Self::is_known(value) {
            Self::refuse(value, report);
        }
        Some(Self)
    }

    fn schema() -> Json {
        json!({ "const": 1 })
    }

    fn salvage() -> Option<Self> {
        Some(Self)
    }
}

/// Parses a text; `None` when it is of a version that is not known, so that nothing else in it
/// can be judged.
pub fn open<'i>(text: &'i str, report: &mut Report) -> Option<DeTable<'i>> {
    let (tree, errors) = DeTable::parse_recoverable(text);
    let tree = tree.into_inner();
    for error in errors {
        let span = Span::from(error.span().unwrap_or(0..0));
        let first = first_of_this_name(&tree, text, span, error.message());
        let mistake = report.syntax(span, error.message());
        if let Some(first) = first {
            mistake.note(first, "first written here").help("remove one of them");
        }
        let bare = text.get(span.start..span.end).filter(|bare| !bare.is_empty());
        if let (true, Some(bare)) = (error.message().starts_with("string values"), bare) {
            mistake.help(format!("write \"{bare}\""));
        }
    }
    let Some((key, version)) = tree.get_key_value("version") else { return Some(tree) };
    if !Version::is_known(version) {
        Version::refuse(version, report);
        return None;
    }
    let first = tree.keys().map(|key| key.span().start).min();
    if first.is_some_and(|first| first < key.span().start) {
        report
            .error(key.span().into(), "`version` must be the first key")
            .help("move `version = 1` to the top of the file");
    }
    Some(tree)
}

/// Where the key stands that a "duplicate key" at this place repeats.
fn first_of_this_name(
    tree: &DeTable<'_>,
    text: &str,
    repeated: Span,
    message: &str,
) -> Option<Span> {
    if message != "duplicate key" {
        return None;
    }
    let name = text.get(repeated.start..repeated.end)?;
    let mut found = Vec::new();
    keys_named(tree, name.trim_matches(['"', '\'']), &mut found);
    found.into_iter().filter(|span| span.end <= repeated.start).max()
}

fn keys_named(table: &DeTable<'_>, name: &str, found: &mut Vec<Span>) {
    for (key, value) in table {
        if key.get_ref() == name {
            found.push(key.span().into());
        }
        match value.get_ref() {
            DeValue::Table(inner) => keys_named(inner, name, found),
            DeValue::Array(items) => {
                for inner in items.iter().filter_map(|item| item.get_ref().as_table()) {
                    keys_named(inner, name, found);
                }
            }
            DeValue::String(_)
            | DeValue::Integer(_)
            | DeValue::Float(_)
            | DeValue::Boolean(_)
            | DeValue::Datetime(_) => {}
        }
    }
}

/// Reads a whole tree.
pub fn read<T: FromToml>(tree: DeTable<'_>, report: &mut Report) -> Option<T> {
    T::read(&toml::Spanned::new(0..0, DeValue::Table(tree)), report)
}

/// The JSON Schema of a whole file.
#[must_use]
pub fn file_schema<T: FromToml>(title: &str) -> Json {
    let mut schema = T::schema();
    if let Some(schema) = schema.as_object_mut() {
        schema.insert("$schema".to_owned(), json!("https://json-schema.org/draft/2020-12/schema"));
        schema.insert("title".to_owned(), json!(title));
    }
    schema
}
