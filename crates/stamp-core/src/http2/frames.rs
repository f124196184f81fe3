//! The frames of one client connection (RFC 9113, section 4), followed on their way to the library
//! that reads them. Frames with header blocks pass whole, all others as they come.
//!
//! A malformed block is marked: a field that HTTP/2 forbids is added at its end, so that the library
//! itself resets that stream, as it must, and no other suffers. What ends the whole connection is
//! found here where the library's own word for it is not the protocol's.

use std::collections::BTreeSet;

use super::allowance::{Abuse, Allowance, Seen};
use super::hpack::Follower;
pub use super::hpack::{Malformed, Section};
use crate::time::Moment;

/// RFC 9113, section 3.4.
pub const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// RFC 9113, section 4.1.
pub const FRAME_HEAD_BYTES: usize = 9;
/// The largest frame: the library says nothing else than the protocol's default.
pub const FRAME_BYTES_MAX: u32 = 16_384;

const END_STREAM: u8 = 0x1;
const ACK: u8 = 0x1;
const END_HEADERS: u8 = 0x4;
const PADDED: u8 = 0x8;
const PRIORITY: u8 = 0x20;

/// So many streams are known not to be ended: many more than may be open at once, since who is
/// answered early need not end what it began.
const UNENDED_MAX: usize = 1_000;

/// `connection: ?`, a literal that is not indexed: no request over HTTP/2 has this field.
const FORBIDDEN_FIELD: [u8; 14] = *b"\x00\x0aconnection\x01?";

/// What may be done with the bytes that came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// More of them must come first.
    Wait,
    /// So many pass.
    Pass(usize),
    /// Instead of so many passes this frame, which is marked.
    Replace(usize, Box<[u8]>, Malformed),
}

/// Why a connection goes on no more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// The client only costs.
    Cut(Abuse),
    /// The client broke a rule of the connection.
    Broken(Rule),
}

/// A rule of RFC 9113 whose breach is an error of the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rule {
    /// A frame where none of its kind may be, or padding of more bytes than there are.
    Protocol,
    /// A stream that the client has ended itself goes on.
    StreamClosed,
    /// A frame of a length that its kind never has.
    FrameSize,
    /// A header block that is none.
    Compression,
}

impl From<Abuse> for End {
    fn from(abuse: Abuse) -> Self {
        Self::Cut(abuse)
    }
}

impl From<Rule> for End {
    fn from(rule: Rule) -> Self {
        Self::Broken(rule)
    }
}

/// What the client is in the middle of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Awaited {
    /// The preface of the connection.
    Preface,
    /// The rest of a header block, or of a frame that says what it is.
    Head,
    /// Nothing, or the body of some request.
    Nothing,
}

/// Follows one connection.
#[derive(Debug)]
pub struct Reader {
    state: State,
    hpack: Follower,
    block: Option<Block>,
    block_bytes_max: usize,
    last_stream: u32,
    streams: u64,
    /// Streams that the client has opened and not ended. Those up to `forgotten` are not kept.
    unended: BTreeSet<u32>,
    forgotten: u32,
    body_bytes: u64,
    allowance: Allowance,
    /// What came last is a part of a frame.
    is_partial: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Preface {
        seen: usize,
    },
    Frame,
    Payload {
        left: usize,
    },
    /// No HTTP/2 any more: the library sees it too, and says so.
    Lost,
}

/// A header block whose end has not come.
#[derive(Debug)]
struct Block {
    section: Section,
    bytes: Vec<u8>,
}

/// The first bytes of a frame.
#[derive(Clone, Copy, Debug)]
struct Frame {
    length: u32,
    kind: u8,
    flags: u8,
    stream: u32,
}

impl Frame {
    fn read(bytes: &[u8]) -> Option<Self> {
        let [a, b, c, kind, flags, s, t, u, v] = *bytes.first_chunk()?;
        let length = u32::from_be_bytes([0, a, b, c]);
        let stream = u32::from_be_bytes([s, t, u, v]) & 0x7fff_ffff;
        Some(Self { length, kind, flags, stream })
    }

    const fn has(self, flag: u8) -> bool {
        self.flags & flag != 0
    }

    /// RFC 9113, sections 6.3 to 6.9.
    const fn has_a_length_of_its_kind(self) -> bool {
        match self.kind {
            PRIORITY_FRAME => self.length == 5,
            RST_STREAM | WINDOW_UPDATE => self.length == 4,
            SETTINGS if self.has(ACK) => self.length == 0,
            SETTINGS => self.length.is_multiple_of(6),
            PING => self.length == 8,
            _ => true,
        }
    }

    fn bytes(self) -> usize {
        usize::try_from(self.length).unwrap_or(usize::MAX).saturating_add(FRAME_HEAD_BYTES)
    }
}

