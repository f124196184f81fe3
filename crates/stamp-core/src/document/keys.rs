//! The keys of one table: who asked for which, and which nobody knows.

use serde_json::{Map, Value as Json, json};
use toml::de::{DeTable, DeValue};

use super::leaf::mismatch;
use super::overlay::shifted;
use super::suggest::did_you_mean;
use super::{FromTable, FromToml, Report, Span, Value};

/// The most keys that a `help:` lists.
const KEYS_LISTED_MAX: usize = 16;

/// The default of a key as TOML text, if it has one.
pub type Default = Option<&'static str>;

/// The keys of one table while they are read.
#[derive(Debug)]
pub struct Keys<'a, 'i> {
    table: &'a DeTable<'i>,
    span: Span,
    asked: Vec<&'static str>,
}

impl<'a, 'i> Keys<'a, 'i> {
    /// The keys of this table, which stands at this place.
    #[must_use]
    pub const fn new(table: &'a DeTable<'i>, span: Span) -> Self {
        Self { table, span, asked: Vec::new() }
    }

    /// Reads the value of this key; its default or what absence means where it is not written.
    pub fn read<T: FromToml>(
        &mut self,
        name: &'static str,
        default: Default,
        report: &mut Report,
    ) -> Option<T> {
        self.asked.push(name);
        let Some(value) = self.table.get(name) else {
            let assumed = default.and_then(read_default).or_else(T::absent);
            return assumed.or_else(|| {
                report
                    .missing(self.span, format!("missing key `{name}`"))
                    .help(format!("add `{name}`"));
                T::salvage()
            });
        };
        T::read(value, report).or_else(|| default.and_then(read_default)).or_else(T::salvage)
    }

    /// Reports the keys that nobody asked for.
    pub fn finish(self, report: &mut Report) {
        for (key, _) in self.table {
            if self.asked.iter().any(|asked| asked == key.get_ref()) {
                continue;
            }
            let near = did_you_mean(key.get_ref(), self.asked.iter().copied());
            let help = near.unwrap_or_else(|| self.known());
            report.error(key.span().into(), format!("unknown key `{}`", key.get_ref())).help(help);
        }
    }

    fn known(&self) -> String {
        if self.asked.len() > KEYS_LISTED_MAX {
            return "remove it: no key of this name is known here".to_owned();
        }
        let list: Vec<String> = self.asked.iter().map(|key| format!("`{key}`")).collect();
        format!("the keys known here are {}", list.join(", "))
    }
}

fn read_default<T: FromToml>(text: &'static str) -> Option<T> {
    let value = shifted(DeValue::parse(text).ok()?, Span::BUILT_IN.start);
    let source = crate::diagnostic::SourceText { path: "built in".into(), text: "".into() };
    // A default that does not read is caught by the test of the key's own declaration.
    T::read(&value, &mut Report::new(source))
}

/// Reads a whole table: its keys and nothing else.
pub fn read_table<T: FromTable>(value: &Value<'_>, report: &mut Report) -> Option<T> {
    let Some(table) = value.get_ref().as_table() else {
        mismatch(value, "a table", report);
        return None;
    };
    let mut keys = Keys::new(table, value.span().into());
    let read = T::read_keys(&mut keys, report);
    keys.finish(report);
    read
}

/// The JSON Schema of one table while it is put together.
#[derive(Debug, Default)]
pub struct Shape {
    properties: Map<String, Json>,
    required: Vec<&'static str>,
}

impl Shape {
    /// Adds a key.
    pub fn key<T: FromToml>(&mut self, name: &'static str, about: &str, default: Default) {
        let mut schema = T::schema();
        if let Some(schema) = schema.as_object_mut() {
            schema.insert("description".to_owned(), json!(about.trim()));
            let value = default.and_then(|text| DeValue::parse(text).ok());
            if let Some(value) = value {
                schema.insert("default".to_owned(), to_json(value.get_ref()));
            }
        }
        self.properties.insert(name.to_owned(), schema);
        if default.is_none() && T::absent().is_none() {
            self.required.push(name);
        }
    }
}

/// The JSON Schema of a table.
#[must_use]
pub fn table_schema<T: FromTable>(about: &str) -> Json {
    let mut shape = Shape::default();
    T::describe(&mut shape);
    let mut schema = json!({
        "type": "object",
        "description": about.trim(),
        "properties": shape.properties,
        "additionalProperties": false,
    });
    if let (Some(schema), false) = (schema.as_object_mut(), shape.required.is_empty()) {
        schema.insert("required".to_owned(), json!(shape.required));
    }
    schema
}

fn to_json(value: &DeValue<'_>) -> Json {
    match value {
        DeValue::String(text) => json!(text),
        DeValue::Integer(number) => json!(number.as_str().parse::<i64>().unwrap_or_default()),
        DeValue::Float(number) => json!(number.as_str().parse::<f64>().unwrap_or_default()),
        DeValue::Boolean(truth) => json!(truth),
        DeValue::Datetime(moment) => json!(moment.to_string()),
        DeValue::Array(items) => items.iter().map(|item| to_json(item.get_ref())).collect(),
        DeValue::Table(table) => {
            let entries = table.iter();
            entries.map(|(key, value)| (key.to_string(), to_json(value.get_ref()))).collect()
        }
    }
}
