//! What is asked of the control task, and what it is told.

use std::io;
use std::sync::Arc;

use stamp_core::fleet::{Assumption, Drill, Standings};
use stamp_core::health::{Health, ProbeResult};
use stamp_core::id::StampId;
use stamp_core::operator::journal::JournalEntry;
use stamp_core::operator::{OperatorRefusal, Order};
use stamp_core::standing::OperatorState;
use stamp_core::table::RoutingTable;
use tokio::sync::oneshot;

use super::AttemptReport;
use super::journal::{Journal, OpenError};
use super::view::View;
use crate::auth::{KeyChange, KeyRing};
use crate::settings::Live;
use crate::state::report::StampInfo;
use crate::tls::Upstreams;
use crate::tls::downstream::Downstreams;

/// What the control task is told or asked.
#[derive(Debug)]
pub(super) enum Event {
    Attempt(AttemptReport),
    Probe {
        endpoint: u32,
        result: ProbeResult,
    },
    /// A request wants to know how this endpoint is.
    AskedProbe(u32),
    Command(Command),
    Journalled {
        entry: JournalEntry,
        journal: Journal,
        written: io::Result<()>,
        done: OrderReply,
    },
    /// Every worker decides by the View that was in force when this was asked, or a later one.
    Acknowledged,
    /// The homes that wait for their operator were written down, or could not be.
    WaitingKept,
}

/// The standings under an assumption, and the View that they belong to.
pub(super) type AssumeReply = oneshot::Sender<Result<(Arc<View>, Standings), OperatorRefusal>>;

pub(super) type OrderReply = oneshot::Sender<Result<Ordered, OrderError>>;

/// What is asked of the control task.
#[derive(Debug)]
pub enum Command {
    /// Put a new table (and keys and settings) in force.
    Install(Box<Installation>, oneshot::Sender<u64>),
    /// Put other keys of an issuer in force.
    Keys(Box<KeyChange>, oneshot::Sender<()>),
    /// Do what an operator wishes of a stamp.
    Order(Wish, StampId<'static>, Order, OrderReply),
    /// Begin to treat a stamp as down for a share of its tenants.
    BeginDrill(StampId<'static>, Drill, oneshot::Sender<Result<(), OrderError>>),
    /// End this drill of a stamp: was it there?
    EndDrill(StampId<'static>, Drill, oneshot::Sender<bool>),
    /// Tell the standings that there would be if this were so, and the View that they belong to.
    Assume(Vec<Assumption>, AssumeReply),
    /// Close the journal and decide nothing more: another process takes over.
    HandOver(oneshot::Sender<()>),
    /// Open the journal again.
    TakeBack(oneshot::Sender<Result<(), OpenError>>),
    /// Tell everything about the stamps.
    Stamps(oneshot::Sender<Vec<StampInfo>>),
    /// Is the endpoint changing, as its probes see it? For the prober's pace.
    Health(u32, oneshot::Sender<Option<Health>>),
}

/// Everything of a reload that requests see.
#[derive(Debug)]
pub struct Installation {
    /// The table.
    pub table: Arc<RoutingTable>,
    /// Its keys.
    pub keys: Arc<KeyRing>,
    /// What its endpoints are spoken to with.
    pub tls: Arc<Upstreams>,
    /// How listeners shake hands with clients.
    pub downstreams: Arc<Downstreams>,
    /// The live settings.
    pub live: Arc<Live>,
}

/// What became of an order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ordered {
    /// It holds now, at every worker.
    Done,
    /// It held before.
    AlreadySo,
}

/// Why an order was not carried out.
#[derive(Debug, thiserror::Error)]
pub enum OrderError {
    /// The decision was no.
    #[error(transparent)]
    Refused(#[from] OperatorRefusal),
    /// It could not be journalled, so it does not hold.
    #[error("the journal could not be written")]
    Journal(#[source] io::Error),
    /// Another process is about to take over.
    #[error("the gateway is being upgraded")]
    HandingOver,
    /// The process is ending.
    #[error("the gateway is stopping")]
    Stopping,
}

/// What an operator wishes of a stamp.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wish {
    /// Drain it.
    Drain,
    /// End its drain.
    Undrain,
    /// Put it into this state.
    State(OperatorState),
    /// Let its requests come home now.
    FailBack,
}
