//! What can be typed, and what it means.

use super::*;

fn parse(line: &str) -> Result<Command, i32> {
    let arguments = ["stampgate"].into_iter().chain(line.split_ascii_whitespace());
    Cli::try_parse_from(arguments).map(|cli| cli.command).map_err(|error| error.exit_code())
}

#[test]
fn the_flags_are_consistent() {
    Cli::command().debug_assert();
}

#[test]
fn a_drain_is_read_with_its_flags() {
    let line = "drain EU-1 --wait --deadline 500ms --force --reason test --admin unix:/run/a.sock";
    let Ok(Command::Drain(flags)) = parse(line) else { panic!("no drain") };
    assert_eq!(flags.id.as_str(), "eu-1");
    assert!(flags.wait && flags.force);
    assert_eq!(flags.deadline, Duration::from_millis(500));
    assert_eq!(flags.operator.admin, Some(Address::Unix("/run/a.sock".into())));
}

#[test]
fn a_drain_has_ten_minutes_unless_told_otherwise() {
    let Ok(Command::Drain(flags)) = parse("drain eu-1") else { panic!("no drain") };
    assert_eq!(flags.deadline, Duration::from_secs(600));
    assert!(!flags.wait && !flags.force);
}

#[test]
fn what_makes_no_sense_is_a_usage_error() {
    for line in [
        "",
        "frobnicate",
        "run --frobnicate",
        "drain",
        "drain a_b",
        "drain a --deadline soon",
        "schema x",
        "stamps --admin ftp://localhost",
        "stamps --admin localhost:9900",
        "stamps -o yaml",
    ] {
        assert_eq!(parse(line).unwrap_err(), 2, "{line}");
    }
}

#[test]
fn help_and_version_succeed() {
    for line in ["--help", "--version", "drain --help"] {
        assert_eq!(parse(line).unwrap_err(), 0, "{line}");
    }
}
