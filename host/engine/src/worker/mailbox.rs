//! The commands to a worker that it has not received yet, or has received but not begun to carry out.

use super::Command;
use crate::lifecycle::{Input, Ticket};
use std::collections::BTreeMap;
use tokio::sync::mpsc;

/// The mailbox of a worker. The lifecycle decides when each command is carried out, and refers to it by a [`Ticket`].
pub(super) struct Mailbox {
    inbox: mpsc::UnboundedReceiver<Command>,
    /// The commands that were received and are not carried out yet.
    waiting: BTreeMap<Ticket, Command>,
    /// The number of commands that were received.
    received: u64,
}

impl Mailbox {
    pub(super) fn new(inbox: mpsc::UnboundedReceiver<Command>) -> Self {
        Self { inbox, waiting: BTreeMap::new(), received: 0 }
    }

    /// Waits for the next command, and returns the input for it. `None` if no more commands can arrive. The future can
    /// be dropped without the loss of a command.
    pub(super) async fn next(&mut self) -> Option<Input> {
        let command = self.inbox.recv().await?;
        Some(self.receive(command))
    }

    /// Stores a command, and returns the input for it.
    pub(super) fn receive(&mut self, command: Command) -> Input {
        let ticket = Ticket(self.received);
        self.received += 1;
        let kind = command.kind();
        self.waiting.insert(ticket, command);
        Input::Command(ticket, kind)
    }

    /// Removes the command with this ticket, so that it is carried out or rejected.
    pub(super) fn take(&mut self, ticket: Ticket) -> Option<Command> {
        self.waiting.remove(&ticket)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lifecycle::CommandKind;
    use tokio::sync::oneshot;

    #[tokio::test]
    async fn each_command_has_its_own_ticket_and_is_taken_once() {
        let (commands, inbox) = mpsc::unbounded_channel();
        let mut mailbox = Mailbox::new(inbox);
        let begin = mailbox.receive(Command::NewDefaults);
        assert!(commands.send(Command::Reload(oneshot::channel().0)).is_ok());
        drop(commands);
        let reload = mailbox.next().await;
        let (Input::Command(first, CommandKind::Notice), Some(Input::Command(second, CommandKind::Client))) =
            (begin, reload)
        else {
            panic!("two commands were received")
        };
        assert_ne!(first, second);
        assert!(matches!(mailbox.take(second), Some(Command::Reload(_))));
        assert!(mailbox.take(second).is_none(), "it was taken");
        assert!(matches!(mailbox.take(first), Some(Command::NewDefaults)));
        assert!(mailbox.next().await.is_none(), "no sender is left");
    }
}
