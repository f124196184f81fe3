//! Tenants by the thousand, from outside: several files, bad rows, the diff of one row, and who is
//! placed by a hash.

use serde_json::Value;

use crate::harness::command::{Ended, operate, stampgate};
use crate::harness::deadline::eventually;
use crate::harness::files::routing;
use crate::harness::gateway::{Gateway, Plan};
use crate::harness::scene::{ACME, PAIR, Pair, pair_with, pair_without_edge};
use crate::harness::stamp::Stamp;

/// The usual table with these tenant files.
fn with_files(names: &[&str]) -> String {
    let files = names.iter().map(|name| format!("[[tenant_file]]\npath = \"{name}\"\n"));
    files.collect::<String>() + PAIR
}

/// So many tenants on a, but for these lines.
fn rows(tenants: usize, changed: &[(usize, &str)]) -> String {
    let row = |number: usize| {
        let changed = changed.iter().find(|(line, _)| *line == number);
        changed.map_or_else(|| format!("t{number},a\n"), |(_, row)| format!("{row}\n"))
    };
    "tenant,stamp\n".to_owned() + &(0..tenants).map(row).collect::<String>()
}

async fn diff(gateway: &Gateway) -> Value {
    let answer = gateway.admin("POST", "/v1/config/diff", None).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.json()
}

/// What the gateway would change, as it says when it is asked to judge the files.
async fn changes(gateway: &Gateway) -> Value {
    let answer = gateway.admin("POST", "/v1/config/validate", None).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.json()["changes"].clone()
}

async fn home(gateway: &Gateway, tenant: &str) -> Value {
    gateway.admin_get(&format!("/v1/tenants/{tenant}")).await.json()["stamp"].clone()
}

#[tokio::test]
async fn one_row_of_many_is_one_change() {
    let before = rows(20_000, &[]);
    let plan = |plan: Plan| plan.file("t.csv", &before).set("routing", "watch", "false");
    let pair = Pair::planned(&with_files(&["t.csv"]), plan).await;
    assert_eq!(diff(&pair.gateway).await["different"], false);
    pair.gateway.directory.replace("t.csv", &rows(20_000, &[(12_345, "t12345,b")]));
    let told = diff(&pair.gateway).await;
    assert_eq!(told["different"], true);
    let counts = ["moved", "vanished", "appeared", "changed"].map(|key| told[key].clone());
    assert_eq!(counts, [1, 0, 0, 0]);
    assert_eq!(told["examples"][0], "t12345: a -> b");
    assert_eq!(told["moves"][0]["from"], "a");
    assert_eq!(home(&pair.gateway, "t12345").await, "a", "nothing was done");
    let reload = pair.gateway.admin("POST", "/v1/config/reload", None).await.json();
    assert_eq!(reload["moved"], 1);
    assert_eq!(home(&pair.gateway, "t12345").await, "b");
    assert_eq!(diff(&pair.gateway).await["different"], false);
}

#[tokio::test]
async fn other_limits_of_a_tier_are_a_change_told_with_its_tenants() {
    let table = |limits: &str| format!("{PAIR}[tier.standard]\n{limits}\n");
    let plan = |plan: Plan| plan.set("routing", "watch", "false");
    let pair = Pair::planned(&table("requests_per_second = 900"), plan).await;
    assert_eq!(changes(&pair.gateway).await["different"], false);
    let limits = "priority = 1\nmax_in_flight = 7\n[tier.gold]";
    let text = routing(&table(limits), &[&pair.a, &pair.b]);
    pair.gateway.directory.write("routing.toml", &text);
    for told in [diff(&pair.gateway).await, changes(&pair.gateway).await] {
        assert_eq!((&told["different"], &told["tiers_added"][0]), (&true.into(), &"gold".into()));
        let tier = &told["tiers_changed"][0];
        assert_eq!((&tier["tier"], &tier["tenants"]), (&"standard".into(), &4.into()), "{told}");
        let keys = ["priority", "max_in_flight", "requests_per_second", "burst"];
        let told: Vec<&Value> = tier["limits"].as_array().unwrap().iter().collect();
        let told: Vec<_> = told.iter().map(|it| it["key"].as_str().unwrap()).collect();
        assert_eq!(told, keys);
    }
    let text = diff_of(&pair.gateway, &[]).await.exits(7).stdout;
    let line = "tier standard: priority 0 -> 1, max_in_flight 500 -> 7, \
                requests_per_second 900 -> none, burst 900 -> none (4 tenants)";
    assert!(text.contains(line), "{text}");
}

