//! Which of several certificates serves a name, and whether a host may be asked for over it: names
//! of certificates as RFC 9525 reads them, exact or with one label left open.

use hashbrown::HashMap;

use crate::host;

/// The place of a certificate among those of its listener: 0 is the first one declared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CertificateIndex(pub u16);

/// One name that a certificate is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CertificateName {
    /// This host alone: in lower case, an IPv6 address in brackets.
    Exact(Box<str>),
    /// Every host with one label before this suffix, which begins with its dot.
    Under(Box<str>),
}

impl CertificateName {
    /// Reads a DNS name of a certificate: `acme.example.com` or `*.example.com`. `None` = no host can
    /// be meant by it: a star within a label, or anywhere but in front (RFC 9525, section 6.3).
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (rest, is_open) = match text.strip_prefix("*.") {
            Some(rest) => (rest, true),
            None => (text, false),
        };
        let authority = host::parse(rest).ok()?;
        let is_name = authority.port.is_none() && !rest.contains([':', '[']);
        if !is_name {
            return None;
        }
        if !is_open {
            return Some(Self::Exact(authority.host.into()));
        }
        // `*.0.0.1` would be for addresses.
        let last = authority.host.rsplit('.').next().unwrap_or_default();
        let is_number = last.bytes().all(|byte| byte.is_ascii_digit());
        (!is_number).then(|| Self::Under(format!(".{}", authority.host).into()))
    }

    /// The name of an address.
    #[must_use]
    pub fn of_address(address: core::net::IpAddr) -> Self {
        Self::Exact(match address {
            core::net::IpAddr::V4(address) => address.to_string().into(),
            core::net::IpAddr::V6(address) => format!("[{address}]").into(),
        })
    }

    /// As it stands in the certificate.
    #[must_use]
    pub fn shown(&self) -> String {
        match self {
            Self::Exact(name) => name.to_string(),
            Self::Under(suffix) => format!("*{suffix}"),
        }
    }
}

/// The certificates of one listener, by the names that they are for.
#[derive(Clone, Debug, Default)]
pub struct Certificates {
    exact: HashMap<Box<str>, Vec<CertificateIndex>>,
    /// By suffix, which begins with its dot.
    under: HashMap<Box<str>, Vec<CertificateIndex>>,
}

impl Certificates {
    /// Takes the names of each certificate, in the order of declaration.
    pub fn new<'n>(certificates: impl Iterator<Item = &'n [CertificateName]>) -> Self {
        let mut known = Self::default();
        for (names, index) in certificates.zip((0..).map(CertificateIndex)) {
            for name in names {
                let (names, key) = match name {
                    CertificateName::Exact(name) => (&mut known.exact, name),
                    CertificateName::Under(suffix) => (&mut known.under, suffix),
                };
                let same = names.entry(key.clone()).or_default();
                if !same.contains(&index) {
                    same.push(index);
                }
            }
        }
        known
    }

    /// The certificates that are for this host (lower case, no final dot), in the order of
    /// declaration: those that name it, else those that leave its first label open. Several differ
    /// in their keys: a client may know one kind alone.
    #[must_use]
    pub fn of(&self, host: &str) -> &[CertificateIndex] {
        if let Some(exact) = self.exact.get(host) {
            return exact;
        }
        let suffix = host.find('.').and_then(|dot| host.get(dot..));
        let open = suffix.and_then(|suffix| self.under.get(suffix));
        open.map(Vec::as_slice).unwrap_or_default()
    }

    /// May this host be asked for over a connection that shows this certificate? Not if another
    /// certificate is the one for that host, though this one has a name for it as well: what holds
    /// for the other name, its clients' certificates for example, may not hold here (RFC 9110,
    /// section 7.4).
    #[must_use]
    pub fn covers(&self, in_use: CertificateIndex, host: &str) -> bool {
        self.of(host).contains(&in_use)
    }

    /// The certificates for the name that a client asks for (SNI, RFC 6066, section 3); the first of
    /// all where it asks for none, or for one that nobody has, unless names are demanded. Empty = the
    /// handshake is refused.
    #[must_use]
    pub fn chosen(&self, asked: Option<&str>, unknown: UnknownName) -> &[CertificateIndex] {
        let host = asked.and_then(|name| host::parse(name).ok());
        let found = host.map(|authority| self.of(&authority.host)).unwrap_or_default();
        match unknown {
            UnknownName::First if found.is_empty() => &[CertificateIndex(0)],
            UnknownName::First | UnknownName::Refuse => found,
        }
    }
}

