//! Active probes, as `outbound::probe`: one prober an endpoint, kept over reloads.

use stamp_core::health::next_probe_in;
use stamp_core::table::HealthPolicy;

use super::control::Inbox;
use super::{Gateway, Inside, World};
use crate::world::Micros;

/// One endpoint's probes.
#[derive(Debug)]
pub(super) struct Prober {
    policy: HealthPolicy,
    since: Micros,
    /// The probe that is planned or under way; what is said of another is late.
    round: u64,
    began: Micros,
    is_waiting: bool,
    /// The next one is to wait for nothing.
    is_asked: bool,
}

impl Gateway {
    /// Endpoints that stay keep their prober; a new one begins at once.
    pub(super) fn follow_probes(&mut self, world: &mut World) {
        let mut former = std::mem::take(&mut self.control.probers);
        let view = std::rc::Rc::clone(&self.view);
        for stamp in view.table.stamps() {
            for endpoint in &stamp.endpoints {
                let number = view.endpoints[endpoint.index.at()].number;
                let known = former.remove(&number);
                let (round, kept) = match known {
                    Some(known) if known.policy == stamp.health => (known.round, Some(known)),
                    Some(known) => (known.round + 1, None),
                    None => (0, None),
                };
                let prober = kept.unwrap_or_else(|| {
                    self.later(0, Inside::Probe(number, round), world);
                    let (policy, since) = (stamp.health.clone(), world.now);
                    let (is_waiting, is_asked) = (true, false);
                    Prober { policy, since, round, began: since, is_waiting, is_asked }
                });
                self.control.probers.insert(number, prober);
            }
        }
    }

    pub(super) fn probe(&mut self, (endpoint, round): (u32, u64), world: &mut World) {
        let Some(prober) = self.control.probers.get_mut(&endpoint) else { return };
        if prober.round != round {
            return;
        }
        (prober.is_waiting, prober.began) = (false, world.now);
        let timeout = Micros::try_from(prober.policy.timeout.as_micros()).unwrap();
        let Some(cell) = self.view.endpoints.iter().find(|cell| cell.number == endpoint) else {
            return;
        };
        let machine = world.machines.of(cell.key);
        let (wait, good) = machine.probe(timeout, &mut world.dice);
        self.later(wait, Inside::Probed { endpoint, round, good }, world);
    }

    pub(super) fn probed(&mut self, (endpoint, round): (u32, u64), good: bool, world: &mut World) {
        self.tell_control(Inbox::Probe { endpoint, round, good }, world);
    }

    /// The fleet learns of it, and the next probe is planned by what it made of it.
    pub(super) fn take_probe(
        &mut self,
        (endpoint, round): (u32, u64),
        good: bool,
        world: &mut World,
    ) {
        let known = self.control.probers.get(&endpoint).filter(|prober| prober.round == round);
        let Some(since) = known.map(|prober| prober.since) else { return };
        let cell = self.view.endpoints.iter().find(|cell| cell.number == endpoint);
        let bad_since = cell.and_then(|cell| world.machines.of(cell.key).bad_since);
        let bad_for = bad_since.map_or(0, |bad_since| world.now - bad_since.max(since));
        self.take_probe_result(endpoint, (good, bad_for), world);
        let health = self.control.health(endpoint);
        let Some(prober) = self.control.probers.get_mut(&endpoint) else { return };
        let wait = next_probe_in(&prober.policy, health, world.dice.any());
        let due = prober.began + Micros::try_from(wait.as_micros()).unwrap();
        let is_asked = std::mem::take(&mut prober.is_asked);
        let wait = if is_asked { 0 } else { due.saturating_sub(world.now) };
        prober.is_waiting = true;
        prober.round += 1;
        let round = prober.round;
        self.later(wait, Inside::Probe(endpoint, round), world);
    }

    /// A breaker tripped: its endpoint is probed now.
    pub(super) fn probe_at_once(&mut self, endpoint: u32, world: &mut World) {
        let Some(prober) = self.control.probers.get_mut(&endpoint) else { return };
        if !prober.is_waiting {
            prober.is_asked = true;
            return;
        }
        prober.round += 1;
        let round = prober.round;
        self.later(0, Inside::Probe(endpoint, round), world);
    }
}