#[tokio::test]
async fn each_of_several_tenant_files_is_watched() {
    let table = with_files(&["one.csv", "two.csv"]);
    let plan = |plan: Plan| {
        plan.file("one.csv", "tenant,stamp\none,a\n").file("two.csv", "tenant,stamp\ntwo,a\n")
    };
    let pair = Pair::planned(&table, plan).await;
    for (file, tenant) in [("one.csv", "one"), ("two.csv", "two")] {
        let rows = format!("tenant,stamp\n{tenant},b\n");
        pair.gateway.directory.replace(file, &rows);
        pair.gateway.serves(&format!("{tenant}.app.test"), "b").await;
    }
    pair.gateway.directory.write("two.csv", "tenant,stamp\ntwo,a\n");
    pair.gateway.serves("two.app.test", "a").await;
}

#[tokio::test]
async fn a_tenant_in_two_files_is_an_error_that_names_both_places() {
    let table = with_files(&["one.csv", "two.csv"]);
    let plan = |plan: Plan| {
        plan.file("one.csv", "tenant,stamp\nx,a\none,a\n")
            .file("two.csv", "tenant,stamp\ntwo,a\n")
            .set("routing", "watch", "false")
    };
    let pair = Pair::planned(&table, plan).await;
    pair.gateway.directory.replace("two.csv", "tenant,stamp\ntwo,a\ny,a\nOne,b\ntwo,b\n");
    let told = pair.gateway.admin("POST", "/v1/config/validate", None).await;
    assert_eq!(told.status, 422, "{}", told.text());
    let text = told.text();
    assert!(text.contains("one.csv:3"), "{text}");
    assert!(text.contains("two.csv:2"), "{text}");
    let told = told.json();
    let lines: Vec<_> = told["diagnostics"].as_array().unwrap().iter().collect();
    let places: Vec<_> = lines.iter().map(|it| it["line"].as_u64().unwrap()).collect();
    assert_eq!(places, [4, 5], "{told}");
    let path = pair.gateway.directory.path("gateway.toml");
    let checked = stampgate(&["check", "-c", path.to_str().unwrap()]).await.exits(3);
    assert!(checked.stderr.contains("one.csv:3"), "{}", checked.stderr);
}

#[tokio::test]
async fn bad_rows_keep_their_former_entry_and_are_named_up_to_one_in_a_hundred() {
    let rows_of = |changed: &[(usize, &str)]| rows(400, changed);
    let first = rows_of(&[(7, "t7,b")]);
    let plan = |plan: Plan| plan.file("t.csv", &first).set("routing", "watch", "false");
    let pair = Pair::planned(&with_files(&["t.csv"]), plan).await;
    let bad = [(7, "t7,nowhere"), (8, "t8,a,too,many"), (9, "t9,"), (10, "t 10,a")];
    pair.gateway.directory.replace("t.csv", &rows_of(&bad));
    let answer = pair.gateway.admin("POST", "/v1/config/reload", None).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let warnings = answer.json()["warnings"].to_string();
    for line in [9, 10, 11, 12] {
        assert!(warnings.contains(&format!("t.csv:{line}:")), "{line}: {warnings}");
    }
    assert_eq!(home(&pair.gateway, "t7").await, "b");
    assert_eq!(home(&pair.gateway, "t8").await, "a");
    let more = [&bad[..], &[(11, "t11,nowhere")]].concat();
    pair.gateway.directory.replace("t.csv", &rows_of(&more));
    let answer = pair.gateway.admin("POST", "/v1/config/reload", None).await;
    assert_eq!(answer.status, 422);
    assert!(answer.text().contains("5 of 400 rows are bad"), "{}", answer.text());
    assert_eq!(home(&pair.gateway, "t11").await, "a");
}

