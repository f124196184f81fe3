//! What a described request would meet, told without sending it. The same functions in the same order
//! as in `handle`; nothing is counted, no trial is taken, no token is remembered.

mod described;

use std::rc::Rc;

use http::Method;
use stamp_core::admission;
use stamp_core::claims::{Claims, Header, Unverified, Verified, split};
use stamp_core::explain::{self, Denied, Question, Story};
use stamp_core::failover::{Choice, TrialRisk};
use stamp_core::fleet::Standings;
use stamp_core::framing::BodyFraming;
use stamp_core::id::StampIndex;
use stamp_core::memory::Level;
use stamp_core::resolve::Target;
use stamp_core::retry::MethodClass;
use stamp_core::standing::EndpointStanding;
use stamp_core::table::{Algorithm, RoutingTable};
use stamp_core::time::UnixSeconds;

pub use described::{Described, Description, NoRequest};

use super::error::ProxyError;
use super::{headers, respond};
use crate::auth::{self, AuthError, KeyRing, TokenCache};
use crate::settings::Live;
use crate::state::{State, View};

/// What a gateway would decide by.
#[derive(Clone, Copy, Debug)]
pub struct Scene<'a> {
    /// The table.
    pub table: &'a RoutingTable,
    /// The keys of its issuers.
    pub keys: &'a KeyRing,
    /// The live settings.
    pub live: &'a Live,
    /// Who may serve.
    pub standings: &'a Standings,
    /// `node.id`
    pub node: &'a str,
    /// Tokens are judged by this time.
    pub now: UnixSeconds,
    /// The gateway, if one runs, and its View, which the table is of.
    pub running: Option<(&'a State, &'a View)>,
}

/// What was made of the token of a request.
#[derive(Debug)]
pub struct TokenTold {
    /// What its head says, as far as it can be read. Not believed.
    pub claimed: Option<TokenClaims>,
    /// What counts of it.
    pub verified: Result<Option<Rc<Verified<Claims>>>, AuthError>,
}

/// What a token says of itself.
#[derive(Debug, Default)]
pub struct TokenClaims {
    /// `iss`
    pub issuer: Option<String>,
    /// `kid`
    pub key_id: Option<String>,
    /// `alg`
    pub algorithm: Option<Algorithm>,
}

/// Everything about one described request.
#[derive(Debug)]
pub struct Explanation<'a> {
    /// What the sources say and who may serve; `None` = its head is refused.
    pub story: Option<Story<'a>>,
    /// How it ends here.
    pub end: End,
}

/// How a request ends at this gateway.
#[derive(Debug)]
pub enum End {
    /// It is sent to a stamp.
    Forward(Target, Choice),
    /// The gateway answers itself: an OPTIONS request that may go no further.
    Answer,
    /// It is refused.
    Refuse(Refused),
}

/// A refusal, as the client and as the operator sees it.
#[derive(Debug)]
pub struct Refused {
    /// The status of the answer.
    pub status: u16,
    /// Its code.
    pub code: &'static str,
    /// What the client reads.
    pub detail: &'static str,
    /// What happened.
    pub reason: String,
    /// The stage that refused it.
    pub stage: Stage,
}

/// A stage of a request's way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    /// Is it HTTP?
    Head,
    /// What do its sources say?
    Identify,
    /// Whom is it for?
    Resolve,
    /// May it come in?
    Admit,
    /// Who serves it?
    Choose,
    /// May it be sent?
    Forward,
}

impl Described {
    /// What its token says and what of it counts.
    #[must_use]
    pub fn token(&self, scene: &Scene<'_>) -> TokenTold {
        let (place, head) = (&scene.table.identity.token, self.as_head());
        let read = (place, &head);
        let mut forgotten = TokenCache::default();
        let verified = auth::verified(scene.keys, &mut forgotten, read, || scene.now);
        let token = auth::token(place, &head).ok().flatten();
        TokenTold { claimed: token.map(claimed), verified }
    }
}

/// What a token says of itself, read as far as it can be.
fn claimed(token: &str) -> TokenClaims {
    let Ok(parts) = split(token) else { return TokenClaims::default() };
    let header = Header::read(&parts.header).ok();
    let claims = Unverified::read(&parts.claims).ok();
    TokenClaims {
        issuer: claims.and_then(|claims| claims.issuer().map(str::to_owned)),
        algorithm: header.as_ref().map(|header| header.algorithm),
        key_id: header.and_then(|header| header.key_id),
    }
}

