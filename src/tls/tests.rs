//! Files of TLS: what is read from them, what is refused, and what a reload keeps.

use std::collections::BTreeMap;

use rcgen::{CertificateParams, Issuer, KeyPair};
use stamp_core::diagnostic::SourceText;
use stamp_core::table;

use super::*;

/// An authority, and a certificate of the gateway's own that it issued.
struct Papers {
    ca: String,
    cert: String,
    key: String,
}

fn papers() -> Papers {
    let ca_key = KeyPair::generate().unwrap();
    let mut ca = CertificateParams::new(Vec::new()).unwrap();
    ca.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let ca_cert = ca.self_signed(&ca_key).unwrap();
    let key = KeyPair::generate().unwrap();
    let own = CertificateParams::new(vec!["gateway.internal".to_owned()]).unwrap();
    let cert = own.signed_by(&key, &Issuer::from_params(&ca, &ca_key)).unwrap();
    Papers { ca: ca_cert.pem(), cert: cert.pem(), key: key.serialize_pem() }
}

/// Files by name, as if beside routing.toml.
type Files = BTreeMap<&'static str, String>;

fn files(papers: &Papers) -> Files {
    [("ca", &papers.ca), ("cert", &papers.cert), ("key", &papers.key)]
        .map(|(name, text)| (name, text.clone()))
        .into()
}

/// A table with one stamp at an endpoint over TLS and one in the clear.
fn table_with(tls: &str) -> RoutingTable {
    let text = format!(
        "version = 1\n[[stamp]]\nid = \"a\"\n{tls}\nendpoints = [{{ url = \"https://a.internal\" }}, \
         {{ url = \"http://a.internal:80\" }}]\n"
    );
    let text = SourceText { path: "routing.toml".into(), text: text.into() };
    table::load(text, &mut |_| Err(io::ErrorKind::NotFound.into()), None).unwrap().table
}

const ALL: &str = "tls = { ca = \"ca\", cert = \"cert\", key = \"key\" }";

fn build_after(
    former: Option<&Upstreams>,
    tls: &str,
    files: &Files,
) -> Result<Upstreams, Vec<TlsError>> {
    let mut read = |path: &Path| -> io::Result<Arc<[u8]>> {
        let text = files.get(path.to_str().unwrap()).ok_or(io::ErrorKind::NotFound)?;
        Ok(text.as_bytes().into())
    };
    Upstreams::build(&table_with(tls), former, Clock::start(), &mut read)
}

fn build(tls: &str, files: &Files) -> Result<Upstreams, Vec<TlsError>> {
    build_after(None, tls, files)
}

fn faults(files: &Files) -> Vec<String> {
    let errors = build(ALL, files).unwrap_err();
    errors.iter().map(ToString::to_string).collect()
}

fn first(upstreams: &Upstreams) -> Option<&Arc<UpstreamTls>> {
    upstreams.of(EndpointIndex(0))
}

#[test]
fn only_endpoints_over_tls_have_something_to_be_spoken_to_with() {
    let built = build(ALL, &files(&papers())).unwrap();
    assert_eq!(first(&built).unwrap().to_string(), "a.internal");
    assert!(built.of(EndpointIndex(1)).is_none());
}

#[test]
fn a_server_name_takes_the_place_of_the_host() {
    let built = build("tls = { ca = \"ca\", server_name = \"b\" }", &files(&papers())).unwrap();
    assert_eq!(first(&built).unwrap().to_string(), "b");
}

#[test]
fn the_gateway_offers_http_1_1_alone_and_the_certificate_that_it_has() {
    let built = build(ALL, &files(&papers())).unwrap();
    let serving = &first(&built).unwrap().material.serving;
    assert_eq!(serving.alpn_protocols, [b"http/1.1".to_vec()]);
    assert!(serving.client_auth_cert_resolver.has_certs());
}