impl Reader {
    /// For a connection that begins now. An encoded header block has so many bytes at most.
    #[must_use]
    pub fn new(block_bytes_max: usize, now: Moment) -> Self {
        Self {
            state: State::Preface { seen: 0 },
            hpack: Follower::default(),
            block: None,
            block_bytes_max,
            last_stream: 0,
            streams: 0,
            unended: BTreeSet::new(),
            forgotten: 0,
            body_bytes: 0,
            allowance: Allowance::new(now),
            is_partial: false,
        }
    }

    /// Streams that the client opened so far.
    #[must_use]
    pub const fn streams(&self) -> u64 {
        self.streams
    }

    /// Has the client reset a stream lately?
    #[must_use]
    pub const fn has_resets(&self) -> bool {
        self.allowance.has_resets()
    }

    /// The last stream that the client opened.
    #[must_use]
    pub const fn last_stream(&self) -> u32 {
        self.last_stream
    }

    /// What the client is in the middle of.
    #[must_use]
    pub const fn awaited(&self) -> Awaited {
        match self.state {
            State::Preface { .. } => Awaited::Preface,
            State::Frame if self.is_partial || self.block.is_some() => Awaited::Head,
            State::Frame | State::Payload { .. } | State::Lost => Awaited::Nothing,
        }
    }

    /// What to do with `bytes`, all that came and did not pass yet. So many bytes were sent to the
    /// client in all.
    pub fn step(&mut self, bytes: &[u8], sent: u64, now: Moment) -> Result<Step, End> {
        self.is_partial = false;
        if bytes.is_empty() {
            return Ok(Step::Wait);
        }
        match self.state {
            State::Lost => Ok(Step::Pass(bytes.len())),
            State::Preface { seen } => Ok(Step::Pass(self.preface(seen, bytes))),
            State::Payload { left } => {
                let passes = left.min(bytes.len());
                let left = left - passes;
                self.state = if left == 0 { State::Frame } else { State::Payload { left } };
                Ok(Step::Pass(passes))
            }
            State::Frame => {
                let step = match Frame::read(bytes) {
                    Some(frame) => self.frame(frame, bytes, self.seen(sent, now))?,
                    None => Step::Wait,
                };
                self.is_partial = step == Step::Wait;
                Ok(step)
            }
        }
    }

    fn preface(&mut self, seen: usize, bytes: &[u8]) -> usize {
        let expected = PREFACE.get(seen..).unwrap_or_default();
        let passes = expected.len().min(bytes.len());
        let seen = seen + passes;
        self.state = if bytes.get(..passes) != expected.get(..passes) {
            State::Lost
        } else if seen == PREFACE.len() {
            State::Frame
        } else {
            State::Preface { seen }
        };
        passes
    }

    fn frame(&mut self, frame: Frame, bytes: &[u8], seen: Seen) -> Result<Step, End> {
        if frame.length > FRAME_BYTES_MAX || !frame.has_a_length_of_its_kind() {
            return Err(Rule::FrameSize.into());
        }
        if self.block.is_some() != (frame.kind == CONTINUATION) {
            return Err(Rule::Protocol.into());
        }
        if matches!(frame.kind, HEADERS | CONTINUATION) {
            let Some(whole) = bytes.get(..frame.bytes()) else { return Ok(Step::Wait) };
            let payload = whole.get(FRAME_HEAD_BYTES..).unwrap_or_default();
            if frame.length == 0 {
                self.allowance.spend(seen)?;
            }
            return self.header_frame(frame, payload);
        }
        self.judge(frame, seen)?;
        self.follow_stream(frame)?;
        let left = frame.bytes() - FRAME_HEAD_BYTES;
        self.state = if left == 0 { State::Frame } else { State::Payload { left } };
        Ok(Step::Pass(FRAME_HEAD_BYTES))
    }

    const fn seen(&self, sent: u64, now: Moment) -> Seen {
        Seen { bytes: self.body_bytes.saturating_add(sent), streams: self.streams, now }
    }

    /// Frames without a header block.
    fn judge(&mut self, frame: Frame, seen: Seen) -> Result<(), Abuse> {
        let is_useful = match frame.kind {
            DATA => {
                // One of padding alone is as empty as one of nothing.
                let is_empty = frame.length == 0 || frame.has(PADDED) && frame.length <= 256;
                self.body_bytes += u64::from(frame.length);
                !is_empty || frame.has(END_STREAM)
            }
            RST_STREAM => return self.allowance.reset(seen),
            // An acknowledgement answers a frame of our own.
            SETTINGS => frame.has(ACK) && self.streams > 0,
            _ => false,
        };
        if is_useful { Ok(()) } else { self.allowance.spend(seen) }
    }

