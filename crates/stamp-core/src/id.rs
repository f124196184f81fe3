//! The names of stamps and tenants, parsed: right by construction, folded to lower case.

use std::borrow::{Borrow, Cow};
use std::fmt;

/// The longest stamp id, in bytes: one DNS label (RFC 1035, section 2.3.4).
pub const STAMP_ID_BYTES_MAX: usize = 63;
/// The longest tenant id, in bytes.
pub const TENANT_ID_BYTES_MAX: usize = 128;

/// Why a text is no id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IdError {
    /// Nothing where a name should be.
    #[error("an id may not be empty")]
    Empty,
    /// More bytes than an id of this kind may have.
    #[error("an id may have at most {bytes_max} bytes")]
    TooLong {
        /// The limit that was passed.
        bytes_max: usize,
    },
    /// A byte that no id of this kind may contain.
    #[error("byte 0x{byte:02x} at {at} may not stand in an id")]
    BadByte {
        /// The offending byte.
        byte: u8,
        /// Its offset.
        at: usize,
    },
    /// A DNS label neither begins nor ends with a hyphen (RFC 1123, section 2.1).
    #[error("a stamp id may neither begin nor end with a hyphen")]
    OuterHyphen,
}

/// A stamp's name: one DNS label in lower case.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StampId<'a>(Cow<'a, str>);

/// A tenant's name: 1 to 128 of `[a-z0-9._-]`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TenantId<'a>(Cow<'a, str>);

/// A tenant's name, by value: no table holds it, and the request that named it may be gone.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct TenantName {
    bytes: [u8; TENANT_ID_BYTES_MAX],
    length: u8,
}

impl<'a> StampId<'a> {
    /// Reads a stamp id; upper case is folded, everything else must be right.
    pub fn parse(text: &'a str) -> Result<Self, IdError> {
        let id = fold(text, STAMP_ID_BYTES_MAX, &IN_STAMP_ID)?;
        if id.starts_with('-') || id.ends_with('-') {
            return Err(IdError::OuterHyphen);
        }
        Ok(Self(id))
    }

    /// The same id, owning its text.
    #[must_use]
    pub fn into_owned(self) -> StampId<'static> {
        StampId(Cow::Owned(self.0.into_owned()))
    }

    /// The same id, borrowing its text.
    #[must_use]
    pub fn as_borrowed(&self) -> StampId<'_> {
        StampId(Cow::Borrowed(&self.0))
    }

    /// The id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl<'a> TenantId<'a> {
    /// Reads a tenant id; upper case is folded, everything else must be right.
    pub fn parse(text: &'a str) -> Result<Self, IdError> {
        Ok(Self(fold(text, TENANT_ID_BYTES_MAX, &IN_TENANT_ID)?))
    }

    /// A name that the directory of a table holds, and which was parsed when it went in.
    pub(crate) fn of_directory(name: &'a str) -> Self {
        debug_assert!(Self::parse(name).is_ok_and(|id| id.as_str() == name), "{name}");
        Self(Cow::Borrowed(name))
    }

    /// The same id, owning its text.
    #[must_use]
    pub fn into_owned(self) -> TenantId<'static> {
        TenantId(Cow::Owned(self.0.into_owned()))
    }

    /// The same id, borrowing its text.
    #[must_use]
    pub fn as_borrowed(&self) -> TenantId<'_> {
        TenantId(Cow::Borrowed(&self.0))
    }

    /// The id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TenantName {
    /// The name of this tenant.
    #[must_use]
    pub fn of(id: &TenantId<'_>) -> Self {
        let text = id.as_str().as_bytes();
        let mut bytes = [0; TENANT_ID_BYTES_MAX];
        for (byte, own) in bytes.iter_mut().zip(text) {
            *byte = *own;
        }
        Self { bytes, length: u8::try_from(text.len()).unwrap_or_default() }
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        let bytes = self.bytes.get(..usize::from(self.length)).unwrap_or_default();
        str::from_utf8(bytes).unwrap_or_default()
    }
}

impl fmt::Debug for TenantName {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.as_str())
    }
}

