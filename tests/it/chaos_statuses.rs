//! A stamp that answers every request with an error, under a load of reads and writes: 503 opens
//! its breaker, 500 and 4xx never do.

use crate::chaos::{arrivals, impatient, is_detected, is_healed, scene};
use crate::harness::crowd::{Crowd, End, Phase, crowded};
use crate::harness::scene::Pair;
use crate::harness::script::Script;

const A_WHILE: usize = 60;
/// Open for 300 ms, then 600 ms and so on: more trials than this do not fit into a test.
const TRIALS_MAX: usize = 8;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stamp_that_answers_503_is_heard_until_its_breaker_opens() {
    let pair = scene().await;
    let crowd = Crowd::start(pair.gateway.data);
    pair.a.reached_by(A_WHILE).await;
    pair.a.plays(Script::EchoAs(503));
    is_detected(&pair.gateway, &crowd).await;
    pair.a.plays(Script::Echo);
    let books = is_healed(&pair.gateway, crowd, "all 503").await;
    books.hold(arrivals(&pair));
    let said = |end: &End| matches!(end, End::Said(stamp, 503) if stamp == "a");
    books.none("an end that is neither served nor the stamp's own 503", |told| {
        !matches!(told.end, End::Served(_)) && !said(&told.end)
    });
    let late = books.that(|told| told.phase > Phase::Undetected && said(&told.end));
    assert!(late.len() <= TRIALS_MAX, "503 after detection: {late:#?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_503_is_declared_to_be_repeated_no_get_sees_one() {
    let table = format!("[defaults.stamp.retry]\nstatuses = [503]\n{}", crowded());
    let pair = Pair::planned(&table, impatient).await;
    let crowd = Crowd::start(pair.gateway.data);
    pair.a.reached_by(A_WHILE).await;
    pair.a.plays(Script::EchoAs(503));
    is_detected(&pair.gateway, &crowd).await;
    pair.a.plays(Script::Echo);
    let books = is_healed(&pair.gateway, crowd, "all 503, declared").await;
    books.hold(arrivals(&pair));
    books.none("a GET saw a 503", |told| {
        told.method == "GET" && !matches!(told.end, End::Served(_))
    });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stamp_that_answers_500_or_4xx_stays_in_charge() {
    let pair = scene().await;
    let crowd = Crowd::start(pair.gateway.data);
    for status in [500, 501, 400, 404, 408, 429] {
        pair.a.plays(Script::EchoAs(status));
        crowd.goes_on_for(A_WHILE / 2).await;
    }
    let books = crowd.finish("all 500 and 4xx").await;
    books.hold(arrivals(&pair));
    books.none("a tenant of a was not answered by a", |told| {
        let by_a = matches!(&told.end, End::Served(stamp) | End::Said(stamp, _) if stamp == "a");
        told.home == "a" && !by_a
    });
    let stamp = pair.gateway.stamp("a").await;
    assert_eq!(stamp["endpoints"][0]["breaker"], "closed");
    assert_eq!(pair.gateway.flips("a"), 0);
    let retries = pair.gateway.metric("stampgate_retries_total", &[("stamp", "a")]).await;
    assert!(retries < 0.5, "{retries} repeats");
}
