//! Stamps of HTTP/2 that are written frame by frame, for what no good one does.

use tokio::net::TcpListener;

use crate::harness::client::Answer;
use crate::harness::deadline::within;
use crate::harness::gateway::{Gateway, Plan};
use crate::harness::http1::{Request, get, post};
use crate::harness::http2::{
    DATA, END_HEADERS, END_STREAM, Frame, GOAWAY, HEADERS, Http2, PING, RST_STREAM, WINDOW_UPDATE,
    block,
};
use crate::harness::scene::ACME;

/// A stamp on this listener, which is never probed, before a gateway with one worker.
async fn scene() -> (TcpListener, Gateway) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let table = format!(
        "[identity.host]\npatterns = [\"{{tenant}}.app.test\"]\n[[stamp]]\nid = \"a\"\n\
         endpoints = [{{ url = \"http://{address}\" }}]\n\
         health = {{ path = \"\", interval = \"1h\" }}\npool = {{ protocol = \"h2c\" }}\n\
         [tenants]\nacme = \"a\"\n"
    );
    let plan = Plan::new(&table, &[]).set("runtime", "workers", "1");
    let gateway = plan.start().await;
    // The first probe: a TCP connect.
    drop(within("the probe", listener.accept()).await.unwrap());
    (listener, gateway)
}

async fn accepted(listener: &TcpListener) -> Http2 {
    Http2::accepted(within("a connection", listener.accept()).await.unwrap().0).await
}

/// Sends a request while this stamp plays. What it returns is held until the answer is there: a
/// connection with unread bytes that is dropped is reset, and its last bytes may be lost.
async fn asked<T>(gateway: &Gateway, request: &Request, stamp: impl Future<Output = T>) -> Answer {
    let (answer, _held) = tokio::join!(gateway.send(request), stamp);
    answer
}

async fn answer(stamp: &mut Http2, stream: u32, status: &str) {
    let head = block(&[(":status", status)]);
    stamp.send(&Frame::new(HEADERS, END_HEADERS, stream, head)).await;
    stamp.send(&Frame::new(DATA, END_STREAM, stream, *b"ok")).await;
}

#[tokio::test]
async fn a_request_above_the_last_stream_of_a_goaway_is_sent_again() {
    let (listener, gateway) = scene().await;
    let told = asked(&gateway, &post(ACME, "/", "once"), async {
        let mut first = accepted(&listener).await;
        assert_eq!(first.next_of(HEADERS).await.stream, 1);
        first.send(&Frame::new(GOAWAY, 0, 0, [0; 8])).await;
        let mut second = accepted(&listener).await;
        let stream = second.next_of(DATA).await.stream;
        answer(&mut second, stream, "200").await;
        assert_eq!(first.closed().await, Some(0), "the connection ends when nothing is left on it");
        second
    })
    .await;
    assert_eq!((told.status, told.text().as_str()), (200, "ok"));
}

#[tokio::test]
async fn a_request_below_it_that_gets_no_answer_is_lost() {
    let (listener, gateway) = scene().await;
    let told = asked(&gateway, &post(ACME, "/", "once"), async {
        let mut stamp = accepted(&listener).await;
        assert_eq!(stamp.next_of(DATA).await.stream, 1);
        let last_stream = [0, 0, 0, 1, 0, 0, 0, 0];
        stamp.send(&Frame::new(GOAWAY, 0, 0, last_stream)).await;
    })
    .await;
    told.assert_problem(502, "upstream_protocol_error");
}

#[tokio::test]
async fn fields_of_a_connection_in_an_answer_are_malformed() {
    let (listener, gateway) = scene().await;
    for field in [("connection", "close"), ("transfer-encoding", "chunked"), ("keep-alive", "x")] {
        let told = asked(&gateway, &post(ACME, "/", ""), async {
            let mut stamp = accepted(&listener).await;
            let stream = stamp.next_of(HEADERS).await.stream;
            let head = block(&[(":status", "200"), field]);
            stamp.send(&Frame::new(HEADERS, END_HEADERS | END_STREAM, stream, head)).await;
            assert_eq!(stamp.next_of(RST_STREAM).await.stream, stream);
            stamp
        })
        .await;
        told.assert_problem(502, "upstream_protocol_error");
    }
}

