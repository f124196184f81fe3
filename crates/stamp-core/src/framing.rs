//! Where one HTTP/1.1 request ends and the next begins, read strictly (RFC 9112); `answer` does the same for
//! what stamps send. Whatever two parsers could read in two ways is refused here, before any parser of a
//! library sees it. The shell's `proxy::wire` feeds this and hands on only what passed.

mod answer;

pub use answer::{AnswerBody, AnswerFault, AnswerLimits, Answers, Asked, read_answer_head};

use std::sync::LazyLock;

use http::Version;
use memchr::{memchr, memchr_iter, memmem};

/// The longest method of the registry, VERSION-CONTROL and UPDATEREDIRECTREF, has 17 bytes.
pub(crate) const METHOD_BYTES_MAX: usize = 32;
/// Far beyond any name in use.
pub(crate) const FIELD_NAME_BYTES_MAX: usize = 256;
/// Chunk extensions of one body, in bytes, that are read over: they are never forwarded.
const CHUNK_EXTENSION_BYTES_MAX: u32 = 8 * 1024;
/// Digits of a chunk size: 2^60 bytes, beyond any body.
const CHUNK_SIZE_DIGITS_MAX: u8 = 15;
/// The whole trailer section of one body.
const TRAILER_BYTES_MAX: u32 = 8 * 1024;

/// What a request head may have at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeadLimits {
    /// Bytes from the method to the empty line.
    pub head_bytes_max: usize,
    /// Field lines.
    pub fields_max: usize,
    /// Bytes of the request target.
    pub uri_bytes_max: usize,
}

/// Why a head or a body is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FramingError {
    /// Not HTTP/1.1, or HTTP/1.1 that two readers could take in two ways.
    #[error("{0}")]
    Malformed(&'static str),
    /// The first line names no version of HTTP: perhaps the peer meant to speak something else.
    #[error("the request line names no version of HTTP")]
    NoHttp,
    /// More bytes or lines than the limits allow.
    #[error("the request head is too large")]
    HeadTooLarge,
    /// A longer target than the limits allow.
    #[error("the request target is too long")]
    UriTooLong,
}

use FramingError::Malformed;

/// How the body that follows a head is delimited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyFraming {
    /// So many bytes; zero where the head declares none.
    Length(u64),
    /// Chunked transfer coding.
    Chunked,
}

/// The first bytes of a connection or of a follow-up request: is there a whole head?
///
/// Returns the offset just behind the empty line. `scanned` bytes were looked at before and held
/// no end.
#[must_use]
pub fn head_end(bytes: &[u8], scanned: usize) -> Option<usize> {
    /// Made once: to make it takes longer than to look through a head.
    static END: LazyLock<memmem::Finder<'static>> =
        LazyLock::new(|| memmem::Finder::new(b"\r\n\r\n"));
    let from = scanned.saturating_sub(3);
    let at = END.find(bytes.get(from..)?)?;
    Some(from + at + 4)
}

/// May the head that begins with `bytes`, not complete yet, still become a good one?
///
/// Errors as soon as a limit is passed or a bare line feed shows.
pub fn check_partial_head(bytes: &[u8], limits: HeadLimits) -> Result<(), FramingError> {
    let line_end = memchr(b'\n', bytes);
    if line_end.unwrap_or(bytes.len()) > limits.uri_bytes_max.saturating_add(64) {
        return Err(FramingError::UriTooLong);
    }
    if bytes.len() > limits.head_bytes_max {
        return Err(FramingError::HeadTooLarge);
    }
    if line_end.is_some_and(|at| at == 0 || bytes.get(at - 1) != Some(&b'\r')) {
        return Err(Malformed("a line ends in a bare line feed"));
    }
    Ok(())
}

/// Reads a whole head, from the method to the empty line, and says how its body is delimited.
pub fn read_head(head: &[u8], limits: HeadLimits) -> Result<BodyFraming, FramingError> {
    let mut lines = Lines { rest: head };
    let first = lines.next_line()?;
    read_request_line(first, limits)?;
    if head.len() > limits.head_bytes_max {
        return Err(FramingError::HeadTooLarge);
    }
    let version = if first.ends_with(b"HTTP/1.0") { Version::HTTP_10 } else { Version::HTTP_11 };
    let mut seen = Seen::default();
    let mut fields: usize = 0;
    loop {
        let line = lines.next_line()?;
        if line.is_empty() {
            break;
        }
        fields += 1;
        if fields > limits.fields_max {
            return Err(FramingError::HeadTooLarge);
        }
        let (name, value) = split_field(line, Underscores::Refused)?;
        seen.note(name, value)?;
    }
    if !lines.rest.is_empty() {
        return Err(Malformed("the head goes on behind its empty line"));
    }
    seen.framing(version)
}

