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

/// Writes the copy: magic, checksum, then for each file its path, its length and its bytes.
pub(super) fn write(directory: &Path, files: &Files) -> Result<(), SnapshotError> {
    let mut body = Vec::new();
    for (path, bytes) in files.iter() {
        let name = path.to_string_lossy();
        body.extend_from_slice(format!("{name}\n{}\n", bytes.len()).as_bytes());
        body.extend_from_slice(bytes);
        body.push(b'\n');
    }
    let mut text = format!("{MAGIC}\n{}\n", checksum(&body)).into_bytes();
    text.extend_from_slice(&body);
    let path = directory.join(NAME);
    disk::replace(&path, &text).map_err(|source| SnapshotError::Io { path, source })
}

/// Reads the copy back.
pub(super) fn read(directory: &Path) -> Result<Files, SnapshotError> {
    let path = directory.join(NAME);
    match fs::read(&path) {
        Ok(text) => parse(&text).ok_or(SnapshotError::Damaged(path)),
        Err(source) => Err(SnapshotError::Io { path, source }),
    }
}

fn parse(text: &[u8]) -> Option<Files> {
    let (magic, rest) = line(text)?;
    let (sum, mut body) = line(rest)?;
    if magic != MAGIC || sum != checksum(body) {
        return None;
    }
    let mut files = Files::default();
    while !body.is_empty() {
        let (name, rest) = line(body)?;
        let (length, rest) = line(rest)?;
        let length: usize = length.parse().ok()?;
        files.add(PathBuf::from(name), rest.get(..length)?.into());
        body = rest.get(length + 1..)?;
    }
    Some(files)
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

    fn files() -> Files {
        let mut files = Files::default();
        files.add(PathBuf::from("/etc/routing.toml"), (*b"version = 1\n").into());
        files.add(PathBuf::from("/etc/tenants.csv"), (*b"tenant,stamp\n\n").into());
        files
    }

    #[test]
    fn a_copy_reads_back_as_it_was_written() {
        let directory = tempfile::tempdir().unwrap();
        write(directory.path(), &files()).unwrap();
        assert_eq!(read(directory.path()).unwrap(), files());
    }

    #[test]
    fn a_damaged_copy_is_refused_at_every_byte() {
        let directory = tempfile::tempdir().unwrap();
        write(directory.path(), &files()).unwrap();
        let sound = fs::read(directory.path().join(NAME)).unwrap();
        for at in 0..sound.len() {
            let mut damaged = sound.clone();
            damaged[at] ^= 0x20;
            assert!(parse(&damaged).is_none(), "byte {at}");
            assert!(parse(&sound[..at]).is_none(), "cut at {at}");
        }
    }
}
