//! Clues and the table -> the tenant, and the home stamp that serves it, or why there is none.
//! A function of its input, in constant work. Fed by `identify`; `failover` chooses next.

use std::fmt;

use crate::claims::Tenants;
use crate::clue::{Class, Clue, Clues, Source};
use crate::id::{StampId, StampIndex, TenantId, TenantIndex, TenantName};
use crate::placement;
use crate::table::{Access, ConflictRule, Located, RoutingTable, TenantState};

/// Whom a request is for. Its indexes are good for the table that it was resolved with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Target {
    /// The tenant, if a clue names one that has an entry.
    pub tenant: Option<TenantIndex>,
    /// The tenant, if a clue names one that has none and was placed by its name.
    pub placed: Option<TenantName>,
    /// The tenant's home, or the stamp that was named without one.
    pub home: StampIndex,
    /// The strongest source that had a say.
    pub source: Source,
    /// Did a verified token name the tenant?
    pub verified: bool,
    /// With `conflict = "report"`: the first disagreement that was overruled.
    pub conflict: Option<Conflict>,
}

/// Two sources that do not agree; the same one twice when it contradicts itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Conflict {
    /// The stronger, or the first of two that are equally strong.
    pub stronger: Source,
    /// The other.
    pub weaker: Source,
}

impl fmt::Display for Conflict {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{} against {}", self.stronger, self.weaker)
    }
}

/// Is a verified clue involved in a conflict?
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Involved {
    /// Yes: 403.
    Verified,
    /// No: 400.
    Unverified,
}

/// Why a request has no target.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ResolveError {
    /// No source says anything.
    #[error("no clue")]
    Missing,
    /// The sources disagree.
    #[error("clues disagree: {conflict}")]
    Disagree {
        /// Which ones.
        conflict: Conflict,
        /// Is a verified clue involved?
        involved: Involved,
    },
    /// The host or the stamp takes verified identities only.
    #[error("a verified identity is demanded")]
    Unverified,
    /// A tenant that the table does not have.
    #[error("the {from} names a tenant that is not there")]
    UnknownTenant {
        /// Who named it.
        from: Source,
    },
    /// A stamp that the table does not have.
    #[error("the {from} names a stamp that is not there")]
    UnknownStamp {
        /// Who named it.
        from: Source,
    },
    /// The tenant is suspended.
    #[error("the tenant is suspended")]
    Suspended,
    /// The tenant is gone for good.
    #[error("the tenant is offboarded")]
    Offboarded,
}

impl ResolveError {
    /// The stable code of this error.
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Self::Missing => "missing_identifier",
            Self::Disagree { .. } => "identity_conflict",
            Self::Unverified => "verified_identity_required",
            Self::UnknownTenant { .. } => "unknown_tenant",
            Self::UnknownStamp { .. } => "unknown_stamp",
            Self::Suspended => "tenant_suspended",
            Self::Offboarded => "tenant_offboarded",
        }
    }
}

/// Finds the target of a request.
///
/// First the other clues pick one of the tenants of a token, then all clues must agree among
/// themselves, then the names must be in the table, then the request must have the authority that
/// host and stamp demand, then the tenant must be served.
pub fn resolve(table: &RoutingTable, clues: &Clues<'_>) -> Result<Target, ResolveError> {
    if clues.verified_demanded && clues.jwt.is_none() {
        return Err(ResolveError::Unverified);
    }
    let picked;
    let clues = match clues.one_of {
        Some(tenants) => {
            picked = pick(tenants, clues)?;
            &picked
        }
        None => clues,
    };
    let agreed = agree(clues, table.identity.conflict)?;
    let target = agreed.look_up(table)?;
    target.admitted(table)
}

/// A token that is good for several tenants speaks for the one that the strongest other clue names.
/// Without such a clue it is not known whose the request is, and a tenant that the token is not good
/// for is refused whatever the rule for conflicts: nothing stronger says whose it is instead.
fn pick<'c>(tenants: &Tenants, clues: &Clues<'c>) -> Result<Clues<'c>, ResolveError> {
    let others = [&clues.host, &clues.header, &clues.cookie].into_iter().flatten();
    let mut named = others.filter_map(|clue| Some((clue.tenant.as_ref()?, clue.source)));
    let (tenant, weaker) = named.next().ok_or(ResolveError::Missing)?;
    if !tenants.has(tenant) {
        let conflict = Conflict { stronger: Source::Jwt, weaker };
        return Err(ResolveError::Disagree { conflict, involved: Involved::Verified });
    }
    let stamp = clues.jwt.as_ref().and_then(|clue| clue.stamp.clone());
    let jwt = Clue { source: Source::Jwt, tenant: Some(tenant.clone()), stamp };
    Ok(Clues { jwt: Some(jwt), one_of: None, ..clues.clone() })
}

