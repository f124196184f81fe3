//! A second, independent reading of HTTP/1.1: heads by `httparse`, which hyper reads with, and around it the
//! rules of RFC 9112 as plainly as they can be said. It looks at whole messages only and is in no hurry.

use httparse::{EMPTY_HEADER, Header, Request, Response, Status};
use stamp_core::framing::Asked;

/// What the bytes begin with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Read {
    /// A whole message of so many bytes.
    Whole(usize),
    /// A part of one that may still become whole.
    Part,
    /// Nothing that all readers read alike.
    Refused,
}

/// How a body is delimited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Body {
    None,
    Length(usize),
    Chunked,
    UntilClose,
}

/// The request that these bytes begin with.
pub fn request(bytes: &[u8]) -> Read {
    let mut headers = [EMPTY_HEADER; 300];
    let mut request = Request::new(&mut headers);
    match request.parse(bytes) {
        Err(_) => Read::Refused,
        Ok(Status::Partial) => Read::Part,
        Ok(Status::Complete(head)) => {
            let version = request.version;
            if !lines_are_strict(&bytes[..head], request.headers.len()) {
                return Read::Refused;
            }
            match framing(request.headers, version, Body::None) {
                Some(framing) => body(bytes, head, framing),
                None => Read::Refused,
            }
        }
    }
}

/// The answer that these bytes begin with, after any interim ones.
pub fn answer(bytes: &[u8], asked: Asked) -> Read {
    let mut at = 0;
    loop {
        let rest = &bytes[at..];
        let mut headers = [EMPTY_HEADER; 300];
        let mut response = Response::new(&mut headers);
        let head = match response.parse(rest) {
            Err(_) => return Read::Refused,
            Ok(Status::Partial) => return Read::Part,
            Ok(Status::Complete(head)) => head,
        };
        let version = response.version;
        let status = response.code.unwrap_or_default();
        let is_status = (100..=599).contains(&status) && status != 101;
        let framing = framing(response.headers, version, Body::UntilClose);
        let is_strict = lines_are_strict(&rest[..head], response.headers.len());
        let Some(framing) = framing.filter(|_| is_strict && is_status) else {
            return Read::Refused;
        };
        match status {
            100..=199 if version == Some(0) => return Read::Refused,
            100..=199 => at += head,
            204 | 304 => return Read::Whole(at + head),
            _ if asked == Asked::HeadOnly => return Read::Whole(at + head),
            _ => return body(bytes, at + head, framing),
        }
    }
}

/// Are there as many lines as fields, the first and the last aside, and does each end in CR LF and hold neither
/// elsewhere?
fn lines_are_strict(head: &[u8], fields: usize) -> bool {
    let text: String = head.iter().copied().map(char::from).collect();
    let lines: Vec<_> = text.split("\r\n").collect();
    let is_clean = lines.iter().all(|line| !line.contains(['\r', '\n']));
    // First line, fields, the empty line, and nothing behind it.
    is_clean && lines.len() == fields + 3 && !lines[0].is_empty()
}

fn framing(headers: &[Header<'_>], version: Option<u8>, otherwise: Body) -> Option<Body> {
    let of = |name: &str| -> Vec<String> {
        let named = headers.iter().filter(|header| header.name.eq_ignore_ascii_case(name));
        named.map(|header| header.value.iter().copied().map(char::from).collect()).collect()
    };
    let lengths = of("content-length");
    let codings = of("transfer-encoding");
    match (&*lengths, &*codings) {
        ([], []) => Some(otherwise),
        ([length], []) => {
            let length = length.trim_matches([' ', '\t']);
            let is_number = !length.is_empty() && length.bytes().all(|byte| byte.is_ascii_digit());
            length.parse().ok().filter(|_| is_number).map(Body::Length)
        }
        ([], [coding]) => {
            let is_chunked = coding.trim_matches([' ', '\t']).eq_ignore_ascii_case("chunked");
            (is_chunked && version == Some(1)).then_some(Body::Chunked)
        }
        _ => None,
    }
}

fn body(bytes: &[u8], at: usize, framing: Body) -> Read {
    match framing {
        Body::None => Read::Whole(at),
        Body::UntilClose => Read::Part,
        Body::Length(length) => match at.checked_add(length) {
            Some(end) if end <= bytes.len() => Read::Whole(end),
            Some(_) | None => Read::Part,
        },
        Body::Chunked => chunks(bytes, at),
    }
}

fn chunks(bytes: &[u8], mut at: usize) -> Read {
    loop {
        let rest = &bytes[at..];
        let size = match httparse::parse_chunk_size(rest) {
            Err(_) => return Read::Refused,
            Ok(Status::Partial) => return Read::Part,
            Ok(Status::Complete((line, size))) => {
                if !size_line_is_strict(&rest[..line]) {
                    return Read::Refused;
                }
                at += line;
                size
            }
        };
        if size == 0 {
            return trailers(bytes, at);
        }
        let Some(end) = usize::try_from(size).ok().and_then(|size| at.checked_add(size)) else {
            return Read::Part;
        };
        match bytes.get(end..end.saturating_add(2)) {
            None => return Read::Part,
            Some(b"\r\n") => at = end + 2,
            Some(_) => return Read::Refused,
        }
    }
}

fn size_line_is_strict(line: &[u8]) -> bool {
    let Some(line) = line.strip_suffix(b"\r\n") else { return false };
    let digits = line.iter().take_while(|byte| byte.is_ascii_hexdigit()).count();
    let (_, extension) = line.split_at(digits);
    let is_text = extension.iter().all(|&byte| byte == b'\t' || (byte >= 0x20 && byte != 0x7f));
    digits > 0 && is_text && (extension.is_empty() || extension.starts_with(b";"))
}

fn trailers(bytes: &[u8], at: usize) -> Read {
    let rest = &bytes[at..];
    let mut headers = [EMPTY_HEADER; 300];
    match httparse::parse_headers(rest, &mut headers) {
        Err(_) => Read::Refused,
        Ok(Status::Partial) => Read::Part,
        Ok(Status::Complete((end, fields))) => {
            // As of a head without its first line.
            let lines = [b"x\r\n", &rest[..end]].concat();
            if lines_are_strict(&lines, fields.len()) {
                Read::Whole(at + end)
            } else {
                Read::Refused
            }
        }
    }
}
