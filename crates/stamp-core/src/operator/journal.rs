//! The journal of operators' decisions, as text: a checksum and a JSON object a line. The shell
//! appends a line durably before it answers, and replays the file when it starts.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::id::StampId;
use crate::operator::{Force, OperatorRecord};
use crate::standing::OperatorState;
use crate::time::UnixSeconds;

/// The version of the line format.
const VERSION: u64 = 1;

/// One line: what was decided about which stamp.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JournalEntry {
    /// The stamp.
    pub stamp: StampId<'static>,
    /// What was decided.
    pub record: OperatorRecord,
}

/// What a whole journal says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Replayed {
    /// The last decision about each stamp.
    pub records: BTreeMap<StampId<'static>, OperatorRecord>,
    /// How the file ends.
    pub tail: Tail,
}

/// How a journal ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tail {
    /// With a whole line.
    Whole,
    /// With a line that was cut off while it was written, and so was never promised to anybody. Cut
    /// the file to this many bytes before anything is appended.
    Torn {
        /// Bytes that are sound.
        sound_bytes: usize,
    },
}

/// A line other than the last is damaged, or a line is sound and says what nobody here understands.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line} of the journal")]
pub struct JournalError {
    /// Which line, from 1.
    pub line: usize,
    /// What is wrong with it.
    #[source]
    pub reason: LineError,
}

/// What is wrong with a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LineError {
    /// The checksum is missing, or is that of another text.
    #[error("the checksum does not match")]
    Checksum,
    /// The checksum is right but the rest is no JSON object.
    #[error("not a JSON object")]
    NotJson,
    /// Written by a later version.
    #[error("unknown version")]
    UnknownVersion,
    /// A field is missing or says what it cannot say.
    #[error("field `{0}` is missing or wrong")]
    Field(&'static str),
}

/// The entry as one line, with its line break.
#[must_use]
pub fn encode(entry: &JournalEntry) -> String {
    let record = &entry.record;
    let object = json!({
        "v": VERSION,
        "stamp": entry.stamp.as_str(),
        "state": record.state.as_str(),
        "over": record.over.as_str(),
        "reason": record.reason,
        "actor": record.actor,
        "since": record.since.0,
        "deadline": record.deadline.map(|deadline| deadline.0),
        "force": record.force == Force::Strand,
    })
    .to_string();
    format!("{:08x} {object}\n", crc32fast::hash(object.as_bytes()))
}

/// The entry of one line, with or without its line break.
pub fn decode(line: &[u8]) -> Result<JournalEntry, LineError> {
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    let object = checked(line).ok_or(LineError::Checksum)?;
    let object: Value = serde_json::from_slice(object).or(Err(LineError::NotJson))?;
    if object.get("v").and_then(Value::as_u64) != Some(VERSION) {
        return Err(LineError::UnknownVersion);
    }
    let text = |key| object.get(key).and_then(Value::as_str).ok_or(LineError::Field(key));
    let seconds = |key| object.get(key).and_then(Value::as_u64).map(UnixSeconds);
    let force = object.get("force").and_then(Value::as_bool).ok_or(LineError::Field("force"))?;
    let stamp = StampId::parse(text("stamp")?).or(Err(LineError::Field("stamp")))?;
    let record = OperatorRecord {
        state: state_of(text("state")?).ok_or(LineError::Field("state"))?,
        over: state_of(text("over")?).ok_or(LineError::Field("over"))?,
        reason: text("reason")?.into(),
        actor: text("actor")?.into(),
        since: seconds("since").ok_or(LineError::Field("since"))?,
        deadline: seconds("deadline"),
        force: if force { Force::Strand } else { Force::Refuse },
    };
    Ok(JournalEntry { stamp: stamp.into_owned(), record })
}

