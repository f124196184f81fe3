//! The access log: one JSON object a line, OpenTelemetry names. Workers hand lines over and never
//! wait; a line that finds the queue full is dropped and counted.

use std::fs::{File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::Duration;

use serde::Serialize;

use crate::settings::LogTarget;

/// Lines that wait to be written.
const QUEUE: usize = 16 * 1024;
/// The longest that a line waits to be flushed.
const FLUSH_AFTER: Duration = Duration::from_millis(200);

/// What is told of one request.
#[derive(Debug)]
#[expect(missing_docs, reason = "named as in the line")]
pub struct Entry<'a> {
    pub wall: Duration,
    pub method: &'a str,
    pub path: &'a str,
    pub host: Option<&'a str>,
    pub client: IpAddr,
    pub listener: &'a str,
    pub status: u16,
    pub sent_bytes: u64,
    pub request_id: Option<&'a str>,
    pub tenant: Option<&'a str>,
    pub tier: Option<&'a str>,
    pub stamp: Option<&'a str>,
    pub home: Option<&'a str>,
    pub endpoint: Option<&'a str>,
    pub source: Option<&'a str>,
    pub generation: u64,
    pub failover: bool,
    pub attempts: u32,
    pub code: Option<&'a str>,
    pub duration: Duration,
    pub upstream: Duration,
    /// What was neither the stamp's nor the client's part of it.
    pub gateway: Duration,
}

#[derive(Serialize)]
struct Line<'a> {
    ts: f64,
    #[serde(rename = "http.request.method")]
    method: &'a str,
    #[serde(rename = "url.path")]
    path: &'a str,
    #[serde(rename = "server.address", skip_serializing_if = "Option::is_none")]
    host: Option<&'a str>,
    #[serde(rename = "client.address")]
    client: IpAddr,
    #[serde(rename = "http.response.status_code")]
    status: u16,
    #[serde(rename = "http.response.body.size")]
    sent_bytes: u64,
    #[serde(rename = "http.request.id", skip_serializing_if = "Option::is_none")]
    request_id: Option<&'a str>,
    #[serde(rename = "stampgate.listener")]
    listener: &'a str,
    #[serde(rename = "stampgate.tenant", skip_serializing_if = "Option::is_none")]
    tenant: Option<&'a str>,
    #[serde(rename = "stampgate.tier", skip_serializing_if = "Option::is_none")]
    tier: Option<&'a str>,
    #[serde(rename = "stampgate.stamp", skip_serializing_if = "Option::is_none")]
    stamp: Option<&'a str>,
    #[serde(rename = "stampgate.home", skip_serializing_if = "Option::is_none")]
    home: Option<&'a str>,
    #[serde(rename = "stampgate.endpoint", skip_serializing_if = "Option::is_none")]
    endpoint: Option<&'a str>,
    #[serde(rename = "stampgate.source", skip_serializing_if = "Option::is_none")]
    source: Option<&'a str>,
    #[serde(rename = "stampgate.generation")]
    generation: u64,
    #[serde(rename = "stampgate.failover")]
    failover: bool,
    #[serde(rename = "stampgate.attempts")]
    attempts: u32,
    #[serde(rename = "stampgate.code", skip_serializing_if = "Option::is_none")]
    code: Option<&'a str>,
    duration_s: f64,
    upstream_s: f64,
    gateway_s: f64,
}

/// The workers' end of the access log.
#[derive(Clone, Debug)]
pub struct AccessLog {
    lines: SyncSender<Vec<u8>>,
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    dropped: AtomicU64,
    reopen: AtomicBool,
}

impl AccessLog {
    /// Opens the target and starts the writing thread.
    pub fn open(target: LogTarget) -> io::Result<Self> {
        let (lines, queue) = sync_channel(QUEUE);
        let shared = Arc::new(Shared::default());
        let writer = open(&target)?;
        let log = Self { lines, shared: Arc::clone(&shared) };
        let thread = std::thread::Builder::new().name("access-log".into());
        thread.spawn(move || write_lines(&queue, &target, writer, &shared))?;
        Ok(log)
    }