/// The framing fields of one head.
#[derive(Debug, Default)]
#[expect(clippy::struct_excessive_bools, reason = "each says that a field was seen")]
struct Seen {
    length: Option<u64>,
    chunked: bool,
    host: bool,
}

impl Seen {
    fn note(&mut self, name: &[u8], value: &[u8]) -> Result<(), FramingError> {
        match name.len() {
            4 if name.eq_ignore_ascii_case(b"host") && std::mem::replace(&mut self.host, true) => {
                return Err(Malformed("more than one Host field"));
            }
            14 if name.eq_ignore_ascii_case(b"content-length") => {
                let length = read_length(value)?;
                let before = self.length.replace(length);
                return before.map_or(Ok(()), |_| Err(Malformed("more than one Content-Length")));
            }
            17 if name.eq_ignore_ascii_case(b"transfer-encoding") => {
                if std::mem::replace(&mut self.chunked, true) {
                    return Err(Malformed("more than one Transfer-Encoding field"));
                }
                if !value.eq_ignore_ascii_case(b"chunked") {
                    return Err(Malformed("a transfer coding other than chunked"));
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn framing(&self, version: Version) -> Result<BodyFraming, FramingError> {
        match (self.length, self.chunked) {
            // RFC 9112, section 6.1: such a message ought to be handled as an error.
            (Some(_), true) => Err(Malformed("both Content-Length and Transfer-Encoding")),
            (None, true) if version == Version::HTTP_10 => {
                Err(Malformed("Transfer-Encoding in HTTP/1.0"))
            }
            (None, true) => Ok(BodyFraming::Chunked),
            (length, false) => Ok(BodyFraming::Length(length.unwrap_or(0))),
        }
    }
}

/// Lines that end in CR LF and hold neither of them elsewhere.
struct Lines<'a> {
    rest: &'a [u8],
}

impl<'a> Lines<'a> {
    fn next_line(&mut self) -> Result<&'a [u8], FramingError> {
        let end = memchr(b'\n', self.rest).ok_or(Malformed("the head breaks off"))?;
        let (with_end, rest) = self.rest.split_at(end + 1);
        self.rest = rest;
        with_end.strip_suffix(b"\r\n").ok_or(Malformed("a line ends in a bare line feed"))
    }
}

fn read_request_line(line: &[u8], limits: HeadLimits) -> Result<(), FramingError> {
    let (method, rest) = line.split_at(token_end(line));
    if rest.first() != Some(&b' ') || method.is_empty() {
        memchr(b' ', line).ok_or(Malformed("the request line has no target"))?;
        return Err(Malformed("the method is no token"));
    }
    if method.len() > METHOD_BYTES_MAX {
        return Err(Malformed("the method is too long"));
    }
    let rest = rest.get(1..).unwrap_or_default();
    let space = memchr(b' ', rest).ok_or(Malformed("the request line has no version"))?;
    let (target, version) = rest.split_at(space);
    if target.len() > limits.uri_bytes_max {
        return Err(FramingError::UriTooLong);
    }
    if !version.starts_with(b" HTTP/") {
        return Err(FramingError::NoHttp);
    }
    if version != b" HTTP/1.1" && version != b" HTTP/1.0" {
        return Err(Malformed("the version is neither HTTP/1.1 nor HTTP/1.0"));
    }
    read_target(method, target)
}

/// RFC 9112, section 3.2: the four forms of a target; CONNECT has no meaning here.
fn read_target(method: &[u8], target: &[u8]) -> Result<(), FramingError> {
    if !target.iter().all(|&byte| is_target_byte(byte)) {
        return Err(Malformed("the target holds a byte that no URI may hold"));
    }
    check_path(target)?;
    // CONNECT would open a tunnel past the stamps; TRACE would show a script what a browser sent.
    if method == b"CONNECT" || method == b"TRACE" {
        return Err(Malformed("CONNECT and TRACE are not served"));
    }
    let origin = target.first() == Some(&b'/');
    let absolute = has_http_scheme(target);
    let asterisk = target == b"*" && method == b"OPTIONS";
    if origin || absolute || asterisk {
        return Ok(());
    }
    Err(Malformed("the target is neither a path nor an http URI"))
}

/// A path names no line ends, encoded or not: an origin that decodes it before it writes a header or a
/// log line would write two (CWE-93). A query may: forms are sent so.
pub(crate) fn check_path(target: &[u8]) -> Result<(), FramingError> {
    let path = memchr(b'?', target).and_then(|end| target.get(..end)).unwrap_or(target);
    let is_line_end =
        |at: usize| matches!(path.get(at + 1..at + 3), Some([b'0', b'a' | b'A' | b'd' | b'D']));
    if memchr_iter(b'%', path).any(is_line_end) {
        return Err(Malformed("the path holds an encoded line end"));
    }
    Ok(())
}

/// May this byte stand in a request target? Of what lies beyond US-ASCII, and of a fragment, servers
/// make different things.
pub(crate) const fn is_target_byte(byte: u8) -> bool {
    matches!(byte, 0x21..=0x7e) && byte != b'#'
}

fn has_http_scheme(target: &[u8]) -> bool {
    let begins = |scheme: &[u8]| {
        target.get(..scheme.len()).is_some_and(|start| start.eq_ignore_ascii_case(scheme))
    };
    begins(b"http://") || begins(b"https://")
}

/// May the name of a field hold an underscore?
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Underscores {
    /// Of a client: origins that map `-` and `_` to one variable cannot tell `X_Stamp_Id` from
    /// `X-Stamp-Id`.
    Refused,
    /// Of a stamp: clients make no such thing of them.
    Kept,
}

/// Name and value of a field line, the value without the white space around it.
fn split_field(line: &[u8], underscores: Underscores) -> Result<(&[u8], &[u8]), FramingError> {
    if matches!(line.first(), Some(b' ' | b'\t')) {
        return Err(Malformed("a field line is folded"));
    }
    let (name, value) = line.split_at(token_end(line));
    if value.first() != Some(&b':') || name.is_empty() {
        memchr(b':', line).ok_or(Malformed("a field line has no colon"))?;
        return Err(Malformed("a field name is no token"));
    }
    if name.len() > FIELD_NAME_BYTES_MAX {
        return Err(FramingError::HeadTooLarge);
    }
    if underscores == Underscores::Refused && name.contains(&b'_') {
        return Err(Malformed("a field name holds an underscore"));
    }
    let value = value.get(1..).unwrap_or_default();
    if !is_text(value) {
        return Err(Malformed("a field value holds a control byte"));
    }
    Ok((name, value.trim_ascii()))
}

/// Does it hold no control byte but tabs? Eight bytes at a time, for values are too short to be looked at
/// sixteen at a time; where a control byte shows, all again, for it may be a tab.
fn is_text(bytes: &[u8]) -> bool {
    const EACH: u64 = u64::MAX / 0xff;
    const HIGH: u64 = EACH * 0x80;
    let is_control = |byte: &u8| (*byte < 0x20 && *byte != b'\t') || *byte == 0x7f;
    let (words, rest) = bytes.as_chunks();
    let found = words.iter().fold(0, |found, word| {
        let word = u64::from_ne_bytes(*word);
        let low = word.wrapping_sub(EACH * 0x20) & !word;
        let not_delete = word ^ (EACH * 0x7f);
        found | low | (not_delete.wrapping_sub(EACH) & !not_delete)
    });
    let again = if found & HIGH == 0 { rest } else { bytes };
    !again.iter().any(is_control)
}

/// RFC 9110, section 8.6: digits only, no list, no sign.
pub(crate) fn read_length(value: &[u8]) -> Result<u64, FramingError> {
    let wrong = Malformed("Content-Length is no number");
    // 18 digits always fit.
    if value.is_empty() || value.len() > 18 || !value.iter().all(u8::is_ascii_digit) {
        return Err(wrong);
    }
    Ok(value.iter().fold(0, |sum, digit| sum * 10 + u64::from(digit - b'0')))
}

/// `tchar` of RFC 9110, section 5.6.2.
const TOKEN: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte: u8 = 0;
    while byte < 128 {
        let punctuation = matches!(
            byte,
            b'!' | b'#'
                | b'$'
                | b'%'
                | b'&'
                | b'\''
                | b'*'
                | b'+'
                | b'-'
                | b'.'
                | b'^'
                | b'_'
                | b'`'
                | b'|'
                | b'~'
        );
        #[expect(clippy::indexing_slicing, reason = "a u8 is always below 256")]
        {
            table[byte as usize] = byte.is_ascii_alphanumeric() || punctuation;
        }
        byte += 1;
    }
    table
};

/// May this byte stand in a token (RFC 9110, section 5.6.2)?
#[must_use]
pub fn is_token(byte: u8) -> bool {
    TOKEN.get(usize::from(byte)).copied().unwrap_or(false)
}

/// How many bytes of a token `line` begins with.
fn token_end(line: &[u8]) -> usize {
    line.iter().position(|byte| !is_token(*byte)).unwrap_or(line.len())
}

/// A chunked body (RFC 9112, section 7.1), followed byte by byte but for the data itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Chunks {
    state: ChunkState,
    size: u64,
    digits: u8,
    extension_bytes: u32,
    trailer_bytes: u32,
    underscores: Underscores,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ChunkState {
    Size,
    Extension,
    SizeEnd,
    Data,
    DataCr,
    DataLf,
    TrailerStart,
    TrailerName,
    TrailerValue,
    TrailerLf,
    EndLf,
    Done,
}

impl Default for Chunks {
    fn default() -> Self {
        Self {
            state: ChunkState::Size,
            size: 0,
            digits: 0,
            extension_bytes: 0,
            trailer_bytes: 0,
            underscores: Underscores::Refused,
        }
    }
}

impl Chunks {
    /// The body of an answer.
    fn of_answer() -> Self {
        Self { underscores: Underscores::Kept, ..Self::default() }
    }

