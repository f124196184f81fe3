//! What a new table changes.
