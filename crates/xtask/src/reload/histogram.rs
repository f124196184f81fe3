//! Durations by size, printed as text.

use std::fmt::Write as _;

/// Bars are so many characters wide at most.
const BAR: i32 = 30;

/// How many durations each bound in milliseconds takes; the last one takes what is beyond.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Histogram(Vec<(f64, u64)>);

impl Histogram {
    /// Of cumulative counts by bound, as metrics tell them.
    pub(super) fn of_cumulative(counts: Vec<(f64, u64)>) -> Self {
        let mut below = 0;
        let own = counts.into_iter().map(|(bound, count)| {
            let own = count.saturating_sub(below);
            below = count;
            (bound, own)
        });
        Self(own.collect())
    }

    /// Of single durations in milliseconds.
    pub(super) fn of(bounds: &[f64], durations: impl Iterator<Item = f64>) -> Self {
        let last = [f64::INFINITY];
        let mut counts: Vec<_> = bounds.iter().chain(&last).map(|bound| (*bound, 0)).collect();
        for duration in durations {
            if let Some((_, count)) = counts.iter_mut().find(|(bound, _)| duration <= *bound) {
                *count += 1;
            }
        }
        Self(counts)
    }

    /// What came on top of an earlier one.
    pub(super) fn since(&self, before: &Self) -> Self {
        let earlier = |place: usize| before.0.get(place).map_or(0, |(_, count)| *count);
        let own = self.0.iter().enumerate();
        Self(own.map(|(at, (bound, count))| (*bound, count.saturating_sub(earlier(at)))).collect())
    }

    pub(super) fn count(&self) -> u64 {
        self.0.iter().map(|(_, count)| count).sum()
    }

    /// The bound that no duration exceeds.
    pub(super) fn most_ms(&self) -> f64 {
        let taken = self.0.iter().filter(|(_, count)| *count > 0);
        taken.map(|(bound, _)| *bound).fold(0.0, f64::max)
    }
}

/// Two histograms of the same bounds, as a table with bars. What neither has is left out.
pub(super) fn side_by_side(quiet: &Histogram, busy: &Histogram) -> String {
    let mut text = String::from("  up to ms      quiet  reloading\n");
    let all = [quiet.count(), busy.count()];
    for ((bound, one), (_, two)) in quiet.0.iter().zip(&busy.0) {
        if one + two == 0 {
            continue;
        }
        let [one_bar, two_bar] = [(*one, all[0]), (*two, all[1])].map(|(own, of)| bar(own, of));
        let line = format!("{bound:>10} {one:>10} {two:>10}  {one_bar:<30} | {two_bar}");
        let _never = writeln!(text, "{}", line.trim_end());
    }
    text
}

/// A bar as long as the share's size by powers of ten: one in a million is to be seen as well.
fn bar(own: u64, of: u64) -> String {
    if own == 0 {
        return String::new();
    }
    let share = own as f64 / of.max(1) as f64;
    let least = |width: i32| 1e-6_f64.powf(f64::from(BAR - width) / f64::from(BAR - 1));
    let width = (2..=BAR).filter(|width| share >= least(*width)).count() + 1;
    "#".repeat(width)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cumulative_counts_are_told_apart() {
        let all = |counts: [u64; 3]| {
            let bounds = [1.0, 5.0, f64::INFINITY];
            Histogram::of_cumulative(bounds.into_iter().zip(counts).collect())
        };
        let since = all([3, 6, 6]).since(&all([1, 1, 1]));
        assert_eq!(since, Histogram(vec![(1.0, 2), (5.0, 3), (f64::INFINITY, 0)]));
        assert_eq!((since.count(), since.most_ms()), (5, 5.0));
    }

    #[test]
    fn a_duration_on_a_bound_counts_below_it() {
        let histogram = Histogram::of(&[1.0, 2.0], [0.5, 1.0, 1.5, 9.0].into_iter());
        assert_eq!(histogram, Histogram(vec![(1.0, 2), (2.0, 1), (f64::INFINITY, 1)]));
    }

    #[test]
    fn the_longest_bar_is_that_of_all() {
        assert_eq!(bar(7, 7).len(), 30);
        assert_eq!(bar(1, 1_000_000).len(), 1);
        assert_eq!(bar(0, 7), "");
    }
}