/// What a byte is in an id, by its value.
type Kinds = [u8; 256];

const LOWER: u8 = 0;
const UPPER: u8 = 1;
const BAD: u8 = 2;

const IN_STAMP_ID: Kinds = kinds(b"-");
const IN_TENANT_ID: Kinds = kinds(b"._-");

/// Letters, digits and these.
#[expect(clippy::indexing_slicing, reason = "it runs while the program is compiled")]
const fn kinds(others: &[u8]) -> Kinds {
    let mut kinds = [BAD; 256];
    let mut byte = 0;
    while byte < 128_u8 {
        let mut is_other = false;
        let mut at = 0;
        while at < others.len() {
            is_other |= others[at] == byte;
            at += 1;
        }
        if byte.is_ascii_uppercase() {
            kinds[byte as usize] = UPPER;
        } else if byte.is_ascii_alphanumeric() || is_other {
            kinds[byte as usize] = LOWER;
        }
        byte += 1;
    }
    kinds
}

fn fold<'a>(text: &'a str, bytes_max: usize, kinds: &Kinds) -> Result<Cow<'a, str>, IdError> {
    if text.is_empty() {
        return Err(IdError::Empty);
    }
    if text.len() > bytes_max {
        return Err(IdError::TooLong { bytes_max });
    }
    let kind = |byte: u8| kinds.get(usize::from(byte)).copied().unwrap_or(BAD);
    // One pass without branches: nearly every id is right, and in lower case.
    let all = text.bytes().fold(LOWER, |all, byte| all | kind(byte));
    if all & BAD != 0 {
        let bad = text.bytes().enumerate().find(|(_, byte)| kind(*byte) == BAD);
        let (at, byte) = bad.unwrap_or_default();
        return Err(IdError::BadByte { byte, at });
    }
    if all & UPPER != 0 {
        return Ok(Cow::Owned(text.to_ascii_lowercase()));
    }
    Ok(Cow::Borrowed(text))
}

macro_rules! shown_as_its_text {
    ($($id:ident),*) => {$(
        impl fmt::Display for $id<'_> {
            fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                out.write_str(&self.0)
            }
        }
        impl fmt::Debug for $id<'_> {
            fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                out.write_str(&self.0)
            }
        }
    )*};
}
shown_as_its_text!(StampId, TenantId);

impl Borrow<str> for StampId<'_> {
    fn borrow(&self) -> &str {
        &self.0
    }
}

macro_rules! dense_index {
    ($($(#[$doc:meta])* $name:ident),* $(,)?) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub u32);

        impl $name {
            /// As a slice index.
            #[must_use]
            pub const fn at(self) -> usize {
                self.0 as usize
            }
        }
    )*};
}
dense_index! {
    /// Place of a stamp in its table: valid for that one table only.
    StampIndex,
    /// Place of an endpoint among all endpoints of its table: valid for that one table only.
    EndpointIndex,
    /// Place of a tenant in its table's directory: valid for that one table only, and not dense.
    /// `Directory::ordinal` is.
    TenantIndex,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_folded_to_lower_case() {
        assert_eq!(StampId::parse("EU-1").unwrap().as_str(), "eu-1");
        assert_eq!(TenantId::parse("Acme.Corp_1").unwrap().as_str(), "acme.corp_1");
    }

    #[test]
    fn what_is_no_id_is_refused_with_its_reason() {
        assert_eq!(StampId::parse(""), Err(IdError::Empty));
        assert_eq!(StampId::parse("-a"), Err(IdError::OuterHyphen));
        assert_eq!(StampId::parse("a,b"), Err(IdError::BadByte { byte: b',', at: 1 }));
        assert_eq!(StampId::parse("a_b"), Err(IdError::BadByte { byte: b'_', at: 1 }));
        assert_eq!(TenantId::parse("a b"), Err(IdError::BadByte { byte: b' ', at: 1 }));
        let long = "x".repeat(TENANT_ID_BYTES_MAX + 1);
        assert_eq!(TenantId::parse(&long), Err(IdError::TooLong { bytes_max: 128 }));
    }
}
