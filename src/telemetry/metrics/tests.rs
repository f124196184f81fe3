//! The text is what a scraper reads strictly: each series announced, once, with its labels escaped.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::*;
use crate::telemetry::worker::RequestLabels;

/// A scrape with something of everything.
fn full() -> Scrape {
    let mut scrape = Scrape::default();
    let labels = &mut scrape.labels;
    labels.listeners = vec!["public".into()];
    labels.stamps = [(1, "eu-1".into()), (2, "eu-2".into()), (7, "eu-1".into())].into();
    labels.endpoints = [(3, ("eu-1".into(), "10.0.0.1:80".into()))].into();
    for number in [1, 7] {
        let counts = scrape.counts.stamp(Some(number));
        counts.answered(RequestLabels { listener: 0, method: 0, code: 200 });
        counts.attempted(3, "ok");
        counts.duration.observe(Duration::from_millis(2));
        counts.pool_wait.observe(Duration::from_micros(10));
        counts.retries.insert("connect", 1);
        counts.failovers.insert((2, "health"), 1);
        counts.shed("gold", "priority");
    }
    scrape.counts.limited("gold", "rate");
    scrape.counts.unrouted.errors.insert("missing_identifier", 4);
    scrape.counts.overhead.observe(Duration::from_micros(60));
    scrape.counts.lag.observe(Duration::from_micros(800));
    scrape.counts.resolutions.push((("host", "ok"), 2));
    scrape.counts.tokens.insert(("https://a\"b\\c\n".into(), "ok"), 2);
    scrape.counts.idle_connections.insert(3, 2);
    scrape.counts.client_connections.insert(0, 5);
    scrape.counts.unproxied(0, "missing");
    scrape.counts.cut(0, "resets");
    let stamp = "eu-1".into();
    scrape.stamps.push(StampGauges { stamp, state: "draining", requests: 3, draining: Some(4) });
    scrape.endpoints.push(EndpointGauges {
        stamp: "eu-1".into(),
        endpoint: "10.0.0.1:80".into(),
        number: 3,
        out: Some("trial"),
        connections: 5,
    });
    scrape.edges.push(("eu-1".into(), "eu-2".into(), true));
    scrape.issuers.push(IssuerGauges {
        issuer: "https://a\"b\\c\n".into(),
        keys: 2,
        age_s: Some(1.5),
        fetches: [("ok", 1)].into(),
    });
    scrape.process = Some(ProcessGauges::default());
    scrape
}

fn has(text: &str, line: &str) {
    assert!(text.lines().any(|own| own == line), "{line}\n{text}");
}

/// Name and labels of each sample, and its family's name.
fn series(text: &str) -> Vec<(&str, &str)> {
    let samples = text.lines().filter(|line| !line.starts_with('#'));
    let split = samples.map(|line| line.rsplit_once(' ').unwrap().0);
    split.map(|series| (series, series.split('{').next().unwrap())).collect()
}

#[test]
fn every_series_is_announced_and_there_once() {
    let text = render(&full());
    let mut kinds = BTreeMap::new();
    for line in text.lines().filter_map(|line| line.strip_prefix("# TYPE ")) {
        let (name, kind) = line.split_once(' ').unwrap();
        assert!(kinds.insert(name, kind).is_none(), "{name} is announced twice");
        assert!(text.contains(&format!("# HELP {name} ")), "{name} without help");
    }
    let mut seen = BTreeSet::new();
    for (series, name) in series(&text) {
        assert!(seen.insert(series), "{series} is there twice");
        let family = ["_bucket", "_sum", "_count"].iter().find_map(|end| {
            name.strip_suffix(end).filter(|name| kinds.get(name) == Some(&"histogram"))
        });
        assert!(kinds.contains_key(family.unwrap_or(name)), "{name} is not announced");
    }
}

#[test]
fn every_promised_name_has_a_sample() {
    let text = render(&full());
    let names: BTreeSet<&str> = series(&text).into_iter().map(|(_, name)| name).collect();
    for name in [
        "stampgate_requests_total",
        "stampgate_request_duration_seconds_count",
        "stampgate_gateway_overhead_seconds_bucket",
        "stampgate_worker_lag_seconds_bucket",
        "stampgate_drain_in_flight",
        "stampgate_failovers_total",
        "stampgate_failover_active",
        "stampgate_config_reloads_total",
        "process_resident_memory_bytes",
    ] {
        assert!(names.contains(name), "{name}\n{text}");
    }
}

#[test]
fn a_stamp_that_came_back_is_one_series() {
    let text = render(&full());
    has(
        &text,
        "stampgate_requests_total{listener=\"public\",stamp=\"eu-1\",method=\"GET\",code=\"200\"} 2",
    );
    has(&text, "stampgate_request_duration_seconds_count{stamp=\"eu-1\"} 2");
}

#[test]
fn buckets_are_cumulative_up_to_infinity() {
    let text = render(&full());
    let bucket = |bound: &str, count: u32| {
        has(
            &text,
            &format!(
                "stampgate_request_duration_seconds_bucket{{stamp=\"eu-1\",le=\"{bound}\"}} {count}"
            ),
        );
    };
    bucket("0.001", 0);
    bucket("0.0025", 2);
    bucket("30", 2);
    bucket("+Inf", 2);
    has(&text, "stampgate_request_duration_seconds_sum{stamp=\"eu-1\"} 0.004");
}

#[test]
fn labels_are_escaped() {
    let text = render(&full());
    has(
        &text,
        "stampgate_jwt_validations_total{issuer=\"https://a\\\"b\\\\c\\n\",result=\"ok\"} 2",
    );
}

#[test]
fn connections_in_use_are_all_but_those_at_rest() {
    let text = render(&full());
    let line = |state: &str, count: u32| {
        has(
            &text,
            &format!(
                "stampgate_upstream_connections{{stamp=\"eu-1\",endpoint=\"10.0.0.1:80\",state=\"{state}\"}} {count}"
            ),
        );
    };
    line("active", 3);
    line("idle", 2);
}

#[test]
fn one_state_of_a_stamp_holds() {
    let text = render(&full());
    has(&text, "stampgate_stamp_state{stamp=\"eu-1\",state=\"draining\"} 1");
    has(&text, "stampgate_stamp_state{stamp=\"eu-1\",state=\"active\"} 0");
}
