//! `[identity]` as written -> `Identity`: nothing means two things, and keys fit algorithms.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::{
    Algorithm, CookieRule, HeaderRules, HostRules, Identity, IssuerRule, KeySource, Placeholder,
    Scheme, TokenPlace,
};
use crate::document::{Report, Span, Written, beside};
use crate::jwks::{JwksSource, JwksUrl};
use crate::raw::{DomainName, RawHeader, RawHost, RawIdentity, RawIssuer};

/// RFC 8725 asks for small leeways; a minute is what a threat model can bear.
const LEEWAY_MAX: Duration = Duration::from_mins(1);

/// Builds the rules of identity; `file` is where paths are relative to.
pub(super) fn build(raw: &RawIdentity, file: &Path, report: &mut Report) -> Identity {
    Identity {
        conflict: raw.conflict,
        host: host(&raw.host, report),
        header: header(&raw.header, report),
        cookie: raw
            .cookie
            .as_ref()
            .map(|cookie| CookieRule { name: cookie.name.0.clone(), names: cookie.names }),
        token: token_place(raw, report),
        jwt: issuers(&raw.jwt, file, report),
    }
}

fn host(raw: &RawHost, report: &mut Report) -> HostRules {
    let mut patterns: Vec<(Placeholder, Box<str>)> = Vec::with_capacity(raw.patterns.len());
    let mut places: BTreeMap<&str, Span> = BTreeMap::new();
    for Written { value: pattern, span } in &raw.patterns {
        if let Some(first) = places.insert(&pattern.suffix, *span) {
            let domain = pattern.suffix.trim_start_matches('.');
            report
                .error(*span, format!("a second pattern for `{domain}`"))
                .note(first, "first pattern for it")
                .help("one label cannot name two things: remove one of the patterns");
            continue;
        }
        patterns.push((pattern.names, pattern.suffix.clone()));
    }
    HostRules {
        patterns,
        neutral: unique_hosts(&raw.neutral, report),
        unknown: raw.unknown,
        verified_only: unique_hosts(&raw.verified_only, report),
    }
}

fn unique_hosts(hosts: &[Written<DomainName>], report: &mut Report) -> Vec<Box<str>> {
    let mut places: BTreeMap<&DomainName, Span> = BTreeMap::new();
    for Written { value: host, span } in hosts {
        if let Some(first) = places.get(host) {
            report
                .error(*span, format!("host `{}` is listed twice", host.0))
                .note(*first, "first listed here")
                .help("remove one of them");
            continue;
        }
        places.insert(host, *span);
    }
    places.into_keys().map(|host| host.0.clone()).collect()
}

fn header(raw: &RawHeader, report: &mut Report) -> HeaderRules {
    let same = raw.tenant_name.as_ref().filter(|name| name.value == raw.name.value);
    if let Some(same) = same {
        report
            .error(same.span, "one header cannot name both a stamp and a tenant")
            .note(raw.name.span, "names the stamp")
            .help("write for example `tenant_name = \"X-Tenant-Id\"`");
    }
    HeaderRules {
        stamp_name: raw.name.value.0.clone(),
        tenant_name: raw.tenant_name.as_ref().map(|name| name.value.0.clone()),
        accept_from: raw.accept_from,
    }
}

/// Where tokens are read from. A field that has another meaning as well could say two things.
fn token_place(raw: &RawIdentity, report: &mut Report) -> TokenPlace {
    let Some(Written { value: token, span }) = &raw.token else { return TokenPlace::Bearer };
    let help = "write `token = { cookie = \"session\" }` or `token = { header = \"X-Token\" }`";
    match (&token.cookie, &token.header) {
        (Some(cookie), None) => {
            let named = raw.cookie.as_ref().is_some_and(|other| other.name == cookie.value);
            if named {
                report
                    .error(cookie.span, "one cookie cannot be both a token and an identifier")
                    .help("name another one, here or in `[identity.cookie]`");
            }
            TokenPlace::Cookie(cookie.value.0.clone())
        }
        (None, Some(header)) => {
            let identifiers = [Some(&raw.header.name), raw.header.tenant_name.as_ref()];
            if identifiers.into_iter().flatten().any(|other| other.value == header.value) {
                report
                    .error(header.span, "one header cannot be both a token and an identifier")
                    .help("name another one, here or in `[identity.header]`");
            }
            TokenPlace::Header(header.value.0.clone())
        }
        (Some(_), Some(second)) => {
            report.error(second.span, "tokens are read from one place").help(help);
            TokenPlace::Bearer
        }
        (None, None) => {
            report.missing(*span, "`token` names no place").help(help);
            TokenPlace::Bearer
        }
    }
}

/// Where routing.toml names the files that vouch for issuers, in bytes.
pub(super) fn files_of_tls<'r>(
    raw: &'r RawIdentity,
    file: &'r Path,
) -> impl Iterator<Item = (PathBuf, Range<usize>)> + 'r {
    let named = raw.jwt.iter().filter_map(|issuer| issuer.jwks_ca.as_ref());
    named.map(|ca| (beside(file, &ca.value), ca.span.start..ca.span.end))
}

fn issuers(raw: &[RawIssuer], file: &Path, report: &mut Report) -> Vec<IssuerRule> {
    let mut places: BTreeMap<&str, Span> = BTreeMap::new();
    let mut rules = Vec::with_capacity(raw.len());
    for issuer in raw {
        let Written { value: name, span } = &issuer.issuer;
        if let Some(first) = places.get(name.as_str()) {
            report
                .error(*span, format!("issuer `{name}` is declared twice"))
                .note(*first, "first declared here")
                .help("put all audiences and algorithms of an issuer into one `[[identity.jwt]]`");
            continue;
        }
        places.insert(name, *span);
        rules.extend(rule(issuer, file, report));
    }
    rules
}

