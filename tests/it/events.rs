//! Section 8 of the contract: `GET /v1/events`, what happens as it happens.

use serde_json::{Value, json};

use crate::admin::{VIEWER, guarded};
use crate::drain::{drain, undrain};
use crate::harness::client::Client;
use crate::harness::deadline::eventually;
use crate::harness::gateway::Gateway;
use crate::harness::http1::Request;
use crate::harness::scene::Pair;

/// One who follows the events.
struct Reader {
    client: Client,
    text: String,
    /// The id of the last event.
    id: String,
}

/// One event.
#[derive(Debug)]
struct Event {
    kind: String,
    data: Value,
}

impl Reader {
    /// Follows from now on.
    async fn start(gateway: &Gateway) -> Self {
        Self::asking(gateway, gateway.admin_request("GET", "/v1/events")).await
    }

    /// Follows after this event.
    async fn after(gateway: &Gateway, id: &str) -> Self {
        let request = gateway.admin_request("GET", "/v1/events").header("Last-Event-ID", id);
        Self::asking(gateway, request).await
    }

    async fn asking(gateway: &Gateway, request: Request) -> Self {
        let mut client = Client::connect(gateway.admin).await;
        client.send(request.bytes()).await;
        let head = client.head().await;
        assert_eq!(head.status().unwrap(), 200, "{head:?}");
        assert_eq!(head.header("content-type"), Some("text/event-stream"));
        let mut reader = Self { client, text: String::new(), id: String::new() };
        assert!(reader.block().await.starts_with("retry: "));
        reader
    }

    /// The next block of lines.
    async fn block(&mut self) -> String {
        loop {
            if let Some((block, rest)) = self.text.split_once("\n\n") {
                let (block, rest) = (block.to_owned(), rest.to_owned());
                self.text = rest;
                let id = block.lines().find_map(|line| line.strip_prefix("id: "));
                self.id = id.map_or_else(|| self.id.clone(), str::to_owned);
                return block;
            }
            let chunk = self.client.chunk().await.expect("a stream of events does not end");
            self.text += std::str::from_utf8(&chunk).unwrap();
        }
    }

    /// The next event.
    async fn event(&mut self) -> Event {
        loop {
            let block = self.block().await;
            let field = |name: &str| block.lines().find_map(|line| line.strip_prefix(name));
            if let Some(data) = field("data: ") {
                let kind = field("event: ").unwrap().to_owned();
                return Event { kind, data: serde_json::from_str(data).unwrap() };
            }
        }
    }

    /// The next event of this kind.
    async fn next(&mut self, kind: &str) -> Value {
        loop {
            let event = self.event().await;
            if event.kind == kind {
                return event.data;
            }
        }
    }
}

#[tokio::test]
async fn a_drain_is_told_from_its_beginning_to_its_end() {
    let pair = Pair::start().await;
    let mut reader = Reader::start(&pair.gateway).await;
    assert_eq!(drain(&pair.gateway, "a").await.status, 202);
    let began = reader.next("operator").await;
    assert_eq!((&began["stamp"], &began["to"]), (&json!("a"), &json!("draining")), "{began}");
    assert_eq!((&began["from"], &began["generation"]), (&json!("active"), &json!(1)), "{began}");
    assert!(began["ts"].as_str().unwrap().ends_with('Z'), "{began}");
    let flip = reader.next("flip").await;
    assert_eq!(
        (&flip["stamp"], &flip["from"], &flip["to"]),
        (&json!("a"), &json!("a"), &json!("b"))
    );
    assert_eq!((&flip["reason"], &flip["serving"]), (&json!("operator"), &json!("edge")));
    assert_eq!(reader.next("operator").await["to"], "drained");
    assert_eq!(reader.next("drained").await["stamp"], "a");
}

#[tokio::test]
async fn the_death_of_a_stamp_is_told() {
    let mut pair = Pair::start().await;
    let mut reader = Reader::start(&pair.gateway).await;
    let address = pair.a.address.to_string();
    pair.a.kill().await;
    loop {
        let endpoint = reader.next("endpoint").await;
        if endpoint["stamp"] == "a" && endpoint["to"] == "probe_down" {
            assert_eq!(endpoint["endpoint"], address, "{endpoint}");
            break;
        }
    }
    let health = reader.next("health").await;
    assert_eq!((&health["stamp"], &health["to"]), (&json!("a"), &json!("down")), "{health}");
    assert_eq!(reader.next("flip").await["to"], "b");
}

