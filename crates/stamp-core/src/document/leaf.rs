//! Values that are no tables: numbers with ranges, quantities with units, texts, lists, paths.

use std::borrow::Cow;
use std::path::PathBuf;
use std::time::Duration;

use serde_json::json;
use toml::de::DeValue;

use super::unit::{UnitError, parse_bytes, parse_duration, parse_percent};
use super::{FromToml, Json, Mistake, Report, Span, Value};

/// Reports that a value is of the wrong kind.
pub fn mismatch<'r>(value: &Value<'_>, expected: &str, report: &'r mut Report) -> &'r mut Mistake {
    let found = match value.get_ref() {
        DeValue::String(_) => "a string",
        DeValue::Integer(_) => "an integer",
        DeValue::Float(_) => "a float",
        DeValue::Boolean(_) => "a boolean",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    };
    report
        .error(value.span().into(), format!("expected {expected}, found {found}"))
        .expected(expected)
}

/// The string that is written here. In the environment everything that is no list is one.
pub fn string_of<'a>(value: &'a Value<'_>, report: &Report) -> Option<Cow<'a, str>> {
    match value.get_ref() {
        DeValue::String(text) => Some(Cow::Borrowed(text)),
        DeValue::Array(_) | DeValue::Table(_) => None,
        DeValue::Integer(_) | DeValue::Float(_) | DeValue::Boolean(_) | DeValue::Datetime(_) => {
            report.environment_text(value.span().into()).map(|text| Cow::Owned(text.to_owned()))
        }
    }
}

/// Reads a string that `parse` understands; its error is told with `help`.
pub fn read_parsed<T, E: std::fmt::Display>(
    value: &Value<'_>,
    report: &mut Report,
    expected: &str,
    parse: impl FnOnce(&str) -> Result<T, E>,
) -> Option<T> {
    let Some(text) = string_of(value, report) else {
        mismatch(value, expected, report);
        return None;
    };
    match parse(&text) {
        Ok(read) => Some(read),
        Err(error) => {
            report.error(value.span().into(), format!("`{text}`: {error}")).expected(expected);
            None
        }
    }
}

/// A value and its place.
#[derive(Clone, Debug)]
pub struct Written<T> {
    /// What is written.
    pub value: T,
    /// Where.
    pub span: Span,
}

impl<T: FromToml> FromToml for Written<T> {
    fn read(value: &Value<'_>, report: &mut Report) -> Option<Self> {
        T::read(value, report).map(|read| Self { value: read, span: value.span().into() })
    }
    fn schema() -> Json {
        T::schema()
    }
    fn absent() -> Option<Self> {
        T::absent().map(|value| Self { value, span: Span::BUILT_IN })
    }
    fn salvage() -> Option<Self> {
        T::salvage().map(|value| Self { value, span: Span::BUILT_IN })
    }
}

impl<T: FromToml> FromToml for Option<T> {
    fn read(value: &Value<'_>, report: &mut Report) -> Option<Self> {
        T::read(value, report).map(Some)
    }
    fn schema() -> Json {
        T::schema()
    }
    fn absent() -> Option<Self> {
        Some(None)
    }
}

impl<T: FromToml> FromToml for Vec<T> {
    fn read(value: &Value<'_>, report: &mut Report) -> Option<Self> {
        let Some(items) = value.get_ref().as_array() else {
            mismatch(value, "a list", report);
            return None;
        };
        let read: Self = items.iter().filter_map(|item| T::read(item, report)).collect();
        // A list of nothing but mistakes was not meant to be empty.
        (items.is_empty() || !read.is_empty()).then_some(read)
    }
    fn schema() -> Json {
        json!({ "type": "array", "items": T::schema() })
    }
    fn salvage() -> Option<Self> {
        Some(Self::new())
    }
}

/// One value, or a list of them.
#[derive(Clone, Debug)]
pub struct OneOrMany<T>(pub Vec<T>);

impl<T: FromToml> FromToml for OneOrMany<T> {
    fn read(value: &Value<'_>, report: &mut Report) -> Option<Self> {
        if value.get_ref().is_array() {
            return Vec::read(value, report).map(Self);
        }
        T::read(value, report).map(|one| Self(vec![one]))
    }
    fn schema() -> Json {
        json!({ "anyOf": [T::schema(), Vec::<T>::schema()] })
    }
    fn salvage() -> Option<Self> {
        Some(Self(Vec::new()))
    }
}

