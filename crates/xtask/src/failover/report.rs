//! What the answers, and what the stamps wrote down, add up to: one line of the table.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::path::Path;
use std::time::{Duration, Instant};

use super::load::{Answer, Answers, Method, Outcome};
use super::scenario::{Action, Scenario};
use super::stamp::{HOME, SECONDARY, log_of, wall_us};

/// The head of the table.
pub(super) const HEADER: &str = "\
| scenario | proxy | sent | GET lost | POST lost | POST twice | mixed | p99 ms | p99.9 ms \
| all well after s | home again after s | late at home | machine paused ms |
|---|---|---|---|---|---|---|---|---|---|---|---|---|";

/// An answer that takes longer is not "all well".
const SLOW: Duration = Duration::from_millis(250);
/// So long after a drain was answered, a request at the home is late.
const LATE_US: u64 = 100_000;

/// When things happened.
#[derive(Debug)]
pub(super) struct Marks {
    began: Instant,
    ends: Duration,
    /// From the begin: the first step, and the last that mends.
    fault: Option<Duration>,
    mended: Option<Duration>,
    /// By the wall clock: the answer to the drain, and the undrain.
    drained_us: Option<u64>,
    undrained_us: Option<u64>,
}

impl Marks {
    pub(super) fn new(scenario: &Scenario, began: Instant) -> Self {
        let ends = Duration::from_secs(u64::from(scenario.seconds));
        Self { began, ends, fault: None, mended: None, drained_us: None, undrained_us: None }
    }

    pub(super) fn acted(&mut self, action: Action, now: Instant) {
        let at = now.saturating_duration_since(self.began);
        self.fault.get_or_insert(at);
        if action.mends() {
            self.mended = Some(at);
        }
        if action == Action::Undrain {
            self.undrained_us = Some(wall_us());
        }
    }

    pub(super) fn drained(&mut self) {
        self.drained_us = Some(wall_us());
    }
}

/// Counts of one scenario with one proxy; of several rounds, once added.
#[derive(Debug, Default)]
pub(super) struct Cell {
    sent: usize,
    get_lost: usize,
    post_lost: usize,
    post_twice: usize,
    mixed: usize,
    late_at_home: Option<usize>,
    latencies: Vec<Duration>,
    /// The longest of all rounds.
    well_after: Duration,
    home_again: HomeAgain,
    /// The longest that the load generator was late by itself.
    pause: Duration,
}

/// When the home served again, after what ailed it was mended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
enum HomeAgain {
    #[default]
    NeverAway,
    After(Duration),
    Never,
}

/// Writes every answer down, for whoever asks why: `due-ms latency-ms method outcome`, a line each.
pub(super) fn write_down(answers: &[Answer], directory: &Path) -> io::Result<()> {
    let lines = answers.iter().map(|it| {
        let (due, latency) = (it.due.as_millis(), it.latency.as_millis());
        format!("{due} {latency} {:?} {:?}\n", it.method, it.outcome)
    });
    fs::write(directory.join("answers.txt"), lines.collect::<String>())
}

/// Counts.
pub(super) fn count(answers: &Answers, marks: &Marks, directory: &Path) -> io::Result<Cell> {
    let (pause, answers) = (answers.pause, answers.all.as_slice());
    let lost = |method| {
        let is_lost = |it: &&Answer| it.method == method && it.outcome == Outcome::Lost;
        answers.iter().filter(is_lost).count()
    };
    let logs = [HOME, SECONDARY].map(|stamp| fs::read_to_string(log_of(directory, stamp)));
    let [home, secondary] = logs;
    let (home, secondary) = (home?, secondary?);
    Ok(Cell {
        sent: answers.len(),
        get_lost: lost(Method::Get),
        post_lost: lost(Method::Post),
        post_twice: posts_twice(home.lines().chain(secondary.lines())),
        mixed: answers.iter().filter(|it| it.outcome == Outcome::Mixed).count(),
        late_at_home: late_at_home(&home, marks),
        latencies: answers.iter().map(|it| it.latency).collect(),
        well_after: well_after(answers, marks),
        home_again: home_again(answers, marks),
        pause,
    })
}