#[tokio::test]
async fn reloads_are_told_with_their_result() {
    let pair = Pair::start().await;
    let mut reader = Reader::start(&pair.gateway).await;
    pair.gateway.reload().await;
    assert_eq!(reader.next("reload").await["result"], "unchanged");
    let table = pair.gateway.directory.read("routing.toml");
    pair.gateway.directory.replace("routing.toml", &format!("{table}umbrella = \"a\"\n"));
    let accepted = reader.next("reload").await;
    assert_eq!((&accepted["result"], &accepted["generation"]), (&json!("accepted"), &json!(2)));
    pair.gateway.directory.replace("routing.toml", "version = 1\nnonsense = 1\n");
    let refused = reader.next("reload").await;
    assert_eq!(refused["result"], "refused", "{refused}");
    assert!(refused["mistakes"].as_u64().unwrap() >= 1, "{refused}");
}

#[tokio::test]
async fn who_comes_back_misses_nothing() {
    let pair = Pair::start().await;
    let reader = Reader::start(&pair.gateway).await;
    let seen = reader.id.clone();
    drop(reader);
    assert_eq!(drain(&pair.gateway, "a").await.status, 202);
    assert_eq!(undrain(&pair.gateway, "a").await.status, 200);
    let mut reader = Reader::after(&pair.gateway, &seen).await;
    assert_eq!(reader.next("operator").await["to"], "draining");
    let between = reader.id.clone();
    drop(reader);
    let mut reader = Reader::after(&pair.gateway, &between).await;
    assert_ne!(reader.next("operator").await["to"], "draining", "what was seen is not told again");
}

#[tokio::test]
async fn who_was_away_for_too_long_is_told_how_much_is_missing() {
    let pair = Pair::start().await;
    let seen = Reader::start(&pair.gateway).await.id;
    let mut operator = Client::connect(pair.gateway.admin).await;
    for _ in 0..600 {
        let reload = pair.gateway.admin_request("POST", "/v1/config/reload");
        assert_eq!(operator.exchange(&reload).await.status, 200);
    }
    let mut reader = Reader::after(&pair.gateway, &seen).await;
    let first = reader.event().await;
    assert_eq!(first.kind, "missed");
    assert!(first.data["missed"].as_u64().unwrap() >= 88, "{first:?}");
    assert_eq!(reader.event().await.kind, "reload");
}

#[tokio::test]
async fn who_followed_an_earlier_process_is_told_so() {
    let mut pair = Pair::start().await;
    assert_eq!(drain(&pair.gateway, "a").await.status, 202);
    let mut reader = Reader::start(&pair.gateway).await;
    pair.gateway.reload().await;
    reader.next("reload").await;
    let seen = reader.id.clone();
    pair.gateway.kill_and_restart().await;
    pair.gateway.reload().await;
    let mut reader = Reader::after(&pair.gateway, &seen).await;
    let first = reader.event().await;
    assert_eq!((first.kind.as_str(), &first.data), ("missed", &json!({"missed": null})));
    reader.next("reload").await;
}

#[tokio::test]
async fn readers_are_bounded_and_leave_their_place_to_others() {
    let pair = Pair::start().await;
    let mut readers = Vec::new();
    for _ in 0..32 {
        readers.push(Reader::start(&pair.gateway).await);
    }
    pair.gateway.admin_get("/v1/events").await.assert_problem(503, "too_many_readers");
    drop(readers.pop());
    eventually("a place", async || {
        let mut client = Client::connect(pair.gateway.admin).await;
        client.send(pair.gateway.admin_request("GET", "/v1/events").bytes()).await;
        (client.head().await.status().unwrap() == 200).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_reader_that_does_not_read_holds_nothing_up() {
    let pair = Pair::start().await;
    let mut readers = Vec::new();
    for _ in 0..8 {
        readers.push(Reader::start(&pair.gateway).await);
    }
    for _ in 0..100 {
        pair.gateway.reload().await;
    }
    assert_eq!(drain(&pair.gateway, "a").await.status, 202);
}

#[tokio::test]
async fn a_reader_hears_something_even_when_nothing_happens() {
    let pair = Pair::start().await;
    let mut reader = Reader::start(&pair.gateway).await;
    eventually("a comment", async || (reader.block().await.trim() == ":").then_some(())).await;
}

#[tokio::test]
async fn a_viewer_may_follow_and_a_stranger_may_not() {
    let pair = guarded().await;
    assert_eq!(pair.gateway.admin_get("/v1/events").await.status, 401);
    let request = pair.gateway.admin_request("GET", "/v1/events").bearer(VIEWER);
    Reader::asking(&pair.gateway, request).await;
}
