//! What the files would change, as the API and the command line tell it.

use serde::{Deserialize, Serialize};
use stamp_core::diff::{Between, LimitChange, PlacedBetween, PlacementChange, TierChange};

use super::{CheckedView, health};
use crate::source::{Comparison, Nowhere, Validated, WhyOut};

/// `POST /v1/config/diff`, `stampgate diff -o json`
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct DiffView {
    /// Do the files say something else than what is in force?
    pub different: bool,
    /// Number of the table in force; `None` = no gateway was asked.
    pub generation: Option<u64>,
    /// Tenants that live on another stamp, and custom domains with another tenant.
    pub moved: usize,
    /// Tenants that are gone.
    pub vanished: usize,
    /// Tenants that are new.
    pub appeared: usize,
    /// Tenants that stay at home with another state or residency.
    pub changed: usize,
    /// Some of those that moved or are gone.
    pub examples: Vec<String>,
    /// The tenants that moved, by where from and where to.
    pub moves: Vec<MovesView>,
    /// Some of those that are gone.
    pub vanished_examples: Vec<String>,
    /// Some of those that are new.
    pub appeared_examples: Vec<String>,
    /// Some of those that stay at home and changed.
    pub changed_examples: Vec<String>,
    /// New custom domains.
    pub domains_added: usize,
    /// Custom domains that are gone.
    pub domains_removed: usize,
    /// New tiers.
    pub tiers_added: Vec<String>,
    /// Tiers that are gone.
    pub tiers_removed: Vec<String>,
    /// Tiers whose limits or priority change.
    pub tiers_changed: Vec<TierView>,
    /// New stamps.
    pub stamps_added: Vec<String>,
    /// Stamps that are gone.
    pub stamps_removed: Vec<String>,
    /// Stamps that are declared otherwise, and in what.
    pub stamps_changed: Vec<KeysView>,
    /// New failover edges: `eu-1 -> eu-2 (read_write)`.
    pub edges_gained: Vec<String>,
    /// Failover edges that are gone.
    pub edges_lost: Vec<String>,
    /// `[identity]` says something else.
    pub identity_changed: bool,
    /// Tenants without an entry are placed otherwise.
    pub placement: Option<PoolView>,
    /// Tenants that no stamp could serve, by the standings of this moment.
    pub nowhere: Vec<NowhereView>,
    /// Their homes.
    pub stamps_stranded: Vec<String>,
    /// The stamps that take no request at this moment.
    pub stamps_out: Vec<OutView>,
    /// Why the mass-change guard would refuse, unless forced.
    pub guard: Option<String>,
    /// What was let pass, but should be looked at, as people read it.
    pub warnings: Vec<String>,
    /// Keys of gateway.toml that changed and hold only after a restart.
    pub restart_needed: Vec<String>,
}

/// Tenants that move from one stamp to another.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct MovesView {
    /// Where they live.
    pub from: String,
    /// Where they would live.
    pub to: String,
    /// How many.
    pub tenants: usize,
    /// Some of them.
    pub examples: Vec<String>,
}

/// A tier whose limits or priority change.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct TierView {
    /// Its name.
    pub tier: String,
    /// What changes.
    pub limits: Vec<LimitChangeView>,
    /// The tenants that have it by then.
    pub tenants: usize,
    /// So have those that a hash places.
    pub placed: bool,
}

/// A number of a tier that changes.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct LimitChangeView {
    /// The key of `[tier.NAME]`.
    pub key: String,
    /// What is in force; `None` = no such limit.
    pub from: Option<u32>,
    /// What the files say.
    pub to: Option<u32>,
}

/// A stamp that is declared otherwise.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct KeysView {
    /// Its name.
    pub stamp: String,
    /// The keys of `[[stamp]]` that say something else.
    pub keys: Vec<String>,
}

/// Tenants without an entry are placed otherwise.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct PoolView {
    /// The pool in force; empty = such tenants are refused.
    pub before: String,
    /// That of the files.
    pub after: String,
    /// The share of such tenants that would fare otherwise, rounded up.
    pub moved_percent: u32,
    /// Where from and where to, as a sample of names tells.
    #[serde(default)]
    pub moves: Vec<PoolMovesView>,
}

/// Tenants without an entry that move from one stamp to another.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct PoolMovesView {
    /// Where they live.
    pub from: String,
    /// Where they would live.
    pub to: String,
    /// Their share of all such tenants, to a point or so.
    pub percent: f64,
}

/// Tenants of one home that no stamp could serve.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct NowhereView {
    /// Their home.
    pub stamp: String,
    /// How many.
    pub tenants: usize,
    /// Some of them.
    pub examples: Vec<String>,
    /// So it is with those that a hash places there.
    pub placed: bool,
}