/// What the clues say when taken together.
#[derive(Clone, Copy)]
struct Agreed<'c> {
    tenant: Option<(&'c TenantId<'c>, Source)>,
    stamp: Option<(&'c StampId<'c>, Source)>,
    /// The strongest source: with `conflict = "report"` its class prevails.
    leader: Source,
    judge: Judge,
    conflict: Option<Conflict>,
}

/// Decides what a disagreement means.
#[derive(Clone, Copy)]
struct Judge {
    rule: ConflictRule,
    prevailing: Class,
    involved: Involved,
}

impl Judge {
    /// The disagreement itself when it may be overruled, else the refusal. Only a class that is
    /// weaker than the strongest is overruled: between equals there is doubt, and doubt is an
    /// error.
    fn judge(self, conflict: Conflict) -> Result<Conflict, ResolveError> {
        let is_outranked = conflict.weaker.class() < self.prevailing;
        if self.rule == ConflictRule::Report && is_outranked {
            return Ok(conflict);
        }
        Err(ResolveError::Disagree { conflict, involved: self.involved })
    }
}

/// Compares names with names; whether a stamp is a tenant's home is seen in `look_up`.
fn agree<'c>(clues: &'c Clues<'c>, rule: ConflictRule) -> Result<Agreed<'c>, ResolveError> {
    let mut clues_there = clues.iter().filter(|clue| clue.tenant.is_some() || clue.stamp.is_some());
    let leader = clues_there.next().ok_or(ResolveError::Missing)?;
    let judge = Judge {
        rule,
        prevailing: leader.source.class(),
        // Where a token is there, some clue of every disagreement disagrees with it.
        involved: if clues.jwt.is_some() { Involved::Verified } else { Involved::Unverified },
    };
    let mut agreed = Agreed {
        tenant: leader.tenant.as_ref().map(|tenant| (tenant, leader.source)),
        stamp: leader.stamp.as_ref().map(|stamp| (stamp, leader.source)),
        leader: leader.source,
        judge,
        conflict: None,
    };
    for clue in clues_there {
        agreed.hear(clue)?;
    }
    Ok(agreed)
}

impl<'c> Agreed<'c> {
    fn hear(&mut self, clue: &'c Clue<'c>) -> Result<(), ResolveError> {
        if let Some(stronger) = self.contradicted_by(clue) {
            // A source that is wrong about one name is not believed about the other.
            return self.overrule(Conflict { stronger, weaker: clue.source });
        }
        let tenant = clue.tenant.as_ref().map(|tenant| (tenant, clue.source));
        let stamp = clue.stamp.as_ref().map(|stamp| (stamp, clue.source));
        self.tenant = self.tenant.or(tenant);
        self.stamp = self.stamp.or(stamp);
        Ok(())
    }

    fn contradicted_by(&self, clue: &Clue<'_>) -> Option<Source> {
        let by_tenant = match (self.tenant, &clue.tenant) {
            (Some((ours, source)), Some(theirs)) => (ours != theirs).then_some(source),
            _ => None,
        };
        let by_stamp = match (self.stamp, &clue.stamp) {
            (Some((ours, source)), Some(theirs)) => (ours != theirs).then_some(source),
            _ => None,
        };
        by_tenant.or(by_stamp)
    }

    fn overrule(&mut self, conflict: Conflict) -> Result<(), ResolveError> {
        let conflict = self.judge.judge(conflict)?;
        self.conflict = self.conflict.or(Some(conflict));
        Ok(())
    }

    fn look_up(self, table: &RoutingTable) -> Result<Target, ResolveError> {
        match (self.tenant, self.stamp) {
            (Some(tenant), None) => self.tenant_target(table, tenant),
            (None, Some(stamp)) => self.stamp_target(table, stamp),
            (Some(tenant), Some(stamp)) => self.reconcile(table, tenant, stamp),
            (None, None) => Err(ResolveError::Missing),
        }
    }

