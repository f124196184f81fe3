//! routing.toml as written.
