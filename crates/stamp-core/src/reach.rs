//! Who has somewhere to go: the tenants that no stamp may serve, now or once their home fails.
//! Asked before a change, never by a request.

use hashbrown::HashMap;

use crate::directory::FenceIndex;
use crate::id::StampIndex;
use crate::table::{RoutingTable, TenantState};

/// The most that are told one by one.
const EXAMPLES_MAX: usize = 10;

/// How many there are of something, and some of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// How many.
    pub count: usize,
    /// The first of them, at most ten.
    pub examples: Vec<String>,
}

impl Tally {
    /// One more.
    pub fn add(&mut self, example: impl FnOnce() -> String) {
        self.count += 1;
        if self.examples.len() < EXAMPLES_MAX {
            self.examples.push(example());
        }
    }
}

/// The tenants of one home that have nowhere to go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stranded {
    /// Their home.
    pub home: StampIndex,
    /// Those with an entry. Suspended and offboarded ones go nowhere anyway.
    pub tenants: Tally,
    /// So have those that a hash placed there; nobody knows how many they are.
    pub placed: bool,
}

/// The tenants that nobody may serve, where only stamps that are eligible serve: by home.
pub fn nowhere(table: &RoutingTable, is_eligible: impl Fn(StampIndex) -> bool) -> Vec<Stranded> {
    stranded(table, |home, fence| is_eligible(home) || has_edge(table, (home, fence), &is_eligible))
}

/// The tenants that nobody may serve once their home fails, by what the table declares: by home.
#[must_use]
pub fn without_home(table: &RoutingTable) -> Vec<Stranded> {
    let is_declared = |stamp| table.stamp(stamp).declared.takes_requests();
    stranded(table, |home, fence| has_edge(table, (home, fence), &is_declared))
}

/// Whose requests: those of tenants behind this fence, or those that are fenced like their home.
type Whose = (StampIndex, Option<FenceIndex>);

/// Is there an edge to such a stamp that the fence allows?
fn has_edge(
    table: &RoutingTable,
    (home, fence): Whose,
    is_wanted: &impl Fn(StampIndex) -> bool,
) -> bool {
    let allows = |to: StampIndex| match fence {
        Some(fence) => table.fence_allows(fence, table.stamp(to).residency),
        None => table.stamp_fence_allows(home, to),
    };
    table.stamp(home).failover.iter().any(|edge| is_wanted(edge.to) && allows(edge.to))
}

fn stranded(
    table: &RoutingTable,
    has_way: impl Fn(StampIndex, Option<FenceIndex>) -> bool,
) -> Vec<Stranded> {
    let of_home = |home| {
        let placed = table.is_placed_on(home) && !has_way(home, None);
        Stranded { home, tenants: Tally::default(), placed }
    };
    let mut by_home: Vec<Stranded> =
        table.indexed_stamps().map(|(home, _)| of_home(home)).collect();
    // A few answers for many tenants.
    let mut known: HashMap<(StampIndex, FenceIndex), bool> = HashMap::new();
    for (_, name, tenant) in table.directory.iter() {
        let (home, fence) = (tenant.home, tenant.fence);
        let has_way = *known.entry((home, fence)).or_insert_with(|| has_way(home, Some(fence)));
        if has_way || tenant.state != TenantState::Active {
            continue;
        }
        if let Some(stranded) = by_home.get_mut(home.at()) {
            stranded.tenants.add(|| name.to_owned());
        }
    }
    by_home.retain(|stranded| stranded.placed || stranded.tenants.count > 0);
    by_home
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::loaded;

    /// Stamp a may fail over to b; both are in the EU. Nothing may stand in for b.
    fn table(more: &str) -> RoutingTable {
        loaded(&format!(
            "version = 1\n[identity]\nunknown_tenant = \"hash\"\n[placement]\nstamps = [\"b\"]\n\
             [[stamp]]\nid = \"a\"\nresidency = \"eu\"\nendpoints = [{{ url = \"http://a:1\" }}]\n\
             failover = [\"b\"]\n\
             [[stamp]]\nid = \"b\"\nresidency = \"eu\"\nendpoints = [{{ url = \"http://b:1\" }}]\n\
             {more}"
        ))
    }

    /// "home: examples", and "+" where so have those that were placed.
    fn told(table: &RoutingTable, stranded: &[Stranded]) -> Vec<String> {
        let tell = |it: &Stranded| {
            assert!(it.tenants.examples.len() <= EXAMPLES_MAX);
            let placed = if it.placed { "+" } else { "" };
            format!("{}: {}{placed}", table.stamp(it.home).id, it.tenants.examples.join(" "))
        };
        stranded.iter().map(tell).collect()
    }

    const TENANTS: &str = "[tenants]\nx = \"a\"\ny = \"b\"\n\
                           z = { stamp = \"b\", state = \"suspended\" }\n";

    #[test]
    fn who_lives_where_no_edge_leads_away_depends_on_its_home() {
        let table = table(TENANTS);
        assert_eq!(told(&table, &without_home(&table)), ["b: y+"]);
    }

    #[test]
    fn an_edge_to_a_stamp_that_is_declared_out_leads_nowhere() {
        let table = table(&format!("state = \"draining\"\n{TENANTS}"));
        assert_eq!(told(&table, &without_home(&table)), ["a: x", "b: y+"]);
    }

    #[test]
    fn nobody_is_stranded_while_home_serves() {
        let table = table(TENANTS);
        assert!(nowhere(&table, |_| true).is_empty());
        assert_eq!(told(&table, &nowhere(&table, |stamp| stamp.0 == 0)), ["b: y+"]);
        assert_eq!(told(&table, &nowhere(&table, |stamp| stamp.0 == 1)), [""; 0]);
        assert_eq!(told(&table, &nowhere(&table, |_| false)), ["a: x", "b: y+"]);
    }

    #[test]
    fn ten_examples_stand_for_many() {
        let tenants: String = (0..30).map(|number| format!("t{number} = \"b\"\n")).collect();
        let table = table(&format!("[tenants]\n{tenants}"));
        let stranded = without_home(&table);
        assert_eq!((stranded[0].tenants.count, stranded[0].tenants.examples.len()), (30, 10));
    }
}