/// What a client gets that asks for no name, or for one that no certificate is for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum UnknownName {
    /// The first certificate.
    #[default]
    First,
    /// The alert `unrecognized_name`.
    Refuse,
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const FIRST: CertificateIndex = CertificateIndex(0);
    const SECOND: CertificateIndex = CertificateIndex(1);

    fn names(texts: &[&str]) -> Vec<CertificateName> {
        texts.iter().map(|text| CertificateName::parse(text).unwrap()).collect()
    }

    fn certificates(of: &[&[&str]]) -> Certificates {
        let of: Vec<_> = of.iter().map(|texts| names(texts)).collect();
        Certificates::new(of.iter().map(Vec::as_slice))
    }

    #[test]
    fn an_exact_name_is_for_that_host_alone() {
        let known = certificates(&[&["acme.app.test"]]);
        assert_eq!(known.of("acme.app.test"), [FIRST]);
        for host in ["app.test", "a.acme.app.test", "acme.app.test.evil.test", "globex.app.test"] {
            assert!(known.of(host).is_empty(), "{host}");
        }
    }

    #[test]
    fn a_star_stands_for_one_whole_label() {
        let known = certificates(&[&["*.app.test"]]);
        assert_eq!(known.of("acme.app.test"), [FIRST]);
        for host in ["app.test", "a.acme.app.test", ".app.test.test", "acmeapp.test"] {
            assert!(known.of(host).is_empty(), "{host}");
        }
    }

    #[test]
    fn a_star_elsewhere_is_no_name() {
        for text in ["*", "a.*.test", "a*.app.test", "*a.app.test", "**.test", "*.*.test", "*."] {
            assert_eq!(CertificateName::parse(text), None, "{text}");
        }
    }

    #[test]
    fn what_is_no_host_is_no_name() {
        for text in ["", "a b", "a.test:443", "[::1]", "a..test", "*.0.0.1", "\u{e4}.test"] {
            assert_eq!(CertificateName::parse(text), None, "{text}");
        }
    }

    #[test]
    fn names_are_compared_in_lower_case() {
        let known = certificates(&[&["ACME.App.Test"]]);
        assert_eq!(known.chosen(Some("acme.APP.test"), UnknownName::Refuse), [FIRST]);
    }

    #[test]
    fn addresses_are_named_as_hosts_are() {
        let name = |text: &str| CertificateName::of_address(text.parse().unwrap()).shown();
        assert_eq!([name("127.0.0.1"), name("0:0::1")], ["127.0.0.1", "[::1]"]);
    }

    #[test]
    fn an_exact_name_goes_before_an_open_one() {
        let known = certificates(&[&["*.app.test"], &["acme.app.test"]]);
        assert_eq!(known.of("acme.app.test"), [SECOND]);
        assert_eq!(known.of("globex.app.test"), [FIRST]);
    }

    #[test]
    fn a_host_that_has_a_certificate_of_its_own_is_not_asked_for_over_another() {
        let known = certificates(&[&["*.app.test"], &["acme.app.test"]]);
        assert!(!known.covers(FIRST, "acme.app.test"));
        assert!(known.covers(SECOND, "acme.app.test"));
        assert!(known.covers(FIRST, "globex.app.test"));
        assert!(!known.covers(SECOND, "globex.app.test"));
    }

    #[test]
    fn two_certificates_of_one_name_are_both_for_it() {
        let known = certificates(&[&["acme.app.test"], &["acme.app.test", "acme.app.test"]]);
        assert_eq!(known.of("acme.app.test"), [FIRST, SECOND]);
    }

    #[test]
    fn the_first_certificate_serves_who_asks_for_no_name_that_is_known() {
        let known = certificates(&[&["a.test"], &["b.test"]]);
        for asked in [None, Some("c.test"), Some("not a host")] {
            assert_eq!(known.chosen(asked, UnknownName::First), [FIRST], "{asked:?}");
            assert!(known.chosen(asked, UnknownName::Refuse).is_empty(), "{asked:?}");
        }
        assert_eq!(known.chosen(Some("b.test"), UnknownName::First), [SECOND]);
    }

    /// Does this name, read label by label, mean this host?
    fn means(name: &str, host: &str) -> bool {
        let (name, host): (Vec<_>, Vec<_>) = (name.split('.').collect(), host.split('.').collect());
        let same = |(name, host): (&&str, &&str)| *name == "*" || name == host;
        name.len() == host.len() && name.iter().zip(&host).all(same)
    }

    fn name() -> impl Strategy<Value = String> {
        "(\\*\\.)?[ab](\\.[ab]){0,2}"
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn a_certificate_that_is_found_names_the_host_and_the_best_way(
            of in prop::collection::vec(prop::collection::vec(name(), 1..4), 1..5),
            host in "[ab](\\.[ab]){0,3}",
        ) {
            let parsed: Vec<Vec<_>> = of
                .iter()
                .map(|texts| texts.iter().filter_map(|text| CertificateName::parse(text)).collect())
                .collect();
            let known = Certificates::new(parsed.iter().map(Vec::as_slice));
            let with = |kind: &dyn Fn(&str) -> bool| -> Vec<CertificateIndex> {
                let has = |texts: &Vec<String>| texts.iter().any(|text| kind(text) && means(text, &host));
                let indexed = of.iter().zip((0..).map(CertificateIndex));
                indexed.filter(|(texts, _)| has(texts)).map(|(_, index)| index).collect()
            };
            let exact = with(&|text| !text.starts_with('*'));
            let open = with(&|text| text.starts_with('*'));
            let expected = if exact.is_empty() { open } else { exact };
            prop_assert_eq!(known.of(&host), expected.as_slice());
            for (_, index) in of.iter().zip((0..).map(CertificateIndex)) {
                prop_assert_eq!(known.covers(index, &host), expected.contains(&index));
            }
        }

        #[test]
        fn no_text_panics(text in "\\PC{0,20}", asked in "\\PC{0,20}") {
            let names: Vec<_> = CertificateName::parse(&text).into_iter().collect();
            let known = Certificates::new([names.as_slice()].into_iter());
            let _chosen = known.chosen(Some(&asked), UnknownName::First);
        }
    }
}
