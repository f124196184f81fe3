//! Keys that issuers publish: one task an issuer on the control runtime, never on a worker. When to
//! fetch is core's (`jwks`); here it is done, kept on disk, and put in force.

mod fetch;
pub(super) mod kept;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;

use stamp_core::jwks::{JwksSource, Refresh, Step};
use stamp_core::table::Algorithm;
use stamp_core::time::{Moment, Occasion};
use tokio::sync::{Notify, mpsc};
use tokio::task::JoinHandle;

use crate::auth::{Fetched, FetchedIssuer, KeyChange};
use crate::state::{Command, Last, State, View};
use crate::tls::UpstreamTls;
use fetch::{FetchError, Published};

/// A task and what it was started for.
#[derive(Debug)]
struct Keeper {
    issuer: Issuer,
    asked: Arc<Notify>,
    task: JoinHandle<()>,
}

/// Whose keys are fetched, and how.
#[derive(Clone, Debug)]
struct Issuer {
    name: Box<str>,
    source: JwksSource,
    algorithms: Box<[Algorithm]>,
    tls: Option<Arc<UpstreamTls>>,
}

impl Issuer {
    fn of(issuer: &FetchedIssuer<'_>, view: &View) -> Self {
        Self {
            name: issuer.issuer.into(),
            source: issuer.source.clone(),
            algorithms: issuer.algorithms.into(),
            tls: view.tls.of_issuer(issuer.issuer).cloned(),
        }
    }

    fn is_same(&self, other: &Self) -> bool {
        self.name == other.name
            && self.source == other.source
            && self.algorithms == other.algorithms
            && UpstreamTls::is_same(self.tls.as_ref(), other.tls.as_ref())
    }
}

/// Keeps the keys of every issuer of the table in force fresh until the process ends; issuers that
/// stay over a reload keep their task. `asked` has the issuers of tokens whose key is not known.
pub async fn run(state: Arc<State>, mut asked: mpsc::Receiver<Box<str>>, directory: PathBuf) {
    let directory: Arc<Path> = directory.into();
    let mut keepers: HashMap<Box<str>, Keeper> = HashMap::new();
    let mut changes = state.changes();
    let mut table = None;
    loop {
        let view = state.view();
        if !table.as_ref().is_some_and(|known| Arc::ptr_eq(known, &view.table)) {
            table = Some(Arc::clone(&view.table));
            follow(&state, &view, &directory, &mut keepers);
            forget_others(&view, &directory).await;
        }
        drop(view);
        tokio::select! {
            changed = changes.changed() => if changed.is_err() { return },
            issuer = asked.recv() => match issuer {
                Some(issuer) => if let Some(keeper) = keepers.get(&issuer) {
                    keeper.asked.notify_one();
                },
                None => return,
            },
        }
    }
}

fn follow(
    state: &Arc<State>,
    view: &View,
    directory: &Arc<Path>,
    keepers: &mut HashMap<Box<str>, Keeper>,
) {
    let mut former = std::mem::take(keepers);
    for issuer in view.keys.fetched_issuers() {
        let own = Issuer::of(&issuer, view);
        let kept = former.remove(issuer.issuer).filter(|it| it.issuer.is_same(&own));
        let keeper = kept.unwrap_or_else(|| start(state, own, issuer.fetched, directory));
        keepers.insert(issuer.issuer.into(), keeper);
    }
    for keeper in former.into_values() {
        keeper.task.abort();
    }
}

/// Deletes what is kept of issuers that the table in force does not have. A write that was under way
/// when its issuer went may end after this; then the next table deletes it.
async fn forget_others(view: &View, directory: &Arc<Path>) {
    let issuers = view.keys.fetched_issuers();
    let issuers = issuers.map(|it| (it.issuer.into(), it.source.url.to_string()));
    let issuers: Vec<(Box<str>, String)> = issuers.collect();
    let directory = Arc::clone(directory);
    let forgetting = tokio::task::spawn_blocking(move || kept::forget_others(&directory, &issuers));
    if let Err(error) = forgetting.await {
        tracing::error!(%error, "old keys are not deleted");
    }
}

fn start(
    state: &Arc<State>,
    issuer: Issuer,
    fetched: Option<&Fetched>,
    directory: &Arc<Path>,
) -> Keeper {
    let (clock, asked) = (state.clock(), Arc::new(Notify::new()));
    let age = fetched.map(|fetched| clock.wall().saturating_sub(fetched.at()));
    let keeping = Keeping {
        refresh: Refresh::new(&issuer.source, age, clock.now()),
        state: Arc::clone(state),
        issuer: issuer.clone(),
        directory: Arc::clone(directory),
        asked: Arc::clone(&asked),
        known: fetched.map(|fetched| Arc::clone(fetched.json())),
        told: None,
    };
    Keeper { issuer, asked, task: tokio::spawn(keeping.run()) }
}

