//! Where one WebSocket frame ends and the next begins (RFC 6455, section 5.2), so that the gateway
//! knows when a close frame of its own may stand between two. What is in a frame is not looked at:
//! the shell's tunnel passes it as it came. And what opens one.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;

/// Status code 1012, "Service Restart": come back, elsewhere (IANA's registry of close codes).
pub const SERVICE_RESTART: u16 = 1012;
/// Status code 1001, "Going Away" (RFC 6455, section 7.4.1): what a client says that leaves.
pub const GOING_AWAY: u16 = 1001;

/// Is this a key as a client's handshake has one: sixteen bytes in base64 (RFC 6455, section 4.2.1)? Where the stamp
/// speaks HTTP/2, which has none, nobody else judges that.
#[must_use]
pub fn is_key(value: &[u8]) -> bool {
    BASE64_STANDARD.decode(value).is_ok_and(|key| key.len() == 16)
}

/// The longest head: two bytes, a length of eight, a mask of four.
const HEAD_BYTES_MAX: usize = 14;
/// "Connection Close", FIN set.
const CLOSE: u8 = 0x88;
/// The bits of the first byte that name the kind of frame.
const OPCODE: u8 = 0x0f;
/// The bit of the second byte that says that a mask follows.
const MASKED: u8 = 0x80;

/// Follows the frames of one direction, byte by byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frames {
    place: Place,
    closed: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// So many bytes of a head are there; with none, the next byte begins a frame.
    Head { bytes: [u8; HEAD_BYTES_MAX], have: usize },
    /// So many bytes of the payload are to come, at least one.
    Payload { left: u64 },
    /// These are no frames: nothing can be said between them.
    Lost,
}

const BOUNDARY: Place = Place::Head { bytes: [0; HEAD_BYTES_MAX], have: 0 };

impl Default for Frames {
    fn default() -> Self {
        Self { place: BOUNDARY, closed: false }
    }
}

impl Frames {
    /// Follows these bytes, the next ones of the direction.
    pub fn advance(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let taken = self.step(bytes);
            bytes = bytes.get(taken..).unwrap_or_default();
        }
    }

    /// How many of these next bytes belong to the frame that has begun: none at a boundary, all of
    /// them when its end is not among them.
    #[must_use]
    pub fn rest_of_frame(self, bytes: &[u8]) -> usize {
        if self.is_at_boundary() {
            return 0;
        }
        let mut ahead = self;
        let mut taken = 0;
        while let Some(next) = bytes.get(taken..).filter(|next| !next.is_empty()) {
            taken += ahead.step(next);
            if ahead.is_at_boundary() {
                break;
            }
        }
        taken
    }

    /// May a whole frame be put in here?
    #[must_use]
    pub const fn is_at_boundary(self) -> bool {
        matches!(self.place, Place::Head { have: 0, .. })
    }

    /// Has a close frame begun? After one nothing may be sent (RFC 6455, section 5.5.1).
    #[must_use]
    pub const fn has_closed(self) -> bool {
        self.closed
    }

    /// Follows at least one of these bytes, and none beyond the frame that they begin in.
    fn step(&mut self, bytes: &[u8]) -> usize {
        match &mut self.place {
            Place::Lost => bytes.len(),
            Place::Payload { left } => {
                let taken = usize::try_from(*left).unwrap_or(usize::MAX).min(bytes.len());
                *left -= taken as u64;
                if *left == 0 {
                    self.place = BOUNDARY;
                }
                taken
            }
            Place::Head { bytes: head, have } => {
                let wanted = head_length(head, *have);
                let rest = head.get_mut(*have..wanted).unwrap_or_default();
                let taken = rest.len().min(bytes.len());
                for (to, from) in rest.iter_mut().zip(bytes) {
                    *to = *from;
                }
                *have += taken;
                let (head, have) = (*head, *have);
                if have == head_length(&head, have) {
                    self.begin_payload(&head);
                }
                taken
            }
        }
    }

    fn begin_payload(&mut self, head: &[u8; HEAD_BYTES_MAX]) {
        let [first, second, extended @ ..] = head;
        let [a, b, c, d, e, f, g, h, ..] = *extended;
        self.closed |= first & OPCODE == CLOSE & OPCODE;
        let left = match second & !MASKED {
            126 => u16::from_be_bytes([a, b]).into(),
            127 => u64::from_be_bytes([a, b, c, d, e, f, g, h]),
            short => short.into(),
        };
        self.place = match left {
            0 => BOUNDARY,
            // The most significant bit must be 0.
            left if left >> 63 == 1 => Place::Lost,
            left => Place::Payload { left },
        };
    }
}

/// How long a head is of which the first `have` bytes are there: as far as that is known.
const fn head_length(head: &[u8; HEAD_BYTES_MAX], have: usize) -> usize {
    if have < 2 {
        return 2;
    }
    let [_, second, ..] = *head;
    let extended = match second & !MASKED {
        126 => 2,
        127 => 8,
        _ => 0,
    };
    2 + extended + if second & MASKED == 0 { 0 } else { 4 }
}

/// A close frame as a server sends it.
#[must_use]
pub const fn close_frame(code: u16) -> [u8; 4] {
    let [high, low] = code.to_be_bytes();
    [CLOSE, 2, high, low]
}

