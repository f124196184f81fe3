//! Core's story of a request -> the words of the API.

use http::HeaderMap;
use http::header::{COOKIE, HOST, HeaderName};
use stamp_core::clue::{Clue, Source};
use stamp_core::explain::{Heard, Story, Ways};
use stamp_core::failover::{Candidate, Route, Verdict};
use stamp_core::id::{StampIndex, TenantId};
use stamp_core::identify::{Peer, is_accepted};
use stamp_core::standing::Serving;
use stamp_core::table::{EdgeMode, Located, RoutingTable};

use super::super::{LimitsView, health};
use super::{
    AdmitView, ByView, CandidateView, DecisionView, RowView, SourceView, StepView, TokenView,
};
use crate::proxy::explain::{Described, End, Explanation, Refused, Scene, Stage, TokenTold};

/// The longest text of a request that is shown, in characters.
const SHOWN_MAX: usize = 200;
/// The most tenants of a token that are shown.
const TENANTS_SHOWN_MAX: usize = 10;

/// What is told, and of what.
pub(super) struct Telling<'a> {
    pub(super) scene: &'a Scene<'a>,
    pub(super) request: &'a Described,
    pub(super) token: &'a TokenTold,
    pub(super) explanation: Explanation<'a>,
}

impl Telling<'_> {
    pub(super) fn decision(&self) -> DecisionView {
        let table = self.scene.table;
        let name = |stamp: StampIndex| Some(table.stamp(stamp).id.to_string());
        let target = self.explanation.story.as_ref().and_then(|story| story.target.ok());
        let whose = DecisionView {
            tenant: target.and_then(|it| it.tenant_name(table).map(str::to_owned)),
            home: target.and_then(|target| name(target.home)),
            ..DecisionView::default()
        };
        match &self.explanation.end {
            End::Forward(_, choice) => {
                let (route, why) = match choice.route {
                    Route::Home => ("home", None),
                    Route::Edge { why, .. } => ("failover", Some(why.as_str().to_owned())),
                    Route::HomeTrial | Route::EdgeTrial { .. } => ("trial", None),
                };
                let (outcome, route) = ("forward".to_owned(), Some(route.to_owned()));
                DecisionView { outcome, stamp: name(choice.stamp), route, why, ..whose }
            }
            End::Answer => {
                let (outcome, status) = ("answer".to_owned(), Some(204));
                DecisionView { outcome, status, ..whose }
            }
            End::Refuse(Refused { status, code, detail, reason, .. }) => DecisionView {
                outcome: "refuse".to_owned(),
                status: Some(*status),
                code: Some((*code).to_owned()),
                detail: Some((*detail).to_owned()),
                reason: Some(reason.clone()),
                ..whose
            },
        }
    }

    pub(super) fn steps(&self) -> Vec<StepView> {
        let story = self.explanation.story.as_ref();
        let target = story.and_then(|story| story.target.ok());
        let by = target.map(|target| ByView {
            source: target.source.as_str().to_owned(),
            verified: target.verified,
            conflict: target.conflict.map(|conflict| conflict.to_string()),
        });
        let limits = target.and_then(|target| {
            let name = target.tenant_name(self.scene.table)?;
            let tier = self.scene.table.tier_of(target.tenant);
            let running = self.scene.running;
            Some(AdmitView {
                tier: tier.name.to_string(),
                limits: LimitsView::new(tier),
                in_flight: running.map(|(_, view)| view.tenants.load(name).in_flight),
            })
        });
        let ways = story.and_then(|story| story.ways.as_ref());
        vec![
            self.step(Stage::Head),
            StepView {
                sources: story.map_or_else(Vec::new, |story| self.sources(story)),
                verified_demanded: story.is_some_and(|story| story.verified_demanded),
                ..self.step(Stage::Identify)
            },
            StepView {
                row: story.and_then(|story| self.row(story)),
                by,
                ..self.step(Stage::Resolve)
            },
            StepView { limits, ..self.step(Stage::Admit) },
            StepView {
                candidates: ways.map_or_else(Vec::new, |ways| self.candidates(ways)),
                ..self.step(Stage::Choose)
            },
            self.step(Stage::Forward),
        ]
    }

    fn step(&self, stage: Stage) -> StepView {
        let step = match stage {
            Stage::Head => "head",
            Stage::Identify => "identify",
            Stage::Resolve => "resolve",
            Stage::Admit => "admit",
            Stage::Choose => "choose",
            Stage::Forward => "forward",
        };
        let (result, reason) = match &self.explanation.end {
            End::Refuse(refused) if refused.stage == stage => {
                ("refused", Some(refused.reason.clone()))
            }
            End::Refuse(refused) if refused.stage < stage => ("not_reached", None),
            End::Refuse(_) | End::Forward(..) | End::Answer => ("ok", None),
        };
        StepView {
            step: step.to_owned(),
            result: result.to_owned(),
            reason,
            sources: Vec::new(),
            verified_demanded: false,
            row: None,
            by: None,
            limits: None,
            candidates: Vec::new(),
        }
    }

    fn sources(&self, story: &Story<'_>) -> Vec<SourceView> {
        story.heard.iter().map(|heard| self.source(heard)).collect()
    }

    fn source(&self, heard: &Heard<'_>) -> SourceView {
        let (clue, error) = match &heard.said {
            Ok(clue) => (clue.as_ref(), None),
            Err(error) => (None, Some(error)),
        };
        let class = format!("{:?}", heard.source.class()).to_lowercase();
        let name = |stamp: &dyn ToString| stamp.to_string();
        let view = SourceView {
            source: heard.source.as_str().to_owned(),
            class,
            value: self.value(heard.source),
            tenant: clue.and_then(|clue| clue.tenant.as_ref()).map(|it| name(it)),
            stamp: clue.and_then(|clue| clue.stamp.as_ref()).map(|it| name(it)),
            error: error.map(ToString::to_string),
            ..SourceView::default()
        };
        if heard.source == Source::Jwt {
            return self.of_token(view);
        }
        let says_nothing = clue.is_none() && error.is_none();
        SourceView { note: says_nothing.then(|| self.note(heard.source, &view)), ..view }
    }

    fn of_token(&self, view: SourceView) -> SourceView {
        let (error, one_of) = match &self.token.verified {
            Ok(Some(claims)) if claims.tenants.only().is_none() => {
                let tenants = claims.tenants.iter().map(ToString::to_string);
                (None, tenants.take(TENANTS_SHOWN_MAX).collect())
            }
            Ok(_) => (None, Vec::new()),
            Err(error) => (Some(error), Vec::new()),
        };
        let error = error.map(|error| match std::error::Error::source(error) {
            Some(cause) => cause.to_string(),
            None => error.to_string(),
        });
        let token = self.token.claimed.as_ref().map(|claimed| TokenView {
            issuer: claimed.issuer.as_ref().map(|issuer| shown(issuer.as_bytes())),
            key_id: claimed.key_id.as_ref().map(|id| shown(id.as_bytes())),
            algorithm: claimed.algorithm.map(|algorithm| format!("{algorithm:?}")),
        });
        let is_silent = matches!(self.token.verified, Ok(None));
        let note = match (is_silent, self.scene.keys.is_empty(), &token) {
            (false, ..) => None,
            (true, true, _) => Some("no issuer is configured: tokens are not looked at"),
            (true, false, _) => Some("no token that is a JWT"),
        };
        SourceView { error, one_of, token, note: note.map(str::to_owned), ..view }
    }

    /// What stands in the place of a source.
    fn value(&self, source: Source) -> Option<String> {
        let headers = &self.request.headers;
        let identity = &self.scene.table.identity;
        match source {
            Source::Jwt => None,
            Source::Host => values(headers, &HOST),
            Source::Header => {
                let names =
                    [Some(&identity.header.stamp_name), identity.header.tenant_name.as_ref()];
                let told = names.into_iter().flatten().filter_map(|name| {
                    values(headers, name).map(|value| format!("{name}: {value}"))
                });
                let told: Vec<String> = told.collect();
                (!told.is_empty()).then(|| told.join(", "))
            }
            Source::Cookie => identity.cookie.as_ref().and_then(|rule| {
                let fields = headers.get_all(COOKIE).iter();
                let pairs = fields.flat_map(|field| field.as_bytes().split(|byte| *byte == b';'));
                let of_name = pairs.filter_map(|pair| {
                    let at = pair.iter().position(|byte| *byte == b'=')?;
                    let (name, value) = pair.split_at_checked(at)?;
                    let is_it = name.trim_ascii() == rule.name.as_bytes();
                    is_it.then(|| shown(value.get(1..).unwrap_or_default().trim_ascii()))
                });
                let told: Vec<String> = of_name.collect();
                (!told.is_empty()).then(|| told.join(", "))
            }),
        }
    }

    /// Why a source that can be read says nothing.
    fn note(&self, source: Source, view: &SourceView) -> String {
        let identity = &self.scene.table.identity;
        let note = match source {
            Source::Cookie if identity.cookie.is_none() => "no cookie is configured",
            Source::Host if view.value.is_some() => "a host that names nobody",
            Source::Header
                if view.value.is_some()
                    && !is_accepted(identity.header.accept_from, self.request.peer()) =>
            {
                match self.request.peer() {
                    Peer::Trusted => "not accepted from anybody",
                    Peer::Untrusted => "not accepted from a client that is not trusted",
                }
            }
            Source::Jwt | Source::Host | Source::Header | Source::Cookie => "not there",
        };
        note.to_owned()
    }

    /// The row of the tenant that the request is for, or of the one that the strongest source names.
    fn row(&self, story: &Story<'_>) -> Option<RowView> {
        let table = self.scene.table;
        let named = story.target.ok().and_then(|target| {
            TenantId::parse(target.tenant_name(table)?).ok().map(TenantId::into_owned)
        });
        let said = || {
            let said = story.heard.iter().filter_map(|heard| heard.said.as_ref().ok()?.as_ref());
            said.filter_map(|clue: &Clue<'_>| clue.tenant.clone()).map(TenantId::into_owned).next()
        };
        row(table, &named.or_else(said)?)
    }

    fn candidates(&self, ways: &Ways) -> Vec<CandidateView> {
        let table = self.scene.table;
        let told = ways.candidates.iter().map(|candidate| CandidateView {
            stamp: table.stamp(candidate.stamp).id.to_string(),
            way: match candidate.edge {
                None => "home",
                Some((_, EdgeMode::ReadWrite)) => "read_write",
                Some((_, EdgeMode::ReadOnly)) => "read_only",
            }
            .to_owned(),
            verdict: candidate.verdict.as_str().to_owned(),
            reason: self.reason(*candidate, ways),
            in_flight: self.scene.running.map(|(_, view)| view.stamp(candidate.stamp).in_flight()),
            max_in_flight: table.stamp(candidate.stamp).in_flight_max,
        });
        told.collect()
    }

    /// What speaks for or against a candidate, for people.
    fn reason(&self, candidate: Candidate, ways: &Ways) -> String {
        let is_home = candidate.edge.is_none();
        match candidate.verdict {
            Verdict::Serves if is_home => "serves its own tenants".to_owned(),
            Verdict::Serves => match ways.choice.map(|choice| choice.route) {
                Ok(Route::Edge { why, .. }) => {
                    format!("serves in the place of home ({})", why.as_str())
                }
                _ => "serves".to_owned(),
            },
            Verdict::Tried => "its breaker is half-open: this request is the trial".to_owned(),
            Verdict::OutOfService(state) => format!("out of service: {}", state.as_str()),
            Verdict::NotHealthy(state) => format!("not healthy: {}", health(state)),
            Verdict::Fenced => "outside of where the data may be".to_owned(),
            Verdict::ReadOnly => "takes only safe methods".to_owned(),
            Verdict::NotAsked if is_home => self.why_home_waits(candidate.stamp),
            Verdict::NotAsked => "sound, but not asked".to_owned(),
        }
    }

    fn why_home_waits(&self, home: StampIndex) -> String {
        let standing = self.scene.standings.stamps.get(home.at());
        match standing.map(|standing| standing.serving) {
            Some(Serving::Split { away, .. }) => {
                format!("sound, but {away} % of its tenants are away, and this is one of them")
            }
            _ => "sound, but its tenants have not come home yet".to_owned(),
        }
    }
}

