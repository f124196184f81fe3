//! The shapes of drills.

use serde::{Deserialize, Serialize};
use stamp_core::drill::Sample;

use super::{Span, seconds, timestamp};
use crate::state::drill::{DrillReport, Outcome};

/// What `POST /v1/drills` is told.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DrillAsk {
    /// The stamp to treat as down.
    pub stamp: String,
    /// For how many of its tenants, in per cent: 1 to 100.
    pub percent: u8,
    /// For how long: "5m".
    #[serde(rename = "for")]
    pub lasts: Option<Span>,
    /// Why.
    pub reason: Option<String>,
}

/// `GET /v1/drills`
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct DrillsView {
    /// The last one last.
    pub drills: Vec<DrillView>,
}

/// One drill and what it showed.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct DrillView {
    /// The stamp that is treated as down.
    pub stamp: String,
    /// The share of its tenants, in per cent.
    pub percent: u8,
    /// When it began.
    pub began_at: String,
    /// How long it is to last.
    pub for_s: f64,
    /// "running", "completed", "aborted", "cancelled" or "overtaken" (something real happened to
    /// the stamp)
    pub outcome: String,
    /// Why it was aborted: "errors" or "latency".
    pub aborted_by: Option<String>,
    /// The requests of the share that moved.
    pub moved: ShareView,
    /// Those of the tenants that stayed.
    pub rest: ShareView,
}

/// How a share of a stamp's requests fares.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct ShareView {
    /// Requests that were answered, or given up.
    pub requests: u64,
    /// Those that failed: status 500 to 599.
    pub errors: u64,
    /// How long one took on average.
    pub average_s: f64,
}

impl DrillView {
    pub(in crate::admin) fn new(report: &DrillReport) -> Self {
        let (outcome, aborted_by) = match report.outcome {
            Outcome::Running => ("running", None),
            Outcome::Completed => ("completed", None),
            Outcome::Aborted(reason) => ("aborted", Some(reason.to_owned())),
            Outcome::Cancelled => ("cancelled", None),
            Outcome::Overtaken => ("overtaken", None),
        };
        Self {
            stamp: report.stamp.as_str().to_owned(),
            percent: report.drill.percent,
            began_at: timestamp(report.began),
            for_s: seconds(report.drill.until.since(report.drill.began)),
            outcome: outcome.to_owned(),
            aborted_by,
            moved: share(report.moved),
            rest: share(report.rest),
        }
    }
}

fn share(sample: Sample) -> ShareView {
    let Sample { requests, errors, .. } = sample;
    ShareView { requests, errors, average_s: seconds(sample.average()) }
}
