//! What a certificate says of itself: whom it is for, and how long it is good.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::Path;

use rustls::CertificateError;
use rustls::pki_types::CertificateDer;
use stamp_core::certificate::CertificateName;
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

use crate::tls::material::in_file;
use crate::tls::{TlsError, TlsFault};

/// What is of use here.
#[derive(Clone, Debug)]
pub(super) struct Facts {
    /// Its subject alternative names. Never empty.
    pub(super) names: Vec<CertificateName>,
    /// The first of them, as it stands there.
    pub(super) name: Box<str>,
    /// The first second that it is good, since 1970.
    pub(super) not_before_s: i64,
    /// The last one.
    pub(super) not_after_s: i64,
}

impl Facts {
    /// Reads the first certificate of the file at `path`.
    pub(super) fn of(path: &Path, first: Option<&CertificateDer<'_>>) -> Result<Self, TlsError> {
        let bad = || {
            let source = rustls::Error::InvalidCertificate(CertificateError::BadEncoding);
            in_file(path, TlsFault::BadCertificate { path: path.to_owned(), source })
        };
        let der = first.ok_or_else(bad)?;
        let (_, certificate) = X509Certificate::from_der(der).map_err(|_malformed| bad())?;
        let named = certificate.subject_alternative_name().map_err(|_malformed| bad())?;
        let named = named.map(|extension| &*extension.value.general_names).unwrap_or_default();
        let names: Vec<CertificateName> = named.iter().filter_map(name).collect();
        let Some(name) = names.first().map(CertificateName::shown) else {
            return Err(in_file(path, TlsFault::NoNames(path.to_owned())));
        };
        let validity = certificate.validity();
        let (not_before_s, not_after_s) =
            (validity.not_before.timestamp(), validity.not_after.timestamp());
        Ok(Self { names, name: name.into(), not_before_s, not_after_s })
    }

    /// Why no client takes it at this time, if so.
    pub(super) const fn doubt(&self, now_s: i64) -> Option<&'static str> {
        if now_s > self.not_after_s {
            return Some("the certificate is expired: clients will not take it");
        }
        if now_s < self.not_before_s {
            return Some("the certificate is not good yet: clients will not take it");
        }
        None
    }
}

fn name(name: &GeneralName<'_>) -> Option<CertificateName> {
    #[expect(clippy::wildcard_enum_match_arm, reason = "hosts have no other kinds of names")]
    match name {
        GeneralName::DNSName(text) => CertificateName::parse(text),
        GeneralName::IPAddress(bytes) => address(bytes).map(CertificateName::of_address),
        _ => None,
    }
}

fn address(bytes: &[u8]) -> Option<IpAddr> {
    if let Ok(v4) = <[u8; 4]>::try_from(bytes) {
        return Some(Ipv4Addr::from(v4).into());
    }
    <[u8; 16]>::try_from(bytes).ok().map(|v6| Ipv6Addr::from(v6).into())
}