#[tokio::test]
async fn a_tenant_with_a_bad_row_keeps_its_entry_through_restarts() {
    let first = rows(400, &[(7, "t7,b"), (8, "t8,b")]);
    let plan = |plan: Plan| plan.file("t.csv", &first).set("routing", "watch", "false");
    let mut pair = Pair::planned(&with_files(&["t.csv"]), plan).await;
    pair.gateway.directory.replace("t.csv", &rows(400, &[(7, "t7,nowhere"), (8, "t8,b")]));
    let reload = pair.gateway.admin("POST", "/v1/config/reload", None).await;
    assert_eq!(reload.status, 200, "{}", reload.text());
    pair.gateway.kill_and_restart().await;
    assert_eq!(home(&pair.gateway, "t7").await, "b");

    // One more becomes bad while nobody looks.
    pair.gateway.kill();
    let both = rows(400, &[(7, "t7,nowhere"), (8, "t8,nowhere"), (9, "new,nowhere")]);
    pair.gateway.directory.replace("t.csv", &both);
    pair.gateway.restart().await;
    for tenant in ["t7", "t8"] {
        assert_eq!(home(&pair.gateway, tenant).await, "b");
    }
    let metrics = pair.gateway.metrics().await;
    let rows = |result| metrics.sum("stampgate_config_bad_rows", &[("result", result)]);
    assert_eq!((rows("kept"), rows("left_out")), (2.0, 1.0));
    let path = pair.gateway.directory.path("gateway.toml");
    let checked = stampgate(&["check", "-c", path.to_str().unwrap()]).await.exits(0);
    assert!(checked.stderr.contains("it keeps its former entry"), "{}", checked.stderr);
    let diff = diff(&pair.gateway).await;
    assert_eq!(diff["different"], false, "{diff}");

    // So it is when the last known good copy has to do.
    pair.gateway.kill();
    pair.gateway.directory.write("t.csv", "nonsense\n");
    pair.gateway.restart().await;
    for tenant in ["t7", "t8"] {
        assert_eq!(home(&pair.gateway, tenant).await, "b");
    }
}

/// The usual table, whose unknown tenants are placed.
fn with_pool(pool: &str) -> String {
    format!("[identity]\nunknown_tenant = \"hash\"\n[placement]\nstamps = {pool}\n{PAIR}")
}

#[tokio::test]
async fn an_unknown_tenant_is_placed_and_told_of_to_its_stamp() {
    let pair = Pair::planned(&with_pool("[{ stamp = \"b\", weight = 2 }]"), |plan| plan).await;
    let answer = pair.gateway.get("newcomer.app.test", "/").await;
    assert_eq!(answer.served_by(), "b");
    assert_eq!(answer.arrived("x-stamp-tenant"), ["newcomer"]);
    assert_eq!(pair.gateway.get(ACME, "/").await.served_by(), "a", "an entry wins");
    let told = pair.gateway.admin_get("/v1/tenants/newcomer").await.json();
    assert_eq!((&told["placed"], &told["stamp"]), (&true.into(), &"b".into()));
    let told = pair.gateway.admin_get("/v1/tenants/acme").await.json();
    assert_eq!(told["placed"], false);
    pair.gateway.get("hooli.app.test", "/").await.assert_problem(403, "tenant_suspended");
    eventually("the line of the access log", async || {
        pair.gateway.log().contains("\"stampgate.tenant\":\"newcomer\"").then_some(())
    })
    .await;
}

