//! Strings in the Huffman code of HPACK (RFC 7541, section 5.2 and appendix B). The code is
//! canonical: the lengths of its 257 codes are all of it.

use super::hpack::NotHpack;

/// The sign that never stands in a string.
const END_OF_STRING: u16 = 256;
/// The longest code, in bits.
const BITS_MAX: usize = 30;

/// How many bits the code of each byte has, and that of the end of the string.
const LENGTHS: [u8; 257] = [
    13, 23, 28, 28, 28, 28, 28, 28, 28, 24, 30, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 30, 28,
    28, 28, 28, 28, 28, 28, 28, 28, 6, 10, 10, 12, 13, 6, 8, 11, 10, 10, 8, 11, 8, 6, 6, 6, 5, 5,
    5, 6, 6, 6, 6, 6, 6, 6, 7, 8, 15, 6, 12, 10, 13, 6, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7,
    7, 7, 7, 7, 7, 7, 7, 7, 8, 7, 8, 13, 19, 13, 14, 6, 15, 5, 6, 5, 6, 5, 6, 6, 6, 5, 7, 7, 6, 6,
    6, 5, 6, 7, 6, 5, 5, 6, 7, 7, 7, 7, 7, 15, 11, 14, 13, 28, 20, 22, 20, 20, 22, 22, 22, 23, 22,
    23, 23, 23, 23, 23, 24, 23, 24, 24, 22, 23, 24, 23, 23, 23, 23, 21, 22, 23, 22, 23, 23, 24, 22,
    21, 20, 22, 22, 23, 23, 21, 23, 22, 22, 24, 21, 22, 23, 23, 21, 21, 22, 21, 23, 22, 23, 23, 20,
    22, 22, 22, 23, 22, 22, 23, 26, 26, 20, 19, 22, 23, 22, 25, 26, 26, 26, 27, 27, 26, 24, 25, 19,
    21, 26, 27, 27, 26, 27, 24, 21, 21, 26, 26, 28, 27, 27, 27, 20, 24, 20, 21, 22, 21, 21, 23, 22,
    22, 25, 25, 24, 24, 26, 23, 26, 27, 26, 26, 27, 27, 27, 27, 27, 28, 27, 27, 27, 27, 27, 26, 30,
];

/// All codes of one length.
#[derive(Clone, Copy)]
struct Codes {
    bits: u32,
    /// The first of them, left-aligned.
    first: u32,
    /// The first left-aligned value beyond them.
    beyond: u64,
    /// Where the sign of the first stands in `Code::signs`.
    at: usize,
}

struct Code {
    /// Of the lengths that there are, the shortest first.
    codes: [Codes; DIFFERENT],
    /// All signs by the length of their code, then by their number.
    signs: [u16; 257],
}

/// So many different lengths there are.
const DIFFERENT: usize = 21;

#[expect(clippy::indexing_slicing, reason = "evaluated when compiled: what is out of bounds fails")]
#[expect(clippy::cast_possible_truncation, reason = "signs are below 257, bits below 31")]
const CODE: Code = {
    let nothing = Codes { bits: 0, first: 0, beyond: 0, at: 0 };
    let mut code = Code { codes: [nothing; DIFFERENT], signs: [0; 257] };
    let (mut bits, mut next, mut at, mut group) = (1_u32, 0_u64, 0, 0);
    while bits <= BITS_MAX as u32 {
        let begin = at;
        let first = next;
        let mut sign = 0;
        while sign < LENGTHS.len() {
            if LENGTHS[sign] as u32 == bits {
                code.signs[at] = sign as u16;
                at += 1;
                next += 1 << (32 - bits);
            }
            sign += 1;
        }
        if at > begin {
            code.codes[group] = Codes { bits, first: first as u32, beyond: next, at: begin };
            group += 1;
        }
        bits += 1;
    }
    assert!(group == DIFFERENT, "counted");
    code
};

