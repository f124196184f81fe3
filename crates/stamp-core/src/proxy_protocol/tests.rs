//! Headers as they are in the specification, those that almost are, and laws over all bytes.

use proptest::prelude::*;

use super::*;

fn read(bytes: &[u8]) -> Result<Step, Refusal> {
    Reader::default().advance(bytes)
}

#[track_caller]
fn check(header: impl AsRef<[u8]>, expected: Told) {
    let header = header.as_ref();
    let whole = Step { taken: header.len(), told: Some(expected) };
    assert_eq!(read(&[header, b"GET /"].concat()), Ok(whole), "{header:?}");
}

#[track_caller]
fn refuse(header: impl AsRef<[u8]>, expected: Refusal) {
    let header = header.as_ref();
    assert_eq!(read(header), Err(expected), "{:?}", String::from_utf8_lossy(header));
}

fn client(address: &str) -> Told {
    Told::Client(address.parse().unwrap())
}

/// A header of version 2.
fn binary_header(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
    let length = u16::try_from(rest.len()).unwrap().to_be_bytes();
    [BINARY_SIGNATURE, &[command, family][..], &length, rest].concat()
}

#[test]
fn a_line_names_the_client() {
    let line = "PROXY TCP4 192.0.2.7 198.51.100.1 56324 443\r\n";
    check(line, client("192.0.2.7:56324"));
    check("PROXY TCP6 2001:db8::7 ::1 1 0\r\n", client("[2001:db8::7]:1"));
    let longest = format!("PROXY TCP6 {0} {0} 65535 65535\r\n", ["ffff"; 8].join(":"));
    assert_eq!(longest.len(), 104);
    check(longest, client("[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]:65535"));
}

#[test]
fn a_line_may_name_nobody() {
    check("PROXY UNKNOWN\r\n", Told::Unknown);
    check("PROXY UNKNOWN ffff::1 what ever 1\r\n", Told::Unknown);
    check(format!("PROXY UNKNOWN {}\r\n", "x".repeat(91)), Told::Unknown);
}

#[test]
fn a_line_is_taken_to_the_letter() {
    for line in [
        "PROXY \r\n",
        "PROXY TCP4\r\n",
        "PROXY TCP4 192.0.2.7 198.51.100.1 56324\r\n",
        "PROXY TCP4 192.0.2.7 198.51.100.1 56324 443 \r\n",
        "PROXY TCP4  192.0.2.7 198.51.100.1 56324 443\r\n",
        "PROXY TCP4 192.0.2.07 198.51.100.1 56324 443\r\n",
        "PROXY TCP4 192.0.2.7 198.51.100.256 56324 443\r\n",
        "PROXY TCP4 192.0.2.7 198.51.100.1 65536 443\r\n",
        "PROXY TCP4 192.0.2.7 198.51.100.1 56324 065\r\n",
        "PROXY TCP4 192.0.2.7 198.51.100.1 +5632 443\r\n",
        "PROXY TCP4 192.0.2.7 198.51.100.1 56324 \r\n",
        "PROXY TCP4 2001:db8::7 ::1 1 1\r\n",
        "PROXY TCP6 192.0.2.7 192.0.2.8 1 1\r\n",
        "PROXY TCP6 fe80::1%1 ::1 1 1\r\n",
        "PROXY tcp4 192.0.2.7 198.51.100.1 56324 443\r\n",
        "PROXY UDP4 192.0.2.7 198.51.100.1 56324 443\r\n",
        "PROXY UNKNOWNS\r\n",
        "PROXY TCP4 192.0.2.7 198.51.100.1 56324 443\n",
        "PROXY TCP4 192.0.2.7 198.51.100.1 56324 443\r\r\n",
        "PROXY UNKNOWN a\rb\r\n",
        "PROXY UNKNOWN \0\r\n",
        "PROXY UNKNOWN \u{e9}\r\n",
        "PROXY\tUNKNOWN\r\n",
    ] {
        let told = read(line.as_bytes());
        let refused = matches!(told, Err(Refusal::Malformed | Refusal::Missing));
        assert!(refused, "{line:?}: {told:?}");
    }
}

#[test]
fn a_line_without_an_end_is_too_long() {
    refuse(format!("PROXY UNKNOWN {}\r\n", "x".repeat(92)), Refusal::TooLong);
    let mut reader = Reader::default();
    let fits = format!("PROXY UNKNOWN {}", "x".repeat(92));
    assert_eq!(reader.advance(fits.as_bytes()), Ok(Step { taken: 106, told: None }));
    assert_eq!(reader.advance(b"x"), Err(Refusal::TooLong));
}

#[test]
fn a_binary_header_names_the_client() {
    let addresses = [192, 0, 2, 7, 198, 51, 100, 1, 0xdc, 0x04, 1, 0xbb];
    check(binary_header(0x21, 0x11, &addresses), client("192.0.2.7:56324"));
    let mut addresses = [0; 36];
    addresses[15] = 1;
    addresses[33] = 9;
    check(binary_header(0x21, 0x21, &addresses), client("[::1]:9"));
}

