//! The operator's commands: each asks a running gateway over its admin plane.

use std::time::Duration;

use http::Method;
use serde_json::Value;
use stamp_core::standing::OperatorState;
use tokio::runtime::{Builder, Runtime};

use super::client::{Answer, Client, Question};
use super::failure::Failure;
use super::print::{self, Progress};
use super::{
    DrainFlags, DrillFlags, Operator, OrderFlags, Output, ReloadFlags, StateFlags, Wanted,
};
use crate::admin::view::{
    ConfigView, DrainAsk, DrainView, DrillAsk, DrillView, DrillsView, InfoView, ReasonAsk,
    RefusalView, ReloadView, Span, StampsView, StateAsk, StatusView, UpgradeView,
};
use crate::clock::Clock;

pub(super) fn runtime() -> Result<Runtime, Failure> {
    let runtime = Builder::new_current_thread().enable_all().build();
    runtime.map_err(|source| Failure::System { what: "start", source })
}

fn look(operator: &Operator, target: &str) -> Result<Answer, Failure> {
    let client = Client::new(operator)?;
    runtime()?.block_on(client.ask(Question::new(Method::GET, target)))
}

/// `stampgate stamps`
pub(super) fn stamps(operator: &Operator) -> Result<(), Failure> {
    let answer = look(operator, "/v1/stamps")?;
    match operator.output.output {
        Output::Json => print::json(&answer.read::<Value>()?),
        Output::Table => {
            print::line(&print::stamps(&answer.read::<StampsView>()?.stamps));
            Ok(())
        }
    }
}

/// `stampgate status`
pub(super) fn status(operator: &Operator) -> Result<(), Failure> {
    let client = Client::new(operator)?;
    let runtime = runtime()?;
    let ask = |target| runtime.block_on(client.ask(Question::new(Method::GET, target)));
    let (info, config, stamps) = (ask("/v1/info")?, ask("/v1/config")?, ask("/v1/stamps")?);
    if operator.output.output == Output::Json {
        let (info, config, stamps) = (info.read()?, config.read()?, stamps.read()?);
        return print::json(&StatusView { info, config, stamps });
    }
    let info: InfoView = info.read()?;
    let config: ConfigView = config.read()?;
    let uptime = Duration::from_secs_f64(info.uptime_s.max(0.0).trunc());
    let (stale, last) = (if config.stale { ", stale" } else { "" }, &config.last_reload);
    let rows = [
        ("gateway", format!("{} {} on {}", info.name, info.version, info.node)),
        ("up for", humantime::format_duration(uptime).to_string()),
        ("table", format!("{}, generation {}{stale}", config.file, config.generation)),
        ("accepted", config.accepted_at),
        ("last reload", format!("{} at {}", last.result, last.at)),
        ("tenants", config.tenants.to_string()),
    ];
    for (name, value) in rows {
        print::line(&format!("{name:<12} {value}"));
    }
    if !config.issuers.is_empty() {
        print::line("");
        print::line(&print::issuers(&config.issuers));
    }
    print::line("");
    print::line(&print::stamps(&stamps.read::<StampsView>()?.stamps));
    Ok(())
}

/// `stampgate drain`
pub(super) fn drain(flags: &DrainFlags) -> Result<(), Failure> {
    let client = Client::new(&flags.operator)?;
    let ask = DrainAsk {
        deadline: Some(Span(flags.deadline)),
        force: flags.force,
        reason: flags.reason.clone(),
    };
    let order = Question::new(Method::POST, drain_target(flags.id.as_str())).with(&ask)?;
    let answer = runtime()?.block_on(async {
        let clock = Clock::start();
        let answer = client.ask(order).await?;
        if flags.wait { wait_until_drained(&client, flags, clock).await } else { Ok(answer) }
    })?;
    show_drain(&answer, flags.operator.output.output)
}

