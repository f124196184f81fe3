//! The homes that wait for their operator, on disk: a restart must not bring their requests home.
//! What they are is `stamp_core::fleet`'s to say.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use stamp_core::fleet::Waiting;

const NAME: &str = "waiting.json";

/// Keeps the file as the fleet is.
#[derive(Debug)]
pub(super) struct Keeper {
    path: PathBuf,
    /// As the file says, or will once it is written.
    known: Waiting,
    is_writing: bool,
}

impl Keeper {
    /// Reads the file of `directory`. One that cannot be read is told of and taken for empty: then
    /// requests come home without a word, which is better than a gateway that does not start.
    pub(super) fn open(directory: &Path) -> Self {
        let path = directory.join(NAME);
        let known = match fs::read(&path) {
            Ok(text) => Waiting::decode(&text).unwrap_or_else(|error| {
                tracing::error!(path = %path.display(), %error, "damaged, and left out");
                Waiting::default()
            }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Waiting::default(),
            Err(error) => {
                tracing::error!(path = %path.display(), %error, "unreadable, and left out");
                Waiting::default()
            }
        };
        Self { path, known, is_writing: false }
    }

    /// As the file says.
    pub(super) fn known(&self) -> &Waiting {
        &self.known
    }

    /// Writes what differs, one text at a time, and calls `kept` when that is over: then this is to be
    /// asked again.
    pub(super) fn keep(&mut self, waiting: Waiting, kept: impl FnOnce() + Send + 'static) {
        if self.is_writing || waiting == self.known {
            return;
        }
        self.is_writing = true;
        let (path, text) = (self.path.clone(), waiting.encode());
        self.known = waiting;
        tokio::task::spawn_blocking(move || {
            if let Err(error) = crate::disk::replace(&path, text.as_bytes()) {
                tracing::error!(path = %path.display(), %error, "not written");
            }
            kept();
        });
    }

    /// Is a text on its way to the disk?
    pub(super) const fn is_writing(&self) -> bool {
        self.is_writing
    }

    /// The text is on disk.
    pub(super) fn kept(&mut self) {
        self.is_writing = false;
    }
}