#[test]
fn what_a_binary_header_says_besides_is_skipped() {
    let addresses = [192, 0, 2, 7, 198, 51, 100, 1, 0, 9, 1, 0xbb];
    let most = BINARY_BYTES_MAX - BINARY_FIXED_BYTES - addresses.len();
    for more in [1, 3, 100, most] {
        let header = binary_header(0x21, 0x11, &[&addresses[..], &vec![0xee; more]].concat());
        check(header, client("192.0.2.7:9"));
    }
    let over = binary_header(0x21, 0x11, &[&addresses[..], &vec![0; most + 1]].concat());
    refuse(&over, Refusal::TooLong);
    refuse(&over[..BINARY_FIXED_BYTES], Refusal::TooLong);
}

#[test]
fn a_proxys_own_connection_is_its_own() {
    check(binary_header(0x20, 0x00, b""), Told::Own);
    // The family is to be ignored, and so is what follows.
    check(binary_header(0x20, 0x11, &[1; 12]), Told::Own);
    check(binary_header(0x20, 0xff, &[1; 7]), Told::Own);
}

#[test]
fn a_binary_header_may_name_nobody() {
    check(binary_header(0x21, 0x00, b""), Told::Unknown);
    check(binary_header(0x21, 0x00, &[7; 12]), Told::Unknown);
    for (family, length) in [(0x12, 12), (0x22, 36), (0x31, 216), (0x32, 216)] {
        check(binary_header(0x21, family, &vec![0; length]), Told::Unknown);
    }
}

#[test]
fn a_binary_header_is_taken_to_the_letter() {
    for (command, family, length) in [
        (0x11, 0x11, 12),
        (0x31, 0x11, 12),
        (0x22, 0x11, 12),
        (0x21, 0x10, 12),
        (0x21, 0x13, 12),
        (0x21, 0x01, 12),
        (0x21, 0x41, 36),
        (0x21, 0x11, 11),
        (0x21, 0x21, 35),
        (0x21, 0x11, 0),
    ] {
        refuse(binary_header(command, family, &vec![0; length]), Refusal::Malformed);
    }
}

#[test]
fn other_bytes_are_no_header_from_the_first_on() {
    for bytes in [&b"G"[..], b"\x16\x03\x01", b"proxy", b"PRI * HTTP/2.0", b"\r\nP", b"\r\n\r\n\r"]
    {
        refuse(bytes, Refusal::Missing);
    }
    assert_eq!(read(b""), Ok(Step { taken: 0, told: None }));
    assert_eq!(read(b"P"), Ok(Step { taken: 1, told: None }));
}

/// Bytes that are often a header, or nearly one.
fn bytes() -> impl Strategy<Value = Vec<u8>> {
    let any_bytes = prop::collection::vec(any::<u8>(), 0..200);
    let line = "PROXY (TCP4|TCP6|UNKNOWN|X)( [0-9.:a-f]{0,12}){0,5}( |\r|\r\n|\n)?x{0,100}";
    let family = prop::sample::select(vec![0x00, 0x11, 0x12, 0x21, 0x31, 0x41]);
    let rest = prop::collection::vec(any::<u8>(), 0..300);
    let binary = (0x1f..0x23_u8, family, rest, any_bytes.clone());
    prop_oneof![
        any_bytes,
        line.prop_map(String::into_bytes),
        binary.prop_map(|(command, family, rest, after)| {
            [binary_header(command, family, &rest), after].concat()
        }),
    ]
}

/// Reads in pieces of this size; what is taken is counted over all of them.
fn read_in_pieces(bytes: &[u8], size: usize) -> Result<Step, Refusal> {
    let mut reader = Reader::default();
    let mut taken = 0;
    for piece in bytes.chunks(size) {
        let step = reader.advance(piece)?;
        taken += step.taken;
        if step.told.is_some() {
            return Ok(Step { taken, ..step });
        }
    }
    Ok(Step { taken, told: None })
}

proptest! {
    #[test]
    fn how_bytes_are_split_makes_no_difference(bytes in bytes(), size in 1..40_usize) {
        prop_assert_eq!(read_in_pieces(&bytes, size), read(&bytes));
    }

    #[test]
    fn no_more_is_read_than_a_header_may_have(bytes in bytes()) {
        let most = if bytes.starts_with(b"P") { TEXT_BYTES_MAX } else { BINARY_BYTES_MAX };
        let endless = [&bytes[..], &vec![b'x'; BINARY_BYTES_MAX]].concat();
        if let Ok(step) = read(&endless) {
            prop_assert!(step.told.is_some() && step.taken <= most);
        }
    }

    #[test]
    fn every_client_that_is_written_is_read(
        source: SocketAddr, other: [u8; 16], ports: u16, more in 0..50_usize,
    ) {
        let (name, family, here, there) = match source.ip() {
            IpAddr::V4(ip) => {
                let there = Ipv4Addr::new(other[0], other[1], other[2], other[3]);
                ("TCP4", 0x11, ip.octets().to_vec(), IpAddr::V4(there))
            }
            IpAddr::V6(ip) => ("TCP6", 0x21, ip.octets().to_vec(), Ipv6Addr::from(other).into()),
        };
        let expected = Told::Client(SocketAddr::new(source.ip(), source.port()));
        let line = format!("PROXY {name} {} {there} {} {ports}\r\n", source.ip(), source.port());
        check(line, expected);
        let ports = [source.port().to_be_bytes(), ports.to_be_bytes()].concat();
        let there = &other[..here.len()];
        let rest = [&here[..], there, &ports, &vec![0xab; more]].concat();
        check(binary_header(0x21, family, &rest), expected);
    }
}
