//! Tenant files: what they may hold, what refuses them, and what becomes of bad rows.

use super::*;

/// Loads with one tenant file, over a former table.
fn with_rows(rows: &str, former: Option<&RoutingTable>) -> Result<Loaded, Rejected> {
    let bytes: Arc<[u8]> = rows.as_bytes().into();
    let body = format!("{STAMPS}[[tenant_file]]\npath = \"tenants.csv\"\n");
    load(
        text(&body),
        &mut |path| {
            assert_eq!(path, Path::new("/etc/tenants.csv"));
            Ok(Arc::clone(&bytes))
        },
        former,
    )
}

#[test]
fn a_tenant_file_that_cannot_be_read_refuses_the_table() {
    check_with_stamps(
        "[[tenant_file]]\npath = \"t.csv\"\n[[tenant_file]]\npath = \"./t.csv\"\n",
        "routing.toml:3: <\"t.csv\"> cannot read /etc/t.csv: entity not found; \
         help: the path is relative to the directory of this file\n\
         routing.toml:5: <\"./t.csv\"> this tenant file is named twice; \
         help: remove one of them; first named here: 3",
    );
}

fn refused_rows(rows: &str, former: Option<&RoutingTable>) -> String {
    let rejected = with_rows(rows, former).unwrap_err();
    told(&rejected.diagnostics, &rejected.sources)
}

#[test]
fn a_tenant_file_is_csv() {
    let rows = "state,tenant,stamp,residency\r\n,\"Acme\",eu-1,\r\n\r\nsuspended,b,us-1,us|ca\r\n";
    let loaded = with_rows(rows, None).unwrap();
    let directory = &loaded.table.directory;
    assert_eq!(directory.tenant(directory.find("acme").unwrap()).home, StampIndex(0));
    let b = directory.tenant(directory.find("b").unwrap());
    assert_eq!(b.state, TenantState::Suspended);
    assert_eq!(loaded.table.fence_zones(b.fence).count(), 2);
    assert_eq!(loaded.files, [PathBuf::from("/etc/tenants.csv")]);
}

#[test]
fn a_tenant_file_of_bad_structure_is_refused() {
    let help = "the first line names the columns: `tenant,stamp`, and `,tier,residency,state`";
    let refused = |rows: &str| refused_rows(rows, None);
    let expected = |told: &str| format!("tenants.csv:1: {told}; help: {help}");
    assert_eq!(refused(""), expected("<> this tenant file has no header line"));
    assert_eq!(
        refused("a1,eu-1\n"),
        expected("<a1,eu-1> unknown column `a1`")
            + "\n"
            + &expected("<a1,eu-1> unknown column `eu-1`")
    );
    assert_eq!(
        refused("tenant,stmap\n"),
        "tenants.csv:1: <tenant,stmap> unknown column `stmap`; help: did you mean `stamp`?"
    );
    assert_eq!(refused("tenant\n"), expected("<tenant> there is no column `stamp`"));
    assert_eq!(
        refused("tenant,stamp,tenant\n"),
        "tenants.csv:1: <tenant,stamp,tenant> column `tenant` is named twice; \
         help: remove one of them"
    );
    assert_eq!(
        refused("tenant,stamp\na,eu-1\n\"b,eu-1\nc,eu-1\n"),
        "tenants.csv:3: <\"b,eu-1> a quoted field goes on in the next line; help: close the quotes"
    );
}

#[test]
fn a_tenant_file_is_utf_8() {
    let bytes: Arc<[u8]> = b"tenant,stamp\na\xff,eu-1\n".as_slice().into();
    let body = format!("{STAMPS}[[tenant_file]]\npath = \"tenants.csv\"\n");
    let rejected = load(text(&body), &mut |_| Ok(Arc::clone(&bytes)), None).unwrap_err();
    let told = told(&rejected.diagnostics, &rejected.sources);
    assert_eq!(told, "tenants.csv:2: <> this is not UTF-8; help: save the file as UTF-8");
}

