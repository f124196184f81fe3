//! The command line: arguments -> one function a command -> an exit code. Data goes to standard
//! output, all else to standard error.

mod address;
mod check;
mod client;
mod diff;
mod explain;
mod failure;
mod operate;
mod print;

use std::ffi::OsString;
use std::io;
use std::net::IpAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, CommandFactory, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;
use stamp_core::fleet::Assumption;
use stamp_core::id::StampId;

use crate::{demo, gateway};
use address::Address;
use failure::Failure;

/// The gateway in front of every stamp: each tenant's requests to the stamp it lives on.
#[derive(Debug, Parser)]
#[command(name = "stampgate", version, propagate_version = false, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the gateway
    Run(ConfigFlag),
    /// Run sample stamps, a gateway and its admin plane on loopback, and print lines to try
    Demo(DemoFlags),
    /// Judge gateway.toml, routing.toml and every file that they name, and change nothing
    Check {
        #[command(flatten)]
        config: ConfigFlag,
        #[command(flatten)]
        output: OutputFlag,
    },
    /// Tell what the files would change, by meaning: exit code 0 = nothing, 7 = something
    Diff(DiffFlags),
    /// Tell why a request would go where it goes, step by step, without sending it
    Explain(ExplainFlags),
    /// Print the JSON Schema of a configuration file
    Schema {
        /// Which file
        file: SchemaOf,
    },
    /// List all stamps
    Stamps(Operator),
    /// Tell what a gateway is and does
    Status(Operator),
    /// Take a stamp out of service: no new requests, and those in flight finish
    Drain(DrainFlags),
    /// Put a drained stamp back into service
    Undrain(OrderFlags),
    /// Put a stamp into a state of its life: draining, maintenance, warming or active
    State(StateFlags),
    /// Let a home's requests come back to it now, whatever it still had to hold
    Failback(OrderFlags),
    /// Treat a stamp as down for a share of its tenants, for a time: are they served without it?
    Drill(DrillFlags),
    /// Make a gateway read its files anew
    Reload(ReloadFlags),
    /// Let the program as it is on disk take over from a running gateway, without losing a request
    Upgrade(Operator),
    /// Ask a gateway whether it is ready: exit code 0 or 1, for containers
    Healthcheck(Operator),
    /// Print the completions of a shell
    Completions {
        /// Which shell
        shell: Shell,
    },
    /// Print the manual page
    Man,
}

#[derive(Debug, Args)]
struct ConfigFlag {
    /// The gateway's configuration
    #[arg(
        short,
        long,
        value_name = "FILE",
        env = "STAMPGATE_CONFIG",
        default_value = "gateway.toml"
    )]
    config: PathBuf,
}

#[derive(Debug, Args)]
struct OutputFlag {
    /// How data is printed
    #[arg(short, long, value_enum, default_value_t)]
    output: Output,
}

#[derive(Debug, Args)]
struct DiffFlags {
    /// Compare the files of this gateway.toml, or of its directory, with the table that its gateway
    /// accepted last, and ask no gateway
    #[arg(short, long, value_name = "PATH", conflicts_with = "admin")]
    config: Option<PathBuf>,
    /// Compare them with the files of this gateway.toml, or of its directory, instead
    #[arg(long, value_name = "PATH", requires = "config")]
    from: Option<PathBuf>,
    #[arg(long, value_name = "URL", help = ADMIN_HELP)]
    admin: Option<Address>,
    #[arg(long, value_name = "FILE", help = TOKEN_HELP)]
    token_file: Option<PathBuf>,
    #[command(flatten)]
    output: OutputFlag,
}

