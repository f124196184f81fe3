//! The `stampgate` program.
fn main() {}
