//! HTTP/2 over TLS: by ALPN, and with the certificate that is in use.

use crate::harness::door::Door;
use crate::harness::http1::get;
use crate::harness::http2::Http2;
use crate::harness::scene::{ACME, GLOBEX};
use crate::harness::tls::Stream;

async fn door() -> Door {
    Door::planned("", |plan, _| plan.set("listener", "protocols", r#"["h2", "http/1.1"]"#)).await
}

/// A client that offers these, and what was agreed on.
async fn offering(door: &Door, offers: &[&str]) -> (Stream, Option<String>) {
    let config = door.visitor().offers(offers).config();
    let visited = door.try_visit(&config, GLOBEX).await.unwrap();
    let protocol = visited.stream().protocol();
    (visited.into_stream(), protocol)
}

#[tokio::test]
async fn the_best_that_both_speak_is_spoken() {
    let door = door().await;
    let (stream, protocol) = offering(&door, &["http/1.1", "h2"]).await;
    assert_eq!(protocol.as_deref(), Some("h2"));
    let mut client = Http2::over(stream, &[]).await;
    let answer = client.exchange(GLOBEX, "/").await;
    assert_eq!(
        (answer.served_by(), answer.arrived("X-Forwarded-Proto")),
        ("b".into(), vec!["https".into()])
    );
    for offers in [&["http/1.1"][..], &[]] {
        let config = door.visitor().offers(offers).config();
        let mut client = door.try_visit(&config, GLOBEX).await.unwrap();
        assert_eq!(client.exchange(&get(GLOBEX, "/")).await.served_by(), "b");
    }
}

#[tokio::test]
async fn a_stream_for_a_host_of_another_certificate_is_misdirected_and_the_others_are_served() {
    let door = door().await;
    let (stream, _) = offering(&door, &["h2"]).await;
    let mut client = Http2::over(stream, &[]).await;
    let (acme, globex) = (client.get(ACME, "/", &[]).await, client.get(GLOBEX, "/", &[]).await);
    client.answer(acme).await.assert_problem(421, "misdirected_request");
    assert_eq!(client.answer(globex).await.served_by(), "b");
    assert_eq!(door.pair.a.count(), 0);
}

#[tokio::test]
async fn who_speaks_nothing_that_is_spoken_gets_no_session() {
    let door = Door::planned("", |plan, _| plan.set("listener", "protocols", r#"["h2"]"#)).await;
    for offers in [&["http/1.1"][..], &[]] {
        let config = door.visitor().offers(offers).config();
        assert!(door.ask(&config, GLOBEX, &get(GLOBEX, "/")).await.is_none(), "{offers:?}");
    }
    door.counted("no_protocol", 2).await;
}
