//! What the manifest says by now, and what an edit of it leaves to do.

use super::{By, Effects, Lifecycle, Work};

/// Whether the plugin follows what the manifest says by now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Words {
    InForce,
    /// What serves has to be another for that. Until it has come up, what the manifest said before is in force, as a whole.
    Pending,
}

/// How what the manifest says differs from what is in force.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Edit {
    /// Whether a generation serves that may have to take it over.
    pub(crate) serves: bool,
    /// Whether the configuration is another.
    pub(crate) reconfigures: bool,
    /// Whether it takes another instance to follow it, or another process.
    pub(crate) needs_another: bool,
    /// Whether anything but the configuration is another.
    pub(crate) more: bool,
}

/// What an edit leaves to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    Nothing,
    /// Give what serves its new configuration.
    Configure,
    /// A build, of which something new may come, or has to.
    Build,
}

impl Lifecycle {
    /// The manifest was read.
    pub(super) fn manifest_read(&mut self, edit: Edit) -> Effects {
        self.faults.manifest_is_read();
        let was_pending = self.words == Words::Pending;
        let at_once = !edit.serves || !(edit.reconfigures || edit.needs_another);
        self.words = if at_once { Words::InForce } else { Words::Pending };
        let next = match edit {
            // It did not come up before, and may now.
            Edit { serves: false, .. } | Edit { more: true, .. } => Next::Build,
            Edit { reconfigures: true, .. } => {
                self.activity.configure_begins(By::Edit, was_pending);
                Next::Configure
            }
            _ => {
                self.faults.words_apply();
                self.after_edit(was_pending)
            }
        };
        Effects::work(Work::Adopt { at_once, next })
    }

    /// What serves takes its configuration, or does not.
    pub(super) fn configured(&mut self) -> Effects {
        match self.activity.configure_ends() {
            Some((By::Edit, was_pending)) => Effects::work(Work::GoOn(self.after_edit(was_pending))),
            _ => Effects::default(),
        }
    }

    /// What is newer than what serves may fit now, or be let in by what the manifest says no more.
    fn after_edit(&self, was_pending: bool) -> Next {
        let may_come_up = self.faults.is_unfit() || was_pending && self.faults.of_source();
        if may_come_up { Next::Build } else { Next::Nothing }
    }
}
