//! A stamp that takes requests and says nothing: what must not be sent twice is not given to it
//! until it says something, or is given to another stamp.

use crate::harness::client::Client;
use crate::harness::deadline::ticks;
use crate::harness::http1::{get, post};
use crate::harness::scene::{ACME, Pair, pair_with};
use crate::harness::script::{Gate, Script};

/// GETs that hang at the silent stamp.
const HANGING: usize = 5;
/// A second's POSTs that no stamp has seen are kept back by the gateway.
const KEPT_BACK: usize = 20;

/// The usual scene where nothing but silence can ask for a probe, and `fall` bad ones take a out.
async fn scene(fall: u32) -> Pair {
    let health = format!("health = {{ path = \"/healthz\", interval = \"60s\", fall = {fall} }}");
    let table = pair_with(&health);
    let pair = Pair::planned(&table, |plan| {
        plan.set("runtime", "workers", "1").set("timeouts", "response_headers", "\"60s\"")
    });
    let pair = pair.await;
    // From now on it is known what is usual.
    assert_eq!(pair.gateway.get(ACME, "/first").await.served_by(), "a");
    pair
}

/// Requests that wait for their answers.
struct Waiting {
    gets: Vec<Client>,
    posts: Vec<Client>,
}

impl Waiting {
    /// GETs that hang at a.
    async fn begin(pair: &Pair) -> Self {
        let mut gets = Vec::new();
        for number in 0..HANGING {
            let mut client = pair.gateway.connect().await;
            client.send(get(ACME, &format!("/get/{number}")).bytes()).await;
            gets.push(client);
        }
        pair.a.reached_by(1 + HANGING).await;
        Self { gets, posts: Vec::new() }
    }

    /// Sends POSTs until `enough`, 20 a second.
    async fn post_until(&mut self, pair: &Pair, enough: impl Fn(usize) -> bool) {
        let mut ticks = ticks(20);
        for number in 0.. {
            assert!(number < 400, "POSTs went through a silent stamp");
            let mut client = pair.gateway.connect().await;
            client.send(post(ACME, &format!("/post/{number}"), "once").bytes()).await;
            self.posts.push(client);
            ticks.tick().await;
            if enough(self.posts.len()) {
                return;
            }
        }
    }

    /// All of them are answered, and the POSTs that these stamps saw are those of this client, each
    /// once. Returns how many POSTs b answered.
    async fn are_answered_once(self, pair: &Pair) -> usize {
        for mut client in self.gets {
            assert_eq!(client.answer().await.status, 200);
        }
        let (mut by_b, sent) = (0, self.posts.len());
        for mut client in self.posts {
            let answer = client.answer().await;
            assert_eq!(answer.status, 200);
            by_b += usize::from(answer.served_by() == "b");
        }
        let mut seen = posts(pair);
        seen.sort();
        seen.dedup();
        assert_eq!((seen.len(), posts(pair).len()), (sent, sent));
        by_b
    }
}

/// The POSTs that any stamp has seen.
fn posts(pair: &Pair) -> Vec<String> {
    let all = [pair.a.arrivals(), pair.b.arrivals()].concat();
    all.into_iter().filter(|arrival| arrival.starts_with("POST ")).collect()
}

#[tokio::test]
async fn posts_are_kept_back_until_the_stamp_speaks_again() {
    let pair = scene(1000).await;
    let gate = Gate::closed();
    pair.a.plays(gate.before(Script::Echo));
    pair.a.fails_probes();
    let mut waiting = Waiting::begin(&pair).await;
    waiting.post_until(&pair, |sent| sent >= posts(&pair).len() + KEPT_BACK).await;
    pair.a.plays(Script::Echo);
    gate.open();
    assert_eq!(waiting.are_answered_once(&pair).await, 0);
}

#[tokio::test]
async fn posts_that_were_kept_back_leave_a_stamp_that_probes_find_down() {
    let pair = scene(1).await;
    let gate = Gate::closed();
    pair.a.plays(gate.before(Script::Echo));
    pair.a.fails_probes();
    let mut waiting = Waiting::begin(&pair).await;
    // The interval is a minute: only silence can have asked for this probe.
    waiting.post_until(&pair, |_| pair.b.count() > 0).await;
    pair.a.plays(Script::Echo);
    gate.open();
    assert!(waiting.are_answered_once(&pair).await > 0);
}

#[tokio::test]
async fn a_good_probe_lets_posts_pass_to_a_stamp_that_is_only_slow() {
    let pair = scene(3).await;
    let gate = Gate::closed();
    pair.a.plays(gate.before(Script::Echo));
    let mut waiting = Waiting::begin(&pair).await;
    let probes = pair.a.probes();
    waiting.post_until(&pair, |_| pair.a.probes() > probes).await;
    pair.a.reached_by(1 + HANGING + waiting.posts.len()).await;
    gate.open();
    assert_eq!(waiting.are_answered_once(&pair).await, 0);
}
