//! Whatever a stamp or a client sends as frames: no panic, and however the bytes are split, the
//! boundaries stay where they are.

#![no_main]

use libfuzzer_sys::fuzz_target;
use stamp_core::websocket::Frames;

fuzz_target!(|input: (&[u8], u8)| {
    let (bytes, size) = input;
    let mut whole = Frames::default();
    whole.advance(bytes);

    let mut pieces = Frames::default();
    for piece in bytes.chunks(usize::from(size).max(1)) {
        pieces.advance(piece);
    }
    assert_eq!(pieces, whole);

    // Frame by frame: each step ends at a boundary, or at the end of the bytes.
    let mut frames = Frames::default();
    let mut rest = bytes;
    while let Some((first, _)) = rest.split_first() {
        frames.advance(std::slice::from_ref(first));
        rest = &rest[1..];
        let taken = frames.rest_of_frame(rest);
        frames.advance(&rest[..taken]);
        rest = &rest[taken..];
        assert!(frames.is_at_boundary() || rest.is_empty());
    }
    assert_eq!(frames, whole);
});
