//! The tenant files: four of a million rows, written once and put in place in turn, so that writing
//! them costs nothing while it is measured.

use std::error::Error;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use super::stamp::STAMPS;
use crate::run::Done;

/// Tenants of each file.
pub(super) const TENANTS: u32 = 1_000_000;
/// Those that move now and then: every tenth one, and of the others the second one.
const TENTH: u32 = 10;
const SINGLE: u32 = 1;

/// What a reload changes, in turn.
pub(super) const CHANGES: [&str; 2] = ["1 row changed", "a tenth of all rows changed"];
/// Which of the four files is in force after how many changes: bit 0 = the single tenant has moved,
/// bit 1 = the tenth has.
const ORDER: [u8; 4] = [0b00, 0b01, 0b11, 0b10];

pub(super) struct Tables {
    pub(super) directory: PathBuf,
    changes: usize,
}

impl Tables {
    /// Writes all files; the first is in place.
    pub(super) fn write(directory: &Path) -> Result<Self, Box<dyn Error>> {
        if directory.exists() {
            fs::remove_dir_all(directory)?;
        }
        fs::create_dir_all(directory)?;
        for variant in ORDER {
            fs::write(directory.join(format!("{variant}.csv")), rows(variant)?)?;
        }
        let tables = Self { directory: directory.to_owned(), changes: 0 };
        tables.put_in_place()?;
        Ok(tables)
    }

    /// Puts the next file in place; says what it changes.
    pub(super) fn change(&mut self) -> Result<&'static str, Box<dyn Error>> {
        let what = CHANGES.get(self.changes % CHANGES.len()).copied().unwrap_or_default();
        self.changes += 1;
        self.put_in_place()?;
        Ok(what)
    }

    fn put_in_place(&self) -> Done {
        let variant = ORDER.get(self.changes % ORDER.len()).copied().unwrap_or_default();
        let next = self.directory.join("next.csv");
        fs::hard_link(self.directory.join(format!("{variant}.csv")), &next)?;
        fs::rename(next, self.directory.join("tenants.csv"))?;
        Ok(())
    }
}

fn rows(variant: u8) -> Result<String, std::fmt::Error> {
    let mut text = String::from("tenant,stamp\n");
    for number in 0..TENANTS {
        let is_away = (number == SINGLE && variant & 1 > 0) || (moves(number) && variant & 2 > 0);
        let home = (number + u32::from(is_away)) as usize % STAMPS.len();
        let (stamp, _) = STAMPS.get(home).copied().unwrap_or_default();
        writeln!(text, "{},{stamp}", name(number))?;
    }
    Ok(text)
}

fn moves(number: u32) -> bool {
    number.is_multiple_of(TENTH)
}

/// The stamp that answers for this tenant whatever is reloaded; `None` = it moves.
pub(super) fn home(number: u32) -> Option<&'static str> {
    let stays = number != SINGLE && !moves(number);
    let (stamp, _) = STAMPS.get(number as usize % STAMPS.len())?;
    stays.then_some(stamp)
}

pub(super) fn name(number: u32) -> String {
    format!("tenant-{number:07}")
}
