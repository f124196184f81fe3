//! Who may use the admin plane: tokens with roles, allowed hosts, no browser of another origin.
//! Decided per request by `guard`, before any handler.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use aws_lc_rs::{constant_time, digest};
use http::header::{AUTHORIZATION, HOST, HeaderName, ORIGIN};
use http::{HeaderMap, Method, StatusCode, Uri, request};

use super::problem::Problem;
use crate::diagnostics::Report;
use crate::settings::{AdminToken, Role, Settings};

/// The largest token digest file, in bytes.
const DIGEST_FILE_BYTES_MAX: usize = 4 * 1024;
/// The actor of audit lines where nobody must name himself.
const LOCAL: &str = "local";
const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// The rules of the admin plane in force.
#[derive(Debug)]
pub struct Access {
    entry: Entry,
    /// `admin.allowed_hosts`: lower case, without ports, IPv6 with its brackets.
    allowed_hosts: Vec<Box<str>>,
}

#[derive(Debug)]
enum Entry {
    /// No token is configured: loopback and the unix socket are open, all else is closed.
    Local,
    /// Every door asks for one of these.
    Tokens(Vec<Token>),
}

/// One token: its owner's id, and not itself but its hash.
#[derive(Debug)]
struct Token {
    id: Box<str>,
    role: Role,
    digest: Digest,
}

/// SHA-256 of a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Digest([u8; 32]);

/// Through which door a request came in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Door {
    /// TCP, bound to loopback.
    Loopback,
    /// TCP, bound to anything else.
    Network,
    /// A unix socket: who may open it is the file system's business.
    UnixSocket,
}

/// Who asks, for the audit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Actor(pub Box<str>);

/// A digest file that cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("{}: {fault}", path.display())]
pub struct DigestFileError {
    /// The file.
    pub path: PathBuf,
    /// Why.
    #[source]
    pub fault: DigestFault,
}

/// What is wrong with a digest file.
#[derive(Debug, thiserror::Error)]
pub enum DigestFault {
    /// It cannot be read.
    #[error("cannot be read: {0}")]
    Read(#[from] io::Error),
    /// It holds something else.
    #[error("must hold the SHA-256 of the token, as 64 hexadecimal digits")]
    NoDigest,
}

impl Digest {
    /// The digest of this token.
    #[must_use]
    pub fn of(token: &[u8]) -> Self {
        let mut bytes = [0; 32];
        bytes.copy_from_slice(digest::digest(&digest::SHA256, token).as_ref());
        Self(bytes)
    }

    /// Reads what `sha256sum` prints: 64 hexadecimal digits, perhaps a file name after them.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let hex = text.split_ascii_whitespace().next()?.as_bytes();
        let mut bytes = [0; 32];
        if hex.len() != bytes.len() * 2 {
            return None;
        }
        for (byte, pair) in bytes.iter_mut().zip(hex.chunks_exact(2)) {
            let [high, low] = pair else { return None };
            *byte = nibble(*high)? << 4 | nibble(*low)?;
        }
        Some(Self(bytes))
    }

    /// Reads the file of a token.
    pub fn read(path: &Path) -> Result<Self, DigestFileError> {
        let error = |fault| DigestFileError { path: path.to_owned(), fault };
        let text = fs::read(path).map_err(|source| error(source.into()))?;
        let text = std::str::from_utf8(&text).ok().filter(|it| it.len() <= DIGEST_FILE_BYTES_MAX);
        text.and_then(Self::parse).ok_or_else(|| error(DigestFault::NoDigest))
    }
}

fn nibble(hex: u8) -> Option<u8> {
    char::from(hex).to_digit(16).and_then(|digit| u8::try_from(digit).ok())
}

impl Access {
    /// Reads the digests of these tokens. One that cannot be read opens nothing, and never makes
    /// the others or their absence open more.
    #[must_use]
    pub fn read(tokens: &[AdminToken], allowed_hosts: &[Box<str>]) -> (Self, Vec<DigestFileError>) {
        let (mut read, mut errors) = (Vec::new(), Vec::new());
        for token in tokens {
            match Digest::read(&token.sha256_file) {
                Ok(digest) => {
                    read.push(Token { id: token.id.clone(), role: token.role, digest });
                }
                Err(error) => errors.push(error),
            }
        }
        let entry = if tokens.is_empty() { Entry::Local } else { Entry::Tokens(read) };
        (Self { entry, allowed_hosts: allowed_hosts.to_vec() }, errors)
    }

