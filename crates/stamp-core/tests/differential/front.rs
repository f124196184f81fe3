//! The same bytes through our own gates, as the shell feeds them.

use stamp_core::framing::{
    self, AnswerLimits, Answers, Asked, BodyFraming, Chunks, FramingError, HeadLimits,
};

use super::strict::Read;

pub const HEADS: HeadLimits =
    HeadLimits { head_bytes_max: 32 * 1024, fields_max: 100, uri_bytes_max: 16 * 1024 };
pub const ANSWERS: AnswerLimits =
    AnswerLimits { head_bytes_max: 64 * 1024, fields_max: 200, interim_max: 16 };

/// The request that these bytes begin with.
pub fn request(bytes: &[u8]) -> Read {
    let Some(head) = framing::head_end(bytes, 0) else {
        return match framing::check_partial_head(bytes, HEADS) {
            Ok(()) => Read::Part,
            Err(_) => Read::Refused,
        };
    };
    read(bytes, head).unwrap_or(Read::Refused)
}

fn read(bytes: &[u8], head: usize) -> Result<Read, FramingError> {
    let (start, rest) = bytes.split_at(head);
    Ok(match framing::read_head(start, HEADS)? {
        BodyFraming::Length(length) => match usize::try_from(length) {
            Ok(length) if length <= rest.len() => Read::Whole(head + length),
            Ok(_) | Err(_) => Read::Part,
        },
        BodyFraming::Chunked => {
            let mut chunks = Chunks::default();
            let taken = chunks.advance(rest)?;
            if chunks.is_done() { Read::Whole(head + taken) } else { Read::Part }
        }
    })
}

/// The answer that these bytes begin with, when so many come at a time.
pub fn answer(bytes: &[u8], asked: Asked, size: usize) -> Read {
    let mut answers = Answers::new(ANSWERS);
    answers.ask(asked);
    let mut whole = 0;
    for part in bytes.chunks(size.max(1)) {
        match answers.advance(part) {
            Ok(taken) => whole += taken,
            Err(_) => return Read::Refused,
        }
        if answers.is_resting() {
            return Read::Whole(whole);
        }
    }
    Read::Part
}
