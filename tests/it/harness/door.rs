//! The usual scene behind a listener that speaks TLS: two certificates, and clients that trust who
//! issued them.

use std::io;
use std::sync::Arc;

use rustls::ClientConfig;

use super::client::{Answer, Client};
use super::deadline::eventually;
use super::gateway::Plan;
use super::http1::Request;
use super::scene::{PAIR, Pair};
use super::tls::{Authority, Papers, Visitor};

/// The certificates of the door, the wide one first.
pub const CERTIFICATES: &str = "certificates = [{ cert = \"tls/wide.crt\", key = \"tls/wide.key\" }, \
     { cert = \"tls/acme.crt\", key = \"tls/acme.key\" }]";

/// Two stamps and a gateway whose data listener speaks TLS.
pub struct Door {
    pub pair: Pair,
    pub authority: Authority,
    /// For `*.app.test` and `neutral.test`.
    pub wide: Papers,
    /// For `acme.app.test` alone.
    pub acme: Papers,
}

impl Door {
    /// The usual one.
    pub async fn open() -> Self {
        Self::with("").await
    }

    /// With more keys of `tls`, each after a comma.
    pub async fn with(keys: &str) -> Self {
        Self::planned(keys, |plan, _| plan).await
    }

    /// With more keys of `tls`, and a changed plan.
    pub async fn planned(keys: &str, change: impl FnOnce(Plan, &Authority) -> Plan) -> Self {
        let authority = Authority::new();
        let wide = authority.issues_for(&["*.app.test", "neutral.test"]);
        let acme = authority.issues("acme.app.test");
        let plan = |plan: Plan| {
            let plan = plan
                .set("listener", "tls", &format!("{{ {CERTIFICATES}{keys} }}"))
                .file("tls/wide.crt", &wide.cert)
                .file("tls/wide.key", &wide.key)
                .file("tls/acme.crt", &acme.cert)
                .file("tls/acme.key", &acme.key)
                .file("tls/clients.crt", &authority.pem);
            change(plan, &authority)
        };
        let pair = Pair::planned(PAIR, plan).await;
        Self { pair, authority, wide, acme }
    }

    /// A client that trusts who issued the door's certificates.
    pub fn visitor(&self) -> Visitor {
        self.authority.visitor()
    }

    /// A connection of that client to this name.
    pub async fn visit(&self, name: &str) -> Client {
        let visited = self.try_visit(&self.visitor().config(), name).await;
        visited.unwrap_or_else(|error| panic!("{name}: {error}"))
    }

    /// A connection to this name, or why there is none.
    pub async fn try_visit(&self, config: &Arc<ClientConfig>, name: &str) -> io::Result<Client> {
        Client::try_connect_tls(self.pair.gateway.data, (b"", config), name).await
    }

    /// The answer to one request over its own connection to this name; `None` = the gateway wants
    /// nothing to do with that client.
    pub async fn ask(
        &self,
        config: &Arc<ClientConfig>,
        name: &str,
        request: &Request,
    ) -> Option<Answer> {
        let mut client = self.try_visit(config, name).await.ok()?;
        client.try_exchange(request).await.ok()
    }

    /// Waits until so many handshakes have ended so: a client knows of it first.
    pub async fn counted(&self, result: &str, count: u32) {
        eventually(&format!("{count} handshakes counted as {result}"), async || {
            let counted = self.handshakes(result).await;
            (counted > f64::from(count) - 0.5).then_some(())
        })
        .await;
        assert!(self.handshakes(result).await < f64::from(count) + 0.5, "too many: {result}");
    }

    /// How many handshakes ended so.
    pub async fn handshakes(&self, result: &str) -> f64 {
        let labels = [("listener", "public"), ("result", result)];
        self.pair.gateway.metric("stampgate_tls_handshakes_total", &labels).await
    }
}
