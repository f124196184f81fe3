//! A request head -> clues.
