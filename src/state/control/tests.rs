//! What reaches the control task within one turn.

use std::collections::BTreeMap;

use stamp_core::breaker::FailureKind;
use stamp_core::diagnostic::SourceText;
use stamp_core::table;

use super::*;
use crate::settings;
use crate::tls::Upstreams;
use crate::tls::downstream::Downstreams;

const GATEWAY: &str = "version = 1\n[[listener]]\nname = \"public\"\nbind = \"127.0.0.1:8080\"\n";

fn source(text: &str) -> SourceText {
    SourceText { path: "test.toml".into(), text: text.into() }
}

/// A table of one stamp with so many endpoints, whose breakers open at the first failure.
fn installation(endpoints: u16, clock: Clock) -> Installation {
    let urls: Vec<_> = (0..endpoints)
        .map(|at| format!("{{ url = \"http://127.0.0.1:{}\" }}", 9000 + at))
        .collect();
    let text = format!(
        "version = 1\n[[stamp]]\nid = \"a\"\nendpoints = [{}]\n\
         health = {{ passive = {{ consecutive_failures = 1 }} }}\n[tenants]\nacme = \"a\"\n",
        urls.join(", ")
    );
    let mut read = |_: &Path| Err(io::ErrorKind::NotFound.into());
    let table = table::load(source(&text), &mut read, None).unwrap().table;
    Installation {
        keys: Arc::new(KeyRing::build(&[], &mut read).unwrap()),
        tls: Arc::new(Upstreams::build(&table, None, clock, &mut read).unwrap()),
        downstreams: Arc::new(
            Downstreams::build(&BTreeMap::new(), None, clock, &mut read).unwrap(),
        ),
        live: Arc::new(settings::load(source(GATEWAY), std::iter::empty()).unwrap().live),
        table: Arc::new(table),
    }
}

#[tokio::test]
async fn a_breaker_that_opens_right_before_a_smaller_table_asks_for_its_own_probe() {
    let (clock, directory) = (Clock::start(), tempfile::tempdir().unwrap());
    let started = State::start(Start {
        clock,
        node: "gw".into(),
        directory: directory.path(),
        first: installation(3, clock),
        mailboxes: Mailboxes::new(1).0,
        loaded: ReloadResult::Accepted { at: Duration::ZERO },
    });
    let Started { state, mut control, mut probe_now, .. } = started.unwrap();
    let last = state.view().endpoint(EndpointIndex(2)).number;
    let failure = Some((FailureKind::Connect, Some(1)));
    control.take(Event::Attempt(AttemptReport { endpoint: last, failure, trial: false }));
    let (done, _) = oneshot::channel();
    let smaller = Box::new(installation(1, clock));
    control.take(Event::Command(Command::Install(smaller, done)));
    assert_eq!(state.view().generation, 2);
    assert_eq!(probe_now.try_recv(), Ok(last));
}