    /// May this request pass, and who asks?
    pub(super) fn admit(&self, request: &request::Parts, door: Door) -> Result<Actor, Problem> {
        self.check_host(request, door)?;
        check_origin(&request.headers)?;
        if is_public(&request.uri) {
            return Ok(Actor("anonymous".into()));
        }
        let tokens = match &self.entry {
            Entry::Local if door == Door::Network => return Err(Problem::unauthorized()),
            Entry::Local => return Ok(Actor(LOCAL.into())),
            Entry::Tokens(tokens) => tokens,
        };
        let token = owner(tokens, &request.headers).ok_or_else(Problem::unauthorized)?;
        let looks = is_looking(&request.method) || is_question(&request.uri);
        let wanted = if looks { Role::Viewer } else { Role::Operator };
        if token.role < wanted {
            let detail = "This token may look, but not change anything.";
            return Err(Problem::new(StatusCode::FORBIDDEN, "operator_required", detail)
                .by(Actor(token.id.clone())));
        }
        Ok(Actor(token.id.clone()))
    }

    /// Against DNS rebinding: a page of a foreign name that resolves to us still names its own host.
    fn check_host(&self, request: &request::Parts, door: Door) -> Result<(), Problem> {
        if door == Door::UnixSocket {
            return Ok(());
        }
        let detail = "This host is not in admin.allowed_hosts.";
        let refused =
            || Problem::new(StatusCode::MISDIRECTED_REQUEST, "misdirected_request", detail);
        let mut fields = request.headers.get_all(HOST).iter();
        let host = fields.next().and_then(|host| host.to_str().ok()).ok_or_else(refused)?;
        if fields.next().is_some() {
            return Err(refused());
        }
        let of_target = request.uri.authority().map(http::uri::Authority::as_str);
        let all_allowed = [Some(host), of_target].into_iter().flatten().all(|host| {
            let host = without_port(host).to_ascii_lowercase();
            self.allowed_hosts.iter().any(|allowed| **allowed == *host)
        });
        if all_allowed { Ok(()) } else { Err(refused()) }
    }
}

/// Whose token this is. All are compared, each in constant time.
fn owner<'a>(tokens: &'a [Token], headers: &HeaderMap) -> Option<&'a Token> {
    let mut fields = headers.get_all(AUTHORIZATION).iter();
    let credentials = fields.next()?.as_bytes();
    if fields.next().is_some() {
        return None;
    }
    let (scheme, token) = credentials.split_at_checked("Bearer ".len())?;
    if !scheme.eq_ignore_ascii_case(b"Bearer ") {
        return None;
    }
    let presented = Digest::of(token.trim_ascii());
    tokens.iter().fold(None, |found, token| {
        let same = constant_time::verify_slices_are_equal(&token.digest.0, &presented.0);
        if same.is_ok() { Some(token) } else { found }
    })
}

/// Can every token of these settings be used? A start and `stampgate check` refuse otherwise; a
/// reload says it in the log, and the token opens nothing.
pub fn check(settings: &Settings) -> Result<(), Report> {
    let (_, errors) = Access::read(&settings.live.admin_tokens, &settings.admin.allowed_hosts);
    if errors.is_empty() {
        return Ok(());
    }
    let files = errors.iter().map(|error| (error.path.as_path(), error.fault.to_string()));
    Err(Report::of_files(files))
}

/// Does this method only look?
pub(super) fn is_looking(method: &Method) -> bool {
    *method == Method::GET || *method == Method::HEAD
}

/// Is this asked by POST and changes nothing all the same?
fn is_question(uri: &Uri) -> bool {
    matches!(uri.path(), "/v1/config/validate" | "/v1/config/diff" | "/v1/explain")
}

/// What probes and scrapers read without a token.
fn is_public(uri: &Uri) -> bool {
    matches!(uri.path(), "/livez" | "/healthz" | "/readyz" | "/metrics")
}

/// Nothing here is for browsers, so whatever a page of any origin sends is refused.
fn check_origin(headers: &HeaderMap) -> Result<(), Problem> {
    let is_cross_site =
        headers.get_all(SEC_FETCH_SITE).iter().any(|site| site.as_bytes() == b"cross-site");
    if headers.contains_key(ORIGIN) || is_cross_site {
        let detail = "The admin plane takes no requests from web pages.";
        return Err(Problem::new(StatusCode::FORBIDDEN, "cross_origin", detail));
    }
    Ok(())
}

fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    }
}

#[cfg(test)]
mod tests;
