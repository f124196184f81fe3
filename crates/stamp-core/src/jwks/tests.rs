//! When keys are fetched: on time, never twice at once, and never because many ask for them.

use proptest::prelude::*;

use super::*;

const HOUR: Duration = Duration::from_hours(1);

fn source() -> JwksSource {
    let url = JwksUrl { scheme: Scheme::Https, host: "a".into(), port: 443, path: "/k".into() };
    JwksSource { url, refresh: Duration::from_mins(10), stale: HOUR, ca: None }
}

fn at(seconds: u64) -> Moment {
    Moment(Duration::from_secs(seconds))
}

/// The middle of what chance may bring.
fn on(seconds: u64) -> Occasion {
    Occasion { now: at(seconds), chance: 0 }
}

/// One that has fetched at second 0.
fn fresh() -> Refresh {
    let mut refresh = Refresh::new(&source(), None, at(0));
    assert_eq!(refresh.step(at(0)), Step::Fetch);
    refresh.fetched(None, on(0));
    refresh
}

#[test]
fn keys_are_fetched_at_once_and_again_when_their_time_is_over() {
    let mut refresh = fresh();
    assert_eq!(refresh.step(at(1)), Step::Wait(Some(at(600))));
    assert_eq!(refresh.step(at(600)), Step::Fetch);
}

#[test]
fn keys_are_stale_when_they_should_have_been_fetched_again() {
    let of = |age| source().freshness(age).as_str();
    assert_eq!(of(None), "none");
    assert_eq!(of(Some(Duration::from_secs(600))), "fresh");
    assert_eq!(of(Some(Duration::from_secs(601))), "stale");
}

#[test]
fn the_next_fetch_can_be_told() {
    let mut refresh = fresh();
    assert_eq!(refresh.next(), at(600));
    refresh.step(at(600));
    refresh.failed(Occasion { now: at(600), chance: 1 << 63 });
    assert_eq!(refresh.next(), at(601));
}

#[test]
fn one_fetch_is_under_way_at_a_time() {
    let mut refresh = Refresh::new(&source(), None, at(0));
    assert_eq!(refresh.step(at(0)), Step::Fetch);
    refresh.ask();
    assert_eq!(refresh.step(at(100)), Step::Wait(None));
    refresh.fetched(None, on(100));
    assert_eq!(refresh.step(at(100)), Step::Fetch);
}

#[test]
fn an_unknown_key_is_looked_for_at_once_and_then_once_in_half_a_minute() {
    let mut refresh = fresh();
    refresh.ask();
    assert_eq!(refresh.step(at(5)), Step::Fetch);
    refresh.fetched(None, on(5));
    refresh.ask();
    assert_eq!(refresh.step(at(6)), Step::Wait(Some(at(35))));
    assert_eq!(refresh.step(at(35)), Step::Fetch);
}

#[test]
fn what_the_issuer_says_of_freshness_holds_within_bounds() {
    for (says, due) in [(0, 30), (60, 60), (7200, 600)] {
        let mut refresh = Refresh::new(&source(), None, at(0));
        refresh.step(at(0));
        refresh.fetched(Some(Duration::from_secs(says)), on(0));
        assert_eq!(refresh.step(at(0)), Step::Wait(Some(at(due))), "{says}");
    }
}

#[test]
fn after_failures_the_pauses_double_up_to_a_minute() {
    let mut refresh = Refresh::new(&source(), None, at(0));
    let mut now = at(0);
    let mut pauses = Vec::new();
    for _ in 0..9 {
        assert_eq!(refresh.step(now), Step::Fetch);
        // The chance at which a jittered time is as it was.
        refresh.failed(Occasion { now, chance: 1 << 63 });
        let Step::Wait(Some(next)) = refresh.step(now) else { panic!() };
        pauses.push(next.since(now).as_secs());
        now = next;
    }
    assert_eq!(pauses, [1, 2, 4, 8, 16, 32, 60, 60, 60]);
}

