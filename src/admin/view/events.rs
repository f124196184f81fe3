//! The data of the events that `GET /v1/events` tells. One shape for all of them, without what an
//! event has nothing to say of.

use serde::{Deserialize, Serialize};
use stamp_core::fleet::Change;
use stamp_core::id::StampId;

use super::{health, serving, standing, timestamp};
use crate::state::{Happened, What};

/// One event.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct EventView {
    /// When it happened.
    pub ts: String,
    /// Number of the table in force then.
    pub generation: u64,
    /// The stamp that it is about; of a flip, the home.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stamp: Option<String>,
    /// `host:port`
    #[serde(skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<String>,
    /// What held before; of a flip, the stamp that answered, if one did.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// What holds now; of a flip, the stamp that answers, if one does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub to: Option<String>,
    /// Why.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// What the probes of an endpoint say.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub probes: Option<String>,
    /// "home", "split", "edge" or "nobody": who answers after a flip.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub serving: Option<String>,
    /// How a reload ended: "accepted", "unchanged", "refused", or "stale" (from the last good copy).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub result: Option<String>,
    /// Mistakes in the files.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mistakes: Option<usize>,
}

/// The data of a `missed` event.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct MissedView {
    /// So many events are not kept any more; `None` = those of an earlier process: nobody knows.
    pub missed: Option<u64>,
}

/// The name of an event.
pub(in crate::admin) const fn event_kind(what: &What) -> &'static str {
    match what {
        What::Change(Change::Endpoint { .. }) => "endpoint",
        What::Change(Change::Breaker { .. }) => "breaker",
        What::Change(Change::Health { .. }) => "health",
        What::Change(Change::Operator { .. }) => "operator",
        What::Change(Change::Flip { .. }) => "flip",
        What::Change(Change::Suspicion { .. }) => "self_suspect",
        What::Change(Change::Barred { .. }) => "failback_barred",
        What::Drained(_) => "drained",
        What::Reloaded { .. } => "reload",
    }
}

impl EventView {
    pub(in crate::admin) fn new(event: &Happened) -> Self {
        let of = match &event.what {
            What::Change(change) => of_change(change),
            What::Drained(stamp) => of_stamp(stamp),
            What::Reloaded { result, mistakes } => Self {
                result: text(result),
                mistakes: (*mistakes > 0).then_some(*mistakes),
                ..Self::default()
            },
        };
        Self { ts: timestamp(event.at), generation: event.generation, ..of }
    }
}

#[expect(clippy::unnecessary_wraps, reason = "every member of an event may be missing")]
fn text(text: &(impl ToString + ?Sized)) -> Option<String> {
    Some(text.to_string())
}

fn of_stamp(stamp: &StampId<'_>) -> EventView {
    EventView { stamp: text(stamp), ..EventView::default() }
}

fn of_change(change: &Change) -> EventView {
    match change {
        Change::Endpoint { endpoint, was, is, probes } => EventView {
            endpoint: text(&endpoint.authority),
            from: text(standing(*was)),
            to: text(standing(*is)),
            probes: text(probes.as_str()),
            ..of_stamp(&endpoint.stamp)
        },
        Change::Breaker { endpoint, was, is, cause } => EventView {
            endpoint: text(&endpoint.authority),
            from: text(was.as_str()),
            to: text(is.as_str()),
            reason: cause.map(|cause| cause.rule.as_str().to_owned()),
            ..of_stamp(&endpoint.stamp)
        },
        Change::Health { stamp, was, is } => {
            EventView { from: text(health(*was)), to: text(health(*is)), ..of_stamp(stamp) }
        }
        Change::Operator { stamp, was, is } => {
            EventView { from: text(was.as_str()), to: text(is.as_str()), ..of_stamp(stamp) }
        }
        Change::Suspicion { suspect, failing, of } => EventView {
            to: text(if *suspect { "suspect" } else { "trusted" }),
            reason: Some(format!("{failing} of {of} stamps fail")),
            ..EventView::default()
        },
        Change::Barred { home, losses } => EventView {
            reason: Some(format!("lost {losses} times within an hour")),
            ..of_stamp(home)
        },
        Change::Flip { home, from, to, serving: who, reason } => EventView {
            from: from.as_ref().map(ToString::to_string),
            to: to.as_ref().map(ToString::to_string),
            reason: text(reason.as_str()),
            serving: text(serving(*who)),
            ..of_stamp(home)
        },
    }
}
