//! `[placement]` as written.

use super::leaf::{HasShortForm, ShortOrLong};
use crate::as_written;
use crate::document::{Count, FromToml, Json, Report, Value, Written};
use crate::id::StampId;

as_written! {
    /// Where tenants live that have no entry.
    pub struct RawPlacement {
        /// The stamps that they are placed on, by a hash of their name. All of one residency.
        pub stamps: Written<Vec<Written<ShortOrLong<RawPlace>>>> = [],
    }

    /// A stamp that tenants are placed on. Short form: its id.
    pub struct RawPlace {
        /// The stamp.
        pub stamp: Written<StampId<'static>>,
        /// Its share of the tenants relative to the others.
        pub weight: Count<1, 65_535> = 1,
    }
}

impl HasShortForm for RawPlace {
    const EXPECTED: &'static str = "the id of a stamp, or a table with `stamp`";

    fn read_short(value: &Value<'_>, report: &mut Report) -> Option<Self> {
        Some(Self { stamp: Written::read(value, report)?, weight: Count(1) })
    }

    fn short_schema() -> Json {
        StampId::schema()
    }
}
