//! Any bytes as those of an HTTP/2 client: however they are split, the same reaches the library that
//! reads them, nothing is lost, and only frames that end a malformed block are changed.
#![no_main]

use std::time::Duration;

use libfuzzer_sys::fuzz_target;
use stamp_core::http2::frames::{End, FRAME_BYTES_MAX, PREFACE, Reader, Step};
use stamp_core::time::Moment;

const NOW: Moment = Moment(Duration::from_secs(1));
const BLOCK_BYTES_MAX: usize = 128 * 1024;

fuzz_target!(|input: (bool, &[u8], u16)| {
    let (is_preceded, bytes, size) = input;
    let bytes = if is_preceded { [PREFACE, bytes].concat() } else { bytes.to_vec() };
    let whole = passed(&bytes, bytes.len().max(1));
    assert_eq!(passed(&bytes, usize::from(size).max(1)), whole);
    let Ok((out, marks, waiting)) = whole else { return };
    assert!(waiting <= FRAME_BYTES_MAX as usize + 9, "more is kept than a frame");
    if marks == 0 {
        assert_eq!([&*out, &bytes[bytes.len() - waiting..]].concat(), bytes);
    }
});

/// What passes when so many bytes come at a time, how many frames were marked, and how many bytes
/// are kept at the end.
fn passed(bytes: &[u8], size: usize) -> Result<(Vec<u8>, usize, usize), End> {
    let mut reader = Reader::new(BLOCK_BYTES_MAX, NOW);
    let (mut out, mut marks, mut waiting) = (Vec::new(), 0, Vec::new());
    for piece in bytes.chunks(size) {
        waiting.extend_from_slice(piece);
        loop {
            match reader.step(&waiting, 0, NOW)? {
                Step::Wait => break,
                Step::Pass(count) => out.extend(waiting.drain(..count)),
                Step::Replace(count, frame, _) => {
                    waiting.drain(..count);
                    out.extend_from_slice(&frame);
                    marks += 1;
                }
            }
        }
    }
    Ok((out, marks, waiting.len()))
}