#[tokio::test]
async fn draining_a_stamp_of_the_pool_moves_its_own_tenants_over_its_edge() {
    let pair = Pair::planned(&with_pool("[\"a\", \"b\"]"), |plan| plan).await;
    let mut on_a = Vec::new();
    for number in 0..20 {
        let host = format!("n{number}.app.test");
        let stamp = pair.gateway.get(&host, "/").await.served_by();
        assert_eq!(stamp, home(&pair.gateway, &format!("n{number}")).await);
        on_a.push(stamp == "a");
    }
    assert!(on_a.contains(&true) && on_a.contains(&false));
    let drained = pair.gateway.admin("POST", "/v1/stamps/a/drain", None).await;
    assert_eq!(drained.status, 202, "{}", drained.text());
    for number in 0..20 {
        let answer = pair.gateway.get(&format!("n{number}.app.test"), "/").await;
        assert_eq!(answer.served_by(), "b");
    }
    let stranding = pair.gateway.admin("POST", "/v1/stamps/b/drain", None).await;
    stranding.assert_problem(409, "would_strand");
}

#[tokio::test]
async fn tenants_that_only_a_hash_knows_are_not_stranded_by_a_drain() {
    let table = format!(
        "[identity]\nunknown_tenant = \"hash\"\n[placement]\nstamps = [\"a\"]\n{}",
        pair_without_edge().split("[tenants]").next().unwrap()
    );
    let pair = Pair::planned(&table, |plan| plan).await;
    let refused = pair.gateway.admin("POST", "/v1/stamps/a/drain", None).await;
    refused.assert_problem(409, "would_strand");
    assert_eq!(pair.gateway.admin("POST", "/v1/stamps/b/drain", None).await.status, 202);
}

async fn diff_of(gateway: &Gateway, arguments: &[&str]) -> Ended {
    operate(gateway, &[&["diff"], arguments].concat()).await
}

#[tokio::test]
async fn the_command_says_by_its_exit_code_whether_there_are_differences() {
    let pair = Pair::planned(PAIR, |plan| plan.set("routing", "watch", "false")).await;
    let path = pair.gateway.directory.path("");
    let offline = ["diff", "--config", path.to_str().unwrap(), "-o", "json"];
    diff_of(&pair.gateway, &[]).await.exits(0);
    assert_eq!(stampgate(&offline).await.exits(0).json()["different"], false);
    let changed = PAIR
        .replace("failover = [{ to = \"b\", mode = \"read_write\" }]\n", "max_in_flight = 7\n")
        .replace("acme = \"a\"", "acme = \"b\"")
        .replace("globex = \"b\"\n", "umbrella = \"b\"\n");
    pair.gateway.directory.write("routing.toml", &routing(&changed, &[&pair.a, &pair.b]));
    for ended in [diff_of(&pair.gateway, &["-o", "json"]).await, stampgate(&offline).await] {
        let told = ended.exits(7).json();
        let counts = ["moved", "vanished", "appeared"].map(|key| told[key].clone());
        assert_eq!(counts, [1, 1, 1], "{told}");
        assert_eq!(told["edges_lost"][0], "a -> b (read_write)");
        assert_eq!(told["stamps_changed"][0]["stamp"], "a");
        let keys = serde_json::json!(["max_in_flight", "failover"]);
        assert_eq!(told["stamps_changed"][0]["keys"], keys);
    }
    let text = diff_of(&pair.gateway, &[]).await.exits(7).stdout;
    assert!(text.contains("a -> b: 1 (acme)"), "{text}");
    pair.gateway.directory.write("routing.toml", "nonsense");
    diff_of(&pair.gateway, &[]).await.exits(5);
    stampgate(&offline).await.exits(3);
}

