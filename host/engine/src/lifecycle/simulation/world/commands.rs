//! The commands that the simulation gives during a history (one random run, which its seed determines), and the saved
//! state of the simulated plugin.

use super::{World, files::ManifestText};
use crate::{
    lifecycle::{CommandKind, Ticket},
    watch::Change,
};

/// The commands of a history.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) enum Command {
    Save,
    Reload,
    Start,
    /// The host starts the plugin.
    HostStart,
    Rollback,
    Configure,
    Edit,
    Return,
    Defaults,
    Move,
    Stop,
}

impl Command {
    pub(in super::super) fn kind(self) -> CommandKind {
        match self {
            Self::Save | Self::Edit => CommandKind::Change,
            Self::Reload | Self::Start | Self::HostStart | Self::Rollback | Self::Configure => {
                CommandKind::Client
            }
            Self::Return | Self::Defaults | Self::Move => CommandKind::Notice,
            Self::Stop => CommandKind::Stop,
        }
    }
}

/// The saved state of the plugin, and the note on it in the plugin's record. Each state is a number.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Store {
    pub(super) states: u64,
    pub(super) saved: Option<u64>,
    /// Whether the record notes that the next start begins with a state.
    pub(super) is_noted: bool,
    /// Whether the last stop has removed the previously saved state.
    pub(super) is_forgotten: bool,
}

impl Store {
    /// A new state, which differs from all previous states.
    pub(super) fn fresh(&mut self) -> u64 {
        self.states += 1;
        self.states
    }
}

impl World {
    pub(super) fn give(&mut self, command: Command) {
        if command == Command::Edit {
            let text = match self.dice.below(4) {
                _ if self.calm => ManifestText::New,
                0 => ManifestText::AsRead,
                1 => ManifestText::Unreadable,
                _ => ManifestText::New,
            };
            let change = self.files.save_manifest(text, self.wall());
            return self.give_change(command, change);
        }
        let ticket = Ticket(self.commands.len() as u64);
        self.commands.insert(ticket, command);
        self.watch.given(ticket, command);
        self.inbox.push_back(ticket);
    }

    /// Gives a command that reports a changed file.
    pub(super) fn give_change(&mut self, command: Command, change: Change) {
        let ticket = Ticket(self.commands.len() as u64);
        self.changes.insert(ticket, change);
        self.commands.insert(ticket, command);
        self.watch.given(ticket, command);
        self.inbox.push_back(ticket);
    }
}