fn rule(raw: &RawIssuer, file: &Path, report: &mut Report) -> Option<IssuerRule> {
    if raw.leeway.value.0 > LEEWAY_MAX {
        report
            .error(raw.leeway.span, "this leeway is too long")
            .label("expected at most \"60s\"")
            .help(
                "a token may be used this long after it has expired: keep clocks in step instead",
            );
    }
    let audiences = unique(&raw.audiences, ("audience", "api.example.com"), report);
    let algorithms = unique(&raw.algorithms, ("algorithm", "ES256"), report);
    let keys = key_source(raw, file, report)?;
    refuse_keys_of_another_kind(raw, &keys, report);
    Some(IssuerRule {
        issuer: raw.issuer.value.as_str().into(),
        audiences: audiences.iter().map(|audience| audience.as_str().into()).collect(),
        algorithms,
        keys,
        tenant_claim: raw.tenant_claim.0.clone(),
        stamp_claim: raw.stamp_claim.as_ref().map(|claim| claim.0.clone()),
        leeway: raw.leeway.value.0,
    })
}

fn unique<T: Clone + PartialEq>(
    list: &Written<Vec<Written<T>>>,
    (what, example): (&str, &str),
    report: &mut Report,
) -> Vec<T> {
    if list.value.is_empty() && list.span.is_written() {
        report
            .missing(list.span, format!("at least one {what} must be named"))
            .help(format!("name one: `{what}s = [\"{example}\"]`"));
    }
    let mut kept: Vec<&Written<T>> = Vec::with_capacity(list.value.len());
    for item in &list.value {
        match kept.iter().find(|first| first.value == item.value) {
            Some(first) => {
                report
                    .error(item.span, format!("this {what} is listed twice"))
                    .note(first.span, "first listed here")
                    .help("remove one of them");
            }
            None => kept.push(item),
        }
    }
    kept.into_iter().map(|item| item.value.clone()).collect()
}

fn key_source(raw: &RawIssuer, file: &Path, report: &mut Report) -> Option<KeySource> {
    let by_path = |path: &Option<Written<PathBuf>>, make: fn(PathBuf) -> KeySource| {
        path.as_ref().map(|path| (path.span, make(beside(file, &path.value))))
    };
    let by_url = raw.jwks_url.as_ref().map(|url| {
        let source = jwks_source(&url.value, raw, file);
        (url.span, KeySource::JwksUrl(Box::new(source)))
    });
    let sources = [
        by_url,
        by_path(&raw.jwks_file, KeySource::JwksFile),
        by_path(&raw.public_key_file, KeySource::PublicKeyFile),
        by_path(&raw.hmac_secret_file, KeySource::HmacSecretFile),
    ];
    let mut given = sources.into_iter().flatten();
    let help = "write exactly one of `jwks_url`, `jwks_file`, `public_key_file` and \
                `hmac_secret_file`";
    let Some((span, source)) = given.next() else {
        let message = format!("issuer `{}` has no keys", raw.issuer.value);
        report.missing(raw.issuer.span, message).help(help);
        return None;
    };
    if let Some((second, _)) = given.next() {
        report
            .error(second, format!("issuer `{}` has keys in two places", raw.issuer.value))
            .note(span, "keys here")
            .help(help);
    }
    judge_fetching(raw, &source, report);
    Some(source)
}

fn jwks_source(url: &JwksUrl, raw: &RawIssuer, file: &Path) -> JwksSource {
    JwksSource {
        url: url.clone(),
        refresh: raw.jwks_refresh.value.0,
        stale: raw.jwks_stale.value.0,
        ca: raw.jwks_ca.as_ref().map(|ca| beside(file, &ca.value)),
    }
}

/// What is said of fetching must fit together, and is of no use for keys in files.
fn judge_fetching(raw: &RawIssuer, source: &KeySource, report: &mut Report) {
    let KeySource::JwksUrl(source) = source else {
        let spans = [raw.jwks_refresh.span, raw.jwks_stale.span];
        let ca = raw.jwks_ca.as_ref().map(|ca| ca.span);
        for span in spans.into_iter().chain(ca).filter(|span| span.is_written()) {
            report
                .error(span, format!("the keys of issuer `{}` are not fetched", raw.issuer.value))
                .help("remove it, or write `jwks_url`");
        }
        return;
    };
    if source.stale < source.refresh {
        let shorter = [raw.jwks_stale.span, raw.jwks_refresh.span];
        let written = shorter.into_iter().find(|span| span.is_written());
        report
            .error(
                written.unwrap_or(raw.issuer.span),
                "keys would end before they are fetched again",
            )
            .help("write a `jwks_stale` that is longer than `jwks_refresh`");
    }
    if let (Scheme::Http, Some(ca)) = (source.url.scheme, &raw.jwks_ca) {
        report
            .error(ca.span, "these keys are not fetched over TLS")
            .help("write `https://` in `jwks_url`, or remove `jwks_ca`");
    }
}

/// A shared secret checks HS256 and nothing else, and nothing else checks HS256: with a public key
/// taken for a secret, everybody could sign (RFC 8725, section 2.1).
fn refuse_keys_of_another_kind(raw: &RawIssuer, keys: &KeySource, report: &mut Report) {
    let is_secret = matches!(keys, KeySource::HmacSecretFile(_));
    for Written { value: algorithm, span } in &raw.algorithms.value {
        if (*algorithm == Algorithm::HS256) == is_secret {
            continue;
        }
        let (message, help) = if is_secret {
            ("a shared secret verifies HS256 only", "write `algorithms = [\"HS256\"]`")
        } else {
            ("HS256 needs a shared secret", "write `hmac_secret_file`, or another algorithm")
        };
        report.error(*span, message).help(help);
    }
}