#[tokio::test]
async fn two_configurations_are_compared_without_a_gateway() {
    let pair = Pair::start().await;
    let (old, new) =
        (Plan::new(PAIR, &[&pair.a, &pair.b]), PAIR.replace("acme = \"a\"", "acme = \"b\""));
    let (old, new) = (old.written(), Plan::new(&new, &[&pair.a, &pair.b]).written());
    let path = |directory: &crate::harness::files::Directory| {
        directory.path("gateway.toml").to_str().unwrap().to_owned()
    };
    let (old, new) = (path(&old), path(&new));
    stampgate(&["diff", "--config", &old, "--from", &old]).await.exits(0);
    let ended = stampgate(&["diff", "--config", &new, "--from", &old]).await.exits(7);
    assert!(ended.stdout.contains("acme"), "{ended:?}");
    let ended = stampgate(&["diff", "--config", &new]).await.exits(3);
    assert!(ended.stderr.contains("no table to compare with"), "{ended:?}");
}

#[tokio::test]
async fn who_would_have_nowhere_to_go_is_told_by_the_standings_in_force() {
    let pair = Pair::planned(PAIR, |plan| plan.set("routing", "watch", "false")).await;
    assert_eq!(diff(&pair.gateway).await["nowhere"], serde_json::json!([]));
    let drained = pair.gateway.admin("POST", "/v1/stamps/a/drain", None).await;
    assert_eq!(drained.status, 202, "{}", drained.text());
    pair.gateway
        .directory
        .write("routing.toml", &routing(&pair_without_edge(), &[&pair.a, &pair.b]));
    let told = diff(&pair.gateway).await;
    assert_eq!(told["stamps_stranded"], serde_json::json!(["a"]), "{told}");
    assert_eq!(told["nowhere"][0]["examples"], serde_json::json!(["acme"]));
    assert_eq!(told["stamps_out"][0]["stamp"], "a", "{told}");
}

#[tokio::test]
async fn without_a_gateway_the_journal_says_which_stamps_are_out() {
    let pair = Pair::planned(PAIR, |plan| plan.set("routing", "watch", "false")).await;
    let path = pair.gateway.directory.path("");
    let offline = ["diff", "--config", path.to_str().unwrap(), "-o", "json"];
    assert_eq!(stampgate(&offline).await.exits(0).json()["stamps_out"], serde_json::json!([]));
    let drained = pair.gateway.admin("POST", "/v1/stamps/a/drain", None).await;
    assert_eq!(drained.status, 202, "{}", drained.text());
    pair.gateway
        .directory
        .write("routing.toml", &routing(&pair_without_edge(), &[&pair.a, &pair.b]));
    let told = stampgate(&offline).await.exits(7).json();
    assert_eq!(told["nowhere"][0]["examples"], serde_json::json!(["acme"]), "{told}");
    assert_eq!(told["stamps_out"][0]["stamp"], "a", "{told}");
    assert_eq!(told["stamps_out"][0]["reason"], "draining", "{told}");
    let text = stampgate(&offline[..3]).await.exits(7).stdout;
    assert!(text.contains("nowhere to go from a: 1 tenants (acme)"), "{text}");
    assert!(text.contains("take no requests: a (draining)"), "{text}");
    pair.gateway.directory.write("state/operators.journal", "damaged\nand more\n");
    let told = stampgate(&offline).await.exits(7).json();
    assert_eq!(told["nowhere"], serde_json::json!([]), "{told}");
    let warnings = told["warnings"].to_string();
    assert!(warnings.contains("what operators said of stamps is not known"), "{told}");
}

#[tokio::test]
async fn a_diff_says_that_the_guard_would_refuse() {
    let before = rows(200, &[]);
    let plan = |plan: Plan| plan.file("t.csv", &before).set("routing", "watch", "false");
    let pair = Pair::planned(&with_files(&["t.csv"]), plan).await;
    pair.gateway.directory.replace("t.csv", "tenant,stamp\n");
    let told = diff(&pair.gateway).await;
    assert!(told["guard"].as_str().unwrap().contains("200 would vanish"), "{told}");
}

