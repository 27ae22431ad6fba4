//! The kinds of runs, and what each of them has to leave behind.

use clap::ValueEnum;
use replug::event::RetireOutcome;

/// Where the artifacts are loaded, and whether they are unmapped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Kind {
    /// Into the program itself, where they stay mapped
    InProcess,
    /// Into the program itself, with `unload = "verified"`
    Verified,
    /// Each into a child process
    Process,
}

impl Kind {
    pub(crate) const ALL: [Self; 3] = [Self::InProcess, Self::Verified, Self::Process];

    /// How much memory of the host a retired generation may keep.
    pub(crate) fn limit_kib(self) -> f64 {
        match self {
            Self::InProcess => 64.0,
            Self::Verified | Self::Process => 2.0,
        }
    }

    /// The lines of the manifest.
    pub(crate) fn manifest(self) -> &'static str {
        match self {
            // Trials are off: they load the artifact into a child process, but this run measures what loads into the
            // program itself leave behind.
            Self::InProcess => "mode = \"in-process\"\nreload.preflight = \"off\"\n",
            Self::Verified => {
                "mode = \"in-process\"\nreload.preflight = \"off\"\nreload.unload = \"verified\"\n"
            }
            Self::Process => "mode = \"process\"\n",
        }
    }

    /// How each generation has to end.
    pub(crate) fn outcome(self) -> RetireOutcome {
        match self {
            Self::InProcess => RetireOutcome::Kept,
            Self::Verified => RetireOutcome::Unloaded,
            Self::Process => RetireOutcome::Ended,
        }
    }

    /// How many percent of the generations have to end with that outcome.
    pub(crate) fn least_percent(self) -> u64 {
        match self {
            // In a run of 10,000 reloads, 4 libraries stayed mapped. The likely cause: glibc gives a new thread of the
            // host the stack of an ended thread that an artifact has started, and the stack has old return addresses.
            Self::Verified => 99,
            Self::InProcess | Self::Process => 100,
        }
    }

    /// The name in the chart.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::InProcess => "in process, kept mapped",
            Self::Verified => "in process, unload = \"verified\"",
            Self::Process => "in a child process",
        }
    }

    /// The name in the title of the chart.
    pub(crate) fn short(self) -> &'static str {
        match self {
            Self::InProcess => "mapped",
            Self::Verified => "with unload = \"verified\"",
            Self::Process => "with a child process",
        }
    }

    /// The name of the files of a report, without extension.
    pub(crate) fn file(self) -> &'static str {
        match self {
            Self::InProcess => "soak-in-process",
            Self::Verified => "soak-verified",
            Self::Process => "soak-process",
        }
    }
}
