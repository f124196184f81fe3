//! A stamp's certificate expires under a load of reads and writes.

use crate::chaos::{arrivals, impatient, is_detected, is_healed};
use crate::harness::crowd::{Crowd, crowded};
use crate::harness::gateway::Plan;
use crate::harness::scene::Pair;
use crate::harness::stamp::Stamp;
use crate::harness::tls::Authority;

/// Requests of tenants of a that home serves first.
const A_WHILE: usize = 60;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_expired_certificate_loses_nothing() {
    let authority = Authority::new();
    let (good, expired) =
        (authority.issues("127.0.0.1").served(), authority.issues_expired("127.0.0.1").served());
    let (a, b) = (Stamp::start("a").await, Stamp::start("b").await);
    a.presents(good.clone());
    let table = crowded().replace("id = \"a\"\n", "id = \"a\"\ntls = { ca = \"ca.crt\" }\n");
    let table = table.replace("http://{stamp_a}", "https://{stamp_a}");
    let plan = Plan::new(&table, &[&a, &b]).file("ca.crt", &authority.pem);
    let pair = Pair { gateway: impatient(plan).start().await, a, b };
    let crowd = Crowd::start(pair.gateway.data);
    pair.a.reached_by(A_WHILE).await;
    pair.a.presents(expired);
    pair.a.ends_connections();
    let took = is_detected(&pair.gateway, &crowd).await;
    let before = pair.a.count();
    crowd.goes_on_for(A_WHILE).await;
    assert_eq!(pair.a.count(), before, "a stamp that cannot prove who it is got a request");
    pair.a.presents(good);
    let books =
        is_healed(&pair.gateway, crowd, &format!("TLS expired, detected in {took:?}")).await;
    books.hold(arrivals(&pair));
    books.lose_nothing();
    assert!(pair.a.refused() > 0);
}
