//! stampgate beside nginx and `HAProxy` while a home stamp fails: the same faults, the same load, one
//! proxy after the other, in turning order. `scenario` says what happens when, `load` asks, `stamp`
//! answers, `proxy` starts each of the three with its best documented configuration
//! (`configuration`), `report` counts.

mod configuration;
mod load;
pub(crate) mod message;
mod proxy;
mod report;
mod scenario;
mod stamp;

use std::collections::BTreeMap;
use std::error::Error;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use self::load::Load;
use self::proxy::{Kind, Proxy};
use self::report::{Cell, Marks};
use self::scenario::{Action, SCENARIOS, Scenario};
use self::stamp::{HOME, SECONDARY, Stamp};
use crate::run::{Done, print, root, say};

pub(crate) use self::stamp::serve as serve_stamp;

/// The word that starts a stamp: this program, run once more, so that it can be killed and stopped.
pub(crate) const STAMP_COMMAND: &str = "failover-stamp";
/// Before anything is measured, the proxies have learnt that both stamps are well.
const WARM_UP: Duration = Duration::from_millis(1500);

/// Runs the named scenarios, or all, so many times each, and prints the table.
pub(crate) fn run(rounds: usize, names: &[&str]) -> Done {
    let chosen = choose(names)?;
    for program in ["nginx", "haproxy", "taskset"] {
        let mut command = Command::new(program);
        command.arg("-v").stdout(Stdio::null()).stderr(Stdio::null());
        if command.status().is_err() {
            return Err(format!("{program} is missing: apt-get install nginx haproxy").into());
        }
    }
    let directory = root().join("target/failover");
    let mut cells: BTreeMap<(usize, usize), Cell> = BTreeMap::new();
    for round in 0..rounds {
        for (row, scenario) in chosen.iter().enumerate() {
            let turn = |place: usize| (place + round + row) % Kind::ALL.len();
            for place in (0..Kind::ALL.len()).map(turn) {
                let Some(kind) = Kind::ALL.get(place).copied() else { continue };
                say(&format!("{} of {rounds}: {} {}", round + 1, scenario.name, kind.name()));
                let cell = measure(kind, scenario, &directory)?;
                cells.entry((row, place)).or_default().add(cell);
            }
        }
    }
    print(report::HEADER);
    for ((row, place), cell) in &mut cells {
        let (Some(scenario), Some(kind)) = (chosen.get(*row), Kind::ALL.get(*place)) else {
            continue;
        };
        print(&cell.line(scenario.name, kind.name()));
    }
    Ok(())
}

fn choose(names: &[&str]) -> Result<Vec<&'static Scenario>, Box<dyn Error>> {
    let known: Vec<&str> = SCENARIOS.iter().map(|scenario| scenario.name).collect();
    if let Some(unknown) = names.iter().find(|name| !known.contains(name)) {
        return Err(format!("no scenario `{unknown}`: there are {}", known.join(", ")).into());
    }
    let is_wanted = |it: &&Scenario| names.is_empty() || names.contains(&it.name);
    Ok(SCENARIOS.iter().filter(is_wanted).collect())
}

/// One scenario with one proxy.
fn measure(kind: Kind, scenario: &Scenario, directory: &Path) -> Result<Cell, Box<dyn Error>> {
    let directory = directory.join(scenario.name).join(kind.name());
    if directory.exists() {
        fs::remove_dir_all(&directory)?;
    }
    fs::create_dir_all(&directory)?;
    let mut home = Stamp::start(HOME, &directory)?;
    let _secondary = Stamp::start(SECONDARY, &directory)?;
    let mut proxy = Proxy::start(kind, &directory)?;
    if scenario.starts_without_home {
        home.kill();
    }
    sleep_until(now() + WARM_UP);

    let began = now() + Duration::from_millis(100);
    let load = Load { began, rate: scenario.rate, seconds: scenario.seconds };
    let asking = thread::spawn(move || load::run(load));
    let mut marks = Marks::new(scenario, began);
    for (at, action) in scenario.steps {
        sleep_until(began + Duration::from_millis(*at));
        marks.acted(*action, now());
        act(*action, &mut home, &mut proxy, &mut marks)?;
    }
    let answers = asking.join().map_err(|_panic| "the load generator panicked")?;
    drop(proxy);
    report::write_down(&answers.all, &directory)?;
    Ok(report::count(&answers, &marks, &directory)?)
}

fn act(action: Action, home: &mut Stamp, proxy: &mut Proxy, marks: &mut Marks) -> Done {
    match action {
        Action::KillHome => home.kill(),
        Action::StartHome => home.restart()?,
        Action::FreezeHome => home.signal("STOP"),
        Action::ThawHome => home.signal("CONT"),
        Action::Reset(share) => home.reset(share)?,
        Action::Reload => proxy.reload()?,
        Action::ReloadBroken => proxy.reload_broken()?,
        Action::Drain => {
            proxy.drain()?;
            marks.drained();
        }
        Action::Undrain => proxy.undrain()?,
    }
    Ok(())
}

/// The time.
#[expect(clippy::disallowed_methods, reason = "measuring is what this is for")]
pub(crate) fn now() -> Instant {
    Instant::now()
}

#[expect(clippy::disallowed_methods, reason = "this program has no runtime to block")]
pub(crate) fn sleep_until(due: Instant) {
    thread::sleep(due.saturating_duration_since(now()));
}
