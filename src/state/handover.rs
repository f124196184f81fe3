//! The hand-over to another process: while it starts, nothing is decided here that it could not know
//! of. Operators' orders and reloads wait for it, or for its failure.

use tokio::sync::oneshot;

use super::command::Command;
use super::{OpenError, OrderError, State};

/// What is asked of the process: to start another one in its place.
#[derive(Debug)]
pub struct UpgradeAsk {
    /// What becomes of it.
    pub reply: oneshot::Sender<Result<u32, UpgradeError>>,
}

/// Why no other process took over: this one goes on.
#[derive(Debug, thiserror::Error)]
pub enum UpgradeError {
    /// Another hand-over is under way.
    #[error("an upgrade is under way already")]
    UnderWay,
    /// The state on disk cannot be handed over.
    #[error("the operators' journal: {0}")]
    Journal(#[from] OrderError),
    /// The program could not be started.
    #[error("the program could not be started: {0}")]
    Start(#[source] std::io::Error),
    /// It ended before it served.
    #[error("the new process ended before it served: {0}; its log says why")]
    Ended(std::process::ExitStatus),
    /// It did not serve in time, and was ended.
    #[error("the new process did not serve within {0:?} and was ended")]
    Late(std::time::Duration),
    /// This process is ending.
    #[error("the gateway is stopping")]
    Stopping,
}

impl State {
    /// Begins a hand-over: when this returns, everything that was answered is on disk, and nothing
    /// more is decided until `take_back`.
    pub async fn hand_over(&self) -> Result<(), OrderError> {
        self.ask(Command::HandOver).await
    }

    /// The hand-over came to nothing: orders are taken again.
    pub async fn take_back(&self) -> Result<(), OpenError> {
        let taken = self.ask(Command::TakeBack).await;
        // Without a control task there is nobody to take orders.
        taken.unwrap_or(Ok(()))
    }
}
