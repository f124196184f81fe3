//! A stamp stops working under a load of reads and writes: no GET is lost, no POST is done twice,
//! every answer is its own request's, and the tenants of the other stamp notice nothing.

use std::time::Duration;

use tokio::time::Instant;

use crate::harness::crowd::{Books, Crowd, End, Phase, crowded};
use crate::harness::faults::{BlackHole, Stranger, Tongue};
use crate::harness::gateway::{Gateway, Plan};
use crate::harness::process::StampProcess;
use crate::harness::scene::Pair;
use crate::harness::script::Script;
use crate::harness::stamp::{OnAccept, Stamp};

/// Requests of tenants of a that each phase lasts for.
pub const A_WHILE: usize = 60;
/// `timeouts.connect` here.
const CONNECT: Duration = Duration::from_millis(500);
/// A shared machine may be so many times slower than the figure that the contract promises.
const PATIENCE: u32 = 10;

/// Timeouts that a test can wait for.
pub fn impatient(plan: Plan) -> Plan {
    let connect = format!("\"{}ms\"", CONNECT.as_millis());
    plan.set("timeouts", "connect", &connect).set("timeouts", "response_headers", "\"1s\"")
}

/// The usual stamps with tenants enough, and a gateway that does not wait long.
pub async fn scene() -> Pair {
    Pair::planned(&crowded(), impatient).await
}

/// The fault has just begun: waits until the gateway knows, and lets the load feel it.
pub async fn is_detected(gateway: &Gateway, crowd: &Crowd) -> Duration {
    let began = Instant::now();
    gateway.answers("b", "a").await;
    let took = began.elapsed();
    crowd.enters(Phase::Detected);
    crowd.goes_on_for(A_WHILE).await;
    took
}

/// The fault is over: waits until home serves again, and opens the books.
pub async fn is_healed(gateway: &Gateway, crowd: Crowd, what: &str) -> Books {
    crowd.enters(Phase::Healed);
    gateway.answers("a", "a").await;
    crowd.goes_on_for(A_WHILE).await;
    let books = crowd.finish(what).await;
    books.at_least(A_WHILE / 2, "home served again", |told| {
        told.phase == Phase::Healed && told.home == "a" && told.end == End::Served("a".into())
    });
    books.at_least(A_WHILE / 2, "the secondary served", |told| {
        told.phase == Phase::Detected && told.home == "a" && told.end == End::Served("b".into())
    });
    books
}

/// Everything that reached either stamp.
pub fn arrivals(pair: &Pair) -> Vec<String> {
    [pair.a.arrivals(), pair.b.arrivals()].concat()
}

