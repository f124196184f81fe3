//! Which stamp serves, by one View, as `proxy::choose`; with whom a request is for.

use http::Version;
use stamp_core::failover::{self, Choice, Needs, Refusal, Route, TrialRisk};
use stamp_core::id::StampIndex;
use stamp_core::identify::{self, Head, Peer};
use stamp_core::resolve::{Target, resolve};
use stamp_core::retry::MethodClass;
use stamp_core::standing::{EndpointStanding, OutReason};

use super::{Call, EndpointCell, View};
use crate::plan::TenantKey;
use crate::requests::Request;
use crate::shadow::Chosen;
use crate::world::{Micros, SECOND};

pub(super) fn target(view: &View, request: &Request) -> Option<Target> {
    let headers = request.headers();
    let head = Head { version: Version::HTTP_11, authority: None, headers: &headers };
    let clues = identify::clues(&head, &view.table, Peer::Untrusted, None).ok()?;
    resolve(&view.table, &clues).ok()
}

pub(super) fn tenant_named(name: &str) -> TenantKey {
    name.trim_start_matches('t').parse().unwrap()
}

pub(super) fn needs(target: &Target, method: MethodClass, view: &View) -> Needs {
    Needs::of(target, method, (&view.table, &view.standings.stamps))
}

pub(super) fn choose(
    view: &View,
    target: &Target,
    method: MethodClass,
    now: Micros,
) -> Result<Choice, Refusal> {
    let needs = needs(target, method, view);
    let offers = |stamp, risk| has_trial(view, stamp, (risk == TrialRisk::Lost, now));
    failover::choose_or_try(&view.table, &view.standings.stamps, needs, offers)
}

pub(super) fn has_trial(view: &View, stamp: StampIndex, (risks, now): (bool, Micros)) -> bool {
    view.table.stamp(stamp).endpoints.iter().any(|endpoint| {
        let place = endpoint.index.at();
        view.standing(place) == EndpointStanding::Trial
            && view.endpoints[place].offers_trial(risks, now)
    })
}

/// As published; but whoever comes while the one trial is under way looks at the next endpoint.
pub(super) fn standing_now(view: &View, place: usize) -> EndpointStanding {
    let published = view.standing(place);
    let is_taken = !view.endpoints[place].trial_is_free.get();
    if published == EndpointStanding::Trial && is_taken {
        return EndpointStanding::Out(OutReason::BreakerOpen);
    }
    published
}

pub(super) fn way_out(call: &Call, now: &View) -> Option<Choice> {
    let needs = needs(&call.target, call.method, now);
    failover::fall_through(&now.table, &now.standings.stamps, needs, call.choice.stamp)
}

impl EndpointCell {
    /// Is its trial for such a request? One that would be lost leaves it to others for a while.
    pub(super) fn offers_trial(&self, risks: bool, now: Micros) -> bool {
        if !risks || !self.trial_is_free.get() {
            return self.trial_is_free.get();
        }
        let left_at = self.trial_left_at.get();
        self.trial_left_at.set(left_at.or(Some(now)));
        left_at.is_some_and(|left_at| now - left_at >= SECOND)
    }
}

pub(super) fn chosen(view: &View, choice: Choice) -> Chosen {
    let stamp = view.key_of(choice.stamp);
    match choice.route {
        Route::Home | Route::Edge { .. } => Chosen::Serve(stamp),
        Route::HomeTrial | Route::EdgeTrial { .. } => Chosen::Trial(stamp),
    }
}
