//! Goodbyes between frames, over pipes in memory that take a few bytes at a time.

use stamp_core::websocket::{SERVICE_RESTART, close_frame};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};

use super::*;

const HELLO: &[u8] = &[0x81, 5, b'h', b'e', b'l', b'l', b'o'];
const CLOSE: [u8; 4] = close_frame(SERVICE_RESTART);

/// A pump between two pipes, and the far ends of them.
struct Bench {
    pump: Pump,
    from: DuplexStream,
    to: DuplexStream,
    sender: DuplexStream,
    receiver: DuplexStream,
}

impl Bench {
    fn new(pump: Pump) -> Self {
        let (sender, from) = duplex(1024);
        // Smaller than a frame: nothing is written whole.
        let (to, receiver) = duplex(3);
        Self { pump, from, to, sender, receiver }
    }

    /// Passes until the sender is silent, and returns what came out.
    async fn passes(&mut self, bytes: &[u8]) -> Vec<u8> {
        self.sender.write_all(bytes).await.unwrap();
        let mut out = vec![0; bytes.len()];
        let Self { pump, from, to, receiver, .. } = self;
        tokio::select! {
            biased;
            _ended = std::future::poll_fn(|context| {
                pump.poll_pass(context, Pin::new(&mut *from), Pin::new(&mut *to))
            }) => panic!("a sender that is silent has not ended"),
            read = receiver.read_exact(&mut out) => assert_eq!(read.unwrap(), bytes.len()),
        }
        out
    }

    /// Says goodbye, then the sender ends; returns what came out until then.
    async fn says_goodbye(mut self) -> Vec<u8> {
        self.pump.end_with(CLOSE);
        let Self { mut pump, mut from, mut to, sender, mut receiver } = self;
        let mut out = Vec::new();
        let goodbye = async move {
            let mut sender = Some(sender);
            std::future::poll_fn(|context| {
                let polled = pump.poll_goodbye(context, Pin::new(&mut from), Pin::new(&mut to));
                if pump.has_spoken() {
                    sender = None;
                }
                polled
            })
            .await;
        };
        let (_done, read) = tokio::join!(goodbye, receiver.read_to_end(&mut out));
        read.unwrap();
        out
    }
}

#[tokio::test]
async fn what_is_no_frame_passes_as_it_came() {
    for pump in [Pump::of_bytes(), Pump::of_frames()] {
        let mut bench = Bench::new(pump);
        assert_eq!(bench.passes(b"not a frame").await, b"not a frame");
        assert_eq!(bench.pump.passed(), 11);
    }
}

#[tokio::test]
async fn a_goodbye_between_frames_is_said_at_once() {
    let mut bench = Bench::new(Pump::of_frames());
    bench.passes(HELLO).await;
    assert_eq!(bench.says_goodbye().await, CLOSE);
}

#[tokio::test]
async fn a_goodbye_within_a_frame_waits_for_its_end_and_lets_no_other_begin() {
    let mut bench = Bench::new(Pump::of_frames());
    let (begun, rest) = HELLO.split_at(3);
    bench.passes(begun).await;
    bench.sender.write_all(rest).await.unwrap();
    bench.sender.write_all(HELLO).await.unwrap();
    assert_eq!(bench.says_goodbye().await, [rest, &CLOSE].concat());
}

#[tokio::test]
async fn nothing_is_said_after_a_close_frame_of_the_sender() {
    let mut bench = Bench::new(Pump::of_frames());
    bench.passes(&[0x88, 0]).await;
    assert_eq!(bench.says_goodbye().await, b"");
}

#[tokio::test]
async fn nothing_is_said_within_a_frame_that_never_ends() {
    let mut bench = Bench::new(Pump::of_frames());
    let (begun, _rest) = HELLO.split_at(3);
    bench.passes(begun).await;
    let ended = {
        bench.sender.shutdown().await.unwrap();
        bench
    };
    assert_eq!(ended.says_goodbye().await, b"");
}