/// A home that is its own process, and the gateway before it.
pub async fn scene_of_processes(crowded: &str) -> (StampProcess, Stamp, Gateway) {
    let (a, b) = (StampProcess::start("a").await, Stamp::start("b").await);
    let table = crowded.replace("{stamp_a}", &a.address.to_string());
    let gateway = impatient(Plan::new(&table, &[&b])).start().await;
    gateway.answers("a", "a").await;
    (a, b, gateway)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killing_a_process_loses_nothing() {
    let (mut a, b, gateway) = scene_of_processes(&crowded()).await;
    let crowd = Crowd::start(gateway.data);
    a.reached_by(A_WHILE).await;
    a.kill();
    is_detected(&gateway, &crowd).await;
    a.revive().await;
    let books = is_healed(&gateway, crowd, "SIGKILL").await;
    books.hold([a.arrivals(), b.arrivals()].concat());
    books.lose_nothing();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn freezing_a_process_loses_nothing() {
    let (a, b, gateway) = scene_of_processes(&crowded()).await;
    let crowd = Crowd::start(gateway.data);
    a.reached_by(A_WHILE).await;
    a.freeze();
    let took = is_detected(&gateway, &crowd).await;
    a.thaw();
    let books = is_healed(&gateway, crowd, &format!("SIGSTOP, detected in {took:?}")).await;
    books.hold([a.arrivals(), b.arrivals()].concat());
    books.lose_nothing();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_black_hole_is_detected_within_its_bound_and_loses_nothing() {
    let mut pair = scene().await;
    let crowd = Crowd::start(pair.gateway.data);
    pair.a.reached_by(A_WHILE).await;
    pair.a.kill().await;
    let hole = BlackHole::at(pair.a.address);
    let took = is_detected(&pair.gateway, &crowd).await;
    drop(hole);
    pair.a.revive();
    let what = format!("black hole, detected in {took:?}");
    let books = is_healed(&pair.gateway, crowd, &what).await;
    books.hold(arrivals(&pair));
    books.lose_nothing();
    // Connect timeout x fall.
    assert!(took < CONNECT * 2 * PATIENCE, "{took:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn resets_of_connections_and_requests_lose_nothing() {
    let pair = scene().await;
    let crowd = Crowd::start(pair.gateway.data);
    pair.a.reached_by(A_WHILE).await;
    pair.a.plays(Script::ResetAfterHead);
    pair.a.on_accept(OnAccept::Reset);
    is_detected(&pair.gateway, &crowd).await;
    pair.a.plays(Script::Echo);
    pair.a.on_accept(OnAccept::Serve);
    let books = is_healed(&pair.gateway, crowd, "RST").await;
    books.hold(arrivals(&pair));
    books.lose_nothing();
}

/// A stamp whose requests fail while its probes are good: only its breaker tells, and each trial
/// of the breaker is one request, which is lost if it may not be repeated.
async fn is_broken_but_probed_well(script: Script, what: &str) {
    let pair = scene().await;
    let crowd = Crowd::start(pair.gateway.data);
    pair.a.reached_by(A_WHILE).await;
    pair.a.plays(script);
    is_detected(&pair.gateway, &crowd).await;
    let at_detection = pair.a.count();
    crowd.goes_on_for(3 * A_WHILE).await;
    // Open for 300 ms, then 600 ms and so on, with jitter: so few that a load cannot pass for it.
    let trials = pair.a.count() - at_detection;
    assert!(trials <= 8, "{what}: {trials} requests went to a stamp known to be bad");
    pair.a.plays(Script::Echo);
    let books = is_healed(&pair.gateway, crowd, what).await;
    books.hold(arrivals(&pair));
    books.none("a lost GET", |told| told.method == "GET" && !matches!(told.end, End::Served(_)));
    let lost =
        books.that(|told| told.phase == Phase::Detected && !matches!(told.end, End::Served(_)));
    assert!(lost.len() <= 8, "{what}: {lost:#?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stamp_that_answers_byte_by_byte_loses_no_get() {
    is_broken_but_probed_well(Script::Trickle, "slow loris").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stamp_that_breaks_off_requests_and_passes_probes_loses_no_get() {
    is_broken_but_probed_well(Script::ResetAfterBody, "broken off, probes good").await;
}

/// Somebody else's program gets the port of a dead stamp.
async fn strangers_take_the_port(tongue: Tongue, what: &str) -> (Pair, Books) {
    let mut pair = scene().await;
    let crowd = Crowd::start(pair.gateway.data);
    pair.a.reached_by(A_WHILE).await;
    pair.a.kill().await;
    let stranger = Stranger::at(pair.a.address, tongue);
    is_detected(&pair.gateway, &crowd).await;
    stranger.leave().await;
    pair.a.revive();
    let books = is_healed(&pair.gateway, crowd, what).await;
    books.hold(arrivals(&pair));
    (pair, books)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_protocol_on_a_stamps_port_loses_nothing() {
    let tongue = Tongue::Greeting("SSH-2.0-OpenSSH_9.2\r\n");
    let (_pair, books) = strangers_take_the_port(tongue, "another protocol").await;
    books.lose_nothing();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_service_on_a_stamps_port_is_heard_only_until_its_probes_fail() {
    let (_pair, books) = strangers_take_the_port(Tongue::NotFound, "another service").await;
    books.none("a foreign answer after detection", |told| {
        told.phase > Phase::Undetected && !matches!(told.end, End::Served(_))
    });
    books.none("a lost GET", |told| {
        told.method == "GET" && !matches!(told.end, End::Served(_) | End::Foreign)
    });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_host_name_without_an_address_is_failed_over_and_loses_nothing() {
    let b = Stamp::start("b").await;
    // RFC 6761, section 6.4: no resolver knows it. That addresses once found stay in use is tested
    // beside `outbound::resolve`: a resolver cannot be taken away here without privileges.
    let table = crowded().replace("{stamp_a}", "stamp.invalid:8080");
    let gateway = impatient(Plan::new(&table, &[&b])).start().await;
    let crowd = Crowd::start(gateway.data);
    is_detected(&gateway, &crowd).await;
    crowd.goes_on_for(A_WHILE).await;
    let books = crowd.finish("a name without an address").await;
    books.hold(b.arrivals());
    books.none("a lost request", |told| told.end != End::Served("b".into()));
}
