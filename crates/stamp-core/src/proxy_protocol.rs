//! The PROXY protocol, versions 1 and 2 (`proxy-protocol.txt` of `haproxy`): what a proxy that
//! passes bytes on says before them about whose they are. Whether this proxy may say so is the
//! shell's to ask (`listen::proxied`).

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// The longest header of version 1, its CR LF included.
pub const TEXT_BYTES_MAX: usize = 107;
/// The longest header of version 2 that is taken. Its addresses need 52 bytes; the rest is for what
/// proxies say besides (TLVs), which is skipped.
pub const BINARY_BYTES_MAX: usize = 4096;

/// What version 1 begins with.
const TEXT_SIGNATURE: &[u8] = b"PROXY ";
/// What version 2 begins with.
const BINARY_SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";
/// Signature, version and command, family and transport, length.
const BINARY_FIXED_BYTES: usize = 16;
/// Two addresses, two ports.
const INET_BYTES: usize = 12;
/// The same for IPv6.
const INET6_BYTES: usize = 36;

/// Whose connection it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Told {
    /// A client's, from this address.
    Client(SocketAddr),
    /// The proxy's own, such as a health check (LOCAL).
    Own,
    /// Somebody's whom the proxy cannot name (UNKNOWN, UNSPEC, unix sockets, datagrams).
    Unknown,
}

/// Why these bytes are no header.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// They begin as no header does.
    #[error("there is no PROXY header")]
    Missing,
    /// They begin as one and go on as none.
    #[error("the PROXY header is malformed")]
    Malformed,
    /// It is longer than any that is taken.
    #[error("the PROXY header is too long")]
    TooLong,
}

/// What came of some bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step {
    /// So many of them belong to the header: all of them, unless it ended.
    pub taken: usize,
    /// What the header says, once it has ended.
    pub told: Option<Told>,
}

/// Reads one header, however its bytes are split. What it has refused, or read to its end, it must
/// not be asked to go on with.
#[derive(Clone, Debug)]
pub struct Reader {
    /// The first bytes; of version 2 what lies beyond is skipped.
    head: [u8; TEXT_BYTES_MAX],
    seen: usize,
}

impl Default for Reader {
    fn default() -> Self {
        Self { head: [0; TEXT_BYTES_MAX], seen: 0 }
    }
}

impl Reader {
    /// Reads the next bytes of the connection, and none beyond the end of the header.
    pub fn advance(&mut self, bytes: &[u8]) -> Result<Step, Refusal> {
        for (byte, taken) in bytes.iter().zip(1..) {
            if let Some(told) = self.push(*byte)? {
                return Ok(Step { taken, told: Some(told) });
            }
        }
        Ok(Step { taken: bytes.len(), told: None })
    }

    fn push(&mut self, byte: u8) -> Result<Option<Told>, Refusal> {
        if let Some(place) = self.head.get_mut(self.seen) {
            *place = byte;
        }
        self.seen += 1;
        let head = self.head.get(..self.seen).unwrap_or(&self.head);
        if begins(head, BINARY_SIGNATURE) {
            return binary(head, self.seen);
        }
        if begins(head, TEXT_SIGNATURE) { text(head) } else { Err(Refusal::Missing) }
    }
}

/// Is this the signature, or so far the beginning of it?
fn begins(head: &[u8], signature: &[u8]) -> bool {
    head.iter().zip(signature).all(|(byte, expected)| byte == expected)
}

/// Version 1: one line of printable ASCII.
fn text(head: &[u8]) -> Result<Option<Told>, Refusal> {
    match head {
        [line @ .., b'\r', b'\n'] => told_by_line(line).map(Some).ok_or(Refusal::Malformed),
        [.., b'\n'] | [.., b'\r', _] => Err(Refusal::Malformed),
        _ if head.len() >= TEXT_BYTES_MAX => Err(Refusal::TooLong),
        [.., b'\r' | b' '..=b'~'] => Ok(None),
        _ => Err(Refusal::Malformed),
    }
}

fn told_by_line(line: &[u8]) -> Option<Told> {
    let line = str::from_utf8(line).ok()?;
    let mut words = line.split(' ').skip(1);
    let family = words.next()?;
    if family == "UNKNOWN" {
        // Whatever else stands there is to be ignored.
        return Some(Told::Unknown);
    }
    let (source, destination) = (words.next()?, words.next()?);
    let (source_port, destination_port) = (port(words.next()?)?, port(words.next()?)?);
    if words.next().is_some() {
        return None;
    }
    let address = |text: &str| match family {
        "TCP4" => text.parse().ok().map(IpAddr::V4),
        "TCP6" => text.parse().ok().map(IpAddr::V6),
        _ => None,
    };
    let _sound = (address(destination)?, destination_port);
    Some(Told::Client(SocketAddr::new(address(source)?, source_port)))
}

/// 0 to 65535, without a sign and without zeros before it.
fn port(digits: &str) -> Option<u16> {
    let plain = digits.bytes().all(|byte| byte.is_ascii_digit());
    let padded = digits.len() > 1 && digits.starts_with('0');
    if plain && !padded { digits.parse().ok() } else { None }
}

/// Version 2, of which `seen` bytes are there; `head` holds the first of them.
fn binary(head: &[u8], seen: usize) -> Result<Option<Told>, Refusal> {
    let Some(([.., command, family, high, low], rest)) =
        head.split_first_chunk::<BINARY_FIXED_BYTES>()
    else {
        return Ok(None);
    };
    let length = usize::from(u16::from_be_bytes([*high, *low]));
    let told_by: fn(&[u8]) -> Option<Told> = match (command, family) {
        // The family of a LOCAL header is to be ignored.
        (0x20, _) => |_| Some(Told::Own),
        (0x21, 0x11) if length >= INET_BYTES => inet,
        (0x21, 0x21) if length >= INET6_BYTES => inet6,
        // UNSPEC; datagrams and unix sockets, which no client of a TCP listener has.
        (0x21, 0x00 | 0x12 | 0x22 | 0x31 | 0x32) => |_| Some(Told::Unknown),
        _ => return Err(Refusal::Malformed),
    };
    if length > BINARY_BYTES_MAX - BINARY_FIXED_BYTES {
        return Err(Refusal::TooLong);
    }
    if seen < BINARY_FIXED_BYTES + length {
        return Ok(None);
    }
    told_by(rest).map(Some).ok_or(Refusal::Malformed)
}

fn inet(addresses: &[u8]) -> Option<Told> {
    let [a, b, c, d, _, _, _, _, high, low, _, _] = *addresses.first_chunk::<INET_BYTES>()?;
    Some(client(Ipv4Addr::new(a, b, c, d).into(), [high, low]))
}

fn inet6(addresses: &[u8]) -> Option<Told> {
    let (source, rest) = addresses.split_first_chunk::<16>()?;
    let (_destination, ports) = rest.split_first_chunk::<16>()?;
    Some(client(Ipv6Addr::from(*source).into(), *ports.first_chunk()?))
}

fn client(address: IpAddr, port: [u8; 2]) -> Told {
    Told::Client(SocketAddr::new(address, u16::from_be_bytes(port)))
}

#[cfg(test)]
mod tests;
