//! Developer commands: `cargo xtask bench`, `cargo xtask fuzz`.
fn main() {}
