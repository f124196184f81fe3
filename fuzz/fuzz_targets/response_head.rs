//! Any bytes as what a stamp answers: however they come, the same of them is an answer, and whatever passes is
//! the same to the parser that hyper reads with and to the rules of RFC 9112 said a second time.
#![no_main]

#[path = "../../crates/stamp-core/tests/differential/front.rs"]
mod front;
#[path = "../../crates/stamp-core/tests/differential/strict.rs"]
mod strict;

use libfuzzer_sys::fuzz_target;
use stamp_core::framing::Asked;
use strict::Read;

fuzz_target!(|input: (bool, u8, &[u8])| {
    let (is_to_head, size, bytes) = input;
    let asked = if is_to_head { Asked::HeadOnly } else { Asked::Answer };
    let whole = front::answer(bytes, asked, bytes.len());
    let in_parts = front::answer(bytes, asked, usize::from(size));
    if let Read::Whole(_) = whole {
        assert_eq!(in_parts, whole, "where the bytes are cut does not matter");
        assert_eq!(strict::answer(bytes, asked), whole);
    }
    if let Read::Whole(_) = in_parts {
        assert_eq!(strict::answer(bytes, asked), in_parts);
    }
    // Requests by the same means.
    let ours = front::request(bytes);
    if let Read::Whole(_) = ours {
        assert_eq!(strict::request(bytes), ours);
    }
});
