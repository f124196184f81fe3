//! A steady load of reads and writes by tenants of both stamps of `scene`, every request with an
//! id of its own, and the books on what became of each.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering};

use tokio::task::JoinSet;

use super::client::{Answer, Client};
use super::deadline::{eventually, ticks_from};
use super::faults::NOT_OURS;
use super::http1::{Broken, get, post};
use super::scene::PAIR;

/// Hosts of tenants that live on a: more than the three that a breaker wants to hear.
pub const OF_A: [&str; 4] = ["a1.app.test", "a2.app.test", "a3.app.test", "a4.app.test"];
/// Hosts of tenants that live on b.
pub const OF_B: [&str; 4] = ["b1.app.test", "b2.app.test", "b3.app.test", "b4.app.test"];

/// Clients for tenants of a, and for tenants of b.
const CLIENTS: [usize; 2] = [8, 4];
const REQUESTS_A_SECOND_AND_CLIENT: u32 = 15;
/// Every so many requests, one is a POST. Not a multiple of the tenants, so that all of them write.
const POST_EVERY: usize = 5;

/// The usual table with four tenants on each stamp, where breakers and probes of a are quick.
pub fn crowded() -> String {
    let lines: String = (1..=4).map(|n| format!("a{n} = \"a\"\nb{n} = \"b\"\n")).collect();
    let quick = "id = \"a\"\nhealth = { passive = { open_for = \"300ms\" } }\n";
    format!("{}{lines}", PAIR.replace("id = \"a\"\n", quick))
}

/// How far the story is: a request belongs to the phase that it began in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// Until the gateway is known to know.
    Undetected,
    /// The gateway knows of the fault.
    Detected,
    /// The fault is over.
    Healed,
}

/// How a request ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// This stamp answered 200, with this request's own id.
    Served(String),
    /// This stamp answered another status, with this request's own id.
    Said(String, u16),
    /// The gateway answered a well-formed 502, 503 or 504 with this code.
    Refused(u16, String),
    /// Somebody who is no stamp answered.
    Foreign,
    /// Anything else: no answer, half an answer, another request's answer.
    Wrong(String),
}

/// One request and what became of it.
#[derive(Clone, Debug)]
pub struct Told {
    pub home: &'static str,
    pub method: &'static str,
    /// Its path, unlike that of every other request.
    pub target: String,
    pub phase: Phase,
    pub end: End,
}

/// Clients that send at a steady rate until they are told to stop.
#[derive(Debug)]
pub struct Crowd {
    clients: JoinSet<Vec<Told>>,
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    phase: AtomicU8,
    /// Requests of tenants of a that have ended.
    ended: AtomicUsize,
}

const OVER: u8 = 3;

impl Crowd {
    /// Starts the load at this listener.
    pub fn start(data: SocketAddr) -> Self {
        let shared = Arc::new(Shared::default());
        let mut clients = JoinSet::new();
        for number in 0..CLIENTS[0] + CLIENTS[1] {
            let (home, hosts) = if number < CLIENTS[0] { ("a", OF_A) } else { ("b", OF_B) };
            let visitor = Visitor { data, number, home, hosts, shared: Arc::clone(&shared) };
            let _task = clients.spawn(visitor.go());
        }
        Self { clients, shared }
    }

    /// From now on requests begin in this phase.
    pub fn enters(&self, phase: Phase) {
        self.shared.phase.store(phase as u8, Ordering::SeqCst);
    }

    /// Waits until so many more requests of tenants of a have ended.
    pub async fn goes_on_for(&self, count: usize) {
        let ended = || self.shared.ended.load(Ordering::SeqCst);
        let wanted = ended() + count;
        eventually("the load to go on", async || (ended() >= wanted).then_some(())).await;
    }

    /// Stops the load and opens the books.
    pub async fn finish(mut self, what: &str) -> Books {
        self.shared.phase.store(OVER, Ordering::SeqCst);
        let mut told = Vec::new();
        while let Some(of_one) = self.clients.join_next().await {
            told.extend(of_one.unwrap());
        }
        let books = Books { what: what.into(), told };
        eprintln!("{}", books.summary());
        books
    }
}

struct Visitor {
    data: SocketAddr,
    number: usize,
    home: &'static str,
    hosts: [&'static str; 4],
    shared: Arc<Shared>,
}

impl Visitor {
    fn phase(&self) -> Option<Phase> {
        match self.shared.phase.load(Ordering::SeqCst) {
            0 => Some(Phase::Undetected),
            1 => Some(Phase::Detected),
            2 => Some(Phase::Healed),
            _ => None,
        }
    }