/// POSTs beyond the first with the same number.
fn posts_twice<'a>(lines: impl Iterator<Item = &'a str>) -> usize {
    let mut times: HashMap<&str, usize> = HashMap::new();
    for line in lines {
        let mut words = line.split(' ');
        if words.next() == Some("POST") {
            *times.entry(words.next().unwrap_or_default()).or_default() += 1;
        }
    }
    times.values().map(|times| times - 1).sum()
}

fn late_at_home(home: &str, marks: &Marks) -> Option<usize> {
    let from = marks.drained_us? + LATE_US;
    let until = marks.undrained_us?;
    let began = home.lines().filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok());
    Some(began.filter(|at| (from..until).contains(at)).count())
}

fn well_after(answers: &[Answer], marks: &Marks) -> Duration {
    let fault = marks.fault.unwrap_or_default();
    let is_bad =
        |it: &&Answer| matches!(it.outcome, Outcome::Lost | Outcome::Mixed) || it.latency > SLOW;
    let ends = answers.iter().filter(is_bad).map(|it| it.due + it.latency);
    ends.max().map_or(Duration::ZERO, |end| end.saturating_sub(fault))
}

fn home_again(answers: &[Answer], marks: &Marks) -> HomeAgain {
    let by = |outcome| answers.iter().filter(move |it: &&Answer| it.outcome == outcome);
    let Some(last_away) = by(Outcome::Secondary).map(|it| it.due).max() else {
        return HomeAgain::NeverAway;
    };
    let Some(last_home) = by(Outcome::Home).map(|it| it.due).max() else {
        return HomeAgain::Never;
    };
    let at_the_end = last_home + Duration::from_millis(100) > marks.ends;
    let stayed_away = last_away + Duration::from_millis(100) > marks.ends;
    if !at_the_end || stayed_away {
        return HomeAgain::Never;
    }
    HomeAgain::After(last_away.saturating_sub(marks.mended.unwrap_or_default()))
}

impl Cell {
    /// Adds another round.
    pub(super) fn add(&mut self, other: Self) {
        self.sent += other.sent;
        self.get_lost += other.get_lost;
        self.post_lost += other.post_lost;
        self.post_twice += other.post_twice;
        self.mixed += other.mixed;
        if let Some(late) = other.late_at_home {
            *self.late_at_home.get_or_insert(0) += late;
        }
        self.latencies.extend(other.latencies);
        self.well_after = self.well_after.max(other.well_after);
        self.pause = self.pause.max(other.pause);
        self.home_again = self.home_again.max(other.home_again);
    }

    /// Its line of the table.
    pub(super) fn line(&mut self, scenario: &str, proxy: &str) -> String {
        self.latencies.sort_unstable();
        let home_again = match self.home_again {
            HomeAgain::NeverAway => "-".to_owned(),
            HomeAgain::After(time) => format!("{:.1}", time.as_secs_f64()),
            HomeAgain::Never => "not".to_owned(),
        };
        let late = self.late_at_home.map_or_else(|| "-".to_owned(), |late| late.to_string());
        format!(
            "| {scenario} | {proxy} | {} | {} | {} | {} | {} | {:.0} | {:.0} | {:.1} | {home_again} | {late} | {} |",
            self.sent,
            self.get_lost,
            self.post_lost,
            self.post_twice,
            self.mixed,
            self.at(990),
            self.at(999),
            self.well_after.as_secs_f64(),
            self.pause.as_millis(),
        )
    }

    /// The latency that so many in a thousand do not exceed, in milliseconds.
    fn at(&self, permille: usize) -> f64 {
        let place =
            (self.latencies.len() * permille / 1000).min(self.latencies.len().saturating_sub(1));
        self.latencies.get(place).map_or(f64::NAN, |latency| latency.as_secs_f64() * 1e3)
    }
}
