//! The promise of `chaos` for stamps that are spoken to in HTTP/2, where one connection that ends takes
//! many requests with it.

use crate::chaos::{A_WHILE, arrivals, impatient, is_detected, is_healed, scene_of_processes};
use crate::harness::crowd::{Crowd, crowded};
use crate::harness::deadline::eventually;
use crate::harness::scene::Pair;

/// The usual tenants, where a is spoken to in HTTP/2 in the clear.
fn over_h2c() -> String {
    crowded().replace("id = \"a\"\n", "id = \"a\"\npool = { protocol = \"h2c\" }\n")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killing_a_process_of_http2_loses_nothing() {
    let (mut a, b, gateway) = scene_of_processes(&over_h2c()).await;
    let crowd = Crowd::start(gateway.data);
    a.reached_by(A_WHILE).await;
    a.kill();
    is_detected(&gateway, &crowd).await;
    a.revive().await;
    let books = is_healed(&gateway, crowd, "SIGKILL over HTTP/2").await;
    books.hold([a.arrivals(), b.arrivals()].concat());
    books.lose_nothing();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stamp_of_http2_that_says_goodbye_all_the_time_loses_nothing() {
    let pair = Pair::planned(&over_h2c(), impatient).await;
    let crowd = Crowd::start(pair.gateway.data);
    for round in 1..=5 {
        pair.a.reached_by(round * A_WHILE).await;
        pair.a.says_goodbye();
        eventually("another connection", async || (pair.a.connections() > round).then_some(()))
            .await;
    }
    crowd.goes_on_for(A_WHILE).await;
    let books = crowd.finish("GOAWAY").await;
    books.hold(arrivals(&pair));
    books.none("a lost request", |told| {
        told.end != crate::harness::crowd::End::Served(told.home.into())
    });
}