#[derive(Debug, Args)]
struct ExplainFlags {
    /// The request's URL, or its path alone
    url: String,
    /// Its method
    #[arg(short = 'X', long, default_value = "GET")]
    method: String,
    /// A header of it
    #[arg(short = 'H', long = "header", value_name = "NAME: VALUE", value_parser = header)]
    headers: Vec<(String, String)>,
    /// A file with its token, to be put where the gateway reads tokens from
    #[arg(long, value_name = "FILE")]
    jwt_file: Option<PathBuf>,
    /// Who sends it; without this, nobody that is trusted
    #[arg(long, value_name = "ADDRESS")]
    client_ip: Option<IpAddr>,
    /// Take a stamp for up, down or draining
    #[arg(long, value_name = "down=STAMP")]
    assume: Vec<Assumption>,
    #[arg(short, long, value_name = "PATH", help = EXPLAIN_CONFIG_HELP, conflicts_with = "admin")]
    config: Option<PathBuf>,
    /// Ask the gateway of this admin plane instead: http://HOST:PORT or unix:PATH
    #[arg(long, value_name = "URL")]
    admin: Option<Address>,
    #[arg(long, value_name = "FILE", requires = "admin", help = TOKEN_HELP)]
    token_file: Option<PathBuf>,
    #[command(flatten)]
    output: OutputFlag,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum Output {
    /// For people
    #[default]
    Table,
    /// For programs
    Json,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum SchemaOf {
    /// gateway.toml
    Gateway,
    /// routing.toml
    Routing,
}

#[derive(Clone, Copy, Debug, Args)]
struct DemoFlags {
    /// Port of the gateway; 0 = any that is free
    #[arg(long, default_value_t = 8080)]
    port: u16,
    /// Port of the admin plane; 0 = any that is free
    #[arg(long, default_value_t = 9900)]
    admin_port: u16,
    /// Port of the first of three sample stamps; 0 = any that are free
    #[arg(long, default_value_t = 0)]
    stamp_port: u16,
}

/// How to reach a gateway's admin plane.
#[derive(Debug, Args)]
struct Operator {
    #[arg(long, value_name = "URL", help = ADMIN_HELP)]
    admin: Option<Address>,
    #[arg(short, long, value_name = "FILE", help = CONFIG_HELP)]
    config: Option<PathBuf>,
    #[arg(long, value_name = "FILE", help = TOKEN_HELP)]
    token_file: Option<PathBuf>,
    #[command(flatten)]
    output: OutputFlag,
}

const ADMIN_HELP: &str = "The admin plane: http://HOST:PORT or unix:PATH [env: STAMPGATE_ADMIN] \
                          [default: that of --config, else http://127.0.0.1:9900]";
const CONFIG_HELP: &str =
    "Find the admin plane by the gateway's configuration [env: STAMPGATE_CONFIG]";
const EXPLAIN_CONFIG_HELP: &str = "Decide by the files of this gateway.toml, or of its directory, \
                                   with all stamps up, and ask no gateway \
                                   [env: STAMPGATE_CONFIG] [default: gateway.toml]";
const TOKEN_HELP: &str = "A file with the bearer token; without it, the token is that of the \
                          environment's STAMPGATE_TOKEN";

#[derive(Debug, Args)]
struct DrainFlags {
    /// The stamp
    #[arg(value_parser = stamp_id)]
    id: StampId<'static>,
    /// Return when nothing is in flight any more (0), or after the deadline (6)
    #[arg(long)]
    wait: bool,
    /// After this long, what is long-lived is ended
    #[arg(long, value_name = "DURATION", default_value = "10m", value_parser = humantime::parse_duration)]
    deadline: Duration,
    /// Drain even if tenants have nowhere to go
    #[arg(long)]
    force: bool,
    /// Why, for the audit
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
    #[command(flatten)]
    operator: Operator,
}

#[derive(Debug, Args)]
struct OrderFlags {
    /// The stamp
    #[arg(value_parser = stamp_id)]
    id: StampId<'static>,
    /// Why, for the audit
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
    #[command(flatten)]
    operator: Operator,
}

#[derive(Debug, Args)]
struct StateFlags {
    /// The stamp
    #[arg(value_parser = stamp_id)]
    id: StampId<'static>,
    /// What it is to be
    state: Wanted,
    /// Take it out although something is in flight, or tenants have nowhere to go
    #[arg(long)]
    force: bool,
    /// Why, for the audit
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
    #[command(flatten)]
    operator: Operator,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Wanted {
    /// No new requests; what is in flight finishes
    Draining,
    /// Out for work, once it is drained
    Maintenance,
    /// Back, its tenants a share at a time
    Warming,
    /// Back, at once
    Active,
}

#[derive(Debug, Args)]
struct DrillFlags {
    /// The stamp
    #[arg(value_parser = stamp_id)]
    id: StampId<'static>,
    /// The share of its tenants, in per cent
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u8).range(1..=100))]
    percent: u8,
    /// How long it lasts
    #[arg(long = "for", value_name = "DURATION", default_value = "5m", value_parser = humantime::parse_duration)]
    lasts: Duration,
    /// Return when it is over: 0, or 1 if it was not completed
    #[arg(long, conflicts_with = "cancel")]
    wait: bool,
    /// End the drill of this stamp
    #[arg(long)]
    cancel: bool,
    /// Why, for the audit
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
    #[command(flatten)]
    operator: Operator,
}

