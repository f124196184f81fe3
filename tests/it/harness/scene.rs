//! The scene that most tests play in: stamps a and b, a fails over to b, tenants on both.

use super::gateway::{Gateway, Plan};
use super::stamp::Stamp;

/// a may fail over to b; b has nowhere to go. Acme lives on a, globex on b.
pub const PAIR: &str = r#"
[identity.host]
patterns = ["{tenant}.app.test", "{stamp}.stamps.test"]
[[stamp]]
id = "a"
endpoints = [{ url = "http://{stamp_a}" }]
failover = [{ to = "b", mode = "read_write" }]
[[stamp]]
id = "b"
endpoints = [{ url = "http://{stamp_b}" }]
[tenants]
acme = "a"
globex = "b"
hooli = { stamp = "a", state = "suspended" }
initech = { stamp = "a", state = "offboarded" }
"#;

/// A host of a tenant that lives on a.
pub const ACME: &str = "acme.app.test";
/// A host of a tenant that lives on b.
pub const GLOBEX: &str = "globex.app.test";

/// Two stamps and a running gateway before them.
#[derive(Debug)]
pub struct Pair {
    pub a: Stamp,
    pub b: Stamp,
    pub gateway: Gateway,
}

impl Pair {
    /// The usual scene.
    pub async fn start() -> Self {
        Self::planned(PAIR, |plan| plan).await
    }

    /// The usual stamps with this table and a changed plan.
    pub async fn planned(table: &str, change: impl FnOnce(Plan) -> Plan) -> Self {
        let (a, b) = (Stamp::start("a").await, Stamp::start("b").await);
        let gateway = change(Plan::new(table, &[&a, &b])).start().await;
        Self { a, b, gateway }
    }

    /// The usual scene on one worker, where connections to stamps can be counted.
    pub async fn on_one_worker() -> Self {
        Self::planned(PAIR, |plan| plan.set("runtime", "workers", "1")).await
    }

    /// The usual scene after its home has died and the gateway knows it.
    pub async fn with_dead_home() -> Self {
        let mut pair = Self::start().await;
        pair.a.kill().await;
        pair.gateway.knows_down("a").await;
        pair
    }
}

/// The usual table with one line after the line `id = "a"`.
pub fn pair_with(line: &str) -> String {
    let changed = PAIR.replace("id = \"a\"\n", &format!("id = \"a\"\n{line}\n"));
    assert_ne!(changed, PAIR);
    changed
}

/// The usual table without a way out of a.
pub fn pair_without_edge() -> String {
    let changed = PAIR.replace("failover = [{ to = \"b\", mode = \"read_write\" }]\n", "");
    assert_ne!(changed, PAIR);
    changed
}