/// `stampgate undrain`
pub(super) fn undrain(flags: &OrderFlags) -> Result<(), Failure> {
    let client = Client::new(&flags.operator)?;
    let ask = ReasonAsk { reason: flags.reason.clone() };
    let order = Question::new(Method::DELETE, drain_target(flags.id.as_str())).with(&ask)?;
    let answer = runtime()?.block_on(client.ask(order))?;
    show_drain(&answer, flags.operator.output.output)
}

/// `stampgate state`
pub(super) fn state(flags: &StateFlags) -> Result<(), Failure> {
    let state = match flags.state {
        Wanted::Draining => OperatorState::Draining,
        Wanted::Maintenance => OperatorState::Maintenance,
        Wanted::Warming => OperatorState::Warming,
        Wanted::Active => OperatorState::Active,
    };
    let (state, force) = (state.as_str().to_owned(), flags.force);
    let ask = StateAsk { state, force, reason: flags.reason.clone() };
    let target = format!("/v1/stamps/{}/state", flags.id);
    order_and_show(&flags.operator, Question::new(Method::PUT, target).with(&ask)?)
}

/// `stampgate failback`
pub(super) fn fail_back(flags: &OrderFlags) -> Result<(), Failure> {
    let ask = ReasonAsk { reason: flags.reason.clone() };
    let target = format!("/v1/stamps/{}/failback", flags.id);
    order_and_show(&flags.operator, Question::new(Method::POST, target).with(&ask)?)
}

/// How often a drill that is waited for is looked at.
const DRILL_PACE: Duration = Duration::from_millis(500);

/// `stampgate drill`
pub(super) fn drill(flags: &DrillFlags) -> Result<(), Failure> {
    let client = Client::new(&flags.operator)?;
    let stamp = flags.id.as_str().to_owned();
    let order = if flags.cancel {
        Question::new(Method::DELETE, format!("/v1/drills/{stamp}"))
    } else {
        let (lasts, reason) = (Some(Span(flags.lasts)), flags.reason.clone());
        let ask = DrillAsk { stamp, percent: flags.percent, lasts, reason };
        Question::new(Method::POST, "/v1/drills").with(&ask)?
    };
    let view: DrillView = runtime()?.block_on(async {
        let mut view: DrillView = client.ask(order).await?.read()?;
        while flags.wait && view.outcome == "running" {
            tokio::time::sleep(DRILL_PACE).await;
            let all = client.ask(Question::new(Method::GET, "/v1/drills")).await?;
            let all: DrillsView = all.read()?;
            let same = |it: &DrillView| it.stamp == view.stamp && it.began_at == view.began_at;
            let Some(this) = all.drills.into_iter().find(same) else { break };
            view = this;
        }
        Ok::<_, Failure>(view)
    })?;
    match flags.operator.output.output {
        Output::Json => print::json(&view)?,
        Output::Table => print::line(&print::drill(&view)),
    }
    let is_over = flags.wait && view.outcome != "completed";
    if is_over { Err(Failure::DrillEnded(view.outcome)) } else { Ok(()) }
}

/// Gives an order that is answered with the stamp.
fn order_and_show(operator: &Operator, order: Question) -> Result<(), Failure> {
    let client = Client::new(operator)?;
    let answer = runtime()?.block_on(client.ask(order))?;
    match operator.output.output {
        Output::Json => print::json(&answer.read::<Value>()?),
        Output::Table => {
            print::line(&print::stamps(&[answer.read()?]));
            Ok(())
        }
    }
}

fn drain_target(id: &str) -> String {
    format!("/v1/stamps/{id}/drain")
}

fn show_drain(answer: &Answer, output: Output) -> Result<(), Failure> {
    match output {
        Output::Json => print::json(&answer.read::<Value>()?),
        Output::Table => {
            print::line(&print::drain(&answer.read()?));
            Ok(())
        }
    }
}

