//! What people read: data on standard output, all else on standard error. Whoever closes the pipe
//! has read enough: that is no failure.

use std::error::Error;
use std::io::{self, IsTerminal, Write};
use std::time::Duration;

use serde::Serialize;

use super::failure::Failure;
use crate::admin::view::{DrainView, DrillView, IssuerView, OldestView, ShareView, StampView};
use crate::diagnostics::Paint;

/// One line of data.
pub(super) fn line(text: &str) {
    let mut out = io::stdout().lock();
    let _closed = writeln!(out, "{text}").and_then(|()| out.flush());
}

/// Data as it is.
pub(super) fn bytes(bytes: &[u8]) {
    let mut out = io::stdout().lock();
    let _closed = out.write_all(bytes).and_then(|()| out.flush());
}

/// Data for programs.
pub(super) fn json(data: &impl Serialize) -> Result<(), Failure> {
    line(&serde_json::to_string_pretty(data)?);
    Ok(())
}

/// A line that is no data.
pub(super) fn remark(text: &str) {
    let _closed = writeln!(io::stderr(), "{text}");
}

/// What went wrong, with its causes.
pub(super) fn complain(failure: &Failure) {
    for detail in failure.details(paint()) {
        remark(&detail);
    }
    let mut text = format!("error: {failure}");
    let mut cause = failure.source();
    while let Some(error) = cause {
        let more = error.to_string();
        // Some libraries tell their cause in their own text as well.
        if !text.ends_with(&more) {
            text.push_str(": ");
            text.push_str(&more);
        }
        cause = error.source();
    }
    remark(&text);
}

/// Colours for a terminal whose user did not ask for none (<https://no-color.org>).
pub(super) fn paint() -> Paint {
    let asked_for_none = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    if io::stderr().is_terminal() && !asked_for_none { Paint::Coloured } else { Paint::Plain }
}

/// Rows under a head, each column as wide as its widest cell.
pub(super) fn table(head: &[&str], rows: &[Vec<String>]) -> String {
    let width = |column: usize, name: &str| {
        let cells = rows.iter().filter_map(|row| row.get(column));
        cells.map(|cell| cell.chars().count()).fold(name.len(), usize::max)
    };
    let widths: Vec<usize> = head.iter().enumerate().map(|(at, name)| width(at, name)).collect();
    let head: Vec<String> = head.iter().map(|name| (*name).to_owned()).collect();
    let lines = [&head].into_iter().chain(rows).map(|row| {
        let cells = row.iter().zip(&widths).map(|(cell, &width)| format!("{cell:width$}"));
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    });
    lines.collect::<Vec<_>>().join("\n")
}

/// All stamps, a line each.
pub(super) fn stamps(stamps: &[StampView]) -> String {
    let head = [
        "STAMP",
        "STATE",
        "HEALTH",
        "ENDPOINTS",
        "SERVED BY",
        "TENANTS",
        "REQUESTS",
        "STREAMS",
        "WEBSOCKETS",
        "OLDEST",
    ];
    let rows = stamps.iter().map(|stamp| {
        let up = stamp.endpoints.iter().filter(|endpoint| endpoint.standing == "up").count();
        vec![
            stamp.id.clone(),
            stamp.state.clone(),
            stamp.health.clone(),
            format!("{up}/{} up", stamp.endpoints.len()),
            stamp.answered_by.clone().unwrap_or_else(|| "nobody".to_owned()),
            stamp.tenants.to_string(),
            stamp.in_flight.request.to_string(),
            stamp.in_flight.stream.to_string(),
            stamp.in_flight.websocket.to_string(),
            oldest(&stamp.oldest_s).map_or_else(|| "-".to_owned(), age),
        ]
    });
    table(&head, &rows.collect::<Vec<_>>())
}

/// The age of whatever is in flight longest.
fn oldest(oldest: &OldestView) -> Option<f64> {
    let ages = [oldest.request, oldest.stream, oldest.websocket];
    ages.into_iter().flatten().reduce(f64::max)
}

