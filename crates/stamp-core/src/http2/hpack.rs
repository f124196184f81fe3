//! Header blocks (HPACK, RFC 7541), followed but not read: of each entry of the dynamic table only
//! its size and what there is to be said against it. To decode all of it here and again in the
//! library would cost each request as much again; to follow it costs about a byte looked at for
//! each field that the client has sent before.

use std::collections::VecDeque;

use super::huffman;
use crate::framing::is_target_byte;

/// What a client may use of the dynamic table: the library never says anything else than the
/// protocol's default (RFC 9113, section 6.5.2).
const TABLE_BYTES: u32 = 4096;
/// What each entry costs besides its name and value (RFC 7541, section 4.1).
const ENTRY_BYTES: u32 = 32;
/// Far beyond any length in a block that is bounded.
const INTEGER_MAX: u64 = 1 << 28;

/// The bytes are no header block: the library will say so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct NotHpack;

/// What a header block is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Section {
    /// It opens a stream.
    Head,
    /// It ends one.
    Trailers,
}

/// What is malformed in a block, and what the library does not tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Malformed {
    /// RFC 9113, section 8.1: trailers have no pseudo-fields.
    PseudoFieldInTrailers,
    /// RFC 9113, section 8.3.1: `:path` is a path and a query, so it has no fragment, which the
    /// library would cut off, and no byte that no URI may hold.
    TargetByte,
}

/// What a field is, by its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Name {
    Path,
    OtherPseudo,
    Field,
}

/// A field's name: what it is, and how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Named {
    name: Name,
    bytes: u32,
}

/// One field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Field {
    named: Named,
    /// A path that holds a byte that it must not.
    is_bad: bool,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    field: Field,
    bytes: u32,
}

/// The decoder's side of one connection.
#[derive(Debug)]
pub(super) struct Follower {
    /// The youngest first.
    entries: VecDeque<Entry>,
    bytes: u32,
    bytes_max: u32,
}

impl Default for Follower {
    fn default() -> Self {
        Self { entries: VecDeque::new(), bytes: 0, bytes_max: TABLE_BYTES }
    }
}

impl Follower {
    /// Follows one whole block, and says what is malformed in it.
    pub(super) fn follow(
        &mut self,
        block: &[u8],
        section: Section,
    ) -> Result<Option<Malformed>, NotHpack> {
        let mut rest = Reading(block);
        let mut found = None;
        while let Some(first) = rest.peek() {
            let Some(field) = self.representation(first, &mut rest)? else { continue };
            let malformed = match (section, field.named.name) {
                (Section::Trailers, Name::Path | Name::OtherPseudo) => {
                    Some(Malformed::PseudoFieldInTrailers)
                }
                (Section::Head, Name::Path) if field.is_bad => Some(Malformed::TargetByte),
                (Section::Head | Section::Trailers, _) => None,
            };
            found = found.or(malformed);
        }
        Ok(found)
    }

    /// One representation (RFC 7541, section 6); `None` = it is no field.
    fn representation(
        &mut self,
        first: u8,
        rest: &mut Reading<'_>,
    ) -> Result<Option<Field>, NotHpack> {
        match first {
            0x80.. => {
                let index = rest.integer(7)?;
                self.field(index).map(Some)
            }
            0x40..=0x7f => {
                let (field, bytes) = self.literal(rest, 6, Length::Counted)?;
                self.insert(Entry { field, bytes });
                Ok(Some(field))
            }
            0x20..=0x3f => {
                let bytes_max = u32::try_from(rest.integer(5)?).map_err(|_huge| NotHpack)?;
                if bytes_max > TABLE_BYTES {
                    return Err(NotHpack);
                }
                self.bytes_max = bytes_max;
                self.evict(0);
                Ok(None)
            }
            0x00..=0x1f => Ok(Some(self.literal(rest, 4, Length::NotNeeded)?.0)),
        }
    }

    fn literal(
        &self,
        rest: &mut Reading<'_>,
        prefix_bits: u8,
        length: Length,
    ) -> Result<(Field, u32), NotHpack> {
        let named = match rest.integer(prefix_bits)? {
            0 => rest.text()?.named()?,
            index => self.field(index)?.named,
        };
        let value = rest.text()?;
        let mut is_bad = false;
        let bytes = match (named.name, length) {
            (Name::Path, _) => value.each(|byte| is_bad |= !is_target_byte(byte))?,
            (Name::OtherPseudo | Name::Field, Length::Counted) => value.each(|_| {})?,
            (Name::OtherPseudo | Name::Field, Length::NotNeeded) => 0,
        };
        let bytes = ENTRY_BYTES.saturating_add(named.bytes).saturating_add(bytes);
        Ok((Field { named, is_bad }, bytes))
    }

    fn field(&self, index: u64) -> Result<Field, NotHpack> {
        let index = usize::try_from(index).map_err(|_huge| NotHpack)?;
        let at = index.checked_sub(1).ok_or(NotHpack)?;
        if let Some(name) = STATIC_NAMES.get(at) {
            let bytes = u32::try_from(name.len()).unwrap_or(u32::MAX);
            return Ok(Field { named: Named::new(name.as_bytes(), bytes), is_bad: false });
        }
        let entry = self.entries.get(at - STATIC_NAMES.len()).ok_or(NotHpack)?;
        Ok(entry.field)
    }

