//! Drills while they run, and what came of the last ones. The fleet holds the share; this watches
//! how it fares, by what the workers count, and ends it when core says so.

use std::collections::VecDeque;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use stamp_core::drill::{self, Sample};
use stamp_core::fleet::Drill;
use stamp_core::id::StampId;
use stamp_core::standing::Serving;
use tokio::time::MissedTickBehavior;

use super::{Command, OrderError, State};

/// How often a drill is judged.
const JUDGED_EVERY: Duration = Duration::from_millis(250);
/// The drills that are remembered.
const REMEMBERED: usize = 50;

/// How a drill stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It is under way.
    Running,
    /// It ended when it was to end.
    Completed,
    /// The share that moved was worse off: "errors" or "latency".
    Aborted(&'static str),
    /// An operator ended it.
    Cancelled,
    /// Something real happened to the stamp meanwhile.
    Overtaken,
}

/// One drill and what it showed.
#[derive(Clone, Debug)]
pub struct DrillReport {
    /// The stamp that is treated as down.
    pub stamp: StampId<'static>,
    /// For which share of its tenants, and until when.
    pub drill: Drill,
    /// When it began, since 1970.
    pub began: Duration,
    /// How it stands.
    pub outcome: Outcome,
    /// The requests of the share that moved.
    pub moved: Sample,
    /// Those of the tenants that stayed.
    pub rest: Sample,
}

/// The drills of this process, the last one last.
pub(super) type Drills = VecDeque<DrillReport>;

impl State {
    /// Begins a drill and watches it from then on.
    pub async fn begin_drill(
        self: &Arc<Self>,
        stamp: StampId<'static>,
        percent: u8,
        lasts: Duration,
    ) -> Result<(), OrderError> {
        let now = self.clock().now();
        let before = self.samples(&stamp).await;
        let drill = Drill { percent, began: now, until: now.after(lasts) };
        self.ask(|reply| Command::BeginDrill(stamp.clone(), drill, reply)).await??;
        let (moved, rest) = (Sample::default(), Sample::default());
        let report = DrillReport {
            stamp: stamp.clone(),
            drill,
            began: self.clock().wall(),
            outcome: Outcome::Running,
            moved,
            rest,
        };
        {
            let mut drills = self.drills.lock().unwrap_or_else(PoisonError::into_inner);
            if drills.len() == REMEMBERED {
                drills.pop_front();
            }
            drills.push_back(report);
        }
        tracing::warn!(%stamp, percent, ?lasts, "a drill begins");
        tokio::spawn(Arc::clone(self).watch_drill(stamp, drill, before));
        Ok(())
    }

    /// Ends the drill of this stamp. Says whether there was one.
    pub async fn cancel_drill(&self, stamp: &StampId<'static>) -> Result<bool, OrderError> {
        let Some(drill) = self.running_drill(stamp) else { return Ok(false) };
        let ended = self.end_drill(stamp, drill).await?;
        if ended {
            self.note_drill(stamp, drill, |report| report.outcome = Outcome::Cancelled);
            tracing::warn!(%stamp, "a drill was cancelled");
        }
        Ok(ended)
    }

    /// The drill of this stamp that is under way.
    #[must_use]
    pub fn running_drill(&self, stamp: &StampId<'_>) -> Option<Drill> {
        let drills = self.drills.lock().unwrap_or_else(PoisonError::into_inner);
        let running = |it: &&DrillReport| it.stamp == *stamp && it.outcome == Outcome::Running;
        drills.iter().rev().find(running).map(|report| report.drill)
    }

    /// All drills that are remembered, the last one last.
    #[must_use]
    pub fn drills(&self) -> Vec<DrillReport> {
        let drills = self.drills.lock().unwrap_or_else(PoisonError::into_inner);
        drills.iter().cloned().collect()
    }

    async fn end_drill(&self, stamp: &StampId<'static>, drill: Drill) -> Result<bool, OrderError> {
        self.ask(|reply| Command::EndDrill(stamp.clone(), drill, reply)).await
    }

    /// Changes the report of this drill, if it is under way. Says whether it is.
    fn note_drill(
        &self,
        stamp: &StampId<'_>,
        drill: Drill,
        note: impl FnOnce(&mut DrillReport),
    ) -> bool {
        let mut drills = self.drills.lock().unwrap_or_else(PoisonError::into_inner);
        let same = |it: &&mut DrillReport| {
            it.stamp == *stamp && it.drill == drill && it.outcome == Outcome::Running
        };
        drills.iter_mut().rev().find(same).map(note).is_some()
    }

    async fn watch_drill(
        self: Arc<Self>,
        stamp: StampId<'static>,
        drill: Drill,
        before: (Sample, Sample),
    ) {
        let mut ticks = tokio::time::interval(JUDGED_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            let (moved, rest) = self.samples(&stamp).await;
            let (moved, rest) = (moved.since(before.0), rest.since(before.1));
            let told = |report: &mut DrillReport| (report.moved, report.rest) = (moved, rest);
            if !self.note_drill(&stamp, drill, told) {
                return;
            }
            let is_over = self.clock().now() >= drill.until;
            let outcome = match drill::must_end(moved, rest) {
                _ if is_over => Outcome::Completed,
                Some(reason) => Outcome::Aborted(reason.as_str()),
                None if self.is_split(&stamp) => continue,
                None => Outcome::Overtaken,
            };
            // Ended already where the time is over, or something real came in between.
            drop(self.end_drill(&stamp, drill).await);
            self.note_drill(&stamp, drill, |report| {
                report.outcome = outcome;
                tracing::warn!(
                    %stamp, ?outcome, moved = ?report.moved, rest = ?report.rest, "a drill is over"
                );
            });
            return;
        }
    }

    fn is_split(&self, stamp: &StampId<'_>) -> bool {
        let view = self.view();
        let standing = view.table.find_stamp(stamp);
        let standing = standing.and_then(|index| view.standings.stamps.get(index.at()));
        standing.is_some_and(|it| matches!(it.serving, Serving::Split { .. }))
    }

    /// What the tenants of this home have come to so far: those that moved, and the rest.
    async fn samples(&self, stamp: &StampId<'_>) -> (Sample, Sample) {
        let view = self.view();
        let Some(index) = view.table.find_stamp(stamp) else { return Default::default() };
        let number = view.stamp(index).number;
        let mut sums = (Sample::default(), Sample::default());
        for counts in self.mailboxes().counts().await {
            if let Some(stamp) = counts.stamps.get(&number) {
                sums.0 = sums.0.and(stamp.moved);
                sums.1 = sums.1.and(stamp.rest);
            }
        }
        sums
    }
}
