//! "did you mean": the known word nearest to the one written.

/// The longest word that is compared: suggestions are for names, not for essays.
const WORD_BYTES_MAX: usize = 128;

/// The known word that was most likely meant, if one is near enough.
pub fn nearest<'a>(written: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let edits_max = (written.len() / 3).max(1);
    known
        .into_iter()
        .filter(|word| written.len().abs_diff(word.len()) <= edits_max && *word != written)
        .map(|word| (edits(written, word), word))
        .filter(|(edits, _)| *edits <= edits_max)
        .min()
        .map(|(_, word)| word)
}

/// "did you mean `endpoints`?", if something near is known.
#[must_use]
pub fn did_you_mean<'a>(written: &str, known: impl IntoIterator<Item = &'a str>) -> Option<String> {
    nearest(written, known).map(|word| format!("did you mean `{word}`?"))
}

/// Insertions, deletions, replacements and swaps of neighbours between two words.
fn edits(one: &str, other: &str) -> usize {
    let (one, other) = (one.as_bytes(), other.as_bytes());
    if one.len().max(other.len()) > WORD_BYTES_MAX {
        return usize::MAX;
    }
    let mut before_last: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=other.len()).collect();
    for (row, letter) in one.iter().enumerate() {
        let mut current = vec![row + 1];
        for (column, other_letter) in other.iter().enumerate() {
            let at = |line: &[usize], place: usize| line.get(place).copied().unwrap_or(usize::MAX);
            let replaced = at(&last, column) + usize::from(letter != other_letter);
            let mut fewest = replaced.min(at(&last, column + 1) + 1).min(at(&current, column) + 1);
            let swapped = row > 0
                && column > 0
                && one.get(row - 1) == Some(other_letter)
                && other.get(column - 1) == Some(letter);
            if swapped {
                fewest = fewest.min(at(&before_last, column - 1) + 1);
            }
            current.push(fewest);
        }
        before_last = std::mem::replace(&mut last, current);
    }
    last.last().copied().unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_of_the_finger_is_understood() {
        let known = ["endpoints", "failover", "id"];
        assert_eq!(nearest("endpoint", known), Some("endpoints"));
        assert_eq!(nearest("fialover", known), Some("failover"));
        assert_eq!(nearest("ib", known), Some("id"));
    }

    #[test]
    fn a_word_that_is_far_from_all_suggests_nothing() {
        assert_eq!(nearest("banana", ["endpoints", "id"]), None);
        assert_eq!(nearest(&"x".repeat(4000), ["endpoints"]), None);
    }
}
