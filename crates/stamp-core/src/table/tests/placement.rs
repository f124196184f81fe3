//! `[placement]`: what a pool may be, and who is never placed.

use super::*;
use crate::id::TenantId;
use crate::table::Located;

const HASH: &str = "[identity]\nunknown_tenant = \"hash\"\n";

fn located(table: &RoutingTable, tenant: &str) -> Option<Located> {
    table.locate(&TenantId::parse(tenant).unwrap())
}

#[test]
fn without_a_pool_a_tenant_without_an_entry_is_nowhere() {
    let body = format!("{STAMPS}[placement]\nstamps = [\"eu-1\"]\n");
    assert_eq!(located(&loaded(&body).table, "nobody"), None, "`hash` was not asked for");
}

#[test]
fn a_pool_is_written_short_or_with_weights() {
    let body =
        format!("{HASH}{STAMPS}[placement]\nstamps = [\"eu-1\"]\n[tenants]\nacme = \"us-1\"\n");
    let table = loaded(&body).table;
    assert_eq!(located(&table, "nobody"), Some(Located::Placed(StampIndex(0))));
    assert_eq!(located(&table, "acme"), Some(Located::Listed(TenantIndex(0))));
    let weighed = body.replace("[\"eu-1\"]", "[{ stamp = \"eu-1\", weight = 2 }]");
    let pool = loaded(&weighed).table;
    let pool = pool.placement().unwrap().stamps();
    let told: Vec<_> = pool.map(|(id, at, weight)| (id.to_string(), at.0, weight.get())).collect();
    assert_eq!(told, [("eu-1".to_owned(), 0, 2)]);
}

#[test]
fn what_is_wrong_with_a_pool_is_told() {
    check(
        &format!("{HASH}{STAMPS}"),
        "routing.toml:3: <\"hash\"> there is no stamp to place tenants on; \
         help: name them: `[placement]` with `stamps = [\"eu-1\", \"eu-2\"]`",
    );
    check_with_stamps(
        "[placement]\nstamps = [{ stamp = \"eu-1\", weight = 0 }]\n",
        "routing.toml:3: <0> 0 is out of range; help: write an integer from 1 to 65535",
    );
    check_with_stamps(
        "[placement]\nstamps = [\"eu-1\",\n\"eu-2\", \"eu-1\"]\n",
        "routing.toml:4: <\"eu-2\"> there is no stamp `eu-2`; help: did you mean `eu-1`?\n\
         routing.toml:4: <\"eu-1\"> stamp `eu-1` is listed twice; \
         help: remove one; `weight` gives a stamp a larger share; first listed here: 3",
    );
}

#[test]
fn a_pool_lies_in_one_residency() {
    check_with_stamps(
        "[placement]\nstamps = [\n\"eu-1\",\n\"us-1\",\n]\n",
        "routing.toml:5: <\"us-1\"> stamps `eu-1` and `us-1` differ in residency: \
         tenants are placed within one only; help: take one of them out of the pool, \
         or give both the same residency; a stamp of another residency: 4",
    );
}

#[test]
fn a_tenant_whose_row_is_bad_is_not_placed() {
    let good: String = (0..100).map(|number| format!("t{number},eu-1\n")).collect();
    let rows: Arc<[u8]> = format!("tenant,stamp\n{good}acme,us-11\n").into_bytes().into();
    let body = format!(
        "{HASH}{STAMPS}[placement]\nstamps = [\"eu-1\"]\n[[tenant_file]]\npath = \"t.csv\"\n"
    );
    let table = load(text(&body), &mut |_| Ok(Arc::clone(&rows)), None).unwrap().table;
    assert_eq!(located(&table, "acme"), None, "it lives somewhere, and nobody knows where");
    assert_eq!(located(&table, "globex"), Some(Located::Placed(StampIndex(0))));
}
