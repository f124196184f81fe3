//! Limits hold over threads, reloads and forgetting; memory is that of active tenants.

use std::sync::mpsc;
use std::thread;

use stamp_core::diagnostic::SourceText;
use stamp_core::table;

use super::*;

/// A table of these tiers and tenants.
fn table(tiers: &str, tenants: &[(&str, &str)]) -> RoutingTable {
    let tenants: String = tenants
        .iter()
        .map(|(name, tier)| format!("\"{name}\" = {{ stamp = \"a\", tier = \"{tier}\" }}\n"))
        .collect();
    let text = format!(
        "version = 1\n[[stamp]]\nid = \"a\"\nendpoints = [{{ url = \"http://h:1\" }}]\n\
         {tiers}[tenants]\n{tenants}"
    );
    let main = SourceText { path: "routing.toml".into(), text: text.into() };
    let none = &mut |_: &std::path::Path| Err(std::io::ErrorKind::NotFound.into());
    table::load(main, none, None).unwrap().table
}

/// A table without tenants, which places them; what each of them may have.
fn pool(limits: &str) -> RoutingTable {
    let hash = "[identity]\nunknown_tenant = \"hash\"\n[placement]\nstamps = [\"a\"]\n";
    table(&format!("{hash}[tier.standard]\n{limits}\n"), &[])
}

/// A cell that nobody has used.
pub(super) fn cell(name: &str) -> Arc<TenantCell> {
    let limits = Limits { in_flight_max: std::num::NonZeroU32::MIN, rate: None };
    Registry::new(0).cell((name, 0), limits, at(0))
}

/// Two tenants of one tier.
fn pair(limits: &str) -> RoutingTable {
    table(&format!("[tier.t]\n{limits}\n"), &[("acme", "t"), ("globex", "t")])
}

fn place_of(table: &RoutingTable, name: &str) -> TenantIndex {
    table.directory.find(name).unwrap()
}

fn at(ms: u64) -> Moment {
    Moment(Duration::from_millis(ms))
}

/// Admits as many as it can at this moment, and lets go of them.
fn admitted(cells: &TenantCells, table: &RoutingTable, name: &str, now: Moment) -> u32 {
    let mut count = 0;
    while cells.admit(table, place_of(table, name), now).is_ok() {
        count += 1;
    }
    count
}

#[test]
fn a_tenants_fill_is_its_own_and_is_given_back() {
    let table = pair("max_in_flight = 2");
    let cells = TenantCells::new(&table);
    let admit = |name| cells.admit(&table, place_of(&table, name), at(0));
    let (one, two) = (admit("acme").unwrap(), admit("acme").unwrap());
    assert_eq!(admit("acme").unwrap_err().why, TenantRefusal::Saturated);
    let _other = admit("globex").unwrap();
    assert_eq!(cells.load("acme"), TenantLoad { in_flight: 2, refused: 1 });
    drop(one);
    let three = admit("acme").unwrap();
    drop((two, three));
    assert_eq!(cells.load("acme").in_flight, 0);
    assert_eq!(cells.load("nobody"), TenantLoad::default());
}

#[test]
fn a_place_is_given_back_by_a_panic() {
    let table = pair("max_in_flight = 1");
    let cells = TenantCells::new(&table);
    let place = cells.admit(&table, place_of(&table, "acme"), at(0)).unwrap();
    let panicked = thread::spawn(move || {
        let _place = place;
        panic!("a bug");
    });
    assert!(panicked.join().is_err());
    assert_eq!(cells.load("acme").in_flight, 0);
}

#[test]
fn a_rate_is_refused_with_the_time_to_wait() {
    let table = pair("requests_per_second = 10\nburst = 3");
    let cells = TenantCells::new(&table);
    assert_eq!(admitted(&cells, &table, "acme", at(5)), 3);
    let refused = cells.admit(&table, place_of(&table, "acme"), at(5)).unwrap_err();
    assert_eq!(refused.why, TenantRefusal::RateLimited { wait: Duration::from_millis(100) });
    assert_eq!(cells.load("acme").in_flight, 0, "what was refused is not in flight");
    assert_eq!(admitted(&cells, &table, "globex", at(5)), 3);
    assert_eq!(admitted(&cells, &table, "acme", at(205)), 2);
}

#[test]
fn what_is_turned_away_for_its_fill_takes_nothing_of_the_rate() {
    let table = pair("max_in_flight = 1\nrequests_per_second = 1\nburst = 2");
    let cells = TenantCells::new(&table);
    let first = cells.admit(&table, place_of(&table, "acme"), at(0)).unwrap();
    for _ in 0..10 {
        let refused = cells.admit(&table, place_of(&table, "acme"), at(0)).unwrap_err();
        assert_eq!(refused.why, TenantRefusal::Saturated);
    }
    drop(first);
    assert_eq!(admitted(&cells, &table, "acme", at(0)), 1);
}

