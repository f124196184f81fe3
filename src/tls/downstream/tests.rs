//! Files of listeners: what is read, what is refused, and what a reload keeps.

mod pace;

use std::io;

use rcgen::{BasicConstraints, CertificateParams, IsCa, KeyPair, date_time_ymd};

use super::*;

/// Files by name.
type Files = BTreeMap<&'static str, String>;

/// A certificate for these names and its key, in PEM.
fn papers(names: &[&str], change: impl FnOnce(&mut CertificateParams)) -> (String, String) {
    let key = KeyPair::generate().unwrap();
    let names: Vec<String> = names.iter().map(ToString::to_string).collect();
    let mut params = CertificateParams::new(names).unwrap();
    change(&mut params);
    (params.self_signed(&key).unwrap().pem(), key.serialize_pem())
}

fn authority() -> String {
    papers(&[], |params| params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained)).0
}

fn files_for(names: &[&str]) -> Files {
    let (cert, key) = papers(names, |_| ());
    [("cert", cert), ("key", key), ("ca", authority())].into()
}

fn rules(client_auth: ClientAuth) -> ListenerTls {
    ListenerTls {
        protocols: vec![Protocol::Http1],
        certificates: vec![CertificateFiles { cert: "cert".into(), key: "key".into() }],
        min_version: TlsVersion::Tls12,
        client_auth,
        unknown_name: UnknownName::First,
    }
}

fn build(
    rules: Option<ListenerTls>,
    former: Option<&Downstreams>,
    files: &Files,
) -> Result<Downstreams, Vec<String>> {
    let mut read = |path: &Path| -> io::Result<Arc<[u8]>> {
        let text = files.get(path.to_str().unwrap()).ok_or(io::ErrorKind::NotFound)?;
        Ok(text.as_bytes().into())
    };
    let listeners = rules.map(|rules| ("door".into(), rules)).into_iter().collect();
    let built = Downstreams::build(&listeners, former, Clock::start(), &mut read);
    built.map_err(|errors| errors.iter().map(ToString::to_string).collect())
}

fn built(client_auth: ClientAuth, former: Option<&Downstreams>, files: &Files) -> Downstreams {
    build(Some(rules(client_auth)), former, files).unwrap()
}

fn sessions(downstreams: &Downstreams) -> &Arc<Sessions> {
    &downstreams.of("door").unwrap().sessions
}

fn required() -> ClientAuth {
    ClientAuth::Required("ca".into())
}

#[test]
fn names_of_hosts_and_addresses_are_read() {
    let files = files_for(&["a.test", "*.b.test", "127.0.0.1", "::1"]);
    let built = built(ClientAuth::None, None, &files);
    let known = &built.of("door").unwrap().certificates;
    for host in ["a.test", "x.b.test", "127.0.0.1", "[::1]"] {
        assert!(known.covers(CertificateIndex(0), host), "{host}");
    }
    assert!(!known.covers(CertificateIndex(0), "b.test"));
}

#[test]
fn a_certificate_that_names_no_host_is_refused() {
    let files = files_for(&[]);
    let told = build(Some(rules(ClientAuth::None)), None, &files).unwrap_err();
    let expected = "the certificate in cert names no host: it has no subject alternative name";
    assert_eq!(told, [expected]);
}

#[test]
fn all_files_that_are_not_there_are_told_at_once() {
    let told = build(Some(rules(required())), None, &Files::new()).unwrap_err();
    let missing = |name: &str| format!("cannot read {name}: entity not found");
    assert_eq!(told, [missing("ca"), missing("cert"), missing("key")]);
}

#[test]
fn when_a_certificate_expires_is_read_and_doubted_only_outside_of_that() {
    let until = |year| {
        let (cert, key) = papers(&["a.test"], |params| {
            params.not_before = date_time_ymd(2001, 1, 1);
            params.not_after = date_time_ymd(year, 1, 1);
        });
        built(ClientAuth::None, None, &[("cert", cert), ("key", key)].into())
    };
    let good = until(2100);
    let validity = good.validities().next().unwrap();
    assert_eq!((validity.listener, validity.name), ("door", "a.test"));
    assert_eq!(validity.not_after_s, 4_102_444_800);
    assert!(good.doubtful(Clock::start()).is_empty());
    let expired = until(2002);
    let doubts = expired.doubtful(Clock::start());
    assert_eq!(
        doubts,
        [(Path::new("cert"), "the certificate is expired: clients will not take it")]
    );
}

#[test]
fn a_certificate_is_good_from_its_first_second_to_its_last() {
    let names = Vec::new();
    let facts = Facts { names, name: "a.test".into(), not_before_s: 10, not_after_s: 20 };
    assert_eq!([10, 20].map(|now| facts.doubt(now)), [None, None]);
    assert_eq!([9, 21].map(|now| facts.doubt(now).is_some()), [true, true]);
}

#[test]
fn sessions_survive_a_renewal() {
    let before = built(ClientAuth::None, None, &files_for(&["a.test"]));
    let after = built(ClientAuth::None, Some(&before), &files_for(&["a.test"]));
    assert!(Arc::ptr_eq(sessions(&before), sessions(&after)));
}

#[test]
fn sessions_end_when_other_rules_hold_for_clients_certificates() {
    let files = files_for(&["a.test"]);
    let other_ca = Files::from([("ca", authority())]).into_iter().chain(
        files.iter().filter(|(name, _)| **name != "ca").map(|(name, text)| (*name, text.clone())),
    );
    let other_ca: Files = other_ca.collect();
    let before = built(required(), None, &files);
    for (rules, files) in [
        (ClientAuth::None, &files),
        (ClientAuth::Optional("ca".into()), &files),
        (required(), &other_ca),
    ] {
        let after = built(rules.clone(), Some(&before), files);
        assert!(!Arc::ptr_eq(sessions(&before), sessions(&after)), "{rules:?}");
    }
    let same = built(required(), Some(&before), &files);
    assert!(Arc::ptr_eq(sessions(&before), sessions(&same)));
}

#[test]
fn listeners_have_no_sessions_in_common() {
    let files = files_for(&["a.test"]);
    let one = built(ClientAuth::None, None, &files);
    let other = built(ClientAuth::None, None, &files);
    assert!(!Arc::ptr_eq(sessions(&one), sessions(&other)));
}

#[test]
fn a_listener_that_the_file_no_longer_has_goes_on_as_it_was() {
    let before = built(ClientAuth::None, None, &files_for(&["a.test"]));
    let after = build(None, Some(&before), &Files::new()).unwrap();
    assert!(Arc::ptr_eq(before.of("door").unwrap(), after.of("door").unwrap()));
}

#[test]
fn only_what_works_is_offered() {
    let built = built(ClientAuth::None, None, &files_for(&["a.test"]));
    let config = &built.of("door").unwrap().served[0].config;
    assert_eq!(config.alpn_protocols, [b"http/1.1".to_vec()]);
    assert_eq!(config.max_early_data_size, 0, "what is sent early can be sent again by anybody");
}
