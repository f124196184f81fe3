//! The last known keys of each issuer, on disk: a start with the issuer down goes on from them.

use std::collections::BTreeSet;
use std::ffi::OsStr;
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
/// The length of a file's name before its ending.
const DIGEST_DIGITS: usize = 64;

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

/// Deletes the keys of all issuers but these, each with its address. What is deleted is a file that says
/// itself whose it is, under the name that follows from that; whatever else lies there stays.
pub(super) fn forget_others(directory: &Path, issuers: &[(Box<str>, String)]) {
    let keys = directory.join(DIRECTORY);
    let wanted: BTreeSet<PathBuf> =
        issuers.iter().map(|(issuer, url)| path(directory, issuer, url)).collect();
    let files = match fs::read_dir(&keys) {
        Ok(files) => files,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return,
        Err(error) => {
            tracing::error!(path = %keys.display(), %error, "old keys are not deleted");
            return;
        }
    };
    for file in files.flatten().map(|file| file.path()) {
        if wanted.contains(&file) || !is_ours(directory, &file) {
            continue;
        }
        let path = file.display();
        match fs::remove_file(&file) {
            Ok(()) => tracing::info!(%path, "keys of an issuer that is gone are deleted"),
            Err(error) => tracing::error!(%path, %error, "old keys are not deleted"),
        }
    }
}

/// Was this file written here?
fn is_ours(directory: &Path, file: &Path) -> bool {
    let has_our_name = file.file_name().and_then(OsStr::to_str).is_some_and(|name| {
        let digits = name.strip_suffix(".json").unwrap_or_default();
        digits.len() == DIGEST_DIGITS && digits.bytes().all(|digit| digit.is_ascii_hexdigit())
    });
    let is_file = || fs::symlink_metadata(file).is_ok_and(|found| found.is_file());
    if !has_our_name || !is_file() {
        return false;
    }
    let kept = fs::read(file).ok().and_then(|text| serde_json::from_slice::<Kept>(&text).ok());
    kept.is_some_and(|kept| {
        kept.sha256 == kept.checksum() && path(directory, &kept.issuer, &kept.url) == *file
    })
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

    fn files(directory: &Path) -> Vec<PathBuf> {
        let files = fs::read_dir(directory.join(DIRECTORY)).unwrap();
        let mut files: Vec<PathBuf> = files.map(|file| file.unwrap().path()).collect();
        files.sort();
        files
    }

    #[test]
    fn keys_of_issuers_that_are_gone_are_deleted_and_those_of_others_are_not() {
        let directory = written();
        let issuer: Box<str> = "i/../\n\0".into();
        forget_others(directory.path(), &[(issuer.clone(), "https://a/".to_owned())]);
        assert_eq!(files(directory.path()).len(), 1);
        forget_others(directory.path(), &[(issuer, "https://b/".to_owned())]);
        assert_eq!(files(directory.path()).len(), 0);
    }

    #[test]
    fn files_that_were_not_written_here_are_left_alone() {
        let directory = written();
        let ours = files(directory.path()).remove(0);
        let keys = directory.path().join(DIRECTORY);
        let name = "0123456789abcdef".repeat(4);
        // A copy under another name, text under a name like ours, and what is no file at all.
        fs::copy(&ours, keys.join(format!("{name}.json"))).unwrap();
        fs::write(keys.join(format!("{}.json", name.replace('0', "f"))), "{}").unwrap();
        fs::write(keys.join("notes.json"), fs::read(&ours).unwrap()).unwrap();
        fs::create_dir(keys.join(format!("{}.json", name.replace('0', "e")))).unwrap();
        let link = keys.join(format!("{}.json", name.replace('0', "d")));
        std::os::unix::fs::symlink(&ours, link).unwrap();
        let before = files(directory.path());
        forget_others(directory.path(), &[]);
        let kept: Vec<PathBuf> = before.into_iter().filter(|file| *file != ours).collect();
        assert_eq!(files(directory.path()), kept);
    }

    #[test]
    fn without_any_keys_there_is_nothing_to_delete() {
        let directory = tempfile::tempdir().unwrap();
        forget_others(directory.path(), &[]);
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0);
    }
}
