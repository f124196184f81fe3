//! Why a command failed, and the exit code that scripts read it from.

use std::fmt;
use std::io;
use std::process::ExitCode;

use super::address::Address;
use crate::admin::view::RefusalView;
use crate::demo::DemoError;
use crate::diagnostics::{Paint, Report};
use crate::gateway::RunError;

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    /// The gateway ended other than it should.
    #[error(transparent)]
    Run(RunError),
    /// The demo ended other than it should.
    #[error(transparent)]
    Demo(DemoError),
    /// The configuration is wrong; the reports say where.
    #[error("the configuration is invalid")]
    Configuration(Vec<Report>),
    /// The system refused something.
    #[error("{what}")]
    System { what: &'static str, source: io::Error },
    /// What stands in a file or the environment is no token.
    #[error("the token holds characters that no token has")]
    Token,
    /// What was asked makes no sense.
    #[error("{0}")]
    Question(String),
    /// Nobody answered.
    #[error("the admin API at {address} cannot be reached")]
    Unreachable { address: Address, source: Unreachable },
    /// What answered is no gateway, or one of another time.
    #[error("the answer of the admin API is not understood")]
    Answer(#[from] serde_json::Error),
    /// The gateway said no.
    #[error("refused: {}: {}", .0.code, .0.detail)]
    Refused(RefusalView),
    /// The gateway is there and not ready.
    #[error("not ready: {0}")]
    NotReady(String),
    /// The drain was ended while it was waited for.
    #[error("the drain was ended; the stamp is {0} now")]
    DrainEnded(String),
    /// The drill that was waited for did not run to its end.
    #[error("the drill was {0}")]
    DrillEnded(String),
    /// No failure: what was compared is not the same.
    #[error("there are differences")]
    Different,
    /// It took longer than it was given.
    #[error("the deadline is over and there are {0} in flight")]
    TimedOut(String),
}

/// Why nobody answered.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unreachable {
    #[error("no connection")]
    Connect(#[source] io::Error),
    #[error("the connection broke off")]
    Http(#[source] hyper::Error),
    #[error("no answer in time")]
    Late,
    #[error("the answer is too large or broke off")]
    Body,
}

impl From<RunError> for Failure {
    fn from(error: RunError) -> Self {
        match error {
            RunError::Configuration(report) => Self::Configuration(vec![report]),
            other @ (RunError::Bind(_)
            | RunError::Left(_)
            | RunError::Journal(_)
            | RunError::System { .. }) => Self::Run(other),
        }
    }
}

impl From<DemoError> for Failure {
    fn from(error: DemoError) -> Self {
        match error {
            DemoError::Gateway(error) => error.into(),
            other @ (DemoError::Stamp { .. } | DemoError::Files { .. }) => Self::Demo(other),
        }
    }
}

impl Failure {
    /// Section 9 of the contract; 2 (usage) is the parser's.
    pub(super) fn exit_code(&self) -> ExitCode {
        ExitCode::from(self.code())
    }

    /// Did the command say all there is to say on standard output?
    pub(super) const fn is_an_answer(&self) -> bool {
        matches!(self, Self::Different)
    }

    const fn code(&self) -> u8 {
        match self {
            Self::Run(_)
            | Self::Demo(_)
            | Self::System { .. }
            | Self::Token
            | Self::NotReady(_)
            | Self::DrainEnded(_)
            | Self::DrillEnded(_) => 1,
            Self::Question(_) => 2,
            Self::Configuration(_) => 3,
            Self::Unreachable { .. } | Self::Answer(_) => 4,
            Self::Refused(_) => 5,
            Self::TimedOut(_) => 6,
            Self::Different => 7,
        }
    }

    /// What is wrong with files, one text each.
    pub(super) fn details(&self, paint: Paint) -> Vec<String> {
        match self {
            Self::Configuration(reports) => {
                let texts = reports.iter().map(|report| report.render(paint));
                texts.map(|text| text.trim_end().to_owned()).collect()
            }
            Self::Refused(refusal) => refusal.diagnostics.iter().map(ToString::to_string).collect(),
            Self::Run(_)
            | Self::Demo(_)
            | Self::System { .. }
            | Self::Token
            | Self::Question(_)
            | Self::Unreachable { .. }
            | Self::Answer(_)
            | Self::NotReady(_)
            | Self::DrainEnded(_)
            | Self::DrillEnded(_)
            | Self::Different
            | Self::TimedOut(_) => Vec::new(),
        }
    }
}

impl fmt::Display for crate::admin::view::DiagnosticView {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { file, line, column, message, help } = self;
        if file.is_empty() {
            out.write_str(message)?;
        } else {
            write!(out, "{file}:{line}:{column}: {message}")?;
        }
        match help {
            Some(help) => write!(out, "\n  help: {help}"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exit_codes_are_the_contracts() {
        let address = Address::Unix("/x".into());
        let source = Unreachable::Late;
        assert_eq!(Failure::Unreachable { address, source }.code(), 4);
        assert_eq!(Failure::Refused(RefusalView::default()).code(), 5);
        assert_eq!(Failure::TimedOut(String::new()).code(), 6);
        assert_eq!(Failure::Different.code(), 7);
        assert_eq!(Failure::NotReady(String::new()).code(), 1);
        assert_eq!(Failure::Configuration(Vec::new()).code(), 3);
    }
}
