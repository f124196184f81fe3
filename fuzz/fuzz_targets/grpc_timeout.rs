//! Any bytes as `grpc-timeout`: what is read is written again as no more than it was, and exactly so
//! where it can be.
#![no_main]

use libfuzzer_sys::fuzz_target;
use stamp_core::grpc::{is_grpc, parse_timeout, timeout_text};

fuzz_target!(|bytes: &[u8]| {
    let _ = is_grpc(bytes);
    let Ok(timeout) = parse_timeout(bytes) else { return };
    assert!(bytes.len() <= 9);
    let text = timeout_text(timeout);
    assert_eq!(parse_timeout(text.as_bytes()), Ok(timeout), "{text}");
});
