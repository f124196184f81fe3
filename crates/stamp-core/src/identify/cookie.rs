//! One cookie's value out of a request's `Cookie` fields (RFC 6265, section 5.4).

use http::Version;
use http::header::COOKIE;

use super::{Head, IdentifyError};
use crate::clue::Source;

/// The value of the cookie of this name, exactly as written.
///
/// The same name twice is an error, for readers differ on which of the two counts; so is a second
/// `Cookie` field, but for HTTP/2, which may split the one (RFC 9113, section 8.2.3). Quotes are a
/// part of the value (RFC 6265, section 5.2), so a quoted id is no id. Other cookies may hold what
/// they like. `from` is what a mistake is put down to.
pub(super) fn value<'a>(
    head: &Head<'a>,
    name: &str,
    from: Source,
) -> Result<Option<&'a [u8]>, IdentifyError> {
    let fields = head.headers.get_all(COOKIE);
    if head.version < Version::HTTP_2 && fields.iter().nth(1).is_some() {
        return Err(IdentifyError::Twice { from });
    }
    let mut found = None;
    for field in fields {
        for pair in field.as_bytes().split(|byte| *byte == b';') {
            let Some(value) = value_of(pair, name) else { continue };
            if found.replace(value).is_some() {
                return Err(IdentifyError::Twice { from });
            }
        }
    }
    Ok(found)
}

/// The value of a pair that has this name; names differ by case.
fn value_of<'a>(pair: &'a [u8], name: &str) -> Option<&'a [u8]> {
    let at = memchr::memchr(b'=', pair)?;
    let (key, value) = pair.split_at_checked(at)?;
    let value = value.get(1..)?;
    (key.trim_ascii() == name.as_bytes()).then(|| value.trim_ascii())
}
