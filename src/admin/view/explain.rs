//! Why a request would go where it goes: the decision, and every step to it.

mod telling;

use serde::{Deserialize, Serialize};
use stamp_core::fleet::Assumption;

use super::LimitsView;
use crate::proxy::explain::{Described, Description, NoRequest, Scene, explain};
use telling::{Telling, shown};

/// `POST /v1/explain`, `stampgate explain -o json`
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ExplainView {
    /// The request as it was understood: `GET /orders`.
    pub request: String,
    /// Number of the table; `None` = files were read, and no gateway was asked.
    pub generation: Option<u64>,
    /// What was assumed: `down=eu-1`.
    pub assumed: Vec<String>,
    /// What becomes of it.
    pub decision: DecisionView,
    /// How that came about, in the order of a request's way.
    pub steps: Vec<StepView>,
}

/// What becomes of a request.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct DecisionView {
    /// `forward`, `refuse`, or `answer` (an OPTIONS request that may go no further)
    pub outcome: String,
    /// The status of the gateway's own answer; `None` = the stamp's.
    pub status: Option<u16>,
    /// Its stable code.
    pub code: Option<String>,
    /// What the client reads.
    pub detail: Option<String>,
    /// What happened, for operators.
    pub reason: Option<String>,
    /// Whose request it is.
    pub tenant: Option<String>,
    /// Where that tenant lives, or the stamp that was named.
    pub home: Option<String>,
    /// Where it goes.
    pub stamp: Option<String>,
    /// How it gets there: `home`, `failover`, or `trial` of a half-open breaker
    pub route: Option<String>,
    /// Why home does not serve: `operator`, `health` or `share`
    pub why: Option<String>,
}

/// One stage of a request's way.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct StepView {
    /// `head`, `identify`, `resolve`, `admit`, `choose` or `forward`
    pub step: String,
    /// `ok`, `refused`, or `not_reached`
    pub result: String,
    /// Why it was refused here.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub reason: Option<String>,
    /// `identify`: what each source says, strongest first.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub sources: Vec<SourceView>,
    /// `identify`: the host takes verified identities only.
    #[serde(skip_serializing_if = "std::ops::Not::not", default)]
    pub verified_demanded: bool,
    /// `resolve`: the row of the table.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub row: Option<RowView>,
    /// `resolve`: which source decided, whether a token vouches for the tenant, and what it overruled.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub by: Option<ByView>,
    /// `admit`: what the tenant may have, and has.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub limits: Option<AdmitView>,
    /// `choose`: home, then each edge in its order.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub candidates: Vec<CandidateView>,
}

/// What one source says.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct SourceView {
    /// `jwt`, `host`, `header` or `cookie`
    pub source: String,
    /// `verified`, `bound` or `claimed`
    pub class: String,
    /// What stands there. Never a token.
    pub value: Option<String>,
    /// The tenant that it names.
    pub tenant: Option<String>,
    /// The stamp that it names.
    pub stamp: Option<String>,
    /// The tenants that the token is good for, where they are several: another source picks one.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub one_of: Vec<String>,
    /// The token's `iss`, `kid` and `alg`.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub token: Option<TokenView>,
    /// Why it cannot be read.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub error: Option<String>,
    /// Why it says nothing.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub note: Option<String>,
}

/// What a token says of itself.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct TokenView {
    /// `iss`
    pub issuer: Option<String>,
    /// `kid`
    pub key_id: Option<String>,
    /// `alg`
    pub algorithm: Option<String>,
}

/// What the table says of a tenant.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct RowView {
    /// Its name.
    pub tenant: String,
    /// Its home.
    pub home: String,
    /// `active`, `suspended` or `offboarded`
    pub state: String,
    /// The zones that its data may be in; none = anywhere.
    pub residency: Vec<String>,
    /// It has no entry: a hash of its name places it there.
    pub placed: bool,
    /// The tier that it is of.
    pub tier: String,
}

/// Who decided whose request it is.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ByView {
    /// The strongest source that had a say.
    pub source: String,
    /// A verified token names the tenant.
    pub verified: bool,
    /// With `conflict = "report"`: the disagreement that was overruled.
    pub conflict: Option<String>,
}

/// What a tenant may have, and has.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct AdmitView {
    /// Its tier.
    pub tier: String,
    /// What that allows it.
    pub limits: LimitsView,
    /// What it has in flight now; `None` = no gateway was asked.
    pub in_flight: Option<u32>,
}

/// A stamp that might serve.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct CandidateView {
    /// Its name.
    pub stamp: String,
    /// `home`, or the mode of the edge: `read_write` or `read_only`
    pub way: String,
    /// `serves`, `tried`, `out_of_service`, `not_healthy`, `fenced`, `read_only` or `not_asked`
    pub verdict: String,
    /// The same for people.
    pub reason: String,
    /// What it may have in flight, and has; `None` = no gateway was asked.
    pub in_flight: Option<u32>,
    /// The most it may have in flight.
    pub max_in_flight: u32,
}

impl ExplainView {
    /// Explains a described request.
    pub fn of(
        scene: &Scene<'_>,
        description: Description,
        assumed: &[Assumption],
    ) -> Result<Self, NoRequest> {
        let request = Described::read(description, scene)?;
        let token = request.token(scene);
        let explanation = explain(scene, &request, &token);
        let telling = Telling { scene, request: &request, token: &token, explanation };
        let (method, target) = &request.line;
        Ok(Self {
            request: format!("{} {}", shown(method.as_bytes()), shown(target.as_bytes())),
            generation: scene.running.map(|(_, view)| view.generation),
            assumed: assumed.iter().map(ToString::to_string).collect(),
            decision: telling.decision(),
            steps: telling.steps(),
        })
    }
}
