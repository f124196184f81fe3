//! May this attempt be repeated?