#[test]
fn a_file_that_is_not_there_is_refused() {
    for name in ["ca", "cert", "key"] {
        let mut files = files(&papers());
        files.remove(name);
        assert_eq!(faults(&files), [format!("cannot read {name}: entity not found")]);
    }
}

#[test]
fn all_files_that_are_not_there_are_told_at_once() {
    assert_eq!(faults(&Files::new()).len(), 3);
}

#[test]
fn a_file_without_a_certificate_is_refused() {
    let papers = papers();
    for name in ["ca", "cert"] {
        for text in ["", "nonsense", papers.key.as_str()] {
            let mut files = files(&papers);
            files.insert(name, text.to_owned());
            assert_eq!(faults(&files), [format!("{name} holds no certificate")]);
        }
    }
}

#[test]
fn a_file_without_a_key_is_refused() {
    let papers = papers();
    for text in ["", papers.cert.as_str()] {
        let mut files = files(&papers);
        files.insert("key", text.to_owned());
        assert_eq!(faults(&files), ["key holds no private key"]);
    }
}

#[test]
fn half_a_file_is_refused() {
    let papers = papers();
    for (name, text) in [("ca", &papers.ca), ("cert", &papers.cert), ("key", &papers.key)] {
        let mut files = files(&papers);
        files.insert(name, text.get(..text.len() / 2).unwrap().to_owned());
        let told = faults(&files).concat();
        assert!(told.starts_with(&format!("{name} is no PEM: ")), "{told}");
    }
}

#[test]
fn a_certificate_that_is_none_is_refused() {
    let mut files = files(&papers());
    let empty = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    files.insert("ca", empty.to_owned());
    let told = faults(&files).concat();
    assert!(told.starts_with("a certificate in ca cannot be used: "), "{told}");
}

#[test]
fn a_key_that_does_not_fit_the_certificate_is_refused() {
    let mut files = files(&papers());
    files.insert("key", papers().key);
    let errors = build(ALL, &files).unwrap_err();
    assert!(matches!(&*errors, [TlsError { fault: TlsFault::BadKey { .. }, .. }]), "{errors:?}");
    assert_eq!(errors[0].path.as_deref(), Some(Path::new("key")));
}

#[test]
fn what_says_the_same_is_kept_over_a_reload() {
    let files = files(&papers());
    let before = build(ALL, &files).unwrap();
    let after = build_after(Some(&before), ALL, &files).unwrap();
    assert!(UpstreamTls::is_same(first(&before), first(&after)));
}

#[test]
fn a_file_that_says_something_else_makes_other_connections() {
    let before_files = files(&papers());
    let before = build(ALL, &before_files).unwrap();
    let mut after_files = files(&papers());
    after_files.insert("ca", before_files["ca"].clone());
    let after = build_after(Some(&before), ALL, &after_files).unwrap();
    assert!(!UpstreamTls::is_same(first(&before), first(&after)));
}

#[test]
fn another_server_name_makes_other_connections() {
    let files = files(&papers());
    let before = build(ALL, &files).unwrap();
    let named = ALL.replace("ca =", "server_name = \"b\", ca =");
    let after = build_after(Some(&before), &named, &files).unwrap();
    assert!(!UpstreamTls::is_same(first(&before), first(&after)));
    assert!(!UpstreamTls::is_same(first(&before), None));
}

#[test]
fn a_refused_certificate_is_known_by_its_alert() {
    let alert = |description| {
        io::Error::new(io::ErrorKind::InvalidData, rustls::Error::AlertReceived(description))
    };
    assert!(is_refusal_of_our_certificate(&alert(AlertDescription::CertificateRequired)));
    assert!(is_refusal_of_our_certificate(&alert(AlertDescription::UnknownCA)));
    assert!(!is_refusal_of_our_certificate(&alert(AlertDescription::InternalError)));
    assert!(!is_refusal_of_our_certificate(&io::ErrorKind::ConnectionReset.into()));
}
