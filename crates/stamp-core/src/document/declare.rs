//! The two macros by which a table and an enumerated value are declared once.

use super::leaf::{mismatch, string_of};
use super::suggest::did_you_mean;
use super::{Report, Value};

/// Declares tables as they are written: struct, reader, known keys and JSON Schema in one.
///
/// A key is required unless its type may be absent (`Option`) or it has a default, written as in
/// TOML: `pub interval: Lasting<1> = "5s",`. A last line `.. pub policy: RawStampPolicy,` reads the
/// keys of another such struct from the same table.
#[macro_export]
macro_rules! as_written {
    (@default) => { None };
    (@default $default:tt) => { Some(stringify!($default)) };
    ($(
        $(#[doc = $about:expr])*
        $visible:vis struct $name:ident {
            $( $(#[doc = $doc:expr])* pub $key:ident : $type:ty $(= $default:tt)?, )*
            $( .. pub $flat:ident : $flat_type:ty, )?
        }
    )*) => { $(
        $(#[doc = $about])*
        #[derive(Clone, Debug)]
        $visible struct $name {
            $( $(#[doc = $doc])* pub $key: $type, )*
            $(
                /// Keys that other tables have as well.
                pub $flat: $flat_type,
            )?
        }

        impl $crate::document::FromTable for $name {
            fn read_keys(
                keys: &mut $crate::document::Keys<'_, '_>,
                report: &mut $crate::document::Report,
            ) -> Option<Self> {
                $( let $key = keys.read::<$type>(
                    stringify!($key), $crate::as_written!(@default $($default)?), report,
                ); )*
                $( let $flat = <$flat_type as $crate::document::FromTable>::read_keys(keys, report); )?
                Some(Self { $( $key: $key?, )* $( $flat: $flat?, )? })
            }

            fn describe(shape: &mut $crate::document::Shape) {
                $( shape.key::<$type>(
                    stringify!($key),
                    concat!($($doc),*),
                    $crate::as_written!(@default $($default)?),
                ); )*
                $( <$flat_type as $crate::document::FromTable>::describe(shape); )?
            }
        }

        impl $crate::document::FromToml for $name {
            fn read(
                value: &$crate::document::Value<'_>,
                report: &mut $crate::document::Report,
            ) -> Option<Self> {
                $crate::document::read_table(value, report)
            }

            fn schema() -> $crate::document::Json {
                $crate::document::table_schema::<Self>(concat!($($about),*))
            }
        }
    )* };
}

/// Declares the words that a value may be: `words! { EdgeMode { "read_write" => Self::ReadWrite } }`.
#[macro_export]
macro_rules! words {
    ($( $type:ty { $($word:literal => $value:expr),* $(,)? } )*) => { $(
        impl $crate::document::FromToml for $type {
            fn read(
                value: &$crate::document::Value<'_>,
                report: &mut $crate::document::Report,
            ) -> Option<Self> {
                $crate::document::read_word(value, report, &[$( ($word, $value) ),*])
            }

            fn schema() -> $crate::document::Json {
                $crate::document::word_schema(&[$($word),*])
            }
        }
    )* };
}

/// Reads one of these words.
pub fn read_word<T: Copy>(
    value: &Value<'_>,
    report: &mut Report,
    words: &[(&'static str, T)],
) -> Option<T> {
    let known = || words.iter().map(|(word, _)| *word);
    let list: Vec<String> = known().map(|word| format!("\"{word}\"")).collect();
    let list = list.join(" or ");
    let Some(written) = string_of(value, report) else {
        mismatch(value, &list, report);
        return None;
    };
    if let Some((_, meant)) = words.iter().find(|(word, _)| *word == written) {
        return Some(*meant);
    }
    let near = did_you_mean(&written, known());
    report
        .error(value.span().into(), format!("unknown word \"{written}\""))
        .label(format!("expected {list}"))
        .help(near.unwrap_or_else(|| format!("write {list}")));
    None
}

/// The JSON Schema of a word.
#[must_use]
pub fn word_schema(words: &[&str]) -> serde_json::Value {
    serde_json::json!({ "enum": words })
}
