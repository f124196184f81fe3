//! The last known keys of each issuer, on disk: a start with the issuer down goes on from them.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::auth::{Fetched, FetchedIssuer};
use crate::disk;

/// Below the state directory.
const DIRECTORY: &str = "keys";

/// One file.
#[derive(Debug, Serialize, Deserialize)]
struct Kept {
    issuer: String,
    url: String,
    /// Wall time since 1970.
    fetched_at_s: u64,
    /// Of all the rest, in hexadecimal.
    sha256: String,
    /// The answer, as it came.
    keys: String,
}

impl Kept {
    fn checksum(&self) -> String {
        let Self { issuer, url, fetched_at_s, sha256: _, keys } = self;
        hexadecimal(format!("{issuer}\n{url}\n{fetched_at_s}\n{keys}").as_bytes())
    }
}

/// Writes down the keys of this issuer, which were published at this address.
pub(super) fn write(
    directory: &Path,
    (issuer, url): (&str, &str),
    fetched: &Fetched,
) -> io::Result<()> {
    let keys = String::from_utf8(fetched.json().to_vec()).map_err(io::Error::other)?;
    let mut kept = Kept {
        issuer: issuer.to_owned(),
        url: url.to_owned(),
        fetched_at_s: fetched.at().as_secs(),
        sha256: String::new(),
        keys,
    };
    kept.sha256 = kept.checksum();
    let text = serde_json::to_vec(&kept)?;
    disk::replace(&path(directory, issuer, url), &text)
}

/// The keys of this issuer that were written down, unless they are too old by now. A file that cannot
/// be read is told of and left out: the issuer will be asked.
pub(in crate::source) fn read(
    directory: &Path,
    issuer: FetchedIssuer<'_>,
    wall: Duration,
) -> Option<Fetched> {
    let url = issuer.source.url.to_string();
    let path = path(directory, issuer.issuer, &url);
    let text = match fs::read(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return None,
        Err(error) => {
            tracing::error!(path = %path.display(), %error, "unreadable, and left out");
            return None;
        }
    };
    let kept: Option<Kept> = serde_json::from_slice(&text).ok();
    let is_sound = |kept: &Kept| {
        kept.issuer == issuer.issuer && kept.url == url && kept.sha256 == kept.checksum()
    };
    let sound = kept.filter(is_sound);
    let Some(kept) = sound else {
        tracing::error!(path = %path.display(), "damaged, and left out");
        return None;
    };
    let at = Duration::from_secs(kept.fetched_at_s);
    if wall.saturating_sub(at) >= issuer.source.stale {
        return None;
    }
    Fetched::read(Arc::from(kept.keys.into_bytes()), issuer.algorithms, at).ok()
}

/// One file an issuer and address: names of issuers are no names of files.
fn path(directory: &Path, issuer: &str, url: &str) -> PathBuf {
    let name = hexadecimal(format!("{issuer}\n{url}").as_bytes());
    directory.join(DIRECTORY).join(format!("{name}.json"))
}

fn hexadecimal(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use stamp_core::jwks::{JwksSource, JwksUrl};
    use stamp_core::table::{Algorithm, Scheme};

    use super::*;

    const SET: &str =
        r#"{"keys":[{"kty":"oct","k":"MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY"}]}"#;
    const NOW: Duration = Duration::from_secs(1_800_000_000);

    fn source() -> JwksSource {
        let url = JwksUrl { scheme: Scheme::Https, host: "a".into(), port: 443, path: "/".into() };
        JwksSource {
            url,
            refresh: Duration::from_mins(10),
            stale: Duration::from_hours(1),
            ca: None,
        }
    }

    fn read_at(directory: &Path, source: &JwksSource, wall: Duration) -> Option<usize> {
        let issuer = "i/../\n\0";
        let algorithms = &[Algorithm::HS256];
        let issuer = FetchedIssuer { issuer, algorithms, source, fetched: None };
        read(directory, issuer, wall).map(|fetched| fetched.len())
    }

    fn written() -> tempfile::TempDir {
        let directory = tempfile::tempdir().unwrap();
        let json = Arc::from(SET.as_bytes());
        let fetched = Fetched::read(json, &[Algorithm::HS256], NOW).unwrap();
        write(directory.path(), ("i/../\n\0", "https://a/"), &fetched).unwrap();
        directory
    }

    #[test]
    fn keys_are_read_back_while_they_are_good() {
        let directory = written();
        let at = |seconds| read_at(directory.path(), &source(), NOW + Duration::from_secs(seconds));
        assert_eq!(at(0), Some(1));
        assert_eq!(at(3599), Some(1));
        assert_eq!(at(3600), None);
    }

    #[test]
    fn keys_of_another_address_are_not_taken() {
        let directory = written();
        let url = JwksUrl { port: 8443, ..source().url };
        assert_eq!(read_at(directory.path(), &JwksSource { url, ..source() }, NOW), None);
    }

    #[test]
    fn a_damaged_file_is_left_out_wherever_it_is_damaged() {
        let directory = written();
        let file = fs::read_dir(directory.path().join(DIRECTORY)).unwrap().next().unwrap().unwrap();
        let sound = fs::read(file.path()).unwrap();
        for at in 0..sound.len() {
            let mut damaged = sound.clone();
            damaged[at] ^= 1;
            fs::write(file.path(), &damaged).unwrap();
            assert_eq!(read_at(directory.path(), &source(), NOW), None, "byte {at}");
        }
    }
}