#[test]
fn threads_together_get_no_more_than_one_would() {
    let table = &pair("max_in_flight = 3\nrequests_per_second = 1\nburst = 1000");
    let cells = &TenantCells::new(table);
    let acme = place_of(table, "acme");
    let admitted = AtomicU32::new(0);
    let one = || {
        for _ in 0..20_000 {
            if let Ok(_place) = cells.admit(table, acme, at(0)) {
                assert!(cells.load("acme").in_flight <= 3);
                admitted.fetch_add(1, Ordering::Relaxed);
            }
        }
    };
    thread::scope(|scope| {
        for _ in 0..4 {
            let _joined_by_the_scope = scope.spawn(one);
        }
    });
    assert_eq!(admitted.into_inner(), 1000);
    assert_eq!(cells.load("acme").in_flight, 0);
}

#[test]
fn a_reload_opens_no_gate() {
    let before = pair("max_in_flight = 2\nrequests_per_second = 1\nburst = 5");
    let cells = TenantCells::new(&before);
    let held = cells.admit(&before, place_of(&before, "acme"), at(0)).unwrap();
    assert_eq!(admitted(&cells, &before, "acme", at(0)), 4);
    // Another place in the directory, and tiers of other names.
    let tiers = "[tier.x]\nmax_in_flight = 1\n[tier.u]\nrequests_per_second = 1\nburst = 5\n";
    let after = table(tiers, &[("aaa", "x"), ("acme", "u"), ("bbb", "x")]);
    assert_ne!(place_of(&before, "acme"), place_of(&after, "acme"));
    let reloaded = cells.of(&after);
    assert_eq!(reloaded.load("acme").in_flight, 1);
    assert_eq!(admitted(&reloaded, &after, "acme", at(0)), 0);
    assert_eq!(admitted(&reloaded, &after, "acme", at(2000)), 2);
    cells.retire();
    assert_eq!(admitted(&cells, &before, "acme", at(2000)), 0, "a straggler of the old table");
    drop(held);
    assert_eq!(reloaded.load("acme").in_flight, 0);
}

#[test]
fn idle_tenants_are_forgotten_and_others_are_not() {
    let table = pair("max_in_flight = 2\nrequests_per_second = 1\nburst = 5");
    let cells = TenantCells::new(&table);
    let held = cells.admit(&table, place_of(&table, "globex"), at(0)).unwrap();
    assert_eq!(admitted(&cells, &table, "acme", at(0)), 5);
    drop(cells.renew());
    cells.registry.forget_idle(at(4999));
    assert_eq!(cells.known(), 2, "acme has spent what it has not earned again");
    assert_eq!(admitted(&cells, &table, "acme", at(999)), 0);
    drop(cells.renew());
    cells.registry.forget_idle(at(5000));
    assert_eq!((cells.known(), cells.load("globex").in_flight), (1, 1));
    drop(held);
    cells.registry.forget_idle(at(5000));
    assert_eq!(cells.known(), 0);
}

#[test]
fn a_tenant_in_the_index_is_not_forgotten_under_its_requests() {
    let table = pair("max_in_flight = 1");
    let cells = TenantCells::new(&table);
    drop(cells.admit(&table, place_of(&table, "acme"), at(0)).unwrap());
    cells.registry.forget_idle(at(1000));
    assert_eq!(cells.known(), 1);
    let _held = cells.admit(&table, place_of(&table, "acme"), at(1000)).unwrap();
    assert_eq!(admitted(&cells, &table, "acme", at(1000)), 0);
}

#[test]
fn only_active_tenants_cost_memory() {
    assert_eq!(size_of::<TenantCell>() + 2 * size_of::<usize>(), 64, "one cache line");
    let names: Vec<String> = (0..20_000).map(|number| format!("tenant-{number:05}")).collect();
    let tenants: Vec<(&str, &str)> = names.iter().map(|name| (&**name, "t")).collect();
    let table = table("[tier.t]\n", &tenants);
    let cells = TenantCells::new(&table);
    let at_rest = cells.heap_bytes();
    // A byte of index a tenant, whether it does anything or not.
    assert!(at_rest <= 20_000 + 1024, "{at_rest}");
    let step_bytes = |step: usize| {
        for (place, _, _) in table.directory.iter().step_by(step) {
            drop(cells.admit(&table, place, at(0)).unwrap());
        }
        let bytes = cells.heap_bytes() - at_rest;
        let each = bytes / cells.known();
        drop(cells.renew());
        cells.registry.forget_idle(at(0));
        assert_eq!(cells.heap_bytes(), at_rest, "nothing is left of {bytes} bytes");
        each
    };
    let (all_active, few_active) = (step_bytes(1), step_bytes(100));
    assert!(all_active <= 128, "{all_active} bytes a tenant where all are active");
    assert!(few_active <= 512, "{few_active} bytes a tenant where one in a hundred is active");
}

