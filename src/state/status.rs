//! How the last reload went, for the admin plane and the metrics.

use std::time::Duration;

use crate::diagnostics::Report;

/// How a reload went.
#[derive(Clone, Debug)]
pub enum ReloadResult {
    /// A table was accepted.
    Accepted {
        /// Wall time since 1970.
        at: Duration,
    },
    /// The process started from the last known good copy, since the files were refused.
    StartedStale {
        /// Wall time since 1970.
        at: Duration,
        /// What is wrong with the files.
        report: Report,
    },
    /// The files are what they were.
    Unchanged,
    /// Refused; what was in force stays.
    Refused {
        /// Wall time since 1970.
        at: Duration,
        /// What is wrong with the files.
        report: Report,
    },
}

/// What is known of reloads.
#[derive(Clone, Debug, Default)]
pub struct ReloadStatus {
    /// When the table in force was accepted, since 1970.
    pub accepted_at: Duration,
    /// The table in force is the last known good one, not the one in the files.
    pub stale: bool,
    /// Why the last reload was refused; `None` = it was not.
    pub refused: Option<Report>,
    /// When the last reload was refused, since 1970.
    pub refused_at: Duration,
    /// Reloads by result.
    pub accepted: u64,
    /// Reloads that found nothing new.
    pub unchanged: u64,
    /// Reloads that were refused.
    pub refusals: u64,
}

impl ReloadStatus {
    pub(super) fn note(&mut self, result: ReloadResult) {
        match result {
            ReloadResult::Accepted { at } => {
                self.accepted_at = at;
                self.stale = false;
                self.accepted += 1;
                self.refused = None;
            }
            ReloadResult::StartedStale { at, report } => {
                self.accepted_at = at;
                self.stale = true;
                self.refused = Some(report);
                self.refused_at = at;
                self.refusals += 1;
            }
            ReloadResult::Unchanged => {
                self.unchanged += 1;
                self.refused = None;
            }
            ReloadResult::Refused { at, report } => {
                self.refused = Some(report);
                self.refused_at = at;
                self.refusals += 1;
            }
        }
    }
}