    /// Hands one line over.
    pub fn write(&self, entry: &Entry<'_>) {
        let mut line = Vec::with_capacity(512);
        if serde_json::to_writer(&mut line, &line_of(entry)).is_err() {
            return;
        }
        line.push(b'\n');
        if self.lines.try_send(line).is_err() {
            self.shared.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Lines that found the queue full.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.shared.dropped.load(Ordering::Relaxed)
    }

    /// Opens the file anew before the next line (after a rotation).
    pub fn reopen(&self) {
        self.shared.reopen.store(true, Ordering::Relaxed);
    }
}

fn line_of<'a>(entry: &Entry<'a>) -> Line<'a> {
    Line {
        ts: entry.wall.as_secs_f64(),
        method: entry.method,
        path: entry.path,
        host: entry.host,
        client: entry.client,
        status: entry.status,
        sent_bytes: entry.sent_bytes,
        request_id: entry.request_id,
        listener: entry.listener,
        tenant: entry.tenant,
        tier: entry.tier,
        stamp: entry.stamp,
        home: entry.home,
        endpoint: entry.endpoint,
        source: entry.source,
        generation: entry.generation,
        failover: entry.failover,
        attempts: entry.attempts,
        code: entry.code,
        duration_s: entry.duration.as_secs_f64(),
        upstream_s: entry.upstream.as_secs_f64(),
        gateway_s: entry.gateway.as_secs_f64(),
    }
}

type Writer = BufWriter<Box<dyn Write + Send>>;

fn open(target: &LogTarget) -> io::Result<Writer> {
    Ok(BufWriter::new(match target {
        LogTarget::Stdout => Box::new(io::stdout()),
        LogTarget::File(path) => Box::new(append_to(path)?),
    }))
}

fn append_to(path: &Path) -> io::Result<File> {
    OpenOptions::new().create(true).append(true).open(path)
}

fn write_lines(queue: &Receiver<Vec<u8>>, target: &LogTarget, mut writer: Writer, shared: &Shared) {
    loop {
        let line = queue.recv_timeout(FLUSH_AFTER);
        if shared.reopen.swap(false, Ordering::Relaxed) {
            match open(target) {
                Ok(opened) => writer = opened,
                Err(error) => tracing::error!(%error, "the access log could not be opened anew"),
            }
        }
        let written = match line {
            Ok(line) => writer.write_all(&line),
            Err(RecvTimeoutError::Timeout) => writer.flush(),
            Err(RecvTimeoutError::Disconnected) => {
                drop(writer.flush());
                return;
            }
        };
        if written.is_err() {
            shared.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_json_with_the_contracts_names() {
        let entry = Entry {
            wall: Duration::from_millis(1_500),
            method: "GET",
            path: "/a",
            host: Some("acme.app.example.com"),
            client: IpAddr::from([127, 0, 0, 1]),
            listener: "public",
            status: 200,
            sent_bytes: 3,
            request_id: None,
            tenant: Some("acme"),
            tier: Some("gold"),
            stamp: Some("eu-2"),
            home: Some("eu-1"),
            endpoint: None,
            source: Some("host"),
            generation: 4,
            failover: true,
            attempts: 1,
            code: None,
            duration: Duration::from_millis(10),
            upstream: Duration::from_millis(8),
            gateway: Duration::from_millis(2),
        };
        let line = serde_json::to_value(line_of(&entry)).unwrap();
        assert_eq!(line["stampgate.tenant"], "acme");
        assert_eq!(line["stampgate.tier"], "gold");
        assert_eq!(line["http.response.status_code"], 200);
        assert_eq!(line["gateway_s"], 0.002);
        assert!(line.get("stampgate.code").is_none());
    }
}
