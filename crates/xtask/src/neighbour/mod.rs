//! The noisy neighbour: twenty tenants ask at a steady rate, one asks 50 times as often, and all live
//! on one stamp that works on so many requests at a time and lets the others wait. What do the twenty
//! see? In a quiet run, then with the tier's limits, with its fill alone, and with none.

mod gateway;
mod load;
mod stamp;

use std::time::Duration;

use self::load::{Answers, Asking};
use crate::failover::{now, sleep_until};
use crate::run::{Done, print, root, say};

/// How long a run lasts, unless told otherwise.
pub(crate) const SECONDS: u32 = 10;
/// Tenants that keep to their share.
const NEIGHBOURS: u32 = 20;
/// Requests a second of each of them.
const RATE: u32 = 30;
/// So many times as often asks the noisy one.
const NOISE: u32 = 50;
/// Before anything is measured, connections are made and the stamp is known to be well.
const WARM_UP: Duration = Duration::from_millis(1500);
/// What is promised: the neighbours' p99 is at most so many times that of a quiet run.
const TIMES_MAX: f64 = 2.0;

/// One run.
struct Run {
    name: &'static str,
    /// The keys of `[tier.standard]`, which all tenants are of.
    tier: &'static str,
    /// So many times its share the noisy one asks.
    noise: u32,
    is_promised: bool,
}

/// The stamp has room for 1,600 requests a second; a 21st of that are 76.
const RUNS: [Run; 4] = [
    Run { name: "quiet", tier: LIMITS, noise: 0, is_promised: true },
    Run { name: "noisy, limits of rate and fill", tier: LIMITS, noise: NOISE, is_promised: true },
    Run { name: "noisy, fill alone", tier: FILL, noise: NOISE, is_promised: true },
    Run { name: "noisy, no limits", tier: NO_LIMITS, noise: NOISE, is_promised: false },
];
const LIMITS: &str = "max_in_flight = 8\nrequests_per_second = 76\nburst = 76\n";
const FILL: &str = "max_in_flight = 8\n";
const NO_LIMITS: &str = "max_in_flight = 100000\n";

/// Measures all runs and prints the table; fails where the promise was not kept.
pub(crate) fn run(seconds: u32) -> Done {
    let directory = root().join("target/neighbour");
    stamp::start()?;
    print(
        "| run | requests | errors | p50 ms | p99 ms | max ms | p99 to quiet | noisy: served, 429, else |",
    );
    print("|---|---|---|---|---|---|---|---|");
    let mut quiet_p99_ms = f64::NAN;
    let mut broken = Vec::new();
    for run in &RUNS {
        say(run.name);
        let gateway = gateway::start(&directory, run.tier)?;
        sleep_until(now() + WARM_UP);
        let (mut neighbours, noisy) = measure(run.noise, seconds);
        drop(gateway);
        let p99_ms = neighbours.at_ms(990);
        if run.noise == 0 {
            quiet_p99_ms = p99_ms;
        }
        let times = p99_ms / quiet_p99_ms;
        print(&format!(
            "| {} | {} | {} | {:.1} | {p99_ms:.1} | {:.1} | {times:.2} | {}, {}, {} |",
            run.name,
            neighbours.sent(),
            neighbours.errors(),
            neighbours.at_ms(500),
            neighbours.at_ms(1000),
            noisy.served,
            noisy.limited,
            noisy.failed,
        ));
        if run.is_promised && (neighbours.errors() > 0 || times > TIMES_MAX) {
            broken.push(run.name);
        }
    }
    if broken.is_empty() { Ok(()) } else { Err(format!("not kept: {}", broken.join("; ")).into()) }
}

/// What the twenty saw, and what the noisy one did.
fn measure(noise: u32, seconds: u32) -> (Answers, Answers) {
    let began = now() + Duration::from_millis(200);
    let noise = Asking { tenant: 0, began, rate: RATE * noise, seconds, connections: 256 };
    let noisy = noise.start();
    let mut threads = Vec::new();
    for tenant in 1..=NEIGHBOURS {
        // They do not ask in step.
        let after = Duration::from_secs(1) / RATE * tenant / NEIGHBOURS;
        let own = Asking { tenant, began: began + after, rate: RATE, seconds, connections: 4 };
        threads.push(own.start());
    }
    let mut neighbours = Answers::default();
    for thread in threads {
        neighbours.add(thread.finish());
    }
    (neighbours, noisy.finish())
}