#[tokio::test]
async fn interim_answers_pass_by_and_a_flood_of_them_does_not() {
    let (listener, gateway) = scene().await;
    let mut stamp = None;
    for (count, status) in [(3, 200), (40, 502)] {
        let told = asked(&gateway, &post(ACME, "/", ""), async {
            if stamp.is_none() {
                stamp = Some(accepted(&listener).await);
            }
            let stamp = stamp.as_mut().unwrap();
            let stream = stamp.next_of(HEADERS).await.stream;
            for _ in 0..count {
                let head = block(&[(":status", "103"), ("link", "</x>")]);
                stamp.send(&Frame::new(HEADERS, END_HEADERS, stream, head)).await;
            }
            answer(stamp, stream, "200").await;
        })
        .await;
        assert_eq!(told.status, status, "{}", told.text());
    }
}

#[tokio::test]
async fn whoever_answers_in_another_protocol_is_given_no_request() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let (listener, gateway) = scene().await;
    let stranger = async {
        for _attempt in 0..2 {
            let (mut stream, _) = within("a connection", listener.accept()).await.unwrap();
            stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await.unwrap();
            let mut heard = Vec::new();
            let _reset = stream.read_to_end(&mut heard).await;
            // A preface, settings, a window and a goodbye: no head.
            let text = String::from_utf8_lossy(&heard).into_owned();
            assert!(!text.contains("acme"), "{text:?}");
        }
    };
    let told = asked(&gateway, &post(ACME, "/", "once"), stranger).await;
    told.assert_problem(502, "connect_failed");
}

#[tokio::test]
async fn an_answer_in_full_may_end_the_rest_of_its_request() {
    let (listener, gateway) = scene().await;
    let mut client = gateway.connect().await;
    let head = Request::new("POST", "/").header("Host", ACME).header("Content-Length", "1000000");
    client.send(head.bytes()).await;
    let mut stamp = accepted(&listener).await;
    let stream = stamp.next_of(HEADERS).await.stream;
    answer(&mut stamp, stream, "403").await;
    stamp.send(&Frame::new(RST_STREAM, 0, stream, [0; 4])).await;
    let told = client.answer().await;
    assert_eq!((told.status, told.text().as_str()), (403, "ok"));
    // The connection goes on.
    let told = asked(&gateway, &get(ACME, "/"), async {
        let stream = stamp.next_of(HEADERS).await.stream;
        answer(&mut stamp, stream, "200").await;
        stamp
    })
    .await;
    assert_eq!(told.status, 200);
}

#[tokio::test]
async fn a_stamp_that_answers_no_ping_is_gone() {
    let (listener, gateway) = scene().await;
    let told = asked(&gateway, &post(ACME, "/", ""), async {
        let mut stamp = accepted(&listener).await;
        stamp.next_of(HEADERS).await;
        stamp.next_of(PING).await;
        while stamp.next_frame().await.is_some() {}
    })
    .await;
    told.assert_problem(502, "upstream_protocol_error");
}

#[tokio::test]
async fn no_more_is_sent_than_the_window_of_the_stamp_allows() {
    let (listener, gateway) = scene().await;
    let body = vec![b'x'; 100_000];
    let told = asked(&gateway, &post(ACME, "/", body), async {
        let mut stamp = accepted(&listener).await;
        let (mut stream, mut read) = (0, 0);
        while read < 65_535 {
            let frame = stamp.next_of(DATA).await;
            stream = frame.stream;
            read += frame.payload.len();
        }
        assert_eq!(read, 65_535, "the window of every stream at first");
        for id in [0, stream] {
            let more = 100_000_u32.to_be_bytes();
            stamp.send(&Frame::new(WINDOW_UPDATE, 0, id, more)).await;
        }
        while read < 100_000 {
            read += stamp.next_of(DATA).await.payload.len();
        }
        answer(&mut stamp, stream, "200").await;
        stamp
    })
    .await;
    assert_eq!(told.status, 200);
}
