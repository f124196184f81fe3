//! What a stamp that hangs may take: its own share over all workers, and nothing of others.

use crate::chaos::arrivals;
use crate::harness::crowd::{Crowd, End, OF_A, OF_B, crowded};
use crate::harness::deadline::eventually;
use crate::harness::http1::get;
use crate::harness::scene::Pair;
use crate::harness::script::{Gate, Script};

/// Connections enough that each of two workers has some of them.
const MANY: usize = 40;

/// Two workers, tenants enough, stamp a without a way out and with this line more.
async fn alone(line: &str) -> Pair {
    let table = crowded()
        .replace("failover = [{ to = \"b\", mode = \"read_write\" }]\n", "")
        .replace("id = \"a\"\n", &format!("id = \"a\"\n{line}\n"));
    Pair::planned(&table, |plan| plan).await
}

/// Sends many requests at once while a holds all that reach it. Returns how many were answered
/// with 503 `stamp_saturated`; `reached` of them must have come to a.
async fn saturated(pair: &Pair, reached: usize) -> usize {
    let gate = Gate::closed();
    pair.a.plays(gate.before(Script::Echo));
    let mut clients = Vec::new();
    for number in 0..MANY {
        let mut client = pair.gateway.connect().await;
        let host = OF_A[number % OF_A.len()];
        client.send(get(host, &format!("/{number}")).bytes()).await;
        clients.push(client);
    }
    let refused = [("stamp", "a"), ("code", "stamp_saturated")];
    let wanted = u32::try_from(MANY - reached).unwrap();
    eventually("all others to be refused", async || {
        let count = pair.gateway.metric("stampgate_errors_total", &refused).await;
        (count > f64::from(wanted) - 0.5).then_some(())
    })
    .await;
    for number in 0..MANY {
        let answer = pair.gateway.get(OF_B[number % OF_B.len()], "/").await;
        assert_eq!(answer.served_by(), "b");
    }
    assert_eq!(pair.a.count(), reached, "the bound is over all workers");
    gate.open();
    let mut saturated = 0;
    for (number, client) in clients.iter_mut().enumerate() {
        let answer = client.answer().await;
        if answer.status == 200 {
            assert_eq!(answer.json()["target"], format!("/{number}"));
        } else {
            answer.assert_problem(503, "stamp_saturated");
            saturated += 1;
        }
    }
    assert_eq!(pair.gateway.get(OF_A[0], "/").await.served_by(), "a", "it stays saturated");
    saturated
}

#[tokio::test]
async fn max_in_flight_holds_over_all_workers() {
    let pair = alone("max_in_flight = 5").await;
    assert_eq!(saturated(&pair, 5).await, MANY - 5);
}

#[tokio::test]
async fn a_request_waits_for_one_of_all_workers_connections_only_so_long() {
    let pool = "pool = { max_connections = 3, pending_timeout = \"200ms\" }";
    let pair = alone(pool).await;
    assert_eq!(saturated(&pair, 3).await, MANY - 3);
    assert!(pair.a.connections() <= 4, "{} connections", pair.a.connections());
}

#[tokio::test]
async fn only_so_many_requests_of_all_workers_wait_for_a_connection() {
    let pool = "pool = { max_connections = 3, max_pending = 4, pending_timeout = \"10s\" }";
    let pair = alone(pool).await;
    let gate = Gate::closed();
    pair.a.plays(gate.before(Script::Echo));
    let mut clients = Vec::new();
    for number in 0..MANY {
        let mut client = pair.gateway.connect().await;
        client.send(get(OF_A[number % OF_A.len()], &format!("/{number}")).bytes()).await;
        clients.push(client);
    }
    let refused = [("stamp", "a"), ("code", "stamp_saturated")];
    let wanted = u32::try_from(MANY - 3 - 4).unwrap();
    eventually("all but those at a and those that wait to be refused", async || {
        let count = pair.gateway.metric("stampgate_errors_total", &refused).await;
        (count > f64::from(wanted) - 0.5).then_some(())
    })
    .await;
    for host in OF_B {
        assert_eq!(pair.gateway.get(host, "/").await.served_by(), "b");
    }
    gate.open();
    let mut served = 0;
    for client in &mut clients {
        let answer = client.answer().await;
        if answer.status == 200 {
            served += 1;
        } else {
            answer.assert_problem(503, "stamp_saturated");
        }
    }
    assert_eq!(served, 3 + 4, "three at once, and four that waited");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stamp_that_hangs_undetected_takes_nothing_from_another() {
    let pair = alone("max_in_flight = 5").await;
    let crowd = Crowd::start(pair.gateway.data);
    pair.a.reached_by(50).await;
    let gate = Gate::closed();
    // Probes stay good, and no timeout is reached within this test.
    pair.a.plays(gate.before(Script::Echo));
    crowd.goes_on_for(100).await;
    gate.open();
    crowd.goes_on_for(50).await;
    let books = crowd.finish("hanging undetected").await;
    books.hold(arrivals(&pair));
    let saturated = End::Refused(503, "stamp_saturated".into());
    books.at_least(50, "refused by the bulkhead", |told| told.end == saturated);
    books.none("an end that is neither served nor saturated", |told| {
        told.end != saturated && !matches!(told.end, End::Served(_))
    });
}
