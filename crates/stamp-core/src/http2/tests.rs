//! Frames and header blocks as clients make them, and as another decoder reads them.

use std::time::Duration;

use proptest::prelude::*;

use super::allowance::Abuse;
use super::frames::{Awaited, End, Malformed, PREFACE, Reader, Rule, Section, Step, goodbye};
use super::hpack::Follower;
use super::huffman;
use crate::time::Moment;

const NOW: Moment = Moment(Duration::from_secs(1));
const END_STREAM: u8 = 0x1;
const END_HEADERS: u8 = 0x4;
const PADDED: u8 = 0x8;
const PRIORITY: u8 = 0x20;

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

fn headers(flags: u8, stream: u32, block: &[u8]) -> Vec<u8> {
    frame(1, flags, stream, block)
}

/// Everything that reaches the library, and what was malformed on the way.
fn passed(bytes: &[u8]) -> Result<(Vec<u8>, Vec<Malformed>), End> {
    passed_by(&mut Reader::new(1000, NOW), bytes)
}

fn passed_by(reader: &mut Reader, bytes: &[u8]) -> Result<(Vec<u8>, Vec<Malformed>), End> {
    let (mut out, mut found, mut rest) = (Vec::new(), Vec::new(), bytes.to_vec());
    loop {
        match reader.step(&rest, 0, NOW)? {
            Step::Wait => return Ok((out, found)),
            Step::Pass(count) => out.extend(rest.drain(..count)),
            Step::Replace(count, frame, malformed) => {
                rest.drain(..count);
                out.extend(frame);
                found.push(malformed);
            }
        }
    }
}

fn with_preface(frames: &[Vec<u8>]) -> Vec<u8> {
    [PREFACE.to_vec(), frames.concat()].concat()
}

/// `GET / ` with an authority.
const REQUEST: &[u8] = b"\x82\x86\x84\x41\x09a.example";

#[test]
fn what_is_good_passes_unchanged() {
    let bytes = with_preface(&[
        frame(4, 0, 0, &[]),
        headers(END_HEADERS, 1, REQUEST),
        frame(0, 0, 1, b"body"),
        headers(END_HEADERS | END_STREAM, 1, b"\x00\x01a\x01b"),
        headers(
            END_HEADERS | END_STREAM | PADDED | PRIORITY,
            3,
            &[b"\x02\0\0\0\0\x10".as_slice(), REQUEST, b"\0\0"].concat(),
        ),
        frame(0xfa, 0, 9, b"unknown"),
    ]);
    assert_eq!(passed(&bytes), Ok((bytes, vec![])));
}

#[test]
fn pseudo_fields_in_trailers_are_malformed_however_they_are_written() {
    let coded = huffman::encode(b":authority");
    let coded = [&[0x10, 0x80 | u8::try_from(coded.len()).unwrap()], &*coded, b"\x01x"].concat();
    for trailer in [
        &b"\x82"[..],          // indexed, static
        b"\xbe",               // indexed: the authority of the request
        b"\x04\x01/",          // a literal with a static name
        b"\x0f\x2f\x01x",      // a literal with the name of the request's authority
        b"\x40\x05:what\x01x", // a new name
        b"\x00\x05:what\x01x",
        &coded,
    ] {
        let request = headers(END_HEADERS, 1, REQUEST);
        let trailers = headers(END_HEADERS | END_STREAM, 1, trailer);
        let (out, found) = passed(&with_preface(&[request.clone(), trailers.clone()])).unwrap();
        assert_eq!(found, [Malformed::PseudoFieldInTrailers], "{trailer:?}");
        // At its end is a field that nobody may send.
        let marked = [trailer, b"\x00\x0aconnection\x01?"].concat();
        let marked = headers(END_HEADERS | END_STREAM, 1, &marked);
        assert_eq!(out[PREFACE.len() + request.len()..], marked);
    }
}

#[test]
fn a_path_with_a_fragment_is_malformed_each_time_that_it_is_referred_to() {
    let first = headers(END_HEADERS | END_STREAM, 1, b"\x82\x86\x44\x04/a#b\x41\x01h");
    let again = headers(END_HEADERS | END_STREAM, 3, b"\x82\x86\xbf\xbe");
    let good = headers(END_HEADERS | END_STREAM, 5, b"\x82\x86\x84\xbe");
    let (_, found) = passed(&with_preface(&[first, again, good])).unwrap();
    assert_eq!(found, [Malformed::TargetByte, Malformed::TargetByte]);
    for path in ["/a b", "/\u{e4}", "/\x7f"] {
        let length = u8::try_from(path.len()).unwrap();
        let block = [b"\x82\x86\x04", &[length][..], path.as_bytes()].concat();
        let (_, found) = passed(&with_preface(&[headers(END_HEADERS, 1, &block)])).unwrap();
        assert_eq!(found, [Malformed::TargetByte], "{path:?}");
    }
}