    fn header_frame(&mut self, frame: Frame, payload: &[u8]) -> Result<Step, End> {
        let whole = FRAME_HEAD_BYTES + payload.len();
        let fragment = if frame.kind == HEADERS {
            self.begin(frame)?;
            fragment(frame, payload)
        } else {
            Some(payload)
        };
        let (Some(fragment), Some(block)) = (fragment, &mut self.block) else {
            return Err(Rule::Protocol.into());
        };
        if block.bytes.len() + fragment.len() > self.block_bytes_max {
            return Err(Abuse::HeaderBlock.into());
        }
        if !frame.has(END_HEADERS) {
            block.bytes.extend_from_slice(fragment);
            return Ok(Step::Pass(whole));
        }
        let followed = if block.bytes.is_empty() {
            self.hpack.follow(fragment, block.section)
        } else {
            block.bytes.extend_from_slice(fragment);
            self.hpack.follow(&block.bytes, block.section)
        };
        self.block = None;
        match followed {
            Ok(None) => Ok(Step::Pass(whole)),
            Ok(Some(malformed)) => {
                let marked = marked(frame, payload).ok_or(Abuse::HeaderBlock)?;
                Ok(Step::Replace(whole, marked, malformed))
            }
            Err(_no_block) => Err(Rule::Compression.into()),
        }
    }

    fn begin(&mut self, frame: Frame) -> Result<(), Rule> {
        let section = if frame.stream > self.last_stream {
            self.last_stream = frame.stream;
            self.streams += 1;
            self.unended.insert(frame.stream);
            if self.unended.len() > UNENDED_MAX {
                self.forgotten = self.unended.pop_first().unwrap_or(self.forgotten);
            }
            Section::Head
        } else {
            Section::Trailers
        };
        self.block = Some(Block { section, bytes: Vec::new() });
        self.follow_stream(frame)
    }

    /// Only what the client itself has said of a stream counts: what it sends may have crossed our
    /// word that the stream is over.
    fn follow_stream(&mut self, frame: Frame) -> Result<(), Rule> {
        let is_ended = match frame.kind {
            DATA | HEADERS => {
                let is_known = frame.stream > self.forgotten && frame.stream <= self.last_stream;
                if is_known && !self.unended.contains(&frame.stream) {
                    return Err(self.unexpected(frame.stream));
                }
                frame.has(END_STREAM)
            }
            RST_STREAM => true,
            _ => false,
        };
        if is_ended {
            self.unended.remove(&frame.stream);
        }
        Ok(())
    }

    /// RFC 9113, sections 5.1 and 5.1.1: a stream that was ended, or one whose number was left out.
    fn unexpected(&self, stream: u32) -> Rule {
        let opened_each = u64::from(self.last_stream) + 1 == self.streams * 2;
        if opened_each || stream == self.last_stream { Rule::StreamClosed } else { Rule::Protocol }
    }
}

/// RFC 9113, section 6.2: the part of a HEADERS frame that is neither padding nor priority.
fn fragment(frame: Frame, payload: &[u8]) -> Option<&[u8]> {
    let (padding, rest) = if frame.has(PADDED) {
        let (first, rest) = payload.split_first()?;
        (usize::from(*first), rest)
    } else {
        (0, payload)
    };
    let rest = if frame.has(PRIORITY) { rest.get(5..)? } else { rest };
    rest.get(..rest.len().checked_sub(padding)?)
}

/// The same frame with the forbidden field at its end, and without padding; `None` = it has no room
/// for that.
fn marked(frame: Frame, payload: &[u8]) -> Option<Box<[u8]>> {
    let priority = if frame.kind == HEADERS && frame.has(PRIORITY) {
        payload.get(usize::from(frame.has(PADDED))..)?.get(..5)?
    } else {
        &[]
    };
    let own = if frame.kind == HEADERS { fragment(frame, payload)? } else { payload };
    let payload = [priority, own, &FORBIDDEN_FIELD].concat();
    let length = u32::try_from(payload.len()).ok().filter(|length| *length <= FRAME_BYTES_MAX)?;
    let [_, a, b, c] = length.to_be_bytes();
    let [s, t, u, v] = frame.stream.to_be_bytes();
    let head = [a, b, c, frame.kind, frame.flags & !PADDED, s, t, u, v];
    Some([&head[..], &payload].concat().into())
}

/// A GOAWAY frame that tells why the connection is closed (RFC 9113, sections 6.8 and 7).
#[must_use]
pub const fn goodbye(last_stream: u32, end: End) -> [u8; 17] {
    let code = match end {
        End::Broken(Rule::Protocol) => 0x1,
        End::Broken(Rule::StreamClosed) => 0x5,
        End::Broken(Rule::FrameSize) => 0x6,
        End::Broken(Rule::Compression) => 0x9,
        End::Cut(_) => 0xb,
    };
    let [s, t, u, v] = last_stream.to_be_bytes();
    [0, 0, 8, GOAWAY, 0, 0, 0, 0, 0, s, t, u, v, 0, 0, 0, code]
}

const DATA: u8 = 0x0;
const HEADERS: u8 = 0x1;
const PRIORITY_FRAME: u8 = 0x2;
const RST_STREAM: u8 = 0x3;
const SETTINGS: u8 = 0x4;
const PING: u8 = 0x6;
const GOAWAY: u8 = 0x7;
const WINDOW_UPDATE: u8 = 0x8;
const CONTINUATION: u8 = 0x9;