#[test]
fn a_placed_tenant_meets_a_lock_at_its_first_request_only() {
    let table = &pool("max_in_flight = 1");
    let cells = &TenantCells::new(table);
    drop(cells.admit_placed(table, "newcomer", at(0)).unwrap());
    let locked = cells.registry.shard(cells.registry.hash("newcomer"));
    let (sender, receiver) = mpsc::channel();
    thread::scope(|scope| {
        let _joined_by_the_scope = scope.spawn(move || {
            sender.send(cells.admit_placed(table, "newcomer", at(0)).is_ok()).unwrap();
        });
        let admitted = receiver.recv_timeout(Duration::from_secs(10));
        drop(locked);
        assert_eq!(admitted, Ok(true), "it waits for the lock");
    });
}

#[test]
fn each_of_many_placed_tenants_has_its_own_count() {
    let table = pool("max_in_flight = 1");
    let cells = TenantCells::new(&table);
    let names: Vec<String> = (0..20_000).map(|number| format!("newcomer-{number}")).collect();
    let admit = |name: &String| cells.admit_placed(&table, name, at(0));
    let held: Vec<TenantPlace> = names.iter().map(|name| admit(name).unwrap()).collect();
    assert!(names.iter().all(|name| admit(name).is_err()));
    drop(held);
    assert!(names.iter().all(|name| admit(name).is_ok()));
}

#[test]
fn threads_share_the_count_of_a_placed_tenant() {
    let table = &pool("requests_per_second = 1\nburst = 1000");
    let cells = &TenantCells::new(table);
    let admitted = AtomicU32::new(0);
    let one = || {
        for _ in 0..1000 {
            if cells.admit_placed(table, "newcomer", at(0)).is_ok() {
                admitted.fetch_add(1, Ordering::Relaxed);
            }
        }
    };
    thread::scope(|scope| {
        for _ in 0..4 {
            let _joined_by_the_scope = scope.spawn(one);
        }
    });
    assert_eq!(admitted.into_inner(), 1000);
}

#[test]
fn a_placed_tenant_is_forgotten_when_it_is_idle_and_found_again_after_a_reload() {
    let table = pool("requests_per_second = 1\nburst = 5");
    let cells = TenantCells::new(&table);
    let at_rest = cells.heap_bytes();
    let admitted = |cells: &TenantCells, now| {
        (0..10).filter(|_| cells.admit_placed(&table, "newcomer", now).is_ok()).count()
    };
    assert_eq!(admitted(&cells, at(0)), 5);
    let reloaded = cells.of(&table);
    assert_eq!(admitted(&reloaded, at(0)), 0, "what is spent is spent");
    cells.retire();
    assert_eq!(admitted(&cells, at(0)), 0, "a straggler of the old table");
    reloaded.registry.forget_idle(at(5000));
    assert_eq!(reloaded.known(), 1, "it is in the index");
    drop(reloaded.renew());
    reloaded.registry.forget_idle(at(5000));
    assert_eq!((reloaded.known(), reloaded.heap_bytes()), (0, at_rest));
}

#[test]
fn a_flood_of_names_shares_what_room_there_is_and_takes_nobody_elses() {
    let table = pool("max_in_flight = 1");
    let cells = TenantCells::with(&table, Registry::new(100));
    let admit = |name: &str| cells.admit_placed(&table, name, at(0));
    let held: Vec<TenantPlace> =
        (0..100).map(|number| admit(&format!("early-{number}")).unwrap()).collect();
    let flood: Vec<_> = (0..100_000).filter_map(|it| admit(&format!("flood-{it}")).ok()).collect();
    let crowds = usize::try_from(CROWDS).unwrap();
    assert!(flood.len() <= crowds, "{} were let in at once", flood.len());
    assert!(cells.known() <= 100 + crowds);
    assert!(admit("early-7").is_err(), "it has its own count");
    drop(held);
    assert!(admit("early-7").is_ok());
    drop((flood, cells.renew()));
    cells.registry.forget_idle(at(0));
    assert_eq!(cells.known(), 0);
    assert!(admit("late").is_ok());
    assert_eq!(cells.known(), 1, "there is room again");
}
