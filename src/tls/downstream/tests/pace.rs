//! A crowd of newcomers, and somebody who is served meanwhile.

use std::io;
use std::pin::Pin;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, DuplexStream, ReadBuf};

use super::super::Pace;
use super::{ClientAuth, built, files_for, provider};

/// Notes, when the gateway first says something, how many turns the other had until then.
struct Noted {
    inner: DuplexStream,
    has_spoken: bool,
    turns: Arc<AtomicU64>,
    spoken_at: Arc<Mutex<Vec<u64>>>,
}

impl AsyncRead for Noted {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        out: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_read(context, out)
    }
}

impl AsyncWrite for Noted {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if !std::mem::replace(&mut self.has_spoken, true) {
            self.spoken_at.lock().unwrap().push(self.turns.load(Relaxed));
        }
        Pin::new(&mut self.inner).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(context)
    }
}

#[tokio::test]
async fn between_two_handshakes_everybody_else_has_a_turn() {
    let files = files_for(&["a.test"]);
    let door = built(ClientAuth::None, None, &files);
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(files["cert"].as_bytes()).unwrap()).unwrap();
    let client = ClientConfig::builder_with_provider(Arc::new(provider::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let (client, pace) = (Arc::new(client), Arc::new(Pace::default()));
    let (turns, spoken_at) = (Arc::<AtomicU64>::default(), Arc::<Mutex<Vec<u64>>>::default());
    let mut newcomers = Vec::new();
    for _ in 0..8 {
        // They say hello, and then nothing: whoever is answered would wake its handshake at once,
        // which a socket cannot do before it is looked at.
        let name = ServerName::try_from("a.test").unwrap();
        let mut hello = Vec::new();
        let mut client = ClientConnection::new(Arc::clone(&client), name).unwrap();
        client.write_tls(&mut hello).unwrap();
        let (mut near, far) = tokio::io::duplex(16 * 1024);
        near.write_all(&hello).await.unwrap();
        let (turns, spoken_at) = (Arc::clone(&turns), Arc::clone(&spoken_at));
        let far = Noted { inner: far, has_spoken: false, turns, spoken_at };
        let (tls, pace) = (Arc::clone(door.of("door").unwrap()), Arc::clone(&pace));
        let shaking = tokio::spawn(async move { tls.handshake(far, &pace).await.map(drop) });
        newcomers.push((near, shaking));
    }
    // This is who is served meanwhile.
    while spoken_at.lock().unwrap().len() < newcomers.len() {
        turns.fetch_add(1, Relaxed);
        assert!(turns.load(Relaxed) < 1000, "{:?}", spoken_at.lock().unwrap());
        tokio::task::yield_now().await;
    }
    let spoken_at = spoken_at.lock().unwrap();
    assert!(spoken_at.is_sorted_by(|one, next| one < next), "{spoken_at:?}");
}
