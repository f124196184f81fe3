//! `diff`: what the files would change, by meaning. Asks a gateway, or compares files.

use http::Method;

use super::client::{Client, Question};
use super::failure::Failure;
use super::operate::runtime;
use super::print;
use super::{DiffFlags, Operator, Output};
use crate::admin::view::{DiffView, LimitChangeView, PoolMovesView, PoolView, TierView};
use crate::clock::Clock;
use crate::source;

/// `stampgate diff`
pub(super) fn diff(flags: DiffFlags) -> Result<(), Failure> {
    let output = flags.output.output;
    let view = match &flags.config {
        Some(config) => {
            let compared = source::compare_files(config, flags.from.as_deref(), Clock::start());
            DiffView::new(compared.map_err(|report| Failure::Configuration(vec![report]))?)
        }
        None => ask(flags)?,
    };
    match output {
        Output::Json => print::json(&view)?,
        Output::Table => show(&view),
    }
    if view.different { Err(Failure::Different) } else { Ok(()) }
}

fn ask(flags: DiffFlags) -> Result<DiffView, Failure> {
    let DiffFlags { admin, token_file, output, .. } = flags;
    let client = Client::new(&Operator { admin, config: None, token_file, output })?;
    let question = Question::new(Method::POST, "/v1/config/diff");
    runtime()?.block_on(client.ask(question))?.read()
}

fn show(view: &DiffView) {
    for warning in &view.warnings {
        print::remark(&format!("warning: {warning}"));
    }
    for line in lines(view) {
        print::line(&line);
    }
    if let Some(guard) = &view.guard {
        print::remark(&format!("a reload would be refused unless forced: {guard}"));
    }
    if !view.restart_needed.is_empty() {
        print::remark(&format!("only after a restart: {}", view.restart_needed.join(", ")));
    }
}

/// What people read, a line each.
fn lines(view: &DiffView) -> Vec<String> {
    if !view.different && view.nowhere.is_empty() {
        return vec!["no difference".to_owned()];
    }
    let DiffView { moved, vanished, appeared, changed, .. } = view;
    let mut lines = vec![format!(
        "tenants: {moved} moved, {vanished} gone, {appeared} new, {changed} changed at home"
    )];
    for moves in &view.moves {
        let examples = some(&moves.examples, moves.tenants);
        lines.push(format!("  {} -> {}: {} ({examples})", moves.from, moves.to, moves.tenants));
    }
    let tallies = [
        ("gone", &view.vanished_examples, *vanished),
        ("new", &view.appeared_examples, *appeared),
        ("changed", &view.changed_examples, *changed),
    ];
    for (what, examples, count) in tallies {
        if count > 0 {
            lines.push(format!("  {what}: {}", some(examples, count)));
        }
    }
    lines.extend(other_lines(view));
    lines
}

/// What is told of anything but tenants.
fn other_lines(view: &DiffView) -> Vec<String> {
    let mut lines = Vec::new();
    let (added, removed) = (view.domains_added, view.domains_removed);
    if added + removed > 0 {
        lines.push(format!("domains: {added} new, {removed} gone"));
    }
    let lists = [
        ("tiers new", &view.tiers_added),
        ("tiers gone", &view.tiers_removed),
        ("stamps new", &view.stamps_added),
        ("stamps gone", &view.stamps_removed),
        ("edges gained", &view.edges_gained),
        ("edges lost", &view.edges_lost),
    ];
    for (what, list) in lists {
        if !list.is_empty() {
            lines.push(format!("{what}: {}", list.join(", ")));
        }
    }
    lines.extend(view.tiers_changed.iter().map(tier));
    for changed in &view.stamps_changed {
        lines.push(format!("stamp {}: another {}", changed.stamp, changed.keys.join(", ")));
    }
    if view.identity_changed {
        lines.push("identity: other rules".to_owned());
    }
    lines.extend(view.placement.iter().flat_map(pool));
    for nowhere in &view.nowhere {
        let placed = if nowhere.placed { ", and those placed there by hash" } else { "" };
        let tenants = nowhere.tenants;
        let examples = some(&nowhere.examples, tenants);
        let stamp = &nowhere.stamp;
        lines.push(format!("nowhere to go from {stamp}: {tenants} tenants ({examples}){placed}"));
    }
    if !view.stamps_out.is_empty() {
        let out = view.stamps_out.iter().map(|it| format!("{} ({})", it.stamp, it.reason));
        lines.push(format!("take no requests: {}", out.collect::<Vec<_>>().join(", ")));
    }
    lines
}

/// What changes for tenants that are placed by hash.
fn pool(pool: &PoolView) -> Vec<String> {
    let told = |pool: &str| if pool.is_empty() { "none".to_owned() } else { pool.to_owned() };
    let (before, after, percent) = (told(&pool.before), told(&pool.after), pool.moved_percent);
    let first = format!("placement: {before} -> {after}: {percent} % of its tenants move");
    let moves = pool.moves.iter().map(|PoolMovesView { from, to, percent }| {
        // A sample tells it: to a point, and not to a tenth.
        format!("  {from} -> {to}: about {percent:.0} %")
    });
    std::iter::once(first).chain(moves).collect()
}

/// What changes for the tenants of a tier.
fn tier(changed: &TierView) -> String {
    let told = |limit: Option<u32>| limit.map_or_else(|| "none".to_owned(), |it| it.to_string());
    let limits = changed.limits.iter().map(|LimitChangeView { key, from, to }| {
        let (from, to) = (told(*from), told(*to));
        format!("{key} {from} -> {to}")
    });
    let limits = limits.collect::<Vec<_>>().join(", ");
    let placed = if changed.placed { ", and those placed by hash" } else { "" };
    let TierView { tier, tenants, .. } = changed;
    format!("tier {tier}: {limits} ({tenants} tenants{placed})")
}

/// The examples, and that there are more.
fn some(examples: &[String], count: usize) -> String {
    let more = if examples.len() < count { ", ..." } else { "" };
    format!("{}{more}", examples.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_the_same_is_said_in_two_words() {
        assert_eq!(lines(&DiffView::default()), ["no difference"]);
    }

    #[test]
    fn a_tier_is_told_with_its_tenants() {
        let limits = vec![
            LimitChangeView { key: "burst".to_owned(), from: None, to: Some(5) },
            LimitChangeView { key: "priority".to_owned(), from: Some(1), to: Some(2) },
        ];
        let changed = TierView { tier: "gold".to_owned(), limits, tenants: 3, placed: true };
        let told = "tier gold: burst none -> 5, priority 1 -> 2 \
                    (3 tenants, and those placed by hash)";
        assert_eq!(tier(&changed), told);
    }

    #[test]
    fn one_row_of_many_is_one_change() {
        let examples = vec!["acme: active -> suspended".to_owned()];
        let view = DiffView {
            different: true,
            changed: 1,
            changed_examples: examples,
            ..DiffView::default()
        };
        assert_eq!(
            lines(&view),
            [
                "tenants: 0 moved, 0 gone, 0 new, 1 changed at home",
                "  changed: acme: active -> suspended"
            ]
        );
    }
}
