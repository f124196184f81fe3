//! What the decisions cost: identify, resolve and choose, at three sizes of table.

#![expect(clippy::expect_used, clippy::indexing_slicing, reason = "a bench fails by panicking")]

use std::hint::black_box;
use std::path::Path;
use std::sync::Arc;

use criterion::{Criterion, criterion_group, criterion_main};
use http::{HeaderMap, HeaderValue, Version};
use stamp_core::clue::Clues;
use stamp_core::diagnostic::SourceText;
use stamp_core::failover::{self, Fence, Needs};
use stamp_core::identify::{self, Head, Peer};
use stamp_core::resolve::resolve;
use stamp_core::retry::MethodClass;
use stamp_core::standing::{OperatorState, Serving, Slot, StampHealth, StampStanding};
use stamp_core::table::{self, RoutingTable, TokenPlace};
use stamp_core::time::UnixSeconds;
use stampgate::auth::{KeyRing, TokenCache, verified};

const SECRET: &[u8] = b"a secret of this bench that protects nothing";
const NOW: UnixSeconds = UnixSeconds(1_800_000_000);

const ROUTING: &str = r#"
version = 1
[identity.host]
patterns = ["{tenant}.app.example.com", "{stamp}.stamps.example.com"]
[[identity.jwt]]
issuer = "bench"
audiences = ["bench"]
algorithms = ["HS256"]
hmac_secret_file = "secret"
tenant_claim = "tid"
[[stamp]]
id = "eu-1"
residency = "eu"
endpoints = [{ url = "http://127.0.0.1:1" }]
failover = ["eu-2"]
[[stamp]]
id = "eu-2"
residency = "eu"
endpoints = [{ url = "http://127.0.0.1:2" }]
[[tenant_file]]
path = "tenants.csv"
"#;

fn table(tenants: usize) -> (RoutingTable, KeyRing) {
    let mut csv = String::from("tenant,stamp\n");
    for number in 0..tenants {
        csv += &format!("tenant-{number:07},eu-{}\n", number % 2 + 1);
    }
    let csv: Arc<[u8]> = csv.into_bytes().into();
    let mut read = |path: &Path| -> std::io::Result<Arc<[u8]>> {
        if path.ends_with("secret") { Ok(SECRET.into()) } else { Ok(Arc::clone(&csv)) }
    };
    let main = SourceText { path: "routing.toml".into(), text: ROUTING.into() };
    let table = table::load(main, &mut read, None).expect("the table is right").table;
    let keys = KeyRing::build(&table.identity.jwt, &mut read).expect("the secret is right");
    (table, keys)
}

fn standing(stamps: usize) -> Vec<StampStanding> {
    let (operator, health) = (OperatorState::Active, StampHealth::Up);
    vec![StampStanding { operator, health, serving: Serving::Home, flips: 0 }; stamps]
}

fn host_head(tenant: usize) -> HeaderMap {
    let host = format!("tenant-{tenant:07}.app.example.com");
    let mut headers = HeaderMap::new();
    headers.insert("host", HeaderValue::try_from(host).expect("a host"));
    headers.insert("accept", HeaderValue::from_static("*/*"));
    headers.insert("user-agent", HeaderValue::from_static("bench"));
    headers
}

fn clues<'a>(table: &'a RoutingTable, headers: &'a HeaderMap) -> Clues<'a> {
    let head = Head { version: Version::HTTP_11, authority: None, headers };
    identify::clues(&head, table, Peer::Untrusted, None).expect("good clues")
}

fn resolve_and_choose(bench: &mut Criterion) {
    for tenants in [10, 10_000, 1_000_000] {
        let (table, _) = table(tenants);
        let standings = standing(table.stamps().len());
        // A prime stride visits all of a large table, as traffic of many tenants does.
        let heads: Vec<HeaderMap> = (0..1024).map(|at| host_head(at * 7919 % tenants)).collect();
        let mut at = 0;
        let name = format!("identify, resolve, choose: {tenants} tenants");
        bench.bench_function(&name, |bench| {
            bench.iter(|| {
                at = (at + 1) % heads.len();
                let clues = clues(&table, &heads[at]);
                let target = resolve(&table, &clues).expect("a known tenant");
                let needs = Needs {
                    home: target.home,
                    fence: Fence::Home,
                    method: MethodClass::Safe,
                    slot: Slot::OF_NOBODY,
                };
                black_box(failover::choose(&table, &standings, needs).expect("home is up"))
            });
        });
    }
}

fn tokens(bench: &mut Criterion) {
    let (_, keys) = table(10);
    let claims = serde_json::json!({
        "iss": "bench", "aud": "bench", "tid": "tenant-0000001",
        "iat": NOW.0 - 10, "exp": NOW.0 + 3600,
    });
    let token = stampgate::demo::sign(&claims, SECRET);
    let mut headers = host_head(1);
    let value = format!("Bearer {token}");
    headers.insert("authorization", HeaderValue::try_from(value).expect("a value"));
    let head = Head { version: Version::HTTP_11, authority: None, headers: &headers };
    let read = (&TokenPlace::Bearer, &head);
    let mut cache = TokenCache::default();
    bench.bench_function("token: cached", |bench| {
        bench.iter(|| black_box(verified(&keys, &mut cache, read, || NOW).expect("a good token")));
    });
    bench.bench_function("token: uncached, HS256", |bench| {
        bench.iter(|| {
            let mut cache = TokenCache::default();
            black_box(verified(&keys, &mut cache, read, || NOW).expect("a good token"))
        });
    });
}

criterion_group!(benches, resolve_and_choose, tokens);
criterion_main!(benches);