/// The gateway's deadline is a whole second, rounded up, and what it cuts then takes a moment to be
/// gone.
const GRACE: Duration = Duration::from_secs(2);

/// Waits for the drain's end, at most until its deadline.
async fn wait_until_drained(
    client: &Client,
    flags: &DrainFlags,
    clock: Clock,
) -> Result<Answer, Failure> {
    let progress = Progress::new();
    loop {
        let left = (flags.deadline + GRACE).saturating_sub(clock.now().0);
        let wait = left.min(progress.pace());
        let target = format!("{}?wait={}ms", drain_target(flags.id.as_str()), wait.as_millis());
        let answer = client.ask(Question::new(Method::GET, target).waiting(wait)).await?;
        let view: DrainView = answer.read()?;
        progress.show(&view);
        let failure = match view.state.as_str() {
            "drained" => {
                progress.end();
                return Ok(answer);
            }
            "draining" if !left.is_zero() => continue,
            "draining" => Failure::TimedOut(print::in_flight(&view)),
            _ => Failure::DrainEnded(view.state),
        };
        progress.end();
        return Err(failure);
    }
}

/// `stampgate reload`
pub(super) fn reload(flags: &ReloadFlags) -> Result<(), Failure> {
    let client = Client::new(&flags.operator)?;
    let target = format!("/v1/config/reload?force={}&dry_run={}", flags.force, flags.dry_run);
    let answer = runtime()?.block_on(client.ask(Question::new(Method::POST, target)))?;
    if flags.operator.output.output == Output::Json {
        return print::json(&answer.read::<Value>()?);
    }
    let view: ReloadView = answer.read()?;
    for warning in &view.warnings {
        print::remark(&format!("warning: {warning}"));
    }
    print::line(&told(&view));
    for example in &view.examples {
        print::line(&format!("  {example}"));
    }
    if !view.restart_needed.is_empty() {
        print::remark(&format!("only after a restart: {}", view.restart_needed.join(", ")));
    }
    Ok(())
}

/// The longest that a gateway waits for its successor, and a moment.
const UPGRADED_WITHIN: Duration = Duration::from_secs(65);

/// `stampgate upgrade`
pub(super) fn upgrade(operator: &Operator) -> Result<(), Failure> {
    let client = Client::new(operator)?;
    let question = Question::new(Method::POST, "/v1/upgrade").waiting(UPGRADED_WITHIN);
    let answer = runtime()?.block_on(client.ask(question))?;
    let view: UpgradeView = answer.read()?;
    match operator.output.output {
        Output::Json => print::json(&view),
        Output::Table => {
            print::line(&format!("process {} serves now", view.pid));
            Ok(())
        }
    }
}

fn told(view: &ReloadView) -> String {
    if view.result == "unchanged" {
        return format!("unchanged: generation {} is what the files say", view.generation);
    }
    let (would, what) = if view.dry_run { ("would be ", "after ") } else { ("", "") };
    format!(
        "{would}{}: {what}generation {}, tenants: {} moved, {} gone, {} new; stamps: {} new, {} gone, {} changed",
        view.result,
        view.generation,
        view.moved,
        view.vanished,
        view.appeared,
        view.stamps_added.len(),
        view.stamps_removed.len(),
        view.stamps_changed.len(),
    )
}

/// `stampgate healthcheck`: a container's engine knows two exit codes, 0 and 1.
pub(super) fn healthcheck(operator: &Operator) -> Result<(), Failure> {
    let client = Client::new(operator)?;
    let asked = runtime()?.block_on(client.answer(Question::new(Method::GET, "/readyz")));
    let answer = asked.map_err(|failure| Failure::NotReady(failure.to_string()))?;
    if answer.status.is_success() {
        return Ok(());
    }
    let refusal: RefusalView = answer.read().unwrap_or_default();
    Err(Failure::NotReady(format!("{} {}", answer.status.as_u16(), refusal.detail)))
}
