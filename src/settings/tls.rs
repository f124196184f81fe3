//! `tls` of a listener as written -> what its handshakes need. The files themselves are `tls`'s to
//! read; here is what can be told from the text.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use stamp_core::certificate::UnknownName;
use stamp_core::document::{Report, Written, beside};
use stamp_core::words;

use super::Protocol;
use super::raw::RawListenerTls;

/// How a listener shakes hands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListenerTls {
    /// Its certificates. Never empty; the first is the default.
    pub certificates: Vec<CertificateFiles>,
    /// The oldest version that is spoken.
    pub min_version: TlsVersion,
    /// Whether clients show certificates.
    pub client_auth: ClientAuth,
    /// What a client gets that asks for no name, or for one that is not known.
    pub unknown_name: UnknownName,
    /// What is spoken over it, what is liked best first.
    pub protocols: Vec<Protocol>,
}

/// A certificate with those that lead to its issuer, and its private key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateFiles {
    /// The chain.
    pub cert: PathBuf,
    /// The key.
    pub key: PathBuf,
}

/// A version of TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TlsVersion {
    /// 1.2 (RFC 5246).
    Tls12,
    /// 1.3 (RFC 8446).
    Tls13,
}

/// Whether clients show certificates.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClientAuth {
    /// They are not asked.
    None,
    /// Those who show one must have it of an authority in this file.
    Optional(PathBuf),
    /// All must have one of an authority in this file.
    Required(PathBuf),
}

/// The word for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ClientAuthWord {
    None,
    Optional,
    Required,
}

words! {
    TlsVersion { "1.2" => Self::Tls12, "1.3" => Self::Tls13 }
    ClientAuthWord {
        "none" => Self::None,
        "optional" => Self::Optional,
        "required" => Self::Required,
    }
}

/// Builds what the keys say. What is wrong is in the report, and it is then good for nothing.
pub(super) fn listener_tls(
    (raw, protocols): (&Written<RawListenerTls>, &[Protocol]),
    file: &Path,
    report: &mut Report,
) -> ListenerTls {
    let Written { value: raw, span: _ } = raw;
    let mut places = BTreeMap::new();
    let mut certificates = Vec::with_capacity(raw.certificates.value.len());
    for Written { value: pair, .. } in &raw.certificates.value {
        let Written { value: cert, span } = &pair.cert;
        if let Some(first) = places.insert(cert, *span) {
            report
                .error(*span, format!("certificate `{}` is listed twice", cert.display()))
                .note(first, "first listed here")
                .help("remove one of them");
        }
        certificates
            .push(CertificateFiles { cert: beside(file, cert), key: beside(file, &pair.key) });
    }
    if certificates.is_empty() && raw.certificates.span.is_written() {
        report
            .missing(raw.certificates.span, "no certificate is listed")
            .help("write `certificates = [{ cert = \"tls/site.crt\", key = \"tls/site.key\" }]`");
    }
    ListenerTls {
        certificates,
        min_version: raw.min_version,
        client_auth: client_auth(raw, file, report),
        unknown_name: if raw.strict_sni { UnknownName::Refuse } else { UnknownName::First },
        protocols: protocols.to_vec(),
    }
}

fn client_auth(raw: &RawListenerTls, file: &Path, report: &mut Report) -> ClientAuth {
    let Written { value: word, span } = &raw.client_auth;
    match (word, &raw.client_ca) {
        (ClientAuthWord::None, None) => ClientAuth::None,
        (ClientAuthWord::None, Some(ca)) => {
            report
                .error(ca.span, "`client_ca` is of no use while no client is asked")
                .help("add `client_auth = \"required\"` or `\"optional\"`, or remove `client_ca`");
            ClientAuth::None
        }
        (ClientAuthWord::Optional | ClientAuthWord::Required, None) => {
            report
                .error(*span, "nobody is named who vouches for clients")
                .help("add `client_ca`: a file with the certificates of their authorities");
            ClientAuth::None
        }
        (ClientAuthWord::Optional, Some(ca)) => ClientAuth::Optional(beside(file, &ca.value)),
        (ClientAuthWord::Required, Some(ca)) => ClientAuth::Required(beside(file, &ca.value)),
    }
}