/// A table whose keys are names that the writer chose.
#[derive(Clone, Debug)]
pub struct Named<T>(pub Vec<(Written<String>, T)>);

impl<T: FromToml> FromToml for Named<T> {
    fn read(value: &Value<'_>, report: &mut Report) -> Option<Self> {
        let Some(table) = value.get_ref().as_table() else {
            mismatch(value, "a table", report);
            return None;
        };
        let mut entries = Vec::with_capacity(table.len());
        for (key, value) in table {
            let name = Written { value: key.to_string(), span: key.span().into() };
            if let Some(read) = T::read(value, report) {
                entries.push((name, read));
            }
        }
        Some(Self(entries))
    }
    fn schema() -> Json {
        json!({ "type": "object", "additionalProperties": T::schema() })
    }
    fn salvage() -> Option<Self> {
        Some(Self(Vec::new()))
    }
}

impl FromToml for bool {
    fn read(value: &Value<'_>, report: &mut Report) -> Option<Self> {
        let truth = value.get_ref().as_bool();
        if truth.is_none() {
            mismatch(value, "`true` or `false`", report);
        }
        truth
    }
    fn schema() -> Json {
        json!({ "type": "boolean" })
    }
}

impl FromToml for String {
    fn read(value: &Value<'_>, report: &mut Report) -> Option<Self> {
        read_parsed(value, report, "a text that is not empty", |text| match text {
            "" => Err("this may not be empty"),
            text => Ok(text.to_owned()),
        })
    }
    fn schema() -> Json {
        json!({ "type": "string", "minLength": 1 })
    }
}

impl FromToml for PathBuf {
    fn read(value: &Value<'_>, report: &mut Report) -> Option<Self> {
        read_parsed(value, report, "the path of a file", |text| match text {
            "" => Err("a path may not be empty"),
            text if text.contains('\0') => Err("a path has no NUL"),
            text => Ok(Self::from(text)),
        })
    }
    fn schema() -> Json {
        json!({ "type": "string", "minLength": 1 })
    }
}

/// A whole number from `MIN` to `MAX`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Count<const MIN: u32, const MAX: u32>(pub u32);

impl<const MIN: u32, const MAX: u32> FromToml for Count<MIN, MAX> {
    fn read(value: &Value<'_>, report: &mut Report) -> Option<Self> {
        let expected = format!("an integer from {MIN} to {MAX}");
        let Some(number) = value.get_ref().as_integer() else {
            mismatch(value, &expected, report);
            return None;
        };
        let read = u32::from_str_radix(number.as_str(), number.radix()).ok();
        let read = read.filter(|number| (MIN..=MAX).contains(number));
        if read.is_none() {
            report
                .error(value.span().into(), format!("{number} is out of range"))
                .expected(expected);
        }
        read.map(Self)
    }
    fn schema() -> Json {
        json!({ "type": "integer", "minimum": MIN, "maximum": MAX })
    }
}

/// A share from 0 to 1.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Ratio(pub f64);

impl FromToml for Ratio {
    fn read(value: &Value<'_>, report: &mut Report) -> Option<Self> {
        let text = match value.get_ref() {
            DeValue::Float(number) => number.as_str(),
            DeValue::Integer(number) => number.as_str(),
            DeValue::String(_)
            | DeValue::Boolean(_)
            | DeValue::Datetime(_)
            | DeValue::Array(_)
            | DeValue::Table(_) => {
                mismatch(value, "a number from 0.0 to 1.0", report);
                return None;
            }
        };
        let read = text.parse().ok().filter(|number| (0.0..=1.0).contains(number));
        if read.is_none() {
            report
                .error(value.span().into(), format!("{text} is out of range"))
                .expected("a number from 0.0 to 1.0");
        }
        read.map(Self)
    }
    fn schema() -> Json {
        json!({ "type": "number", "minimum": 0, "maximum": 1 })
    }
}

/// A duration of at least `MS_MIN` milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Lasting<const MS_MIN: u64>(pub Duration);

impl<const MS_MIN: u64> FromToml for Lasting<MS_MIN> {
    fn read(value: &Value<'_>, report: &mut Report) -> Option<Self> {
        let read = read_quantity(value, report, &DURATION, parse_duration)?;
        if read < Duration::from_millis(MS_MIN) {
            report
                .error(value.span().into(), "this duration is too short")
                .expected(format_args!("at least \"{MS_MIN}ms\""));
            return None;
        }
        Some(Self(read))
    }
    fn schema() -> Json {
        json!({ "type": "string", "pattern": "^[0-9]+(ms|s|m|h)$" })
    }
}