/// Tells what the request would meet.
#[must_use]
pub fn explain<'a>(
    scene: &Scene<'a>,
    request: &'a Described,
    token: &'a TokenTold,
) -> Explanation<'a> {
    let (body, method) = match &request.head {
        Ok((body, method)) => (*body, method),
        Err(error) => {
            let end = refuse(Stage::Head, &ProxyError::Malformed(*error));
            return Explanation { story: None, end };
        }
    };
    let question = Question {
        head: request.as_head(),
        peer: request.peer,
        method: MethodClass::of(method),
        verified: token.verified.as_ref().ok().and_then(Option::as_deref),
    };
    let by = (scene.table, &*scene.standings.stamps);
    let story = explain::explain(by, question, |stamp, risk| scene.offers_trial(stamp, risk));
    let chosen = scene.chosen(token, &story);
    let end = chosen.and_then(|chosen| {
        let sent = scene.sent(request, (body, method), chosen);
        sent.map_err(|error| (Stage::Forward, error))
    });
    let end = end.unwrap_or_else(|(stage, error)| refuse(stage, &error));
    Explanation { story: Some(story), end }
}

fn refuse(stage: Stage, error: &ProxyError) -> End {
    let told = respond::told_of(error);
    let mut reason = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(deeper) = cause {
        let more = deeper.to_string();
        if !reason.ends_with(&more) {
            reason.push_str(": ");
            reason.push_str(&more);
        }
        cause = deeper.source();
    }
    let (status, code, detail) = (told.status.as_u16(), told.code, told.detail);
    End::Refuse(Refused { status, code, detail, reason, stage })
}

impl Scene<'_> {
    /// From the token to the choice.
    fn chosen(
        &self,
        token: &TokenTold,
        story: &Story<'_>,
    ) -> Result<(Target, Choice), (Stage, ProxyError)> {
        if let Some((state, _)) = self.running {
            if state.memory().level >= Level::RefusesRequests {
                return Err((Stage::Head, ProxyError::ShortOfMemory));
            }
            if state.in_flight() >= self.live.limits.in_flight_max.get() {
                return Err((Stage::Head, ProxyError::Overloaded));
            }
        }
        if let Err(error) = &token.verified {
            return Err((Stage::Identify, error.clone().into()));
        }
        let target = story.target.map_err(|denied| match denied {
            Denied::Identify(error) => (Stage::Identify, error.into()),
            Denied::Resolve(error) => (Stage::Resolve, error.into()),
        })?;
        self.admit(&target).map_err(|error| (Stage::Admit, error))?;
        let choice = story.ways.as_ref().map(|ways| ways.choice);
        let choice = choice.ok_or((Stage::Choose, ProxyError::Internal))?;
        let choice = choice.map_err(|refusal| (Stage::Choose, ProxyError::Refused(refusal)))?;
        Ok((target, choice))
    }

    /// As `admit`, and counts nothing. Without a gateway nobody has anything in flight.
    fn admit(&self, target: &Target) -> Result<(), ProxyError> {
        let (Some((state, view)), Some(name)) = (self.running, target.tenant_name(self.table))
        else {
            return Ok(());
        };
        let limits = self.table.tier_of(target.tenant).limits;
        Ok(view.tenants.would_admit(limits, name, state.clock().now())?)
    }

    /// What is looked at when a request that has its stamp is sent.
    fn sent(
        &self,
        request: &Described,
        (body, method): (BodyFraming, &Method),
        (target, choice): (Target, Choice),
    ) -> Result<End, ProxyError> {
        if let BodyFraming::Length(bytes) = body
            && !self.live.limits.takes_body(bytes)
        {
            return Err(ProxyError::BodyTooLarge);
        }
        let mut fields = request.headers.clone();
        if *method == Method::OPTIONS && headers::count_forwards(&mut fields).is_none() {
            return Ok(End::Answer);
        }
        headers::check_loop(&fields, self.node)?;
        headers::strip_request(&mut fields, &self.table.identity.header, request.peer)?;
        self.enter(&target, choice.stamp)?;
        Ok(End::Forward(target, choice))
    }

    /// Would the stamp take one more request of this tenant's priority?
    fn enter(&self, target: &Target, stamp: StampIndex) -> Result<(), ProxyError> {
        let Some((_, view)) = self.running else { return Ok(()) };
        let in_flight_max = self.table.stamp(stamp).in_flight_max;
        let rank = self.table.tier_of(target.tenant).rank;
        let entered = admission::let_in(view.stamp(stamp).requests(), in_flight_max, rank);
        entered.map(drop).or(Err(ProxyError::StampSaturated))
    }

    /// Is a trial of this stamp to be had? Who would lose something by it leaves it to others.
    fn offers_trial(&self, stamp: StampIndex, risk: TrialRisk) -> bool {
        let Some((_, view)) = self.running else { return false };
        let endpoints = &self.table.stamp(stamp).endpoints;
        risk == TrialRisk::None
            && endpoints.iter().any(|endpoint| {
                let standing = self.standings.endpoints.get(endpoint.index.at());
                standing == Some(&EndpointStanding::Trial)
                    && view.endpoint(endpoint.index).trial_is_free()
            })
    }
}