    /// Is the body complete?
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.state == ChunkState::Done
    }

    /// Reads on. Returns how many of `bytes` belong to this body: fewer than all only at its end.
    pub fn advance(&mut self, bytes: &[u8]) -> Result<usize, FramingError> {
        let mut at = 0;
        while !self.is_done() {
            if self.state == ChunkState::Data {
                let left = bytes.len() - at;
                let taken = usize::try_from(self.size).map_or(left, |size| size.min(left));
                at += taken;
                self.size -= taken as u64;
                if self.size == 0 {
                    self.state = ChunkState::DataCr;
                }
            }
            let Some(&byte) = bytes.get(at) else { break };
            if self.state != ChunkState::Data {
                self.state = self.step(byte)?;
                at += 1;
            }
        }
        Ok(at)
    }

    fn step(&mut self, byte: u8) -> Result<ChunkState, FramingError> {
        use ChunkState as State;
        match (self.state, byte) {
            (State::Size, b'0'..=b'9' | b'a'..=b'f' | b'A'..=b'F') => self.digit(byte),
            (State::Size, b';') if self.digits > 0 => Ok(State::Extension),
            (State::Size | State::Extension, b'\r') if self.digits > 0 => Ok(State::SizeEnd),
            (State::Extension, b'\t' | b' '..=b'~' | 0x80..) => self.extension(),
            (State::SizeEnd, b'\n') => Ok(self.data_or_trailer()),
            (State::DataCr, b'\r') => Ok(State::DataLf),
            (State::DataLf, b'\n') => Ok(State::Size),
            (State::TrailerStart, b'\r') => Ok(State::EndLf),
            (State::TrailerName, b':') => self.trailer(State::TrailerValue),
            (State::TrailerStart | State::TrailerName, b'_')
                if self.underscores == Underscores::Refused =>
            {
                Err(Malformed("the name of a trailer holds an underscore"))
            }
            (State::TrailerStart | State::TrailerName, byte) if is_token(byte) => {
                self.trailer(State::TrailerName)
            }
            (State::TrailerValue, b'\r') => self.trailer(State::TrailerLf),
            (State::TrailerValue, b'\t' | b' '..=b'~' | 0x80..) => {
                self.trailer(State::TrailerValue)
            }
            (State::TrailerLf, b'\n') => Ok(State::TrailerStart),
            (State::EndLf, b'\n') => Ok(State::Done),
            _ => Err(Malformed("the chunked body is malformed")),
        }
    }

    fn digit(&mut self, byte: u8) -> Result<ChunkState, FramingError> {
        self.digits += 1;
        if self.digits > CHUNK_SIZE_DIGITS_MAX {
            return Err(Malformed("a chunk size is too long"));
        }
        let value = char::from(byte).to_digit(16).unwrap_or_default();
        self.size = self.size * 16 + u64::from(value);
        Ok(ChunkState::Size)
    }

    fn extension(&mut self) -> Result<ChunkState, FramingError> {
        self.extension_bytes += 1;
        if self.extension_bytes > CHUNK_EXTENSION_BYTES_MAX {
            return Err(Malformed("the chunk extensions are too long"));
        }
        Ok(ChunkState::Extension)
    }

    fn data_or_trailer(&mut self) -> ChunkState {
        self.digits = 0;
        if self.size == 0 { ChunkState::TrailerStart } else { ChunkState::Data }
    }

    fn trailer(&mut self, next: ChunkState) -> Result<ChunkState, FramingError> {
        self.trailer_bytes += 1;
        if self.trailer_bytes > TRAILER_BYTES_MAX {
            return Err(Malformed("the trailers are too long"));
        }
        Ok(next)
    }
}

#[cfg(test)]
mod tests;
