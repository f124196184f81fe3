//! What of a stamp's bytes is an answer, and to which request.

use super::*;
use proptest::prelude::*;

const LIMITS: AnswerLimits =
    AnswerLimits { head_bytes_max: 64 * 1024, fields_max: 200, interim_max: 16 };

/// How many of these bytes answer one such request, and is it answered then?
fn answer(asked: Asked, bytes: &[u8]) -> Result<(usize, bool), AnswerFault> {
    let mut answers = Answers::new(LIMITS);
    answers.ask(asked);
    let taken = answers.advance(bytes)?;
    Ok((taken, answers.is_resting()))
}

fn whole(asked: Asked, bytes: &str) {
    assert_eq!(answer(asked, bytes.as_bytes()), Ok((bytes.len(), true)), "{bytes:?}");
    let more = format!("{bytes}X");
    assert_eq!(answer(asked, more.as_bytes()), Ok((bytes.len(), true)), "{more:?}");
}

#[test]
fn an_answer_ends_where_its_framing_says() {
    whole(Asked::Answer, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
    whole(Asked::Answer, "HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok");
    whole(
        Asked::Answer,
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
    );
    whole(
        Asked::Answer,
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2;x=y\r\nok\r\n0\r\nX_T: v\r\n\r\n",
    );
    whole(Asked::Answer, "HTTP/1.1 404\r\nContent-Length: 0\r\n\r\n");
    whole(Asked::Answer, "HTTP/1.1 200 \r\nX_Under: score\r\nContent-Length: 0\r\n\r\n");
}

#[test]
fn some_answers_have_no_body_whatever_they_say() {
    whole(Asked::HeadOnly, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n");
    whole(Asked::HeadOnly, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
    whole(Asked::Answer, "HTTP/1.1 204 No Content\r\nContent-Length: 2\r\n\r\n");
    whole(Asked::Answer, "HTTP/1.1 304 Not Modified\r\nContent-Length: 2\r\n\r\n");
}

#[test]
fn without_framing_an_answer_lasts_as_long_as_the_connection() {
    let bytes = b"HTTP/1.1 200 OK\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
    assert_eq!(answer(Asked::Answer, bytes), Ok((bytes.len(), false)));
}

#[test]
fn nothing_may_come_that_nobody_asked_for() {
    assert_eq!(Answers::new(LIMITS).advance(b"HTTP/1.1 200 OK\r\n"), Ok(0));
}

#[test]
fn interim_answers_are_read_over_up_to_a_limit() {
    let hint = "HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n";
    let answer_itself = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
    whole(Asked::Answer, &format!("{}{answer_itself}", hint.repeat(16)));
    assert_eq!(answer(Asked::Answer, hint.repeat(17).as_bytes()), Err(AnswerFault::TooManyInterim));
}

#[test]
fn a_switch_is_for_whoever_asked() {
    let switch = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n\x81\x05hello";
    assert_eq!(answer(Asked::Switch, switch), Ok((switch.len(), false)));
    for asked in [Asked::Answer, Asked::HeadOnly] {
        assert_eq!(answer(asked, switch), Err(AnswerFault::UnaskedSwitch));
    }
    whole(Asked::Switch, "HTTP/1.1 400 Bad\r\nContent-Length: 2\r\n\r\nno");
}

#[test]
fn whatever_two_parsers_could_read_in_two_ways_is_refused() {
    for bad in [
        "garbage\r\n\r\n",
        "\r\nHTTP/1.1 200 OK\r\n\r\n",
        "HTTP/1.1 200 OK\n\n",
        "HTTP/1.1 200 OK\r\nA: b\n\r\n",
        "HTTP/1.1 200 OK\r\nA: b\rC: d\r\n\r\n",
        "HTTP/1.1 200 OK\r\nA: b\r\n c\r\n\r\n",
        "HTTP/1.1 200 OK\r\n A: b\r\n\r\n",
        "HTTP/1.1 200 OK\r\nA: b\0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nA : b\r\n\r\n",
        "HTTP/1.1 200 OK\r\nno colon\r\n\r\n",
        "HTTP/1.1 200 O\x01K\r\n\r\n",
        "HTTP/1.1 2000 OK\r\n\r\n",
        "HTTP/1.1 20 OK\r\n\r\n",
        "HTTP/1.1  200 OK\r\n\r\n",
        "HTTP/1.1 600 OK\r\n\r\n",
        "HTTP/1.1 099 OK\r\n\r\n",
        "HTTP/1.2 200 OK\r\n\r\n",
        "HTTP/2 200\r\n\r\n",
        "HTTP/1.0 100 Continue\r\n\r\n",
        "http/1.1 200 OK\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 2, 2\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: +2\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: -2\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: \r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: identity\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: \x0bchunked\r\n\r\n",
        "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\nok",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2;\nok",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0x2\r\nok",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n-1\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n10000000000000002\r\nok",
    ] {
        assert!(answer(Asked::Answer, bad.as_bytes()).is_err(), "{bad:?}");
        let mut dribbled = Answers::new(LIMITS);
        dribbled.ask(Asked::Answer);
        let refused = bad.as_bytes().chunks(1).any(|byte| dribbled.advance(byte).is_err());
        assert!(refused, "byte by byte: {bad:?}");
    }
}

#[test]
fn a_head_is_bounded_whole_and_in_parts() {
    let many = format!("HTTP/1.1 200 OK\r\n{}\r\n", "a: b\r\n".repeat(201));
    assert_eq!(answer(Asked::Answer, many.as_bytes()), Err(AnswerFault::HeadTooLarge));
    let large = format!("HTTP/1.1 200 OK\r\na: {}\r\n\r\n", "b".repeat(64 * 1024));
    assert_eq!(answer(Asked::Answer, large.as_bytes()), Err(AnswerFault::HeadTooLarge));
    let mut answers = Answers::new(LIMITS);
    answers.ask(Asked::Answer);
    let endless =
        std::iter::repeat_n([b'x'; 1024], 65).find_map(|part| answers.advance(&part).err());
    assert_eq!(endless, Some(AnswerFault::HeadTooLarge));
}

#[test]
fn the_head_is_not_kept_once_it_was_read() {
    let mut answers = Answers::new(LIMITS);
    answers.ask(Asked::Answer);
    assert_eq!(answers.advance(b"HTTP/1.1 200 OK\r\nContent-Le"), Ok(27));
    assert_eq!(answers.advance(b"ngth: 2\r\n\r\nokHTTP"), Ok(13));
    assert!(answers.is_resting());
}

fn any_answer() -> impl Strategy<Value = Vec<u8>> {
    let body = proptest::collection::vec(any::<u8>(), 0..100);
    (0_usize..3, any::<bool>(), body).prop_map(|(interim, chunked, body)| {
        let mut wire = b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n".repeat(interim);
        if chunked {
            wire.extend(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
            for part in body.chunks(7) {
                wire.extend(format!("{:x};e=f\r\n", part.len()).bytes());
                wire.extend(part);
                wire.extend(b"\r\n");
            }
            wire.extend(b"0\r\nT: v\r\n\r\n");
        } else {
            wire.extend(
                format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len()).bytes(),
            );
            wire.extend(body);
        }
        wire
    })
}

proptest! {
    #[test]
    fn where_the_bytes_are_cut_does_not_matter(wire in any_answer(), size in 1_usize..40) {
        let mut answers = Answers::new(LIMITS);
        answers.ask(Asked::Answer);
        for part in wire.chunks(size) {
            prop_assert!(!answers.is_resting());
            prop_assert_eq!(answers.advance(part), Ok(part.len()));
        }
        prop_assert!(answers.is_resting());
        prop_assert_eq!(answers.advance(b"more"), Ok(0));
    }

    #[test]
    fn what_follows_an_answer_is_no_part_of_it(
        wire in any_answer(),
        more in proptest::collection::vec(any::<u8>(), 0..40),
    ) {
        let both = [&*wire, &*more].concat();
        prop_assert_eq!(answer(Asked::Answer, &both), Ok((wire.len(), true)));
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        for asked in [Asked::Answer, Asked::HeadOnly, Asked::Switch] {
            let taken = answer(asked, &bytes);
            prop_assert!(taken.is_err() || taken.is_ok_and(|(taken, _)| taken <= bytes.len()));
        }
    }
}
