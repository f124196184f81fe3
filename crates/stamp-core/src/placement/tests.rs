//! Where tenants are placed: values that must never change, and the laws of moving.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

/// Homes as they were when this was written, computed by another program. Should one of these
/// change, tenants would move.
const GOLDEN: &str = include_str!("golden.txt");

/// The pool of these stamps and weights.
fn pool(stamps: &[(&str, u16)]) -> Placement {
    Placement::new(stamps.iter().zip(0..).map(|((id, weight), at)| {
        let id = StampId::parse(id).unwrap().into_owned();
        (id, StampIndex(at), NonZeroU16::new(*weight).unwrap())
    }))
}

fn home<'p>(pool: &'p Placement, tenant: &str) -> &'p str {
    let index = pool.home(tenant).unwrap();
    pool.places.iter().find(|place| place.stamp == index).unwrap().id.as_str()
}

fn golden_pool(line: &str) -> Placement {
    let stamps: Vec<(&str, u16)> = line
        .split(',')
        .map(|stamp| match stamp.split_once('*') {
            Some((id, weight)) => (id, weight.parse().unwrap()),
            None => (stamp, 1),
        })
        .collect();
    pool(&stamps)
}

#[test]
fn tenants_live_where_they_always_lived() {
    let heads = GOLDEN.lines().filter_map(|line| line.strip_prefix("# "));
    let pools: Vec<Placement> = heads.skip(1).map(golden_pool).collect();
    let rows: Vec<&str> = GOLDEN.lines().filter(|line| !line.starts_with('#')).collect();
    assert_eq!((pools.len(), rows.len()), (5, 214));
    for row in rows {
        let (tenant, homes) = row.split_once(' ').unwrap();
        let found: Vec<&str> = pools.iter().map(|pool| home(pool, tenant)).collect();
        assert_eq!(found.join(" "), homes, "{tenant}");
    }
}

#[test]
fn the_order_of_the_file_decides_nothing() {
    let (one, other) =
        (pool(&[("a", 1), ("b", 2), ("c", 3)]), pool(&[("c", 3), ("a", 1), ("b", 2)]));
    for number in 0..1000 {
        let tenant = format!("t{number}");
        assert_eq!(home(&one, &tenant), home(&other, &tenant));
    }
}

#[test]
fn a_name_whose_entry_cannot_be_read_is_not_placed() {
    let pool = pool(&[("a", 1)]).without(["acme".to_owned()]);
    assert_eq!((pool.home("acme"), pool.home("globex")), (None, Some(StampIndex(0))));
}

#[test]
fn an_empty_pool_has_no_place() {
    assert_eq!(pool(&[]).home("acme"), None);
}

#[test]
fn the_share_that_moves_follows_from_the_weights() {
    let moved = |old: &[(&str, u16)], new: &[(&str, u16)]| pool(old).moved_millionths(&pool(new));
    assert_eq!(moved(&[("a", 1), ("b", 2)], &[("a", 1), ("b", 2)]), 0);
    assert_eq!(moved(&[("a", 1), ("b", 2)], &[("a", 20), ("b", 40)]), 0, "the same shares");
    assert_eq!(moved(&[("a", 1)], &[("b", 1)]), 1_000_000);
    assert_eq!(moved(&[("a", 1)], &[("a", 1), ("b", 3)]), 750_000, "its share");
    assert_eq!(moved(&[("a", 1), ("b", 3)], &[("a", 1)]), 750_000);
    // From 1/2 to 2/3 of all.
    assert_eq!(moved(&[("a", 1), ("b", 1)], &[("a", 2), ("b", 1)]), 166_667);
    let heavy: Vec<(String, u16)> = (0..1024).map(|at| (format!("s{at}"), u16::MAX - at)).collect();
    assert_eq!(pool_of(&heavy).moved_millionths(&pool_of(&heavy)), 0);
    assert_eq!(pool_of(&heavy).moved_millionths(&pool_of(&heavy[1..])), 984);
}

#[test]
fn what_moves_is_told_by_where_from_and_where_to() {
    let (old, new) = (pool(&[("a", 1), ("b", 1)]), pool(&[("a", 1), ("c", 1)]));
    let between = old.moved_between(&new, 10_000);
    let told: Vec<_> = between.keys().copied().collect();
    // Who lived on a, and whose straw for c is shorter; who lived on b goes to either.
    assert_eq!(told, [("a", "c"), ("b", "a"), ("b", "c")]);
    let moved: u32 = between.values().sum();
    assert!(moved.abs_diff(old.moved_millionths(&new) / 100) <= 150, "{between:?}");
    assert!(old.moved_between(&old, 10_000).is_empty());
}

