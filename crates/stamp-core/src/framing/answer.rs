//! Where one HTTP/1.1 answer of a stamp ends, read as strictly as the requests of clients: a stamp is
//! trusted for its own tenants only, so nothing that it sends may be taken for another request's answer.
//! The shell's `outbound::answer_gate` feeds this with what comes over a connection, and hands on what passed.

use super::{
    Chunks, FramingError, Lines, Underscores, head_end, is_text, read_length, split_field,
};
use memchr::memchr_iter;

/// What the head of an answer may have at most, and how many may come before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AnswerLimits {
    /// Bytes from the version to the empty line.
    pub head_bytes_max: usize,
    /// Field lines.
    pub fields_max: usize,
    /// Interim answers (1xx) before the answer.
    pub interim_max: u32,
}

/// What was asked, as far as the end of the answer depends on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asked {
    /// An answer like most.
    Answer,
    /// The head of one: HEAD.
    HeadOnly,
    /// A switch of protocols, or an answer.
    Switch,
}

/// Why what a stamp sent is no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AnswerFault {
    /// Not HTTP/1.1, or HTTP/1.1 that two readers could take in two ways.
    #[error("{0}")]
    Malformed(&'static str),
    /// More bytes or lines than the limits allow.
    #[error("the head of the answer is too large")]
    HeadTooLarge,
    /// More interim answers than the limit allows.
    #[error("too many interim answers")]
    TooManyInterim,
    /// 101 without a request for it.
    #[error("a switch of protocols that nobody asked for")]
    UnaskedSwitch,
}

use AnswerFault::Malformed;

impl From<FramingError> for AnswerFault {
    fn from(error: FramingError) -> Self {
        match error {
            FramingError::Malformed(why) => Malformed(why),
            FramingError::NoHttp => Malformed("no version of HTTP"),
            FramingError::HeadTooLarge | FramingError::UriTooLong => Self::HeadTooLarge,
        }
    }
}

/// The answers that come over one connection, one for each request.
#[derive(Debug)]
pub struct Answers {
    limits: AnswerLimits,
    state: State,
}

#[derive(Debug)]
enum State {
    /// Nothing was asked that is not answered.
    Resting,
    /// A head must come next; this much of it is there.
    Head { asked: Asked, interim: u32, begun: Vec<u8> },
    /// So many bytes of a body.
    Length(u64),
    /// A chunked body.
    Chunked(Chunks),
    /// A body that ends with the connection.
    UntilClose,
    /// Another protocol is spoken.
    Switched,
}

impl Answers {
    /// A connection over which nothing was asked.
    #[must_use]
    pub const fn new(limits: AnswerLimits) -> Self {
        Self { limits, state: State::Resting }
    }

    /// Is everything answered that was asked? Then nothing may come.
    #[must_use]
    pub const fn is_resting(&self) -> bool {
        matches!(self.state, State::Resting)
    }

    /// A request is about to be sent. None may be while an answer is under way.
    pub fn ask(&mut self, asked: Asked) {
        debug_assert!(self.is_resting(), "the last request is answered");
        self.state = State::Head { asked, interim: 0, begun: Vec::new() };
    }

    /// Reads on. Returns how many of `bytes` belong to the answer under way: fewer than all when more came
    /// than was asked for.
    pub fn advance(&mut self, bytes: &[u8]) -> Result<usize, AnswerFault> {
        let mut at = 0;
        while let Some(rest) = bytes.get(at..).filter(|rest| !rest.is_empty()) {
            at += match &mut self.state {
                State::Resting => break,
                State::Head { asked, interim, begun } => {
                    let (asked, interim) = (*asked, *interim);
                    let begun = std::mem::take(begun);
                    self.read_head(rest, begun, (asked, interim))?
                }
                State::Length(left) => {
                    let taken =
                        usize::try_from(*left).map_or(rest.len(), |left| left.min(rest.len()));
                    *left -= taken as u64;
                    if *left == 0 {
                        self.state = State::Resting;
                    }
                    taken
                }
                State::Chunked(chunks) => {
                    let taken = chunks.advance(rest)?;
                    if chunks.is_done() {
                        self.state = State::Resting;
                    }
                    taken
                }
                State::UntilClose | State::Switched => rest.len(),
            };
        }
        Ok(at)
    }

    /// Takes what belongs to the head. Most come whole: then nothing is copied.
    fn read_head(
        &mut self,
        bytes: &[u8],
        mut begun: Vec<u8>,
        (asked, interim): (Asked, u32),
    ) -> Result<usize, AnswerFault> {
        if begun.is_empty()
            && let Some(end) = head_end(bytes, 0)
        {
            let (head, _) = bytes.split_at(end);
            self.judge(head, asked, interim)?;
            return Ok(end);
        }
        let before = begun.len();
        begun.extend_from_slice(bytes);
        if let Some(end) = head_end(&begun, before) {
            let (head, _) = begun.split_at(end);
            self.judge(head, asked, interim)?;
            return Ok(end - before);
        }
        self.check_begun(&begun, before)?;
        self.state = State::Head { asked, interim, begun };
        Ok(bytes.len())
    }

