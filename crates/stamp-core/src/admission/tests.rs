//! The laws of admission: no limit is ever passed, and a higher priority is never worse off.

use proptest::prelude::*;

use super::*;

fn rate(per_second: u32, burst: u32) -> Rate {
    Rate::new(NonZeroU32::new(per_second).unwrap(), NonZeroU32::new(burst).unwrap())
}

fn at(ms: u64) -> Moment {
    Moment(Duration::from_millis(ms))
}

fn take_all(mut bucket: Bucket, rate: Rate, now: Moment) -> (u32, Bucket) {
    let mut requests = 0;
    while let Ok(rest) = bucket.taken(rate, now) {
        bucket = rest;
        requests += 1;
    }
    (requests, bucket)
}

#[test]
fn after_a_pause_a_whole_burst_may_come_and_then_the_rate() {
    let rate = rate(10, 5);
    let (burst, bucket) = take_all(Bucket::FULL, rate, at(7000));
    assert_eq!(burst, 5);
    assert_eq!(bucket.taken(rate, at(7000)), Err(Empty { wait: Duration::from_millis(100) }));
    assert_eq!(bucket.taken(rate, at(7099)), Err(Empty { wait: Duration::from_millis(1) }));
    assert_eq!(take_all(bucket, rate, at(7100)).0, 1);
    assert_eq!(take_all(bucket, rate, at(7350)).0, 3);
    assert_eq!(take_all(bucket, rate, at(90_000)).0, 5);
}

#[test]
fn a_bucket_is_full_when_as_much_time_has_passed_as_was_taken() {
    let rate = rate(10, 5);
    let (_, bucket) = take_all(Bucket::FULL, rate, at(1000));
    assert!(!bucket.is_full(at(1499)));
    assert!(bucket.is_full(at(1500)));
    assert!(Bucket::FULL.is_full(at(0)));
    assert_eq!(Bucket::from_bits(bucket.to_bits()), bucket);
}

#[test]
fn a_faster_rate_does_not_wait_out_the_debts_of_a_slower_one() {
    let (_, bucket) = take_all(Bucket::FULL, rate(1, 1000), at(0));
    let fast = rate(1000, 10);
    let (none, _) = take_all(bucket.under(fast, at(0)), fast, at(0));
    assert_eq!(none, 0, "what was spent stays spent");
    assert_eq!(take_all(bucket.under(fast, at(0)), fast, at(5)).0, 5);
}

#[test]
fn whoever_is_turned_away_is_told_whole_seconds_and_at_least_one() {
    let told = |ms| TenantRefusal::RateLimited { wait: Duration::from_millis(ms) }.retry_after_s();
    assert_eq!([told(1), told(1000), told(1001), told(59_500)], [1, 1, 2, 60]);
    assert_eq!(TenantRefusal::Saturated.retry_after_s(), 1);
}

#[test]
fn the_lowest_of_three_priorities_is_shed_at_80_per_cent_and_the_highest_at_100() {
    let all = [10, 0, 0, 5];
    let fill = |priority| Rank::among(priority, &all).fill_max(100);
    assert_eq!([fill(0), fill(5), fill(10)], [80, 90, 100]);
    assert_eq!(let_in(79, 100, Rank::among(0, &all)), Ok(80));
    assert_eq!(let_in(80, 100, Rank::among(0, &all)), Err(Shed::Priority));
    assert_eq!(let_in(99, 100, Rank::among(10, &all)), Ok(100));
    assert_eq!(let_in(100, 100, Rank::among(10, &all)), Err(Shed::Full));
}

#[test]
fn where_there_is_one_priority_nobody_is_shed_before_the_stamp_is_full() {
    assert_eq!(Rank::among(7, &[7, 7]), Rank::ONLY);
    assert_eq!(Rank::ONLY.fill_max(10), 10);
}

