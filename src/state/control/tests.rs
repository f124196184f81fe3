//! What reaches the control task within one turn.

use std::collections::BTreeMap;
use std::io;

use stamp_core::breaker::FailureKind;
use stamp_core::diagnostic::SourceText;
use stamp_core::operator::Force;
use stamp_core::table;
use stamp_core::time::UnixSeconds;

use super::*;
use crate::settings;
use crate::state::journal::read_journal;
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

fn started(endpoints: u16, clock: Clock, directory: &Path) -> Started {
    let started = State::start(Start {
        clock,
        node: "gw".into(),
        directory,
        first: installation(endpoints, clock),
        mailboxes: Mailboxes::new(1).0,
        loaded: ReloadResult::Accepted { at: Duration::ZERO },
    });
    started.unwrap()
}

#[tokio::test]
async fn a_breaker_that_opens_right_before_a_smaller_table_asks_for_its_own_probe() {
    let (clock, directory) = (Clock::start(), tempfile::tempdir().unwrap());
    let Started { state, mut control, mut probe_now, .. } = started(3, clock, directory.path());
    let last = state.view().endpoint(EndpointIndex(2)).number;
    let failure = Some((FailureKind::Connect, Some(1)));
    control.take(Event::Attempt(AttemptReport { endpoint: last, failure, trial: false }));
    let (done, _) = oneshot::channel();
    let smaller = Box::new(installation(1, clock));
    control.take(Event::Command(Command::Install(smaller, done)));
    assert_eq!(state.view().generation, 2);
    assert_eq!(probe_now.try_recv(), Ok(last));
}

#[tokio::test]
async fn an_order_that_could_not_be_journalled_holds_up_none_of_the_next() {
    let (clock, directory) = (Clock::start(), tempfile::tempdir().unwrap());
    let Started { state: _state, mut control, .. } = started(1, clock, directory.path());
    let (stamp, at) = (StampId::parse("a").unwrap().into_owned(), UnixSeconds(7));
    let mut order = || {
        let (done, answer) = oneshot::channel();
        let order = Order {
            reason: "a test".into(),
            actor: "test".into(),
            at,
            deadline: None,
            force: Force::Strand,
        };
        control.take(Event::Command(Command::Order(Wish::Drain, stamp.clone(), order, done)));
        answer
    };
    let (first, second) = (order(), order());
    let journalled = control.events.recv().await.unwrap();
    let Event::Journalled { entry, journal, done, .. } = journalled else {
        panic!("{journalled:?}")
    };
    let written = Err(io::ErrorKind::StorageFull.into());
    control.take(Event::Journalled { entry, journal, written, done });
    assert!(matches!(first.await, Ok(Err(OrderError::Journal(_)))));
    tokio::spawn(control.run());
    assert!(matches!(second.await, Ok(Ok(Ordered::Done))));
    assert_eq!(read_journal(directory.path()).unwrap().len(), 1);
}