/// A hundred good rows behind the header, and these.
fn rows(more: &str) -> String {
    let good: String = (0..100).map(|number| format!("t{number},eu-1\n")).collect();
    format!("tenant,stamp\n{good}{more}")
}

#[test]
fn a_bad_row_keeps_the_former_entry_of_its_tenant() {
    let former = with_rows("tenant,stamp,state\nacme,us-1,suspended\n", None).unwrap().table;
    let loaded = with_rows(&rows("acme,us-11\n"), Some(&former)).unwrap();
    assert_eq!(
        told(&loaded.warnings, &loaded.sources),
        "tenants.csv:102: <acme,us-11> tenant `acme`: there is no stamp `us-11`: \
         it keeps its former entry; help: mend this row"
    );
    assert_eq!(loaded.table.bad_rows, BadRowCounts { kept: 1, left_out: 0 });
    assert_eq!(loaded.kept, "acme,us-1,standard,us,suspended\n");
    let directory = &loaded.table.directory;
    let acme = directory.tenant(directory.find("acme").unwrap());
    assert_eq!((acme.home, acme.state), (StampIndex(1), TenantState::Suspended));
    let fence: Vec<_> = loaded.table.fence_zones(acme.fence).collect();
    assert_eq!(fence, ["us"]);
}

#[test]
fn what_bad_rows_kept_can_be_read_again_without_the_table_before() {
    let former = "tenant,stamp,state,residency\nacme,us-1,suspended,us|ca\n";
    let former = with_rows(former, None).unwrap().table;
    let rows = rows("acme,us-11\n");
    let kept = with_rows(&rows, Some(&former)).unwrap().kept;
    let bytes: Arc<[u8]> = rows.as_bytes().into();
    let body = format!("{STAMPS}[[tenant_file]]\npath = \"tenants.csv\"\n");
    let again = |kept: &str| {
        let circumstances = Circumstances { kept, ..Circumstances::default() };
        load_in(text(&body), &mut |_| Ok(Arc::clone(&bytes)), circumstances).unwrap()
    };
    let loaded = again(&kept);
    assert_eq!(loaded.table.bad_rows, BadRowCounts { kept: 1, left_out: 0 });
    assert_eq!(loaded.kept, kept, "so it is the next time");
    let directory = &loaded.table.directory;
    let acme = directory.tenant(directory.find("acme").unwrap());
    assert_eq!((acme.home, acme.state), (StampIndex(1), TenantState::Suspended));
    let fence: Vec<_> = loaded.table.fence_zones(acme.fence).collect();
    assert_eq!(fence, ["us", "ca"]);
    for senseless in ["acme,gone-1,,,\n", "acme,us-1,,eu,\n", "acme\nacme,us-1\n,\n"] {
        assert_eq!(again(senseless).table.directory.find("acme"), None, "{senseless}");
    }
}

#[test]
fn a_bad_row_of_an_unknown_tenant_is_left_out() {
    let loaded = with_rows(&rows("acme,eu-1,us\n"), None).unwrap();
    assert_eq!(
        told(&loaded.warnings, &loaded.sources),
        "tenants.csv:102: <acme,eu-1,us> tenant `acme`: \
         this row has 3 columns and the header has 2: it is left out; help: mend this row"
    );
    assert_eq!(loaded.table.bad_rows, BadRowCounts { kept: 0, left_out: 1 });
    assert_eq!((&*loaded.kept, loaded.table.directory.find("acme")), ("", None));
    assert_eq!(loaded.table.directory.len(), 100);
}

#[test]
fn more_than_one_bad_row_in_a_hundred_refuses_the_file() {
    assert_eq!(
        refused_rows(&rows("a b,eu-1\nc,\n"), None),
        "routing.toml:12: <\"tenants.csv\"> 2 of 102 rows are bad: more than 1 %; \
         help: mend the rows; the file is refused as a whole\n\
         tenants.csv:102: <a b,eu-1> this is no tenant id: byte 0x20 at 1 may not stand in an id: \
         the row is left out; help: mend this row\n\
         tenants.csv:103: <c,> tenant `c`: `` is no stamp id: it is left out; help: mend this row"
    );
}

