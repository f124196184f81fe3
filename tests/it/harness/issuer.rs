//! A fake issuer on loopback: publishes its keys at `/keys`, counts who asks for them, and may
//! misbehave as any stamp can.

use serde_json::{Value, json};

use super::deadline::eventually;
use super::gateway::Gateway;
use super::script::{Script, plain};
use super::stamp::Stamp;
use super::token::{AUDIENCE, ISSUER, Key, jwks};

/// A running issuer.
#[derive(Debug)]
pub struct Issuer {
    server: Stamp,
}

impl Issuer {
    /// One that publishes these keys.
    pub async fn publishing(keys: &[&Key]) -> Self {
        let issuer = Self { server: Stamp::start("issuer").await };
        issuer.publishes(keys);
        issuer
    }

    /// From now on it publishes these keys.
    pub fn publishes(&self, keys: &[&Key]) {
        self.answers(plain(200, "Content-Type: application/json\r\n", &jwks(keys)));
    }

    /// From now on it does this.
    pub fn answers(&self, script: Script) {
        self.server.plays(script);
    }

    /// Itself, as a server.
    pub fn server(&mut self) -> &mut Stamp {
        &mut self.server
    }

    /// How often it was asked.
    pub fn fetches(&self) -> usize {
        self.server.count()
    }

    /// Waits until it was asked so many times more.
    pub async fn asked_again(&self, times: usize) {
        self.server.reached_by(self.fetches() + times).await;
    }

    /// Its `[[identity.jwt]]`, with these lines.
    pub fn rule(&self, lines: &str) -> String {
        let url = format!("http://{}/keys", self.server.address);
        rule(ISSUER, &url, lines)
    }

    /// The same, over TLS.
    pub fn rule_over_tls(&self, lines: &str) -> String {
        self.rule(lines).replace("http://", "https://")
    }
}

/// An issuer of this name, whose keys are fetched from this address.
pub fn rule(name: &str, url: &str, lines: &str) -> String {
    format!(
        "[[identity.jwt]]\nissuer = \"{name}\"\naudiences = [\"{AUDIENCE}\"]\n\
         algorithms = [\"ES256\"]\njwks_url = \"{url}\"\n{lines}\ntenant_claim = \"tid\"\n"
    )
}

/// What the gateway tells of its only issuer.
pub async fn told(gateway: &Gateway) -> Value {
    let answer = gateway.admin_get("/v1/config").await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.json()["issuers"][0].clone()
}

/// Waits until the gateway has so many keys of its only issuer.
pub async fn known(gateway: &Gateway, keys: usize) {
    eventually("keys of the issuer", async || {
        (told(gateway).await["keys"] == json!(keys)).then_some(())
    })
    .await;
}

/// Waits until a fetch has ended in this way.
pub async fn ended(gateway: &Gateway, result: &str) {
    eventually(&format!("a fetch that ends with {result}"), async || {
        let labels = [("issuer", ISSUER), ("result", result)];
        let count = gateway.metric("stampgate_jwks_fetches_total", &labels).await;
        (count > 0.5).then_some(())
    })
    .await;
}
