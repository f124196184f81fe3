//! The proof that no failover edge takes a tenant out of its residency. `failover` checks it again
//! on every choice.

use std::collections::BTreeMap;

use hashbrown::HashMap;

use super::Stamp;
use super::stamps::Stamps;
use super::zones::Zones;
use crate::directory::{Directory, FenceIndex};
use crate::document::{Report, Span};
use crate::id::{StampIndex, TenantIndex};

/// Reports every edge over which somebody would leave its residency.
pub(super) fn prove_residency(
    stamps: &Stamps,
    directory: &Directory,
    zones: &mut Zones,
    report: &mut Report,
) {
    let mut fences = fences_by_home(directory);
    for (home, (stamp, spans)) in
        (0..).map(StampIndex).zip(stamps.list.iter().zip(&stamps.edge_spans))
    {
        if stamp.failover.is_empty() {
            continue;
        }
        let mut held = fences.remove(&home).unwrap_or_default();
        if held.is_empty() {
            // Nobody lives there: what is sent to the stamp itself is fenced like the stamp.
            // A fence that cannot be numbered has been reported already.
            let Ok(fence) = zones.fence_of_home(stamp.residency) else { continue };
            held.insert(fence, None);
        }
        for (edge, span) in stamp.failover.iter().zip(spans) {
            let Some(to) = stamps.list.get(edge.to.at()) else { continue };
            let mut outside = held.iter().filter(|(fence, _)| !zones.allows(**fence, to.residency));
            if let Some((fence, tenant)) = outside.next() {
                let who = tenant.map(|tenant| directory.name(tenant));
                refuse(stamp, to, (who, zones.list(*fence)), (*span, report));
            }
        }
    }
}

/// Of each home: the fences of its tenants, each with one tenant behind it.
type Fences = BTreeMap<StampIndex, BTreeMap<FenceIndex, Option<TenantIndex>>>;

fn fences_by_home(directory: &Directory) -> Fences {
    // A few pairs among many tenants: a table that is quick to ask, then an ordered one.
    let mut pairs: HashMap<(StampIndex, FenceIndex), TenantIndex> = HashMap::new();
    for (index, _, tenant) in directory.iter() {
        pairs.entry((tenant.home, tenant.fence)).or_insert(index);
    }
    let mut fences = Fences::new();
    for ((home, fence), tenant) in pairs {
        fences.entry(home).or_default().insert(fence, Some(tenant));
    }
    fences
}

fn refuse(
    home: &Stamp,
    to: &Stamp,
    (tenant, fence): (Option<&str>, String),
    (span, report): (Span, &mut Report),
) {
    let (whose, widen) = match tenant {
        Some(tenant) => (format!("tenant `{tenant}`"), "widen the residency of the tenant"),
        None => (format!("stamp `{}`", home.id), "give both stamps the same residency"),
    };
    report
        .error(
            span,
            format!("the edge `{}` -> `{}` leaves the residency of {whose}", home.id, to.id),
        )
        .label(if to.residency.is_some() {
            format!("data may be in {fence} only")
        } else {
            format!("data may be in {fence} only, and `{}` has no residency", to.id)
        })
        .help(format!("remove the edge, or {widen}"));
}