#[test]
fn what_is_marked_has_neither_padding_nor_too_little_room() {
    let priority = b"\x02\0\0\0\0\x10";
    let padded = [&priority[..], b"\x82\x86\x04\x02/#\x41\x01h", b"\0\0"].concat();
    let flags = END_HEADERS | PADDED | PRIORITY;
    let (out, _) = passed(&with_preface(&[headers(flags, 1, &padded)])).unwrap();
    let marked = [&priority[1..], b"\x82\x86\x04\x02/#\x41\x01h\x00\x0aconnection\x01?"].concat();
    assert_eq!(out[PREFACE.len()..], headers(END_HEADERS | PRIORITY, 1, &marked));

    let block = [b"\x82\x86\x04\x02/#".to_vec(), b"\x00\x01a\x01b".repeat(3_275)].concat();
    let mut reader = Reader::new(100_000, NOW);
    let bytes = with_preface(&[headers(END_HEADERS, 1, &block)]);
    assert_eq!(passed_by(&mut reader, &bytes).err(), Some(End::Cut(Abuse::HeaderBlock)));
}

#[test]
fn a_block_is_judged_wherever_it_is_split() {
    let block = b"\x82\x86\x44\x04/a#b\x41\x01h";
    for first in 0..=block.len() {
        for second in first..=block.len() {
            let bytes = with_preface(&[
                headers(0, 1, &block[..first]),
                frame(9, 0, 1, &block[first..second]),
                frame(9, END_HEADERS, 1, &block[second..]),
            ]);
            assert_eq!(passed(&bytes).unwrap().1, [Malformed::TargetByte], "{first} {second}");
        }
    }
}

#[test]
fn what_comes_in_pieces_passes_as_what_comes_at_once() {
    let bytes = with_preface(&[
        headers(END_HEADERS, 1, REQUEST),
        frame(0, END_STREAM, 1, b"some body"),
        headers(END_HEADERS | END_STREAM, 3, b"\x82\x86\x44\x04/a#b\x41\x01h"),
    ]);
    let whole = passed(&bytes).unwrap();
    for piece in 1..40 {
        let mut reader = Reader::new(1000, NOW);
        let (mut out, mut waiting) = (Vec::new(), Vec::new());
        for part in bytes.chunks(piece) {
            waiting.extend_from_slice(part);
            let (more, _) = passed_by(&mut reader, &waiting).unwrap();
            // The last frame is longer than what came.
            let marked = if more.ends_with(b"connection\x01?") { 14 } else { 0 };
            waiting.drain(..more.len() - marked);
            out.extend(more);
        }
        assert_eq!(out, whole.0, "in pieces of {piece}");
    }
}

#[test]
fn it_is_known_what_is_waited_for() {
    let mut reader = Reader::new(1000, NOW);
    assert_eq!(reader.awaited(), Awaited::Preface);
    passed_by(&mut reader, &PREFACE[..10]).unwrap();
    assert_eq!(reader.awaited(), Awaited::Preface);
    passed_by(&mut reader, &PREFACE[10..]).unwrap();
    assert_eq!(reader.awaited(), Awaited::Nothing);
    let request = headers(0, 1, REQUEST);
    passed_by(&mut reader, &request[..20]).unwrap();
    assert_eq!((reader.awaited(), reader.streams()), (Awaited::Head, 0));
    passed_by(&mut reader, &request).unwrap();
    assert_eq!((reader.awaited(), reader.streams()), (Awaited::Head, 1));
    passed_by(&mut reader, &frame(9, END_HEADERS, 1, b"")).unwrap();
    assert_eq!(reader.awaited(), Awaited::Nothing);
}

#[test]
fn what_is_no_http_2_is_left_to_the_library() {
    let bytes = b"GET / HTTP/1.1\r\nHost: a.example\r\n\r\nwhatever follows";
    assert_eq!(passed(bytes), Ok((bytes.to_vec(), vec![])));
}