/// Reads a string and hands each of its bytes to `take`.
pub(super) fn decode(coded: &[u8], mut take: impl FnMut(u8)) -> Result<(), NotHpack> {
    // Left-aligned; so many of them are left.
    let (mut window, mut left) = (0_u64, 0_u32);
    let mut rest = coded.iter();
    loop {
        while left <= 56
            && let Some(byte) = rest.next()
        {
            window |= u64::from(*byte) << (56 - left);
            left += 8;
        }
        // Behind the end are ones, as in the padding.
        let ones = u64::MAX.checked_shr(left).unwrap_or(0);
        let next = (window | ones) >> 32;
        let codes = CODE.codes.iter().find(|codes| next < codes.beyond).ok_or(NotHpack)?;
        if codes.bits > left {
            // RFC 7541, section 5.2: fewer than eight bits of padding, all of them one.
            let is_padding = left < 8 && (window | ones) == u64::MAX;
            return if is_padding { Ok(()) } else { Err(NotHpack) };
        }
        let offset = (next - u64::from(codes.first)) >> (32 - codes.bits);
        let sign =
            usize::try_from(offset).ok().and_then(|offset| CODE.signs.get(codes.at + offset));
        match sign {
            Some(&sign) if sign < END_OF_STRING => {
                take(u8::try_from(sign).unwrap_or_default());
            }
            _ => return Err(NotHpack),
        }
        window <<= codes.bits;
        left -= codes.bits;
    }
}

/// The same string in the code, for tests.
#[cfg(test)]
pub(super) fn encode(text: &[u8]) -> Vec<u8> {
    let (mut bits, mut coded) = (String::new(), Vec::new());
    for byte in text {
        let length = LENGTHS[usize::from(*byte)] as usize;
        let codes = CODE.codes.iter().find(|codes| codes.bits as usize == length).unwrap();
        let place = CODE.signs.iter().position(|sign| *sign == u16::from(*byte)).unwrap();
        let code = (codes.first >> (32 - length)) as usize + (place - codes.at);
        bits += &format!("{code:0length$b}");
    }
    while bits.len() % 8 != 0 {
        bits.push('1');
    }
    for octet in bits.as_bytes().chunks(8) {
        coded.push(u8::from_str_radix(std::str::from_utf8(octet).unwrap(), 2).unwrap());
    }
    coded
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn decoded(coded: &[u8]) -> Result<Vec<u8>, NotHpack> {
        let mut text = Vec::new();
        decode(coded, |byte| text.push(byte)).map(|()| text)
    }

    #[test]
    fn the_examples_of_the_rfc_are_read() {
        // RFC 7541, appendix C.4 and C.6.
        let examples: [(&[u8], &[u8]); 4] = [
            (b"\xf1\xe3\xc2\xe5\xf2\x3a\x6b\xa0\xab\x90\xf4\xff", b"www.example.com"),
            (b"\xa8\xeb\x10\x64\x9c\xbf", b"no-cache"),
            (b"\x25\xa8\x49\xe9\x5b\xa9\x7d\x7f", b"custom-key"),
            (
                b"\x9d\x29\xad\x17\x18\x63\xc7\x8f\x0b\x97\xc8\xe9\xae\x82\xae\x43\xd3",
                b"https://www.example.com",
            ),
        ];
        for (coded, text) in examples {
            assert_eq!(decoded(coded).unwrap(), text);
            assert_eq!(encode(text), coded);
        }
    }

    #[test]
    fn padding_is_short_and_consists_of_ones() {
        assert_eq!(decoded(b"").unwrap(), b"");
        // `0` has five zeros: three ones pad it, anything else does not.
        assert_eq!(decoded(&[0b0000_0111]).unwrap(), b"0");
        assert!(decoded(&[0b0000_0110]).is_err());
        assert!(decoded(&[0b0000_0111, 0xff]).is_err(), "eleven bits of padding");
        assert!(decoded(&[0xff, 0xff, 0xff, 0xff]).is_err(), "the end of the string itself");
    }

    proptest! {
        #[test]
        fn what_is_encoded_is_read_again(text in prop::collection::vec(any::<u8>(), 0..200)) {
            prop_assert_eq!(decoded(&encode(&text)).unwrap(), text);
        }

        #[test]
        fn no_bytes_make_it_panic(coded in prop::collection::vec(any::<u8>(), 0..64)) {
            drop(decoded(&coded));
        }
    }
}
