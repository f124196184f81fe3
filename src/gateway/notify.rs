//! What systemd, or whoever started the process, is told of it (`sd_notify`).

use std::sync::Arc;
use std::time::Duration;

use sd_notify::NotifyState;

use crate::state::State;

/// It serves.
pub(super) fn serving(state: &State) {
    let view = state.view();
    let (generation, stamps) = (view.generation, view.table.stamps().len());
    let status = format!("serving {stamps} stamps, table {generation}");
    let pid = NotifyState::MainPid(std::process::id());
    tell(&[NotifyState::Ready, pid, NotifyState::Status(&status)]);
}

/// It reads its files anew.
pub(super) fn reloading() {
    match NotifyState::monotonic_usec_now() {
        Ok(now) => tell(&[NotifyState::Reloading, now]),
        Err(error) => tracing::warn!(%error, "the supervisor is not told of the reload"),
    }
}

/// It was asked to end.
pub(super) fn stopping() {
    tell(&[NotifyState::Stopping, NotifyState::Status("stopping")]);
}

/// That process is the main one from now on.
pub(super) fn taken_over_by(pid: u32) {
    tell(&[NotifyState::MainPid(pid)]);
}

fn tell(news: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(news) {
        tracing::warn!(%error, "the supervisor could not be told");
    }
}

/// Says twice in each period of the watchdog that the process is alive, if it is: all workers and the
/// control task must have answered meanwhile. One that hangs must not be hidden by the others.
pub(super) async fn keep_watchdog(state: Arc<State>) {
    let Some(period) = sd_notify::watchdog_enabled().filter(|period| !period.is_zero()) else {
        return;
    };
    let pause = period / 2;
    loop {
        let answered = tokio::time::timeout(pause, state.answers()).await;
        if matches!(answered, Ok(true)) {
            tell(&[NotifyState::Watchdog]);
        } else {
            tracing::error!("a worker or the control task does not answer");
        }
        tokio::time::sleep(pause.max(Duration::from_millis(1))).await;
    }
}
