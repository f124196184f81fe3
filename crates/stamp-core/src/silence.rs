//! Has an endpoint gone silent? A frozen process still takes bytes, and what it took is lost to a
//! request that must not be sent twice. The shell's `outbound::pool` tells what it asked and heard;
//! `proxy::patience` keeps such requests back from an endpoint that is silent.

use std::time::Duration;

use crate::time::Moment;

/// So many requests without a word since the last answer are no chance any more.
const UNHEARD_MIN: u32 = 3;
/// An endpoint is silent after so many times its usual time, and never before the least.
const USUAL_TIMES: u32 = 3;
const LEAST: Duration = Duration::from_millis(50);
/// What is usual follows a longer time at once and a shorter one by this part of the difference.
const FORGETS: u32 = 32;

/// What one worker hears of one endpoint. `Silence::default()` has heard nothing yet, and knows not
/// what is usual: it is never silent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Silence {
    usual: Option<Duration>,
    /// Requests since the last answer, and when the first of them was sent.
    unheard: u32,
    since: Moment,
}

impl Silence {
    /// A request was sent.
    pub fn asked(&mut self, now: Moment) {
        if self.unheard == 0 {
            self.since = now;
        }
        self.unheard = self.unheard.saturating_add(1);
    }

    /// The head of an answer came, so long after its request.
    pub fn answered(&mut self, took: Duration) {
        self.unheard = 0;
        self.usual = Some(match self.usual {
            Some(usual) if took < usual => usual - (usual - took) / FORGETS,
            Some(_) | None => took,
        });
    }

    /// The endpoint closed or refused a connection: no answer, but a word.
    pub fn spoke(&mut self) {
        self.unheard = 0;
    }

    /// Should an answer have come by now? `probed` is when the last good probe began: it proves that
    /// somebody was there.
    #[must_use]
    pub fn is_silent(&self, probed: Moment, now: Moment) -> bool {
        let Some(usual) = self.usual else { return false };
        let patience = usual.saturating_mul(USUAL_TIMES).max(LEAST);
        self.unheard >= UNHEARD_MIN && now.since(self.since.max(probed)) > patience
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: Moment = Moment(Duration::ZERO);

    fn at(ms: u64) -> Moment {
        Moment(Duration::from_millis(ms))
    }

    /// Usually answers after 5 ms; then `asked` requests from `START` on, 10 ms apart.
    fn unheard(asked: u64) -> Silence {
        let mut silence = Silence::default();
        silence.answered(Duration::from_millis(5));
        (0..asked).for_each(|number| silence.asked(at(number * 10)));
        silence
    }

    #[test]
    fn three_requests_without_a_word_for_long_are_silence() {
        assert!(unheard(3).is_silent(START, at(51)));
        assert!(!unheard(3).is_silent(START, at(50)));
        assert!(!unheard(2).is_silent(START, at(5_000)));
    }

    #[test]
    fn any_word_ends_it() {
        let mut answered = unheard(9);
        answered.answered(Duration::from_millis(200));
        let mut spoke = unheard(9);
        spoke.spoke();
        for silence in [answered, spoke] {
            assert!(!silence.is_silent(START, at(5_000)));
        }
    }

    #[test]
    fn a_good_probe_is_believed_for_as_long_as_an_answer_may_take() {
        assert!(!unheard(9).is_silent(at(500), at(550)));
        assert!(unheard(9).is_silent(at(500), at(551)));
    }

    #[test]
    fn what_is_usually_slow_is_given_its_time() {
        let mut slow = unheard(0);
        slow.answered(Duration::from_secs(1));
        (0..9).for_each(|number| slow.asked(at(number)));
        assert!(!slow.is_silent(START, at(3_000)));
        assert!(slow.is_silent(START, at(3_001)));
    }

    #[test]
    fn one_slow_answer_is_forgotten_over_the_next_hundred() {
        let mut silence = unheard(0);
        silence.answered(Duration::from_secs(1));
        (0..100).for_each(|_| silence.answered(Duration::from_millis(5)));
        (0..3).for_each(|number| silence.asked(at(number)));
        assert!(silence.is_silent(START, at(300)));
    }

    #[test]
    fn nothing_is_silent_that_was_never_heard() {
        let mut silence = Silence::default();
        (0..9).for_each(|number| silence.asked(at(number)));
        assert!(!silence.is_silent(START, at(60_000)));
    }
}
