//! Any text as a `Host` field: read to the same host again, or refused.
#![no_main]

use libfuzzer_sys::fuzz_target;
use stamp_core::host;

fuzz_target!(|text: &str| {
    let Ok(authority) = host::parse(text) else { return };
    let name = &*authority.host;
    let is_clean = |byte: u8| {
        byte.is_ascii_lowercase() || byte.is_ascii_digit() || b".-_[]:".contains(&byte)
    };
    assert!(!name.is_empty() && name.len() <= host::HOST_BYTES_MAX, "{text:?}");
    assert!(name.bytes().all(is_clean), "{text:?}");
    assert!(!name.ends_with('.') && !name.starts_with('.'), "{text:?}");
    let again = host::parse(name).expect("a parsed host parses");
    assert_eq!(again.host, authority.host);
    assert_eq!(again.port, None);
    if let Some(label) = host::label_under(name, ".app.test") {
        assert!(!label.is_empty() && !label.contains('.'), "{text:?}");
        assert_eq!(format!("{label}.app.test"), name);
    }
});
