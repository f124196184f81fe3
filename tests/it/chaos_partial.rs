//! A stamp that fails in part, or again and again, under a load of reads and writes.

use crate::chaos::{arrivals, impatient, is_detected, scene};
use crate::harness::crowd::{Crowd, End, Phase, crowded};
use crate::harness::deadline::{eventually, ticks};
use crate::harness::gateway::{Gateway, Plan};
use crate::harness::scene::Pair;
use crate::harness::script::Script;
use crate::harness::stamp::Stamp;

const A_WHILE: usize = 60;

/// A home of two endpoints, both named a, and its secondary.
struct Halves {
    first: Stamp,
    second: Stamp,
    b: Stamp,
    gateway: Gateway,
}

impl Halves {
    async fn start() -> Self {
        let (first, second) = (Stamp::start("a").await, Stamp::start("a").await);
        let b = Stamp::start("b").await;
        let both = format!("{}\" }}, {{ url = \"http://{}", first.address, second.address);
        let table = crowded().replace("{stamp_a}", &both);
        let gateway = impatient(Plan::new(&table, &[&b])).start().await;
        Self { first, second, b, gateway }
    }

    /// Waits until the gateway uses no more than so many endpoints of a.
    async fn uses(&self, count: usize) {
        eventually(&format!("{count} endpoints of a in use"), async || {
            let stamp = self.gateway.stamp("a").await;
            let endpoints = stamp["endpoints"].as_array().unwrap();
            let up = endpoints.iter().filter(|endpoint| endpoint["standing"] == "up").count();
            (up == count).then_some(())
        })
        .await;
    }

    /// The first endpoint has just failed: the other serves everybody, and nobody is failed over.
    async fn half_is_enough(&self, crowd: &Crowd) {
        self.uses(1).await;
        crowd.enters(Phase::Detected);
        crowd.goes_on_for(A_WHILE).await;
    }

    async fn whole_again(self, crowd: Crowd, what: &str) {
        crowd.enters(Phase::Healed);
        self.uses(2).await;
        let before = self.first.count();
        crowd.goes_on_for(A_WHILE).await;
        assert!(self.first.count() > before, "the endpoint that came back is not used");
        let books = crowd.finish(what).await;
        let all = [self.first.arrivals(), self.second.arrivals(), self.b.arrivals()];
        books.hold(all.concat());
        books.lose_nothing();
        books.none("a failover with a sound endpoint left", |told| {
            told.home == "a" && told.end == End::Served("b".into())
        });
        assert_eq!(self.gateway.flips("a"), 0);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killing_half_the_endpoints_of_a_stamp_loses_nothing_and_moves_nobody() {
    let mut halves = Halves::start().await;
    halves.uses(2).await;
    let crowd = Crowd::start(halves.gateway.data);
    halves.first.reached_by(A_WHILE / 2).await;
    halves.first.kill().await;
    halves.half_is_enough(&crowd).await;
    halves.first.revive();
    halves.whole_again(crowd, "half the endpoints killed").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn half_the_endpoints_of_a_stamp_hanging_loses_nothing_and_moves_nobody() {
    let halves = Halves::start().await;
    halves.uses(2).await;
    let crowd = Crowd::start(halves.gateway.data);
    halves.first.reached_by(A_WHILE / 2).await;
    halves.first.plays(Script::Hang);
    halves.first.fails_probes();
    halves.half_is_enough(&crowd).await;
    halves.first.plays(Script::Echo);
    halves.first.passes_probes();
    halves.whole_again(crowd, "half the endpoints hanging").await;
}

/// Dies and comes back every second, so often; it is dead at the end.
async fn flaps(pair: &mut Pair, times: usize) {
    let mut half_seconds = ticks(2);
    half_seconds.tick().await;
    for _ in 0..times {
        pair.a.revive();
        half_seconds.tick().await;
        pair.a.kill().await;
        half_seconds.tick().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_home_that_flaps_every_second_is_left_once_and_returned_to_once() {
    let table = crowded().replace("id = \"a\"\n", "id = \"a\"\nfailback = { hold = \"2s\" }\n");
    let mut pair = Pair::planned(&table, impatient).await;
    let crowd = Crowd::start(pair.gateway.data);
    pair.a.reached_by(A_WHILE).await;
    pair.a.kill().await;
    is_detected(&pair.gateway, &crowd).await;
    let at_detection = pair.a.count();
    flaps(&mut pair, 4).await;
    assert_eq!(pair.gateway.flips("a"), 1, "it flipped with the home");
    // Its breaker is tried, one request at a time, and nothing more.
    let trials = pair.a.count() - at_detection;
    assert!(trials <= 8, "{trials} requests went to a home that does not hold");
    pair.a.revive();
    crowd.enters(Phase::Healed);
    pair.gateway.answers("a", "a").await;
    crowd.goes_on_for(A_WHILE).await;
    assert_eq!(pair.gateway.flips("a"), 2);
    let books = crowd.finish("flapping every second").await;
    books.hold(arrivals(&pair));
    books.lose_nothing();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_home_whose_probes_flap_faster_than_they_count_is_not_left() {
    let pair = scene().await;
    let crowd = Crowd::start(pair.gateway.data);
    pair.a.reached_by(A_WHILE).await;
    // One bad probe, then good ones: `fall` is 2.
    for _ in 0..5 {
        pair.a.fails_next_probe();
        pair.a.probed_again(3).await;
    }
    let books = crowd.finish("single bad probes").await;
    books.hold(arrivals(&pair));
    books.none("a request of a left home", |told| {
        told.home == "a" && told.end != End::Served("a".into())
    });
    assert_eq!(pair.gateway.flips("a"), 0);
}