#[test]
fn what_breaks_a_rule_of_the_connection_ends_it_with_the_code_of_that_rule() {
    for (rule, frames) in [
        (Rule::FrameSize, vec![frame(0, 0, 1, &[0; 16_385])]),
        (Rule::FrameSize, vec![frame(2, 0, 1, &[0; 4])]),
        (Rule::FrameSize, vec![frame(3, 0, 1, &[0; 3])]),
        (Rule::FrameSize, vec![frame(4, 0, 0, &[0; 9])]),
        (Rule::FrameSize, vec![frame(4, 1, 0, &[0; 6])]),
        (Rule::FrameSize, vec![frame(6, 0, 0, &[0; 7])]),
        (Rule::FrameSize, vec![frame(8, 0, 0, &[0; 5])]),
        (Rule::Protocol, vec![headers(0, 1, REQUEST), frame(6, 0, 0, &[0; 8])]),
        (Rule::Protocol, vec![frame(9, END_HEADERS, 1, REQUEST)]),
        (Rule::Protocol, vec![headers(END_HEADERS | PADDED, 1, b"\x09\x82")]),
        (Rule::Compression, vec![headers(END_HEADERS, 1, b"\xff\xff\xff\xff\xff\x0f")]),
        (Rule::Compression, vec![headers(END_HEADERS, 1, b"\xbe")]),
        (Rule::Compression, vec![headers(END_HEADERS, 1, b"\x3f\xff\x7f")]),
    ] {
        assert_eq!(passed(&with_preface(&frames)), Err(End::Broken(rule)), "{frames:?}");
    }
}

#[test]
fn a_stream_that_its_client_has_ended_does_not_go_on() {
    let (open, ended) = (END_HEADERS, END_HEADERS | END_STREAM);
    for (rule, frames) in [
        (Rule::StreamClosed, vec![headers(ended, 1, REQUEST), headers(ended, 1, REQUEST)]),
        (Rule::StreamClosed, vec![headers(ended, 1, REQUEST), frame(0, 0, 1, b"x")]),
        (
            Rule::StreamClosed,
            vec![headers(open, 1, REQUEST), frame(3, 0, 1, &[0; 4]), frame(0, 0, 1, b"x")],
        ),
        (
            Rule::StreamClosed,
            vec![headers(open, 1, REQUEST), frame(0, 1, 1, b"x"), frame(0, 0, 1, b"x")],
        ),
        (Rule::StreamClosed, vec![headers(ended, 5, REQUEST), headers(ended, 5, REQUEST)]),
        (Rule::Protocol, vec![headers(ended, 5, REQUEST), headers(ended, 3, REQUEST)]),
    ] {
        assert_eq!(passed(&with_preface(&frames)), Err(End::Broken(rule)), "{frames:?}");
    }
}

#[test]
fn a_client_that_ends_nothing_costs_no_more_memory_and_loses_nothing() {
    let mut reader = Reader::new(1000, NOW);
    let opened = (0..5_000).map(|number| headers(END_HEADERS, number * 2 + 1, b"\x82\x86\x84"));
    passed_by(&mut reader, &with_preface(&opened.collect::<Vec<_>>())).unwrap();
    for stream in [1, 9_999] {
        assert!(passed_by(&mut reader, &frame(0, 0, stream, b"x")).is_ok(), "{stream}");
    }
}

#[test]
fn floods_are_cut_and_a_header_block_is_bounded() {
    let flood =
        |frame: Vec<u8>| with_preface(&[headers(END_HEADERS, 1, REQUEST), frame.repeat(20_000)]);
    for frame in [
        frame(4, 0, 0, &[0, 3, 0, 0, 0, 9]),
        frame(6, 0, 0, &[0; 8]),
        frame(2, 0, 1, &[0; 5]),
        frame(8, 0, 0, &[0, 0, 0, 1]),
        frame(0xfa, 0, 0, b""),
        frame(0, 0, 1, b""),
        frame(0, PADDED, 1, &[9; 10]),
    ] {
        assert_eq!(passed(&flood(frame.clone())), Err(End::Cut(Abuse::ControlFrames)), "{frame:?}");
    }
    assert_eq!(passed(&flood(frame(3, 0, 1, &[0; 4]))), Err(End::Cut(Abuse::Resets)));
    let endless = [headers(0, 1, REQUEST), frame(9, 0, 1, b"").repeat(20_000)];
    assert_eq!(passed(&with_preface(&endless)), Err(End::Cut(Abuse::ControlFrames)));
    let large = [headers(0, 1, REQUEST), frame(9, 0, 1, &[0; 100]).repeat(20)];
    assert_eq!(passed(&with_preface(&large)), Err(End::Cut(Abuse::HeaderBlock)));
    // A body of small pieces is none.
    let bytes = flood(frame(0, 0, 1, b"x"));
    assert_eq!(passed(&bytes), Ok((bytes, vec![])));
}

