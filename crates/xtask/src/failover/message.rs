//! Just enough of HTTP/1.1 for a load generator and a stamp of our own: heads up to an empty line,
//! bodies by `Content-Length`.

/// A whole message at the start of some bytes.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Message<'a> {
    /// `GET /r/7 HTTP/1.1`, or `HTTP/1.1 200 OK`.
    pub(crate) first_line: &'a str,
    /// All of it.
    pub(crate) body: &'a [u8],
    /// The bytes of head and body.
    pub(crate) length: usize,
    /// Does its sender close the connection after it?
    pub(crate) closes: bool,
}

/// The message that `bytes` begin with; `None` while it is not whole.
pub(crate) fn parse(bytes: &[u8]) -> Option<Message<'_>> {
    let end = bytes.windows(4).position(|four| four == b"\r\n\r\n")?;
    let (head, rest) = bytes.split_at_checked(end)?;
    let head = std::str::from_utf8(head).ok()?;
    let rest = rest.get(4..)?;
    let mut lines = head.split("\r\n");
    let first_line = lines.next()?;
    let (mut size, mut closes) = (0, false);
    for (name, value) in lines.filter_map(|line| line.split_once(':')) {
        if name.eq_ignore_ascii_case("content-length") {
            size = value.trim().parse().ok()?;
        }
        if name.eq_ignore_ascii_case("connection") {
            closes = value.trim().eq_ignore_ascii_case("close");
        }
    }
    let body = rest.get(..size)?;
    Some(Message { first_line, body, length: end + 4 + size, closes })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_known_once_it_is_whole() {
        let bytes = b"POST /r/7 HTTP/1.1\r\ncontent-length: 3\r\nConnection: close\r\n\r\nabcnext";
        let whole = parse(bytes).unwrap();
        assert_eq!((whole.first_line, whole.body), ("POST /r/7 HTTP/1.1", &b"abc"[..]));
        assert!(whole.closes);
        assert_eq!(whole.length, bytes.len() - 4);
        assert_eq!(parse(&bytes[..bytes.len() - 5]), None);
    }
}
