//! Whether the plugin should run, in this host and in later ones.

use super::{Effect, Effects, Intent, Lifecycle, Work, start::StartBy};
use crate::record::Wanted;

/// Why a plugin is stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum StopWhy {
    /// A user stops the plugin.
    Asked,
    /// A user stops the plugin, and discards its state.
    Discarded,
    /// A user unregisters the plugin, which then counts as never started.
    Unregistered,
    /// The plugin's folder or manifest was removed.
    Removed,
    /// The manifest has a different id now, and therefore belongs to a different plugin.
    Renamed,
    /// The host shuts down.
    ShutDown,
}

impl StopWhy {
    /// What the plugin's record states after this stop about whether the plugin should run. `None` leaves the record
    /// unchanged.
    fn wanted(self) -> Option<Wanted> {
        match self {
            Self::Asked | Self::Discarded => Some(Wanted::Stopped),
            Self::Unregistered => Some(Wanted::Unregistered),
            // If the plugin is found again, it counts as a new plugin.
            Self::Removed | Self::Renamed => Some(Wanted::AsManifest),
            Self::ShutDown => None,
        }
    }
}

/// The host program in which the plugin served last, and the one in which it will serve now. Each text identifies an
/// executable, and changes when the executable is built again. `None` if the executable is unknown.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Programs {
    /// The program of the host in which the last version served.
    pub(crate) last: Option<String>,
    /// The program of this host.
    pub(crate) own: Option<String>,
}

impl Programs {
    fn are_the_same(&self) -> bool {
        self.own.is_some() && self.last == self.own
    }
}

impl Lifecycle {
    /// Whether the plugin starts with its host.
    pub(crate) fn starts_with_host(&self) -> bool {
        match self.wanted {
            Wanted::AsManifest => self.manifest().auto_start,
            Wanted::Running => true,
            Wanted::Stopped | Wanted::Unregistered => false,
        }
    }

    /// The host starts the plugin, unless the manifest or a user's stop forbids that.
    pub(super) fn host_starts(&mut self, programs: &Programs) -> Effects {
        if !self.starts_with_host() {
            return Effects::default();
        }
        self.intent = Intent::Run;
        self.start_begins(StartBy::Host { same_program: programs.are_the_same() });
        Effects::work(Work::BringUp)
    }

    /// A user wants the plugin to run.
    pub(super) fn user_wants(&mut self) -> Effects {
        self.intent = Intent::Run;
        self.wants(Some(Wanted::Running))
    }

    /// Records whether the plugin should run after this stop.
    pub(super) fn wants_after(&mut self, why: StopWhy) -> Effects {
        self.wants(why.wanted())
    }

    fn wants(&mut self, wanted: Option<Wanted>) -> Effects {
        self.wanted = wanted.unwrap_or(self.wanted);
        Effects::of(wanted.map(Effect::RememberWanted))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use StopWhy::{Asked, Discarded, Removed, Renamed, ShutDown, Unregistered};

    #[test]
    fn auto_start_decides_after_a_stop_unless_a_user_has_stopped_the_plugin() {
        assert_eq!([Removed, Renamed].map(StopWhy::wanted), [Some(Wanted::AsManifest); 2]);
        assert_eq!([Asked, Discarded].map(StopWhy::wanted), [Some(Wanted::Stopped); 2]);
        assert_eq!(Unregistered.wanted(), Some(Wanted::Unregistered));
        assert_eq!(ShutDown.wanted(), None, "the next host starts what has run in this host");
    }

    #[test]
    fn programs_are_the_same_only_if_both_are_known() {
        let same = |last: Option<&str>, own: Option<&str>| {
            Programs { last: last.map(Into::into), own: own.map(Into::into) }.are_the_same()
        };
        assert!(same(Some("a"), Some("a")));
        assert!(!same(Some("a"), Some("b")), "the program was built again");
        assert!(!same(None, Some("a")) && !same(Some("a"), None) && !same(None, None));
    }
}
