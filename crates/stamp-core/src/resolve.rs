//! Clues + table -> target, or why not.
