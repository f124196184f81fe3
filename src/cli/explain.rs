//! `explain`: why a request would go where it goes. Decides by files, or asks a gateway.

use std::collections::BTreeMap;
use std::env;
use std::fs;
use std::path::{Path, PathBuf};

use http::Method;
use stamp_core::fleet::Fleet;
use stamp_core::time::Moment;

use super::client::{Client, Question};
use super::failure::Failure;
use super::operate::runtime;
use super::{ExplainFlags, Operator, Output, print};
use crate::admin::view::{ExplainAsk, ExplainView, SourceView, StepView};
use crate::clock::Clock;
use crate::proxy::explain::{Description, Scene};
use crate::source;

/// `stampgate explain`
pub(super) fn explain(flags: ExplainFlags) -> Result<(), Failure> {
    let output = flags.output.output;
    let token = flags.jwt_file.as_deref().map(read_token).transpose()?;
    let view = if flags.admin.is_some() { ask(flags, token)? } else { decide(flags, token)? };
    match output {
        Output::Json => print::json(&view)?,
        Output::Table => lines(&view).iter().for_each(|line| print::line(line)),
    }
    Ok(())
}

fn read_token(path: &Path) -> Result<String, Failure> {
    let read = fs::read_to_string(path);
    let token = read.map_err(|source| Failure::System { what: "read the token file", source })?;
    Ok(token.trim().to_owned())
}

/// Decides by the files. All stamps are up, but for what is declared and assumed.
fn decide(flags: ExplainFlags, token: Option<String>) -> Result<ExplainView, Failure> {
    let ExplainFlags { url, method, headers, client_ip: client, assume, config, .. } = flags;
    let clock = Clock::start();
    let of_environment = || env::var_os("STAMPGATE_CONFIG").map(PathBuf::from);
    let config = config.or_else(of_environment).unwrap_or_else(|| "gateway.toml".into());
    let files = source::read_files(&config, clock);
    let files = files.map_err(|report| Failure::Configuration(vec![report]))?;
    let start = Moment::default();
    let standings = Fleet::new(&files.table, BTreeMap::new(), start)
        .assuming(&files.table, &assume, start)
        .map_err(|_refusal| Failure::Question("no stamp has the id of an assumption".to_owned()))?;
    let scene = Scene {
        table: &files.table,
        keys: &files.keys,
        live: &files.settings.live,
        standings: &standings,
        node: &files.settings.node_id,
        now: clock.unix(),
        running: None,
    };
    let description = Description { method, url, headers, client, token };
    ExplainView::of(&scene, description, &assume)
        .map_err(|error| Failure::Question(error.to_string()))
}

fn ask(flags: ExplainFlags, token: Option<String>) -> Result<ExplainView, Failure> {
    let ExplainFlags { url, method, headers, client_ip, assume, admin, token_file, output, .. } =
        flags;
    let client = Client::new(&Operator { admin, config: None, token_file, output })?;
    let question = Question::new(Method::POST, "/v1/explain").with(&ExplainAsk {
        method: Some(method),
        url,
        headers,
        client_ip: client_ip.map(|address| address.to_string()),
        token,
        assume: assume.iter().map(ToString::to_string).collect(),
    })?;
    runtime()?.block_on(client.ask(question))?.read()
}

/// What people read: a line for each source and each stamp, then the decision.
fn lines(view: &ExplainView) -> Vec<String> {
    let mut lines = vec![view.request.clone()];
    if !view.assumed.is_empty() {
        lines.push(format!("assumed: {}", view.assumed.join(", ")));
    }
    lines.push(String::new());
    for step in &view.steps {
        lines.extend(step_lines(step));
    }
    lines.push(String::new());
    lines.push(decision(view));
    lines
}

fn step_lines(step: &StepView) -> Vec<String> {
    let mut told: Vec<[String; 2]> = Vec::new();
    let mut tell = |what: &str, text: String| told.push([what.to_owned(), text]);
    for source in &step.sources {
        tell(&source.source, says(source));
    }
    if step.verified_demanded {
        tell("", "this host takes verified identities only".to_owned());
    }
    if let Some(row) = &step.row {
        let how = if row.placed { "placed by its name" } else { "listed" };
        let mut zones = row.residency.join(", ");
        if zones.is_empty() {
            "anywhere".clone_into(&mut zones);
        }
        let (tenant, home, state, tier) = (&row.tenant, &row.home, &row.state, &row.tier);
        let text =
            format!("tenant {tenant}: home {home}, {state}, {how}, data in {zones}, tier {tier}");
        tell("table", text);
    }
    if let Some(conflict) = step.by.as_ref().and_then(|by| by.conflict.as_ref()) {
        tell("", format!("overruled: {conflict}"));
    }
    if let Some(admit) = &step.limits {
        let limits = admit.limits;
        let rate = limits.requests_per_second.map_or_else(
            || "any rate".to_owned(),
            |rate| format!("{rate} a second and {} at once", limits.burst.unwrap_or_default()),
        );
        let now = admit.in_flight.map(|count| format!(" ({count} now)")).unwrap_or_default();
        tell("limits", format!("{} in flight{now}, {rate}", limits.max_in_flight));
    }
    for candidate in &step.candidates {
        let stamp = &candidate.stamp;
        tell("stamp", format!("{stamp}, {}: {}", candidate.way, candidate.reason));
    }
    if let Some(reason) = &step.reason {
        tell("refused", format!("{}: {reason}", step.step));
    }
    told.into_iter().map(|[what, text]| format!("{what:8}  {text}").trim_end().to_owned()).collect()
}

/// What a source says.
fn says(source: &SourceView) -> String {
    let mut parts: Vec<String> = source.value.iter().cloned().collect();
    if let Some(token) = &source.token {
        let or_none = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".to_owned());
        let (issuer, key_id) = (or_none(&token.issuer), or_none(&token.key_id));
        parts.push(format!("issuer {issuer}, key {key_id}, {}", or_none(&token.algorithm)));
    }
    let names = [("tenant", &source.tenant), ("stamp", &source.stamp)];
    let named = names.iter().filter_map(|(what, name)| Some(format!("{what} {}", name.as_ref()?)));
    let named: Vec<String> = named.collect();
    if !named.is_empty() {
        parts.push(format!("{} ({})", named.join(", "), source.class));
    }
    if !source.one_of.is_empty() {
        parts.push(format!("one of {}", source.one_of.join(", ")));
    }
    parts.extend(source.error.iter().map(|error| format!("cannot be used: {error}")));
    parts.extend(source.note.iter().cloned());
    parts.join(" -> ")
}

fn decision(view: &ExplainView) -> String {
    let decision = &view.decision;
    let text = |text: &Option<String>| text.clone().unwrap_or_default();
    match &*decision.outcome {
        "forward" => {
            let why = match (&decision.why, decision.route.as_deref()) {
                (Some(why), _) => format!(" in the place of {} ({why})", text(&decision.home)),
                (None, Some("trial")) => ", as the trial of its breaker".to_owned(),
                (None, _) => ", its home".to_owned(),
            };
            format!("forwarded to {}{why}", text(&decision.stamp))
        }
        "answer" => "answered by the gateway itself: 204".to_owned(),
        _ => {
            let status = decision.status.unwrap_or_default();
            format!("refused: {status} {}: {}", text(&decision.code), text(&decision.detail))
        }
    }
}
