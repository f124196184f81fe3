//! What happens when: each scenario is a rate, a length and steps.

/// One scenario.
#[derive(Debug)]
pub(super) struct Scenario {
    /// How the command line and the table name it.
    pub(super) name: &'static str,
    /// Requests a second.
    pub(super) rate: u32,
    /// How long.
    pub(super) seconds: u32,
    /// Is the home dead when the load begins?
    pub(super) starts_without_home: bool,
    /// Milliseconds from the begin, and what is done then.
    pub(super) steps: &'static [(u64, Action)],
}

/// One step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Action {
    /// SIGKILL.
    KillHome,
    /// A new process on the same port.
    StartHome,
    /// SIGSTOP: connections are still taken by the system, nothing is answered.
    FreezeHome,
    /// SIGCONT.
    ThawHome,
    /// The home resets (RST) connections once it has a whole request and has begun to process it.
    Reset(Share),
    /// The operator takes the home out.
    Drain,
    /// And puts it back.
    Undrain,
    /// Another configuration, in force without a restart.
    Reload,
    /// One with a mistake in it, which must change nothing.
    ReloadBroken,
}

/// How many requests the home resets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Share {
    /// No more.
    None,
    /// One in twenty, each once: the same request passes when it comes again.
    OneInTwenty,
    /// Every one; probes are answered.
    All,
}

impl Action {
    /// Does it end what an earlier step began?
    pub(super) const fn mends(self) -> bool {
        match self {
            Self::StartHome | Self::ThawHome | Self::Undrain | Self::Reset(Share::None) => true,
            Self::KillHome
            | Self::FreezeHome
            | Self::Drain
            | Self::Reload
            | Self::ReloadBroken
            | Self::Reset(_) => false,
        }
    }
}

/// Fifty reloads, 400 ms apart: every fifth has a mistake in it.
#[expect(clippy::indexing_slicing, reason = "the compiler runs it")]
const FIFTY_RELOADS: [(u64, Action); 50] = {
    let mut steps = [(0, Action::Reload); 50];
    let mut at = 0;
    while at < steps.len() {
        let action = if at % 5 == 4 { Action::ReloadBroken } else { Action::Reload };
        steps[at] = (1000 + 400 * at as u64, action);
        at += 1;
    }
    steps
};

/// All of them, in the order of the table.
pub(super) const SCENARIOS: &[Scenario] = &[
    Scenario { name: "steady", rate: 1000, seconds: 6, starts_without_home: false, steps: &[] },
    Scenario {
        name: "killed",
        rate: 1000,
        seconds: 12,
        starts_without_home: false,
        steps: &[(2000, Action::KillHome), (6000, Action::StartHome)],
    },
    Scenario {
        name: "frozen",
        rate: 500,
        seconds: 12,
        starts_without_home: false,
        steps: &[(2000, Action::FreezeHome), (8000, Action::ThawHome)],
    },
    Scenario {
        name: "resets",
        rate: 1000,
        seconds: 8,
        starts_without_home: false,
        steps: &[(2000, Action::Reset(Share::OneInTwenty)), (5000, Action::Reset(Share::None))],
    },
    Scenario {
        name: "resetting",
        rate: 1000,
        seconds: 10,
        starts_without_home: false,
        steps: &[(2000, Action::Reset(Share::All)), (5000, Action::Reset(Share::None))],
    },
    Scenario {
        name: "drain",
        rate: 1000,
        seconds: 7,
        starts_without_home: false,
        steps: &[(2000, Action::Drain), (5000, Action::Undrain)],
    },
    Scenario {
        name: "reload",
        rate: 1000,
        seconds: 12,
        starts_without_home: false,
        steps: &[
            (1000, Action::Reload),
            (3000, Action::Reload),
            (5000, Action::Reload),
            (7000, Action::Reload),
            (9000, Action::Reload),
        ],
    },
    Scenario {
        name: "reloads",
        rate: 1000,
        seconds: 23,
        starts_without_home: false,
        steps: &FIFTY_RELOADS,
    },
    Scenario {
        name: "failback",
        rate: 1000,
        seconds: 9,
        starts_without_home: true,
        steps: &[(3000, Action::StartHome)],
    },
];
