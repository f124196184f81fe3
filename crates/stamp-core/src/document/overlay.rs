//! Tables laid over tables: environment variables over a file, a stamp over `[defaults.stamp]`.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::sync::Arc;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::report::Origin;
use super::{Report, Span, Value};

const PREFIX: &str = "STAMPGATE__";

/// The variables of the environment that override keys: `STAMPGATE__TABLE__KEY=value`.
#[derive(Clone, Debug)]
pub struct Environment {
    /// All of them as lines, so that mistakes have a place.
    text: Arc<str>,
    variables: Vec<Variable>,
}

#[derive(Clone, Debug)]
struct Variable {
    /// Offset of the name in the text.
    name_at: usize,
    name: String,
    value: String,
}

impl Environment {
    /// Picks the variables that are ours, in the order of their names.
    #[must_use]
    pub fn new(all: impl Iterator<Item = (String, String)>) -> Self {
        let mut ours: Vec<_> = all.filter(|(name, _)| name.starts_with(PREFIX)).collect();
        ours.sort();
        let mut text = String::new();
        let mut variables = Vec::with_capacity(ours.len());
        for (name, value) in ours {
            let name_at = text.len();
            // Writing into a `String` cannot fail.
            let _infallible = writeln!(text, "{name}={value}");
            variables.push(Variable { name_at, name, value });
        }
        Self { text: text.into(), variables }
    }

    /// Lays the variables over the tree of a file.
    pub fn lay_over<'i>(&'i self, tree: &mut DeTable<'i>, report: &mut Report) {
        if self.variables.is_empty() {
            return;
        }
        let bytes = Arc::clone(&self.text).into();
        let base = report.add_text("environment".into(), Origin::Environment, bytes);
        for variable in &self.variables {
            variable.lay_over(tree, base, report);
        }
    }
}

impl Variable {
    fn lay_over<'i>(&'i self, tree: &mut DeTable<'i>, base: usize, report: &mut Report) {
        let name_at = base + self.name_at;
        let name_span = Span { start: name_at, end: name_at + self.name.len() };
        let value_at = name_span.end + 1;
        let value = match DeValue::parse(&self.value) {
            Ok(value) => shifted(value, value_at),
            Err(_no_toml) => Spanned::new(
                value_at..value_at + self.value.len(),
                DeValue::String(Cow::Borrowed(self.value.as_str())),
            ),
        };
        let path = self.name.strip_prefix(PREFIX).unwrap_or_default().to_ascii_lowercase();
        let mut names: Vec<&str> = path.split("__").collect();
        let last = names.pop().unwrap_or_default();
        if last.is_empty() || names.iter().any(|name| name.is_empty()) {
            report
                .error(name_span, "this variable names no key")
                .help("write STAMPGATE__TABLE__KEY=value, for example STAMPGATE__LOG__LEVEL=debug");
            return;
        }
        let mut table = tree;
        for name in names {
            let key = Spanned::new(name_span.start..name_span.end, Cow::Owned(name.to_owned()));
            let fresh =
                Spanned::new(name_span.start..name_span.end, DeValue::Table(DeTable::new()));
            let inner = table.entry(key).or_insert(fresh).get_mut();
            let DeValue::Table(inner) = inner else {
                report
                    .error(name_span, format!("`{name}` is no table that has keys of its own"))
                    .help("set it whole, as a TOML value");
                return;
            };
            table = inner;
        }
        // The key of the file goes too, so that mistakes point at the variable.
        table.remove(last);
        let key = Spanned::new(name_span.start..name_span.end, Cow::Owned(last.to_owned()));
        table.insert(key, value);
    }
}

/// Lays `under` beneath `table`: a key that `table` lacks is taken over, tables are merged.
pub fn lay_under<'i>(table: &mut DeTable<'i>, under: &DeTable<'i>, except: &[&str]) {
    for (key, value) in under {
        if except.contains(&&**key.get_ref()) {
            continue;
        }
        let Some(own) = table.get_mut(&**key.get_ref()) else {
            table.insert(key.clone(), value.clone());
            continue;
        };
        if let (DeValue::Table(own), DeValue::Table(value)) = (own.get_mut(), value.get_ref()) {
            lay_under(own, value, &[]);
        }
    }
}

/// The same value with all of its places moved on.
pub(super) fn shifted(value: Value<'_>, by: usize) -> Value<'_> {
    let range = value.span();
    let moved = match value.into_inner() {
        DeValue::Array(items) => {
            DeValue::Array(items.into_iter().map(|item| shifted(item, by)).collect())
        }
        DeValue::Table(table) => {
            let entries = table.into_iter().map(|(key, value)| {
                let range = key.span();
                let moved = range.start + by..range.end + by;
                (Spanned::new(moved, key.into_inner()), shifted(value, by))
            });
            DeValue::Table(entries.collect())
        }
        other @ (DeValue::String(_)
        | DeValue::Integer(_)
        | DeValue::Float(_)
        | DeValue::Boolean(_)
        | DeValue::Datetime(_)) => other,
    };
    Spanned::new(range.start + by..range.end + by, moved)
}
