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
        /// It is the last known good one, since the files themselves were refused.
        stale: bool,
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
            ReloadResult::Accepted { at, stale } => {
                self.accepted_at = at;
                self.stale = stale;
                self.accepted += 1;
                if !stale {
                    self.refused = None;
                }
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