/// What the table says of a tenant.
fn row(table: &RoutingTable, tenant: &TenantId<'_>) -> Option<RowView> {
    let located = table.locate(tenant)?;
    let (home, state, residency, tier) = match located {
        Located::Listed(index) => {
            let entry = table.directory.tenant(index);
            let zones = table.fence_zones(entry.fence).map(str::to_owned).collect();
            (entry.home, entry.state.as_str(), zones, table.tier(entry.tier))
        }
        Located::Placed(home) => {
            let zone = table.stamp(home).residency;
            let zones =
                zone.map(|zone| table.residency_name(zone).to_owned()).into_iter().collect();
            (home, "active", zones, table.tier_of(None))
        }
    };
    Some(RowView {
        tenant: tenant.to_string(),
        home: table.stamp(home).id.to_string(),
        state: state.to_owned(),
        residency,
        placed: matches!(located, Located::Placed(_)),
        tier: tier.name.to_string(),
    })
}

/// All values of a field, so that a second one shows.
fn values(headers: &HeaderMap, name: &HeaderName) -> Option<String> {
    let values: Vec<String> =
        headers.get_all(name).iter().map(|value| shown(value.as_bytes())).collect();
    (!values.is_empty()).then(|| values.join(", "))
}

/// A text of a peer's, fit for a terminal.
pub(super) fn shown(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let mut shown: String = text.chars().take(SHOWN_MAX).flat_map(char::escape_debug).collect();
    if text.chars().nth(SHOWN_MAX).is_some() {
        shown.push_str("...");
    }
    shown
}