/// A close frame as a client sends it (RFC 6455, section 5.3: masked by an unpredictable key).
#[must_use]
pub const fn masked_close_frame(code: u16, key: [u8; 4]) -> [u8; 8] {
    let [high, low] = code.to_be_bytes();
    let [a, b, c, d] = key;
    [CLOSE, MASKED | 2, a, b, c, d, high ^ a, low ^ b]
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_key_has_sixteen_bytes() {
        assert!(is_key(b"dGhlIHNhbXBsZSBub25jZQ=="), "the example of RFC 6455, section 1.3");
        for bad in ["", "c2hvcnQ=", "dGhlIHNhbXBsZSBub25jZQ", "dGhlIHNhbXBsZSBub25jZSE=", "?"] {
            assert!(!is_key(bad.as_bytes()), "{bad}");
        }
    }

    /// One frame with a payload of so many bytes, masked or (0) not.
    fn frame(opcode: u8, mask: u8, payload: usize) -> Vec<u8> {
        let mut bytes = vec![0x80 | opcode];
        match payload {
            0..126 => bytes.push(mask | u8::try_from(payload).unwrap()),
            126..65_536 => {
                bytes.push(mask | 126);
                bytes.extend(u16::try_from(payload).unwrap().to_be_bytes());
            }
            _ => {
                bytes.push(mask | 127);
                bytes.extend((payload as u64).to_be_bytes());
            }
        }
        if mask == MASKED {
            bytes.extend([0xde, 0xad, 0xbe, 0xef]);
        }
        bytes.extend(std::iter::repeat_n(0x88, payload));
        bytes
    }

    fn followed(bytes: &[u8]) -> Frames {
        let mut frames = Frames::default();
        frames.advance(bytes);
        frames
    }

    #[test]
    fn the_start_is_a_boundary() {
        assert!(Frames::default().is_at_boundary());
    }

    #[test]
    fn an_unmasked_hello_ends_after_its_seven_bytes() {
        // RFC 6455, section 5.7.
        let hello = [0x81, 0x05, 0x48, 0x65, 0x6c, 0x6c, 0x6f];
        for end in 1..hello.len() {
            assert!(!followed(&hello[..end]).is_at_boundary(), "{end}");
            assert_eq!(followed(&hello[..end]).rest_of_frame(&hello[end..]), hello.len() - end);
        }
        assert!(followed(&hello).is_at_boundary());
    }

    #[test]
    fn a_masked_hello_ends_after_its_eleven_bytes() {
        let hello = [0x81, 0x85, 0x37, 0xfa, 0x21, 0x3d, 0x7f, 0x9f, 0x4d, 0x51, 0x58];
        assert_eq!(followed(&hello[..1]).rest_of_frame(&hello[1..]), 10);
        assert!(followed(&hello).is_at_boundary());
    }

    #[test]
    fn an_empty_frame_is_its_head_alone() {
        assert!(followed(&[0x89, 0x00]).is_at_boundary());
        assert!(followed(&[0x89, 0x80, 1, 2, 3, 4]).is_at_boundary());
        assert!(!followed(&[0x89, 0x80, 1, 2, 3]).is_at_boundary());
    }

    #[test]
    fn a_length_beyond_63_bits_is_no_frame() {
        let mut lost = followed(&[0x82, 127, 0x80, 0, 0, 0, 0, 0, 0, 0]);
        lost.advance(&[0; 100]);
        assert!(!lost.is_at_boundary());
        assert_eq!(lost.rest_of_frame(&[0; 7]), 7);
    }

    #[test]
    fn a_close_frame_is_noticed_by_its_head() {
        assert!(!followed(&frame(1, MASKED, 300)).has_closed(), "a payload is not looked at");
        assert!(followed(&[0x88, 0x00]).has_closed());
        assert!(followed(&[0x88, 0x82, 1, 2, 3, 4]).has_closed());
    }

    #[test]
    fn our_own_close_frames_are_whole_frames() {
        assert_eq!(close_frame(SERVICE_RESTART), [0x88, 2, 0x03, 0xf4]);
        let masked = masked_close_frame(GOING_AWAY, [1, 2, 3, 4]);
        assert_eq!(masked, [0x88, 0x82, 1, 2, 3, 4, 0x03 ^ 1, 0xe9 ^ 2]);
        for whole in [&close_frame(SERVICE_RESTART)[..], &masked] {
            let frames = followed(whole);
            assert!(frames.is_at_boundary() && frames.has_closed());
        }
    }

    fn any_frames() -> impl Strategy<Value = Vec<Vec<u8>>> {
        let length = prop_oneof![0..130_usize, 65_530..65_540_usize, 130..2_000_usize];
        let mask = prop_oneof![Just(0), Just(MASKED)];
        let one = (0..16_u8, mask, length);
        prop::collection::vec(one.prop_map(|(opcode, mask, n)| frame(opcode, mask, n)), 1..5)
    }

    proptest! {
        #[test]
        fn boundaries_are_exactly_between_frames(frames in any_frames(), at: prop::sample::Index) {
            let bytes = frames.concat();
            let mut ends = vec![0];
            ends.extend(frames.iter().scan(0, |end, frame| {
                *end += frame.len();
                Some(*end)
            }));
            let cut = at.index(bytes.len() + 1);
            let (before, after) = bytes.split_at(cut);
            let followed = followed(before);
            prop_assert_eq!(followed.is_at_boundary(), ends.contains(&cut));
            let next = ends.into_iter().find(|end| *end >= cut).unwrap();
            prop_assert_eq!(followed.rest_of_frame(after), next - cut);
        }

        #[test]
        fn how_bytes_are_split_makes_no_difference(
            bytes in prop::collection::vec(any::<u8>(), 0..400), size in 1..20_usize,
        ) {
            let mut pieces = Frames::default();
            bytes.chunks(size).for_each(|piece| pieces.advance(piece));
            prop_assert_eq!(pieces, followed(&bytes));
        }
    }
}
