//! `tls` of a stamp as written -> what its `https://` endpoints are spoken to with. The files
//! themselves are the shell's to read; here is what can be told from the text.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::{Path, PathBuf};

use super::Scheme;
use crate::document::{Report, Span, Written, beside};
use crate::raw::{EndpointUrl, RawRouting, RawStamp, RawTls, parse_certificate_name};

/// How a stamp proves who it is, and the gateway to it. It always does: verification has no switch.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TlsPolicy {
    /// The certificates that vouch for the stamp's own; `None` = those that the system trusts.
    pub ca: Option<PathBuf>,
    /// Whom the stamp's certificate must name; `None` = the host of each endpoint.
    pub server_name: Option<Box<str>>,
    /// Who the gateway is, where the stamp demands to know.
    pub identity: Option<ClientIdentity>,
}

/// A certificate of the gateway's own and its private key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientIdentity {
    /// The certificate, and those that lead to its issuer.
    pub cert: PathBuf,
    /// Its private key.
    pub key: PathBuf,
}

/// Where routing.toml names the files of TLS.
#[derive(Debug, Default)]
pub(super) struct TlsPlaces {
    /// routing.toml: paths are relative to its directory.
    file: PathBuf,
    /// The `tls` of `[defaults.stamp]`, which stamps without an `https://` endpoint inherit as well.
    inherited: Option<Span>,
    named: BTreeMap<PathBuf, Range<usize>>,
}

impl TlsPlaces {
    pub(super) fn of(file: &Path, raw: &RawRouting) -> Self {
        let inherited = raw.defaults.stamp.tls.as_ref().map(|tls| tls.span);
        Self { file: file.to_owned(), inherited, named: BTreeMap::new() }
    }

    /// Where each file is first named, in bytes of routing.toml.
    pub(super) fn into_files(self) -> BTreeMap<PathBuf, Range<usize>> {
        self.named
    }

    /// What a stamp is spoken to with; `None` if it has no `https://` endpoint.
    pub(super) fn policy(&mut self, raw: &RawStamp, report: &mut Report) -> Option<TlsPolicy> {
        let written = raw.policy.tls.as_ref();
        let urls = raw.endpoints.value.iter().map(|endpoint| &endpoint.value.url);
        let over_tls: Vec<_> = urls.filter(|url| url.value.scheme == Scheme::Https).collect();
        if over_tls.is_empty() {
            let has_endpoints = !raw.endpoints.value.is_empty();
            let own = written.filter(|tls| Some(tls.span) != self.inherited && has_endpoints);
            if let Some(tls) = own {
                report
                    .error(tls.span, format!("no endpoint of stamp `{}` uses TLS", raw.id.value.0))
                    .help("write `https://` in its `endpoints`, or remove `tls`");
            }
            return None;
        }
        let policy = written.map(|tls| self.read(&tls.value, report)).unwrap_or_default();
        if policy.server_name.is_none() {
            for url in over_tls {
                refuse_host_that_no_certificate_names(url, report);
            }
        }
        Some(policy)
    }

    fn read(&mut self, raw: &RawTls, report: &mut Report) -> TlsPolicy {
        let identity = match (&raw.cert, &raw.key) {
            (Some(cert), Some(key)) => {
                Some(ClientIdentity { cert: self.place(cert), key: self.place(key) })
            }
            (Some(alone), None) => {
                let help = "add `key`: the file with the private key of this certificate";
                report.error(alone.span, "`cert` is of no use without `key`").help(help);
                None
            }
            (None, Some(alone)) => {
                let help = "add `cert`: the file with the certificate of this key";
                report.error(alone.span, "`key` is of no use without `cert`").help(help);
                None
            }
            (None, None) => None,
        };
        TlsPolicy {
            ca: raw.ca.as_ref().map(|ca| self.place(ca)),
            server_name: raw.server_name.as_ref().map(|name| name.value.0.clone()),
            identity,
        }
    }

    /// Where the file is; notes where it is named.
    fn place(&mut self, named: &Written<PathBuf>) -> PathBuf {
        let path = beside(&self.file, &named.value);
        let Span { start, end } = named.span;
        self.named.entry(path.clone()).or_insert(start..end);
        path
    }
}

/// Hosts may be spelled more freely than names in certificates.
fn refuse_host_that_no_certificate_names(url: &Written<EndpointUrl>, report: &mut Report) {
    // Underscores are no letters of a host name, and are in certificates all the same.
    let plain = url.value.host.replace('_', "x");
    if parse_certificate_name(&plain).is_err() {
        report
            .error(url.span, format!("no certificate can be for host `{}`", url.value.host))
            .help("write the name in its certificate: `tls = { server_name = \"...\" }`");
    }
}