#[derive(Debug, Args)]
struct ReloadFlags {
    /// Accept a table that moves more tenants than the guard allows
    #[arg(long)]
    force: bool,
    /// Only tell what would change
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    operator: Operator,
}

/// A header as curl takes it: `Name: value`.
fn header(text: &str) -> Result<(String, String), &'static str> {
    let (name, value) = text.split_once(':').ok_or("a header is `Name: value`")?;
    Ok((name.to_owned(), value.trim().to_owned()))
}

fn stamp_id(text: &str) -> Result<StampId<'static>, stamp_core::id::IdError> {
    StampId::parse(text).map(StampId::into_owned)
}

/// Runs the command that these arguments name. The first is the program's own name.
pub fn main(arguments: impl Iterator<Item = OsString>) -> ExitCode {
    let cli = match Cli::try_parse_from(arguments) {
        Ok(cli) => cli,
        Err(usage) => {
            // Help and the version are data and succeed; everything else is a usage error.
            let _closed = usage.print();
            return ExitCode::from(u8::try_from(usage.exit_code()).unwrap_or(2));
        }
    };
    match run(cli.command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            if !failure.is_an_answer() {
                print::complain(&failure);
            }
            failure.exit_code()
        }
    }
}

fn run(command: Command) -> Result<(), Failure> {
    match command {
        Command::Run(ConfigFlag { config }) => Ok(gateway::run(&config)?),
        Command::Demo(flags) => {
            let DemoFlags { port, admin_port, stamp_port } = flags;
            let ports = demo::Ports { gateway: port, admin: admin_port, stamps: stamp_port };
            Ok(demo::run(ports, print::line)?)
        }
        Command::Check { config, output } => check::check(&config.config, output.output),
        Command::Diff(flags) => diff::diff(flags),
        Command::Explain(flags) => explain::explain(flags),
        Command::Schema { file } => check::schema(file),
        Command::Stamps(operator) => operate::stamps(&operator),
        Command::Status(operator) => operate::status(&operator),
        Command::Drain(flags) => operate::drain(&flags),
        Command::Undrain(flags) => operate::undrain(&flags),
        Command::State(flags) => operate::state(&flags),
        Command::Drill(flags) => operate::drill(&flags),
        Command::Failback(flags) => operate::fail_back(&flags),
        Command::Reload(flags) => operate::reload(&flags),
        Command::Upgrade(operator) => operate::upgrade(&operator),
        Command::Healthcheck(operator) => operate::healthcheck(&operator),
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "stampgate", &mut script);
            print::bytes(&script);
            Ok(())
        }
        Command::Man => man(),
    }
}

fn man() -> Result<(), Failure> {
    let mut page = Vec::new();
    let rendered = clap_mangen::Man::new(Cli::command()).render(&mut page);
    rendered.map_err(|source: io::Error| Failure::System { what: "write the page", source })?;
    print::bytes(&page);
    Ok(())
}

#[cfg(test)]
mod tests;