#[test]
fn a_stamp_that_takes_one_request_takes_it_from_anybody() {
    assert_eq!(let_in(0, 1, Rank::among(0, &[0, 1])), Ok(1));
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// Of requests at any moments, also such as two workers' clocks put them out of order, those let
    /// in within any window are at most the burst and what the rate gives in that time.
    #[test]
    fn no_window_has_more_than_the_burst_and_its_share(
        per_second in 1_u32..5000,
        burst in 1_u32..50,
        steps in prop::collection::vec((0_u64..20_000, 0_u64..200), 1..300),
    ) {
        let rate = rate(per_second, burst);
        let (mut bucket, mut clock_us, mut let_in) = (Bucket::FULL, 1_000_000_u64, Vec::new());
        for (passed_us, late_us) in steps {
            clock_us += passed_us;
            let seen = Moment(Duration::from_micros(clock_us - late_us));
            if let Ok(rest) = bucket.taken(rate, seen) {
                bucket = rest;
                let_in.push(seen);
            }
        }
        for (from, first) in let_in.iter().enumerate() {
            for (count, last) in (1_u64..).zip(&let_in[from..]) {
                let window_ns = nanoseconds(*last).saturating_sub(nanoseconds(*first));
                let share = window_ns * u64::from(per_second) / 1_000_000_000;
                prop_assert!(count <= u64::from(burst) + share, "{count} in {window_ns} ns");
            }
        }
    }

    /// A wait that was told is long enough.
    #[test]
    fn whoever_waits_as_told_is_let_in(
        per_second in 1_u32..2_000_000,
        burst in 1_u32..100,
        now_ms in 0_u64..1_000_000,
    ) {
        let rate = rate(per_second, burst);
        let (_, bucket) = take_all(Bucket::FULL, rate, at(now_ms));
        let Err(Empty { wait }) = bucket.taken(rate, at(now_ms)) else { panic!("it is empty") };
        prop_assert!(bucket.taken(rate, at(now_ms).after(wait)).is_ok());
    }

    /// Another rate in between gives nobody more than its own burst.
    #[test]
    fn a_change_of_rates_gives_no_second_burst(
        first in (1_u32..1000, 1_u32..100),
        second in (1_u32..1000, 1_u32..100),
    ) {
        let (before, after) = (rate(first.0, first.1), rate(second.0, second.1));
        let (_, bucket) = take_all(Bucket::FULL, before, at(50));
        let (more, bucket) = take_all(bucket.under(after, at(50)), after, at(50));
        prop_assert!(more <= second.1);
        let (none, _) = take_all(bucket.under(after, at(50)), after, at(50));
        prop_assert_eq!(none, 0);
    }

    /// Requests of all ranks come and go: never more than the maximum is in flight.
    #[test]
    fn a_stamp_is_never_overfilled(
        in_flight_max in 1_u32..50,
        priorities in prop::collection::vec(0_u32..6, 1..6),
        events in prop::collection::vec((any::<prop::sample::Index>(), any::<bool>()), 0..300),
    ) {
        let mut in_flight = 0;
        for (who, leaves) in events {
            if leaves {
                in_flight = u32::saturating_sub(in_flight, 1);
                continue;
            }
            let rank = Rank::among(*who.get(&priorities), &priorities);
            in_flight = let_in(in_flight, in_flight_max, rank).unwrap_or(in_flight);
            prop_assert!(in_flight <= in_flight_max);
        }
    }

    /// At the same fill, whoever has a higher priority is let in if a lower one is; nobody is shed
    /// up to 80 %; the highest is never shed before the stamp is full.
    #[test]
    fn a_higher_priority_is_never_shed_for_a_lower_one(
        in_flight_max in 1_u32..5000,
        fill in any::<prop::sample::Index>(),
        priorities in prop::collection::vec(0_u32..1000, 1..20),
    ) {
        let in_flight = u32::try_from(fill.index(in_flight_max as usize + 1)).unwrap();
        let mut sorted = priorities.clone();
        sorted.sort_unstable();
        let is_in: Vec<bool> = sorted
            .iter()
            .map(|it| let_in(in_flight, in_flight_max, Rank::among(*it, &priorities)).is_ok())
            .collect();
        prop_assert!(is_in.is_sorted(), "{is_in:?} of {sorted:?}");
        if u64::from(in_flight + 1) * 100 <= u64::from(in_flight_max) * 80 {
            prop_assert!(is_in.iter().all(|is_in| *is_in));
        }
        prop_assert_eq!(is_in.last().copied(), Some(in_flight < in_flight_max));
    }
}

#[test]
fn a_stamp_is_short_of_room_from_half_of_its_places_on() {
    for (places, full_from) in [(1, 1), (2, 1), (3, 2), (4, 2), (256, 128), (u32::MAX, 1 << 31)] {
        assert!(!is_short(full_from - 1, places), "{places}");
        assert!(is_short(full_from, places), "{places}");
    }
}