    /// A stamp agrees with a tenant when it is the tenant's home.
    fn reconcile(
        mut self,
        table: &RoutingTable,
        tenant: (&TenantId<'_>, Source),
        stamp: (&StampId<'_>, Source),
    ) -> Result<Target, ResolveError> {
        let (by_tenant, by_stamp) = (tenant.1, stamp.1);
        let tenant_prevails = by_tenant == self.leader;
        match self.tenant_target(table, tenant) {
            Ok(target) if table.stamp(target.home).id == *stamp.0 => Ok(target),
            Ok(target) if tenant_prevails => {
                self.overrule(Conflict { stronger: by_tenant, weaker: by_stamp })?;
                Ok(Target { conflict: self.conflict, ..target })
            }
            Ok(_) => {
                self.overrule(Conflict { stronger: by_stamp, weaker: by_tenant })?;
                self.stamp_target(table, stamp)
            }
            Err(unknown) if tenant_prevails => Err(unknown),
            Err(unknown) => {
                let conflict = Conflict { stronger: by_stamp, weaker: by_tenant };
                self.overrule(conflict).or(Err(unknown))?;
                self.stamp_target(table, stamp)
            }
        }
    }

    fn tenant_target(
        &self,
        table: &RoutingTable,
        (id, from): (&TenantId<'_>, Source),
    ) -> Result<Target, ResolveError> {
        let unknown = ResolveError::UnknownTenant { from };
        let (tenant, placed, home) = located(table, id).ok_or(unknown)?;
        Ok(Target {
            tenant,
            placed,
            home,
            source: self.leader,
            verified: from.class() == Class::Verified,
            conflict: self.conflict,
        })
    }

    fn stamp_target(
        &self,
        table: &RoutingTable,
        (id, from): (&StampId<'_>, Source),
    ) -> Result<Target, ResolveError> {
        let home = table.find_stamp(id).ok_or(ResolveError::UnknownStamp { from })?;
        let (source, conflict) = (self.leader, self.conflict);
        Ok(Target { tenant: None, placed: None, home, source, verified: false, conflict })
    }
}

/// Where a tenant lives, in the words of a target.
fn located(
    table: &RoutingTable,
    id: &TenantId<'_>,
) -> Option<(Option<TenantIndex>, Option<TenantName>, StampIndex)> {
    Some(match table.locate(id)? {
        Located::Listed(tenant) => (Some(tenant), None, table.directory.tenant(tenant).home),
        Located::Placed(home) => (None, Some(TenantName::of(id)), home),
    })
}

/// Set in the witness of a tenant without an entry: those of others are places of a table.
const PLACED: u64 = 1 << 63;

impl Target {
    /// The name of the tenant, if a clue names one. `table` is the one that it was resolved with.
    #[must_use]
    pub fn tenant_name<'a>(&'a self, table: &'a RoutingTable) -> Option<&'a str> {
        match (&self.placed, self.tenant) {
            (Some(name), _) => Some(name.as_str()),
            (None, Some(tenant)) => Some(table.directory.name(tenant)),
            (None, None) => None,
        }
    }

    /// Tells tenants apart, for breakers: a number that is the tenant's own.
    #[must_use]
    pub fn witness(&self) -> Option<u64> {
        let placed = self.placed.map(|name| placement::hash(name.as_str()) | PLACED);
        placed.or_else(|| self.tenant.map(|tenant| u64::from(tenant.0)))
    }

    /// This target in a newer table: the same tenant (at its home of now) or the same stamp, by
    /// name. State and access are checked again, as for a new request.
    pub fn carry_over(&self, old: &RoutingTable, new: &RoutingTable) -> Result<Self, ResolveError> {
        let from = self.source;
        let name = self.tenant_name(old).map(TenantId::of_directory);
        let carried = match name {
            Some(name) => {
                let found = located(new, &name);
                let (tenant, placed, home) = found.ok_or(ResolveError::UnknownTenant { from })?;
                Self { tenant, placed, home, ..*self }
            }
            None => {
                let found = new.find_stamp(&old.stamp(self.home).id);
                Self { home: found.ok_or(ResolveError::UnknownStamp { from })?, ..*self }
            }
        };
        carried.admitted(new)
    }

    /// Authority goes before state: only who may come in learns that the tenant is suspended.
    fn admitted(self, table: &RoutingTable) -> Result<Self, ResolveError> {
        if table.stamp(self.home).access == Access::Verified && !self.verified {
            return Err(ResolveError::Unverified);
        }
        let state = self.tenant.map(|tenant| table.directory.tenant(tenant).state);
        match state {
            Some(TenantState::Suspended) => Err(ResolveError::Suspended),
            Some(TenantState::Offboarded) => Err(ResolveError::Offboarded),
            Some(TenantState::Active) | None => Ok(self),
        }
    }
}

#[cfg(test)]
mod placed;
#[cfg(test)]
mod tests;