    async fn go(self) -> Vec<Told> {
        let mut told = Vec::new();
        // Not all clients at once: some are always at a stamp when a fault comes.
        let mut ticks = ticks_from(REQUESTS_A_SECOND_AND_CLIENT, self.number);
        let mut client = Client::connect(self.data).await;
        for turn in 0.. {
            ticks.tick().await;
            let Some(phase) = self.phase() else { break };
            let host = self.hosts[(turn + self.number) % self.hosts.len()];
            let target = format!("/{}/{turn}", self.number);
            let (method, request) = match (turn + self.number) % POST_EVERY {
                0 => ("POST", post(host, &target, target.as_str())),
                _ => ("GET", get(host, &target)),
            };
            let answer = client.try_exchange(&request).await;
            let is_over = |answer: &Answer| answer.header("connection") == Some("close");
            if answer.as_ref().map_or(true, is_over) {
                client = Client::connect(self.data).await;
            }
            let end = end_of(answer, method, &target);
            told.push(Told { home: self.home, method, target, phase, end });
            if self.home == "a" {
                self.shared.ended.fetch_add(1, Ordering::SeqCst);
            }
        }
        told
    }
}

fn end_of(answer: Result<Answer, Broken>, method: &str, target: &str) -> End {
    let answer = match answer {
        Ok(answer) => answer,
        Err(broken) => return End::Wrong(format!("{broken:?}")),
    };
    let wrong = || End::Wrong(format!("{} {}", answer.status, answer.text()));
    if answer.text() == NOT_OURS {
        return End::Foreign;
    }
    let Ok(told) = serde_json::from_slice::<serde_json::Value>(&answer.body) else {
        return wrong();
    };
    if let Some(stamp) = told["stamp"].as_str() {
        let body = if method == "POST" { target } else { "" };
        let is_its_own = told["target"] == target && told["method"] == method;
        return match (is_its_own && told["body"] == body, answer.status) {
            (true, 200) => End::Served(stamp.into()),
            (true, status) => End::Said(stamp.into(), status),
            (false, _) => wrong(),
        };
    }
    let is_problem = answer.header("content-type") == Some("application/problem+json")
        && matches!(answer.status, 502..=504)
        && told["status"] == answer.status
        && (answer.status != 503 || answer.header("retry-after").is_some());
    match told["code"].as_str() {
        Some(code) if is_problem && !code.is_empty() => End::Refused(answer.status, code.into()),
        _ => wrong(),
    }
}

/// What became of all requests of a crowd.
#[derive(Debug)]
pub struct Books {
    what: String,
    told: Vec<Told>,
}

impl Books {
    /// The requests that are so.
    pub fn that(&self, are: impl Fn(&Told) -> bool) -> Vec<&Told> {
        self.told.iter().filter(|told| are(told)).collect()
    }

    /// Fails if a request is so.
    #[track_caller]
    pub fn none(&self, why: &str, are: impl Fn(&Told) -> bool) {
        let found = self.that(are);
        assert!(found.is_empty(), "{}: {why}: {} of them: {found:#?}", self.what, found.len());
    }

    /// Fails unless so many requests, or more, are so: what is not tried proves nothing.
    #[track_caller]
    pub fn at_least(&self, count: usize, why: &str, are: impl Fn(&Told) -> bool) {
        let found = self.that(are).len();
        assert!(found >= count, "{}: {why}: only {found} of {count}", self.what);
    }

    /// What holds in every story: each answer is the one of its own request and well-formed, no
    /// POST arrived twice, and tenants of b did not notice anything.
    #[track_caller]
    pub fn hold(&self, arrivals: impl IntoIterator<Item = String>) {
        self.none("a wrong answer", |told| matches!(told.end, End::Wrong(_)));
        self.none("a tenant of b was touched", |told| {
            told.home == "b" && told.end != End::Served("b".into())
        });
        self.at_least(20, "tenants of b were served", |told| told.home == "b");
        self.at_least(10, "tenants of a wrote", |told| told.home == "a" && told.method == "POST");
        let mut posts: HashMap<String, usize> = HashMap::new();
        for arrival in arrivals {
            if let Some(target) = arrival.strip_prefix("POST ") {
                *posts.entry(target.into()).or_default() += 1;
            }
        }
        let twice: Vec<_> = posts.iter().filter(|(_, count)| **count > 1).collect();
        assert!(twice.is_empty(), "{}: POSTs that arrived twice: {twice:?}", self.what);
        self.none("a POST was answered by a stamp that it never reached", |told| {
            let answered = matches!(told.end, End::Served(_) | End::Said(..));
            told.method == "POST" && answered && !posts.contains_key(&told.target)
        });
    }

    /// No GET is lost at any time, and a POST only before the fault was detected.
    #[track_caller]
    pub fn lose_nothing(&self) {
        let is_lost = |told: &Told| !matches!(told.end, End::Served(_));
        self.none("a lost GET", |told| told.method == "GET" && is_lost(told));
        self.none("a POST lost after detection", |told| {
            told.phase > Phase::Undetected && is_lost(told)
        });
    }

    fn summary(&self) -> String {
        let count = |are: &dyn Fn(&Told) -> bool| self.that(are).len();
        let served_by = |stamp: &'static str| {
            count(&move |told| told.home == "a" && told.end == End::Served(stamp.into()))
        };
        let unserved = |method: &'static str| {
            count(&move |told| told.method == method && !matches!(told.end, End::Served(_)))
        };
        let mut refused: HashMap<&str, usize> = HashMap::new();
        for told in &self.told {
            if let End::Refused(_, code) = &told.end {
                *refused.entry(code).or_default() += 1;
            }
        }
        format!(
            "{}: {} requests, of tenants of a {} by a and {} by b; not served: {} GET, {} POST, {refused:?}",
            self.what,
            self.told.len(),
            served_by("a"),
            served_by("b"),
            unserved("GET"),
            unserved("POST"),
        )
    }
}