/// A size from `MIN` to `MAX` bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Bytes<const MIN: u64, const MAX: u64>(pub u64);

impl<const MIN: u64, const MAX: u64> FromToml for Bytes<MIN, MAX> {
    fn read(value: &Value<'_>, report: &mut Report) -> Option<Self> {
        let read = read_quantity(value, report, &SIZE, parse_bytes)?;
        let (message, expected) = match read {
            read if read < MIN => ("this size is too small", format!("at least \"{MIN}B\"")),
            read if read > MAX => ("this size is too large", format!("at most \"{MAX}B\"")),
            read => return Some(Self(read)),
        };
        report.error(value.span().into(), message).expected(expected);
        None
    }
    fn schema() -> Json {
        json!({ "type": "string", "pattern": "^(0|[0-9]+(B|KiB|MiB|GiB))$" })
    }
}

/// A share from 0 to 100, in percent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Percent(pub u32);

impl FromToml for Percent {
    fn read(value: &Value<'_>, report: &mut Report) -> Option<Self> {
        read_quantity(value, report, &SHARE, parse_percent).map(Self)
    }
    fn schema() -> Json {
        json!({ "type": "string", "pattern": "^(100|[0-9]{1,2})%$" })
    }
}

/// How a quantity with a unit is spoken of.
struct Quantity {
    expected: &'static str,
    units: &'static str,
    /// Units that people write although they are not ours, and ours.
    slips: &'static [(&'static str, &'static str)],
    /// What a bare number most likely meant.
    usual: &'static str,
}

const DURATION: Quantity = Quantity {
    expected: "a duration such as \"5s\"",
    units: "the units are ms, s, m and h",
    slips: &[
        ("sec", "s"),
        ("secs", "s"),
        ("seconds", "s"),
        ("S", "s"),
        ("min", "m"),
        ("mins", "m"),
        ("minutes", "m"),
        ("M", "m"),
        ("hours", "h"),
        ("H", "h"),
        ("MS", "ms"),
        ("msec", "ms"),
    ],
    usual: "s",
};
const SIZE: Quantity = Quantity {
    expected: "a size such as \"64KiB\"",
    units: "the units are B, KiB, MiB and GiB",
    slips: &[
        ("k", "KiB"),
        ("K", "KiB"),
        ("KB", "KiB"),
        ("kB", "KiB"),
        ("kb", "KiB"),
        ("kib", "KiB"),
        ("m", "MiB"),
        ("M", "MiB"),
        ("MB", "MiB"),
        ("mb", "MiB"),
        ("mib", "MiB"),
        ("g", "GiB"),
        ("G", "GiB"),
        ("GB", "GiB"),
        ("gb", "GiB"),
        ("gib", "GiB"),
    ],
    usual: "KiB",
};
const SHARE: Quantity = Quantity {
    expected: "a share such as \"20%\"",
    units: "write whole percents, from \"0%\" to \"100%\"",
    slips: &[(" %", "%"), ("percent", "%")],
    usual: "%",
};

fn read_quantity<T>(
    value: &Value<'_>,
    report: &mut Report,
    quantity: &Quantity,
    parse: impl FnOnce(&str) -> Result<T, UnitError>,
) -> Option<T> {
    let Some(text) = string_of(value, report) else {
        let mistake = mismatch(value, quantity.expected, report);
        if let Some(number) = value.get_ref().as_integer() {
            mistake.help(mend(number.as_str(), UnitError::NoUnit, quantity));
        }
        return None;
    };
    match parse(&text) {
        Ok(read) => Some(read),
        Err(error) => {
            report
                .error(value.span().into(), format!("`{text}`: {error}"))
                .label(format!("expected {}", quantity.expected))
                .help(mend(&text, error, quantity));
            None
        }
    }
}

fn mend(text: &str, error: UnitError, quantity: &Quantity) -> String {
    let digits = text.trim_end_matches(|letter: char| !letter.is_ascii_digit());
    let written = text.trim_start_matches(digits);
    let slip = quantity.slips.iter().find(|(slip, _)| *slip == written).map(|(_, unit)| *unit);
    let unit = slip.or_else(|| (error == UnitError::NoUnit).then_some(quantity.usual));
    match unit {
        Some(unit) => format!("write \"{digits}{unit}\"; {}", quantity.units),
        None => quantity.units.to_owned(),
    }
}
