//! The host of a request and what it means: custom domain, pattern, neutral, or not ours.

use std::borrow::Cow;

use http::Version;
use http::header::HOST;

use super::{Head, IdentifyError, named};
use crate::certificate::{CertificateIndex, Certificates};
use crate::clue::{Clue, Source};
use crate::host::{self, Authority, label_under};
use crate::id::TenantId;
use crate::table::{HostRules, RoutingTable, UnknownHost};

/// What the host says, and whether that host demands a verified identity.
pub fn of_host<'a>(
    head: &Head<'a>,
    table: &'a RoutingTable,
) -> Result<(Option<Clue<'a>>, bool), IdentifyError> {
    let rules = &table.identity.host;
    let Some(authority) = authority(head)? else {
        return match rules.unknown {
            UnknownHost::Ignore => Ok((None, false)),
            UnknownHost::Reject => Err(IdentifyError::Misdirected),
        };
    };
    let name = authority.host;
    let demands_verified = holds(&rules.verified_only, &name);
    // Exact names go before patterns: a neutral host may lie among the tenants' hosts.
    if let Some(tenant) = table.find_domain(&name) {
        let tenant = TenantId::of_directory(table.directory.name(tenant));
        let clue = Clue { source: Source::Host, tenant: Some(tenant), stamp: None };
        return Ok((Some(clue), demands_verified));
    }
    if holds(&rules.neutral, &name) {
        return Ok((None, demands_verified));
    }
    let clue = match name {
        Cow::Borrowed(name) => by_pattern(name, rules)?,
        Cow::Owned(name) => by_pattern(&name, rules)?.map(Clue::into_owned),
    };
    if clue.is_none() && !demands_verified && rules.unknown == UnknownHost::Reject {
        return Err(IdentifyError::Misdirected);
    }
    Ok((clue, demands_verified))
}

/// On TLS, the host must be one that the certificate in use is for (RFC 9110, section 7.4); a request
/// that names none passes here.
pub fn check_covered(
    head: &Head<'_>,
    certificates: &Certificates,
    in_use: CertificateIndex,
) -> Result<(), IdentifyError> {
    let is_covered =
        authority(head)?.is_none_or(|authority| certificates.covers(in_use, &authority.host));
    if is_covered { Ok(()) } else { Err(IdentifyError::Misdirected) }
}

fn by_pattern<'h>(name: &'h str, rules: &HostRules) -> Result<Option<Clue<'h>>, IdentifyError> {
    let found = rules
        .patterns
        .iter()
        .find_map(|(names, suffix)| Some((*names, label_under(name, suffix)?)));
    match found {
        Some((names, label)) => named(Source::Host, names, label).map(Some),
        None => Ok(None),
    }
}

fn holds(sorted: &[Box<str>], name: &str) -> bool {
    sorted.binary_search_by(|known| (**known).cmp(name)).is_ok()
}

/// The one authority of the request; an error when it has two.
fn authority<'a>(head: &Head<'a>) -> Result<Option<Authority<'a>>, IdentifyError> {
    let field = match host_field(head)? {
        Some(text) => Some(host::parse(text).map_err(IdentifyError::Host)?),
        None => None,
    };
    let target = match head.authority {
        Some(text) => Some(host::parse(text).map_err(IdentifyError::Host)?),
        None => None,
    };
    match (target, field) {
        (Some(target), Some(field)) if !is_same(&target, &field) => {
            Err(IdentifyError::HostsDisagree)
        }
        (None, None) if must_name_host(head.version) => Err(IdentifyError::NoHost),
        // HTTP/1.1 demands the field even beside an absolute-form target (RFC 9112, section 3.2.2).
        (Some(_), None) if head.version == Version::HTTP_11 => Err(IdentifyError::NoHost),
        (Some(target), _) => Ok(Some(target)),
        (None, field) => Ok(field),
    }
}

fn must_name_host(version: Version) -> bool {
    version > Version::HTTP_10
}

fn host_field<'a>(head: &Head<'a>) -> Result<Option<&'a str>, IdentifyError> {
    let mut fields = head.headers.get_all(HOST).iter();
    let first = fields.next();
    if fields.next().is_some() {
        return Err(IdentifyError::SeveralHosts);
    }
    let Some(value) = first else { return Ok(None) };
    let bytes = value.as_bytes();
    match std::str::from_utf8(bytes) {
        Ok(text) => Ok(Some(text)),
        Err(error) => {
            let byte = bytes.get(error.valid_up_to()).copied().unwrap_or_default();
            Err(IdentifyError::Host(host::HostError::BadByte { byte }))
        }
    }
}

/// Equal hosts, and ports that differ at most in a scheme's own port being left out.
fn is_same(one: &Authority<'_>, other: &Authority<'_>) -> bool {
    let is_port_same = match (one.port, other.port) {
        (None, Some(port)) | (Some(port), None) => matches!(port, 80 | 443),
        (one, other) => one == other,
    };
    one.host == other.host && is_port_same
}