#[test]
fn a_tenant_in_two_places_is_refused_with_both() {
    assert_eq!(
        refused_rows("tenant,stamp\na,eu-1\nb,eu-1\nA,us-1\n", None),
        "tenants.csv:4: <A,us-1> tenant `a` has two entries; \
         help: a tenant lives on one stamp: remove one of the entries; first entry: 2"
    );
    let bytes: Arc<[u8]> = b"tenant,stamp\na,eu-1\n".as_slice().into();
    let body = format!("{STAMPS}[tenants]\na = \"us-1\"\n[[tenant_file]]\npath = \"t.csv\"\n");
    let rejected = load(text(&body), &mut |_| Ok(Arc::clone(&bytes)), None).unwrap_err();
    assert_eq!(
        told(&rejected.diagnostics, &rejected.sources),
        "t.csv:2: <a,eu-1> tenant `a` has two entries; help: a tenant lives on one stamp: \
         remove one of the entries (first entry: /etc/routing.toml:12)"
    );
}

#[test]
fn quotes_change_nothing_that_needs_none() {
    let plain = "tenant,stamp,residency,state\r\n\r\nacme,eu-1,,\r\nb,us-1,us|ca,suspended";
    let quoted = plain.replace("acme", "\"acme\"");
    let bom = format!("\u{feff}{plain}");
    let read = |rows: &str| {
        let table = with_rows(rows, None).unwrap().table;
        let entries = table.directory.iter();
        entries.map(|(_, name, tenant)| (name.to_owned(), tenant)).collect::<Vec<_>>()
    };
    assert_eq!(read(plain).len(), 2);
    assert_eq!(read(plain), read(&quoted));
    assert_eq!(read(plain), read(&bom));
}

#[test]
fn every_bad_row_is_named_by_its_line_and_the_first_hundred_by_what_is_wrong() {
    let bad: String = (0..103).map(|number| format!("b{number},nowhere\n")).collect();
    let good: String = (0..12_000).map(|number| format!("t{number},eu-1\n")).collect();
    let loaded = with_rows(&format!("tenant,stamp\n{bad}{good}c,nowhere\n"), None).unwrap();
    let told = told(&loaded.warnings, &loaded.sources);
    let lines: Vec<&str> = told.lines().collect();
    assert_eq!(lines.len(), 101);
    for number in 0..100 {
        let line = format!("tenants.csv:{}: <b{number},nowhere>", number + 2);
        assert!(lines.iter().any(|told| told.starts_with(&line)), "{line}");
    }
    let rest = "routing.toml:12: <\"tenants.csv\"> 4 more rows are bad: \
                /etc/tenants.csv:102-104, 12105; help: mend them as well";
    assert!(lines.contains(&rest), "{told}");
    assert_eq!(loaded.table.directory.len(), 12_000);
}

#[test]
fn many_files_with_a_few_bad_rows_each_are_still_accepted() {
    let bad: String = (0..100).map(|number| format!("bad{number},nowhere\n")).collect();
    let files: String =
        (0..12).map(|number| format!("[[tenant_file]]\npath = \"{number}.csv\"\n")).collect();
    let mut read = |path: &Path| {
        let file = path.file_stem().unwrap().to_str().unwrap();
        let good: String = (0..10_000).map(|row| format!("t{file}-{row},eu-1\n")).collect();
        Ok(Arc::from(format!("tenant,stamp\n{bad}{good}").into_bytes()))
    };
    let loaded = load(text(&format!("{STAMPS}{files}")), &mut read, None).unwrap();
    assert_eq!(loaded.table.directory.len(), 120_000);
    let last = loaded.warnings.last().unwrap();
    assert!(last.message.starts_with("and 200 more warnings"), "{last:?}");
}