    /// What is handed on of a head before its end is there must be no end to another reader.
    fn check_begun(&self, begun: &[u8], before: usize) -> Result<(), AnswerFault> {
        if begun.len() > self.limits.head_bytes_max {
            return Err(AnswerFault::HeadTooLarge);
        }
        let new = begun.get(before..).unwrap_or_default();
        let is_bare = |at: usize| at == 0 || begun.get(at - 1) != Some(&b'\r');
        if memchr_iter(b'\n', new).any(|at| is_bare(before + at)) {
            return Err(Malformed("a line ends in a bare line feed"));
        }
        Ok(())
    }

    fn judge(&mut self, head: &[u8], asked: Asked, interim: u32) -> Result<(), AnswerFault> {
        let (status, body) = read_answer_head(head, self.limits)?;
        self.state = match (status, asked) {
            (101, Asked::Switch) => State::Switched,
            (101, Asked::Answer | Asked::HeadOnly) => return Err(AnswerFault::UnaskedSwitch),
            (100..200, _) if interim >= self.limits.interim_max => {
                return Err(AnswerFault::TooManyInterim);
            }
            (100..200, _) => State::Head { asked, interim: interim + 1, begun: Vec::new() },
            // RFC 9112, section 6.3: these have none, whatever they say.
            (204 | 304, _) | (_, Asked::HeadOnly) => State::Resting,
            _ => match body {
                AnswerBody::Length(0) => State::Resting,
                AnswerBody::Length(length) => State::Length(length),
                AnswerBody::Chunked => State::Chunked(Chunks::of_answer()),
                AnswerBody::UntilClose => State::UntilClose,
            },
        };
        Ok(())
    }
}

/// How the body of an answer is delimited, if it has one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AnswerBody {
    /// So many bytes.
    Length(u64),
    /// Chunked transfer coding.
    Chunked,
    /// By the end of the connection.
    UntilClose,
}

/// Reads a whole head, from the version to the empty line: its status, and what it says of its body.
pub fn read_answer_head(
    head: &[u8],
    limits: AnswerLimits,
) -> Result<(u16, AnswerBody), AnswerFault> {
    if head.len() > limits.head_bytes_max {
        return Err(AnswerFault::HeadTooLarge);
    }
    let mut lines = Lines { rest: head };
    let (version, status) = read_status_line(lines.next_line()?)?;
    let (mut length, mut coding) = (None, None);
    let mut fields: usize = 0;
    loop {
        let line = lines.next_line()?;
        if line.is_empty() {
            break;
        }
        fields += 1;
        if fields > limits.fields_max {
            return Err(AnswerFault::HeadTooLarge);
        }
        let (name, value) = split_field(line, Underscores::Kept)?;
        if name.eq_ignore_ascii_case(b"content-length") {
            if length.replace(read_length(value)?).is_some() {
                return Err(Malformed("more than one Content-Length"));
            }
        } else if name.eq_ignore_ascii_case(b"transfer-encoding") {
            if coding.replace(()).is_some() {
                return Err(Malformed("more than one Transfer-Encoding field"));
            }
            if !value.eq_ignore_ascii_case(b"chunked") {
                return Err(Malformed("a transfer coding other than chunked"));
            }
        }
    }
    if !lines.rest.is_empty() {
        return Err(Malformed("the head goes on behind its empty line"));
    }
    let body = match (length, coding, version) {
        (Some(_), Some(()), _) => Err(Malformed("both Content-Length and Transfer-Encoding")),
        (None, Some(()), Version::Http10) => Err(Malformed("Transfer-Encoding in HTTP/1.0")),
        (None, Some(()), Version::Http11) => Ok(AnswerBody::Chunked),
        (Some(length), None, _) => Ok(AnswerBody::Length(length)),
        (None, None, _) => Ok(AnswerBody::UntilClose),
    }?;
    if version == Version::Http10 && status < 200 {
        return Err(Malformed("an interim answer in HTTP/1.0"));
    }
    Ok((status, body))
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Version {
    Http10,
    Http11,
}

/// RFC 9112, section 4. The space before an empty reason may be missing: many leave it out, and nobody
/// reads that in another way.
fn read_status_line(line: &[u8]) -> Result<(Version, u16), AnswerFault> {
    let (version, rest) = if let Some(rest) = line.strip_prefix(b"HTTP/1.1 ") {
        (Version::Http11, rest)
    } else if let Some(rest) = line.strip_prefix(b"HTTP/1.0 ") {
        (Version::Http10, rest)
    } else {
        return Err(Malformed("the answer begins with neither HTTP/1.1 nor HTTP/1.0"));
    };
    let (digits, reason) = rest.split_at(rest.len().min(3));
    // RFC 9110, section 15: what is beyond 599 is no status.
    let &[first @ b'1'..=b'5', second @ b'0'..=b'9', third @ b'0'..=b'9'] = digits else {
        return Err(Malformed("the status is none"));
    };
    if !(reason.is_empty() || reason.starts_with(b" ") && is_text(reason)) {
        return Err(Malformed("the reason is no text"));
    }
    let status =
        [first, second, third].iter().fold(0, |sum, digit| sum * 10 + u16::from(digit - b'0'));
    Ok((version, status))
}

#[cfg(test)]
mod tests;
