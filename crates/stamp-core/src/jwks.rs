//! Keys by URL: where an issuer publishes its keys, and when they are asked for there. Read by
//! `raw`; the shell's `source` fetches when `Refresh` says so, one fetch at a time.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use crate::table::Scheme;
use crate::time::{Moment, Occasion, jittered};

/// The shortest time from one fetch that tokens ask for to the next such fetch: whoever sends tokens
/// with keys that nobody knows makes the gateway fetch twice a minute and no more.
pub const ASKED_FLOOR: Duration = Duration::from_secs(30);
/// The shortest time that an issuer can make the gateway wait before it fetches again.
pub const FRESH_MIN: Duration = Duration::from_secs(30);
/// The first pause after a fetch that failed; it doubles with each that follows.
const RETRY_FIRST: Duration = Duration::from_secs(1);
/// The longest pause after a fetch that failed.
const RETRY_MAX: Duration = Duration::from_mins(1);

/// Where an issuer publishes its keys, and how long they are good.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JwksSource {
    /// Where.
    pub url: JwksUrl,
    /// How long a key set is used before it is fetched again.
    pub refresh: Duration,
    /// How long keys that cannot be fetched again stay good.
    pub stale: Duration,
    /// The certificates that vouch for the issuer's own; `None` = those that the system trusts.
    pub ca: Option<PathBuf>,
}

/// How good the keys of an issuer are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Freshness {
    /// They were fetched within `jwks_refresh`.
    Fresh,
    /// They should have been fetched again by now, and are used all the same.
    Stale,
    /// There are none: tokens cannot be checked.
    None,
}

impl Freshness {
    /// The word for it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Fresh => "fresh",
            Self::Stale => "stale",
            Self::None => "none",
        }
    }
}

impl JwksSource {
    /// How good keys of this age are; `None` = there are none.
    #[must_use]
    pub fn freshness(&self, age: Option<Duration>) -> Freshness {
        match age {
            Some(age) if age <= self.refresh => Freshness::Fresh,
            Some(_) => Freshness::Stale,
            None => Freshness::None,
        }
    }
}

/// The address of a key set: `https://`, or `http://` at a loopback address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JwksUrl {
    /// In the clear only at a loopback address.
    pub scheme: Scheme,
    /// A host name in lower case, or an IP address without brackets.
    pub host: Box<str>,
    /// The TCP port.
    pub port: u16,
    /// Path and query.
    pub path: Box<str>,
}

impl JwksUrl {
    /// `host:port` without a usual port, with brackets around an IPv6 address: the `Host` field.
    #[must_use]
    pub fn authority(&self) -> String {
        let usual_port = match self.scheme {
            Scheme::Http => 80,
            Scheme::Https => 443,
        };
        let host = if self.host.contains(':') {
            format!("[{}]", self.host)
        } else {
            self.host.to_string()
        };
        if self.port == usual_port { host } else { format!("{host}:{}", self.port) }
    }
}

impl fmt::Display for JwksUrl {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = match self.scheme {
            Scheme::Http => "http",
            Scheme::Https => "https",
        };
        write!(out, "{scheme}://{}{}", self.authority(), self.path)
    }
}

/// When the keys of one issuer are fetched, and until when they are good.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refresh {
    refresh: Duration,
    stale: Duration,
    fetch: Fetch,
    /// The next fetch that nobody needs to ask for.
    next: Moment,
    /// A token came with a key that is not known.
    is_asked: bool,
    /// When the last fetch began that a token asked for.
    asked_at: Option<Moment>,
    failures: u32,
    /// `None` = there are no keys.
    good_until: Option<Moment>,
}

/// Is a fetch under way? One at a time is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fetch {
    UnderWay,
    Over,
}

/// What is to be done now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Fetch the keys, and say what came of it.
    Fetch,
    /// The keys are too old: tokens are not checked by them any more.
    Lapse,
    /// Nothing until then; `None` = until what is under way has ended.
    Wait(Option<Moment>),
}

impl Refresh {
    /// Fetches at once. `age` is that of the keys that are there already, if some are.
    #[must_use]
    pub fn new(source: &JwksSource, age: Option<Duration>, now: Moment) -> Self {
        Self {
            refresh: source.refresh,
            stale: source.stale,
            fetch: Fetch::Over,
            next: now,
            is_asked: false,
            asked_at: None,
            failures: 0,
            good_until: age.map(|age| now.after(source.stale.saturating_sub(age))),
        }
    }

    /// A token names a key that is not known. It may be a new one.
    pub const fn ask(&mut self) {
        self.is_asked = true;
    }

    /// What is to be done now.
    pub fn step(&mut self, now: Moment) -> Step {
        if self.good_until.is_some_and(|end| end <= now) {
            self.good_until = None;
            return Step::Lapse;
        }
        if self.fetch == Fetch::UnderWay {
            return Step::Wait(self.good_until);
        }
        let due = self.due(now);
        if due > now {
            return Step::Wait(Some(self.good_until.map_or(due, |end| end.min(due))));
        }
        if self.is_asked {
            self.asked_at = Some(now);
            self.is_asked = false;
        }
        self.fetch = Fetch::UnderWay;
        Step::Fetch
    }

    fn due(&self, now: Moment) -> Moment {
        if !self.is_asked {
            return self.next;
        }
        self.next.min(self.asked_at.map_or(now, |last| last.after(ASKED_FLOOR)))
    }

    /// When they are fetched next, unless a token asks for it before.
    #[must_use]
    pub const fn next(&self) -> Moment {
        self.next
    }

    /// The fetch brought keys, which the issuer calls fresh for `fresh`, if it says so.
    pub fn fetched(&mut self, fresh: Option<Duration>, at: Occasion) {
        self.fetch = Fetch::Over;
        self.failures = 0;
        self.good_until = Some(at.now.after(self.stale));
        // Never longer than configured: a key that was withdrawn is to stop by then.
        let interval = fresh.unwrap_or(self.refresh).max(FRESH_MIN).min(self.refresh);
        self.next = at.now.after(before(interval, at.chance));
    }

    /// The fetch brought no keys that can be used: those that are there stay.
    pub fn failed(&mut self, at: Occasion) {
        self.fetch = Fetch::Over;
        let pause = RETRY_FIRST.saturating_mul(1 << self.failures.min(6));
        self.failures = self.failures.saturating_add(1);
        let pause = pause.min(RETRY_MAX).min(self.refresh);
        self.next = at.now.after(jittered(pause, at.chance));
    }
}

/// Up to a tenth before the end of `interval`, so that gateways that began together do not ask
/// together.
fn before(interval: Duration, chance: u64) -> Duration {
    let early = (interval / 10).as_nanos().saturating_mul(u128::from(chance)) >> u64::BITS;
    interval.saturating_sub(Duration::from_nanos(u64::try_from(early).unwrap_or(u64::MAX)))
}

/// How long an answer says that it is fresh (RFC 9111, section 5.2.2); `None` = it does not say.
#[must_use]
pub fn fresh_for(cache_control: &str) -> Option<Duration> {
    let mut fresh = None;
    for directive in cache_control.split(',') {
        let (name, value) = directive.split_once('=').unwrap_or((directive, ""));
        match name.trim().to_ascii_lowercase().as_str() {
            "no-store" | "no-cache" => return Some(Duration::ZERO),
            "max-age" => {
                let seconds = value.trim().trim_matches('"').parse().ok();
                fresh = fresh.or_else(|| seconds.map(Duration::from_secs));
            }
            _ => {}
        }
    }
    fresh
}

#[cfg(test)]
mod tests;
