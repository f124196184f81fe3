//! What operators decided about stamps.