#[tokio::test]
async fn validate_judges_and_changes_nothing() {
    let pair = Pair::planned(PAIR, |plan| plan.set("routing", "watch", "false")).await;
    let generation = pair.gateway.generation().await;
    let good = pair.gateway.admin("POST", "/v1/config/validate", None).await;
    assert_eq!((good.status, &good.json()["ok"]), (200, &true.into()));
    assert_eq!(good.json()["tenants"], 4);
    pair.gateway.directory.write("routing.toml", "nonsense");
    for target in ["/v1/config/validate", "/v1/config/diff"] {
        let bad = pair.gateway.admin("POST", target, None).await;
        bad.assert_problem(422, "config_refused");
        assert!(bad.json()["diagnostics"][0]["line"] == 1, "{}", bad.text());
        let asked = pair.gateway.admin("POST", &format!("{target}?force=true"), None).await;
        assert_eq!(asked.status, 422, "nothing is forced by a question");
    }
    assert!(pair.gateway.last_reload_succeeded().await);
    assert!((pair.gateway.generation().await - generation).abs() < f64::EPSILON);
    assert_eq!(pair.gateway.get(ACME, "/").await.served_by(), "a");
}

#[tokio::test]
async fn a_viewer_may_ask_what_would_change() {
    let pair = crate::admin::guarded().await;
    for target in ["/v1/config/validate", "/v1/config/diff"] {
        let request = pair.gateway.admin_request("POST", target);
        assert_eq!(pair.gateway.admin_send(&request).await.status, 401);
        let request = request.bearer(crate::admin::VIEWER);
        assert_eq!(pair.gateway.admin_send(&request).await.status, 200, "{target}");
    }
}

#[tokio::test]
async fn check_names_tenants_that_depend_on_their_home_alone() {
    let pair = Pair::start().await;
    let path = pair.gateway.directory.path("gateway.toml");
    let checked = stampgate(&["check", "-c", path.to_str().unwrap()]).await.exits(0);
    let told = "if stamp `b` fails, 1 tenants (globex) have nowhere to go";
    assert!(checked.stderr.contains(told), "{}", checked.stderr);
    assert!(!checked.stderr.contains("stamp `a` fails"), "{}", checked.stderr);
}

/// What `check` says of this table with these files beside it, and the text of routing.toml.
async fn checked(table: &str, files: &[(&str, &str)]) -> (Ended, String) {
    let (a, b) = (Stamp::start("a").await, Stamp::start("b").await);
    let plan = Plan::new(table, &[&a, &b]);
    let plan = files.iter().fold(plan, |plan, (name, text)| plan.file(name, text));
    let directory = plan.written();
    let path = directory.path("gateway.toml");
    let ended = stampgate(&["check", "-c", path.to_str().unwrap()]).await;
    (ended, directory.read("routing.toml"))
}

#[tokio::test]
async fn check_names_tenants_that_have_nowhere_to_go_already() {
    let drained = pair_with("state = \"draining\"");
    let (ended, _) = checked(&drained, &[]).await;
    let ended = ended.exits(0);
    assert!(!ended.stderr.contains("acme"), "its edge leads to b: {}", ended.stderr);
    let edge = "failover = [{ to = \"b\", mode = \"read_write\" }]\n";
    let (ended, _) = checked(&drained.replace(edge, ""), &[]).await;
    let told = "stamp `a` is declared `draining`: 1 tenants (acme) have nowhere to go";
    assert!(ended.stderr.contains(told), "{}", ended.stderr);
    assert_eq!(ended.code, 0);
}

#[tokio::test]
async fn a_tenant_in_the_table_and_in_a_file_is_an_error_that_names_both_places() {
    let rows = [("t.csv", "tenant,stamp\nx,a\nacme,a\n")];
    let (ended, routing) = checked(&with_files(&["t.csv"]), &rows).await;
    let ended = ended.exits(3);
    let line = 1 + routing.lines().position(|line| line.starts_with("acme = ")).unwrap();
    let first = format!("routing.toml:{line})");
    assert!(ended.stderr.contains("t.csv:3:"), "{}", ended.stderr);
    assert!(ended.stderr.contains(&first), "{first} in {}", ended.stderr);
}