#[test]
fn straws_are_shorter_for_larger_numbers_and_never_of_no_end() {
    assert_eq!(length(0), 64 << 32);
    assert_eq!(length(1), 64 << 32);
    assert_eq!(length(1 << 63), 1 << 32);
    let mut last = u64::MAX;
    for number in (1..64).flat_map(|bit| [1_u64 << bit, (1 << bit) | (1 << bit >> 1)]) {
        assert!(length(number) < last, "{number}");
        last = length(number);
    }
    assert!(length(u64::MAX) <= last);
}

/// How many of so many tenants live on each stamp.
fn shares(pool: &Placement, tenants: u32) -> BTreeMap<&str, u32> {
    let mut shares = BTreeMap::new();
    for number in 0..tenants {
        *shares.entry(home(pool, &format!("tenant-{number}"))).or_default() += 1;
    }
    shares
}

#[test]
fn shares_follow_weights() {
    let pool = pool(&[("a", 1), ("b", 2), ("c", 7)]);
    let shares = shares(&pool, 50_000);
    for (id, wanted) in [("a", 5_000), ("b", 10_000), ("c", 35_000)] {
        let share = shares.get(id).copied().unwrap_or_default();
        assert!(share.abs_diff(wanted) <= 500, "{id}: {share}");
    }
}

prop_compose! {
    /// Two to eight stamps with their weights.
    fn stamps()(weights in prop::collection::vec(1_u16..10, 2..8)) -> Vec<(String, u16)> {
        weights.into_iter().zip(0..).map(|(weight, at): (u16, u32)| (format!("s{at}"), weight)).collect()
    }
}

fn pool_of(stamps: &[(String, u16)]) -> Placement {
    let stamps: Vec<(&str, u16)> = stamps.iter().map(|(id, weight)| (&**id, *weight)).collect();
    pool(&stamps)
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 32, ..ProptestConfig::default() })]

    #[test]
    fn a_new_stamp_takes_its_share_and_nobody_else_moves(
        mut stamps in stamps(),
        weight in 1_u16..10,
        seed in any::<u32>(),
    ) {
        const TENANTS: u32 = 20_000;
        let before = pool_of(&stamps);
        stamps.push(("new".to_owned(), weight));
        let after = pool_of(&stamps);
        let mut moved = 0;
        for number in 0..TENANTS {
            let tenant = format!("t{seed}-{number}");
            if home(&before, &tenant) != home(&after, &tenant) {
                prop_assert_eq!(home(&after, &tenant), "new");
                moved += 1;
            }
        }
        let all: u16 = stamps.iter().map(|(_, weight)| weight).sum();
        let share = f64::from(weight) / f64::from(all);
        prop_assert!(f64::from(moved) <= (share + 0.01) * f64::from(TENANTS), "{moved} of {share}");
    }

    #[test]
    fn the_share_that_moves_is_what_names_find(
        old in stamps(),
        new in stamps(),
        gone in any::<prop::sample::Index>(),
    ) {
        const NAMES: u32 = 20_000;
        let mut new = new;
        new.remove(gone.index(new.len()));
        let (old, new) = (pool_of(&old), pool_of(&new));
        let found: u32 = old.moved_between(&new, NAMES).values().sum();
        let share = old.moved_millionths(&new);
        // Five times the standard error of so many names, at most 0.36 points.
        prop_assert!((found * 50).abs_diff(share) <= 18_000, "{share}: {found} of {NAMES}");
    }

    #[test]
    fn a_stamp_that_leaves_moves_its_own_tenants_only(stamps in stamps(), gone in any::<prop::sample::Index>()) {
        let before = pool_of(&stamps);
        let gone = gone.index(stamps.len());
        let mut rest = stamps;
        let (gone, _) = rest.remove(gone);
        let after = pool_of(&rest);
        for number in 0..500 {
            let tenant = format!("t{number}");
            let was = home(&before, &tenant);
            prop_assert!(was == gone || was == home(&after, &tenant), "{tenant}");
        }
    }

    #[test]
    fn a_heavier_stamp_only_gains(stamps in stamps(), more in 1_u16..10) {
        let before = pool_of(&stamps);
        let mut heavier = stamps;
        heavier[0].1 += more;
        let after = pool_of(&heavier);
        for number in 0..500 {
            let tenant = format!("t{number}");
            let (was, is) = (home(&before, &tenant), home(&after, &tenant));
            prop_assert!(was == is || is == "s0", "{tenant}");
        }
    }
}