/// The keys of one issuer.
struct Keeping {
    state: Arc<State>,
    issuer: Issuer,
    directory: Arc<Path>,
    asked: Arc<Notify>,
    refresh: Refresh,
    /// The key set in force.
    known: Option<Arc<[u8]>>,
    /// What was logged last of fetches that failed.
    told: Option<&'static str>,
}

type Fetching = Pin<Box<dyn Future<Output = Result<Published, FetchError>> + Send>>;

impl Keeping {
    async fn run(mut self) {
        let mut fetching: Option<Fetching> = None;
        loop {
            match self.refresh.step(self.state.clock().now()) {
                Step::Fetch => {
                    let (issuer, clock) = (self.issuer.clone(), self.state.clock());
                    fetching = Some(Box::pin(async move {
                        let Issuer { source, algorithms, tls, .. } = &issuer;
                        fetch::fetch(source, algorithms, tls.as_deref(), clock).await
                    }));
                }
                Step::Lapse => self.lapse().await,
                Step::Wait(until) => tokio::select! {
                    ended = ended(&mut fetching) => {
                        fetching = None;
                        self.take(ended).await;
                    }
                    () = self.sleep_until(until) => {}
                    () = self.asked.notified() => self.refresh.ask(),
                },
            }
        }
    }

    async fn sleep_until(&self, until: Option<Moment>) {
        match until {
            Some(moment) => tokio::time::sleep_until(self.state.clock().instant(moment)).await,
            None => std::future::pending().await,
        }
    }

    async fn take(&mut self, ended: Result<Published, FetchError>) {
        let at = Occasion { now: self.state.clock().now(), chance: fastrand::u64(..) };
        match ended {
            Ok(Published { fetched, fresh }) => {
                self.refresh.fetched(fresh, at);
                self.note("ok", None);
                self.put_in_force(fetched).await;
            }
            Err(error) => {
                self.refresh.failed(at);
                self.note(error.as_str(), Some(error.to_string()));
                if self.told.replace(error.as_str()) != Some(error.as_str()) {
                    let issuer = &self.issuer.name;
                    let error: &dyn std::error::Error = &error;
                    tracing::warn!(%issuer, error, "the keys of an issuer cannot be fetched");
                }
            }
        }
    }

    fn note(&self, result: &'static str, error: Option<String>) {
        let last = Last { result, error, next: self.refresh.next() };
        self.state.fetches().note(&self.issuer.name, last);
    }

    /// In force first: tokens wait for it. What is on disk is for a start without the issuer.
    async fn put_in_force(&mut self, fetched: Fetched) {
        let issuer = &self.issuer.name;
        if self.told.take().is_some() {
            tracing::info!(%issuer, "the keys of an issuer are fetched again");
        }
        let json = Arc::clone(fetched.json());
        if self.known.as_ref() != Some(&json) {
            tracing::info!(%issuer, keys = fetched.len(), "the keys of an issuer changed");
            self.known = Some(json);
        }
        self.change(Some(fetched.clone())).await;
        let (directory, name) = (Arc::clone(&self.directory), self.issuer.name.clone());
        let url = self.issuer.source.url.to_string();
        let written =
            tokio::task::spawn_blocking(move || kept::write(&directory, (&name, &url), &fetched));
        if let Ok(Err(error)) = written.await {
            let issuer = &self.issuer.name;
            tracing::error!(%issuer, %error, "the keys of an issuer are not kept on disk");
        }
    }

    async fn lapse(&mut self) {
        let issuer = &self.issuer.name;
        tracing::error!(%issuer, "the keys of an issuer are too old: its tokens are refused");
        self.known = None;
        self.change(None).await;
    }

    async fn change(&self, fetched: Option<Fetched>) {
        let Issuer { name, source, algorithms, tls: _ } = self.issuer.clone();
        let change = KeyChange { issuer: name, source, algorithms, fetched };
        // When the process ends there is nothing left to change.
        drop(self.state.ask(|done| Command::Keys(Box::new(change), done)).await);
    }
}

/// The end of the fetch that is under way, if one is.
async fn ended(fetching: &mut Option<Fetching>) -> Result<Published, FetchError> {
    match fetching {
        Some(fetching) => fetching.await,
        None => std::future::pending().await,
    }
}
