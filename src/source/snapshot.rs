//! The last known good copy: every file that the table in force was made of, in one file with a
//! checksum, so that the gateway can start with all sources gone.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::load::Files;
use crate::disk;

const NAME: &str = "last-known-good";
const MAGIC: &str = "stampgate last known good 1";

/// Why there is no usable copy.
#[derive(Debug, thiserror::Error)]
pub(super) enum SnapshotError {
    /// The file system refused.
    #[error("{}: {source}", .path.display())]
    Io { path: PathBuf, source: io::Error },
    /// It is not what was written.
    #[error("{} is damaged", .0.display())]
    Damaged(PathBuf),
}

/// All that the table in force was made of.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Snapshot {
    pub(super) files: Files,
    /// The entries that tenants keep whose rows in these files are bad: `Loaded::kept` of core.
    pub(super) kept: String,
}

/// What the kept entries are called among the files: no file has this name.
const KEPT: &str = "";

/// Writes the copy: magic, checksum, then for each file its path, its length and its bytes.
pub(super) fn write(directory: &Path, snapshot: &Snapshot) -> Result<(), SnapshotError> {
    let mut body = Vec::new();
    let mut add = |name: &str, bytes: &[u8]| {
        body.extend_from_slice(format!("{name}\n{}\n", bytes.len()).as_bytes());
        body.extend_from_slice(bytes);
        body.push(b'\n');
    };
    for (path, bytes) in snapshot.files.iter() {
        add(&path.to_string_lossy(), bytes);
    }
    if !snapshot.kept.is_empty() {
        add(KEPT, snapshot.kept.as_bytes());
    }
    let mut text = format!("{MAGIC}\n{}\n", checksum(&body)).into_bytes();
    text.extend_from_slice(&body);
    let path = directory.join(NAME);
    disk::replace(&path, &text).map_err(|source| SnapshotError::Io { path, source })
}

/// Reads the copy back.
pub(super) fn read(directory: &Path) -> Result<Snapshot, SnapshotError> {
    let path = directory.join(NAME);
    match fs::read(&path) {
        Ok(text) => parse(&text).ok_or(SnapshotError::Damaged(path)),
        Err(source) => Err(SnapshotError::Io { path, source }),
    }
}

fn parse(text: &[u8]) -> Option<Snapshot> {
    let (magic, rest) = line(text)?;
    let (sum, mut body) = line(rest)?;
    if magic != MAGIC || sum != checksum(body) {
        return None;
    }
    let mut snapshot = Snapshot::default();
    while !body.is_empty() {
        let (name, rest) = line(body)?;
        let (length, rest) = line(rest)?;
        let length: usize = length.parse().ok()?;
        let bytes = rest.get(..length)?;
        if name == KEPT {
            snapshot.kept = std::str::from_utf8(bytes).ok()?.to_owned();
        } else {
            snapshot.files.add(PathBuf::from(name), bytes.into());
        }
        body = rest.get(length + 1..)?;
    }
    Some(snapshot)
}

fn line(text: &[u8]) -> Option<(&str, &[u8])> {
    let (line, rest) = text.split_at(memchr::memchr(b'\n', text)?);
    Some((std::str::from_utf8(line).ok()?, rest.get(1..)?))
}

fn checksum(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn snapshot() -> Snapshot {
        let mut files = Files::default();
        files.add(PathBuf::from("/etc/routing.toml"), (*b"version = 1\n").into());
        files.add(PathBuf::from("/etc/tenants.csv"), (*b"tenant,stamp\n\n").into());
        Snapshot { files, kept: "acme,eu-1,,,\n".to_owned() }
    }

    #[test]
    fn a_copy_reads_back_as_it_was_written() {
        let directory = tempfile::tempdir().unwrap();
        write(directory.path(), &snapshot()).unwrap();
        assert_eq!(read(directory.path()).unwrap(), snapshot());
    }

    #[test]
    fn a_damaged_copy_is_refused_at_every_byte() {
        let directory = tempfile::tempdir().unwrap();
        write(directory.path(), &snapshot()).unwrap();
        let sound = fs::read(directory.path().join(NAME)).unwrap();
        for at in 0..sound.len() {
            let mut damaged = sound.clone();
            damaged[at] ^= 0x20;
            assert!(parse(&damaged).is_none(), "byte {at}");
            assert!(parse(&sound[..at]).is_none(), "cut at {at}");
        }
    }
}