/// A stamp that takes no request.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct OutView {
    /// Its name.
    pub stamp: String,
    /// The state that an operator or routing.toml gave it, else its health.
    pub reason: String,
}

impl DiffView {
    /// What a comparison found.
    #[must_use]
    pub fn new(comparison: Comparison) -> Self {
        let different = !comparison.is_empty();
        let Comparison { generation, moves, nowhere, stamps_out, guard, warnings, restart_needed } =
            comparison;
        let keys = moves.stamps_changed.into_iter().zip(moves.keys_changed);
        Self {
            different,
            generation,
            moved: moves.moved,
            vanished: moves.vanished,
            appeared: moves.appeared,
            changed: moves.changed.count,
            examples: moves.examples,
            moves: moves.between.into_iter().map(MovesView::from).collect(),
            vanished_examples: moves.vanished_examples,
            appeared_examples: moves.appeared_examples,
            changed_examples: moves.changed.examples,
            domains_added: moves.domains_added.count,
            domains_removed: moves.domains_removed.count,
            tiers_added: moves.tiers_added,
            tiers_removed: moves.tiers_removed,
            tiers_changed: moves.tiers_changed.into_iter().map(TierView::from).collect(),
            stamps_added: moves.stamps_added,
            stamps_removed: moves.stamps_removed,
            stamps_changed: keys.map(KeysView::from).collect(),
            edges_gained: moves.edges_gained,
            edges_lost: moves.edges_lost,
            identity_changed: moves.identity_changed,
            placement: moves.placement.map(PoolView::from),
            stamps_stranded: nowhere.iter().map(|it| it.stamp.clone()).collect(),
            nowhere: nowhere.into_iter().map(NowhereView::from).collect(),
            stamps_out: stamps_out.into_iter().map(OutView::from).collect(),
            guard: guard.map(|refusal| refusal.to_string()),
            warnings: warnings.told().iter().map(ToString::to_string).collect(),
            restart_needed: restart_needed.into_iter().map(str::to_owned).collect(),
        }
    }
}

impl From<Between> for MovesView {
    fn from(Between { from, to, tenants }: Between) -> Self {
        Self { from, to, tenants: tenants.count, examples: tenants.examples }
    }
}

impl From<PlacementChange> for PoolView {
    fn from(pool: PlacementChange) -> Self {
        let moved_percent = pool.moved_percent();
        let PlacementChange { before, after, between, .. } = pool;
        let moves = between.into_iter().map(PoolMovesView::from).collect();
        Self { before, after, moved_percent, moves }
    }
}

impl From<PlacedBetween> for PoolMovesView {
    fn from(PlacedBetween { from, to, share_e4 }: PlacedBetween) -> Self {
        Self { from, to, percent: f64::from(share_e4) / 100.0 }
    }
}

impl From<TierChange> for TierView {
    fn from(TierChange { tier, limits, tenants, placed }: TierChange) -> Self {
        let limits = limits.into_iter().map(LimitChangeView::from).collect();
        Self { tier, limits, tenants, placed }
    }
}

impl From<LimitChange> for LimitChangeView {
    fn from(LimitChange { key, from, to }: LimitChange) -> Self {
        Self { key: key.to_owned(), from, to }
    }
}

impl From<(String, Vec<&'static str>)> for KeysView {
    fn from((stamp, keys): (String, Vec<&'static str>)) -> Self {
        Self { stamp, keys: keys.into_iter().map(str::to_owned).collect() }
    }
}

impl From<Nowhere> for NowhereView {
    fn from(Nowhere { stamp, tenants, placed }: Nowhere) -> Self {
        Self { stamp, tenants: tenants.count, examples: tenants.examples, placed }
    }
}

impl From<(String, WhyOut)> for OutView {
    fn from((stamp, why): (String, WhyOut)) -> Self {
        let reason = match why {
            WhyOut::State(state) => state.as_str(),
            WhyOut::Health(of) => health(of),
        };
        Self { stamp, reason: reason.to_owned() }
    }
}

impl CheckedView {
    /// A configuration that is valid, and what it changes.
    #[must_use]
    pub fn valid(validated: Validated) -> Self {
        let Validated { stamps, tenants, endpoints, changes } = validated;
        let diagnostics = changes.warnings.told();
        // They are told already, with their places.
        let changes = DiffView { warnings: Vec::new(), ..DiffView::new(changes) };
        Self { ok: true, stamps, tenants, endpoints, diagnostics, changes: Some(changes) }
    }
}
