//! The demo's stamps: small applications that say who they are, and die when told to.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::Router;
use axum::extract::Request;
use axum::response::IntoResponse;
use axum::routing::{any, get, post};
use http::header::CONTENT_TYPE;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::Notify;

/// How long a dying stamp has to tell whoever killed it.
const LAST_WORD: Duration = Duration::from_millis(50);

/// One stamp on a thread of its own: killing it cuts everything that it has open, as the end of a
/// process would.
#[derive(Debug)]
pub(super) struct SampleStamp {
    /// Where it listens.
    pub(super) address: SocketAddr,
    die: Arc<Notify>,
}

impl SampleStamp {
    /// Starts a stamp of this name.
    pub(super) fn start(name: &'static str, address: SocketAddr) -> io::Result<Self> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let listener = runtime.block_on(TcpListener::bind(address))?;
        let address = listener.local_addr()?;
        let die = Arc::new(Notify::new());
        let told = Arc::clone(&die);
        let thread = std::thread::Builder::new().name(format!("stamp {name}"));
        thread.spawn(move || live(&runtime, listener, name, &told))?;
        Ok(Self { address, die })
    }
}

impl Drop for SampleStamp {
    fn drop(&mut self) {
        self.die.notify_one();
    }
}

fn live(runtime: &Runtime, listener: TcpListener, name: &'static str, die: &Arc<Notify>) {
    let told = Arc::clone(die);
    let dying = Arc::new(AtomicBool::new(false));
    let seen = Arc::clone(&dying);
    let application = Router::new()
        .route("/healthz", get(|| async { "ok" }))
        .route("/demo/kill", post(move || kill(name, dying, told)))
        .fallback(any(move |request| hello(name, seen, request)));
    runtime.block_on(async {
        tokio::select! {
            served = axum::serve(listener, application) => {
                if let Err(error) = served {
                    tracing::error!(%error, stamp = name, "a sample stamp failed");
                }
            }
            () = die.notified() => {}
        }
    });
}

/// Ends the stamp: nothing but this answer is written any more.
async fn kill(name: &'static str, dying: Arc<AtomicBool>, die: Arc<Notify>) -> impl IntoResponse {
    dying.store(true, Ordering::Release);
    tokio::spawn(async move {
        tokio::time::sleep(LAST_WORD).await;
        die.notify_one();
    });
    line(&json!({ "killed": name }))
}

async fn hello(name: &'static str, dying: Arc<AtomicBool>, request: Request) -> impl IntoResponse {
    if dying.load(Ordering::Acquire) {
        // The connection is cut with the rest of the stamp.
        std::future::pending::<()>().await;
    }
    let header = |name: &str| {
        request.headers().get(name).and_then(|value| value.to_str().ok()).map(str::to_owned)
    };
    line(&json!({
        "stamp": name,
        "tenant": header("x-stamp-tenant"),
        "home": header("x-stamp-home"),
        "method": request.method().as_str(),
        "path": request.uri().path(),
    }))
}

/// One line of JSON, so that a terminal shows one answer below the other.
fn line(value: &Value) -> impl IntoResponse + use<> {
    ([(CONTENT_TYPE, "application/json")], format!("{value}\n"))
}