/// The issuers whose keys are fetched, a line each.
pub(super) fn issuers(issuers: &[IssuerView]) -> String {
    let head = ["ISSUER", "KEYS", "STATE", "AGE", "NEXT FETCH", "LAST ERROR"];
    let row = |issuer: &IssuerView| {
        let next =
            issuer.next_fetch_in_s.map_or_else(|| "now".to_owned(), |it| format!("in {}", age(it)));
        vec![
            issuer.issuer.clone(),
            issuer.keys.to_string(),
            issuer.state.clone(),
            issuer.age_s.map_or_else(|| "-".to_owned(), age),
            next,
            issuer.last_error.clone().unwrap_or_else(|| "-".to_owned()),
        ]
    };
    table(&head, &issuers.iter().map(row).collect::<Vec<_>>())
}

/// How a drain is getting on.
pub(super) fn drain(drain: &DrainView) -> String {
    let DrainView { stamp, state, tenants, .. } = drain;
    let overdue = if drain.overdue { ", overdue" } else { "" };
    format!("{stamp}  {state}{overdue}  {} in flight, {tenants} tenants", in_flight(drain))
}

/// What is in flight, by kind, with the age of the oldest.
pub(super) fn in_flight(drain: &DrainView) -> String {
    let DrainView { in_flight, oldest_s, .. } = drain;
    let kinds = [
        (in_flight.request, "requests", oldest_s.request),
        (in_flight.stream, "streams", oldest_s.stream),
        (in_flight.websocket, "websockets", oldest_s.websocket),
    ];
    let told = kinds.map(|(count, kind, oldest)| match oldest {
        Some(oldest) => format!("{count} {kind} (oldest {})", age(oldest)),
        None => format!("{count} {kind}"),
    });
    told.join(", ")
}

/// An age in seconds as people say it.
fn age(seconds: f64) -> String {
    humantime::format_duration(Duration::from_secs_f64(seconds.max(0.0).trunc())).to_string()
}

/// What a drill shows.
pub(super) fn drill(drill: &DrillView) -> String {
    let share = |share: ShareView| {
        let ShareView { requests, errors, average_s } = share;
        format!("{requests} requests, {errors} failed, {:.0} ms on average", average_s * 1e3)
    };
    let DrillView { stamp, percent, outcome, aborted_by, moved, rest, .. } = drill;
    let why = aborted_by.as_ref().map(|why| format!(" by {why}")).unwrap_or_default();
    let (moved, rest) = (share(*moved), share(*rest));
    format!("{stamp}  {percent} %  {outcome}{why}\n  moved: {moved}\n  rest:  {rest}")
}

/// Tells how a drain is getting on while it is waited for.
#[derive(Debug)]
pub(super) struct Progress {
    redraws: bool,
}

impl Progress {
    pub(super) fn new() -> Self {
        Self { redraws: io::stderr().is_terminal() }
    }

    /// How long to wait before telling again.
    pub(super) const fn pace(&self) -> Duration {
        Duration::from_secs(if self.redraws { 1 } else { 5 })
    }

    pub(super) fn show(&self, view: &DrainView) {
        let text = drain(view);
        if self.redraws {
            let mut out = io::stderr();
            let _closed = write!(out, "\r\x1b[K{text}").and_then(|()| out.flush());
        } else {
            remark(&text);
        }
    }

    /// Nothing more is told.
    pub(super) fn end(&self) {
        if self.redraws {
            remark("");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let rows = [vec!["eu-1".to_owned(), "draining".to_owned()], vec!["b".into(), "up".into()]];
        assert_eq!(table(&["STAMP", "X"], &rows), "STAMP  X\neu-1   draining\nb      up");
    }

    #[test]
    fn issuers_are_told_with_the_state_of_their_keys() {
        let known = IssuerView {
            issuer: "https://a/".to_owned(),
            keys: 2,
            state: "fresh".to_owned(),
            age_s: Some(61.5),
            next_fetch_in_s: Some(500.0),
            ..IssuerView::default()
        };
        let unknown = IssuerView {
            issuer: "b".to_owned(),
            state: "none".to_owned(),
            last_error: Some("no whole answer in time".to_owned()),
            ..IssuerView::default()
        };
        let told = issuers(&[known, unknown]);
        let expected = [
            "ISSUER      KEYS  STATE  AGE    NEXT FETCH   LAST ERROR",
            "https://a/  2     fresh  1m 1s  in 8m 20s    -",
            "b           0     none   -      now          no whole answer in time",
        ];
        let words = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ");
        assert_eq!(told.lines().map(words).collect::<Vec<_>>(), expected.map(words));
    }
}
