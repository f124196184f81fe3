//! STUB
#![allow(missing_docs, dead_code)]
use stamp_core::diagnostic::{Diagnostic, SourceText};
#[derive(Clone, Debug, Default)]
pub struct Report(Vec<String>);
impl Report {
    pub fn plain(_: &str) -> Self { todo!() }
    pub fn of_rejected(_: &stamp_core::table::Rejected) -> Self { todo!() }
    pub fn all(_: impl Iterator<Item=Self>) -> Self { todo!() }
    pub fn new(_: &[Diagnostic], _: &[SourceText]) -> Self { todo!() }
    pub fn iter(&self) -> impl Iterator<Item=&String> { self.0.iter() }
    pub fn len(&self) -> usize { 0 }
}