#[test]
fn a_connection_is_closed_with_its_reason() {
    let bytes = frame(7, 0, 0, &[0, 0, 0, 7, 0, 0, 0, 11]);
    assert_eq!(goodbye(7, End::Cut(Abuse::Resets)), *bytes);
}

/// How a field is written.
#[derive(Clone, Debug)]
enum Written {
    Indexed(u8),
    Literal { first: u8, name: Option<Vec<u8>>, value: Vec<u8>, is_coded: bool },
    TableSize(u8),
}

fn written() -> impl Strategy<Value = Written> {
    let name = prop_oneof![
        Just(b":path".to_vec()),
        Just(b":authority".to_vec()),
        "[a-z:]{1,9}".prop_map(String::into_bytes)
    ];
    let value = prop::collection::vec(prop_oneof![Just(b'#'), b'a'..=b'z', any::<u8>()], 0..60);
    prop_oneof![
        4 => prop_oneof![8 => 1_u8..64, 1 => 64_u8..80].prop_map(Written::Indexed),
        1 => (0_u8..31).prop_map(Written::TableSize),
        6 => (
            prop_oneof![Just(0x40_u8), Just(0x00), Just(0x10)],
            prop_oneof![name.prop_map(Ok), (1_u8..15).prop_map(Err)],
            value,
            any::<bool>(),
        ).prop_map(|(kind, name, value, is_coded)| Written::Literal {
            first: kind | name.as_ref().err().copied().unwrap_or(0),
            name: name.ok(),
            value,
            is_coded,
        }),
    ]
}

fn block_of(fields: &[Written]) -> Vec<u8> {
    let mut block = Vec::new();
    let text = |text: &[u8], is_coded: bool| {
        let coded = if is_coded { huffman::encode(text) } else { text.to_vec() };
        let flag = if is_coded { 0x80 } else { 0 };
        if coded.len() < 127 {
            return [&[flag | u8::try_from(coded.len()).unwrap()], &*coded].concat();
        }
        let more = u8::try_from(coded.len() - 127).unwrap();
        [&[flag | 127, more][..], &coded].concat()
    };
    for field in fields {
        match field {
            Written::Indexed(index) => block.push(0x80 | index),
            Written::TableSize(size) if *size < 31 => block.push(0x20 | size),
            Written::TableSize(_) => {}
            Written::Literal { first, name, value, is_coded } => {
                block.push(*first);
                if let Some(name) = name {
                    block.extend(text(name, *is_coded));
                }
                block.extend(text(value, *is_coded));
            }
        }
    }
    block
}

proptest! {
    /// Another decoder reads the same fields; where it finds none, there is nothing to judge.
    #[test]
    fn blocks_are_judged_by_the_fields_that_another_decoder_reads(
        blocks in prop::collection::vec(
            (prop::collection::vec(written(), 0..12), any::<bool>()), 1..8),
    ) {
        let mut follower = Follower::default();
        let mut other = loona_hpack::Decoder::new();
        for (fields, is_head) in blocks {
            let block = block_of(&fields);
            let Ok(read) = other.decode(&block) else { return Ok(()) };
            let (section, expected) = if is_head {
                let is_bad = read.iter().any(|(name, value)| {
                    name == b":path" && value.iter().any(|&it| it == b'#' || !matches!(it, 0x21..=0x7e))
                });
                (Section::Head, is_bad.then_some(Malformed::TargetByte))
            } else {
                let has_pseudo = read.iter().any(|(name, _)| name.starts_with(b":"));
                (Section::Trailers, has_pseudo.then_some(Malformed::PseudoFieldInTrailers))
            };
            prop_assert_eq!(follower.follow(&block, section), Ok(expected), "{:?}", fields);
        }
    }

    #[test]
    fn no_bytes_make_it_panic(
        bytes in prop::collection::vec(any::<u8>(), 0..200),
        is_preceded in any::<bool>(),
    ) {
        let bytes = if is_preceded { with_preface(&[bytes]) } else { bytes };
        if let Ok((out, found)) = passed(&bytes) {
            // Nothing is lost or made up but for marks.
            prop_assert!(found.len() * 14 + bytes.len() >= out.len());
        }
    }
}
