//! The audit: one line for each attempt to change something, whatever came of it.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::access::Actor;
use super::view::{self, AuditLine};

/// Where audit lines go.
#[derive(Clone, Debug)]
pub enum Audit {
    /// The application log.
    Log,
    /// A file of JSON lines, opened for each, so that it may be rotated at any time.
    File(PathBuf),
}

/// One attempt to change something.
#[derive(Debug)]
pub(super) struct Attempt {
    pub(super) actor: Actor,
    pub(super) action: &'static str,
    pub(super) target: String,
    pub(super) reason: String,
    pub(super) before: Option<&'static str>,
    pub(super) after: Option<&'static str>,
    /// `done`, `already_so`, `unchanged`, or the code of the problem.
    pub(super) result: &'static str,
}

impl Audit {
    /// `admin.audit_log`, found to be writable; without one, the application log.
    pub fn open(path: Option<&Path>) -> io::Result<Self> {
        match path {
            Some(path) => append_to(path).map(|_file| Self::File(path.to_owned())),
            None => Ok(Self::Log),
        }
    }

    /// Writes one line. An audit that cannot be written is an error in the log; the change was made.
    pub(super) async fn write(&self, attempt: Attempt, wall: Duration) {
        match self {
            Self::Log => log(&attempt),
            Self::File(path) => {
                let Ok(mut line) = serde_json::to_vec(&line_of(&attempt, wall)) else { return };
                line.push(b'\n');
                let path = path.clone();
                let written =
                    tokio::task::spawn_blocking(move || append_to(&path)?.write_all(&line));
                let error = match written.await {
                    Ok(Ok(())) => return,
                    Ok(Err(error)) => error,
                    Err(error) => io::Error::other(error),
                };
                tracing::error!(%error, "the audit log could not be written");
                log(&attempt);
            }
        }
    }
}

fn append_to(path: &Path) -> io::Result<File> {
    OpenOptions::new().create(true).append(true).mode(0o600).open(path)
}

fn line_of(attempt: &Attempt, wall: Duration) -> AuditLine<'_> {
    AuditLine {
        ts: view::timestamp(wall),
        actor: &attempt.actor.0,
        action: attempt.action,
        target: &attempt.target,
        reason: &attempt.reason,
        before: attempt.before,
        after: attempt.after,
        result: attempt.result,
    }
}

fn log(attempt: &Attempt) {
    let Attempt { actor, action, target, reason, before, after, result } = attempt;
    let (actor, target) = (&*actor.0, target.as_str());
    tracing::info!(actor, action, target, reason, before, after, result, "audit");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_file_gets_one_json_line_an_attempt() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("audit.jsonl");
        let audit = Audit::open(Some(&path)).unwrap();
        for result in ["done", "already_so"] {
            let attempt = Attempt {
                actor: Actor("oncall".into()),
                action: "drain",
                target: "eu-1".to_owned(),
                reason: "a \"test\"\nof lines".to_owned(),
                before: Some("active"),
                after: Some("draining"),
                result,
            };
            audit.write(attempt, Duration::from_millis(1_500)).await;
        }
        let text = std::fs::read_to_string(path).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 2);
        let line: serde_json::Value = serde_json::from_str(lines[1]).unwrap();
        assert_eq!(line["ts"], "1970-01-01T00:00:01.500Z");
        assert_eq!((&line["actor"], &line["result"]), (&"oncall".into(), &"already_so".into()));
        assert_eq!((&line["before"], &line["after"]), (&"active".into(), &"draining".into()));
    }

    #[test]
    fn an_audit_that_cannot_be_written_is_noticed_at_the_start() {
        Audit::open(Some(Path::new("/nowhere/audit.jsonl"))).unwrap_err();
    }
}
