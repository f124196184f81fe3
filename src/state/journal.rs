//! The operators' journal on disk: appended and synced before an order is answered, written anew
//! at the start. Its format is `stamp_core::operator::journal`'s.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use stamp_core::id::StampId;
use stamp_core::operator::OperatorRecord;
use stamp_core::operator::journal::{self, JournalEntry, JournalError, Replayed, Tail};

const NAME: &str = "operators.journal";

/// The open journal.
#[derive(Debug)]
pub(super) struct Journal {
    file: File,
    /// Up to here it holds entries that are known to be on disk.
    sound_bytes: u64,
}

/// Why the journal cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The file system refused.
    #[error("{}", .path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A line in the middle is damaged: what operators decided is not known for certain.
    #[error("{} is damaged: {source}; mend or remove it by hand", .path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Where and how.
        source: JournalError,
    },
}

/// What operators decided, by stamp.
pub type Records = BTreeMap<StampId<'static>, OperatorRecord>;

/// What the journal of this directory says. It is left as it is: a gateway may have it open.
pub fn read_journal(directory: &Path) -> Result<Records, OpenError> {
    Ok(replayed(&directory.join(NAME))?.records)
}

fn replayed(path: &Path) -> Result<Replayed, OpenError> {
    let text = match fs::read(path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
        Err(source) => return Err(OpenError::Io { path: path.to_owned(), source }),
    };
    journal::replay(&text).map_err(|source| OpenError::Damaged { path: path.to_owned(), source })
}

impl Journal {
    /// Reads the journal of `directory`, writes it anew with one line a stamp, and opens it.
    pub(super) fn open(directory: &Path) -> Result<(Self, Records), OpenError> {
        let path = directory.join(NAME);
        let at = |path: &Path| {
            let path = path.to_owned();
            move |source| OpenError::Io { path, source }
        };
        fs::create_dir_all(directory).map_err(at(directory))?;
        let replayed = replayed(&path)?;
        if let Tail::Torn { sound_bytes } = replayed.tail {
            // It was never answered: a crash cut it off.
            tracing::warn!(sound_bytes, "the journal's last line is cut off and was left out");
        }
        let lines = replayed.records.iter().map(|(stamp, record)| {
            journal::encode(&JournalEntry { stamp: stamp.clone(), record: record.clone() })
        });
        let text: String = lines.collect();
        crate::disk::replace(&path, text.as_bytes()).map_err(at(&path))?;
        let file = OpenOptions::new().append(true).open(&path).map_err(at(&path))?;
        let sound_bytes = u64::try_from(text.len()).unwrap_or(u64::MAX);
        Ok((Self { file, sound_bytes }, replayed.records))
    }

    /// Writes one entry so that no crash can lose it. What a write that failed has left is taken
    /// away at once, or else before the next: it was never answered.
    pub(super) fn append(&mut self, entry: &JournalEntry) -> io::Result<()> {
        if self.file.metadata()?.len() > self.sound_bytes {
            self.file.set_len(self.sound_bytes)?;
        }
        let line = journal::encode(entry);
        let written = self.file.write_all(line.as_bytes()).and_then(|()| self.file.sync_data());
        match written {
            Ok(()) => self.sound_bytes += u64::try_from(line.len()).unwrap_or(u64::MAX),
            Err(_) => drop(self.file.set_len(self.sound_bytes)),
        }
        written
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use stamp_core::operator::Force;
    use stamp_core::standing::OperatorState;
    use stamp_core::time::UnixSeconds;

    fn entry(state: OperatorState) -> JournalEntry {
        JournalEntry {
            stamp: StampId::parse("eu-1").unwrap().into_owned(),
            record: OperatorRecord {
                state,
                over: OperatorState::Active,
                reason: "a test".into(),
                actor: "test".into(),
                since: UnixSeconds(7),
                deadline: None,
                force: Force::Refuse,
            },
        }
    }

    #[test]
    fn what_was_appended_is_there_after_a_crash() {
        let directory = tempfile::tempdir().unwrap();
        let (mut journal, records) = Journal::open(directory.path()).unwrap();
        assert!(records.is_empty());
        journal.append(&entry(OperatorState::Draining)).unwrap();
        // A crash in the middle of the next line.
        journal.file.write_all(b"0123").unwrap();
        drop(journal);
        let (_, records) = Journal::open(directory.path()).unwrap();
        let (_, record) = records.into_iter().next().unwrap();
        assert_eq!(record.state, OperatorState::Draining);
    }

    #[test]
    fn a_write_that_failed_leaves_nothing_behind() {
        let directory = tempfile::tempdir().unwrap();
        let (mut journal, _) = Journal::open(directory.path()).unwrap();
        journal.append(&entry(OperatorState::Draining)).unwrap();
        let sound = fs::read(directory.path().join(NAME)).unwrap();
        // Half a line came to the disk before it was full.
        journal.file.write_all(b"0123").unwrap();
        let reads_only = File::open(directory.path().join(NAME)).unwrap();
        let writes = std::mem::replace(&mut journal.file, reads_only);
        journal.append(&entry(OperatorState::Active)).unwrap_err();
        journal.file = writes;
        journal.append(&entry(OperatorState::Maintenance)).unwrap();
        let text = fs::read(directory.path().join(NAME)).unwrap();
        assert_eq!(
            text,
            [sound, journal::encode(&entry(OperatorState::Maintenance)).into()].concat()
        );
    }

    #[test]
    fn whoever_only_reads_leaves_it_as_it_is() {
        let directory = tempfile::tempdir().unwrap();
        assert_eq!(read_journal(directory.path()).unwrap(), Records::new());
        let path = directory.path().join(NAME);
        // The gateway that has it open is in the middle of a line.
        let text = journal::encode(&entry(OperatorState::Draining)) + "0123";
        fs::write(&path, &text).unwrap();
        let records = read_journal(directory.path()).unwrap();
        let (_, record) = records.into_iter().next().unwrap();
        assert_eq!(record.state, OperatorState::Draining);
        assert_eq!(fs::read(&path).unwrap(), text.as_bytes());
    }

    #[test]
    fn a_damaged_line_in_the_middle_refuses_to_open() {
        let directory = tempfile::tempdir().unwrap();
        let sound = journal::encode(&entry(OperatorState::Draining));
        fs::write(directory.path().join(NAME), format!("garbage\n{sound}")).unwrap();
        let refused = Journal::open(directory.path()).unwrap_err();
        assert!(matches!(refused, OpenError::Damaged { .. }), "{refused}");
    }
}