    fn insert(&mut self, entry: Entry) {
        self.evict(entry.bytes);
        // RFC 7541, section 4.4: one that has no room at all empties the table.
        if entry.bytes <= self.bytes_max {
            self.bytes += entry.bytes;
            self.entries.push_front(entry);
        }
    }

    fn evict(&mut self, room: u32) {
        while self.bytes.saturating_add(room) > self.bytes_max
            && let Some(oldest) = self.entries.pop_back()
        {
            self.bytes -= oldest.bytes;
        }
    }
}

/// Must it be known how long a value is?
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Length {
    /// Yes, it goes to the table.
    Counted,
    /// No.
    NotNeeded,
}

/// What is left of a block.
struct Reading<'a>(&'a [u8]);

impl<'a> Reading<'a> {
    fn peek(&self) -> Option<u8> {
        self.0.first().copied()
    }

    fn byte(&mut self) -> Result<u8, NotHpack> {
        let (first, rest) = self.0.split_first().ok_or(NotHpack)?;
        self.0 = rest;
        Ok(*first)
    }

    /// RFC 7541, section 5.1.
    fn integer(&mut self, prefix_bits: u8) -> Result<u64, NotHpack> {
        let mask = u8::MAX >> (8 - prefix_bits);
        let prefix = self.byte()? & mask;
        let mut value = u64::from(prefix);
        if prefix < mask {
            return Ok(value);
        }
        for shift in [0, 7, 14, 21] {
            let byte = self.byte()?;
            value += u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return if value < INTEGER_MAX { Ok(value) } else { Err(NotHpack) };
            }
        }
        Err(NotHpack)
    }

    /// RFC 7541, section 5.2.
    fn text(&mut self) -> Result<Text<'a>, NotHpack> {
        let is_coded = self.peek().ok_or(NotHpack)? & 0x80 != 0;
        let length = usize::try_from(self.integer(7)?).map_err(|_huge| NotHpack)?;
        let (bytes, rest) = self.0.split_at_checked(length).ok_or(NotHpack)?;
        self.0 = rest;
        Ok(Text { bytes, is_coded })
    }
}

/// A string as it stands in the block.
#[derive(Clone, Copy)]
struct Text<'a> {
    bytes: &'a [u8],
    is_coded: bool,
}

impl Text<'_> {
    /// Hands over each byte, and says how many there are.
    fn each(self, mut take: impl FnMut(u8)) -> Result<u32, NotHpack> {
        let mut count: u32 = 0;
        let mut one = |byte| {
            count = count.saturating_add(1);
            take(byte);
        };
        if self.is_coded {
            huffman::decode(self.bytes, one)?;
        } else {
            self.bytes.iter().copied().for_each(&mut one);
        }
        Ok(count)
    }

    /// What the string is as the name of a field.
    fn named(self) -> Result<Named, NotHpack> {
        let (mut start, mut at) = ([0; PATH.len()], 0);
        let bytes = self.each(|byte| {
            if let Some(place) = start.get_mut(at) {
                *place = byte;
            }
            at += 1;
        })?;
        Ok(Named::new(&start, bytes))
    }
}

const PATH: &[u8; 5] = b":path";

impl Named {
    /// By how a name starts, and how long it is.
    fn new(start: &[u8], bytes: u32) -> Self {
        let name = match start.first() {
            Some(b':') if bytes == 5 && start.starts_with(PATH) => Name::Path,
            Some(b':') => Name::OtherPseudo,
            _ => Name::Field,
        };
        Self { name, bytes }
    }
}

/// The names of the static table (RFC 7541, appendix A), from index 1 on. None of its values is a
/// bad path.
const STATIC_NAMES: [&str; 61] = [
    ":authority",
    ":method",
    ":method",
    ":path",
    ":path",
    ":scheme",
    ":scheme",
    ":status",
    ":status",
    ":status",
    ":status",
    ":status",
    ":status",
    ":status",
    "accept-charset",
    "accept-encoding",
    "accept-language",
    "accept-ranges",
    "accept",
    "access-control-allow-origin",
    "age",
    "allow",
    "authorization",
    "cache-control",
    "content-disposition",
    "content-encoding",
    "content-language",
    "content-length",
    "content-location",
    "content-range",
    "content-type",
    "cookie",
    "date",
    "etag",
    "expect",
    "expires",
    "from",
    "host",
    "if-match",
    "if-modified-since",
    "if-none-match",
    "if-range",
    "if-unmodified-since",
    "last-modified",
    "link",
    "location",
    "max-forwards",
    "proxy-authenticate",
    "proxy-authorization",
    "range",
    "referer",
    "refresh",
    "retry-after",
    "server",
    "set-cookie",
    "strict-transport-security",
    "transfer-encoding",
    "user-agent",
    "vary",
    "via",
    "www-authenticate",
];
