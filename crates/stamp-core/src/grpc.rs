//! gRPC as far as a gateway takes part in it: which requests are gRPC, how long they may take, and the
//! codes that they end with ("gRPC over HTTP2" of the gRPC project). The shell's `proxy::respond` says
//! which code an answer of the gateway has.

use std::time::Duration;

/// How an RPC ended (`grpc-status`), as far as the gateway says it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Code {
    /// Nothing is known that a client could act on.
    Unknown,
    /// It took too long.
    DeadlineExceeded,
    /// The caller is known, and may not.
    PermissionDenied,
    /// It was larger than is allowed.
    ResourceExhausted,
    /// Nobody here does that.
    Unimplemented,
    /// The request was no request.
    Internal,
    /// Not now: the client may ask again.
    Unavailable,
    /// Nobody knows who the caller is.
    Unauthenticated,
}

impl Code {
    /// As `grpc-status` has it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Unknown => "2",
            Self::DeadlineExceeded => "4",
            Self::PermissionDenied => "7",
            Self::ResourceExhausted => "8",
            Self::Unimplemented => "12",
            Self::Internal => "13",
            Self::Unavailable => "14",
            Self::Unauthenticated => "16",
        }
    }
}

/// The content type of gRPC, whatever its messages are encoded with.
const CONTENT_TYPE: &[u8] = b"application/grpc";

/// Is this content type one of gRPC: `application/grpc`, with `+proto` and the like or without? The type
/// of grpc-web is none.
#[must_use]
pub fn is_grpc(content_type: &[u8]) -> bool {
    let Some((start, rest)) = content_type.split_at_checked(CONTENT_TYPE.len()) else {
        return false;
    };
    start.eq_ignore_ascii_case(CONTENT_TYPE)
        && matches!(rest.first(), None | Some(b'+' | b';' | b' ' | b'\t'))
}

/// The value of `grpc-timeout` is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a timeout has 1 to 8 digits and a unit of H, M, S, m, u, n")]
pub struct TimeoutError;

/// The digits that a timeout has at most.
const DIGITS_MAX: usize = 8;
/// The first number that has more.
const NUMBER_END: u128 = 100_000_000;

/// The units of a timeout in nanoseconds, the finest first.
const UNITS: [(u8, u64); 6] = [
    (b'n', 1),
    (b'u', 1_000),
    (b'm', 1_000_000),
    (b'S', 1_000_000_000),
    (b'M', 60_000_000_000),
    (b'H', 3_600_000_000_000),
];

/// Reads `grpc-timeout`.
pub fn parse_timeout(text: &[u8]) -> Result<Duration, TimeoutError> {
    let (unit, digits) = text.split_last().ok_or(TimeoutError)?;
    let of_unit = UNITS.iter().find(|(letter, _)| letter == unit);
    let (_, nanos) = of_unit.ok_or(TimeoutError)?;
    if digits.is_empty() || digits.len() > DIGITS_MAX {
        return Err(TimeoutError);
    }
    let mut number = 0_u32;
    for digit in digits {
        if !digit.is_ascii_digit() {
            return Err(TimeoutError);
        }
        number = number * 10 + u32::from(digit - b'0');
    }
    Ok(Duration::from_nanos(*nanos).saturating_mul(number))
}

/// Writes `grpc-timeout` as exactly as eight digits allow, and never as more than what is left.
#[must_use]
pub fn timeout_text(left: Duration) -> String {
    for (letter, nanos) in UNITS {
        let number = left.as_nanos() / u128::from(nanos);
        if number < NUMBER_END {
            return format!("{number}{}", char::from(letter));
        }
    }
    // Eleven thousand years are as good as for ever.
    format!("{}H", NUMBER_END - 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn only_the_type_of_grpc_is_grpc() {
        for good in ["application/grpc", "Application/gRPC+proto", "application/grpc; x=y"] {
            assert!(is_grpc(good.as_bytes()), "{good}");
        }
        for bad in ["", "application/grpc-web", "application/grpcx", "application/json", "grpc"] {
            assert!(!is_grpc(bad.as_bytes()), "{bad}");
        }
    }

    #[test]
    fn each_unit_is_read() {
        for (text, nanos) in [
            ("1H", 3_600_000_000_000),
            ("2M", 120_000_000_000),
            ("3S", 3_000_000_000),
            ("40m", 40_000_000),
            ("5u", 5_000),
            ("00000006n", 6),
            ("0S", 0),
        ] {
            assert_eq!(parse_timeout(text.as_bytes()), Ok(Duration::from_nanos(nanos)), "{text}");
        }
        let longest = parse_timeout(b"99999999H").unwrap();
        assert_eq!(longest.as_secs(), 99_999_999 * 3600);
    }

    #[test]
    fn what_is_no_timeout_is_refused() {
        for bad in
            ["", "S", "1", "1s", "1h", "-1S", "+1S", "1.5S", " 1S", "1S ", "1 S", "123456789n"]
        {
            assert_eq!(parse_timeout(bad.as_bytes()), Err(TimeoutError), "{bad:?}");
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_again_and_never_longer(seconds in any::<u32>(), nanos in 0_u32..1_000_000_000) {
            let left = Duration::new(u64::from(seconds), nanos);
            let text = timeout_text(left);
            let read = parse_timeout(text.as_bytes()).unwrap();
            prop_assert!(read <= left, "{text}");
            // Eight digits. Where one more is needed the next unit is a thousand times as long, and
            // leaves six: an error of less than one of 100,000.
            prop_assert!(left - read <= left / 100_000, "{left:?} as {text}");
        }

        #[test]
        fn a_timeout_of_its_own_form_is_read(number in 0_u32..100_000_000, unit in 0_usize..6) {
            let (letter, nanos) = UNITS[unit];
            let text = format!("{number}{}", char::from(letter));
            let read = parse_timeout(text.as_bytes()).unwrap();
            prop_assert_eq!(read, Duration::from_nanos(nanos) * number);
        }

        #[test]
        fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..12)) {
            let _ = parse_timeout(&bytes);
            let _ = is_grpc(&bytes);
        }

        #[test]
        fn no_length_of_time_is_too_long(seconds in any::<u64>()) {
            let left = Duration::from_secs(seconds);
            prop_assert!(parse_timeout(timeout_text(left).as_bytes()).unwrap() <= left);
        }
    }
}