#[test]
fn keys_that_cannot_be_fetched_again_lapse_even_while_a_fetch_hangs() {
    let mut refresh = fresh();
    assert_eq!(refresh.step(at(3599)), Step::Fetch);
    assert_eq!(refresh.step(at(3599)), Step::Wait(Some(at(3600))));
    assert_eq!(refresh.step(at(3600)), Step::Lapse);
    assert_eq!(refresh.step(at(3600)), Step::Wait(None));
}

#[test]
fn keys_of_before_the_start_are_good_for_the_rest_of_their_time() {
    let mut refresh = Refresh::new(&source(), Some(Duration::from_secs(3500)), at(7));
    assert_eq!(refresh.step(at(7)), Step::Fetch);
    assert_eq!(refresh.step(at(8)), Step::Wait(Some(at(107))));
}

#[test]
fn freshness_is_read_from_cache_control() {
    let seconds = |text| fresh_for(text).map(|fresh| fresh.as_secs());
    assert_eq!(seconds("public, Max-Age=300, must-revalidate"), Some(300));
    assert_eq!(seconds("max-age=\"60\""), Some(60));
    assert_eq!(seconds("max-age=60, no-cache"), Some(0));
    assert_eq!(seconds("max-age=99999999999999999999"), None);
    assert_eq!(seconds("private"), None);
}

#[test]
fn an_address_is_told_as_it_is_asked_for() {
    let url = |host: &str, port| JwksUrl { host: host.into(), port, ..source().url };
    assert_eq!(url("a.test", 443).to_string(), "https://a.test/k");
    assert_eq!(url("::1", 8443).to_string(), "https://[::1]:8443/k");
}

/// What happens next: seconds pass, then tokens ask or do not, and a fetch that is under way ends
/// well or badly.
type Turn = (u64, bool, Option<bool>);

fn turns() -> impl Strategy<Value = Vec<Turn>> {
    prop::collection::vec((0..40_u64, any::<bool>(), any::<Option<bool>>()), 1..300)
}

/// When fetches began, and whether the one before had failed.
fn fetches(turns: &[Turn], chance: u64) -> Vec<(u64, bool)> {
    let mut refresh = Refresh::new(&source(), None, at(0));
    let (mut now, mut is_fetching, mut failed) = (0, false, false);
    let mut began = Vec::new();
    for (passed, asks, ends) in turns {
        now += passed;
        if *asks {
            refresh.ask();
        }
        if let (true, Some(well)) = (is_fetching, *ends) {
            let at = Occasion { now: at(now), chance };
            if well {
                refresh.fetched(None, at);
            } else {
                refresh.failed(at);
            }
            (is_fetching, failed) = (false, !well);
        }
        if refresh.step(at(now)) == Step::Fetch {
            assert!(!is_fetching, "two fetches at once");
            is_fetching = true;
            began.push((now, failed));
        }
    }
    began
}

proptest! {
    #[test]
    fn asking_never_amplifies(turns in turns(), chance: u64) {
        // Of three fetches in a row that follow good ones, two were asked for or two were on time.
        for three in fetches(&turns, chance).windows(3) {
            let [(first, _), (_, failed), (last, failed_again)] = three else { panic!() };
            prop_assert!(*failed || *failed_again || last - first >= 30, "{three:?}");
        }
    }

    #[test]
    fn keys_are_never_used_beyond_their_time(turns in turns(), chance: u64) {
        let mut refresh = Refresh::new(&source(), None, at(0));
        let (mut now, mut is_fetching, mut fetched_at) = (0, false, None);
        for (passed, _, ends) in turns {
            now += passed * 20;
            match refresh.step(at(now)) {
                Step::Fetch => is_fetching = true,
                Step::Lapse => fetched_at = None,
                Step::Wait(_) => {}
            }
            prop_assert!(fetched_at.is_none_or(|since| now - since < 3600));
            if let (true, Some(well)) = (is_fetching, ends) {
                is_fetching = false;
                let at = Occasion { now: at(now), chance };
                if well {
                    refresh.fetched(None, at);
                    fetched_at = Some(now);
                } else {
                    refresh.failed(at);
                }
            }
        }
    }
}
