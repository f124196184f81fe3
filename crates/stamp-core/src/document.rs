//! A TOML text, read with all of its mistakes at once.