/// What the whole journal says. A last line that is cut off or damaged is left out and reported.
pub fn replay(journal: &[u8]) -> Result<Replayed, JournalError> {
    let mut records = BTreeMap::new();
    let mut sound_bytes = 0;
    for (index, line) in journal.split_inclusive(|byte| *byte == b'\n').enumerate() {
        let end = sound_bytes + line.len();
        let is_cut = !line.ends_with(b"\n");
        match decode(line) {
            Ok(entry) if !is_cut => records.insert(entry.stamp, entry.record),
            // A whole line may be damaged too: blocks reach the disk in any order.
            Ok(_) | Err(LineError::Checksum) if end == journal.len() => {
                return Ok(Replayed { records, tail: Tail::Torn { sound_bytes } });
            }
            Err(reason) => return Err(JournalError { line: index + 1, reason }),
            Ok(_) => return Err(JournalError { line: index + 1, reason: LineError::Checksum }),
        };
        sound_bytes = end;
    }
    Ok(Replayed { records, tail: Tail::Whole })
}

/// The text after the checksum, if it is the one that the checksum was made of.
fn checked(line: &[u8]) -> Option<&[u8]> {
    let (checksum, rest) = line.split_at_checked(8)?;
    let object = rest.strip_prefix(b" ")?;
    let checksum = u32::from_str_radix(str::from_utf8(checksum).ok()?, 16).ok()?;
    (checksum == crc32fast::hash(object)).then_some(object)
}

fn state_of(word: &str) -> Option<OperatorState> {
    // That nothing is in flight any more is a fact, not a decision.
    OperatorState::of_word(word).filter(|state| *state != OperatorState::Drained)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(stamp: &'static str, state: OperatorState) -> JournalEntry {
        let record = OperatorRecord {
            state,
            over: OperatorState::Active,
            reason: "line\nbreak \u{1f9ca}".into(),
            actor: "ana".into(),
            since: UnixSeconds(1_795_000_000),
            deadline: Some(UnixSeconds(1_795_000_600)),
            force: Force::Strand,
        };
        JournalEntry { stamp: StampId::parse(stamp).unwrap(), record }
    }

    fn journal() -> String {
        let lines = [
            entry("eu-1", OperatorState::Draining),
            entry("eu-2", OperatorState::Draining),
            entry("eu-1", OperatorState::Active),
        ];
        lines.iter().map(encode).collect()
    }

    #[test]
    fn a_line_reads_as_it_was_written() {
        let entry = entry("eu-1", OperatorState::Draining);
        let line = encode(&entry);
        assert_eq!(line.matches('\n').count(), 1);
        assert_eq!(decode(line.as_bytes()), Ok(entry));
    }

    #[test]
    fn the_last_decision_about_a_stamp_holds() {
        let replayed = replay(journal().as_bytes()).unwrap();
        let states: Vec<_> = replayed.records.values().map(|record| record.state).collect();
        assert_eq!(states, [OperatorState::Active, OperatorState::Draining]);
        assert_eq!(replayed.tail, Tail::Whole);
    }

    #[test]
    fn every_cut_leaves_whole_lines_and_says_where_they_end() {
        let journal = journal().into_bytes();
        for cut in 0..journal.len() {
            let replayed = replay(&journal[..cut]).unwrap();
            let last_break = journal[..cut].iter().rposition(|byte| *byte == b'\n');
            let sound_bytes = last_break.map_or(0, |at| at + 1);
            let tail = if sound_bytes == cut { Tail::Whole } else { Tail::Torn { sound_bytes } };
            assert_eq!(replayed.tail, tail, "cut at {cut}");
        }
    }

    #[test]
    fn a_damaged_line_in_the_middle_is_an_error_that_names_it() {
        let mut journal = journal().into_bytes();
        let second = journal.iter().position(|byte| *byte == b'\n').unwrap() + 20;
        journal[second] ^= 1;
        let error = JournalError { line: 2, reason: LineError::Checksum };
        assert_eq!(replay(&journal), Err(error));
    }

    #[test]
    fn a_damaged_last_line_is_torn() {
        let mut journal = journal().into_bytes();
        let last = journal.len() - 10;
        journal[last] ^= 1;
        assert!(matches!(replay(&journal).unwrap().tail, Tail::Torn { .. }));
    }

    #[test]
    fn a_sound_line_of_a_later_version_is_an_error_even_at_the_end() {
        let object = r#"{"v":2}"#;
        let line = format!("{:08x} {object}\n", crc32fast::hash(object.as_bytes()));
        let error = JournalError { line: 1, reason: LineError::UnknownVersion };
        assert_eq!(replay(line.as_bytes()), Err(error));
    }
}
