//! Any bytes as a PROXY header: however they are split, they say the same, no byte beyond the
//! header is taken, and an end is found within the bounds.
#![no_main]

use libfuzzer_sys::fuzz_target;
use stamp_core::proxy_protocol::{BINARY_BYTES_MAX, Reader, Refusal, Step, TEXT_BYTES_MAX, Told};

fuzz_target!(|input: (&[u8], u8)| {
    let (bytes, size) = input;
    let whole = Reader::default().advance(bytes);
    assert_eq!(in_pieces(bytes, usize::from(size).max(1)), whole);

    let most = if bytes.first() == Some(&b'P') { TEXT_BYTES_MAX } else { BINARY_BYTES_MAX };
    match whole {
        Ok(Step { taken, told: None }) => {
            assert_eq!(taken, bytes.len());
            assert!(taken < most, "it would wait for ever");
        }
        Ok(Step { taken, told: Some(told) }) => {
            assert!(taken <= most && taken <= bytes.len());
            // What follows makes no difference, and what is cut off is missed.
            let header = &bytes[..taken];
            assert_eq!(Reader::default().advance(header), whole);
            let short = Reader::default().advance(&header[..taken - 1]);
            assert_eq!(short, Ok(Step { taken: taken - 1, told: None }));
            said_again(header, told);
        }
        Err(Refusal::Missing | Refusal::Malformed | Refusal::TooLong) => {}
    }
});

fn in_pieces(bytes: &[u8], size: usize) -> Result<Step, Refusal> {
    let mut reader = Reader::default();
    let mut taken = 0;
    for piece in bytes.chunks(size) {
        let step = reader.advance(piece)?;
        taken += step.taken;
        if step.told.is_some() {
            return Ok(Step { taken, ..step });
        }
    }
    Ok(Step { taken, told: None })
}

/// A client of version 1 stands in its line as we would write it, but for the forms of IPv6.
fn said_again(header: &[u8], told: Told) {
    let Told::Client(client) = told else { return };
    let Ok(line) = std::str::from_utf8(header) else { return };
    let Some(words) = line.strip_prefix("PROXY TCP") else { return };
    let mut words = words.trim_end().split(' ');
    assert_eq!(words.next(), Some(if client.is_ipv4() { "4" } else { "6" }));
    let address = words.next().and_then(|text| text.parse().ok());
    assert_eq!(address, Some(client.ip()));
    assert_eq!(words.nth(1), Some(client.port().to_string().as_str()));
}
