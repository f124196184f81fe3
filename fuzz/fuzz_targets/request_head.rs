//! Any bytes as a request: the framing reads them without a panic, and whatever fields they hold,
//! no stamp is chosen that a clue contradicts.
//!
//! For `identify` the first line is the authority of the target, empty for none; the lines after it
//! are fields. Lines end in LF, so that the fuzzer need not learn HTTP to reach the core.
#![no_main]

use std::io::ErrorKind;
use std::sync::LazyLock;

use http::{HeaderMap, HeaderName, HeaderValue, Version};
use libfuzzer_sys::fuzz_target;
use stamp_core::diagnostic::SourceText;
use stamp_core::framing::{self, HeadLimits};
use stamp_core::identify::{self, Head, Peer};
use stamp_core::resolve::resolve;
use stamp_core::table::{self, RoutingTable};

const LIMITS: HeadLimits =
    HeadLimits { head_bytes_max: 4096, fields_max: 32, uri_bytes_max: 1024 };

const ROUTING: &str = r#"
version = 1
[identity.host]
patterns = ["{tenant}.t", "{stamp}.s"]
neutral = ["n"]
verified_only = ["v"]
[identity.header]
name = "X-Stamp-Id"
tenant_name = "X-Tenant-Id"
[identity.cookie]
name = "c"
names = "stamp"
[[stamp]]
id = "a"
endpoints = [{ url = "http://10.0.0.1:80" }]
[[stamp]]
id = "b"
access = "verified"
endpoints = [{ url = "http://10.0.0.2:80" }]
[tenants]
x = "a"
y = "b"
[domains]
"d.test" = "x"
"#;

static TABLE: LazyLock<RoutingTable> = LazyLock::new(|| {
    let main = SourceText { path: "routing.toml".into(), text: ROUTING.into() };
    table::load(main, &mut |_| Err(ErrorKind::NotFound.into()), None).expect("a good table").table
});

fuzz_target!(|bytes: &[u8]| {
    frame(bytes);
    for version in [Version::HTTP_10, Version::HTTP_11, Version::HTTP_2] {
        route(bytes, version);
    }
});

fn frame(bytes: &[u8]) {
    let partial = framing::check_partial_head(bytes, LIMITS);
    let Some(end) = framing::head_end(bytes, 0) else { return };
    assert!(end <= bytes.len());
    let (head, _) = bytes.split_at(end);
    if framing::read_head(head, LIMITS).is_ok() && head.len() == bytes.len() {
        assert!(partial.is_ok(), "a head that passes whole passes in part");
    }
}

fn route(bytes: &[u8], version: Version) {
    let mut lines = bytes.split(|byte| *byte == b'\n');
    let authority = lines.next().and_then(|line| std::str::from_utf8(line).ok());
    let headers = fields(lines);
    let authority = authority.filter(|text| !text.is_empty());
    let head = Head { version, authority, headers: &headers };
    let Ok(clues) = identify::clues(&head, &TABLE, Peer::Trusted, None) else { return };
    assert_eq!(clues.jwt, None);
    let Ok(target) = resolve(&TABLE, &clues) else { return };
    assert!(!clues.verified_demanded && !target.verified);
    let home = TABLE.stamp(target.home).id.as_str();
    assert_eq!(home, "a", "the other takes verified tenants only");
    for clue in clues.iter() {
        assert!(clue.stamp.as_ref().is_none_or(|stamp| stamp.as_str() == home));
        assert!(clue.tenant.as_ref().is_none_or(|tenant| tenant.as_str() == "x"));
    }
}

fn fields<'b>(lines: impl Iterator<Item = &'b [u8]>) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for line in lines.take(32) {
        let Some(colon) = line.iter().position(|byte| *byte == b':') else { continue };
        let (name, value) = line.split_at(colon);
        let name = HeaderName::from_bytes(name);
        let value = HeaderValue::from_bytes(value[1..].trim_ascii());
        if let (Ok(name), Ok(value)) = (name, value) {
            headers.append(name, value);
        }
    }
    headers
}
