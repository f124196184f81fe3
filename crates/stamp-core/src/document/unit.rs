//! Durations, sizes and shares as people write them: "250ms", "64KiB", "20%".

use std::time::Duration;

/// The longest duration that may be written: one year. Nothing here is meant to wait longer, and
/// sums of two of them cannot overflow.
const DURATION_MAX: Duration = Duration::from_hours(366 * 24);

/// The largest size that may be written: 1 TiB.
const BYTES_MAX: u64 = 1 << 40;

/// Why a text is no quantity of the kind wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UnitError {
    /// No digits at the front.
    #[error("no number at the front")]
    NoNumber,
    /// Digits and nothing behind them.
    #[error("the unit is missing")]
    NoUnit,
    /// Something unknown behind the digits.
    #[error("unknown unit")]
    UnknownUnit,
    /// More than is allowed.
    #[error("too large")]
    TooLarge,
}

/// Reads "250ms", "5s", "10m" or "1h".
pub fn parse_duration(text: &str) -> Result<Duration, UnitError> {
    let (number, unit) = split(text)?;
    let milliseconds = match unit {
        "ms" => 1,
        "s" => 1000,
        "m" => 60_000,
        "h" => 3_600_000,
        "" => return Err(UnitError::NoUnit),
        _ => return Err(UnitError::UnknownUnit),
    };
    let duration = number.checked_mul(milliseconds).map(Duration::from_millis);
    duration.filter(|duration| *duration <= DURATION_MAX).ok_or(UnitError::TooLarge)
}

/// Reads "512B", "64KiB", "32MiB", "1GiB" or "0".
pub fn parse_bytes(text: &str) -> Result<u64, UnitError> {
    let (number, unit) = split(text)?;
    let factor: u64 = match unit {
        "B" => 1,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        "" if number == 0 => 1,
        "" => return Err(UnitError::NoUnit),
        _ => return Err(UnitError::UnknownUnit),
    };
    let bytes = number.checked_mul(factor);
    bytes.filter(|bytes| *bytes <= BYTES_MAX).ok_or(UnitError::TooLarge)
}

/// Reads "0%" to "100%", whole numbers only.
pub fn parse_percent(text: &str) -> Result<u32, UnitError> {
    let (number, unit) = split(text)?;
    match unit {
        "%" if number > 100 => Err(UnitError::TooLarge),
        "%" => u32::try_from(number).map_err(|_too_large| UnitError::TooLarge),
        "" => Err(UnitError::NoUnit),
        _ => Err(UnitError::UnknownUnit),
    }
}

fn split(text: &str) -> Result<(u64, &str), UnitError> {
    let end = text.bytes().take_while(u8::is_ascii_digit).count();
    let (digits, unit) = text.split_at_checked(end).ok_or(UnitError::NoNumber)?;
    if digits.is_empty() {
        return Err(UnitError::NoNumber);
    }
    let number = digits.parse().map_err(|_too_large| UnitError::TooLarge)?;
    Ok((number, unit))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_a_number_and_a_unit() {
        assert_eq!(parse_duration("250ms"), Ok(Duration::from_millis(250)));
        assert_eq!(parse_duration("5s"), Ok(Duration::from_secs(5)));
        assert_eq!(parse_duration("10m"), Ok(Duration::from_mins(10)));
        assert_eq!(parse_duration("1h"), Ok(Duration::from_hours(1)));
        assert_eq!(parse_duration("0s"), Ok(Duration::ZERO));
        assert_eq!(parse_duration("5"), Err(UnitError::NoUnit));
        assert_eq!(parse_duration("5 s"), Err(UnitError::UnknownUnit));
        assert_eq!(parse_duration("-5s"), Err(UnitError::NoNumber));
        assert_eq!(parse_duration("99999999999999999999s"), Err(UnitError::TooLarge));
        assert_eq!(parse_duration("9000h"), Err(UnitError::TooLarge));
    }

    #[test]
    fn sizes_are_iec_only() {
        assert_eq!(parse_bytes("64KiB"), Ok(65_536));
        assert_eq!(parse_bytes("32MiB"), Ok(33_554_432));
        assert_eq!(parse_bytes("0"), Ok(0));
        assert_eq!(parse_bytes("64"), Err(UnitError::NoUnit));
        assert_eq!(parse_bytes("64KB"), Err(UnitError::UnknownUnit));
        assert_eq!(parse_bytes("9999999GiB"), Err(UnitError::TooLarge));
    }

    #[test]
    fn shares_are_whole_percents() {
        assert_eq!(parse_percent("20%"), Ok(20));
        assert_eq!(parse_percent("101%"), Err(UnitError::TooLarge));
        assert_eq!(parse_percent("20"), Err(UnitError::NoUnit));
        assert_eq!(parse_percent("0.2"), Err(UnitError::UnknownUnit));
    }
}
