//! What other threads ask of workers. A worker answers between two polls of its requests: what it
//! answers is true of all of them.

use std::sync::atomic::{AtomicUsize, Ordering};

use stamp_core::closing::Closing;
use stamp_core::memory::Level;
use tokio::sync::{mpsc, oneshot};

use super::flights::{self, FlightsByStamp};
use super::tenants::TenantKey;
use crate::telemetry::worker::WorkerCounts;

/// One question to one worker.
#[derive(Debug)]
pub enum Mail {
    /// Have you seen the View that is in force?
    Acknowledge(oneshot::Sender<()>),
    /// What did you count?
    Counts(oneshot::Sender<WorkerCounts>),
    /// What have you in flight?
    Flights(oneshot::Sender<FlightsByStamp>),
    /// The drain of the stamp of this number ends so: close what is long-lived there in time.
    /// `None` = there is no drain (any more).
    Close(u32, Option<Closing>),
    /// So much is given up for memory from now on.
    Memory(Level),
    /// Another worker has a client and no room for it: close the connection that rests longest, of
    /// this listener or (`None`) of any. Was there one?
    MakeRoom(Option<u16>, oneshot::Sender<bool>),
    /// Another worker waits for a connection to this endpoint: close those that rest.
    Shed(u32),
    /// Requests wait or were turned away: as many answers that stand still there are to give way. What
    /// this worker has too few of, those after it are asked for.
    GiveWay {
        /// Where there is no room.
        at: Shortage,
        /// How many.
        count: u32,
        /// How many workers were asked before.
        before: usize,
    },
}

/// Where there is no room for a request. Stamps and endpoints by the numbers of their cells.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Shortage {
    /// All connections to an endpoint are in use.
    Endpoint(u32),
    /// A stamp has its fill in flight.
    Stamp(u32),
    /// A tenant has.
    Tenant(TenantKey),
}

/// The workers' mailboxes.
#[derive(Debug)]
pub struct Mailboxes {
    boxes: Vec<mpsc::UnboundedSender<Mail>>,
    /// Who is asked first to have answers give way.
    turn: AtomicUsize,
}

impl Mailboxes {
    /// As many mailboxes as there are workers, and their readers' ends.
    #[must_use]
    pub fn new(workers: usize) -> (Self, Vec<mpsc::UnboundedReceiver<Mail>>) {
        let (boxes, readers) = (0..workers).map(|_| mpsc::unbounded_channel()).unzip();
        (Self { boxes, turn: AtomicUsize::new(0) }, readers)
    }

    /// How many workers there are.
    #[must_use]
    pub fn workers(&self) -> usize {
        self.boxes.len()
    }

    /// Waits until every worker decides by the View that is in force now, or a later one.
    pub async fn acknowledged(&self) {
        self.ask(Mail::Acknowledge).await;
    }

    /// What every worker counted.
    pub async fn counts(&self) -> Vec<WorkerCounts> {
        self.ask(Mail::Counts).await
    }

    /// What all workers together have in flight.
    pub async fn flights(&self) -> FlightsByStamp {
        flights::merged(self.ask(Mail::Flights).await)
    }

    /// Asks all workers to close what rests at an endpoint.
    pub fn shed(&self, endpoint: u32) {
        self.tell(|| Mail::Shed(endpoint));
    }

    /// Has so many answers that stand still give way.
    pub fn give_way(&self, at: Shortage, count: u32) {
        self.pass_on(at, count, 0);
    }

    /// The same, after so many workers were asked. Each is the first in its turn: what one has pressed may
    /// turn out to move.
    pub fn pass_on(&self, at: Shortage, count: u32, before: usize) {
        if count == 0 || before >= self.boxes.len() {
            return;
        }
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        if let Some(mailbox) = self.boxes.get(turn % self.boxes.len()) {
            drop(mailbox.send(Mail::GiveWay { at, count, before }));
        }
    }

    /// Tells all workers what is given up for memory.
    pub(super) fn tell_memory(&self, level: Level) {
        self.tell(|| Mail::Memory(level));
    }

    /// Asks one worker after the other, but for this one, to close a client connection that rests.
    /// Says whether one did.
    pub async fn make_room(&self, asker: usize, of: Option<u16>) -> bool {
        let (before, after) = self.boxes.split_at(asker.min(self.boxes.len()));
        for mailbox in after.iter().skip(1).chain(before) {
            let (reply, answer) = oneshot::channel();
            if mailbox.send(Mail::MakeRoom(of, reply)).is_ok() && answer.await == Ok(true) {
                return true;
            }
        }
        false
    }

    /// Tells all workers how the drain of a stamp ends.
    pub(super) fn close(&self, stamp: u32, closing: Option<Closing>) {
        self.tell(|| Mail::Close(stamp, closing));
    }

    fn tell(&self, news: impl Fn() -> Mail) {
        for mailbox in &self.boxes {
            drop(mailbox.send(news()));
        }
    }

    async fn ask<T>(&self, question: impl Fn(oneshot::Sender<T>) -> Mail) -> Vec<T> {
        let mut replies = Vec::new();
        for mailbox in &self.boxes {
            let (reply, answer) = oneshot::channel();
            // A worker that is gone has nothing to answer for.
            if mailbox.send(question(reply)).is_ok() {
                replies.push(answer);
            }
        }
        let mut answers = Vec::new();
        for reply in replies {
            answers.extend(reply.await.ok());
        }
        answers
    }
}
